// Package test runs the real binary against real clients, kills and faults. Effects: processes, files, network, and in
// two tests a small mount. It decides nothing about the product; what is right is said by the specification.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// binary is the program under test, built once by TestMain.
var binary string

// adminPassword is the password of user admin in every instance that is started with one.
const adminPassword = "correct-horse"

// The waits of the tests: generous, since the machine may be busy. Nothing is concluded from how long something took.
const (
	waitStart = 2 * time.Minute
	waitStop  = time.Minute
	pollEvery = 2 * time.Millisecond
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lycosa-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", binary, "../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	// Most of the slow tests wait for a timeout of the product and use no processor meanwhile.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// ports gives out ports that nobody listens on, each once, below the range from which the kernel takes ports for
// outgoing connections.
var ports = struct {
	sync.Mutex
	next int
}{next: 12000 + os.Getpid()%8000}

func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 10_000 {
		ports.next++
		if ports.next > 32_000 {
			ports.next = 12_000
		}
		if unused(ports.next) {
			return ports.next
		}
	}
	t.Fatal("no free port")
	return 0
}

func unused(port int) bool {
	address := "127.0.0.1:" + strconv.Itoa(port)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return u.Close() == nil
}

func freeAddress(t testing.TB) string { return "127.0.0.1:" + strconv.Itoa(freePort(t)) }

// options say how an instance is started. The zero value means a new directory, free ports and an admin password.
type options struct {
	dir, listen, http string
	noHTTP            bool
	noPassword        bool
	args              []string
	env               []string
	// program is the binary, the one under test unless given.
	program string
	// wrap is a command that runs the program.
	wrap []string
	// attr and stdin are for tests of terminals.
	attr  *syscall.SysProcAttr
	stdin *os.File
}

// proc is a supervisor with its child.
type proc struct {
	t            testing.TB
	cmd          *exec.Cmd
	dir          string
	listen, http string
	outPath      string
	// done is closed when the supervisor has ended; code is its exit code then, 128+signal if it was killed.
	done chan struct{}
	code int
}

// startInstance starts lycosa run. Everything is stopped when the test ends; what was printed is shown if it failed.
func startInstance(t testing.TB, o options) *proc {
	t.Helper()
	if o.dir == "" {
		o.dir = filepath.Join(t.TempDir(), "data")
	}
	if o.listen == "" {
		o.listen = freeAddress(t)
	}
	args := []string{"run", "--data-dir", o.dir, "--listen", o.listen}
	if o.http == "" && !o.noHTTP {
		o.http = freeAddress(t)
	}
	if !o.noHTTP {
		args = append(args, "--http-listen", o.http)
	}
	if !o.noPassword {
		o.env = append(o.env, "LYCOSA_ADMIN_PASSWORD="+adminPassword)
	}
	p := startCommand(t, o, append(args, o.args...))
	p.dir, p.listen, p.http = o.dir, o.listen, o.http
	return p
}

// startCommand starts any command of the program in the background.
func startCommand(t testing.TB, o options, args []string) *proc {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if o.program == "" {
		o.program = binary
	}
	line := append(append(append([]string{}, o.wrap...), o.program), args...)
	p := &proc{t: t, cmd: exec.Command(line[0], line[1:]...), outPath: out.Name(), done: make(chan struct{})}
	p.cmd.Env = append(cleanEnviron(), o.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if o.stdin != nil {
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = o.stdin, o.stdin, o.stdin
	}
	p.cmd.SysProcAttr = o.attr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.code = exitCode(p.cmd.ProcessState)
		close(p.done)
	}()
	t.Cleanup(p.cleanup)
	return p
}

