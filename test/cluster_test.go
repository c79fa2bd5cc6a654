package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// cluster are instances that were started with each other's addresses.
type cluster struct {
	t         testing.TB
	dir       string
	cookie    string
	factor    int
	instances []*proc
	peers     []string
}

// newCluster starts n instances at once, each of which knows all.
func newCluster(t testing.TB, n, factor int, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), factor: factor}
	c.cookie = filepath.Join(c.dir, "cookie")
	if err := os.WriteFile(c.cookie, []byte("a-cookie-that-all-of-them-share\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range n {
		c.peers = append(c.peers, freeAddress(t))
	}
	for i := range n {
		c.instances = append(c.instances, c.start(i, args...))
	}
	return c
}

// start starts one instance on its directory.
func (c *cluster) start(i int, args ...string) *proc {
	c.t.Helper()
	return startInstance(c.t, options{
		dir: filepath.Join(c.dir, fmt.Sprintf("i%d", i+1)), listen: c.peers[i],
		args: append([]string{"--peer", strings.Join(c.peers, ","), "--cookie-file", c.cookie, "--replication-factor", fmt.Sprint(c.factor)}, args...),
	})
}

// online waits until all instances that run are Online and configured.
func (c *cluster) online() {
	c.t.Helper()
	for _, p := range c.instances {
		if p.running() {
			p.online()
		}
	}
}

// clusterDoc is what the tests read of /api/v1/cluster.
type clusterDoc struct {
	ClusterUUID string `json:"cluster_uuid"`
	Instances   []struct {
		Name       string `json:"name"`
		RaftID     uint64 `json:"raft_id"`
		Address    string `json:"address"`
		Replicaset string `json:"replicaset"`
		State      string `json:"state"`
		IsLeader   bool   `json:"is_leader"`
		Grade      struct {
			Current struct {
				Name string `json:"name"`
			} `json:"current"`
		} `json:"grade"`
	} `json:"instances"`
	Replicasets []struct {
		Name   string `json:"name"`
		Leader string `json:"leader"`
		State  string `json:"state"`
	} `json:"replicasets"`
}

func (p *proc) cluster() (doc clusterDoc, ok bool) {
	code, body := p.get("/api/v1/cluster")
	return doc, code == http.StatusOK && json.Unmarshal(body, &doc) == nil
}

// group is a running instance's view of one of its groups.
func (p *proc) group(name string) (role string, voters int, ok bool) {
	s, ok := p.status()
	if !ok {
		return "", 0, false
	}
	for _, g := range s.Groups {
		if g.Name == name {
			return g.Role, len(g.Voters), true
		}
	}
	return "", 0, false
}

