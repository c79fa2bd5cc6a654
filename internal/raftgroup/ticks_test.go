package raftgroup_test

import (
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// mustIdle makes the ticks that may be put off, which must leave nothing to do, and returns how many they were.
func mustIdle(t *testing.T, g *raftgroup.Group, now time.Duration) int {
	t.Helper()
	ticks := g.IdleTicks()
	for n := range ticks {
		g.Tick(now)
		if rd, ok := g.Ready(); ok {
			t.Fatalf("tick %d of %d that should do nothing gave %+v", n+1, ticks, rd)
		}
	}
	return ticks
}

// TestIdleTicks: a leader may sleep until its next heartbeats, a follower for half as long as the leader may be silent; neither may be
// told so while something is under way.
func TestIdleTicks(t *testing.T) {
	g := leader(t, trio)
	now := 10 * time.Second
	for range 12 {
		if n := mustIdle(t, g, now); n != 1 {
			t.Fatalf("a leader may sleep for %d ticks, want 1", n)
		}
		if g.Tick(now); g.IdleTicks() != 0 {
			t.Fatal("a leader may sleep although heartbeats are to be sent")
		}
		if _, _, sent := settleSending(g); len(sent) != 2 {
			t.Fatalf("%d messages with a heartbeat that was due, want 2", len(sent))
		}
		for _, from := range []uint64{2, 3} { // else it would step down
			heard := &pb.Message{Type: pb.MsgAppResp.Enum(), From: new(from), To: new(uint64(1)), Term: new(uint64(2)), Index: new(uint64(2))}
			if err := g.Step(now, message(t, heard)); err != nil {
				t.Fatal(err)
			}
		}
		settleGroup(g)
	}
	if err := g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	if n := g.IdleTicks(); n != 0 {
		t.Fatalf("while it hands over a leader may sleep for %d ticks", n)
	}
}

func TestIdleTicksOfAFollower(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 2, Position: trio})
	settleGroup(g)
	if n := g.IdleTicks(); n != 0 {
		t.Fatalf("without a leader a voter may sleep for %d ticks", n)
	}
	now := 10 * time.Second
	heartbeat := func() {
		t.Helper()
		m := &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(2)), Context: make([]byte, 8)}
		if err := g.Step(now, message(t, m)); err != nil {
			t.Fatal(err)
		}
		settleGroup(g)
	}
	for range 5 {
		heartbeat()
		if n := mustIdle(t, g, now); n != 5 {
			t.Fatalf("a follower may sleep for %d ticks, want 5", n)
		}
		if n := g.IdleTicks(); n != 0 {
			t.Fatalf("a follower may sleep for %d more ticks", n)
		}
	}
	now += 2 * time.Second // nobody was heard: it campaigns within 20 ticks
	for range 20 {
		g.Tick(now)
	}
	if _, _, sent := settleSending(g); len(sent) == 0 {
		t.Fatal("a follower that had slept does not campaign")
	}
	heartbeat()
	g.LeaderGone(1)
	if n := g.IdleTicks(); n != 0 {
		t.Fatalf("after the end of its leader a follower may sleep for %d ticks", n)
	}
	for name, at := range map[string]raftgroup.Position{
		"learner":   {Index: 1, Term: 1, Voters: []uint64{1}, Learners: []uint64{2}},
		"no member": {Index: 1, Term: 1, Voters: []uint64{1}},
	} {
		g = newGroup(t, raftgroup.Config{ID: 2, Position: at})
		settleGroup(g)
		for range 5 {
			if n := mustIdle(t, g, now); n < 5 {
				t.Fatalf("%s: may sleep for %d ticks", name, n)
			}
		}
	}
}

