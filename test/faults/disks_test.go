package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Three instances, each with a disk of its own that becomes slow, fails, or loses its power. They are not started again by
// their supervisors, so that the test sees how they end.
func TestDisks(t *testing.T) {
	c := prepare(t, 3, "--no-restart")
	for _, dir := range c.dirs {
		diskImage(t, filepath.Dir(dir))
	}
	c.startAll()
	torment(t, c, *rounds, faultsOfDisks)
}

// codePoisoned is how an instance ends whose log could not be written.
const codePoisoned = 3

var faultsOfDisks = []fault{
	{"the leader loses power", func(s *scene) {
		s.withLeader(func(leader int, _ []int) { s.cutPower(leader) })
	}},
	{"the leader's disk fails", func(s *scene) {
		s.withLeader(func(leader int, _ []int) { s.breakDisk(leader) })
	}},
	{"a follower's disk fails", func(s *scene) {
		s.withLeader(func(_ int, others []int) { s.breakDisk(others[s.chance.IntN(2)]) })
	}},
	{"the leader's syncs fail", func(s *scene) {
		s.withLeader(func(leader int, _ []int) { s.failSyncs(leader) })
	}},
	{"a follower's syncs fail", func(s *scene) {
		s.withLeader(func(_ int, others []int) { s.failSyncs(others[s.chance.IntN(2)]) })
	}},
	{"the leader's disk hangs", func(s *scene) { s.hangDisk() }},
	{"a disk is slow, a follower's and then the leader's", func(s *scene) {
		s.withLeader(func(_ int, others []int) { s.slowDisk(others[s.chance.IntN(2)]) })
	}},
}

// breakDisk makes every call to a disk fail from one moment on. Its instance ends as poisoned, and the others go on; with
// the disk back, it comes back.
func (s *scene) breakDisk(victim int) {
	s.Helper()
	disk := filepath.Dir(s.c.dirs[victim])
	s.shutdown(disk, newCanary(disk))
	s.endsPoisoned(victim)
	s.remount(disk)
	s.l.young.Store(anyAddress)
	s.c.start(victim)
}

// endsPoisoned requires that an instance ends because of its disk, and that the others do not mind.
func (s *scene) endsPoisoned(victim int) {
	s.Helper()
	if code := s.c.instances[victim].ended(); code != codePoisoned {
		s.Errorf("instance %d ended with %d, want %d", victim+1, code, codePoisoned)
	}
	s.majorityGoesOn(but(len(s.c.instances), victim))
}

// failSyncs makes every sync of a running instance's log fail from one moment on.
func (s *scene) failSyncs(victim int) {
	s.Helper()
	defer s.trace(victim, "error=EIO")()
	s.endsPoisoned(victim)
	s.l.young.Store(anyAddress)
	s.c.start(victim)
}

// hangDisk makes the syncs of the leader's log take forever. Another one takes over, and the old leader follows as soon as
// its disk goes on.
func (s *scene) hangDisk() {
	s.Helper()
	s.withLeader(func(leader int, others []int) {
		end := s.trace(leader, fmt.Sprintf("delay_enter=%d", time.Hour.Microseconds()))
		defer end()
		s.majorityGoesOn(others)
	})
}

