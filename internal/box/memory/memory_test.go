package memory

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func newTestArena(t interface{ Fatal(...any) }, quota uint64) *Arena {
	a, err := NewArena(Options{QuotaBytes: quota, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not stop the process", what)
		}
	}()
	f()
}

func TestClassesAreFine(t *testing.T) {
	classes, byUnits := makeClasses()
	if len(classes) > 255 {
		t.Fatalf("%d classes do not fit the table", len(classes))
	}
	for size := 1; size <= classBytesMax; size++ {
		c := classes[byUnits[(size+unitBytes-1)>>unitShift]]
		got := int(c.bytes)
		if got < size || size >= classBytesMin && got > size+size/10+unitBytes {
			t.Fatalf("%d bytes get a block of %d", size, got)
		}
		if waste := int(c.grains<<grainShift - c.blocks*c.bytes); waste > int(c.grains<<grainShift)/50 {
			t.Fatalf("slabs of %d bytes waste %d", got, waste)
		}
	}
	if c := classes[pageClass]; c.bytes != PageBytes || c.grains<<grainShift != c.blocks*PageBytes {
		t.Fatalf("class of pages: %+v", c)
	}
}

func TestTupleKeepsItsBytes(t *testing.T) {
	a := newTestArena(t, 64<<20)
	defer a.Close()
	a.Begin(1)
	sizes := []int{0, 1, 11, 12, 100, 4096, classBytesMax - 4, classBytesMax, 1 << 20, 3<<20 + 5}
	var refs []Ref
	for _, n := range sizes {
		before := a.Used()
		refs = append(refs, must[Ref](t)(a.AllocTuple(bytes.Repeat([]byte{byte(n)}, n))))
		if took := a.Used() - before; took != a.TupleBytes(n) {
			t.Errorf("a tuple of %d bytes took %d, TupleBytes says %d", n, took, a.TupleBytes(n))
		}
		for i, m := range sizes[:len(refs)] {
			got := a.Tuple(refs[i])
			if len(got) != m || cap(got) != m || bytes.Count(got, []byte{byte(m)}) != m {
				t.Fatalf("tuple of %d bytes has %d", m, len(got))
			}
		}
	}
	for _, r := range refs {
		a.Free(KindTuple, r)
	}
	if a.Used() != 0 {
		t.Fatalf("%d bytes are used after everything was freed", a.Used())
	}
}

func TestPagesAreAligned(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	seen := map[Ref]bool{}
	for range 200 {
		r := must[Ref](t)(a.AllocPage())
		if off := uintptr(a.Page(r)) - uintptr(a.base); seen[r] || off%PageBytes != 0 || off == 0 {
			t.Fatalf("page %d at offset %d", r, off)
		}
		seen[r] = true
	}
}

