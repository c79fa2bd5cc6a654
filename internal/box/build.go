package box

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// Build is a change of the dictionary under way that has to see every row of a space: an index to be filled, or a
// narrower format to be checked. Rows are taken in slices, each of bounded work, with other statements between them; what
// those write meanwhile goes into the new indexes too. Nobody sees these before the statement that asked for them is
// executed again, at the end, as part of one version. Until then no other change of the same space is let in.
//
// A row that does not fit fails the build and not the statement that wrote it, as in Tarantool. Because the space is looked
// at as it is when the build ends, it is enough that the rows fit then.
//
// As an error it tells that the statement goes on: see Engine.Execute.
type Build struct {
	statement     Statement
	before, after *Space
	// fresh are the indexes of after that are to be filled; none if the rows are only checked.
	fresh []*Index
	// index is the name of the one that was asked for, "" for a format.
	index       string
	done, total atomic.Uint64

	// What follows belongs to the writer. at is the primary key of the last row that was seen, nil before the first.
	at    []byte
	count uint64
	// failed is why the build has to end.
	failed error
	// touched is set if the open version has changed one of the indexes or has moved on.
	touched  bool
	complete bool
	attached bool
	marks    []buildMark
}

// buildMark is how far a build was when a version was sealed.
type buildMark struct {
	version uint64
	at      []byte
	count   uint64
}

// leftover is an index that was not finished. Its pages can be freed when its version is published.
type leftover struct {
	version uint64
	state   *indexState
}

// attachedBuild is a build whose indexes are part of a version that may still be rolled back.
type attachedBuild struct {
	version uint64
	build   *Build
}

// builds are the engine's.
type builds struct {
	list      []*Build
	finishing *Build
	attached  []attachedBuild
	leftovers []leftover
	// slice bounds one slice of a build, see sliceWork.
	slice int
	// shown is the list for other goroutines.
	shown atomic.Pointer[[]*Build]
}

const (
	// sliceWork bounds one slice of a build: a row counts 1, 1 more for each index that takes it, 1 more for each 512 bytes.
	sliceWork     = 512
	sliceWorkSize = 512
)

// Error tells that the statement is not finished.
func (b *Build) Error() string { return "space '" + b.before.Name + "' is being changed" }

// Space is the name of the space, Index that of the index that is built; it is "" where rows are checked against a format.
func (b *Build) Space() string { return b.before.Name }

// Index is the name of the index that is built, "" where rows are checked against a format.
func (b *Build) Index() string { return b.index }

// Rows returns how many rows were looked at, and of how many. For any goroutine.
func (b *Build) Rows() (done, total uint64) {
	done = b.done.Load()
	return done, max(done, b.total.Load())
}

// Builds returns the changes under way, oldest first. For any goroutine; the slice must not be changed.
func (e *Engine) Builds() []*Build {
	if list := e.builds.shown.Load(); list != nil {
		return *list
	}
	return nil
}

func (bs *builds) show() {
	list := slices.Clone(bs.list)
	bs.shown.Store(&list)
}

// locked refuses a change of a space that is being changed already.
func (e *Engine) locked(sp *Space) error {
	for _, b := range e.builds.list {
		if b.before.ID == sp.ID && b != e.builds.finishing {
			return errcode.New(errcode.AlterSpace, sp.Name, "the space is already being modified")
		}
	}
	return nil
}

// indexesOf is how many indexes a change of a row of the space has to keep, those that are being built included.
func (e *Engine) indexesOf(sp *Space) int {
	n := len(sp.Indexes)
	for _, b := range e.builds.list {
		if b.before.ID == sp.ID {
			n += len(b.fresh)
		}
	}
	return n
}

