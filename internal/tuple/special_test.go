package tuple

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestPathsModel compares keys within fields with the same values in fields of their own.
func TestPathsModel(t *testing.T) {
	paths := mustKeyDef(t, Part{Field: 1, Type: String, Path: "a.b[2]"},
		Part{Field: 0, Type: Unsigned, Path: "[1]", Nullable: true}, Part{Field: 2, Type: Integer})
	plain := mustKeyDef(t, Part{Field: 0, Type: String}, Part{Field: 1, Type: Unsigned, Nullable: true}, Part{Field: 2, Type: Integer})
	pathFormat, plainFormat := mustFormat(t, paths), mustFormat(t, plain)
	rapid.Check(t, func(t *rapid.T) {
		var nested, flat [2][]byte
		for i := range nested {
			nested[i], flat[i] = drawNested(t)
			if err := pathFormat.Validate(nested[i]); err != nil {
				t.Fatalf("%x: %v", nested[i], err)
			}
			if err := plainFormat.Validate(flat[i]); err != nil {
				t.Fatalf("%x: %v", flat[i], err)
			}
			if paths.HasNull(nested[i]) != plain.HasNull(flat[i]) {
				t.Fatalf("null of %x", nested[i])
			}
		}
		key := paths.ExtractKey(nil, nested[1])
		if want := plain.ExtractKey(nil, flat[1]); string(key) != string(want) {
			t.Fatalf("key %x, want %x", key, want)
		}
		h0, h1, hk := paths.Hint(nested[0]), paths.Hint(nested[1]), paths.KeyHint(key, 3)
		want := sign(plain.Compare(flat[0], flat[1]))
		for _, got := range []int{paths.Compare(nested[0], nested[1]), paths.CompareHinted(nested[0], h0, nested[1], h1),
			paths.CompareKey(nested[0], key, 3), paths.CompareKeyHinted(nested[0], h0, key, hk, 3)} {
			if sign(got) != want {
				t.Fatalf("%x %x: %d, want %d", nested[0], nested[1], got, want)
			}
		}
		if h1 != hk || paths.Hash(nested[1]) != paths.HashKey(key, 3) || paths.Hash(nested[0]) != plain.Hash(flat[0]) {
			t.Fatalf("hint or hash of %x", nested[1])
		}
	})
}

func mustFormat(t *testing.T, k *KeyDef) *Format {
	f, err := NewFormat(nil, 0, []*KeyDef{k})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestPathFormat: a value on the way of a path need not be there, but if it is it must be able to hold the next one.
func TestPathFormat(t *testing.T) {
	pk := mustKeyDef(t, Part{Field: 0, Type: Unsigned})
	for _, nullable := range []bool{false, true} {
		k := mustKeyDef(t, Part{Field: 1, Type: Unsigned, Path: "a.b", Nullable: nullable})
		f, err := NewFormat([]Field{{Name: "id", Type: Unsigned}, {Name: "f", Type: Any}}, 0, []*KeyDef{pk, k})
		if err != nil {
			t.Fatal(err)
		}
		missing := `error 39 Tuple field [2]["a"]["b"] required by space format is missing`
		wrongLeaf := `error 23 Tuple field [2]["a"]["b"] type does not match one required by operation: expected unsigned`
		wrongRoot := "error 23 Tuple field 2 type does not match one required by operation: expected map"
		wrongMiddle := `error 23 Tuple field [2]["a"] type does not match one required by operation: expected map`
		for _, c := range []struct{ tup, strict, loose string }{
			{"9101", missing, ""}, {"9201c0", wrongRoot, wrongRoot}, {"920180", missing, ""}, {"920181a161c0", wrongMiddle, wrongMiddle},
			{"920181a16180", missing, ""}, {"920181a16181a162c0", wrongLeaf, ""}, {"920181a16181a16201", "", ""},
			{"920181a16190", wrongMiddle, wrongMiddle}, {"920190", wrongRoot, wrongRoot}, {"920181a16201", missing, ""},
			{"920181a16181a162a178", wrongLeaf, wrongLeaf},
		} {
			want := c.strict
			if nullable {
				want = c.loose
			}
			got := ""
			if err := f.Validate(unhex(t, c.tup)); err != nil {
				got = render(nil, err)
			}
			if got != want {
				t.Errorf("nullable %v, %s: %q, want %q", nullable, c.tup, got, want)
			}
		}
	}
}

// drawNested draws three values and makes of them a tuple of containers and one of plain fields.
func drawNested(t *rapid.T) (nested, flat []byte) {
	s := rapid.SampledFrom([]string{"", "a", "ab", "abcdefgh", "abcdefghi"}).Draw(t, "s")
	u := rapid.Uint64Range(0, 3).Draw(t, "u")
	i := rapid.Int64Range(-2, 2).Draw(t, "i")
	first := msgpack.AppendUint([]byte{0x91}, u)
	var plain []byte
	switch rapid.IntRange(0, 2).Draw(t, "nil") {
	case 0:
		first, plain = []byte{0x90}, []byte{0xc0}
	case 1:
		first, plain = []byte{0x91, 0xc0}, []byte{0xc0}
	default:
		plain = msgpack.AppendUint(nil, u)
	}
	nested = append([]byte{0x93}, first...)
	nested = append(nested, 0x83, 0xa1, 'z', 1, 5, 0xa1, 'a', 0xa1, 'a', 0x81, 0xa1, 'b', 0x92, 7)
	nested = msgpack.AppendInt(msgpack.AppendStr(nested, s), i)
	flat = append(msgpack.AppendStr([]byte{0x93}, s), plain...)
	return nested, msgpack.AppendInt(flat, i)
}

// TestSamePlace keeps the same place from being indexed twice, however it is written.
func TestSamePlace(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"a.b", `["a"]["b"]`, true}, {"a.b", ".a.b", true}, {"a", "b", false}, {"a", "a.b", false}, {"[1]", "[2]", false},
		{"", "a", false}, {"[1]", `["1"]`, false},
	} {
		_, err := NewKeyDef([]Part{{Field: 1, Type: String, Path: c.a}, {Field: 1, Type: String, Path: c.b}})
		if errcode.Is(err, errcode.ModifyIndex) != c.same || !c.same && err != nil {
			t.Errorf("%q and %q: %v", c.a, c.b, err)
		}
	}
}

