package console

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// All functions here take bytes that were checked when the reply came, so that their recursion is bounded.

// dialect is how nested values are written.
type dialect uint8

const (
	jsonText dialect = iota // reads back as the same value
	yamlText                // flow style, with tags of YAML
	cellText                // for people: inside a cell of a table
)

// appendValue writes the value that b begins with.
func appendValue(dst, b []byte, d dialect) (out, rest []byte) {
	rest = msgpack.SkipTrusted(b)
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint:
		return strconv.AppendUint(dst, msgpack.UintTrusted(b), 10), rest
	case msgpack.TypeInt:
		return strconv.AppendInt(dst, msgpack.IntTrusted(b), 10), rest
	case msgpack.TypeBool:
		return strconv.AppendBool(dst, b[0] == 0xc3), rest
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		return appendFloat(dst, msgpack.FloatTrusted(b), 32+32*int(b[0]&1), d), rest
	case msgpack.TypeStr:
		return appendText(dst, msgpack.RawTrusted(b), d), rest
	case msgpack.TypeBin:
		return appendBinary(dst, msgpack.RawTrusted(b), d), rest
	case msgpack.TypeExt:
		kind, data := msgpack.ExtTrusted(b)
		return appendExt(dst, kind, data, d), rest
	case msgpack.TypeArray:
		n, b := msgpack.ArrayLenTrusted(b)
		dst = append(dst, '[')
		for i := range n {
			if i > 0 {
				dst = append(dst, separator(d)...)
			}
			dst, b = appendValue(dst, b, d)
		}
		return append(dst, ']'), b
	case msgpack.TypeMap:
		return appendMap(dst, b, d)
	}
	return append(dst, "null"...), rest
}

func separator(d dialect) string {
	if d == jsonText {
		return ","
	}
	return ", "
}

// appendCell writes a value as a cell of a table: a string without quotes, what else as in appendValue.
func appendCell(dst, b []byte) (out, rest []byte) {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeStr:
		if s := msgpack.RawTrusted(b); utf8.Valid(s) {
			return appendPlain(dst, s), msgpack.SkipTrusted(b)
		}
		return appendHex(dst, msgpack.RawTrusted(b)), msgpack.SkipTrusted(b)
	}
	return appendValue(dst, b, cellText)
}

// appendPlain writes text without quotes; characters that a terminal would obey are escaped.
func appendPlain(dst, s []byte) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		if harmless(r) {
			dst = append(dst, s[:n]...)
		} else {
			dst = appendEscape(dst, r)
		}
		s = s[n:]
	}
	return dst
}

// harmless tells whether a character may go to a terminal as it is. Marks that turn the direction of text around are
// not.
func harmless(r rune) bool {
	return r >= ' ' && r < 0x7f || r > 0x7f && !unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// appendEscape writes a character as an escape of JSON.
func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '\n':
		return append(dst, `\n`...)
	case '\t':
		return append(dst, `\t`...)
	case '\r':
		return append(dst, `\r`...)
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// appendString writes a JSON string.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case harmless(r):
			dst = append(dst, s[:n]...)
		default:
			dst = appendEscape(dst, r)
		}
		s = s[n:]
	}
	return append(dst, '"')
}

func appendText(dst, s []byte, d dialect) []byte {
	switch {
	case utf8.Valid(s):
		return appendString(dst, s)
	case d == jsonText:
		return appendTag(dst, tagStr, base64.StdEncoding.EncodeToString(s))
	}
	return appendBinary(dst, s, d)
}

func appendTag(dst []byte, tag, text string) []byte {
	dst = appendString(append(dst, '{'), []byte(tag))
	return append(appendString(append(dst, ':'), []byte(text)), '}')
}

func appendHex(dst, data []byte) []byte { return hex.AppendEncode(append(dst, "0x"...), data) }

func appendBinary(dst, data []byte, d dialect) []byte {
	switch d {
	case jsonText:
		return appendTag(dst, tagBin, base64.StdEncoding.EncodeToString(data))
	case yamlText:
		return append(base64.StdEncoding.AppendEncode(append(dst, `!!binary "`...), data), '"')
	}
	return appendHex(dst, data)
}

