package discovery

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation runs the real cores of a few instances over a network that loses, delays, doubles and parts, with crashes
// at every durable step from the first record to the identity, in any start order. It heals after a while; then exactly
// one instance must have made a cluster and all others must be members of it, and at no time are there two.

const (
	simHeal = 6 * time.Second
	simEnd  = simHeal + 40*time.Second
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "first seed")
	seedsFlag = flag.Uint64("sim.seeds", 0, "number of seeds; 0: a few")
	traceFlag = flag.Bool("sim.trace", false, "print everything that happens")
)

// seedsDefault is for the unit tests, with the race detector; make sim runs more without.
const seedsDefault = 300

// faults is how often what goes wrong before the network heals.
type faults struct {
	lossPercent, doublePercent, replayPercent, crashPercent int
	delayMax, cutEvery                                      time.Duration
	// forget plants a bug: a crash loses the known peers, and keeps id and decision.
	forget bool
	// candidate plants another: a member that restarts answers as if it were undecided.
	candidate bool
}

func drawFaults(seed uint64) faults {
	rng := rand.New(rand.NewPCG(seed, 2))
	f := faults{
		lossPercent: rng.IntN(40), doublePercent: rng.IntN(30), replayPercent: rng.IntN(30), crashPercent: rng.IntN(20),
		delayMax: time.Duration(1+rng.IntN(1500)) * time.Millisecond,
	}
	if rng.IntN(3) > 0 {
		f.cutEvery = time.Duration(200+rng.IntN(2000)) * time.Millisecond
	}
	return f
}

func newSim(seed uint64, f faults) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), faults: f, routes: map[string]*host{}, cut: map[link]bool{},
		decided: map[*host]bool{}, clusters: map[string]bool{}}
	for i := range 1 + s.rng.IntN(7) {
		h := &host{no: i, addresses: []string{fmt.Sprintf("i%d:1", i)}, canBoot: s.rng.IntN(5) > 0}
		if s.rng.IntN(4) == 0 {
			h.addresses = append(h.addresses, fmt.Sprintf("alias%d:1", i))
		}
		// The life of an instance has five durable steps at least: two crashes come always, others perhaps.
		h.crashAt = s.rng.Perm(5)[:2]
		for range s.rng.IntN(3) {
			h.crashAt = append(h.crashAt, 5+s.rng.IntN(8))
		}
		s.hosts = append(s.hosts, h)
		for _, address := range h.addresses {
			s.routes[address] = h
		}
	}
	s.choosePeers()
	for _, h := range s.hosts {
		s.after(s.between(0, simHeal/2), func() { s.boot(h) })
	}
	if f.cutEvery > 0 {
		s.after(0, s.part)
	}
	return s
}

// choosePeers draws lists of which any two have an instance in common: one is in all lists, or each list is a majority,
// or lists are drawn at random and what is missing is added.
func (s *sim) choosePeers() {
	n := len(s.hosts)
	hub, kind := s.rng.IntN(n), s.rng.IntN(3)
	sparse := s.rng.IntN(2) == 0
	lists := make([][]int, n)
	for i := range lists {
		size := 1 + s.rng.IntN(n)
		if sparse && kind != 1 {
			size = 1
		}
		if kind == 1 {
			size = n/2 + 1 + s.rng.IntN(n-n/2)
		}
		lists[i] = s.rng.Perm(n)[:min(size, n)]
		if kind == 0 && !slices.Contains(lists[i], hub) {
			lists[i][0] = hub
		}
	}
	for i := range lists {
		for k := range i {
			if !slices.ContainsFunc(lists[i], func(x int) bool { return slices.Contains(lists[k], x) }) {
				lists[i] = append(lists[i], lists[k][s.rng.IntN(len(lists[k]))])
			}
		}
	}
	for i, list := range lists {
		for _, k := range list {
			addresses := s.hosts[k].addresses
			s.hosts[i].peers = append(s.hosts[i].peers, addresses[s.rng.IntN(len(addresses))])
		}
	}
}

// part cuts links, each of them one way, in one of several forms.
func (s *sim) part() {
	clear(s.cut)
	if s.now >= simHeal {
		return
	}
	kind, one := s.rng.IntN(6), s.hosts[s.rng.IntN(len(s.hosts))]
	side := make([]bool, len(s.hosts))
	for i := range side {
		side[i] = s.rng.IntN(2) == 0
	}
	for _, a := range s.hosts {
		for _, b := range s.hosts {
			cut := false
			switch kind {
			case 0: // nobody
			case 1: // one alone
				cut = a == one || b == one
			case 2: // one is heard no more
				cut = a == one
			case 3: // one hears nothing
				cut = b == one
			case 4: // two parts
				cut = side[a.no] != side[b.no]
			case 5: // single links, one way
				cut = s.rng.IntN(3) == 0
			}
			s.cut[link{a, b}] = cut && a != b
		}
	}
	s.after(s.between(0, 2*s.faults.cutEvery), s.part)
}

// simulate runs a seed and returns the sum of all that happened.
func simulate(t *testing.T, seed uint64, f faults) (*sim, error) {
	s := newSim(seed, f)
	if *traceFlag {
		s.log = t.Logf
	}
	return s, s.run()
}

// TestOneLeader runs seeds, each fiftieth twice: there are never two clusters, and after healing there is exactly one.
func TestOneLeader(t *testing.T) {
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = seedsDefault
	}
	crashes, decided, lost, failed := 0, 0, 0, 0
	for seed := *seedFlag; seed < *seedFlag+seeds && failed < 10; seed++ {
		s, err := simulate(t, seed, drawFaults(seed))
		if err == nil && seed%50 == 7 {
			if again, _ := simulate(t, seed, drawFaults(seed)); again.sum != s.sum {
				err = fmt.Errorf("one seed ran in two ways: %x and %x", s.sum, again.sum)
			}
		}
		if err != nil {
			failed++
			t.Errorf("%v\nagain: go test ./internal/discovery -run TestOneLeader -sim.seed %d -sim.seeds 1 -sim.trace -v", err, seed)
		}
		crashes, decided, lost = crashes+s.crashes, decided+len(s.clusters), lost+s.lost
	}
	if seeds >= 100 && (crashes < 8*int(seeds) || lost < 10*int(seeds) || decided < 8*int(seeds)/10) {
		t.Errorf("only %d crashes, %d lost messages and %d clusters: the simulation tests little", crashes, lost, decided)
	}
	t.Logf("%d seeds: %d crashes, %d messages lost, %d clusters", seeds, crashes, lost, decided)
}

// TestPlantedIsFound plants bugs that the protocol exists against, and expects the simulation to find them.
func TestPlantedIsFound(t *testing.T) {
	for name, plant := range map[string]func(*faults){
		"forgets its peers":               func(f *faults) { f.forget = true },
		"a member looks like a candidate": func(f *faults) { f.candidate = true },
	} {
		two := 0
		for seed := range uint64(500) {
			f := drawFaults(seed)
			plant(&f)
			if s, err := simulate(t, seed, f); err != nil && len(s.decided) > 1 {
				two++
			}
		}
		if two < 3 {
			t.Errorf("%s: two clusters in only %d of 500 seeds", name, two)
		}
		t.Logf("%s: two clusters in %d of 500 seeds", name, two)
	}
}
