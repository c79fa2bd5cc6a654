package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const there = "there:3301"

// caller is a network in which every call waits until the test answers it.
type caller struct {
	t testing.TB
	// refuse, if set, is what Start fails with.
	refuse error
	calls  chan *call
}

type call struct {
	address  string
	interact wire.Interact
	answer   chan error
}

func newCaller(t testing.TB) *caller { return &caller{t: t, calls: make(chan *call, 1000)} }

func (c *caller) Start(ctx context.Context, address, procedure string, message []byte) (func(context.Context) ([]byte, error), error) {
	if c.refuse != nil {
		return nil, c.refuse
	}
	m, err := wire.DecodeInteract(slices.Clone(message))
	if err != nil || procedure != wire.ProcInteract {
		c.t.Errorf("%s: %v", procedure, err)
	}
	made := &call{address: address, interact: m, answer: make(chan error, 1)}
	c.calls <- made
	return func(ctx context.Context) ([]byte, error) {
		select {
		case err := <-made.answer:
			return []byte{0xc0}, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, nil
}

// next returns the next call.
func (c *caller) next() *call {
	c.t.Helper()
	select {
	case made := <-c.calls:
		return made
	case <-time.After(30 * time.Second):
		c.t.Fatal("no call is made")
		return nil
	}
}

// texts names what a call carries: kind, index and receiver of each message.
func (m *call) texts(t testing.TB) (all []string) {
	t.Helper()
	for _, g := range m.interact.Messages {
		r, err := raftgroup.DecodeMessage(g.Data)
		if err != nil {
			t.Fatal(err)
		}
		p := new(pb.Message)
		if err := proto.Unmarshal(g.Data, p); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d %s %d to %d", g.Group, r.Kind(), p.GetIndex(), r.To()))
	}
	return all
}

// message makes a raft message with an entry of n bytes, none if n is 0.
func message(t testing.TB, kind pb.MessageType, index, to uint64, n int) raftgroup.Message {
	t.Helper()
	m := &pb.Message{Type: kind.Enum(), From: new(uint64(1)), To: new(to), Index: new(index), Term: new(uint64(1))}
	if n > 0 {
		m.Entries = []*pb.Entry{{Index: new(index + 1), Term: new(uint64(1)), Data: make([]byte, n)}}
	}
	if kind == pb.MsgSnap {
		m.Snapshot = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(index), Term: new(uint64(1))}}
	}
	return decoded(t, m)
}

// decoded makes a message as it comes from a group.
func decoded(t testing.TB, m *pb.Message) raftgroup.Message {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r, err := raftgroup.DecodeMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told collects what the transport tells.
type told struct {
	mu   sync.Mutex
	list []string
}

func (o *told) add(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, fmt.Sprintf(format, args...))
}

// sorted returns what was told, each once, when there are n.
func (o *told) sorted(t testing.TB, n int) []string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		list := slices.Clone(o.list)
		o.mu.Unlock()
		slices.Sort(list)
		if list = slices.Compact(list); len(list) >= n {
			return list
		}
		if time.Now().After(end) {
			t.Fatalf("only %q was told", list)
		}
	}
}

func transport(t testing.TB, o Options) (*Transport, *told) {
	t.Helper()
	var what told
	if o.Header == nil {
		o.Header = func() wire.Header { return wire.Header{ClusterUUID: "c", From: "me"} }
	}
	o.Unreachable = func(group uint8, id uint64) { what.add("unreachable %d %d", group, id) }
	o.SnapshotLost = func(group uint8, id uint64) { what.add("snapshot lost %d %d", group, id) }
	o.Refused = func(address string, err *errcode.Error) { what.add("refused %s %d", address, err.Code) }
	tr := New(o)
	t.Cleanup(tr.Close)
	return tr, &what
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// waiting waits until so many messages wait for there.
func waiting(t testing.TB, tr *Transport, n int) PeerStats {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s := tr.Stats()
		if len(s) == 1 && s[0].Queued == n {
			return s[0]
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", s)
		}
	}
}

