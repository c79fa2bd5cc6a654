package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"pgregory.net/rapid"
)

const testTime = "2026-01-02T03:04:05Z"

// member understands: expel|replace NAME [force], recover UUID, address NAME ADDRESS [HTTP], domain NAME JSON,
// version NAME VERSION, member UUID RAFTID, up NAME.
func (w *world) member(args []string) string {
	var op Op
	var guard Predicate
	var err error
	rest := args[2:]
	switch args[0] {
	case "expel":
		op, guard, err = PlanExpel(w.s, args[1], len(rest) > 0, testTime)
	case "replace":
		op, guard, err = PlanReplace(w.s, args[1], len(rest) > 0)
	case "recover":
		op, err = PlanRecover(w.s, args[1], testTime)
		guard = Unchanged(w.s)
	case "address":
		op, guard, err = SetAddress(w.s, args[1], rest[0], append(rest, "")[1])
	case "version":
		op, guard, err = SetVersion(w.s, args[1], rest[0])
	case "domain":
		domain := map[string]string{}
		if err := json.Unmarshal([]byte(rest[0]), &domain); err != nil {
			return err.Error() + "\n"
		}
		op, guard, err = SetFailureDomain(w.s, args[1], domain)
	case "member":
		id, _ := strconv.ParseUint(rest[0], 10, 64)
		if err := CheckMember(w.s, args[1], id); err != nil {
			return show(err)
		}
		return "it is a member\n"
	case "up":
		return w.up(args[1])
	}
	if err != nil {
		return show(err)
	}
	guard.Term = w.term
	if op.Kind == Nop {
		return "Nop; " + w.propose(&guard, op)
	}
	return w.propose(&guard, op)
}

// up takes an instance to Online.
func (w *world) up(name string) string {
	out := w.command([]string{"target", name, "Online"})
	i, _ := w.s.Instance(name)
	for g := lifecycle.RaftSynced; g <= lifecycle.Online; g++ {
		out = w.grade(name, g.String(), strconv.FormatUint(i.Target.Incarnation, 10))
	}
	return out
}

// Old rows of _pico_instance lack the trailing fields; they read, and are written as they were.
func TestRowsWithoutPermitAreAsTheyWere(t *testing.T) {
	i := Instance{Name: "i1", UUID: "u", RaftID: 3, DataRaftID: 4, Tier: "default"}
	old := i.Row()
	if old[0] != 0x9e {
		t.Fatalf("a row without permit begins with %#x, not with an array of 14", old[0])
	}
	i.Permit = PermitOpen
	back, err := ParseInstance(i.Row())
	if err != nil || back.Permit != PermitOpen {
		t.Fatalf("permit comes back as %+v, %v", back, err)
	}
	if back, err = ParseInstance(old); err != nil || back.Permit != "" || back.DataRaftID != 4 {
		t.Fatalf("old row reads as %+v, %v", back, err)
	}
	if _, err := ParseInstance(append([]byte{0x9d}, old[1:len(old)-1]...)); err == nil {
		t.Error("a row of 13 fields reads")
	}
}

// Only the two commands change the row and only for that one: whoever writes rows cannot make a member another one.
func TestRowsOfInstancesCannotBeTurnedIntoOthers(t *testing.T) {
	s := bootstrapped(t)
	was, _ := s.Instance("default_1_1")
	for what, spoil := range map[string]func(i *Instance){
		"uuid":       func(i *Instance) { i.UUID = "other" },
		"replicaset": func(i *Instance) { i.ReplicasetName = "other" },
		"tier":       func(i *Instance) { i.Tier = "other" },
	} {
		row := was
		spoil(&row)
		op := Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableInstance, Tuple: row.Row()}}}
		if _, _, err := s.Clone().Execute(10, 1, Item{Ops: []Op{op}}); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	op := Op{Kind: Dml, DML: []DML{{Kind: Delete, Table: TableInstance, Key: Key(was.Name)}}}
	if _, _, err := s.Execute(10, 1, Item{Ops: []Op{op}}); !errcode.Is(err, errcode.CASTableNotAllowed) {
		t.Errorf("deletion: %v", err)
	}
}

// Joins, replacements, expulsions, starts and stops in any order: raft ids are never given twice, an instance that was
// replaced gets in by its permit once, and without force there is always a quorum of every replicaset that had one.
func TestMembershipInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := testParams()
		p.Tiers[0].ReplicationFactor = 3
		w := newWorld()
		w.s, w.term = madeWith(t, p), BootstrapTerm
		w.index, _ = w.s.Position()
		w.h = NewHistory(w.index, w.term)
		used := map[uint64]string{}
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			list := w.s.Instances()
			i := rapid.SampledFrom(list).Draw(t, "instance")
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				w.join(fmt.Sprintf(`{"N":%d}`, 100+n))
			case 1:
				w.up(i.Name)
			case 2:
				w.command([]string{"target", i.Name, "Offline"})
				w.grade(i.Name, "Offline", strconv.FormatUint(i.Current.Incarnation, 10))
			case 3:
				expelled := len(members(w.s, i)) > 0 && quorumOf(members(w.s, i))
				w.command([]string{"expel", i.Name})
				if now, _ := w.s.Instance(i.Name); isExpelled(now) && !isExpelled(i) && expelled && !quorumOf(members(w.s, i)) &&
					len(members(w.s, i)) > 0 {
					t.Fatalf("expelling %s took the quorum of %s", i.Name, i.ReplicasetName)
				}
			case 4:
				before := i.RaftID
				w.command([]string{"replace", i.Name})
				if now, _ := w.s.Instance(i.Name); now.RaftID != before && !rejoins(w, now) {
					t.Fatalf("%s was replaced and cannot come back", i.Name)
				}
			case 5:
				w.join(fmt.Sprintf(`{"N":%d,"InstanceName":%q}`, 200+n, i.Name))
			case 6:
				if op, guard, err := PlanRenew(w.s, i.Name, i.DataRaftID); err == nil {
					w.propose(&guard, op)
				}
			case 7:
				if op, guard, err := PlanOutdate(w.s, i.Name); err == nil {
					w.propose(&guard, op)
				}
			}
			noteIDs(t, w.s, used)
		}
	})
}

