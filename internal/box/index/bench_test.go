package index

import (
	"encoding/binary"
	"runtime"
	"syscall"
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
	Find(r Root, tup []byte) memory.Ref
	FindKey(r Root, key []byte) memory.Ref
	Put(r *Root, version uint64, tup memory.Ref) (memory.Ref, error)
	Start(l *Lookup, r Root, key []byte)
	Begin(c *Cursor, r Root, it Iterator, key []byte, n int)
	StartTuple(l *Lookup, r Root, tup []byte)
	Seek(c *Cursor, r Root, it Iterator, key []byte, n int)
	Check(r Root) error
}

type bench struct {
	a    *memory.Arena
	e    *memory.Epochs
	ix   benchIndex
	root Root
	refs []memory.Ref
	key  [9]byte
	// random keys have no order; others ascend.
	random bool
}

func (f *bench) keyOf(i int) []byte {
	k := uint64(i)
	if f.random {
		k = (k ^ k>>11) * 0x9e3779b97f4a7c15
		k = (k ^ k>>31) * 0xbf58476d1ce4e5b9
		k ^= k >> 29
	}
	f.key[0] = 0xcf
	binary.BigEndian.PutUint64(f.key[1:], k|1<<63)
	return f.key[:]
}

// scattered maps 0, 1, 2 … to indexes of keys in an order without pattern, without memory.
func scattered(i int) int { return int(uint64(i) * 0x9e3779b97f4a7c15 >> 20 % benchKeys) }

// cpuClock reports the processor time of the benchmark's own thread: the machine may be busy with other things.
type cpuClock struct{ total, from int64 }

func (c *cpuClock) start() { runtime.LockOSThread(); c.from = threadNanos() }
func (c *cpuClock) stop()  { c.total += threadNanos() - c.from; runtime.UnlockOSThread() }

func (c *cpuClock) report(b *testing.B, ops int) {
	b.ReportMetric(float64(c.total)/float64(ops), "cpu-ns/key")
}

func threadNanos() int64 {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
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
	f.random = !sequential
	f.a.Begin(1)
	f.a.Settle(1)
	for i := range benchKeys {
		tup := append(append([]byte{0x92}, f.keyOf(i)...), 0xa4, 'a', 'b', 'c', 'd')
		ref, err := f.a.AllocTuple(tup)
		if err != nil {
			panic(err)
		}
		f.refs = append(f.refs, ref)
	}
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
	var cpu cpuClock
	for range b.N {
		cpu.start()
		f.load(b, batch)
		cpu.stop()
		b.StopTimer()
		b.ReportMetric(float64(f.root.Pages*memory.PageBytes)/benchKeys, "B/entry")
		f.drop()
		b.StartTimer()
	}
	cpu.report(b, b.N*benchKeys)
}

func BenchmarkTreeInsertRandom(b *testing.B)     { benchInsert(b, false, false, benchBatch) }
func BenchmarkTreeInsertRandomBulk(b *testing.B) { benchInsert(b, false, false, benchKeys) }
func BenchmarkTreeInsertSequential(b *testing.B) { benchInsert(b, false, true, benchBatch) }
func BenchmarkHashInsertRandom(b *testing.B)     { benchInsert(b, true, false, benchBatch) }

func benchGet(b *testing.B, hashed, sequential bool) {
	f := newBench(b, hashed, sequential)
	f.load(b, benchBatch)
	b.ResetTimer()
	var cpu cpuClock
	cpu.start()
	for i := range b.N {
		if f.ix.Get(f.root, f.keyOf(scattered(i)), 1) == 0 {
			b.Fatal("a key is missing")
		}
	}
	cpu.stop()
	cpu.report(b, b.N)
}

// BenchmarkTreeLookupRandom is BenchmarkTreeGetRandom with 32 searches side by side.
func BenchmarkTreeLookupRandom(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	var all [32]Lookup
	b.ResetTimer()
	var cpu cpuClock
	cpu.start()
	for i := 0; i < b.N; i += len(all) {
		for j := range all {
			f.ix.Start(&all[j], f.root, f.keyOf(scattered(i+j)))
		}
		Run(all[:])
		for j := range all {
			if all[j].Found() == 0 {
				b.Fatal("a key is missing")
			}
		}
	}
	cpu.stop()
	cpu.report(b, b.N)
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
	var cpu cpuClock
	cpu.start()
	for i := range b.N {
		if i%benchBatch == 0 {
			f.e.Publish(v)
			f.a.Settle(v)
			f.a.Reclaim(f.e.Min())
			v++
			f.a.Begin(v)
		}
		k := scattered(i / 2)
		if i%2 == 0 {
			f.ix.Delete(&f.root, v, f.a.Tuple(f.refs[k]))
		} else if _, err := f.ix.Insert(&f.root, v, f.refs[k]); err != nil {
			b.Fatal(err)
		}
	}
	cpu.stop()
	cpu.report(b, b.N)
}

func BenchmarkTreeScan(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	b.ResetTimer()
	var cpu cpuClock
	cpu.start()
	var c Cursor
	for range b.N {
		if _, ok := c.Next(); !ok {
			f.ix.Seek(&c, f.root, ALL, nil, 0)
		}
	}
	cpu.stop()
	cpu.report(b, b.N)
}

func BenchmarkTreeRange100(b *testing.B) {
	f := newBench(b, false, false)
	f.load(b, benchBatch)
	b.ResetTimer()
	var cpu cpuClock
	cpu.start()
	var c Cursor
	for i := range b.N {
		f.ix.Seek(&c, f.root, GE, f.keyOf(scattered(i)), 1)
		for range 100 {
			c.Next()
		}
	}
	cpu.stop()
	cpu.report(b, b.N)
}
