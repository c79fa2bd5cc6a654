package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"pgregory.net/rapid"
)

func testUUID(prefix string, n int) string { return fmt.Sprintf("%s-0000-4000-8000-%012d", prefix, n) }

// join understands JSON of JoinRequest; "n" stands for the uuid, and what is not said is as the test cluster has it.
func (w *world) join(text string) string {
	r := JoinRequest{ClusterName: "demo", Version: "0.1.0"}
	short := struct{ N int }{}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return "error: " + err.Error() + "\n"
	}
	if err := json.Unmarshal([]byte(text), &short); err != nil {
		return "error: " + err.Error() + "\n"
	}
	if r.InstanceUUID == "" {
		r.InstanceUUID = testUUID("aaaaaaaa", short.N)
	}
	if r.Address == "" {
		r.Address = fmt.Sprintf("127.0.0.1:%d", 3300+short.N)
	}
	w.replicasets++
	op, guard, err := PlanJoin(w.s, r, testUUID("bbbbbbbb", w.replicasets))
	if err != nil {
		kind := "waiting may mend it"
		if JoinRefusalIsFinal(err) {
			kind = "final"
		}
		return show(err)[:len(show(err))-1] + " (" + kind + ")\n"
	}
	guard.Term = w.term
	out := w.propose(&guard, op)
	a, err := AnswerJoin(w.s, r.InstanceUUID)
	if err != nil {
		return out + show(err)
	}
	if op.Kind == Nop {
		out = "Nop; " + out
	}
	return out + fmt.Sprintf("%s in %s of %s, raft ids %d %d, bootstrap %d\n", a.InstanceName, a.ReplicasetName, a.Tier,
		a.RaftID, a.DataRaftID, a.BootstrapRaftID)
}

func TestAnswerJoin(t *testing.T) {
	s := bootstrapped(t)
	p := testParams()
	a, err := AnswerJoin(s, p.InstanceUUID)
	if err != nil {
		t.Fatal(err)
	}
	want := JoinAnswer{InstanceName: "default_1_1", InstanceUUID: p.InstanceUUID, ReplicasetName: "default_1",
		ReplicasetUUID: p.ReplicasetUUID, Tier: "default", ClusterUUID: p.ClusterUUID, ClusterName: "demo", Epoch: 1,
		RaftID: FirstRaftID, DataRaftID: FirstDataRaftID, BootstrapRaftID: FirstDataRaftID}
	if fmt.Sprint(a) != fmt.Sprint(want) {
		t.Errorf("answer %+v, want %+v", a, want)
	}
	if _, err := AnswerJoin(s, "nobody"); !errcode.Is(err, errcode.NoSuchInstance) {
		t.Errorf("answer for nobody: %v", err)
	}
}

func TestOtherErrorsAreNotFinal(t *testing.T) {
	for _, err := range []error{nil, fmt.Errorf("connection refused"), errcode.New(errcode.LeaderUnknown),
		errcode.New(errcode.CASConflictFound, 1), errcode.New(errcode.NotALeader, "x")} {
		if JoinRefusalIsFinal(err) {
			t.Errorf("%v is final", err)
		}
	}
	err := fmt.Errorf("join: %w", errcode.New(errcode.JoinTier, "a", "b"))
	if !JoinRefusalIsFinal(err) {
		t.Errorf("%v is not final", err)
	}
}

// Releases that may share a cluster are those of a rolling upgrade by one.
func TestVersionsThatMayJoin(t *testing.T) {
	for _, c := range []struct {
		cluster []string
		joiner  string
		ok      bool
	}{
		{[]string{"1.4.2"}, "1.4.0", true}, {[]string{"1.4.2"}, "v1.5.0-3-gabc", true}, {[]string{"1.4.2"}, "1.6.0", false},
		{[]string{"1.4.2"}, "1.3.9", false}, {[]string{"1.4.2"}, "2.0.1", true}, {[]string{"1.4.2"}, "2.1.0", false},
		{[]string{"1.4.2"}, "3.0.0", false}, {[]string{"1.4.0", "1.5.0"}, "1.4.9", true},
		{[]string{"1.4.0", "1.5.0"}, "1.5.1", true}, {[]string{"1.4.0", "1.5.0"}, "1.6.0", false},
		{[]string{"1.4.0", "1.5.0"}, "2.0.0", false}, {[]string{"unknown"}, "1.6.0", true},
		{[]string{"1.4.0"}, "1cbbeb9-dirty", true}, {[]string{"1.4.0", "x"}, "9.9", false}, {[]string{"1.4.0"}, "1.x", true},
	} {
		p := testParams()
		p.Version = c.cluster[0]
		s := madeWith(t, p)
		for n, v := range c.cluster[1:] {
			mustJoin(t, s, JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("cccccccc", n), Version: v,
				Address: fmt.Sprintf("h:%d", n)})
		}
		_, _, err := PlanJoin(s, JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("dddddddd", 1), Version: c.joiner,
			Address: "h:100"}, testUUID("bbbbbbbb", 1))
		if (err == nil) != c.ok || (err != nil && !errcode.Is(err, errcode.JoinVersion)) {
			t.Errorf("%s joins %v: %v", c.joiner, c.cluster, err)
		}
	}
}

