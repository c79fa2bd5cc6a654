package sim

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// The simulated cluster runs the cores that make instances a cluster: discovery, the look at the data directory, join, the
// catalog in its raft group, the governor, and the raft groups of the replicasets, each with a map for its rows. What
// package instance does between them is done here in short: durable steps in the order of the specification, calls over a
// network that loses, delays, repeats and parts, and a process that may end at any of these steps. Logs are modelled by what
// of them is synced; package wal has its own simulation.

var instancesFlag = flag.Int("sim.instances", 0, "instances of the simulated cluster; 0: drawn from the seed")

// clusterOptions are drawn from the seed: how large the cluster is, which faults there are, and how many.
type clusterOptions struct {
	instances, factor                                 int
	duration                                          time.Duration
	loss, duplicates, replays, slow                   float64
	delay, slowDelay, disk, down                      time.Duration
	crashAtStep                                       float64
	drift                                             bool
	kill, pause, part, transfer, expel, replace, stop time.Duration
	writeEvery, ddl                                   time.Duration
	snapshotEvery                                     uint64
}

// drawClusterOptions leaves out about a third of the faults, others in each seed, so that some can be alone.
func drawClusterOptions(b *base) clusterOptions {
	maybe := func(d time.Duration) time.Duration {
		if b.chance(0.4) {
			return 0
		}
		return b.between(d/2, 2*d)
	}
	p := func(most float64) float64 {
		if b.chance(0.35) {
			return 0
		}
		return b.rng.Float64() * most
	}
	o := clusterOptions{
		instances: []int{1, 2, 3, 3, 3, 4, 5, 5, 6, 7}[b.rng.IntN(10)], factor: []int{1, 2, 3, 3, 5}[b.rng.IntN(5)],
		duration: b.between(10*time.Second, 40*time.Second),
		loss:     p(0.15), duplicates: p(0.15), replays: p(0.3), slow: p(0.1),
		delay: b.between(2*time.Millisecond, 30*time.Millisecond), slowDelay: b.between(100*time.Millisecond, 2*time.Second),
		disk: b.between(time.Millisecond, 15*time.Millisecond), down: b.between(100*time.Millisecond, 5*time.Second),
		crashAtStep: p(0.25), drift: b.chance(0.7),
		kill: maybe(3 * time.Second), pause: maybe(4 * time.Second), part: maybe(3 * time.Second), transfer: maybe(4 * time.Second),
		expel: maybe(6 * time.Second), replace: maybe(6 * time.Second), stop: maybe(8 * time.Second),
		writeEvery: b.between(50*time.Millisecond, 200*time.Millisecond), snapshotEvery: uint64(10 + b.rng.IntN(60)),
	}
	if o.ddl = maybe(150 * time.Millisecond); o.ddl > 0 && b.chance(0.4) { // several replicasets have a schema together
		o.instances, o.factor = max(3, o.instances), 1+b.rng.IntN(2)
	}
	if *instancesFlag > 0 {
		o.instances = *instancesFlag
	}
	return o
}

// cluster is everything there is in one run.
type cluster struct {
	base
	opt       clusterOptions
	instances []*instance
	routes    map[string]*instance
	cut       map[link]bool
	checks    clusterChecks
	clients   clusterClients
	ddl       ddlChecks
	stats     clusterStats
	// lost is the instance whose files are lost, until it is back.
	lost *instance
	// traffic is nil unless messages are counted, points unless the steps of a join are.
	traffic *traffic
	points  *crashPoints
}

// clusterStats tell how far a run has reached.
type clusterStats struct {
	events, crashes, stepCrashes, pauses, cuts, joins, boots, expels, replaces, stops, leaders, changes, joint int
	transfers, snapshots, installs, writes, acked, steps, conflicts, messages, calls                           int
	ddl, ddlAcked, ddlAborted, spaceRows                                                                       int
	online                                                                                                     time.Duration
}