// leader waits for the instance that leads a group among those that run, with so many voters.
func (c *cluster) leader(group string, voters int) *proc {
	c.t.Helper()
	var found *proc
	waitFor(c.t, fmt.Sprintf("a leader of group %s with %d voters", group, voters), waitStart, func() bool {
		for _, p := range c.instances {
			if role, n, ok := p.group(group); p.running() && ok && role == "leader" && n == voters {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

// kill ends an instance, both processes, without notice.
func (p *proc) kill() {
	p.t.Helper()
	child := p.childPID()
	_ = syscall.Kill(child, syscall.SIGKILL)
	p.signal(syscall.SIGKILL)
	p.ended(waitStop)
	if !gone(p.t, child, waitStop) {
		p.t.Fatalf("process %d is still there", child)
	}
}

// Three instances that know each other become one cluster with one replicaset; what one of them acknowledged is on all.
func TestThreeBecomeOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	uuid := ""
	for _, p := range c.instances {
		doc, ok := p.cluster()
		if !ok || len(doc.Instances) != 3 || len(doc.Replicasets) != 1 {
			t.Fatalf("cluster %+v", doc)
		}
		if uuid == "" {
			uuid = doc.ClusterUUID
		}
		if doc.ClusterUUID != uuid {
			t.Fatalf("two clusters: %s and %s", uuid, doc.ClusterUUID)
		}
	}
	space := createSpace(t, leader.admin(), 600, "kv")
	for n := range 100 {
		space.insert(list{n, "v"})
	}
	for _, p := range c.instances {
		waitFor(t, "100 rows on "+p.listen, waitStart, func() bool { return rowsOf(p, 600) == 100 })
	}
}

// rowsThere is rowsOf of an instance that answers sooner or later.
func rowsThere(p *proc, space uint32) (n int) {
	p.t.Helper()
	waitFor(p.t, "an answer of "+p.listen, waitStart, func() bool { n = rowsOf(p, space); return n >= 0 })
	return n
}

// rowsOf counts the rows of a space as an instance shows them, -1 if it does not answer.
func rowsOf(p *proc, space uint32) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, p.adminSocket(), client.Options{})
	if err != nil {
		return -1
	}
	defer conn.Close()
	rows, err := conn.Select(ctx, iproto.SelectArgs{Space: space, Iterator: iproto.IterALL, Limit: 1<<32 - 1})
	if err != nil {
		return -1
	}
	return len(split(p.t, rows))
}

// The leader is killed: another one takes over, nothing that was acknowledged is lost, and the old one comes back.
func TestLeaderIsKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	old := c.leader("data", 3)
	space := createSpace(t, old.admin(), 600, "kv")
	for n := range 50 {
		space.insert(list{n, "before"})
	}
	at := 0
	for n, p := range c.instances {
		if p == old {
			at = n
		}
	}
	old.kill()
	next := c.leader("data", 3)
	if got := rowsThere(next, 600); got != 50 {
		t.Fatalf("%d rows after the leader was killed, 50 were acknowledged", got)
	}
	after := table{t: t, c: next.admin(), id: 600}
	for n := range 50 {
		after.insert(list{100 + n, "after"})
	}
	c.instances[at] = c.start(at)
	c.instances[at].online()
	waitFor(t, "all rows on the one that came back", waitStart, func() bool { return rowsOf(c.instances[at], 600) == 100 })
}

// All are stopped and started again, in another order: the same cluster comes back with all its rows.
func TestColdRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
	for n := range 20 {
		space.insert(list{n, "v"})
	}
	before, _ := c.instances[0].cluster()
	for _, p := range c.instances {
		p.kill()
	}
	for _, i := range []int{2, 0, 1} {
		c.instances[i] = c.start(i)
	}
	c.online()
	c.leader("data", 3)
	for _, p := range c.instances {
		waitFor(t, "the rows on "+p.listen, waitStart, func() bool { return rowsOf(p, 600) == 20 })
	}
	if after, ok := c.instances[1].cluster(); !ok || after.ClusterUUID != before.ClusterUUID {
		t.Fatalf("cluster %s became %s", before.ClusterUUID, after.ClusterUUID)
	}
}

// nameOf is the name that an instance got.
func nameOf(p *proc) string {
	s, _ := p.status()
	return s.Name
}

// An expelled instance stops by itself, says why, and is not let in again; the others go on.
func TestExpel(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	space := createSpace(t, leader.admin(), 600, "kv")
	space.insert(list{1, "v"})
	gone, other := c.instances[0], c.instances[1]
	name := nameOf(gone)
	if code, out, errs := run(t, "expel", name, "--peer", other.adminSocket()); code != 0 {
		t.Fatalf("expel: exit code %d, %s%s", code, out, errs)
	}
	if code := gone.ended(waitStart); code != 2 {
		t.Fatalf("the expelled instance ended with %d, want 2", code)
	}
	next := c.leader("data", 2)
	(table{t: t, c: next.admin(), id: 600}).insert(list{2, "v"})
	again := c.start(0)
	s := again.state("BootError")
	if s.Cause == nil || s.Cause.Code != 10020 {
		t.Fatalf("cause %+v, want error 10020", s.Cause)
	}
	waitFor(t, "the grade Expelled", waitStart, func() bool {
		doc, ok := other.cluster()
		for _, row := range doc.Instances {
			if row.Name == name && row.Grade.Current.Name != "Expelled" {
				return false
			}
		}
		return ok
	})
}

