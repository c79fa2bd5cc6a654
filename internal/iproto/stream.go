package iproto

import (
	"encoding/binary"
	"math"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// WithStream puts the requests that build appends into a stream: those with the same id (not 0) on one connection run
// strictly one after another.
func WithStream(id uint64, build func(dst []byte, sync uint64) []byte) func(dst []byte, sync uint64) []byte {
	return func(dst []byte, sync uint64) []byte {
		at := len(dst)
		dst = build(dst, sync)
		// A request begins with its length (5 bytes) and a header of two pairs: one more is put in front of them.
		invariant.Check(dst[at+5] == 0x82, "iproto: a request without the usual header")
		pair := msgpack.AppendUint([]byte{0x83, byte(KeyStreamID)}, id)
		dst = append(dst, pair[1:]...)
		copy(dst[at+5+len(pair):], dst[at+6:len(dst)-len(pair)+1])
		copy(dst[at+5:], pair)
		binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-5))
		return dst
	}
}

// AppendBegin appends a BEGIN request with a timeout in seconds, 0 for the server's. Isolation is the server's default.
func AppendBegin(dst []byte, sync uint64, timeout float64) []byte {
	return AppendBeginAt(dst, sync, timeout, IsolationDefault)
}

// Isolation levels of BEGIN, with their numbers in Tarantool 2.10 and later.
const (
	IsolationDefault = iota
	IsolationReadCommitted
	IsolationReadConfirmed
	IsolationBestEffort
	IsolationLinearizable
)

// AppendBeginAt appends a BEGIN request with a timeout in seconds, 0 for the server's, and a level of isolation.
func AppendBeginAt(dst []byte, sync uint64, timeout float64, isolation uint64) []byte {
	dst, mark := BeginRequest(dst, TypeBegin, sync)
	entries, body := 0, []byte(nil)
	if timeout != 0 {
		entries, body = 1, binary.BigEndian.AppendUint64(append(body, byte(KeyTimeout), 0xcb), math.Float64bits(timeout))
	}
	if isolation != IsolationDefault {
		entries, body = entries+1, msgpack.AppendUint(append(body, byte(KeyTxnIsolation)), isolation)
	}
	return EndRequest(append(msgpack.AppendMapHeader(dst, entries), body...), mark)
}

// AppendCommit appends a COMMIT request.
func AppendCommit(dst []byte, sync uint64) []byte { return appendEmpty(dst, TypeCommit, sync) }

// AppendRollback appends a ROLLBACK request.
func AppendRollback(dst []byte, sync uint64) []byte { return appendEmpty(dst, TypeRollback, sync) }

func appendEmpty(dst []byte, t Type, sync uint64) []byte {
	dst, mark := BeginRequest(dst, t, sync)
	return EndRequest(append(dst, 0x80), mark)
}
