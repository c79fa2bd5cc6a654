package index

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tidwall/btree"
	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// keyShape is one kind of key that the property tests run over: how tuple i looks, and the definition of its key.
type keyShape struct {
	name   string
	parts  []tuple.Part
	hashed bool
	make   func(dst []byte, i int) []byte // fields of the key
}

func shapes() []keyShape {
	unsigned := tuple.Part{Field: 0, Type: tuple.Unsigned}
	text := tuple.Part{Field: 0, Type: tuple.String}
	return []keyShape{
		{name: "unsigned", parts: []tuple.Part{unsigned}, make: func(dst []byte, i int) []byte {
			return msgpack.AppendUint(dst, uint64(i)*0x9e3779b9)
		}},
		{name: "string with a long common prefix", parts: []tuple.Part{text}, make: func(dst []byte, i int) []byte {
			return msgpack.AppendStr(dst, fmt.Sprintf("customer/%d", i))
		}},
		{name: "two parts", parts: []tuple.Part{unsigned, {Field: 1, Type: tuple.String}},
			make: func(dst []byte, i int) []byte {
				return msgpack.AppendStr(msgpack.AppendUint(dst, uint64(i%37)), fmt.Sprint(i/37))
			}},
		{name: "not unique, one value", parts: []tuple.Part{unsigned, {Field: 1, Type: tuple.Unsigned}},
			make: func(dst []byte, i int) []byte {
				return msgpack.AppendUint(msgpack.AppendUint(dst, 7), uint64(i))
			}},
		{name: "hash", hashed: true, parts: []tuple.Part{text}, make: func(dst []byte, i int) []byte {
			return msgpack.AppendStr(dst, fmt.Sprint("key", i))
		}},
	}
}

// row is an entry of the model: the key fields, the whole tuple.
type row struct{ key, tup []byte }

// version is a sealed version: what the index and the model looked like.
type version struct {
	number uint64
	root   Root
	model  *btree.BTreeG[row]
}

// fixture drives an index and a model through versions.
type fixture struct {
	shape     keyShape
	kd        *tuple.KeyDef
	a         *memory.Arena
	e         *memory.Epochs
	ix        benchIndex
	now       version   // being written
	sealed    []version // not published, ascending
	published version
	serial    uint64
}

