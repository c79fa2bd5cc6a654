// Package msgpack reads, writes and skips MessagePack in byte slices, without reflection and without allocating.
// Pure. It knows the encoding only: what a tuple is and how values compare is decided by package tuple.
//
// Two families of readers exist. The checked ones (Read*, Skip, Check) take foreign bytes: they never panic and never
// trust a length. The trusted ones (*Trusted) are for bytes that passed Check once, such as stored tuples.
package msgpack

import "errors"

// Type is the kind of a value, told by its first byte alone.
type Type uint8

// The kinds. TypeUint is what was written with an unsigned encoding, TypeInt with a signed one, so that byte d0 05 is
// a TypeInt with the value 5, as in Tarantool.
const (
	TypeBad Type = iota
	TypeUint
	TypeInt
	TypeNil
	TypeBool
	TypeFloat32
	TypeFloat64
	TypeStr
	TypeBin
	TypeArray
	TypeMap
	TypeExt
)

// DepthMax is how deep arrays and maps may be nested in bytes that the checked readers accept.
const DepthMax = 64

// The reasons why bytes are refused.
var (
	ErrTruncated = errors.New("msgpack: value is cut off")
	ErrType      = errors.New("msgpack: value has another type")
	ErrRange     = errors.New("msgpack: integer does not fit")
	ErrDepth     = errors.New("msgpack: nested too deep")
	ErrBadByte   = errors.New("msgpack: byte c1 is not a value")
	ErrTrailing  = errors.New("msgpack: bytes after the value")
)

// String returns the kind's name in lower case.
func (t Type) String() string {
	switch t {
	case TypeUint:
		return "uint"
	case TypeInt:
		return "int"
	case TypeNil:
		return "nil"
	case TypeBool:
		return "bool"
	case TypeFloat32:
		return "float32"
	case TypeFloat64:
		return "float64"
	case TypeStr:
		return "str"
	case TypeBin:
		return "bin"
	case TypeArray:
		return "array"
	case TypeMap:
		return "map"
	case TypeExt:
		return "ext"
	}
	return "bad"
}

// TypeOf tells the kind of the value that starts with byte c.
func TypeOf(c byte) Type { return Type(class[c] >> 4) }

// class describes every first byte: the kind in the high half; in the low half the whole length of a value of fixed
// length (1-9), or one of the codes below.
var class = makeClass()

const (
	sizeLen8  = 10 // a one-byte length follows (str8, bin8)
	sizeLen16 = 11
	sizeLen32 = 12
	sizeExt   = 13 // length, then a type byte; or a fixed ext longer than 9 bytes
	sizeTree  = 14 // array or map
	sizeStr   = 15 // length within the byte itself; also byte c1
)

// fixed holds the whole length of the value that starts with a byte, if the byte alone tells it, else 0.
var fixed = makeFixed()

func makeFixed() (t [256]uint8) {
	for c, k := range class {
		if size := k & 15; size < sizeLen8 {
			t[c] = size
		}
	}
	for c := 0xa0; c <= 0xbf; c++ {
		t[c] = uint8(1 + c&31)
	}
	for n := range 5 {
		t[0xd4+n] = uint8(2 + 1<<n)
	}
	return t
}

func makeClass() (t [256]uint8) {
	set := func(from, to int, k Type, size uint8) {
		for c := from; c <= to; c++ {
			t[c] = uint8(k)<<4 | size
		}
	}
	set(0x00, 0x7f, TypeUint, 1)
	set(0x80, 0x8f, TypeMap, sizeTree)
	set(0x90, 0x9f, TypeArray, sizeTree)
	set(0xa0, 0xbf, TypeStr, sizeStr)
	set(0xc0, 0xc0, TypeNil, 1)
	set(0xc1, 0xc1, TypeBad, sizeStr)
	set(0xc2, 0xc3, TypeBool, 1)
	set(0xc4, 0xc4, TypeBin, sizeLen8)
	set(0xc5, 0xc5, TypeBin, sizeLen16)
	set(0xc6, 0xc6, TypeBin, sizeLen32)
	set(0xc7, 0xc9, TypeExt, sizeExt)
	set(0xca, 0xca, TypeFloat32, 5)
	set(0xcb, 0xcb, TypeFloat64, 9)
	set(0xcc, 0xcc, TypeUint, 2)
	set(0xcd, 0xcd, TypeUint, 3)
	set(0xce, 0xce, TypeUint, 5)
	set(0xcf, 0xcf, TypeUint, 9)
	set(0xd0, 0xd0, TypeInt, 2)
	set(0xd1, 0xd1, TypeInt, 3)
	set(0xd2, 0xd2, TypeInt, 5)
	set(0xd3, 0xd3, TypeInt, 9)
	set(0xd4, 0xd4, TypeExt, 3)
	set(0xd5, 0xd5, TypeExt, 4)
	set(0xd6, 0xd6, TypeExt, 6)
	set(0xd7, 0xd8, TypeExt, sizeExt)
	set(0xd9, 0xd9, TypeStr, sizeLen8)
	set(0xda, 0xda, TypeStr, sizeLen16)
	set(0xdb, 0xdb, TypeStr, sizeLen32)
	set(0xdc, 0xdd, TypeArray, sizeTree)
	set(0xde, 0xdf, TypeMap, sizeTree)
	set(0xe0, 0xff, TypeInt, 1)
	return t
}
