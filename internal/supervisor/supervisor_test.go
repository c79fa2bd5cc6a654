package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// patience is how long an event that must come is waited for.
const patience = 30 * time.Second

// rig is a supervisor over fake children, with everything it says.
type rig struct {
	t       *testing.T
	options Options
	signals chan os.Signal
	ready   chan struct{}
	said    chan string
	done    chan int

	mu     sync.Mutex
	delays []time.Duration
}

func newRig(t *testing.T, part ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	lock, err := AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Release() })
	r := &rig{t: t, signals: make(chan os.Signal, 8), ready: make(chan struct{}, 64), said: make(chan string, 64), done: make(chan int, 1)}
	r.options = Options{
		Dir: store.Dir{FS: real.FS{}, Path: dir}, Lock: lock, Config: []byte("{}"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Clock: real.Clock{}, Signals: r.signals, OnReady: func() { r.ready <- struct{}{} }, Args: part,
		// The race detector would make every child linger for a second at its end.
		Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"),
		OnStatus: func(_ lifecycle.State, text string) {
			if text != "" {
				r.said <- text
			}
		},
		after: func(d time.Duration) <-chan time.Time {
			r.mu.Lock()
			r.delays = append(r.delays, d)
			r.mu.Unlock()
			if d >= stopGrace && d != poisonDelay {
				return nil
			}
			now := make(chan time.Time, 1)
			now <- time.Time{}
			return now
		},
	}
	return r
}

func (r *rig) start() *rig {
	go func() { r.done <- Run(r.options) }()
	return r
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func (r *rig) exits(want int) {
	r.t.Helper()
	if got := await(r.t, "the supervisor's end", r.done); got != want {
		r.t.Errorf("exit code %d, want %d", got, want)
	}
}

func (r *rig) says(want string) {
	r.t.Helper()
	if got := await(r.t, "a text of the child", r.said); got != want {
		r.t.Errorf("child says\n%q, want\n%q", got, want)
	}
}

func TestCrashIsRestarted(t *testing.T) {
	r := newRig(t, "crash-twice").start()
	r.says("start 3 after crash true")
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGTERM
	r.exits(0)
	if len(r.delays) < 2 || r.delays[0] != 100*time.Millisecond || r.delays[1] != 200*time.Millisecond {
		t.Errorf("delays %v, want 100ms and 200ms first", r.delays)
	}
}

func TestHangingChildIsKilled(t *testing.T) {
	r := newRig(t, "hang-once")
	r.options.AliveEvery = 50 * time.Millisecond
	r.start()
	await(t, "ready of the second child", r.ready)
	r.signals <- syscall.SIGINT
	r.exits(0)
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name      string
		part      []string
		noRestart bool
		want      int
		restarts  int
	}{
		{"stop", []string{"exit", "0"}, false, 0, 0},
		{"boot timeout", []string{"exit", "1"}, false, 1, 0},
		{"refused", []string{"exit", "2", "expelled"}, false, 2, 0},
		{"panic with no restart", []string{"exit", "2"}, true, 2, 0},
		{"crash with no restart", []string{"exit", "77"}, true, 77, 0},
		{"poisoned twice", []string{"exit", "3", "write failed"}, false, 3, 1},
		{"poisoned with no restart", []string{"exit", "3"}, true, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.part...)
			r.options.NoRestart = c.noRestart
			r.start()
			r.exits(c.want)
			if len(r.delays) != c.restarts || c.restarts == 1 && r.delays[0] != time.Minute {
				t.Errorf("delays %v, want %d", r.delays, c.restarts)
			}
		})
	}
}

// fastClock runs a second ahead each time it is asked.
type fastClock struct {
	real.Clock
	asked *int
}

func (c fastClock) Boot() time.Duration {
	*c.asked++
	return time.Duration(*c.asked) * time.Second
}

func TestSecondInterruptKills(t *testing.T) {
	r := newRig(t, "deaf")
	r.options.Clock = fastClock{asked: new(int)}
	r.start()
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGINT
	r.signals <- syscall.SIGINT
	r.exits(130)
}

// stillClock stands still.
type stillClock struct{ real.Clock }

func (stillClock) Boot() time.Duration { return time.Hour }

func TestOnePressPassedOnTwiceIsOne(t *testing.T) {
	r := newRig(t, "serve")
	r.options.Clock = stillClock{}
	r.start()
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGINT
	r.signals <- syscall.SIGINT
	r.exits(0)
}

func TestStopFromInitErrorFails(t *testing.T) {
	r := newRig(t, "init-error").start()
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGTERM
	r.exits(1)
}

func TestStopWhileWaitingToRestart(t *testing.T) {
	r := newRig(t, "exit", "50")
	waiting := make(chan struct{}, 1)
	r.options.after = func(time.Duration) <-chan time.Time {
		waiting <- struct{}{}
		return nil
	}
	r.start()
	await(t, "the pause", waiting)
	r.signals <- syscall.SIGTERM
	r.exits(0)
}

func TestExecutableThatCannotStart(t *testing.T) {
	r := newRig(t)
	r.options.Executable = "/nonexistent/lycosa"
	r.options.NoRestart = true
	r.start()
	r.exits(exitNotStarted)
}

func TestRebootstrapWipesAndHandsHistoryOn(t *testing.T) {
	r := newRig(t, "rebootstrap")
	dir := r.options.Dir.Path
	r.options.Args = append(r.options.Args, dir)
	for _, d := range []string{"data/sub", "catalog", "config", "mine"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "mine/keep", "notes.txt", ".cookie", "audit.log")
	// What the first child leaves behind is written before it starts: it has no entrypoint yet, so this stays.
	write(t, dir, "identity.inprogress")
	r.start()
	r.says("history 1:  /.cookie /audit.log /catalog /config /data /entrypoint /lock /mine /mine/keep /notes.txt")
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGTERM
	r.exits(0)
}

