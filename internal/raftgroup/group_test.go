package raftgroup_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var lone = raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1}}

func newGroup(t *testing.T, cfg raftgroup.Config) *raftgroup.Group {
	t.Helper()
	g, err := raftgroup.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// settleGroup finishes all work of a group whose disk is fast; it returns what was committed and written.
func settleGroup(g *raftgroup.Group) (committed []raftgroup.Entry, writes []*raftgroup.Write) {
	committed, writes, _ = settleSending(g)
	return committed, writes
}

// settleSending returns what was sent, too.
func settleSending(g *raftgroup.Group) (committed []raftgroup.Entry, writes []*raftgroup.Write, sent []raftgroup.Message) {
	for {
		rd, ok := g.Ready()
		if !ok {
			return committed, writes, sent
		}
		sent = append(sent, rd.Messages...)
		for _, e := range rd.Committed {
			if e.Type == raftgroup.EntryConfChange {
				g.ApplyConfChange(e)
			}
			committed = append(committed, e)
		}
		if len(rd.Committed) > 0 {
			g.Applied()
		}
		if rd.Write != nil {
			writes = append(writes, rd.Write)
			g.Persisted(rd.Write)
		}
	}
}

func lead(t *testing.T, g *raftgroup.Group) {
	t.Helper()
	if err := g.Campaign(); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	if !g.Leading() {
		t.Fatalf("does not lead: %+v", g.Status())
	}
}

func TestPipelinedProposals(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone})
	if g.Leading() {
		t.Error("leads before its election")
	}
	if _, err := g.Propose(1, []byte("x")); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("proposal without a leader: %v", err)
	}
	lead(t, g)
	// Three entries are given to the disk before the first is durable; only what is durable is committed.
	var writes []*raftgroup.Write
	for i := uint64(3); i <= 5; i++ {
		index, err := g.Propose(2, fmt.Append(nil, i))
		if err != nil || index != i {
			t.Fatalf("index %d, %v", index, err)
		}
		rd, ok := g.Ready()
		if !ok || rd.Write == nil || len(rd.Write.Entries) != 1 || rd.Write.Entries[0].Index != i || len(rd.Committed) > 0 {
			t.Fatalf("entry %d: %+v", i, rd)
		}
		writes = append(writes, rd.Write)
	}
	for i, w := range writes {
		g.Persisted(w)
		committed, _ := settleGroup(g)
		if len(committed) != 1 || committed[0].Index != uint64(i)+3 || string(committed[0].Data) != fmt.Sprint(i+3) {
			t.Fatalf("write %d commits %+v", i, committed)
		}
	}
	if s := g.Status(); s.Committed != 5 || s.Applied != 5 || s.LastIndex != 5 || s.Role != raftgroup.RoleLeader {
		t.Errorf("status %+v", s)
	}
}

// disk answers for the log on disk.
func disk(entries []raftgroup.Entry) (raftgroup.Restored, func(lo, hi, max uint64) ([]raftgroup.Entry, error)) {
	res := raftgroup.Restored{FirstIndex: entries[0].Index, LastIndex: entries[len(entries)-1].Index}
	for _, e := range entries {
		if n := len(res.Terms); n == 0 || res.Terms[n-1].Term != e.Term {
			res.Terms = append(res.Terms, raftgroup.TermRun{Index: e.Index, Term: e.Term})
		}
		if e.Type == raftgroup.EntryConfChange {
			res.ConfChanges = append(res.ConfChanges, e)
		}
	}
	return res, func(lo, hi, max uint64) ([]raftgroup.Entry, error) {
		var out []raftgroup.Entry
		for _, e := range entries {
			if e.Index >= lo && e.Index < hi && (len(out) == 0 || max > 0) {
				out = append(out, e)
				max -= min(max, uint64(len(e.Data))+1)
			}
		}
		return out, nil
	}
}

func normal(first, last, term uint64) (out []raftgroup.Entry) {
	for i := first; i <= last; i++ {
		out = append(out, raftgroup.Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "d%d", i)})
	}
	return out
}

func indexes(entries []raftgroup.Entry) (out []uint64) {
	for _, e := range entries {
		out = append(out, e.Index)
	}
	return out
}

