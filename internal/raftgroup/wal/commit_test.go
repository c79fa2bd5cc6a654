package wal

import (
	"errors"
	"testing"

	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// known opens what is left after a loss of power and returns the commit index that it speaks of. Nothing may count as lost.
func known(t *testing.T, fsys *fault.FS, policy fault.Policy) (commit, last uint64) {
	t.Helper()
	fsys.Reboot(policy)
	l, err := Open(testOptions(fsys))
	if err != nil {
		t.Fatal(err)
	}
	if n := l.Recovered().LostEntries; n != 0 {
		t.Errorf("%d entries count as lost", n)
	}
	return l.Recovered().HardState.Commit, l.LastIndex()
}

// TestCommitReachesNoFurtherThanTheLog: a leader may know more, and must be able to start again.
func TestCommitReachesNoFurtherThanTheLog(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	if err := l.Append(Batch{HardState: hard(2, 1, 0), Entries: entries(1, 2, 3, 20), Commit: 9}); err != nil {
		t.Fatal(err)
	}
	l.NoteCommit(9)
	// A new segment speaks of it too.
	for first := uint64(4); l.Recovered().Segments == len(l.ix.segs); first++ {
		if err := l.Append(Batch{Entries: entries(first, 2, 1, 900)}); err != nil {
			t.Fatal(err)
		}
		if got, _ := known(t, fsys.Clone(), fault.LoseUnsynced); got > first {
			t.Fatalf("commit %d of a log up to %d", got, first)
		}
	}
}

// TestCommitComesWithItsEntries: a commit index that speaks of entries which replace others must not be on disk without
// them, whatever call is the last one.
func TestCommitComesWithItsEntries(t *testing.T) {
	for n := 1; ; n++ {
		fsys := fault.New()
		l := mustOpen(t, testOptions(fsys))
		if err := l.Append(Batch{HardState: hard(2, 1, 0), Entries: entries(1, 2, 8, 100), Commit: 2}); err != nil {
			t.Fatal(err)
		}
		fsys.CrashAt(n)
		// Too large for the rest of the segment.
		err := l.Append(Batch{HardState: hard(3, 0, 8), Entries: entries(3, 3, 6, 1500), Commit: 8})
		if err == nil {
			if n < 5 {
				t.Fatalf("only %d calls", n)
			}
			return
		}
		if !errors.Is(err, fault.ErrCrashed) {
			t.Fatal(err)
		}
		for name, policy := range fsys.CrashStates(uint64(n)) {
			left := fsys.Clone()
			commit, _ := known(t, left, policy)
			l, err := Open(testOptions(left))
			if err != nil {
				t.Fatal(err)
			}
			if term := l.ix.lastTerm; term == 2 && commit > 2 {
				t.Errorf("call %d, %s: entries of term 2 up to %d count as committed", n, name, commit)
			}
		}
	}
}

// TestMarkLostBeforeATornRecord: the mark before it is gone, the record itself is whole but was never synced.
func TestMarkLostBeforeATornRecord(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	if err := l.Append(Batch{HardState: hard(2, 1, 0), Entries: entries(1, 2, 3, 20)}); err != nil {
		t.Fatal(err)
	}
	l.NoteCommit(3)
	if err := l.Mark(); err != nil {
		t.Fatal(err)
	}
	mark := -1
	for _, u := range fsys.Unsynced() {
		if u.Op == fault.OpWrite {
			mark = u.Seq
		}
	}
	fsys.CrashAt(2)
	if err := l.Append(Batch{Entries: entries(4, 2, 1, 20), Commit: 4}); !errors.Is(err, fault.ErrCrashed) {
		t.Fatal(err)
	}
	if commit, last := known(t, fsys, fault.Drop(mark)); commit != 3 || last != 3 {
		t.Errorf("commit %d of a log up to %d", commit, last)
	}
}
