package tuple

import (
	"math"
	"math/bits"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// read decodes a number of any encoding; false if b holds something else.
func (a *number) read(b []byte) bool {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint, msgpack.TypeInt, msgpack.TypeFloat32, msgpack.TypeFloat64:
	case msgpack.TypeExt:
		if kindBit(b) != bitDecimal {
			return false
		}
	default:
		return false
	}
	*a = readNumber(b)
	return true
}

// compute appends the result of an operation that works on the old value: + - & | ^ :
func (op *operation) compute(dst, old []byte) ([]byte, error) {
	switch op.code {
	case '+', '-':
		return op.arithmetic(dst, old)
	case ':':
		return op.splice(dst, old)
	}
	if msgpack.TypeOf(old[0]) != msgpack.TypeUint {
		return dst, op.errArg("a positive integer")
	}
	v := msgpack.UintTrusted(old)
	switch op.code {
	case '&':
		v &= op.uint
	case '|':
		v |= op.uint
	case '^':
		v ^= op.uint
	}
	return msgpack.AppendUint(dst, v), nil
}

func (op *operation) arithmetic(dst, old []byte) ([]byte, error) {
	var a number
	if !a.read(old) {
		return dst, op.errArg("a number")
	}
	switch {
	case a.kind == numberDecimal || op.arg.kind == numberDecimal:
		return op.addDecimals(dst, a)
	case a.kind == numberInt && op.arg.kind == numberInt:
		return op.addInts(dst, a)
	}
	return op.addFloats(dst, a), nil
}

// addInts adds in 128 bits; the result must be an int64 or uint64.
func (op *operation) addInts(dst []byte, a number) ([]byte, error) {
	b := op.arg
	aHigh, bHigh := uint64(0), uint64(0)
	if a.neg {
		aHigh = math.MaxUint64
	}
	if b.neg {
		bHigh = math.MaxUint64
	}
	var low, high, carry uint64
	if op.code == '+' {
		low, carry = bits.Add64(a.bits, b.bits, 0)
		high, _ = bits.Add64(aHigh, bHigh, carry)
	} else {
		low, carry = bits.Sub64(a.bits, b.bits, 0)
		high, _ = bits.Sub64(aHigh, bHigh, carry)
	}
	switch {
	case high == 0:
		return msgpack.AppendUint(dst, low), nil
	case high == math.MaxUint64 && low>>63 == 1:
		return msgpack.AppendInt(dst, int64(low)), nil
	}
	return dst, errcode.New(errcode.UpdateIntegerOverflow, op.code, op.name())
}

// addFloats adds as float64. The result is written in four bytes if that loses nothing.
func (op *operation) addFloats(dst []byte, a number) []byte {
	c := a.float()
	if op.code == '+' {
		c += op.arg.float()
	} else {
		c -= op.arg.float()
	}
	if f := float32(c); float64(f) == c && !math.IsInf(c, 0) && !op.wide {
		return msgpack.AppendFloat32(dst, f)
	}
	return msgpack.AppendFloat64(dst, c)
}

// float returns the nearest float64 of an integer or float.
func (a *number) float() float64 {
	switch {
	case a.kind == numberFloat:
		return a.f
	case a.neg:
		return float64(int64(a.bits))
	}
	return float64(a.bits)
}

// splice replaces a piece of a string. A negative offset counts from behind the last character (-1); a negative
// length leaves that many characters at the end.
func (op *operation) splice(dst, old []byte) ([]byte, error) {
	if msgpack.TypeOf(old[0]) != msgpack.TypeStr {
		return dst, op.errArg("a string")
	}
	s := msgpack.RawTrusted(old)
	size := int64(len(s))
	from := op.offset
	if from < 0 {
		if from += size + 1; from < 0 {
			return dst, op.errSplice()
		}
	}
	from = min(from, size)
	cut := op.cut
	if cut < 0 {
		cut = max(cut+size-from, 0)
	}
	tail := s[from+min(cut, size-from):]
	dst = msgpack.AppendStrHeader(dst, int(from)+len(op.value)+len(tail))
	dst = append(dst, s[:from]...)
	dst = append(dst, op.value...)
	return append(dst, tail...), nil
}
