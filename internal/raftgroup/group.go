package raftgroup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// Group is one replica's part in a replicated log. It belongs to one goroutine.
type Group struct {
	cfg Config
	rn  *raft.RawNode
	st  *storage

	role         Role
	term, leader uint64
	vote         uint64
	committed    uint64
	applied      uint64
	lastIndex    uint64
	conf         *pb.ConfState
	voters       quorum.JointConfig
	// lost counts acknowledged entries that the log of a lone voter no longer had at start.
	lost uint64
	// leading: the no-op of this leader's term is applied, so that the state machine holds all that came before.
	leading      bool
	transferring bool
	// takeover is the index at which leading became true.
	takeover uint64
	// greeting: the members have changed, and all are to hear of their leader.
	greeting bool
	// handedOver: a transfer of leadership was begun in this term.
	handedOver bool
	// heir is whom a transfer of leadership is for that waits for the last entries, 0 for none; heirTicks is how long it waits.
	heir      uint64
	heirTicks int
	acks      acks
	reads     uint64

	// sinceAnnounced counts the ticks since this leader looked for replicas that wait for a snapshot, sinceBeat those since its
	// heartbeats were due, sinceLearners those since they went to all learners; allLearners: the next ones do.
	sinceAnnounced, sinceBeat, sinceLearners int
	allLearners                              bool

	// now is the newest time that was told. Until silent no vote is given at all, until promised none without force; quiet
	// counts the ticks since a leader was heard.
	now, silent, promised time.Duration
	// gone is the leader whose process has probably ended, told at goneFrom; 0: none. heardAt is when a leader was last heard.
	gone              uint64
	goneFrom, heardAt time.Duration
	quiet             int
	// stalled: the disk stands still.
	stalled bool

	// noted is the index of the last change of membership that is committed for certain, after any loss of power, too.
	noted uint64
	queue []*Write
	out   []Message
	// held are the newest messages that only tell what is committed, one for each replica at most, if holding.
	held      []*pb.Message
	holding   bool
	committal *pb.Message
	scratch   []Entry
	proposed  bool
	// proposedTerm is the term in which the last proposal was computed.
	proposedTerm uint64
	// dirty: something happened since the last Ready, so that there may be work. Ready always gives out all there is.
	dirty bool
}

// raw is what of a Write only the library understands.
type raw struct {
	entries   []*pb.Entry
	responses []*pb.Message
	snapshot  *pb.SnapshotMetadata
	// noted is the change of membership whose commitment it carries.
	noted uint64
}

// New starts a group from a position and what the log holds after it. ErrLogShort if the log ends before what was
// acknowledged and the replica is not the only voter; a lone voter goes on from what it has (see Lost).
func New(cfg Config) (*Group, error) {
	cfg = withDefaults(cfg)
	st, err := newStorage(&cfg)
	if err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, st: st, role: RoleFollower, acks: acks{self: cfg.ID, at: map[uint64]uint64{}}, now: cfg.Now}
	g.silent = cfg.Now + cfg.ElectionTimeout
	g.promised = g.silent
	if cfg.Mute {
		st.conf = &pb.ConfState{}
		g.setConf(st.conf)
	} else if err := g.restoreMembership(); err != nil {
		return nil, err
	}
	hs := cfg.Restored.HardState
	last, err := st.Term(st.last)
	if err != nil {
		return nil, fmt.Errorf("raftgroup: term of the last entry %d: %w", st.last, err)
	}
	if hs.Term < last {
		hs.Term, hs.Vote = last, 0
	}
	hs.Commit = max(hs.Commit, cfg.Applied)
	if cfg.Mute { // nothing more is applied
		hs.Commit = cfg.Applied
	}
	if hs.Commit > st.last {
		if !g.Lone() {
			return nil, fmt.Errorf("%w: it ends at %d, %d was acknowledged", ErrLogShort, st.last, hs.Commit)
		}
		g.lost, hs.Commit = hs.Commit-st.last, st.last
	}
	g.term, g.vote, g.committed, g.applied, g.lastIndex = hs.Term, hs.Vote, hs.Commit, cfg.Applied, st.last
	g.noted = st.confIndex
	st.hard = &pb.HardState{Term: new(hs.Term), Vote: new(hs.Vote), Commit: new(hs.Commit)}
	g.dirty = true
	g.rn, err = raft.NewRawNode(g.raftConfig())
	if err != nil {
		return nil, fmt.Errorf("raftgroup: %w", err)
	}
	return g, nil
}

