package instance

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// alarm is a timer for a moment of the boot-time clock; without one it never rings.
func (i *Instance) alarm(at time.Duration, timed bool) (ring <-chan time.Time, stop func()) {
	if !timed {
		return nil, func() {}
	}
	t := time.NewTimer(max(at-i.clock.Boot(), time.Millisecond))
	return t.C, func() { t.Stop() }
}

func waitLevel(failure bool) slog.Level {
	if failure {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// addressBook knows where the members of both groups are reached: by the catalog, and, where an instance has told of itself
// since, by what it told.
type addressBook struct {
	entries atomic.Pointer[addresses]

	mu   sync.Mutex // guards told, and the making of entries
	view *catalog.State
	// told are the addresses that instances told, by raft id.
	told map[uint64]string
}

// addresses is one state of the book; it never changes.
type addresses struct {
	// byRaftID and byDataID lead from an id in the catalog's group, or in a data group, to an address.
	byRaftID, byDataID map[uint64]string
	// raftIDs leads from an id in a data group to that in the catalog's.
	raftIDs map[uint64]uint64
}

// refresh follows the catalog. An address that the catalog now says itself need not be remembered.
func (b *addressBook) refresh(view *catalog.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view = view
	maps.DeleteFunc(b.told, func(id uint64, address string) bool {
		return view.PeerAddress(id, catalog.ConnIproto) == address
	})
	b.makeLocked()
}

// strangersMax bounds the addresses that are remembered of raft ids which the catalog does not know, or not yet.
const strangersMax = 1024

// tell notes the address that an instance told of itself.
func (b *addressBook) tell(raftID uint64, address string) {
	if address == "" || b.entries.Load().byRaftID[raftID] == address {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told == nil {
		b.told = map[uint64]string{}
	}
	if _, known := b.view.InstanceByRaftID(raftID); !known && len(b.told) >= strangersMax {
		return
	}
	b.told[raftID] = address
	b.makeLocked()
}

func (b *addressBook) makeLocked() {
	a := &addresses{byRaftID: map[uint64]string{}, byDataID: map[uint64]string{}, raftIDs: map[uint64]uint64{}}
	for _, p := range b.view.PeerAddresses() {
		if p.Kind == catalog.ConnIproto {
			a.byRaftID[p.RaftID] = p.Address
		}
	}
	maps.Copy(a.byRaftID, b.told)
	for _, row := range b.view.Instances() {
		if address := a.byRaftID[row.RaftID]; address != "" {
			a.byDataID[row.DataRaftID] = address
		}
		a.raftIDs[row.DataRaftID] = row.RaftID
	}
	b.entries.Store(a)
}

// known are the addresses of all members of the catalog's group. The map is not to be changed.
func (b *addressBook) known() map[uint64]string { return b.entries.Load().byRaftID }

// of returns where a member of a group is reached, empty if that is not known.
func (b *addressBook) of(group uint8, id uint64) string {
	if group == wire.GroupData {
		return b.entries.Load().byDataID[id]
	}
	return b.entries.Load().byRaftID[id]
}

// raftID leads from an id in a data group to that in the catalog's, 0 if there is none.
func (b *addressBook) raftID(dataID uint64) uint64 { return b.entries.Load().raftIDs[dataID] }

// catalogLeader is where the leader of the catalog's group is reached, empty if none is known.
func (i *Instance) catalogLeader(c *core) string {
	if c.catalogLoop == nil {
		return ""
	}
	id := c.catalogLoop.Status().LeaderID
	if id == c.id.RaftID {
		return i.cfg.Advertise
	}
	return c.book.of(wire.GroupCatalog, id)
}

// header begins every message of this instance to another.
func (i *Instance) header(c *core) wire.Header {
	h := wire.Header{ClusterUUID: c.id.ClusterUUID, Epoch: c.id.Epoch, From: c.id.InstanceUUID, RaftID: c.id.RaftID,
		Applied: c.catalog.Applied(), Address: i.cfg.Advertise, Incarnation: i.incarnation}
	if c.engine != nil {
		m := c.engine.Memory()
		h.Quota, h.Used = m.QuotaBytes, m.UsedBytes
	}
	if c.catalogLoop != nil {
		h.Term = c.catalogLoop.Status().Term
	}
	return h
}

// sender hands messages of a group to the transport. Those to members whose address is not known are lost, which the
// protocol bears.
func (i *Instance) sender(c *core, group uint8) func(raftgroup.Message) {
	return func(m raftgroup.Message) {
		if address := c.book.of(group, m.To()); address != "" {
			c.transport.Send(address, group, m)
		}
	}
}

// connectionLost tells the groups that an instance at an address may be gone.
func (i *Instance) connectionLost(address string) {
	c := i.core.Load()
	if c == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), askedTimeout)
		defer cancel()
		for group, loop := range map[uint8]func(context.Context, func(*raftgroup.Group) error) error{
			wire.GroupCatalog: c.catalogLoop.Call, wire.GroupData: c.dataLoop.Call,
		} {
			_ = loop(ctx, func(g *raftgroup.Group) error { // a loop that has ended needs no leader
				s := g.Status()
				for _, id := range append(s.Learners, s.LeaderID) {
					if c.book.of(group, id) == address {
						g.PeerGone(id)
					}
				}
				return nil
			})
		}
	}()
}

