package memory

import "testing"

// BenchmarkTupleLife allocates, retires and reclaims tuples in batches of 64, as updates do.
func BenchmarkTupleLife(b *testing.B) {
	a, err := NewArena(Options{QuotaBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	const live = 100_000
	refs := make([]Ref, live)
	data := make([]byte, 100)
	b.ReportAllocs()
	for i := range b.N {
		version := uint64(i/64) + 1
		if i%64 == 0 {
			a.Reclaim(version - 1)
			a.Begin(version)
		}
		at := int(uint64(i) * 0x9e3779b97f4a7c15 >> 30 % live)
		if refs[at] != 0 {
			a.Retire(KindTuple, refs[at], version)
		}
		if refs[at], err = a.AllocTuple(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnterLeave is what epochs cost a reader.
func BenchmarkEnterLeave(b *testing.B) {
	e := NewEpochs()
	s := e.Register()
	for range b.N {
		s.Enter()
		s.Leave()
	}
}

// BenchmarkMin is what 1,000 registered readers cost the writer, once per batch.
func BenchmarkMin(b *testing.B) {
	e := NewEpochs()
	for range 1000 {
		e.Register()
	}
	for range b.N {
		e.Min()
	}
}
