package snap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Header and body keys of a row, as in Tarantool's binary protocol.
const (
	keyType      = 0x00
	keyReplicaID = 0x02
	keyLSN       = 0x03
	keyTimestamp = 0x04
	keyGroupID   = 0x07
	keyTSN       = 0x08
	keyFlags     = 0x09
	keyStreamID  = 0x0a

	keySpaceID   = 0x10
	keyIndexID   = 0x11
	keyIndexBase = 0x15
	keyKey       = 0x20
	keyTuple     = 0x21
	keyOps       = 0x28
	keyTupleMeta = 0x2a
	keyOldTuple  = 0x2c
	keyNewTuple  = 0x2d
)

// Row is one row of a file. The byte slices of a row that a Reader returned are parts of its buffer: they are valid
// until the next call of Next.
type Row struct {
	// Type is one of the Type constants, or another number that a newer Tarantool writes.
	Type      uint32
	ReplicaID uint32
	// GroupID is GroupLocal for rows of local spaces, else 0.
	GroupID uint32
	LSN     uint64
	// Timestamp is in seconds since 1970.
	Timestamp float64
	// TSN is LSN minus the number of the transaction, as the file holds it (for local rows it wraps). It is there only
	// in transactions of several rows: HasTSN.
	TSN      uint64
	HasTSN   bool
	Flags    uint64
	StreamID uint64

	SpaceID   uint32
	IndexID   uint32
	IndexBase uint32
	// Key, Tuple and Ops are raw MessagePack arrays with their headers, nil if absent. The operations of an UPDATE are
	// its Tuple, those of an UPSERT its Ops.
	Key   []byte
	Tuple []byte
	Ops   []byte
	// TupleMeta (a map), OldTuple and NewTuple (arrays) are written by newer versions of Tarantool.
	TupleMeta []byte
	OldTuple  []byte
	NewTuple  []byte
	// Body is the raw body map of a row that is no data change (RAFT, CONFIRM, ...): nil for all others.
	Body []byte
}

// Commit reports whether the row is the last one of its transaction.
func (r *Row) Commit() bool { return !r.HasTSN || r.Flags&FlagCommit != 0 }

// Transaction is the number of the row's transaction: the LSN of its first global row.
func (r *Row) Transaction() uint64 { return r.LSN - r.TSN }

// isChange reports whether rows of this type have the body of a data change.
func isChange(rowType uint32) bool {
	switch rowType {
	case TypeInsert, TypeReplace, TypeUpdate, TypeDelete, TypeUpsert:
		return true
	}
	return false
}

// appendRow appends header and body. wideSpaceID writes the space id as 4 bytes, as snapshots have it.
func appendRow(dst []byte, row *Row, wideSpaceID bool) []byte {
	dst = appendRowHeader(dst, row)
	switch {
	case row.Type == TypeNop:
		return dst
	case !isChange(row.Type):
		return append(dst, row.Body...)
	}
	count := 1
	for _, present := range [...]bool{row.IndexID != 0, row.IndexBase != 0, row.Key != nil, row.Tuple != nil, row.Ops != nil,
		row.TupleMeta != nil, row.OldTuple != nil, row.NewTuple != nil} {
		if present {
			count++
		}
	}
	dst = append(dst, 0x80|byte(count), keySpaceID)
	if wideSpaceID {
		dst = append(dst, 0xce)
		dst = binary.BigEndian.AppendUint32(dst, row.SpaceID)
	} else {
		dst = msgpack.AppendUint(dst, uint64(row.SpaceID))
	}
	if row.IndexID != 0 {
		dst = msgpack.AppendUint(append(dst, keyIndexID), uint64(row.IndexID))
	}
	if row.IndexBase != 0 {
		dst = msgpack.AppendUint(append(dst, keyIndexBase), uint64(row.IndexBase))
	}
	dst = appendValue(dst, keyKey, row.Key)
	dst = appendValue(dst, keyOps, row.Ops)
	dst = appendValue(dst, keyTupleMeta, row.TupleMeta)
	dst = appendValue(dst, keyTuple, row.Tuple)
	dst = appendValue(dst, keyOldTuple, row.OldTuple)
	return appendValue(dst, keyNewTuple, row.NewTuple)
}

