package box

import (
	"strconv"

	"github.com/tidwall/btree"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// TxBytesMax bounds what one transaction holds, in bytes: its own rows and what it remembers of its reads.
const TxBytesMax = 16 << 20

// Tx is a transaction over several requests. It reads the version that was published when it began, keeps its writes
// aside, and remembers what it has read: keys, ranges, and the gaps in them. At its commit the writer compares that with
// everything that changed since; if nothing that was read did, the writes become part of one version, as if the whole had
// happened at that moment. Otherwise it fails with error 97 and has done nothing: transactions are serializable.
//
// A Tx belongs to one goroutine at a time. It holds memory for its version until Close.
type Tx struct {
	e       *Engine
	slot    *memory.Slot
	version uint64
	// base is the schema of the version, schema that with the transaction's own changes, which are ddl.
	base, schema *Schema
	ddl          []ddlStep
	spaces       map[uint32]*txSpace
	marks        map[uint32][]mark
	// whole: it changes nothing but the dictionary, by changes that others may not make in a transaction too.
	whole bool
	// emptied are the spaces that it has truncated.
	emptied map[uint32]bool
	// sequences are the values of those that the transaction has moved.
	sequences map[uint32]sequenceValue
	// held is what the transaction keeps, in bytes.
	held    int
	closed  bool
	cur     index.Cursor
	updater tuple.Updater
	scratch []byte
}

// txSpace is what a transaction has done to a space.
type txSpace struct {
	space *Space
	// own are the new tuples, once for each index, in its order.
	own []*btree.BTreeG[item]
	// gone are the tuples of the view that are removed or replaced, by primary key.
	gone *btree.BTreeG[item]
}

// item is a tuple, or a place among tuples: before (side -1) or behind (side 1) all that have the key.
type item struct {
	tup   []byte
	key   []byte
	parts int
	side  int8
}

// mark is a part of an index that was read: all tuples between two keys. A bound without parts is open.
type mark struct {
	index    *Index
	low, top bound
	// point: it is all tuples that have the key of low, which top has too.
	point bool
}

type bound struct {
	key   []byte
	parts int
	// beyond excludes the tuples that have the key itself.
	beyond bool
}

// BeginTx begins a transaction on the newest published version. For any goroutine.
func (e *Engine) BeginTx() *Tx {
	slot := e.epochs.Register()
	version := slot.Enter()
	schema := e.schemaAt(version)
	return &Tx{e: e, slot: slot, version: version, base: schema, schema: schema,
		spaces: map[uint32]*txSpace{}, marks: map[uint32][]mark{}}
}

// BeginSchemaTx begins a transaction that changes the dictionary and no rows of users' spaces. It may also truncate spaces,
// drop sequences and remove their values, which is seen by what it does later. For any goroutine.
func (e *Engine) BeginSchemaTx() *Tx {
	t := e.BeginTx()
	t.whole, t.emptied = true, map[uint32]bool{}
	return t
}

// Close forgets the transaction. It may be called again.
func (t *Tx) Close() {
	if t.closed {
		return
	}
	t.closed = true
	t.slot.Leave()
	t.e.epochs.Unregister(t.slot)
}

// Version is the version that the transaction reads.
func (t *Tx) Version() uint64 { return t.version }

// Writes reports whether the transaction has changed anything.
func (t *Tx) Writes() bool { return len(t.ddl) > 0 || len(t.spaces) > 0 || len(t.sequences) > 0 }

// Bytes is about what the transaction holds, at most TxBytesMax: its commit writes less into the log.
func (t *Tx) Bytes() int { return t.held }

// hold charges the transaction for what it keeps.
func (t *Tx) hold(bytes int) error {
	if t.held+bytes > TxBytesMax {
		return errcode.New(errcode.TooBig, "a transaction", t.held+bytes, TxBytesMax)
	}
	t.held += bytes
	return nil
}

// markBytes is what remembering a read costs beside its keys.
const markBytes = 128

// remember notes that a part of an index was read. Keys are copied.
func (t *Tx) remember(sp *Space, m mark) error {
	if err := t.hold(markBytes + len(m.low.key) + len(m.top.key)); err != nil {
		return err
	}
	m.low.key, m.top.key = clone(m.low.key), clone(m.top.key)
	t.marks[sp.ID] = append(t.marks[sp.ID], m)
	return nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// rememberKey notes that the tuples with a key were read, or that there are none.
func (t *Tx) rememberKey(sp *Space, ix *Index, key []byte, parts int) error {
	b := bound{key: key, parts: parts}
	return t.remember(sp, mark{index: ix, low: b, top: b, point: true})
}

// hit tells whether a tuple lies in the part that was read.
func (m *mark) hit(tup []byte) bool {
	if m.point {
		return m.index.cmp.CompareKey(tup, m.low.key, m.low.parts) == 0
	}
	if m.low.parts > 0 {
		if c := m.index.orderKey(tup, m.low.key, m.low.parts); c < 0 || c == 0 && m.low.beyond {
			return false
		}
	}
	if m.top.parts > 0 {
		if c := m.index.orderKey(tup, m.top.key, m.top.parts); c > 0 || c == 0 && m.top.beyond {
			return false
		}
	}
	return true
}

// touched returns what the transaction has done to a space, for more to be done.
func (t *Tx) touched(sp *Space) *txSpace {
	ts := t.spaces[sp.ID]
	if ts == nil {
		ts = &txSpace{space: sp, gone: newItems(sp.primary())}
		for _, ix := range sp.Indexes {
			ts.own = append(ts.own, newItems(ix))
		}
		t.spaces[sp.ID] = ts
	}
	return ts
}

// newItems makes a set of tuples in the order of an index, in which places can be looked for too.
func newItems(ix *Index) *btree.BTreeG[item] {
	return btree.NewBTreeGOptions(func(a, b item) bool {
		switch {
		case a.tup != nil && b.tup != nil:
			return ix.order(a.tup, b.tup) < 0
		case a.tup != nil:
			c := ix.orderKey(a.tup, b.key, b.parts)
			return c < 0 || c == 0 && b.side > 0
		default:
			c := ix.orderKey(b.tup, a.key, a.parts)
			return c > 0 || c == 0 && a.side < 0
		}
	}, btree.Options{NoLocks: true})
}

// position is the place of an index in the space's list.
func (s *Space) position(ix *Index) int {
	for n, other := range s.Indexes {
		if other.ID == ix.ID {
			return n
		}
	}
	return -1
}

// find returns the tuple with a key that leads to at most one, as the transaction sees it; nil for none.
func (t *Tx) find(sp *Space, ix *Index, key []byte, parts int) ([]byte, error) {
	if err := t.rememberKey(sp, ix, key, parts); err != nil {
		return nil, err
	}
	ts := t.spaces[sp.ID]
	if ts != nil {
		it := ts.own[sp.position(ix)].Iter()
		if it.Seek(item{key: key, parts: parts, side: -1}) && ix.cmp.CompareKey(it.Item().tup, key, parts) == 0 {
			return it.Item().tup, nil
		}
	}
	st := ix.state
	ref := st.store.Get(st.rootAt(t.version), key, parts)
	if ref == 0 {
		return nil, nil
	}
	tup := t.e.arena.Tuple(ref)
	if ts != nil && has(ts.gone, tup) {
		return nil, nil
	}
	return tup, nil
}

func has(set *btree.BTreeG[item], tup []byte) bool {
	_, ok := set.Get(item{tup: tup})
	return ok
}

// Execute runs a statement inside the transaction. A statement that fails has changed nothing; the transaction goes on.
func (t *Tx) Execute(s *Statement) ([]byte, error) {
	sp, err := t.writable(s)
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case Insert, Replace:
		return t.insertOrReplace(sp, s)
	case Update:
		return t.update(sp, s)
	case Upsert:
		return nil, t.upsert(sp, s)
	default:
		old, err := t.findExact(sp, s)
		if err != nil || old == nil {
			return nil, err
		}
		_, err = t.change(sp, old, nil)
		return old, err
	}
}

func (t *Tx) writable(s *Statement) (*Space, error) {
	sp := t.schema.Space(s.SpaceID)
	if sp == nil {
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(s.SpaceID), 10))
	}
	guarded := sp
	if sp.ID == dictionary.SpaceTruncate {
		guarded = t.scratchEngine().guarded(sp, s)
	}
	if err := s.User.check(access.Write, guarded); err != nil {
		return nil, err
	}
	switch {
	case sp.IsView():
		return nil, errcode.New(errcode.ViewIsRO, sp.Name)
	case sp.ID < firstUserSpace && !isDictionary(sp.ID) && !plainSystemSpace(sp.ID) || sp.IsVirtual():
		return nil, errcode.New(errcode.MultistatementTransaction, "a change of space '"+sp.Name+"'")
	case sp.primary() == nil:
		return nil, errcode.New(errcode.NoSuchIndexID, 0, sp.Name)
	}
	return sp, t.checkMix(sp)
}

