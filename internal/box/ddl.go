package box

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	spaceSpace     = dictionary.SpaceSpace
	spaceIndex     = dictionary.SpaceIndex
	firstUserSpace = 512
)

// plainSystemSpace tells whether rows of a system space may be written like any others: they mean nothing to the engine.
func plainSystemSpace(id uint32) bool { return id == dictionary.SpaceSchema }

// prepareDDL checks a change of the dictionary and does what takes long or can fail. The function that it returns, nil for
// ordinary rows, makes the change part of the schema; it is called after the row itself was changed.
func (e *Engine) prepareDDL(sp *Space, before, after []byte) (func(), error) {
	if !isDictionary(sp.ID) {
		return nil, nil
	}
	if err := e.refusesGlobal(sp.ID, after); err != nil {
		return nil, err
	}
	switch sp.ID {
	case spaceSpace:
		return e.prepareSpace(before, after)
	case spaceIndex:
		return e.prepareIndex(before, after)
	case dictionary.SpaceTruncate:
		return e.prepareTruncate(after)
	case dictionary.SpaceCKConstraint:
		return e.prepareCheck(before, after)
	case dictionary.SpaceFKConstraint:
		return e.prepareForeignKey(before, after)
	default:
		return e.prepareSequenceRow(sp, before, after)
	}
}

func (e *Engine) prepareSpace(before, after []byte) (func(), error) {
	if after == nil {
		return e.prepareDropSpace(before)
	}
	code := errcode.CreateSpace
	if before != nil {
		code = errcode.AlterSpace
	}
	def, err := parseSpaceRow(after, code)
	if err != nil {
		return nil, err
	}
	old := e.schema.Space(def.ID)
	if before == nil {
		return e.prepareCreateSpace(def, old)
	}
	if e.isSystem(def.ID) {
		return nil, errcode.New(errcode.AlterSpace, old.Name, "it is a system space")
	}
	if err := e.locked(old); err != nil {
		return nil, err
	}
	return e.prepareAlterSpace(def, old)
}

func (e *Engine) isSystem(id uint32) bool { return id < firstUserSpace }

func (e *Engine) prepareCreateSpace(def SpaceDef, old *Space) (func(), error) {
	if e.isSystem(def.ID) {
		if e.force && old != nil {
			return func() {}, nil // a row that describes what is compiled in
		}
		return nil, errcode.New(errcode.CreateSpace, def.Name, "ids below 512 are reserved for system spaces")
	}
	if err := checkEngine(&def); err != nil {
		return nil, err
	}
	sp := def.space()
	if sp.global {
		if e.options.Global == nil {
			return nil, errcode.New(errcode.NotImplemented, "a global table")
		}
		sp.virtual = e.options.Global(sp.ID)
	}
	if err := sp.compile(); err != nil {
		return nil, err
	}
	return func() { e.schema = e.schema.with(sp) }, nil
}

func checkEngine(def *SpaceDef) error {
	if def.Engine == "service" {
		return errcode.New(errcode.Unsupported, "Tarantool", "non-system space with 'service' engine.")
	}
	if def.Engine != "memtx" {
		return errcode.New(errcode.NoSuchEngine, def.Engine)
	}
	return nil
}

func (e *Engine) prepareDropSpace(before []byte) (func(), error) {
	sp := e.schema.Space(uint32(firstUint(before, 0)))
	if len(sp.Indexes) > 0 {
		return nil, errcode.New(errcode.DropSpace, sp.Name, "the space has indexes")
	}
	if e.isSystem(sp.ID) {
		return nil, errcode.New(errcode.DropSpace, sp.Name, "it is a system space")
	}
	if truncated, err := e.hasTruncateRow(sp.ID); err != nil {
		return nil, err
	} else if truncated {
		return nil, errcode.New(errcode.DropSpace, sp.Name, "the space has truncate record")
	}
	if len(sp.foreignKeys) > 0 {
		return nil, errcode.New(errcode.DropSpace, sp.Name, "the space has foreign key constraints")
	}
	if len(sp.checks) > 0 {
		return nil, errcode.New(errcode.DropSpace, sp.Name, "the space has check constraints")
	}
	return func() { e.schema = e.schema.without(sp.ID) }, nil
}

