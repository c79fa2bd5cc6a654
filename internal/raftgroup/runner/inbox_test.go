package runner_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// heartbeat is one of replica 1 in a term that nobody else has seen.
func heartbeat(t *testing.T, to uint64) raftgroup.Message {
	t.Helper()
	raw, err := proto.Marshal(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(to), Term: new(uint64(1000)), Context: make([]byte, 8)})
	if err != nil {
		t.Fatal(err)
	}
	m, err := raftgroup.DecodeMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAsk: who waits for an answer gets what the group says to him, and nobody else does; he never waits in vain, whatever becomes of
// the loop.
func TestAsk(t *testing.T) { synctest.Test(t, askLoop) }

func askLoop(t *testing.T) {
	net, members := startTrio(t)
	awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	sent := make(chan raftgroup.Message, 1000)
	net.mu.Lock()
	net.drop = func(m raftgroup.Message) bool {
		if m.To() == 1 && m.Kind() == "MsgHeartbeatResp" && m.Term() == 1000 {
			sent <- m
		}
		return true // replica 1 is left to this test
	}
	net.mu.Unlock()
	two := members[2].loop
	answered := make(chan []raftgroup.Message, 1)
	ask := func() bool {
		return two.Ask(heartbeat(t, 2), func(said []raftgroup.Message) { answered <- append([]raftgroup.Message(nil), said...) })
	}
	get := func() []raftgroup.Message {
		t.Helper()
		select {
		case said := <-answered:
			return said
		case <-time.After(30 * time.Second):
			t.Fatal("no answer")
			return nil
		}
	}
	// The first ones may be answered with less: the term is written before anything is said.
	eventually(t, "a heartbeat is not answered", func() bool {
		if !ask() {
			return false
		}
		for _, m := range get() {
			if m.Kind() == "MsgHeartbeatResp" && m.To() == 1 && m.Term() == 1000 {
				return true
			}
		}
		return false
	})
	for len(sent) > 0 {
		<-sent
	}
	// While the loop does something else only one waits; the others are taken without.
	release := make(chan struct{})
	held := make(chan struct{})
	go func() {
		_ = two.Call(context.Background(), func(*raftgroup.Group) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	if !ask() || ask() {
		t.Error("one may wait while the loop is busy, and no second one")
	}
	close(release)
	get()
	select {
	case <-sent:
	case <-time.After(30 * time.Second):
		t.Error("the heartbeat that nobody waited for is not answered")
	}
	stopAll(t, members)
	if ask() && len(get()) != 0 {
		t.Error("a loop that has ended answers")
	}
}
