package test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
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
