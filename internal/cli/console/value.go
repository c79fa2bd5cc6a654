package console

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// depthMax bounds how deep values nest, as the server does.
const depthMax = msgpack.DepthMax

// syntaxError is a command that cannot be read.
type syntaxError struct{ Text string }

// Error returns the text.
func (e *syntaxError) Error() string { return e.Text }

func syntaxf(format string, args ...any) error { return &syntaxError{fmt.Sprintf(format, args...)} }

// parseValue turns one JSON value into MessagePack. Whole numbers become integers and keep all their digits, others
// doubles. What JSON lacks is written as an object with one key that begins with a dollar sign: see readTag.
func parseValue(text string) ([]byte, error) {
	p := valueParser{text: text}
	out, err := p.value(nil, 0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, syntaxf("%s comes after the end of a value", clip(p.text[p.at:]))
	}
	return out, nil
}

// valueParser reads JSON; at is how much of the text is read.
type valueParser struct {
	text string
	at   int
}

func (p *valueParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take skips space and then c, if c is next.
func (p *valueParser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *valueParser) value(dst []byte, depth int) ([]byte, error) {
	p.space()
	if p.at == len(p.text) {
		return nil, syntaxf("a value is missing at the end of %s", clip(p.text))
	}
	if depth > depthMax {
		return nil, syntaxf("brackets nest deeper than %d", depthMax)
	}
	switch p.text[p.at] {
	case '"':
		s, err := p.str()
		return msgpack.AppendStr(dst, s), err
	case '[':
		return p.array(dst, depth+1)
	case '{':
		return p.object(dst, depth+1)
	}
	return p.literal(dst)
}

// literal reads a number, true, false or null.
func (p *valueParser) literal(dst []byte) ([]byte, error) {
	rest := p.text[p.at:]
	end := strings.IndexAny(rest, " \t\r\n,:]}[{\"")
	if end < 0 {
		end = len(rest)
	}
	word := rest[:end]
	p.at += end
	switch word {
	case "null":
		return msgpack.AppendNil(dst), nil
	case "true", "false":
		return msgpack.AppendBool(dst, word == "true"), nil
	case "":
		return nil, syntaxf("a value is missing before %s", clip(rest))
	}
	if c := word[0]; c == '-' || c >= '0' && c <= '9' {
		return appendNumber(dst, word)
	}
	if word == "NaN" || word == "Infinity" || word == "nan" || word == "inf" {
		return nil, syntaxf(`%s is not JSON: write {"$float":"NaN"}, "Infinity" or "-Infinity"`, word)
	}
	return nil, syntaxf("%s is not JSON: write %s for a string", clip(word), strconv.Quote(clip(word)))
}

// appendNumber appends an integer of 64 bits or a double.
func appendNumber(dst []byte, word string) ([]byte, error) {
	if !numberShape(word) {
		return nil, syntaxf("%s is not a number as JSON has them", clip(word))
	}
	if !strings.ContainsAny(word, ".eE") {
		if u, err := strconv.ParseUint(word, 10, 64); err == nil {
			return msgpack.AppendUint(dst, u), nil
		}
		if i, err := strconv.ParseInt(word, 10, 64); err == nil {
			return msgpack.AppendInt(dst, i), nil
		}
		return nil, syntaxf(`%s does not fit into 64 bits: write {"$decimal":"..."} or %s.0`, clip(word), clip(word))
	}
	f, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return nil, syntaxf("%s does not fit into a double", clip(word))
	}
	return msgpack.AppendFloat64(dst, f), nil
}

// numberShape checks the grammar of JSON numbers.
func numberShape(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	s = strings.TrimPrefix(s, "-")
	if len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' || !digits() {
		return false
	}
	if rest, found := strings.CutPrefix(s, "."); found {
		if s = rest; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		return digits() && s == ""
	}
	return s == ""
}

// str reads a JSON string. A line end inside is taken as it is, since commands may have several lines.
func (p *valueParser) str() (string, error) {
	end, err := valueEnd(p.text[p.at:])
	if err != nil {
		return "", err
	}
	raw := p.text[p.at+1 : p.at+end-1]
	p.at += end
	if strings.IndexByte(raw, '\\') < 0 {
		return checkUTF8(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++ // valueEnd has seen a character after each backslash
		if at := strings.IndexByte(`"\/bfnrt`, raw[i]); at >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		r, used := unescape(raw[i:])
		if used == 0 {
			return "", syntaxf(`\%s is no escape of JSON`, clip(raw[i:]))
		}
		out = utf8.AppendRune(out, r)
		i += used - 1
	}
	return checkUTF8(string(out))
}

func checkUTF8(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", syntaxf(`a string is not UTF-8: write {"$str":"<base64>"}`)
	}
	return s, nil
}

// unescape reads uXXXX, or two of them that make one rune; used is how much of s that took, 0 if it is none.
func unescape(s string) (r rune, used int) {
	first, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, 5
	}
	if len(s) > 5 && s[5] == '\\' {
		if second, ok := hex4(s[6:]); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r, 11
			}
		}
	}
	return 0, 0
}

func hex4(s string) (rune, bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[1:5], 16, 32)
	return rune(v), err == nil
}

func (p *valueParser) array(dst []byte, depth int) ([]byte, error) {
	p.at++
	mark, n := len(dst), 0
	if p.take(']') {
		return msgpack.AppendArrayHeader(dst, 0), nil
	}
	for {
		var err error
		if dst, err = p.value(dst, depth); err != nil {
			return nil, err
		}
		n++
		if p.take(']') {
			return insertHeader(dst, mark, msgpack.AppendArrayHeader(nil, n)), nil
		}
		if !p.take(',') {
			return nil, syntaxf("a comma or ] is missing before %s", clip(p.text[p.at:]))
		}
	}
}

