package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Operation is what is asked of the server.
type Operation uint8

// The operations. All but Ping are about the rows of one space.
const (
	Ping Operation = iota
	// Select reads one row by its primary key.
	Select
	// Replace writes a whole row under a key that exists.
	Replace
	// Insert writes rows with keys that do not exist; they are deleted after the run.
	Insert
	// Update adds 1 to the third field of a row.
	Update
	// Upsert does the same with UPSERT.
	Upsert
	// Delete deletes each row once; they are written back after the run.
	Delete
	// Range reads rows in the order of the primary key, from a key on.
	Range
	// Secondary reads one row by its second field, which has an index that is not unique.
	Secondary
	// Load makes the space anew and writes all rows in the order of their keys; it ends with the last one.
	Load
)

var operationNames = []string{"ping", "select", "replace", "insert", "update", "upsert", "delete", "range", "secondary", "load"}

// String returns the name as ParseOperation takes it.
func (o Operation) String() string { return operationNames[o] }

// ParseOperation returns the operation of a name.
func ParseOperation(name string) (Operation, error) {
	for i, n := range operationNames {
		if n == name {
			return Operation(i), nil
		}
	}
	return 0, fmt.Errorf("operation %q is unknown: %s", name, strings.Join(operationNames, ", "))
}

// once tells that the operation uses each key one time.
func (o Operation) once() bool { return o == Insert || o == Delete || o == Load }

// The sizes of rows in bytes. A row is an array of key, second and third field (unsigned, five bytes each), and, from
// RowBytesMin + 1 on, of a string that fills it up.
const (
	RowBytesMin = 1 + 3*5
	RowBytesMax = 1 << 20
)

// payloadPoolBytes is the random text that payloads are cut from.
const payloadPoolBytes = 1 << 20

// The placeholders of a template. As unsigned numbers they take five bytes, like all that they stand for.
const (
	markSync   = 0xa1a2a3a4
	markKey    = 0xb1b2b3b4
	markSecond = 0xc1c2c3c4
	markThird  = 0xd1d2d3d4
)

// template is a request frame with places to fill in. A place that the request does not have is 0.
type template struct {
	bytes                                []byte
	syncAt, keyAt, secondAt, thirdAt     int
	payloadAt, payloadLen, payloadChoice int
	pool                                 []byte
}

// appendFrame appends a request. dst must not share memory with the template.
func (t *template) appendFrame(dst []byte, sync, key uint32) []byte {
	n := len(dst)
	dst = append(dst, t.bytes...)
	f := dst[n:]
	binary.BigEndian.PutUint32(f[t.syncAt:], sync)
	if t.keyAt != 0 {
		binary.BigEndian.PutUint32(f[t.keyAt:], key)
	}
	if t.secondAt != 0 {
		binary.BigEndian.PutUint32(f[t.secondAt:], second(key))
	}
	if t.thirdAt != 0 {
		binary.BigEndian.PutUint32(f[t.thirdAt:], third(key))
	}
	if t.payloadLen > 0 {
		from := int(mix32(key^sync) % uint32(t.payloadChoice))
		copy(f[t.payloadAt:t.payloadAt+t.payloadLen], t.pool[from:])
	}
	return dst
}

// second and third are the fields of the row with a key. Like keys, they are numbers whose shortest form has five bytes;
// adding to a third field leaves it one.
func second(key uint32) uint32 { return mix32(key) | 1<<16 }
func third(key uint32) uint32  { return mix32(key^0x5bd1e995)&0x7fffffff | 1<<16 }

// frameOptions say what requests are about.
type frameOptions struct {
	space     uint32
	rowBytes  int
	rangeRows uint32
	seed      uint64
}