func (s *clusterStats) add(o clusterStats) {
	for _, f := range []struct{ to, from *int }{
		{&s.events, &o.events}, {&s.crashes, &o.crashes}, {&s.stepCrashes, &o.stepCrashes}, {&s.pauses, &o.pauses},
		{&s.cuts, &o.cuts}, {&s.joins, &o.joins}, {&s.boots, &o.boots}, {&s.expels, &o.expels}, {&s.replaces, &o.replaces},
		{&s.stops, &o.stops}, {&s.leaders, &o.leaders}, {&s.changes, &o.changes}, {&s.joint, &o.joint},
		{&s.transfers, &o.transfers}, {&s.snapshots, &o.snapshots}, {&s.installs, &o.installs}, {&s.writes, &o.writes},
		{&s.acked, &o.acked}, {&s.steps, &o.steps}, {&s.conflicts, &o.conflicts}, {&s.messages, &o.messages}, {&s.calls, &o.calls},
		{&s.ddl, &o.ddl}, {&s.ddlAcked, &o.ddlAcked}, {&s.ddlAborted, &o.ddlAborted}, {&s.spaceRows, &o.spaceRows},
	} {
		*f.to += *f.from
	}
	s.online = max(s.online, o.online)
}

func newCluster(t *testing.T, seed uint64) *cluster {
	c := &cluster{base: newBase(t, seed), routes: map[string]*instance{}, cut: map[link]bool{}, checks: newClusterChecks(), ddl: newDDLChecks()}
	c.clients.acked, c.clients.values = map[string]bool{}, map[string]string{}
	c.opt = drawClusterOptions(&c.base)
	return c
}

// start makes the instances, which are started one after the other. One of them is in the lists of all.
func (c *cluster) start() {
	n := c.opt.instances
	hub := c.rng.IntN(n)
	for no := range n {
		i := c.newInstance()
		for _, k := range append(c.rng.Perm(n)[:c.rng.IntN(n)], hub) {
			i.known = append(i.known, uint64(k+1))
		}
		first := time.Duration(0)
		if no > 0 {
			first = c.between(0, 3*time.Second)
		}
		c.after(first, i.start)
	}
}

// newUUID draws one.
func (c *cluster) newUUID() string {
	a, b := c.rng.Uint64(), c.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// simulateCluster runs a seed: a time of faults, then one without, in which all has to come to rest.
func simulateCluster(t *testing.T, seed uint64) (sum uint64, st clusterStats, err error) {
	cryptotest.SetGlobalRandom(t, seed)
	c := newCluster(t, seed)
	defer func() {
		c.stats.events = c.events
		sum, st = c.trace.Sum64(), c.stats
		switch x := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s\noptions %+v", x.text, c.opt)
		default:
			t.Logf("cluster, seed %d, at %v, options %+v", seed, c.now, c.opt)
			panic(x)
		}
	}()
	c.start()
	c.startClients()
	c.startSchemaClients()
	c.startFaults()
	c.runUntil(c.opt.duration, nil)
	c.heal()
	c.settle()
	return sum, st, nil
}

// onlineWithin is how long after the last fault every instance must be Online, and all replicas be equal.
const onlineWithin = 60 * time.Second

// settle waits until the cluster is as it should be, with a last write of each kind.
func (c *cluster) settle() {
	begun := c.now
	c.lastWrites()
	var look func()
	rested := false
	look = func() {
		rested = c.unrested() == ""
		c.after(100*time.Millisecond, look)
	}
	look()
	if !c.runUntil(c.now+onlineWithin, func() bool { return rested }) {
		for _, i := range c.instances {
			c.t.Logf("%s", i.describe())
		}
		c.failf("not at rest %v after the last fault: %s", onlineWithin, c.unrested())
	}
	c.stats.online = c.now - begun
	c.checkAcknowledged()
	c.notef("at rest")
}