// An instance whose files are lost comes back under its name and gets all rows from the others.
func TestReplaceLostDisk(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
	for n := range 30 {
		space.insert(list{n, "v"})
	}
	lost := 2
	name, uuid := nameOf(c.instances[lost]), ""
	if s, ok := c.instances[lost].status(); ok {
		uuid = s.InstanceUUID
	}
	c.instances[lost].kill()
	if err := os.RemoveAll(c.instances[lost].dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the grade Offline", waitStart, func() bool {
		doc, _ := c.instances[0].cluster()
		for _, row := range doc.Instances {
			if row.Name == name && row.Grade.Current.Name == "Offline" {
				return true
			}
		}
		return false
	})
	if code, out, errs := run(t, "replace", name, "--peer", c.instances[0].adminSocket()); code != 0 {
		t.Fatalf("replace: exit code %d, %s%s", code, out, errs)
	}
	c.instances[lost] = c.start(lost, "--instance-name", name)
	if s := c.instances[lost].online(); s.InstanceUUID != uuid || s.Name != name {
		t.Fatalf("came back as %s %s, want %s %s", s.Name, s.InstanceUUID, name, uuid)
	}
	c.leader("data", 3)
	waitFor(t, "30 rows on the replaced instance", waitStart, func() bool { return rowsOf(c.instances[lost], 600) == 30 })
}

