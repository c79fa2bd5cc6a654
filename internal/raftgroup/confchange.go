package raftgroup

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
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

// ProposeConfChange appends a change of membership. Several changes at once go through a joint configuration, which the
// library leaves by itself. context is kept with the entry. A change that comes while another is not yet applied is
// replaced by an empty entry.
func (g *Group) ProposeConfChange(changes []Change, context []byte) error {
	if !g.Leading() {
		return NotLeader(g.leader)
	}
	cc := &pb.ConfChangeV2{Context: context}
	for _, c := range changes {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: changeType(c.Op).Enum(), NodeId: new(c.ID)})
	}
	g.dirty = true
	if err := g.rn.ProposeConfChange(cc); err != nil {
		return errcode.New(errcode.ProposalDropped)
	}
	return nil
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
	g.conf = g.rn.ApplyConfChange(cc)
	g.st.conf = g.conf
	return g.Status()
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
