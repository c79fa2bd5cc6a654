package raftgroup_test

import (
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// confEntry is a change of membership as an entry: pairs of type and id.
func confEntry(t *testing.T, index uint64, changes ...any) raftgroup.Entry {
	t.Helper()
	cc := &pb.ConfChangeV2{}
	for n := 0; n < len(changes); n += 2 {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: changes[n].(pb.ConfChangeType).Enum(), NodeId: new(uint64(changes[n+1].(int)))})
	}
	data, err := proto.Marshal(cc)
	if err != nil {
		t.Fatal(err)
	}
	return raftgroup.Entry{Index: index, Term: 1, Type: raftgroup.EntryConfChange, Data: data}
}

// TestAlone: whoever may have had another voter beside it is not the only one.
func TestAlone(t *testing.T) {
	const voter, learner, remove = pb.ConfChangeAddNode, pb.ConfChangeAddLearnerNode, pb.ConfChangeRemoveNode
	at := func(voters ...uint64) raftgroup.Position {
		return raftgroup.Position{Index: 10, Term: 1, Voters: voters}
	}
	for _, c := range []struct {
		name         string
		pos          raftgroup.Position
		changes      []raftgroup.Entry
		committed    uint64
		sole, single bool
	}{
		{"alone", at(1), nil, 20, true, true},
		{"one of three", at(1, 2, 3), nil, 20, false, false},
		{"somebody else", at(2), nil, 20, false, false},
		{"with a learner", raftgroup.Position{Index: 10, Term: 1, Voters: []uint64{1}, Learners: []uint64{2}}, nil, 20, true, false},
		{"a learner came later", at(1), []raftgroup.Entry{confEntry(t, 12, learner, 2)}, 12, true, false},
		{"a learner may have come", at(1), []raftgroup.Entry{confEntry(t, 12, learner, 2)}, 11, true, false},
		{"a voter came", at(1), []raftgroup.Entry{confEntry(t, 12, voter, 2)}, 12, false, false},
		{"a voter may have come", at(1), []raftgroup.Entry{confEntry(t, 12, voter, 2)}, 11, false, false},
		{"came before the snapshot", at(1), []raftgroup.Entry{confEntry(t, 9, voter, 2)}, 11, true, true},
		{"the other has left", at(1, 2), []raftgroup.Entry{confEntry(t, 12, remove, 2)}, 12, true, true},
		{"the other may have left", at(1, 2), []raftgroup.Entry{confEntry(t, 12, remove, 2)}, 11, false, false},
		{"no such change can follow", at(1), []raftgroup.Entry{confEntry(t, 12)}, 12, false, false},
		{"a voter came and went", at(1), []raftgroup.Entry{confEntry(t, 12, voter, 2), confEntry(t, 13, remove, 2)}, 13, true, true},
	} {
		sole, single, err := raftgroup.Alone(1, c.pos, c.changes, c.committed)
		if err != nil || sole != c.sole || single != c.single {
			t.Errorf("%s: sole %t, single %t, %v", c.name, sole, single, err)
		}
	}
	if _, _, err := raftgroup.Alone(1, at(1), []raftgroup.Entry{{Index: 12, Type: raftgroup.EntryConfChange, Data: []byte{0xff}}}, 12); err == nil {
		t.Error("damage was not noticed")
	}
}

// decoded makes a message of the library one of ours.
func decoded(t *testing.T, m *pb.Message) raftgroup.Message {
	t.Helper()
	m.To, m.From = new(uint64(1)), new(uint64(2))
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := raftgroup.DecodeMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOtherHistory: a replica that has forgotten what its leader counts on, or has committed other entries than its leader has, refuses
// what the library would panic of.
func TestOtherHistory(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Now: time.Minute, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}},
		Applied: 2, Tail: []raftgroup.Entry{{Index: 2, Term: 2}, {Index: 3, Term: 2}},
		Restored: raftgroup.Restored{HardState: raftgroup.HardState{Term: 2, Commit: 2}, FirstIndex: 2, LastIndex: 3,
			Terms: []raftgroup.TermRun{{Index: 2, Term: 2}}}})
	settleGroup(g)
	for _, m := range []*pb.Message{
		{Type: pb.MsgHeartbeat.Enum(), Term: new(uint64(3)), Commit: new(uint64(9))},
		{Type: pb.MsgApp.Enum(), Term: new(uint64(3)), Index: new(uint64(1)), LogTerm: new(uint64(1)), Commit: new(uint64(1)),
			Entries: []*pb.Entry{{Index: new(uint64(2)), Term: new(uint64(1))}}},
	} {
		if err := g.Step(2*time.Minute, decoded(t, m)); !errors.Is(err, raftgroup.ErrOtherHistory) {
			t.Errorf("%s: %v", m.GetType(), err)
		}
	}
	if err := g.Step(2*time.Minute, decoded(t, &pb.Message{Type: pb.MsgHeartbeat.Enum(), Term: new(uint64(3)), Commit: new(uint64(3))})); err != nil {
		t.Error(err)
	}
}

// TestMute: a replica that may have forgotten something says nothing, takes nothing, and never leads, not even where it is the only
// voter; a log that ends too early is none of its concern.
func TestMute(t *testing.T) {
	for _, voters := range [][]uint64{{1}, {1, 2, 3}} {
		g := newGroup(t, raftgroup.Config{ID: 1, Now: time.Minute, Mute: true, Position: raftgroup.Position{Index: 1, Term: 1, Voters: voters},
			Restored: raftgroup.Restored{HardState: raftgroup.HardState{Term: 2, Vote: 1, Commit: 9}, FirstIndex: 2, LastIndex: 3,
				Terms: []raftgroup.TermRun{{Index: 2, Term: 2}}}})
		_ = g.Campaign()
		for n := range 100 {
			g.Tick(time.Minute + time.Duration(n)*time.Second)
			for _, m := range []*pb.Message{
				{Type: pb.MsgVote.Enum(), Term: new(uint64(30)), Index: new(uint64(100)), LogTerm: new(uint64(20))},
				{Type: pb.MsgApp.Enum(), Term: new(uint64(30)), Index: new(uint64(3)), LogTerm: new(uint64(2)), Commit: new(uint64(3))},
			} {
				if err := g.Step(time.Hour, decoded(t, m)); err == nil {
					t.Fatal("a message was taken")
				}
			}
			committed, writes, sent := settleSending(g)
			if len(committed)+len(writes)+len(sent) > 0 {
				t.Fatalf("%d entries, %d writes, %d messages", len(committed), len(writes), len(sent))
			}
		}
		if s := g.Status(); !s.Muted || s.Role != raftgroup.RoleFollower || s.Term != 2 || len(s.Voters) != 0 || g.Lone() {
			t.Errorf("%+v", s)
		}
	}
}
