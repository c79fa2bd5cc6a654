package instance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/box"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// trio is a data group of three replicas with their engines, machines, loops and backends, and a network in memory.
type trio struct {
	t        *testing.T
	replicas map[uint64]*backend

	mu  sync.Mutex // guards cut
	cut map[uint64]bool
	// forwarded counts the messages of the proxies that arrived, lost makes the answer of each get lost.
	forwarded atomic.Int64
	lost      atomic.Bool
}

// startTrio starts it. The election timeout is long where a test wants peace.
func startTrio(t *testing.T, election time.Duration) *trio {
	t.Helper()
	n := &trio{t: t, replicas: map[uint64]*backend{}, cut: map[uint64]bool{}}
	users := bootstrapped(t)
	for id := uint64(1); id <= 3; id++ {
		e := newEngine(t)
		c := &core{engine: e, machine: replicaset.New(e, nil), catalog: catalogrunner.New(catalogrunner.Options{Start: users})}
		c.rights.Store(rightsOf(users))
		b := &backend{c: c}
		b.proxy = newProxy(b, forwardTo{n, id})
		c.machine.OnRefused(b.proxy.refused)
		n.replicas[id] = b
	}
	n.mu.Lock() // no message before all are there
	defer n.mu.Unlock()
	for id, b := range n.replicas {
		b.c.dataLoop = n.startLoop(id, b.c.machine, election)
		b.group, b.submit = b.c.dataLoop, b.c.dataLoop.Submit
	}
	t.Cleanup(n.stop)
	return n
}

func (n *trio) startLoop(id uint64, m *replicaset.Machine, election time.Duration) *runner.Loop[*replicaset.Batch] {
	n.t.Helper()
	log, err := wal.Open(wal.Options{FS: fault.New(), Dir: "/log", Group: "data", Instance: uuid.UUID{byte(id)}, SegmentBytes: 256 << 10})
	if err != nil {
		n.t.Fatal(err)
	}
	group, err := runner.NewGroup(log, raftgroup.Config{
		ID: id, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}},
		ElectionTimeout: election, Now: real.Clock{}.Boot(), Incarnation: id,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return runner.Start(runner.Config[*replicaset.Batch]{Log: log, Clock: real.Clock{}, Group: group, Machine: m, Name: "data", Send: n.send})
}

func (n *trio) send(m raftgroup.Message) {
	n.mu.Lock()
	lost := n.cut[m.From()] || n.cut[m.To()]
	n.mu.Unlock()
	if b := n.replicas[m.To()]; !lost && b != nil {
		b.c.dataLoop.Step(m)
	}
}

func (n *trio) set(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = cut
}

func (n *trio) stop() {
	for _, b := range n.replicas {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing is worth waiting for
		_ = b.c.dataLoop.Stop(ctx)
	}
	for _, b := range n.replicas {
		n.eventually("lanes do not end", func() bool { return b.proxy.busy.Load() == 0 })
	}
}

func (n *trio) eventually(what string, is func() bool) {
	n.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatal(what)
		}
	}
}

// leader is the replica that leads among those that are not cut off, once it has taken over.
func (n *trio) leader() (id uint64) {
	n.t.Helper()
	n.eventually("no leader", func() bool {
		for candidate, b := range n.replicas {
			n.mu.Lock()
			cut := n.cut[candidate]
			n.mu.Unlock()
			if !cut && b.c.dataLoop.Lease().Index != 0 && b.group.Covers(1<<62) {
				id = candidate
				return true
			}
		}
		return false
	})
	return id
}

func (n *trio) follower(leader uint64) uint64 { return leader%3 + 1 }

// forwardTo carries statements of one replica in memory.
type forwardTo struct {
	n    *trio
	from uint64
}