func withDefaults(cfg Config) Config {
	if cfg.ElectionTimeout == 0 {
		cfg.ElectionTimeout = electionTimeoutDefault
	}
	cfg.electionTicks = max(electionTicksMin, int((cfg.ElectionTimeout+tickMax-1)/tickMax))
	cfg.tick = cfg.ElectionTimeout / time.Duration(cfg.electionTicks)
	if cfg.TailBytes == 0 {
		cfg.TailBytes = tailBytesDefault
	}
	if cfg.UncommittedBytesMax == 0 {
		cfg.UncommittedBytesMax = uncommittedBytesDefault
	}
	cfg.Applied = max(cfg.Applied, cfg.Position.Index)
	return cfg
}

func (g *Group) raftConfig() *raft.Config {
	return &raft.Config{
		ID: g.cfg.ID, ElectionTick: g.cfg.electionTicks, HeartbeatTick: g.beatTicks(),
		Storage: g.st, Applied: g.cfg.Applied, AsyncStorageWrites: true,
		MaxSizePerMsg: messageBytesDefault, MaxCommittedSizePerReady: applyBytesDefault,
		MaxUncommittedEntriesSize: g.cfg.UncommittedBytesMax,
		MaxInflightMsgs:           inflightMessagesMax, MaxInflightBytes: inflightMessagesMax * messageBytesDefault,
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe,
		DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: logger{g.cfg.Log},
	}
}

// newStorage places the entries on disk after the position.
func newStorage(cfg *Config) (*storage, error) {
	pos, res := cfg.Position, &cfg.Restored
	st := &storage{
		baseIndex: pos.Index, baseTerm: pos.Term, last: pos.Index, tailFirst: pos.Index + 1,
		tailBytesMax: cfg.TailBytes, older: cfg.Older,
		conf: pos.confState(), confIndex: pos.Index,
	}
	if pos.Index > 0 {
		st.setSnapshot(pos.Index, pos.Term, st.conf)
	}
	if res.FirstIndex > res.LastIndex || res.LastIndex < pos.Index {
		if cfg.Applied > st.last {
			return nil, fmt.Errorf("raftgroup: index %d is applied, but the log ends at %d", cfg.Applied, st.last)
		}
		return st, nil
	}
	if res.FirstIndex > pos.Index+1 {
		return nil, fmt.Errorf("raftgroup: the log begins at index %d, which does not follow the snapshot at %d",
			res.FirstIndex, pos.Index)
	}
	invariant.Check(len(res.Terms) > 0 && res.Terms[0].Index <= res.FirstIndex, "raftgroup: terms do not cover the log")
	st.terms = slices.Clone(res.Terms)
	st.last, st.tailFirst = res.LastIndex, res.LastIndex+1
	for i := range cfg.Tail {
		e := toPB(&cfg.Tail[i])
		st.tail, st.tailFirst = append(st.tail, e), min(st.tailFirst, e.GetIndex())
		st.tailBytes += uint64(len(e.Data)) + entryOverheadBytes
	}
	if res.FirstIndex <= pos.Index {
		st.baseIndex, st.baseTerm = res.FirstIndex, res.Terms[0].Term
		if term, err := st.Term(pos.Index); err != nil || term != pos.Term {
			return nil, fmt.Errorf("raftgroup: the snapshot at index %d is of term %d, the log has term %d there",
				pos.Index, pos.Term, term)
		}
	}
	if cfg.Applied > st.last {
		return nil, fmt.Errorf("raftgroup: index %d is applied, but the log ends at %d", cfg.Applied, st.last)
	}
	return st, nil
}

// restoreMembership brings the membership from the position to the applied index.
func (g *Group) restoreMembership() error {
	g.setConf(g.st.conf)
	var later []Entry
	for _, e := range g.cfg.Restored.ConfChanges {
		if e.Index > g.cfg.Position.Index && e.Index <= g.cfg.Applied {
			later = append(later, e)
		}
	}
	if len(later) == 0 {
		return nil
	}
	g.st.hard = &pb.HardState{}
	scratch, err := raft.NewRawNode(&raft.Config{
		ID: g.cfg.ID, ElectionTick: 2, HeartbeatTick: 1, Storage: g.st, MaxInflightMsgs: 1, Logger: logger{},
	})
	if err != nil {
		return fmt.Errorf("raftgroup: %w", err)
	}
	for _, e := range later {
		cc, err := decodeConfChange(e.Data)
		if err != nil {
			return fmt.Errorf("raftgroup: membership change at index %d: %w", e.Index, err)
		}
		g.conf = scratch.ApplyConfChange(cc)
	}
	g.setConf(g.conf)
	g.st.conf, g.st.confIndex = g.conf, later[len(later)-1].Index
	return nil
}