func newFixture(t interface{ Fatal(...any) }, s keyShape) *fixture {
	kd, err := tuple.NewKeyDef(s.parts)
	if err != nil {
		t.Fatal(err)
	}
	a, err := memory.NewArena(memory.Options{QuotaBytes: 16 << 20, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{shape: s, kd: kd, a: a, e: memory.NewEpochs()}
	less := func(x, y row) bool { return kd.Compare(x.tup, y.tup) < 0 }
	if f.ix = NewTree(a, kd); s.hashed {
		f.ix = NewHash(a, kd)
		less = func(x, y row) bool {
			if hx, hy := kd.Hash(x.tup), kd.Hash(y.tup); hx != hy {
				return hx < hy
			}
			return kd.Compare(x.tup, y.tup) < 0
		}
	}
	f.published.model = btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
	f.now = version{number: 1, model: f.published.model.Copy()}
	a.Begin(1)
	return f
}

func (f *fixture) row(i int) row {
	key := f.shape.make(nil, i)
	f.serial++
	tup := msgpack.AppendUint(append(msgpack.AppendArrayHeader(nil, len(f.shape.parts)+1), key...), f.serial)
	return row{key, tup}
}

func (f *fixture) insert(i int) error {
	r := f.row(i)
	ref, err := f.a.AllocTuple(r.tup)
	if err != nil {
		return err
	}
	old, err := f.ix.Insert(&f.now.root, f.now.number, ref)
	if err != nil {
		return err
	}
	was, had := f.now.model.Set(r)
	return f.replaced(old, was, had)
}

// put is insert in two steps; the place is found by tuple or by key.
func (f *fixture) put(i int) error {
	r := f.row(i)
	ref, err := f.a.AllocTuple(r.tup)
	if err != nil {
		return err
	}
	was, had := f.now.model.Set(r)
	found := f.ix.Find(f.now.root, r.tup)
	if i%2 == 0 {
		found = f.ix.FindKey(f.now.root, r.key)
	}
	if had != (found != 0) || had && !bytes.Equal(f.a.Tuple(found), was.tup) {
		return fmt.Errorf("find gives %d, the model %x", found, was.tup)
	}
	old, err := f.ix.Put(&f.now.root, f.now.number, ref)
	if err != nil {
		return err
	}
	return f.replaced(old, was, had)
}

// lookups compares searches that run side by side with those of Get, and cursors with those of Seek.
func (f *fixture) lookups(t *rapid.T, v version, domain int) error {
	all := make([]Lookup, rapid.IntRange(1, 40).Draw(t, "lookups"))
	cursors, single := make([]Cursor, len(all)), make([]Cursor, len(all))
	keys := make([][]byte, len(all))
	for i := range all {
		r := f.row(rapid.IntRange(0, domain).Draw(t, "key"))
		if keys[i] = r.key; i%3 == 0 {
			f.ix.StartTuple(&all[i], v.root, r.tup)
		} else {
			f.ix.Start(&all[i], v.root, r.key)
		}
		if i%2 == 0 {
			all[i].Pages(memory.PageBytes)
		}
		it, parts := Iterator(rapid.IntRange(0, int(GT)).Draw(t, "iterator")), rapid.IntRange(0, len(f.shape.parts)).Draw(t, "parts")
		f.ix.Begin(&cursors[i], v.root, it, r.key, parts)
		f.ix.Seek(&single[i], v.root, it, r.key, parts)
	}
	Run(all)
	SeekAll(cursors)
	for i := range all {
		if got, want := all[i].Found(), f.ix.Get(v.root, keys[i], len(f.shape.parts)); got != want {
			return fmt.Errorf("lookup of %x finds %d, get %d", keys[i], got, want)
		}
		for range 3 {
			got, ok := cursors[i].Next()
			if want, more := single[i].Next(); got != want || ok != more {
				return fmt.Errorf("cursor %d gives %d, want %d", i, got, want)
			}
		}
	}
	return nil
}

func (f *fixture) delete(i int) error {
	r := f.row(i)
	old, err := f.ix.Delete(&f.now.root, f.now.number, r.tup)
	if err != nil {
		return err
	}
	was, had := f.now.model.Delete(r)
	return f.replaced(old, was, had)
}

// replaced compares what index and model gave up, and retires it.
func (f *fixture) replaced(old memory.Ref, was row, had bool) error {
	if had != (old != 0) {
		return fmt.Errorf("index gave up %d, the model %x", old, was.tup)
	}
	if old == 0 {
		return nil
	}
	if !bytes.Equal(f.a.Tuple(old), was.tup) {
		return fmt.Errorf("index gave up %x, the model %x", f.a.Tuple(old), was.tup)
	}
	f.a.Retire(memory.KindTuple, old, f.now.number)
	return nil
}

func (f *fixture) seal() {
	f.sealed = append(f.sealed, version{f.now.number, f.now.root, f.now.model.Copy()})
	f.now.number++
	f.a.Begin(f.now.number)
}

// publish makes the first n sealed versions visible.
func (f *fixture) publish(n int) {
	f.published = f.sealed[n-1]
	f.sealed = f.sealed[n:]
	f.e.Publish(f.published.number)
	f.a.Settle(f.published.number)
	f.a.Reclaim(f.e.Min())
}

// rollback keeps the first n sealed versions.
func (f *fixture) rollback(n int) {
	last := f.published
	if n > 0 {
		last = f.sealed[n-1]
	}
	f.sealed = f.sealed[:n]
	f.a.Rollback(last.number)
	f.now = version{last.number + 1, last.root, last.model.Copy()}
	f.a.Begin(f.now.number)
}

// verify compares a whole version with the model.
func (f *fixture) verify(v version) error {
	if err := f.ix.Check(v.root); err != nil {
		return err
	}
	if int(v.root.Count) != v.model.Len() {
		return fmt.Errorf("%d entries, the model has %d", v.root.Count, v.model.Len())
	}
	var c Cursor
	f.ix.Seek(&c, v.root, ALL, nil, 0)
	var err error
	v.model.Scan(func(r row) bool {
		if ref, ok := c.Next(); !ok || !bytes.Equal(f.a.Tuple(ref), r.tup) {
			err = fmt.Errorf("scan of version %d: got %v, want %x", v.number, ok, r.tup)
		}
		return err == nil
	})
	if _, more := c.Next(); more && err == nil {
		err = fmt.Errorf("scan gives too much")
	}
	return err
}

// noLeaks ends all versions and verifies that exactly the pages and tuples of the newest one are allocated.
func (f *fixture) noLeaks() error {
	f.seal()
	f.publish(len(f.sealed))
	for f.a.Reclaim(f.e.Min()) {
	}
	s := f.a.Stats()
	if r := f.published.root; s.Pages.Count != r.Pages || s.Tuples.Count != r.Count || s.RetiredBlocks != 0 {
		return fmt.Errorf("allocated: %+v, in use: %+v", s, r)
	}
	return nil
}

// query compares one cursor with a filter over the model.
func (f *fixture) query(v version, it Iterator, key []byte, n int) error {
	var want [][]byte
	collect := func(r row) bool {
		c := f.kd.CompareKey(r.tup, key, n)
		if n == 0 || map[Iterator]bool{EQ: c == 0, REQ: c == 0, ALL: c >= 0, LT: c < 0, LE: c <= 0, GE: c >= 0, GT: c > 0}[it] {
			want = append(want, r.tup)
		}
		return true
	}
	if v.model.Scan(collect); it.backward() {
		want = want[:0]
		v.model.Reverse(collect)
	}
	var c Cursor
	f.ix.Seek(&c, v.root, it, key, n)
	for i, w := range want {
		if ref, ok := c.Next(); !ok || !bytes.Equal(f.a.Tuple(ref), w) {
			return fmt.Errorf("iterator %d, key %x: result %d is (%v), want %x", it, key, i, ok, w)
		}
	}
	for range 2 {
		if ref, ok := c.Next(); ok {
			return fmt.Errorf("iterator %d, key %x: %x after the last of %d", it, key, f.a.Tuple(ref), len(want))
		}
	}
	got, found := f.ix.Get(v.root, key, n), it == EQ && len(want) > 0
	if found && !bytes.Equal(f.a.Tuple(got), want[0]) || it == EQ && !found && got != 0 {
		return fmt.Errorf("get %x finds %d, want %v", key, got, found)
	}
	return nil
}

func (f *fixture) anyQuery(t *rapid.T, v version, domain int) error {
	i := rapid.IntRange(0, domain).Draw(t, "key")
	r := f.row(i)
	if f.shape.hashed {
		if got := f.ix.Get(v.root, r.key, 1); (got != 0) != has(v.model, r) {
			return fmt.Errorf("hash get %x finds %d", r.key, got)
		}
		return nil
	}
	it := Iterator(rapid.IntRange(0, int(GT)).Draw(t, "iterator"))
	return f.query(v, it, r.key, rapid.IntRange(0, len(f.shape.parts)).Draw(t, "parts"))
}

func has(m *btree.BTreeG[row], r row) bool {
	_, ok := m.Get(r)
	return ok
}

func TestModel(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { runModel(t, s) }) })
	}
}