// A member that has lost its logs alone waits for a permit, and comes back by itself when there is one.
func TestReplaceWaitingMember(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
	for n := range 30 {
		space.insert(list{n, "v"})
	}
	at := 1
	name := nameOf(c.instances[at])
	c.instances[at].kill()
	for _, dir := range []string{"data", "catalog"} {
		if err := os.RemoveAll(filepath.Join(c.instances[at].dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	c.instances[at] = c.start(at)
	c.instances[at].state("ConfigLoaded")
	waitFor(t, "the permit", waitStart, func() bool {
		code, _, _ := run(t, "replace", name, "--peer", c.instances[0].adminSocket())
		return code == 0
	})
	c.instances[at].online()
	c.leader("data", 3)
	waitFor(t, "30 rows on the replaced instance", waitStart, func() bool { return rowsOf(c.instances[at], 600) == 30 })
}

// An instance whose peer does not answer makes no cluster of its own: it waits, and says for whom.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1)
	c.instances[0].online()
	silent := freeAddress(t)
	p := startInstance(t, options{args: []string{"--peer", silent, "--cookie-file", c.cookie}})
	waitFor(t, "the wait for "+silent, waitStart, func() bool {
		s, ok := p.status()
		return ok && s.State == "Unconfigured" && s.WaitingFor != nil && strings.Contains(*s.WaitingFor, silent)
	})
}

// An instance that comes later joins what is there; with replication factor 1 it makes a replicaset of its own.
func TestJoinLater(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 1)
	c.online()
	late := startInstance(t, options{args: []string{"--peer", c.peers[1], "--cookie-file", c.cookie}})
	late.online()
	waitFor(t, "three instances in three replicasets, all with a leader", waitStart, func() bool {
		doc, ok := late.cluster()
		for _, rs := range doc.Replicasets {
			if rs.Leader == "" || rs.State != "ready" {
				return false
			}
		}
		return ok && len(doc.Instances) == 3 && len(doc.Replicasets) == 3
	})
	other := startInstance(t, options{args: []string{"--peer", c.peers[0], "--cookie-file", c.cookie, "--cluster-name", "another"}})
	waitFor(t, "the wait because of another cluster's name", waitStart, func() bool {
		s, ok := other.status()
		return ok && s.WaitingFor != nil && strings.Contains(*s.WaitingFor, "cluster")
	})
}

// A listed peer that will never come: an operator says so, of each instance that waits, and the cluster begins without it.
func TestBootstrapWithout(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir(), factor: 2}
	c.cookie = filepath.Join(c.dir, "cookie")
	if err := os.WriteFile(c.cookie, []byte("a-cookie-that-all-of-them-share\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	never := freeAddress(t)
	c.peers = []string{freeAddress(t), freeAddress(t), never}
	for i := range 2 {
		c.instances = append(c.instances, c.start(i))
	}
	for n, p := range c.instances {
		waits := func() bool {
			s, ok := p.status()
			return ok && s.State == "Unconfigured" && s.WaitingFor != nil && strings.Contains(*s.WaitingFor, never)
		}
		// The second one is told where to join if the first one makes the cluster: then it waits for nobody any more.
		waitFor(t, "the wait for "+never, waitStart, func() bool {
			s, ok := p.status()
			return waits() || n > 0 && ok && s.State != "Unconfigured"
		})
		if n == 0 {
			if code := runTyping(t, "no\n", "bootstrap", "--without", never, "--peer", p.adminSocket()); code != 1 {
				t.Fatalf("not confirmed: exit code %d, want 1", code)
			}
		}
		if code := runTyping(t, never+"\n", "bootstrap", "--without", never, "--peer", p.adminSocket()); code != 0 && waits() {
			t.Fatalf("bootstrap --without: exit code %d", code)
		}
	}
	c.online()
	c.leader("data", 2)
}

// runTyping runs a command that reads what somebody types.
func runTyping(t testing.TB, typed string, args ...string) int {
	t.Helper()
	code, _ := runTypingSaid(t, typed, args...)
	return code
}

// runTypingSaid is runTyping with what the command prints.
func runTypingSaid(t testing.TB, typed string, args ...string) (code int, said string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdin = cleanEnviron(), strings.NewReader(typed)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("lycosa %s: %v", strings.Join(args, " "), err)
	}
	t.Logf("lycosa %s: %s", strings.Join(args, " "), out)
	return exitCode(cmd.ProcessState), string(out)
}

// All are stopped and started again with other addresses: told one of the new ones, they find each other.
func TestAllAddressesChange(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
	for n := range 20 {
		space.insert(list{n, "v"})
	}
	for _, p := range c.instances {
		p.kill()
	}
	for i := range c.peers {
		c.peers[i] = freeAddress(t)
	}
	for i := range c.instances {
		c.instances[i] = c.start(i)
	}
	c.online()
	c.leader("data", 3)
	for _, p := range c.instances {
		waitFor(t, "the rows on "+p.listen, waitStart, func() bool { return rowsOf(p, 600) == 20 })
		waitFor(t, "the new addresses in the catalog", waitStart, func() bool {
			doc, ok := p.cluster()
			for _, row := range doc.Instances {
				ok = ok && slices.Contains(c.peers, row.Address)
			}
			return ok
		})
	}
}

// All go down, and one of three never comes back: the other two go on with all rows.
func TestOneIsMissing(t *testing.T) {
	t.Parallel()
	for missing := range 3 {
		t.Run(fmt.Sprintf("i%d", missing+1), func(t *testing.T) {
			c := newCluster(t, 3, 3)
			c.online()
			space := createSpace(t, c.leader("data", 3).admin(), 600, "kv")
			for n := range 20 {
				space.insert(list{n, "v"})
			}
			for _, p := range c.instances {
				p.kill()
			}
			for i := range c.instances {
				if i != missing {
					c.instances[i] = c.start(i)
				}
			}
			c.online()
			leader := c.leader("data", 3)
			(table{t: t, c: leader.admin(), id: 600}).insert(list{100, "without the third"})
			if n := rowsThere(leader, 600); n != 21 {
				t.Fatalf("%d rows, want 21", n)
			}
		})
	}
}

// A leader that is asked to stop hands over first: a client of another instance, which passes his writes on, notices nothing of it.
// Each is done at the first attempt, those too that were on their way when the old leader closed its connections, unless the machine
// was so busy that there was an election beside: then what he was told is still true. How long a write may take meanwhile is
// measured by the benchmark of clusters.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	old := c.leader("data", 3)
	term := termOf(t, old)
	createSpace(t, old.admin(), 600, "kv")
	other := c.instances[0]
	if other == old {
		other = c.instances[1]
	}
	stopping := make(chan struct{})
	go func() {
		defer close(stopping)
		old.signal(syscall.SIGTERM)
		<-old.done
	}()
	written, unknown := 0, false
	var trouble error
	for done := false; !done || written < 200; {
		select {
		case <-stopping:
			done = true
		default:
		}
		err := writeSomewhere(other, written)
		switch code := codeOf(err); {
		case code == 0, code == 3 && unknown: // it was done
			written, unknown = written+1, false
		case code == 3:
			t.Fatalf("write %d was refused, and is there: %v", written, err)
		default:
			trouble = errors.Join(trouble, fmt.Errorf("write %d: %w", written, err))
			unknown = unknown || code == 12001 || code < 0
		}
	}
	if now := termOf(t, c.leader("data", 3)); trouble != nil && now == term+1 {
		t.Fatalf("one leader took over from the other, and %v", trouble)
	} else if trouble != nil {
		t.Logf("elections from term %d to %d: %v", term, now, trouble)
	}
	if old.code != 0 {
		t.Fatalf("exit code %d of the leader that was stopped", old.code)
	}
	if n := rowsThere(c.leader("data", 3), 600); n != written {
		t.Fatalf("%d rows, %d were written", n, written)
	}
}

