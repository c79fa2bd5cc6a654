package iproto

import (
	"encoding/binary"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// replyHeadBytes is the length of a reply's frame length and header: both have a fixed width.
const replyHeadBytes = 5 + 1 + 6 + 10 + 6

// DataHeadBytes is how much BeginData appends: behind it the values begin.
const DataHeadBytes = replyHeadBytes + 7

// errorDepthMax bounds how many causes of an error go over the wire.
const errorDepthMax = 16

// replyHead is the constant part of a reply up to its code.
func replyHead(dst []byte, size, code uint32, sync, schema uint64) []byte {
	var h [replyHeadBytes]byte
	h[0] = 0xce
	binary.BigEndian.PutUint32(h[1:], size)
	h[5], h[6], h[7] = 0x83, byte(KeyType), 0xce
	binary.BigEndian.PutUint32(h[8:], code)
	h[12], h[13] = byte(KeySync), 0xcf
	binary.BigEndian.PutUint64(h[14:], sync)
	h[22], h[23] = byte(KeySchemaVersion), 0xce
	binary.BigEndian.PutUint32(h[24:], uint32(schema))
	return append(dst, h[:]...)
}

// BeginReply appends the length and header of a reply with the given code (TypeOK, TypeChunk, or TypeError plus a
// number). The caller appends the body and ends with EndReply(dst, mark). The schema version is written in 32 bits, as
// Tarantool 2.6 does.
func BeginReply(dst []byte, code uint32, sync, schema uint64) (out []byte, mark int) {
	mark = len(dst)
	return replyHead(dst, 0, code, sync, schema), mark
}

// EndReply sets the length of the reply that BeginReply began at mark.
func EndReply(dst []byte, mark int) []byte {
	size := len(dst) - mark - 5
	invariant.Check(size >= replyHeadBytes-5 && size < FrameBytesMax, "iproto: reply of %d bytes", size)
	binary.BigEndian.PutUint32(dst[mark+1:], uint32(size))
	return dst
}

// AppendOK appends a whole reply with the given body map, or with an empty one if body is nil.
func AppendOK(dst []byte, sync, schema uint64, body []byte) []byte {
	if len(body) == 0 {
		return append(replyHead(dst, replyHeadBytes-5+1, TypeOK, sync, schema), 0x80)
	}
	dst = replyHead(dst, uint32(replyHeadBytes-5+len(body)), TypeOK, sync, schema)
	return append(dst, body...)
}

// BeginData begins an OK reply with the body {DATA: [...]}. The caller appends the values and ends with EndData.
func BeginData(dst []byte, sync, schema uint64) (out []byte, mark int) {
	dst, mark = BeginReply(dst, TypeOK, sync, schema)
	return append(dst, 0x81, byte(KeyData), 0xdd, 0, 0, 0, 0), mark
}

// EndData sets the number of values, and the length, of the reply that BeginData began at mark.
func EndData(dst []byte, mark int, count uint32) []byte {
	binary.BigEndian.PutUint32(dst[mark+replyHeadBytes+3:], count)
	return EndReply(dst, mark)
}

// EndPage is EndData for a reply that also says where it ended: the body becomes {DATA: [...], POSITION: position}.
func EndPage(dst []byte, mark int, count uint32, position []byte) []byte {
	dst[mark+replyHeadBytes]++
	dst = msgpack.AppendStrBytes(append(dst, byte(KeyPosition)), position)
	return EndData(dst, mark, count)
}

// AppendEvent appends an EVENT frame: the key that sync asked to watch has this value, encoded already, or none if it
// is nil. Unlike a reply it carries no schema version.
func AppendEvent(dst []byte, sync uint64, key string, value []byte) []byte {
	dst, mark := BeginRequest(dst, TypeEvent, sync)
	pairs := byte(0x81)
	if value != nil {
		pairs = 0x82
	}
	dst = msgpack.AppendStr(append(dst, pairs, byte(KeyEventKey)), key)
	if value != nil {
		dst = append(append(dst, byte(KeyEventData)), value...)
	}
	return EndRequest(dst, mark)
}

// AppendData appends a whole OK reply with the body {DATA: [values...]}; each value is encoded already.
func AppendData(dst []byte, sync, schema uint64, values ...[]byte) []byte {
	dst, mark := BeginData(dst, sync, schema)
	for _, v := range values {
		dst = append(dst, v...)
	}
	return EndData(dst, mark, uint32(len(values)))
}

// AppendError appends a whole error reply: the message under key 0x31 and the stack of errors under key 0x52, the
// newest first. Errors below e that clients may not see are left out.
func AppendError(dst []byte, sync, schema uint64, e *errcode.Error) []byte {
	dst, mark := BeginReply(dst, TypeError|uint32(e.Code)&(TypeError-1), sync, schema)
	dst = append(dst, 0x82, byte(KeyError24))
	dst = msgpack.AppendStr(dst, e.Message)
	dst = append(dst, byte(KeyError))
	return EndReply(AppendErrorStack(dst, e), mark)
}

// AppendErrorStack appends the map {0: [error, cause, ...]} that describes e and its causes; it is the payload of an
// error value too.
func AppendErrorStack(dst []byte, e *errcode.Error) []byte {
	var stack [errorDepthMax]*errcode.Error
	n := 0
	for e != nil && n < errorDepthMax {
		stack[n] = e
		n++
		if e.Cause == nil {
			break
		}
		e = errcode.Of(e.Cause)
	}
	dst = append(dst, 0x81, 0x00)
	dst = msgpack.AppendArrayHeader(dst, n)
	for _, e := range stack[:n] {
		dst = appendErrorMap(dst, e)
	}
	return dst
}

// appendErrorMap appends one error of the stack. File and line are Tarantool's own source positions there; here the
// file is the product and the line 0.
func appendErrorMap(dst []byte, e *errcode.Error) []byte {
	pairs := 6
	if len(e.Fields) > 0 {
		pairs = 7
	}
	dst = msgpack.AppendMapHeader(dst, pairs)
	dst = msgpack.AppendStr(append(dst, 0), e.Class())
	dst = append(dst, 2, 0, 1)
	dst = msgpack.AppendStr(dst, "lycosa")
	dst = msgpack.AppendStr(append(dst, 3), e.Message)
	dst = append(dst, 4, 0, 5)
	dst = msgpack.AppendUint(dst, uint64(e.Code))
	if len(e.Fields) == 0 {
		return dst
	}
	dst = msgpack.AppendMapHeader(append(dst, 6), len(e.Fields))
	for _, f := range e.Fields {
		dst = msgpack.AppendStr(dst, f.Name)
		dst = msgpack.AppendStr(dst, f.Value)
	}
	return dst
}

// AppendIDReply appends the reply to an ID request: the protocol version, the features that work, and the
// authentication method.
func AppendIDReply(dst []byte, sync, schema, version uint64, features []uint64) []byte {
	dst, mark := BeginReply(dst, TypeOK, sync, schema)
	dst = append(dst, 0x83, byte(KeyVersion))
	dst = msgpack.AppendUint(dst, version)
	dst = append(dst, byte(KeyFeatures))
	dst = msgpack.AppendArrayHeader(dst, len(features))
	for _, f := range features {
		dst = msgpack.AppendUint(dst, f)
	}
	dst = append(dst, byte(KeyAuthType))
	return EndReply(msgpack.AppendStr(dst, AuthChapSHA1), mark)
}
