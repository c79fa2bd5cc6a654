package memory

import "github.com/lycosadb/lycosa/internal/invariant"

// journal remembers, version by version, what was allocated and what was dropped. The first is needed to take versions
// back, until they are settled; the second until no reader is older.
type journal struct {
	version   uint64 // that allocations belong to now
	settled   uint64 // versions up to here cannot be taken back
	reclaimed uint64 // everything retired up to here may be gone

	born     deque[uint64] // blocks allocated (and, marked, freed again) in versions above settled
	bornRuns deque[run]

	retired      deque[uint64]
	retiredRuns  deque[run]
	retiredBytes uint64
	sweepers     deque[Sweeper] // one for each kindSweep entry of retired
	arrived      int            // retirements since the last Reclaim
	discarded    deque[Sweeper] // structures that no reader has seen

	// unseen are retired blocks that no reader can have seen: they wait for their version to be settled, and for nobody.
	unseen     deque[uint64]
	unseenRuns deque[run]
}

// run says that the next n entries of a queue belong to a version.
type run struct {
	version uint64
	n       int
}

const (
	entryKindShift = RefBits
	entryFreed     = 1 << 63 // in born: allocated before, freed in the same version
	// Reclaim frees this many blocks in one call, and twice what was retired since the call before.
	reclaimBlocks = 512
)

func entry(k Kind, r Ref) uint64 { return uint64(r) | uint64(k)<<entryKindShift }
func entryRef(e uint64) Ref      { return Ref(e & (1<<RefBits - 1)) }
func entryKind(e uint64) Kind    { return Kind(e >> entryKindShift & 7) }
func last(d *deque[run]) (*run, bool) {
	if d.len() == 0 {
		return nil, false
	}
	return d.back(), true
}

// note appends one entry to a queue and to its runs.
func note(q *deque[uint64], runs *deque[run], version, e uint64) {
	q.pushBack(e)
	if b, ok := last(runs); ok && b.version == version {
		b.n++
		return
	}
	runs.pushBack(run{version, 1})
}

func (j *journal) allocated(k Kind, r Ref) {
	if j.version > j.settled {
		note(&j.born, &j.bornRuns, j.version, entry(k, r))
	}
}

// Sweeper frees a dropped structure bit by bit, when no reader can see it any more.
type Sweeper interface {
	// Sweep frees about budget blocks with free and returns how many, and whether all are gone.
	Sweep(budget int, free func(Kind, Ref)) (freed int, done bool)
}

// Begin says that what is allocated from now on belongs to this version, which is not published yet. Versions never
// go back except by Rollback.
func (a *Arena) Begin(version uint64) {
	if version < a.journal.version {
		invariant.Check(false, "memory: version %d begins after %d", version, a.journal.version)
	}
	a.journal.version = version
}

// Version returns the version that allocations belong to now.
func (a *Arena) Version() uint64 { return a.journal.version }

// Settle says that versions up to this one will never be taken back: they are committed. It is cheap, and should be
// called for each published version (Reclaim settles only what it may free), because the arena keeps 8 bytes for every block of a version that is not settled.
// Nothing is kept while the version that is being written is settled already (recovery).
func (a *Arena) Settle(version uint64) {
	j := &a.journal
	if version <= j.settled {
		return
	}
	j.settled = version
	for j.bornRuns.len() > 0 && j.bornRuns.front().version <= version {
		j.born.dropFront(j.bornRuns.popFront().n)
	}
	a.storeGauges()
}

// Retire says that a block can be reached in versions before at, and not in version at or later ones. It is reused
// after Reclaim(at). Versions must not decrease from call to call.
func (a *Arena) Retire(k Kind, r Ref, at uint64) {
	if a.live != nil {
		had, ok := a.live[r]
		invariant.Check(ok && had == k, "memory: retired %v %d is not one", k, r)
	}
	a.journal.retiredBytes += a.kindBytes(k, r)
	a.retire(entry(k, r), at)
}

// RetireUnseen is Retire for a block that no reader has ever been able to reach: it is free as soon as version at is
// settled, however old the versions are that readers use.
func (a *Arena) RetireUnseen(k Kind, r Ref, at uint64) {
	j := &a.journal
	b, ok := last(&j.unseenRuns)
	if at <= j.settled || ok && at < b.version {
		invariant.Check(false, "memory: retired at version %d, out of order", at)
	}
	j.retiredBytes += a.kindBytes(k, r)
	j.arrived++
	note(&j.unseen, &j.unseenRuns, at, entry(k, r))
}

// RetireWith says that a whole structure is unreachable from version at on; s frees it after Reclaim(at).
func (a *Arena) RetireWith(s Sweeper, at uint64) {
	a.journal.sweepers.pushBack(s)
	a.retire(entry(kindSweep, 0), at)
}

// Discard gives a structure to s to free that no reader has ever seen, and whose blocks all belong to versions that are
// settled: it has to wait for nobody.
func (a *Arena) Discard(s Sweeper) { a.journal.discarded.pushBack(s) }

func (a *Arena) retire(e, at uint64) {
	j := &a.journal
	b, ok := last(&j.retiredRuns)
	if at <= j.reclaimed || ok && at < b.version {
		invariant.Check(false, "memory: retired at version %d, out of order", at)
	}
	j.arrived++
	note(&j.retired, &j.retiredRuns, at, e)
}

