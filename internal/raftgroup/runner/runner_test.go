package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is one write of the test machine: a value, answered on done.
type request struct {
	value string
	done  chan error
}

// machine keeps a list of values: entries are values joined by commas.
type machine struct {
	mu      sync.Mutex
	state   []string
	trace   []string
	running []run
	applied uint64
	// block, if not nil, holds Run up until it is closed.
	block   chan struct{}
	entered chan struct{}
	// busy: there is work without end. turns counts what was done of it; gaveUp is why it ended, with room for one.
	busy   atomic.Bool
	turns  atomic.Int64
	gaveUp chan error
	// asking are requests that wrote nothing and wait to be confirmed, asked their number so far.
	asking []request
	asked  uint64
}

type run struct {
	index  uint64
	values []string
	reqs   []request
}

func (m *machine) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *machine) Run(index, term uint64, reqs []request) []byte {
	if m.block != nil {
		m.entered <- struct{}{}
		<-m.block
	}
	if len(reqs) == 0 {
		m.turns.Add(1)
		time.Sleep(50 * time.Microsecond) // lets a clock that waits for all go on
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := run{index: index, reqs: slices.Clone(reqs)}
	for _, q := range reqs {
		if q.value == "" {
			q.done <- nil
			continue
		}
		if q.value == question {
			m.asking = append(m.asking, q)
			m.asked++
			continue
		}
		r.values = append(r.values, q.value)
	}
	m.note("run %d@%d %s", index, term, strings.Join(r.values, ","))
	if len(r.values) == 0 {
		return nil
	}
	m.running = append(m.running, r)
	return []byte(strings.Join(r.values, ","))
}

func (m *machine) Commit(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.running[0]
	m.running = m.running[1:]
	if r.index != index || m.applied+1 != index {
		panic(fmt.Sprintf("commit %d, expected %d after %d", index, r.index, m.applied))
	}
	m.applied = index
	m.state = append(m.state, r.values...)
	m.note("commit %d", index)
	for _, q := range r.reqs {
		if q.value != "" {
			q.done <- nil
		}
	}
}

func (m *machine) Apply(index, term uint64, entry []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied != 0 && m.applied+1 != index {
		panic(fmt.Sprintf("apply %d after %d", index, m.applied))
	}
	m.applied = index
	if len(entry) > 0 {
		m.state = append(m.state, strings.Split(string(entry), ",")...)
	}
	m.note("apply %d@%d %s", index, term, entry)
}

func (m *machine) Abort(from uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("abort %d", from)
	for len(m.running) > 0 && m.running[len(m.running)-1].index >= from {
		r := m.running[len(m.running)-1]
		m.running = m.running[:len(m.running)-1]
		for _, q := range r.reqs {
			if q.value != "" {
				q.done <- err
			}
		}
	}
}

func (m *machine) Refuse(reqs []request, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("refuse %d", len(reqs))
	for _, q := range reqs {
		q.done <- err
	}
}

func (m *machine) ConfChanged(s raftgroup.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("members %v %v", s.Voters, s.Learners)
}

func (m *machine) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state)
}

var instance = uuid.MustParse("11111111-2222-3333-4444-555555555555")

func openLog(t *testing.T, fsys sys.FS, mode wal.SyncMode, segmentBytes int64) *wal.Log {
	t.Helper()
	log, err := wal.Open(wal.Options{
		FS: fsys, Dir: "/data", Group: "data", Instance: instance, Sync: mode,
		SegmentBytes: segmentBytes, ReserveBytes: 8 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

var bootstrap = raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1}}

type harness struct {
	m        *machine
	loop     *runner.Loop[request]
	log      *wal.Log
	poisoned chan error
	full     chan bool
}

func start(t *testing.T, log *wal.Log, applied uint64) *harness {
	t.Helper()
	return startTicking(t, log, applied, 5*time.Millisecond)
}

func startTicking(t *testing.T, log *wal.Log, applied uint64, tick time.Duration) *harness {
	t.Helper()
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap, Applied: applied})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{m: &machine{applied: max(applied, 1)}, log: log}
	h.poisoned, h.full = make(chan error, 10), make(chan bool, 10)
	h.loop = runner.Start(runner.Config[request]{
		Log: log, Clock: real.Clock{}, Group: group, Machine: h.m, Name: "data", Tick: tick,
		Bytes: func(r request) int { return len(r.value) }, RetryInterval: 5 * time.Millisecond,
		OnPoison:   func(err error) { h.poisoned <- err },
		OnDiskFull: func(full bool) { h.full <- full },
	})
	return h
}

func (h *harness) submit(values ...string) []request {
	reqs := make([]request, len(values))
	for i, v := range values {
		reqs[i] = request{value: v, done: make(chan error, 2)}
	}
	if err := h.loop.Submit(reqs); err != nil {
		for _, r := range reqs {
			r.done <- err
		}
	}
	return reqs
}

func wait(t *testing.T, reqs []request) (last error) {
	t.Helper()
	for _, r := range reqs {
		select {
		case last = <-r.done:
		case <-time.After(time.Minute):
			t.Fatal("no answer")
		}
	}
	return last
}

