package sim

import (
	"encoding/binary"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// write is a proposal under way.
type write struct {
	term  uint64
	final bool
}

// read is a linearizable read under way.
type read struct {
	floor uint64
	// index is what the state must hold, once it is known.
	index uint64
	how   string
}

// clients remember what is waited for.
type clients struct {
	// final: a write that was begun after the faults has been acknowledged; goal is its index.
	final bool
	goal  uint64
}

func (c *clients) acked(w *world, op *write) {
	if op.final && !c.final {
		c.final, c.goal = true, w.checks.floor
	}
}

func (w *world) startClients() {
	w.every(w.opt.writeEvery, func() { w.write(w.pick(), false) })
	w.every(w.opt.readEvery, func() { w.read(w.pick()) })
}

// pick chooses a peer, preferably one that thinks it leads.
func (w *world) pick() *peer {
	p := w.peers[w.ids[w.rng.IntN(len(w.ids))]]
	if w.chance(0.8) {
		for _, id := range w.ids {
			if q := w.peers[id]; q.up && q.group.Leading() && w.chance(0.7) {
				return q
			}
		}
	}
	return p
}

// write computes an entry, and proposes it then or some time later.
func (w *world) write(p *peer, final bool) {
	if !p.up {
		return
	}
	p.loop(func() {
		if !p.group.Leading() {
			return
		}
		term := p.group.Term()
		data := make([]byte, 16+w.rng.IntN(300))
		if w.chance(0.02) {
			data = make([]byte, 3000+w.rng.IntN(6000))
		}
		w.stats.writes++
		binary.LittleEndian.PutUint64(data, term)
		binary.LittleEndian.PutUint64(data[8:], uint64(w.stats.writes))
		propose := func() {
			p.holdNotices()
			if index, err := p.group.Propose(term, data); err == nil {
				p.pending[index] = &write{term: term, final: final}
			}
		}
		if !final && w.chance(w.opt.lateProposals) {
			p.own(w.between(0, 3*time.Second), func() { p.loop(propose) })
			return
		}
		propose()
	})
}

// read chooses the state it reads, and looks at the lease after that; readers run beside the loop. Without a lease it asks
// a quorum.
func (w *world) read(p *peer) {
	if !p.up {
		return
	}
	floor := w.checks.floor
	if p.paused > w.now {
		return
	}
	version := p.state.index
	check := func() {
		if p.lease.Covers(version, p.clock()) {
			w.stats.leaseReads++
			w.checkRead(p, "lease", version, floor)
			return
		}
		p.loop(func() { p.ask(floor) })
	}
	if w.chance(0.3) {
		p.own(w.between(0, 2*time.Second), check)
		return
	}
	check()
}

// ask begins a read that asks a quorum.
func (p *peer) ask(floor uint64) {
	request, err := p.group.ReadIndex()
	if err != nil {
		return
	}
	how := "asked"
	if p.group.Status().Role != raftgroup.RoleLeader {
		how = "follower's"
	}
	p.reads[request] = &read{floor: floor, how: how}
}

// answered knows what index a read needs.
func (p *peer) answered(r raftgroup.ReadState) {
	if x := p.reads[r.Request]; x != nil {
		x.index = r.Index
	}
}

// finishReads answers the reads whose index is applied.
func (p *peer) finishReads() {
	for request, first := uint64(0), true; p.up && (first || request != 0); first = false {
		// The oldest first: the order must not come from a map.
		request = 0
		for n, x := range p.reads {
			if x.index != 0 && x.index <= p.state.index && (request == 0 || n < request) {
				request = n
			}
		}
		if x := p.reads[request]; x != nil {
			delete(p.reads, request)
			if x.how == "asked" {
				p.w.stats.askedReads++
			} else {
				p.w.stats.followerReads++
			}
			p.w.checkRead(p, x.how, p.state.index, x.floor)
		}
	}
}
