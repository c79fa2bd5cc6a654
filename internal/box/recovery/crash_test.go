package recovery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

const crashDir = "/data"

// small makes an engine that holds little beside the dictionary.
func small(t *testing.T) *box.Engine {
	t.Helper()
	e := newEngine(t)
	e.Begin(1)
	for _, row := range dictionary.Fresh("bbbbbbbb-0000-4000-8000-000000000002") {
		loadRow(t, e, dictionary.SpaceSchema, row)
	}
	dictionary.Rows(func(space uint32, row []byte) bool {
		loadRow(t, e, space, row)
		return true
	})
	if err := e.LoadBuiltin(); err != nil {
		t.Fatal(err)
	}
	e.Seal()
	e.Publish(1)
	return e
}

func writeTo(e *box.Engine, fsys sys.FS, index uint64) error {
	view := e.OpenView()
	defer view.Close()
	_, err := checkpoint.Write(e, view, checkpoint.Position{Index: index, Term: 3, Voters: []uint64{2}}, checkpoint.Options{
		FS: fsys, Dir: crashDir, InstanceUUID: "aaaaaaaa-0000-4000-8000-000000000001", Now: time.Unix(1795348234, 0)})
	return err
}

// TestEveryCrashPoint stops the machine at each call of a checkpoint, with one that was left unfinished by an earlier crash,
// and leaves each state of the disk that may result: whatever is listed as a snapshot is whole, the one before is always
// there, one that was acknowledged too, and the checkpoint can be written again.
func TestEveryCrashPoint(t *testing.T) {
	e := small(t)
	states := 0
	for at := 1; ; at++ {
		fsys := fault.New()
		if err := fsys.MkdirAll(crashDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := fsys.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		if err := writeTo(e, fsys, 10); err != nil {
			t.Fatal(err)
		}
		if err := sys.WriteFileAtomic(fsys, crashDir, checkpoint.Name(15)+".inprogress", []byte("SNAP"), 0o600); err != nil {
			t.Fatal(err)
		}
		fsys.CrashAt(at)
		err := writeTo(e, fsys, 20)
		if !fsys.Crashed() {
			if err != nil || at < 9 {
				t.Fatalf("%d calls, %v", at, err)
			}
			break
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			states++
			if err := recoverSnapshots(t, e, fsys.Clone(), policy, err == nil); err != nil {
				t.Fatalf("crash at call %d, disk state %q: %v", at, name, err)
			}
		}
	}
	t.Logf("%d crash states", states)
}

func recoverSnapshots(t *testing.T, e *box.Engine, fsys *fault.FS, policy fault.Policy, acknowledged bool) error {
	fsys.Reboot(policy)
	found, err := checkpoint.List(fsys, crashDir)
	if err != nil || len(found) == 0 || found[len(found)-1] != 10 || acknowledged && found[0] != 20 {
		return fmt.Errorf("snapshots %v, %w", found, err)
	}
	for _, signature := range found {
		if err := loads(t, fsys, signature); err != nil {
			return err
		}
	}
	if err := writeTo(e, fsys, 20); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	fsys.Reboot(fault.LoseUnsynced)
	if err := loads(t, fsys, 20); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	entries, err := fsys.ReadDir(crashDir)
	if err != nil || len(entries) > 4 {
		return fmt.Errorf("%d files are left, %w", len(entries), err)
	}
	return nil
}

// loads loads a snapshot into an engine of its own.
func loads(t *testing.T, fsys sys.FS, signature uint64) error {
	t.Helper()
	fresh := openEngine(t, true)
	_, err := Load(fresh, fsys, crashDir, signature, nil)
	return errors.Join(err, fresh.Close())
}

// TestFlippedBitsAreFound flips bits all over a snapshot: with the hash beside it, it is never loaded.
func TestFlippedBitsAreFound(t *testing.T) {
	fsys := fault.New()
	if err := fsys.MkdirAll(crashDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeTo(small(t), fsys, 10); err != nil {
		t.Fatal(err)
	}
	name := crashDir + "/" + checkpoint.Name(10)
	st, err := fsys.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < st.Size(); off += 1 + off%5 {
		mask := byte(1) << (off % 8)
		if err := fsys.Corrupt(name, off, mask); err != nil {
			t.Fatal(err)
		}
		if err := loads(t, fsys, 10); err == nil {
			t.Fatalf("a flip at byte %d of %d is not noticed", off, st.Size())
		}
		if err := fsys.Corrupt(name, off, mask); err != nil {
			t.Fatal(err)
		}
	}
	if err := loads(t, fsys, 10); err != nil {
		t.Fatal(err)
	}
	fsys.SetCapacity(fsys.Used() + 1000)
	if err := writeTo(small(t), fsys, 11); !errors.Is(err, sys.ErrDiskFull) {
		t.Errorf("a full disk: %v", err)
	}
	if entries, err := fsys.ReadDir(crashDir); err != nil || len(entries) != 2 {
		t.Errorf("%d files after a checkpoint on a full disk, %v", len(entries), err)
	}
	fsys.SetCapacity(0)
	if err := writeTo(small(t), fsys, 11); err != nil {
		t.Error(err)
	}
}
