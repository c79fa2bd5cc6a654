package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"
)

// base is the time, the chance and the memory of a run. Time stands still while an event is worked off.
type base struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Duration
	queue  events
	seq    int
	events int
	// healed: the faults are over.
	healed bool
	trace  hash.Hash64
	line   []byte
}

func newBase(t *testing.T, seed uint64) base {
	return base{t: t, rng: rand.New(rand.NewPCG(seed, 0)), trace: fnv.New64a()}
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

func (b *base) failf(format string, args ...any) {
	panic(failure{fmt.Sprintf("at %v: %s", b.now, fmt.Sprintf(format, args...))})
}

// notef adds to the trace, by which two runs of a seed are compared; -sim.trace prints it.
func (b *base) notef(format string, args ...any) {
	b.line = fmt.Appendf(b.line[:0], "%v ", b.now)
	b.line = fmt.Appendf(b.line, format, args...)
	_, _ = b.trace.Write(append(b.line, '\n'))
	if *traceFlag {
		b.t.Logf("%s", b.line)
	}
}

// after makes an event.
func (b *base) after(d time.Duration, do func()) {
	b.seq++
	heap.Push(&b.queue, event{at: b.now + max(d, 0), seq: b.seq, do: do})
}

// every repeats at random distances around d until the faults end.
func (b *base) every(d time.Duration, do func()) {
	b.after(b.about(d), func() {
		if !b.healed {
			do()
			b.every(d, do)
		}
	})
}

// about is a random time, d on average.
func (b *base) about(d time.Duration) time.Duration {
	return time.Duration(b.rng.Int64N(2*int64(d) + 1))
}

// between is a random time.
func (b *base) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(b.rng.Int64N(int64(hi-lo)+1))
}

// chance is true p times out of 1.
func (b *base) chance(p float64) bool { return b.rng.Float64() < p }

// runUntil works off events until the moment, or until done says so.
func (b *base) runUntil(end time.Duration, done func() bool) bool {
	for len(b.queue) > 0 && b.queue[0].at <= end {
		e := heap.Pop(&b.queue).(event)
		b.now = e.at
		b.events++
		e.do()
		if done != nil && done() {
			return true
		}
	}
	b.now = end
	return false
}
