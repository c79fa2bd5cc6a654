package msgpack

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"

	oracle "github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
)

// genValue draws a value of the kinds that tuples hold; arrays and maps nest to the given depth.
func genValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 8
		if depth > 0 {
			kinds = 10
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Uint64().Draw(t, "uint") >> rapid.IntRange(0, 63).Draw(t, "shift")
		case 3:
			return -(rapid.Int64Range(1, math.MaxInt64).Draw(t, "int") >> rapid.IntRange(0, 62).Draw(t, "shift")) - 1
		case 4:
			return rapid.Float64().Draw(t, "float64")
		case 5:
			return rapid.Float32().Draw(t, "float32")
		case 6:
			return rapid.String().Draw(t, "str")
		case 7:
			return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bin")
		case 8:
			return rapid.SliceOfN(genValue(depth-1), 0, 20).Draw(t, "array")
		}
		return rapid.MapOfN(rapid.String(), genValue(depth-1), 0, 5).Draw(t, "map")
	})
}

// appendValue writes v with the functions under test.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return AppendBool(dst, v)
	case uint64:
		return AppendUint(dst, v)
	case int64:
		return AppendInt(dst, v)
	case float64:
		return AppendFloat64(dst, v)
	case float32:
		return AppendFloat32(dst, v)
	case string:
		return AppendStr(dst, v)
	case []byte:
		return AppendBin(dst, v)
	case []any:
		dst = AppendArrayHeader(dst, len(v))
		for _, x := range v {
			dst = appendValue(dst, x)
		}
		return dst
	case map[string]any:
		dst = AppendMapHeader(dst, len(v))
		for k, x := range v {
			dst = appendValue(AppendStr(dst, k), x)
		}
		return dst
	}
	return AppendNil(dst)
}

// readValue reads with the checked functions under test, integers as uint64 or (negative) int64.
func readValue(t *rapid.T, b []byte) (any, []byte) {
	var v any
	var err error
	switch TypeOf(b[0]) {
	case TypeNil:
		_, b, err = ReadNil(b)
	case TypeBool:
		v, b, err = ReadBool(b)
	case TypeUint:
		v, b, err = ReadUint(b)
	case TypeInt:
		v, b, err = ReadInt(b)
	case TypeFloat32:
		var f float64
		f, b, err = ReadFloat(b)
		v = float32(f)
	case TypeFloat64:
		v, b, err = ReadFloat(b)
	case TypeStr:
		var s []byte
		s, b, err = ReadStr(b)
		v = string(s)
	case TypeBin:
		v, b, err = ReadBin(b)
	case TypeArray:
		var n int
		n, b, err = ReadArrayLen(b)
		list := make([]any, n)
		for i := range list {
			list[i], b = readValue(t, b)
		}
		v = list
	case TypeMap:
		var n int
		n, b, err = ReadMapLen(b)
		pairs := make(map[string]any, n)
		for range n {
			var k any
			k, b = readValue(t, b)
			pairs[k.(string)], b = readValue(t, b)
		}
		v = pairs
	}
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return v, b
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(3).Draw(t, "value")
		b := appendValue(nil, v)
		if err := Check(b); err != nil {
			t.Fatalf("Check(%x) = %v", b, err)
		}
		got, rest := readValue(t, b)
		if len(rest) != 0 || !reflect.DeepEqual(got, normal(v)) {
			t.Fatalf("read %#v, want %#v", got, normal(v))
		}
		tail := append(bytes.Clone(b), 0xc1)
		if r := SkipTrusted(tail); len(r) != 1 || SizeTrusted(tail) != len(b) {
			t.Fatalf("SkipTrusted leaves %d bytes", len(r))
		}
		for i := range b {
			if Check(b[:i]) == nil {
				t.Fatalf("Check accepts %x, a part of %x", b[:i], b)
			}
		}
	})
}

// normal turns what rapid draws into what readValue returns.
func normal(v any) any {
	switch v := v.(type) {
	case []byte:
		return append([]byte{}, v...)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = normal(x)
		}
		return out
	}
	return v
}

// TestOracleEncoding compares scalars byte by byte with another library, and whole values by decoding with it.
func TestOracleEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(2).Draw(t, "value")
		b := appendValue(nil, v)
		var got any
		if err := oracle.Unmarshal(b, &got); err != nil {
			t.Fatalf("the oracle refuses %x: %v", b, err)
		}
		var out bytes.Buffer
		enc := oracle.NewEncoder(&out)
		enc.UseCompactInts(true)
		switch v.(type) {
		case []any, map[string]any:
			return
		}
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), b) {
			t.Fatalf("%#v: %x, the oracle writes %x", v, b, out.Bytes())
		}
	})
}

