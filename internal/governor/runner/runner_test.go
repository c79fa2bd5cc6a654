package runner

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// cluster is a catalog of one instance whose steps are recorded at once.
type cluster struct {
	mu    sync.Mutex
	state *catalog.State
	seen  governor.Observed
	fail  int // this many proposals fail
	tries int
	wake  chan struct{}
}

func newCluster(t *testing.T) *cluster {
	entries, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111", InstanceName: "i1",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301",
		Tiers:              []catalog.TierParams{{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync"}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{state: catalog.New(), wake: make(chan struct{}, 1)}
	for i, e := range entries {
		if _, _, err := c.state.Apply(uint64(i+1), 1, e); err != nil {
			t.Fatal(err)
		}
	}
	c.seen = governor.Observed{State: lifecycle.RolesConfigured, Sharding: true}
	return c
}

func (c *cluster) read() governor.Input {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	seen.Applied, _ = c.state.Position()
	return governor.Input{Now: time.Now(), Leading: true, Term: 1, Leader: "i1", Catalog: c.state,
		Instances:    map[string]governor.Observed{"i1": seen},
		CatalogGroup: governor.GroupView{Known: true, Leader: "i1", Voters: []uint64{1}},
		DataGroups:   map[string]governor.GroupView{"default_1": {Known: true, Leader: "i1", Voters: []uint64{2}}}}
}

func (c *cluster) propose(_ context.Context, op catalog.Op, _ catalog.Predicate) (catalog.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries++
	if c.fail > 0 {
		c.fail--
		return catalog.Result{}, errors.New("the quorum is away")
	}
	next := c.state.Clone()
	index, term := next.Position()
	res, _, err := next.Execute(index+1, term, catalog.Item{Ops: []catalog.Op{op}})
	if err == nil {
		c.state = next
	}
	return res, err
}

func (c *cluster) target(t *testing.T, g lifecycle.GradeName) {
	c.mu.Lock()
	op, guard, err := catalog.SetTarget(c.state, "i1", g, "test", "now")
	c.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.propose(t.Context(), op, guard); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) triesSoFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

func (c *cluster) grade() lifecycle.Grade {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := c.state.Instance("i1")
	return i.Current
}

func start(t *testing.T, c *cluster) (*Runner, context.CancelFunc) {
	r := New(Options{Read: c.read, Propose: c.propose, Wakes: []<-chan struct{}{c.wake}})
	ctx, cancel := context.WithCancel(t.Context())
	go r.Run(ctx)
	synctest.Wait()
	return r, cancel
}

func TestGoesOnlineWhenWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r, cancel := start(t, c)
		defer cancel()
		if n := c.triesSoFar(); n != 0 {
			t.Fatalf("%d steps with nothing to do", n)
		}
		c.target(t, lifecycle.Online)
		c.wake <- struct{}{}
		synctest.Wait()
		if want := (lifecycle.Grade{Name: lifecycle.Online, Incarnation: 1}); c.grade() != want {
			t.Fatalf("grade %s, want %s", c.grade(), want)
		}
		if rep := r.Report(); len(rep.Waiting) != 0 || len(rep.Steps) != 0 || rep.LastError != "" || rep.Leader != "i1" {
			t.Fatalf("report %+v", rep)
		}
		c.target(t, lifecycle.Offline)
		r.Notify()
		r.Notify()
		synctest.Wait()
		if c.grade().Name != lifecycle.Offline {
			t.Fatalf("grade %s", c.grade())
		}
	})
}

func TestPausesAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.target(t, lifecycle.Online)
		c.tries, c.fail = 0, 2
		began := time.Now()
		r, cancel := start(t, c)
		defer cancel()
		if rep := r.Report(); c.triesSoFar() != 1 || rep.LastError != "the quorum is away" {
			t.Fatalf("%d tries, report %+v", c.triesSoFar(), rep)
		}
		time.Sleep(retryDefault)
		synctest.Wait()
		if n := c.triesSoFar(); n != 2 {
			t.Fatalf("%d tries after one pause", n)
		}
		time.Sleep(retryDefault)
		synctest.Wait()
		if c.grade().Name != lifecycle.Online || r.Report().LastError != "" {
			t.Fatalf("grade %s, report %+v", c.grade(), r.Report())
		}
		if took := time.Since(began); took != 2*retryDefault {
			t.Fatalf("took %s", took)
		}
	})
}

func TestLooksAgainWhenTimeAloneChangesThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.target(t, lifecycle.Online)
		c.seen.LastHeard = time.Now()
		_, cancel := start(t, c)
		defer cancel()
		if c.grade().Name != lifecycle.Online {
			t.Fatalf("grade %s", c.grade())
		}
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		if c.grade().Name != lifecycle.Online {
			t.Fatal("too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if c.grade().Name != lifecycle.Offline {
			t.Fatalf("grade %s after 5 s of silence", c.grade())
		}
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.fail = 1 << 30
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		r := New(Options{Read: c.read, Propose: c.propose})
		go func() { r.Run(ctx); close(done) }()
		synctest.Wait()
		cancel()
		<-done
	})
}
