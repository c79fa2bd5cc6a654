package instance

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// onDisk makes an instance that has nothing but a disk, with snapshots of the catalog at entries 1 and 2.
func onDisk(t *testing.T) (*Instance, *fault.FS, *catalog.State) {
	t.Helper()
	fsys := fault.New()
	i := &Instance{fs: fsys, dir: store.Dir{FS: fsys, Path: "/dir"}, log: slog.New(slog.DiscardHandler)}
	if err := i.dir.Create(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.MkdirAll("/dir/"+datadir.CatalogDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SyncDir("/dir"); err != nil {
		t.Fatal(err)
	}
	state := catalog.New()
	for n := range uint64(2) {
		putProperty(t, state, n+1)
		if err := snapshotCatalog(i, state); err != nil {
			t.Fatal(err)
		}
	}
	return i, fsys, state
}

// putProperty makes entry n of the catalog.
func putProperty(t *testing.T, state *catalog.State, n uint64) {
	t.Helper()
	op := catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Insert, Table: catalog.TableProperty,
		Tuple: catalog.UintProperty(fmt.Sprint("k", n), n).Row()}}}
	if _, _, err := state.Execute(n, 1, catalog.Item{Ops: []catalog.Op{op}, ID: catalog.RequestID{byte(n)}}); err != nil {
		t.Fatal(err)
	}
}

func snapshotCatalog(i *Instance, state *catalog.State) error {
	_, err := i.writeCatalogSnapshot(catalog.Snapshot{State: state, Voters: []uint64{1}})
	return err
}

// loaded is the entry at which the snapshot stands that is found, and those that were passed over.
func loaded(i *Instance) (index uint64, damaged []uint64, err error) {
	var g groupFiles
	s, err := i.loadCatalogSnapshot(&g)
	if err == nil {
		index, _ = s.State.Position()
	}
	return index, g.damaged, err
}

// TestDamagedCatalogSnapshot flips each bit of the newest snapshot of the catalog: the older one is read instead.
func TestDamagedCatalogSnapshot(t *testing.T) {
	i, fsys, _ := onDisk(t)
	if index, damaged, err := loaded(i); index != 2 || len(damaged) != 0 || err != nil {
		t.Fatalf("entry %d, damaged %v, %v", index, damaged, err)
	}
	path := i.catalogSnapshotPath(2)
	st, err := fsys.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(off int64, bit int) {
		if err := fsys.Corrupt(path, off, 1<<bit); err != nil {
			t.Fatal(err)
		}
	}
	for off := range st.Size() {
		for bit := range 8 {
			flip(off, bit)
			if index, damaged, err := loaded(i); index != 1 || !slices.Equal(damaged, []uint64{2}) || err != nil {
				t.Fatalf("bit %d of byte %d: entry %d, damaged %v, %v", bit, off, index, damaged, err)
			}
			flip(off, bit)
		}
	}
}

// TestCatalogSnapshotCrash stops the machine at each call of the writing of a snapshot, and leaves each state of the disk that
// may result: what is listed is whole, and it can be written again.
func TestCatalogSnapshotCrash(t *testing.T) {
	for at := 1; ; at++ {
		i, fsys, state := onDisk(t)
		putProperty(t, state, 3)
		fsys.CrashAt(at)
		err := snapshotCatalog(i, state)
		if !fsys.Crashed() {
			if err != nil || at < 5 {
				t.Fatalf("%d calls, %v", at, err)
			}
			return
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			again := fsys.Clone()
			again.Reboot(policy)
			i := &Instance{fs: again, dir: store.Dir{FS: again, Path: "/dir"}, log: i.log}
			index, damaged, lerr := loaded(i)
			if lerr != nil || len(damaged) != 0 || index != 3 && (index != 2 || err == nil) {
				t.Fatalf("crash at call %d, disk state %q: entry %d, damaged %v, %v", at, name, index, damaged, lerr)
			}
			if err := snapshotCatalog(i, state); err != nil {
				t.Fatal(err)
			}
			again.Reboot(fault.LoseUnsynced)
			if index, _, err := loaded(i); index != 3 || err != nil {
				t.Fatalf("crash at call %d, disk state %q, written again: entry %d, %v", at, name, index, err)
			}
		}
	}
}

// TestCatalogSnapshotFullDisk: a snapshot that finds no room leaves nothing behind, and is written when there is some.
func TestCatalogSnapshotFullDisk(t *testing.T) {
	i, fsys, state := onDisk(t)
	putProperty(t, state, 3)
	for room := range int64(20) {
		fsys.SetCapacity(fsys.Used() + 1 + room)
		if err := snapshotCatalog(i, state); !errors.Is(err, sys.ErrDiskFull) {
			t.Fatalf("room for %d bytes: %v", room+1, err)
		}
		if entries, err := fsys.ReadDir("/dir/" + datadir.CatalogDir); err != nil || len(entries) != 2 {
			t.Fatalf("%d files, %v", len(entries), err)
		}
		if index, _, err := loaded(i); index != 2 || err != nil {
			t.Fatalf("entry %d, %v", index, err)
		}
	}
	fsys.SetCapacity(0)
	if err := snapshotCatalog(i, state); err != nil {
		t.Fatal(err)
	}
	if index, _, err := loaded(i); index != 3 || err != nil {
		t.Errorf("entry %d, %v", index, err)
	}
}

// TestConnectionsFor: logs and snapshots keep files to open, whatever the limit.
func TestConnectionsFor(t *testing.T) {
	for files, want := range map[uint64]int{64: 8, 640: 80, 1024: 384, 10_640: 10_000, 1 << 40: 10_000} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d open files: %d connections, want %d", files, got, want)
		}
	}
}

// TestSchedule: snapshots come by time and when they are wanted; after one that failed there is a pause, and then a new try.
func TestSchedule(t *testing.T) {
	full := fmt.Errorf("checkpoint: %w", sys.ErrDiskFull)
	s := schedule{interval: time.Hour, next: time.Hour}
	for n, step := range []struct {
		now    time.Duration
		wanted bool
		due    bool
		err    error
	}{
		{time.Minute, false, false, nil},
		{time.Minute, true, true, nil},
		{time.Hour, false, false, nil},
		{time.Hour + time.Minute, false, true, full},
		{time.Hour + time.Minute + time.Second, true, false, nil},
		{time.Hour + time.Minute + checkpointRetry, false, true, full},
		{time.Hour + time.Minute + 2*checkpointRetry, true, true, checkpoint.ErrRunning},
		{time.Hour + time.Minute + 2*checkpointRetry + time.Second, true, true, nil},
		{2 * time.Hour, false, false, nil},
	} {
		if got := s.due(step.now, step.wanted); got != step.due {
			t.Fatalf("step %d: due %v at %s", n, got, step.now)
		}
		if step.due {
			s.done(step.now, step.err)
		}
	}
	if never := (schedule{}); never.due(1000*time.Hour, false) {
		t.Error("without an interval one is due")
	}
}
