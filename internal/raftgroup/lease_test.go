package raftgroup_test

import (
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var trio = raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}}

// leader makes replica 1 of three the leader of term 2 at 10 s, with its no-op (index 2) applied.
func leader(t *testing.T, pos raftgroup.Position) *raftgroup.Group {
	t.Helper()
	g := newGroup(t, raftgroup.Config{ID: 1, Position: pos})
	now := 10 * time.Second
	if err := g.Campaign(); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	answer := func(m *pb.Message) {
		t.Helper()
		m.From, m.To = new(uint64(2)), new(uint64(1))
		if err := g.Step(now, message(t, m)); err != nil {
			t.Fatal(err)
		}
		settleGroup(g)
	}
	answer(&pb.Message{Type: pb.MsgPreVoteResp.Enum(), Term: new(uint64(2))})
	answer(&pb.Message{Type: pb.MsgVoteResp.Enum(), Term: new(uint64(2))})
	if g.Lease() != (raftgroup.Lease{}) || g.Leading() {
		t.Fatal("a lease before the no-op is committed")
	}
	answer(&pb.Message{Type: pb.MsgAppResp.Enum(), Term: new(uint64(2)), Index: new(uint64(2))})
	if !g.Leading() {
		t.Fatalf("does not lead: %+v", g.Status())
	}
	return g
}