// TestOrderAndCoalescing: the first message goes at once; what comes while its call is unanswered goes together, of both
// groups, those that are not bulk first, each kind in its order.
func TestOrderAndCoalescing(t *testing.T) {
	c := newCaller(t)
	tr, _ := transport(t, Options{Caller: c, Calls: 1})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 10))
	first := c.next()
	same(t, "first call", first.texts(t), []string{"2 MsgApp 1 to 9"})
	if first.address != there || first.interact.Header.From != "me" {
		t.Errorf("%+v", first)
	}
	// While the first call is unanswered, one more may go, without entries.
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 2, 9, 10))
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgHeartbeat, 3, 8, 0))
	second := c.next()
	same(t, "second call", second.texts(t), []string{"1 MsgHeartbeat 3 to 8"})
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgApp, 4, 8, 10))
	tr.Send(there, wire.GroupData, message(t, pb.MsgVoteResp, 5, 9, 0))
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgSnap, 6, 8, 0))
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgAppResp, 7, 8, 0))
	waiting(t, tr, 5)
	if len(c.calls) != 0 {
		t.Fatal("more calls than may be are unanswered")
	}
	first.answer <- nil
	third := c.next()
	same(t, "third call", third.texts(t), []string{"2 MsgVoteResp 5 to 9", "1 MsgAppResp 7 to 8"})
	second.answer <- nil
	third.answer <- nil
	same(t, "fourth call", c.next().texts(t), []string{"2 MsgApp 2 to 9", "1 MsgApp 4 to 8", "1 MsgSnap 6 to 8"})
}

// TestCallsAreBounded: as many calls as may be are unanswered, and each is filled to its size.
func TestCallsAreBounded(t *testing.T) {
	c := newCaller(t)
	tr, _ := transport(t, Options{Caller: c, Calls: 3, CallBytes: 1000})
	for i := range uint64(3) {
		tr.Send(there, wire.GroupData, message(t, pb.MsgApp, i, 9, 2000))
		same(t, "call", c.next().texts(t), []string{fmt.Sprintf("2 MsgApp %d to 9", i)})
	}
	for i := range uint64(10) {
		tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 10+i, 9, 300))
	}
	waiting(t, tr, 10)
	if len(c.calls) != 0 {
		t.Fatal("a fourth call")
	}
}

func TestCallsAreFilled(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c, Calls: 1, CallBytes: 1000})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 0, 9, 1))
	open := c.next()
	for i := range uint64(10) {
		tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 10+i, 9, 300))
	}
	for _, want := range []int{3, 3, 3, 1} {
		open.answer <- nil
		open = c.next()
		if got := len(open.interact.Messages); got != want {
			t.Errorf("%d messages of 300 bytes in a call of 1000", got)
		}
	}
	open.answer <- nil
	if s := waiting(t, tr, 0); s.Messages != 11 || s.Calls != 5 || s.Lost != 0 || s.QueuedBytes != 0 {
		t.Errorf("%+v", s)
	}
	if len(what.sorted(t, 0)) != 0 {
		t.Errorf("%q", what.list)
	}
}

// TestSlowInstance: what does not fit the queue is lost and told, once for each replica; messages without entries still
// find room, and another instance is not held up.
func TestSlowInstance(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c, Calls: 1, QueueMessages: 5, QueueBytes: 1000})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 0, 9, 1))
	c.next()
	tr.Send(there, wire.GroupData, message(t, pb.MsgHeartbeat, 0, 9, 0)) // takes the one place that is kept for it
	c.next()
	for i := range uint64(4) {
		tr.Send(there, wire.GroupData, message(t, pb.MsgApp, i, 9, 400))
	}
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgSnap, 1, 8, 2000))
	for i := range uint64(7) {
		tr.Send(there, wire.GroupCatalog, message(t, pb.MsgHeartbeat, i, 7, 0))
	}
	s := waiting(t, tr, 2+5)
	if s.Lost != 2+1+2 || s.QueuedBytes > 1000 {
		t.Errorf("%+v", s)
	}
	got := what.sorted(t, 4)
	same(t, "told", got, []string{"snapshot lost 1 8", "unreachable 1 7", "unreachable 1 8", "unreachable 2 9"})
	tr.Send("elsewhere:1", wire.GroupData, message(t, pb.MsgApp, 1, 4, 10))
	if other := c.next(); other.address != "elsewhere:1" {
		t.Errorf("%+v", other)
	}
}