// unrested says what is not as it should be, or is empty.
func (c *cluster) unrested() string {
	var first *instance
	for _, i := range c.instances {
		if i.gone {
			continue
		}
		if !i.up || i.catalog == nil {
			return fmt.Sprintf("instance %d is in stage %s", i.no, i.stage)
		}
		view := i.cat.view
		row, ok := view.InstanceByUUID(i.disk.identity.InstanceUUID)
		if !ok || row.Current.Name != lifecycle.Online || row.Current != row.Target {
			return fmt.Sprintf("instance %d: current %s, target %s", i.no, row.Current, row.Target)
		}
		if first == nil {
			first = i
		}
		if a, b := i.catalog.at.index, first.catalog.at.index; a != b {
			return fmt.Sprintf("instance %d has applied the catalog up to %d, instance %d up to %d", i.no, a, first.no, b)
		}
		for _, k := range c.instances {
			if !k.gone && k.data != nil && k.data.key == i.data.key && k.data.at != i.data.at {
				return fmt.Sprintf("instances %d and %d: data at %+v and %+v", i.no, k.no, i.data.at, k.data.at)
			}
		}
	}
	if len(c.clients.open) > 0 {
		return fmt.Sprintf("no write is acknowledged in %v", sortedKeys(c.clients.open))
	}
	if text := c.unfinished(first); text != "" {
		return text
	}
	return c.unfollowed()
}

// unfinished says what the governor has still to do.
func (c *cluster) unfinished(first *instance) string {
	if first == nil {
		return ""
	}
	for _, row := range first.cat.view.Instances() {
		if row.Target.Name == lifecycle.Expelled && row.Current.Name != lifecycle.Expelled {
			return row.Name + " is not expelled yet"
		}
	}
	for _, i := range c.instances {
		if i.gone || i.data == nil {
			continue
		}
		for _, row := range append(slices.Clone(i.gov.last.Steps), i.gov.last.Waiting...) {
			// There may be too few instances for the replication factor.
			if i.catalog.g.Leading() && row.Kind != "replicaset_ready" {
				return "the governor has still to do: " + row.Text
			}
		}
		for _, r := range []*replica{i.catalog, i.data} {
			s := r.g.Status()
			if s.Joint {
				return fmt.Sprintf("instance %d: group %d is in a joint configuration", i.no, r.group)
			}
			if r.group == groupData && !slices.Contains(s.Voters, s.ID) {
				return fmt.Sprintf("instance %d is no voter of %s", i.no, r.key)
			}
		}
	}
	return ""
}

// clusterSeedsDefault is for the unit tests, with the race detector; make sim runs more without.
const clusterSeedsDefault = 12

// TestCluster runs seeds of whole clusters; each fiftieth twice, which must be the same.
func TestCluster(t *testing.T) {
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = clusterSeedsDefault
	}
	var total clusterStats
	for seed := *seedFlag; seed < *seedFlag+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			again := fmt.Sprintf("again: go test ./internal/sim -run TestCluster -sim.seed %d -sim.seeds 1 -sim.trace -v", seed)
			sum, st, err := simulateCluster(t, seed)
			if err != nil {
				t.Fatalf("%v\n%s", err, again)
			}
			total.add(st)
			if seed%50 != 7 {
				return
			}
			if other, _, err := simulateCluster(t, seed); err != nil || other != sum {
				t.Fatalf("one seed ran in two ways: %x and %x, %v\n%s", sum, other, err, again)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds: %+v", seeds, total)
}

// firstEpoch is the epoch of a cluster that was never recovered by force.
const firstEpoch = 1

// bootstrapParams are those of the instance that makes the cluster.
func (i *instance) bootstrapParams() catalog.BootstrapParams {
	e := i.disk.entrypoint
	return catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: e.ClusterUUID, InstanceUUID: e.InstanceUUID, ReplicasetUUID: e.ReplicasetUUID,
		Tier: "default", FailureDomain: i.domain, Version: "0.1.0", Address: i.address,
		Tiers: []catalog.TierParams{{Name: "default", ReplicationFactor: uint64(i.c.opt.factor), CanVote: true, BucketCount: 3000,
			WALMode: "fsync", IsDefault: true}},
		AutoOfflineTimeout: 2 * time.Second, ElectionTimeout: electionTimeout,
	}
}
