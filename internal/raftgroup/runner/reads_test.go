package runner_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// question is a request that writes nothing and depends on the state.
const question = "?"

// Unconfirmed makes the test machine a confirmer.
func (m *machine) Unconfirmed() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asking) == 0 {
		return 0
	}
	return m.asked
}

// Confirm answers.
func (m *machine) Confirm(upTo uint64) { m.answer(upTo, nil) }

// Deny refuses.
func (m *machine) Deny(err error) { m.answer(m.asked, err) }

func (m *machine) answer(upTo uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for first := m.asked - uint64(len(m.asking)) + 1; len(m.asking) > 0 && first <= upTo; first++ {
		m.asking[0].done <- err
		m.asking = m.asking[1:]
	}
}

func others(id uint64) (rest []uint64) {
	for other := uint64(1); other <= 3; other++ {
		if other != id {
			rest = append(rest, other)
		}
	}
	return rest
}

// eventually waits for what other goroutines do.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func stopAll(t *testing.T, members map[uint64]*member) {
	t.Helper()
	for _, m := range members {
		m.stop(t)
	}
}

// TestLeaseEndsBeforeAnotherLeads: whoever reads at a leader that was cut off gets no leave any more by the time another one
// has acknowledged a write; and no follower ever has it.
func TestLeaseEndsBeforeAnotherLeads(t *testing.T) { synctest.Test(t, leaseEndsBeforeAnotherLeads) }

func leaseEndsBeforeAnotherLeads(t *testing.T) {
	net, members := startTrio(t)
	old, term := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	if err := wait(t, members[old].submit("a")); err != nil {
		t.Fatal(err)
	}
	covers := func(id uint64) bool { return members[id].loop.Covers(members[id].loop.Status().Applied) }
	eventually(t, "the leader has no lease", func() bool { return covers(old) })
	var last atomic.Int64 // when the newest read by lease was begun
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			default:
			}
			if begun := (bubbleClock{}).Boot(); covers(old) {
				last.Store(int64(begun))
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	net.set(old, true)
	next, _ := awaitLeader(t, members, others(old), term)
	if err := wait(t, members[next].submit("b")); err != nil {
		t.Fatal(err)
	}
	acknowledged := bubbleClock{}.Boot()
	eventually(t, "the new leader has no lease", func() bool { return covers(next) })
	close(quit)
	<-ended
	if at := time.Duration(last.Load()); at == 0 || at >= acknowledged {
		t.Errorf("the last read by the old lease began at %v, the write was acknowledged at %v", at, acknowledged)
	}
	for _, id := range others(next) {
		if members[id].loop.Covers(1 << 62) {
			t.Errorf("replica %d, which does not lead, has a lease %+v", id, members[id].loop.Lease())
		}
	}
	stopAll(t, members)
}

