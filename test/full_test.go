package test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// smallDisk mounts a file system of its own, so that it can be filled.
func smallDisk(t *testing.T, size string) (mount string) {
	t.Helper()
	mount = t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(mount, unix.MNT_DETACH)
		}
	})
	return mount
}

// grant changes what guest may do on everything: each change is two records in the audit log and an entry of the catalog.
func grant(c *client.Client, bits int) error {
	_, err := c.Replace(context.Background(), spacePriv, pack(list{1, 0, "universe", 0, bits}))
	return err
}

// granted is what guest may do on everything.
func granted(t *testing.T, p *proc) int {
	t.Helper()
	got := toJSON(t, do(t, "select")(p.admin().Select(context.Background(),
		iproto.SelectArgs{Space: spacePriv, Limit: 1, Key: pack(list{0, "universe", 0})})))
	var rows [][5]any
	if err := json.Unmarshal([]byte(got), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%s: %v", got, err)
	}
	return int(rows[0][4].(float64))
}

// TestFullDiskEveryFile: each kind of file meets a full disk; what needs it is refused with a reason, everything else goes
// on, a stop and a start included, and with room again all of it works without a restart.
func TestFullDiskEveryFile(t *testing.T) {
	t.Parallel()
	mount := smallDisk(t, "120m")
	p := startInstance(t, options{dir: filepath.Join(mount, "data")})
	child := p.online().PID
	s := createSpace(t, p.admin(), 600, "t1")
	ballast := filepath.Join(mount, "ballast")
	ctx := context.Background()
	rows := 0
	for round := range 3 {
		fill(t, ballast)
		fillAudit(t, s.c)
		if round == 0 {
			rows += fillLog(t, s)
		} else {
			// There is room in the log's segment: only new files can not be had.
			s.insert(list{10_000 + round})
			rows++
		}
		if _, err := s.c.Call(ctx, "box.snapshot", nil); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("round %d: a snapshot on a full disk: %v", round, err)
		}
		if left, _ := filepath.Glob(filepath.Join(p.dir, "data/*.snap*.inprogress")); len(left) != 0 {
			t.Errorf("round %d: files are left: %v", round, left)
		}
		if round == 2 {
			p.stop()
			p = p.again()
			child = p.online().PID
			s.c = p.admin()
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "writes to work again", waitStart, func() bool {
			_, err := s.c.Insert(ctx, 600, pack(list{20_000 + round}))
			return err == nil
		})
		rows++
		if err := grant(s.c, 31-round); err != nil {
			t.Errorf("round %d: a grant with room: %v", round, err)
		}
		do(t, "snapshot")(s.c.Call(ctx, "box.snapshot", nil))
		if n := len(s.rows()); n != rows {
			t.Errorf("round %d: %d rows, want %d", round, n, rows)
		}
		if now := p.childPID(); now != child {
			t.Errorf("round %d: process %d serves, before it was %d", round, now, child)
		}
	}
	p.stop()
	code, out, errs := run(t, "inspect", filepath.Join(p.dir, "audit.log"))
	if code != 0 {
		t.Errorf("the audit log is not whole: %s%s", out, errs)
	}
	if text, err := os.ReadFile(filepath.Join(p.dir, "audit.log")); err != nil || !strings.Contains(string(text), "lost") {
		t.Errorf("the audit log does not tell that records were lost: %v", err)
	}
}

// TestFullDiskCatalog: the catalog's log finds no room. Rows are written meanwhile, the process is the same afterwards, and
// what was acknowledged is there after a restart.
func TestFullDiskCatalog(t *testing.T) {
	t.Parallel()
	mount := smallDisk(t, "120m")
	p := startInstance(t, options{dir: filepath.Join(mount, "data"), args: []string{"--audit", filepath.Join(t.TempDir(), "audit.log")}})
	child := p.online().PID
	s := createSpace(t, p.admin(), 600, "t1")
	ballast := filepath.Join(mount, "ballast")
	fill(t, ballast)
	acked, bits := 0, 0
	for ; acked < 30_000; acked++ {
		err := grant(s.c, 24+acked%2)
		if codeOf(err) == codeDiskFull {
			break
		}
		if err != nil {
			t.Fatalf("grant %d: %v", acked, err)
		}
		bits = 24 + acked%2
	}
	if acked == 0 || acked == 30_000 {
		t.Errorf("%d grants until the disk was full", acked)
	}
	if now := granted(t, p); now != bits {
		t.Errorf("granted %d, acknowledged %d", now, bits)
	}
	s.insert(list{1})
	if now, ok := p.status(); !ok || now.State != "RolesConfigured" || now.PID != child {
		t.Errorf("status %+v", now)
	}
	if _, body := p.get("/api/v1/cluster"); !strings.Contains(string(body), "disk") {
		t.Errorf("no issue tells of the full disk: %s", body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the catalog to be writable", waitStart, func() bool { return grant(s.c, 27) == nil })
	if now := p.childPID(); now != child {
		t.Errorf("process %d serves, before it was %d", now, child)
	}
	p.stop()
	p = p.again()
	p.online()
	if now := granted(t, p); now != 27 {
		t.Errorf("granted %d after the restart, want 27", now)
	}
	p.stop()
}

// fillAudit changes grants until the audit log finds no more room.
func fillAudit(t *testing.T, c *client.Client) {
	t.Helper()
	for n := range 100 {
		err := grant(c, 24+n%2)
		if err == nil {
			continue
		}
		if codeOf(err) != codeDiskFull || !strings.Contains(err.Error(), "audit log") {
			t.Fatalf("a grant with a full audit log: %v", err)
		}
		return
	}
	t.Fatal("the audit log was never full")
}
