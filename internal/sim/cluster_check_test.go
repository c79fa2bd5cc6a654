package sim

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// clusterChecks sees everything and compares it with what must be.
type clusterChecks struct {
	// uuid of the one cluster.
	uuid string
	// leaders of each term of each group.
	leaders map[groupTerm]uint64
	// chains sum up all entries of a group as they were applied first, anywhere.
	chains map[string]map[uint64]uint64
	tops   map[string]applied
	// looked is the newest entry of the catalog that was looked at.
	looked uint64
	// ids: which instance, by uuid, a raft id was given to, of either kind; it never means another.
	ids map[uint64]string
	// bootstraps: the one replica that made a data group.
	bootstraps map[string]uint64
	// plans: what the governor wanted to write, and the row that it had seen.
	plans map[string][]byte
	// mayBeRefused are instances that may be told to give up, by number.
	mayBeRefused map[uint64]bool
}

type groupTerm struct {
	key  string
	term uint64
}

func newClusterChecks() clusterChecks {
	return clusterChecks{
		leaders: map[groupTerm]uint64{}, chains: map[string]map[uint64]uint64{}, tops: map[string]applied{}, ids: map[uint64]string{},
		bootstraps: map[string]uint64{}, plans: map[string][]byte{}, mayBeRefused: map[uint64]bool{},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// checkCluster: there is one cluster.
func (c *cluster) checkCluster(i *instance, uuid string) {
	if c.checks.uuid != "" && c.checks.uuid != uuid {
		c.failf("instance %d makes cluster %s, there is %s", i.no, uuid, c.checks.uuid)
	}
	c.checks.uuid = uuid
}

// checkIdentity: it is of the one cluster, and a data group is made once.
func (c *cluster) checkIdentity(i *instance, id datadir.Identity, bootstrapID uint64) {
	if id.ClusterUUID != c.checks.uuid {
		c.failf("instance %d becomes a member of cluster %s, there is %s", i.no, id.ClusterUUID, c.checks.uuid)
	}
	if bootstrapID != id.DataRaftID {
		return
	}
	if other, ok := c.checks.bootstraps[id.ReplicasetUUID]; ok {
		c.failf("instance %d, data raft id %d, makes the group of replicaset %s, which %d has made", i.no, id.DataRaftID,
			id.ReplicasetName, other)
	}
	c.checks.bootstraps[id.ReplicasetUUID] = id.DataRaftID
}

// checkLeader: a term has one leader, and that one has all that was committed before.
func (c *cluster) checkLeader(r *replica) {
	s := r.g.Status()
	if s.Role != raftgroup.RoleLeader {
		return
	}
	at := groupTerm{r.key, s.Term}
	other, known := c.checks.leaders[at]
	if known && other != r.id {
		c.failf("term %d of %s has two leaders, raft ids %d and %d", s.Term, r.key, other, r.id)
	}
	if known {
		return
	}
	c.checks.leaders[at] = r.id
	c.stats.leaders++
	c.notef("%d leads term %d of %s", r.i.no, s.Term, r.key)
	if slices.Contains(s.Learners, r.id) && !slices.Contains(s.Voters, r.id) {
		c.failf("instance %d leads term %d of %s as a learner", r.i.no, s.Term, r.key)
	}
	if top := c.checks.tops[r.key]; s.LastIndex < top.index && top.term < s.Term {
		c.failf("instance %d leads term %d of %s with entries up to %d, %d of term %d is committed", r.i.no, s.Term, r.key,
			s.LastIndex, top.index, top.term)
	}
}

// checkChain: entries are the same everywhere and for ever.
func (c *cluster) checkChain(r *replica) {
	chain := c.checks.chains[r.key]
	if chain == nil {
		chain = map[uint64]uint64{}
		c.checks.chains[r.key] = chain
	}
	if was, ok := chain[r.at.index]; ok && was != r.at.chain {
		c.failf("instance %d, %s: what it has applied up to %d is not what was applied there first", r.i.no, r.key, r.at.index)
	}
	chain[r.at.index] = r.at.chain
	if r.at.index > c.checks.tops[r.key].index {
		c.checks.tops[r.key] = r.at
	}
}

// checkMembers: the members of a data group are of its replicaset, those of the catalog are instances.
func (c *cluster) checkMembers(r *replica, s raftgroup.Status) {
	c.notef("%d, %s: voters %v learners %v joint %t", r.i.no, r.key, s.Voters, s.Learners, s.Joint)
	for _, id := range append(s.Voters, s.Learners...) {
		if _, ok := c.checks.ids[id]; !ok {
			c.failf("%s has member %d, an id that was given to nobody", r.key, id)
		}
	}
}

// checkChange: who gets a vote was a learner, and has nearly all that is committed.
func (c *cluster) checkChange(r *replica, changes []raftgroup.Change) {
	c.notef("%d, %s: change %v", r.i.no, r.key, changes)
	s := r.g.Status()
	if s.Role != raftgroup.RoleLeader {
		return
	}
	for _, ch := range changes {
		if ch.Op != raftgroup.AddVoter || slices.Contains(s.Voters, ch.ID) {
			continue
		}
		if !slices.Contains(s.Learners, ch.ID) {
			c.failf("%s: %d is to be a voter and was no learner", r.key, ch.ID)
		}
		for _, i := range c.instances {
			for _, o := range []*replica{i.catalog, i.data} {
				if o != nil && o.key == r.key && o.id == ch.ID && o.log.last() <= 1 && s.Committed > 2 {
					c.failf("%s: %d is to be a voter with a log up to %d, %d is committed", r.key, ch.ID, o.log.last(), s.Committed)
				}
			}
		}
	}
}

// planned notes what the governor wants to write on what it has seen.
func (k *clusterChecks) planned(view *catalog.State, op catalog.Op) {
	for _, d := range op.DML {
		if d.Table == catalog.TableInstance && len(d.Tuple) > 0 {
			row, err := catalog.ParseInstance(d.Tuple)
			if err == nil {
				k.plans[string(d.Tuple)] = view.Get(catalog.TableInstance, catalog.Key(row.Name))
			}
		}
	}
}

// checkCatalog looks at each entry of the catalog when it is applied first.
func (c *cluster) checkCatalog(i *instance, e *raftgroup.Entry, before *catalog.State, changes []catalog.Change, after *catalog.State) {
	if e.Index <= c.checks.looked {
		return
	}
	c.checks.looked = e.Index
	c.checkSchema(e, before, after)
	for _, ch := range changes {
		switch ch.Table {
		case catalog.TableInstance:
			c.checkInstance(e, ch, after)
		case catalog.TableReplicaset:
			c.checkReplicaset(ch)
		case catalog.TablePeerAddress:
			c.checkAddresses(after)
		}
	}
}

func (c *cluster) checkInstance(e *raftgroup.Entry, ch catalog.Change, after *catalog.State) {
	if ch.New == nil {
		c.failf("entry %d removes a row of _pico_instance", e.Index)
	}
	row, err := catalog.ParseInstance(ch.New)
	if err != nil {
		c.failf("entry %d: %v", e.Index, err)
	}
	if ch.Old == nil {
		c.notef("catalog %d: %s, raft ids %d and %d, in %s", e.Index, row.Name, row.RaftID, row.DataRaftID, row.ReplicasetName)
		c.checkNewIDs(row, catalog.Instance{})
		return
	}
	old, err := catalog.ParseInstance(ch.Old)
	if err != nil {
		c.failf("entry %d: %v", e.Index, err)
	}
	c.notef("catalog %d: %s, current %s, target %s", e.Index, row.Name, row.Current, row.Target)
	c.checkNewIDs(row, old)
	if row.Current != old.Current {
		seen, ok := c.checks.plans[string(ch.New)]
		if !ok || !bytes.Equal(seen, ch.Old) {
			c.failf("grade of %s goes from %s to %s, which nobody planned on the row as it was", row.Name, old.Current, row.Current)
		}
		if !lifecycle.GradeAllowed(old.Current, row.Current) {
			c.failf("grade of %s goes from %s to %s", row.Name, old.Current, row.Current)
		}
	}
	if row.Current.Incarnation < old.Current.Incarnation || row.Target.Incarnation < old.Target.Incarnation {
		c.failf("an incarnation of %s goes back: %s and %s to %s and %s", row.Name, old.Current, old.Target, row.Current, row.Target)
	}
	if old.Target.Name == lifecycle.Expelled && row.Target.Name != lifecycle.Expelled {
		c.failf("%s is taken back", row.Name)
	}
}

// checkNewIDs: a raft id means one instance for ever.
func (c *cluster) checkNewIDs(row, old catalog.Instance) {
	for _, x := range []struct{ id, was uint64 }{{row.RaftID, old.RaftID}, {row.DataRaftID, old.DataRaftID}} {
		if x.id == x.was {
			continue
		}
		if other, used := c.checks.ids[x.id]; used {
			c.failf("raft id %d is given to %s, it was given to the instance with uuid %s", x.id, row.Name, other)
		}
		c.checks.ids[x.id] = row.UUID
	}
}

// checkReplicaset: a data group is made by one replica for ever.
func (c *cluster) checkReplicaset(ch catalog.Change) {
	if ch.Old == nil || ch.New == nil {
		return
	}
	old, err1 := catalog.ParseReplicaset(ch.Old)
	row, err2 := catalog.ParseReplicaset(ch.New)
	if err1 != nil || err2 != nil || old.BootstrapRaftID != row.BootstrapRaftID {
		c.failf("replicaset %s: bootstrap id goes from %d to %d", row.Name, old.BootstrapRaftID, row.BootstrapRaftID)
	}
}

// checkAddresses: an address belongs to one instance that is not expelled.
func (c *cluster) checkAddresses(after *catalog.State) {
	seen := map[string]string{}
	for _, row := range after.Instances() {
		address := after.PeerAddress(row.RaftID, catalog.ConnIproto)
		if row.Current.Name == lifecycle.Expelled || row.Target.Name == lifecycle.Expelled || address == "" {
			continue
		}
		if other, ok := seen[address]; ok {
			c.failf("address %s belongs to %s and to %s", address, other, row.Name)
		}
		seen[address] = row.Name
	}
}

// checkExpelled: only an operator makes an instance go.
func (c *cluster) checkExpelled(i *instance) {
	if !c.checks.mayBeRefused[i.no] {
		c.failf("instance %d is expelled, nobody asked for it", i.no)
	}
}

// checkAcknowledged: what was acknowledged is there, everywhere, and all copies are equal.
func (c *cluster) checkAcknowledged() {
	var catalogs []byte
	rows := map[string]map[string]string{}
	for _, i := range c.instances {
		if i.gone {
			continue
		}
		for _, key := range sortedKeys(c.clients.acked) {
			if i.cat.view.PropertyStr(key) != key {
				c.failf("instance %d: the acknowledged property %s is lost", i.no, key)
			}
		}
		mine := encodeCatalog(c, i.cat.view, raftgroup.Position{})
		if catalogs != nil && !bytes.Equal(mine, catalogs) {
			c.failf("instance %d has another catalog", i.no)
		}
		catalogs = mine
		m := i.data.m.(*dataMachine)
		if have, ok := rows[i.data.key]; ok && !maps.Equal(have, m.rows) {
			c.failf("instance %d has other rows than the other replicas of %s", i.no, i.data.key)
		}
		rows[i.data.key] = m.rows
	}
	c.checkRows()
	for _, at := range sortedKeys(c.clients.values) {
		group, key, _ := strings.Cut(at, "/")
		if have, ok := rows[group]; ok && have[key] != c.clients.values[at] {
			c.failf("replicaset %s: the acknowledged row %s is lost: it is %q, not %q", group, key, have[key], c.clients.values[at])
		}
	}
}