func TestFixedWidths(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{hex.EncodeToString(AppendUint32Fixed(nil, 1)), "ce00000001"},
		{hex.EncodeToString(AppendUint64Fixed(nil, 1)), "cf0000000000000001"},
		{hex.EncodeToString(AppendArray32Header(nil, 2)), "dd00000002"},
		{hex.EncodeToString(AppendExt(nil, 1, []byte{1, 2})), "d5010102"},
		{hex.EncodeToString(AppendExt(nil, -1, []byte{1, 2, 3})), "c703ff010203"},
		{hex.EncodeToString(AppendExt(nil, 2, make([]byte, 16))), "d80200000000000000000000000000000000"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	for size := range 70 {
		data := bytes.Repeat([]byte{7}, size)
		b := AppendExt(nil, 5, data)
		kind, got, rest, err := ReadExt(b)
		if err != nil || kind != 5 || !bytes.Equal(got, data) || len(rest) != 0 || SizeTrusted(b) != len(b) {
			t.Errorf("ext of %d bytes: %d %x %x %v", size, kind, got, rest, err)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := bytes.Repeat([]byte{0x91}, DepthMax)
	for _, c := range []struct {
		in   string
		want error
	}{
		{"", ErrTruncated}, {"c1", ErrBadByte}, {"91c1", ErrBadByte}, {"0102", ErrTrailing},
		{"ddffffffff", ErrTruncated}, {"dfffffffff", ErrTruncated}, {"dbffffffff61", ErrTruncated},
		{"c9ffffffff01", ErrTruncated}, {"df7fffffff00", ErrTruncated}, {"92", ErrTruncated}, {"8101", ErrTruncated},
		{hex.EncodeToString(deep) + "91c0", ErrDepth}, {hex.EncodeToString(deep) + "c0", nil},
	} {
		b, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Check(b); got != c.want {
			t.Errorf("Check(%s) = %v, want %v", c.in, got, c.want)
		}
	}
	if _, _, err := ReadArrayLen([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 1}); err != ErrTruncated {
		t.Errorf("an array longer than its bytes: %v", err)
	}
	if _, _, err := ReadInt(AppendUint(nil, 1<<63)); err != ErrRange {
		t.Errorf("ReadInt(2^63): %v", err)
	}
	if v, _, err := ReadUint([]byte{0xd0, 5}); v != 5 || err != nil {
		t.Errorf("ReadUint(d005) = %d, %v", v, err)
	}
	if _, _, err := ReadUint([]byte{0xff}); err != ErrRange {
		t.Errorf("ReadUint(-1): %v", err)
	}
}

func TestToJSON(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"9801a36f6e65fbcb3ff8000000000000920181a16102c0c3c40362696e",
			`[1,"one",-5,1.5,[1,{"a":2}],null,true,"bin:Ymlu"]`},
		{"81d5010102c2", `{"\"ext:1:0102\"":false}`},
		{"93cb7ff8000000000000ca7f800000a1ff", `["NaN","Infinity","str:/w=="]`},
		{"a26122", `"a\""`},
	} {
		b, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ToJSON(nil, b)
		if err != nil || string(got) != c.want {
			t.Errorf("ToJSON(%s) = %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	if _, err := ToJSON(nil, []byte{0x92, 1}); err != ErrTruncated {
		t.Errorf("ToJSON of a part: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	b := appendValue(nil, []any{uint64(1), "name", 1.5, []any{uint64(2), map[string]any{"a": true}}})
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		if Check(b) != nil || len(SkipTrusted(b)) != 0 {
			t.Fatal("refused")
		}
		buf = AppendStr(AppendUint(AppendArrayHeader(buf[:0], 2), 70000), "x")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCheck feeds foreign bytes to every checked reader: none may panic, and what Check accepts the trusted ones
// must walk the same way and the oracle must decode.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"c0", "9201a161", "dd00000001c0", "81a16101", "c7030102123c", "cb3ff8000000000000"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 64, func() {
			if Check(b) == nil {
				_, _ = ToJSON(nil, b)
			}
		})
		rest, err := Skip(b)
		_, _, _ = ReadUint(b)
		_, _, _ = ReadInt(b)
		_, _, _ = ReadFloat(b)
		_, _, _ = ReadStr(b)
		_, _, _ = ReadBin(b)
		_, _, _ = ReadMapLen(b)
		_, _, _ = ReadBool(b)
		_, _, _, _ = ReadExt(b)
		if n, r, err := ReadArrayLen(b); err == nil && n > len(r) {
			t.Fatalf("%d elements in %d bytes", n, len(r))
		}
		if err != nil {
			return
		}
		size := len(b) - len(rest)
		if SizeTrusted(b) != size || len(SkipTrusted(b)) != len(rest) || Check(b[:size]) != nil {
			t.Fatalf("sizes differ: %d, %d", SizeTrusted(b), size)
		}
		if _, err := ToJSON(nil, b); err != nil {
			t.Fatal(err)
		}
		if err := oracle.NewDecoder(bytes.NewReader(b)).Skip(); err != nil && TypeOf(b[0]) != TypeExt {
			t.Logf("the oracle refuses: %v", err)
		}
	})
}

func BenchmarkSkip(b *testing.B) {
	v := appendValue(nil, []any{uint64(1), uint64(70000), "one", "two and more", 1.5, true, uint64(5), nil})
	b.Run("checked", func(b *testing.B) {
		for b.Loop() {
			if Check(v) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("trusted", func(b *testing.B) {
		for b.Loop() {
			if len(SkipTrusted(v)) != 0 {
				b.Fatal("wrong")
			}
		}
	})
}
