package box

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Kind is the kind of a statement that writes.
type Kind uint8

// The statements.
const (
	Insert Kind = iota + 1
	Replace
	Update
	Upsert
	Delete
)

// Statement is one write.
type Statement struct {
	Kind             Kind
	SpaceID, IndexID uint32
	IndexBase        int
	Key              []byte // Update, Delete: a MessagePack array
	Tuple            []byte // Insert, Replace, Upsert
	Ops              []byte // Update, Upsert
	User             *User

	// fits is the format that Tuple was found to fit by Expect, nil if it was not looked at.
	fits *tuple.Format
}

// pageReserve is the memory that one statement may need for index pages, in bytes per index: a statement that passes the
// quota check must not fail half way.
const pageReserve = 16 << 10

// Execute runs a statement on the newest version. It returns the tuple that the client gets (the new one; Delete: the
// old one; nil where there is none), valid until the next Begin. A statement that fails has changed nothing.
//
// A statement that has to look at more rows of a space than fit into one slice goes on: the error is then a *Build, which
// has a copy of the statement. The caller calls Continue with it until that returns something else, or Abandon.
func (e *Engine) Execute(s *Statement) ([]byte, error) {
	tup, err := e.execute(s)
	if b, ok := err.(*Build); ok {
		b.statement = *s
		b.statement.Key, b.statement.Tuple, b.statement.Ops = clone(s.Key), clone(s.Tuple), clone(s.Ops)
	}
	return tup, err
}

func (e *Engine) execute(s *Statement) ([]byte, error) {
	e.placed = nil
	sp, err := e.writable(s)
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case Insert, Replace:
		return e.insertOrReplace(sp, s)
	case Update:
		return e.update(sp, s)
	case Upsert:
		return nil, e.upsert(sp, s)
	case Delete:
		return e.delete(sp, s)
	}
	panic("box: unknown kind of statement " + strconv.Itoa(int(s.Kind)))
}

// writable finds the space of a statement and checks that this user may write it.
func (e *Engine) writable(s *Statement) (*Space, error) {
	invariant.Check(e.version != 0, "statement without an open version")
	sp := e.schema.Space(s.SpaceID)
	if sp == nil {
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(s.SpaceID), 10))
	}
	if err := s.User.check(access.Write, e.guarded(sp, s)); err != nil {
		return nil, err
	}
	if sp.IsView() {
		return nil, errcode.New(errcode.ViewIsRO, sp.Name)
	}
	if sp.global && sp.primary() == nil {
		return nil, errcode.New(errcode.NoSuchIndexID, 0, sp.Name)
	}
	if sp.global { // what the catalog has of it is written there
		return nil, errcode.New(errcode.GlobalTableChanges, sp.Name)
	}
	if sp.IsVirtual() {
		return nil, errcode.Newf(errcode.ViewIsRO, "Space '%s' is read-only: its rows are the cluster's own record", sp.Name)
	}
	if sp.ID < firstUserSpace && !isDictionary(sp.ID) && !plainSystemSpace(sp.ID) {
		return nil, errcode.New(errcode.NotImplemented, "writing to space '"+sp.Name+"'")
	}
	return sp, nil
}

// guarded is the space whose grants a statement needs: to truncate a space one must be allowed to write that space.
func (e *Engine) guarded(sp *Space, s *Statement) *Space {
	if sp.ID != dictionary.SpaceTruncate {
		return sp
	}
	row := s.Tuple
	if row == nil {
		row = s.Key
	}
	if target := e.schema.Space(uint32(firstUint(row, 0))); target != nil {
		return target
	}
	return sp
}

func (e *Engine) insertOrReplace(sp *Space, s *Statement) ([]byte, error) {
	if sp.auto != nil {
		filled, err := e.fillStatement(sp, s)
		if err != nil {
			return nil, err
		}
		s = &filled
	}
	if err := e.checkStatement(sp, s); err != nil {
		return nil, err
	}
	pk := sp.primary()
	if pk == nil {
		return nil, errcode.New(errcode.NoSuchIndexID, 0, sp.Name)
	}
	if s.Kind == Replace && len(sp.Indexes) == 1 && sp.auto == nil && !isDictionary(sp.ID) {
		return e.replaceOnly(sp, pk.state, s.Tuple)
	}
	old := e.find(pk, s.Tuple)
	if old != 0 && s.Kind == Insert {
		return nil, errcode.New(errcode.TupleFound, pk.Name, sp.Name)
	}
	return e.change(sp, old, s.Tuple)
}