func madeWith(t interface{ Fatal(...any) }, p BootstrapParams) *State {
	entries, err := Bootstrap(p)
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	for i, e := range entries {
		if _, _, err := s.Apply(uint64(i+1), BootstrapTerm, e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// mustRun executes an operation as the next entry.
func mustRun(t interface{ Fatal(...any) }, s *State, op Op) {
	index, term := s.Position()
	if _, _, err := s.Execute(index+1, term, Item{Ops: []Op{op}, Initiator: AdminID}); err != nil {
		t.Fatal(err)
	}
}

func mustJoin(t interface{ Fatal(...any) }, s *State, r JoinRequest) JoinAnswer {
	op, _, err := PlanJoin(s, r, testUUID("bbbbbbbb", s.Len(TableReplicaset)))
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	a, err := AnswerJoin(s, r.InstanceUUID)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// given remembers what was ever given to whom.
type given struct {
	raftIDs map[uint64]string // uuid and which of its two ids
	names   map[string]string // uuid
	first   map[string]uint64 // bootstrap id of a replicaset
}

func (g *given) note(t *rapid.T, s *State) {
	for _, i := range s.Instances() {
		for id, what := range map[uint64]string{i.RaftID: i.UUID + " catalog", i.DataRaftID: i.UUID + " data"} {
			if had, ok := g.raftIDs[id]; ok && had != what {
				t.Fatalf("raft id %d is %s and was %s", id, what, had)
			}
			g.raftIDs[id] = what
		}
		if had, ok := g.names[i.Name]; ok && had != i.UUID {
			t.Fatalf("name %s is %s and was %s", i.Name, i.UUID, had)
		}
		g.names[i.Name] = i.UUID
	}
	for name := range g.names {
		if _, ok := s.Instance(name); !ok {
			t.Fatalf("the row of %s is gone", name)
		}
	}
	for _, rs := range s.Replicasets() {
		if had, ok := g.first[rs.Name]; ok && had != rs.BootstrapRaftID {
			t.Fatalf("replicaset %s is bootstrapped by %d and by %d", rs.Name, had, rs.BootstrapRaftID)
		}
		g.first[rs.Name] = rs.BootstrapRaftID
	}
}

// checkPlaces proves that automatic placement holds factors and failure domains, and that addresses are held once.
func checkPlaces(t *rapid.T, s *State, asked map[string]bool) {
	held := map[string]string{}
	for _, i := range s.Instances() {
		if isExpelled(i) {
			continue
		}
		address := s.PeerAddress(i.RaftID, ConnIproto)
		if other, ok := held[address]; ok || address == "" {
			t.Fatalf("address %q of %s is also that of %q", address, i.Name, other)
		}
		held[address] = i.Name
	}
	for _, rs := range s.Replicasets() {
		tier, _ := s.Tier(rs.Tier)
		members := s.members(rs.Name)
		if uint64(len(members)) > tier.ReplicationFactor && !asked[rs.Name] {
			t.Fatalf("replicaset %s has %d members over the factor of %d", rs.Name, len(members), tier.ReplicationFactor)
		}
		for n, i := range members {
			if i.Tier != rs.Tier || i.ReplicasetUUID != rs.UUID {
				t.Fatalf("%s does not fit its replicaset %s", i.Name, rs.Name)
			}
			for _, j := range members[:n] {
				for k, v := range i.FailureDomain {
					if j.FailureDomain[k] == v && !asked[rs.Name] {
						t.Fatalf("%s and %s of %s share %s=%s", i.Name, j.Name, rs.Name, k, v)
					}
				}
			}
		}
	}
}

func drawJoin(t *rapid.T) JoinRequest {
	n := rapid.IntRange(1, 12).Draw(t, "joiner")
	r := JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("eeeeeeee", n), Version: "0.1.0",
		Address: fmt.Sprintf("h:%d", rapid.IntRange(n, n+1).Draw(t, "port")),
		Tier:    rapid.SampledFrom([]string{"default", "arbiter", ""}).Draw(t, "tier")}
	if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
		r.InstanceName = rapid.SampledFrom([]string{"a", "b", "x_1"}).Draw(t, "name")
	}
	if rapid.IntRange(0, 5).Draw(t, "placed") == 0 {
		r.Replicaset = rapid.SampledFrom([]string{"x", "default_1", "y"}).Draw(t, "replicaset")
	}
	if n%4 != 0 {
		r.FailureDomain = map[string]string{"dc": fmt.Sprint(n % 4)}
	}
	return r
}

// Whatever joins, joins again and is expelled: ids and names are never given twice, a repeated request gets the same place,
// factors and failure domains are held, and no request leaves a state that the next cannot be planned on.
func TestJoinsNeverGiveAnythingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := testParams()
		p.Tiers[0].ReplicationFactor = rapid.Uint64Range(1, 4).Draw(t, "factor")
		p.Tiers = append(p.Tiers, TierParams{Name: "arbiter", ReplicationFactor: 2, WALMode: "fsync"})
		s := madeWith(t, p)
		g := given{map[uint64]string{}, map[string]string{}, map[string]uint64{}}
		places, asked := map[string]JoinAnswer{}, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "expel") == 0 {
				i := rapid.SampledFrom(s.Instances()).Draw(t, "victim")
				if op, _, err := SetTarget(s, i.Name, lifecycle.Expelled, "expel", ""); err == nil {
					mustRun(t, s, op)
				}
				continue
			}
			r := drawJoin(t)
			op, guard, err := PlanJoin(s, r, testUUID("bbbbbbbb", s.Len(TableReplicaset)))
			if err != nil {
				if !JoinRefusalIsFinal(err) {
					t.Fatalf("a refusal that nobody can mend is not final: %v", err)
				}
				continue
			}
			h := NewHistory(s.Position())
			if err := CheckCAS(s, h, guard.Term, guard, []Op{op}); err != nil {
				t.Fatal(err)
			}
			mustRun(t, s, op)
			asked[r.Replicaset] = true
			a, err := AnswerJoin(s, r.InstanceUUID)
			if err != nil {
				t.Fatal(err)
			}
			if before, ok := places[r.InstanceUUID]; ok && fmt.Sprint(before) != fmt.Sprint(a) {
				t.Fatalf("asked again, %+v became %+v", before, a)
			}
			places[r.InstanceUUID] = a
			g.note(t, s)
			checkPlaces(t, s, asked)
		}
	})
}