// beat lets ticks pass until heartbeats are sent, and returns the one to a replica as it is on the wire.
func beat(t *testing.T, g *raftgroup.Group, now time.Duration, to uint64) *pb.Message {
	t.Helper()
	for range 2 {
		g.Tick(now)
	}
	_, _, sent := settleSending(g)
	for _, m := range sent {
		if m.Kind() == "MsgHeartbeat" && m.To() == to {
			raw, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			out := new(pb.Message)
			if err := proto.Unmarshal(raw, out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	t.Fatal("no heartbeat")
	return nil
}

func answered(t *testing.T, g *raftgroup.Group, now time.Duration, from, term uint64, context []byte) {
	t.Helper()
	m := message(t, &pb.Message{
		Type: pb.MsgHeartbeatResp.Enum(), From: new(from), To: new(uint64(1)), Term: new(term), Context: context,
	})
	if err := g.Step(now, m); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
}

func TestLease(t *testing.T) {
	g := leader(t, trio)
	if g.Lease() != (raftgroup.Lease{}) {
		t.Error("a lease without an answered heartbeat")
	}
	sent := 20 * time.Second
	first := beat(t, g, sent, 2)
	answered(t, g, sent+500*time.Millisecond, 2, 2, first.GetContext())
	// 1 s, less a tick of 100 ms, less a tenth, from the moment of sending.
	want := raftgroup.Lease{Index: 2, Until: sent + 810*time.Millisecond}
	if got := g.Lease(); got != want {
		t.Errorf("lease %+v, want %+v", got, want)
	}
	for _, c := range []struct {
		index  uint64
		now    time.Duration
		covers bool
	}{{2, want.Until - 1, true}, {2, want.Until, false}, {1, want.Until - 1, false}} {
		if want.Covers(c.index, c.now) != c.covers {
			t.Errorf("%+v", c)
		}
	}
	// An old answer once more, and one of another term, change nothing; a newer one does.
	second := beat(t, g, sent+time.Second, 3)
	answered(t, g, sent+time.Second, 3, 1, second.GetContext())
	answered(t, g, sent+time.Second, 2, 2, first.GetContext())
	if got := g.Lease(); got != want {
		t.Errorf("lease %+v, want %+v", got, want)
	}
	answered(t, g, sent+time.Second, 3, 2, second.GetContext())
	if got := g.Lease(); got.Until != want.Until+time.Second {
		t.Errorf("lease %+v", got)
	}
	if err := g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	if got := g.Lease(); got != (raftgroup.Lease{}) {
		t.Errorf("lease %+v while handing over", got)
	}
	for n := range 12 {
		g.Tick(sent + 2*time.Second + time.Duration(n)*100*time.Millisecond)
		settleGroup(g)
		answered(t, g, sent+2*time.Second, 2, 2, first.GetContext())
	}
	third := beat(t, g, sent+4*time.Second, 2)
	answered(t, g, sent+4*time.Second, 2, 2, third.GetContext())
	if !g.Leading() || g.Lease() != (raftgroup.Lease{}) {
		t.Errorf("after a transfer that came to nothing: leading %t, lease %+v", g.Leading(), g.Lease())
	}
}

func TestLearnersGiveNoLease(t *testing.T) {
	pos := trio
	pos.Learners = []uint64{4, 5}
	g := leader(t, pos)
	now := 20 * time.Second
	for _, id := range []uint64{4, 5, 9} {
		m := beat(t, g, now, 2)
		raw := message(t, &pb.Message{
			Type: pb.MsgHeartbeatResp.Enum(), From: new(id), To: new(uint64(1)), Term: new(uint64(2)), Context: m.GetContext(),
		})
		// The library refuses a stranger.
		_ = g.Step(now, raw)
		settleGroup(g)
	}
	if got := g.Lease(); got != (raftgroup.Lease{}) {
		t.Errorf("lease %+v", got)
	}
}

// TestPromise: one that has heard a leader neither votes nor campaigns for an election timeout of its own clock, however
// close together its ticks come; a transfer of leadership overrides that.
func TestPromise(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: trio})
	step := func(now time.Duration, m *pb.Message) {
		t.Helper()
		m.To = new(uint64(1))
		if err := g.Step(now, message(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	heard := 10 * time.Second
	step(heard, &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(2)), Term: new(uint64(2)), Context: make([]byte, 8)})
	// The library forgets its leader with a higher term; the promise stays.
	step(heard, &pb.Message{Type: pb.MsgAppResp.Enum(), From: new(uint64(3)), Term: new(uint64(4))})
	settleGroup(g)
	vote := func(now time.Duration, term uint64, context string) bool {
		t.Helper()
		step(now, &pb.Message{
			Type: pb.MsgVote.Enum(), From: new(uint64(3)), Term: new(term), Index: new(uint64(9)), LogTerm: new(uint64(3)),
			Context: []byte(context),
		})
		_, _, sent := settleSending(g)
		return len(sent) == 1 && sent[0].Kind() == "MsgVoteResp"
	}
	for range 40 {
		g.Tick(heard + time.Second - 1)
	}
	if s := g.Status(); s.Role != raftgroup.RoleFollower || s.Term != 4 {
		t.Errorf("campaigned within its promise: %+v", s)
	}
	if vote(heard+time.Second-1, 5, "") {
		t.Error("voted within its promise")
	}
	if !vote(heard+time.Second-1, 5, "CampaignTransfer") {
		t.Error("did not vote for the one that leadership is transferred to")
	}
	if !vote(heard+time.Second, 6, "") {
		t.Error("did not vote after its promise")
	}
}

func TestReadIndexOfALoneLeader(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone, Incarnation: 7})
	if _, err := g.ReadIndex(); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("without a leader: %v", err)
	}
	if err := g.Campaign(); err != nil {
		t.Fatal(err)
	}
	rd, _ := g.Ready()
	for rd.Write == nil || len(rd.Write.Entries) == 0 {
		if rd.Write != nil {
			g.Persisted(rd.Write)
		}
		if rd, _ = g.Ready(); !rd.Changed && rd.Write == nil {
			t.Fatal("it does not elect itself")
		}
	}
	if _, err := g.ReadIndex(); g.Status().Role != raftgroup.RoleLeader || !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("before the no-op: %+v, %v", g.Status(), err)
	}
	g.Persisted(rd.Write)
	settleGroup(g)
	n, err := g.ReadIndex()
	if err != nil {
		t.Fatal(err)
	}
	if rd, ok := g.Ready(); !ok || len(rd.ReadStates) != 1 || rd.ReadStates[0] != (raftgroup.ReadState{Index: 2, Request: n}) {
		t.Errorf("%+v", rd.ReadStates)
	}
}