// cleanEnviron is the environment without anything that the program reads.
func cleanEnviron() []string {
	var kept []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LYCOSA_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// cleanup ends the processes: the child dies with its supervisor.
func (p *proc) cleanup() {
	children := childrenOf(p.pid())
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, c := range children {
		if !gone(p.t, c, waitStop) {
			p.t.Errorf("process %d outlived its supervisor", c)
			_ = syscall.Kill(c, syscall.SIGKILL)
		}
	}
	if p.t.Failed() {
		p.t.Logf("output of %s:\n%s", strings.Join(p.cmd.Args, " "), tail(p.output(), 20_000))
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// output is everything that was printed so far.
func (p *proc) output() string {
	b, err := os.ReadFile(p.outPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *proc) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// ended waits for the end of the supervisor and returns its exit code.
func (p *proc) ended(limit time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.code
	case <-timer.C:
		p.t.Fatalf("still running after %s", limit)
		return 0
	}
}

func (p *proc) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop stops the instance and requires exit code 0.
func (p *proc) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.ended(waitStop); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
}

// again starts the stopped instance once more, with the same directory and addresses.
func (p *proc) again(args ...string) *proc {
	p.t.Helper()
	return startInstance(p.t, options{dir: p.dir, listen: p.listen, http: p.http, noHTTP: p.http == "", args: args})
}

// waitFor polls until cond is true. It fails the test with what was waited for.
func waitFor(t testing.TB, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	if !poll(limit, cond) {
		t.Fatalf("waited %s for %s", limit, what)
	}
}

func poll(limit time.Duration, cond func() bool) bool {
	if cond() {
		return true
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if cond() {
				return true
			}
		case <-deadline.C:
			return cond()
		}
	}
}

// status is what the tests read of the document of /api/v1/instance.
type status struct {
	Name         string `json:"name"`
	InstanceUUID string `json:"instance_uuid"`
	ClusterName  string `json:"cluster_name"`
	Stage        string `json:"stage"`
	State        string `json:"state"`
	Cause        *struct {
		Code    uint32  `json:"code"`
		Message string  `json:"message"`
		Field   *string `json:"field"`
	} `json:"cause"`
	Grade struct {
		Current struct {
			Name        *string `json:"name"`
			Incarnation *uint64 `json:"incarnation"`
		} `json:"current"`
		Target struct {
			Name *string `json:"name"`
		} `json:"target"`
	} `json:"grade"`
	Groups []struct {
		Name      string   `json:"name"`
		RaftID    uint64   `json:"raft_id"`
		Role      string   `json:"role"`
		Term      uint64   `json:"term"`
		Committed uint64   `json:"committed"`
		Applied   uint64   `json:"applied"`
		Voters    []uint64 `json:"voters"`
	} `json:"groups"`
	Memory struct {
		Quota *uint64 `json:"quota_bytes"`
		Used  *uint64 `json:"used_bytes"`
	} `json:"memory"`
	Version    *string `json:"version"`
	WaitingFor *string `json:"waiting_for"`
	PID        int     `json:"pid"`
}

// web asks over connections of its own: a kept one would hold a dead instance's port.
var web = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get returns the answer to a GET, with code 0 if there was none.
func (p *proc) get(path string) (code int, body []byte) {
	r, err := web.Get("http://" + p.http + path)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer r.Body.Close()
	body, err = io.ReadAll(r.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return r.StatusCode, body
}

// status reads the instance's document; ok is false while nobody answers.
func (p *proc) status() (s status, ok bool) {
	code, body := p.get("/api/v1/instance")
	return s, code == http.StatusOK && json.Unmarshal(body, &s) == nil
}

// online waits for RolesConfigured and grade Online.
func (p *proc) online() status {
	p.t.Helper()
	ended := false
	ok := poll(waitStart, func() bool {
		code, _ := p.get("/health/ready")
		ended = !p.running()
		return code == http.StatusOK || ended
	})
	if !ok || ended {
		_, body := p.get("/api/v1/instance")
		p.t.Fatalf("the instance did not come online (ended: %v): %s", ended, body)
	}
	s, ok := p.status()
	if !ok {
		p.t.Fatal("no status of an instance that is ready")
	}
	return s
}

// state waits for a state and returns the whole status.
func (p *proc) state(want string) status {
	p.t.Helper()
	var s status
	if !poll(waitStart, func() bool {
		var ok bool
		s, ok = p.status()
		return ok && s.State == want
	}) {
		p.t.Fatalf("waited for state %s, it is %+v", want, s)
	}
	return s
}

// childPID is the process that answers, which is not the supervisor.
func (p *proc) childPID() int {
	p.t.Helper()
	s, ok := p.status()
	if !ok || s.PID == 0 || s.PID == p.pid() {
		p.t.Fatalf("pid of the child: %+v", s)
	}
	return s.PID
}

func (p *proc) adminSocket() string { return p.dir + "/admin.sock" }

// admin connects over the admin socket.
func (p *proc) admin() *client.Client {
	p.t.Helper()
	return dial(p.t, p.adminSocket(), client.Options{})
}

// dial connects and closes with the test.
func dial(t testing.TB, address string, o client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	c, err := client.Dial(ctx, address, o)
	if err != nil {
		t.Fatalf("connect to %s: %v", address, err)
	}
	t.Cleanup(c.Close)
	return c
}

// codeOf is the number of an error that the server answered, 0 for none, -1 for a failure of the connection.
func codeOf(err error) int {
	var conn *client.ConnError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &conn):
		return -1
	}
	return int(errcode.Of(err).Code)
}

// run runs a command to its end.
func run(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = cleanEnviron()
	cmd.Dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("lycosa %s: %v", strings.Join(args, " "), err)
	}
	return exitCode(cmd.ProcessState), out.String(), errs.String()
}

// childrenOf lists the processes that a process has started.
func childrenOf(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// gone waits until a process is no more, a zombie that nobody has waited for included.
func gone(t testing.TB, pid int, limit time.Duration) bool {
	t.Helper()
	return poll(limit, func() bool {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return true
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return true
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(after, "Z")
	})
}

func kill(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("signal %v to %d: %v", s, pid, err)
	}
}
