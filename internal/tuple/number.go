package tuple

import (
	"cmp"
	"math"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// number is a decoded value of any number encoding. An integer is negative (neg, its int64 in bits) or not (its
// uint64 in bits).
type number struct {
	kind numberKind
	neg  bool
	bits uint64
	f    float64
	dec  []byte
}

type numberKind uint8

const (
	numberInt numberKind = iota
	numberFloat
	numberDecimal
)

// readNumber decodes the number that b starts with.
func readNumber(b []byte) number {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint:
		return number{bits: msgpack.UintTrusted(b)}
	case msgpack.TypeInt:
		i := msgpack.IntTrusted(b)
		return number{neg: i < 0, bits: uint64(i)}
	case msgpack.TypeExt:
		_, data := msgpack.ExtTrusted(b)
		return number{kind: numberDecimal, dec: data}
	}
	return number{kind: numberFloat, f: msgpack.FloatTrusted(b)}
}

// compareNumbers orders two numbers by their exact values, whatever their encodings.
func compareNumbers(x, y []byte) int {
	a, b := readNumber(x), readNumber(y)
	if a.kind == numberDecimal || b.kind == numberDecimal {
		return compareDecimals(a, b)
	}
	switch {
	case a.kind == numberInt && b.kind == numberInt:
		return compareInts(a, b)
	case a.kind == numberFloat && b.kind == numberFloat:
		return compareFloats(a.f, b.f)
	case a.kind == numberInt:
		return compareIntFloat(a, b.f)
	}
	return -compareIntFloat(b, a.f)
}

// compareIntegers orders two values that are integers.
func compareIntegers(x, y []byte) int {
	if msgpack.TypeOf(x[0]) == msgpack.TypeUint && msgpack.TypeOf(y[0]) == msgpack.TypeUint {
		return cmp.Compare(msgpack.UintTrusted(x), msgpack.UintTrusted(y))
	}
	return compareInts(readNumber(x), readNumber(y))
}

func compareInts(a, b number) int {
	if a.neg != b.neg {
		if a.neg {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.bits, b.bits) // negative int64s order the same as their bits
}

// compareFloats orders floats with NaN below all and -0 equal to 0.
func compareFloats(a, b float64) int { return cmp.Compare(a, b) }

// compareIntFloat compares without rounding either side.
func compareIntFloat(a number, f float64) int {
	switch {
	case f != f || f < -(1<<63):
		return 1
	case f >= 1<<64:
		return -1
	}
	if a.neg {
		if f >= 0 {
			return -1
		}
		return compareWhole(cmp.Compare(int64(a.bits), int64(math.Ceil(f))), math.Ceil(f), f)
	}
	if f < 0 {
		return 1
	}
	return compareWhole(cmp.Compare(a.bits, uint64(math.Floor(f))), math.Floor(f), f)
}

// compareWhole completes a comparison with a float's whole part: only where that was equal does the rest count.
func compareWhole(r int, whole, f float64) int {
	if r != 0 {
		return r
	}
	return cmp.Compare(whole, f)
}