// TestQueueOfMessages: the number of messages is bounded too.
func TestQueueOfMessages(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c, Calls: 1, QueueMessages: 3})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 0, 9, 1))
	c.next()
	for i := range uint64(4) {
		tr.Send(there, wire.GroupData, message(t, pb.MsgApp, i, 9, 1))
	}
	same(t, "told", what.sorted(t, 1), []string{"unreachable 2 9"})
	if s := waiting(t, tr, 3); s.Lost != 1 {
		t.Errorf("%+v", s)
	}
}

// TestLargeMessage: a message that is larger than a queue may be goes if nothing else waits.
func TestLargeMessage(t *testing.T) {
	c := newCaller(t)
	tr, _ := transport(t, Options{Caller: c, QueueBytes: 1000, CallBytes: 1000})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 5000))
	same(t, "call", c.next().texts(t), []string{"2 MsgApp 1 to 9"})
}

// TestMessagesOfACall: no call has more messages than the other side takes.
func TestMessagesOfACall(t *testing.T) {
	c := newCaller(t)
	tr, _ := transport(t, Options{Caller: c, Calls: 1})
	small := message(t, pb.MsgHeartbeat, 1, 9, 0)
	for range 2 {
		tr.Send(there, wire.GroupData, small)
		c.next() // the second one takes the place that is kept for it
	}
	for range wire.MessagesMax + 1 {
		tr.Send(there, wire.GroupData, small)
	}
	waiting(t, tr, wire.MessagesMax+1)
	tr.peers[there].finish(batch{}, nil)
	if n := len(c.next().interact.Messages); n != wire.MessagesMax {
		t.Errorf("%d messages", n)
	}
}

// TestFailures: a call that cannot begin, one that is lost, and one that is refused tell all replicas it was for.
func TestFailures(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c, Calls: 2})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 10))
	c.next().answer <- errors.New("lost")
	same(t, "lost", what.sorted(t, 1), []string{"unreachable 2 9"})
	tr.Send(there, wire.GroupCatalog, message(t, pb.MsgSnap, 1, 8, 0))
	c.next().answer <- fmt.Errorf("answered: %w", errcode.New(errcode.EpochMismatch, 1, 2))
	same(t, "refused", what.sorted(t, 4), []string{
		fmt.Sprintf("refused %s %d", there, errcode.EpochMismatch), "snapshot lost 1 8", "unreachable 1 8", "unreachable 2 9"})

	refusing := newCaller(t)
	refusing.refuse = errors.New("no connection")
	tr, what = transport(t, Options{Caller: refusing})
	for range 3 {
		tr.Send(there, wire.GroupData, message(t, pb.MsgHeartbeat, 1, 9, 0))
	}
	tr.Tell(there)
	same(t, "told", what.sorted(t, 1), []string{"unreachable 2 9"})
	// A call that is tried again and again would be so thousands of times by then.
	time.Sleep(20 * time.Millisecond)
	if s := waiting(t, tr, 0); s.Calls > 4 {
		t.Errorf("%+v: a report that cannot be sent is tried again and again", s)
	}
}