// TestLoneVoterNeedsNoClock: its lease has no end, and follows what is committed.
func TestLoneVoterNeedsNoClock(t *testing.T) {
	log := openLog(t, fault.New(), wal.SyncFsync, 256<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	h.m.mu.Lock()
	applied := h.m.applied
	h.m.mu.Unlock()
	eventually(t, "no lease", func() bool { return h.loop.Lease() == raftgroup.Lease{Index: applied, Until: 1<<63 - 1} })
	if !h.loop.Covers(applied) || h.loop.Covers(applied-1) {
		t.Error("the lease covers another state than the newest")
	}
	if index, err := h.loop.ReadIndex(t.Context()); err != nil || index != applied {
		t.Errorf("index %d, want %d: %v", index, applied, err)
	}
	if err := wait(t, h.submit(question)); err != nil {
		t.Error(err)
	}
	h.stop(t)
	if _, err := h.loop.ReadIndex(t.Context()); !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("after the end: %v", err)
	}
	if err := h.loop.WaitApplied(t.Context(), applied+1); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestReadIndex: many callers on all three replicas get an index that holds what was acknowledged before they asked.
func TestReadIndex(t *testing.T) { synctest.Test(t, readIndex) }

func readIndex(t *testing.T) {
	_, members := startTrio(t)
	leader, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	if err := wait(t, members[leader].submit("x")); err != nil {
		t.Fatal(err)
	}
	var acknowledged atomic.Uint64
	var wg sync.WaitGroup
	quit := make(chan struct{})
	for _, m := range members {
		eventually(t, "no leader is known", func() bool { return m.loop.Status().LeaderID == leader })
		for range 20 {
			wg.Go(func() { m.readOften(t, &acknowledged, quit) })
		}
	}
	for written := 0; written < 50; {
		if err := wait(t, members[leader].submit("y")); err != nil {
			leader, _ = awaitLeader(t, members, []uint64{1, 2, 3}, 0) // this machine was too busy for its heartbeats
			continue
		}
		written++
		members[leader].m.mu.Lock()
		acknowledged.Store(members[leader].m.applied)
		members[leader].m.mu.Unlock()
	}
	close(quit)
	wg.Wait()
	stopAll(t, members)
}

func (m *member) readOften(t *testing.T, acknowledged *atomic.Uint64, quit chan struct{}) {
	for {
		select {
		case <-quit:
			return
		default:
		}
		floor := acknowledged.Load()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		index, err := m.loop.ReadIndex(ctx)
		if err == nil {
			err = m.loop.WaitApplied(ctx, index)
		}
		cancel()
		m.m.mu.Lock()
		applied := m.m.applied
		m.m.mu.Unlock()
		if errcode.Is(err, errcode.NotALeader) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil || index < floor || applied < index {
			t.Errorf("index %d, %d was acknowledged before, %d is applied: %v", index, floor, applied, err)
			return
		}
	}
}

// TestReadIndexIsAskedAgain: the first answers are lost, on the leader (to the heartbeat) and on a follower.
func TestReadIndexIsAskedAgain(t *testing.T) { synctest.Test(t, readIndexIsAskedAgain) }

func readIndexIsAskedAgain(t *testing.T) {
	net, members := startTrio(t)
	leader, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	if err := wait(t, members[leader].submit("x")); err != nil {
		t.Fatal(err)
	}
	follower := others(leader)[0]
	eventually(t, "no leader is known", func() bool { return members[follower].loop.Status().LeaderID == leader })
	lost := 0
	net.mu.Lock()
	net.drop = func(m raftgroup.Message) bool {
		if m.Kind() == "MsgReadIndexResp" && lost < 3 {
			lost++
			return true
		}
		return false
	}
	net.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if index, err := members[follower].loop.ReadIndex(ctx); err != nil || index < 3 || lost != 3 {
		t.Errorf("index %d after %d losses: %v", index, lost, err)
	}
	stopAll(t, members)
}

// TestReadsWithoutQuorum: a leader that is cut off neither answers a read nor lets an answer go that wrote nothing; it
// refuses both when it has stepped down, and whoever does not wait that long is let go.
func TestReadsWithoutQuorum(t *testing.T) { synctest.Test(t, readsWithoutQuorum) }

func readsWithoutQuorum(t *testing.T) {
	net, members := startTrio(t)
	leader, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	old := members[leader]
	if err := wait(t, old.submit("x")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, old.submit(question)); err != nil {
		t.Errorf("in peace: %v", err)
	}
	net.set(leader, true)
	eventually(t, "the lease does not end", func() bool { return !old.loop.Covers(1 << 62) })
	eventually(t, "the lease does not end", func() bool {
		lease := old.loop.Lease()
		return lease.Index == 0 || bubbleClock{}.Boot() >= lease.Until
	})
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := old.loop.ReadIndex(short); err == nil {
		t.Error("an index without a quorum")
	}
	if _, err := old.loop.ReadIndex(t.Context()); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("read without a quorum: %v", err)
	}
	if err := wait(t, old.submit(question)); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("answer without a quorum: %v", err)
	}
	stopAll(t, members)
}

// TestUnconfirmedAnswers: an answer that wrote nothing was made by a leader that nobody hears, and comes back as
// refused; while its messages are only late it is confirmed by asking.
func TestUnconfirmedAnswers(t *testing.T) { synctest.Test(t, unconfirmedAnswers) }

func unconfirmedAnswers(t *testing.T) {
	net, members := startTrio(t)
	leader, term := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	old := members[leader]
	if err := wait(t, old.submit("x")); err != nil {
		t.Fatal(err)
	}
	// A transfer that comes to nothing leaves the leader without a lease until the end of its term.
	net.mu.Lock()
	net.drop = func(m raftgroup.Message) bool { return m.Kind() == "MsgTimeoutNow" }
	net.mu.Unlock()
	if err := old.loop.Call(t.Context(), func(g *raftgroup.Group) error { return g.TransferLeader(others(leader)[0]) }); err != nil {
		t.Fatal(err)
	}
	if old.loop.Covers(1 << 62) {
		t.Error("a lease after a transfer has begun")
	}
	err := wait(t, old.submit(question))
	if s := old.loop.Status(); err != nil && s.Role == raftgroup.RoleLeader && s.Term == term {
		t.Errorf("without a lease: %v", err)
	}
	// Nothing reaches the leader: what it runs can not be confirmed.
	net.mu.Lock()
	net.drop = func(m raftgroup.Message) bool { return m.To() == leader }
	net.mu.Unlock()
	if err = wait(t, old.submit(question)); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("without a quorum: %v", err)
	}
	stopAll(t, members)
}

// BenchmarkCovers is what a read by the lease of a lone voter pays for it, and one by a lease that ends.
func BenchmarkCovers(b *testing.B) {
	log, err := wal.Open(wal.Options{FS: fault.New(), Dir: "/data", Group: "data", Instance: instance})
	if err != nil {
		b.Fatal(err)
	}
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap})
	if err != nil {
		b.Fatal(err)
	}
	loop := runner.Start(runner.Config[request]{Log: log, Clock: real.Clock{}, Group: group, Machine: &machine{applied: 1}, Name: "data"})
	for !loop.Covers(1 << 62) {
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !loop.Covers(1 << 62) {
			b.Fatal("no lease")
		}
	}
	b.StopTimer()
	if err := loop.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