// termOf is the term of the data group, as an instance knows it.
func termOf(t *testing.T, p *proc) (term uint64) {
	t.Helper()
	waitFor(t, "the term of the data group", waitStart, func() bool {
		s, ok := p.status()
		for _, g := range s.Groups {
			if g.Name == "data" {
				term = g.Term
			}
		}
		return ok && term > 0
	})
	return term
}

// writeSomewhere inserts a row by way of an instance, which passes it on to its leader.
func writeSomewhere(p *proc, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, p.adminSocket(), client.Options{})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Insert(ctx, 600, pack(list{n, "v"}))
	return err
}

// A parameter that is changed at one instance is the new one at all of them, without a restart; values that make no sense are
// refused.
func TestParameterTakesEffect(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	const table = 431 // _pico_db_config
	ctx := context.Background()
	admin := c.instances[0].admin()
	do(t, "set the parameter")(admin.Replace(ctx, table, pack(list{"auto_offline_timeout", "", 1.5})))
	for _, p := range c.instances {
		waitFor(t, "the parameter at "+p.listen, waitStart, func() bool {
			row, err := p.admin().Select(ctx, iproto.SelectArgs{Space: table, Iterator: iproto.IterEQ, Limit: 1, Key: pack(list{"auto_offline_timeout", ""})})
			return err == nil && strings.Contains(toJSON(t, row), "1.5")
		})
	}
	for what, row := range map[string]list{"no number": {"auto_offline_timeout", "", "soon"}, "too small": {"auto_offline_timeout", "", 0.0001},
		"fixed": {"election_timeout", "", 2.0}, "unknown": {"no_such_parameter", "", 1}} {
		if _, err := admin.Replace(ctx, table, pack(row)); codeOf(err) <= 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := dial(t, c.instances[0].listen, client.Options{}).Replace(ctx, table, pack(list{"auto_offline_timeout", "", 2.0})); codeOf(err) != 42 {
		t.Errorf("guest may change parameters: %v", err)
	}
	gone := c.instances[2]
	name := nameOf(gone)
	gone.kill()
	waitFor(t, "grade Offline after the new time of silence", waitStart, func() bool {
		doc, _ := c.instances[0].cluster()
		for _, row := range doc.Instances {
			if row.Name == name {
				return row.Grade.Current.Name == "Offline"
			}
		}
		return false
	})
}

// A failure domain is given at a restart, and the catalog has it.
func TestFailureDomainChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	c.online()
	name := nameOf(c.instances[1])
	c.instances[1].stop()
	c.instances[1] = c.start(1, "--failure-domain", "dc=two")
	c.instances[1].online()
	waitFor(t, "the failure domain in the catalog", waitStart, func() bool {
		_, body := c.instances[0].get("/api/v1/cluster")
		return strings.Contains(string(body), `"name":"`+name+`"`) && strings.Contains(strings.ToLower(string(body)), `{"dc":"two"}`)
	})
}

// A newcomer who asks for what can never be ends with exit code 2 and the reason.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	c.online()
	taken := nameOf(c.instances[0])
	for says, args := range map[string][]string{
		taken:       {"--instance-name", taken},
		"elsewhere": {"--tier", "elsewhere"},
	} {
		p := startInstance(t, options{args: append([]string{"--peer", c.peers[0], "--cookie-file", c.cookie}, args...)})
		if code := p.ended(waitStart); code != 2 || !strings.Contains(p.output(), says) {
			t.Errorf("%v: exit code %d, want 2 and %s", args, code, says)
		}
	}
}
