package tuple

import (
	"bytes"
	"cmp"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Classes of values in the order in which a scalar part sorts them, as in Tarantool. Kinds that no index holds come
// last, so that the order is total.
const (
	classNil uint64 = iota + 1
	classBoolean
	classNumber
	classString
	classBinary
	classUUID
	classDatetime
	classInterval
	classOther
)

func classOf(b []byte) uint64 {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeNil:
		return classNil
	case msgpack.TypeBool:
		return classBoolean
	case msgpack.TypeUint, msgpack.TypeInt, msgpack.TypeFloat32, msgpack.TypeFloat64:
		return classNumber
	case msgpack.TypeStr:
		return classString
	case msgpack.TypeBin:
		return classBinary
	case msgpack.TypeExt:
		switch kind, _ := msgpack.ExtTrusted(b); kind {
		case extDecimal:
			return classNumber
		case extUUID:
			return classUUID
		case extDatetime:
			return classDatetime
		case extInterval:
			return classInterval
		}
	}
	return classOther
}

// extOf returns type and payload of an extension value, 0 and nil for any other.
func extOf(b []byte) (int8, []byte) {
	if msgpack.TypeOf(b[0]) != msgpack.TypeExt {
		return 0, nil
	}
	return msgpack.ExtTrusted(b)
}

// Compare orders two tuples by all parts: negative, 0 or positive.
func (k *KeyDef) Compare(a, b []byte) int {
	switch k.shape {
	case shapeUnsigned:
		return cmp.Compare(msgpack.UintTrusted(firstField(a)), msgpack.UintTrusted(firstField(b)))
	case shapeInteger:
		return compareIntegers(firstField(a), firstField(b))
	case shapeString:
		return bytes.Compare(msgpack.RawTrusted(firstField(a)), msgpack.RawTrusted(firstField(b)))
	}
	return k.compareFrom(a, b, 0)
}

// CompareHinted orders two tuples whose hints are known.
func (k *KeyDef) CompareHinted(a []byte, ha uint64, b []byte, hb uint64) int {
	if ha < hb {
		return -1
	}
	if ha > hb {
		return 1
	}
	return k.compareEqualHint(a, b, ha)
}

func (k *KeyDef) compareEqualHint(a, b []byte, h uint64) int {
	if !k.HintExact(h) {
		return k.Compare(a, b)
	}
	if k.one {
		return 0
	}
	return k.compareFrom(a, b, 1)
}

// CompareKey orders a tuple against the first n parts of a key given without array header. With n = 0 all are equal.
func (k *KeyDef) CompareKey(tup []byte, key []byte, n int) int {
	if n == 0 {
		return 0
	}
	switch k.shape {
	case shapeUnsigned:
		return cmp.Compare(msgpack.UintTrusted(firstField(tup)), msgpack.UintTrusted(key))
	case shapeInteger:
		return compareIntegers(firstField(tup), key)
	case shapeString:
		return bytes.Compare(msgpack.RawTrusted(firstField(tup)), msgpack.RawTrusted(key))
	}
	return k.compareKeyFrom(tup, key, 0, n)
}

// CompareKeyHinted orders a tuple with the hint ht against n parts of a key with the hint hk.
func (k *KeyDef) CompareKeyHinted(tup []byte, ht uint64, key []byte, hk uint64, n int) int {
	if ht != hk && n != 0 {
		if ht < hk {
			return -1
		}
		return 1
	}
	return k.compareKeyEqualHint(tup, key, n, ht)
}

func (k *KeyDef) compareKeyEqualHint(tup, key []byte, n int, h uint64) int {
	if !k.HintExact(h) {
		return k.CompareKey(tup, key, n)
	}
	if n <= 1 {
		return 0
	}
	return k.compareKeyFrom(tup, msgpack.SkipTrusted(key), 1, n)
}

// firstField returns the bytes from the first field of a tuple on, which is known to have one.
func firstField(tup []byte) []byte {
	if tup[0]^0x90 < 16 {
		return tup[1:]
	}
	_, b := msgpack.ArrayLenTrusted(tup)
	return b
}

func (k *KeyDef) compareFrom(a, b []byte, from int) int {
	if k.special != nil {
		return k.compareSpecialFrom(a, b, from)
	}
	ca, cb := newCursor(a), newCursor(b)
	for i := from; i < len(k.parts); i++ {
		p := &k.parts[i]
		x, y := ca.at(p.Field), cb.at(p.Field)
		if r := compareField(p, x, y); r != 0 {
			return r
		}
	}
	return 0
}

// compareKeyFrom compares parts from..n-1; key begins with part from.
func (k *KeyDef) compareKeyFrom(tup, key []byte, from, n int) int {
	if k.special != nil {
		return k.compareSpecialKeyFrom(tup, key, from, n)
	}
	c := newCursor(tup)
	for i := from; i < n; i++ {
		p := &k.parts[i]
		if r := compareField(p, c.at(p.Field), key); r != 0 {
			return r
		}
		if i+1 < n {
			key = msgpack.SkipTrusted(key)
		}
	}
	return 0
}

// compareField orders two values of a part; a missing one (nil slice) counts as nil.
func compareField(p *Part, x, y []byte) int {
	if x == nil || y == nil {
		return compareMissing(x, y)
	}
	switch p.Type {
	case Unsigned, Integer:
		if msgpack.TypeOf(x[0]) == msgpack.TypeUint && msgpack.TypeOf(y[0]) == msgpack.TypeUint {
			return cmp.Compare(msgpack.UintTrusted(x), msgpack.UintTrusted(y))
		}
	case String:
		if msgpack.TypeOf(x[0]) == msgpack.TypeStr && msgpack.TypeOf(y[0]) == msgpack.TypeStr {
			return bytes.Compare(msgpack.RawTrusted(x), msgpack.RawTrusted(y))
		}
	}
	return compareValues(x, y)
}

func compareMissing(x, y []byte) int {
	switch {
	case (x == nil || x[0] == 0xc0) && (y == nil || y[0] == 0xc0):
		return 0
	case x == nil:
		return -1
	}
	return 1
}

// compareValues orders any two values: first by class, then within the class.
func compareValues(x, y []byte) int {
	class := classOf(x)
	if other := classOf(y); class != other {
		return cmp.Compare(class, other)
	}
	switch class {
	case classNil:
		return 0
	case classBoolean:
		return int(x[0]) - int(y[0])
	case classNumber:
		return compareNumbers(x, y)
	case classString, classBinary:
		return bytes.Compare(msgpack.RawTrusted(x), msgpack.RawTrusted(y))
	case classUUID:
		_, a := msgpack.ExtTrusted(x)
		_, b := msgpack.ExtTrusted(y)
		return bytes.Compare(a, b)
	case classDatetime:
		return compareDatetimes(x, y)
	}
	return bytes.Compare(x[:msgpack.SizeTrusted(x)], y[:msgpack.SizeTrusted(y)])
}
