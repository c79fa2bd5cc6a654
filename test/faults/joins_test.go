package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// promote makes an instance lead its replicaset, as an operator does.
func (s *scene) promote(i int) {
	s.Helper()
	doc, ok := s.c.instances[i].status()
	if !ok {
		s.Fatalf("no status of instance %d", i+1)
	}
	var asked time.Time
	waitFor(s, doc.Name+" to lead", waitHealed, func() bool {
		role, _, _, _ := s.c.instances[i].group("data")
		if role != "leader" && time.Since(asked) > 3*time.Second {
			asked = time.Now() // a failover may have changed the target meanwhile, so it is asked again
			_, _ = command(binary, "promote", doc.Name, "--peer", filepath.Join(s.c.dirs[i], "admin.sock"), "--timeout", "5s")
		}
		return role == "leader"
	})
}

// expelAndJoin expels a follower and lets an instance with an empty directory take its place.
func (s *scene) expelAndJoin() {
	s.Helper()
	s.withLeader(func(_ int, others []int) {
		at := others[s.chance.IntN(len(others))]
		before := s.expel(at)
		s.c.start(at)
		s.joinsOnce(at, before)
	})
}

// expel expels an instance and takes its directory away. It returns how many rows of instances the catalog has.
func (s *scene) expel(at int) (rows int) {
	s.Helper()
	gone := s.c.instances[at]
	doc, ok := gone.status()
	if !ok {
		s.Fatalf("no status of instance %d", at+1)
	}
	other := s.c.dirs[(at+1)%len(s.c.dirs)]
	if out, err := command(binary, "expel", doc.Name, "--peer", filepath.Join(other, "admin.sock"), "--timeout", "30s"); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	if code := gone.ended(); code != 2 {
		s.Fatalf("the expelled instance ended with %d, want 2", code)
	}
	s.l.flows(s, "after the expulsion", 20)
	if err := os.RemoveAll(s.c.dirs[at]); err != nil {
		s.Fatal(err)
	}
	s.l.young.Store(s.c.net.address(at))
	return len(s.members())
}

// joinsOnce waits until a newcomer is connected: from then on it has what was there before it came. It has one new row, with
// a uuid and raft ids of its own.
func (s *scene) joinsOnce(at, before int) {
	s.Helper()
	waitFor(s, "the new one to have connected", waitHealed, func() bool { return s.connected(at) })
	s.l.grown.Store(s.l.now())
	rows := s.members()
	if len(rows) != before+1 {
		s.Errorf("the catalog had %d rows of instances before a join and has %d after it: %v", before, len(rows), rows)
	}
	seen := map[string]bool{}
	for _, row := range rows {
		for _, id := range []string{row.name, row.uuid, fmt.Sprint("raft id ", row.raftID), fmt.Sprint("raft id ", row.dataID)} {
			if seen[id] {
				s.Errorf("%s is there twice: %v", id, rows)
			}
			seen[id] = true
		}
	}
}

// member is a row of an instance in the catalog.
type member struct {
	name, uuid     string
	raftID, dataID uint64
	grade          string
}

// members reads the instances from the catalog, the expelled ones with them.
func (s *scene) members() (list []member) {
	s.Helper()
	const spaceInstance = 415
	waitFor(s, "the catalog", waitHealed, func() bool {
		conn := s.c.connect(s.c.leader(s, "catalog"))
		defer conn.Close()
		ctx, cancel := timeout(opTimeout)
		defer cancel()
		rows, err := conn.Select(ctx, selectOf(spaceInstance, 10000, iproto.IterALL, nil))
		if err != nil {
			return false
		}
		list = nil
		for _, row := range decode(rows) {
			list = append(list, member{row[0].(string), row[1].(string), number(row[2]), number(row[13]), row[5].([]any)[0].(string)})
		}
		return true
	})
	return list
}

