package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

func (c *cluster) startFaults() {
	o := &c.opt
	for _, f := range []struct {
		every time.Duration
		do    func()
	}{
		{o.kill, c.killOne}, {o.pause, c.pauseOne}, {o.part, c.part}, {o.transfer, c.transferOne},
		{o.stop, c.stopOne}, {o.expel, c.expelOne}, {o.replace, c.loseOne},
	} {
		if f.every > 0 {
			c.every(f.every, f.do)
		}
	}
}

// victim is preferably a leader.
func (c *cluster) victim() *instance {
	if c.chance(0.5) {
		for _, i := range c.instances {
			if i.up && i.catalog != nil && (i.catalog.g.Leading() || i.data.g.Leading()) && c.chance(0.5) {
				return i
			}
		}
	}
	return c.instances[c.rng.IntN(len(c.instances))]
}

// killOne ends one process or machine, or sometimes all.
func (c *cluster) killOne() {
	power, all := c.chance(0.5), c.chance(0.1)
	victim := c.victim()
	for _, i := range c.instances {
		if i.up && (all || i == victim) {
			i.crash("killed", power)
		}
	}
}

func (c *cluster) pauseOne() {
	if i := c.victim(); i.up {
		c.stats.pauses++
		i.paused = c.now + c.between(10*time.Millisecond, 4*time.Second)
	}
}

// part cuts links in one of several ways, or heals them.
func (c *cluster) part() {
	c.stats.cuts++
	c.notef("cut")
	victim := c.victim()
	side := make([]bool, len(c.instances)+1)
	for n := range side {
		side[n] = c.chance(0.5)
	}
	kind := c.rng.IntN(7)
	clear(c.cut)
	for _, a := range c.instances {
		for _, b := range c.instances {
			cut := false
			switch kind {
			case 0, 1: // one alone
				cut = a == victim || b == victim
			case 2: // two parts
				cut = side[a.no] != side[b.no]
			case 3: // one is heard no more
				cut = a == victim
			case 4: // one hears nothing
				cut = b == victim
			case 5: // single links, one way
				cut = c.chance(0.3)
			}
			c.cut[link{a.no, b.no}] = cut && a != b
		}
	}
}

// transferOne asks a leader to hand over.
func (c *cluster) transferOne() {
	i := c.victim()
	if !i.up || i.catalog == nil {
		return
	}
	r := i.catalog
	if c.chance(0.5) {
		r = i.data
	}
	s := r.g.Status()
	if r.g.TransferLeader(s.Voters[c.rng.IntN(len(s.Voters))]) == nil {
		c.stats.transfers++
		r.drain()
	}
}

// stopOne stops an instance gracefully: target Offline first, then the end; it comes back some time later, sometimes under
// another address.
func (c *cluster) stopOne() {
	i := c.victim()
	if !i.up || i.catalog == nil || i.stopping {
		return
	}
	c.stats.stops++
	i.stopping = true
	end := func() {
		c.notef("%d stops", i.no)
		i.end(false)
		if c.chance(0.3) && !c.homeless() {
			i.move()
		}
		i.startLater(c.between(10*time.Millisecond, c.opt.down))
	}
	life := i.life
	c.after(3*time.Second, func() {
		if i.life == life && i.up {
			end()
		}
	})
	op, guard, err := catalog.SetTarget(i.cat.view, i.disk.identity.InstanceName, lifecycle.Offline, "stopped", "")
	if err != nil {
		return
	}
	guard.Term = i.catalog.g.Term()
	i.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(catalog.Result, error) {}}, 2*time.Second)
}

// move gives an instance that is down another address. From then on the operator keeps all instances in the lists of all: two
// that have moved know each other from nowhere else.
func (i *instance) move() {
	for _, o := range i.c.instances {
		o.knowAll()
	}
	delete(i.c.routes, i.address)
	i.moves++
	i.address = addressOf(i.no, i.moves)
	i.c.routes[i.address] = i
	i.c.notef("%d moves to %s", i.no, i.address)
}

// knowAll puts all instances into the list of peers.
func (i *instance) knowAll() {
	i.known = nil
	for _, o := range i.c.instances {
		i.known = append(i.known, o.no)
	}
}

