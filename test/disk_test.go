package test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// codeDiskFull is the error of writes while the disk is full, codeMemory that of writes beyond the quota.
const (
	codeDiskFull = 12002
	codeMemory   = 2
)

// failSyncs makes every sync of file contents of a running process fail from now on.
func failSyncs(t *testing.T, pid int) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-p", strconv.Itoa(pid), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-o", trace)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said lockedBuffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	waitFor(t, "strace", waitStart, func() bool { return strings.Contains(said.String(), "attached") })
}

// TestFailingDisk: after the first failed sync of the log nothing is acknowledged, and the process ends with class 3.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--no-restart"}})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	for n := range 20 {
		s.insert(list{n})
	}
	failSyncs(t, p.childPID())
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	for n := 100; n < 120; n++ {
		if _, err := s.c.Insert(ctx, 600, pack(list{n})); err == nil {
			t.Errorf("insert %d was acknowledged", n)
		}
	}
	if code := p.ended(waitStart); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if n := strings.Count(p.output(), `msg="instance started"`); n != 2 {
		t.Errorf("%d children were started, want 2", n)
	}
	// A disk that works again: what was acknowledged is there.
	p = p.again()
	p.online()
	if n := len((table{t, p.admin(), 600}).rows()); n < 20 || n > 40 {
		t.Errorf("%d rows", n)
	}
}

// TestFailingDiskFromStart runs the supervisor and all its children on a disk whose every thread may sync a few times
// only.
func TestFailingDiskFromStart(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "trace")
	p := startInstance(t, options{args: []string{"--no-restart"}, wrap: []string{"strace", "-D", "-f", "-o", trace,
		"-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=40+"}})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	acked, failed := 0, false
	for n := range 20_000 {
		_, err := s.c.Insert(ctx, 600, pack(list{n}))
		switch {
		case err != nil:
			failed = true
		case failed:
			t.Fatalf("insert %d was acknowledged after a failure", n)
		default:
			acked++
		}
		if codeOf(err) < 0 {
			break
		}
	}
	if !failed {
		t.Fatal("no sync has failed")
	}
	if code := p.ended(waitStart); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	p = p.again()
	p.online()
	if n := len((table{t, p.admin(), 600}).rows()); n < acked {
		t.Errorf("%d rows, %d were acknowledged", n, acked)
	}
}

// TestFailingDiskDuringBoot: an instance whose very first syncs fail never serves, and does not try for ever.
func TestFailingDiskDuringBoot(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"fdatasync", "fsync"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			trace := filepath.Join(t.TempDir(), "trace")
			p := startInstance(t, options{wrap: []string{"strace", "-D", "-f", "-o", trace, "-e", "trace=" + call, "-e", "inject=" + call + ":error=EIO"}})
			var s status
			waitFor(t, "the failure", waitStart, func() bool {
				s, _ = p.status()
				return !p.running() || s.State == "InitError" || s.State == "BootError" || contains(p, "delay=1m0s")
			})
			if code, _ := p.get("/health/ready"); code == 200 {
				t.Error("it is ready")
			}
			if n := strings.Count(p.output(), `msg="instance started"`); n > 3 {
				t.Errorf("%d children were started", n)
			}
			if p.running() {
				p.signal(syscall.SIGTERM)
			}
			if code := p.ended(waitStop); code == 0 {
				t.Error("exit code 0")
			}
			o := options{dir: p.dir, listen: p.listen, http: p.http}
			p = startInstance(t, o)
			p.online()
			checkOneInstance(t, p)
		})
	}
}

// TestPoisonedRestartsLater: without --no-restart the supervisor waits before it tries a failed disk again.
func TestPoisonedRestartsLater(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	child := p.childPID()
	failSyncs(t, child)
	if _, err := s.c.Insert(context.Background(), 600, pack(list{1})); err == nil {
		t.Error("an insert was acknowledged")
	}
	if !gone(t, child, waitStart) {
		t.Fatal("the child goes on")
	}
	waitFor(t, "the pause", waitStart, func() bool { return strings.Contains(p.output(), "delay=1m0s") })
	p.signal(syscall.SIGTERM)
	if code := p.ended(waitStop); code != 3 {
		t.Errorf("exit code %d of a stop during the pause, want 3", code)
	}
}

// TestDamagedFiles: what is damaged is not passed over in silence. The instance says which file and stays reachable.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	for name, pattern := range map[string]string{
		"log of the data": "data/*.rlog", "log of the catalog": "catalog/*.rlog", "snapshots": "data/*.snap", "catalog": "catalog/*.catalog",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := used(t)
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(found) == 0 {
				t.Fatalf("files %v, %v", found, err)
			}
			for _, path := range found {
				flip(t, path, 600)
			}
			p := startInstance(t, options{dir: dir})
			s := p.state("BootError")
			if s.Cause == nil || !strings.Contains(s.Cause.Message, filepath.Base(found[0])) {
				t.Errorf("cause %+v, want %s", s.Cause, found)
			}
			p.signal(syscall.SIGTERM)
			if code := p.ended(waitStop); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
		})
	}
}

