package sim

import (
	"fmt"
	"testing"
	"testing/cryptotest"
)

// world is everything there is in one run.
type world struct {
	base
	opt   options
	peers map[uint64]*peer
	// ids are the peers in order; nextID was never used.
	ids    []uint64
	nextID uint64
	net    network
	checks checks
	client clients
	stats  stats
}

// stats tell how far a run has reached.
type stats struct {
	events, crashes, kills, pauses, cuts, transfers, changes, joint, snapshots, installs, full int
	writes, acked, leaseReads, askedReads, followerReads, leaders                              int

	// In the modes without syncs: clean stops, starts that may have forgotten something, new ids, and runs that end without a quorum.
	stops, unsure, renewed, stuck int
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
	s.stops += o.stops
	s.unsure += o.unsure
	s.renewed += o.renewed
	s.stuck += o.stuck
}

// simulate runs a seed: a time of faults, then one without, in which the group has to come to rest. The sum stands for all
// that happened.
func simulate(t *testing.T, seed uint64) (sum uint64, st stats, err error) {
	cryptotest.SetGlobalRandom(t, seed)
	w := &world{base: newBase(t, seed), peers: map[uint64]*peer{}, nextID: 1}
	defer func() {
		w.stats.events = w.events
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
	w.opt.loosen(w, modeOf(seed))
	w.checks = newChecks()
	w.net = newNetwork(w)
	w.bootstrap()
	w.startClients()
	w.startFaults()
	if w.loose() {
		w.after(tendEvery, w.govern)
	}
	w.runUntil(w.opt.duration, nil)
	w.heal()
	w.settle()
	return sum, st, nil
}