func (g *Group) setConf(conf *pb.ConfState) {
	g.conf = conf
	g.voters = quorum.JointConfig{majority(conf.GetVoters()), majority(conf.GetVotersOutgoing())}
}

// Lost is the number of acknowledged entries that were missing from the log of a lone voter at start.
func (g *Group) Lost() uint64 { return g.lost }

// Lone reports that this replica is the only voter, so that its own disk decides what is committed.
func (g *Group) Lone() bool {
	return len(g.conf.GetVoters()) == 1 && g.conf.GetVoters()[0] == g.cfg.ID && len(g.conf.GetVotersOutgoing()) == 0
}

// Campaign starts an election at once.
func (g *Group) Campaign() error {
	g.dirty = true
	return g.rn.Campaign()
}

// Step takes a message of another replica; it belongs to the group from then on. now is the boot-time clock, read after
// the message had come. An error says that the message was not taken, which the protocol bears.
func (g *Group) Step(now time.Duration, m Message) error {
	g.now = max(g.now, now)
	if m.m.GetTo() != g.cfg.ID {
		return fmt.Errorf("raftgroup: message for replica %d came to %d", m.m.GetTo(), g.cfg.ID)
	}
	if g.cfg.Mute {
		return fmt.Errorf("raftgroup: replica %d takes no part in its group", g.cfg.ID)
	}
	if err := g.sameHistory(m.m); err != nil {
		return err
	}
	if g.stands() && g.deafTo(m.m.GetType()) {
		return nil
	}
	switch m.m.GetType() {
	case hintType:
		return g.hinted(m.m)
	case pb.MsgVote, pb.MsgPreVote:
		g.hint(m.m)
		if !g.mayVote(m.m) {
			return nil
		}
	case pb.MsgTimeoutNow:
		if g.now < g.silent || g.stands() {
			g.decline(m.m)
			return nil
		}
	case pb.MsgHeartbeat, pb.MsgApp, pb.MsgSnap:
		if m.m.GetTerm() >= g.term {
			g.heard()
		}
	case pb.MsgHeartbeatResp:
		if err := g.acknowledged(m.m); err != nil {
			return err
		}
	case pb.MsgReadIndex, pb.MsgReadIndexResp:
		if len(m.m.GetEntries()) != 1 {
			return fmt.Errorf("raftgroup: %s with %d entries", m.Kind(), len(m.m.GetEntries()))
		}
		// A request is answered by a leader that has taken over, and not passed on a second time.
		if m.m.GetType() == pb.MsgReadIndex && !g.leading {
			return nil
		}
	case pb.MsgAppResp, pb.MsgVoteResp, pb.MsgPreVoteResp:
	default:
		return fmt.Errorf("raftgroup: %s is not taken from other replicas", m.Kind())
	}
	g.dirty = true
	return g.rn.Step(m.m)
}

// ReportUnreachable tells that a message to a replica could not be sent.
func (g *Group) ReportUnreachable(id uint64) {
	g.dirty = true
	g.rn.ReportUnreachable(id)
}

// Leading reports that this replica leads and has applied the no-op of its term, so that work may be computed on its
// newest state and proposed.
func (g *Group) Leading() bool {
	if g.role != RoleLeader || !g.leading {
		return false
	}
	if g.transferring {
		g.transferring = g.heir != 0 || g.rn.BasicStatus().LeadTransferee != 0
	}
	return !g.transferring
}

// Term is the newest term this replica has seen.
func (g *Group) Term() uint64 { return g.term }

// LastIndex is the index of the last entry, written or not. The next proposal gets the one after it, provided that Ready
// had nothing more to give.
func (g *Group) LastIndex() uint64 { return g.lastIndex }

// Committed is the highest index known to be committed.
func (g *Group) Committed() uint64 { return g.committed }

// AppliedIndex is the highest index reported with Applied.
func (g *Group) AppliedIndex() uint64 { return g.applied }

// Propose appends an entry that was computed in the given term; data is copied. It gets the index LastIndex()+1. Errors:
// not leader (of that term), or dropped because too much is uncommitted; then nothing has happened.
func (g *Group) Propose(term uint64, data []byte) (index uint64, err error) {
	if !g.Leading() || term != g.term {
		return 0, NotLeader(g.leader)
	}
	g.dirty = true
	if err := g.rn.Propose(data); err != nil {
		return 0, errcode.New(errcode.ProposalDropped)
	}
	g.lastIndex++
	g.proposed, g.proposedTerm = true, term
	return g.lastIndex, nil
}