func (h *harness) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.loop.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLoneVoterLives(t *testing.T) {
	fsys := fault.New()
	log := openLog(t, fsys, wal.SyncFsync, 64<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, h.submit("c")); err != nil {
		t.Fatal(err)
	}
	s := h.loop.Status()
	if s.Role != raftgroup.RoleLeader || s.Term != 2 || s.LeaderID != 1 || !slices.Equal(s.Voters, []uint64{1}) {
		t.Errorf("status %+v", s)
	}
	h.stop(t)
	want := []string{"apply 2@2 ", "run 3@2 a,b", "commit 3", "run 4@2 c", "commit 4"}
	if !slices.Equal(h.m.trace, want) {
		t.Errorf("trace %q, want %q", h.m.trace, want)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}

	log = openLog(t, fsys, wal.SyncFsync, 64<<10)
	if r := log.Recovered(); !r.CleanStop || r.LastIndex != 4 || r.HardState.Commit != 4 || r.HardState.Term != 2 {
		t.Errorf("recovered %+v", r)
	}
	h = start(t, log, 0)
	if err := wait(t, h.submit("d")); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	if got := h.m.values(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("state %q", got)
	}
	want = []string{"apply 2@2 ", "apply 3@2 a,b", "apply 4@2 c", "apply 5@3 ", "run 6@3 d", "commit 6"}
	if !slices.Equal(h.m.trace, want) {
		t.Errorf("trace %q, want %q", h.m.trace, want)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgedSurvivesPowerCut(t *testing.T) {
	fsys := fault.New()
	var acked []string
	for life := range 6 {
		log := openLog(t, fsys, wal.SyncFsync, 8<<10)
		h := start(t, log, 0)
		for i := range 20 {
			values := []string{fmt.Sprintf("v%d.%d.x", life, i), fmt.Sprintf("v%d.%d.y", life, i)}
			if err := wait(t, h.submit(values...)); err != nil {
				t.Fatal(err)
			}
			acked = append(acked, values...)
		}
		if got := h.m.values(); !slices.Equal(got, acked) {
			t.Fatalf("life %d: state %q, want %q", life, got, acked)
		}
		// The power goes while the loop runs: it ends by poison.
		fsys.CrashAt(1)
		// The disk may have found out before the request came, when it looked after room.
		if err := wait(t, h.submit("lost")); !errcode.Is(err, errcode.UnknownOutcome) && !errcode.Is(err, errcode.Poisoned) {
			t.Fatalf("after the crash: %v", err)
		}
		if err := <-h.poisoned; !errors.Is(err, wal.ErrPoisoned) {
			t.Fatalf("poison: %v", err)
		}
		h.stop(t)
		fsys.Reboot(fault.LoseUnsynced)
	}
}

func TestPoison(t *testing.T) {
	fsys := fault.New()
	log := openLog(t, fsys, wal.SyncFsync, 64<<10)
	h := start(t, log, 0)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	fsys.Inject(fault.Fault{Op: fault.OpSync, Path: ".rlog", Times: 1})
	if err := wait(t, h.submit("b")); !errcode.Is(err, errcode.UnknownOutcome) {
		t.Errorf("the write whose sync failed: %v", err)
	}
	if err := <-h.poisoned; !errors.Is(err, syscall.EIO) {
		t.Errorf("poison: %v", err)
	}
	// The next sync would succeed, and must not be believed.
	if err := wait(t, h.submit("c")); !errcode.Is(err, errcode.Poisoned) {
		t.Errorf("a write after that: %v", err)
	}
	h.stop(t)
	if len(h.poisoned) != 0 {
		t.Error("OnPoison was called again")
	}
	if got := h.m.values(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("state %q", got)
	}
	if err := log.Append(wal.Batch{HardState: &raftgroup.HardState{Term: 9}}); !errors.Is(err, wal.ErrPoisoned) {
		t.Errorf("append after poison: %v", err)
	}
}

// TestDiskFullPasses: everybody is answered while the disk is full, and served when it is not any more.
func TestDiskFullPasses(t *testing.T) {
	fsys := fault.New()
	log := openLog(t, fsys, wal.SyncFsync, 1<<20)
	// The log is full long before the next tick: only the loop itself can see it coming.
	h := startTicking(t, log, 0, 500*time.Millisecond)
	if err := wait(t, h.submit("a")); err != nil {
		t.Fatal(err)
	}
	fsys.SetCapacity(fsys.Used() + 1)
	big := strings.Repeat("x", 9000)
	accepted, refused := 0, 0
	for refused == 0 {
		// One after the other, all are answered, although each finds less room.
		reqs := h.submit(big, big, big, big, big, big, big, big)
		reqs = append(reqs, h.submit(big, big, big)...)
		for _, r := range reqs {
			switch err := wait(t, []request{r}); {
			case err == nil:
				accepted++
			case errcode.Is(err, errcode.DiskFull):
				refused++
			default:
				t.Fatalf("refused with %v", err)
			}
		}
	}
	if accepted < 50 || !<-h.full {
		t.Fatalf("%d accepted; or not told that the disk is full", accepted)
	}
	fsys.SetCapacity(0)
	for <-h.full {
	}
	if err := wait(t, h.submit("z")); err != nil {
		t.Fatalf("after space came back: %v", err)
	}
	h.stop(t)
	if n := len(h.m.values()); n != accepted+2 {
		t.Errorf("%d values, %d were acknowledged", n, accepted+2)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}
