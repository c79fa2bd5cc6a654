package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	uuidA = "6e6ccd4c-1bb4-4ba4-b9a4-4bdc7c4c8b11"
	uuidB = "0d1d3fd4-5a39-4d0a-9a30-2b9f0a4be6a2"
)

func testIdentity() datadir.Identity {
	return datadir.Identity{ClusterName: "demo", ClusterUUID: uuidA, Epoch: 1, InstanceName: "i1", InstanceUUID: uuidA,
		ReplicasetName: "r1", ReplicasetUUID: uuidB, Tier: "default", RaftID: 1, DataRaftID: 2}
}

func bootEntrypoint() datadir.Entrypoint {
	return datadir.Entrypoint{Kind: datadir.EntryBoot, InstanceUUID: uuidA, ClusterUUID: uuidA, ReplicasetUUID: uuidB}
}

func newDir(t *testing.T) Dir {
	t.Helper()
	d := Dir{FS: real.FS{}, Path: filepath.Join(t.TempDir(), "dir")}
	if err := d.Create(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d Dir) make(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(d.Path, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o700))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(name), 0o600))
	}
}

func (d Dir) all(t *testing.T) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(d.Path, func(path string, e os.DirEntry, err error) error {
		if err == nil && path != d.Path {
			name := strings.TrimPrefix(path, d.Path+"/")
			if e.IsDir() {
				name += "/"
			}
			names = append(names, name)
		}
		return err
	}))
	return names
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatItWrites(t *testing.T) {
	d := newDir(t)
	if _, ok, err := d.ReadIdentity(); ok || err != nil {
		t.Errorf("an identity in an empty directory: %v, error %v", ok, err)
	}
	must(t, d.WriteIdentity(testIdentity()))
	must(t, d.WriteEntrypoint(bootEntrypoint()))
	must(t, d.WriteDiscovery(datadir.DiscoveryRecord{ID: "a", Peers: []string{"h:1"}}))
	if id, ok, err := d.ReadIdentity(); !ok || err != nil || id != testIdentity() {
		t.Errorf("identity %+v %v, error %v", id, ok, err)
	}
	if e, ok, err := d.ReadEntrypoint(); !ok || err != nil || !reflect.DeepEqual(e, bootEntrypoint()) {
		t.Errorf("entrypoint %+v %v, error %v", e, ok, err)
	}
	if r, ok, err := d.ReadDiscovery(); !ok || err != nil || r.ID != "a" {
		t.Errorf("discovery %+v %v, error %v", r, ok, err)
	}
	for _, name := range d.all(t) {
		info, err := os.Stat(filepath.Join(d.Path, name))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 0600", name, info.Mode().Perm())
		}
	}
	must(t, d.RemoveLeftovers())
	if got := d.all(t); !slices.Equal(got, []string{"identity"}) {
		t.Errorf("after removing leftovers there is %v, want the identity alone", got)
	}
	must(t, d.RemoveLeftovers())
}

func TestALinkIsNoIdentity(t *testing.T) {
	d := newDir(t)
	elsewhere := newDir(t)
	must(t, elsewhere.WriteIdentity(testIdentity()))
	must(t, os.Symlink(filepath.Join(elsewhere.Path, "identity"), filepath.Join(d.Path, "identity")))
	v, err := d.Look(nil)
	must(t, err)
	if v.Case != 'a' || v.Begin != datadir.BeginInitError {
		t.Errorf("case %c, begin %s, want a and init-error", v.Case, v.Begin)
	}
}