// Ready gives out the work there is; false if there is none.
func (g *Group) Ready() (Ready, bool) {
	g.greet()
	if !g.dirty || !g.rn.HasReady() && len(g.out) == 0 && !g.mustNote() {
		g.dirty = false
		return Ready{}, false
	}
	invariant.Check(g.committal == nil, "raftgroup: Ready before Applied")
	g.dirty = false
	out := g.take(g.rn.Ready())
	g.noteMembership(&out)
	out.Messages, g.out = g.out, nil
	return out, true
}

// take turns what the library has to give into our terms.
func (g *Group) take(rd raft.Ready) (out Ready) {
	if rd.SoftState != nil {
		out.Changed = g.setRole(rd.SoftState)
	}
	if hs := rd.HardState; hs != nil {
		if hs.GetTerm() != g.term {
			out.Changed = true
			g.resign()
		}
		g.term = hs.GetTerm()
		g.committed = hs.GetCommit()
	}
	for _, rs := range rd.ReadStates {
		if r, ok := g.readState(rs.Index, rs.RequestCtx); ok {
			out.ReadStates = append(out.ReadStates, r)
		}
	}
	var resting restingLearners
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			out.Write = g.newWrite(m, rd.HardState)
		case raft.LocalApplyThread:
			g.committal = m
			out.Committed = g.convert(m.GetEntries())
		default:
			if m.GetType() != pb.MsgHeartbeat || !resting.spare(g, m.GetTo()) {
				g.send(m)
			}
		}
	}
	if resting.known {
		g.allLearners = false
	}
	return out
}

func (g *Group) setRole(ss *raft.SoftState) (changed bool) {
	role := RoleFollower
	switch {
	case ss.RaftState == raft.StateLeader:
		role = RoleLeader
	case ss.RaftState != raft.StateFollower:
		role = RoleCandidate
	}
	if role == g.role && ss.Lead == g.leader {
		return false
	}
	if role != g.role {
		g.resign()
	}
	g.role, g.leader, g.sinceBeat = role, ss.Lead, 0
	g.handOver()
	return true
}

// resign forgets what belongs to one leadership.
func (g *Group) resign() {
	g.leading, g.transferring, g.handedOver, g.heir = false, false, false, 0
	clear(g.acks.at)
	g.dropNotices()
}

// newWrite turns the library's append into a Write. One that has nothing to write (the commit index alone is not worth
// it) is finished together with the last write before it, at once if there is none.
func (g *Group) newWrite(m *pb.Message, hs *pb.HardState) *Write {
	w := &Write{raw: raw{entries: m.GetEntries(), responses: m.GetResponses(), snapshot: m.GetSnapshot().GetMetadata()}}
	if meta := w.raw.snapshot; meta != nil {
		p := positionOf(meta.GetIndex(), meta.GetTerm(), meta.GetConfState())
		w.Snapshot = &p
		g.setConf(meta.GetConfState())
		g.lastIndex = meta.GetIndex()
	}
	if n := len(w.raw.entries); n > 0 {
		w.Entries = make([]Entry, n)
		for i, e := range w.raw.entries {
			w.Entries[i] = fromPB(e)
		}
		last := w.Entries[n-1].Index
		invariant.Check(!g.proposed || last == g.lastIndex, "raftgroup: last entry is %d, expected %d", last, g.lastIndex)
		invariant.Check(!g.proposed || w.Entries[n-1].Term == g.proposedTerm, "raftgroup: entry %d was computed in term %d, and has term %d",
			last, g.proposedTerm, w.Entries[n-1].Term)
		g.lastIndex, g.proposed = last, false
	}
	if hs != nil && (hs.GetTerm() != g.termWritten() || hs.GetVote() != g.vote) {
		w.HardState = &HardState{Term: hs.GetTerm(), Vote: hs.GetVote(), Commit: hs.GetCommit()}
		g.vote = hs.GetVote()
		g.st.hard = hs
	}
	w.Commit = min(g.committed, g.lastIndex)
	if w.Snapshot != nil || w.HardState != nil || len(w.Entries) > 0 {
		g.queue = append(g.queue, w)
		return w
	}
	if n := len(g.queue); n > 0 {
		last := g.queue[n-1]
		last.raw.responses = append(slices.Clip(last.raw.responses), w.raw.responses...)
		return nil
	}
	g.deliver(w.raw.responses)
	return nil
}