func (f forwardTo) Forward(ctx context.Context, leader uint64, statements []wire.ProxyStatement) (wire.ProxyAnswer, error) {
	f.n.mu.Lock()
	cut := f.n.cut[f.from] || f.n.cut[leader]
	f.n.mu.Unlock()
	if cut {
		return wire.ProxyAnswer{}, fmt.Errorf("%w: cut off", errElsewhere)
	}
	m, err := wire.DecodeProxy(wire.Proxy{Statements: statements}.Append(nil))
	if err != nil {
		return wire.ProxyAnswer{}, err
	}
	f.n.forwarded.Add(1)
	c := f.n.replicas[leader].c
	b, err := runProxied(ctx, c, c.dataLoop.Submit, m.Statements)
	switch {
	case errcode.Is(err, errcode.NotALeader) || errcode.Is(err, errcode.Shutdown):
		return wire.ProxyAnswer{}, fmt.Errorf("%w: %w", errElsewhere, err)
	case err != nil:
		return wire.ProxyAnswer{}, err
	case f.n.lost.Load():
		return wire.ProxyAnswer{}, errcode.New(errcode.UnknownOutcome, "lost")
	}
	return wire.DecodeProxyAnswer(b)
}

// statement gives a replica one statement as a batch of a connection.
func (n *trio) statement(id uint64, s *listener, sync uint64, st box.Statement) {
	n.t.Helper()
	st.User = newAdmin()
	batch := &replicaset.Batch{Sink: s}
	batch.Add(&st, sync, 0)
	if err := n.replicas[id].hand(batch); err != nil {
		s.Complete(refusals(batch, 0, err))
	}
}

// do is statement with its answer, without the sync.
func (n *trio) do(id uint64, st box.Statement) string {
	n.t.Helper()
	s := newListener(n.t)
	n.statement(id, s, 1, st)
	select {
	case reply := <-s.replies:
		return strings.TrimPrefix(reply, "1 ")
	case <-time.After(patience):
		n.t.Fatal("no answer")
		return ""
	}
}

func (n *trio) makeSpace(id uint64) {
	n.t.Helper()
	for _, st := range makeTestSpace() {
		if got := n.do(id, st); !strings.HasPrefix(got, "ok") {
			n.t.Fatal(got)
		}
	}
}

func insert(key, value int) box.Statement {
	return box.Statement{Kind: box.Insert, SpaceID: testSpace, Tuple: appendRow(nil, key, value)}
}

func replace(key, value int) box.Statement {
	return box.Statement{Kind: box.Replace, SpaceID: testSpace, Tuple: appendRow(nil, key, value)}
}

// get reads one row on a replica, as a client's select does.
func (n *trio) get(id uint64, key int) string {
	n.t.Helper()
	b := n.replicas[id]
	s, ss := newListener(n.t), &session{user: newAdmin()}
	var scratch []byte
	req := decoded(n.t, &scratch, 1, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: testSpace, Limit: 1, Key: appendRow(nil, key)})
	})
	s.Complete(b.answer(ss, b.read(ss, req, nil)))
	b.readers.put(ss)
	return strings.TrimPrefix(<-s.replies, "1 ")
}

// TestNoStaleReadOfALeaderCutOff: while a leader that nobody hears still takes itself for one, no read there misses what
// its successor has acknowledged before the read began; and it refuses rather than wait for ever.
func TestNoStaleReadOfALeaderCutOff(t *testing.T) {
	n := startTrio(t, 200*time.Millisecond)
	old := n.leader()
	n.makeSpace(old)
	if got := n.do(old, replace(1, 0)); got != "ok [[1,0]]" {
		t.Fatal(got)
	}
	var acknowledged atomic.Int64
	quit, ended := make(chan struct{}), make(chan struct{})
	reads := map[string]int{}
	go func() {
		defer close(ended)
		group := n.replicas[old].group
		for {
			select {
			case <-quit:
				return
			default:
			}
			floor, led := acknowledged.Load(), group.Status()
			got := n.get(old, 1)
			if now := group.Status(); led.Role != raftgroup.RoleLeader || now.Role != raftgroup.RoleLeader || now.Term != led.Term {
				continue // a replica's read, which may be of the past
			}
			var value int64
			if _, err := fmt.Sscanf(got, "ok [[1,%d]]", &value); err != nil {
				reads[got]++
				continue
			}
			reads["ok"]++
			if value < floor {
				t.Errorf("read %d after %d was acknowledged", value, floor)
			}
		}
	}()
	n.set(old, true)
	next := n.leader()
	for value := 1; value <= 100; value++ {
		if got := n.do(next, replace(1, value)); got != fmt.Sprintf("ok [[1,%d]]", value) {
			t.Error(got)
		}
		acknowledged.Store(int64(value))
	}
	n.eventually("the old leader does not step down", func() bool { return n.replicas[old].group.Status().Role != raftgroup.RoleLeader })
	close(quit)
	<-ended
	t.Logf("reads while it took itself for the leader: %v", reads)
}