func TestExcludes(t *testing.T) {
	k := mustKeyDef(t, Part{Field: 1, Type: Unsigned, Nullable: true, ExcludeNull: true}, Part{Field: 0, Type: String, Nullable: true})
	for tup, want := range map[string]bool{"92a16101": false, "92c001": false, "92a161c0": true, "91a161": true, "90": true} {
		if got := k.Excludes(unhex(t, tup)); got != want {
			t.Errorf("%s: %v", tup, got)
		}
	}
	if b := EncodeParts(nil, k.Parts()); len(b) > 0 {
		parts, err := ParseParts(b)
		if err != nil || len(parts) != 2 || parts[0] != k.parts[0] || parts[1] != k.parts[1] {
			t.Errorf("parts %v, %v", parts, err)
		}
	}
	if _, err := NewKeyDef([]Part{{Type: Unsigned, ExcludeNull: true}}); !errcode.Is(err, errcode.ModifyIndex) {
		t.Errorf("exclude_null without is_nullable: %v", err)
	}
}

// TestPathOfTwoIndexes: a value that two indexes have is required if one of them requires it.
func TestPathOfTwoIndexes(t *testing.T) {
	strict := mustKeyDef(t, Part{Field: 1, Type: String, Path: "a"})
	loose := mustKeyDef(t, Part{Field: 1, Type: Scalar, Path: "a", Nullable: true})
	for _, keys := range [][]*KeyDef{{strict, loose}, {loose, strict}} {
		f, err := NewFormat(nil, 0, keys)
		if err != nil {
			t.Fatal(err)
		}
		for tup, want := range map[string]string{
			"920181a161a178": "",
			"920181a161c0":   `error 23 Tuple field [2]["a"] type does not match one required by operation: expected string`,
			"920180":         `error 39 Tuple field [2]["a"] required by space format is missing`,
			"920181a16105":   `error 23 Tuple field [2]["a"] type does not match one required by operation: expected string`,
		} {
			if got := render(nil, f.Validate(unhex(t, tup))); got != want {
				t.Errorf("%s: %s, want %s", tup, got, want)
			}
		}
	}
}

// FuzzPath feeds foreign paths and values: whatever is accepted can be compared.
func FuzzPath(f *testing.F) {
	f.Add("a.b[1]", []byte{0x92, 1, 0x81, 0xa1, 'a', 0x81, 0xa1, 'b', 0x91, 0xa1, 'x'})
	f.Add(`["a"][1]`, []byte{0x92, 1, 0x80})
	f.Add("[*]", []byte{0x91, 1})
	f.Fuzz(func(t *testing.T, path string, tup []byte) {
		meter.Check(t, len(path), 256, func() { _, _ = parsePath(path) })
		k, err := NewKeyDef([]Part{{Field: 1, Type: Scalar, Path: path, Nullable: true, Collation: CollationUnicodeCI}})
		if err != nil {
			return
		}
		format, err := NewFormat(nil, 0, []*KeyDef{k})
		if err != nil || format.Validate(tup) != nil {
			return
		}
		key := k.ExtractKey(nil, tup)
		if k.Compare(tup, tup) != 0 || k.CompareKey(tup, key, 1) != 0 || k.Hint(tup) != k.KeyHint(key, 1) ||
			k.Hash(tup) != k.HashKey(key, 1) || k.HasNull(tup) != (key[0] == 0xc0) {
			t.Fatalf("path %q of %x: key %x", path, tup, key)
		}
	})
}