// hasTruncateRow tells whether _truncate has a row of the space, which keeps the space from being dropped.
func (e *Engine) hasTruncateRow(id uint32) (bool, error) {
	sp := e.schema.Space(dictionary.SpaceTruncate)
	ix, key := sp.primary(), msgpack.AppendUint(nil, uint64(id))
	if e.tx != nil {
		row, err := e.tx.find(sp, ix, key, 1)
		return row != nil, err
	}
	return ix.state.store.Get(ix.state.cur, key, 1) != 0, nil
}

func (e *Engine) prepareAlterSpace(def SpaceDef, old *Space) (func(), error) {
	switch def.Engine {
	case old.Engine:
	case "vinyl", "sysview", "blackhole", "service": // engines that Tarantool has
		return nil, errcode.New(errcode.AlterSpace, old.Name, "can not change space engine")
	default:
		return nil, errcode.New(errcode.NoSuchEngine, def.Engine)
	}
	if def.Local != old.Local {
		return nil, errcode.New(errcode.AlterSpace, old.Name, "replication group is immutable")
	}
	if def.Global != old.global {
		return nil, errcode.New(errcode.AlterSpace, old.Name, "distribution is immutable")
	}
	sp := def.space()
	sp.virtual = old.virtual
	sp.Indexes, sp.auto, sp.foreignKeys = old.Indexes, old.auto, old.foreignKeys
	if err := sp.compile(); err != nil {
		return nil, err
	}
	if def.Temporary != old.Temporary {
		if some, err := e.hasRows(old); err != nil {
			return nil, err
		} else if some {
			return nil, errcode.New(errcode.AlterSpace, old.Name, "can not switch temporary flag on a non-empty space")
		}
	}
	var err error
	if sp.checks, err = compiledChecks(old.checks, sp); err != nil {
		return nil, err
	}
	if sp.Format.Admits(old.Format) {
		return func() { e.schema = e.schema.with(sp) }, nil
	}
	b, err := e.rework(old, sp, nil, "")
	if err != nil {
		return nil, err
	}
	return func() { e.attach(b) }, nil
}

func (e *Engine) prepareIndex(before, after []byte) (func(), error) {
	row := after
	if row == nil {
		row = before
	}
	id := uint32(firstUint(row, 0))
	sp := e.schema.Space(id)
	if sp == nil {
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(id), 10))
	}
	if e.isSystem(id) {
		if e.force && after != nil {
			return func() {}, nil
		}
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "it is a system space")
	}
	if err := e.locked(sp); err != nil {
		return nil, err
	}
	if after == nil {
		return e.prepareDropIndex(sp, uint32(firstUint(before, 1)))
	}
	if firstUint(after, 1) != 0 && sp.primary() == nil {
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "can not add a secondary key before primary")
	}
	def, err := ParseIndexRow(after)
	if err != nil {
		return nil, err
	}
	if err := def.check(sp); err != nil {
		return nil, err
	}
	if def.ID == 0 && sp.auto != nil {
		if err := sp.auto.checkKey(sp, def.Name, def.Parts, ""); err != nil {
			return nil, err
		}
	}
	if before != nil {
		return e.prepareAlterIndex(sp, def)
	}
	if err := def.checkIndexName(sp); err != nil {
		return nil, err
	}
	return e.prepareRebuild(sp, def)
}

func (e *Engine) prepareDropIndex(sp *Space, id uint32) (func(), error) {
	ix := sp.Index(id)
	if id == 0 && len(sp.Indexes) > 1 {
		return nil, errcode.New(errcode.DropPrimaryKey, sp.Name)
	}
	if id == 0 && sp.auto != nil {
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "can not drop primary key while space sequence exists")
	}
	if e.schema.referenced(sp, id) {
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "can not drop a referenced index")
	}
	n := sp.copy()
	n.Indexes = indexListWithout(sp.Indexes, id)
	if err := n.compile(); err != nil {
		return nil, err
	}
	return func() {
		e.freeIndex(ix, id == 0)
		e.schema = e.schema.with(n)
	}, nil
}

