package test

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataID is the raft id of an instance in the group of its replicaset, 0 if it does not tell.
func dataID(p *proc) uint64 {
	s, _ := p.status()
	for _, g := range s.Groups {
		if g.Name == "data" {
			return g.RaftID
		}
	}
	return 0
}

// at is the number of an instance.
func (c *cluster) at(p *proc) int {
	for n := range c.instances {
		if c.instances[n] == p {
			return n
		}
	}
	c.t.Fatal("no instance of this cluster")
	return 0
}

// everywhere waits until all instances have so many rows.
func (c *cluster) everywhere(rows int) {
	c.t.Helper()
	for _, p := range c.instances {
		waitFor(c.t, fmt.Sprintf("%d rows on %s", rows, p.listen), waitStart, func() bool { return rowsOf(p, 600) == rows })
	}
}

// fresh waits until a restarted instance is online under another id in its replicaset than before.
func (c *cluster) fresh(p *proc, before uint64) {
	c.t.Helper()
	waitFor(c.t, "a new data raft id", waitStart, func() bool { id := dataID(p); return id != 0 && id > before })
	p.online()
	c.leader("data", len(c.instances))
}

// Rows that are not logged at all: who is killed comes back under another id and is fed by the others; a stop of all that was asked for
// loses nothing and renews nobody; if all are killed they wait, and say what to do, and a survivor has the rows of the last clean stop.
func TestNoneIsKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, "--wal-mode", "none")
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	for n := range 50 {
		space.insert(list{n, "v"})
	}
	c.everywhere(50)
	at, before := c.at(leader), dataID(leader)
	leader.kill()
	c.instances[at] = c.start(at)
	c.fresh(c.instances[at], before)
	c.everywhere(50)
	auditHas(t, c.instances[at], "log_unsure", "under a new raft id")
	for n := range 20 {
		(table{t: t, c: c.leader("data", 3).admin(), id: 600}).insert(list{100 + n, "v"})
	}
	c.everywhere(70)
	var ids []uint64
	for _, p := range c.instances {
		ids = append(ids, dataID(p))
	}
	for _, p := range c.instances {
		p.stop()
	}
	for n := range c.instances {
		c.instances[n] = c.start(n)
	}
	c.online()
	c.leader("data", 3)
	c.everywhere(70)
	for n, p := range c.instances {
		if id := dataID(p); id != ids[n] {
			t.Errorf("%s has data raft id %d after a clean stop, before %d", p.listen, id, ids[n])
		}
	}
	for _, p := range c.instances {
		p.kill()
	}
	for n := range c.instances {
		c.instances[n] = c.start(n)
	}
	for _, p := range c.instances {
		waitFor(t, "word of what to do on "+p.listen, waitStart, func() bool {
			s, ok := p.status()
			return ok && s.State == "ConnectingFullmesh" && s.WaitingFor != nil && strings.Contains(*s.WaitingFor, "lycosa recover --from-survivor")
		})
	}
	for _, p := range c.instances {
		p.stop() // must not count as a clean stop of what may have been forgotten
	}
	if code, _ := recoverFrom(t, c.instances[0], "demo"); code != 0 {
		t.Fatalf("recover: exit code %d", code)
	}
	c.instances[0] = c.start(0)
	c.instances[0].online()
	if got := rowsOf(c.instances[0], 600); got != 70 {
		t.Errorf("%d rows after the recovery, 70 were there at the last clean stop", got)
	}
}

// rebooted makes the log of an instance look as if the machine had been started anew since it was opened.
func rebooted(t testing.TB, p *proc) {
	t.Helper()
	name := filepath.Join(p.dir, "data", "mode")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, content, ok := strings.Cut(string(b), "\n")
	mark := `"boot":"`
	if !ok || !strings.Contains(content, mark) {
		t.Fatalf("%s: %q", name, b)
	}
	content = strings.Replace(content, mark, mark+"another-", 1)
	sum := crc32.Checksum([]byte(content), crc32.MakeTable(crc32.Castagnoli))
	if err := os.WriteFile(name, fmt.Appendf(nil, "lycosa-log-mode 1 %08x\n%s", sum, content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Rows that are logged without sync: a killed process has lost nothing and keeps its id; one that was killed by a power cut begins anew.
func TestWriteLosesPower(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, "--wal-mode", "write")
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	for n := range 50 {
		space.insert(list{n, "v"})
	}
	at, id := c.at(leader), dataID(leader)
	leader.kill()
	c.instances[at] = c.start(at)
	c.instances[at].online()
	c.leader("data", 3)
	c.everywhere(50)
	if now := dataID(c.instances[at]); now != id {
		t.Errorf("data raft id %d became %d, although the machine was not started anew", id, now)
	}
	c.instances[at].kill()
	rebooted(t, c.instances[at])
	c.instances[at] = c.start(at)
	c.fresh(c.instances[at], id)
	c.everywhere(50)
}

// A lone instance whose rows are not logged goes on from its last snapshot, and says that something may be gone.
func TestLoneNoneIsKilled(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--wal-mode", "none"}})
	p.online()
	space := createSpace(t, p.admin(), 600, "kv")
	space.insert(list{1, "saved"})
	p.stop()
	p = p.again("--wal-mode", "none")
	p.online()
	if got := rowsOf(p, 600); got != 1 {
		t.Fatalf("%d rows after a clean stop, 1 was acknowledged", got)
	}
	(table{t: t, c: p.admin(), id: 600}).insert(list{2, "lost"})
	id := dataID(p)
	p.kill()
	p = p.again("--wal-mode", "none")
	p.online()
	if got := rowsOf(p, 600); got != 1 || dataID(p) != id {
		t.Fatalf("%d rows after a kill, 1 was saved; data raft id %d, before %d", got, dataID(p), id)
	}
	auditHas(t, p, "log_unsure", "goes on from what it has")
	if _, body := p.get("/api/v1/cluster"); !strings.Contains(string(body), "unclean_log") {
		t.Errorf("no issue: %s", body)
	}
}