func TestLookAtDirectories(t *testing.T) {
	full := []string{"data/1.snap", "data/1.rlog", "catalog/1.catalog", "catalog/1.rlog", "config/1/VERSION", "config/CURRENT"}
	for _, c := range []struct {
		name     string
		identity bool
		entry    bool
		files    []string
		check    error
		want     string
	}{
		{"nothing", false, false, nil, nil, "f discover"},
		{"empty directories", false, false, []string{"data/", "catalog/", "config/", "lock", ".cookie", "audit.log", "notes.txt"}, nil, "f discover"},
		{"entrypoint", false, true, full, nil, "d boot"},
		{"member", true, false, full, nil, "c restart"},
		{"half-written snapshot", true, false, append([]string{"data/2.snap.inprogress"}, full[1:]...), nil, "c wait"},
		{"broken config", true, false, full, errors.New("checksum"), "c init-error"},
		{"config without CURRENT", true, false, full[:5], nil, "c init-error"},
		{"no config", true, false, full[:4], nil, "c init-error"},
		{"data without identity", false, false, full, nil, "e init-error"},
		{"config without identity", false, false, full[4:], nil, "e init-error"},
		{"half-written file without identity", false, false, []string{"data/1.snap.inprogress"}, nil, "e init-error"},
		{"Tarantool", false, false, []string{"00000000000000000000.xlog"}, nil, "e init-error"},
		{"half-written entrypoint", false, false, []string{"entrypoint.inprogress"}, nil, "f discover"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDir(t)
			d.make(t, c.files...)
			if c.identity {
				must(t, d.WriteIdentity(testIdentity()))
			}
			if c.entry {
				must(t, d.WriteEntrypoint(bootEntrypoint()))
			}
			v, err := d.Look(func() error { return c.check })
			must(t, err)
			if got := fmt.Sprintf("%c %s", v.Case, v.Begin); got != c.want {
				t.Errorf("got %s, want %s (cause %v)", got, c.want, v.Cause)
			}
		})
	}
	missing := Dir{FS: real.FS{}, Path: filepath.Join(t.TempDir(), "missing")}
	if v, err := missing.Look(nil); err != nil || v.Begin != datadir.BeginDiscover {
		t.Errorf("a directory that is not there: %s, error %v", v.Begin, err)
	}
}

func TestWipeRemovesOnlyOurs(t *testing.T) {
	d := newDir(t)
	keep := []string{".cookie", "admin.sock", "audit.log", "backup.snap.old", "catalog/", "config/", "config/1/", "config/1/topology.yml",
		"config/CURRENT", "data/", "discovery", "entrypoint", "lock", "lost+found/", "lost+found/x.inprogress", "notes.txt"}
	d.make(t, keep...)
	d.make(t, "data/1.snap", "data/sub/deep/file", "data/2.snap.inprogress", "catalog/1.rlog", "identity.inprogress", "entrypoint.inprogress")
	outside := newDir(t)
	outside.make(t, "precious")
	must(t, os.Symlink(outside.Path, filepath.Join(d.Path, "data", "link")))
	v := datadir.Verdict{Case: 'd', Wipe: true}
	for range 2 { // a wipe may be repeated after a crash
		must(t, d.Wipe(v))
		if got := d.all(t); !slices.Equal(got, keep) {
			t.Errorf("left is\n%v, want\n%v", got, keep)
		}
	}
	if got := outside.all(t); !slices.Equal(got, []string{"precious"}) {
		t.Errorf("behind a link in data/ is left %v", got)
	}
}

func TestWipeRefuses(t *testing.T) {
	elsewhere := t.TempDir()
	link := func(name string) func(t *testing.T, d Dir) {
		return func(t *testing.T, d Dir) { must(t, os.Symlink(elsewhere, filepath.Join(d.Path, name))) }
	}
	for _, c := range []struct {
		name    string
		arrange func(t *testing.T, d Dir)
		verdict datadir.Verdict
		refused bool
	}{
		{"identity", func(t *testing.T, d Dir) { must(t, d.WriteIdentity(testIdentity())) }, datadir.Verdict{Wipe: true}, true},
		{"unreadable identity", func(t *testing.T, d Dir) { d.make(t, "identity") }, datadir.Verdict{Wipe: true}, true},
		{"identity that is a directory", func(t *testing.T, d Dir) { d.make(t, "identity/") }, datadir.Verdict{Wipe: true}, true},
		{"dangling identity", func(t *testing.T, d Dir) { must(t, os.Symlink("/nonexistent", filepath.Join(d.Path, "identity"))) },
			datadir.Verdict{Wipe: true}, true},
		{"replaced instance", func(t *testing.T, d Dir) { must(t, d.WriteIdentity(testIdentity())) },
			datadir.Verdict{Wipe: true, WipeDespiteIdentity: true}, false},
		{"data is a link", link("data"), datadir.Verdict{Wipe: true}, true},
		{"catalog is a link", link("catalog"), datadir.Verdict{Wipe: true}, true},
		{"half-written file is a link", link("x.inprogress"), datadir.Verdict{Wipe: true}, true},
		{"unknown link", link("mine"), datadir.Verdict{Wipe: true}, false},
		{"no wipe asked for", func(*testing.T, Dir) {}, datadir.Verdict{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDir(t)
			d.make(t, "zz.inprogress")
			c.arrange(t, d)
			err := d.Wipe(c.verdict)
			if want := c.refused && c.verdict.Wipe; errors.Is(err, ErrWipeRefused) != want || (err != nil) != want {
				t.Errorf("error %v, refused should be %v", err, want)
			}
			if _, err := os.Lstat(filepath.Join(d.Path, "zz.inprogress")); (err == nil) != c.refused {
				t.Errorf("the half-written file: %v; refused is %v", err, c.refused)
			}
		})
	}
}