// serving are the instances that serve.
func (c *cluster) serving() []*instance {
	return slices.DeleteFunc(slices.Clone(c.instances), func(i *instance) bool { return i.gone || !i.up || i.catalog == nil })
}

// homeless: some instance looks for a place. It may know nobody but one.
func (c *cluster) homeless() bool {
	return slices.ContainsFunc(c.instances, func(i *instance) bool { return !i.gone && i.disk.identity == nil })
}

// expelOne has an instance expelled, unless too few would be left, and lets a new one join.
func (c *cluster) expelOne() {
	list := c.serving()
	if len(list) < 3 || c.homeless() || c.lost != nil {
		return
	}
	asked, victim := list[c.rng.IntN(len(list))], list[c.rng.IntN(len(list))]
	view := asked.cat.view
	row, ok := view.InstanceByUUID(victim.disk.identity.InstanceUUID)
	if !ok || row.Target.Name == lifecycle.Expelled {
		return
	}
	op, guard, err := catalog.PlanExpel(view, row.Name, false, "")
	if err != nil {
		return
	}
	c.checks.mayBeRefused[victim.no] = true
	guard.Term = asked.catalog.g.Term()
	asked.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(_ catalog.Result, err error) {
		c.notef("expel %s: %v", row.Name, err)
		if err != nil {
			return
		}
		c.stats.expels++
		if len(c.instances) < 9 && c.chance(0.7) {
			i := c.newInstance()
			for _, member := range c.serving() {
				i.known = append(i.known, member.no)
			}
			i.start()
		}
	}}, 2*time.Second)
}

// loseOne takes the files of an instance away, and has it replaced. There is one such loss at a time, and none that would leave
// a group without a majority.
func (c *cluster) loseOne() {
	list := c.serving()
	if c.lost != nil || c.homeless() || len(list) < 3 {
		return
	}
	i := list[c.rng.IntN(len(list))]
	cat, data := c.leaderOf("catalog"), c.leaderOf(i.data.key)
	if cat == nil || data == nil || !spares(cat) || !spares(data) {
		return
	}
	for _, row := range cat.i.cat.view.Instances() {
		if row.Target.Name == lifecycle.Expelled && row.Current.Name != lifecycle.Expelled {
			return
		}
	}
	c.notef("%d loses its files", i.no)
	i.name = i.disk.identity.InstanceName
	i.end(true)
	i.disk, i.held, c.lost = directory{}, true, i
	i.knowAll()
	c.replace(i)
}

// leaderOf is the leader of a group in its newest term, nil if none is sure.
func (c *cluster) leaderOf(key string) (found *replica) {
	for _, i := range c.serving() {
		for _, r := range []*replica{i.catalog, i.data} {
			if r.key == key && r.g.Leading() && (found == nil || r.g.Term() > found.g.Term()) {
				found = r
			}
		}
	}
	return found
}

// spares: a group keeps a majority without any one of its members, and nothing about its members is under way. Of two voters one
// cannot be spared, not even while it is only to become the second one.
func spares(r *replica) bool {
	s := r.g.Status()
	return !s.Joint && s.LastIndex == s.Applied && len(s.Voters) > 2
}

// replace asks for new raft ids as soon as the instance is Offline, starts it on an empty directory then, and looks on until it
// is Online again.
func (c *cluster) replace(i *instance) {
	c.after(300*time.Millisecond, func() {
		if i.gone {
			c.lost = nil
			return
		}
		defer c.replaceAgain(i)
		list := slices.DeleteFunc(c.serving(), func(o *instance) bool { return o == i })
		if len(list) == 0 {
			return
		}
		asked := list[c.rng.IntN(len(list))]
		row, ok := asked.cat.view.Instance(i.name)
		if i.held && row.Target.Name == lifecycle.Expelled { // that had been asked for before
			i.gone = true
			return
		}
		if !i.held {
			if ok && row.Current.Name == lifecycle.Online && row.Permit == "" && i.catalog != nil {
				c.lost = nil
			}
			return
		}
		op, guard, err := catalog.PlanReplace(asked.cat.view, i.name, false)
		if err != nil {
			return
		}
		guard.Term = asked.catalog.g.Term()
		asked.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(_ catalog.Result, err error) {
			c.notef("replace %s: %v", i.name, err)
			if err == nil && i.held {
				c.stats.replaces++
				i.held = false
				i.startLater(0)
			}
		}}, 2*time.Second)
	})
}

