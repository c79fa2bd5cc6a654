package faults

import (
	"math/rand/v2"
	"testing"
	"time"
)

// scene is a fault while it lasts.
type scene struct {
	*testing.T
	c      *cluster
	l      *load
	chance *rand.Rand
}

// fault is something that happens to a cluster under load. It begins, proves that it bites, and ends; when it returns,
// nothing is in the way of the cluster any more.
type fault struct {
	name string
	run  func(s *scene)
}

// hold lets a fault last a while.
func (s *scene) hold(least, most time.Duration) {
	time.Sleep(least + time.Duration(s.chance.Int64N(int64(most-least)+1)))
}

// majorityGoesOn requires that a leader is found among some instances, and that writes go on.
func (s *scene) majorityGoesOn(some []int) {
	s.Helper()
	s.c.leaderAmong(s, "data", some)
	s.l.flows(s, "while a majority is together", 20)
}

// cut drops what is sent along pairs, proves it, runs what shall happen meanwhile, and heals.
func (s *scene) cut(pairs [][2]int, meanwhile func()) {
	s.Helper()
	before := s.c.net.dropped("cut")
	s.c.net.cut(pairs...)
	s.c.net.bites("cut", before)
	meanwhile()
	s.c.net.heal()
}

func (s *scene) all() []int { return but(len(s.c.instances)) }

// withLeader runs f with the index of the leader of the data group and those of the others.
func (s *scene) withLeader(f func(leader int, others []int)) {
	s.Helper()
	i := s.c.leader(s, "data").i
	f(i, but(len(s.c.instances), i))
}

var faultsOfThree = []fault{
	{"the leader is cut off", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.cut(both([]int{leader}, others), func() { s.majorityGoesOn(others) })
		})
	}},
	{"a follower is cut off", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			lonely := others[s.chance.IntN(2)]
			s.cut(both([]int{lonely}, but(3, lonely)), func() {
				s.majorityGoesOn(but(3, lonely))
				s.hold(0, time.Second)
			})
		})
	}},
	{"nobody hears the leader", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.cut([][2]int{{leader, others[0]}, {leader, others[1]}}, func() { s.majorityGoesOn(others) })
		})
	}},
	{"one way between two", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.cut([][2]int{{leader, others[0]}}, func() { s.majorityGoesOn(s.all()) })
		})
	}},
	{"two do not hear each other", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.cut(both([]int{leader}, others[:1]), func() { s.majorityGoesOn(s.all()) })
		})
	}},
	{"a ring in one direction", func(s *scene) {
		s.cut([][2]int{{0, 1}, {1, 2}, {2, 0}}, func() { s.hold(2*time.Second, 4*time.Second) })
	}},
	{"cuts that come and go", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			for range 6 {
				s.cut(both([]int{leader}, others), func() { s.hold(100*time.Millisecond, 400*time.Millisecond) })
				s.hold(100*time.Millisecond, 400*time.Millisecond)
			}
		})
	}},
	{"the leader's cable is out", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.c.net.setLink(leader, "down")
			if code, _ := s.c.instances[leader].get("/health/live"); code != 0 {
				s.Errorf("instance %d answers with its cable out", leader+1)
			}
			s.majorityGoesOn(others)
			s.c.net.setLink(leader, "up")
		})
	}},
	{"a quarter of all packets is lost", func(s *scene) {
		before := s.c.net.dropped("lost")
		s.c.net.lossy(both(s.all(), s.all())...)
		s.c.net.bites("lost", before)
		s.hold(3*time.Second, 5*time.Second)
		s.c.net.heal()
	}},
	{"the leader is stopped for a moment", func(s *scene) { s.pauseLeader(500*time.Millisecond, 1500*time.Millisecond) }},
	{"the leader is stopped for long", func(s *scene) { s.pauseLeader(5*time.Second, 8*time.Second) }},
	{"the leader's child is killed", func(s *scene) {
		s.withLeader(func(leader int, _ []int) { s.c.instances[leader].killChild() })
	}},
	{"the leader is killed", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.c.instances[leader].killBoth()
			s.majorityGoesOn(others)
			s.c.start(leader)
		})
	}},
	{"all are killed", func(s *scene) {
		for _, p := range s.c.instances {
			p.killBoth()
		}
		for _, i := range s.chance.Perm(3) {
			s.c.start(i)
		}
	}},
	{"all are restarted in turn", func(s *scene) {
		for i := range s.c.instances {
			s.c.stop(s, i)
			s.c.start(i)
			s.c.healthy(s, waitHealed)
		}
	}},
	{"the leader's disk is full", func(s *scene) {
		s.withLeader(func(leader int, _ []int) { s.fillDisk(s.c.instances[leader]) })
	}},
	{"a follower's disk is full", func(s *scene) {
		s.withLeader(func(_ int, others []int) { s.fillDisk(s.c.instances[others[0]]) })
	}},
	{"all disks are full", func(s *scene) { s.fillAll() }},
	{"the lead goes round", func(s *scene) {
		for _, i := range s.chance.Perm(3) {
			s.promote(i)
			s.majorityGoesOn(s.all())
		}
	}},
	{"one loses its files and is replaced", func(s *scene) { s.loseAndReplace() }},
	{"one is expelled and another one joins", func(s *scene) { s.expelAndJoin() }},
}

var faultsOfFive = []fault{
	{"halves", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			rest := others[1:]
			s.cut(both([]int{leader, others[0]}, rest), func() { s.majorityGoesOn(rest) })
		})
	}},
	{"a ring of majorities", func(s *scene) {
		var pairs [][2]int
		for i := range 5 {
			pairs = append(pairs, both([]int{i}, []int{(i + 2) % 5})...)
		}
		s.cut(pairs, func() { s.hold(3*time.Second, 6*time.Second) })
	}},
	{"one bridges two halves", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			s.cut(both([]int{leader, others[0]}, others[2:]), func() { s.hold(3*time.Second, 6*time.Second) })
		})
	}},
	{"the leader is killed, another one stopped", func(s *scene) {
		s.withLeader(func(leader int, others []int) {
			goOn := s.c.instances[others[0]].pause()
			s.c.instances[leader].killBoth()
			s.majorityGoesOn(others[1:])
			goOn()
			s.c.start(leader)
		})
	}},
}

func (s *scene) pauseLeader(least, most time.Duration) {
	s.withLeader(func(leader int, _ []int) {
		goOn := s.c.instances[leader].pause()
		s.hold(least, most)
		goOn()
	})
}
