package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// greeter lets other instances in with a password of the test.
type greeter struct{ *waiting }

func (g greeter) Credentials(user string) (server.Credential, bool) {
	return server.Credential{ID: catalog.ServiceID, Name: user, ChapSHA1: iproto.HashPassword([]byte("x")), HasPassword: true}, true
}

// listening is an instance without loops that answers others, at an address of its own that its catalog does not know.
func listening(t *testing.T, raftID uint64) (*Instance, *core) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := onDataDisk(fault.New())
	i.cfg = &config.Config{Advertise: l.Addr().String(), MemoryBytes: 16 << 20}
	i.pool = rpc.New(rpc.Options{User: serviceUser, Password: func() []byte { return []byte("x") }})
	c := newCore(datadir.Identity{ClusterUUID: "c", Epoch: 1, RaftID: raftID, InstanceUUID: fmt.Sprint(raftID)}, bootstrapped(t))
	c.book.refresh(c.catalog.View())
	i.core.Store(c)
	i.peerProcs = i.peerProcedures()
	i.server = server.New(server.Options{Backend: greeter{&waiting{i}}})
	served := make(chan error, 1)
	go func() { served <- i.server.Serve(l) }()
	t.Cleanup(func() {
		i.pool.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = i.server.Shutdown(ctx)                                            // nothing is worth waiting for
		if err := <-served; err != nil && !errors.Is(err, server.ErrClosed) { // it may end before it began to serve
			t.Error(err)
		}
	})
	return i, c
}

// TestMeetThroughAThird: two instances have moved, and each can only name a third one, which has stayed. They find each other.
func TestMeetThroughAThird(t *testing.T) {
	third, _ := listening(t, 13)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var moved []*core
	for id := uint64(11); id <= 12; id++ {
		i, c := listening(t, id)
		i.cfg.Peers = []string{third.cfg.Advertise}
		moved = append(moved, c)
		i.introduce(ctx, c)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		a, b := moved[0].book.of(wire.GroupCatalog, 12), moved[1].book.of(wire.GroupCatalog, 11)
		if a != "" && b != "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("they know %q and %q", a, b)
		}
	}
}

// TestHearsayIsNotBelieved: what a third one says of an address is only a reason to ask there.
func TestHearsayIsNotBelieved(t *testing.T) {
	i, c := unreachable(t)
	n := &introduction{i: i, c: c, asked: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n.meet(ctx, map[uint64]string{7: "127.0.0.1:9", c.id.RaftID: "127.0.0.1:8", 8: ""})
	if got := c.book.of(wire.GroupCatalog, 7); got != "" || len(n.asked) != 1 || !n.asked["127.0.0.1:9"] {
		t.Errorf("known at %q, asked %v", got, n.asked)
	}
}

// TestJoinerNamesTheLeader: an instance that only joins answers newcomers at once with the leader that it asks itself.
func TestJoinerNamesTheLeader(t *testing.T) {
	i := onDataDisk(fault.New())
	i.noteLeader("127.0.0.1:1")
	request := func(address string) []byte {
		return wire.AppendJoin(nil, catalog.JoinRequest{ClusterName: "demo", InstanceUUID: "44444444-4444-4444-8444-444444444444", Address: address})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is waited for
	b, err := i.answerJoin(ctx, request("127.0.0.1:2"))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := wire.DecodeJoinAnswer(b); err != nil || answer.Leader != "127.0.0.1:1" || answer.RaftID != 0 {
		t.Errorf("answer %+v, %v", answer, err)
	}
	if _, err := i.answerJoin(ctx, request("127.0.0.1:1")); err == nil {
		t.Error("the leader was sent to itself")
	}
	i.noteLeader("")
	if _, err := i.answerJoin(ctx, request("127.0.0.1:2")); err == nil {
		t.Error("an answer without a leader")
	}
}

// TestElsewhere: a request to the catalog is made again if it was certainly not carried out, or if its id protects it; not after
// any other failure.
func TestElsewhere(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&rpc.Error{Err: context.Canceled}, true},
		{&rpc.Error{Err: context.Canceled, Sent: true}, true},
		{raftgroup.NotLeader(3), true},
		{errcode.New(errcode.LeaderUnknown), true},
		{errcode.New(errcode.Shutdown), true},
		{errcode.New(errcode.UnknownOutcome, "x"), true},
		{errcode.New(errcode.CASConflictFound, "x"), false},
		{errcode.New(errcode.TooBig, "x", 1, 0), false},
		{context.DeadlineExceeded, false},
		{fmt.Errorf("encode the request"), false},
	} {
		if got := elsewhere(c.err); got != c.want {
			t.Errorf("%v: made again %t", c.err, got)
		}
	}
}