func (e *Engine) freeIndex(ix *Index, tuples bool) {
	if e.tx != nil {
		return
	}
	e.touch(ix.state)
	ix.state.store.Free(ix.state.cur, e.version, tuples)
	ix.state.cur = index.Root{}
}

// prepareAlterIndex renames in place; every other change builds the index anew.
func (e *Engine) prepareAlterIndex(sp *Space, def IndexDef) (func(), error) {
	old := sp.Index(def.ID)
	renames := old.Type == def.Type && old.Unique == def.Unique && sameParts(old.Def.Parts(), def.Parts)
	if !renames && e.schema.referenced(sp, def.ID) {
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "can not alter a referenced index")
	}
	if err := def.checkIndexName(sp); err != nil {
		return nil, err
	}
	if renames {
		n, ix := sp.copy(), *old
		ix.Name = def.Name
		n.Indexes = indexList(sp.Indexes, &ix)
		return func() { e.schema = e.schema.with(n) }, nil
	}
	return e.prepareRebuild(sp, def)
}

func sameParts(a, b []tuple.Part) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// prepareRebuild fills a new index of a space, or one that takes the place of an old one. With the primary index all
// those are made anew that order their entries by its parts.
func (e *Engine) prepareRebuild(sp *Space, def IndexDef) (func(), error) {
	n := sp.copy()
	n.Indexes = indexListWithout(sp.Indexes, def.ID)
	e.addIndexTo(n, def)
	fresh := []*Index{n.Index(def.ID)}
	for i, ix := range n.Indexes {
		if def.ID == 0 && i > 0 && ix.cmp != ix.Def {
			again := e.newIndex(IndexDef{ID: ix.ID, Name: ix.Name, Type: ix.Type, Unique: ix.Unique, Key: ix.Def}, n.primary().Def)
			n.Indexes[i] = again
			fresh = append(fresh, again)
		}
	}
	if err := n.compileChanged(sp, def.ID); err != nil {
		return nil, err
	}
	b, err := e.rework(sp, n, fresh, def.Name)
	if err != nil {
		return nil, err
	}
	return func() { e.attach(b) }, nil
}

// prepareTruncate empties the space that a row of _truncate names.
func (e *Engine) prepareTruncate(after []byte) (func(), error) {
	if after == nil {
		return nil, nil
	}
	id := uint32(firstUint(after, 0))
	sp := e.schema.Space(id)
	if sp == nil {
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(id), 10))
	}
	if e.isSystem(id) {
		return nil, errcode.New(errcode.TruncateSystemSpace, sp.Name)
	}
	if err := e.locked(sp); err != nil {
		return nil, err
	}
	if e.tx != nil {
		return nil, nil
	}
	return func() {
		e.changes.add(change{version: e.version, space: sp.ID})
		for _, ix := range sp.Indexes {
			e.freeIndex(ix, ix.ID == 0)
		}
	}, nil
}

// Alteration compares the rows that a space may have with those that it could have if a row of _space replaced its own: admits
// means that all that it may have now would fit, admitted that all that would fit then fit now. Errors are those of a row
// that cannot be.
func (s *Schema) Alteration(row []byte) (admits, admitted bool, err error) {
	def, err := parseSpaceRow(row, errcode.AlterSpace)
	if err != nil {
		return false, false, err
	}
	old := s.Space(def.ID)
	if old == nil {
		return false, false, errcode.New(errcode.NoSuchSpace, def.Name)
	}
	sp := def.space()
	sp.Indexes, sp.auto, sp.foreignKeys = old.Indexes, old.auto, old.foreignKeys
	if err := sp.compile(); err != nil {
		return false, false, err
	}
	if def.Temporary != old.Temporary {
		return false, false, nil
	}
	return sp.Format.Admits(old.Format), old.Format.Admits(sp.Format), nil
}