// hello tells an instance who this one is and where it is reached, and learns the same of it, and whom it knows.
func (i *Instance) hello(ctx context.Context, c *core, address string) (known map[uint64]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	answer, err := i.pool.Call(ctx, address, wire.ProcHello, i.header(c).Append(nil))
	if err != nil {
		if refusal := rpc.Answered(err); refusal != nil { // before any group could say so: it may have nobody to talk to
			i.refused(address, refusal)
		}
		return nil, err
	}
	a, err := wire.DecodeHelloAnswer(answer)
	if err != nil {
		return nil, err
	}
	if err := a.Check(c.id.ClusterUUID, c.id.Epoch); err != nil {
		return nil, err
	}
	c.book.tell(a.RaftID, a.Address)
	return a.Known, nil
}

// refused ends this instance if another one says that it is no member any more: it was expelled, or replaced by one with other
// raft ids, or its epoch is over.
func (i *Instance) refused(address string, refusal *errcode.Error) {
	switch refusal.Code {
	case errcode.InstanceExpelled, errcode.JoinFilesLost, errcode.EpochMismatch:
		i.outcast(fmt.Errorf("%s says: %w", address, refusal))
	}
}

// introduce says hello to every address that might be a member's: a cluster whose addresses have all changed finds itself
// by that. Two that have moved, and do not name each other, meet through a third one that knows both.
func (i *Instance) introduce(ctx context.Context, c *core) {
	n := &introduction{i: i, c: c, asked: map[string]bool{i.cfg.Advertise: true, i.cfg.Listen: true}}
	for _, address := range i.cfg.Peers {
		n.to(ctx, address, func() bool { return true })
	}
	for _, p := range c.catalog.View().PeerAddresses() {
		if p.Kind == catalog.ConnIproto && p.RaftID != c.id.RaftID {
			n.to(ctx, p.Address, func() bool { return true })
		}
	}
}

// greetedMax bounds the addresses that an instance says hello to.
const greetedMax = 4096

// introduction is the addresses that were said hello to, or are being.
type introduction struct {
	i *Instance
	c *core

	mu    sync.Mutex // guards asked
	asked map[string]bool
}

// to says hello to an address, once, until there is an answer or it is not needed any more, and to those that the answer names.
func (n *introduction) to(ctx context.Context, address string, needed func() bool) {
	n.mu.Lock()
	known := n.asked[address] || len(n.asked) >= greetedMax
	if !known {
		n.asked[address] = true
	}
	n.mu.Unlock()
	if known {
		return
	}
	go func() {
		var taken taken
		for pauseFor := onlineRetry; ctx.Err() == nil && needed(); pauseFor = min(2*pauseFor, onlineRetryMax) {
			others, err := n.i.hello(ctx, n.c, address)
			if err == nil {
				n.meet(ctx, others)
				return
			}
			if taken.forGood(err, n.i.clock.Boot()) {
				n.i.outcast(fmt.Errorf("%s says: %w", address, err))
			}
			pause(ctx, pauseFor)
		}
	}()
}

// meet says hello to those whom another instance knows elsewhere than this one does. It is not believed where they are: they say so
// themselves.
func (n *introduction) meet(ctx context.Context, others map[uint64]string) {
	for id, address := range others {
		before := n.c.book.of(wire.GroupCatalog, id)
		if id != n.c.id.RaftID && address != "" && address != before {
			n.to(ctx, address, func() bool { return n.c.book.of(wire.GroupCatalog, id) == before })
		}
	}
}
