package box

import (
	"fmt"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Loader fills a fresh engine with the rows of a snapshot and of the log that follows it, as one version. Rows of a user's
// space come in the order of its primary index, whose tree is built from the leaves up; the entries of the other indexes
// are gathered and sorted. What comes in another order is loaded row by row.
//
// Nobody reads before Finish, and nothing is ever taken back: so pages are changed in place, what is replaced is free at
// once, and no transaction has to be told.
//
// Check and Decode are for any goroutine, all else for one: it is the engine's writer.
type Loader struct {
	e      *Engine
	schema atomic.Pointer[Schema]
	// bulk is the space that is being filled, nil if there is none.
	bulk *bulkLoad
	// values are those of sequences that rows of the log have moved, until the next row of the dictionary.
	values map[uint32]sequenceValue
	// kept are the spaces whose rows stay when the snapshot is installed in an engine that is in use.
	kept []kept
}

type bulkLoad struct {
	space   *Space
	primary *index.Builder
	others  []*index.Gather // of space.Indexes[1:]
}

// Run is a stretch of rows of one space, in the order of the snapshot. The engine copies what it keeps.
type Run struct {
	Space  uint32
	Tuples [][]byte
	// checked is the format that all tuples are known to fit.
	checked *tuple.Format
}

// NewLoader opens the version of a snapshot. The engine has no rows and no readers, and can not be used by others before
// Finish.
func (e *Engine) NewLoader(version uint64) *Loader {
	e.Begin(version)
	e.arena.Settle(version)
	l := &Loader{e: e, values: map[uint32]sequenceValue{}}
	l.schema.Store(e.schema)
	return l
}

// Check looks whether the tuples of a run fit their space, so that Add need not. A run that is in doubt is left to Add.
func (l *Loader) Check(run *Run) {
	run.checked = nil
	sp := l.schema.Load().Space(run.Space)
	if sp == nil || sp.Format == nil {
		return
	}
	for _, tup := range run.Tuples {
		if sp.Format.Validate(tup) != nil {
			return
		}
	}
	run.checked = sp.Format
}

// Add puts rows of the snapshot into the open version, as Engine.Load does.
func (l *Loader) Add(run *Run) error {
	e := l.e
	invariant.Check(e.version != 0, "load without an open version")
	if l.bulk != nil && l.bulk.space.ID != run.Space {
		if err := l.endBulk(); err != nil {
			return err
		}
	}
	sp := e.schema.Space(run.Space)
	if l.bulk == nil && sp != nil && e.fitsBulk(sp) {
		l.beginBulk(sp)
	}
	tuples := run.Tuples
	if l.bulk != nil {
		rest, err := l.addBulk(run)
		if err != nil {
			return fmt.Errorf("box: load: space %d: %w", run.Space, err)
		}
		tuples = rest
	}
	for _, tup := range tuples {
		if err := e.Load(run.Space, tup); err != nil {
			return err
		}
	}
	if e.schema != l.schema.Load() {
		l.schema.Store(e.schema)
	}
	return nil
}

// fitsBulk tells whether a space is one whose rows mean nothing but themselves, and is empty.
func (e *Engine) fitsBulk(sp *Space) bool {
	if sp.ID < firstUserSpace || sp.IsVirtual() || sp.IsView() || sp.primary() == nil || isDictionary(sp.ID) {
		return false
	}
	for _, ix := range sp.Indexes {
		if ix.state.cur.Page != 0 {
			return false
		}
	}
	return true
}

// gatheredMax is the number of entries that wait for their place in secondary indexes, all of a space together: 64 MiB, and
// as much again while they are sorted.
const gatheredMax = 4 << 20

func (l *Loader) beginBulk(sp *Space) {
	version := l.e.version
	l.bulk = &bulkLoad{space: sp, primary: sp.Indexes[0].state.store.Build(version)}
	portion := gatheredMax / max(len(sp.Indexes)-1, 1)
	for _, ix := range sp.Indexes[1:] {
		l.bulk.others = append(l.bulk.others, ix.state.store.Gather(version, portion))
	}
}

// addBulk adds the rows of a run. Those from the first one on that is out of order are returned; the bulk is over then.
func (l *Loader) addBulk(run *Run) (rest [][]byte, err error) {
	e, b := l.e, l.bulk
	e.setForce(true)
	defer e.setForce(false)
	checked := run.checked == b.space.Format
	for n, tup := range run.Tuples {
		if !checked {
			if err := b.space.Format.Validate(tup); err != nil {
				return nil, err
			}
		}
		ref, err := e.arena.AllocTuple(tup)
		if err != nil {
			return nil, err
		}
		inOrder, err := b.primary.Append(ref)
		if err != nil {
			return nil, err
		}
		if !inOrder {
			e.arena.Free(memory.KindTuple, ref)
			return run.Tuples[n:], l.endBulk()
		}
		if err := b.gather(ref, tup); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// gather notes a tuple for the secondary indexes.
func (b *bulkLoad) gather(ref memory.Ref, tup []byte) error {
	for i, g := range b.others {
		ix := b.space.Indexes[i+1]
		if ix.Def.Excludes(tup) {
			continue
		}
		double, err := g.Add(ref)
		if err != nil {
			return err
		}
		if double != 0 {
			return errcode.New(errcode.TupleFound, ix.Name, b.space.Name)
		}
	}
	return nil
}

// endBulk completes the indexes of the space that is being filled.
func (l *Loader) endBulk() error {
	e, b := l.e, l.bulk
	l.bulk = nil
	for i, ix := range b.space.Indexes {
		var root index.Root
		if i == 0 {
			root = b.primary.Root()
		} else {
			var double memory.Ref
			var err error
			if root, double, err = b.others[i-1].Root(); err == nil && double != 0 {
				err = errcode.New(errcode.TupleFound, ix.Name, b.space.Name)
			}
			if err != nil {
				return fmt.Errorf("box: load: space %d: %w", b.space.ID, err)
			}
		}
		if root.Page != 0 {
			e.touch(ix.state)
			ix.state.cur = root
		}
	}
	return nil
}

// EndSnapshot says that all rows of the snapshot are there. It adds those that describe the virtual spaces, and those of
// temporary spaces that stay.
func (l *Loader) EndSnapshot() error {
	if l.bulk != nil {
		if err := l.endBulk(); err != nil {
			return err
		}
	}
	err := l.e.LoadBuiltin()
	l.keepTemporary()
	l.schema.Store(l.e.schema)
	return err
}

// Finish makes everything visible as the version of the last entry of the log that was replayed, or of the snapshot.
func (l *Loader) Finish(version uint64) {
	e := l.e
	l.settleValues()
	e.setForce(false)
	invariant.Check(version >= e.version && l.bulk == nil, "version %d ends what began with version %d", version, e.version)
	// The pages were born in the version of the snapshot, and every later version copies them.
	e.version = version
	e.arena.Begin(version)
	e.Seal()
	e.Publish(version)
}