// Two joins planned on one state conflict, whatever they are about; a change of grade between plan and proposal does not.
func TestJoinsConflictWithEachOther(t *testing.T) {
	s := bootstrapped(t)
	index, term := s.Position()
	request := func(n int) JoinRequest {
		return JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("eeeeeeee", n), Address: fmt.Sprintf("h:%d", n)}
	}
	first, _, err := PlanJoin(s, request(1), testUUID("bbbbbbbb", 1))
	if err != nil {
		t.Fatal(err)
	}
	second, guard, err := PlanJoin(s, request(2), testUUID("bbbbbbbb", 2))
	if err != nil {
		t.Fatal(err)
	}
	h := NewHistory(index, term)
	online, _, err := SetTarget(s, "default_1_1", lifecycle.Online, "boot", "")
	if err != nil {
		t.Fatal(err)
	}
	for n, op := range []Op{online, first} {
		if err := CheckCAS(s, h, term, guard, []Op{second}); err != nil {
			t.Fatalf("before operation %d: %v", n, err)
		}
		_, changes, err := s.Execute(index+uint64(n)+1, term, Item{Ops: []Op{op}})
		if err != nil {
			t.Fatal(err)
		}
		h.Note(index+uint64(n)+1, term, changes)
	}
	if err := CheckCAS(s, h, term, guard, []Op{second}); !errcode.Is(err, errcode.CASConflictFound) {
		t.Fatalf("two joins from one state: %v", err)
	}
}

func TestMalformedRequests(t *testing.T) {
	s := bootstrapped(t)
	good := JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("eeeeeeee", 1), Address: "h:1"}
	many := map[string]string{}
	for n := range domainKeysMax + 1 {
		many[fmt.Sprint(n)] = "v"
	}
	long := string(slices.Repeat([]byte("a"), 1000))
	for name, spoil := range map[string]func(r *JoinRequest){
		"no uuid":        func(r *JoinRequest) { r.InstanceUUID = "" },
		"odd uuid":       func(r *JoinRequest) { r.InstanceUUID = "eeeeeeee-0000-4000-8000x000000000001" },
		"open as uuid":   func(r *JoinRequest) { r.InstanceUUID = PermitOpen },
		"odd name":       func(r *JoinRequest) { r.InstanceName = "1a" },
		"long name":      func(r *JoinRequest) { r.InstanceName = long },
		"odd replicaset": func(r *JoinRequest) { r.Replicaset = "a b" },
		"odd tier":       func(r *JoinRequest) { r.Tier = "ä" },
		"no address":     func(r *JoinRequest) { r.Address = "" },
		"no port":        func(r *JoinRequest) { r.Address = "host:" },
		"odd address":    func(r *JoinRequest) { r.Address = "a b:1" },
		"long address":   func(r *JoinRequest) { r.Address = long + ":1" },
		"odd http":       func(r *JoinRequest) { r.HTTPAddress = "x" },
		"long version":   func(r *JoinRequest) { r.Version = long },
		"many domains":   func(r *JoinRequest) { r.FailureDomain = many },
		"long domain":    func(r *JoinRequest) { r.FailureDomain = map[string]string{"dc": long} },
		"empty domain":   func(r *JoinRequest) { r.FailureDomain = map[string]string{"": "1"} },
	} {
		r := good
		r.FailureDomain = maps.Clone(good.FailureDomain)
		spoil(&r)
		_, _, err := PlanJoin(s, r, testUUID("bbbbbbbb", 1))
		if !errcode.Is(err, errcode.IllegalParams) || !JoinRefusalIsFinal(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
