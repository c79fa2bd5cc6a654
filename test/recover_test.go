package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recoverFrom runs lycosa recover on the directory of an instance, and types the name of the cluster.
func recoverFrom(t testing.TB, p *proc, typed string) (code int, said string) {
	t.Helper()
	return runTypingSaid(t, typed+"\n", "recover", "--from-survivor", "--data-dir", p.dir)
}

// offline waits until an instance shows another one with the grade Offline.
func offline(t testing.TB, p *proc, name string) {
	t.Helper()
	waitFor(t, "the grade Offline of "+name, waitStart, func() bool {
		doc, _ := p.cluster()
		for _, row := range doc.Instances {
			if row.Name == name && row.Grade.Current.Name == "Offline" {
				return true
			}
		}
		return false
	})
}

// Two of three are lost for good. The third one becomes the cluster, with every row; one of the lost ones, whose disk was not
// lost after all, is refused, started again and again; emptied and replaced it comes back and is fed.
func TestRecoverFromSurvivor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
	for n := range 50 {
		space.insert(list{n, "before"})
	}
	survivor := c.instances[0]
	names := []string{nameOf(c.instances[0]), nameOf(c.instances[1]), nameOf(c.instances[2])}
	waitFor(t, "the rows on the survivor", waitStart, func() bool { return rowsOf(survivor, 600) == 50 })
	for _, p := range c.instances {
		p.kill()
	}
	if code, said := recoverFrom(t, survivor, "another"); code != 1 || !strings.Contains(said, "nothing was done") {
		t.Fatalf("not confirmed: exit code %d", code)
	}
	code, said := recoverFrom(t, survivor, "demo")
	if code != 0 {
		t.Fatalf("recover: exit code %d", code)
	}
	for _, want := range append(names, "epoch 2", "last entry", "Lost: ", "Kept: ", "lycosa replace") {
		if !strings.Contains(said, want) {
			t.Errorf("recover does not say %q", want)
		}
	}
	auditHas(t, survivor, `"privileged_intent"`, "recover cluster demo from survivor "+names[0])
	auditHas(t, survivor, `"privileged_done"`, "recover cluster demo from survivor "+names[0])
	c.instances[0] = c.start(0)
	survivor = c.instances[0]
	survivor.online()
	if c.leader("data", 1) != survivor || c.leader("catalog", 1) != survivor {
		t.Fatal("the survivor does not lead its groups")
	}
	if got := rowsThere(survivor, 600); got != 50 {
		t.Fatalf("%d rows after the recovery, want 50", got)
	}
	after := table{t: t, c: survivor.admin(), id: 600}
	for n := range 20 {
		after.insert(list{100 + n, "after"})
	}
	for range 2 { // for ever
		old := c.start(1)
		if code := old.ended(waitStart); code != 2 || !strings.Contains(old.output(), "epoch") {
			t.Fatalf("an instance of the old epoch ended with %d, want 2: %s", code, tail(old.output(), 2000))
		}
	}
	c.comesBack(1, names[1], 70)
	c.leader("data", 2)
	(table{t: t, c: c.leader("data", 2).admin(), id: 600}).insert(list{200, "of two"})
	waitFor(t, "the row of two", waitStart, func() bool { return rowsOf(c.instances[1], 600) == 71 && rowsOf(c.instances[0], 600) == 71 })
	c.instances[0].kill()
	c.instances[0] = c.start(0) // the new epoch is on disk
	c.online()
	c.leader("data", 2)
}

// comesBack empties the directory of an instance and replaces it.
func (c *cluster) comesBack(at int, name string, rows int) {
	c.t.Helper()
	offline(c.t, c.instances[0], name)
	if err := os.RemoveAll(filepath.Join(c.dir, filepath.Base(c.instances[at].dir))); err != nil {
		c.t.Fatal(err)
	}
	if code, out, errs := run(c.t, "replace", name, "--peer", c.instances[0].adminSocket()); code != 0 {
		c.t.Fatalf("replace: exit code %d, %s%s", code, out, errs)
	}
	c.instances[at] = c.start(at, "--instance-name", name)
	if s := c.instances[at].online(); s.Name != name {
		c.t.Fatalf("came back as %s, want %s", s.Name, name)
	}
	waitFor(c.t, "the rows on the replaced instance", waitStart, func() bool { return rowsOf(c.instances[at], 600) == rows })
}

