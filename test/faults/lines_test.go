package faults

import (
	"sync/atomic"
	"testing"
	"time"
)

// Three instances whose lines to each other are slow, lossy and narrow.
func TestBadLines(t *testing.T) { torment(t, newCabledCluster(t, 3), *rounds, faultsOfLines) }

// bear makes lines bad, proves by each counter that they are, and makes them good again.
func (s *scene) bear(q quality, pairs [][2]int, counters []*atomic.Int64, meanwhile func()) {
	s.Helper()
	before := make([]int64, len(counters))
	for n, c := range counters {
		before[n] = c.Load()
	}
	s.c.net.degrade(q, pairs...)
	meanwhile()
	for n, c := range counters {
		waitFor(s, "frames that suffer", waitHealed, func() bool { return c.Load() > before[n]+10 })
	}
	s.c.net.heal()
}

// takesLonger writes until a write was acknowledged, and requires that this took as long as frames need to some follower
// and back: if not, either they are not slow, or it was acknowledged too early.
func (s *scene) takesLonger(least time.Duration) {
	s.Helper()
	waitFor(s, "a write on slow lines", waitHealed, func() bool {
		conn := s.c.connect(s.c.leader(s, "data"))
		defer conn.Close()
		ctx, cancel := timeout(opTimeout)
		defer cancel()
		begun := time.Now()
		_, err := conn.Replace(ctx, spaceBulk, pack(2, "slow"))
		if took := time.Since(begun); err == nil && took < least {
			s.Errorf("a write took %s, a frame there and back takes %s", took, least)
		}
		return err == nil
	})
}

var faultsOfLines = []fault{
	{"all lines are slow", func(s *scene) {
		b := &s.c.net.bitten
		q := quality{delay: 25 * time.Millisecond, jitter: 15 * time.Millisecond}
		s.bear(q, both(s.all(), s.all()), []*atomic.Int64{&b.delayed}, func() {
			s.takesLonger(2 * q.delay)
			s.majorityGoesOn(s.all())
		})
	}},
	{"frames are lost, repeated, out of order", func(s *scene) {
		b := &s.c.net.bitten
		q := quality{delay: time.Millisecond, jitter: 20 * time.Millisecond, overtake: true, lost: 8, twice: 8}
		s.bear(q, both(s.all(), s.all()), []*atomic.Int64{&b.lost, &b.twice, &b.overtaken}, func() {
			s.majorityGoesOn(s.all())
			s.hold(time.Second, 2*time.Second)
		})
	}},
	{"the leader's lines are narrow", func(s *scene) {
		b := &s.c.net.bitten
		s.withLeader(func(leader int, others []int) {
			s.bear(quality{bytesPerSecond: 512 << 10}, [][2]int{{leader, others[0]}, {leader, others[1]}}, []*atomic.Int64{&b.held}, func() {
				before := b.held.Load()
				waitFor(s, "more than fits through a narrow line", waitHealed, func() bool {
					s.writeMuch(leader)
					return b.held.Load() > before+10
				})
				s.majorityGoesOn(s.all())
				s.hold(0, time.Second)
			})
		})
	}},
	{"one way from the leader is very slow", func(s *scene) {
		b := &s.c.net.bitten
		s.withLeader(func(leader int, others []int) {
			q := quality{delay: 400 * time.Millisecond}
			s.bear(q, [][2]int{{leader, others[s.chance.IntN(2)]}}, []*atomic.Int64{&b.delayed}, func() {
				s.majorityGoesOn(s.all())
				s.hold(time.Second, 2*time.Second)
			})
		})
	}},
}
