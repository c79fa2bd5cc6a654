package msgpack

import (
	"encoding/binary"
	"math"
)

// UintTrusted returns the value of an unsigned encoding (TypeUint) at the start of checked bytes.
func UintTrusted(b []byte) uint64 {
	if b[0] < 0x80 {
		return uint64(b[0])
	}
	return uintWide(b)
}

// uintWide loads eight bytes at once where it may and shifts out what is not of the value.
func uintWide(b []byte) uint64 {
	if len(b) >= 9 {
		return binary.BigEndian.Uint64(b[1:9]) >> ("\x38\x30\x20\x00"[b[0]&3])
	}
	switch b[0] {
	case 0xcc:
		return uint64(b[1])
	case 0xcd:
		return uint64(binary.BigEndian.Uint16(b[1:]))
	}
	return uint64(binary.BigEndian.Uint32(b[1:]))
}

// IntTrusted returns the value of a signed encoding (TypeInt) at the start of checked bytes.
func IntTrusted(b []byte) int64 {
	switch b[0] {
	case 0xd0:
		return int64(int8(b[1]))
	case 0xd1:
		return int64(int16(binary.BigEndian.Uint16(b[1:])))
	case 0xd2:
		return int64(int32(binary.BigEndian.Uint32(b[1:])))
	case 0xd3:
		return int64(binary.BigEndian.Uint64(b[1:]))
	}
	return int64(int8(b[0]))
}

// FloatTrusted returns the value of a float of either width at the start of checked bytes.
func FloatTrusted(b []byte) float64 {
	if b[0] == 0xca {
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b[1:])))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b[1:]))
}

// RawTrusted returns the payload of a string or binary at the start of checked bytes, as a part of b.
func RawTrusted(b []byte) []byte {
	if c := b[0] ^ 0xa0; c < 32 {
		return b[1 : 1+int(c)]
	}
	return rawWide(b)
}

// rawWide is kept out of line so that its caller is inlined.
//
//go:noinline
func rawWide(b []byte) []byte {
	head, size, _ := rawSize(b)
	return b[head : head+int(size)]
}

// ExtTrusted returns type and payload of an extension value at the start of checked bytes.
func ExtTrusted(b []byte) (kind int8, v []byte) {
	head, size, _ := extSize(b)
	return int8(b[head-1]), b[head : head+int(size)]
}

// ArrayLenTrusted returns the count of the array at the start of checked bytes and what follows its header.
func ArrayLenTrusted(b []byte) (n int, rest []byte) {
	if c := b[0] ^ 0x90; c < 16 {
		return int(c), b[1:]
	}
	return arrayLenWide(b)
}

// arrayLenWide is kept out of line so that its caller is inlined.
//
//go:noinline
func arrayLenWide(b []byte) (n int, rest []byte) {
	n, head, _ := treeSize(b)
	return n, b[head:]
}

// SizeTrusted returns the length of the value at the start of checked bytes.
func SizeTrusted(b []byte) int {
	if n := int(fixed[b[0]]); n != 0 {
		return n
	}
	return sizeLong(b)
}

func sizeLong(b []byte) int {
	k := class[b[0]]
	if k&15 == sizeTree {
		return len(b) - len(skipTreeTrusted(b))
	}
	return scalarSizeLong(b, k)
}

// SkipTrusted returns what follows the first value of checked bytes.
func SkipTrusted(b []byte) []byte {
	if n := fixed[b[0]]; n != 0 {
		return b[n:]
	}
	return b[sizeLong(b):]
}

func skipTreeTrusted(b []byte) []byte {
	for left := 1; left > 0; left-- {
		if class[b[0]]&15 != sizeTree {
			b = b[scalarSize(b):]
			continue
		}
		n, head, _ := treeSize(b)
		if TypeOf(b[0]) == TypeMap {
			n *= 2
		}
		left += n
		b = b[head:]
	}
	return b
}
