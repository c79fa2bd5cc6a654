package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// drawValue makes any MessagePack value, except those that JSON cannot tell apart from others: floats of 32 bits, and
// integers in another width than the smallest.
func drawValue(t *rapid.T, depth int) []byte {
	kinds := 8
	if depth > 0 {
		kinds = 10
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return msgpack.AppendUint(nil, rapid.Uint64().Draw(t, "uint"))
	case 1:
		return msgpack.AppendInt(nil, rapid.Int64().Draw(t, "int"))
	case 2:
		return msgpack.AppendBool(nil, rapid.Bool().Draw(t, "bool"))
	case 3:
		f := rapid.Float64().Draw(t, "float")
		if rapid.IntRange(0, 9).Draw(t, "special") == 0 {
			f = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1, 1e21, 5e-324}).Draw(t, "which")
		}
		return msgpack.AppendFloat64(nil, f)
	case 4:
		return msgpack.AppendStr(nil, rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{tagBin, tagMap, "\u202e\x00"})).Draw(t, "str"))
	case 5:
		return msgpack.AppendStrBytes(nil, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes"))
	case 6:
		return msgpack.AppendBin(nil, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bin"))
	case 7:
		data := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "ext")
		kind := rapid.Int8Range(3, 9).Draw(t, "type")
		if kind == extDatetime {
			kind = extUUID
			data = append(data, make([]byte, 16)...)[:16]
		}
		return msgpack.AppendExt(nil, kind, data)
	}
	n := rapid.IntRange(0, 4).Draw(t, "n")
	if rapid.Bool().Draw(t, "map") {
		out := msgpack.AppendMapHeader(nil, n)
		for range 2 * n {
			out = append(out, drawValue(t, depth-1)...)
		}
		return out
	}
	out := msgpack.AppendArrayHeader(nil, n)
	for range n {
		out = append(out, drawValue(t, depth-1)...)
	}
	return out
}

// TestRoundTrip: what is written as JSON is JSON, and reads back as the same bytes; YAML is YAML; no cell has characters
// that a terminal would obey.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := drawValue(t, 4)
		text, rest := appendValue(nil, value, jsonText)
		if len(rest) != 0 || !json.Valid(text) {
			t.Fatalf("%x became %s", value, text)
		}
		back, err := parseValue(string(text))
		if err != nil || !bytes.Equal(back, value) {
			t.Fatalf("%x became %s and that %x, %v", value, text, back, err)
		}
		yamlOut, _ := appendValue(nil, value, yamlText)
		var node yaml.Node
		if err := yaml.Unmarshal(append([]byte("- "), yamlOut...), &node); err != nil {
			t.Fatalf("%x became %s: %v", value, yamlOut, err)
		}
		cell, _ := appendCell(nil, value)
		for _, r := range string(cell) {
			if !harmless(r) {
				t.Fatalf("cell %q", cell)
			}
		}
	})
}

func TestExtensions(t *testing.T) {
	// The bytes are Tarantool's.
	for text, want := range map[string]string{
		`{"$decimal":"1.5"}`:                                  "\xc7\x03\x01\x01\x01\x5c",
		`{"$decimal":"2.50"}`:                                 "\xc7\x03\x01\x02\x25\x0c",
		`{"$decimal":"-7"}`:                                   "\xd5\x01\x00\x7d",
		`{"$interval":{"year":1,"second":-30}}`:               "\xc7\x05\x06\x02\x00\x01\x06\xe2",
		`{"$interval":{}}`:                                    "\xd4\x06\x00",
		`{"$datetime":"1970-01-01T00:00:01Z"}`:                "\xd7\x04\x01\x00\x00\x00\x00\x00\x00\x00",
		`{"$datetime":"1970-01-01T03:00:00.000000002+03:00"}`: "\xd8\x04\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\xb4\x00\x00\x00",
	} {
		got, err := parseValue(text)
		if err != nil || string(got) != want {
			t.Errorf("%s became %x, %v; want %x", text, got, err, want)
			continue
		}
		if back, _ := appendValue(nil, got, jsonText); string(back) != text {
			t.Errorf("%s came back as %s", text, back)
		}
	}
	// A negative scale, and payloads that are no decimal.
	for data, want := range map[string]string{"\xfe\x1c": "100", "\x00\x0d": "-0", "\x03\x5c": "0.005"} {
		if got, ok := decimalText([]byte(data)); !ok || got != want {
			t.Errorf("%x is %s, %v; want %s", data, got, ok, want)
		}
	}
	for _, data := range []string{"", "\x00", "\x00\x12", "\x00\xac", "\x00\x1a\x1c", "\xce\xff\xff\xff\xff\x1c", "\xd2\x80\x00\x00\x00\x1c"} {
		if got, ok := decimalText([]byte(data)); ok {
			t.Errorf("%x is taken for the decimal %s", data, got)
		}
	}
	if text, exact, ok := datetimeText([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00")); !ok || exact || text != "1970-01-01T00:00:00Z" {
		t.Errorf("a time with a zone: %s, %v, %v", text, exact, ok)
	}
	if _, _, ok := datetimeText([]byte("\xff\xff\xff\xff\xff\xff\xff\x7f")); ok {
		t.Error("a year of many digits is written")
	}
}

// FuzzParse: commands are foreign text. The collector, fed by lines, ends where the parser says that the text is whole.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`select t eq [1,"a"] limit 1`, `insert t [{"$decimal":"1.5"},{"$map":[[1,2]]}]`, "a [\n\"\\", `create index t i {`, "-- x\n;", `"\ud800`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		meter.Check(t, len(text), 256, func() { _, _ = parse(text) })
		c, err := parse(text)
		if err == nil {
			for _, v := range [][]byte{c.key, c.tuple, c.ops, c.args} {
				if v != nil && msgpack.Check(v) != nil {
					t.Fatalf("%q made %x, which is no MessagePack", text, v)
				}
			}
		}
		var lines collector
		whole := false
		for line := range strings.SplitSeq(text, "\n") {
			if whole = lines.add(line); whole {
				break
			}
		}
		if !whole && !incomplete(text) {
			t.Fatalf("%q is whole and was not seen as such", text)
		}
		complete(text, names{})
	})
}

// FuzzRender: tuples are foreign bytes. What is written of them is a few times as long, and no number in them asks for more.
func FuzzRender(f *testing.F) {
	f.Add([]byte{0x93, 1, 0xa1, 'x', 0x81, 1, 2})
	f.Add([]byte{0x91, 0xd5, 1, 1, 0x5c})
	f.Add([]byte{0x91, 0xc7, 6, 1, 0xd2, 0x7f, 0xff, 0xff, 0xff, 0x1c})
	f.Fuzz(func(t *testing.T, b []byte) {
		if msgpack.Check(b) != nil {
			return
		}
		for _, format := range []Format{FormatTable, FormatJSON, FormatYAML} {
			for _, expanded := range []bool{false, true} {
				meter.Check(t, len(b), 1024, func() { render(t, b, format, expanded) })
			}
		}
		meter.Check(t, len(b), 1024, func() { newSchema(1, b, b) })
	})
}

// render writes a value as the only one of a row and as a document.
func render(t *testing.T, b []byte, format Format, expanded bool) {
	var out bytes.Buffer
	p := printer{out: bufio.NewWriter(&out), format: format, expanded: expanded}
	data := append(msgpack.AppendArrayHeader(nil, 1), b...)
	if err := p.rows(context.Background(), []string{"a"}, data, true); err != nil {
		t.Fatal(err)
	}
	if err := p.document(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}