// TestAnswersOfALeaderCutOff: a duplicate key, and a row that is not there, are not told by one that may not lead any more;
// a write is of unknown outcome.
func TestAnswersOfALeaderCutOff(t *testing.T) {
	n := startTrio(t, 200*time.Millisecond)
	old := n.leader()
	n.makeSpace(old)
	if got := n.do(old, insert(1, 1)); got != "ok [[1,1]]" {
		t.Fatal(got)
	}
	if got := n.do(old, insert(1, 2)); got != "error 3" {
		t.Errorf("in peace: %s", got)
	}
	n.set(old, true)
	group := n.replicas[old].group
	n.eventually("the lease does not end", func() bool { return !group.Covers(1 << 62) })
	s := newListener(t)
	b := n.replicas[old]
	for sync, st := range []box.Statement{insert(1, 3), {Kind: box.Delete, SpaceID: testSpace, Key: appendRow(nil, 77)}, insert(2, 2), insert(1, 4)} {
		batch := &replicaset.Batch{Sink: s}
		st.User = newAdmin()
		batch.Add(&st, uint64(sync), 0)
		if err := b.submit([]*replicaset.Batch{batch}); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for range 4 {
		got[<-s.replies] = true
	}
	if group.Status().Term == 0 || !got["0 error 10001"] || !got["1 error 10001"] || !got["3 error 10001"] {
		t.Errorf("answers %v", got)
	}
}

// TestProxy: a replica passes writes on, answers as the leader does, shows what it has answered, and keeps the order of a
// connection.
func TestProxy(t *testing.T) {
	n := startTrio(t, time.Second)
	leader := n.leader()
	away := n.follower(leader)
	n.eventually("the leader is not known", func() bool { return n.replicas[away].group.Status().LeaderID == leader })
	n.makeSpace(away)
	for key := range 50 {
		if got := n.do(away, insert(key, key)); got != fmt.Sprintf("ok [[%d,%d]]", key, key) {
			t.Fatal(got)
		}
		if got := n.get(away, key); got != fmt.Sprintf("ok [[%d,%d]]", key, key) {
			t.Fatalf("not there after the answer: %s", got)
		}
	}
	if got := n.do(away, insert(7, 1)); got != "error 3" {
		t.Errorf("a duplicate: %s", got)
	}
	if got := n.do(away, box.Statement{Kind: box.Delete, SpaceID: testSpace, Key: appendRow(nil, 7)}); got != "ok [[7,7]]" {
		t.Errorf("delete: %s", got)
	}
	s := newListener(t)
	var want []string
	for value := range 200 {
		n.statement(away, s, uint64(value), replace(1, value))
		want = append(want, fmt.Sprintf("%d ok [[1,%d]]", value, value))
	}
	s.wants(want...)
	if got := n.get(away, 1); got != "ok [[1,199]]" {
		t.Errorf("the last one is not the last: %s", got)
	}
	// The answer is lost: the statement is not sent again.
	n.lost.Store(true)
	before := n.forwarded.Load()
	if got := n.do(away, insert(1000, 1)); got != "error 12001" || n.forwarded.Load() != before+1 {
		t.Errorf("%s after %d messages", got, n.forwarded.Load()-before)
	}
}

// TestWritesGoOnThroughFailover: clients at a replica see no error but an unknown outcome while the leader is cut off, and no
// statement is carried out twice: its second run would be a duplicate.
func TestWritesGoOnThroughFailover(t *testing.T) {
	n := startTrio(t, 200*time.Millisecond)
	leader := n.leader()
	away := n.follower(leader)
	n.makeSpace(leader)
	var wg sync.WaitGroup
	var written sync.Map
	quit := make(chan struct{})
	for client := range 4 {
		wg.Go(func() {
			for key := client * 100_000; ; key++ {
				select {
				case <-quit:
					return
				default:
				}
				switch got := n.do(away, insert(key, client)); {
				case strings.HasPrefix(got, "ok"):
					written.Store(key, client)
				case got != "error 12001":
					t.Errorf("key %d: %s", key, got)
					return
				}
			}
		})
	}
	for range 3 {
		pause(t.Context(), 50*time.Millisecond)
		leader = n.leader()
		if leader == away { // its clients would learn that they are at a leader that is cut off
			to := n.follower(away)
			_ = n.replicas[away].c.dataLoop.Call(t.Context(), func(g *raftgroup.Group) error { return g.TransferLeader(to) })
			continue
		}
		n.set(leader, true)
		n.leader()
		n.set(leader, false)
	}
	close(quit)
	wg.Wait()
	leader = n.leader()
	count := 0
	written.Range(func(key, client any) bool {
		count++
		if got := n.get(leader, key.(int)); got != fmt.Sprintf("ok [[%d,%d]]", key, client) {
			t.Errorf("key %d was acknowledged: %s", key, got)
		}
		return true
	})
	if count == 0 {
		t.Error("nothing was written")
	}
}

// A replica that may not lead hands over, again when the leadership comes back.
func TestYield(t *testing.T) {
	n := startTrio(t, 500*time.Millisecond)
	first := n.leader()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan struct{})
	told := make(chan uint64, 100)
	go func() {
		defer close(ended)
		yield(ctx, n.replicas[first].c.dataLoop.Call, func(to uint64) { told <- to })
	}()
	for range 2 {
		if to := <-told; to == first {
			t.Fatal("it handed over to itself")
		}
		n.eventually("the leadership stayed", func() bool { return n.leader() != first })
		back := n.replicas[n.leader()].c.dataLoop.Call
		// An error means that the leadership is on its way already.
		_ = back(ctx, func(g *raftgroup.Group) error { return g.TransferLeader(first) })
	}
	stop()
	<-ended
}

