package instance

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// stranger is an instance in the catalog of staleRig that is not to be heard any more.
const (
	expelledUUID = "44444444-4444-4444-8444-444444444444"
	replacedUUID = "55555555-5555-4555-8555-555555555555"
)

// staleRig is an instance that leads both of its groups.
func staleRig(t *testing.T) (*Instance, *core, wire.Header) {
	t.Helper()
	i, _ := unreachable(t)
	s := bootstrapped(t)
	for n, uuid := range []string{expelledUUID, replacedUUID} {
		row, _ := s.Instance("default_1_1")
		row.Name, row.UUID, row.RaftID, row.DataRaftID = "i"+uuid[:1], uuid, uint64(10*n+15), uint64(10*n+16)
		if uuid == expelledUUID {
			row.Current.Name, row.Target.Name = lifecycle.Expelled, lifecycle.Expelled
		}
		joined(t, s, row)
	}
	c := newCore(datadir.Identity{ClusterUUID: "c", Epoch: 2, RaftID: 1}, s)
	c.catalog = catalogrunner.New(catalogrunner.Options{Start: s})
	c.book.refresh(s)
	c.catalogLoop = startCatalog(t, c, func(raftgroup.Message) {})
	c.catalog.Bind(c.catalogLoop)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing is worth waiting for
		_ = c.catalogLoop.Stop(ctx)
	})
	n := startTrio(t, time.Second)
	c.dataLoop = n.replicas[n.leader()].c.dataLoop
	until := time.Now().Add(patience)
	for c.catalogLoop.Status().Role != raftgroup.RoleLeader {
		if time.Now().After(until) {
			t.Fatal("the catalog has no leader")
		}
		time.Sleep(time.Millisecond)
	}
	i.core.Store(c)
	i.server = server.New(server.Options{Backend: &waiting{i}})
	row, _ := s.Instance("default_1_1")
	return i, c, wire.Header{ClusterUUID: "c", Epoch: 2, From: row.UUID, RaftID: row.RaftID, Address: "a:1",
		Term: c.catalogLoop.Status().Term, Applied: c.catalog.Applied()}
}

// staleCase is a message between instances.
type staleCase struct {
	name   string
	answer func(context.Context, []byte) ([]byte, error)
	make   func(wire.Header) []byte
	// governor: of the catalog's leader alone. own is how a message with a good header is refused, 0 if it is not.
	governor bool
	own      errcode.Code
}

