package raftgroup

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// ChangeOp is what happens to one replica in a change of membership.
type ChangeOp uint8

const (
	// AddVoter makes a replica a voter, a learner too.
	AddVoter ChangeOp = iota
	// AddLearner adds a replica that does not vote, or takes the vote from one.
	AddLearner
	// Remove takes a replica out of the group.
	Remove
)

// Change is one part of a change of membership.
type Change struct {
	Op ChangeOp
	ID uint64
}

// ProposeConfChange appends a change of membership. Several changes at once, and one that takes the vote from this leader, go
// through a joint configuration; before it is left, a leader without a place in the new one hands over. context is kept
// with the entry. A change that comes while another is not yet applied is replaced by an empty entry. Errors, with nothing
// done: not leader, dropped, or a change that would leave no voter or names id 0.
func (g *Group) ProposeConfChange(changes []Change, context []byte) error {
	if !g.Leading() {
		return NotLeader(g.leader)
	}
	voters := votersAfter(g.conf.GetVoters(), changes)
	// For the library id 0 is nobody: a change with it might leave no voter after all, which stops every replica that applies it.
	nobody := slices.ContainsFunc(changes, func(c Change) bool { return c.ID == 0 })
	if len(changes) == 0 || len(voters) == 0 || nobody {
		return errcode.New(errcode.IllegalParams, "a change of membership that leaves no voter, changes nothing, or names no replica")
	}
	cc := &pb.ConfChangeV2{Context: context}
	if !slices.Contains(voters, g.cfg.ID) {
		cc.Transition = pb.ConfChangeTransitionJointImplicit.Enum()
	}
	for _, c := range changes {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: changeType(c.Op).Enum(), NodeId: new(c.ID)})
	}
	g.dirty = true
	if err := g.rn.ProposeConfChange(cc); err != nil {
		return errcode.New(errcode.ProposalDropped)
	}
	g.lastIndex++
	g.proposed, g.proposedTerm = true, g.term
	return nil
}

// votersAfter are the voters once the changes are in effect.
func votersAfter(voters []uint64, changes []Change) []uint64 {
	voters = slices.Clone(voters)
	for _, c := range changes {
		voters = slices.DeleteFunc(voters, func(id uint64) bool { return id == c.ID })
		if c.Op == AddVoter {
			voters = append(voters, c.ID)
		}
	}
	return voters
}

// TransferLeader asks this leader to hand over to another voter, when all that it has proposed is applied. Its lease ends at once
// and for the rest of the term; proposals are refused until the transfer has succeeded, the other has declined because it has just
// started, or an election timeout has passed before it could begin or since. Errors, with nothing done: not
// leader, or the other is no voter, or this replica itself.
func (g *Group) TransferLeader(to uint64) error {
	if g.role != RoleLeader {
		return NotLeader(g.leader)
	}
	if _, voter := g.voters.IDs()[to]; !voter || to == g.cfg.ID {
		return errcode.New(errcode.IllegalParams, "leadership is handed over to another voter of the group only")
	}
	g.transferring, g.handedOver, g.dirty = true, true, true
	g.heir, g.heirTicks = to, 0
	g.bequeath()
	return nil
}

// bequeath begins the transfer that was asked for, once everything that was proposed here is applied: of what is still on its
// way when a leader steps down, nobody could say what becomes of it.
func (g *Group) bequeath() {
	if g.heir == 0 || g.applied < g.lastIndex {
		return
	}
	to := g.heir
	g.heir, g.dirty = 0, true
	g.rn.TransferLeader(to)
}

// decline tells a leader that this replica may not take over yet, since it has just started: the leader need not wait for it. It
// is a hint of nothing, which says nothing to those who do not know it.
func (g *Group) decline(m *pb.Message) {
	g.dirty = true
	g.send(&pb.Message{Type: hintType.Enum(), From: new(g.cfg.ID), To: m.From, Index: new(uint64(0)), LogTerm: new(uint64(0))})
}

// declined ends a transfer to a replica that does not take over, so that the leader goes on at once.
func (g *Group) declined(from uint64) {
	if g.role == RoleLeader && g.rn.BasicStatus().LeadTransferee == from {
		g.dirty = true
		g.rn.TransferLeader(g.cfg.ID) // to itself: an end of what is under way
	}
}

// handOver makes a leader that the membership to come does not count among its voters give up before that comes into effect.
// Otherwise it would step down the moment it knows of it, while the new voters, who do not know yet, need the votes of the
// old ones, whose logs may be longer than theirs: nobody could be elected. While a transfer is under way the library does
// not leave the joint configuration.
func (g *Group) handOver() {
	if g.role != RoleLeader || len(g.conf.GetVotersOutgoing()) == 0 || slices.Contains(g.conf.GetVoters(), g.cfg.ID) ||
		g.rn.BasicStatus().LeadTransferee != 0 {
		return
	}
	var best, match uint64
	g.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if slices.Contains(g.conf.GetVoters(), id) && (best == 0 || pr.RecentActive && pr.Match >= match) {
			best, match = id, pr.Match
		}
	})
	g.transferring, g.handedOver, g.dirty, g.heir = true, true, true, 0
	g.rn.TransferLeader(best)
}