func members(s *State, i Instance) []Instance { return s.members(i.ReplicasetName) }

func quorumOf(list []Instance) bool { return countUp(list) > len(list)/2 }

// rejoins lets an empty instance take the permit, and a second one try to.
func rejoins(w *world, i Instance) bool {
	w.replicasets += 2
	request := func(n int) JoinRequest {
		return JoinRequest{ClusterName: "demo", InstanceUUID: testUUID("ffffffff", n), InstanceName: i.Name,
			Address: "h:" + strconv.Itoa(w.replicasets)}
	}
	op, _, err := PlanJoin(w.s, request(w.replicasets), "")
	if err != nil {
		return false
	}
	w.propose(nil, op)
	a, err := AnswerJoin(w.s, testUUID("ffffffff", w.replicasets))
	_, _, late := PlanJoin(w.s, request(w.replicasets+1), "")
	return err == nil && a.InstanceUUID == i.UUID && a.RaftID == i.RaftID && errcode.Is(late, errcode.JoinNameTaken)
}

func noteIDs(t *rapid.T, s *State, used map[uint64]string) {
	for _, i := range s.Instances() {
		for id, what := range map[uint64]string{i.RaftID: i.UUID + " catalog", i.DataRaftID: i.UUID + " data"} {
			if had, ok := used[id]; ok && had != what {
				t.Fatalf("raft id %d is %s and was %s", id, what, had)
			}
			used[id] = what
		}
		if s.PeerAddress(i.RaftID, ConnIproto) == "" {
			t.Fatalf("%s has no address", i.Name)
		}
	}
}

// Equal rows are equal bytes, whatever order a map has: guards compare rows, and snapshots of two instances are compared.
func TestEqualRowsAreEqualBytes(t *testing.T) {
	i := Instance{Name: "i1", UUID: "u", RaftID: 3, DataRaftID: 4, Tier: "default",
		FailureDomain: map[string]string{"dc": "1", "row": "2", "rack": "3", "host": "4", "disk": "5"}}
	first := i.Row()
	for range 50 {
		if again := i.Row(); !bytes.Equal(again, first) {
			t.Fatalf("%x and %x", first, again)
		}
	}
}

// TestRenew: an instance that has given up its data raft id gets another one, once; the only voter of a replicaset keeps its own and
// gives all others new ones.
func TestRenew(t *testing.T) {
	w := newWorld()
	for _, line := range [][]string{{"bootstrap", "default=3"}, {"join", `{"N":2}`}, {"join", `{"N":3}`}, {"join", `{"N":4,"Replicaset":"other"}`}} {
		w.command(line)
	}
	ids := func() (out string) {
		for _, i := range w.s.Instances() {
			out += fmt.Sprint(i.RaftID, "/", i.DataRaftID, " ")
		}
		next, _ := w.s.PropertyUint(PropNextRaftID)
		return out + fmt.Sprint(next)
	}
	for _, c := range []struct {
		plan func() (Op, Predicate, error)
		want string
	}{
		{func() (Op, Predicate, error) { return Op{Kind: Nop}, Predicate{}, nil }, "1/2 3/4 5/6 7/8 9"},
		{func() (Op, Predicate, error) { return PlanRenew(w.s, "default_1_2", 4) }, "1/2 3/9 5/6 7/8 10"},
		{func() (Op, Predicate, error) { return PlanRenew(w.s, "default_1_2", 4) }, "1/2 3/9 5/6 7/8 10"},
		{func() (Op, Predicate, error) { return PlanOutdate(w.s, "default_1_1") }, "1/2 3/10 5/11 7/8 12"},
		{func() (Op, Predicate, error) { return PlanOutdate(w.s, "other_1") }, "1/2 3/10 5/11 7/8 12"},
	} {
		op, guard, err := c.plan()
		if err != nil {
			t.Fatal(err)
		}
		if guard.Term = w.term; op.Kind != Nop {
			w.propose(&guard, op)
		}
		if got := ids(); got != c.want {
			t.Errorf("ids %s, want %s", got, c.want)
		}
	}
	if _, _, err := PlanRenew(w.s, "nobody", 1); !errcode.Is(err, errcode.NoSuchInstance) {
		t.Error(err)
	}
}