func appendRowHeader(dst []byte, row *Row) []byte {
	mark := len(dst)
	dst = append(dst, 0x80, keyType)
	dst = msgpack.AppendUint(dst, uint64(row.Type))
	count := byte(2)
	if row.ReplicaID != 0 {
		dst = msgpack.AppendUint(append(dst, keyReplicaID), uint64(row.ReplicaID))
		count++
	}
	if row.GroupID != 0 {
		dst = msgpack.AppendUint(append(dst, keyGroupID), uint64(row.GroupID))
		count++
	}
	if row.LSN != 0 {
		dst = msgpack.AppendUint(append(dst, keyLSN), row.LSN)
		count++
	}
	dst = append(dst, keyTimestamp, 0xcb)
	dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(row.Timestamp))
	if row.HasTSN {
		dst = msgpack.AppendUint(append(dst, keyTSN), row.TSN)
		count++
	}
	if row.StreamID != 0 {
		dst = msgpack.AppendUint(append(dst, keyStreamID), row.StreamID)
		count++
	}
	if row.Flags != 0 {
		dst = msgpack.AppendUint(append(dst, keyFlags), row.Flags)
		count++
	}
	dst[mark] |= count
	return dst
}

func appendValue(dst []byte, key byte, value []byte) []byte {
	if value == nil {
		return dst
	}
	return append(append(dst, key), value...)
}

// checkRow refuses rows that could not be read back as they are.
func checkRow(row *Row) error {
	arrays := [...][]byte{row.Key, row.Tuple, row.Ops, row.OldTuple, row.NewTuple}
	for _, value := range arrays {
		if value != nil && (len(value) == 0 || !isArray(value[0])) {
			return errors.New("a key, tuple or operation list is not an array")
		}
	}
	if row.TupleMeta != nil && (len(row.TupleMeta) == 0 || !isMap(row.TupleMeta[0])) {
		return errors.New("tuple meta is not a map")
	}
	switch {
	case isChange(row.Type):
		if row.Body != nil {
			return errors.New("a data change has a raw body")
		}
	case row.Type == TypeNop:
		if row.Body != nil {
			return errors.New("a NOP has a body")
		}
	case len(row.Body) == 0 || !isMap(row.Body[0]):
		return fmt.Errorf("the body of a row of type %d is not a map", row.Type)
	}
	return nil
}

func isArray(first byte) bool { return first&0xf0 == 0x90 || first == 0xdc || first == 0xdd }

func isMap(first byte) bool { return first&0xf0 == 0x80 || first == 0xde || first == 0xdf }

// decodeRow decodes the first row of b into row, whose slices will be parts of b. Only rows of snapshots and logs must
// name their space.
func decodeRow(b []byte, row *Row, kind Kind) (rest []byte, err error) {
	*row = Row{}
	if rest, ok := decodeUsual(b, row); ok {
		return rest, nil
	}
	*row = Row{}
	rest, err = decodeRowHeader(b, row)
	if err != nil {
		return nil, fmt.Errorf("row header: %w", err)
	}
	switch {
	case row.Type == TypeNop:
		return rest, nil
	case isChange(row.Type):
		rest, err = decodeRowBody(rest, row, kind.writable())
	default:
		body := rest
		if len(body) == 0 || !isMap(body[0]) {
			return nil, errors.New("row body: it is not a map")
		}
		if rest, err = msgpack.Skip(body); err == nil {
			row.Body = body[: len(body)-len(rest) : len(body)-len(rest)]
		}
	}
	if err != nil {
		return nil, fmt.Errorf("row body: %w", err)
	}
	return rest, nil
}

// decodeUsual decodes a row of a snapshot as every writer known makes it: type, LSN, time; space, tuple. False, with some of
// row filled, if it is anything else.
func decodeUsual(b []byte, row *Row) (rest []byte, ok bool) {
	const times, space = 10, 7 // bytes of a key and its value
	if len(b) < 4 || b[0] != 0x83 || b[1] != keyType || b[2] != byte(TypeInsert) || b[3] != keyLSN {
		return nil, false
	}
	lsn, b, err := msgpack.ReadUint(b[4:])
	if err != nil || len(b) < times+space+2 || b[0] != keyTimestamp || b[1] != 0xcb {
		return nil, false
	}
	stamp := math.Float64frombits(binary.BigEndian.Uint64(b[2:]))
	b = b[times:]
	if b[0] != 0x82 || b[1] != keySpaceID || b[2] != 0xce || b[space] != keyTuple {
		return nil, false
	}
	row.Type, row.LSN, row.Timestamp, row.SpaceID = TypeInsert, lsn, stamp, binary.BigEndian.Uint32(b[3:])
	rest, err = readRaw(b[space+1:], &row.Tuple, isArray)
	return rest, err == nil
}

