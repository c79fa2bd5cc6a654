package fault

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/sys"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f *FS, name string) sys.File {
	t.Helper()
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	return file
}

func content(t *testing.T, f *FS, name string) []byte {
	t.Helper()
	b, err := sys.ReadFile(f, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	return b
}

// prepared has a durable directory with one durable file of 2,000 bytes 'a'.
func prepared(t *testing.T) *FS {
	t.Helper()
	f := New()
	must(t, f.MkdirAll("/d", 0o700))
	must(t, f.SyncDir("/"))
	file := create(t, f, "/d/old")
	_, err := file.Write(bytes.Repeat([]byte{'a'}, 2000))
	must(t, err)
	must(t, file.Sync())
	must(t, f.SyncDir("/d"))
	return f
}

func TestPowerCutLosesWhatIsNotSynced(t *testing.T) {
	f := prepared(t)
	file := create(t, f, "/d/old")
	_, err := file.WriteAt([]byte("new"), 10)
	must(t, err)
	create(t, f, "/d/fresh")
	must(t, f.Rename("/d/old", "/d/renamed"))
	f.Reboot(LoseUnsynced)
	if got := content(t, f, "/d/old"); !bytes.Equal(got, bytes.Repeat([]byte{'a'}, 2000)) {
		t.Errorf("the renamed and written file came back as %d bytes", len(got))
	}
	for _, name := range []string{"/d/fresh", "/d/renamed"} {
		if _, err := f.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := file.Write(nil); !errors.Is(err, ErrCrashed) {
		t.Errorf("a file opened before the crash: %v", err)
	}
}

func TestSyncOfFileIsNotSyncOfName(t *testing.T) {
	f := prepared(t)
	file := create(t, f, "/d/fresh")
	_, err := file.Write([]byte("x"))
	must(t, err)
	must(t, file.Sync())
	clone := f.Clone()
	clone.Reboot(LoseUnsynced)
	if _, err := clone.Lstat("/d/fresh"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a sync of the directory: %v", err)
	}
	must(t, f.SyncDir("/d"))
	f.Reboot(LoseUnsynced)
	if got := content(t, f, "/d/fresh"); string(got) != "x" {
		t.Errorf("after a sync of both: %q", got)
	}
}

func TestTornWrite(t *testing.T) {
	f := prepared(t)
	file := create(t, f, "/d/old")
	_, err := file.WriteAt(bytes.Repeat([]byte{'b'}, 1200), 300)
	must(t, err)
	for _, c := range []struct {
		policy   Policy
		from, to int
	}{
		{TearLast(0), 300, 300}, {TearLast(1), 300, 512}, {TearLast(2), 300, 1024}, {TearLast(3), 300, 1500},
		{TearLastTail(1), 512, 1500}, {TearLastTail(2), 1024, 1500}, {KeepUnsynced, 300, 1500},
	} {
		clone := f.Clone()
		clone.Reboot(c.policy)
		want := bytes.Repeat([]byte{'a'}, 2000)
		copy(want[c.from:c.to], bytes.Repeat([]byte{'b'}, 1200))
		if got := content(t, clone, "/d/old"); !bytes.Equal(got, want) {
			t.Errorf("kept [%d,%d): other bytes changed", c.from, c.to)
		}
	}
	if u := f.Unsynced(); len(u) != 1 || u[0].Sectors != 3 || !u[0].Last {
		t.Errorf("unsynced: %+v", u)
	}
}

func TestCrashAt(t *testing.T) {
	f := prepared(t)
	file := create(t, f, "/d/old")
	f.CrashAt(2)
	_, err := file.WriteAt([]byte("1"), 0)
	must(t, err)
	if _, err = file.WriteAt([]byte("2"), 1); !errors.Is(err, ErrCrashed) || !f.Crashed() {
		t.Errorf("the second call: %v", err)
	}
	if err := file.Sync(); !errors.Is(err, ErrCrashed) {
		t.Errorf("after it: %v", err)
	}
	if _, err := f.ReadDir("/d"); !errors.Is(err, ErrCrashed) {
		t.Errorf("after it: %v", err)
	}
	f.Reboot(KeepUnsynced)
	if got := content(t, f, "/d/old"); string(got[:3]) != "12a" {
		t.Errorf("a write in flight may be on disk: %q", got[:3])
	}
	file = create(t, f, "/d/old")
	_, err = file.WriteAt([]byte("3"), 0)
	must(t, err)
	f.CrashAt(1)
	if err := file.Sync(); !errors.Is(err, ErrCrashed) {
		t.Errorf("sync in flight: %v", err)
	}
	f.Reboot(LoseUnsynced)
	if got := content(t, f, "/d/old"); got[0] != '1' {
		t.Errorf("a sync in flight has done nothing: %q", got[:1])
	}
}

func TestFailedSyncMarksPagesClean(t *testing.T) {
	f := prepared(t)
	file := create(t, f, "/d/old")
	_, err := file.WriteAt([]byte("new"), 0)
	must(t, err)
	f.Inject(Fault{Op: OpSync, Times: 1})
	if err := file.Datasync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("injected: %v", err)
	}
	must(t, file.Datasync())
	f.Kill()
	if got := content(t, f, "/d/old"); string(got[:3]) != "new" {
		t.Errorf("programs see %q", got[:3])
	}
	f.Reboot(KeepUnsynced)
	if got := content(t, f, "/d/old"); string(got[:3]) != "aaa" {
		t.Errorf("the disk has %q", got[:3])
	}
}

func TestFaultsCount(t *testing.T) {
	f := prepared(t)
	f.Inject(Fault{Op: OpWrite, Path: "old", Nth: 2, Times: 2, Err: syscall.ENOSPC})
	file, other := create(t, f, "/d/old"), create(t, f, "/d/other")
	var got []bool
	for range 4 {
		_, err := other.WriteAt([]byte("x"), 0)
		must(t, err)
		_, err = file.WriteAt([]byte("x"), 0)
		got = append(got, err != nil)
		if err != nil && (!errors.Is(err, sys.ErrDiskFull) || !errors.Is(err, syscall.ENOSPC)) {
			t.Errorf("error %v", err)
		}
	}
	if !slices.Equal(got, []bool{false, true, true, false}) {
		t.Errorf("failed: %v", got)
	}
}

func TestCapacity(t *testing.T) {
	f := prepared(t)
	f.SetCapacity(5000)
	file := create(t, f, "/d/big")
	if err := file.Allocate(0, 3001); !errors.Is(err, sys.ErrDiskFull) {
		t.Errorf("too much: %v", err)
	}
	must(t, file.Allocate(0, 3000))
	if _, err := file.WriteAt([]byte("x"), 3000); !errors.Is(err, sys.ErrDiskFull) {
		t.Errorf("one byte more: %v", err)
	}
	_, err := file.WriteAt([]byte("x"), 2999)
	must(t, err)
	must(t, f.Remove("/d/old"))
	_, err = file.WriteAt([]byte("x"), 3000)
	must(t, err)
	if f.Used() != 3001 {
		t.Errorf("used %d", f.Used())
	}
	must(t, f.Rename("/d/big", "/d/other"))
	must(t, file.Truncate(1))
	if f.Used() != 1 {
		t.Errorf("used %d after a truncation", f.Used())
	}
}

func TestFilesBehaveAsFiles(t *testing.T) {
	f := New()
	must(t, f.MkdirAll("/a/b", 0o700))
	file := create(t, f, "/a/b/c")
	_, err := file.Write([]byte("hello "))
	must(t, err)
	_, err = file.Write([]byte("world"))
	must(t, err)
	r, err := f.OpenFile("a/b/c", os.O_RDONLY, 0)
	must(t, err)
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello world" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("write to a file opened for reading: %v", err)
	}
	if _, err := f.OpenFile("/a/b/c", os.O_CREATE|os.O_EXCL, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("O_EXCL: %v", err)
	}
	if _, err := f.OpenFile("/a/x/c", os.O_CREATE, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := f.Remove("/a/b"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("remove a directory with a file: %v", err)
	}
	must(t, f.Rename("/a/b/c", "/a/d"))
	list, err := f.ReadDir("/a")
	must(t, err)
	if len(list) != 2 || list[0].Name() != "b" || !list[0].IsDir() || list[1].Name() != "d" {
		t.Errorf("%v", list)
	}
	must(t, f.RemoveAll("/a"))
	if _, err := f.Lstat("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, f.MkdirAll("/w", 0o700))
	must(t, sys.WriteFileAtomic(f, "/w", "x", []byte("1"), 0o600))
	f.Reboot(LoseUnsynced)
	if _, err := f.Lstat("/w/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory itself was not synced: %v", err)
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := NewClock(start)
	c.Advance(time.Second)
	c.Jump(-time.Hour)
	if c.Boot() != time.Second || !c.Wall().Equal(start.Add(time.Second-time.Hour)) {
		t.Errorf("%v %v", c.Boot(), c.Wall())
	}
}
