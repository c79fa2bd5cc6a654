package index

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Keys that arrive in order, from either side, must fill their pages.
func TestSequentialFill(t *testing.T) {
	const n = 20_000
	for _, down := range []bool{false, true} {
		f := newFixture(t, shapes()[3])
		for i := range n {
			if down {
				i = n - 1 - i
			}
			must(t, f.insert(i))
			if i%50 == 0 {
				f.seal()
				f.publish(1)
			}
		}
		f.seal()
		must(t, f.verify(f.sealed[0]))
		if full := uint64(n/leafMax + n/leafMax/innerMax*2 + 10); f.now.root.Pages > full {
			t.Errorf("down %v: %d pages, want at most %d", down, f.now.root.Pages, full)
		}
		must(t, f.noLeaks())
		must(t, f.a.Close())
	}
}

// A tree that is emptied gives all its pages back, whatever the order.
func TestEmpty(t *testing.T) {
	for _, s := range shapes() {
		for _, step := range []int{1, -1, 7919} {
			const n = 3000
			f := newFixture(t, s)
			for i := range n {
				must(t, f.insert(i))
			}
			f.seal()
			f.publish(1)
			for i := range n {
				must(t, f.delete(((i*step)%n+n)%n))
			}
			if f.now.root != (Root{}) {
				t.Fatalf("%s: root of an empty tree: %+v", s.name, f.now.root)
			}
			must(t, f.noLeaks())
			must(t, f.a.Close())
		}
	}
}

// Batches copy a page once: editing one key again and again within a version takes no further memory.
func TestOneVersionEditsInPlace(t *testing.T) {
	f := newFixture(t, shapes()[0])
	defer f.a.Close()
	for i := range 5000 {
		must(t, f.insert(i))
	}
	f.seal()
	f.publish(1)
	must(t, f.insert(17))
	pages := f.a.Stats().Pages.Count
	if copied := pages - f.now.root.Pages; copied != uint64(f.now.root.Height) {
		t.Errorf("first change of a version copied %d pages, the tree has %d levels", copied, f.now.root.Height)
	}
	for range 100 {
		must(t, f.insert(17))
	}
	if more := f.a.Stats().Pages.Count - pages; more != 0 {
		t.Errorf("later changes of the same page took %d pages more", more)
	}
}

// An insertion that the quota refuses changes nothing; deletions still work and make room.
func TestQuota(t *testing.T) {
	f := newFixture(t, shapes()[0])
	defer f.a.Close()
	n := 0
	f.a.SetQuota(256 << 10)
	for ; ; n++ {
		before := f.now.root
		r := f.row(n)
		ref, err := f.a.AllocTuple(r.tup)
		if err == nil {
			_, err = f.ix.Insert(&f.now.root, f.now.number, ref)
		}
		if errors.Is(err, memory.ErrQuota) {
			if f.now.root != before {
				t.Fatalf("a refused insertion changed the root from %+v to %+v", before, f.now.root)
			}
			if ref != 0 {
				f.a.Free(memory.KindTuple, ref)
			}
			break
		}
		must(t, err)
		f.now.model.Set(r)
	}
	must(t, f.verify(f.now))
	f.seal()
	f.publish(1)
	for i := range n / 2 {
		must(t, f.delete(i))
	}
	f.seal()
	f.publish(1)
	for f.a.Reclaim(f.e.Min()) {
	}
	must(t, f.insert(0))
	must(t, f.noLeaks())
}

