package index

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

// snapshot is what the writer publishes: a root and what a reader must find under it.
type snapshot struct {
	version uint64
	root    Root
	sum     uint64 // of the hashes of all tuples
}

type raceTest struct {
	f    *fixture
	seed maphash.Seed
	cur  atomic.Pointer[snapshot]
	stop atomic.Bool
}

// TestReadersSeeOnlyTheirVersion lets readers walk published versions while the writer changes, seals, publishes, rolls
// back and reclaims, in poisoned memory: whatever a reader finds must be exactly its version.
func TestReadersSeeOnlyTheirVersion(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			x := &raceTest{f: newFixture(t, s), seed: maphash.MakeSeed()}
			defer x.f.a.Close()
			x.cur.Store(&snapshot{})
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if err := x.read(uint64(i)); err != nil {
						t.Error(err)
					}
				})
			}
			err := x.write(rand.New(rand.NewPCG(1, 1)))
			x.stop.Store(true)
			wg.Wait()
			must(t, err)
			must(t, x.f.verify(x.f.now))
			must(t, x.f.noLeaks())
		})
	}
}

func (x *raceTest) write(rnd *rand.Rand) error {
	const domain, batches = 3000, 250
	f := x.f
	sums := map[uint64]uint64{}
	for range batches {
		for range 1 + rnd.IntN(60) {
			i := rnd.IntN(domain)
			op := f.insert
			if rnd.IntN(5) < 2 {
				op = f.delete
			}
			if err := op(i); err != nil {
				return err
			}
		}
		f.seal()
		last := f.sealed[len(f.sealed)-1]
		sums[last.number] = x.sumOfModel(last)
		switch rnd.IntN(4) {
		case 0:
		case 1:
			f.rollback(rnd.IntN(len(f.sealed)))
		default:
			n := 1 + rnd.IntN(len(f.sealed))
			v := f.sealed[n-1]
			x.cur.Store(&snapshot{v.number, v.root, sums[v.number]})
			f.publish(n)
		}
	}
	return nil
}

func (x *raceTest) sumOfModel(v version) (sum uint64) {
	v.model.Scan(func(r row) bool { sum += maphash.Bytes(x.seed, r.tup); return true })
	return sum
}

func (x *raceTest) read(seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 2))
	slot := x.f.e.Register()
	defer x.f.e.Unregister(slot)
	for !x.stop.Load() {
		pinned := slot.Enter()
		s := x.cur.Load()
		err := x.walk(s, rnd)
		slot.Leave()
		if err != nil {
			return fmt.Errorf("version %d, pinned %d: %w", s.version, pinned, err)
		}
	}
	return nil
}

func (x *raceTest) walk(s *snapshot, rnd *rand.Rand) error {
	it := ALL
	if !x.f.shape.hashed && rnd.IntN(2) == 0 {
		it = REQ
	}
	var c Cursor
	x.f.ix.Seek(&c, s.root, it, nil, 0)
	var sum, n uint64
	var last []byte
	for ref, ok := c.Next(); ok; ref, ok = c.Next() {
		tup := x.f.a.Tuple(ref)
		if last != nil && !x.f.shape.hashed && (x.f.kd.Compare(last, tup) < 0) == it.backward() {
			return fmt.Errorf("%x after %x", tup, last)
		}
		last = tup
		sum += maphash.Bytes(x.seed, tup)
		n++
		if rnd.IntN(64) == 0 {
			key := x.f.kd.ExtractKey(nil, tup)
			if got := x.f.ix.Get(s.root, key, len(x.f.shape.parts)); got != ref {
				return fmt.Errorf("get of %x finds %d, want %d", key, got, ref)
			}
		}
	}
	if n != s.root.Count || sum != s.sum {
		return fmt.Errorf("%d entries with sum %x, want %d with %x", n, sum, s.root.Count, s.sum)
	}
	return nil
}

var _ memory.Sweeper = (*sweep)(nil)
