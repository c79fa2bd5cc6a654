package iproto

import (
	"encoding/binary"
	"math"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Fields tells which keys a request carried.
type Fields uint64

// bit gives every key that a Request can hold a bit of its own: keys below 0x30 keep their number, higher ones take the
// numbers from 0x30 on, and keys that no request has get none.
func (k Key) bit() Fields {
	if k < 0x30 {
		return 1 << k
	}
	switch k {
	case KeySQLText:
		return 1 << 0x30
	case KeySQLBind:
		return 1 << 0x31
	case KeyStatementID:
		return 1 << 0x32
	case KeyVersion:
		return 1 << 0x33
	case KeyFeatures:
		return 1 << 0x34
	case KeyAuthType:
		return 1 << 0x35
	case KeySpaceName:
		return HasSpaceName
	case KeyIndexName:
		return HasIndexName
	case KeyEventKey:
		return needEvent
	}
	return 0
}

// The bits of fields that few requests have, so that one look tells that all of them are missing.
const (
	HasFetchPosition = Fields(1) << KeyFetchPosition
	HasAfterPosition = Fields(1) << KeyAfterPosition
	HasAfterTuple    = Fields(1) << KeyAfterTuple
	HasSpaceName     = Fields(1) << 0x36
	HasIndexName     = Fields(1) << 0x37
)

// Has reports whether the request carried the key.
func (f Fields) Has(k Key) bool { return f&k.bit() != 0 }

// Request is one decoded request. Byte slices are parts of the frame: whoever keeps a request longer than its frame
// copies them.
type Request struct {
	Type Type
	// Has tells which keys were there, header keys included. A field whose key was not there is zero.
	Has           Fields
	Sync          uint64
	SchemaVersion uint64
	StreamID      uint64

	SpaceID   uint32
	IndexID   uint32
	Limit     uint32
	Offset    uint32
	Iterator  uint32
	IndexBase uint32

	// FetchPosition asks for the position of the last tuple that SELECT returns. AfterPosition is such a position, the
	// contents of a string, and AfterTuple an array with its header: SELECT goes on behind either.
	FetchPosition bool
	AfterPosition []byte
	AfterTuple    []byte

	// Key, Tuple and Ops are MessagePack arrays with their headers, checked to be well-formed. UPDATE carries its
	// operations in Tuple on the wire; DecodeRequest gives them as Ops.
	Key, Tuple, Ops []byte
	// Function, Expr, User, SQL, SpaceName, IndexName and AuthType are the bytes of strings, without header. Where both
	// an id and a name are given, the name counts.
	Function, Expr, User, SQL []byte
	SpaceName, IndexName      []byte
	AuthType                  []byte
	// Binds, Options and Features are arrays with their headers.
	Binds, Options, Features []byte
	StatementID              uint32
	// EventKey is the contents of the string that names what WATCH, UNWATCH and WATCH_ONCE are about.
	EventKey []byte
	// Version is the protocol version that an ID request announces.
	Version uint64
	// Body is the whole body map, nil if the frame had none.
	Body []byte
}

var errHeader = errcode.New(errcode.InvalidMsgPack, "packet header")
var errBody = errcode.New(errcode.InvalidMsgPack, "packet body")

// DecodeRequest reads a frame's payload (what follows its length) into r, which it clears first. Errors are those that
// the client gets: 20 for bytes that are no request, 69 for a missing field, with Tarantool 2.6's texts. After an error
// of the body or of a missing field r holds the header, so that the reply can carry the sync. A type that is not known
// is no error here.
func DecodeRequest(payload []byte, r *Request) error {
	body, err := DecodeHeader(payload, r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return checkFields(r)
	}
	if err := decodeBody(body, r); err != nil {
		return err
	}
	r.Body = body
	if r.Type == TypeUpdate {
		r.Ops, r.Tuple = r.Tuple, nil
	}
	return checkFields(r)
}

// DecodeHeader reads the header map of a payload into r, which it clears first, and returns the bytes behind it: the
// body, empty if there is none. The body is not looked at.
func DecodeHeader(payload []byte, r *Request) (body []byte, err error) {
	*r = Request{}
	b := payload
	if len(b) == 0 || msgpack.TypeOf(b[0]) != msgpack.TypeMap {
		return nil, errHeader
	}
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return nil, errHeader
	}
	for ; n > 0; n-- {
		if len(b) < 2 {
			return nil, errHeader
		}
		// The short form: a one-byte key and a value of at most 32 bits.
		if key := b[0]; key < 0x80 && key != 0x04 {
			if value, size := shortUint(b[1:]); size > 0 {
				b = b[1+size:]
				r.setHeader(Key(key), uint64(value))
				continue
			}
		}
		if b, err = r.headerPair(b); err != nil {
			return nil, errHeader
		}
	}
	return b, nil
}

