package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// TestEveryCrashPoint stops the machine at each call of the workload and leaves each state of the disk that may result.
// What was acknowledged is there, or also what was being written; nothing else.
func TestEveryCrashPoint(t *testing.T) {
	states := 0
	for n := 1; ; n++ {
		fsys := fault.New()
		o := func() Options { return testOptions(fsys) }
		fsys.CrashAt(n)
		before, after, err := runSteps(o(), workload(o))
		if err == nil {
			if n < 60 {
				t.Fatalf("the workload has only %d calls", n)
			}
			break
		}
		if !errors.Is(err, fault.ErrCrashed) {
			t.Fatalf("call %d: %v", n, err)
		}
		for name, policy := range fsys.CrashStates(uint64(n)) {
			states++
			if err := recoverCrashed(fsys.Clone(), policy, before, after); err != nil {
				t.Fatalf("crash at call %d (%v), disk state %q: %v", n, err, name, err)
			}
		}
		for _, policy := range []fault.Policy{fault.LoseUnsynced, fault.KeepUnsynced, fault.TearLast(1)} {
			killed, err := killRecovery(fsys, policy, before, after)
			if err != nil {
				t.Fatalf("crash at call %d: %v", n, err)
			}
			states += killed
		}
	}
	t.Logf("%d crash states", states)
}

// recoverCrashed opens what a crash left, compares, checks that what was found stays, and writes on.
func recoverCrashed(fsys *fault.FS, policy fault.Policy, before, after *model) error {
	fsys.Reboot(policy)
	found, err := openEither(fsys, before, after)
	if err != nil {
		return err
	}
	// What recovery showed may be acted upon: it must survive the next loss of power.
	fsys.Reboot(fault.LoseUnsynced)
	l, err := Open(testOptions(fsys))
	if err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	if err := found.check(l); err != nil {
		return fmt.Errorf("after the second open: %w", err)
	}
	next := found.clone()
	b := Batch{HardState: hard(max(9, found.hard.Term), 1, 0), Entries: entries(found.last()+1, 9, 2, 700)}
	next.append(b)
	if err := l.Append(b); err != nil {
		return fmt.Errorf("append after recovery: %w", err)
	}
	fsys.Reboot(fault.LoseUnsynced)
	if l, err = Open(testOptions(fsys)); err != nil {
		return fmt.Errorf("third open: %w", err)
	}
	return next.check(l)
}

// openEither opens the log and returns the model that it equals.
func openEither(fsys *fault.FS, before, after *model) (*model, error) {
	l, err := Open(testOptions(fsys))
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	errBefore := before.check(l)
	if errBefore == nil {
		return before, nil
	}
	if errAfter := after.check(l); errAfter != nil {
		return nil, fmt.Errorf("neither before (%w) nor after (%w); recovered %+v", errBefore, errAfter, l.Recovered())
	}
	return after, nil
}

// killRecovery stops the machine at each call of the recovery after a crash.
func killRecovery(crashed *fault.FS, policy fault.Policy, before, after *model) (killed int, err error) {
	for k := 1; ; k++ {
		fsys := crashed.Clone()
		fsys.Reboot(policy)
		fsys.CrashAt(k)
		_, err := Open(testOptions(fsys))
		if err == nil {
			return killed, nil
		}
		if !errors.Is(err, fault.ErrCrashed) {
			return killed, fmt.Errorf("recovery stopped at call %d: %w", k, err)
		}
		for _, second := range []fault.Policy{fault.LoseUnsynced, fault.KeepUnsynced, fault.LoseData, fault.LoseDirs} {
			killed++
			if err := recoverCrashed(fsys.Clone(), second, before, after); err != nil {
				return killed, fmt.Errorf("recovery stopped at call %d, then: %w", k, err)
			}
		}
	}
}

// TestEveryFailedCall makes each call of the workload fail once with EIO: the log is poisoned or the call did not matter,
// and after a loss of power what was acknowledged is there.
func TestEveryFailedCall(t *testing.T) {
	for _, op := range []fault.Op{
		fault.OpCreate, fault.OpWrite, fault.OpAllocate, fault.OpSync, fault.OpSyncDir, fault.OpRename, fault.OpRemove,
	} {
		for n := 1; ; n++ {
			fsys := fault.New()
			o := func() Options { return testOptions(fsys) }
			fsys.Inject(fault.Fault{Op: op, Nth: n, Times: 1})
			before, after, err := runSteps(o(), workload(o))
			if err == nil && fsys.Count(op) < n {
				break
			}
			if err == nil {
				t.Fatalf("%s %d failed and nobody noticed", op, n)
			}
			for _, policy := range []fault.Policy{fault.LoseUnsynced, fault.KeepUnsynced} {
				if err := recoverCrashed(fsys.Clone(), policy, before, after); err != nil {
					t.Fatalf("%s %d failed: %v", op, n, err)
				}
			}
		}
	}
}

// TestFailedSyncIsNotBelievedLater: after a failed sync the page cache shows what the disk never got. A new process must
// not acknowledge it without writing it again.
func TestFailedSyncIsNotBelievedLater(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	if err := l.Append(Batch{Entries: entries(1, 1, 1, 50)}); err != nil {
		t.Fatal(err)
	}
	fsys.Inject(fault.Fault{Op: fault.OpSync, Times: 1})
	if err := l.Append(Batch{Entries: entries(2, 1, 1, 50)}); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("failed sync: %v", err)
	}
	if err := l.Append(Batch{Entries: entries(3, 1, 1, 50)}); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("append after a failed sync: %v", err)
	}
	fsys.Kill()
	l = mustOpen(t, testOptions(fsys))
	if l.LastIndex() != 2 || l.Recovered().CleanStop {
		t.Fatalf("the page cache shows entry 2: %+v", l.Recovered())
	}
	if err := l.Append(Batch{Entries: entries(3, 1, 1, 50)}); err != nil {
		t.Fatal(err)
	}
	fsys.Reboot(fault.LoseUnsynced)
	l = mustOpen(t, testOptions(fsys))
	if l.LastIndex() != 3 {
		t.Errorf("entries up to 3 were shown and acknowledged, the log ends at %d", l.LastIndex())
	}
}