// findOld returns the tuple with the primary key of the given one.
func (t *Tx) findOld(sp *Space, tup []byte) ([]byte, error) {
	pk := sp.primary()
	t.scratch = pk.Def.ExtractKey(t.scratch[:0], tup)
	return t.find(sp, pk, t.scratch, pk.Def.PartCount())
}

func (t *Tx) insertOrReplace(sp *Space, s *Statement) ([]byte, error) {
	if sp.auto != nil {
		filled, err := t.fillStatement(sp, s)
		if err != nil {
			return nil, err
		}
		s = &filled
	}
	if err := t.e.checkTuple(sp, s.Tuple); err != nil {
		return nil, err
	}
	old, err := t.findOld(sp, s.Tuple)
	if err != nil {
		return nil, err
	}
	if old != nil && s.Kind == Insert {
		return nil, errcode.New(errcode.TupleFound, sp.primary().Name, sp.Name)
	}
	return t.change(sp, old, clone(s.Tuple))
}

func (t *Tx) update(sp *Space, s *Statement) ([]byte, error) {
	old, err := t.findExact(sp, s)
	if err != nil || old == nil {
		return nil, err
	}
	tup, err := t.updater.Update(nil, old, s.Ops, s.IndexBase, sp.Format)
	if err != nil {
		return nil, err
	}
	if err := t.e.checkTuple(sp, tup); err != nil {
		return nil, err
	}
	if pk := sp.primary(); pk.Def.Compare(old, tup) != 0 {
		return nil, errcode.New(errcode.CantUpdatePrimaryKey, pk.Name, sp.Name)
	}
	return t.change(sp, old, tup)
}

