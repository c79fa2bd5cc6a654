package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// copyOf copies the data directory of an instance that has ended to that of another one of the test.
func copyOf(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// refusedTwin waits until an instance says that another process has its identity: as the cause of BootError, or with the end of it.
func refusedTwin(t testing.TB, p *proc) {
	t.Helper()
	waitFor(t, "the refusal of a copy", waitStart, func() bool {
		s, ok := p.status()
		if ok && s.State == "BootError" && s.Cause != nil && s.Cause.Code == 12092 {
			return true
		}
		return !p.running() && strings.Contains(p.output(), "two processes must not have one identity")
	})
}

// A data directory is copied, and the copy started at another address: it is refused while the first one lives, whichever of the two was
// there before; when that one is gone the copy is the instance, which has moved.
func TestCopyIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	for n := range 20 {
		space.insert(list{n, "v"})
	}
	at := (c.at(leader) + 1) % 3
	c.instances[at].stop()
	twin := filepath.Join(c.dir, "twin")
	copyOf(t, c.instances[at].dir, twin)
	c.instances[at] = c.start(at)
	c.instances[at].online()
	elsewhere := freeAddress(t)
	start := func() *proc {
		return startInstance(t, options{dir: twin, listen: elsewhere,
			args: []string{"--peer", strings.Join(c.peers, ","), "--cookie-file", c.cookie, "--replication-factor", "3"}})
	}
	p := start()
	refusedTwin(t, p)
	p.kill()
	c.online()
	c.leader("data", 3)
	c.everywhere(20)
	c.instances[at].kill()
	if err := os.RemoveAll(twin); err != nil { // what it was before is not what it has acknowledged since
		t.Fatal(err)
	}
	copyOf(t, c.instances[at].dir, twin)
	p = start()
	p.online()
	waitFor(t, "the rows on the one that has moved", waitStart, func() bool { return rowsOf(p, 600) == 20 })
	again := c.start(at) // now this one is the copy
	refusedTwin(t, again)
	if s, ok := p.status(); !ok || s.State != "RolesConfigured" {
		t.Errorf("the instance that was there first: %+v", s)
	}
}

// The only instance of a cluster is copied: there is nobody else to notice.
func TestCopyOfLoneIsRefused(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	p.stop()
	twin := filepath.Join(t.TempDir(), "twin")
	copyOf(t, p.dir, twin)
	p = p.again()
	p.online()
	refusedTwin(t, startInstance(t, options{dir: twin, listen: freeAddress(t)}))
}

// fillUp inserts rows of 100 KB until memory ends, and returns how many were taken.
func fillUp(t testing.TB, p *proc, first int) (n int) {
	t.Helper()
	conn := p.admin()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	for ; ; n++ {
		_, err := conn.Insert(ctx, 600, pack(list{first + n, strings.Repeat("x", 100_000)}))
		switch {
		case err == nil && n < 2000:
			continue
		case codeOf(err) != 2:
			t.Fatalf("row %d: %v, want the error of memory", n, err)
		}
		return n
	}
}

// The voters of a replicaset have different memory: writes end where the smallest one is full, with an error, on all of them.
func TestSmallestVoter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, "--memory", "96MiB")
	c.online()
	leader := c.leader("data", 3)
	createSpace(t, leader.admin(), 600, "kv")
	at := (c.at(leader) + 1) % 3
	c.instances[at].stop()
	c.instances[at] = c.start(at, "--memory", "40MiB")
	c.online()
	leader = c.leader("data", 3)
	waitFor(t, "the issue of uneven memory", waitStart, func() bool {
		_, body := leader.get("/api/v1/cluster")
		return strings.Contains(string(body), "memory_uneven")
	})
	rows := fillUp(t, leader, 0)
	if rows > 400 || rows < 100 {
		t.Errorf("%d rows of 100 KB were taken, 40 MiB is what the smallest voter has", rows)
	}
	c.everywhere(rows)
	if s, ok := c.instances[at].status(); !ok || s.Memory.Used == nil || *s.Memory.Used > 40<<20 {
		t.Errorf("the smallest voter: %+v", s.Memory)
	}
}

// A replica with too little memory for the rows gets no vote. The only voter, whose rows are not logged, is killed: it goes on from its
// snapshot, and the replica, which had more, begins anew and has the same.
func TestLearnerBeginsAnew(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 2, "--memory", "128MiB", "--wal-mode", "none")
	c.online()
	first := c.instances[0]
	createSpace(t, first.admin(), 600, "kv")
	first.stop()
	first = c.start(0, "--memory", "128MiB")
	c.instances[0] = first
	c.online()
	conn := first.admin()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	for n := range 700 {
		do(t, "insert")(conn.Insert(ctx, 600, pack(list{n, strings.Repeat("x", 100_000)})))
	}
	c.peers = append(c.peers, freeAddress(t))
	second := c.start(1, "--memory", "64MiB")
	c.instances = append(c.instances, second)
	waitFor(t, "a learner with all rows", waitStart, func() bool { return rowsOf(second, 600) == 700 })
	waitFor(t, "word of why it has no vote", waitStart, func() bool {
		_, body := first.get("/api/v1/governor")
		return strings.Contains(string(body), "gets no vote: its --memory is less than the rows take")
	})
	if role, voters, _ := first.group("data"); role != "leader" || voters != 1 {
		t.Fatalf("%s of %d voters", role, voters)
	}
	for n := range 5 {
		do(t, "insert")(conn.Insert(ctx, 600, pack(list{1000 + n, "after the snapshot for the learner"})))
	}
	waitFor(t, "the last rows on the learner", waitStart, func() bool { return rowsOf(second, 600) == 705 })
	before := dataID(second)
	first.kill()
	c.instances[0] = c.start(0, "--memory", "128MiB")
	waitFor(t, "a new data raft id of the learner", waitStart, func() bool { id := dataID(second); return id != 0 && id != before })
	c.instances[0].online()
	rows := rowsOf(c.instances[0], 600)
	if rows < 700 || rows > 705 {
		t.Fatalf("%d rows after the kill, the snapshot had at least 700", rows)
	}
	waitFor(t, "the same rows on the learner", waitStart, func() bool { return rowsOf(second, 600) == rows })
	(table{t: t, c: c.instances[0].admin(), id: 600}).insert(list{2000, "new"})
	waitFor(t, "a new row on the learner", waitStart, func() bool { return rowsOf(second, 600) == rows+1 })
	auditHas(t, c.instances[0], "log_unsure", "the learners begin anew")
}
