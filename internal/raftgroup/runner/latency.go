package runner

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets; a last one has no bound.
var latencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// latency counts how long something took. One goroutine observes, any may read.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (l *latency) observe(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(1)
	l.sum.Add(int64(d))
}

// Latency is a distribution of times since the loop started.
type Latency struct {
	Count uint64
	Sum   time.Duration
	// Buckets holds, by upper bound, how many took at most that long.
	Buckets map[time.Duration]uint64
}

func (l *latency) read() Latency {
	r := Latency{Sum: time.Duration(l.sum.Load()), Buckets: make(map[time.Duration]uint64, len(latencyBounds))}
	for i := range l.counts {
		r.Count += l.counts[i].Load()
		if i < len(latencyBounds) {
			r.Buckets[latencyBounds[i]] = r.Count
		}
	}
	return r
}

// Latencies returns how long entries made here took from Run to their commit, and how long applying what was committed at a
// time took. Any goroutine may ask.
func (l *Loop[R]) Latencies() (commit, apply Latency) {
	return l.latency.commit.read(), l.latency.apply.read()
}