// runModel performs random operations on an index and its model. The range of keys is small, so that they meet.
func runModel(t *rapid.T, s keyShape) {
	f := newFixture(t, s)
	defer f.a.Close()
	domain := rapid.SampledFrom([]int{10, 300, 5000}).Draw(t, "domain")
	var pinned []*pin
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	span := func() (from, n, step int) {
		from = rapid.IntRange(0, domain).Draw(t, "from")
		return from, rapid.IntRange(1, 1+domain/4).Draw(t, "n"), rapid.SampledFrom([]int{-1, 1, 7919}).Draw(t, "step")
	}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) { must(f.ix.Check(f.now.root)) },
		"insert": func(*rapid.T) {
			for i, n, step := span(); n > 0; n-- {
				must(f.insert((i%domain + domain) % domain))
				i += step
			}
		},
		"put": func(*rapid.T) {
			for i, n, step := span(); n > 0; n-- {
				must(f.put((i%domain + domain) % domain))
				i += step
			}
		},
		"lookups": func(t *rapid.T) { must(f.lookups(t, f.now, domain)) },
		"delete": func(*rapid.T) {
			for i, n, step := span(); n > 0; n-- {
				must(f.delete((i%domain + domain) % domain))
				i += step
			}
		},
		"seal": func(*rapid.T) { f.seal() },
		"publish": func(t *rapid.T) {
			if len(f.sealed) > 0 {
				f.publish(rapid.IntRange(1, len(f.sealed)).Draw(t, "versions"))
			}
		},
		"rollback": func(t *rapid.T) { f.rollback(rapid.IntRange(0, len(f.sealed)).Draw(t, "keep")) },
		"query":    func(t *rapid.T) { must(f.anyQuery(t, f.now, domain)) },
		"pin":      func(*rapid.T) { pinned = append(pinned, f.pin()) },
		"unpin": func(t *rapid.T) {
			if len(pinned) > 0 {
				i := rapid.IntRange(0, len(pinned)-1).Draw(t, "pin")
				must(f.unpin(pinned[i]))
				pinned = append(pinned[:i], pinned[i+1:]...)
			}
		},
	})
	for _, p := range pinned {
		must(f.unpin(p))
	}
	must(f.verify(f.now))
	must(f.noLeaks())
}

// pin is a reader's view of a published version.
type pin struct {
	slot *memory.Slot
	v    version
}

func (f *fixture) pin() *pin {
	p := &pin{slot: f.e.Register(), v: f.published}
	p.slot.Enter()
	return p
}

// unpin verifies that the version did not change while it was pinned.
func (f *fixture) unpin(p *pin) error {
	err := f.verify(p.v)
	p.slot.Leave()
	f.e.Unregister(p.slot)
	return err
}