// staleCases are messages of all kinds, those of a governor in several states of staleness.
func staleCases(t *testing.T, i *Instance, c *core, fresh wire.Header) []staleCase {
	data := c.dataLoop.Status()
	change := wire.GroupChange{Changes: []raftgroup.Change{{Op: raftgroup.AddLearner, ID: 9}}, CatalogIndex: 10, Term: data.Term, Voters: data.Voters}
	c.membersOf = change.CatalogIndex
	other := data.Voters[0]
	if other == data.ID {
		other = data.Voters[1]
	}
	edited := func(m wire.GroupChange, edit func(*wire.GroupChange)) wire.GroupChange {
		edit(&m)
		return m
	}
	cas := func(h wire.Header) []byte {
		b, err := wire.CAS{Header: h, Ops: []catalog.Op{{Kind: catalog.Nop}}, Initiator: catalog.AdminID}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	groupChange := func(m wire.GroupChange) func(wire.Header) []byte {
		return func(h wire.Header) []byte {
			m.Header = h
			return m.Append(nil)
		}
	}
	handOver := func(group uint8, to, term uint64) func(wire.Header) []byte {
		return func(h wire.Header) []byte {
			return wire.Transfer{Header: h, Group: group, To: to, Term: term}.Append(nil)
		}
	}
	interact := func(_ context.Context, message []byte) ([]byte, error) {
		_, _, _, err := i.admitInteract(message)
		return nil, err
	}
	return []staleCase{
		{"hello", i.answerHello, func(h wire.Header) []byte { return h.Append(nil) }, false, 0},
		{"interact", interact, func(h wire.Header) []byte { return wire.Interact{Header: h}.Append(nil) }, false, 0},
		{"cas", i.answerCAS, cas, false, 0},
		{"proxy", i.answerProxy, func(h wire.Header) []byte { return wire.Proxy{Header: h}.Append(nil) }, false, 0},
		{"chunk", i.answerSnapshotChunk, func(h wire.Header) []byte {
			return wire.SnapshotChunk{Header: h, Group: wire.GroupData, Index: 3, Max: 10}.Append(nil)
		}, false, errcode.IllegalParams},
		{"members, older term", i.answerGroupChange, groupChange(edited(change, func(m *wire.GroupChange) { m.Term-- })), true, errcode.StaleChange},
		{"members, newer term", i.answerGroupChange, groupChange(edited(change, func(m *wire.GroupChange) { m.Term++ })), true, errcode.StaleChange},
		{"members, older catalog", i.answerGroupChange, groupChange(edited(change, func(m *wire.GroupChange) { m.CatalogIndex-- })), true, errcode.StaleChange},
		{"members, other voters", i.answerGroupChange, groupChange(edited(change, func(m *wire.GroupChange) { m.Voters = m.Voters[1:] })), true, errcode.StaleChange},
		{"members", i.answerGroupChange, groupChange(change), true, 0},
		{"hand over the catalog, older term", i.answerTransfer, handOver(wire.GroupCatalog, 2, fresh.Term-1), true, errcode.TermMismatch},
		{"hand over, older term", i.answerTransfer, handOver(wire.GroupData, other, data.Term-1), true, errcode.TermMismatch},
		{"hand over, newer term", i.answerTransfer, handOver(wire.GroupData, other, data.Term+1), true, errcode.TermMismatch},
		{"hand over", i.answerTransfer, handOver(wire.GroupData, other, data.Term), true, 0},
	}
}

// TestStaleMessages: each message that one instance sends another, and which changes something or gives something away, is refused
// with a number if it is of another cluster, an epoch that is over, or a member that is none any more; those of a governor or for the
// leader of a group also if they are of another term.
func TestStaleMessages(t *testing.T) {
	i, c, fresh := staleRig(t)
	headers := []struct {
		name string
		want errcode.Code
		edit func(*wire.Header)
	}{
		{"other cluster", errcode.ClusterUUIDMismatch, func(h *wire.Header) { h.ClusterUUID = "d" }},
		{"older epoch", errcode.EpochMismatch, func(h *wire.Header) { h.Epoch-- }},
		{"newer epoch", errcode.EpochOver, func(h *wire.Header) { h.Epoch++ }},
		{"expelled", errcode.InstanceExpelled, func(h *wire.Header) { h.From, h.RaftID = expelledUUID, 15 }},
		{"replaced", errcode.JoinFilesLost, func(h *wire.Header) { h.From, h.RaftID = replacedUUID, 24 }},
		{"older term", errcode.TermMismatch, func(h *wire.Header) { h.Term-- }},
	}
	for _, m := range staleCases(t, i, c, fresh) {
		for _, e := range headers {
			h := fresh
			e.edit(&h)
			i.failed, i.failOnce = make(chan failure, 1), sync.Once{}
			if e.want == errcode.TermMismatch && !m.governor {
				continue
			}
			if _, err := m.answer(t.Context(), m.make(h)); !errcode.Is(err, e.want) {
				t.Errorf("%s, %s: %v", m.name, e.name, err)
			}
			if ended := len(i.failed) == 1; ended != (e.want == errcode.EpochOver) {
				t.Errorf("%s, %s: the receiver ends: %t", m.name, e.name, ended)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := m.answer(ctx, m.make(fresh)); m.own == 0 && err != nil || m.own != 0 && !errcode.Is(err, m.own) {
			t.Errorf("%s: %v", m.name, err)
		}
		cancel()
	}
}

// TestSnapshotTerm: of two snapshots of one index only that of the announced term is given away.
func TestSnapshotTerm(t *testing.T) {
	sender := onDataDisk(replicaDisk(t))
	sender.dir.Path = "/sender"
	fsys := sender.fs
	if err := fsys.MkdirAll("/sender", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename("/other", "/sender/"+datadir.DataDir); err != nil {
		t.Fatal(err)
	}
	m := wire.SnapshotChunk{Group: wire.GroupData, Index: installAt, Term: installTerm}
	if err := sender.checkSnapshotTerm(m); err != nil {
		t.Fatal(err)
	}
	m.Term--
	if err := sender.checkSnapshotTerm(m); !errcode.Is(err, errcode.TermMismatch) {
		t.Errorf("another term: %v", err)
	}
}
