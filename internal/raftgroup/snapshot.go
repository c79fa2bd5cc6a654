package raftgroup

import (
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// confState is the membership as the library has it. Joint configurations are always left by themselves.
func (p *Position) confState() *pb.ConfState {
	return &pb.ConfState{
		Voters: p.Voters, Learners: p.Learners, VotersOutgoing: p.Outgoing, LearnersNext: p.LearnersNext,
		AutoLeave: new(len(p.Outgoing) > 0),
	}
}

func positionOf(index, term uint64, cs *pb.ConfState) Position {
	return Position{
		Index: index, Term: term, Voters: slices.Clone(cs.GetVoters()), Learners: slices.Clone(cs.GetLearners()),
		Outgoing: slices.Clone(cs.GetVotersOutgoing()), LearnersNext: slices.Clone(cs.GetLearnersNext()),
	}
}

func (s *storage) setSnapshot(index, term uint64, cs *pb.ConfState) {
	s.snap = &pb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: cs}
	s.wanted = false
}

// Snapshot is asked for when a replica needs entries that are gone. One that is older than the membership may not know the
// replica that is to get it, which would refuse it.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	if s.snap == nil || s.snap.GetIndex() < max(s.confIndex, s.baseIndex) {
		s.wanted = true
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &pb.Snapshot{Metadata: s.snap}, nil
}

// install begins the log anew after a snapshot.
func (s *storage) install(meta *pb.SnapshotMetadata) {
	s.baseIndex, s.baseTerm, s.last = meta.GetIndex(), meta.GetTerm(), meta.GetIndex()
	s.terms, s.tail, s.tailFirst, s.tailBytes = nil, nil, s.last+1, 0
	s.conf, s.confIndex = meta.GetConfState(), meta.GetIndex()
	s.setSnapshot(meta.GetIndex(), meta.GetTerm(), meta.GetConfState())
}

// Position is what a snapshot of the state machine stands for if it is taken now: the applied index, with the membership
// there (not that of a snapshot that is only being installed).
func (g *Group) Position() Position {
	term, err := g.st.Term(g.applied)
	invariant.Check(err == nil, "raftgroup: term of the applied index %d: %v", g.applied, err)
	return positionOf(g.applied, term, g.st.conf)
}

// HaveSnapshot tells that a snapshot of the state machine at this position is durable here, so that it can be sent to
// replicas which need entries that are gone. The message that sends it (see Message.Snapshot) carries the position alone:
// the transport brings the content, which is durable at the receiver before the message is stepped there.
func (g *Group) HaveSnapshot(p Position) {
	if g.st.snap.GetIndex() < p.Index {
		g.st.setSnapshot(p.Index, p.Term, p.confState())
	}
}

// SnapshotWanted reports that a replica needs a snapshot newer than the one there is.
func (g *Group) SnapshotWanted() bool { return g.st.wanted }

// announceAgain announces, once in an election timeout, a snapshot anew to replicas that have been told of one and have not
// answered that they have it: the message may be lost, or the replica may have failed to bring the content, or may have been
// started anew. The message is small, and a replica that is at it already drops it.
func (g *Group) announceAgain() {
	if g.sinceAnnounced++; g.role != RoleLeader || g.sinceAnnounced < g.cfg.electionTicks {
		return
	}
	g.sinceAnnounced = 0
	var waiting []uint64
	g.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.State == tracker.StateSnapshot {
			waiting = append(waiting, id)
		}
	})
	for _, id := range waiting {
		g.ReportSnapshot(id, false)
	}
}

// ReportSnapshot tells what became of a snapshot that was sent to a replica. Until it is called, and nothing is heard of the
// replica having it, the replica gets no entries. The leader calls it by itself for a replica that does not answer.
func (g *Group) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFailure
	if ok {
		status = raft.SnapshotFinish
	}
	g.dirty = true
	g.rn.ReportSnapshot(id, status)
}