func (t *Tx) upsert(sp *Space, s *Statement) error {
	if err := t.e.checkTuple(sp, s.Tuple); err != nil {
		return err
	}
	old, err := t.findOld(sp, s.Tuple)
	if err != nil {
		return err
	}
	if old == nil {
		if err := tuple.CheckOps(s.Ops, s.IndexBase, sp.Format); err != nil {
			return err
		}
		_, err := t.change(sp, nil, clone(s.Tuple))
		return err
	}
	tup, err := t.updater.UpsertOps(nil, old, s.Ops, s.IndexBase, sp.Format)
	if err != nil {
		return err
	}
	if err := t.e.checkTuple(sp, tup); err != nil {
		return err
	}
	if sp.primary().Def.Compare(old, tup) != 0 {
		return nil // a change of the primary key is ignored, as in Tarantool
	}
	_, err = t.change(sp, old, tup)
	return err
}

func (t *Tx) findExact(sp *Space, s *Statement) ([]byte, error) {
	ix, key, err := exactKey(sp, s)
	if err != nil {
		return nil, err
	}
	return t.find(sp, ix, key, ix.Def.PartCount())
}

// change puts a tuple in the place of old among the transaction's own, or removes old if tup is nil. tup is kept.
func (t *Tx) change(sp *Space, old, tup []byte) ([]byte, error) {
	pk := sp.primary()
	if tup != nil {
		for _, ix := range sp.Indexes[1:] {
			if !ix.Unique || ix.cmp != ix.Def && ix.Def.HasNull(tup) {
				continue
			}
			found, err := t.find(sp, ix, ix.Def.ExtractKey(nil, tup), ix.Def.PartCount())
			if err != nil {
				return nil, err
			}
			if found != nil && (old == nil || pk.Def.Compare(found, old) != 0) {
				return nil, errcode.New(errcode.TupleFound, ix.Name, sp.Name)
			}
		}
	}
	if tup != nil && len(sp.checks) > 0 {
		if err := sp.fulfils(tup); err != nil {
			return nil, err
		}
	}
	if err := t.hold(len(tup) + markBytes*len(sp.Indexes)); err != nil {
		return nil, err
	}
	effect, err := t.define(sp, old, tup)
	if err != nil {
		return nil, err
	}
	ts := t.touched(sp)
	if old != nil {
		if !has(ts.own[0], old) {
			ts.gone.Set(item{tup: old})
		} else {
			for n := range ts.own {
				ts.own[n].Delete(item{tup: old})
			}
		}
	}
	if tup != nil {
		for n, ix := range sp.Indexes {
			if !ix.Def.Excludes(tup) {
				ts.own[n].Set(item{tup: tup})
			}
		}
		if sp.auto != nil {
			t.followRow(sp, tup)
		}
	}
	if effect != nil {
		effect()
	}
	return tup, nil
}