// headerPair reads one pair of any form.
func (r *Request) headerPair(b []byte) (rest []byte, err error) {
	if msgpack.TypeOf(b[0]) != msgpack.TypeUint {
		if b, err = msgpack.Skip(b); err != nil {
			return nil, err
		}
		return msgpack.Skip(b)
	}
	key, b, err := msgpack.ReadUint(b)
	if err != nil {
		return nil, err
	}
	if key > 0x0b {
		return msgpack.Skip(b)
	}
	if key == 0x04 {
		_, b, err = msgpack.ReadFloat(b)
		return b, err
	}
	value, b, err := msgpack.ReadUint(b)
	if err == nil && !r.setHeader(Key(key), value) {
		err = errHeader
	}
	return b, err
}

// setHeader stores the value of a header key; false if it cannot be held.
func (r *Request) setHeader(k Key, v uint64) bool {
	switch k {
	case KeyType:
		if v > math.MaxUint32 {
			return false
		}
		r.Type = Type(v)
	case KeySync:
		r.Sync = v
	case KeySchemaVersion:
		r.SchemaVersion = v
	case KeyStreamID:
		r.StreamID = v
	default:
		return true
	}
	r.Has |= 1 << k
	return true
}

// decodeBody reads the body map: keys that are known must have their type, others are skipped, and nothing may follow.
func decodeBody(b []byte, r *Request) error {
	if msgpack.TypeOf(b[0]) != msgpack.TypeMap {
		return errBody
	}
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return errBody
	}
	for ; n > 0; n-- {
		if len(b) < 2 {
			return errBody
		}
		if key := b[0]; key-byte(KeySpaceID) <= byte(KeyIndexBase-KeySpaceID) {
			if v, size := shortUint(b[1:]); size > 0 {
				r.setID(Key(key), v)
				b = b[1+size:]
				continue
			}
		}
		if b, err = r.bodyPair(b); err != nil {
			return errBody
		}
	}
	if len(b) != 0 {
		return errBody
	}
	return nil
}

// shortUint reads an unsigned integer of at most 32 bits; size is 0 for anything else.
func shortUint(b []byte) (v uint32, size int) {
	switch c := b[0]; {
	case c < 0x80:
		return uint32(c), 1
	case c == 0xce && len(b) >= 5:
		return binary.BigEndian.Uint32(b[1:]), 5
	case c == 0xcd && len(b) >= 3:
		return uint32(binary.BigEndian.Uint16(b[1:])), 3
	case c == 0xcc && len(b) >= 2:
		return uint32(b[1]), 2
	}
	return 0, 0
}

// setID stores the value of one of the keys from KeySpaceID to KeyIndexBase.
func (r *Request) setID(k Key, v uint32) {
	r.Has |= 1 << (k & 0x3f)
	switch k {
	case KeySpaceID:
		r.SpaceID = v
	case KeyIndexID:
		r.IndexID = v
	case KeyLimit:
		r.Limit = v
	case KeyOffset:
		r.Offset = v
	case KeyIterator:
		r.Iterator = v
	default:
		r.IndexBase = v
	}
}

// bodyPair reads one pair of any form.
func (r *Request) bodyPair(b []byte) (rest []byte, err error) {
	key := uint64(b[0])
	if key < 0x80 {
		b = b[1:]
	} else if key, b, err = bodyKey(b); err != nil {
		return nil, err
	}
	if key >= uint64(len(bodyKinds)) {
		return msgpack.Skip(b)
	}
	return r.bodyValue(Key(key), b)
}