func TestQuota(t *testing.T) {
	a := newTestArena(t, 100<<10)
	defer a.Close()
	a.Begin(1)
	for range 100 {
		must[Ref](t)(a.AllocPage())
	}
	_, err := a.AllocPage()
	_, _, errBlock := a.Alloc(1)
	if !errors.Is(err, ErrQuota) || !errors.Is(errBlock, ErrQuota) || a.Room(1) {
		t.Fatalf("beyond the quota: %v, %v", err, errBlock)
	}
	if err := a.ReservePages(3, true); err != nil {
		t.Fatal(err)
	}
	a.ExceedQuota(true)
	must[Ref](t)(a.AllocTuple([]byte("x")))
	a.ExceedQuota(false)
	if _, err := a.AllocTuple([]byte("x")); !errors.Is(err, ErrQuota) {
		t.Fatalf("quota is back: %v", err)
	}
	a.SetQuota(200 << 10)
	must[Ref](t)(a.AllocTuple([]byte("x")))
	for _, size := range []int{0, -1, BlockBytesMax + 1} {
		if _, _, err := a.Alloc(size); !errors.Is(err, ErrTooLarge) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestAddressRangeEnds(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	a.ExceedQuota(true)
	var err error
	for err == nil {
		_, _, err = a.Alloc(256 << 20)
	}
	if !errors.Is(err, ErrQuota) {
		t.Fatal(err)
	}
	must[Ref](t)(a.AllocPage())
}

// What is retired at a version stays until nobody older is there, and no longer.
func TestReclaimOrder(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	for v := uint64(1); v <= 3; v++ {
		a.Begin(v)
		must[Ref](t)(a.AllocTuple([]byte("tuple")))
	}
	var retired []Ref
	for v := uint64(4); v <= 6; v++ {
		a.Begin(v)
		r := must[Ref](t)(a.AllocTuple([]byte{byte(v)}))
		retired = append(retired, r)
		a.Settle(v)
	}
	a.Begin(7)
	a.Retire(KindTuple, retired[0], 7)
	a.Begin(8)
	a.Retire(KindTuple, retired[1], 8)
	a.Retire(KindTuple, retired[2], 8)
	if a.Reclaim(6); a.Stats().Tuples.Count != 6 {
		t.Fatalf("reclaim 6: %+v", a.Stats().Tuples)
	}
	if a.Reclaim(7); a.Stats().Tuples.Count != 5 || a.Stats().RetiredBlocks != 2 || a.Tuple(retired[1])[0] != 5 {
		t.Fatalf("reclaim 7: %+v", a.Stats())
	}
	if a.Reclaim(8) || a.Stats().Tuples.Count != 3 || a.Stats().RetiredBytes != 0 {
		t.Fatalf("reclaim 8: %+v", a.Stats())
	}
	mustPanic(t, "retiring at a version that is reclaimed", func() {
		a.Retire(KindTuple, must[Ref](t)(a.AllocTuple(nil)), 8)
	})
}

// Reclaim never does much at once, and always does more than arrives.
func TestReclaimIsBoundedAndDoesNotStarve(t *testing.T) {
	a := newTestArena(t, 64<<20)
	defer a.Close()
	version := uint64(1)
	a.Begin(version)
	retire := func(n int) {
		for range n {
			r := must[Ref](t)(a.AllocTuple([]byte("some tuple")))
			a.Retire(KindTuple, r, version)
		}
	}
	retire(10_000)
	a.Reclaim(0) // its budget is counted from here on
	most := 0
	for round := 0; ; round++ {
		version++
		a.Begin(version)
		retire(500)
		before := a.Stats().RetiredBlocks
		more := a.Reclaim(version)
		most = max(most, int(before-a.Stats().RetiredBlocks))
		if !more {
			if round > 20 {
				t.Errorf("the queue was empty only after %d rounds", round)
			}
			break
		}
	}
	if most > reclaimBlocks+2*500 {
		t.Errorf("one call freed %d blocks", most)
	}
}

// Memory that may be reclaimed does not make an allocation fail.
func TestQuotaReclaimsFirst(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	a.Begin(1)
	var refs []Ref
	for a.Room(100) {
		refs = append(refs, must[Ref](t)(a.AllocTuple(make([]byte, 60))))
	}
	a.Begin(2)
	for _, r := range refs {
		a.Retire(KindTuple, r, 2)
	}
	if _, err := a.AllocTuple(make([]byte, 100_000)); !errors.Is(err, ErrQuota) {
		t.Fatalf("readers may see version 1: %v", err)
	}
	a.Reclaim(0)
	if !a.Reclaim(2) {
		t.Fatal("one call reclaims all: the test proves nothing")
	}
	must[Ref](t)(a.AllocTuple(make([]byte, 100_000)))
	if a.Stats().RetiredBlocks == 0 {
		t.Error("more was reclaimed than the allocation needed")
	}
}

func TestFreeWithinAVersion(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	a.Begin(1)
	r1 := must[Ref](t)(a.AllocTuple([]byte("one")))
	a.Begin(2)
	r2 := must[Ref](t)(a.AllocTuple([]byte("two")))
	r3 := must[Ref](t)(a.AllocTuple([]byte("three")))
	a.Free(KindTuple, r2)
	again := must[Ref](t)(a.AllocTuple([]byte("two")))
	if again != r2 {
		t.Errorf("a freed block is not used again: %d, %d", r2, again)
	}
	a.Free(KindTuple, r3)
	a.Rollback(1)
	if s := a.Stats(); s.Tuples.Count != 1 || string(a.Tuple(r1)) != "one" {
		t.Errorf("after the rollback: %+v", s.Tuples)
	}
	a.Rollback(0)
	if a.Used() != 0 {
		t.Errorf("after the rollback to the beginning %d bytes are used", a.Used())
	}
}

func TestWrongUseStopsTheProcess(t *testing.T) {
	a := newTestArena(t, 1<<20)
	defer a.Close()
	a.Begin(5)
	r := must[Ref](t)(a.AllocTuple([]byte("12345678901234567890")))
	mustPanic(t, "a version that goes back", func() { a.Begin(4) })
	mustPanic(t, "freeing as another kind", func() { a.Free(KindBlock, r) })
	mustPanic(t, "retiring as another kind", func() { a.Retire(KindPage, r, 5) })
	a.Begin(6)
	mustPanic(t, "freeing what belongs to an older version", func() { a.Free(KindTuple, r) })
	a.Retire(KindTuple, r, 6)
	a.Settle(6)
	mustPanic(t, "rolling back what is settled", func() { a.Rollback(5) })
	stale := a.Tuple(r)
	a.Reclaim(6)
	mustPanic(t, "freeing twice", func() { a.release(KindTuple, r) })
	if len(stale) == 20 && stale[0] != poisonByte {
		t.Errorf("a freed tuple still reads %x", stale)
	}
	stale[15] = 1
	mustPanic(t, "writing to a freed block", func() {
		for range 10 {
			must[Ref](t)(a.AllocTuple([]byte("12345678901234567890")))
		}
	})
}

// Slabs that become free serve other classes, and neighbours merge.
func TestSlabsAreReused(t *testing.T) {
	a := newTestArena(t, 64<<20)
	defer a.Close()
	a.Begin(1)
	a.Settle(1)
	end := uint32(0)
	for round := range 6 {
		size := []int{90, 700, 9000, 50_000, 300_000, PageBytes}[round]
		var refs []Ref
		for bytes := 0; bytes < 24<<20; bytes += size {
			r, _, err := a.Alloc(size)
			refs = append(refs, must[Ref](t)(r, err))
		}
		for i := range refs {
			a.Free(KindBlock, refs[(i*7919)%len(refs)]) // 7919 is prime and divides none of the lengths
		}
		if end == 0 {
			end = a.spans.end
		}
	}
	if a.Used() != 0 {
		t.Fatalf("%d bytes are used", a.Used())
	}
	if grown := a.spans.end - end; grown > end/4 {
		t.Errorf("the range grew from %d by %d grains although everything was freed", end, grown)
	}
	if s := a.Stats(); s.SlabBytes > 4<<20 {
		t.Errorf("slabs without blocks hold %d bytes", s.SlabBytes)
	}
}

// TestModel compares an arena with a map through random versions: contents, rollbacks, what is reclaimed, statistics.
func TestModel(t *testing.T) { rapid.Check(t, runModel) }

type block struct {
	kind    Kind
	data    []byte
	born    uint64
	retired uint64 // 0: in use
}

// model is an arena, and what should be in it.
type model struct {
	a            *Arena
	blocks       map[Ref]*block
	order        []Ref // as allocated, so that draws mean the same in every run
	now, settled uint64
}

func runModel(t *rapid.T) {
	m := &model{a: newTestArena(t, 16<<20), blocks: map[Ref]*block{}, now: 1}
	defer m.a.Close()
	m.a.Begin(m.now)
	t.Repeat(map[string]func(*rapid.T){
		"":         func(t *rapid.T) { checkModel(t, m.a, m.blocks) },
		"alloc":    m.alloc,
		"retire":   m.retire,
		"free":     m.free,
		"begin":    func(*rapid.T) { m.now++; m.a.Begin(m.now) },
		"reclaim":  m.reclaim,
		"rollback": m.rollback,
	})
}

func (m *model) pick(t *rapid.T, ok func(*block) bool) (Ref, *block) {
	for i, n := rapid.IntRange(0, len(m.order)).Draw(t, "block"), len(m.order); n > 0; n-- {
		r := m.order[(i+n)%len(m.order)]
		if b := m.blocks[r]; b != nil && ok(b) {
			return r, b
		}
	}
	return 0, nil
}

func (m *model) alloc(t *rapid.T) {
	size := rapid.SampledFrom([]int{1, 5, 20, 28, 100, 1000, 20_000, 100_000}).Draw(t, "size")
	for range rapid.IntRange(1, 40).Draw(t, "n") {
		data := bytes.Repeat([]byte{byte(len(m.order))}, size)
		r, err := m.a.AllocTuple(data)
		if err != nil {
			return
		}
		if m.blocks[r] != nil {
			t.Fatalf("block %d is handed out twice", r)
		}
		m.blocks[r] = &block{kind: KindTuple, data: data, born: m.now}
		m.order = append(m.order, r)
	}
}

func (m *model) retire(t *rapid.T) {
	for range rapid.IntRange(1, 40).Draw(t, "n") {
		if r, b := m.pick(t, func(b *block) bool { return b.retired == 0 }); b != nil {
			m.a.Retire(b.kind, r, m.now)
			b.retired = m.now
		}
	}
}

func (m *model) free(t *rapid.T) {
	if r, b := m.pick(t, func(b *block) bool { return b.retired == 0 && b.born == m.now }); b != nil {
		m.a.Free(b.kind, r)
		delete(m.blocks, r)
	}
}

func (m *model) reclaim(t *rapid.T) {
	if m.settled = rapid.Uint64Range(m.settled, m.now-1).Draw(t, "version"); m.settled == 0 {
		return
	}
	for m.a.Reclaim(m.settled) {
	}
	for r, b := range m.blocks {
		if b.retired != 0 && b.retired <= m.settled {
			delete(m.blocks, r)
		}
	}
}

func (m *model) rollback(t *rapid.T) {
	n := rapid.Uint64Range(m.settled, m.now).Draw(t, "version")
	m.a.Rollback(n)
	for r, b := range m.blocks {
		if b.born > n {
			delete(m.blocks, r)
		} else if b.retired > n {
			b.retired = 0
		}
	}
	m.now = n + 1
	m.a.Begin(m.now)
}

func checkModel(t *rapid.T, a *Arena, blocks map[Ref]*block) {
	var used, retired uint64
	for r, b := range blocks {
		if got := a.Tuple(r); !bytes.Equal(got, b.data) {
			t.Fatalf("block %d of %d bytes has changed", r, len(b.data))
		}
		used += a.blockBytes(r)
		if b.retired != 0 {
			retired += a.blockBytes(r)
		}
	}
	s := a.Stats()
	if s.UsedBytes != used || s.RetiredBytes != retired || s.Tuples.Count != uint64(len(blocks)) || s.Tuples.Bytes != used {
		t.Fatalf("statistics %+v, want %d used, %d retired, %d blocks", s, used, retired, len(blocks))
	}
	inClasses := uint64(0)
	for _, c := range s.Classes {
		if c.Used+c.Free != c.Slabs*(c.SlabBytes/c.BlockBytes) {
			t.Fatalf("class %+v does not add up", c)
		}
		inClasses += c.Used * c.BlockBytes
	}
	if inClasses > used || s.SlabBytes < used {
		t.Fatalf("%d bytes used, %d in classes, %d in slabs", used, inClasses, s.SlabBytes)
	}
}

func TestEpochs(t *testing.T) {
	e := NewEpochs()
	var slots []*Slot
	for range 3 * slotsInBlock / 2 {
		slots = append(slots, e.Register())
	}
	seen := map[*Slot]bool{}
	for i, s := range slots {
		if seen[s] {
			t.Fatal("a slot is given to two readers")
		}
		seen[s] = true
		e.Publish(uint64(i))
		if v := s.Enter(); v != uint64(i) {
			t.Fatalf("reader %d pins %d", i, v)
		}
	}
	view := e.Register()
	if v := view.EnterWith(slots[10]); v != 10 {
		t.Fatalf("copy of pin 10 pins %d", v)
	}
	for i, s := range slots {
		if want := uint64(min(i, 10)); e.Min() != want {
			t.Fatalf("before %d leaves the oldest version is %d, want %d", i, e.Min(), want)
		}
		s.Leave()
		e.Unregister(s)
	}
	mustPanic(t, "unregistering a slot that pins", func() { e.Unregister(view) })
	view.Leave()
	if e.Min() != e.Published() {
		t.Errorf("without readers the oldest version is %d of %d", e.Min(), e.Published())
	}
	e.Unregister(view)
	mustPanic(t, "unregistering twice", func() { e.Unregister(view) })
	mustPanic(t, "publishing an older version", func() { e.Publish(3) })
	if s := e.Register(); !seen[s] {
		t.Error("slots are not used again")
	}
	if size := unsafe.Sizeof(Slot{}); size != cacheLine {
		t.Errorf("a slot has %d bytes", size)
	}
}

// A pin is never missed: the writer overwrites what no reader may see any more, and readers look.
func TestEpochsUnderFire(t *testing.T) {
	const cells = 2
	var (
		e    = NewEpochs()
		data [cells]int // cell v%cells belongs to version v; plain memory, so that the race detector watches it
		stop atomic.Bool
		wg   sync.WaitGroup
	)
	for range 4 {
		wg.Go(func() {
			slot, view := e.Register(), e.Register()
			for !stop.Load() {
				v := slot.Enter()
				view.EnterWith(slot)
				slot.Leave()
				if got := data[v%cells]; got != int(v) {
					t.Errorf("version %d reads %d", v, got)
					stop.Store(true)
				}
				view.Leave()
				runtime.Gosched()
			}
		})
	}
	for v := uint64(1); v < 100_000 && !stop.Load(); v++ {
		for v >= cells && e.Min() <= v-cells && !stop.Load() {
			runtime.Gosched()
		}
		data[v%cells] = int(v)
		e.Publish(v)
	}
	stop.Store(true)
	wg.Wait()
}

func TestDeque(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d deque[int]
		var want []int
		next := 0
		many := func(t *rapid.T, limit int) int { return rapid.IntRange(0, limit).Draw(t, "n") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if d.len() != len(want) || len(want) > 0 && (*d.front() != want[0] || *d.back() != want[len(want)-1]) {
					t.Fatalf("%d entries, want %d", d.len(), len(want))
				}
			},
			"push": func(t *rapid.T) {
				for range many(t, 3000) {
					next++
					d.pushBack(next)
					want = append(want, next)
				}
			},
			"popBack": func(t *rapid.T) {
				for range many(t, len(want)) {
					if d.popBack() != want[len(want)-1] {
						t.Fatal("wrong entry from the back")
					}
					want = want[:len(want)-1]
				}
			},
			"popFront": func(t *rapid.T) {
				for range many(t, len(want)) {
					if d.popFront() != want[0] {
						t.Fatal("wrong entry from the front")
					}
					want = want[1:]
				}
			},
			"dropFront": func(t *rapid.T) {
				n := many(t, len(want))
				d.dropFront(n)
				want = want[n:]
			},
		})
	})
}

// TestCeiling: a ceiling ends allocations before the quota does, not those of what is committed already.
func TestCeiling(t *testing.T) {
	a, err := NewArena(Options{QuotaBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.SetCeiling(1 << 20)
	if !a.Room(1<<20) || a.Room(1<<20+1) {
		t.Error("the ceiling is not where it was set")
	}
	a.ExceedQuota(true)
	if !a.Room(100 << 20) {
		t.Error("what is committed is refused")
	}
	a.ExceedQuota(false)
	for _, none := range []uint64{0, 9 << 20} {
		if a.SetCeiling(none); !a.Room(8<<20) || a.Room(8<<20+1) {
			t.Errorf("ceiling %d is not the quota", none)
		}
	}
}