func (p *valueParser) object(dst []byte, depth int) ([]byte, error) {
	p.at++
	mark, n := len(dst), 0
	if p.take('}') {
		return msgpack.AppendMapHeader(dst, 0), nil
	}
	for {
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		if n == 0 && isTag(key) {
			return p.tagged(dst, key, depth)
		}
		if dst, err = p.value(msgpack.AppendStr(dst, key), depth); err != nil {
			return nil, err
		}
		n++
		if p.take('}') {
			return insertHeader(dst, mark, msgpack.AppendMapHeader(nil, n)), nil
		}
		if !p.take(',') {
			return nil, syntaxf("a comma or } is missing before %s", clip(p.text[p.at:]))
		}
	}
}

// key reads the name of an object's member and the colon.
func (p *valueParser) key() (string, error) {
	p.space()
	if p.at == len(p.text) || p.text[p.at] != '"' {
		return "", syntaxf("a name in quotes is missing before %s", clip(p.text[p.at:]))
	}
	key, err := p.str()
	if err == nil && !p.take(':') {
		err = syntaxf("a colon is missing after %s", strconv.Quote(clip(key)))
	}
	return key, err
}

func insertHeader(dst []byte, mark int, header []byte) []byte {
	dst = append(dst, header...)
	copy(dst[mark+len(header):], dst[mark:len(dst)-len(header)])
	copy(dst[mark:], header)
	return dst
}

// The objects that stand for what JSON lacks.
const (
	tagBin      = "$bin"
	tagHex      = "$hex"
	tagStr      = "$str"
	tagFloat    = "$float"
	tagDecimal  = "$decimal"
	tagUUID     = "$uuid"
	tagDatetime = "$datetime"
	tagInterval = "$interval"
	tagExt      = "$ext"
	tagMap      = "$map"
)

func isTag(key string) bool {
	switch key {
	case tagBin, tagHex, tagStr, tagFloat, tagDecimal, tagUUID, tagDatetime, tagInterval, tagExt, tagMap:
		return true
	}
	return false
}

// tagged reads the rest of an object whose first key is a tag.
func (p *valueParser) tagged(dst []byte, tag string, depth int) ([]byte, error) {
	inner, err := p.value(nil, depth)
	if err != nil {
		return nil, err
	}
	if !p.take('}') {
		return nil, syntaxf(`an object with %s has no other key; a map with such a key is {"$map":[[key,value],...]}`, tag)
	}
	out, err := readTag(dst, tag, inner)
	if err != nil {
		return nil, syntaxf("%s: %v", tag, err)
	}
	return out, nil
}

var (
	errTagText = errors.New("a string is wanted")
	errTagExt  = errors.New(`[type, "<hex>"] is wanted, with a type from -128 to 127`)
	errTagMap  = errors.New("an array of [key, value] pairs is wanted")
)

// readTag appends the value that a tagged object stands for; inner is what stood under the tag.
func readTag(dst []byte, tag string, inner []byte) ([]byte, error) {
	switch tag {
	case tagMap:
		return readMapTag(dst, inner)
	case tagExt:
		return readExtTag(dst, inner)
	case tagInterval:
		return appendInterval(dst, inner)
	}
	raw, _, err := msgpack.ReadStr(inner)
	if err != nil {
		return nil, errTagText
	}
	text := string(raw)
	switch tag {
	case tagBin, tagStr:
		data, err := base64.StdEncoding.DecodeString(text)
		if tag == tagStr {
			return msgpack.AppendStrBytes(dst, data), err
		}
		return msgpack.AppendBin(dst, data), err
	case tagHex:
		data, err := hex.DecodeString(text)
		return msgpack.AppendBin(dst, data), err
	case tagFloat:
		return readFloatTag(dst, text)
	case tagDecimal:
		return appendDecimal(dst, text)
	case tagUUID:
		return appendUUID(dst, text)
	}
	return appendDatetime(dst, text)
}

func readFloatTag(dst []byte, text string) ([]byte, error) {
	switch text {
	case "NaN":
		return msgpack.AppendFloat64(dst, math.NaN()), nil
	case "Infinity":
		return msgpack.AppendFloat64(dst, math.Inf(1)), nil
	case "-Infinity":
		return msgpack.AppendFloat64(dst, math.Inf(-1)), nil
	}
	return nil, errors.New(`"NaN", "Infinity" or "-Infinity" is wanted`)
}

func readExtTag(dst, inner []byte) ([]byte, error) {
	n, b, err := msgpack.ReadArrayLen(inner)
	if err != nil || n != 2 {
		return nil, errTagExt
	}
	kind, b, err := msgpack.ReadInt(b)
	if err != nil || kind < math.MinInt8 || kind > math.MaxInt8 {
		return nil, errTagExt
	}
	text, _, err := msgpack.ReadStr(b)
	if err != nil {
		return nil, errTagExt
	}
	data, err := hex.DecodeString(string(text))
	if err != nil {
		return nil, err
	}
	return msgpack.AppendExt(dst, int8(kind), data), nil
}

func readMapTag(dst, inner []byte) ([]byte, error) {
	n, b, err := msgpack.ReadArrayLen(inner)
	if err != nil {
		return nil, errTagMap
	}
	dst = msgpack.AppendMapHeader(dst, n)
	for range n {
		two, pair, err := msgpack.ReadArrayLen(b)
		if err != nil || two != 2 {
			return nil, errTagMap
		}
		b = msgpack.SkipTrusted(b)
		dst = append(dst, pair[:len(pair)-len(b)]...)
	}
	return dst, nil
}
