package transport

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// other is an instance on a loopback port that hands on what it gets.
type other struct {
	t    testing.TB
	srv  *server.Server
	addr string
	got  func(group uint8, m raftgroup.Message)
}

func (o *other) Answer(_ *server.Session, out []byte) []byte { return out }
func (o *other) Flush(*server.Session)                       {}
func (o *other) SchemaVersion() uint64                       { return 0 }
func (o *other) Closed(*server.Session)                      {}
func (o *other) Credentials(user string) (server.Credential, bool) {
	return server.Credential{ID: 30, Name: user, ChapSHA1: iproto.HashPassword([]byte("cookie")), HasPassword: true}, true
}

func (o *other) Execute(_ *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
	m, err := interact(req)
	if err == nil {
		err = m.Header.Check("c", 0)
	}
	if err != nil {
		return iproto.AppendError(out, req.Sync, 0, errcode.Of(err)), true
	}
	for _, g := range m.Messages {
		r, err := raftgroup.DecodeMessage(g.Data)
		if err != nil {
			o.t.Error(err)
			continue
		}
		o.got(g.Group, r)
	}
	return iproto.AppendData(out, req.Sync, 0, wire.AppendNil(nil)), true
}

func interact(req *iproto.Request) (wire.Interact, error) {
	message, err := wire.Argument(req.Tuple)
	if err != nil {
		return wire.Interact{}, err
	}
	return wire.DecodeInteract(message)
}

func (o *other) start(address string) {
	l, err := net.Listen("tcp", address)
	// The port of one that has stopped may be in use for a moment.
	for end := time.Now().Add(30 * time.Second); err != nil; l, err = net.Listen("tcp", address) {
		if time.Now().After(end) {
			o.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	o.addr, o.srv = l.Addr().String(), server.New(server.Options{Backend: o})
	srv := o.srv
	go func() { _ = srv.Serve(l) }()
	o.t.Cleanup(o.stop)
}

func (o *other) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o.srv.Shutdown(ctx)
}

func pool(t testing.TB) *rpc.Pool {
	p := rpc.New(rpc.Options{User: "pico_service", Password: func() []byte { return []byte("cookie") },
		RetryMin: time.Millisecond, RetryMax: time.Millisecond})
	t.Cleanup(p.Close)
	return p
}

// TestLoopback: messages of each kind arrive in their order over a real connection; an instance that goes is told to be
// unreachable, and when it comes back it is reached.
func TestLoopback(t *testing.T) {
	const n = 2000
	type seen struct {
		group uint8
		kind  string
		term  uint64
	}
	got := make(chan seen, 2*n)
	o := &other{t: t, got: func(group uint8, m raftgroup.Message) { got <- seen{group, m.Kind(), m.Term()} }}
	o.start("127.0.0.1:0")
	tr, what := transport(t, Options{Caller: pool(t)})
	send := func(kind pb.MessageType, group uint8, term uint64) {
		m := &pb.Message{Type: kind.Enum(), From: new(uint64(1)), To: new(uint64(9)), Term: new(term)}
		tr.Send(o.addr, group, decoded(t, m))
	}
	for i := range uint64(n) {
		send(pb.MsgApp, wire.GroupData, i)
		send(pb.MsgAppResp, wire.GroupCatalog, i)
	}
	next := map[uint8]uint64{}
	for range 2 * n {
		s := <-got
		if s.term != next[s.group] || (s.kind == "MsgApp") != (s.group == wire.GroupData) {
			t.Fatalf("%+v came after %d", s, next[s.group])
		}
		next[s.group]++
	}
	if told := what.sorted(t, 0); len(told) != 0 {
		t.Fatalf("%q", told)
	}
	o.stop()
	for !slices.Contains(what.sorted(t, 0), "unreachable 2 9") {
		send(pb.MsgHeartbeat, wire.GroupData, 1)
		time.Sleep(time.Millisecond)
	}
	o.start(o.addr)
	for len(got) == 0 {
		send(pb.MsgHeartbeat, wire.GroupData, 1)
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkAppends sends messages with one entry of 100 bytes, of which at most 256 are on their way.
func BenchmarkAppends(b *testing.B) {
	arrived := make(chan struct{}, 256)
	o := &other{t: b, got: func(uint8, raftgroup.Message) { <-arrived }}
	o.start("127.0.0.1:0")
	tr, _ := transport(b, Options{Caller: pool(b)})
	m := message(b, pb.MsgApp, 1, 9, 100)
	b.ReportAllocs()
	for b.Loop() {
		arrived <- struct{}{}
		tr.Send(o.addr, wire.GroupData, m)
	}
	s := tr.Stats()[0]
	b.ReportMetric(float64(s.Messages)/float64(s.Calls), "messages/call")
}

// BenchmarkRoundTrip sends one message at a time.
func BenchmarkRoundTrip(b *testing.B) {
	arrived := make(chan struct{})
	o := &other{t: b, got: func(uint8, raftgroup.Message) { arrived <- struct{}{} }}
	o.start("127.0.0.1:0")
	tr, _ := transport(b, Options{Caller: pool(b)})
	m := message(b, pb.MsgApp, 1, 9, 100)
	b.ReportAllocs()
	for b.Loop() {
		tr.Send(o.addr, wire.GroupData, m)
		<-arrived
	}
}
