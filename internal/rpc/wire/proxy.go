package wire

import (
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Proxy asks the leader of a data group to run statements that clients have sent to another replica of it, in their order.
// None of them is run if the receiver does not lead.
type Proxy struct {
	Header     Header
	Statements []ProxyStatement
}

// ProxyStatement is a statement as it came, with its space and index by number.
type ProxyStatement struct {
	// User is the id of the user who runs it.
	User uint32
	// Type is the binary protocol's number of the request.
	Type                    uint8
	Space, Index, IndexBase uint32
	// Schema is the schema version that the client demands, 0 for any.
	Schema uint64
	// Key, Tuple and Ops are MessagePack arrays, or nil.
	Key, Tuple, Ops []byte
}

// ProxyAnswer is the answer to Proxy.
type ProxyAnswer struct {
	// Index is that of the data group's log up to which the asker has to have applied it to see what was written.
	Index uint64
	// Replies are as many as the statements.
	Replies []ProxyReply
}

// ProxyReply is the reply to one statement.
type ProxyReply struct {
	// Code is 0, or the binary protocol's code of an error.
	Code uint32
	// Body is the body of the reply, a MessagePack map.
	Body []byte
}

const (
	// StatementsMax bounds the statements of a Proxy.
	StatementsMax = 4096

	proxyFields       = 2
	statementFields   = 9
	proxyAnswerFields = 2
	proxyReplyFields  = 2
)

// Append appends the message to dst.
func (m Proxy) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, proxyFields))
	dst = msgpack.AppendArrayHeader(dst, len(m.Statements))
	for i := range m.Statements {
		s := &m.Statements[i]
		dst = msgpack.AppendArrayHeader(dst, statementFields)
		for _, v := range [...]uint64{uint64(s.User), uint64(s.Type), uint64(s.Space), uint64(s.Index), uint64(s.IndexBase), s.Schema} {
			dst = msgpack.AppendUint(dst, v)
		}
		for _, part := range [...][]byte{s.Key, s.Tuple, s.Ops} {
			if len(part) == 0 {
				dst = msgpack.AppendNil(dst)
			}
			dst = append(dst, part...)
		}
	}
	return dst
}

// DecodeProxy reads a message; keys, tuples and operations are parts of b. Errors: 1.
func DecodeProxy(b []byte) (Proxy, error) {
	r := reader{b: b, message: "Proxy"}
	extra := r.fields(proxyFields)
	m := Proxy{Header: r.header()}
	if n := r.list(StatementsMax); n > 0 {
		m.Statements = make([]ProxyStatement, 0, n)
		for range n {
			m.Statements = append(m.Statements, r.statement())
		}
	}
	if err := r.end(extra); err != nil {
		return Proxy{}, err
	}
	return m, nil
}

func (r *reader) statement() ProxyStatement {
	extra := r.fields(statementFields)
	number := func() uint32 { return uint32(r.uintMax(1<<32 - 1)) }
	s := ProxyStatement{User: number(), Type: uint8(r.uintMax(255)), Space: number(), Index: number(), IndexBase: number(),
		Schema: r.uint(), Key: r.part(true), Tuple: r.part(true), Ops: r.part(true)}
	r.skip(extra)
	return s
}

// part takes an array as it is, or nil; or, if array is false, a map.
func (r *reader) part(array bool) []byte {
	if array && r.ok() && r.isNil() {
		return nil
	}
	var err error
	if array {
		_, _, err = msgpack.ReadArrayLen(r.b)
	} else {
		_, _, err = msgpack.ReadMapLen(r.b)
	}
	rest, broken := msgpack.Skip(r.b)
	if err != nil || broken != nil {
		r.fail("array or map")
		return nil
	}
	n := len(r.b) - len(rest)
	value := r.b[:n:n]
	r.b = rest
	return value
}

// Append appends the answer to dst.
func (m ProxyAnswer) Append(dst []byte) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, proxyAnswerFields), m.Index)
	dst = msgpack.AppendArrayHeader(dst, len(m.Replies))
	for i := range m.Replies {
		dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, proxyReplyFields), uint64(m.Replies[i].Code))
		dst = append(dst, m.Replies[i].Body...)
	}
	return dst
}

// DecodeProxyAnswer reads an answer; the bodies are parts of b. Errors: 1.
func DecodeProxyAnswer(b []byte) (ProxyAnswer, error) {
	r := reader{b: b, message: "ProxyAnswer"}
	extra := r.fields(proxyAnswerFields)
	m := ProxyAnswer{Index: r.uint()}
	if n := r.list(StatementsMax); n > 0 {
		m.Replies = make([]ProxyReply, 0, n)
		for range n {
			more := r.fields(proxyReplyFields)
			m.Replies = append(m.Replies, ProxyReply{Code: uint32(r.uintMax(1<<32 - 1)), Body: r.part(false)})
			r.skip(more)
		}
	}
	if err := r.end(extra); err != nil {
		return ProxyAnswer{}, err
	}
	return m, nil
}