// bodyKey reads a key that is not one byte; a key that is no unsigned integer becomes one that nobody knows.
func bodyKey(b []byte) (key uint64, rest []byte, err error) {
	if msgpack.TypeOf(b[0]) == msgpack.TypeUint {
		return msgpack.ReadUint(b)
	}
	rest, err = msgpack.Skip(b)
	return math.MaxUint64, rest, err
}

// kind is what a body key must hold.
type kind uint8

const (
	kindAny kind = iota
	kindUint
	kindArray
	kindStr
	kindMap
	kindBool
	kindFloat
)

// bodyKinds is the table of Tarantool's body keys and their types; 0 = not known, any value is skipped.
var bodyKinds = [0x80]kind{
	0x10: kindUint, 0x11: kindUint, 0x12: kindUint, 0x13: kindUint, 0x14: kindUint, 0x15: kindUint, 0x1f: kindBool,
	0x20: kindArray, 0x21: kindArray, 0x22: kindStr, 0x23: kindStr, 0x24: kindStr, 0x25: kindStr, 0x26: kindMap,
	0x27: kindStr, 0x28: kindArray, 0x29: kindMap, 0x2a: kindMap, 0x2b: kindArray, 0x2c: kindArray, 0x2d: kindArray,
	0x2e: kindStr, 0x2f: kindArray, 0x40: kindStr, 0x41: kindArray, 0x43: kindUint, 0x54: kindUint, 0x55: kindArray,
	0x56: kindFloat, 0x57: kindStr, 0x59: kindUint, 0x5b: kindStr, 0x5e: kindStr, 0x5f: kindStr, 0x61: kindBool,
}

// bodyValue reads the value of a body key at the start of b.
func (r *Request) bodyValue(k Key, b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errBody
	}
	switch bodyKinds[k] {
	case kindUint:
		v, b, err := msgpack.ReadUint(b)
		if err != nil {
			return nil, err
		}
		return b, r.setUint(k, v)
	case kindArray:
		if msgpack.TypeOf(b[0]) != msgpack.TypeArray {
			return nil, errBody
		}
		if rest, err = skipArray(b); err != nil {
			return nil, err
		}
		end := len(b) - len(rest)
		r.setBytes(k, b[:end:end])
		return rest, nil
	case kindStr:
		v, rest, err := msgpack.ReadStr(b)
		if err == nil {
			r.setBytes(k, v)
		}
		return rest, err
	case kindMap:
		return skipOf(b, msgpack.TypeMap)
	case kindBool:
		v, rest, err := msgpack.ReadBool(b)
		if err == nil && k == KeyFetchPosition {
			r.FetchPosition = v
			r.Has |= k.bit()
		}
		return rest, err
	case kindFloat:
		_, b, err = msgpack.ReadFloat(b)
		return b, err
	}
	return msgpack.Skip(b)
}

