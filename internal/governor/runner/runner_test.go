package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// cluster is a catalog of one instance whose steps are recorded at once.
type cluster struct {
	mu      sync.Mutex
	state   *catalog.State
	seen    governor.Observed
	fail    int                // this many proposals fail
	failure error              // with this
	view    governor.GroupView // of the catalog
	groups  map[string]governor.GroupView
	tries   int
	wake    chan struct{}
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
	c := &cluster{state: catalog.New(), wake: make(chan struct{}, 1), failure: errors.New("the quorum is away"),
		view:   governor.GroupView{Known: true, Leader: "i1", Voters: []uint64{1}},
		groups: map[string]governor.GroupView{"default_1": {Known: true, Leader: "i1", Voters: []uint64{2}}}}
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
		Instances: map[string]governor.Observed{"i1": seen}, CatalogGroup: c.view, DataGroups: maps.Clone(c.groups)}
}

// change carries out the two changes that these tests know: learners in the catalog, and nobody but the leader in a data group.
func (c *cluster) change(a governor.Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a := a.(type) {
	case governor.CatalogChange:
		for _, ch := range a.Changes {
			c.view.Learners = append(c.view.Learners, ch.ID)
		}
	case governor.GroupChange:
		view := c.groups[a.Replicaset]
		view.Voters = view.Voters[:1]
		c.groups[a.Replicaset] = view
	}
}

func (c *cluster) propose(_ context.Context, op catalog.Op, _ catalog.Predicate) (catalog.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries++
	if c.fail > 0 {
		c.fail--
		return catalog.Result{}, c.failure
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
		want := "record grade RaftSynced(1) of i1, now Offline(0): the quorum is away"
		if rep := r.Report(); c.triesSoFar() != 1 || rep.LastError != want {
			t.Fatalf("%d tries, report %+v", c.triesSoFar(), rep)
		}
		time.Sleep(retryDefault)
		synctest.Wait()
		if n := c.triesSoFar(); n != 2 {
			t.Fatalf("%d tries after one pause", n)
		}
		time.Sleep(2 * retryDefault) // the pause doubles
		synctest.Wait()
		if c.grade().Name != lifecycle.Online || r.Report().LastError != "" {
			t.Fatalf("grade %s, report %+v", c.grade(), r.Report())
		}
		if done, failed := r.Steps(); done != 5 || failed != 2 {
			t.Fatalf("%d steps done, %d failed", done, failed)
		}
		if took := time.Since(began); took != 3*retryDefault {
			t.Fatalf("took %s", took)
		}
	})
}

func TestPauseDoublesUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.target(t, lifecycle.Online)
		c.tries, c.fail = 0, 1<<30
		r, cancel := start(t, c)
		defer cancel()
		time.Sleep(time.Hour)
		r.Notify() // which shortens no pause
		synctest.Wait()
		if n, want := c.triesSoFar(), int(time.Hour/retryMaxDefault); n < want || n > want+6 {
			t.Fatalf("%d tries in an hour", n)
		}
	})
}

func TestAConflictIsTriedAgainSoon(t *testing.T) {
	for _, err := range []error{errcode.New(errcode.CASConflictFound, uint64(7)),
		errcode.New(errcode.CASEntryTermMismatch, uint64(7)), errcode.New(errcode.NotALeader, "nobody leads")} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			c.target(t, lifecycle.Online)
			c.fail, c.failure = 1, err
			_, cancel := start(t, c)
			defer cancel()
			time.Sleep(conflictPause)
			synctest.Wait()
			if c.grade().Name != lifecycle.Online {
				t.Fatalf("%v: grade %s", err, c.grade())
			}
		})
	}
}

