package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"pgregory.net/rapid"
)

// It has to fit the loop of the raft group.
var _ interface {
	Run(index, term uint64, requests []*Request) []byte
	Commit(index uint64)
	Apply(index, term uint64, entry []byte)
	Abort(from uint64, err error)
	Refuse(requests []*Request, err error)
	ConfChanged(status raftgroup.Status)
} = (*Machine)(nil)

// manual is a loop that does what the test says.
type manual struct {
	m     *Machine
	mu    sync.Mutex
	queue []*Request
	got   chan struct{}
	index uint64
	term  uint64
	err   error
	// unsure: nobody has confirmed that this replica leads.
	unsure bool
}

func newManual(t *testing.T, opts Options) *manual {
	t.Helper()
	opts.Start = started(t)
	l := &manual{m: New(opts), got: make(chan struct{}, 1000), term: 1}
	l.index, _ = l.m.View().Position()
	l.m.Bind(l)
	return l
}

func started(t interface{ Fatal(...any) }) *catalog.State {
	entries, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301",
		Tiers:              []catalog.TierParams{{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync"}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := catalog.New()
	for i, e := range entries {
		if _, _, err := s.Apply(uint64(i+1), 1, e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (l *manual) Submit(reqs []*Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.queue = append(l.queue, reqs...)
	for range reqs {
		l.got <- struct{}{}
	}
	return nil
}

// run waits for n requests and runs them as one batch.
func (l *manual) run(n int) []byte {
	for range n {
		<-l.got
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	reqs := l.queue
	l.queue = nil
	entry := l.m.Run(l.index+1, l.term, reqs)
	if entry != nil {
		l.index++
	}
	if !l.unsure {
		l.m.Confirm(l.m.Unconfirmed())
	}
	return entry
}

type reply struct {
	res catalog.Result
	err error
}

func (l *manual) do(ctx context.Context, req *Request) <-chan reply {
	ch := make(chan reply, 1)
	go func() {
		res, err := l.m.Do(ctx, req)
		ch <- reply{res, err}
	}()
	return ch
}

func set(key string, v uint64) catalog.Op {
	return catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableProperty,
		Tuple: catalog.UintProperty(key, v).Row()}}}
}

func insert(key string, v uint64) catalog.Op {
	op := set(key, v)
	op.DML[0].Kind = catalog.Insert
	return op
}

func request(ops ...catalog.Op) *Request { return &Request{Ops: ops} }

func unanswered(t *testing.T, ch <-chan reply) {
	t.Helper()
	select {
	case r := <-ch:
		t.Fatalf("answered too early: %+v", r)
	default:
	}
}

func value(m *Machine, key string) uint64 {
	v, _ := m.View().PropertyUint(key)
	return v
}

func TestAnsweredAndVisibleOnlyAfterCommit(t *testing.T) {
	var seen []catalog.Change
	l := newManual(t, Options{OnCommit: func(_ uint64, ch []catalog.Change, _ *catalog.State) { seen = append(seen, ch...) }})
	wake := l.m.Subscribe()
	old := l.m.View()
	ch := l.do(t.Context(), request(set("k", 1)))
	if l.run(1) == nil {
		t.Fatal("no entry")
	}
	unanswered(t, ch)
	if value(l.m, "k") != 0 || len(seen) != 0 {
		t.Fatal("visible before it is committed")
	}
	l.m.Commit(l.index)
	if r := <-ch; r.err != nil || r.res.Index != l.index || r.res.Rows != 1 {
		t.Fatalf("answer %+v", r)
	}
	<-wake
	if value(l.m, "k") != 1 || len(seen) != 1 || l.m.Applied() != l.index {
		t.Fatalf("not visible: %d, changes %v", value(l.m, "k"), seen)
	}
	if _, ok := old.PropertyUint("k"); ok {
		t.Fatal("a view has changed")
	}
}

// A refusal that wrote nothing is not told before it is sure that this replica led when it was made.
func TestRefusalWaitsForConfirmation(t *testing.T) {
	l := newManual(t, Options{})
	l.unsure = true
	first := l.do(t.Context(), request(insert(catalog.PropClusterEpoch, 7)))
	l.run(1)
	unanswered(t, first)
	no := l.m.Unconfirmed()
	second := l.do(t.Context(), request(insert(catalog.PropClusterEpoch, 7)))
	l.run(1)
	l.m.Confirm(no) // of the time before the second one
	if r := <-first; !errcode.Is(r.err, errcode.TupleFound) {
		t.Fatalf("%+v", r)
	}
	unanswered(t, second)
	l.m.Confirm(l.m.Unconfirmed())
	if r := <-second; !errcode.Is(r.err, errcode.TupleFound) {
		t.Fatalf("%+v", r)
	}
	third := l.do(t.Context(), request(insert(catalog.PropClusterEpoch, 7)))
	l.run(1)
	l.m.Deny(errcode.New(errcode.NotALeader, "another one"))
	if r := <-third; !errcode.Is(r.err, errcode.NotALeader) || l.m.Unconfirmed() != 0 {
		t.Fatalf("%+v", r)
	}
}

// A change of the group's members is committed between entries that were run here.
func TestMembershipBetweenEntries(t *testing.T) {
	l := newManual(t, Options{})
	first := l.do(t.Context(), request(set("a", 1)))
	l.run(1)
	l.index++ // the change of membership
	between := l.index
	second := l.do(t.Context(), request(set("b", 2)))
	l.run(1)
	l.m.Commit(between - 1)
	l.m.Apply(between, l.term, nil)
	if r := <-first; r.err != nil || l.m.Applied() != between || value(l.m, "b") != 0 {
		t.Fatalf("%+v, applied %d, b %d", r, l.m.Applied(), value(l.m, "b"))
	}
	unanswered(t, second)
	l.m.Commit(l.index)
	if r := <-second; r.err != nil || r.res.Index != l.index || value(l.m, "a") != 1 || value(l.m, "b") != 2 {
		t.Fatalf("%+v", r)
	}
}

// A refusal may rest on a row that is not committed: it must not be told before that row is.
func TestRefusalWaitsForWhatItSaw(t *testing.T) {
	l := newManual(t, Options{})
	first := l.do(t.Context(), request(insert("k", 1)))
	l.run(1)
	second := l.do(t.Context(), request(insert("k", 2)))
	if l.run(1) != nil {
		t.Fatal("a refused request made an entry")
	}
	unanswered(t, second)
	l.m.Commit(l.index)
	if r := <-first; r.err != nil {
		t.Fatal(r.err)
	}
	if r := <-second; !errcode.Is(r.err, errcode.TupleFound) {
		t.Fatalf("answer %+v", r)
	}
	third := l.do(t.Context(), request(insert("k", 3)))
	l.run(1)
	if r := <-third; !errcode.Is(r.err, errcode.TupleFound) {
		t.Fatalf("with nothing pending: %+v", r)
	}
}

func TestAbortUndoesAndAnswersTruthfully(t *testing.T) {
	l := newManual(t, Options{})
	first := l.do(t.Context(), request(set("a", 1)))
	l.run(1)
	second := l.do(t.Context(), request(set("b", 1)))
	l.run(1)
	third := l.do(t.Context(), request(insert("b", 2)))
	l.run(1)
	unknown := errcode.New(errcode.UnknownOutcome, "leadership was lost")
	l.m.Abort(l.index, unknown)
	if r := <-second; !errcode.Is(r.err, errcode.UnknownOutcome) {
		t.Fatalf("the written one: %+v", r)
	}
	if r := <-third; !errcode.Is(r.err, errcode.ProposalDropped) {
		t.Fatalf("the refused one: %+v", r)
	}
	unanswered(t, first)
	l.m.Commit(l.index - 1)
	if r := <-first; r.err != nil {
		t.Fatal(r.err)
	}
	l.index--
	fourth := l.do(t.Context(), request(insert("b", 3)))
	l.run(1)
	l.m.Commit(l.index)
	if r := <-fourth; r.err != nil || value(l.m, "a") != 1 || value(l.m, "b") != 3 {
		t.Fatalf("%+v a=%d b=%d", r, value(l.m, "a"), value(l.m, "b"))
	}
}

func TestGuardSeesWhatIsNotCommittedYet(t *testing.T) {
	l := newManual(t, Options{})
	guard := catalog.Unchanged(l.m.View(), catalog.Eq(catalog.TableProperty, catalog.Key("a")))
	first := l.do(t.Context(), request(set("a", 1)))
	l.run(1)
	second := l.do(t.Context(), &Request{Ops: []catalog.Op{set("b", 1)}, Predicate: &guard})
	l.run(1)
	l.m.Commit(l.index)
	if r := <-first; r.err != nil {
		t.Fatal(r.err)
	}
	if r := <-second; !errcode.Is(r.err, errcode.CASConflictFound) {
		t.Fatalf("answer %+v", r)
	}
	fresh := catalog.Unchanged(l.m.View(), catalog.Eq(catalog.TableProperty, catalog.Key("a")))
	third := make(chan reply, 1)
	go func() {
		res, err := l.m.ProposeCAS(t.Context(), set("b", 1), fresh)
		third <- reply{res, err}
	}()
	l.run(1)
	l.m.Commit(l.index)
	if r := <-third; r.err != nil {
		t.Fatal(r.err)
	}
}

// What was undone has touched nothing.
func TestGuardForgetsWhatWasAborted(t *testing.T) {
	l := newManual(t, Options{})
	guard := catalog.Unchanged(l.m.View())
	first := l.do(t.Context(), request(set("a", 1)))
	l.run(1)
	l.m.Abort(l.index, errcode.New(errcode.UnknownOutcome, "leadership was lost"))
	l.index--
	<-first
	second := l.do(t.Context(), &Request{Ops: []catalog.Op{set("a", 2)}, Predicate: &guard})
	if l.run(1) == nil {
		t.Fatalf("refused: %+v", <-second)
	}
	l.m.Commit(l.index)
	if r := <-second; r.err != nil || value(l.m, "a") != 2 {
		t.Fatalf("%+v", r)
	}
}

func TestGuardInTheSameBatch(t *testing.T) {
	l := newManual(t, Options{})
	guard := catalog.Unchanged(l.m.View())
	var replies []<-chan reply
	for i := range 3 {
		replies = append(replies, l.do(t.Context(), &Request{Ops: []catalog.Op{set("a", uint64(i))}, Predicate: &guard}))
	}
	l.run(3)
	l.m.Commit(l.index)
	done := 0
	for _, ch := range replies {
		if r := <-ch; r.err == nil {
			done++
		} else if !errcode.Is(r.err, errcode.CASConflictFound) {
			t.Fatal(r.err)
		}
	}
	if done != 1 {
		t.Fatalf("%d of three that exclude each other were done", done)
	}
}

func TestGivingUp(t *testing.T) {
	l := newManual(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	waiting := l.do(ctx, request(set("a", 1)))
	<-l.got
	l.got <- struct{}{}
	cancel()
	if r := <-waiting; !errors.Is(r.err, context.Canceled) || errcode.Is(r.err, errcode.UnknownOutcome) {
		t.Fatalf("given up before it ran: %+v", r)
	}
	if l.run(1) != nil {
		t.Fatal("a withdrawn request was run")
	}
	ctx, cancel = context.WithCancel(t.Context())
	running := l.do(ctx, request(set("a", 1)))
	l.run(1)
	cancel()
	if r := <-running; !errcode.Is(r.err, errcode.UnknownOutcome) {
		t.Fatalf("given up while it ran: %+v", r)
	}
	l.m.Commit(l.index)
	if value(l.m, "a") != 1 {
		t.Fatal("what was run is not there")
	}
	l.err = errcode.New(errcode.DiskFull, "i1")
	if _, err := l.m.Propose(t.Context(), set("a", 2)); !errcode.Is(err, errcode.DiskFull) {
		t.Fatalf("a loop that refuses: %v", err)
	}
	if _, err := New(Options{}).Propose(t.Context(), set("a", 2)); !errcode.Is(err, errcode.LeaderUnknown) {
		t.Fatalf("no loop: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	l := newManual(t, Options{})
	ch := l.do(t.Context(), request(set("a", 1)))
	<-l.got
	l.m.Refuse(l.queue, errcode.New(errcode.NotALeader, "i2 leads"))
	if r := <-ch; !errcode.Is(r.err, errcode.NotALeader) {
		t.Fatalf("answer %+v", r)
	}
}

func TestRepeatedRequestGetsTheFirstResult(t *testing.T) {
	l := newManual(t, Options{})
	id := catalog.RequestID{1}
	create := catalog.Op{Kind: catalog.CreateUser, User: catalog.User{Name: "ann", Owner: 1}}
	first := l.do(t.Context(), &Request{Ops: []catalog.Op{create}, ID: id})
	l.run(1)
	second := l.do(t.Context(), &Request{Ops: []catalog.Op{create}, ID: id})
	if l.run(1) != nil {
		t.Fatal("written twice")
	}
	unanswered(t, second)
	l.m.Commit(l.index)
	a, b := <-first, <-second
	if a.err != nil || a != b || a.res.UserID != catalog.FirstUserID {
		t.Fatalf("%+v and %+v", a, b)
	}
}

func TestWait(t *testing.T) {
	l := newManual(t, Options{})
	at := l.index + 2
	done := make(chan error, 1)
	go func() { done <- l.m.Wait(t.Context(), at) }()
	l.m.Apply(l.index+1, 1, nil)
	l.m.Apply(l.index+2, 2, nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.m.Wait(ctx, at+1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(l.m.wakes) != 0 {
		t.Fatalf("%d subscriptions are left", len(l.m.wakes))
	}
}

func TestEntryDoesNotOutgrowItsLimit(t *testing.T) {
	l := newManual(t, Options{})
	big := func(i int) catalog.Op {
		return catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableProperty,
			Tuple: catalog.StrProperty(fmt.Sprint(i), string(bytes.Repeat([]byte{'x'}, 900<<10))).Row()}}}
	}
	var replies []<-chan reply
	for i := range 20 {
		replies = append(replies, l.do(t.Context(), request(big(i))))
	}
	entry := l.run(20)
	if len(entry) == 0 || len(entry) > catalog.EntryBytesMax {
		t.Fatalf("entry of %d bytes", len(entry))
	}
	l.m.Commit(l.index)
	refused := 0
	for _, ch := range replies {
		if r := <-ch; r.err != nil {
			if !errcode.Is(r.err, errcode.Overloaded) {
				t.Fatal(r.err)
			}
			refused++
		}
	}
	if refused == 0 || refused == 20 {
		t.Fatalf("%d of 20 refused", refused)
	}
}

// The leader's entries, applied by another machine, make the same catalog; batches, pipelining and aborts included.
func TestFollowerIsEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lead, follow := New(Options{Start: started(t)}), New(Options{Start: started(t)})
		next, _ := lead.View().Position()
		next++
		type pending struct {
			index uint64
			entry []byte
		}
		var open []pending
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				var reqs []*Request
				for range rapid.IntRange(1, 4).Draw(t, "requests") {
					key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
					req := request(rapid.SampledFrom([]catalog.Op{set(key, next), insert(key, next)}).Draw(t, "op"))
					req.done = make(chan outcome, 1)
					reqs = append(reqs, req)
				}
				if entry := lead.Run(next, 1, reqs); entry != nil {
					open = append(open, pending{next, entry})
					next++
				}
			case 3, 4:
				if len(open) > 0 {
					lead.Commit(open[0].index)
					follow.Apply(open[0].index, 1, open[0].entry)
					open = open[1:]
				}
			case 5:
				if len(open) > 0 {
					next = open[len(open)-1].index
					lead.Abort(next, errcode.New(errcode.NotALeader, "x"))
					open = open[:len(open)-1]
				}
			}
			var a, b bytes.Buffer
			if err := errors.Join(catalog.EncodeSnapshot(&a, catalog.Snapshot{State: lead.View()}),
				catalog.EncodeSnapshot(&b, catalog.Snapshot{State: follow.View()})); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Fatal("leader and follower differ")
			}
		}
	})
}

func TestDivergenceStops(t *testing.T) {
	l := newManual(t, Options{})
	defer func() {
		if recover() == nil {
			t.Fatal("an entry that cannot be applied did not stop the machine")
		}
	}()
	l.m.Apply(l.index+1, 1, []byte{0xc1})
}