// skipArray skips an array: a short one of scalars, as most keys and tuples are, without the bookkeeping for nesting.
func skipArray(b []byte) (rest []byte, err error) {
	if b[0]&0xf0 != 0x90 {
		return msgpack.Skip(b)
	}
	rest = b[1:]
	for n := b[0] & 0x0f; n > 0; n-- {
		if len(rest) == 0 {
			return nil, msgpack.ErrTruncated
		}
		if t := msgpack.TypeOf(rest[0]); t == msgpack.TypeArray || t == msgpack.TypeMap {
			return msgpack.Skip(b)
		}
		if rest, err = msgpack.Skip(rest); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// skipOf skips a value that must have type t.
func skipOf(b []byte, t msgpack.Type) (rest []byte, err error) {
	if msgpack.TypeOf(b[0]) != t {
		return nil, errBody
	}
	return msgpack.Skip(b)
}

// setUint stores an unsigned value. Ids that do not fit into 32 bits are refused; a limit or an offset beyond it means
// the same as the largest one.
func (r *Request) setUint(k Key, v uint64) error {
	if v > math.MaxUint32 && k != KeyVersion {
		if k != KeyLimit && k != KeyOffset {
			return errBody
		}
		v = math.MaxUint32
	}
	switch k {
	case KeySpaceID, KeyIndexID, KeyLimit, KeyOffset, KeyIterator, KeyIndexBase:
		r.setID(k, uint32(v))
		return nil
	case KeyStatementID:
		r.StatementID = uint32(v)
	case KeyVersion:
		r.Version = v
	default:
		return nil
	}
	r.Has |= k.bit()
	return nil
}

// setBytes stores an array or the contents of a string.
func (r *Request) setBytes(k Key, v []byte) {
	switch k {
	case KeyKey:
		r.Key = v
	case KeyTuple:
		r.Tuple = v
	case KeyOps:
		r.Ops = v
	case KeyFunction:
		r.Function = v
	case KeyExpr:
		r.Expr = v
	case KeyUser:
		r.User = v
	case KeySQLText:
		r.SQL = v
	case KeySQLBind:
		r.Binds = v
	case KeyOptions:
		r.Options = v
	case KeyFeatures:
		r.Features = v
	case KeyAuthType:
		r.AuthType = v
	case KeySpaceName:
		r.SpaceName = v
	case KeyIndexName:
		r.IndexName = v
	case KeyAfterPosition:
		r.AfterPosition = v
	case KeyAfterTuple:
		r.AfterTuple = v
	case KeyEventKey:
		r.EventKey = v
	default:
		return
	}
	r.Has |= k.bit()
}

const (
	needSpace   = Fields(1) << KeySpaceID
	needLimit   = Fields(1) << KeyLimit
	needKey     = Fields(1) << KeyKey
	needTuple   = Fields(1) << KeyTuple
	needEvent   = Fields(1) << 0x38
	requiredMax = TypeWatchOnce + 1
)

// required is the table of the fields without which a request of a type is refused.
var required = [requiredMax]Fields{
	TypeSelect:  needSpace | needLimit | needKey,
	TypeInsert:  needSpace | needTuple,
	TypeReplace: needSpace | needTuple,
	TypeUpdate:  needSpace | needKey | needTuple,
	TypeDelete:  needSpace | needKey,
	TypeUpsert:  needSpace | needTuple | 1<<KeyOps,
	TypeCall16:  1 << KeyFunction,
	TypeCall:    1 << KeyFunction,
	TypeEval:    1 << KeyExpr,
	TypeAuth:    1<<KeyUser | needTuple,

	TypeWatch: needEvent, TypeUnwatch: needEvent, TypeWatchOnce: needEvent,
}

// fieldWords names fields in error 69 as Tarantool 2.6 does, in the order in which a missing one is looked for.
var fieldWords = []struct {
	key  Key
	word string
}{
	{KeySpaceID, "space id"}, {KeyLimit, "limit"}, {KeyKey, "key"}, {KeyTuple, "tuple"},
	{KeyFunction, "function name"}, {KeyUser, "user name"}, {KeyExpr, "expression"}, {KeyOps, "operations"},
	{KeyEventKey, "event key"},
}

// checkFields returns error 69 for the first field that the request's type needs and that is not there. A space may be
// given by its name instead of its id.
func checkFields(r *Request) error {
	if r.Type >= requiredMax {
		return nil
	}
	if r.Type == TypeExecute || r.Type == TypePrepare {
		return checkStatement(r)
	}
	missing := required[r.Type] &^ r.Has
	if r.Has.Has(KeySpaceName) {
		missing &^= needSpace
	}
	if missing == 0 {
		return nil
	}
	for _, f := range fieldWords {
		if missing.Has(f.key) {
			return errcode.New(errcode.MissingRequestField, f.word)
		}
	}
	return nil
}

// checkStatement checks that an SQL request names its statement once.
func checkStatement(r *Request) error {
	text, id := r.Has.Has(KeySQLText), r.Has.Has(KeyStatementID)
	switch {
	case !text && !id:
		return errcode.New(errcode.MissingRequestField, "SQL text or stmt id")
	case text && id:
		return errBody
	}
	return nil
}
