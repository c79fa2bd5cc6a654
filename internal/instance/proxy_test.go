package instance

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// leaderAway answers statements as told.
type leaderAway struct {
	asked  chan []wire.ProxyStatement
	answer chan error
}

func (l *leaderAway) Forward(_ context.Context, _ uint64, statements []wire.ProxyStatement) (wire.ProxyAnswer, error) {
	l.asked <- statements
	if err := <-l.answer; err != nil {
		return wire.ProxyAnswer{}, err
	}
	a := wire.ProxyAnswer{Index: 99, Replies: make([]wire.ProxyReply, len(statements))}
	for n := range a.Replies {
		a.Replies[n].Body = []byte{0x80}
	}
	return a, nil
}

// follow makes the rig a replica that does not lead, and passes writes on.
func (r *rig) follow() *leaderAway {
	r.group.role, r.group.leader = raftgroup.RoleFollower, 2
	l := &leaderAway{asked: make(chan []wire.ProxyStatement, 100), answer: make(chan error, 100)}
	r.b.proxy = newProxy(r.b, l)
	return l
}

// write hands over one statement of a connection.
func (r *rig) write(s *listener, sync uint64, st box.Statement) {
	r.t.Helper()
	st.User = newAdmin()
	batch := &replicaset.Batch{Sink: s}
	batch.Add(&st, sync, 0)
	if err := r.b.hand(batch); err != nil {
		s.Complete(refusals(batch, 0, err))
	}
}

// TestProxySendsOnce: what came back as not carried out is sent again, to whoever leads by then; what may have been carried
// out is not. Statements of one connection that come meanwhile wait behind it and go together.
func TestProxySendsOnce(t *testing.T) {
	r := newRig(t)
	l := r.follow()
	s := newListener(t)
	r.write(s, 1, replace(1, 1))
	<-l.asked
	r.write(s, 2, replace(2, 2))
	r.write(s, 3, replace(3, 3))
	l.answer <- fmt.Errorf("%w: x", errElsewhere)
	if again := <-l.asked; len(again) != 1 {
		t.Errorf("%d statements", len(again))
	}
	l.answer <- nil
	s.wants("1 ok []")
	if next := <-l.asked; len(next) != 2 || next[0].Type != uint8(iproto.TypeReplace) || next[1].Space != testSpace {
		t.Errorf("%+v", next)
	}
	l.answer <- errcode.New(errcode.UnknownOutcome, "x")
	s.wants("2 error 12001", "3 error 12001")
	r.write(s, 4, replace(1, 1))
	<-l.asked
	l.answer <- errcode.New(errcode.DiskFull, "x")
	s.wants("4 error 12002")
	// This replica begins to lead while one is on its way: the next one stays behind it.
	r.write(s, 5, replace(5, 5))
	<-l.asked
	r.group.mu.Lock()
	r.group.role = raftgroup.RoleLeader
	r.group.mu.Unlock()
	r.write(s, 6, replace(6, 6))
	r.idle()
	l.answer <- fmt.Errorf("%w: x", errElsewhere)
	for r.turn(); len(s.replies) < 2; { // one after the other, or both together
		r.turn()
	}
	s.wants("5 ok [[5,5]]", "6 ok [[6,6]]")
	if len(l.asked) != 0 || len(r.group.waited) != 1 || r.group.waited[0] != 99 {
		t.Errorf("%d more messages, waited for %d", len(l.asked), r.group.waited)
	}
}

