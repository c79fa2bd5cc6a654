package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"time"
)

// world is everything there is in one run. Time stands still while an event is worked off.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	opt   options
	now   time.Duration
	queue events
	seq   int
	peers map[uint64]*peer
	// ids are the peers in order; nextID was never used.
	ids    []uint64
	nextID uint64
	net    network
	checks checks
	client clients
	// healed: the faults are over.
	healed bool
	trace  hash.Hash64
	line   []byte
	stats  stats
}

// stats tell how far a run has reached.
type stats struct {
	events, crashes, kills, pauses, cuts, transfers, changes, joint, snapshots, installs, full int
	writes, acked, leaseReads, askedReads, followerReads, leaders                              int
}

func (s *stats) add(o stats) {
	s.events += o.events
	s.crashes += o.crashes
	s.kills += o.kills
	s.pauses += o.pauses
	s.cuts += o.cuts
	s.transfers += o.transfers
	s.changes += o.changes
	s.joint += o.joint
	s.snapshots += o.snapshots
	s.installs += o.installs
	s.full += o.full
	s.writes += o.writes
	s.acked += o.acked
	s.leaseReads += o.leaseReads
	s.askedReads += o.askedReads
	s.followerReads += o.followerReads
	s.leaders += o.leaders
}

// event is something that happens at a moment; events of one moment happen in the order in which they were made.
type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, k int) bool {
	return e[i].at < e[k].at || e[i].at == e[k].at && e[i].seq < e[k].seq
}
func (e events) Swap(i, k int) { e[i], e[k] = e[k], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = event{}
	*e = (*e)[:len(*e)-1]
	return last
}

// failure ends a run.
type failure struct{ text string }

func (w *world) failf(format string, args ...any) {
	panic(failure{fmt.Sprintf("at %v: %s", w.now, fmt.Sprintf(format, args...))})
}

// notef adds to the trace, by which two runs of a seed are compared; -sim.trace prints it.
func (w *world) notef(format string, args ...any) {
	w.line = fmt.Appendf(w.line[:0], "%v ", w.now)
	w.line = fmt.Appendf(w.line, format, args...)
	_, _ = w.trace.Write(append(w.line, '\n'))
	if *traceFlag {
		w.t.Logf("%s", w.line)
	}
}

// after makes an event.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + max(d, 0), seq: w.seq, do: do})
}

// every repeats at random distances around d until the faults end.
func (w *world) every(d time.Duration, do func()) {
	w.after(w.about(d), func() {
		if !w.healed {
			do()
			w.every(d, do)
		}
	})
}

// about is a random time, d on average.
func (w *world) about(d time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(2*int64(d) + 1))
}

// between is a random time.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

// chance is true p times out of 1.
func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// runUntil works off events until the moment, or until done says so.
func (w *world) runUntil(end time.Duration, done func() bool) bool {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.stats.events++
		e.do()
		if done != nil && done() {
			return true
		}
	}
	w.now = end
	return false
}

// simulate runs a seed: a time of faults, then one without, in which the group has to come to rest. The sum stands for all
// that happened.
func simulate(t *testing.T, seed uint64) (sum uint64, st stats, err error) {
	cryptotest.SetGlobalRandom(t, seed)
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), peers: map[uint64]*peer{}, trace: fnv.New64a(), nextID: 1,
	}
	defer func() {
		sum, st = w.trace.Sum64(), w.stats
		switch x := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s\noptions %+v", x.text, w.opt)
		default:
			// A broken invariant of the core: its stack helps.
			t.Logf("seed %d, at %v, options %+v", seed, w.now, w.opt)
			panic(x)
		}
	}()
	w.opt = drawOptions(w)
	w.checks = newChecks()
	w.net = newNetwork(w)
	w.bootstrap()
	w.startClients()
	w.startFaults()
	w.runUntil(w.opt.duration, nil)
	w.heal()
	w.settle()
	return sum, st, nil
}