func (c *cluster) replaceAgain(i *instance) {
	if c.lost == i {
		c.replace(i)
	}
}

// heal ends all faults.
func (c *cluster) heal() {
	c.healed = true
	c.notef("healed")
	clear(c.cut)
	for _, i := range c.instances {
		i.paused = min(i.paused, c.now)
		if !i.up && !i.gone {
			i.startLater(0)
		}
	}
}

// clusterClients write.
type clusterClients struct {
	count int
	// open are the groups in which no write that was begun after the faults is acknowledged.
	open map[string]bool
	// acked are properties of the catalog, values rows by group and key.
	acked  map[string]bool
	values map[string]string
}

func (c *cluster) startClients() {
	c.every(c.opt.writeEvery, func() {
		if list := c.serving(); len(list) > 0 {
			i := list[c.rng.IntN(len(list))]
			if c.chance(0.4) {
				c.writeCatalog(i, false)
			} else {
				c.writeData(i, false)
			}
		}
	})
}

// writeCatalog adds a property, once: a second time would be refused, since it is there.
func (c *cluster) writeCatalog(i *instance, last bool) {
	c.clients.count++
	c.stats.writes++
	key := fmt.Sprintf("sim_%06d", c.clients.count)
	op := catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Insert, Table: catalog.TableProperty,
		Tuple: catalog.StrProperty(key, key).Row()}}}
	p := proposal{ops: []catalog.Op{op}, id: c.newRequestID()}
	p.done = func(_ catalog.Result, err error) {
		switch {
		case err == nil:
			c.stats.acked++
			c.clients.acked[key] = true
			if last {
				delete(c.clients.open, "catalog")
			}
		case errcode.Is(err, errcode.TupleFound):
			c.failf("property %s is written twice by one request", key)
		}
	}
	i.record(p, 3*time.Second)
}

// writeData writes a row at the leader of an instance's replicaset.
func (c *cluster) writeData(i *instance, last bool) {
	leader := c.dataLeader(i.data.key)
	if leader == nil || leader.paused > c.now {
		return
	}
	c.clients.count++
	c.stats.writes++
	key, value := fmt.Sprintf("key%05d", c.clients.count), fmt.Sprintf("value %d", c.clients.count)
	group := leader.data.key
	leader.data.m.(*dataMachine).write(key, value, func(ok bool) {
		if !ok {
			return
		}
		c.stats.acked++
		c.clients.values[group+"/"+key] = value
		if last {
			delete(c.clients.open, group)
		}
	})
}

func (c *cluster) dataLeader(key string) *instance {
	for _, i := range c.instances {
		if i.up && i.data != nil && i.data.key == key && i.data.g.Leading() {
			return i
		}
	}
	return nil
}

// lastWrites writes until one write to the catalog and one to each data group, begun after the faults, are acknowledged.
func (c *cluster) lastWrites() {
	c.clients.open = map[string]bool{"catalog": true}
	for _, i := range c.instances {
		if !i.gone && i.disk.identity != nil {
			c.clients.open[i.disk.identity.ReplicasetUUID] = true
		}
	}
	var again func()
	again = func() {
		for _, i := range c.serving() {
			switch {
			case i.disk.identity == nil:
			case c.clients.open["catalog"] && i.catalog.g.Leading():
				c.writeCatalog(i, true)
			case c.clients.open[i.data.key] && i.data.g.Leading():
				c.writeData(i, true)
			}
			// Nobody is left to write there.
			if row, ok := i.cat.view.Replicaset(i.disk.identity.ReplicasetName); ok && row.State == catalog.ReplicasetExpelled {
				delete(c.clients.open, row.UUID)
			}
		}
		c.after(300*time.Millisecond, again)
	}
	again()
}
