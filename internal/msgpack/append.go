package msgpack

import (
	"encoding/binary"
	"math"
)

// AppendUint appends v in its smallest encoding.
func AppendUint(dst []byte, v uint64) []byte {
	switch {
	case v < 0x80:
		return append(dst, byte(v))
	case v <= math.MaxUint8:
		return append(dst, 0xcc, byte(v))
	case v <= math.MaxUint16:
		return append(dst, 0xcd, byte(v>>8), byte(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xcf), v)
}

// AppendInt appends v in its smallest encoding: an unsigned one if v is not negative.
func AppendInt(dst []byte, v int64) []byte {
	switch {
	case v >= 0:
		return AppendUint(dst, uint64(v))
	case v >= -32:
		return append(dst, byte(v))
	case v >= math.MinInt8:
		return append(dst, 0xd0, byte(v))
	case v >= math.MinInt16:
		return append(dst, 0xd1, byte(v>>8), byte(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(v))
}

// AppendUint32Fixed appends v as ce and four bytes whatever its size, for places that are filled in later.
func AppendUint32Fixed(dst []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0xce), v)
}

// AppendUint64Fixed appends v as cf and eight bytes whatever its size.
func AppendUint64Fixed(dst []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0xcf), v)
}

// AppendNil appends nil.
func AppendNil(dst []byte) []byte { return append(dst, 0xc0) }

// AppendBool appends a boolean.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 0xc3)
	}
	return append(dst, 0xc2)
}

// AppendFloat32 appends a four-byte float.
func AppendFloat32(dst []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0xca), math.Float32bits(v))
}

// AppendFloat64 appends an eight-byte float.
func AppendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0xcb), math.Float64bits(v))
}

// AppendStrHeader appends the header of a string of n bytes, n < 2^32; the bytes are the caller's to add.
func AppendStrHeader(dst []byte, n int) []byte {
	switch {
	case n < 32:
		return append(dst, 0xa0|byte(n))
	case n <= math.MaxUint8:
		return append(dst, 0xd9, byte(n))
	case n <= math.MaxUint16:
		return append(dst, 0xda, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
}

// AppendStr appends a string.
func AppendStr(dst []byte, v string) []byte { return append(AppendStrHeader(dst, len(v)), v...) }

// AppendStrBytes appends a string given as bytes.
func AppendStrBytes(dst, v []byte) []byte { return append(AppendStrHeader(dst, len(v)), v...) }

// AppendBinHeader appends the header of a binary of n bytes, n < 2^32; the bytes are the caller's to add.
func AppendBinHeader(dst []byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(dst, 0xc4, byte(n))
	case n <= math.MaxUint16:
		return append(dst, 0xc5, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(n))
}

// AppendBin appends a binary.
func AppendBin(dst, v []byte) []byte { return append(AppendBinHeader(dst, len(v)), v...) }

// AppendArrayHeader appends the header of an array of n values, 0 <= n < 2^32.
func AppendArrayHeader(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x90|byte(n))
	case n <= math.MaxUint16:
		return append(dst, 0xdc, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdd), uint32(n))
}

// AppendArray32Header appends the header of an array of n values as dd and four bytes whatever its size.
func AppendArray32Header(dst []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0xdd), n)
}

// AppendMapHeader appends the header of a map of n pairs, 0 <= n < 2^32.
func AppendMapHeader(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, 0x80|byte(n))
	case n <= math.MaxUint16:
		return append(dst, 0xde, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdf), uint32(n))
}

// AppendExt appends an extension value of the given type.
func AppendExt(dst []byte, kind int8, data []byte) []byte {
	switch n := len(data); {
	case n == 1:
		dst = append(dst, 0xd4, byte(kind))
	case n == 2:
		dst = append(dst, 0xd5, byte(kind))
	case n == 4:
		dst = append(dst, 0xd6, byte(kind))
	case n == 8:
		dst = append(dst, 0xd7, byte(kind))
	case n == 16:
		dst = append(dst, 0xd8, byte(kind))
	case n <= math.MaxUint8:
		dst = append(dst, 0xc7, byte(n), byte(kind))
	case n <= math.MaxUint16:
		dst = append(dst, 0xc8, byte(n>>8), byte(n), byte(kind))
	default:
		dst = append(binary.BigEndian.AppendUint32(append(dst, 0xc9), uint32(n)), byte(kind))
	}
	return append(dst, data...)
}