func write(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHandoff(t *testing.T) {
	r := newRig(t, "tell")
	r.options.Cookie = config.NewSecret([]byte("cookie-of-sixteen"))
	r.options.AdminPassword = config.NewSecret([]byte("pass"))
	r.options.Env = append(r.options.Env, "LYCOSA_ADMIN_PASSWORD=pass", "NOTIFY_SOCKET=/x")
	r.start()
	r.says(`comm lycosa:instance, title lycosa:instance, cookie cookie-of-sixteen, password pass, env "", pgid own true, lock true, refusal ""`)
	pid := -1
	await(t, "ready", r.ready)
	pids, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range pids {
		if data, _ := os.ReadFile(path); strings.HasPrefix(string(data), "lycosa:postjoin ") && strings.HasSuffix(string(data), "\x00tell\x00") {
			_, _ = fmt.Sscanf(path, "/proc/%d/cmdline", &pid)
		}
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if pid < 0 || string(comm) != "lycosa:postjoin\n" {
		t.Errorf("child %d has comm %q, want the title lycosa:postjoin in argv[0] and comm", pid, comm)
	}
	r.signals <- syscall.SIGTERM
	r.exits(0)
}

// brokenFS cannot remove trees.
type brokenFS struct{ real.FS }

func (brokenFS) RemoveAll(string) error { return errors.New("input/output error") }

func TestFailedWipeIsToldToTheChild(t *testing.T) {
	r := newRig(t, "rebootstrap", "unused")
	dir := r.options.Dir.Path
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "data/left")
	first := newRig(t, "rebootstrap", dir)
	first.start()
	await(t, "the entrypoint", first.said)
	await(t, "ready", first.ready)
	first.signals <- syscall.SIGTERM
	first.exits(0)
	r.options.Dir.FS, r.options.Args = brokenFS{}, []string{"tell"}
	r.start()
	if got := await(t, "a text", r.said); !strings.HasSuffix(got, `refusal "datadir: wipe: input/output error"`) {
		t.Errorf("child says %s", got)
	}
	r.signals <- syscall.SIGTERM
	r.exits(0)
}

func TestHangupReachesBoth(t *testing.T) {
	r := newRig(t, "hangup")
	parent := make(chan struct{}, 1)
	r.options.OnHangup = func() { parent <- struct{}{} }
	r.start()
	await(t, "ready", r.ready)
	r.signals <- syscall.SIGHUP
	await(t, "the parent's hangup", parent)
	r.says("hangup")
	r.signals <- syscall.SIGTERM
	r.exits(0)
}

func TestSystemdIsNotified(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := newRig(t, "serve")
	r.options.Notifier = NewNotifier([]string{"NOTIFY_SOCKET=" + address, "WATCHDOG_USEC=1000000"})
	r.start()
	missing := map[string]bool{"READY=1": true, "WATCHDOG=1": true, "STATUS=Postjoin: RolesConfigured": true, "STOPPING=1": true}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	stopped := false
	for len(missing) > 0 {
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("not notified: %v, error %v", missing, err)
		}
		delete(missing, string(buf[:n]))
		if len(missing) == 1 && !stopped {
			stopped = true
			r.signals <- syscall.SIGTERM
		}
	}
	r.exits(0)
}

func TestWatchdogOfAnotherProcess(t *testing.T) {
	if n := NewNotifier([]string{"NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=1"}); n.watchdog {
		t.Error("a watchdog of process 1 is kept alive by this one")
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	_, err = AcquireLock(real.FS{}, dir, time.Millisecond, func(text string) { said = append(said, text) })
	holder := fmt.Sprintf("process %d", os.Getpid())
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), holder) {
		t.Errorf("error %v, want one that names %s", err, holder)
	}
	if len(said) != 1 || !strings.Contains(said[0], holder) {
		t.Errorf("said %q, want one sentence that names %s", said, holder)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		t.Fatalf("the released lock: %v", err)
	}
	_ = again.Release()
}

// TestHolder: who holds a directory is told, and asking does not take it.
func TestHolder(t *testing.T) {
	dir := t.TempDir()
	expect := func(wantPID int, wantHeld bool) {
		t.Helper()
		if pid, held, err := Holder(real.FS{}, dir); pid != wantPID || held != wantHeld || err != nil {
			t.Errorf("process %d, held %v, error %v; want %d, %v", pid, held, err, wantPID, wantHeld)
		}
	}
	expect(0, false)
	lock, err := AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(os.Getpid(), true)
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	expect(0, false) // the file and the id in it stay
}

func TestLockIsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(real.FS{}, dir, 0, nil); err == nil {
		t.Error("a lock that is a link was followed")
	}
}

// fakeParent supervises a serving child until it is killed.
func fakeParent(dir string) int {
	lock, err := AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return Run(Options{
		Dir: store.Dir{FS: real.FS{}, Path: dir}, Lock: lock, Config: []byte("{}"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Clock: real.Clock{}, Signals: make(chan os.Signal), OnReady: func() { fmt.Println("ready") }, Args: []string{"deaf"},
	})
}

func TestChildDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "fake-parent", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the parent says %q, error %v", line, err)
	}
	_, err = AcquireLock(real.FS{}, dir, 0, nil)
	if want := fmt.Sprintf("process %d", cmd.Process.Pid); !errors.Is(err, ErrLocked) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want the lock held by %s", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The child inherited the lock: it is free only when the child is gone too, which catches no signal but SIGKILL.
	lock, err := AcquireLock(real.FS{}, dir, patience, nil)
	if err != nil {
		t.Fatalf("the child outlives its parent: %v", err)
	}
	_ = lock.Release()
}
