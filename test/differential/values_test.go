package differential

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The domains are small, so that keys meet again, and full of edges.
var (
	smallUints = []uint64{0, 1, 2, 3, 4, 5, 6, 7}
	edgeUints  = []uint64{127, 128, 255, 256, 65535, 65536, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<53 - 1, 1 << 53, 1<<53 + 1,
		1<<63 - 1, 1 << 63, 1<<63 + 1, 1<<64 - 1}
	negatives = []int64{-1, -2, -3, -32, -33, -128, -129, -32768, -32769, -1 << 31, -1<<31 - 1, -1<<53 - 1, -1 << 53, -1<<53 + 1,
		-1 << 63, -1<<63 + 1}
	floats = []float64{0, math.Copysign(0, -1), 1, 1.5, 2, 3, 0.1, 0.5, -1, -1.5, 1 << 53, 1<<53 + 2, -1 << 53, 1 << 63, -1 << 63, 1 << 64, 1e19, 16777217}
	// farFloats are not among the decimals.
	farFloats  = []float64{1e300, -1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, math.MaxFloat32}
	wildFloats = []float64{math.Inf(1), math.Inf(-1), math.NaN()}
	strs       = []string{"", "a", "b", "c", "ab", "aa", "A", "B", "a\x00", "a\x00b", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghj", "é", "ж",
		"\xff", "\x00", "10", "9", "E", "e", "É", "Ё", "ё", "е", "ß", "ss", "SS", "a b", "a-b", "日本", "İ", "_", "a\u0301", "á", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("y", 300)}
	bins = []string{"", "a", "b", "\x00", "\x00\x00", "\xff", "abcdefgh", "abcdefghi", strings.Repeat("z", 40)}
	// decimals are payloads of extension 1: the scale, then digits and sign in half bytes. The wide ones are not
	// near any of the floats: of those 2.6 compares only the first 15 digits with a decimal, and has no total order.
	decimals     = []string{"000c", "001c", "001d", "002c", "01015c", "01015d", "01010c", "02150c", "00123c", "000d", "011c", "0a000000000010c", "d0fd1c", "ff5c"}
	wideDecimals = []string{"0012345678901234567c", "0012345678901234568c", "02123456789012345625d", "0a1234567890123456789012345678c",
		"00123456789012345678901234567890c", "0099999999999999999999999999999999999999c", "26000000000000000000000000000000000000001c"}
	uuids = []string{"00000000000000000000000000000000", "00000000000000000000000000000001", "64d22e4dac924a23899ae59f34af5479",
		"64d22e4dac924a23899ae59f34af5480", "ffffffffffffffffffffffffffffffff"}
	arrays  = []string{"[]", "[1]", "[1,2,3]", `["a",null]`, `[[1,2],{"b":3}]`, `[{"c":1,"d":[5,6]}]`, `[1,[2,[3,[4,"x"]]],{"a":1,"b":2,"c":3},5]`}
	objects = []string{"{}", `{"a":1}`, `{"a":{"b":[1,2,{"c":3}]}}`, `{"a":[1,2],"b":"x"}`, `{"b":-1,"a":"abc"}`, `{"c":1.5,"a":18446744073709551615}`,
		`{"a":1,"b":2,"c":3,"d":4,"e":[1,2,3],"f":{"a":1,"b":2,"c":3}}`, `{"a":{"a":1,"b":{"a":1,"b":2}},"b":[{"a":1},{"b":2}],"c":"str"}`}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// chance is true in percent of the cases.
func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// appendUnsigned appends an unsigned integer, a wild one now and then in a longer encoding than it needs.
func (g *generator) appendUnsigned(b []byte) []byte {
	r := g.rand
	v := pick(r, smallUints)
	if chance(r, 12) {
		v = pick(r, edgeUints)
	}
	switch {
	case g.wild && v < 256 && chance(r, 3):
		return append(b, 0xcd, 0, byte(v))
	case g.wild && chance(r, 2):
		return msgpack.AppendUint64Fixed(b, v)
	}
	return msgpack.AppendUint(b, v)
}

func (g *generator) appendInteger(b []byte) []byte {
	r := g.rand
	if chance(r, 65) {
		return g.appendUnsigned(b)
	}
	v := -1 - int64(r.IntN(5))
	if chance(r, 30) {
		v = pick(r, negatives)
	}
	if g.wild && v >= -32 && chance(r, 3) {
		return append(b, 0xd1, 0xff, byte(v))
	}
	return msgpack.AppendInt(b, v)
}

// appendDouble appends a float of eight bytes; wild ones may be infinite or no number.
func (g *generator) appendDouble(b []byte) []byte {
	r := g.rand
	if g.far && chance(r, 20) {
		return msgpack.AppendFloat64(b, pick(r, farFloats))
	}
	if g.wild && chance(r, 6) {
		return msgpack.AppendFloat64(b, pick(r, wildFloats))
	}
	if chance(r, 30) {
		return msgpack.AppendFloat64(b, float64(r.IntN(8)))
	}
	return msgpack.AppendFloat64(b, pick(r, floats))
}

func (g *generator) appendNumber(b []byte) []byte {
	r := g.rand
	switch r.IntN(10) {
	case 0, 1, 2, 3, 4:
		return g.appendInteger(b)
	case 5, 6:
		return g.appendDouble(b)
	case 7:
		return msgpack.AppendFloat32(b, float32(r.IntN(16))/2-2)
	}
	return g.appendDecimal(b)
}

func (g *generator) appendDecimal(b []byte) []byte {
	r := g.rand
	if g.far {
		return g.appendDouble(b)
	}
	return packDecimal(b, pick(r, decimals))
}

func packDecimal(b []byte, payload string) []byte {
	return msgpack.AppendExt(b, 1, unhex(evenHex(payload)))
}

// evenHex puts a zero before the digits of a packed decimal if a half byte is missing.
func evenHex(s string) string {
	if len(s)%2 == 0 {
		return s
	}
	scale := 2
	if strings.HasPrefix(s, "d0") {
		scale = 4
	}
	return s[:scale] + "0" + s[scale:]
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func appendString(r *rand.Rand, b []byte) []byte {
	if chance(r, 1) && chance(r, 5) {
		return msgpack.AppendStr(b, strings.Repeat("long", 20_000))
	}
	if chance(r, 50) {
		return msgpack.AppendStr(b, strs[1+r.IntN(6)])
	}
	return msgpack.AppendStr(b, pick(r, strs))
}

// appendOf appends a value of the given type.
func (g *generator) appendOf(b []byte, kind string) []byte {
	r := g.rand
	switch kind {
	case "unsigned":
		return g.appendUnsigned(b)
	case "integer":
		return g.appendInteger(b)
	case "double":
		return g.appendDouble(b)
	case "number":
		return g.appendNumber(b)
	case "decimal":
		if chance(r, 30) {
			return packDecimal(b, pick(r, wideDecimals))
		}
		return g.appendDecimal(b)
	case "string":
		return appendString(r, b)
	case "varbinary":
		return msgpack.AppendBin(b, []byte(pick(r, bins)))
	case "boolean":
		return msgpack.AppendBool(b, chance(r, 50))
	case "uuid":
		return msgpack.AppendExt(b, 2, unhex(pick(r, uuids)))
	case "array":
		return append(b, packJSON(pick(r, arrays))...)
	case "map":
		return append(b, packJSON(pick(r, objects))...)
	case "scalar":
		if kind := pick(r, scalarKinds); kind != "decimal" {
			return g.appendOf(b, kind)
		}
		return g.appendDecimal(b) // a narrow one
	}
	return g.appendAny(b)
}

// appendAround appends a map or an array in which index parts find what they look for, mostly.
func (g *generator) appendAround(b []byte, kind string, parts []part) []byte {
	value := func(path string) []byte {
		for _, p := range parts {
			if strings.Trim(p.path, `["]`) == strings.Trim(path, `["]`) && !chance(g.rand, 6) {
				if p.nullable && chance(g.rand, 25) {
					return msgpack.AppendNil(nil)
				}
				return g.appendOf(nil, p.kind)
			}
		}
		return g.appendAny(nil)
	}
	pair := func(b []byte, key string, value []byte) []byte { return append(msgpack.AppendStr(b, key), value...) }
	list := func(b []byte, value []byte) []byte { return append(msgpack.AppendArrayHeader(b, 1), value...) }
	if kind == "array" {
		n := 4
		if chance(g.rand, 10) {
			n = g.rand.IntN(5)
		}
		values := [][]byte{value("[1]"), value("[2]"), pair(msgpack.AppendMapHeader(nil, 1), "a", value("[3].a")), list(nil, value("[4][1]"))}
		b = msgpack.AppendArrayHeader(b, n)
		for _, v := range values[:n] {
			b = append(b, v...)
		}
		return b
	}
	c := pair(pair(pair(msgpack.AppendMapHeader(nil, 3), "d", value("c.d")), "e", value("c.e")), "f", list(nil, value("c.f[1]")))
	pairs := [][]byte{pair(nil, "c", c), pair(nil, "a", value("a")), pair(nil, "b", value("b"))}
	g.rand.Shuffle(3, func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	n := 3
	if chance(g.rand, 10) {
		n = g.rand.IntN(4)
	}
	b = msgpack.AppendMapHeader(b, n)
	for _, p := range pairs[:n] {
		b = append(b, p...)
	}
	return b
}

var scalarKinds = []string{"unsigned", "integer", "number", "string", "string", "varbinary", "boolean", "double", "decimal", "uuid"}

// appendAny appends a value of any kind, now and then one that no field of a declared type takes.
func (g *generator) appendAny(b []byte) []byte {
	switch g.rand.IntN(16) {
	case 0:
		return msgpack.AppendNil(b)
	case 1, 2:
		return g.appendOf(b, "array")
	case 3, 4:
		return g.appendOf(b, "map")
	}
	return g.appendOf(b, "scalar")
}

// packed holds the encodings of the arrays and maps, made once.
var packed = map[string][]byte{}

// packJSON encodes JSON, maps in the order of their keys.
func packJSON(text string) []byte {
	if b, ok := packed[text]; ok {
		return b
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(err)
	}
	b := packValue(nil, v)
	packed[text] = b
	return b
}

func packValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return msgpack.AppendNil(b)
	case bool:
		return msgpack.AppendBool(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case json.Number:
		if u, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return msgpack.AppendUint(b, u)
		}
		if i, err := v.Int64(); err == nil {
			return msgpack.AppendInt(b, i)
		}
		f, err := v.Float64()
		if err != nil {
			panic(err)
		}
		return msgpack.AppendFloat64(b, f)
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, e := range v {
			b = packValue(b, e)
		}
		return b
	case map[string]any:
		b = msgpack.AppendMapHeader(b, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = packValue(msgpack.AppendStr(b, k), v[k])
		}
		return b
	}
	panic("cannot encode " + fmt.Sprint(v))
}
