package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What an ext4 file system is asked for to end at once: what is not on disk yet never gets there, the journal included.
const (
	ioctlShutdown      = 0x8004587d
	shutdownNoLogFlush = 2
)

// Three instances, each with a disk of its own, lose power at the same moment, again and again. They sync before they
// acknowledge, so nothing that was acknowledged is lost.
func TestPowerCuts(t *testing.T) {
	c := prepare(t, 3)
	for _, dir := range c.dirs {
		diskImage(t, filepath.Dir(dir))
	}
	c.startAll()
	torment(t, c, *cuts, []fault{{"all lose power", func(s *scene) { s.cutPower(0, 1, 2) }}})
}

// diskImage makes an image of a disk and mounts it at dir.
func diskImage(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Create(dir + ".img")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(768<<20), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	must(t, "mkfs.ext4", "-q", "-F", f.Name())
	mountImage(t, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

func mountImage(t testing.TB, dir string) {
	t.Helper()
	must(t, "mount", "-o", "loop", dir+".img", dir)
}

// cutPower ends the disks of some instances and their processes, and starts them again on what the disks hold.
func (s *scene) cutPower(some ...int) {
	s.Helper()
	s.hold(300*time.Millisecond, 1200*time.Millisecond) // under load
	var canaries []string
	var all sync.WaitGroup
	for _, i := range some {
		disk := filepath.Dir(s.c.dirs[i])
		canary := newCanary(disk)
		canaries = append(canaries, canary)
		all.Go(func() { s.shutdown(disk, canary) })
	}
	all.Wait()
	for _, i := range some {
		s.c.instances[i].killBoth()
	}
	for _, i := range some {
		s.remount(filepath.Dir(s.c.dirs[i]))
	}
	for _, canary := range canaries {
		if st, err := os.Stat(canary); err == nil && st.Size() > 0 {
			s.Fatalf("%s was not synced, and was not lost: the power cut does not bite", canary)
		}
	}
	s.l.young.Store(anyAddress)
	for _, n := range s.chance.Perm(len(some)) {
		s.c.start(some[n])
	}
}

// remount takes a disk off and puts it on again.
func (s *scene) remount(disk string) {
	s.Helper()
	// Threads of a process that was killed may take a moment to give their files back.
	waitFor(s, "nobody to use "+disk, waitStop, func() bool { return unix.Unmount(disk, 0) == nil })
	mountImage(s, disk)
}

// newCanary names a file that was never there: ext4 writes one that was cut to nothing and filled again at its close.
func newCanary(disk string) string {
	return filepath.Join(disk, fmt.Sprintf("canary-%d", time.Now().UnixNano()))
}

// shutdown writes a canary without syncing it and ends the disk.
func (s *scene) shutdown(disk, canary string) {
	if err := os.WriteFile(canary, []byte("was not synced"), 0o600); err != nil {
		s.Errorf("write a canary: %v", err)
	}
	f, err := os.Open(disk)
	if err != nil {
		s.Errorf("open %s: %v", disk, err)
		return
	}
	defer f.Close()
	how := uint32(shutdownNoLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		s.Errorf("shut %s down: %v", disk, errno)
	}
	if err := os.WriteFile(canary+"2", nil, 0o600); !errors.Is(err, syscall.EIO) {
		s.Errorf("a disk without power answered a write with %v", err)
	}
}
