package test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// client runs a foreign client program, which must print ok and exit with 0.
func foreign(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("ok")) {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// TestNetBox: the real tarantool does DDL and DML, sees errors, users and grants through net.box.
func TestNetBox(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	foreign(t, "testdata", "tarantool", "netbox.lua", p.listen, adminPassword)
	if t.Failed() {
		return
	}
	want := (table{t, p.admin(), 600}).json()
	p.stop()
	p = p.again()
	p.online()
	if got := (table{t, p.admin(), 600}).json(); got != want {
		t.Errorf("after a restart %s, before %s", got, want)
	}
}

// TestDriver: npm's tarantool-driver reads and writes.
func TestDriver(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	createSpace(t, p.admin(), 600, "driver")
	host, port, err := net.SplitHostPort(p.listen)
	if err != nil {
		t.Fatal(err)
	}
	foreign(t, "clients", "node", "driver.js", host, port, adminPassword, "600")
}

// TestNetBoxScript runs the same checks against the real server: they ask for nothing that is not so there.
func TestNetBoxScript(t *testing.T) {
	t.Parallel()
	real := startTarantool(t, t.TempDir(), adminPassword)
	foreign(t, "testdata", "tarantool", "netbox.lua", real, adminPassword, "tarantool")
}

// startTarantool starts a real server on a directory and returns its address. An empty password leaves what is there.
func startTarantool(t *testing.T, dir, password string) (address string) {
	t.Helper()
	address = freeAddress(t)
	script, err := filepath.Abs("testdata/server.lua")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{script, dir, address}
	if password != "" {
		args = append(args, password)
	}
	cmd := exec.Command("tarantool", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-ended
	})
	ok := poll(waitStart, func() bool {
		select {
		case <-ended:
			return true
		default:
			return strings.Contains(out.String(), "ready")
		}
	})
	if !ok || !strings.Contains(out.String(), "ready") {
		t.Fatalf("tarantool on %s: %s", dir, out.String())
	}
	return address
}

// lockedBuffer collects what a process writes while others read it.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}
