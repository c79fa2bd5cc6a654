package expr

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// parseInteger reads a whole number in decimal with white space around it. bits has what was read even if ok is false.
func parseInteger(s []byte) (bits uint64, negative, ok bool) {
	n := 0
	for n < len(s) && isSpace(s[n]) {
		n++
	}
	if n == len(s) || len(s) > integerTextMax {
		return 0, n < len(s) && s[n] == '-', false
	}
	if s[n] == 0 {
		return 0, false, true // a text ends at a zero byte, as strings of C do, and an empty one is no mistake
	}
	start := n
	negative = s[n] == '-'
	if s[n] == '-' || s[n] == '+' {
		n++
	}
	digits := n
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	end := n
	for n < len(s) && isSpace(s[n]) {
		n++
	}
	ok = n == len(s) || s[n] == 0
	if digits == end {
		return 0, negative, false
	}
	if negative {
		i, err := strconv.ParseInt(string(s[start:end]), 10, 64)
		return uint64(i), true, ok && err == nil
	}
	u, err := strconv.ParseUint(string(s[digits:end]), 10, 64)
	return u, false, ok && err == nil
}

// integerTextMax is the longest text that is read as an integer.
const integerTextMax = 12287

// extended is the precision of the numbers that version 2.6 computes with where it reads and writes reals.
const extended = 64

func ext(f float64) *big.Float { return new(big.Float).SetPrec(extended).SetFloat64(f) }

const largest = math.MaxInt64

// parseReal reads a number. value has what was read even if ok is false.
func parseReal(s []byte) (value float64, ok bool) {
	r := realText{rest: s}
	for len(r.rest) > 0 && isSpace(r.rest[0]) {
		r.rest = r.rest[1:]
	}
	if len(r.rest) == 0 {
		return 0, false
	}
	negative := r.sign()
	r.significand()
	e, valid := r.exponent()
	for len(r.rest) > 0 && isSpace(r.rest[0]) {
		r.rest = r.rest[1:]
	}
	return scaled(r.digits, e+r.shift, negative), len(r.rest) == 0 && r.seen && valid
}

// realText is the text of a number and what was read of it.
type realText struct {
	rest   []byte
	digits int64
	shift  int
	seen   bool
}

func (r *realText) sign() (negative bool) {
	if c := r.rest[0]; c == '-' || c == '+' {
		r.rest = r.rest[1:]
		return c == '-'
	}
	return false
}

// significand reads the digits before and after the point. Those beyond 18 or 19 do not count.
func (r *realText) significand() {
	const full = (largest - 9) / 10
	for ; len(r.rest) > 0 && isDigit(r.rest[0]); r.rest = r.rest[1:] {
		r.seen = true
		if r.shift == 0 && r.digits < full {
			r.digits = r.digits*10 + int64(r.rest[0]-'0')
		} else {
			r.shift++
		}
	}
	if len(r.rest) == 0 || r.rest[0] != '.' {
		return
	}
	for r.rest = r.rest[1:]; len(r.rest) > 0 && isDigit(r.rest[0]); r.rest = r.rest[1:] {
		r.seen = true
		if r.digits < full {
			r.digits = r.digits*10 + int64(r.rest[0]-'0')
			r.shift--
		}
	}
}

func (r *realText) exponent() (e int, valid bool) {
	if len(r.rest) == 0 || r.rest[0]|0x20 != 'e' {
		return 0, true
	}
	if r.rest = r.rest[1:]; len(r.rest) == 0 {
		return 0, false
	}
	negative := r.sign()
	for ; len(r.rest) > 0 && isDigit(r.rest[0]); r.rest = r.rest[1:] {
		valid = true
		if e < 10000 {
			e = e*10 + int(r.rest[0]-'0')
		} else {
			e = 10000
		}
	}
	if negative {
		e = -e
	}
	return e, valid
}

// scaled is digits × 10^e, rounded where version 2.6 rounds.
func scaled(digits int64, e int, negative bool) float64 {
	if digits == 0 {
		return math.Copysign(0, map[bool]float64{true: -1, false: 1}[negative])
	}
	up := e >= 0
	if !up {
		e = -e
	}
	for ; e > 0; e-- {
		if up && digits >= largest/10 || !up && digits%10 != 0 {
			break
		}
		if up {
			digits *= 10
		} else {
			digits /= 10
		}
	}
	if negative {
		digits = -digits
	}
	if e == 0 {
		return float64(digits)
	}
	if e >= 342 {
		if up {
			return math.Inf(int(digits>>63)<<1 + 1)
		}
		return 0 * float64(digits)
	}
	return scale(digits, e, up)
}

func scale(digits int64, e int, up bool) float64 {
	edge := 1.0
	step := 22
	if e > 307 {
		edge, step = 1e308, 308
	}
	by := ext(1)
	for ; e%step != 0; e-- {
		by.Mul(by, ext(10))
	}
	for ; step == 22 && e > 0; e -= 22 {
		by.Mul(by, ext(1e22))
	}
	s := new(big.Float).SetPrec(extended).SetInt64(digits)
	if up {
		f, _ := s.Mul(s, by).Float64()
		return f * edge
	}
	f, _ := s.Quo(s, by).Float64()
	return f / edge
}

// formatReal writes a number with up to 15 digits and always a point, as version 2.6 does.
func formatReal(f float64) []byte {
	if math.IsInf(f, 0) {
		return []byte(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	}
	if f == 0 {
		return []byte("0.0")
	}
	s := strconv.FormatFloat(f, 'e', 14, 64)
	_, tail, _ := strings.Cut(s, "e")
	if exp, err := strconv.Atoi(tail); err == nil && exp >= -4 && exp <= 14 {
		s = strconv.FormatFloat(f, 'f', 14-exp, 64)
	}
	return trimZeros(s)
}

// trimZeros cuts zeros off the end of a fraction, but for the first one.
func trimZeros(s string) []byte {
	mantissa, tail, exponent := strings.Cut(s, "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(mantissa, "0")
	} else {
		mantissa += "."
	}
	if strings.HasSuffix(mantissa, ".") {
		mantissa += "0"
	}
	if exponent {
		mantissa += "e" + tail
	}
	return []byte(mantissa)
}
