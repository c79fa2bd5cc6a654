package runner_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// Busy makes the test machine a worker.
func (m *machine) Busy() bool { return m.busy.Load() }

// GiveUp ends its work.
func (m *machine) GiveUp(err error) {
	if m.busy.CompareAndSwap(true, false) {
		m.gaveUp <- err
	}
}

// work makes the machine of a leader busy; a request lets the loop see it.
func (h *harness) work(t *testing.T) {
	t.Helper()
	wait(t, h.submit(""))
	h.m.gaveUp = make(chan error, 1)
	h.m.busy.Store(true)
	wait(t, h.submit(""))
}

// awaitTurns waits until the machine has done more of its work.
func (h *harness) awaitTurns(t *testing.T) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for goal := h.m.turns.Load() + 10; h.m.turns.Load() < goal; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the machine's own work stands still")
		}
	}
}

// TestWorkGoesOnBesideWrites: work without end keeps no request from being answered, goes on while the disk syncs, and
// ends when the loop stops.
func TestWorkGoesOnBesideWrites(t *testing.T) {
	gate := newGateFS(fault.New())
	h := start(t, openLog(t, gate, wal.SyncFsync, 64<<10), 0)
	h.work(t)
	for _, v := range []string{"b", "c", "d"} {
		h.awaitTurns(t)
		if err := wait(t, h.submit(v)); err != nil {
			t.Fatal(err)
		}
	}
	gate.close()
	stuck := h.submit("e")
	<-gate.waiting
	h.awaitTurns(t)
	gate.open()
	if err := wait(t, stuck); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	if err := <-h.m.gaveUp; !errcode.Is(err, errcode.Shutdown) {
		t.Errorf("given up for %v", err)
	}
	if err := h.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWorkEndsWithPoison: a log that can not be written ends the machine's own work too.
func TestWorkEndsWithPoison(t *testing.T) {
	fsys := fault.New()
	h := start(t, openLog(t, fsys, wal.SyncFsync, 64<<10), 0)
	h.work(t)
	h.awaitTurns(t)
	fsys.Inject(fault.Fault{Op: fault.OpSync, Path: ".rlog", Times: 1})
	h.submit("x")
	if err := <-h.m.gaveUp; !errcode.Is(err, errcode.Poisoned) {
		t.Errorf("given up for %v", err)
	}
	h.stop(t)
}

// TestWorkEndsWithFullDisk: nor is it kept waiting for room.
func TestWorkEndsWithFullDisk(t *testing.T) {
	fsys := fault.New()
	h := start(t, openLog(t, fsys, wal.SyncFsync, 8<<10), 0)
	h.work(t)
	fsys.SetCapacity(fsys.Used() + 1)
	for {
		select {
		case err := <-h.m.gaveUp:
			if !errcode.Is(err, errcode.DiskFull) {
				t.Errorf("given up for %v", err)
			}
			fsys.SetCapacity(0)
			h.stop(t)
			return
		default:
			h.submit(strings.Repeat("x", 900))
		}
	}
}

// TestWorkEndsWithLeadership: a leader that is cut off gives up.
func TestWorkEndsWithLeadership(t *testing.T) { synctest.Test(t, workEndsWithLeadership) }

func workEndsWithLeadership(t *testing.T) {
	net, members := startTrio(t)
	old, _ := awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	members[old].work(t)
	members[old].awaitTurns(t)
	net.set(old, true)
	if err := <-members[old].m.gaveUp; !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("given up for %v", err)
	}
	for _, m := range members {
		m.stop(t)
	}
}
