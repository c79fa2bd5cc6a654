package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/clusterconfig"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const dir = "/data/config"

func sample(t testing.TB, number uint64, address string) (clusterconfig.Sections, clusterconfig.Version) {
	t.Helper()
	c := clusterconfig.Config{
		Topology: clusterconfig.Topology{
			Format:      1,
			Cluster:     clusterconfig.Cluster{Name: "demo", UUID: "11111111-1111-4111-8111-111111111111", Epoch: 1},
			Tiers:       map[string]clusterconfig.Tier{"default": {ReplicationFactor: 1, CanVote: true}},
			Replicasets: map[string]clusterconfig.Replicaset{"r1": {UUID: "33333333-3333-4333-8333-333333333333", Tier: "default", State: "ready"}},
			Instances: map[string]clusterconfig.Instance{"i1": {UUID: "22222222-2222-4222-8222-222222222222", Replicaset: "r1",
				Tier: "default", RaftID: 1, DataRaftID: 2, Address: address}},
		},
		Parameters: clusterconfig.Parameters{Format: 1, AutoOfflineTimeout: 5, ElectionTimeout: 1},
	}
	s, v, err := clusterconfig.Encode(c, number, 10*number)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func newDisk(t testing.TB) *fault.FS {
	t.Helper()
	d := fault.New()
	if err := d.MkdirAll("/data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

func write1(t testing.TB, d sys.FS, number uint64, address string) {
	t.Helper()
	s, v := sample(t, number, address)
	if err := Write(d, dir, s, v); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, d sys.FS) string {
	t.Helper()
	entries, err := d.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestWriteThenLoadKeepsThePreviousVersion(t *testing.T) {
	d := newDisk(t)
	if _, err := Load(d, dir); !errors.Is(err, ErrMissing) {
		t.Fatalf("nothing there: %v", err)
	}
	for n, want := range []string{"1 CURRENT", "1 2 CURRENT", "2 3 CURRENT", "3 4 CURRENT"} {
		write1(t, d, uint64(n+1), "a:1")
		if got := names(t, d); got != want {
			t.Fatalf("after version %d: %s, want %s", n+1, got, want)
		}
		l, err := Load(d, dir)
		if err != nil || l.Version.Number != uint64(n+1) || !l.Config.Contains("22222222-2222-4222-8222-222222222222") {
			t.Fatalf("version %d: %+v %v", n+1, l.Version, err)
		}
	}
	before := d.Ops()
	write1(t, d, 4, "a:1")
	if d.Count(fault.OpRename) > 8 || d.Ops()-before > 4 {
		t.Fatalf("writing the same again took %d calls", d.Ops()-before)
	}
}

func TestForeignFilesStay(t *testing.T) {
	d := newDisk(t)
	write1(t, d, 1, "a:1")
	if err := sys.WriteFileAtomic(d, dir, "notes.txt", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.MkdirAll(dir+"/9.inprogress", 0o700); err != nil {
		t.Fatal(err)
	}
	write1(t, d, 2, "a:1")
	write1(t, d, 3, "a:1")
	if got := names(t, d); got != "2 3 CURRENT notes.txt" {
		t.Fatalf("%s", got)
	}
}

// After a crash at any call, whatever of the unsynced changes is on disk, the version before or the new one is loaded, and
// writing the new one again succeeds.
func TestCrashAtEveryCall(t *testing.T) {
	states := 0
	for before := uint64(0); before <= 3; before++ {
		for at := 1; ; at++ {
			d := newDisk(t)
			for n := uint64(1); n <= before; n++ {
				write1(t, d, n, "a:1")
			}
			s, v := sample(t, before+1, "a:2")
			d.CrashAt(at)
			err := Write(d, dir, s, v)
			if !d.Crashed() {
				if err != nil || at < 15 {
					t.Fatalf("version %d: %d calls, %v", before, at, err)
				}
				break
			}
			for name, policy := range d.CrashStates(uint64(at)) {
				states++
				if err := afterCrash(d.Clone(), policy, s, v, err == nil); err != nil {
					t.Fatalf("version %d, call %d, disk state %q: %v", before, at, name, err)
				}
			}
		}
	}
	t.Logf("%d crash states", states)
}

// afterCrash checks what is loaded after a crash during the writing of a version, and that it can be written again.
func afterCrash(d *fault.FS, policy fault.Policy, s clusterconfig.Sections, v clusterconfig.Version, written bool) error {
	d.Reboot(policy)
	before := v.Number - 1
	l, err := Load(d, dir)
	switch {
	case before == 0 && errors.Is(err, ErrMissing) && !written:
	case err != nil:
		return err
	case l.Version.Number != v.Number && (l.Version.Number != before || written):
		return fmt.Errorf("version %d is loaded", l.Version.Number)
	}
	if err := Write(d, dir, s, v); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	d.Reboot(fault.LoseUnsynced)
	if l, err := Load(d, dir); err != nil || l.Version != v {
		return fmt.Errorf("again: %+v %w", l.Version, err)
	}
	return nil
}

// Boot may be repeated after a crash and writes another version 1: there is never a mixture of the two.
func TestReplacingTheCurrentVersion(t *testing.T) {
	for _, policy := range []fault.Policy{fault.LoseUnsynced, fault.KeepUnsynced, fault.LoseData, fault.TearLast(0)} {
		replaceCurrent(t, policy)
	}
}

func replaceCurrent(t *testing.T, policy fault.Policy) {
	t.Helper()
	for at := 1; ; at++ {
		d := newDisk(t)
		write1(t, d, 1, "a:1")
		s, v := sample(t, 1, "a:2")
		d.CrashAt(at)
		err := Write(d, dir, s, v)
		crashed := d.Crashed()
		if crashed {
			d.Reboot(policy)
		} else if err != nil {
			t.Fatal(err)
		}
		l, lerr := Load(d, dir)
		if lerr != nil && !errors.Is(lerr, ErrMissing) {
			t.Fatalf("call %d: %v", at, lerr)
		}
		if !crashed {
			if l.Version != v {
				t.Fatalf("%+v", l.Version)
			}
			return
		}
	}
}

func TestErrorsOfTheDiskAreReturned(t *testing.T) {
	for _, op := range []fault.Op{fault.OpMkdir, fault.OpCreate, fault.OpWrite, fault.OpSync, fault.OpRename, fault.OpSyncDir} {
		for nth := 1; nth <= 2; nth++ {
			d := newDisk(t)
			d.Inject(fault.Fault{Op: op, Nth: nth})
			s, v := sample(t, 1, "a:1")
			if err := Write(d, dir, s, v); err == nil {
				t.Errorf("%s number %d failed and nobody noticed", op, nth)
			}
			d.Heal()
			if _, err := Load(d, dir); err != nil && !errors.Is(err, ErrMissing) {
				t.Errorf("%s number %d: %v", op, nth, err)
			}
		}
	}
	d := newDisk(t)
	d.SetCapacity(300)
	s, v := sample(t, 1, "a:1")
	if err := Write(d, dir, s, v); !errors.Is(err, sys.ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
}

func TestLoadTellsMissingFromBroken(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(d *fault.FS) error
		path   string
	}{
		"current":    {func(d *fault.FS) error { return d.Corrupt(dir+"/CURRENT", 0, 0xff) }, dir + "/CURRENT"},
		"no folder":  {func(d *fault.FS) error { return d.RemoveAll(dir + "/2") }, dir + "/2/VERSION"},
		"no version": {func(d *fault.FS) error { return d.Remove(dir + "/2/VERSION") }, dir + "/2/VERSION"},
		"version":    {func(d *fault.FS) error { return d.Corrupt(dir+"/2/VERSION", 3, 0x80) }, dir + "/2/VERSION"},
		"no section": {func(d *fault.FS) error { return d.Remove(dir + "/2/topology.yml") }, dir + "/2"},
		"section":    {func(d *fault.FS) error { return d.Corrupt(dir+"/2/parameters.yml", 40, 1) }, dir + "/2"},
		"other number": {func(d *fault.FS) error {
			return errors.Join(d.RemoveAll(dir+"/2"), d.Rename(dir+"/1", dir+"/2"))
		}, dir + "/2"},
		"unreadable": {func(d *fault.FS) error {
			d.Inject(fault.Fault{Op: fault.OpRead, Path: "topology.yml"})
			return nil
		}, dir + "/2/topology.yml"},
	} {
		d := newDisk(t)
		write1(t, d, 1, "a:1")
		write1(t, d, 2, "a:1")
		if err := c.damage(d); err != nil {
			t.Fatal(err)
		}
		_, err := Load(d, dir)
		var broken *BrokenError
		if !errors.As(err, &broken) || errors.Is(err, ErrMissing) || broken.Path != c.path {
			t.Errorf("%s: %v, want a broken %s", name, err, c.path)
		}
	}
}

func TestWriteRefusesWhatCouldNotBeLoaded(t *testing.T) {
	d := newDisk(t)
	s, v := sample(t, 1, "a:1")
	v.Checksum = "sha256:0"
	if err := Write(d, dir, s, v); err == nil {
		t.Fatal("a version of other sections was written")
	}
	if _, err := d.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("something was written: %v", err)
	}
}

func TestRealFiles(t *testing.T) {
	root := t.TempDir() + "/config"
	for n := uint64(1); n <= 3; n++ {
		s, v := sample(t, n, "a:1")
		if err := Write(real.FS{}, root, s, v); err != nil {
			t.Fatal(err)
		}
		if l, err := Load(real.FS{}, root); err != nil || l.Version != v {
			t.Fatalf("%+v %v", l.Version, err)
		}
	}
	entries, err := real.FS{}.ReadDir(root)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v %v", entries, err)
	}
}
