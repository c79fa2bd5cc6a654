package index

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	benchKeys  = 1_000_000
	benchBatch = 64
)

// benchIndex is what both kinds have in common.
type benchIndex interface {
	Insert(r *Root, version uint64, tup memory.Ref) (memory.Ref, error)
	Delete(r *Root, version uint64, tup []byte) (memory.Ref, error)
	Get(r Root, key []byte, n int) memory.Ref
	Seek(c *Cursor, r Root, it Iterator, key []byte, n int)
	Check(r Root) error
}

type bench struct {
	a     *memory.Arena
	e     *memory.Epochs
	ix    benchIndex
	root  Root
	keys  [][]byte // 9 bytes each: cf and 8 bytes
	refs  []memory.Ref
	order []int
}

func newBench(b *testing.B, hashed, sequential bool) *bench {
	a, err := memory.NewArena(memory.Options{QuotaBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { a.Close() })
	kd, err := tuple.NewKeyDef([]tuple.Part{{Type: tuple.Unsigned}})
	if err != nil {
		b.Fatal(err)
	}
	f := &bench{a: a, e: memory.NewEpochs(), ix: NewTree(a, kd)}
	if hashed {
		f.ix = NewHash(a, kd)
	}
	f.fill(sequential)
	return f
}

func (f *bench) fill(sequential bool) {
	rnd := rand.New(rand.NewPCG(1, 2))
	f.a.Begin(1)
	f.a.Settle(1)
	for i := range benchKeys {
		v := uint64(i) + 1<<40
		if !sequential {
			v = rnd.Uint64() | 1<<63
		}
		key := binary.BigEndian.AppendUint64([]byte{0xcf}, v)
		f.keys = append(f.keys, key)
		tup := append(append([]byte{0x92}, key...), 0xa4, 'a', 'b', 'c', 'd')
		ref, err := f.a.AllocTuple(tup)
		if err != nil {
			panic(err)
		}
		f.refs = append(f.refs, ref)
	}
	f.order = rnd.Perm(benchKeys)
}

// load inserts all keys in batches, each a version of its own that is published and reclaimed.
func (f *bench) load(b *testing.B, batch int) {
	f.root = Root{}
	v := f.a.Version()
	for i, ref := range f.refs {
		if i%batch == 0 {
			f.e.Publish(v)
			f.a.Settle(v)
			f.a.Reclaim(f.e.Min())
			v++
			f.a.Begin(v)
		}
		if _, err := f.ix.Insert(&f.root, v, ref); err != nil {
			b.Fatal(err)
		}
	}
}

func (f *bench) drop() {
	v := f.a.Version() + 1
	f.a.Begin(v)
	switch ix := f.ix.(type) {
	case *Tree:
		ix.Free(f.root, v, false)
	case *Hash:
		ix.Free(f.root, v, false)
	}
	f.e.Publish(v)
	for f.a.Reclaim(v) {
	}
}

func benchInsert(b *testing.B, hashed, sequential bool, batch int) {
	f := newBench(b, hashed, sequential)
	b.ResetTimer()
	for range b.N {
		f.load(b, batch)
		b.StopTimer()
		b.ReportMetric(float64(f.root.Pages*memory.PageBytes)/benchKeys, "B/entry")
		f.drop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

func BenchmarkTreeInsertRandom(b *testing.B)     { benchInsert(b, false, false, benchBatch) }
func BenchmarkTreeInsertRandomBulk(b *testing.B) { benchInsert(b, false, false, benchKeys) }
func BenchmarkTreeInsertSequential(b *testing.B) { benchInsert(b, false, true, benchBatch) }
func BenchmarkHashInsertRandom(b *testing.B)     { benchInsert(b, true, false, benchBatch) }

func benchGet(b *testing.B, hashed, sequential bool) {
	f := newBench(b, hashed, sequential)
	f.load(b, benchBatch)
	b.ResetTimer()
	for i := range b.N {
		k := f.order[i%benchKeys]
		if f.ix.Get(f.root, f.keys[k], 1) != f.refs[k] {
			b.Fatal("wrong tuple")
		}
	}
}

func BenchmarkTreeGetRandom(b *testing.B)     { benchGet(b, false, false) }
func BenchmarkTreeGetSequential(b *testing.B) { benchGet(b, false, true) }
func BenchmarkHashGet(b *testing.B)           { benchGet(b, true, false) }

// BenchmarkTreeChurn deletes and inserts again, at random, in batches.
func BenchmarkTreeChurn(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	v := f.a.Version()
	b.ResetTimer()
	for i := range b.N {
		if i%benchBatch == 0 {
			f.e.Publish(v)
			f.a.Settle(v)
			f.a.Reclaim(f.e.Min())
			v++
			f.a.Begin(v)
		}
		k := f.order[i/2%benchKeys]
		if i%2 == 0 {
			f.ix.Delete(&f.root, v, f.a.Tuple(f.refs[k]))
		} else if _, err := f.ix.Insert(&f.root, v, f.refs[k]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTreeScan(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	b.ResetTimer()
	var c Cursor
	for range b.N {
		if _, ok := c.Next(); !ok {
			f.ix.Seek(&c, f.root, ALL, nil, 0)
		}
	}
}

func BenchmarkTreeRange100(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	b.ResetTimer()
	var c Cursor
	for i := range b.N {
		f.ix.Seek(&c, f.root, GE, f.keys[f.order[i%benchKeys]], 1)
		for range 100 {
			c.Next()
		}
	}
}