// rework looks at all rows of before for a change that makes after of it, and fills fresh. It returns what has come of it:
// at the second execution of the statement, what the build has made. The error is a *Build if there is more to do.
func (e *Engine) rework(before, after *Space, fresh []*Index, name string) (*Build, error) {
	if b := e.builds.finishing; b != nil {
		invariant.Check(b.before == before, "space %d was changed while it was locked for a change", before.ID)
		return b, nil
	}
	b := &Build{before: before, after: after, fresh: fresh, index: name}
	if e.tx != nil {
		return e.tx.rework(b)
	}
	for _, ix := range fresh {
		ix.state.store.Hide(true)
	}
	work := e.builds.slice
	if e.force { // committed already: it is done at once
		work = math.MaxInt
	}
	e.step(b, work)
	switch {
	case b.failed != nil:
		e.leave(b)
		return nil, b.failed
	case !b.complete:
		e.builds.list = append(e.builds.list, b)
		e.builds.show()
		return nil, b
	}
	return b, nil
}

// attach makes the new indexes part of the open version; those that they replace are freed.
func (e *Engine) attach(b *Build) {
	b.attached = true
	e.schema = e.schema.with(b.after)
	if e.tx != nil {
		return
	}
	for _, ix := range b.fresh {
		ix.state.store.Hide(false)
		if old := b.before.Index(ix.ID); old != nil {
			e.freeIndex(old, false)
		}
		e.touch(ix.state)
	}
	if len(b.fresh) > 0 {
		e.builds.attached = append(e.builds.attached, attachedBuild{e.version, b})
	}
}

// Continue does one more slice of a build in the open version. The error is the build itself as long as there is more to
// do; otherwise the statement that has begun it is finished, with what Execute returns.
func (e *Engine) Continue(b *Build) ([]byte, error) {
	if b.failed == nil {
		e.step(b, e.builds.slice)
	}
	if b.failed != nil {
		e.Abandon(b)
		return nil, b.failed
	}
	if !b.complete {
		return nil, b
	}
	e.builds.finishing = b
	tup, err := e.Execute(&b.statement)
	e.builds.finishing = nil
	e.forgetBuild(b)
	if !b.attached {
		e.leave(b)
	}
	return tup, err
}

// Abandon ends a build that is under way and gives back what it has.
func (e *Engine) Abandon(b *Build) {
	e.forgetBuild(b)
	e.leave(b)
}

func (e *Engine) forgetBuild(b *Build) {
	e.builds.list = slices.DeleteFunc(e.builds.list, func(other *Build) bool { return other == b })
	e.builds.show()
}

// leave drops the indexes of a build that will not be finished.
func (e *Engine) leave(b *Build) {
	for _, ix := range b.fresh {
		e.builds.leftovers = append(e.builds.leftovers, leftover{max(e.version, e.sealed), ix.state})
	}
}

// step takes rows in the order of the primary key, for about as much work as is given.
func (e *Engine) step(b *Build, work int) {
	pk := b.before.primary()
	if pk == nil {
		b.complete = true
		return
	}
	b.touched = true
	var cur index.Cursor
	if b.at == nil {
		pk.state.store.Seek(&cur, pk.state.cur, index.ALL, nil, 0)
	} else {
		pk.state.store.Seek(&cur, pk.state.cur, index.GT, b.at, pk.cmp.PartCount())
	}
	var last []byte
	for work > 0 {
		ref, ok := cur.Next()
		if !ok {
			b.complete = true
			break
		}
		last = e.arena.Tuple(ref)
		if b.failed = e.take(b, ref, last); b.failed != nil {
			return
		}
		work -= 1 + len(b.fresh) + len(last)/sliceWorkSize
		b.count++
	}
	if last != nil {
		b.at = pk.cmp.ExtractKey(nil, last)
	}
	b.done.Store(b.count)
	b.total.Store(pk.state.cur.Count)
}

// take checks a row and puts it into the new indexes, unless it is there already because it was written meanwhile.
func (e *Engine) take(b *Build, ref memory.Ref, tup []byte) error {
	if err := b.after.Format.Validate(tup); err != nil {
		return err
	}
	for _, ix := range b.fresh {
		if ix.Def.Excludes(tup) {
			continue
		}
		if ix.Unique {
			switch ix.findSame(tup) {
			case 0:
			case ref:
				continue
			default:
				return errcode.New(errcode.TupleFound, ix.Name, b.after.Name)
			}
		}
		if !e.arena.Room(pageReserve) {
			return errcode.New(errcode.MemoryIssue, pageReserve, "slab allocator", "index")
		}
		if _, err := ix.state.store.Insert(&ix.state.cur, e.version, ref); err != nil {
			return errcode.New(errcode.MemoryIssue, memory.PageBytes, "slab allocator", "index")
		}
	}
	return nil
}

