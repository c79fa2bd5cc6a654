package tuple

import (
	"cmp"
	"math"
	"strconv"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// decimalDigitsMax is how many significant digits a decimal may have.
const decimalDigitsMax = 38

// decimalScaleMax bounds the scale, far wider than clients write, so that a few bytes cannot ask for long arithmetic.
const decimalScaleMax = 400

// decimalValue is sign × 0.d[0]d[1]…d[n-1] × 10^point, without leading zeros; zero has n = 0, and may be negative.
type decimalValue struct {
	neg   bool
	n     int
	point int
	scale int
	d     [decimalDigitsMax + 2]byte
}

// parseDecimal reads the payload of a decimal extension: a scale, then packed decimal digits with a sign at the end.
func parseDecimal(data []byte) (v decimalValue, ok bool) {
	scale, bcd, err := msgpack.ReadInt(data)
	if err != nil || scale > decimalScaleMax || scale < -decimalScaleMax ||
		len(bcd) == 0 || len(bcd) > decimalDigitsMax/2+1 {
		return v, false
	}
	for i, c := range bcd {
		if !v.digit(c >> 4) {
			return decimalValue{}, false
		}
		if i < len(bcd)-1 && !v.digit(c&15) {
			return decimalValue{}, false
		}
	}
	switch bcd[len(bcd)-1] & 15 {
	case 0xa, 0xc, 0xe, 0xf:
	case 0xb, 0xd:
		v.neg = true
	default:
		return decimalValue{}, false
	}
	v.scale = int(scale)
	v.point = v.n - v.scale
	return v, v.n <= decimalDigitsMax
}

// digit adds one digit behind the others; leading zeros are dropped.
func (v *decimalValue) digit(c byte) bool {
	if c > 9 {
		return false
	}
	if c != 0 || v.n > 0 {
		v.d[v.n] = c
		v.n++
	}
	return true
}

func decimalOfInt(a number) (v decimalValue) {
	u := a.bits
	if a.neg {
		u = -u
	}
	var text [20]byte
	for _, c := range strconv.AppendUint(text[:0], u, 10) {
		v.digit(c - '0')
	}
	v.neg, v.point = a.neg, v.n
	return v
}

// float returns the nearest float64.
func (v *decimalValue) float() float64 {
	if v.n == 0 {
		return 0
	}
	var text [decimalDigitsMax + 16]byte
	b := text[:0]
	if v.neg {
		b = append(b, '-')
	}
	for _, c := range v.d[:v.n] {
		b = append(b, c+'0')
	}
	b = strconv.AppendInt(append(b, 'e'), int64(v.point-v.n), 10)
	f, _ := strconv.ParseFloat(string(b), 64) // out of range gives an infinity, which keeps the order
	return f
}

func (v *decimalValue) sign() int {
	switch {
	case v.n == 0:
		return 0
	case v.neg:
		return -1
	}
	return 1
}

// compareDecimals orders two numbers of which at least one is a decimal.
func compareDecimals(a, b number) int {
	if a.kind == numberFloat {
		return -compareDecimalFloat(b, a.f)
	}
	if b.kind == numberFloat {
		return compareDecimalFloat(a, b.f)
	}
	x, y := toDecimal(a), toDecimal(b)
	if r := cmp.Compare(x.sign(), y.sign()); r != 0 || x.n == 0 {
		return r
	}
	r := compareDigits(x.d[:x.n], x.point, y.d[:y.n], y.point)
	if x.neg {
		return -r
	}
	return r
}

func toDecimal(a number) decimalValue {
	if a.kind == numberInt {
		return decimalOfInt(a)
	}
	v, _ := parseDecimal(a.dec)
	return v
}

// compareDigits orders two magnitudes above zero; digits that are not there are zeros.
func compareDigits(x []byte, xPoint int, y []byte, yPoint int) int {
	if xPoint != yPoint {
		return cmp.Compare(xPoint, yPoint)
	}
	for i := range max(len(x), len(y)) {
		var c, d byte
		if i < len(x) {
			c = x[i]
		}
		if i < len(y) {
			d = y[i]
		}
		if c != d {
			return cmp.Compare(c, d)
		}
	}
	return 0
}

// compareDecimalFloat compares with the decimal that a float stands for: of a whole number its exact value, of any other
// the shortest decimal that rounds to it, so that 0.1 equals 0.1. That is never a whole number and never that of another
// float, so the order of integers, floats and decimals together is total. Tarantool takes the first 15 digits, which
// means the same for what people write.
func compareDecimalFloat(a number, f float64) int {
	x := toDecimal(a)
	switch {
	case f != f || math.IsInf(f, -1):
		return 1
	case math.IsInf(f, 1):
		return -1
	}
	if r := cmp.Compare(x.sign(), cmp.Compare(f, 0)); r != 0 || x.n == 0 {
		return r
	}
	var text [800]byte
	digits, point := floatDigits(text[:0], math.Abs(f))
	r := compareDigits(x.d[:x.n], x.point, digits, point)
	if x.neg {
		return -r
	}
	return r
}

// floatDigits writes the digits of the decimal that a finite f > 0 stands for into buf, as values 0-9.
func floatDigits(buf []byte, f float64) (digits []byte, point int) {
	precision := -1
	if f == math.Trunc(f) {
		precision = 308 // more than any whole number has
	}
	buf = strconv.AppendFloat(buf, f, 'e', precision, 64)
	e := len(buf) - 1
	for buf[e] != 'e' {
		e--
	}
	negative := buf[e+1] == '-'
	for _, c := range buf[e+2:] {
		point = point*10 + int(c-'0')
	}
	if negative {
		point = -point
	}
	digits = buf[:1]
	if e > 1 {
		digits = append(digits, buf[2:e]...) // the point after the first digit goes
	}
	for i := range digits {
		digits[i] -= '0'
	}
	return digits, point + 1
}
