package runner

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// shownLease is a lease as readers see it. What they get may have the index of a later moment than the end, never of an
// earlier one: within one leadership that only asks for more, and a state of the time before does not hold the first
// entry of the next leadership.
type shownLease struct {
	until atomic.Int64
	index atomic.Uint64
	// shown is what was stored last; it belongs to the loop.
	shown raftgroup.Lease
}

func (s *shownLease) show(l raftgroup.Lease) {
	if l == s.shown {
		return
	}
	s.shown = l
	if l.Index == 0 {
		s.until.Store(0)
	}
	s.index.Store(l.Index)
	s.until.Store(int64(l.Until))
}

func (s *shownLease) load() raftgroup.Lease {
	until := s.until.Load()
	if until == 0 {
		return raftgroup.Lease{}
	}
	return raftgroup.Lease{Index: s.index.Load(), Until: time.Duration(until)}
}

// Lease is this replica's leave to answer reads without asking others. It is shown before anything is sent that lets others
// act on its end. Any goroutine may ask; nothing is waited for.
func (l *Loop[R]) Lease() raftgroup.Lease { return l.lease.load() }

// Covers reports that a read of the state at index, which must have been chosen before the call, is linearizable by the
// lease. Any goroutine may ask; nothing is waited for, and the clock is looked at only where a lease can end.
func (l *Loop[R]) Covers(index uint64) bool {
	lease := l.lease.load()
	if lease.Index == 0 || lease.Endless() {
		return lease.Covers(index, 0)
	}
	now := l.cfg.Clock.Boot()
	return l.lease.load().Covers(index, now)
}

// progress lets goroutines wait for the applied index.
type progress struct {
	waiting atomic.Int64
	mu      sync.Mutex // guards changed
	changed chan struct{}
}

func (p *progress) tell() {
	if p.waiting.Load() == 0 {
		return
	}
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

func (p *progress) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// WaitApplied returns when the machine has got the entry at index, or with the context's error, or wal.ErrClosed when the
// loop has ended.
func (l *Loop[R]) WaitApplied(ctx context.Context, index uint64) error {
	if l.applied.Load() >= index {
		return nil
	}
	l.progress.waiting.Add(1)
	defer l.progress.waiting.Add(-1)
	for {
		changed := l.progress.next()
		if l.applied.Load() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-l.done:
			return wal.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readsMax bounds the read requests that wait.
const readsMax = 65536

// reads are those who wait for an index from a quorum. One request is out at a time; whoever comes meanwhile waits for the
// next one, because the index must be of a moment after he came.
type reads struct {
	mu      sync.Mutex // guards arrived and ended
	arrived []*readWaiter
	ended   error
	some    atomic.Bool // there are arrived ones

	// the rest belongs to the loop

	waiting []*readWaiter
	// newest is the number of the request that is out, 0 if there is none; it was made at asked, and is given up for lost
	// after overdue.
	newest  uint64
	asked   time.Duration
	overdue time.Duration
}

type readWaiter struct {
	// first is the number of the first request that was made after he came, 0 while there is none.
	first uint64
	// done is called once, on the loop's goroutine.
	done func(index uint64, err error)
	// gone: nobody waits any more.
	gone atomic.Bool
}

func (r *reads) add(w *readWaiter) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended != nil:
		return r.ended
	case len(r.arrived) >= readsMax:
		return errcode.New(errcode.Overloaded, "too many reads are waiting for a quorum")
	}
	r.arrived = append(r.arrived, w)
	r.some.Store(true)
	return nil
}

// take makes those who have arrived wait.
func (r *reads) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.some.Store(false)
	room := readsMax - len(r.waiting)
	for _, w := range r.arrived[min(len(r.arrived), room):] {
		w.done(0, errcode.New(errcode.Overloaded, "too many reads are waiting for a quorum"))
	}
	r.waiting = append(r.waiting, r.arrived[:min(len(r.arrived), room)]...)
	clear(r.arrived)
	r.arrived = r.arrived[:0]
}

