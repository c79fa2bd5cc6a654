package expr

import (
	"bytes"
	"math"
	"math/bits"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// bytesMax bounds a string that an expression makes, in bytes.
const bytesMax = 16 << 20

func failed(why string) error { return errcode.New(errcode.SQLExecute, why) }

func tooLong(bytes int) error {
	return errcode.New(errcode.TooBig, "a string in an expression", bytes, bytesMax)
}

// operand is a side of an arithmetic operator: an integer or not.
type operand struct {
	bits     uint64
	negative bool
	integer  bool
}

// asOperand reads numbers also from strings and binary. The sign of an integer in a string is lost, as in version 2.6:
// '-1' + 1 is 2^64.
func (v Value) asOperand() operand {
	switch v.form {
	case isNegative, isUnsigned:
		return operand{v.bits, v.form == isNegative, true}
	case isText, isBinary, isPacked:
		if _, ok := parseReal(v.bytes); ok {
			u, _, ok := parseInteger(v.bytes)
			return operand{u, false, ok}
		}
	}
	return operand{}
}

// asReal is the value as a real number, if it is a number or a string that is one.
func (v Value) asReal() (float64, bool) {
	switch v.form {
	case isNegative:
		return float64(int64(v.bits)), true
	case isUnsigned:
		return float64(v.bits), true
	case isReal:
		return v.real, true
	case isText:
		return parseReal(v.bytes)
	}
	return 0, false
}

// whole is the value as an integer. bits has the nearest one in range even if ok is false.
func (v Value) whole() (bits uint64, ok bool) {
	switch v.form {
	case isNegative, isUnsigned:
		return v.bits, true
	case isReal:
		switch {
		case v.real <= -0x1p63:
			return 1 << 63, false
		case v.real >= 0x1p63:
			return math.MaxInt64, false
		}
		return uint64(int64(v.real)), float64(int64(v.real)) == v.real
	case isText:
		bits, _, ok = parseInteger(v.bytes)
	}
	return bits, ok
}

func arithmetic(o op, a, b Value) (Value, error) {
	if a.null() || b.null() {
		return Value{typed: tuple.Number}, nil
	}
	if x, y := a.asOperand(), b.asOperand(); x.integer && y.integer {
		return integers(o, x, y)
	}
	y, ok := b.asReal()
	if !ok {
		return null, mismatch(b, "numeric")
	}
	x, ok := a.asReal()
	if !ok {
		return null, mismatch(a, "numeric")
	}
	return reals(o, x, y)
}

func reals(o op, x, y float64) (Value, error) {
	switch o {
	case opAdd:
		x += y
	case opSubtract:
		x -= y
	case opMultiply:
		x *= y
	case opDivide:
		if y == 0 {
			return null, failed("division by zero")
		}
		x /= y
	default:
		i, j := truncated(x), truncated(y)
		if j == 0 {
			return null, failed("division by zero")
		}
		if j == -1 {
			j = 1
		}
		x = float64(i % j)
	}
	if math.IsNaN(x) {
		return Value{typed: tuple.Number}, nil
	}
	return double(x), nil
}

// truncated is the conversion of the machine that version 2.6 runs on: what is out of range becomes the least integer.
func truncated(f float64) int64 {
	if !(f > -0x1p63 && f < 0x1p63) {
		return math.MinInt64
	}
	return int64(f)
}

func integers(o op, x, y operand) (Value, error) {
	switch o {
	case opAdd:
		return sum(x, y)
	case opSubtract:
		return difference(x, y)
	case opMultiply:
		return product(x, y)
	}
	if y.bits == 0 {
		return null, failed("division by zero")
	}
	if o == opDivide {
		return quotient(x, y)
	}
	if y.bits == math.MaxUint64 {
		y.bits = 1 // version 2.6 puts 1 for -1, but keeps its sign: then it divides by 2^64 - 1
	}
	rest := x.size() % y.size()
	if x.negative {
		return integer(-rest, true), nil
	}
	return integer(rest, false), nil
}

// size is the number without its sign.
func (x operand) size() uint64 {
	if x.negative {
		return -x.bits
	}
	return x.bits
}

var errOverflow = failed("integer is overflowed")

// fitted makes a value of a number's sign and size, unless it is too small.
func fitted(size uint64, negative bool) (Value, error) {
	if negative && size > 1<<63 {
		return null, errOverflow
	}
	if negative {
		return integer(-size, true), nil
	}
	return integer(size, false), nil
}

func sum(x, y operand) (Value, error) {
	if x.negative == y.negative {
		size, carry := bits.Add64(x.size(), y.size(), 0)
		if carry != 0 {
			return null, errOverflow
		}
		return fitted(size, x.negative)
	}
	if x.negative {
		x, y = y, x
	}
	if y.size() > x.bits {
		return fitted(y.size()-x.bits, true)
	}
	return fitted(x.bits-y.size(), false)
}

func difference(x, y operand) (Value, error) {
	if y.negative {
		return sum(x, operand{bits: y.size(), integer: true})
	}
	if x.negative {
		return fitted(x.size()+y.bits, true) // beyond 2^64 it begins again, as in version 2.6
	}
	if x.bits >= y.bits {
		return fitted(x.bits-y.bits, false)
	}
	return fitted(y.bits-x.bits, true)
}

func product(x, y operand) (Value, error) {
	high, low := bits.Mul64(x.size(), y.size())
	if high != 0 {
		return null, errOverflow
	}
	return fitted(low, low != 0 && x.negative != y.negative)
}

func quotient(x, y operand) (Value, error) {
	size := x.size() / y.size()
	return fitted(size, size != 0 && x.negative != y.negative)
}

func bitwise(o op, a, b Value) (Value, error) {
	if a.null() || b.null() {
		return Value{typed: tuple.Integer}, nil
	}
	x, ok := a.whole()
	if !ok {
		return null, mismatch(a, "integer")
	}
	y, ok := b.whole()
	if !ok {
		return null, mismatch(b, "integer")
	}
	switch o {
	case opBitAnd:
		return signed(int64(x & y)), nil
	case opBitOr:
		return signed(int64(x | y)), nil
	}
	by := int64(y)
	if left := o == opShiftLeft; left == (by >= 0) {
		return signed(int64(x << min(size64(by), 64))), nil
	}
	return signed(int64(x) >> min(size64(by), 64)), nil
}

func size64(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func concat(a, b Value) (Value, error) {
	if a.null() || b.null() {
		return Value{typed: tuple.String}, nil
	}
	joins := func(v Value) bool { return v.form == isText || v.isBlob() }
	for _, v := range [...]Value{b, a} {
		if !joins(v) {
			return null, inconsistent("text or varbinary", v.kindName())
		}
	}
	if a.isBlob() != b.isBlob() {
		return null, inconsistent(a.kindName(), b.kindName())
	}
	size := len(a.bytes) + len(b.bytes)
	if size > bytesMax {
		return null, tooLong(size)
	}
	v := Value{form: isText, typed: noType, bytes: append(append(make([]byte, 0, size), a.bytes...), b.bytes...)}
	if a.isBlob() {
		v.form = isBinary
	}
	return v, nil
}

// cast converts a value. To SCALAR nothing has to be done.
func cast(v Value, to tuple.FieldType) (Value, error) {
	if to == tuple.Scalar {
		return v, nil
	}
	if v.null() {
		return Value{typed: to}, nil
	}
	c, ok := castTo(v, to)
	if !ok {
		return null, mismatch(v, to.String())
	}
	c.typed = to
	return c, nil
}

func castTo(v Value, to tuple.FieldType) (Value, bool) {
	switch to {
	case tuple.Boolean:
		return castBoolean(v)
	case tuple.Integer, tuple.Unsigned:
		return castInteger(v, to == tuple.Unsigned)
	case tuple.Double:
		f, ok := v.asReal()
		return double(f), ok
	case tuple.Number:
		switch v.form {
		case isBool:
			return unsigned(v.bits), true
		case isText, isBinary, isPacked:
			v.form = isText
			return v.asNumber()
		}
		return v, true
	case tuple.Varbinary:
		return v, v.form == isText || v.isBlob()
	}
	if v.isBlob() {
		return text(v.bytes), true
	}
	return text(v.string()), true
}

func castBoolean(v Value) (Value, bool) {
	switch v.form {
	case isNegative, isUnsigned:
		return boolean(v.bits != 0), true
	case isReal:
		return boolean(v.real != 0), true
	case isBool:
		return v, true
	case isText:
		word, _, _ := bytes.Cut(v.bytes, []byte{0})
		switch word = bytes.ToUpper(bytes.Trim(word, " ")); string(word) {
		case "TRUE", "FALSE":
			return boolean(len(word) == 4), true
		}
	}
	return null, false
}

func castInteger(v Value, positive bool) (Value, bool) {
	switch v.form {
	case isText, isBinary, isPacked:
		u, negative, ok := parseInteger(v.bytes)
		return integer(u, negative), ok && !(positive && negative)
	case isBool:
		return unsigned(v.bits), true
	case isReal:
		switch f := v.real; {
		case f >= -0x1p63 && f < 0x1p63:
			return integer(uint64(int64(f)), f <= -1), true
		case f >= 0x1p63 && f < 0x1p64:
			return integer(uint64(f), false), true
		}
		return null, false
	}
	return v, !positive || v.form == isUnsigned
}