// TestOldAnswersToReads: an answer to a request of an earlier start is none to one of this start, though the numbers
// are the same.
func TestOldAnswersToReads(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: trio, Incarnation: 2})
	answer := func(incarnation byte) []raftgroup.ReadState {
		t.Helper()
		context := make([]byte, 16)
		context[0], context[8] = incarnation, 1
		if err := g.Step(time.Minute, message(t, &pb.Message{
			Type: pb.MsgReadIndexResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)), Index: new(uint64(7)),
			Entries: []*pb.Entry{{Data: context}},
		})); err != nil {
			t.Fatal(err)
		}
		rd, _ := g.Ready()
		return rd.ReadStates
	}
	if got := answer(1); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := answer(2); len(got) != 1 || got[0] != (raftgroup.ReadState{Index: 7, Request: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestStrangeMessages are refused before they reach the library, which would panic at some.
func TestStrangeMessages(t *testing.T) {
	for _, m := range []*pb.Message{
		{Type: pb.MsgProp.Enum(), Entries: []*pb.Entry{{Data: []byte("x")}}},
		{Type: pb.MsgTransferLeader.Enum()},
		{Type: pb.MsgHup.Enum()},
		{Type: pb.MsgReadIndex.Enum()},
		{Type: pb.MsgReadIndexResp.Enum()},
		{Type: pb.MsgHeartbeatResp.Enum(), Term: new(uint64(2)), Context: []byte("abc")},
		{Type: pb.MsgHeartbeatResp.Enum(), Term: new(uint64(2)), Context: []byte("abcdefghijk")},
		{Type: pb.MsgApp.Enum(), To: new(uint64(3)), Term: new(uint64(9))},
	} {
		g := leader(t, trio)
		m.From = new(uint64(2))
		if m.To == nil {
			m.To = new(uint64(1))
		}
		if err := g.Step(20*time.Second, message(t, m)); err == nil {
			t.Errorf("%v was taken", m)
		}
		settleGroup(g)
		if !g.Leading() {
			t.Errorf("%v ended its leadership", m)
		}
	}
}

func TestChangesThatLeaveNoVoter(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone})
	lead(t, g)
	for _, changes := range [][]raftgroup.Change{
		nil, {{Op: raftgroup.Remove, ID: 1}}, {{Op: raftgroup.AddLearner, ID: 1}, {Op: raftgroup.AddLearner, ID: 2}},
		{{Op: raftgroup.Remove, ID: 1}, {Op: raftgroup.AddVoter, ID: 0}},
	} {
		if err := g.ProposeConfChange(changes, nil); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("%v: %v", changes, err)
		}
	}
}

// TestTransferToNoVoter: who cannot lead gets nothing handed over, and the leader keeps its lease.
func TestTransferToNoVoter(t *testing.T) {
	g := leader(t, raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}, Learners: []uint64{4}})
	for _, to := range []uint64{0, 1, 4, 9} {
		if err := g.TransferLeader(to); !errcode.Is(err, errcode.IllegalParams) || !g.Leading() {
			t.Errorf("transfer to %d: %v, leading %t", to, err, g.Leading())
		}
	}
	now := 20 * time.Second
	if answered(t, g, now, 2, 2, beat(t, g, now, 2).GetContext()); g.Lease().Index == 0 {
		t.Error("the lease is lost")
	}
}