// TestTimeout: a call without an answer ends, and its place is free again.
func TestTimeout(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c, Calls: 1, Timeout: 10 * time.Millisecond})
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 10))
	c.next()
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 2, 9, 10))
	same(t, "second call", c.next().texts(t), []string{"2 MsgApp 2 to 9"})
	same(t, "told", what.sorted(t, 1), []string{"unreachable 2 9"})
}

// TestReports: a report goes with the first call, not with each, at once when it is asked for, and again if it was lost.
func TestReports(t *testing.T) {
	c := newCaller(t)
	var n uint64
	var leads atomic.Bool
	tr, _ := transport(t, Options{Caller: c, Calls: 100, ReportInterval: time.Hour, Report: func(address string) *wire.Report {
		if !leads.Load() {
			return nil
		}
		n++
		return &wire.Report{Applied: n}
	}})
	send := func() *call {
		tr.Send(there, wire.GroupData, message(t, pb.MsgHeartbeat, 1, 9, 0))
		return c.next()
	}
	applied := func(what string, m *call, want uint64) {
		t.Helper()
		if r := m.interact.Report; r == nil && want != 0 || r != nil && r.Applied != want {
			t.Errorf("%s has report %+v, want %d", what, r, want)
		}
	}
	applied("call to one that is told nothing", send(), 0)
	leads.Store(true)
	first, second := send(), send()
	applied("first call", first, 1)
	applied("second call", second, 0)
	tr.Tell(there)
	third := c.next()
	applied("call of Tell", third, 2)
	if len(third.interact.Messages) != 0 {
		t.Errorf("%q", third.texts(t))
	}
	third.answer <- errors.New("lost")
	for tr.Stats()[0].Failed == 0 {
		time.Sleep(time.Millisecond)
	}
	applied("call after a lost one", send(), 3)
	tr.Send("elsewhere:1", wire.GroupData, message(t, pb.MsgHeartbeat, 1, 9, 0))
	applied("call to another instance", c.next(), 4)
}

// TestIdle: an instance without messages is forgotten, one with a call under way is not.
func TestIdle(t *testing.T) {
	c := newCaller(t)
	tr, _ := transport(t, Options{Caller: c, IdleTimeout: time.Millisecond})
	tr.Send(there, wire.GroupData, message(t, pb.MsgHeartbeat, 1, 9, 0))
	open := c.next()
	time.Sleep(20 * time.Millisecond)
	if len(tr.Stats()) != 1 {
		t.Error("forgotten while a call is under way")
	}
	open.answer <- nil
	for end := time.Now().Add(30 * time.Second); len(tr.Stats()) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not forgotten")
		}
	}
	tr.Send(there, wire.GroupData, message(t, pb.MsgHeartbeat, 1, 9, 0))
	c.next().answer <- nil
}

// TestManySenders: whatever many goroutines send to many instances arrives, and Close ends what is under way.
func TestManySenders(t *testing.T) {
	c := newCaller(t)
	tr, what := transport(t, Options{Caller: c})
	const senders, each = 8, 200
	got := make(chan int)
	go func() {
		n := 0
		for n < senders*each {
			made := c.next()
			n += len(made.interact.Messages)
			made.answer <- nil
		}
		got <- n
	}()
	var wg sync.WaitGroup
	for s := range uint64(senders) {
		wg.Go(func() {
			for i := range uint64(each) {
				kind := pb.MsgApp
				if i%3 == 0 {
					kind = pb.MsgHeartbeat
				}
				tr.Send(fmt.Sprintf("i%d:1", (s+i)%3), uint8(1+s%2), message(t, kind, i, s+1, int(i%2)))
			}
		})
	}
	wg.Wait()
	if n := <-got; n != senders*each {
		t.Errorf("%d messages", n)
	}
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 10))
	c.next()
	tr.Close()
	tr.Send(there, wire.GroupData, message(t, pb.MsgApp, 1, 9, 10))
	if told := what.sorted(t, 0); len(told) != 0 {
		t.Errorf("%q", told)
	}
}
