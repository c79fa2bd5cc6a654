package tuple

import (
	"encoding/binary"
	"math"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// A hint is 64 bits of the first key part such that a smaller hint means a smaller key. Trees keep hints beside their
// entries and look at tuples only where hints are equal. In every kind 0 is nil (or the smallest value where nil
// cannot occur), so a hint also orders nil before everything.
type hintKind uint8

const (
	hintUnsigned         hintKind = iota // the value itself
	hintUnsignedNullable                 // value + 1, the two largest share one hint
	hintInteger                          // value shifted to begin at 0, cut off at both ends
	hintDouble                           // the bits of the float, so arranged that they order as numbers
	hintNumber                           // the same of the nearest float
	hintString                           // 7 bytes, then the length + 1, cut off at 9
	hintBoolean                          // 1 false, 2 true
	hintUUID                             // the first 8 bytes
	hintDatetime                         // the seconds, from the first possible one on, + 1
	hintScalar                           // 4 bits for the class of the value, then 60 bits of its own hint
	hintCollated                         // 8 bytes of the sort key of a string
)

func hintOf(p Part) hintKind {
	switch p.Type {
	case Unsigned:
		if p.Nullable {
			return hintUnsignedNullable
		}
		return hintUnsigned
	case Integer:
		return hintInteger
	case Double:
		return hintDouble
	case Number, Decimal:
		return hintNumber
	case String:
		if p.Collation == CollationUnicode || p.Collation == CollationUnicodeCI {
			return hintCollated
		}
		return hintString
	case Varbinary:
		return hintString
	case Boolean:
		return hintBoolean
	case UUID:
		return hintUUID
	case Datetime:
		return hintDatetime
	}
	return hintScalar
}

// Hint returns the order-preserving prefix of the tuple's first key part: Hint(a) < Hint(b) means a < b.
func (k *KeyDef) Hint(tup []byte) uint64 {
	if k.first == 0 && uint8(tup[0]-0x91) < 15 {
		return hintValue(k.hint, tup[1:])
	}
	if k.first < 0 {
		return k.hintSpecial(tup)
	}
	n, b := msgpack.ArrayLenTrusted(tup)
	if k.first >= n {
		return 0
	}
	for range k.first {
		b = msgpack.SkipTrusted(b)
	}
	return hintValue(k.hint, b)
}

// KeyHint returns the hint of a key given as n parts without array header; 0 if n is 0.
func (k *KeyDef) KeyHint(key []byte, n int) uint64 {
	if n == 0 {
		return 0
	}
	if k.coll != nil {
		return k.valueHint(key)
	}
	return hintValue(k.hint, key)
}

// HintExact reports whether two keys that both have the hint h are sure to have equal first parts.
func (k *KeyDef) HintExact(h uint64) bool {
	switch k.hint {
	case hintUnsigned, hintBoolean, hintDouble:
		return true
	case hintUnsignedNullable:
		return h != math.MaxUint64
	case hintInteger:
		return h != 1 && h != math.MaxUint64
	case hintString:
		return h&0xff <= 8
	case hintUUID:
		return false
	case hintCollated:
		return h == 0 || k.coll.exact(h)
	}
	return h == 0
}

// hintValue computes the hint of the value that b starts with. A kind of value that the part cannot hold gives some
// hint without failing.
func hintValue(kind hintKind, b []byte) uint64 {
	c := b[0]
	if c == 0xc0 {
		return 0
	}
	switch kind {
	case hintUnsigned:
		return uintOf(b)
	case hintUnsignedNullable:
		return uintHintNullable(uintOf(b))
	case hintInteger:
		return integerHint(b)
	case hintString:
		return stringHint(b)
	case hintDouble, hintNumber:
		return numberHint(b)
	case hintBoolean:
		return uint64(c&1) + 1
	}
	return hintRare(kind, b)
}

func hintRare(kind hintKind, b []byte) uint64 {
	if kind == hintUUID {
		if _, data := extOf(b); len(data) >= 8 {
			return binary.BigEndian.Uint64(data)
		}
		return 0
	}
	if kind == hintDatetime {
		return datetimeHint(b)
	}
	class := classOf(b)
	switch class {
	case classNil:
		return 0
	case classBoolean:
		return class<<60 | uint64(b[0]&1)
	case classNumber:
		return class<<60 | numberHint(b)>>4
	case classString, classBinary:
		return class<<60 | stringHint(b)>>4
	case classDatetime:
		return class<<60 | datetimeHint(b)
	}
	return class << 60
}

func datetimeHint(b []byte) uint64 {
	if kind, data := extOf(b); kind == extDatetime {
		d, _ := parseDatetime(data)
		return d.hint()
	}
	return 0
}

// uintOf returns the value of an unsigned encoding, 0 for any other.
func uintOf(b []byte) uint64 {
	if c := b[0]; c < 0x80 {
		return uint64(c)
	} else if c&0xfc != 0xcc {
		return 0
	}
	return msgpack.UintTrusted(b)
}

func uintHintNullable(v uint64) uint64 {
	if v == math.MaxUint64 {
		return v
	}
	return v + 1
}

func integerHint(b []byte) uint64 {
	v := int64(0)
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint:
		u := msgpack.UintTrusted(b)
		if u >= math.MaxInt64 {
			return math.MaxUint64
		}
		v = int64(u)
	case msgpack.TypeInt:
		v = msgpack.IntTrusted(b)
	}
	return max(uint64(v)^(1<<63), 1)
}

// stringHint serves strings and binaries. Where eight bytes may be loaded at once, what is behind a short string is
// shifted out.
func stringHint(b []byte) uint64 {
	if n := int(b[0] & 31); b[0]&0xe0 == 0xa0 && len(b) >= 9 {
		h := binary.BigEndian.Uint64(b[1:9])
		if n >= 8 {
			return h&^0xff | 9
		}
		return h&^(math.MaxUint64>>(8*n)) | uint64(n+1)
	}
	t := msgpack.TypeOf(b[0])
	if t != msgpack.TypeStr && t != msgpack.TypeBin {
		return 0
	}
	s := msgpack.RawTrusted(b)
	if len(s) >= 8 {
		return binary.BigEndian.Uint64(s)&^0xff | 9
	}
	h := uint64(0)
	for i, c := range s {
		h |= uint64(c) << (56 - 8*i)
	}
	return h | uint64(len(s)+1)
}

// numberHint serves numbers of every encoding: rounding to the nearest float keeps the order. NaN is the lowest.
func numberHint(b []byte) uint64 {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint:
		return floatHint(float64(msgpack.UintTrusted(b)))
	case msgpack.TypeInt:
		return floatHint(float64(msgpack.IntTrusted(b)))
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		return floatHint(msgpack.FloatTrusted(b))
	case msgpack.TypeExt:
		if kind, data := msgpack.ExtTrusted(b); kind == extDecimal {
			d, _ := parseDecimal(data)
			return floatHint(d.float())
		}
	}
	return 0
}

func floatHint(f float64) uint64 {
	if f != f {
		return 1
	}
	bits := math.Float64bits(f + 0) // + 0 turns -0 into 0
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}
