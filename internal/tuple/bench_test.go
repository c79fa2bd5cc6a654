package tuple

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

func mustKeyDef(t testing.TB, parts ...Part) *KeyDef {
	t.Helper()
	k, err := NewKeyDef(parts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func row(id uint64, name string, n int64) []byte {
	b := msgpack.AppendArrayHeader(nil, 3)
	return msgpack.AppendInt(msgpack.AppendStr(msgpack.AppendUint(b, id), name), n)
}

// sink keeps the compiler from leaving out the work.
var sink int

func benchmarkPair(b *testing.B, k *KeyDef, x, y []byte) {
	key := k.ExtractKey(nil, y)
	hx, hy := k.Hint(x), k.Hint(y)
	n := k.PartCount()
	b.Run("hint", func(b *testing.B) {
		for b.Loop() {
			sink += int(k.Hint(x))
		}
	})
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			sink += k.Compare(x, y)
		}
	})
	b.Run("compareHinted", func(b *testing.B) {
		for b.Loop() {
			sink += k.CompareHinted(x, hx, y, hy)
		}
	})
	b.Run("compareKey", func(b *testing.B) {
		for b.Loop() {
			sink += k.CompareKey(x, key, n)
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			sink += int(k.Hash(x))
		}
	})
}

func BenchmarkUnsigned(b *testing.B) {
	benchmarkPair(b, mustKeyDef(b, Part{Type: Unsigned}), row(1<<40, "a", 1), row(1<<40+1, "b", 2))
}

func BenchmarkInteger(b *testing.B) {
	benchmarkPair(b, mustKeyDef(b, Part{Type: Integer}), row(1<<40, "a", 1), row(1<<40+1, "b", 2))
}

func BenchmarkString(b *testing.B) {
	benchmarkPair(b, mustKeyDef(b, Part{Field: 1, Type: String}), row(1, "user:000001", 1), row(1, "user:000002", 2))
}

func BenchmarkSecondary(b *testing.B) {
	k := mustKeyDef(b, Part{Field: 1, Type: String, Nullable: true}).Merge(mustKeyDef(b, Part{Type: Unsigned}))
	benchmarkPair(b, k, row(1<<40, "name", 1), row(1<<40+1, "name", 2))
}

func BenchmarkTwoParts(b *testing.B) {
	k := mustKeyDef(b, Part{Type: Unsigned}, Part{Field: 1, Type: String})
	benchmarkPair(b, k, row(1<<40, "a", 1), row(1<<40, "b", 2))
}

func BenchmarkValidate(b *testing.B) {
	f, err := NewFormat([]Field{{Name: "id", Type: Unsigned}, {Name: "name", Type: String}, {Name: "n", Type: Integer}}, 0,
		[]*KeyDef{mustKeyDef(b, Part{Type: Unsigned})})
	if err != nil {
		b.Fatal(err)
	}
	tup := row(1<<40, "name", -5)
	for b.Loop() {
		if f.Validate(tup) != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	ops := []byte{0x92, 0x93, 0xa1, '=', 1, 0xa1, 'x', 0x93, 0xa1, '+', 2, 5}
	tup := row(1<<40, "name", -5)
	var buf [64]byte
	b.ReportAllocs()
	var u Updater
	for b.Loop() {
		out, err := u.Update(buf[:0], tup, ops, 0, nil)
		if err != nil {
			b.Fatal(err)
		}
		sink += len(out)
	}
}
