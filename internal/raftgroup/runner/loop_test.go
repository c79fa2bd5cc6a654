package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// gateFS lets syncs of open files pass one by one, once it is closed.
type gateFS struct {
	sys.FS
	mu     sync.Mutex
	closed bool
	// waiting gets a value for each sync that has arrived at the gate, pass lets one through.
	waiting, pass chan struct{}
}

func newGateFS(fsys sys.FS) *gateFS {
	return &gateFS{FS: fsys, waiting: make(chan struct{}, 100), pass: make(chan struct{}, 100)}
}

func (g *gateFS) OpenFile(name string, flag int, perm fs.FileMode) (sys.File, error) {
	f, err := g.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return gateFile{f, g}, nil
}

func (g *gateFS) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gateFS) open() {
	g.mu.Lock()
	g.closed = false
	g.mu.Unlock()
	close(g.pass)
}

type gateFile struct {
	sys.File
	g *gateFS
}

func (f gateFile) Datasync() error {
	f.g.mu.Lock()
	closed := f.g.closed
	f.g.mu.Unlock()
	if closed {
		f.g.waiting <- struct{}{}
		<-f.g.pass
	}
	return f.File.Datasync()
}

func (m *machine) traced() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.trace)
}

// TestPipelineAndGroupCommit: while one batch is synced the next ones are run, at most four; what comes then waits and
// becomes one batch; and what waits for the disk becomes one sync.
func TestPipelineAndGroupCommit(t *testing.T) {
	gate := newGateFS(fault.New())
	log := openLog(t, gate, wal.SyncFsync, 256<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("first")); err != nil {
		t.Fatal(err)
	}
	gate.close()
	ran := func(n int) {
		t.Helper()
		for len(h.m.traced()) < n {
			// Run is called as soon as the loop has seen the request.
			if err := h.loop.Call(context.Background(), func(*raftgroup.Group) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	var reqs []request
	for i := range 4 {
		reqs = append(reqs, h.submit(fmt.Sprint("p", i))...)
		ran(3 + i + 1)
	}
	for i := range 100 {
		reqs = append(reqs, h.submit(fmt.Sprint("q", i))...)
	}
	<-gate.waiting
	if got := h.m.values(); !slices.Equal(got, []string{"first"}) {
		t.Errorf("visible before a sync: %q", got)
	}
	gate.open()
	if err := wait(t, reqs); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	trace := strings.Join(h.m.traced()[3:], "; ")
	want := "run 4@2 p0; run 5@2 p1; run 6@2 p2; run 7@2 p3; commit 4; "
	if !strings.HasPrefix(trace, want) || strings.Count(trace, "run") != 5 || strings.Count(trace, "commit") != 5 {
		t.Errorf("trace %s", trace)
	}
	if syncs := len(gate.waiting); syncs > 0 {
		t.Errorf("%d syncs waited at the open gate", syncs)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestQueueIsBounded also shows that a lone voter waits for no tick to elect itself.
func TestQueueIsBounded(t *testing.T) {
	log := openLog(t, fault.New(), wal.SyncFsync, 256<<10)
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{applied: 1, block: make(chan struct{}), entered: make(chan struct{}, 100)}
	h := &harness{m: m, log: log}
	h.loop = runner.Start(runner.Config[request]{Log: log, Clock: real.Clock{}, Group: group, Machine: m, Name: "data", QueueMax: 10, Tick: time.Hour})
	reqs := h.submit("a")
	<-m.entered
	reqs = append(reqs, h.submit(strings.Split("bcdefghijk", "")...)...)
	if err := wait(t, h.submit("l")); !errcode.Is(err, errcode.Overloaded) {
		t.Errorf("one more than fits: %v", err)
	}
	close(m.block)
	if err := wait(t, reqs); err != nil {
		t.Error(err)
	}
	h.stop(t)
	if err := wait(t, h.submit("m")); !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("after the stop: %v", err)
	}
}

// TestStopRefusesWhatWaits: what was run is brought to its end, what was not is given back at once.
func TestStopRefusesWhatWaits(t *testing.T) {
	gate := newGateFS(fault.New())
	log := openLog(t, gate, wal.SyncFsync, 256<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	gate.close()
	var reqs []request
	for i := range 4 {
		reqs = append(reqs, h.submit(fmt.Sprint("p", i))...)
		for len(h.m.traced()) < 4+i {
			if err := h.loop.Call(context.Background(), func(*raftgroup.Group) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting := h.submit("waits")
	stopped := make(chan error, 1)
	go func() { stopped <- h.loop.Stop(context.Background()) }()
	if err := wait(t, waiting); !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("what was not run: %v", err)
	}
	gate.open()
	if err := wait(t, reqs); err != nil {
		t.Errorf("what was run: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestQuiesce: what was run is brought to its end, the rest is refused, and the loop goes on.
func TestQuiesce(t *testing.T) {
	gate := newGateFS(fault.New())
	log := openLog(t, gate, wal.SyncFsync, 256<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	gate.close()
	reqs := h.submit("run")
	<-gate.waiting
	ctx, cancel := context.WithCancel(context.Background())
	quiet := make(chan error, 2)
	go func() { quiet <- h.loop.Quiesce(ctx) }()
	for !errcode.Is(h.loop.Submit(nil), errcode.Shutdown) {
		time.Sleep(time.Millisecond)
	}
	if err := wait(t, h.submit("late")); !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("what came late: %v", err)
	}
	if cancel(); !errors.Is(<-quiet, context.Canceled) {
		t.Error("quiet although a write is not decided")
	}
	gate.open()
	if err := h.loop.Quiesce(context.Background()); err != nil {
		t.Error(err)
	}
	select {
	case err := <-reqs[0].done:
		if err != nil {
			t.Errorf("what was run: %v", err)
		}
	default:
		t.Error("quiet, and a write is not answered")
	}
	if err := h.loop.Call(context.Background(), func(*raftgroup.Group) error { return nil }); err != nil {
		t.Errorf("the loop has ended: %v", err)
	}
	h.stop(t)
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	gate := newGateFS(fault.New())
	log := openLog(t, gate, wal.SyncFsync, 256<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	gate.close()
	reqs := h.submit("b")
	<-gate.waiting
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.loop.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if err := wait(t, reqs); !errcode.Is(err, errcode.UnknownOutcome) && !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("a write under way: %v", err)
	}
	gate.open()
	h.stop(t)
}

func TestModesWithoutSync(t *testing.T) {
	for _, mode := range []wal.SyncMode{wal.SyncWrite, wal.SyncNone} {
		fsys := fault.New()
		log := openLog(t, fsys, mode, 16<<10)
		h := start(t, log, 0)
		syncs := -1
		for i := range 50 {
			if err := wait(t, h.submit(fmt.Sprint("v", i))); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				syncs = fsys.Count(fault.OpSync)
			}
		}
		if n := fsys.Count(fault.OpSync); n != syncs {
			t.Errorf("mode %s: %d syncs for entries", mode, n-syncs)
		}
		h.stop(t)
		// The process is killed: the log was not closed.
		fsys.Kill()
		log = openLog(t, fsys, mode, 16<<10)
		h = start(t, log, 0)
		if err := wait(t, h.submit("z")); err != nil {
			t.Fatal(err)
		}
		h.stop(t)
		if n, want := len(h.m.values()), map[wal.SyncMode]int{wal.SyncWrite: 51, wal.SyncNone: 1}[mode]; n != want {
			t.Errorf("mode %s: %d values after a kill, want %d", mode, n, want)
		}
		if s := h.loop.Status(); s.Term < 3 {
			t.Errorf("mode %s: term %d was used before", mode, s.Term)
		}
	}
}

func TestCompactAndStartFromSnapshot(t *testing.T) {
	fsys := fault.New()
	log := openLog(t, fsys, wal.SyncFsync, 4<<10)
	h := start(t, log, 0)
	for i := range 40 {
		if err := wait(t, h.submit(strings.Repeat("x", 500)+fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	var at uint64
	if err := h.loop.Call(context.Background(), func(g *raftgroup.Group) error {
		at = g.AppliedIndex()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.loop.Compact(context.Background(), at-2); err != nil {
		t.Fatal(err)
	}
	if log.FirstIndex() < at-12 {
		t.Errorf("compacted to %d, the log begins at %d", at-2, log.FirstIndex())
	}
	h.stop(t)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = openLog(t, fsys, wal.SyncFsync, 4<<10)
	pos := raftgroup.Position{Index: at - 2, Term: 2, Voters: []uint64{1}}
	if _, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap}); err == nil {
		t.Error("a snapshot that the log does not follow was accepted")
	}
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: pos})
	if err != nil {
		t.Fatal(err)
	}
	h = &harness{m: &machine{applied: at - 2}, log: log}
	h.loop = runner.Start(runner.Config[request]{Log: log, Clock: real.Clock{}, Group: group, Machine: h.m, Name: "data"})
	if err := wait(t, h.submit("after")); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	if got := h.m.values(); len(got) != 3 || got[2] != "after" {
		t.Errorf("%d values applied after the snapshot", len(got))
	}
}

// trio is three loops with a network between them.
type trio struct {
	mu    sync.Mutex
	loops map[uint64]*runner.Loop[request]
	cut   map[uint64]bool
	// drop, if not nil, loses single messages.
	drop func(raftgroup.Message) bool
}

func (n *trio) send(m raftgroup.Message) {
	n.mu.Lock()
	to, lost := n.loops[m.To()], n.cut[m.From()] || n.cut[m.To()] || n.drop != nil && n.drop(m)
	n.mu.Unlock()
	if to != nil && !lost {
		to.Step(m)
	}
}

func (n *trio) set(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = cut
}

type member struct {
	harness
	status chan raftgroup.Status
}

// bubbleClock is the clock of a bubble of testing/synctest: a machine that is slow does not let it go on, so nobody loses
// leadership because of that.
type bubbleClock struct{}

func (bubbleClock) Wall() time.Time { return time.Now() }

func (bubbleClock) Boot() time.Duration {
	return time.Since(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
}

// startTrio starts three voters in a bubble; change may change the configuration of each.
func startTrio(t *testing.T, change ...func(id uint64, m *machine, cfg *runner.Config[request])) (*trio, map[uint64]*member) {
	return startTrioOn(t, func(uint64) sys.FS { return fault.New() }, change...)
}

// startTrioOn is startTrio with a disk for each.
func startTrioOn(t *testing.T, disk func(id uint64) sys.FS, change ...func(id uint64, m *machine, cfg *runner.Config[request])) (*trio, map[uint64]*member) {
	net := &trio{loops: map[uint64]*runner.Loop[request]{}, cut: map[uint64]bool{}}
	members := map[uint64]*member{}
	for id := uint64(1); id <= 3; id++ {
		log, err := wal.Open(wal.Options{FS: disk(id), Dir: "/log", Group: "data", Instance: uuid.UUID{byte(id)}, SegmentBytes: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		group, err := runner.NewGroup(log, raftgroup.Config{
			ID: id, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1, 2, 3}},
			ElectionTimeout: 200 * time.Millisecond, Now: bubbleClock{}.Boot(),
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &member{status: make(chan raftgroup.Status, 10000)}
		m.m, m.log = &machine{applied: 1}, log
		cfg := runner.Config[request]{
			Log: log, Clock: bubbleClock{}, Group: group, Machine: m.m, Name: "data", Send: net.send,
			OnStatus: func(s raftgroup.Status) { m.status <- s },
		}
		for _, fn := range change {
			fn(id, m.m, &cfg)
		}
		m.loop = runner.Start(cfg)
		net.mu.Lock()
		net.loops[id] = m.loop
		net.mu.Unlock()
		members[id] = m
	}
	return net, members
}

// awaitLeader waits until one of the members leads in a term above after.
func awaitLeader(t *testing.T, members map[uint64]*member, among []uint64, after uint64) (id, term uint64) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		for _, id := range among {
			select {
			case s := <-members[id].status:
				if s.Role == raftgroup.RoleLeader && s.Term > after {
					return id, s.Term
				}
			case <-deadline:
				t.Fatal("no leader")
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// TestSlowDiskKeepsUp: a follower whose disk is slow writes with each sync all that came meanwhile, in however many messages.
func TestSlowDiskKeepsUp(t *testing.T) { synctest.Test(t, slowDiskKeepsUp) }

func slowDiskKeepsUp(t *testing.T) {
	gates := map[uint64]*gateFS{}
	_, members := startTrioOn(t, func(id uint64) sys.FS {
		gates[id] = newGateFS(fault.New())
		return gates[id]
	})
	leader, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	slow := leader%3 + 1
	gate := gates[slow]
	gate.close()
	// The one whose disk stands still can not be elected; the other one can, if this machine is slow.
	among := []uint64{leader, (slow)%3 + 1}
	for n := range 120 {
		for turn := 0; ; turn++ {
			if wait(t, members[among[turn%2]].submit(fmt.Sprint(n))) == nil {
				break
			}
		}
	}
	goal := max(members[among[0]].loop.Status().Committed, members[among[1]].loop.Status().Committed)
	syncs := 0
	for members[slow].loop.Status().Applied < goal {
		select {
		case <-gate.waiting:
			syncs++
			gate.pass <- struct{}{}
		default:
			members[slow].turn(t)
		}
	}
	if syncs > 20 {
		t.Errorf("%d syncs for 120 entries", syncs)
	}
	gate.open()
	for _, m := range members {
		m.stop(t)
	}
}

// TestStalledDiskGivesUp: a leader whose disk stands still makes room for another one, and follows when its disk goes on.
func TestStalledDiskGivesUp(t *testing.T) { synctest.Test(t, stalledDiskGivesUp) }

func stalledDiskGivesUp(t *testing.T) {
	gates := map[uint64]*gateFS{}
	_, members := startTrioOn(t, func(id uint64) sys.FS {
		gates[id] = newGateFS(fault.New())
		return gates[id]
	})
	old, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	gates[old].close()
	members[old].submit("on its way")
	rest := slices.DeleteFunc([]uint64{1, 2, 3}, func(id uint64) bool { return id == old })
	for turn := 0; wait(t, members[rest[turn%2]].submit("b")) != nil; turn++ {
		time.Sleep(time.Millisecond)
	}
	gates[old].open()
	goal := max(members[rest[0]].loop.Status().Committed, members[rest[1]].loop.Status().Committed)
	for members[old].loop.Status().Applied < goal {
		members[old].turn(t)
	}
	for _, m := range members {
		m.stop(t)
	}
}

// TestLeadershipLost: a leader that is cut off gives back what it ran, truthfully, and takes over what the new one wrote.
func TestLeadershipLost(t *testing.T) { synctest.Test(t, leadershipLost) }

func leadershipLost(t *testing.T) {
	net, members := startTrio(t)
	old, term := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	if err := wait(t, members[old].submit("a")); err != nil {
		t.Fatal(err)
	}
	net.set(old, true)
	lost := members[old].submit("lost")
	if err := wait(t, lost); !errcode.Is(err, errcode.UnknownOutcome) {
		t.Fatalf("run by a leader without a quorum: %v", err)
	}
	if err := wait(t, members[old].submit("refused")); !errcode.Is(err, errcode.NotALeader) {
		t.Fatalf("sent to one that does not lead: %v", err)
	}
	var rest []uint64
	for id := uint64(1); id <= 3; id++ {
		if id != old {
			rest = append(rest, id)
		}
	}
	leader, _ := awaitLeader(t, members, rest, term)
	if err := wait(t, members[leader].submit("b")); err != nil {
		t.Fatal(err)
	}
	net.set(old, false)
	members[leader].turn(t)
	goal := members[leader].loop.Status().Applied
	for _, m := range members {
		for m.loop.Status().Applied < goal {
			m.turn(t)
		}
		if got := m.m.values(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("values %q", got)
		}
	}
	trace := strings.Join(members[old].m.traced(), "; ")
	if !strings.Contains(trace, "abort") || strings.Contains(trace, "commit 4") {
		t.Errorf("trace of the old leader: %s", trace)
	}
	for _, m := range members {
		m.stop(t)
	}
}

// turn lets the loop look once at what it has, and time go on.
func (m *member) turn(t *testing.T) {
	t.Helper()
	time.Sleep(time.Millisecond)
	if err := m.loop.Call(context.Background(), func(*raftgroup.Group) error { return nil }); err != nil {
		t.Fatal(err)
	}
}