// TestPace: ticks are due each second from 1 s on.
func TestPace(t *testing.T) {
	const ms = time.Millisecond
	at := func(p *raftgroup.Pace, now time.Duration, ticks int, due bool) {
		t.Helper()
		if got := p.MakeUp(now); got != ticks {
			t.Fatalf("at %s: %d ticks are made up for, want %d", now, got, ticks)
		}
		if got := p.Due(now); got != due {
			t.Fatalf("at %s: a tick is due: %t, want %t", now, got, due)
		}
	}
	rest := func(p *raftgroup.Pace, idle int, wake time.Duration) {
		t.Helper()
		if got := p.Rest(idle); got != wake {
			t.Fatalf("with %d idle ticks the next one is due at %s, want %s", idle, got, wake)
		}
	}
	p := raftgroup.NewPace(1000*ms, 1000*ms)
	rest(&p, 0, 1000*ms)
	at(&p, 999*ms, 0, false)
	at(&p, 1000*ms, 0, true)
	at(&p, 1500*ms, 0, false)
	rest(&p, 0, 2000*ms)
	at(&p, 4900*ms, 0, true) // three are late: one is made
	rest(&p, 3, 8000*ms)
	at(&p, 6100*ms, 2, false) // woken by something else
	rest(&p, 3, 10000*ms)
	at(&p, 10000*ms, 3, true)
	rest(&p, 3, 14000*ms)
	at(&p, 15500*ms, 3, true) // overslept a little
	rest(&p, 3, 19000*ms)
	at(&p, 24100*ms, 1, false) // stopped: that time does not count
	rest(&p, 0, 25000*ms)
	at(&p, 100*time.Hour, 0, true)
	rest(&p, 0, 100*time.Hour+1000*ms)
}

// said gives the leader of term 2 a message.
func said(t *testing.T, g *raftgroup.Group, now time.Duration, m *pb.Message) {
	t.Helper()
	m.To, m.Term = new(uint64(1)), new(uint64(2))
	if err := g.Step(now, message(t, m)); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
}

// beatsOfASecond counts the heartbeats of ten ticks, which are answered by those who answer.
func beatsOfASecond(t *testing.T, g *raftgroup.Group, now time.Duration, answering []uint64) map[uint64]int {
	t.Helper()
	got := map[uint64]int{}
	for n := range time.Duration(10) {
		at := now + n*100*time.Millisecond
		g.Tick(at)
		_, _, sent := settleSending(g)
		for _, m := range sent {
			if m.Kind() != "MsgHeartbeat" {
				continue
			}
			got[m.To()]++
			raw, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			beat := new(pb.Message)
			if err := proto.Unmarshal(raw, beat); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(answering, m.To()) {
				said(t, g, at, &pb.Message{Type: pb.MsgHeartbeatResp.Enum(), From: new(m.To()), Context: beat.Context})
			}
		}
	}
	return got
}

// TestRestingLearners: a learner that has everything gets one heartbeat in an election timeout, voters get them all, and a learner that
// is behind, does not answer or cannot be reached does too.
func TestRestingLearners(t *testing.T) {
	pos := trio
	pos.Learners = []uint64{4, 5}
	g := leader(t, pos)
	now := 10 * time.Second
	appended := func(from uint64) {
		t.Helper()
		said(t, g, now, &pb.Message{Type: pb.MsgAppResp.Enum(), From: new(from), Index: new(g.LastIndex())})
	}
	second := func(answering ...uint64) map[uint64]int {
		t.Helper()
		now += time.Second
		return beatsOfASecond(t, g, now, answering)
	}
	want := func(got map[uint64]int, voters, four, five int) {
		t.Helper()
		if got[2] != voters || got[3] != voters || got[4] != four || got[5] != five {
			t.Fatalf("heartbeats: %v, want %d for the voters, %d and %d for the learners", got, voters, four, five)
		}
	}
	appended(2)
	appended(3)
	want(second(2, 3), 5, 5, 5) // nothing was heard of the learners
	appended(4)
	appended(5)
	want(second(2, 3, 4, 5), 5, 1, 1)
	want(second(2, 3, 4, 5), 5, 1, 1)
	want(second(2, 3, 4), 5, 1, 1)
	want(second(2, 3, 4), 5, 1, 5) // it has not answered
	if _, err := g.Propose(2, []byte("x")); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	appended(2)
	appended(4)
	got := second(2, 3, 4, 5)
	if got[4] > 2 || got[5] != 5 {
		t.Fatalf("heartbeats: %v, replica 5 is behind", got)
	}
	g.PeerGone(4)
	if got := second(2, 3); got[4] != 5 {
		t.Fatalf("heartbeats: %v, the process of 4 has ended", got)
	}
}