func TestRestartGivesOutWhatIsNotApplied(t *testing.T) {
	entries := append(normal(2, 6, 1), normal(7, 9, 3)...)
	res, older := disk(entries)
	res.HardState = raftgroup.HardState{Term: 4, Vote: 1, Commit: 7}
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone, Applied: 5, Restored: res, Older: older})
	committed, _ := settleGroup(g)
	if got := indexes(committed); !slices.Equal(got, []uint64{6, 7}) {
		t.Errorf("before the election %v are committed", got)
	}
	if err := g.Campaign(); err != nil {
		t.Fatal(err)
	}
	committed, writes := settleGroup(g)
	if got := indexes(committed); !slices.Equal(got, []uint64{8, 9, 10}) || g.Term() != 5 {
		t.Errorf("after it %v, in term %d", got, g.Term())
	}
	if len(writes) == 0 || writes[0].HardState == nil || writes[0].HardState.Term != 5 || writes[0].HardState.Vote != 1 {
		t.Errorf("the vote was not written first: %+v", writes)
	}
}

func TestLostTail(t *testing.T) {
	res, older := disk(normal(2, 6, 1))
	res.HardState = raftgroup.HardState{Term: 1, Commit: 9}
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone, Restored: res, Older: older})
	if g.Lost() != 3 {
		t.Errorf("lost %d, want 3", g.Lost())
	}
	lead(t, g)
	if s := g.Status(); s.Committed != 7 {
		t.Errorf("a lone voter goes on from the end of its log: %+v", s)
	}
	three := raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}}
	if _, err := raftgroup.New(raftgroup.Config{ID: 1, Position: three, Restored: res, Older: older}); !errors.Is(err,
		raftgroup.ErrLogShort) {
		t.Errorf("one of three voters: %v", err)
	}
}

func TestSnapshotAndLogMustMeet(t *testing.T) {
	res, older := disk(normal(10, 12, 2))
	for _, c := range []struct {
		pos raftgroup.Position
		ok  bool
	}{
		{raftgroup.Position{Index: 8, Term: 1, Voters: []uint64{1}}, false},
		{raftgroup.Position{Index: 9, Term: 1, Voters: []uint64{1}}, true},
		{raftgroup.Position{Index: 11, Term: 2, Voters: []uint64{1}}, true},
		{raftgroup.Position{Index: 11, Term: 1, Voters: []uint64{1}}, false},
	} {
		_, err := raftgroup.New(raftgroup.Config{ID: 1, Position: c.pos, Restored: res, Older: older})
		if (err == nil) != c.ok {
			t.Errorf("snapshot at %+v: %v", c.pos, err)
		}
	}
}

func TestTailIsBounded(t *testing.T) {
	var written []raftgroup.Entry
	cfg := raftgroup.Config{ID: 1, Position: lone, TailBytes: 10_000}
	reads := 0
	cfg.Older = func(lo, hi, max uint64) ([]raftgroup.Entry, error) {
		reads++
		return written[lo-2 : hi-2], nil
	}
	g := newGroup(t, cfg)
	lead(t, g)
	written = append(written, raftgroup.Entry{Index: 2, Term: 2})
	for range 200 {
		index, err := g.Propose(2, make([]byte, 500))
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, raftgroup.Entry{Index: index, Term: 2, Data: make([]byte, 500)})
		settleGroup(g)
	}
	if reads != 0 || g.FirstIndex() != 2 {
		t.Errorf("%d reads, first index %d", reads, g.FirstIndex())
	}
	g.Compact(150)
	if g.FirstIndex() != 151 {
		t.Errorf("first index %d after compaction to 150", g.FirstIndex())
	}
	// Without a log on disk the positions go with the entries.
	cfg.Older = nil
	g = newGroup(t, cfg)
	lead(t, g)
	for range 200 {
		if _, err := g.Propose(2, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
		settleGroup(g)
	}
	if first := g.FirstIndex(); first < 150 {
		t.Errorf("first index %d of a log in memory", first)
	}
}

