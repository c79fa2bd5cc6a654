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
	if !gone(t, before.PID, 60*time.Second) {
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
	p.signal(syscall.SIGINT)
	waitFor(t, "the supervisor to stop", waitStart, func() bool { return contains(p, "msg=stopping") })
	p.signal(syscall.SIGINT)
	if code := p.ended(waitStop); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if !gone(t, child, time.Second) {
		t.Error("the child is left")
	}
}