func load(t *testing.T, d Dir, args ...string) *config.Config {
	t.Helper()
	c, _, err := config.Load(append([]string{"--data-dir", d.Path}, args...), nil, func(string) ([]byte, error) { return nil, os.ErrNotExist })
	must(t, err)
	return c
}

func TestCookie(t *testing.T) {
	d := newDir(t)
	chance := bytes.NewReader(bytes.Repeat([]byte{0xab}, cookieRandomBytes))
	made, err := d.Cookie(load(t, d), false, chance)
	must(t, err)
	if want := strings.Repeat("ab", cookieRandomBytes); string(made.Reveal()) != want {
		t.Errorf("cookie %s, want %s", made.Reveal(), want)
	}
	info, err := os.Stat(filepath.Join(d.Path, ".cookie"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 0600", info.Mode().Perm())
	}
	// It is used from now on, whatever the addresses are.
	again, err := d.Cookie(load(t, d, "--listen", "0.0.0.0:1", "--advertise", "h:1", "--peer", "other:1"), false, nil)
	must(t, err)
	if !again.Equal(made) {
		t.Error("another cookie the second time")
	}
	must(t, os.Chmod(filepath.Join(d.Path, ".cookie"), 0o644))
	if _, err := d.Cookie(load(t, d), false, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a cookie that others can read: error %v", err)
	}
	given := filepath.Join(t.TempDir(), "cookie")
	if _, err := d.Cookie(load(t, d, "--cookie-file", given), false, chance); err == nil {
		t.Error("a cookie file that was given and does not exist was made")
	}
	if _, err := os.Lstat(given); err == nil {
		t.Error("a cookie file that was given was written")
	}
}

func TestAdminPassword(t *testing.T) {
	d := newDir(t)
	path := filepath.Join(t.TempDir(), "password")
	read := func() (config.Secret, error) { return d.AdminPassword(load(t, d, "--admin-password-file", path)) }
	if _, err := read(); err == nil {
		t.Error("a missing password file was read")
	}
	must(t, os.WriteFile(path, []byte("secret\n\n"), 0o600))
	if s, err := read(); err != nil || string(s.Reveal()) != "secret\n" {
		t.Errorf("password %q, error %v, want one newline cut", s.Reveal(), err)
	}
	must(t, os.Chmod(path, 0o604))
	if _, err := read(); err == nil {
		t.Error("a password file that others can read was read")
	}
	must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), config.PasswordBytesMax+1), 0o600))
	must(t, os.Chmod(path, 0o600))
	if _, err := read(); err == nil {
		t.Error("a password file that is too long was read")
	}
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o644))
	written := make(chan error)
	go func() { written <- os.WriteFile(path, []byte("by pipe"), 0o600) }()
	if s, err := read(); err != nil || string(s.Reveal()) != "by pipe" {
		t.Errorf("password %q, error %v, want the pipe's content", s.Reveal(), err)
	}
	must(t, <-written)
	if s, err := d.AdminPassword(load(t, d)); err != nil || !s.Empty() {
		t.Errorf("without a file: %v, error %v", s.Empty(), err)
	}
}

func TestMakePasswordKeeps(t *testing.T) {
	d := newDir(t)
	first, err := MakePassword(d.FS, d.Path, "pw", bytes.NewReader(make([]byte, cookieRandomBytes)))
	must(t, err)
	second, err := MakePassword(d.FS, d.Path, "pw", bytes.NewReader(nil))
	must(t, err)
	if !first.Equal(second) || first.Empty() {
		t.Errorf("passwords %q and %q, want the same", first.Reveal(), second.Reveal())
	}
}