// TestLeaderThatIsLeftOutHandsOver: while the configuration is joint, and without leaving it first.
func TestLeaderThatIsLeftOutHandsOver(t *testing.T) {
	g := leader(t, trio)
	if err := g.ProposeConfChange([]raftgroup.Change{{Op: raftgroup.Remove, ID: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	for _, id := range []uint64{2, 3} {
		if err := g.Step(20*time.Second, message(t, &pb.Message{
			Type: pb.MsgAppResp.Enum(), From: new(id), To: new(uint64(1)), Term: new(uint64(2)), Index: new(uint64(3)),
		})); err != nil {
			t.Fatal(err)
		}
		_, _, sent := settleSending(g)
		for _, m := range sent {
			if m.Kind() == "MsgTimeoutNow" && g.Status().Joint && g.LastIndex() == 3 && !g.Leading() {
				return
			}
		}
	}
	t.Errorf("it does not hand over: %+v", g.Status())
}

// TestSnapshotFromALeader: it takes the place of the log, and entries go on after it.
func TestSnapshotFromALeader(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 3, Position: trio})
	meta := &pb.SnapshotMetadata{Index: new(uint64(9)), Term: new(uint64(2)), ConfState: &pb.ConfState{
		Voters: []uint64{1, 3}, VotersOutgoing: []uint64{1, 2, 3}, LearnersNext: []uint64{2}, AutoLeave: new(true),
	}}
	m := message(t, &pb.Message{
		Type: pb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(3)), Term: new(uint64(2)),
		Snapshot: &pb.Snapshot{Metadata: meta},
	})
	if pos, ok := m.Snapshot(); !ok || pos.Index != 9 || pos.Term != 2 || len(pos.Outgoing) != 3 || len(pos.LearnersNext) != 1 {
		t.Errorf("position %+v", pos)
	}
	if err := g.Step(time.Minute, m); err != nil {
		t.Fatal(err)
	}
	rd, ok := g.Ready()
	if !ok || rd.Write == nil || rd.Write.Snapshot == nil || rd.Write.Snapshot.Index != 9 || len(rd.Messages) != 0 {
		t.Fatalf("%+v", rd)
	}
	g.Persisted(rd.Write)
	if _, _, sent := settleSending(g); len(sent) == 0 || sent[0].Kind() != "MsgAppResp" {
		t.Errorf("sent %v", sent)
	}
	if s := g.Status(); s.Applied != 9 || s.LastIndex != 9 || !s.Joint || g.FirstIndex() != 10 {
		t.Errorf("status %+v, first %d", s, g.FirstIndex())
	}
	if pos := g.Position(); pos.Index != 9 || pos.Term != 2 || len(pos.Outgoing) != 3 {
		t.Errorf("position %+v", pos)
	}
	if err := g.Step(time.Minute, message(t, &pb.Message{
		Type: pb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(3)), Term: new(uint64(2)), Index: new(uint64(9)),
		LogTerm: new(uint64(2)), Commit: new(uint64(10)), Entries: []*pb.Entry{{Index: new(uint64(10)), Term: new(uint64(2))}},
	})); err != nil {
		t.Fatal(err)
	}
	if committed, _ := settleGroup(g); len(committed) != 1 || committed[0].Index != 10 {
		t.Errorf("committed %+v", committed)
	}
}

