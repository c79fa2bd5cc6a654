package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/importer"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/supervisor"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// The test binary is also the child that run and demo start.
func TestMain(m *testing.M) {
	if strings.HasPrefix(os.Args[0], title.Prefix) {
		os.Exit(Main(Options{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Instance: fakeInstance}))
	}
	os.Exit(m.Run())
}

// fakeInstance serves until it is stopped; FAKE_INSTANCE says how else it shall behave.
func fakeInstance(cfg *config.Config, ch *child.Child, logger *slog.Logger) int {
	ch.KeepAlive(nil)
	step := func(to lifecycle.State, cause *lifecycle.Cause) {
		tellOverHTTP(cfg, to, cause)
		_ = ch.Status(lifecycle.Record{To: to, At: time.Unix(1, 0), Cause: cause, Stage: lifecycle.Discover, PID: os.Getpid()})
	}
	logger.Info("fake instance", "cookie_bytes", len(ch.Cookie().Reveal()), "password", string(ch.AdminPassword().Reveal()), "program", ch.Program())
	switch os.Getenv("FAKE_INSTANCE") {
	case "refused":
		return int(ipc.ClassRefused)
	case "broken":
		step(lifecycle.InitError, &lifecycle.Cause{Message: "no good"})
		<-ch.Stop()
		return int(ipc.ClassBootTimeout)
	}
	step(lifecycle.RolesConfigured, nil)
	_ = ch.Ready()
	<-ch.Stop()
	return 0
}

// tellOverHTTP serves the document of an instance in a state, if HTTP was asked for.
func tellOverHTTP(cfg *config.Config, state lifecycle.State, cause *lifecycle.Cause) {
	if cfg.HTTPListen == "" {
		return
	}
	l, err := net.Listen("tcp", cfg.HTTPListen)
	if err != nil {
		return
	}
	grade := "Offline"
	if state == lifecycle.RolesConfigured {
		grade = "Online"
	}
	doc, _ := json.Marshal(map[string]any{"name": cfg.InstanceName, "stage": "Postjoin", "state": state.String(), "cause": cause,
		"grade": map[string]any{"current": map[string]any{"name": grade}, "target": map[string]any{"name": "Online"}}})
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(doc) }))
	}()
}

