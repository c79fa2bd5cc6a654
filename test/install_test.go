package test

import (
	"strings"
	"syscall"
	"testing"
)

// behind makes one replica miss so much that the leader's log does not have it any more: while it is away, the leader writes,
// and takes checkpoints until the entries that are missing are gone.
func (c *cluster) behind(space table, leader *proc, first int) (rows int) {
	c.t.Helper()
	value := strings.Repeat("x", 200)
	for round := range 3 {
		for n := range 200 {
			space.insert(list{first + 200*round + n, value})
		}
		if code, _, stderr := run(c.t, "checkpoint", "--peer", leader.adminSocket(), "--timeout", "2m"); code != 0 {
			c.t.Fatalf("checkpoint: %s", stderr)
		}
	}
	return 600
}

// follower is one of the others, with its place.
func (c *cluster) follower(leader *proc) (int, *proc) {
	for n, p := range c.instances {
		if p != leader {
			return n, p
		}
	}
	c.t.Fatal("no follower")
	return 0, nil
}

const installed = "snapshot installed"

// A replica that was away, killed, for longer than the log reaches comes back by a snapshot of the leader, and lives on from it: entries
// that follow reach it, and so does a restart.
func TestSnapshotAfterKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	at, f := c.follower(leader)
	f.kill()
	rows := c.behind(space, leader, 0)
	c.instances[at] = c.start(at)
	f = c.instances[at]
	f.online()
	waitFor(t, "the rows of the snapshot", waitStart, func() bool { return rowsOf(f, 600) == rows })
	waitFor(t, "the word that a snapshot was installed", waitStart, func() bool { return contains(f, installed) })
	for n := range 50 {
		space.insert(list{10_000 + n, "behind the snapshot"})
	}
	waitFor(t, "the rows behind the snapshot", waitStart, func() bool { return rowsOf(f, 600) == rows+50 })
	f.kill()
	c.instances[at] = c.start(at)
	c.instances[at].online()
	waitFor(t, "all rows after a restart", waitStart, func() bool { return rowsOf(c.instances[at], 600) == rows+50 })
}

// A replica that did not run for a while, and whose engine is in use, becomes what the snapshot holds while it is read.
func TestSnapshotAfterPause(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	for n := range 100 {
		space.insert(list{n, "before"})
	}
	_, f := c.follower(leader)
	waitFor(t, "the first rows", waitStart, func() bool { return rowsOf(f, 600) == 100 })
	child := f.childPID()
	kill(t, child, syscall.SIGSTOP)
	rows := 100 + c.behind(space, leader, 1000)
	kill(t, child, syscall.SIGCONT)
	seen := map[int]bool{}
	waitFor(t, "the rows of the snapshot", waitStart, func() bool {
		n := rowsOf(f, 600)
		seen[n] = true
		return n == rows
	})
	t.Logf("numbers of rows: %v", seen)
	waitFor(t, "the word that a snapshot was installed", waitStart, func() bool { return contains(f, installed) })
	space.insert(list{10_000, "behind the snapshot"})
	waitFor(t, "a row behind the snapshot", waitStart, func() bool { return rowsOf(f, 600) == rows+1 })
	// On a slow machine it stands still for so long that its supervisor replaces it.
	if f.childPID() != child && !contains(f, "and is killed") {
		t.Error("the process is another one")
	}
}