// termWritten is the term of the last hard state that was given out.
func (g *Group) termWritten() uint64 { return g.st.hard.GetTerm() }

// Persisted tells that the oldest write given out is durable (as far as the mode asks for it).
func (g *Group) Persisted(w *Write) {
	invariant.Check(len(g.queue) > 0 && g.queue[0] == w, "raftgroup: writes finished out of order")
	g.queue[0] = nil
	g.queue = g.queue[1:]
	if len(g.queue) == 0 {
		g.queue = nil
	}
	if meta := w.raw.snapshot; meta != nil {
		g.st.install(meta)
		g.applied, g.noted = meta.GetIndex(), meta.GetIndex()
	}
	g.noted = max(g.noted, w.raw.noted)
	g.st.append(w.raw.entries)
	g.deliver(w.raw.responses)
	g.st.trim(g.applied)
}

func (g *Group) deliver(responses []*pb.Message) {
	g.dirty = true
	for _, m := range responses {
		if m.GetTo() == g.cfg.ID {
			// The library drops what is out of date by itself; an error here says no more than that.
			_ = g.rn.Step(m)
			continue
		}
		g.send(m)
	}
}

func (g *Group) send(m *pb.Message) {
	switch m.GetType() {
	case pb.MsgHeartbeat:
		g.stamp(m)
	case pb.MsgApp:
		if g.hold(m) {
			return
		}
	}
	g.out = append(g.out, Message{m})
}

func (g *Group) convert(entries []*pb.Entry) []Entry {
	if cap(g.scratch) > 4096 {
		g.scratch = nil
	}
	clear(g.scratch)
	g.scratch = g.scratch[:0]
	for _, e := range entries {
		g.scratch = append(g.scratch, fromPB(e))
	}
	return g.scratch
}

// Applied tells that the committed entries of the last Ready have been applied.
func (g *Group) Applied() {
	m := g.committal
	invariant.Check(m != nil, "raftgroup: Applied without committed entries")
	g.committal = nil
	last := m.GetEntries()[len(m.GetEntries())-1]
	g.applied = last.GetIndex()
	if g.role == RoleLeader && last.GetTerm() == g.term && !g.leading {
		g.leading, g.takeover = true, g.applied
	}
	g.deliver(m.GetResponses())
	g.st.trim(g.applied)
	g.bequeath()
}

// Compact forgets the entries up to index, which must be applied.
func (g *Group) Compact(index uint64) {
	invariant.Check(index <= g.applied, "raftgroup: compact to %d, applied is %d", index, g.applied)
	g.st.compact(index)
}

// FirstIndex is the first entry that can still be had.
func (g *Group) FirstIndex() uint64 { return g.st.baseIndex + 1 }

// Status is this replica's view of the group.
func (g *Group) Status() Status {
	role := g.role
	if role == RoleFollower && slices.Contains(g.conf.GetLearners(), g.cfg.ID) {
		role = RoleLearner
	}
	return Status{
		ID: g.cfg.ID, Role: role, Term: g.term, Committed: g.committed, Applied: g.applied, LastIndex: g.lastIndex,
		LeaderID: g.leader, Muted: g.cfg.Mute, Voters: slices.Clone(g.conf.GetVoters()), Learners: slices.Clone(g.conf.GetLearners()),
		Joint: len(g.conf.GetVotersOutgoing()) > 0 || g.noted < g.st.confIndex,
	}
}

// Members tells how far a leader knows each member to be, by id; nil at another replica.
func (g *Group) Members() []Member {
	if g.role != RoleLeader {
		return nil
	}
	var out []Member
	g.rn.WithProgress(func(id uint64, kind raft.ProgressType, pr tracker.Progress) {
		m := Member{ID: id, Match: pr.Match, Active: pr.RecentActive, Learner: kind == raft.ProgressTypeLearner}
		if id == g.cfg.ID {
			m.Match, m.Active = g.lastIndex, true
		}
		out = append(out, m)
	})
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func fromPB(e *pb.Entry) Entry {
	out := Entry{Index: e.GetIndex(), Term: e.GetTerm(), Data: e.Data}
	if e.GetType() != pb.EntryNormal {
		out.Type = EntryConfChange
	}
	return out
}

func toPB(e *Entry) *pb.Entry {
	out := &pb.Entry{Index: new(e.Index), Term: new(e.Term), Data: e.Data}
	if e.Type == EntryConfChange {
		out.Type = pb.EntryConfChangeV2.Enum()
	}
	return out
}
