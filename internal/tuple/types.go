// Package tuple gives meaning to rows: field types, index keys and their order, formats, and the operations of UPDATE
// and UPSERT. Pure. A tuple is the raw bytes of one MessagePack array; nothing here keeps or copies tuples, stores
// them, or knows spaces and users: that is package box.
//
// Functions that compare, hash or extract take tuples that passed Format.Validate and keys that passed
// KeyDef.ValidateKey, and do not allocate. Types, order and texts are as Tarantool 2.6 has them.
package tuple

import "github.com/lycosadb/lycosa/internal/msgpack"

// FieldType is the declared type of a tuple field or index part.
type FieldType uint8

// The field types. Any takes every value; Scalar takes all that can be ordered together.
const (
	Any FieldType = iota
	Unsigned
	Integer
	Number
	Double
	String
	Varbinary
	Boolean
	Scalar
	Array
	Map
	Decimal
	UUID
	Datetime
	Interval
	fieldTypes
)

// Extension types of MessagePack that have a meaning in tuples.
const (
	extDecimal  = 1
	extUUID     = 2
	extDatetime = 4
	extInterval = 6
)

// String returns the name as it stands in formats and error texts.
func (t FieldType) String() string {
	switch t {
	case Any:
		return "any"
	case Unsigned:
		return "unsigned"
	case Integer:
		return "integer"
	case Number:
		return "number"
	case Double:
		return "double"
	case String:
		return "string"
	case Varbinary:
		return "varbinary"
	case Boolean:
		return "boolean"
	case Scalar:
		return "scalar"
	case Array:
		return "array"
	case Map:
		return "map"
	case Decimal:
		return "decimal"
	case UUID:
		return "uuid"
	case Datetime:
		return "datetime"
	case Interval:
		return "interval"
	}
	return "unknown"
}

// ParseFieldType finds a type by its name; the short names uint, num, int, str and * are taken too (num is unsigned).
func ParseFieldType(name string) (FieldType, bool) {
	switch name {
	case "uint", "num":
		return Unsigned, true
	case "int":
		return Integer, true
	case "str":
		return String, true
	case "*":
		return Any, true
	}
	for t := Any; t < fieldTypes; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return Any, false
}

// Bits of a mask of accepted kinds: bit i below 16 is msgpack.Type i, the rest are extension types.
const (
	bitUint     = 1 << msgpack.TypeUint
	bitInt      = 1 << msgpack.TypeInt
	bitNil      = 1 << msgpack.TypeNil
	bitBool     = 1 << msgpack.TypeBool
	bitFloat    = 1 << msgpack.TypeFloat32
	bitDouble   = 1 << msgpack.TypeFloat64
	bitStr      = 1 << msgpack.TypeStr
	bitBin      = 1 << msgpack.TypeBin
	bitArray    = 1 << msgpack.TypeArray
	bitMap      = 1 << msgpack.TypeMap
	bitDecimal  = 1 << 16
	bitUUID     = 1 << 17
	bitDatetime = 1 << 18
	bitInterval = 1 << 19
	bitsExt     = bitDecimal | bitUUID | bitDatetime | bitInterval
	bitsNumber  = bitUint | bitInt | bitFloat | bitDouble | bitDecimal
	bitsScalar  = bitsNumber | bitStr | bitBin | bitBool
)

// mask returns the kinds that a field of type t accepts, nil apart.
func (t FieldType) mask() uint32 {
	switch t {
	case Any:
		return bitsScalar | bitNil | bitArray | bitMap | bitsExt
	case Unsigned:
		return bitUint
	case Integer:
		return bitUint | bitInt
	case Number:
		return bitsNumber
	case Double:
		return bitDouble // a four-byte float is refused, as Tarantool 2.6 does
	case String:
		return bitStr
	case Varbinary:
		return bitBin
	case Boolean:
		return bitBool
	case Scalar:
		return bitsScalar
	case Array:
		return bitArray
	case Map:
		return bitMap
	case Decimal:
		return bitDecimal
	case UUID:
		return bitUUID
	case Datetime:
		return bitDatetime
	case Interval:
		return bitInterval
	}
	return 0
}

// indexable reports whether values of type t can be ordered in an index.
func (t FieldType) indexable() bool {
	switch t {
	case Unsigned, Integer, Number, Double, String, Varbinary, Boolean, Scalar, Decimal, UUID, Datetime:
		return true
	}
	return false
}

// kindBit returns the mask bit of the value that checked bytes start with, 0 for an extension that is unknown or
// malformed.
func kindBit(b []byte) uint32 {
	t := msgpack.TypeOf(b[0])
	if t != msgpack.TypeExt {
		return 1 << t
	}
	kind, data := msgpack.ExtTrusted(b)
	switch kind {
	case extDecimal:
		if _, ok := parseDecimal(data); ok {
			return bitDecimal
		}
	case extUUID:
		if len(data) == 16 {
			return bitUUID
		}
	case extDatetime:
		if _, ok := parseDatetime(data); ok {
			return bitDatetime
		}
	case extInterval:
		if validInterval(data) {
			return bitInterval
		}
	}
	return 0
}

// cursor reads fields of a tuple in turn; going forward costs no second walk.
type cursor struct {
	tup  []byte
	b    []byte
	pos  uint32
	size uint32
}

// nilField stands for a field that a tuple does not have.
const nilField = "\xc0"

func newCursor(tup []byte) cursor {
	n, b := msgpack.ArrayLenTrusted(tup)
	return cursor{tup: tup, b: b, size: uint32(n)}
}

// at returns the bytes from field i on, or nil if there is no such field.
func (c *cursor) at(i uint32) []byte {
	if i >= c.size {
		return nil
	}
	if i < c.pos {
		_, c.b = msgpack.ArrayLenTrusted(c.tup)
		c.pos = 0
	}
	for ; c.pos < i; c.pos++ {
		c.b = msgpack.SkipTrusted(c.b)
	}
	return c.b
}

// FieldAt returns the bytes of field i (0-based) of a checked tuple, or nil if it has no such field.
func FieldAt(tup []byte, i int) []byte {
	c := newCursor(tup)
	b := c.at(uint32(i))
	if b == nil {
		return nil
	}
	return b[:msgpack.SizeTrusted(b)]
}

// FieldCount returns how many fields a checked tuple has.
func FieldCount(tup []byte) int {
	n, _ := msgpack.ArrayLenTrusted(tup)
	return n
}
