package tuple

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Odd constants with well spread bits; any such will do.
const (
	hashSeed = 0x9e3779b97f4a7c15
	hashMul  = 0xa0761d6478bd642f
	hashEnd  = 0xe7037ed1a0b428db
)

// Hash returns the hash of the tuple's key. Keys that compare equal hash equal, 1 and 1.0 too. The value may be kept
// in memory but not on disk: it may change between versions.
func (k *KeyDef) Hash(tup []byte) uint64 {
	h := uint64(hashSeed)
	c := newCursor(tup)
	for i := range k.parts {
		b := k.value(&c, i)
		switch {
		case b == nil:
			h = mix(h, 0)
		case k.special != nil:
			h = k.hashSpecial(h, i, b)
		default:
			h = hashValue(h, b)
		}
	}
	return h
}

// HashKey returns the hash of a key given as n parts without array header: for a full key, the Hash of its tuple.
func (k *KeyDef) HashKey(key []byte, n int) uint64 {
	h := uint64(hashSeed)
	for i := range n {
		if k.special != nil {
			h = k.hashSpecial(h, i, key)
		} else {
			h = hashValue(h, key)
		}
		if i+1 < n {
			key = msgpack.SkipTrusted(key)
		}
	}
	return h
}

func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^v^hashMul, hashEnd^bits.RotateLeft64(v, 32))
	return hi ^ lo ^ h
}

func hashValue(h uint64, b []byte) uint64 {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint:
		return mix(h, msgpack.UintTrusted(b))
	case msgpack.TypeInt:
		return mix(h, uint64(msgpack.IntTrusted(b)))
	case msgpack.TypeStr, msgpack.TypeBin:
		return hashBytes(h, msgpack.RawTrusted(b))
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		return hashFloat(h, msgpack.FloatTrusted(b))
	case msgpack.TypeNil:
		return mix(h, 0)
	case msgpack.TypeExt:
		kind, data := msgpack.ExtTrusted(b)
		if kind == extDecimal {
			return hashDecimal(h, data)
		}
		if kind == extDatetime {
			return hashDatetime(h, data)
		}
		return hashBytes(h, data)
	}
	return hashBytes(h, b[:msgpack.SizeTrusted(b)])
}

func hashBytes(h uint64, s []byte) uint64 {
	h = mix(h, uint64(len(s))+hashSeed)
	for ; len(s) >= 8; s = s[8:] {
		h = mix(h, binary.LittleEndian.Uint64(s))
	}
	if len(s) > 0 {
		var tail [8]byte
		copy(tail[:], s)
		h = mix(h, binary.LittleEndian.Uint64(tail[:]))
	}
	return h
}

// hashFloat hashes a whole number as the integer it equals.
func hashFloat(h uint64, f float64) uint64 {
	if f == math.Trunc(f) {
		if f >= 0 && f < 1<<64 {
			return mix(h, uint64(f))
		}
		if f < 0 && f >= -(1<<63) {
			return mix(h, uint64(int64(f)))
		}
	}
	return mix(h, floatHint(f))
}

// hashDecimal hashes a whole number as the integer it equals, another as the nearest float: a float equal to the
// decimal is that one.
func hashDecimal(h uint64, data []byte) uint64 {
	d, _ := parseDecimal(data)
	if u, ok := d.integer(); ok {
		return mix(h, u)
	}
	return mix(h, floatHint(d.float()))
}

// integer returns the bits of the value as uint64, or as int64 if negative, if it is whole and fits.
func (v *decimalValue) integer() (uint64, bool) {
	if v.n == 0 {
		return 0, true
	}
	if v.point <= 0 || v.point > 20 {
		return 0, false
	}
	u := uint64(0)
	for i := range max(v.point, v.n) {
		c := uint64(0)
		if i < v.n {
			c = uint64(v.d[i])
		}
		if i >= v.point {
			if c != 0 {
				return 0, false
			}
			continue
		}
		hi, lo := bits.Mul64(u, 10)
		sum, carry := bits.Add64(lo, c, 0)
		if hi != 0 || carry != 0 {
			return 0, false
		}
		u = sum
	}
	if v.neg {
		return -u, u <= 1<<63
	}
	return u, true
}