// finish ends the wait of those who are chosen.
func (r *reads) finish(index uint64, err error, chosen func(*readWaiter) bool) {
	r.waiting = slices.DeleteFunc(r.waiting, func(w *readWaiter) bool {
		switch {
		case w.gone.Load():
			return true
		case chosen(w):
			w.done(index, err)
			return true
		}
		return false
	})
}

// ReadIndex asks a quorum for an index: a read of a state that holds it, and that is chosen from then on, is linearizable, on
// any replica. Callers share requests; a request that is lost is made again. Errors: not leader while no leader is known, Overloaded,
// Shutdown, the context's.
func (l *Loop[R]) ReadIndex(ctx context.Context) (uint64, error) {
	type answer struct {
		index uint64
		err   error
	}
	result := make(chan answer, 1)
	w := &readWaiter{done: func(index uint64, err error) { result <- answer{index, err} }}
	if err := l.reads.add(w); err != nil {
		return 0, err
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case a := <-result:
		return a.index, a.err
	case <-ctx.Done():
		w.gone.Store(true)
		return 0, ctx.Err()
	}
}

// askReads makes a request for those who wait, unless one is out already.
func (l *Loop[R]) askReads() {
	r := &l.reads
	if r.some.Load() {
		r.take()
	}
	if r.newest != 0 || len(r.waiting) == 0 {
		return
	}
	g := l.cfg.Group
	request, err := g.ReadIndex()
	if err != nil {
		// A leader that has not taken over yet will, or somebody else.
		if g.Status().LeaderID == 0 {
			r.finish(0, err, func(*readWaiter) bool { return true })
		}
		return
	}
	r.newest, r.asked = request, l.cfg.Clock.Boot()
	for _, w := range r.waiting {
		if w.first == 0 {
			w.first = request
		}
	}
	l.drain() // a lone voter, and nobody else, is answered at once
}

// answerReads gives indexes to those who asked for them.
func (l *Loop[R]) answerReads(states []raftgroup.ReadState) {
	for _, s := range states {
		if s.Request == l.reads.newest {
			l.reads.newest = 0
		}
		l.reads.finish(s.Index, nil, func(w *readWaiter) bool { return w.first != 0 && w.first <= s.Request })
	}
}

// pruneReads forgets those who do not wait any more, and a request that nothing has come of.
func (l *Loop[R]) pruneReads() {
	r := &l.reads
	if len(r.waiting) == 0 {
		return
	}
	r.finish(0, nil, func(*readWaiter) bool { return false })
	if l.cfg.Clock.Boot()-r.asked >= r.overdue {
		r.newest = 0
	}
}

// endReads answers whoever still waits, or comes later, with the reason why no quorum is asked any more.
func (l *Loop[R]) endReads(err error) {
	r := &l.reads
	r.mu.Lock()
	r.ended = err
	r.mu.Unlock()
	r.take()
	r.finish(0, err, func(*readWaiter) bool { return true })
}

func (l *Loop[R]) unconfirmed() uint64 {
	if l.confirmer == nil || l.installing { // what waited has been denied before
		return 0
	}
	return l.confirmer.Unconfirmed()
}

// confirm lets answers go that wrote nothing: by the lease, else by asking a quorum. A lease that holds now covers the
// moment at which they were made, and a leader's newest state holds all that is committed.
func (l *Loop[R]) confirm() {
	n := l.unconfirmed()
	if n == 0 {
		return
	}
	if lease := l.cfg.Group.Lease(); lease.Index != 0 && (lease.Endless() || l.cfg.Clock.Boot() < lease.Until) {
		l.confirmer.Confirm(n)
		return
	}
	if l.confirming || l.poisoned {
		return
	}
	w := &readWaiter{done: func(_ uint64, err error) {
		l.confirming = false
		if err == nil && !l.installing {
			l.confirmer.Confirm(n)
		}
	}}
	l.confirming = l.reads.add(w) == nil // else it is tried again with the next tick
}

// deny ends the wait of answers that wrote nothing.
func (l *Loop[R]) deny(err error) {
	if l.unconfirmed() != 0 {
		l.confirmer.Deny(err)
	}
}