// withReplicasets adds replicasets r1, r2, …, each with an instance that its group does not have yet.
func (c *cluster) withReplicasets(t *testing.T, n int) {
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("r%d", i)
		row := catalog.Instance{Name: "i" + name, UUID: "uuid-" + name, RaftID: uint64(100 * i), DataRaftID: uint64(100*i + 1),
			ReplicasetName: name, Tier: "default"}
		rs := catalog.Replicaset{Name: name, UUID: "uuid-" + name, Tier: "default", WeightOrigin: "auto",
			State: catalog.ReplicasetReady, CurrentMaster: row.Name, TargetMaster: row.Name}
		for table, tuple := range map[uint32][]byte{catalog.TableInstance: row.Row(), catalog.TableReplicaset: rs.Row()} {
			if _, err := c.propose(t.Context(), catalog.Op{Kind: catalog.Dml,
				DML: []catalog.DML{{Kind: catalog.Insert, Table: table, Tuple: tuple}}}, catalog.Predicate{}); err != nil {
				t.Fatal(err)
			}
		}
		c.groups[name] = governor.GroupView{Known: true, Leader: row.Name, Voters: []uint64{row.DataRaftID, 77}}
	}
}

// TestASlowSubjectDelaysNobody: the change of one group hangs, those of the others and the way of the instance go on, and
// there is never a second step on the subject that hangs.
func TestASlowSubjectDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.withReplicasets(t, 3)
		c.target(t, lifecycle.Online)
		var mu sync.Mutex
		acted, hanging, hangingMax := map[string]int{}, 0, 0
		act := func(ctx context.Context, step governor.Step) error {
			mu.Lock()
			acted[step.Subject]++
			hang := step.Subject == "r2"
			if hang {
				hanging++
				hangingMax = max(hangingMax, hanging)
			}
			mu.Unlock()
			if hang {
				<-ctx.Done()
				mu.Lock()
				hanging--
				mu.Unlock()
				return ctx.Err()
			}
			c.change(step.Action)
			return nil
		}
		r := New(Options{Read: c.read, Propose: c.propose, Act: act, Wakes: []<-chan struct{}{c.wake}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		synctest.Wait()
		check := func(want map[string]int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !maps.Equal(acted, want) || hangingMax != 1 {
				t.Fatalf("acted %v, want %v; %d at once", acted, want, hangingMax)
			}
		}
		check(map[string]int{"catalog": 1, "r1": 1, "r2": 1, "r3": 1})
		if c.grade().Name != lifecycle.Online {
			t.Fatalf("grade %s", c.grade())
		}
		for range 5 {
			r.Notify()
			synctest.Wait()
		}
		time.Sleep(3*time.Second + retryDefault) // its time, and the pause
		synctest.Wait()
		check(map[string]int{"catalog": 1, "r1": 1, "r2": 2, "r3": 1})
		if got := r.Report().LastError; got != "replicaset r2: remove raft id 77: context deadline exceeded" {
			t.Fatalf("last error %q", got)
		}
	})
}

// TestAnEffectThatIsNotSeenIsNotAskedForAtOnce: an action went well, and the report that shows it comes later.
func TestAnEffectThatIsNotSeenIsNotAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.withReplicasets(t, 1)
		acted := map[string]int{}
		var mu sync.Mutex
		r := New(Options{Read: c.read, Propose: c.propose, Act: func(_ context.Context, step governor.Step) error {
			mu.Lock()
			defer mu.Unlock()
			acted[step.Subject]++
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		synctest.Wait()
		tries := func() int {
			mu.Lock()
			defer mu.Unlock()
			return acted["r1"]
		}
		for range 10 {
			r.Notify()
			synctest.Wait()
		}
		if tries() != 1 {
			t.Fatalf("%d times at once", tries())
		}
		time.Sleep(retryDefault)
		synctest.Wait()
		if tries() != 2 {
			t.Fatalf("%d times after a pause", tries())
		}
	})
}

func TestWithoutActGroupsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.withReplicasets(t, 1)
		r, cancel := start(t, c)
		defer cancel()
		if got := r.Report().LastError; !strings.Contains(got, errNoAct.Error()) {
			t.Fatalf("last error %q", got)
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
