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
		Applied: c.catalog.Applied(), Address: i.cfg.Advertise}
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

// connectionLost tells the groups that an instance at an address may be gone, if it leads them.
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
				if leader := g.Status().LeaderID; c.book.of(group, leader) == address {
					g.LeaderGone(leader)
				}
				return nil
			})
		}
	}()
}

// hello tells an instance who this one is and where it is reached, and learns the same of it.
func (i *Instance) hello(ctx context.Context, c *core, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	answer, err := i.pool.Call(ctx, address, wire.ProcHello, i.header(c).Append(nil))
	if err != nil {
		if refusal := rpc.Answered(err); refusal != nil { // before any group could say so: it may have nobody to talk to
			i.refused(address, refusal)
		}
		return err
	}
	h, err := wire.DecodeHeader(answer)
	if err != nil {
		return err
	}
	if err := h.Check(c.id.ClusterUUID, c.id.Epoch); err != nil {
		return err
	}
	c.book.tell(h.RaftID, h.Address)
	return nil
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
// by that.
func (i *Instance) introduce(ctx context.Context, c *core) {
	asked := map[string]bool{i.cfg.Advertise: true, i.cfg.Listen: true}
	list := append([]string(nil), i.cfg.Peers...)
	for _, p := range c.catalog.View().PeerAddresses() {
		if p.Kind == catalog.ConnIproto && p.RaftID != c.id.RaftID {
			list = append(list, p.Address)
		}
	}
	for _, address := range list {
		if asked[address] {
			continue
		}
		asked[address] = true
		go func() {
			for pauseFor := onlineRetry; ctx.Err() == nil && i.hello(ctx, c, address) != nil; pauseFor = min(2*pauseFor, onlineRetryMax) {
				pause(ctx, pauseFor)
			}
		}()
	}
}
