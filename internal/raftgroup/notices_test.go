package raftgroup_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// appends are the messages that a group gives out for followers: "receiver: entries, commit".
func appends(t *testing.T, g *raftgroup.Group) (all []string) {
	t.Helper()
	_, _, sent := settleSending(g)
	for _, m := range sent {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p := new(pb.Message)
		if err := proto.Unmarshal(b, p); err != nil {
			t.Fatal(err)
		}
		if p.GetType() == pb.MsgApp {
			all = append(all, fmt.Sprintf("%d: %d, %d", p.GetTo(), len(p.GetEntries()), p.GetCommit()))
		}
	}
	slices.Sort(all)
	return all
}

// TestNotices: while they are held, nobody is told of a commit alone but by SendNotices; the next entry tells it too; a leader that
// is none any more tells nothing.
func TestNotices(t *testing.T) {
	g := leader(t, trio) // 2 is the no-op, acknowledged by replica 2
	now := 10 * time.Second
	expect := func(what string, held bool, want ...string) {
		t.Helper()
		if got := appends(t, g); !slices.Equal(got, want) || g.HoldsNotices() != held {
			t.Errorf("%s: %q, held %t; want %q, %t", what, got, g.HoldsNotices(), want, held)
		}
	}
	ack := func(from, index uint64) {
		t.Helper()
		if err := g.Step(now, message(t, &pb.Message{Type: pb.MsgAppResp.Enum(), From: new(from), To: new(uint64(1)),
			Term: new(uint64(2)), Index: new(index)})); err != nil {
			t.Fatal(err)
		}
	}
	propose := func() {
		t.Helper()
		if _, err := g.Propose(g.Term(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ack(3, 2)
	expect("both have the no-op, which one was not told", false, "3: 0, 2")
	propose()
	expect("an entry", false, "2: 1, 2", "3: 1, 2")
	ack(2, 3)
	expect("its commit, nothing held", false, "2: 0, 3", "3: 0, 3")
	ack(3, 3)

	g.HoldNotices(true)
	propose()
	expect("an entry", false, "2: 1, 3", "3: 1, 3")
	ack(2, 4)
	expect("its commit", true)
	ack(3, 4)
	propose()
	expect("the entry that tells the commit", false, "2: 1, 4", "3: 1, 4")
	propose()
	expect("one more", false, "2: 1, 4", "3: 1, 4")
	ack(2, 6)
	expect("two commits", true)
	g.SendNotices()
	expect("what was held, the newest alone", false, "2: 0, 6", "3: 0, 6")
	g.SendNotices()
	expect("nothing more", false)

	propose()
	settleGroup(g)
	ack(3, 7)
	expect("its commit", true)
	g.HoldNotices(false)
	propose()
	expect("the entry that tells the commit", false, "2: 1, 7", "3: 1, 7")
	ack(3, 8)
	expect("its commit, nothing held", false, "2: 0, 8", "3: 0, 8")

	g.HoldNotices(true)
	propose()
	settleGroup(g)
	ack(3, 9)
	expect("its commit", true)
	if err := g.Step(now, message(t, &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)),
		Term: new(uint64(3)), Context: make([]byte, 8)})); err != nil {
		t.Fatal(err)
	}
	expect("another leader", false)
}
