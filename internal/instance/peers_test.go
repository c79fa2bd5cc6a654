package instance

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// unreachable is an instance with a core without loops, none of whose peers can be reached.
func unreachable(t *testing.T) (*Instance, *core) {
	t.Helper()
	i := onDataDisk(fault.New())
	i.pool = rpc.New(rpc.Options{User: serviceUser, Password: func() []byte { return nil },
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") }})
	t.Cleanup(i.pool.Close)
	c := newCore(datadir.Identity{ClusterUUID: "c", Epoch: 1, RaftID: 1}, bootstrapped(t))
	c.book.refresh(c.catalog.View())
	return i, c
}

// startCatalog starts the loop of a catalog's group with one voter, and a learner that does not exist.
func startCatalog(t *testing.T, c *core, send func(raftgroup.Message)) *runner.Loop[*catalogrunner.Request] {
	t.Helper()
	log, err := wal.Open(wal.Options{FS: fault.New(), Dir: "/log", Group: catalogName, Instance: uuid.UUID{1}, SegmentBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	index, term := c.catalog.View().Position()
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Now: real.Clock{}.Boot(), Incarnation: 1,
		Position: raftgroup.Position{Index: index, Term: term, Voters: []uint64{1}, Learners: []uint64{2}}})
	if err != nil {
		t.Fatal(err)
	}
	return runner.Start(runner.Config[*catalogrunner.Request]{Log: log, Clock: real.Clock{}, Group: group, Machine: c.catalog,
		Name: catalogName, Send: send})
}

// TestMessagesWaitForTheGroups: a loop sends as soon as it runs. What comes of its messages is told to it when the core has it.
func TestMessagesWaitForTheGroups(t *testing.T) {
	i, c := unreachable(t)
	started := make(chan struct{})
	c.transport = i.newTransport(c, started)
	sent := make(chan struct{}, 1)
	loop := startCatalog(t, c, func(m raftgroup.Message) {
		c.transport.Send("nowhere:1", wire.GroupCatalog, m)
		select {
		case sent <- struct{}{}:
		default:
		}
	})
	<-sent
	for range 1000 {
		runtime.Gosched()
	}
	if n := len(i.pool.Status()); n != 0 {
		t.Errorf("%d instances were called before the groups were there", n)
	}
	c.catalogLoop = loop
	close(started)
	for len(i.pool.Status()) == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := loop.Stop(ctx); err != nil {
		t.Error(err)
	}
	c.transport.Close()
}

// joined adds an instance to a catalog, or gives it another row.
func joined(t *testing.T, s *catalog.State, row catalog.Instance) {
	t.Helper()
	index, term := s.Position()
	op := catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableInstance, Tuple: row.Row()}}}
	if _, _, err := s.Execute(index+1, term, catalog.Item{Ops: []catalog.Op{op}}); err != nil {
		t.Fatal(err)
	}
}

// TestAdmit: who was expelled, or replaced since, is refused with a number and ends by that; whom the catalog does not know, or
// knows by an older raft id, is heard.
func TestAdmit(t *testing.T) {
	i, c := unreachable(t)
	s := bootstrapped(t)
	uuids := []string{"44444444-4444-4444-8444-444444444444", "55555555-5555-4555-8555-555555555555", "66666666-6666-4666-8666-666666666666"}
	for n, grade := range []lifecycle.GradeName{lifecycle.Expelled, lifecycle.Offline} {
		row, _ := s.Instance("default_1_1")
		row.Name, row.UUID, row.RaftID, row.DataRaftID = "i"+uuids[n][:1], uuids[n], uint64(10*n+15), uint64(10*n+16)
		row.Current.Name, row.Target.Name = grade, grade
		joined(t, s, row)
	}
	c.catalog = catalogrunner.New(catalogrunner.Options{Start: s})
	c.book.refresh(s)
	i.core.Store(c)
	for _, e := range []struct {
		uuid string
		id   uint64
		want errcode.Code
	}{{uuids[0], 15, errcode.InstanceExpelled}, {uuids[0], 17, errcode.InstanceExpelled}, {uuids[1], 13, errcode.JoinFilesLost},
		{uuids[1], 25, 0}, {uuids[1], 27, 0}, {uuids[2], 99, 0}} {
		h := wire.Header{ClusterUUID: "c", Epoch: 1, From: e.uuid, RaftID: e.id, Address: "a:1"}
		if _, err := i.admit(h); e.want == 0 && err != nil || e.want != 0 && !errcode.Is(err, e.want) {
			t.Errorf("raft id %d of %s: %v", e.id, e.uuid, err)
		}
		if told := c.book.of(wire.GroupCatalog, e.id) != ""; told != (e.want == 0) {
			t.Errorf("raft id %d of %s: noted %t", e.id, e.uuid, told)
		}
		if _, heard := c.reports.heard[e.id]; heard != (e.want == 0 && e.uuid != uuids[2]) {
			t.Errorf("raft id %d of %s: heard %t", e.id, e.uuid, heard)
		}
	}
	for _, code := range []errcode.Code{errcode.Loading, errcode.InstanceExpelled, errcode.JoinFilesLost, errcode.EpochMismatch} {
		i.failed, i.failOnce = make(chan failure, 1), sync.Once{}
		if i.refused("a:1", &errcode.Error{Code: code}); len(i.failed) == 1 != (code != errcode.Loading) {
			t.Errorf("refused with %d: %d failures", code, len(i.failed))
		}
	}
}

// TestStrangersAreBounded: what instances say that the catalog does not know takes no more than so much memory.
func TestStrangersAreBounded(t *testing.T) {
	i, c := unreachable(t)
	for id := range uint64(2 * strangersMax) {
		c.book.tell(100+id, "a:1")
		i.noteReport(c, wire.Header{RaftID: 100 + id}, wire.Report{})
	}
	if n := len(c.book.told); n != strangersMax {
		t.Errorf("%d addresses are remembered", n)
	}
	if n := len(c.reports.heard); n != 0 {
		t.Errorf("%d reports are remembered", n)
	}
	if c.book.tell(catalog.FirstRaftID, "b:1"); c.book.of(wire.GroupCatalog, catalog.FirstRaftID) != "b:1" {
		t.Error("a member's address is not remembered any more")
	}
}