// auditHas requires a record in the audit log of an instance.
func auditHas(t testing.TB, p *proc, words ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return
		}
	}
	t.Errorf("no record of %q in the audit log", words)
}

// One of two is lost: the other one can do nothing alone, and is recovered with what it had not even known to be committed. The lost
// one, which still runs, unreachable before, ends when it hears of the new epoch.
func TestRecoverOneOfTwo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	c.online()
	space := createSpace(t, c.leader("data", 2).admin(), 600, "kv")
	for n := range 30 {
		space.insert(list{n, "before"})
	}
	name := nameOf(c.instances[1])
	waitFor(t, "the rows on the survivor", waitStart, func() bool { return rowsOf(c.instances[0], 600) == 30 })
	if code, said := recoverFrom(t, c.instances[0], "demo"); code != 1 || !strings.Contains(said, "held by process ") {
		t.Fatalf("recover of an instance that runs: exit code %d", code)
	}
	c.instances[0].kill()
	if code, _ := recoverFrom(t, c.instances[0], "demo"); code != 0 {
		t.Fatalf("recover: exit code %d", code)
	}
	c.instances[0] = c.start(0)
	c.instances[0].online()
	if code := c.instances[1].ended(waitStart); code != 2 {
		t.Fatalf("the other one ended with %d, want 2", code)
	}
	(table{t: t, c: c.instances[0].admin(), id: 600}).insert(list{100, "alone"})
	c.comesBack(1, name, 31)
	c.leader("data", 2)
}

// What can not be recovered is refused with a reason, and nothing is changed.
func TestRecoverRefused(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	p.stop()
	for _, c := range []struct {
		says string
		code int
		args []string
	}{
		{"nothing to recover from", 1, []string{"recover", "--from-survivor", "--data-dir", p.dir}},
		{"--from-survivor", 2, []string{"recover", "--data-dir", p.dir}},
		{"no such file", 2, []string{"recover", "--from-survivor", "--data-dir", p.dir + "-not"}},
		{"not the directory of a member", 1, []string{"recover", "--from-survivor", "--data-dir", t.TempDir()}},
		{"--data-dir", 2, []string{"recover", "--from-survivor", "--data-dri", p.dir}},
	} {
		if code, said := runTypingSaid(t, "demo\n", c.args...); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q", c.args, code, c.code, c.says)
		}
	}
	p.again().online()
}

// Each instance has a replicaset of its own, and two of three are lost: the rows of the survivor's are there, those of the others are lost, as
// was said; another one comes back, by force, as an empty replicaset of its own.
func TestRecoverOthersRowsLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 1)
	c.online()
	survivor, name := c.instances[0], nameOf(c.instances[1])
	waitFor(t, "three replicasets that are ready", waitStart, func() bool {
		doc, ok := survivor.cluster()
		for _, rs := range doc.Replicasets {
			ok = ok && rs.State == "ready"
		}
		return ok && len(doc.Replicasets) == 3
	})
	for _, p := range c.instances {
		p.kill()
	}
	code, said := recoverFrom(t, survivor, "demo")
	if code != 0 || strings.Count(said, "Lost: all rows of replicaset ") != 2 {
		t.Fatalf("recover: exit code %d, want 0 and two replicasets that are lost", code)
	}
	c.instances[0] = c.start(0)
	c.instances[0].online()
	offline(t, c.instances[0], name)
	if err := os.RemoveAll(c.instances[1].dir); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := run(t, "replace", name, "--peer", c.instances[0].adminSocket()); code != 1 {
		t.Fatalf("replace without --force: exit code %d, want 1", code)
	}
	if code := runTyping(t, name+"\n", "replace", name, "--force", "--peer", c.instances[0].adminSocket()); code != 0 {
		t.Fatalf("replace --force: exit code %d", code)
	}
	c.instances[1] = c.start(1, "--instance-name", name)
	c.instances[1].online()
}
