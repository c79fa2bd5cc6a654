package sim

import (
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"
)

// A joiner, the leader of the catalog, or both end at each step of a join: after each thing that either of them makes
// durable, before each that the joiner does, and around the request and its answer. They come back soon, or so late that
// another leader is there. The join then ends as one instance: the checks of every run see to it that no raft id is used
// twice, that there is one cluster, and that nothing acknowledged is lost.

// crashPoints are the steps of a join, counted, and the one at which somebody is to end.
type crashPoints struct {
	joiner *instance
	names  []string
	at     int // index of the step, -1 for none
	who    string
	down   time.Duration
	fired  bool
}

// point is a step of the join at an instance. It reports whether that instance goes on.
func (c *cluster) point(i *instance, what string) (alive bool) {
	p := c.points
	if p == nil || i.catalog != nil && !i.catalog.g.Leading() && i != p.joiner {
		return true
	}
	if i.catalog == nil && i != p.joiner {
		return true
	}
	p.names = append(p.names, fmt.Sprintf("%d %s", i.no, what))
	if p.fired || len(p.names)-1 != p.at {
		return true
	}
	p.fired = true
	leader := c.catalogLeader()
	alive = true
	for _, victim := range []struct {
		*instance
		hit bool
	}{{p.joiner, p.who != "leader"}, {leader, p.who != "joiner"}} {
		if victim.hit && victim.instance != nil && victim.up {
			c.notef("%d ends at step %s", victim.no, p.names[p.at])
			victim.end(true)
			victim.startLater(p.down)
			alive = alive && victim.instance != i
		}
	}
	return alive
}

func (c *cluster) catalogLeader() *instance {
	for _, i := range c.instances {
		if i.up && i.catalog != nil && i.catalog.g.Leading() {
			return i
		}
	}
	return nil
}

// joinScene is a cluster that somebody joins.
type joinScene struct {
	name              string
	instances, factor int
}

var joinScenes = []joinScene{
	{"the second instance", 1, 3}, {"a fourth one, into a new replicaset", 3, 3}, {"a fourth one, into the same replicaset", 3, 5},
}

// runJoin assembles a cluster, lets one more join, and returns the steps of that.
func runJoin(t *testing.T, s joinScene, p crashPoints) (names []string, err error) {
	cryptotest.SetGlobalRandom(t, 1)
	c := newCluster(t, 1)
	c.opt = calmOptions(s.instances + 1)
	c.opt.factor, c.healed = s.factor, true // no other faults
	defer func() {
		switch x := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s", x.text)
		default:
			panic(x)
		}
	}()
	for range s.instances + 1 {
		i := c.newInstance()
		i.domain, i.known = nil, []uint64{1, 2, 3}[:min(s.instances, 3)]
	}
	for _, i := range c.instances[:s.instances] {
		c.after(0, i.start)
	}
	p.joiner = c.instances[s.instances]
	p.joiner.gone = true // it is not there yet
	c.clients.open = map[string]bool{}
	c.awaitRest("before the join")
	p.joiner.gone = false
	c.points = &p
	p.joiner.start()
	c.runUntil(c.now+200*time.Millisecond, nil)
	c.awaitRest("after the join")
	c.points = nil
	c.lastWrites()
	c.awaitRest("after the last writes")
	c.checkAcknowledged()
	c.checkJoined()
	if p.at >= 0 && !p.fired {
		c.failf("step %d was not reached: %q", p.at, p.names)
	}
	return p.names, nil
}

// awaitRest lets time pass until all is as it should be.
func (c *cluster) awaitRest(when string) {
	rested := false
	var look func()
	look = func() {
		if rested = c.unrested() == ""; !rested {
			c.after(100*time.Millisecond, look)
		}
	}
	c.after(0, look)
	if !c.runUntil(c.now+onlineWithin, func() bool { return rested }) {
		for _, i := range c.instances {
			c.t.Logf("%s", i.describe())
		}
		c.failf("%s: not at rest after %v: %s", when, onlineWithin, c.unrested())
	}
}

// checkJoined: there are as many rows as instances, each of the instance that has its uuid and its raft ids.
func (c *cluster) checkJoined() {
	view := c.instances[0].cat.view
	if rows := view.Instances(); len(rows) != len(c.instances) {
		c.failf("%d instances have %d rows in the catalog: %+v", len(c.instances), len(rows), rows)
	}
	for _, i := range c.instances {
		id := i.disk.identity
		row, ok := view.InstanceByUUID(id.InstanceUUID)
		if !ok || row.RaftID != id.RaftID || row.DataRaftID != id.DataRaftID || row.Name != id.InstanceName {
			c.failf("instance %d is %+v, the catalog has %+v", i.no, id, row)
		}
	}
	replicasets := map[string]bool{}
	for _, i := range c.instances {
		replicasets[i.disk.identity.ReplicasetUUID] = true
	}
	if n := len(view.Replicasets()); n != len(replicasets) {
		c.failf("the instances are in %d replicasets, the catalog has %d", len(replicasets), n)
	}
}

// TestJoinCrashes goes through all steps, for the joiner, the leader and both; with -sim.seeds through all of them, else
// through some.
func TestJoinCrashes(t *testing.T) {
	runs, stride := 0, 1
	if *seedsFlag == 0 {
		stride = 37
	}
	for _, s := range joinScenes {
		names, err := runJoin(t, s, crashPoints{at: -1})
		if err != nil {
			t.Fatalf("%s, without a crash: %v", s.name, err)
		}
		for _, want := range []string{"after entrypoint join", "is asked", "has an answer", "gets a place", "before identity", "after leftovers"} {
			if !slices.ContainsFunc(names, func(name string) bool { return name[2:] == want }) {
				t.Errorf("%s: no step %q in %q", s.name, want, names)
			}
		}
		for at, what := range names {
			for _, who := range []string{"joiner", "leader", "both"} {
				for _, down := range []time.Duration{20 * time.Millisecond, 4 * time.Second} {
					runs++
					if runs%stride != 0 {
						continue
					}
					t.Run(fmt.Sprintf("%s, step %d: %s, %s, %v", s.name, at, what, who, down), func(t *testing.T) {
						if _, err := runJoin(t, s, crashPoints{at: at, who: who, down: down}); err != nil {
							t.Errorf("%v\nagain: this test with -sim.seeds 1 -sim.trace -v", err)
						}
					})
				}
			}
		}
		t.Logf("%s: %d steps", s.name, len(names))
	}
	t.Logf("%d of %d runs", runs/stride, runs)
}
