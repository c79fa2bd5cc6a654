package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// Two of eight seeds run a group in a mode without syncs. A replica that may have forgotten what it had acknowledged starts mute, as an
// instance does; what there is the governor's part gives it up for a new one with a new id once a quorum of the others is there.

// modeOf is the mode of a seed.
func modeOf(seed uint64) wal.SyncMode {
	switch seed % 8 {
	case 3:
		return wal.SyncWrite
	case 7:
		return wal.SyncNone
	}
	return wal.SyncFsync
}

// loosen fits the faults to a mode without syncs: what ends a process is left to endOne, which minds the quorum.
func (o *options) loosen(w *world, mode wal.SyncMode) {
	if o.mode = mode; mode == wal.SyncFsync {
		return
	}
	o.voters, o.crashInDisk, o.diskErrors = max(o.voters, 3), 0, 0
	o.stop = w.between(2*time.Second, 6*time.Second)
	o.reckless = w.chance(0.2)
}

func (w *world) loose() bool { return w.opt.mode != wal.SyncFsync }

// bootName names the boot of a replica's machine.
func (p *peer) bootName() string { return fmt.Sprint(p.boots) }

// judge decides at the start of a replica whether it may have forgotten something.
func (p *peer) judge(pos raftgroup.Position) {
	r := p.log.Recovered()
	if r.LostEntries > 0 && !r.Unsure {
		p.w.failf("peer %d has lost %d entries and does not notice", p.id, r.LostEntries)
	}
	if p.mute = r.Unsure; !p.mute {
		return
	}
	p.w.stats.unsure++
	p.w.notef("%d may have forgotten something", p.id)
	sole, _, err := raftgroup.Alone(p.id, pos, p.log.ConfChanges(), r.HardState.Commit)
	if err != nil || sole {
		p.w.failf("peer %d takes itself for the only voter: %v", p.id, err)
	}
}

// membership is the conf of the replica that has applied the most.
func (w *world) membership() (s raftgroup.Status) {
	for _, id := range w.ids {
		if p := w.peers[id]; p.group != nil && !p.mute && !p.gone {
			if now := p.group.Status(); now.Applied >= s.Applied {
				s = now
			}
		}
	}
	return s
}

// sure counts the voters that have not forgotten anything, without one that is about to be ended.
func (w *world) sure(s raftgroup.Status, but *peer) (n int) {
	for _, id := range s.Voters {
		if p := w.peers[id]; p != but && !p.mute && !p.gone {
			n++
		}
	}
	return n
}

// mayEnd tells whether a process may end without notice. In a reckless run anything may happen.
func (w *world) mayEnd(p *peer, power bool) bool {
	if !w.loose() || w.opt.mode == wal.SyncWrite && !power || w.opt.reckless {
		return true
	}
	if s := w.membership(); s.Joint || w.sure(s, p) <= len(s.Voters)/2 || len(w.ids) > 20 {
		return false
	}
	// Two may come down at once when both know of a quorum: but not all that are in the middle of something.
	for _, id := range w.ids {
		if q := w.peers[id]; !q.gone && (!q.up || q.mute) && q != p {
			return false
		}
	}
	return true
}

// stopOne ends a process as its operator wants, with all that it has on disk, and starts it again.
func (w *world) stopOne() {
	p := w.victim()
	if !p.up || p.mute || p.paused > w.now {
		return
	}
	w.stats.stops++
	pos := p.group.Position()
	var err error
	if w.opt.mode == wal.SyncNone {
		p.keepSnapshot(snapshot{at: pos, state: p.state})
		err = p.log.CloseAt(pos.Index, pos.Term, p.group.Written(pos.Index))
	} else {
		err = p.log.Close()
	}
	w.notef("stop %d at %d: %v", p.id, pos.Index, err)
	p.up = false
	p.life++
	p.lease = raftgroup.Lease{}
	p.fs.Kill()
	p.startLater(w.between(10*time.Millisecond, time.Second))
}

// tendEvery is how often somebody looks after the members.
const tendEvery = 300 * time.Millisecond

// govern renews who is mute, removes who is gone, and adds and promotes who has taken a place, as the governor and an instance do.
func (w *world) govern() {
	defer w.after(tendEvery, w.govern)
	l := w.leader()
	if l == nil || !l.group.Leading() || l.paused > w.now {
		return
	}
	s := l.group.Status()
	active := map[uint64]raftgroup.Member{}
	for _, m := range l.group.Members() {
		active[m.ID] = m
	}
	w.renew(s, active)
	if s.Joint {
		return
	}
	var changes []raftgroup.Change
	known := append(slices.Clone(s.Voters), s.Learners...)
	for _, id := range known {
		if w.peers[id].gone {
			changes = append(changes, raftgroup.Change{Op: raftgroup.Remove, ID: id})
		}
	}
	for _, id := range w.ids {
		if p := w.peers[id]; p.instead && !p.gone && !slices.Contains(known, id) && !p.entered {
			changes = append(changes, raftgroup.Change{Op: raftgroup.AddLearner, ID: id})
			p.entered = true
		}
	}
	for _, id := range s.Learners {
		m := active[id]
		if !w.peers[id].gone && m.Active && m.Match+20 >= s.Committed && m.Match > 0 && len(s.Voters) < votersMax {
			changes = append(changes, raftgroup.Change{Op: raftgroup.AddVoter, ID: id})
			break
		}
	}
	if len(changes) == 0 {
		return
	}
	l.loop(func() {
		if err := l.group.ProposeConfChange(changes, nil); err == nil {
			w.notef("%d proposes %v for the governor", l.id, changes)
		}
		for _, ch := range changes { // whether it is in effect is seen the next time
			w.peers[ch.ID].entered = false
		}
	})
}

// renew gives up each mute replica for a new one, if a quorum of the other voters is heard.
func (w *world) renew(s raftgroup.Status, active map[uint64]raftgroup.Member) {
	for _, id := range slices.Clone(w.ids) {
		p := w.peers[id]
		if !p.mute || p.gone || !p.up {
			continue
		}
		n := 0
		for _, v := range s.Voters {
			if v != id && active[v].Active {
				n++
			}
		}
		if n <= len(s.Voters)/2 {
			continue
		}
		p.gone, p.up = true, false
		p.life++
		w.stats.renewed++
		q := w.addPeer(snapshot{})
		q.instead = true
		w.notef("%d begins anew as %d", p.id, q.id)
	}
}

// stuck tells whether a group in a mode without syncs rightly waits for an operator.
func (w *world) stuck() bool {
	s := w.membership()
	return w.loose() && (w.sure(s, nil) <= len(s.Voters)/2 || s.Joint && w.opt.reckless)
}
