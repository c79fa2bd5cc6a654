package expr

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// advance goes one character on, as the first byte of it says; at most to the end.
func advance(s []byte, at int) int {
	step := 1
	switch b := s[at]; {
	case b >= 0xf0:
		step = 4
	case b >= 0xe0:
		step = 3
	case b >= 0xc2:
		step = 2
	}
	return min(at+step, len(s))
}

func countCharacters(s []byte) int {
	n := 0
	for at := 0; at < len(s); n++ {
		at = advance(s, at)
	}
	return n
}

func upperCase(c *call) (Value, error) { return c.cased(upper) }

// lower and upper make a new mapper each time: one may not be shared.
func lower(s []byte) []byte { return cases.Lower(language.Und).Bytes(s) }

func lowerCase(c *call) (Value, error) { return c.cased(lower) }

func (c *call) cased(to func([]byte) []byte) (Value, error) {
	v := c.args[0]
	switch {
	case v.null():
		return null, nil
	case v.isBlob():
		return null, inconsistent("text", "varbinary")
	}
	return text(to(v.string())), nil
}

func hexadecimal(c *call) (Value, error) {
	raw := c.args[0].raw()
	if 2*len(raw) > bytesMax {
		return null, tooLong(2 * len(raw))
	}
	return text(bytes.ToUpper(hex.AppendEncode([]byte{}, raw))), nil
}

func zeros(c *call) (Value, error) {
	bits, _ := c.args[0].whole()
	n := max(int64(bits), 0)
	if n > bytesMax {
		return null, tooLong(int(n))
	}
	return Value{form: isBinary, typed: noType, bytes: make([]byte, n)}, nil
}