// Free gives a dropped tree back bit by bit, only when no reader is left, and is undone by a rollback.
func TestFree(t *testing.T) {
	f := newFixture(t, shapes()[1])
	defer f.a.Close()
	for i := range 10_000 {
		must(t, f.insert(i))
	}
	f.seal()
	f.publish(1)
	tree := f.ix.(*Tree)
	tree.Free(f.now.root, f.now.number, true)
	f.seal()
	f.rollback(0)
	must(t, f.verify(f.published))

	reader := f.pin()
	tree.Free(f.now.root, f.now.number, true)
	f.now.root = Root{}
	f.now.model.Clear()
	f.seal()
	f.publish(1)
	if f.a.Reclaim(f.e.Min()) {
		t.Error("there is work before the reader left")
	}
	must(t, f.unpin(reader))
	calls := 1
	for before := f.a.Used(); f.a.Reclaim(f.e.Min()); calls++ {
		if freed := before - f.a.Used(); calls == 1 && (freed == 0 || freed > before/4) {
			t.Errorf("one call freed %d of %d bytes", freed, before)
		}
	}
	if calls < 10 {
		t.Errorf("a large tree was freed in %d calls", calls)
	}
	if used := f.a.Used(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}

func TestHashIterators(t *testing.T) {
	f := newFixture(t, shapes()[4])
	defer f.a.Close()
	for i := range 1000 {
		must(t, f.insert(i))
	}
	collect := func(it Iterator, key []byte, n int) (all []memory.Ref) {
		var c Cursor
		f.ix.Seek(&c, f.now.root, it, key, n)
		for ref, ok := c.Next(); ok; ref, ok = c.Next() {
			all = append(all, ref)
		}
		return all
	}
	all := collect(ALL, nil, 0)
	if len(all) != 1000 {
		t.Fatalf("ALL gives %d", len(all))
	}
	key := f.kd.ExtractKey(nil, f.a.Tuple(all[300]))
	if got := collect(ALL, key, 1); !slices.Equal(got, all) {
		t.Error("ALL with a key does not give everything")
	}
	if got := collect(GT, key, 1); !slices.Equal(got, all[301:]) {
		t.Errorf("GT gives %d entries", len(got))
	}
	if got := collect(GT, nil, 0); !slices.Equal(got, all) {
		t.Error("GT without key does not give everything")
	}
	if got := collect(EQ, key, 1); !slices.Equal(got, all[300:301]) {
		t.Errorf("EQ gives %d entries", len(got))
	}
	for _, it := range []Iterator{REQ, LT, LE, GE} {
		if got := collect(it, key, 1); got != nil {
			t.Errorf("iterator %d gives %d entries", it, len(got))
		}
	}
	if got := f.ix.(*Hash).GetTuple(f.now.root, f.a.Tuple(all[7])); got != all[7] {
		t.Errorf("GetTuple finds %d, want %d", got, all[7])
	}
}

// Check must see damage, or the other tests prove nothing.
func TestCheckSeesDamage(t *testing.T) {
	f := newFixture(t, shapes()[0])
	defer f.a.Close()
	for i := range 5000 {
		must(t, f.insert(i))
	}
	tree, r := f.ix.(*Tree), f.now.root
	in := tree.inner(r.Page)
	left := tree.leaf(in.child(0))
	if r.Height > 2 {
		left = tree.leaf(tree.inner(in.child(0)).child(0))
	}
	damage := map[string]func() (undo func()){
		"order":   func() func() { l := *left; left.set(3, l.hints[2], l.ref(2)); return func() { *left = l } },
		"hint":    func() func() { l := *left; left.hints[5]++; return func() { *left = l } },
		"parent":  func() func() { p := *in; in.hints[1]--; return func() { *in = p } },
		"birth":   func() func() { l := *left; left.birth += 9; return func() { *left = l } },
		"level":   func() func() { l := *left; left.level = 1; return func() { *left = l } },
		"missing": func() func() { l := *left; left.n--; return func() { *left = l } },
	}
	for name, harm := range damage {
		undo := harm()
		if tree.Check(r) == nil {
			t.Errorf("damage %q is not seen", name)
		}
		undo()
	}
	must(t, tree.Check(r))
}

// A tuple in the version that is written can be deleted by its own bytes.
func TestDeleteByOwnBytes(t *testing.T) {
	f := newFixture(t, shapes()[2])
	defer f.a.Close()
	must(t, f.insert(1))
	must(t, f.insert(2))
	ref := f.ix.(*Tree).GetTuple(f.now.root, f.row(1).tup)
	old, err := f.ix.Delete(&f.now.root, f.now.number, f.a.Tuple(ref))
	if must(t, err); old != ref || !bytes.Equal(f.a.Tuple(old)[:2], f.row(1).tup[:2]) {
		t.Errorf("deleted %d, want %d", old, ref)
	}
}

// TestPutNeedsItsPlace: after any change the place that was found is not good any more.
func TestPutNeedsItsPlace(t *testing.T) {
	f := newFixture(t, shapes()[0])
	defer f.a.Close()
	for i := range 3 {
		if err := f.insert(i); err != nil {
			t.Fatal(err)
		}
	}
	r := f.row(7)
	ref, err := f.a.AllocTuple(r.tup)
	if err != nil {
		t.Fatal(err)
	}
	f.ix.Find(f.now.root, r.tup)
	if err := f.delete(1); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a tuple was put at a place that is not good any more")
		}
	}()
	f.ix.Put(&f.now.root, f.now.number, ref)
}