// TestRemovedVoterTells: a replica that is removed answers a request for its vote by what is committed; the one that asked
// learns by that of the membership it is in.
func TestRemovedVoterTells(t *testing.T) {
	two := raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2}}
	cc, err := proto.Marshal(&pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{
		{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(2))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	change := raftgroup.Entry{Index: 2, Term: 1, Type: raftgroup.EntryConfChange, Data: cc}
	res, older := disk([]raftgroup.Entry{change, {Index: 3, Term: 1}})
	res.HardState = raftgroup.HardState{Term: 1, Commit: 2}
	removed := newGroup(t, raftgroup.Config{ID: 2, Position: two, Restored: res, Older: older})
	settleGroup(removed)
	res, older = disk([]raftgroup.Entry{change})
	res.HardState = raftgroup.HardState{Term: 1, Commit: 1}
	left := newGroup(t, raftgroup.Config{ID: 1, Position: two, Restored: res, Older: older})
	if err := left.Campaign(); err != nil {
		t.Fatal(err)
	}
	_, _, sent := settleSending(left)
	if len(sent) != 1 || sent[0].Kind() != "MsgPreVote" {
		t.Fatalf("sent %v", sent)
	}
	if err := removed.Step(time.Minute, sent[0]); err != nil {
		t.Fatal(err)
	}
	_, _, sent = settleSending(removed)
	for _, m := range sent {
		_ = left.Step(time.Minute, m)
	}
	settleGroup(left)
	if s := left.Status(); s.Applied != 2 || !left.Lone() || s.LeaderID != 0 {
		t.Errorf("%+v", s)
	}
	lead(t, left)
}

// A voter whose leader is gone campaigns when its promise ends, not before, and in its turn; one that hears the leader does not.
func TestLeaderGone(t *testing.T) {
	follower := func(id uint64) *raftgroup.Group {
		g := newGroup(t, raftgroup.Config{ID: id, Position: trio})
		settleGroup(g)
		if err := g.Step(10*time.Second, message(t, &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(id), Term: new(uint64(2))})); err != nil {
			t.Fatal(err)
		}
		settleGroup(g)
		g.LeaderGone(3) // does not lead
		g.LeaderGone(1)
		return g
	}
	campaigns := func(g *raftgroup.Group, at time.Duration) bool {
		g.Tick(at)
		_, _, sent := settleSending(g)
		for _, m := range sent {
			if m.Kind() == "MsgPreVote" {
				return true
			}
		}
		return false
	}
	second, third := follower(2), follower(3)
	if campaigns(second, 10900*time.Millisecond) || campaigns(third, 10900*time.Millisecond) {
		t.Fatal("the promise to the leader was broken")
	}
	if !campaigns(second, 11*time.Second) || campaigns(third, 11*time.Second) {
		t.Fatal("the first voter campaigns when its promise ends, the second one waits for its turn")
	}
	if third.Status().LeaderID != 0 {
		t.Fatal("the leader is not forgotten: the first voter would get no vote")
	}
	if !campaigns(third, 11200*time.Millisecond) {
		t.Fatal("the second voter does not take its turn")
	}
	alive := follower(2)
	if err := alive.Step(10500*time.Millisecond, message(t, &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(2))})); err != nil {
		t.Fatal(err)
	}
	settleGroup(alive)
	if campaigns(alive, 11400*time.Millisecond) || alive.Status().LeaderID != 1 {
		t.Fatal("campaigns although the leader lives")
	}
}

// TestStall: a leader whose disk stands still gives up, and does not try to lead before its disk goes on.
func TestStall(t *testing.T) {
	g := leader(t, trio)
	now := 10 * time.Second
	campaigned := false
	ticks := func(n int) {
		t.Helper()
		for range n {
			now += g.TickLength()
			g.Tick(now)
			_, _, sent := settleSending(g)
			for _, m := range sent {
				if m.Kind() == "MsgHeartbeat" {
					raw, err := m.Append(nil)
					beat := new(pb.Message)
					if err := errors.Join(err, proto.Unmarshal(raw, beat)); err != nil {
						t.Fatal(err)
					}
					answered(t, g, now, m.To(), 2, beat.GetContext())
				}
				campaigned = campaigned || m.Kind() == "MsgPreVote"
			}
		}
	}
	timeout := int(g.ElectionTimeout() / g.TickLength())
	ticks(4 * timeout)
	if !g.Leading() {
		t.Fatal("it does not lead any more although its followers answer")
	}
	g.Stall(true)
	ticks(4 * timeout)
	if g.Leading() || g.Status().Role == raftgroup.RoleLeader {
		t.Error("it leads although its disk stands still")
	}
	if err := g.Step(now, message(t, &pb.Message{Type: pb.MsgTimeoutNow.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(2))})); err != nil {
		t.Error(err)
	}
	ticks(4 * timeout)
	if campaigned {
		t.Error("it campaigns although its disk stands still")
	}
	g.Stall(false)
	ticks(4 * timeout)
	if !campaigned {
		t.Error("it does not campaign although its disk goes on")
	}
	lone := newGroup(t, raftgroup.Config{ID: 1, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1}}})
	lead(t, lone)
	lone.Stall(true)
	for n := range 4 * timeout {
		lone.Tick(now + time.Duration(n)*lone.TickLength())
		settleGroup(lone)
	}
	if !lone.Leading() {
		t.Error("a lone voter has given up")
	}
}