// appendFloat writes a double so that it does not look like an integer.
func appendFloat(dst []byte, f float64, bits int, d dialect) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendNoNumber(dst, f, d)
	}
	mark := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, bits)
	for _, c := range dst[mark:] {
		if c == '.' || c == 'e' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendNoNumber writes NaN and the infinities.
func appendNoNumber(dst []byte, f float64, d dialect) []byte {
	text, yaml := "NaN", ".nan"
	switch {
	case math.IsInf(f, 1):
		text, yaml = "Infinity", ".inf"
	case math.IsInf(f, -1):
		text, yaml = "-Infinity", "-.inf"
	}
	switch d {
	case jsonText:
		return appendTag(dst, tagFloat, text)
	case yamlText:
		return append(dst, yaml...)
	}
	return append(dst, text...)
}

func appendExt(dst []byte, kind int8, data []byte, d dialect) []byte {
	var tag, text string
	ok := false
	switch kind {
	case extDecimal:
		tag = tagDecimal
		text, ok = decimalText(data)
	case extUUID:
		tag = tagUUID
		text, ok = uuidText(data)
	case extDatetime:
		var exact bool
		tag = tagDatetime
		text, exact, ok = datetimeText(data)
		ok = ok && (exact || d != jsonText)
	case extInterval:
		if parts, exact := intervalMap(data); exact && d != cellText {
			return appendIntervalParts(dst, parts, d)
		}
	}
	switch {
	case d == jsonText && ok:
		return appendTag(dst, tag, text)
	case d == jsonText:
		dst = strconv.AppendInt(append(dst, `{"$ext":[`...), int64(kind), 10)
		return append(hex.AppendEncode(append(dst, `,"`...), data), `"]}`...)
	case d == yamlText && ok:
		return appendString(append(append(dst, '!'), tag[1:]+" "...), []byte(text))
	case d == yamlText:
		return append(hex.AppendEncode(append(strconv.AppendInt(append(dst, "!ext-"...), int64(kind), 10), ` "`...), data), '"')
	}
	return extText(dst, kind, data)
}

func appendIntervalParts(dst, parts []byte, d dialect) []byte {
	if d == yamlText {
		dst, _ = appendValue(append(dst, "!interval "...), parts, d)
		return dst
	}
	dst = append(appendString(append(dst, '{'), []byte(tagInterval)), ':')
	dst, _ = appendValue(dst, parts, d)
	return append(dst, '}')
}

// appendMap writes a map. JSON has names only, so there a map with other keys is a tagged array of pairs.
func appendMap(dst, b []byte, d dialect) (out, rest []byte) {
	n, entries, err := msgpack.ReadMapLen(b)
	if err != nil {
		return append(dst, "{}"...), msgpack.SkipTrusted(b)
	}
	pairs := d == jsonText && !plainKeys(entries, n)
	open, colon, end := "{", ":", "}"
	switch {
	case pairs:
		open, colon, end = `{"$map":[`, ",", "]}"
	case d != jsonText:
		colon = ": "
	}
	dst, b = append(dst, open...), entries
	for i := range n {
		if i > 0 {
			dst = append(dst, separator(d)...)
		}
		if pairs {
			dst = append(dst, '[')
		}
		dst, b = appendValue(dst, b, d)
		dst, b = appendValue(append(dst, colon...), b, d)
		if pairs {
			dst = append(dst, ']')
		}
	}
	return append(dst, end...), b
}

// plainKeys tells whether the n entries have keys that JSON can write as names.
func plainKeys(b []byte, n int) bool {
	for i := range n {
		if msgpack.TypeOf(b[0]) != msgpack.TypeStr {
			return false
		}
		key := msgpack.RawTrusted(b)
		if !utf8.Valid(key) || i == 0 && isTag(string(key)) {
			return false
		}
		b = msgpack.SkipTrusted(msgpack.SkipTrusted(b))
	}
	return true
}