// trace does something to every sync of a running instance's log.
func (s *scene) trace(victim int, inject string) (end func()) {
	s.Helper()
	children := s.c.instances[victim].children()
	if len(children) != 1 {
		s.Fatalf("instance %d has %d children", victim+1, len(children))
	}
	var said output
	cmd := exec.Command("strace", "-f", "-p", strconv.Itoa(children[0]), "-e", "trace=fdatasync", "-e", "inject=fdatasync:"+inject, "-o", os.DevNull)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	waitFor(s, "strace", waitStop, func() bool { return strings.Contains(said.String(), "attached") })
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// output is what a program says, to be read while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// slowSync is how long a sync takes on a slow disk.
const slowSync = 150 * time.Millisecond

// slowDisk starts an instance anew on a disk whose every sync takes long. It follows, and leads, all the same.
func (s *scene) slowDisk(victim int) {
	s.Helper()
	trace := fmt.Sprintf("%s-syncs-%d", s.c.dirs[victim], s.l.round)
	s.l.young.Store(anyAddress)
	s.c.stop(s, victim)
	p := s.c.startUnder(victim, "strace", "-D", "-f", "--seccomp-bpf", "-o", trace, "-e", "trace=fsync,fdatasync",
		"-e", fmt.Sprintf("inject=fsync,fdatasync:delay_exit=%d", slowSync.Microseconds()))
	s.c.healthy(s, waitHealed)
	s.majorityGoesOn(s.all())
	delayed := func() int {
		text, _ := os.ReadFile(trace)
		return bytes.Count(text, []byte("(DELAYED)"))
	}
	before := delayed()
	waitFor(s, "syncs that take long", waitHealed, func() bool { return delayed() > before+3 })
	s.promote(victim)
	s.majorityGoesOn(s.all())
	s.c.stop(s, victim)
	if p.running() {
		s.Errorf("instance %d is still there", victim+1)
	}
	s.c.start(victim)
}

// fillDisk fills the disk of an instance, writes until it finds no more room, and makes room again. The others go on, whoever
// led before.
func (s *scene) fillDisk(victim *proc) {
	s.Helper()
	ballast := filepath.Join(filepath.Dir(victim.dir), "ballast")
	fill(s, ballast)
	found := false
	for n := 0; n < 1000 && !found; n++ {
		s.writeMuch(n)
		found = victim.issue("disk_full")
	}
	if !found {
		s.Fatalf("instance %d says nothing about its full disk", victim.i+1)
	}
	s.l.flows(s, "with a full disk", 50)
	if err := os.Remove(ballast); err != nil {
		s.Fatal(err)
	}
	s.roomAgain()
}

// roomAgain waits until every disk has room, and has every instance write a snapshot, which lets it give up what it has logged.
func (s *scene) roomAgain() {
	s.Helper()
	for _, p := range s.c.instances {
		waitFor(s, "room on the disk", waitHealed, func() bool { return !p.issue("disk_full") })
		func() {
			conn := s.c.connect(p)
			defer conn.Close()
			ctx, cancel := timeout(waitHealed)
			defer cancel()
			if _, err := conn.Call(ctx, "box.snapshot", nil); err != nil {
				s.Errorf("a snapshot on a disk that has room again: %v", err)
			}
		}()
	}
}

// fill writes a file until there is no room for a byte.
func fill(t testing.TB, path string) {
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
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// writeMuch writes a large row at whatever instance takes it; nobody looks at it again.
func (s *scene) writeMuch(n int) {
	s.Helper()
	conn := s.c.connect(s.c.instances[n%len(s.c.instances)])
	defer conn.Close()
	ctx, cancel := timeout(opTimeout)
	defer cancel()
	// An error is what is looked for here.
	_, _ = conn.Replace(ctx, spaceBulk, pack(1, strings.Repeat("x", 256<<10)))
}

// fillAll fills all disks: nothing is written any more, and nothing of what was is lost. With room again, all goes on by
// itself.
func (s *scene) fillAll() {
	s.Helper()
	var ballast []string
	for _, dir := range s.c.dirs {
		ballast = append(ballast, filepath.Join(filepath.Dir(dir), "ballast"))
		fill(s, ballast[len(ballast)-1])
	}
	n := 0
	// The last one may keep some room that was allocated before: when two are full, nothing is written that could use it up.
	waitFor(s, "a majority to say that their disks are full", waitHealed, func() bool {
		n++
		s.writeMuch(n)
		full := 0
		for _, p := range s.c.instances {
			if p.issue("disk_full") {
				full++
			}
		}
		return full > len(s.c.instances)/2
	})
	s.hold(time.Second, 2*time.Second)
	for _, path := range ballast {
		if err := os.Remove(path); err != nil {
			s.Fatal(err)
		}
	}
	s.roomAgain()
}