func TestMembershipSurvivesRestart(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone})
	lead(t, g)
	if err := g.ProposeConfChange([]raftgroup.Change{{Op: raftgroup.AddLearner, ID: 2}}, []byte("catalog 17")); err != nil {
		t.Fatal(err)
	}
	committed, _ := settleGroup(g)
	if s := g.Status(); !slices.Equal(s.Learners, []uint64{2}) || !slices.Equal(s.Voters, []uint64{1}) || !g.Lone() {
		t.Errorf("status %+v", s)
	}
	cc := committed[0]
	changes, context, err := raftgroup.DecodeConfChange(cc.Data)
	want := []raftgroup.Change{{Op: raftgroup.AddLearner, ID: 2}}
	if err != nil || string(context) != "catalog 17" || !slices.Equal(changes, want) {
		t.Errorf("%v %q %v", changes, context, err)
	}
	res, older := disk([]raftgroup.Entry{{Index: 2, Term: 2}, cc})
	res.HardState = raftgroup.HardState{Term: 2, Vote: 1, Commit: 3}
	g = newGroup(t, raftgroup.Config{ID: 1, Position: lone, Applied: 3, Restored: res, Older: older})
	if s := g.Status(); !slices.Equal(s.Learners, []uint64{2}) {
		t.Errorf("after a restart with the change applied: %+v", s)
	}
	g = newGroup(t, raftgroup.Config{ID: 1, Position: lone, Applied: 2, Restored: res, Older: older})
	settleGroup(g)
	if s := g.Status(); !slices.Equal(s.Learners, []uint64{2}) {
		t.Errorf("after a restart with the change not applied: %+v", s)
	}
}

func message(t *testing.T, m *pb.Message) raftgroup.Message {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := raftgroup.DecodeMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVoteIsWrittenBeforeItIsGiven: the term is known already, only the vote is new.
func TestVoteIsWrittenBeforeItIsGiven(t *testing.T) {
	now := time.Duration(0)
	res, older := disk(normal(2, 5, 1))
	res.HardState = raftgroup.HardState{Term: 1, Commit: 5}
	g := newGroup(t, raftgroup.Config{
		ID: 1, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}}, Restored: res, Older: older,
	})
	ask := func(from, lastIndex uint64) {
		t.Helper()
		if err := g.Step(now, message(t, &pb.Message{
			Type: pb.MsgVote.Enum(), From: new(from), To: new(uint64(1)), Term: new(uint64(5)), Index: new(lastIndex),
			LogTerm: new(uint64(1)),
		})); err != nil {
			t.Fatal(err)
		}
	}
	settleGroup(g)
	ask(2, 3)
	if _, writes, sent := settleSending(g); len(writes) != 0 || len(sent) != 0 {
		t.Error("a restarted voter answered within its first election timeout")
	}
	now = time.Second
	ask(2, 3)
	if _, writes := settleGroup(g); len(writes) != 1 || writes[0].HardState.Term != 5 || writes[0].HardState.Vote != 0 {
		t.Fatalf("a refused vote leaves %+v", writes)
	}
	ask(3, 5)
	rd, ok := g.Ready()
	if !ok || rd.Write == nil || rd.Write.HardState == nil || rd.Write.HardState.Vote != 3 {
		t.Fatalf("a given vote is to be written: %+v", rd.Write)
	}
	if len(rd.Messages) != 0 {
		t.Error("the vote was sent before it was durable")
	}
	g.Persisted(rd.Write)
	if _, _, sent := settleSending(g); len(sent) != 1 || sent[0].Kind() != "MsgVoteResp" || sent[0].To() != 3 {
		t.Errorf("sent %v", sent)
	}
}

func TestForeignMessages(t *testing.T) {
	if _, err := raftgroup.DecodeMessage([]byte{0xff, 0x01}); err == nil {
		t.Error("garbage was decoded")
	}
	if _, err := raftgroup.DecodeMessage(nil); err == nil {
		t.Error("a message of nobody was decoded")
	}
}

