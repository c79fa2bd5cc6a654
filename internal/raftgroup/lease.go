package raftgroup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"go.etcd.io/raft/v3/quorum"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// Linearizable reads. A follower that hears its leader promises by that: for one election timeout of its own boot-time clock
// it neither votes nor campaigns. A replica that has just started promises the same, because it does not know what
// it promised before. So a leader whose heartbeat a quorum has answered knows that nobody else leads for that long, counted
// from the moment at which it sent the heartbeat. The heartbeat carries this moment, and the answer brings it back.
//
// A transfer of leadership makes voters forget their promises, and the message that starts it may arrive at any time later:
// a leader that has begun one has no lease for the rest of its term.

// forcedVote is what the library writes into requests for votes after a transfer of leadership.
const forcedVote = "CampaignTransfer"

// sentBytes is the length of the moment of sending, which ends the context of each heartbeat.
const sentBytes = 8

// readContextBytes is the length of the context of a read request: incarnation and number.
const readContextBytes = 16

// Lease is a leader's leave to answer reads without asking others. The zero value gives none.
type Lease struct {
	// Index is what the state must hold: all that is known to be committed, since a reader at a follower may have seen it
	// before this replica applied it, and an entry of the leader's own term, since only with that it has all that former
	// leaders acknowledged.
	Index uint64
	// Until is when the lease ends, on the replica's own boot-time clock.
	Until time.Duration
}

// Covers reports that a read of the state at index is linearizable. now is read from the boot-time clock after that state
// was chosen, and the lease itself after that too.
func (l Lease) Covers(index uint64, now time.Duration) bool {
	return l.Index != 0 && index >= l.Index && now < l.Until
}

// Endless reports that the lease is a lone voter's, which no clock can end: it ends when the membership changes.
func (l Lease) Endless() bool { return l.Until == math.MaxInt64 }

// leaseLength is the election timeout less one tick, less the 10 % by which two clocks may run apart.
func leaseLength(election, tick time.Duration) time.Duration { return (election - tick) / 10 * 9 }

// Lease is this replica's lease after the last Ready.
func (g *Group) Lease() Lease {
	index := max(g.takeover, g.committed)
	switch {
	case g.role != RoleLeader || !g.leading || g.handedOver:
		return Lease{}
	case g.Lone():
		return Lease{Index: index, Until: math.MaxInt64}
	}
	sent := g.voters.CommittedIndex(g.acks)
	if sent == 0 {
		return Lease{}
	}
	return Lease{Index: index, Until: time.Duration(sent-1) + leaseLength(g.cfg.ElectionTimeout, g.cfg.tick)}
}

func majority(ids []uint64) quorum.MajorityConfig {
	m := make(quorum.MajorityConfig, len(ids))
	for _, id := range ids {
		m[id] = struct{}{}
	}
	return m
}

// acks holds for each replica the moment of sending, plus one, of the newest heartbeat that it has answered in this
// leader's term.
type acks struct {
	self uint64
	at   map[uint64]uint64
}

// AckedIndex gives the quorum computation moments instead of indexes; the leader itself has answered all.
func (a acks) AckedIndex(id uint64) (quorum.Index, bool) {
	if id == a.self {
		return math.MaxUint64, true
	}
	at, ok := a.at[id]
	return quorum.Index(at), ok
}

// stamp adds the moment of sending to a heartbeat: g.now is not later than that.
func (g *Group) stamp(m *pb.Message) {
	ctx := make([]byte, 0, len(m.GetContext())+sentBytes)
	m.Context = binary.LittleEndian.AppendUint64(append(ctx, m.GetContext()...), uint64(g.now))
}

// acknowledged takes the moment of sending from the answer to a heartbeat.
func (g *Group) acknowledged(m *pb.Message) error {
	ctx := m.GetContext()
	n := len(ctx) - sentBytes
	if n != 0 && n != 8 {
		return fmt.Errorf("raftgroup: heartbeat answered with a context of %d bytes", len(ctx))
	}
	sent := binary.LittleEndian.Uint64(ctx[n:])
	if m.Context = ctx[:n:n]; n == 0 {
		m.Context = nil
	}
	from := m.GetFrom()
	_, voter := g.voters.IDs()[from]
	if voter && g.role == RoleLeader && m.GetTerm() == g.term && sent <= uint64(g.now) {
		g.acks.at[from] = max(g.acks.at[from], sent+1)
	}
	return nil
}

