package tuple

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// ranked is a string of testdata/collation.txt with its ranks in unicode and unicode_ci.
type ranked struct {
	ranks [2]int
	tup   []byte
	key   []byte
}

func readRanked(t *testing.T) (all []ranked) {
	text, err := os.ReadFile("testdata/collation.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		var r ranked
		var digits string
		if _, err := fmt.Sscanf(line, "%d %d x%s", &r.ranks[0], &r.ranks[1], &digits); err != nil && !strings.HasSuffix(line, "x\n") {
			t.Fatalf("%q: %v", line, err)
		}
		s, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		r.key = msgpack.AppendStrBytes(nil, s)
		r.tup = append([]byte{0x91}, r.key...)
		all = append(all, r)
	}
	if len(all) < 200 {
		t.Fatalf("%d strings", len(all))
	}
	return all
}

// TestCollationTable compares all pairs of the strings with the order that Tarantool gave them.
func TestCollationTable(t *testing.T) {
	all := readRanked(t)
	for n, id := range []uint32{CollationUnicode, CollationUnicodeCI} {
		for _, kind := range []FieldType{String, Scalar} {
			k := mustKeyDef(t, Part{Type: kind, Collation: id})
			for i, a := range all {
				for j, b := range all {
					if kind == Scalar && (i+j)%7 != 0 {
						continue
					}
					checkCollated(t, k, a.tup, b.tup, cmp.Compare(a.ranks[n], b.ranks[n]))
				}
			}
		}
	}
}

// checkCollated requires that everything that compares two one-field tuples agrees with want.
func checkCollated(t interface{ Errorf(string, ...any) }, k *KeyDef, a, b []byte, want int) {
	x, y := a[1:], b[1:]
	ha, hb := k.Hint(a), k.Hint(b)
	if got := sign(k.Compare(a, b)); got != want {
		t.Errorf("%q %q: compared %d, want %d", x, y, got, want)
	}
	if got := sign(k.CompareHinted(a, ha, b, hb)); got != want {
		t.Errorf("%q %q: compared with hints %x %x: %d, want %d", x, y, ha, hb, got, want)
	}
	if got := sign(k.CompareKey(a, y, 1)); got != want {
		t.Errorf("%q %q: compared with key %d, want %d", x, y, got, want)
	}
	if got := sign(k.CompareKeyHinted(a, ha, y, k.KeyHint(y, 1), 1)); got != want {
		t.Errorf("%q %q: compared with key and hints %d, want %d", x, y, got, want)
	}
	if want == 0 && (k.Hash(a) != k.Hash(b) || k.Hash(a) != k.HashKey(y, 1)) {
		t.Errorf("%q %q are equal and have other hashes", x, y)
	}
}

// TestCollationModel compares random strings, most of them ASCII, with the library that knows the whole table.
func TestCollationModel(t *testing.T) {
	for _, id := range []uint32{CollationUnicode, CollationUnicodeCI} {
		k := mustKeyDef(t, Part{Type: String, Collation: id})
		oracle := collate.New(language.Und)
		if id == CollationUnicodeCI {
			oracle = collate.New(language.Und, collate.Loose)
		}
		letters := rapid.SampledFrom([]string{"a", "A", "b", "B", "z", "1", " ", "-", "_", "\x00", "\x7f", "é", "e\u0301", "\u0301",
			"ß", "ss", "l", "·", "я", "日", "\xff", "Z", "~", "\t"})
		rapid.Check(t, func(t *rapid.T) {
			a := strings.Join(rapid.SliceOfN(letters, 0, 8).Draw(t, "a"), "")
			b := strings.Join(rapid.SliceOfN(letters, 0, 8).Draw(t, "b"), "")
			want := sign(oracle.CompareString(a, b))
			checkCollated(t, k, msgpack.AppendStr([]byte{0x91}, a), msgpack.AppendStr([]byte{0x91}, b), want)
		})
	}
}

// TestCollationNull has nil below every string, and equal to nothing but nil.
func TestCollationNull(t *testing.T) {
	k := mustKeyDef(t, Part{Type: String, Collation: CollationUnicodeCI, Nullable: true})
	null, empty := []byte{0x91, 0xc0}, []byte{0x91, 0xa0}
	for _, other := range [][]byte{empty, {0x91, 0xa1, 0}} {
		checkCollated(t, k, null, other, -1)
		checkCollated(t, k, other, null, 1)
		checkCollated(t, k, []byte{0x90}, other, -1)
	}
	checkCollated(t, k, null, null, 0)
}

// TestCollationMerge keeps a key that another index orders less finely.
func TestCollationMerge(t *testing.T) {
	plain := mustKeyDef(t, Part{Type: String})
	folded := mustKeyDef(t, Part{Type: String, Collation: CollationUnicodeCI})
	if n := folded.Merge(plain).PartCount(); n != 2 {
		t.Errorf("%d parts: strings that are equal without case are not the same primary key", n)
	}
	if n := plain.Merge(folded).PartCount(); n != 1 {
		t.Errorf("%d parts", n)
	}
	k := folded.Merge(plain)
	a, b := []byte{0x91, 0xa1, 'a'}, []byte{0x91, 0xa1, 'A'}
	if k.Compare(a, b) <= 0 || k.CompareKey(a, b[1:], 1) != 0 {
		t.Error("order of equal strings is not that of the primary key")
	}
}

// TestCollationAllocates: strings of ASCII need no collator; those of others come from a pool.
func TestCollationAllocates(t *testing.T) {
	k := mustKeyDef(t, Part{Type: String, Collation: CollationUnicode})
	x, y := msgpack.AppendStr([]byte{0x91}, "hello world"), msgpack.AppendStr([]byte{0x91}, "Hello World")
	if n := testing.AllocsPerRun(200, func() { k.Compare(x, y); k.Hint(x); k.Hash(y) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCollated(b *testing.B) {
	for name, pair := range map[string][2]string{"ascii": {"hello world", "Hello World"}, "other": {"straße", "Straßen"}} {
		k := newKeyDef([]Part{{Type: String, Collation: CollationUnicodeCI}})
		x, y := msgpack.AppendStr([]byte{0x91}, pair[0]), msgpack.AppendStr([]byte{0x91}, pair[1])
		b.Run(name+"/compare", func(b *testing.B) {
			for b.Loop() {
				k.Compare(x, y)
			}
		})
		b.Run(name+"/hint", func(b *testing.B) {
			for b.Loop() {
				k.Hint(x)
			}
		})
	}
}