// output gathers what a command writes, and tells when a text has come.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	wait string
	seen chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.wait != "" && strings.Contains(o.text.String(), o.wait) {
		o.wait = ""
		close(o.seen)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func command(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, errs output
	code = Main(Options{Args: args, Environ: environ, Stdout: &out, Stderr: &errs, Instance: fakeInstance})
	return code, out.String(), errs.String()
}

func TestUse(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"stauts"}, 2, `unknown command "stauts"; did you mean status?`},
		{[]string{"frobnicate"}, 2, "lycosa --help lists the commands"},
		{[]string{"--verison"}, 2, "unknown flag --verison"},
		{[]string{"status", "--jsn"}, 2, "unknown flag --jsn; did you mean --json?"},
		{[]string{"status", "--frobnicate"}, 2, "lycosa status --help lists the flags"},
		{[]string{"status", "now"}, 2, `unexpected argument "now"`},
		{[]string{"status", "--timeout", "soon"}, 2, "timeout"},
		{[]string{"status", "--timeout", "0s"}, 2, "not a time to wait"},
		{[]string{"status", "--peer", "nonsense"}, 2, "host:port"},
		{[]string{"status", "--password-file", "/nonexistent"}, 2, "password file"},
		{[]string{"status", "--peer", "./nonexistent/admin.sock"}, 4, "cannot reach"},
		{[]string{"checkpoint", "--peer", "127.0.0.1:1", "--timeout", "30s"}, 4, "cannot reach"},
		{[]string{"inspect"}, 2, "give one file"},
		{[]string{"inspect", "a", "b"}, 2, "give one file"},
		{[]string{"inspect", "/nonexistent"}, 1, "no such file"},
		{[]string{"inspect", "/proc/self/status"}, 1, "not a file that Lycosa or Tarantool writes"},
		{[]string{"instance"}, 2, "started by lycosa run"},
		{[]string{"run", "--lisen", "h:1"}, 2, "unknown flag --lisen; did you mean --listen?"},
		{[]string{"run", "--config", "/nonexistent.yml"}, 2, "/nonexistent.yml"},
		{[]string{"run", "--data-dir", "/proc/nothing/here"}, 2, "/proc/nothing/here"},
		{[]string{"demo", "--instances", "16"}, 2, "not between 1 and 15"},
		{[]string{"demo", "--instances", "0"}, 2, "not between 1 and 15"},
		{[]string{"demo", "--instances", "2", "--replication-factor", "3"}, 2, "not between 1 and the number of instances, 2"},
		{[]string{"demo", "--base-port", "0"}, 2, "between 1 and 65535"},
		{[]string{"demo", "--instances", "3", "--base-port", "65534"}, 2, "between 1 and 65535"},
		{[]string{"demo", "--instances", "3", "--base-port", "8083"}, 2, "at least 3 apart"},
		{[]string{"demo", "now"}, 2, `unexpected argument "now"`},
		{[]string{"demo", "kill"}, 2, "give one name"},
		{[]string{"demo", "stop", "--dir", "/nonexistent"}, 2, "no demonstration in /nonexistent"},
	} {
		code, out, errs := command(nil, c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || !strings.HasPrefix(errs, "lycosa: ") || out != "" {
			t.Errorf("%v: code %d, says %q and %q; want %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"run", "demo", "demo stop", "demo kill", "demo start", "status", "expel", "replace", "promote", "abort-ddl", "bootstrap", "recover", "checkpoint", "inspect", "version"} {
		code, out, _ := command(nil, append(strings.Fields(name), "--help")...)
		if code != 0 || !strings.Contains(out, "Examples:\n  lycosa "+name) {
			t.Errorf("the help of %s has no example:\n%s", name, out)
		}
	}
	if code, out, _ := command(nil); code != 0 || !strings.Contains(out, "checkpoint") || strings.Contains(out, "  instance ") {
		t.Errorf("code %d, the list of commands is\n%s", code, out)
	}
	if _, out, _ := command(nil, "run", "--help"); !strings.Contains(out, "--election-timeout DURATION") {
		t.Errorf("the help of run does not list the parameters:\n%s", out)
	}
}

func TestVersionCommand(t *testing.T) {
	code, out, _ := command(nil, "version", "--json")
	var v map[string]string
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v["version"] == "" || v["protocol"] == "" {
		t.Errorf("code %d, version %s", code, out)
	}
	if code, out, _ := command(nil, "version"); code != 0 || !strings.HasPrefix(out, "Lycosa ") {
		t.Errorf("code %d, version %s", code, out)
	}
}

// launchAndStop starts a command that stays in the foreground, waits for a text, and ends it as a service manager does.
func launchAndStop(t *testing.T, part, wait string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	seen := make(chan struct{})
	out, errs := &output{}, &output{}
	if part == "" {
		out.wait, out.seen = wait, seen
	} else {
		errs.wait, errs.seen = wait, seen
	}
	done := make(chan int, 1)
	go func() {
		environ := append(os.Environ(), "FAKE_INSTANCE="+part)
		done <- Main(Options{Args: args, Environ: environ, Stdout: out, Stderr: errs, Instance: fakeInstance})
	}()
	const patience = 30 * time.Second
	select {
	case <-seen:
	case code := <-done:
		t.Fatalf("ended early with %d: %s %s", code, out, errs)
	case <-time.After(patience):
		t.Fatalf("%q did not come: %s %s", wait, out, errs)
	}
	interrupt(t)
	select {
	case code = <-done:
	case <-time.After(patience):
		t.Fatalf("does not stop: %s %s", out, errs)
	}
	return code, out.String(), errs.String()
}

// interrupt ends what runs in this process as a service manager does.
func interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestRunToTheEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	code, out, errs := command(append(os.Environ(), "FAKE_INSTANCE=refused"), "run", "--data-dir", dir)
	if code != 2 {
		t.Errorf("a refused instance: code %d, %s", code, errs)
	}
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, "cluster demo in "+dir) || !strings.Contains(out, "iproto on 127.0.0.1:3301") || !strings.Contains(out, "another instance joins with --peer 127.0.0.1:3301") {
		t.Errorf("run prints %q, want one sentence with cluster, directory, address, and that nobody joins yet", out)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, ".cookie": 0o600, "lock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: error %v, want mode %o", name, err, mode)
		}
	}
}

func TestTwoStartsOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := supervisor.AcquireLock(real.FS{}, dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	holder := fmt.Sprintf("process %d", os.Getpid())
	code, _, errs := command(nil, "run", "--data-dir", dir)
	if code != 2 || strings.Count(errs, holder) != 2 || !strings.Contains(errs, "waiting up to 5s") {
		t.Errorf("code %d, says %q; want 2, and the holder when it begins to wait and when it gives up", code, errs)
	}
}

func testIdentity() datadir.Identity {
	const id = "6e6ccd4c-1bb4-4ba4-b9a4-4bdc7c4c8b11"
	return datadir.Identity{ClusterName: "c1", ClusterUUID: id, Epoch: 1, InstanceName: "i1", InstanceUUID: id, ReplicasetName: "r1",
		ReplicasetUUID: id, Tier: "default", RaftID: 1, DataRaftID: 2}
}

func TestUsedDirectoryOfAnotherCluster(t *testing.T) {
	d := store.Dir{FS: real.FS{}, Path: t.TempDir()}
	if err := d.WriteIdentity(testIdentity()); err != nil {
		t.Fatal(err)
	}
	code, _, errs := command(nil, "run", "--data-dir", d.Path, "--cluster-name", "c2")
	if code != 2 || !strings.Contains(errs, `"c1"`) || !strings.Contains(errs, `"c2"`) {
		t.Errorf("code %d, says %q; want 2 and both names", code, errs)
	}
	if code, _, errs := command(nil, "run", "--data-dir", t.TempDir(), "--peer", "127.0.0.1:3302"); code != 2 || !strings.Contains(errs, "/dev/urandom") {
		t.Errorf("without a cookie: code %d, says %q", code, errs)
	}
}