// replaceOnly puts a checked tuple into a space with a primary index alone: the tree is walked once.
func (e *Engine) replaceOnly(sp *Space, st *indexState, tup []byte) ([]byte, error) {
	if err := e.checkQuota(sp, tup); err != nil {
		return nil, err
	}
	if len(sp.checks) > 0 {
		if err := sp.fulfils(tup); err != nil {
			return nil, err
		}
	}
	e.log(sp, nil, tup)
	e.touch(st)
	ref := must(e.arena.AllocTuple(tup))
	old := must(st.store.Insert(&st.cur, e.version, ref))
	e.record(sp, old, ref)
	if old != 0 {
		e.retireTuple(old)
	}
	return e.arena.Tuple(ref), nil
}

// find finds the tuple with the primary key of tup, and keeps its place for apply.
func (e *Engine) find(pk *Index, tup []byte) memory.Ref {
	e.placed = pk.state
	return pk.state.store.Find(pk.state.cur, tup)
}

// checkStatement is checkTuple for a statement's tuple, which Expect may have checked already.
func (e *Engine) checkStatement(sp *Space, s *Statement) error {
	if s.fits == sp.Format && len(s.Tuple) <= e.options.TupleBytesMax {
		return nil
	}
	return e.checkTuple(sp, s.Tuple)
}

func (e *Engine) checkTuple(sp *Space, tup []byte) error {
	if err := sp.Format.Validate(tup); err != nil {
		return err
	}
	if len(tup) > e.options.TupleBytesMax {
		return errcode.New(errcode.MemtxMaxTupleSize, len(tup))
	}
	return nil
}

func (e *Engine) update(sp *Space, s *Statement) ([]byte, error) {
	old, err := e.findExact(sp, s)
	if err != nil || old == 0 {
		return nil, err
	}
	before := e.arena.Tuple(old)
	e.scratch, err = e.updater.Update(e.scratch[:0], before, s.Ops, s.IndexBase, sp.Format)
	if err != nil {
		return nil, err
	}
	if err := e.checkTuple(sp, e.scratch); err != nil {
		return nil, err
	}
	if pk := sp.primary(); pk.Def.Compare(before, e.scratch) != 0 {
		code := errcode.CantUpdatePrimaryKey
		if pk.state.store.GetTuple(pk.state.cur, e.scratch) != 0 {
			code = errcode.TupleFound
		}
		return nil, errcode.New(code, pk.Name, sp.Name)
	}
	return e.change(sp, old, e.scratch)
}

func (e *Engine) upsert(sp *Space, s *Statement) error {
	if err := e.checkStatement(sp, s); err != nil {
		return err
	}
	pk := sp.primary()
	if pk == nil {
		return errcode.New(errcode.NoSuchIndexID, 0, sp.Name)
	}
	old := e.find(pk, s.Tuple)
	if old == 0 {
		if err := tuple.CheckOps(s.Ops, s.IndexBase, sp.Format); err != nil {
			return err
		}
		_, err := e.change(sp, 0, s.Tuple)
		return err
	}
	before := e.arena.Tuple(old)
	var err error
	e.scratch, err = e.updater.UpsertOps(e.scratch[:0], before, s.Ops, s.IndexBase, sp.Format)
	if err != nil {
		return err
	}
	if err := e.checkTuple(sp, e.scratch); err != nil {
		return err
	}
	if pk.Def.Compare(before, e.scratch) != 0 {
		return nil // a change of the primary key is ignored, as in Tarantool
	}
	_, err = e.change(sp, old, e.scratch)
	return err
}

func (e *Engine) delete(sp *Space, s *Statement) ([]byte, error) {
	old, err := e.findExact(sp, s)
	if err != nil || old == 0 {
		return nil, err
	}
	tup := e.arena.Tuple(old)
	_, err = e.change(sp, old, nil)
	return tup, err
}

// findExact finds the tuple with a full key in a unique index.
func (e *Engine) findExact(sp *Space, s *Statement) (memory.Ref, error) {
	ix, key, err := exactKey(sp, s)
	if err != nil {
		return 0, err
	}
	if ix.ID == 0 {
		e.placed = ix.state
		return ix.state.store.FindKey(ix.state.cur, key), nil
	}
	return ix.state.store.Get(ix.state.cur, key, ix.Def.PartCount()), nil
}