// heard makes the promise of a follower.
func (g *Group) heard() {
	g.promised = max(g.promised, g.now+g.cfg.ElectionTimeout)
	g.heardAt = g.now
	g.quiet = 0
}

// mayVote tells whether a request for a vote, or for the prospect of one, may be answered. A lone voter has promised
// nothing to anyone.
func (g *Group) mayVote(m *pb.Message) bool {
	switch {
	case g.Lone():
		return true
	case g.now < g.silent:
		return false
	}
	return g.now >= g.promised || bytes.Equal(m.GetContext(), []byte(forcedVote))
}

// mayTick tells whether the library may count one more tick: the one that could make it campaign waits for the end of the
// promise, since ticks may come late and then close together. One whose disk stands still does not campaign.
func (g *Group) mayTick() bool {
	if g.role != RoleLeader && g.stands() {
		return false
	}
	if g.role == RoleLeader || g.now >= g.promised || g.Lone() || g.quiet < g.cfg.electionTicks-1 {
		g.quiet++
		return true
	}
	return false
}

// goneStagger is the time between the elections that two voters begin whose leader is gone: the first one is to win before the
// second one begins.
const goneStagger = 150 * time.Millisecond

// LeaderGone tells that the leader's process has probably ended, since its connections were closed. Nothing that was promised to it
// is broken by that: but when the promise ends this voter campaigns at once, in the order of ids, instead of after a random time.
// Whoever still hears the leader gives no vote.
func (g *Group) LeaderGone(id uint64) {
	if id != 0 && id == g.leader && g.role == RoleFollower {
		g.gone, g.goneFrom = id, g.now
	}
}

// followGone ends the wait for a leader that is gone, once what was promised to it has ended: it is forgotten, so that others get
// votes, and this voter campaigns in its turn.
func (g *Group) followGone() {
	if g.gone == 0 {
		return
	}
	_, voter := g.voters.IDs()[g.cfg.ID]
	if !voter || g.role != RoleFollower || g.leader != g.gone && g.leader != 0 || g.heardAt > g.goneFrom+g.cfg.tick {
		g.gone = 0 // there is another one, or it lives: what had come before its end may be taken a little later
		return
	}
	due := max(g.promised, g.silent)
	if g.now < due || g.stands() {
		return
	}
	if g.leader != 0 {
		_ = g.rn.ForgetLeader() // fails for nobody who has a leader
	}
	for id := range g.voters.IDs() {
		if id < g.cfg.ID && id != g.gone {
			due += goneStagger
		}
	}
	if g.now >= due {
		g.gone = 0
		_ = g.rn.Campaign() // a refusal is the library's log line; the next election timeout tries again
	}
}

// ReadIndex begins a linearizable read that asks a quorum: Ready gives a ReadState with the returned number, once the index
// is known. Nothing comes if leadership changes or messages are lost; the caller asks again, which makes a new request.
// Error, with nothing begun: not leader, where no leader is known or this one has not taken over yet.
func (g *Group) ReadIndex() (request uint64, err error) {
	if g.leader == 0 {
		return 0, NotLeader(0)
	}
	// A leader that is the only voter would be answered by the library before it knows what was committed.
	if g.role == RoleLeader && !g.leading {
		return 0, errcode.New(errcode.NotALeader, "this replica has not taken over yet")
	}
	g.reads++
	g.dirty = true
	ctx := binary.LittleEndian.AppendUint64(make([]byte, 0, readContextBytes), g.cfg.Incarnation)
	g.rn.ReadIndex(binary.LittleEndian.AppendUint64(ctx, g.reads))
	return g.reads, nil
}

// readState is the answer to a request of this incarnation.
func (g *Group) readState(index uint64, ctx []byte) (ReadState, bool) {
	if len(ctx) != readContextBytes || binary.LittleEndian.Uint64(ctx) != g.cfg.Incarnation {
		return ReadState{}, false
	}
	return ReadState{Index: index, Request: binary.LittleEndian.Uint64(ctx[8:])}, true
}
