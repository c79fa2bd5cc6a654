package raftgroup

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// TickLength is how far apart the calls of Tick are meant to be.
func (g *Group) TickLength() time.Duration { return g.cfg.tick }

// beatTicks is how many ticks heartbeats are apart.
func (g *Group) beatTicks() int { return g.cfg.electionTicks / heartbeatsPerElection }

// Tick tells that one tick of time has passed. now is the boot-time clock.
func (g *Group) Tick(now time.Duration) {
	g.now = max(g.now, now)
	if g.cfg.Mute {
		return
	}
	g.dirty = true
	if g.mayTick() {
		g.rn.Tick()
		g.sinceLearners++
		if g.sinceBeat++; g.sinceBeat >= g.beatTicks() {
			g.sinceBeat = 0
			if g.sinceLearners >= electionTicksMin {
				g.sinceLearners, g.allLearners = 0, true
			}
		}
		g.handOver()
		if g.heirTicks++; g.heirTicks > g.cfg.electionTicks {
			g.heir = 0
		}
		g.announceAgain()
	}
	g.followGone()
}

// IdleTicks is how many of the next ticks do no more than count, if nothing else is called before them: they may be put off, and made
// up for right before the next other call. It is asked when Ready has nothing to give.
func (g *Group) IdleTicks() int {
	_, voter := g.voters.IDs()[g.cfg.ID]
	switch {
	case g.dirty || g.heir != 0 || g.transferring || len(g.conf.GetVotersOutgoing()) > 0:
		return 0
	case g.Lone() && g.role == RoleLeader && len(g.conf.GetLearners()) == 0:
		return g.cfg.electionTicks
	case g.role == RoleLeader:
		return g.beatTicks() - 1 - g.sinceBeat
	case !voter:
		return g.cfg.electionTicks
	case g.role == RoleFollower && g.leader != 0 && g.gone == 0:
		// The second half is counted awake: who was not scheduled for a while may find a heartbeat that waits for him.
		return max(0, g.cfg.electionTicks/2-g.quiet)
	}
	return 0
}

// restingLearners are those that need no heartbeat now: a learner that has everything, and has answered since the leader last looked
// who does, does not vote, and its answer is needed by nobody. It gets one each ten ticks, and after each such look, which is once
// in an election timeout; and all of them while it is behind or cannot be reached.
type restingLearners struct {
	known bool
	ids   map[uint64]bool
}

// spare tells whether a heartbeat of this leader need not be sent.
func (r *restingLearners) spare(g *Group, id uint64) bool {
	if !r.known {
		r.known = true
		if g.allLearners || len(g.conf.GetLearners()) == 0 {
			return false
		}
		r.ids = map[uint64]bool{}
		g.rn.WithProgress(func(id uint64, kind raft.ProgressType, pr tracker.Progress) {
			if kind == raft.ProgressTypeLearner && pr.RecentActive && pr.State == tracker.StateReplicate && pr.Match == g.lastIndex {
				r.ids[id] = true
			}
		})
	}
	return r.ids[id]
}

// PeerGone tells that the process of another replica has probably ended, since its connections were closed: see LeaderGone; a learner
// that comes back is to hear of its leader soon.
func (g *Group) PeerGone(id uint64) {
	g.LeaderGone(id)
	if g.role == RoleLeader && slices.Contains(g.conf.GetLearners(), id) {
		g.ReportUnreachable(id)
	}
}

// Pace says when the ticks of a group are made, so that whoever makes them need not wake up for those that do no more than count.
// Ticks are due at fixed times, one length apart.
type Pace struct {
	length time.Duration
	// next is when the first tick is due that was not made yet; idle of them may be put off.
	next time.Duration
	idle int
}

// NewPace begins with a tick at a time of the clock, and goes on with one after each length.
func NewPace(first, length time.Duration) Pace { return Pace{length: length, next: first} }

// Rest tells how many ticks may be put off from now on, see Group.IdleTicks. It returns when the next one has to be made.
func (p *Pace) Rest(idle int) (wake time.Duration) {
	p.idle = idle
	return p.next + time.Duration(idle)*p.length
}

// MakeUp returns how many ticks that were put off have to be made before anything else is told to the group. Who has
// overslept by far was stopped: in that time nobody could be heard, and it does not count.
func (p *Pace) MakeUp(now time.Duration) (ticks int) {
	if now < p.next || p.idle == 0 {
		return 0
	}
	due := int((now-p.next)/p.length) + 1
	if due > 2*(p.idle+1) {
		p.next += time.Duration(due-1) * p.length
		due = 1
	}
	ticks = min(due, p.idle)
	p.next += time.Duration(ticks) * p.length
	p.idle -= ticks
	return ticks
}

// Due reports whether a tick has to be made that could not be put off; MakeUp was called before. Of several that are late one is made.
func (p *Pace) Due(now time.Duration) bool {
	if now < p.next || p.idle > 0 {
		return false
	}
	p.next += ((now-p.next)/p.length + 1) * p.length
	return true
}