// flip changes a bit of a file, at most at the given place.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[min(at, len(data)/2)] ^= 0x10
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: writes are refused while the disk is full, reads go on, and it mends by itself.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mount := smallDisk(t, "120m")
	p := startInstance(t, options{dir: filepath.Join(mount, "data")})
	child := p.online().PID
	s := createSpace(t, p.admin(), 600, "t1")
	ballast := filepath.Join(mount, "ballast")
	fill(t, ballast)
	acked := fillLog(t, s)
	if rows := s.rows(); len(rows) != acked {
		t.Errorf("%d rows are seen, %d were acknowledged", len(rows), acked)
	}
	if err := s.c.Ping(context.Background()); err != nil {
		t.Error(err)
	}
	if now, ok := p.status(); !ok || now.State != "RolesConfigured" || now.PID != child {
		t.Errorf("status of an instance with a full disk: %+v", now)
	}
	if _, err := s.c.Call(context.Background(), "box.snapshot", nil); err == nil {
		t.Error("a snapshot was written on a full disk")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	row := pack(list{1_000_000, "after"})
	waitFor(t, "writes to work again", waitStart, func() bool {
		_, err := s.c.Replace(context.Background(), 600, row)
		return err == nil
	})
	acked++
	do(t, "snapshot")(s.c.Call(context.Background(), "box.snapshot", nil))
	if now := p.childPID(); now != child {
		t.Errorf("process %d serves, before it was %d", now, child)
	}
	p.stop()
	p = p.again()
	p.online()
	if n := len((table{t, p.admin(), 600}).rows()); n != acked {
		t.Errorf("%d rows after the restart, %d were acknowledged", n, acked)
	}
	p.stop()
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// fillLog inserts until the log finds no more room, and returns the number of acknowledged rows.
func fillLog(t *testing.T, s table) (acked int) {
	t.Helper()
	payload := strings.Repeat("x", 256<<10)
	for n := range 1000 {
		_, err := s.c.Insert(context.Background(), s.id, pack(list{n, payload}))
		if err == nil {
			acked++
			continue
		}
		if code := codeOf(err); code != codeDiskFull {
			t.Fatalf("insert %d: %v, want error %d", n, err, codeDiskFull)
		}
		if _, err := s.c.Insert(context.Background(), s.id, pack(list{2_000_000, payload})); codeOf(err) != codeDiskFull {
			t.Errorf("the next insert: %v", err)
		}
		return acked
	}
	t.Fatal("the disk was never full")
	return 0
}

// TestMemoryQuota: beyond the quota inserts are refused, reads and deletes work, and what they free is used again.
func TestMemoryQuota(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--memory", "16MiB"}})
	st := p.online()
	if st.Memory.Quota == nil || *st.Memory.Quota != 16<<20 {
		t.Errorf("memory %+v", st.Memory)
	}
	s := createSpace(t, p.admin(), 600, "t1")
	payload := strings.Repeat("x", 4000)
	ctx := context.Background()
	full := 0
	for ; full < 30_000; full++ {
		if _, err := s.c.Insert(ctx, 600, pack(list{full, payload})); err != nil {
			if codeOf(err) != codeMemory {
				t.Fatalf("insert %d: %v, want error %d", full, err, codeMemory)
			}
			break
		}
	}
	if full < 2500 || full > 4300 {
		t.Errorf("%d rows of 4,000 bytes in 16 MiB", full)
	}
	if now, _ := p.status(); now.Memory.Used == nil || *now.Memory.Used < 12<<20 {
		t.Errorf("memory %+v", now.Memory)
	}
	if n := len(s.rows()); n != full {
		t.Errorf("%d rows, %d were acknowledged", n, full)
	}
	half := full / 2
	for n := range half {
		do(t, "delete")(s.c.Delete(ctx, iproto.ChangeArgs{Space: 600, Key: pack(list{n})}))
	}
	again := 0
	for ; again < half*9/10; again++ {
		if _, err := s.c.Insert(ctx, 600, pack(list{100_000 + again, payload})); err != nil {
			t.Errorf("insert %d of %d after deletes: %v", again, half, err)
			break
		}
	}
	p.stop()
	p = p.again("--memory", "16MiB")
	p.online()
	if n, want := len((table{t, p.admin(), 600}).rows()), full-half+again; n != want {
		t.Errorf("%d rows after the restart, want %d", n, want)
	}
}
