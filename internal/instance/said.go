package instance

import (
	"context"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// Every message says which process of an instance it is from, and how much memory that has. Two processes at two addresses with one
// raft id are a directory and its copy: the one that was there first goes on, the other one is refused and ends.

const (
	// twinQuiet is how long a process must have been silent before another one, at another address, is taken for the same instance
	// that has moved.
	twinQuiet = 3 * time.Second
	// twinPatience is how long an instance that is taken for a copy tries again: one that has moved is heard before.
	twinPatience = 10 * time.Second
	// twinCall bounds the question to the address where an instance was reached before.
	twinCall = 2 * time.Second
)

// said is what an instance said of itself last.
type said struct {
	incarnation uint64
	address     string
	// at is a time of the boot-time clock.
	at          time.Duration
	quota, used uint64
}

// sayings are what the members of the cluster said last, by raft id.
type sayings struct {
	mu   sync.Mutex // guards the map
	last map[uint64]said
}

// note takes what the header of a member's message says. false: another process of that instance was heard at another address a
// moment ago.
func (s *sayings) note(h wire.Header, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.last[h.RaftID]
	if known && before.incarnation != h.Incarnation && before.address != h.Address && now-before.at < twinQuiet {
		return false
	}
	if s.last == nil {
		s.last = map[uint64]said{}
	}
	s.last[h.RaftID] = said{incarnation: h.Incarnation, address: h.Address, at: now, quota: h.Quota, used: h.Used}
	return true
}

// of is what a member said last, if it said anything.
func (s *sayings) of(raftID uint64) (said, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.last[raftID]
	return m, ok
}

// errTwin refuses a message of another process with this instance's identity, or with that of one which was heard elsewhere.
func errTwin(name string, address string) error {
	return errcode.New(errcode.InstanceTwice, name, address)
}

// ownTwin refuses a message that claims to be of this very instance, but is of another process. It needs no database: whoever has the
// directory of an instance, and is asked by a copy of it, answers.
func (i *Instance) ownTwin(h wire.Header) error {
	own := i.identity.Load()
	if own == nil || h.From != own.InstanceUUID || h.Incarnation == i.incarnation || h.ClusterUUID != own.ClusterUUID || h.Epoch != own.Epoch {
		return nil
	}
	return errTwin(own.InstanceName, i.cfg.Advertise)
}

// taken knows since when another instance has been taking this one for a copy.
type taken struct{ since time.Duration }

// forGood takes the newest answer to a greeting, and tells whether it has been the same refusal for so long that it will stay.
func (t *taken) forGood(err error, now time.Duration) bool {
	if refusal := rpc.Answered(err); refusal == nil || refusal.Code != errcode.InstanceTwice {
		t.since = 0
		return false
	}
	if t.since == 0 {
		t.since = now
	}
	return now-t.since >= twinPatience
}

// checkMoved asks, before an instance takes part in its groups at another address than the catalog has, whether the one at that
// address is still alive. Nobody there, or somebody else: it has moved.
func (i *Instance) checkMoved(ctx context.Context, c *core) error {
	before := c.catalog.View().PeerAddress(c.id.RaftID, catalog.ConnIproto)
	if before == "" || before == i.cfg.Advertise || before == i.cfg.Listen {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, twinCall)
	defer cancel()
	_, err := i.pool.Call(ctx, before, wire.ProcHello, i.header(c).Append(nil))
	if refusal := rpc.Answered(err); refusal != nil && refusal.Code == errcode.InstanceTwice {
		return refusal
	}
	return nil
}

// boundMemory keeps what this instance writes, as the leader of its replicaset, within the memory of the smallest voter. It is called
// on the loop of the data group.
func (c *core) boundMemory(g *raftgroup.Group) {
	s := g.Status()
	if s.Role != raftgroup.RoleLeader {
		c.engine.SetCeiling(0)
		return
	}
	var others []said
	for _, id := range s.Voters {
		if m, ok := c.sayings.of(c.book.raftID(id)); ok && id != s.ID && m.quota > 0 {
			others = append(others, m)
		}
	}
	own := c.engine.Memory()
	c.engine.SetCeiling(smallest(own.QuotaBytes, own.UsedBytes, others))
}

// smallest is how much a leader may use of its quota beside these voters.
func smallest(quota, used uint64, others []said) uint64 {
	for _, m := range others {
		quota = min(quota, ceilingOf(used, m))
	}
	return quota
}

// ceilingOf is how much a leader may use for its voter not to use more than its quota: as much, less what that one needs more for
// the same rows.
func ceilingOf(used uint64, m said) uint64 {
	if m.used > used {
		return max(1, m.quota-min(m.quota, m.used-used))
	}
	return m.quota
}

// nameOf is the name of the instance with a raft id in the catalog's group.
func (c *core) nameOf(raftID uint64) string {
	row, _ := c.catalog.View().InstanceByRaftID(raftID)
	return row.Name
}

// observeMemory adds what is known of the memory of an instance.
func (i *Instance) observeMemory(c *core, in *governor.Input, row catalog.Instance) {
	o := in.Instances[row.Name]
	if row.RaftID == c.id.RaftID && c.engine != nil {
		m := c.engine.Memory()
		o.Quota, o.Used = m.QuotaBytes, m.UsedBytes
	} else if m, ok := c.sayings.of(row.RaftID); ok {
		o.Quota, o.Used = m.quota, m.used
	}
	in.Instances[row.Name] = o
}

// smaller are the other instances of this one's replicaset, which it leads, whose memory holds less than it may use itself.
func (c *core) smaller(view *catalog.State) (names []string) {
	if c.dataLoop == nil || c.dataLoop.Status().Role != raftgroup.RoleLeader {
		return nil
	}
	own := c.engine.Memory().QuotaBytes
	for _, row := range view.InstancesOf(c.id.ReplicasetName) {
		if m, ok := c.sayings.of(row.RaftID); ok && row.RaftID != c.id.RaftID && m.quota > 0 && m.quota < own {
			names = append(names, row.Name)
		}
	}
	return names
}
