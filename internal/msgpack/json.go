package msgpack

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// ToJSON appends the first value of b as one line of JSON, for people to read: it is checked as by Skip. What JSON
// lacks is written as tagged strings: binaries "bin:<base64>", extensions "ext:<type>:<hex>", strings that are not
// UTF-8 "str:<base64>", floats that are no numbers "NaN", "Infinity", "-Infinity". Map keys that are not strings are
// written as the string of their JSON.
func ToJSON(dst, b []byte) ([]byte, error) {
	if _, err := Skip(b); err != nil {
		return dst, err
	}
	dst, _ = jsonValue(dst, b)
	return dst, nil
}

// jsonValue renders checked bytes; its recursion is bounded by the depth that Skip allowed.
func jsonValue(dst, b []byte) (out, rest []byte) {
	rest = SkipTrusted(b)
	switch TypeOf(b[0]) {
	case TypeUint:
		return strconv.AppendUint(dst, UintTrusted(b), 10), rest
	case TypeInt:
		return strconv.AppendInt(dst, IntTrusted(b), 10), rest
	case TypeBool:
		return strconv.AppendBool(dst, b[0] == 0xc3), rest
	case TypeFloat32, TypeFloat64:
		return jsonFloat(dst, FloatTrusted(b), 32+32*int(b[0]&1)), rest
	case TypeStr:
		return jsonString(dst, RawTrusted(b)), rest
	case TypeBin:
		dst = base64.StdEncoding.AppendEncode(append(dst, `"bin:`...), RawTrusted(b))
		return append(dst, '"'), rest
	case TypeExt:
		kind, data := ExtTrusted(b)
		dst = strconv.AppendInt(append(dst, `"ext:`...), int64(kind), 10)
		return append(hex.AppendEncode(append(dst, ':'), data), '"'), rest
	case TypeArray:
		return jsonArray(dst, b)
	case TypeMap:
		return jsonMap(dst, b)
	}
	return append(dst, "null"...), rest
}

func jsonArray(dst, b []byte) (out, rest []byte) {
	n, b := ArrayLenTrusted(b)
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, b = jsonValue(dst, b)
	}
	return append(dst, ']'), b
}

func jsonMap(dst, b []byte) (out, rest []byte) {
	n, head, _ := treeSize(b)
	b = b[head:]
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if TypeOf(b[0]) == TypeStr {
			dst, b = jsonValue(dst, b)
		} else {
			var key []byte
			key, b = jsonValue(nil, b)
			dst = jsonString(dst, key)
		}
		dst, b = jsonValue(append(dst, ':'), b)
	}
	return append(dst, '}'), b
}

func jsonFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func jsonString(dst, s []byte) []byte {
	if !utf8.Valid(s) {
		return append(base64.StdEncoding.AppendEncode(append(dst, `"str:`...), s), '"')
	}
	quoted, err := json.Marshal(string(s))
	if err != nil {
		return append(dst, `""`...)
	}
	return append(dst, quoted...)
}