// TestTransferWaitsForTheLastEntries: leadership is given up only when everything proposed here is applied, since of the rest this
// replica could not tell what becomes of it; a wait without end ends with the election timeout.
func TestTransferWaitsForTheLastEntries(t *testing.T) {
	g := leader(t, trio)
	now := 20 * time.Second
	stored := func(from, index uint64) (kinds []string) {
		t.Helper()
		if err := g.Step(now, message(t, &pb.Message{Type: pb.MsgAppResp.Enum(), From: new(from), To: new(uint64(1)), Term: new(uint64(2)), Index: new(index)})); err != nil {
			t.Fatal(err)
		}
		_, _, sent := settleSending(g)
		for _, m := range sent {
			if m.Kind() == "MsgTimeoutNow" {
				kinds = append(kinds, m.Kind())
			}
		}
		return kinds
	}
	propose := func() uint64 {
		t.Helper()
		index, err := g.Propose(2, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		return index
	}
	stored(2, 2)
	last := propose()
	if err := g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	if _, _, sent := settleSending(g); g.Leading() || len(sent) == 0 {
		t.Fatalf("leading %t, sent %v", g.Leading(), sent)
	}
	if _, err := g.Propose(2, []byte("y")); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("a proposal during a transfer: %v", err)
	}
	if kinds := stored(2, last); len(kinds) != 1 || g.Leading() || g.AppliedIndex() != last {
		t.Errorf("sent %v with the last entry applied (%d of %d), leading %t", kinds, g.AppliedIndex(), last, g.Leading())
	}

	g = leader(t, trio)
	propose()
	if err := g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		if g.Leading() {
			t.Errorf("the transfer is given up after %d ticks", 2*n)
		}
		// Heartbeats are answered, appends are not.
		heartbeat := beat(t, g, now+time.Duration(2*n)*100*time.Millisecond, 2)
		answered(t, g, now, 2, 2, heartbeat.GetContext())
	}
	if !g.Leading() {
		t.Error("a transfer that could not begin is never given up")
	}
}

// TestTransferDeclined: a voter that has just started may not take over. It says so, and the leader goes on at once, without its
// lease; others it asks in vain for what is over hear nothing that matters.
func TestTransferDeclined(t *testing.T) {
	g := leader(t, trio)
	if err := g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	_, _, sent := settleSending(g)
	if len(sent) != 1 || sent[0].Kind() != "MsgTimeoutNow" || g.Leading() {
		t.Fatalf("sent %v, leading %t", sent, g.Leading())
	}
	heir := newGroup(t, raftgroup.Config{ID: 2, Position: trio, Now: 10 * time.Second})
	settleGroup(heir)
	if err := heir.Step(10*time.Second, sent[0]); err != nil {
		t.Fatal(err)
	}
	_, _, answers := settleSending(heir)
	if len(answers) != 1 || heir.Status().Role == raftgroup.RoleCandidate {
		t.Fatalf("answers %v, %+v", answers, heir.Status())
	}
	for range 2 { // a message may come twice
		if err := g.Step(10*time.Second, answers[0]); err != nil {
			t.Fatal(err)
		}
		if settleGroup(g); !g.Leading() || g.Lease() != (raftgroup.Lease{}) {
			t.Fatalf("leading %t, lease %+v", g.Leading(), g.Lease())
		}
	}
	if _, err := g.Propose(2, []byte("x")); err != nil {
		t.Error(err)
	}
}