// newTemplate makes the template of an operation.
func newTemplate(op Operation, o frameOptions) *template {
	t := &template{}
	key := append([]byte{0x91}, msgpack.AppendUint32Fixed(nil, markKey)...)
	var row []byte
	if op == Replace || op == Insert || op == Upsert || op == Load {
		row, t.payloadLen = appendRow(nil, markKey, o.rowBytes)
	}
	change := iproto.ChangeArgs{Space: o.space, Key: key, Tuple: row, Ops: addOne()}
	switch op {
	case Ping:
		t.bytes = iproto.AppendPing(nil, markSync)
	case Select:
		t.bytes = iproto.AppendSelect(nil, markSync, iproto.SelectArgs{Space: o.space, Limit: 1, Key: key})
	case Range:
		t.bytes = iproto.AppendSelect(nil, markSync,
			iproto.SelectArgs{Space: o.space, Iterator: iproto.IterGE, Limit: o.rangeRows, Key: key})
	case Secondary:
		by := append([]byte{0x91}, msgpack.AppendUint32Fixed(nil, markSecond)...)
		t.bytes = iproto.AppendSelect(nil, markSync, iproto.SelectArgs{Space: o.space, Index: 1, Limit: 1, Key: by})
	case Replace, Load:
		t.bytes = iproto.AppendInsert(nil, iproto.TypeReplace, markSync, o.space, row)
	case Insert:
		t.bytes = iproto.AppendInsert(nil, iproto.TypeInsert, markSync, o.space, row)
	case Update:
		t.bytes = iproto.AppendUpdate(nil, markSync, change)
	case Upsert:
		t.bytes = iproto.AppendUpsert(nil, markSync, change)
	case Delete:
		t.bytes = iproto.AppendDelete(nil, markSync, change)
	}
	t.syncAt, t.keyAt = t.find(markSync), t.find(markKey)
	t.secondAt, t.thirdAt = t.find(markSecond), t.find(markThird)
	if t.payloadLen > 0 {
		t.payloadAt = bytes.Index(t.bytes, row) + len(row) - t.payloadLen
		t.payloadChoice = max(payloadPoolBytes-t.payloadLen, 1)
		t.pool = newPool(o.seed)
	}
	return t
}

// find returns where the four bytes of a placeholder are, 0 if it is not used.
func (t *template) find(mark uint32) int {
	at := bytes.Index(t.bytes, msgpack.AppendUint32Fixed(nil, mark))
	return at + 1
}

// addOne are the operations of update and upsert: the third field grows by 1.
func addOne() []byte {
	b := msgpack.AppendArrayHeader(nil, 1)
	b = msgpack.AppendArrayHeader(b, 3)
	b = msgpack.AppendStr(b, "+")
	b = msgpack.AppendUint(b, 2)
	return msgpack.AppendUint(b, 1)
}

// appendRow appends the placeholders of a row of exactly rowBytes bytes, whose last payload bytes are to be filled in.
// The header of the string is a byte or two longer than it has to be where no shorter one gives that size.
func appendRow(dst []byte, key uint32, rowBytes int) (row []byte, payload int) {
	invariant.Check(rowBytes >= RowBytesMin && rowBytes <= RowBytesMax, "bench: row of %d bytes", rowBytes)
	fill := rowBytes - RowBytesMin
	fields := 4
	if fill == 0 {
		fields = 3
	}
	dst = msgpack.AppendArrayHeader(dst, fields)
	dst = msgpack.AppendUint32Fixed(dst, key)
	dst = msgpack.AppendUint32Fixed(dst, markSecond)
	dst = msgpack.AppendUint32Fixed(dst, markThird)
	switch {
	case fill == 0:
		return dst, 0
	case fill <= 1+31:
		payload = fill - 1
		dst = append(dst, 0xa0|byte(payload))
	case fill <= 2+255:
		payload = fill - 2
		dst = append(dst, 0xd9, byte(payload))
	case fill <= 3+65535:
		payload = fill - 3
		dst = append(dst, 0xda, byte(payload>>8), byte(payload))
	default:
		payload = fill - 5
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(payload))
	}
	return append(dst, make([]byte, payload)...), payload
}

// newPool returns random text. Its 64 symbols do not compress to less than three quarters.
func newPool(seed uint64) []byte {
	const symbols = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"
	chance := rand.NewPCG(seed, 0x6c79636f7361)
	pool := make([]byte, payloadPoolBytes)
	for i := 0; i < len(pool); i += 8 {
		r := chance.Uint64()
		for j := range 8 {
			pool[i+j] = symbols[r>>(8*j)&63]
		}
	}
	return pool
}