// serveOnce answers every request of one connection with the given reply.
func serveOnce(t *testing.T, reply func(sync uint64) []byte) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		serveConn(conn, func(r *iproto.Request) []byte { return reply(r.Sync) })
	}()
	return l.Addr().String()
}

// serveConn answers the requests of one connection.
func serveConn(conn net.Conn, reply func(r *iproto.Request) []byte) {
	defer conn.Close()
	_, _ = conn.Write(iproto.AppendGreeting(nil, "2.11.0", testIdentity().InstanceUUID, [iproto.SaltBytes]byte{}))
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		_, size, err := iproto.FrameSize(head)
		payload := make([]byte, size)
		if _, rerr := io.ReadFull(conn, payload); err != nil || rerr != nil {
			return
		}
		var r iproto.Request
		if iproto.DecodeRequest(payload, &r) != nil {
			return
		}
		_, _ = conn.Write(reply(&r))
	}
}

func TestStatusAndCheckpoint(t *testing.T) {
	status := msgpack.AppendMapHeader(nil, 4)
	status = msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(status,
		"state"), "RolesConfigured"), "stage"), "Postjoin"), "pid"), 17)
	status = msgpack.AppendArrayHeader(msgpack.AppendStr(status, "schema_changes"), 1)
	status = msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendMapHeader(status, 4),
		"space"), "s"), "index"), "i")
	status = msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendStr(status, "rows_done"), 3), "rows_total"), 9)
	made := msgpack.AppendMapHeader(nil, 3)
	made = msgpack.AppendFloat64(msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendStr(made,
		"path"), "data/1.snap"), "rows"), 426), "seconds"), 0.25)
	data := func(value []byte) func(uint64) []byte {
		return func(sync uint64) []byte { return iproto.AppendData(nil, sync, 80, value) }
	}
	refuse := func(sync uint64) []byte {
		return iproto.AppendError(nil, sync, 80, errcode.NewAccessDenied("Execute", "function", "box.snapshot", "guest"))
	}
	for _, c := range []struct {
		reply func(uint64) []byte
		args  []string
		code  int
		says  []string
	}{
		{data(status), []string{"status"}, 0, []string{"RolesConfigured", "Postjoin", "17", "building index i of space s: 3 of 9 rows"}},
		{data(status), []string{"status", "--json"}, 0, []string{`"state": "RolesConfigured"`}},
		{data(msgpack.AppendStr(nil, "odd")), []string{"status"}, 0, []string{`"odd"`}},
		{data(made), []string{"checkpoint"}, 0, []string{"data/1.snap: 426 rows in 0.250 seconds"}},
		{data(made), []string{"checkpoint", "--json"}, 0, []string{`"rows": 426`}},
		{refuse, []string{"checkpoint"}, 1, []string{"box.snapshot", "denied"}},
	} {
		code, out, errs := command([]string{"LYCOSA_PEER=" + serveOnce(t, c.reply)}, c.args...)
		if code != c.code {
			t.Errorf("%v: code %d, want %d: %s", c.args, code, c.code, errs)
		}
		for _, want := range c.says {
			if !strings.Contains(out+errs, want) {
				t.Errorf("%v prints %q and %q, without %q", c.args, out, errs, want)
			}
		}
	}
}

func TestLogFileIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a := &app{Options: Options{Stderr: io.Discard}, fs: real.FS{}}
	logger, file, err := a.newLogger(&config.Config{LogFile: path, LogFormat: "json", LogLevel: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	logger.Warn("first")
	logger.Info("not important enough")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	file.hangup(logger)
	logger.Warn("second")
	for name, want := range map[string]string{path + ".1": "first", path: "second"} {
		data, err := os.ReadFile(name)
		var line map[string]any
		if err != nil || json.Unmarshal(bytes.TrimSpace(data), &line) != nil || line["msg"] != want {
			t.Errorf("%s holds %q, error %v, want one line with %s", name, data, err, want)
		}
	}
}

// TestProgressLine: a line that changes in a terminal, lines now and then elsewhere.
func TestProgressLine(t *testing.T) {
	for terminal, want := range map[bool]string{true: "\r\x1b[Kwriting: 7 rows, 50%\r\x1b[K", false: "writing: 7 rows, 50%\n"} {
		var out strings.Builder
		p := &progressLine{a: &app{Options: Options{Stderr: &out}}, terminal: terminal}
		p.update(importer.Progress{Stage: "writing", Rows: 7, Done: 0.5})
		p.shown = time.Now().Add(time.Hour)
		p.update(importer.Progress{Stage: "writing", Rows: 8, Done: 0.5}) // too soon after the other
		p.clear()
		if out.String() != want {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
	}
}
