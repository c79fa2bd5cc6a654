package raftgroup

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// ErrOtherHistory says that a message cannot be true of the log that this replica has: one of both, the sender or this replica, has
// forgotten what it had acknowledged. The library would end the process.
var ErrOtherHistory = errors.New("raftgroup: the message is of another history of the log")

// sameHistory refuses messages that contradict what this replica has committed, or speak of what it never had.
func (g *Group) sameHistory(m *pb.Message) error {
	if m.GetTerm() < g.term {
		return nil // it is stale, and answered as such
	}
	switch m.GetType() {
	case pb.MsgHeartbeat:
		if m.GetCommit() > g.lastIndex {
			return fmt.Errorf("%w: %d is committed at replica %d, the log ends at %d", ErrOtherHistory, m.GetCommit(), m.GetFrom(), g.lastIndex)
		}
	case pb.MsgApp:
		for _, e := range m.GetEntries() {
			if e.GetIndex() > g.committed {
				break
			}
			if term, err := g.st.Term(e.GetIndex()); err == nil && term != e.GetTerm() {
				return fmt.Errorf("%w: committed entry %d is of term %d, not of term %d", ErrOtherHistory, e.GetIndex(), term, e.GetTerm())
			}
		}
	case pb.MsgAppResp:
		if g.role == RoleLeader && !m.GetReject() && m.GetIndex() > g.lastIndex {
			return fmt.Errorf("%w: replica %d has entry %d, the log ends at %d", ErrOtherHistory, m.GetFrom(), m.GetIndex(), g.lastIndex)
		}
	}
	return nil
}

// Alone tells whether the replica with this id is the only voter of its group, by a position and the changes of membership that
// follow it in the log, whichever of those after committed are; and whether there is no learner either. Whoever is the only voter
// knows best what is committed, however much it has forgotten. Changes that do not follow from each other tell nothing: then it is not.
func Alone(id uint64, pos Position, changes []Entry, committed uint64) (sole, single bool, err error) {
	c := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: pos.Index}
	if c.Tracker.Config, c.Tracker.Progress, err = confchange.Restore(c, pos.confState()); err != nil {
		return false, false, fmt.Errorf("raftgroup: members at index %d: %w", pos.Index, err)
	}
	possible := []*pb.ConfState{c.Tracker.ConfState()}
	for _, e := range changes {
		if e.Index <= pos.Index {
			continue
		}
		cc, err := decodeConfChange(e.Data)
		if err != nil {
			return false, false, fmt.Errorf("raftgroup: membership change at index %d: %w", e.Index, err)
		}
		if c.Tracker.Config, c.Tracker.Progress, err = changed(c, cc); err != nil {
			return false, false, nil
		}
		if e.Index <= committed {
			possible = possible[:0]
		}
		possible = append(possible, c.Tracker.ConfState())
	}
	sole, single = true, true
	for _, s := range possible {
		sole = sole && slices.Equal(s.GetVoters(), []uint64{id}) && len(s.GetVotersOutgoing()) == 0
		single = single && len(s.GetLearners()) == 0 && len(s.GetLearnersNext()) == 0
	}
	return sole, sole && single, nil
}

// changed is what the library makes of a change, without its panic.
func changed(c confchange.Changer, cc *pb.ConfChangeV2) (tracker.Config, tracker.ProgressMap, error) {
	if cc.LeaveJoint() {
		return c.LeaveJoint()
	}
	if autoLeave, joint := cc.EnterJoint(); joint {
		return c.EnterJoint(autoLeave, cc.Changes...)
	}
	return c.Simple(cc.Changes...)
}

// Written returns the entries after an index that are in this replica's log. It is for one who saves a log that is kept in memory
// alone; the loop has ended.
func (g *Group) Written(after uint64) []Entry {
	var out []Entry
	for _, e := range g.st.tail {
		if e.GetIndex() > after {
			out = append(out, fromPB(e))
		}
	}
	return out
}
