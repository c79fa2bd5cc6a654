package sim

import (
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

const electionTimeout = time.Second

// options are drawn from the seed: which faults there are, and how many.
type options struct {
	voters                                          int
	duration                                        time.Duration
	loss, duplicates, replays, slow                 float64
	delay, slowDelay, disk, down                    time.Duration
	drift                                           bool
	crashInDisk, diskErrors, lateProposals          float64
	writeEvery, readEvery                           time.Duration
	crash, kill, pause, stall, part, transfer, full time.Duration
	change                                          time.Duration
	snapshotEvery                                   uint64

	// mode is how the log is written; the rest is for those without syncs: clean stops, and ends that do not mind the quorum.
	mode     wal.SyncMode
	stop     time.Duration
	reckless bool
}

// drawOptions leaves out about a third of the faults, others in each seed, so that some can be alone.
func drawOptions(w *world) options {
	maybe := func(d time.Duration) time.Duration {
		if w.chance(0.35) {
			return 0
		}
		return w.between(d/2, 2*d)
	}
	p := func(most float64) float64 {
		if w.chance(0.35) {
			return 0
		}
		return w.rng.Float64() * most
	}
	o := options{
		voters: []int{1, 3, 3, 3, 5}[w.rng.IntN(5)], duration: w.between(8*time.Second, 20*time.Second),
		loss: p(0.2), duplicates: p(0.2), replays: p(0.3), slow: p(0.2),
		delay: w.between(2*time.Millisecond, 40*time.Millisecond), slowDelay: w.between(100*time.Millisecond, 2*time.Second),
		disk: w.between(time.Millisecond, 20*time.Millisecond), down: w.between(100*time.Millisecond, 4*time.Second),
		drift: w.chance(0.7), crashInDisk: p(0.1), diskErrors: p(0.003), lateProposals: p(0.2),
		writeEvery: w.between(20*time.Millisecond, 80*time.Millisecond), readEvery: w.between(10*time.Millisecond, 50*time.Millisecond),
		crash: maybe(4 * time.Second), kill: maybe(6 * time.Second), pause: maybe(4 * time.Second), stall: maybe(3 * time.Second),
		part: maybe(2 * time.Second), transfer: maybe(3 * time.Second), full: maybe(6 * time.Second),
		change: maybe(2 * time.Second), snapshotEvery: uint64(10 + w.rng.IntN(100)),
	}
	return o
}

func (w *world) startFaults() {
	o := &w.opt
	for _, f := range []struct {
		every time.Duration
		do    func()
	}{
		{o.crash, func() { w.endOne(true) }},
		{o.kill, func() { w.endOne(false) }},
		{o.pause, w.pauseOne},
		{o.stall, w.stallOne},
		{o.part, w.part},
		{o.transfer, w.transfer},
		{o.full, w.fillOne},
		{o.change, w.change},
		{o.stop, w.stopOne},
	} {
		if f.every > 0 {
			w.every(f.every, f.do)
		}
	}
}

func (w *world) anyPeer() *peer { return w.peers[w.ids[w.rng.IntN(len(w.ids))]] }

// leader is a peer that thinks it leads, or nil.
func (w *world) leader() *peer {
	var found []*peer
	for _, id := range w.ids {
		if p := w.peers[id]; p.up && p.group.Status().Role == raftgroup.RoleLeader {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[w.rng.IntN(len(found))]
}

// victim is preferably a leader.
func (w *world) victim() *peer {
	if p := w.leader(); p != nil && w.chance(0.6) {
		return p
	}
	return w.anyPeer()
}

// endOne ends one process, or sometimes all.
func (w *world) endOne(power bool) {
	if w.chance(0.1) {
		for _, id := range w.ids {
			if p := w.peers[id]; p.up && w.mayEnd(p, power) {
				p.crash(power)
			}
		}
		return
	}
	if p := w.victim(); p.up && w.mayEnd(p, power) {
		p.crash(power)
	}
}

// pauseOne stops a process for a while, clock going on.
func (w *world) pauseOne() {
	if p := w.victim(); p.up {
		w.stats.pauses++
		p.paused = w.now + w.between(10*time.Millisecond, 3*time.Second)
	}
}

// stallOne holds up a loop, while readers go on.
func (w *world) stallOne() {
	if p := w.victim(); p.up {
		w.stats.pauses++
		p.stalled = w.now + w.between(10*time.Millisecond, 3*time.Second)
	}
}

// part cuts links in one of several ways, or heals them.
func (w *world) part() {
	w.stats.cuts++
	w.notef("cut")
	victim := w.victim()
	side := map[uint64]bool{}
	for _, id := range w.ids {
		side[id] = w.chance(0.5)
	}
	kind := w.rng.IntN(7)
	if kind < 5 {
		clear(w.net.cut)
	}
	for _, a := range w.ids {
		for _, b := range w.ids {
			cut := false
			switch kind {
			case 0: // one alone
				cut = a == victim.id || b == victim.id
			case 1: // two parts
				cut = side[a] != side[b]
			case 2: // one is heard no more
				cut = a == victim.id
			case 3: // one hears nothing
				cut = b == victim.id
			case 4: // single links, one way
				cut = w.chance(0.3)
			case 5: // more of them
				cut = w.net.cut[link{a, b}] || w.chance(0.1)
			}
			w.net.cut[link{a, b}] = cut && a != b
		}
	}
}

// transfer asks a leader to hand over.
func (w *world) transfer() {
	p := w.leader()
	if p == nil {
		return
	}
	s := p.group.Status()
	to := s.Voters[w.rng.IntN(len(s.Voters))]
	p.loop(func() {
		if p.group.TransferLeader(to) == nil {
			w.stats.transfers++
			w.notef("%d hands over to %d", p.id, to)
		}
	})
}

// fillOne takes the space from a disk for a while.
func (w *world) fillOne() {
	p := w.anyPeer()
	p.fs.SetCapacity(p.fs.Used() + w.rng.Int64N(8<<10))
	w.after(w.between(100*time.Millisecond, 2*time.Second), func() { p.fs.SetCapacity(0) })
}

const (
	peersMax  = 9
	votersMax = 5
)

// change proposes a change of membership to a leader.
func (w *world) change() {
	p := w.leader()
	if p == nil || !p.group.Leading() {
		return
	}
	s := p.group.Status()
	if w.loose() && (len(s.Voters) < 3 || w.sure(s, nil) < len(s.Voters)) {
		return // the governor is busy
	}
	var changes []raftgroup.Change
	add := func(op raftgroup.ChangeOp, id uint64) { changes = append(changes, raftgroup.Change{Op: op, ID: id}) }
	others := slices.DeleteFunc(slices.Clone(s.Voters), func(id uint64) bool { return id == p.id && w.chance(0.5) })
	promote := func() {
		if len(s.Learners) > 0 && len(s.Voters) < votersMax {
			add(raftgroup.AddVoter, s.Learners[w.rng.IntN(len(s.Learners))])
		}
	}
	drop := func() {
		if len(others) > 0 && len(s.Voters) > 1 && !(w.loose() && len(s.Voters) <= 3) {
			add([]raftgroup.ChangeOp{raftgroup.Remove, raftgroup.AddLearner}[w.rng.IntN(2)], others[w.rng.IntN(len(others))])
		}
	}
	switch w.rng.IntN(6) {
	case 0, 1:
		if len(w.ids) < peersMax {
			add(raftgroup.AddLearner, w.addPeer(snapshot{}).id)
		}
	case 2:
		promote()
	case 3:
		drop()
	case 4, 5:
		if promote(); len(changes) > 0 || len(s.Voters) > 2 {
			drop()
		}
		if len(others) > 2 && !(w.loose() && len(s.Voters) <= 4) && w.chance(0.3) {
			changes = changes[:0]
			add(raftgroup.Remove, others[0])
			add(raftgroup.AddLearner, others[1])
		}
	}
	if len(changes) == 0 {
		return
	}
	p.loop(func() {
		if p.group.ProposeConfChange(changes, nil) == nil {
			w.stats.changes++
			w.notef("%d proposes %v", p.id, changes)
		}
	})
}

// heal ends all faults.
func (w *world) heal() {
	w.healed = true
	clear(w.net.cut)
	w.opt.loss, w.opt.duplicates, w.opt.slow, w.opt.crashInDisk, w.opt.diskErrors = 0, 0, 0, 0, 0
	for _, id := range w.ids {
		p := w.peers[id]
		p.fs.SetCapacity(0)
		p.fs.Heal()
		p.paused, p.stalled = min(p.paused, w.now), min(p.stalled, w.now)
		if !p.up {
			p.start()
			continue
		}
		p.work()
	}
}

// settleTime is how long a group may take to come to rest.
const settleTime = 20 * time.Second

// settle waits until a write begun after the faults is acknowledged, and applied by all members.
func (w *world) settle() {
	var again func()
	again = func() {
		for _, id := range w.ids {
			if p := w.peers[id]; p.up && p.group.Leading() {
				w.write(p, true)
			}
		}
		w.after(200*time.Millisecond, again)
	}
	again()
	if !w.runUntil(w.now+settleTime, w.rested) {
		if w.stuck() {
			w.stats.stuck++
			w.notef("no quorum has kept its rows")
			return
		}
		for _, id := range w.ids {
			w.t.Logf("peer %d: up %t, %+v, lease %+v", id, w.peers[id].up, w.peers[id].group.Status(), w.peers[id].lease)
		}
		w.failf("the group has not come to rest %v after the last fault (committed to %d)", settleTime, w.checks.top)
	}
	w.notef("at rest")
}

// rested: the final write is known, and every member that its leader counts has it.
func (w *world) rested() bool {
	if !w.client.final {
		return false
	}
	for _, id := range w.ids {
		p := w.peers[id]
		if !p.up || !p.group.Leading() || p.state.index < w.client.goal {
			continue
		}
		s := p.group.Status()
		for _, member := range append(s.Voters, s.Learners...) {
			q := w.peers[member]
			if s.Joint || !q.up || q.state.index < w.client.goal {
				return false
			}
		}
		return true
	}
	return false
}