// A replica that is no voter any more may still be needed by one that does not know: a leader crashes and forgets that the
// change which removed the other is committed, and the other's log is longer than its own. The removed one gives it no
// vote, and cannot be elected itself. So it answers by telling what is committed: that is true for ever, and whoever has
// the entry can act on it.

// hintType is a type that the library sends to nobody.
const hintType = pb.MsgForgetLeader

// hint answers a request for a vote if this replica is no voter.
func (g *Group) hint(m *pb.Message) {
	if _, voter := g.voters.IDs()[g.cfg.ID]; voter {
		return
	}
	index := min(g.committed, m.GetIndex())
	if term, err := g.st.Term(index); err == nil && index > 0 {
		g.dirty = true
		g.send(&pb.Message{
			Type: hintType.Enum(), From: new(g.cfg.ID), To: m.From, Index: new(index), LogTerm: new(term),
		})
	}
}

// hinted commits what another replica knows to be committed, if it is in the log. For the library this is an append without
// entries, of a leader that is forgotten at once.
func (g *Group) hinted(m *pb.Message) error {
	if m.GetIndex() == 0 {
		g.declined(m.GetFrom())
		return nil
	}
	if g.role == RoleLeader || m.GetIndex() <= g.committed {
		return nil
	}
	g.dirty = true
	if err := g.rn.Step(&pb.Message{
		Type: pb.MsgApp.Enum(), From: m.From, To: m.To, Term: new(g.rn.BasicStatus().GetTerm()),
		Index: m.Index, LogTerm: m.LogTerm, Commit: m.Index,
	}); err != nil {
		return err
	}
	return g.rn.ForgetLeader()
}

// A replica writes down that a change of membership is committed as soon as it is applied. Otherwise one that lost power
// afterwards could need the vote of a replica that is gone for good, since nobody else knew that it was let go.

// mustNote reports that a change of membership is applied whose commitment nothing on its way to the disk carries.
func (g *Group) mustNote() bool {
	noted := g.noted
	for _, w := range g.queue {
		noted = max(noted, w.raw.noted)
	}
	return noted < g.st.confIndex
}

// noteMembership lets the next write carry the commitment of the last change of membership, and adds one if there is none.
func (g *Group) noteMembership(out *Ready) {
	if !g.mustNote() {
		return
	}
	w := out.Write
	if w == nil {
		w = &Write{Commit: min(g.committed, g.lastIndex)}
		g.queue, out.Write = append(g.queue, w), w
	}
	if w.HardState == nil {
		w.HardState = &HardState{Term: g.st.hard.GetTerm(), Vote: g.vote, Commit: w.Commit}
	}
	w.raw.noted = g.st.confIndex
}

func changeType(op ChangeOp) pb.ConfChangeType {
	switch op {
	case AddLearner:
		return pb.ConfChangeAddLearnerNode
	case Remove:
		return pb.ConfChangeRemoveNode
	}
	return pb.ConfChangeAddNode
}

// ApplyConfChange puts a committed change of membership into effect. It is called for each committed entry of type
// EntryConfChange in its turn. Bytes that are no change were never written by a leader: they stop the process.
func (g *Group) ApplyConfChange(e Entry) Status {
	cc, err := decodeConfChange(e.Data)
	invariant.Check(err == nil, "raftgroup: membership change at index %d: %v", e.Index, err)
	g.dirty = true
	g.setConf(g.rn.ApplyConfChange(cc))
	g.st.conf, g.st.confIndex = g.conf, e.Index
	g.handOver()
	g.greeting = g.greeting || len(cc.GetChanges()) > 0
	return g.Status()
}

// greet has a leader say something to all members after one was added: that one learns of its leader, and the leader of it, by
// the next message only, which would be a heartbeat. It is done when nothing else is to be done, so that the index of the
// entry is known.
func (g *Group) greet() {
	if !g.greeting || g.rn.HasReady() {
		return
	}
	g.greeting = false
	if g.Leading() && g.rn.Propose(nil) == nil { // one that is dropped is not missed
		g.lastIndex++
		g.proposed, g.proposedTerm = true, g.term
	}
}

// DecodeConfChange reads the data of an entry of type EntryConfChange. No changes: a joint configuration is left.
func DecodeConfChange(data []byte) (changes []Change, context []byte, err error) {
	cc, err := decodeConfChange(data)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range cc.GetChanges() {
		op := AddVoter
		switch c.GetType() {
		case pb.ConfChangeAddLearnerNode:
			op = AddLearner
		case pb.ConfChangeRemoveNode:
			op = Remove
		}
		changes = append(changes, Change{Op: op, ID: c.GetNodeId()})
	}
	return changes, cc.GetContext(), nil
}

func decodeConfChange(data []byte) (*pb.ConfChangeV2, error) {
	cc := new(pb.ConfChangeV2)
	if err := proto.Unmarshal(data, cc); err != nil {
		return nil, fmt.Errorf("decode membership change: %w", err)
	}
	return cc, nil
}