func characters(c *call) (Value, error) {
	s := []byte{}
	for _, v := range c.args {
		bits, _ := v.whole()
		r := rune(utf8.RuneError)
		if v.form != isNegative && bits <= utf8.MaxRune {
			r = rune(bits)
		}
		if r >= 0xd800 && r < 0xe000 { // half of a pair of UTF-16: written as it is
			s = append(s, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
			continue
		}
		s = utf8.AppendRune(s, r)
	}
	return text(s), nil
}

func unicodePoint(c *call) (Value, error) {
	s := c.args[0].string()
	if len(s) == 0 || s[0] == 0 {
		return null, nil
	}
	return unsigned(uint64(firstCharacter(s))), nil
}

// firstCharacter decodes the first character with all continuation bytes that follow it.
func firstCharacter(s []byte) uint32 {
	r := uint32(s[0])
	if r < 0xc0 {
		return r
	}
	switch {
	case r < 0xe0:
		r &= 0x1f
	case r < 0xf0:
		r &= 0x0f
	case r < 0xf8:
		r &= 0x07
	case r < 0xfc:
		r &= 0x03
	case r == 0xfd:
		r = 1
	default:
		r = 0
	}
	for _, b := range s[1:] {
		if b&0xc0 != 0x80 {
			break
		}
		r = r<<6 + uint32(b&0x3f)
	}
	if r < 0x80 || r&0xfffff800 == 0xd800 || r&0xfffffffe == 0xfffe {
		return utf8.RuneError
	}
	return r
}

func quote(c *call) (Value, error) {
	v := c.args[0]
	switch v.form {
	case isNull:
		return text([]byte("NULL")), nil
	case isNegative, isUnsigned:
		return v, nil
	case isReal:
		s := v.string()
		if f, _ := parseReal(s[:min(len(s), 20)]); f != v.real {
			s = trimZeros(strconv.FormatFloat(v.real, 'e', 20, 64))
		}
		return text(s), nil
	case isBinary, isPacked:
		h, err := hexadecimal(c)
		if err != nil {
			return null, err
		}
		return text([]byte("X'" + string(h.bytes) + "'")), nil
	case isText:
		s, _, _ := bytes.Cut(v.bytes, []byte{0})
		return text([]byte("'" + strings.ReplaceAll(string(s), "'", "''") + "'")), nil
	}
	return text(v.string()), nil
}

func replace(c *call) (Value, error) {
	if c.args[0].null() || c.args[1].null() {
		return null, nil
	}
	s, from, to := c.args[0].string(), c.args[1].string(), c.args[2].string()
	if len(from) == 0 {
		return text(s), nil
	}
	if c.args[2].null() {
		return null, nil
	}
	if size := len(s) + bytes.Count(s, from)*(len(to)-len(from)); size > bytesMax {
		return null, tooLong(size)
	}
	return text(bytes.ReplaceAll(s, from, to)), nil
}

// substring cuts out characters, or bytes of binary: from the first argument on, counted from 1, or from the end if it is
// negative; as many as the second says, or so many before that if it is negative.
func substring(c *call) (Value, error) {
	if len(c.args) != 2 && len(c.args) != 3 {
		return wrongCount("SUBSTR", "1 or 2", len(c.args))
	}
	v := c.args[0]
	if c.args[1].null() || len(c.args) == 3 && c.args[2].null() || v.null() {
		return null, nil
	}
	size := func(s []byte) int { return len(s) }
	s := v.raw()
	if v.form != isBinary {
		size, s = countCharacters, v.string()
	}
	if v.form == isBinary && len(s) == 0 {
		return null, nil
	}
	count := int64(1e9)
	if len(c.args) == 3 {
		count = int64(c.args[2].small())
	}
	from, count := span(int64(c.args[1].small()), count, int64(size(s)))
	if v.form == isBinary {
		from = min(from, int64(len(s)))
		return binaryOrText(s[from:min(from+count, int64(len(s)))]), nil
	}
	start := skip(s, 0, from)
	return text(s[start:skip(s, start, count)]), nil
}

// binaryOrText is what version 2.6 makes of a part of binary: a string.
func binaryOrText(b []byte) Value { return text(b) }

// span turns the arguments of SUBSTR into a place and a number from there, neither of them negative.
func span(from, count, size int64) (int64, int64) {
	back := count < 0
	if back {
		count = -count
	}
	switch {
	case from < 0:
		if from += size; from < 0 {
			count = max(count+from, 0)
			from = 0
		}
	case from > 0:
		from--
	case count > 0:
		count--
	}
	if back {
		if from -= count; from < 0 {
			count += from
			from = 0
		}
	}
	return from, max(count, 0)
}

// skip goes a number of characters on.
func skip(s []byte, at int, characters int64) int {
	for ; characters > 0 && at < len(s); characters-- {
		at = advance(s, at)
	}
	return at
}

// position tells where the first argument is in the second, from 1 on, or 0.
func position(c *call) (Value, error) {
	needle, hay := c.args[0], c.args[1]
	if needle.null() || hay.null() {
		return null, nil
	}
	fits := func(v Value) bool { return v.form == isText || v.form == isBinary }
	for _, v := range [...]Value{hay, needle} {
		if !fits(v) {
			return null, inconsistent("text or varbinary", v.kindName())
		}
	}
	if needle.form != hay.form {
		return null, inconsistent(needle.kindName(), hay.kindName())
	}
	if len(needle.bytes) == 0 {
		return unsigned(1), nil
	}
	if hay.form == isBinary {
		return unsigned(uint64(bytes.Index(hay.bytes, needle.bytes) + 1)), nil
	}
	return unsigned(uint64(c.find(hay.bytes, needle.bytes))), nil
}

// find looks for a string that is equal under the collation and has as many characters.
func (c *call) find(hay, needle []byte) int {
	same := c.order
	if same == nil {
		same = bytes.Compare
	}
	wanted, left := countCharacters(needle), countCharacters(hay)
	end := skip(hay, 0, int64(wanted))
	for at, n := 0, 1; left >= wanted; left, n = left-1, n+1 {
		if same(hay[at:end], needle) == 0 {
			return n
		}
		if at = skip(hay, at, 1); end < len(hay) {
			end = advance(hay, end)
		}
	}
	return 0
}

// soundexCodes are the digits of the letters from A to Z, 0 for those that have none.
const soundexCodes = "01230120022455012623010202"

func soundex(c *call) (Value, error) {
	v := c.args[0]
	if v.isBlob() {
		return null, mismatch(v, "text")
	}
	s, _, _ := bytes.Cut(v.string(), []byte{0})
	for len(s) > 0 && !isLetter(s[0]) {
		s = s[1:]
	}
	if len(s) == 0 {
		return text([]byte("?000")), nil
	}
	out := []byte{s[0] &^ 0x20}
	code := func(b byte) byte {
		if b &= 0x7f; isLetter(b) {
			return soundexCodes[b&^0x20-'A']
		}
		return '0'
	}
	for before := code(s[0]); len(out) < 4 && len(s) > 0; s = s[1:] {
		now := code(s[0])
		if now != '0' && now != before {
			out = append(out, now)
		}
		before = now
	}
	return text(append(out, "000"[:4-len(out)]...)), nil
}