func FuzzDecodeMessage(f *testing.F) {
	raw, err := proto.Marshal(&pb.Message{
		Type: pb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
		Entries: []*pb.Entry{{Index: new(uint64(4)), Term: new(uint64(3)), Data: []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 256, func() {
			_, _ = raftgroup.DecodeMessage(b)
			_, _, _ = raftgroup.DecodeConfChange(b)
		})
		m, err := raftgroup.DecodeMessage(b)
		if err != nil {
			return
		}
		if _, err := m.Append(nil); err != nil || m.Kind() == "" {
			t.Fatalf("decoded and cannot be encoded: %v", err)
		}
	})
}

// TestLeadsOnlyAfterItsNoOp: entries of former leaders come in several pieces; work may be computed after the last of them.
func TestLeadsOnlyAfterItsNoOp(t *testing.T) {
	entries := normal(2, 5, 1)
	big := make([]byte, 9<<20)
	for i := range entries {
		entries[i].Data = big
	}
	res, older := disk(entries)
	res.HardState = raftgroup.HardState{Term: 1, Commit: 1}
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone, Restored: res, Older: older})
	if err := g.Campaign(); err != nil {
		t.Fatal(err)
	}
	pieces := 0
	for {
		rd, ok := g.Ready()
		if !ok {
			break
		}
		if n := len(rd.Committed); n > 0 {
			pieces++
			g.Applied()
			if noop := rd.Committed[n-1].Term == 2; g.Leading() != noop {
				t.Fatalf("after index %d, leading: %t", rd.Committed[n-1].Index, g.Leading())
			}
		}
		if rd.Write != nil {
			g.Persisted(rd.Write)
		}
	}
	if pieces < 2 || !g.Leading() {
		t.Errorf("%d pieces, leading: %t", pieces, g.Leading())
	}
}

// TestMembershipIsNoted: that a change of membership is committed is on disk before anybody is told that it is complete.
func TestMembershipIsNoted(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone})
	lead(t, g)
	if err := g.ProposeConfChange([]raftgroup.Change{{Op: raftgroup.AddLearner, ID: 2}}, nil); err != nil {
		t.Fatal(err)
	}
	changed := g.LastIndex()
	var writes []*raftgroup.Write
	for g.Status().Applied < changed {
		rd, ok := g.Ready()
		if !ok {
			t.Fatalf("the change is not applied: %+v", g.Status())
		}
		for _, e := range rd.Committed {
			g.ApplyConfChange(e)
		}
		if len(rd.Committed) > 0 {
			g.Applied()
		}
		if rd.Write != nil && g.Status().Applied < changed {
			g.Persisted(rd.Write)
		} else if rd.Write != nil {
			writes = append(writes, rd.Write)
		}
	}
	if s := g.Status(); !s.Joint || len(s.Learners) != 1 {
		t.Errorf("the change is complete before it is noted: %+v", s)
	}
	for rd, ok := g.Ready(); ok; rd, ok = g.Ready() {
		if rd.Write != nil {
			writes = append(writes, rd.Write)
		}
	}
	if len(writes) != 1 || writes[0].HardState == nil || writes[0].Commit < changed || writes[0].HardState.Term != g.Term() {
		t.Fatalf("the change at index %d is noted by %+v", changed, writes)
	}
	g.Persisted(writes[0])
	if s := g.Status(); s.Joint {
		t.Errorf("the change is noted and not complete: %+v", s)
	}
}

// TestProposalNamesItsTerm: what was computed in one leadership is not proposed in a later one of the same replica, and what
// is proposed carries the term in which it was computed.
func TestProposalNamesItsTerm(t *testing.T) {
	g := newGroup(t, raftgroup.Config{ID: 1, Position: lone})
	lead(t, g)
	computed := g.Term()
	overthrown := message(t, &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(9)), To: new(uint64(1)), Term: new(uint64(7)), Context: make([]byte, 8)})
	if err := g.Step(time.Second, overthrown); err != nil {
		t.Fatal(err)
	}
	settleGroup(g)
	lead(t, g)
	if _, err := g.Propose(computed, []byte("old")); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("an entry of term %d was proposed in term %d: %v", computed, g.Term(), err)
	}
	if _, err := g.Propose(g.Term(), []byte("new")); err != nil {
		t.Fatal(err)
	}
	if committed, _ := settleGroup(g); len(committed) != 1 || committed[0].Term != g.Term() || string(committed[0].Data) != "new" {
		t.Errorf("committed %+v in term %d", committed, g.Term())
	}
}