var errKeyTwice = errors.New("a key occurs twice")

func decodeRowHeader(b []byte, row *Row) (rest []byte, err error) {
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return nil, err
	}
	var seen uint64
	for ; n > 0; n-- {
		var key, value uint64
		if key, b, err = msgpack.ReadUint(b); err != nil {
			return nil, err
		}
		if key < 64 {
			if seen&(1<<key) != 0 {
				return nil, errKeyTwice
			}
			seen |= 1 << key
		}
		switch key {
		case keyTimestamp:
			row.Timestamp, b, err = msgpack.ReadFloat(b)
		case keyType, keyReplicaID, keyGroupID, keyLSN, keyTSN, keyFlags, keyStreamID:
			if value, b, err = msgpack.ReadUint(b); err == nil {
				err = row.setHeader(key, value)
			}
		default:
			b, err = msgpack.Skip(b)
		}
		if err != nil {
			return nil, fmt.Errorf("key %#02x: %w", key, err)
		}
	}
	if seen&(1<<keyType) == 0 {
		return nil, errors.New("it has no type")
	}
	return b, nil
}

var errTooLarge = errors.New("the number is too large")

func (r *Row) setHeader(key, value uint64) error {
	switch key {
	case keyLSN:
		r.LSN = value
		return nil
	case keyTSN:
		r.TSN, r.HasTSN = value, true
		return nil
	case keyFlags:
		r.Flags = value
		return nil
	case keyStreamID:
		r.StreamID = value
		return nil
	}
	if value > math.MaxUint32 {
		return errTooLarge
	}
	switch key {
	case keyType:
		r.Type = uint32(value)
	case keyReplicaID:
		r.ReplicaID = uint32(value)
	case keyGroupID:
		r.GroupID = uint32(value)
	}
	return nil
}

func decodeRowBody(b []byte, row *Row, inSpace bool) (rest []byte, err error) {
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return nil, err
	}
	var seen uint64
	for ; n > 0; n-- {
		var key uint64
		if key, b, err = msgpack.ReadUint(b); err != nil {
			return nil, err
		}
		if key < 64 {
			if seen&(1<<key) != 0 {
				return nil, errKeyTwice
			}
			seen |= 1 << key
		}
		if b, err = row.decodeField(key, b); err != nil {
			return nil, fmt.Errorf("key %#02x: %w", key, err)
		}
	}
	if inSpace && seen&(1<<keySpaceID) == 0 {
		return nil, errors.New("it has no space id")
	}
	return b, nil
}

func (r *Row) decodeField(key uint64, b []byte) (rest []byte, err error) {
	switch key {
	case keySpaceID:
		return readUint32(b, &r.SpaceID)
	case keyIndexID:
		return readUint32(b, &r.IndexID)
	case keyIndexBase:
		return readUint32(b, &r.IndexBase)
	case keyTuple:
		return readRaw(b, &r.Tuple, isArray)
	case keyKey:
		return readRaw(b, &r.Key, isArray)
	case keyOps:
		return readRaw(b, &r.Ops, isArray)
	case keyTupleMeta:
		return readRaw(b, &r.TupleMeta, isMap)
	case keyOldTuple:
		return readRaw(b, &r.OldTuple, isArray)
	case keyNewTuple:
		return readRaw(b, &r.NewTuple, isArray)
	}
	return msgpack.Skip(b)
}

func readUint32(b []byte, dst *uint32) (rest []byte, err error) {
	value, rest, err := msgpack.ReadUint(b)
	if err != nil {
		return nil, err
	}
	if value > math.MaxUint32 {
		return nil, errTooLarge
	}
	*dst = uint32(value)
	return rest, nil
}

func readRaw(b []byte, dst *[]byte, ok func(byte) bool) (rest []byte, err error) {
	if len(b) == 0 || !ok(b[0]) {
		return nil, errors.New("the value has the wrong type")
	}
	rest, err = msgpack.Skip(b)
	if err != nil {
		return nil, err
	}
	n := len(b) - len(rest)
	*dst = b[:n:n]
	return rest, nil
}