// loseAndReplace lets an instance come back on an empty directory, under its name.
func (s *scene) loseAndReplace() {
	s.Helper()
	s.withLeader(func(leader int, others []int) {
		at := others[s.chance.IntN(len(others))]
		doc, ok := s.c.instances[at].status()
		if !ok {
			s.Fatalf("no status of instance %d", at+1)
		}
		before := s.members()
		s.c.stop(s, at)
		if err := os.RemoveAll(s.c.dirs[at]); err != nil {
			s.Fatal(err)
		}
		s.l.young.Store(s.c.net.address(at))
		waitFor(s, "leave to replace "+doc.Name, waitHealed, func() bool { // refused until it is Offline for all
			_, err := command(binary, "replace", doc.Name, "--peer", filepath.Join(s.c.dirs[leader], "admin.sock"), "--timeout", "10s")
			return err == nil
		})
		s.c.startWith(at, nil, "--instance-name", doc.Name)
		s.joinsOnce(at, len(before)-1)
		for _, row := range s.members() {
			for _, was := range before {
				if row.name == doc.Name && (row.raftID == was.raftID || row.dataID == was.dataID) {
					s.Errorf("%s came back with a raft id that was used before: %v, before: %v", doc.Name, row, was)
				}
			}
		}
	})
}

// joinStep is something that a newcomer makes durable: a call of the system on a path in its directory.
type joinStep struct{ name, call, path string }

var joinSteps = []joinStep{
	{"discovery record", "renameat", datadir.DiscoveryFile},
	{"entrypoint", "renameat", datadir.EntrypointFile},
	{"catalog's log", "renameat", "catalog/0000000000000002.rlog"},
	{"first snapshot", "renameat", "data/00000000000000000001.snap"},
	{"log of the data", "renameat", "data/0000000000000002.rlog"},
	{"configuration", "renameat", "config/CURRENT"},
	{"identity", "renameat", datadir.IdentityFile},
	{"end of the entrypoint", "unlinkat", datadir.EntrypointFile},
}

// joinVictims are who ends then.
var joinVictims = []string{"the joiner", "the leader", "both"}

// TestJoinCrashes lets somebody join, stops it right after something was made durable, and ends it, the leader of the
// catalog, or both. All are started again, and the join ends as one instance. The simulator goes through all steps; here
// are some of them on real processes.
func TestJoinCrashes(t *testing.T) {
	c := newCluster(t, 3)
	chance := rand.New(rand.NewPCG(*seed, 11))
	var list []fault
	for _, at := range chance.Perm(len(joinSteps) * len(joinVictims)) {
		step, who := joinSteps[at/len(joinVictims)], joinVictims[at%len(joinVictims)]
		list = append(list, fault{step.name + ", then " + who + " killed", func(s *scene) { s.crashJoin(step, who) }})
	}
	torment(t, c, 1, list[:min(len(list), *joins)])
}

// crashJoin expels one that does not lead the catalog, lets another one join, and kills at a step of that.
func (s *scene) crashJoin(step joinStep, who string) {
	s.Helper()
	leader := s.c.leader(s, "catalog").i
	others := but(len(s.c.instances), leader)
	at := others[s.chance.IntN(len(others))]
	before := s.expel(at)
	trace := fmt.Sprintf("%s-join-%d", s.c.dirs[at], s.l.round)
	p := s.c.startUnder(at, "strace", "-D", "-f", "-o", trace, "-P", filepath.Join(s.c.dirs[at], step.path), "-e", "trace="+step.call,
		"-e", "inject="+step.call+":signal=SIGSTOP:when=1")
	waitFor(s, "the newcomer to stop after: "+step.name, waitHealed, func() bool {
		text, _ := os.ReadFile(trace)
		return strings.Contains(string(text), "stopped by SIGSTOP")
	})
	leader = s.c.leaderAmong(s, "catalog", but(len(s.c.instances), at)).i
	if who != "the joiner" {
		s.c.instances[leader].killBoth()
		s.c.start(leader)
	}
	if who != "the leader" {
		p.killBoth()
		s.c.start(at)
	}
	waitFor(s, "the newcomer to go on", waitHealed, func() bool {
		if who == "the leader" { // it stops once for each of its threads
			for _, child := range p.children() {
				p.signal(child, syscall.SIGCONT)
			}
		}
		return s.connected(at)
	})
	s.joinsOnce(at, before)
}

func (s *scene) connected(at int) bool {
	doc, ok := s.c.instances[at].status()
	return ok && doc.State == "RolesConfigured"
}