// TestProxyErrors: what a call that came to nothing says about its statements.
func TestProxyErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&rpc.Error{Err: context.Canceled}, "elsewhere"},
		{&rpc.Error{Err: context.Canceled, Sent: true}, "12001"},
		{context.Canceled, "12001"},
		{raftgroup.NotLeader(3), "elsewhere"},
		{errcode.New(errcode.Shutdown), "elsewhere"},
		{errcode.New(errcode.DiskFull, "x"), "12002"},
		{errcode.New(errcode.UnknownOutcome, "x"), "12001"},
		{errcode.New(errcode.EpochMismatch, uint64(1), uint64(2)), "12031"},
	} {
		got := "elsewhere"
		if err := proxyError(c.err); !strings.HasPrefix(err.Error(), errElsewhere.Error()) {
			got = fmt.Sprint(uint32(errcode.Of(err).Code))
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// TestProxyIsBounded: there is room for so many, and one large one when there is nothing else.
func TestProxyIsBounded(t *testing.T) {
	r := newRig(t)
	l := r.follow()
	s := newListener(t)
	r.write(s, 0, replace(1, 1))
	<-l.asked
	for n := range proxyBatchesMax - 1 {
		r.write(s, uint64(n+1), replace(1, 1))
	}
	s.silent()
	r.write(s, 7000, replace(1, 1))
	s.wants("7000 error 12006")
	for range 10 {
		l.answer <- nil
	}
	for n := range proxyBatchesMax {
		s.wants(fmt.Sprintf("%d ok []", n))
	}
	r.b.proxy.mu.Lock()
	defer r.b.proxy.mu.Unlock()
	if r.b.proxy.batches > 1 || r.b.proxy.bytes > 100 { // the last one may not be counted off yet
		t.Errorf("%d batches, %d bytes are left", r.b.proxy.batches, r.b.proxy.bytes)
	}
}

// TestWritesOfAReplicaThatPassesNothingOn: they are refused, and the leader's address is named if it is known.
func TestWritesOfAReplicaThatPassesNothingOn(t *testing.T) {
	r := newRig(t)
	r.follow()
	r.b.proxy = nil
	s := newListener(t)
	r.write(s, 1, replace(1, 1))
	s.wants("1 error 10001")
	r.b.i, r.b.c.book = &Instance{}, addressBook{}
	r.b.c.book.entries.Store(&addresses{byDataID: map[uint64]string{2: "host:3302"}})
	if err := r.b.notLeader(); !errcode.Is(err, errcode.NotALeader) || !strings.Contains(err.Error(), "host:3302") {
		t.Error(err)
	}
}

// TestLocalWritesAreNotPassedOn: rows of local and temporary spaces are nobody else's.
func TestLocalWritesAreNotPassedOn(t *testing.T) {
	r := newRig(t)
	const local = 601
	space := appendRow(nil, local, 1, "own", "memtx", 0, map[string]any{"temporary": true}, []any{})
	s := newListener(t)
	r.write(s, 1, box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceSpace, Tuple: space})
	r.turn()
	if got := <-s.replies; !strings.HasPrefix(got, "1 ok") {
		t.Fatal(got)
	}
	l := r.follow()
	own := box.Statement{Kind: box.Replace, SpaceID: local, Tuple: appendRow(nil, 1), User: newAdmin()}
	r.write(s, 2, own)
	s.wants("2 error 12101")
	other := replace(1, 1)
	other.User = newAdmin()
	batch := &replicaset.Batch{Sink: s}
	batch.Add(&own, 3, 0)
	batch.Add(&other, 4, 0)
	if err := r.b.hand(batch); err != nil {
		t.Fatal(err)
	}
	s.wants("3 error 12101")
	if got := <-l.asked; len(got) != 1 || got[0].Space != testSpace {
		t.Errorf("%+v", got)
	}
	l.answer <- nil
	s.wants("4 ok []")
	emptied := box.Statement{Kind: box.Replace, SpaceID: dictionary.SpaceTruncate, Tuple: appendRow(nil, local, 1), User: newAdmin()}
	r.write(s, 5, emptied)
	s.wants("5 error 12101")
	// What was handed to the loop while this replica led, and comes back because it does not any more.
	batch = &replicaset.Batch{Sink: s}
	batch.Add(&own, 6, 0)
	batch.Add(&other, 7, 0)
	if !r.b.proxy.refused(batch, raftgroup.NotLeader(2)) {
		t.Fatal("not taken over")
	}
	s.wants("6 error 12101")
	if got := <-l.asked; len(got) != 1 || got[0].Space != testSpace {
		t.Errorf("%+v", got)
	}
	l.answer <- nil
	s.wants("7 ok []")
	r.b.c.catalog = newCore(datadir.Identity{}, bootstrapped(t)).catalog
	if _, err := proxiedBatch(r.b.c, []wire.ProxyStatement{{User: 1, Type: uint8(iproto.TypeReplace), Space: local, Tuple: appendRow(nil, 2)}}); !errcode.Is(err, errcode.LocalAtLeader) {
		t.Errorf("what another replica passes on: %v", err)
	}
}

// TestTransactionOfAReplica: it may read; a write is refused when it comes, and at COMMIT if leadership went in between.
func TestTransactionOfAReplica(t *testing.T) {
	w := newRig(t).connect()
	w.ss.user = newAdmin()
	w.send(1, 1, begin)
	w.send(1, 2, put(1))
	w.send(2, 3, begin)
	w.wants("1 ok []", "2 ok [[1]]", "3 ok []")
	l := w.follow()
	w.send(1, 4, commit)
	w.send(2, 5, all)
	w.send(2, 6, put(2))
	w.send(2, 7, commit)
	w.send(2, 8, put(3))
	w.wants("4 error 10001", "5 ok []", "6 error 12100", "7 ok []")
	<-l.asked
	l.answer <- nil
	w.wants("8 ok []")
}

// TestProxyEndsWithTheServer: a replica that is about to end, and hears no leader any more, answers as the leader did.
func TestProxyEndsWithTheServer(t *testing.T) {
	r := newRig(t)
	l := r.follow()
	serving, quit := context.WithCancel(t.Context())
	r.b.proxy.serving, r.group.behind = serving, true
	s := newListener(t)
	r.write(s, 1, replace(1, 1))
	<-l.asked
	l.answer <- nil
	for end := time.Now().Add(patience); r.group.waits() == 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("nobody waits for the write to be here")
		}
	}
	s.silent()
	quit()
	s.wants("1 ok []")
}