// exactKey checks that a statement names one tuple by a full key of a unique index, and returns both.
func exactKey(sp *Space, s *Statement) (*Index, []byte, error) {
	ix := sp.Index(s.IndexID)
	if ix == nil {
		return nil, nil, errcode.New(errcode.NoSuchIndexID, s.IndexID, sp.Name)
	}
	if !ix.Unique {
		return nil, nil, errcode.New(errcode.MoreThanOneTuple)
	}
	n, key, err := msgpack.ReadArrayLen(s.Key)
	if err != nil {
		return nil, nil, errcode.New(errcode.InvalidMsgPack, "packet body")
	}
	if parts := ix.Def.PartCount(); n != parts {
		return nil, nil, errcode.New(errcode.ExactMatch, parts, n)
	}
	return ix, key, ix.Def.ValidateExactKey(key)
}

// change puts a checked tuple in the place of old (0: none), or removes old if tup is nil. All checks come first.
func (e *Engine) change(sp *Space, old memory.Ref, tup []byte) ([]byte, error) {
	if tup != nil {
		if err := e.checkUnique(sp, old, tup); err != nil {
			return nil, err
		}
	}
	if err := e.checkQuota(sp, tup); err != nil {
		return nil, err
	}
	if tup != nil && len(sp.checks) > 0 {
		if err := sp.fulfils(tup); err != nil {
			return nil, err
		}
	}
	var before []byte
	if old != 0 {
		before = e.arena.Tuple(old)
	}
	effect, err := e.prepareDDL(sp, before, tup)
	if err != nil {
		return nil, err
	}
	e.log(sp, before, tup)
	stored := e.apply(sp, old, tup)
	if effect != nil {
		effect()
	}
	return stored, nil
}

// checkUnique refuses a tuple whose key another tuple has in a unique secondary index.
func (e *Engine) checkUnique(sp *Space, old memory.Ref, tup []byte) error {
	for _, ix := range sp.Indexes[1:] {
		if ix.Unique {
			if found := ix.findSame(tup); found != 0 && found != old {
				return errcode.New(errcode.TupleFound, ix.Name, sp.Name)
			}
		}
	}
	return nil
}

// findSame finds the tuple with the same key in a unique index; a key with a nil is like no other.
func (ix *Index) findSame(tup []byte) memory.Ref {
	if ix.cmp == ix.Def {
		return ix.state.store.GetTuple(ix.state.cur, tup)
	}
	if ix.Def.HasNull(tup) {
		return 0
	}
	return ix.state.store.Get(ix.state.cur, ix.Def.ExtractKey(nil, tup), ix.Def.PartCount())
}

func (e *Engine) checkQuota(sp *Space, tup []byte) error {
	if e.force || tup == nil {
		return nil
	}
	trees := e.indexesOf(sp)
	if sp.auto != nil {
		trees++ // that of the sequences' values
	}
	if need := e.arena.TupleBytes(len(tup)) + uint64(pageReserve*trees); !e.arena.Room(need) {
		return errcode.New(errcode.MemoryIssue, len(tup), "slab allocator", "memtx_tuple")
	}
	return nil
}

// apply changes tuple and indexes; it cannot fail. It returns the stored tuple, nil for a removal. Where find or findExact
// has just looked for the primary key, that is not done again.
func (e *Engine) apply(sp *Space, old memory.Ref, tup []byte) []byte {
	var ref memory.Ref
	if tup != nil {
		ref = must(e.arena.AllocTuple(tup))
	}
	var before []byte
	if old != 0 {
		before = e.arena.Tuple(old)
	}
	for n, ix := range sp.Indexes {
		e.touch(ix.state)
		st := ix.state
		// The primary key of the old tuple is that of the new one.
		if old != 0 && (ref == 0 || n > 0 && ix.cmp.Compare(before, tup) != 0) && !ix.Def.Excludes(before) {
			must(st.store.Delete(&st.cur, e.version, before))
		}
		switch {
		case ref == 0 || ix.Def.Excludes(tup):
		case e.placed == st:
			must(st.store.Put(&st.cur, e.version, ref))
		default:
			must(st.store.Insert(&st.cur, e.version, ref))
		}
	}
	e.placed = nil
	e.record(sp, old, ref)
	if old != 0 {
		e.retireTuple(old)
	}
	if ref == 0 {
		return nil
	}
	if sp.auto != nil {
		e.followRow(sp, tup)
	}
	return e.arena.Tuple(ref)
}

// must is for memory that was reserved before: running out of it here is a bug.
func must(ref memory.Ref, err error) memory.Ref {
	invariant.Check(err == nil, "memory ran out in the middle of a change: %v", err)
	return ref
}

// retireTuple drops a tuple: readers of older versions still see it.
func (e *Engine) retireTuple(ref memory.Ref) { e.arena.Retire(memory.KindTuple, ref, e.version) }