// Schema is the dictionary as the transaction sees it, with its own changes.
func (t *Tx) Schema() *Schema { return t.schema }

// CommitTx makes the writes of a transaction part of the open version, or fails with error 97 because something that it
// has read was changed meanwhile, or with error 2. Either way nothing is left half done; the caller closes it.
func (e *Engine) CommitTx(t *Tx) error {
	invariant.Check(e.version != 0 && !t.closed, "commit of a closed transaction, or without an open version")
	if len(t.spaces) > 0 && e.conflicts(t) {
		return errcode.New(errcode.TransactionConflict)
	}
	if err := e.checkDDL(t); err != nil {
		return err
	}
	if need := e.needOf(t); need > 0 && !e.arena.Room(need) {
		return errcode.New(errcode.MemoryIssue, need, "slab allocator", "memtx_tuple")
	}
	e.placed = nil
	e.commitDDL(t)
	for id, ts := range t.spaces {
		if !isDictionary(id) {
			e.commitSpace(ts)
		}
	}
	return nil
}

// needOf is the memory that a transaction's commit may take.
func (e *Engine) needOf(t *Tx) (need uint64) {
	for _, step := range t.ddl {
		need += e.arena.TupleBytes(len(step.after)) + uint64(pageReserve*len(e.schema.Space(step.space).Indexes))
	}
	for _, ts := range t.spaces {
		trees := e.indexesOf(ts.space)
		ts.own[0].Scan(func(i item) bool {
			need += e.arena.TupleBytes(len(i.tup)) + uint64(pageReserve*trees)
			return true
		})
	}
	return need
}

// commitSpace removes first and then puts: unique keys may have changed hands.
func (e *Engine) commitSpace(ts *txSpace) {
	sp := e.schema.Space(ts.space.ID)
	pk := sp.primary()
	ts.gone.Scan(func(i item) bool {
		ref := pk.state.store.GetTuple(pk.state.cur, i.tup)
		invariant.Check(ref != 0, "a tuple that the transaction has removed is not there")
		e.log(sp, i.tup, nil)
		e.apply(sp, ref, nil)
		return true
	})
	ts.own[0].Scan(func(i item) bool {
		e.log(sp, nil, i.tup)
		e.apply(sp, 0, i.tup)
		return true
	})
}

// conflicts tells whether anything that the transaction has read was changed after its version.
func (e *Engine) conflicts(t *Tx) bool {
	for id := range t.marks {
		if e.schema.Space(id) != t.base.Space(id) {
			return true
		}
	}
	for n := e.changes.after(t.version); n < e.changes.len(); n++ {
		c := e.changes.at(n)
		marks := t.marks[c.space]
		if len(marks) == 0 {
			continue
		}
		if c.old == 0 && c.new == 0 {
			return true // the whole space was emptied
		}
		for i := range marks {
			if c.old != 0 && marks[i].hit(e.arena.Tuple(c.old)) || c.new != 0 && marks[i].hit(e.arena.Tuple(c.new)) {
				return true
			}
		}
	}
	return false
}
