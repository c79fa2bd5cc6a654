package snap

import (
	"encoding/binary"
	"errors"
)

// fixHeader is the decoded header of a block.
type fixHeader struct {
	magic    uint32
	length   uint64
	checksum uint32
}

// appendFixUint appends an unsigned MessagePack number of at most 32 bits in its smallest form.
func appendFixUint(dst []byte, v uint32) []byte {
	switch {
	case v < 0x80:
		return append(dst, byte(v))
	case v <= 0xff:
		return append(dst, 0xcc, byte(v))
	case v <= 0xffff:
		return append(dst, 0xcd, byte(v>>8), byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xce), v)
}

func parseFixHeader(b *[fixHeaderBytes]byte) (fixHeader, error) {
	h := fixHeader{magic: binary.BigEndian.Uint32(b[:4])}
	if h.magic != magicPlain && h.magic != magicZstd {
		return h, errors.New("no block begins here")
	}
	rest := b[4:]
	var numbers [3]uint64
	for i := range numbers {
		v, n := readFixUint(rest)
		if n == 0 {
			return h, errors.New("bad number in a block header")
		}
		numbers[i], rest = v, rest[n:]
	}
	if numbers[2] > 0xffffffff {
		return h, errors.New("bad checksum number in a block header")
	}
	if numbers[1] != 0 {
		return h, errors.New("a block header names a block before it, which Tarantool never does")
	}
	if len(rest) == 0 || rest[0]&0xe0 != 0xa0 || int(rest[0]&0x1f) != len(rest)-1 {
		return h, errors.New("bad padding in a block header")
	}
	for _, c := range rest[1:] {
		if c != 0 {
			return h, errors.New("bad padding in a block header")
		}
	}
	h.length, h.checksum = numbers[0], uint32(numbers[2])
	return h, nil
}

// readFixUint reads an unsigned number of any width; n is 0 if there is none.
func readFixUint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	if b[0] < 0xcc || b[0] > 0xcf {
		return 0, 0
	}
	n = 1 + 1<<(b[0]-0xcc)
	if len(b) < n {
		return 0, 0
	}
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}