// TestStaleChange: a data group takes changes of its members from who knows its term and its voters, and never from an older catalog
// than the one before.
func TestStaleChange(t *testing.T) {
	n := startTrio(t, time.Second)
	c := n.replicas[n.leader()].c
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := c.dataLoop.Status()
	good := wire.GroupChange{CatalogIndex: 10, Term: s.Term, Voters: s.Voters, Changes: []raftgroup.Change{{Op: raftgroup.AddLearner, ID: 9}}}
	other := func(edit func(*wire.GroupChange)) wire.GroupChange {
		m := good
		edit(&m)
		return m
	}
	stale := []wire.GroupChange{
		other(func(m *wire.GroupChange) { m.Term-- }),
		other(func(m *wire.GroupChange) { m.Term++ }),
		other(func(m *wire.GroupChange) { m.Voters = m.Voters[1:] }),
	}
	for round := range 2 {
		for _, m := range stale {
			if err := new(Instance).changeDataGroup(ctx, c, m); !errcode.Is(err, errcode.StaleChange) {
				t.Errorf("%d: %+v: %v", round, m, err)
			}
		}
		if err := new(Instance).changeDataGroup(ctx, c, good); err != nil { // the second time there is nothing to do
			t.Fatal(err)
		}
		if got := c.dataLoop.Status().Learners; len(got) != 1 || got[0] != 9 {
			t.Errorf("learners %v", got)
		}
		stale = append(stale, other(func(m *wire.GroupChange) { m.CatalogIndex-- }))
	}
}
