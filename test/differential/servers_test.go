package differential

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// binary is the program under test, built once by TestMain.
var binary string

const (
	adminPassword = "correct-horse"
	waitStart     = 60 * time.Second
	waitReply     = 60 * time.Second
	pollEvery     = 5 * time.Millisecond
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lycosa-differential-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// nextPort is where freeAddresses goes on: below the range from which the kernel takes ports for outgoing connections, and
// below those of the tests that run beside these.
var nextPort = 10_000 + os.Getpid()%1_500

// freeAddresses finds n loopback addresses that nobody listens on, each once.
func freeAddresses(t testing.TB, n int) (found []string) {
	t.Helper()
	for ; len(found) < n; nextPort++ {
		if nextPort >= 12_000 {
			t.Fatal("no free port")
		}
		address := fmt.Sprintf("127.0.0.1:%d", nextPort)
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			found = append(found, address)
		}
	}
	return found
}

// process is a started server, killed and waited for when the test ends.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// startReference starts the real tarantool and returns its address.
func startReference(t testing.TB, address string) {
	t.Helper()
	script, err := filepath.Abs("testdata/server.lua")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("tarantool", script, dir, address, adminPassword)
	// It lives as long as its standard input is open, which is as long as the test's process is there.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	errors, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer errors.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, errors
	start(t, cmd)
	in.Close()
	t.Cleanup(func() { out.Close() })
	showIfFailed(t, "stderr of tarantool", errors.Name())
	if err := out.SetReadDeadline(time.Now().Add(waitStart)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("tarantool: %q, %v", line, err)
	}
}

// startOurs starts our server and waits until it answers.
func startOurs(t testing.TB, address string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(binary, "run", "--data-dir", filepath.Join(dir, "data"), "--listen", address,
		"--wal-mode", "none", "--memory", "256MiB", "--no-restart", "--log-level", "warn")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LYCOSA_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "LYCOSA_ADMIN_PASSWORD="+adminPassword)
	logPath := filepath.Join(dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	p := start(t, cmd)
	log.Close()
	showIfFailed(t, "log of our server", logPath)
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for err := serves(ctx, address); err != nil; err = serves(ctx, address) {
		select {
		case <-p.ended:
			t.Fatalf("our server ended before it served")
		case <-ctx.Done():
			t.Fatalf("our server does not serve: %v", err)
		case <-ticker.C:
		}
	}
}

// showIfFailed logs the end of a file when the test has failed.
func showIfFailed(t testing.TB, what, path string) {
	t.Cleanup(func() {
		if text, err := os.ReadFile(path); t.Failed() && err == nil && len(text) > 0 {
			t.Logf("%s:\n%s", what, text[max(0, len(text)-2500):])
		}
	})
}

// serves tells whether the server answers reads.
func serves(ctx context.Context, address string) error {
	c, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Select(ctx, iproto.SelectArgs{Space: spaceSpace, Limit: 1, Iterator: iproto.IterALL})
	return err
}

func connect(ctx context.Context, address string) (*client.Client, error) {
	return client.Dial(ctx, address, client.Options{User: "admin", Password: []byte(adminPassword)})
}

// addresses are those of a started pair of servers.
type addresses struct{ reference, ours string }

func startBoth(t testing.TB) addresses {
	t.Helper()
	free := freeAddresses(t, 2)
	startReference(t, free[0])
	startOurs(t, free[1])
	return addresses{free[0], free[1]}
}

// pair is a connection to each server.
type pair struct {
	reference, ours *client.Client
	// restart starts both servers anew, nil if that is not wanted.
	restart func() *pair
	// revivals counts the restarts.
	revivals int
}

// revive starts both servers anew if one of them is gone.
func (p *pair) revive() {
	if p.restart != nil && (p.reference.Err() != nil || p.ours.Err() != nil) {
		fresh := p.restart()
		p.reference, p.ours = fresh.reference, fresh.ours
		p.revivals++
	}
}

func (a addresses) dial(t testing.TB) *pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	var clients [2]*client.Client
	for i, address := range []string{a.reference, a.ours} {
		c, err := connect(ctx, address)
		if err != nil {
			t.Fatalf("connect to %s: %v", address, err)
		}
		t.Cleanup(c.Close)
		clients[i] = c
	}
	return &pair{reference: clients[0], ours: clients[1]}
}
