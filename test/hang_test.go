package test

import (
	"syscall"
	"testing"
	"time"
)

// TestHangingChild: a child that says nothing for 30 s is killed, and another one serves.
func TestHangingChild(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	before := p.online()
	createSpace(t, p.admin(), 600, "t1").insert(list{1, "kept"})
	kill(t, before.PID, syscall.SIGSTOP)
	if !gone(t, before.PID, waitStart) {
		kill(t, before.PID, syscall.SIGKILL)
		t.Fatal("a child that hangs is left alone")
	}
	var after status
	waitFor(t, "the next child", waitStart, func() bool {
		var ok bool
		after, ok = p.status()
		return ok && after.PID != before.PID && after.State == "RolesConfigured"
	})
	if after.InstanceUUID != before.InstanceUUID {
		t.Errorf("after %+v, before %+v", after, before)
	}
	if got := (table{t, p.admin(), 600}).json(); got != `[[1,"kept"]]` {
		t.Errorf("rows %s", got)
	}
	p.stop()
}

// TestSecondInterrupt: a stop that hangs ends with the second Ctrl-C.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	child := p.online().PID
	kill(t, child, syscall.SIGSTOP)
	limit := time.NewTimer(waitStop)
	defer limit.Stop()
	p.signal(syscall.SIGINT)
	waitFor(t, "the supervisor to stop", waitStart, func() bool { return contains(p, "msg=stopping") })
	// Presses that follow at once count as one.
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for p.running() {
		select {
		case <-again.C:
			_ = p.cmd.Process.Signal(syscall.SIGINT)
		case <-p.done:
		case <-limit.C:
			t.Fatal("the second SIGINT does not end it")
		}
	}
	if p.code != 130 {
		t.Errorf("exit code %d, want 130", p.code)
	}
	if !gone(t, child, waitStop) {
		t.Error("the child is left")
	}
}