// Free makes a block free at once. It must belong to the version that is being written (Version), so that no reader
// has ever seen it, and must not be retired.
func (a *Arena) Free(k Kind, r Ref) {
	j := &a.journal
	if j.version > j.settled {
		e := entry(k, r)
		b, ok := last(&j.bornRuns)
		if !ok || b.version != j.version {
			invariant.Check(false, "memory: %v %d was not allocated in version %d", k, r, j.version)
		}
		if *j.born.back() == e && b.n > 1 {
			j.born.popBack()
			b.n--
		} else {
			note(&j.born, &j.bornRuns, j.version, e|entryFreed)
		}
	}
	a.release(k, r)
}

// Reclaim frees blocks that were retired at versions up to upTo, the oldest first. upTo is the oldest version that a
// reader may use: Epochs.Min(). Versions up to it are settled. One call does a bounded amount of work, in proportion
// to what was retired since the last call, so that the writer never stops for long and the queue never grows for good.
// It reports whether work is left for another call with the same upTo: call it again when there is time, or at the
// next publication.
func (a *Arena) Reclaim(upTo uint64) (more bool) {
	a.Settle(upTo)
	j := &a.journal
	j.reclaimed = max(j.reclaimed, upTo)
	budget := reclaimBlocks + 2*j.arrived
	j.arrived = 0
	for budget > 0 && j.discarded.len() > 0 {
		freed, done := (*j.discarded.front()).Sweep(budget, a.release)
		budget -= max(freed, 1)
		if done {
			j.discarded.popFront()
		}
	}
	budget = a.reclaimUnseen(budget)
	for budget > 0 && j.retiredRuns.len() > 0 {
		b := j.retiredRuns.front()
		if b.version > upTo {
			break
		}
		for b.n > 0 && budget > 0 {
			freed, done := a.reclaimOne(budget)
			budget -= max(freed, 1)
			if done {
				b.n--
			}
		}
		if b.n == 0 {
			j.retiredRuns.popFront()
		}
	}
	a.storeGauges()
	return j.discarded.len() > 0 || j.unseenRuns.len() > 0 && j.unseenRuns.front().version <= j.settled || j.retiredRuns.len() > 0 && j.retiredRuns.front().version <= upTo
}

// reclaimUnseen frees what waits for nobody, at most budget blocks, and returns what is left of that.
func (a *Arena) reclaimUnseen(budget int) int {
	j := &a.journal
	for ; budget > 0 && j.unseenRuns.len() > 0 && j.unseenRuns.front().version <= j.settled; budget-- {
		e := j.unseen.popFront()
		j.retiredBytes -= a.kindBytes(entryKind(e), entryRef(e))
		a.release(entryKind(e), entryRef(e))
		if b := j.unseenRuns.front(); b.n > 1 {
			b.n--
		} else {
			j.unseenRuns.popFront()
		}
	}
	return budget
}

// reclaimOne handles the front entry of the retirement queue and takes it off if it is done.
func (a *Arena) reclaimOne(budget int) (freed int, done bool) {
	j := &a.journal
	e := *j.retired.front()
	if entryKind(e) == kindSweep {
		s := *j.sweepers.front()
		if freed, done = s.Sweep(budget, a.release); done {
			j.sweepers.popFront()
			j.retired.popFront()
		}
		return freed, done
	}
	j.retired.popFront()
	j.retiredBytes -= a.kindBytes(entryKind(e), entryRef(e))
	a.release(entryKind(e), entryRef(e))
	return 1, true
}

// Rollback drops all versions above n, none of which was published: what they retired is as before, what they
// allocated is free. Version n is then the newest one; the caller goes back to its roots and may begin n+1 again.
func (a *Arena) Rollback(n uint64) {
	j := &a.journal
	invariant.Check(n >= j.settled, "memory: rollback to version %d, but %d is settled", n, j.settled)
	for b, ok := last(&j.retiredRuns); ok && b.version > n; b, ok = last(&j.retiredRuns) {
		for range b.n {
			a.unretire(j.retired.popBack())
		}
		j.retiredRuns.popBack()
	}
	for b, ok := last(&j.unseenRuns); ok && b.version > n; b, ok = last(&j.unseenRuns) {
		for range b.n {
			a.unretire(j.unseen.popBack())
		}
		j.unseenRuns.popBack()
	}
	a.unborn(n)
	j.version = min(j.version, n)
	a.storeGauges()
}

func (a *Arena) unretire(e uint64) {
	if entryKind(e) == kindSweep {
		a.journal.sweepers.popBack()
		return
	}
	a.journal.retiredBytes -= a.kindBytes(entryKind(e), entryRef(e))
}

// unborn frees what was allocated in versions above n. Going backwards, a block that was freed at once meets that mark
// before its allocation, and is skipped once.
func (a *Arena) unborn(n uint64) {
	j := &a.journal
	gone := make(map[Ref]int)
	for b, ok := last(&j.bornRuns); ok && b.version > n; b, ok = last(&j.bornRuns) {
		for range b.n {
			e := j.born.popBack()
			r := entryRef(e)
			switch {
			case e&entryFreed != 0:
				gone[r]++
			case gone[r] > 0:
				gone[r]--
			default:
				a.release(entryKind(e), r)
			}
		}
		j.bornRuns.popBack()
	}
}
