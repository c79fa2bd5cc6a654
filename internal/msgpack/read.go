package msgpack

import (
	"encoding/binary"
	"math"
)

// ReadUint reads an integer of any width that is not negative. ErrType for other kinds, ErrRange for a negative one.
func ReadUint(b []byte) (v uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, b, ErrTruncated
	}
	c := b[0]
	if c < 0x80 {
		return uint64(c), b[1:], nil
	}
	switch TypeOf(c) {
	case TypeUint:
		n := int(class[c] & 15)
		if len(b) < n {
			return 0, b, ErrTruncated
		}
		return UintTrusted(b), b[n:], nil
	case TypeInt:
		i, rest, err := ReadInt(b)
		if err == nil && i < 0 {
			return 0, b, ErrRange
		}
		return uint64(i), rest, err
	}
	return 0, b, ErrType
}

// ReadInt reads an integer of any width that fits into an int64. ErrType for other kinds, ErrRange for a larger one.
func ReadInt(b []byte) (v int64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, b, ErrTruncated
	}
	c := b[0]
	t := TypeOf(c)
	if t != TypeUint && t != TypeInt {
		return 0, b, ErrType
	}
	n := int(class[c] & 15)
	if len(b) < n {
		return 0, b, ErrTruncated
	}
	if t == TypeInt {
		return IntTrusted(b), b[n:], nil
	}
	u := UintTrusted(b)
	if u > math.MaxInt64 {
		return 0, b, ErrRange
	}
	return int64(u), b[n:], nil
}

// ReadBool reads a boolean.
func ReadBool(b []byte) (v bool, rest []byte, err error) {
	if len(b) == 0 {
		return false, b, ErrTruncated
	}
	if b[0] != 0xc2 && b[0] != 0xc3 {
		return false, b, ErrType
	}
	return b[0] == 0xc3, b[1:], nil
}

// ReadNil reads nil; is reports whether the value was nil, and if it was not, rest is b itself.
func ReadNil(b []byte) (is bool, rest []byte, err error) {
	if len(b) == 0 {
		return false, b, ErrTruncated
	}
	if b[0] != 0xc0 {
		return false, b, nil
	}
	return true, b[1:], nil
}

// ReadFloat reads a float of either width, or an integer, as a float64 (integers beyond 2^53 are rounded).
func ReadFloat(b []byte) (v float64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, b, ErrTruncated
	}
	c := b[0]
	n := int(class[c] & 15)
	switch TypeOf(c) {
	case TypeFloat32, TypeFloat64, TypeUint, TypeInt:
		if len(b) < n {
			return 0, b, ErrTruncated
		}
	default:
		return 0, b, ErrType
	}
	switch TypeOf(c) {
	case TypeUint:
		return float64(UintTrusted(b)), b[n:], nil
	case TypeInt:
		return float64(IntTrusted(b)), b[n:], nil
	}
	return FloatTrusted(b), b[n:], nil
}

// ReadStr reads a string; v is a part of b.
func ReadStr(b []byte) (v, rest []byte, err error) {
	if len(b) == 0 {
		return nil, b, ErrTruncated
	}
	if TypeOf(b[0]) != TypeStr {
		return nil, b, ErrType
	}
	return readRaw(b)
}

// ReadBin reads a binary; v is a part of b.
func ReadBin(b []byte) (v, rest []byte, err error) {
	if len(b) == 0 {
		return nil, b, ErrTruncated
	}
	if TypeOf(b[0]) != TypeBin {
		return nil, b, ErrType
	}
	return readRaw(b)
}

// readRaw reads the payload of a string or binary.
func readRaw(b []byte) (v, rest []byte, err error) {
	head, size, ok := rawSize(b)
	if !ok || uint64(len(b)-head) < uint64(size) {
		return nil, b, ErrTruncated
	}
	end := head + int(size)
	return b[head:end:end], b[end:], nil
}

// rawSize returns the lengths of header and payload of a string or binary; ok is false if the header is cut off.
func rawSize(b []byte) (head int, size uint32, ok bool) {
	switch class[b[0]] & 15 {
	case sizeLen8:
		if len(b) >= 2 {
			return 2, uint32(b[1]), true
		}
	case sizeLen16:
		if len(b) >= 3 {
			return 3, uint32(binary.BigEndian.Uint16(b[1:])), true
		}
	case sizeLen32:
		if len(b) >= 5 {
			return 5, binary.BigEndian.Uint32(b[1:]), true
		}
	default:
		return 1, uint32(b[0] & 31), true
	}
	return 0, 0, false
}

// ReadArrayLen reads the header of an array. A count of values that the bytes behind it cannot hold is ErrTruncated,
// so that n may be used as a capacity.
func ReadArrayLen(b []byte) (n int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, b, ErrTruncated
	}
	if TypeOf(b[0]) != TypeArray {
		return 0, b, ErrType
	}
	n, head, ok := treeSize(b)
	if !ok || n > len(b)-head {
		return 0, b, ErrTruncated
	}
	return n, b[head:], nil
}

// ReadMapLen reads the header of a map; n is the number of pairs, refused as in ReadArrayLen.
func ReadMapLen(b []byte) (n int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, b, ErrTruncated
	}
	if TypeOf(b[0]) != TypeMap {
		return 0, b, ErrType
	}
	n, head, ok := treeSize(b)
	if !ok || n > (len(b)-head)/2 {
		return 0, b, ErrTruncated
	}
	return n, b[head:], nil
}

// treeSize returns count and header length of an array or map.
func treeSize(b []byte) (n, head int, ok bool) {
	switch c := b[0]; {
	case c < 0xa0:
		return int(c & 15), 1, true
	case c == 0xdc || c == 0xde:
		if len(b) >= 3 {
			return int(binary.BigEndian.Uint16(b[1:])), 3, true
		}
	default:
		if len(b) >= 5 {
			return int(binary.BigEndian.Uint32(b[1:])), 5, true
		}
	}
	return 0, 0, false
}

// ReadExt reads an extension value: its type and its bytes, which are a part of b.
func ReadExt(b []byte) (kind int8, v, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, b, ErrTruncated
	}
	if TypeOf(b[0]) != TypeExt {
		return 0, nil, b, ErrType
	}
	head, size, ok := extSize(b)
	if !ok || uint64(len(b)-head) < uint64(size) {
		return 0, nil, b, ErrTruncated
	}
	end := head + int(size)
	return int8(b[head-1]), b[head:end:end], b[end:], nil
}

// extSize returns the lengths of header (with the type byte) and payload of an extension value.
func extSize(b []byte) (head int, size uint32, ok bool) {
	switch c := b[0]; c {
	case 0xc7:
		if len(b) >= 3 {
			return 3, uint32(b[1]), true
		}
	case 0xc8:
		if len(b) >= 4 {
			return 4, uint32(binary.BigEndian.Uint16(b[1:])), true
		}
	case 0xc9:
		if len(b) >= 6 {
			return 6, binary.BigEndian.Uint32(b[1:]), true
		}
	default:
		if len(b) >= 2 {
			return 2, 1 << (c - 0xd4), true
		}
	}
	return 0, 0, false
}