// follow carries a change of a row into the builds of its space.
func (e *Engine) follow(sp *Space, before, after memory.Ref) {
	for _, b := range e.builds.list {
		if b.before.ID != sp.ID || b.failed != nil {
			continue
		}
		b.touched = true
		if before != 0 {
			e.untake(b, before)
		}
		if after != 0 {
			b.failed = e.take(b, after, e.arena.Tuple(after))
		}
	}
}

// untake takes a row out of the new indexes that have it.
func (e *Engine) untake(b *Build, ref memory.Ref) {
	tup := e.arena.Tuple(ref)
	for _, ix := range b.fresh {
		st := ix.state
		if !ix.Def.Excludes(tup) && st.store.GetTuple(st.cur, tup) == ref {
			must(st.store.Delete(&st.cur, e.version, tup))
		}
	}
}

// seal notes how far the builds are at the end of a version.
func (bs *builds) seal(version, published uint64) {
	for _, b := range bs.list {
		if !b.touched {
			continue
		}
		b.touched = false
		for _, ix := range b.fresh {
			ix.state.seal(version, published)
		}
		if n := len(b.marks); n > 0 && b.marks[n-1].version == version {
			b.marks = b.marks[:n-1]
		}
		b.marks = append(b.marks, buildMark{version, b.at, b.count})
		for len(b.marks) > 1 && b.marks[1].version <= published {
			b.marks = b.marks[1:]
		}
	}
}

// publish frees what was left behind, as far as its pages can not come back, and forgets what can not be rolled back.
func (bs *builds) publish(version uint64) {
	bs.leftovers = slices.DeleteFunc(bs.leftovers, func(l leftover) bool {
		if l.version > version {
			return false
		}
		l.state.store.Discard(l.state.cur)
		return true
	})
	bs.attached = slices.DeleteFunc(bs.attached, func(a attachedBuild) bool { return a.version <= version })
}

// forgetSlices frees what was left behind in versions that nothing else has changed, so that no entry will ever publish
// them: where memory is short there may be none before this is free. Builds under way go back to the last published version.
func (e *Engine) forgetSlices() {
	if len(e.builds.leftovers) > 0 && len(e.pending) == 0 {
		e.Rollback(e.published())
	}
}

// rollback takes all builds back to where they were at a version. What became part of the schema later is left behind:
// nobody waits for it any more. A build whose space is another one in the schema of that version has to end.
func (bs *builds) rollback(version uint64, schema *Schema) {
	for i := range bs.leftovers {
		if l := &bs.leftovers[i]; l.version > version {
			l.state.rollback(version)
			l.version = version
		}
	}
	bs.attached = slices.DeleteFunc(bs.attached, func(a attachedBuild) bool {
		if a.version <= version {
			return false
		}
		for _, ix := range a.build.fresh {
			bs.leftovers = append(bs.leftovers, leftover{version, ix.state})
		}
		return true
	})
	for _, b := range bs.list {
		b.rollback(version)
		if schema.Space(b.before.ID) != b.before {
			b.failed = errcode.New(errcode.AlterSpace, b.before.Name, "an earlier change of it was not committed")
		}
	}
}

func (b *Build) rollback(version uint64) {
	n := len(b.marks)
	for n > 0 && b.marks[n-1].version > version {
		n--
	}
	if n == len(b.marks) {
		return
	}
	for _, ix := range b.fresh {
		ix.state.rollback(version)
	}
	b.marks = b.marks[:n]
	b.at, b.count, b.failed = nil, 0, nil
	if n > 0 {
		b.at, b.count = b.marks[n-1].at, b.marks[n-1].count
	}
}
