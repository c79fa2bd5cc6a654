package tuple

import (
	"math"
	"math/big"
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// addDecimals adds in decimal arithmetic of 38 digits, rounding half away from zero, as Tarantool does. Floats count
// with their first 15 digits. This is rare and may allocate.
func (op *operation) addDecimals(dst []byte, a number) ([]byte, error) {
	x, xOK := asDecimal(a)
	y, yOK := asDecimal(op.arg)
	if !xOK || !yOK {
		return dst, op.errArg("a number convertible to decimal")
	}
	if op.code == '-' {
		y.neg = !y.neg
	}
	scale := max(x.scale, y.scale)
	sum := x.big(scale)
	sum.Add(sum, y.big(scale))
	digits := new(big.Int).Abs(sum).String()
	neg := sum.Sign() < 0 || sum.Sign() == 0 && x.neg && y.neg
	if extra := len(digits) - decimalDigitsMax; extra > 0 {
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(extra)), nil)
		half := new(big.Int).Rsh(unit, 1)
		sum.Abs(sum).Add(sum, half).Quo(sum, unit)
		scale -= extra
		if digits = sum.String(); len(digits) > decimalDigitsMax {
			digits = digits[:decimalDigitsMax]
			scale--
		}
	}
	if len(digits)-scale > decimalDigitsMax {
		return dst, errcode.New(errcode.UpdateDecimalOverflow, op.code, op.name())
	}
	return appendDecimal(dst, neg, digits, scale), nil
}

// asDecimal converts a number; false for floats that are too large or no numbers.
func asDecimal(a number) (decimalValue, bool) {
	if a.kind != numberFloat {
		return toDecimal(a), true
	}
	if math.IsNaN(a.f) || math.IsInf(a.f, 0) {
		return decimalValue{}, false
	}
	v := decimalValue{neg: math.Signbit(a.f)}
	text := strconv.AppendFloat(nil, math.Abs(a.f), 'e', 14, 64) // d.dddddddddddddde±dd
	for i, c := range text[:16] {
		if i != 1 {
			v.digit(c - '0')
		}
	}
	exponent, err := strconv.Atoi(string(text[17:]))
	if err != nil {
		return v, false
	}
	for v.n > 0 && v.d[v.n-1] == 0 {
		v.n--
	}
	v.point = exponent + 1
	v.scale = v.n - v.point
	if v.n == 0 {
		v.point, v.scale = 0, 0
	}
	return v, v.point <= decimalDigitsMax
}

// big returns the value times 10^scale.
func (v *decimalValue) big(scale int) *big.Int {
	z := new(big.Int)
	var text [len(v.d)]byte
	for i, c := range v.d[:v.n] {
		text[i] = c + '0'
	}
	if v.n > 0 {
		z.SetString(string(text[:v.n]), 10)
	}
	z.Mul(z, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-v.scale)), nil))
	if v.neg {
		z.Neg(z)
	}
	return z
}

// appendDecimal writes the extension value; digits are ASCII.
func appendDecimal(dst []byte, neg bool, digits string, scale int) []byte {
	var buf [decimalDigitsMax/2 + 16]byte
	b := msgpack.AppendInt(buf[:0], int64(scale))
	if len(digits)%2 == 0 {
		digits = "0" + digits
	}
	for i := 0; i+1 < len(digits); i += 2 {
		b = append(b, (digits[i]-'0')<<4|(digits[i+1]-'0'))
	}
	sign := byte(0x0c)
	if neg {
		sign = 0x0d
	}
	b = append(b, (digits[len(digits)-1]-'0')<<4|sign)
	return msgpack.AppendExt(dst, extDecimal, b)
}
