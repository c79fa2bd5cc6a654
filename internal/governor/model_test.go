package governor

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "first seed")
	seedsFlag = flag.Uint64("sim.seeds", 0, "number of seeds; 0: a few")
	traceFlag = flag.Bool("sim.trace", false, "print everything that happens")
)

// The model: one catalog that all see at once, and for the catalog and each replicaset a group that elects a leader if most of
// its voters live, carries out one change at a time if most of the voters before and after it live, and lets its members catch
// up. Time goes by in ticks of a second.

const (
	modelInstancesMax = 12
	modelEvents       = 60
	modelSettleMax    = 200
	modelCalm         = 10
)

// TestModel lets instances join, die, return, and be promoted and expelled at random, then lets everything live: the governor
// comes to rest with all as it should be, and on the way there no rule is broken.
func TestModel(t *testing.T) {
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = 15
	}
	for seed := *seedFlag; seed < *seedFlag+seeds; seed++ {
		if err := runModel(seed, *traceFlag); err != nil {
			t.Fatalf("seed %d: %v\nto see it: go test ./internal/governor -run TestModel -sim.seed %d -sim.seeds 1 -sim.trace", seed,
				err, seed)
		}
	}
}

// member is an instance of the model.
type member struct {
	name        string
	alive       bool
	applied     uint64
	heard       time.Time
	incarnation uint64 // that its process asked for, 0: none yet
}

// group is a raft group of the model.
type group struct {
	view    GroupView
	pending []raftgroup.Change
	fence   uint64 // the newest catalog index of a change
}

type model struct {
	rnd     *rand.Rand
	cat     *catalog.State
	now     time.Time
	members map[string]*member
	catalog *group
	data    map[string]*group
	last    Report
	shown   bool
	joined  int
	names   map[uint64]string // by raft id
}

func runModel(seed uint64, shown bool) error {
	m, err := newModel(seed, shown)
	if err != nil {
		return err
	}
	for range modelEvents {
		m.event()
		for range 1 + m.rnd.IntN(6) {
			if err := m.tick(true); err != nil {
				return err
			}
		}
	}
	for _, i := range m.members {
		i.alive = !m.expelled(i.name)
	}
	m.show("all live")
	var left error
	for calm, ticks := 0, 0; calm < modelCalm && ticks < modelSettleMax; ticks++ { // at rest, and not only for a moment
		if err := m.tick(false); err != nil {
			return err
		}
		calm++
		if left = m.settled(); left != nil {
			calm = 0
		}
	}
	return left
}

func newModel(seed uint64, shown bool) (*model, error) {
	rnd := rand.New(rand.NewPCG(seed, 4))
	entries, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111", InstanceName: "i1", ReplicasetName: "r1",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301", FailureDomain: map[string]string{"DC": "a"},
		Tiers: []catalog.TierParams{
			{Name: "default", ReplicationFactor: 1 + rnd.Uint64N(3), CanVote: true, BucketCount: 3000, WALMode: "fsync", IsDefault: true},
			{Name: "store", ReplicationFactor: 2, BucketCount: 3000, WALMode: "fsync"}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second,
	})
	if err != nil {
		return nil, err
	}
	m := &model{rnd: rnd, cat: catalog.New(), now: time.Unix(1000, 0).UTC(), members: map[string]*member{}, shown: shown,
		data: map[string]*group{}, catalog: &group{view: GroupView{Known: true, Leader: "i1", Voters: []uint64{1}, Term: 1,
			Committed: 10}}, joined: 1}
	for i, e := range entries {
		if _, _, err := m.cat.Apply(uint64(i+1), 1, e); err != nil {
			return nil, err
		}
	}
	m.names = map[uint64]string{1: "i1", 2: "i1"}
	m.members["i1"] = &member{name: "i1", alive: true}
	m.data["r1"] = &group{view: GroupView{Known: true, Leader: "i1", Voters: []uint64{2}, Term: 1, Committed: 10}}
	return m, nil
}

func (m *model) show(format string, args ...any) {
	if m.shown {
		fmt.Printf("%4d "+format+"\n", append([]any{m.now.Unix() - 1000}, args...)...)
	}
}

func (m *model) execute(op catalog.Op) error {
	next := m.cat.Clone()
	index, term := next.Position()
	_, _, err := next.Execute(index+1, term, catalog.Item{Ops: []catalog.Op{op}})
	if err == nil {
		next.SetPosition(index+1, term)
		m.cat = next
	}
	return err
}

func (m *model) expelled(name string) bool {
	row, _ := m.cat.Instance(name)
	return row.Current.Name == lifecycle.Expelled
}

// event is something that happens to the cluster from outside.
func (m *model) event() {
	names := slices.Sorted(maps.Keys(m.members))
	i := m.members[names[m.rnd.IntN(len(names))]]
	switch m.rnd.IntN(10) {
	case 0, 1, 2:
		m.join()
	case 3, 4:
		m.show("%s dies", i.name)
		i.alive, i.incarnation = false, 0
	case 5, 6, 7:
		if !m.expelled(i.name) {
			m.show("%s returns", i.name)
			i.alive = true
		}
	case 8:
		op, _, err := catalog.PlanExpel(m.cat, i.name, m.rnd.IntN(2) == 0, "now")
		if err == nil {
			err = m.execute(op)
		}
		m.show("expel %s: %v", i.name, err)
	case 9:
		row, _ := m.cat.Instance(i.name)
		if rs, ok := m.cat.Replicaset(row.ReplicasetName); ok {
			rs.TargetMaster = i.name
			m.show("promote %s: %v", i.name, m.execute(replaced(catalog.TableReplicaset, rs.Row())))
		}
	}
}

func replaced(table uint32, row []byte) catalog.Op {
	return catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: table, Tuple: row}}}
}

func (m *model) join() {
	if m.joined == modelInstancesMax || m.catalog.view.Leader == "" {
		return
	}
	m.joined++
	uuid := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", m.joined)
	tier := "default"
	if m.rnd.IntN(5) == 0 {
		tier = "store"
	}
	op, _, err := catalog.PlanJoin(m.cat, catalog.JoinRequest{ClusterName: "demo", InstanceUUID: uuid, Tier: tier,
		FailureDomain: map[string]string{"DC": string(rune('a' + m.rnd.IntN(4)))}, Version: "0.1.0",
		Address: fmt.Sprintf("127.0.0.1:%d", 3301+m.joined)}, "bbbbbbbb"+uuid[8:])
	if err == nil {
		err = m.execute(op)
	}
	row, ok := m.cat.InstanceByUUID(uuid)
	m.show("join %s: %v", row.Name, err)
	if !ok {
		return
	}
	m.names[row.RaftID], m.names[row.DataRaftID] = row.Name, row.Name
	m.members[row.Name] = &member{name: row.Name, alive: true}
	if rs, _ := m.cat.Replicaset(row.ReplicasetName); rs.BootstrapRaftID == row.DataRaftID {
		m.data[row.ReplicasetName] = &group{view: GroupView{Known: true, Voters: []uint64{row.DataRaftID}, Term: 1, Committed: 10}}
	}
}

// tick lets a second go by: instances speak, groups elect and change, and the governor plans and carries out. With faults a step
// may fail, or be carried out without that being told.
func (m *model) tick(faults bool) error {
	m.now = m.now.Add(time.Second)
	for _, name := range slices.Sorted(maps.Keys(m.members)) {
		m.speak(m.members[name])
	}
	m.elect(m.catalog, "")
	for _, name := range slices.Sorted(maps.Keys(m.data)) {
		m.elect(m.data[name], name)
	}
	if m.catalog.view.Leader == "" {
		return nil
	}
	steps, report := Plan(m.input())
	m.last = report
	if err := distinct(steps); err != nil {
		return err
	}
	for _, step := range steps {
		if faults && m.rnd.IntN(5) == 0 {
			continue
		}
		m.show("%s", step.Text)
		if err := m.carryOut(step); err != nil {
			return fmt.Errorf("%s: %w", step.Text, err)
		}
	}
	return nil
}

func distinct(steps []Step) error {
	keys := map[string]bool{}
	for _, s := range steps {
		if keys[s.Key] {
			return fmt.Errorf("two steps for %s", s.Key)
		}
		keys[s.Key] = true
	}
	return nil
}

// speak is what an instance does in a second.
func (m *model) speak(i *member) {
	if !i.alive || m.catalog.view.Leader == "" {
		return
	}
	i.heard = m.now
	row, _ := m.cat.Instance(i.name)
	if index, _ := m.cat.Position(); m.catalog.view.member(row.RaftID) {
		i.applied = index
	}
	switch {
	case m.expelled(i.name):
		// One that was being given a vote when it was expelled serves the group until that is taken back.
		i.alive = slices.Contains(m.catalog.view.Voters, row.RaftID) ||
			slices.ContainsFunc(m.catalog.pending, func(c raftgroup.Change) bool { return c.ID == row.RaftID && c.Op == raftgroup.AddVoter })
	case row.Target.Name != lifecycle.Expelled && (i.incarnation == 0 || row.Target.Name == lifecycle.Offline):
		op, _, err := catalog.SetTarget(m.cat, i.name, lifecycle.Online, "test", "now")
		if err == nil && m.execute(op) == nil {
			i.incarnation = row.Target.Incarnation + 1
		}
	}
}

// nameIn is the name of the instance with that raft id in the catalog's group, or in that of a replicaset. The ids of both
// come from one counter.
func (m *model) nameIn(id uint64) string { return m.names[id] }

func (m *model) lives(id uint64) bool {
	i := m.members[m.nameIn(id)]
	return i != nil && i.alive
}

func (m *model) majority(voters []uint64) bool {
	n := 0
	for _, id := range voters {
		if m.lives(id) {
			n++
		}
	}
	return n > len(voters)/2
}

// elect brings a group up to date: its leader, its members' progress, and the change that is under way.
func (m *model) elect(g *group, replicaset string) {
	v := &g.view
	after := changed(*v, g.pending).Voters
	quorum := m.majority(v.Voters) && m.majority(after)
	if !quorum {
		v.Leader = ""
	} else {
		m.lead(v, replicaset)
	}
	v.Active = map[uint64]bool{}
	if v.Progress == nil {
		v.Progress = map[uint64]uint64{}
	}
	if v.Leader == "" {
		return
	}
	if v.Joint && m.rnd.IntN(3) > 0 {
		*v, g.pending = changed(*v, g.pending), nil
		v.Joint = false
		m.lead(v, replicaset) // one that has no place among the new voters hands over before
	}
	v.Committed += uint64(m.rnd.IntN(2000))
	for _, id := range append(slices.Clone(v.Voters), v.Learners...) {
		if m.lives(id) {
			v.Active[id] = true
			if m.rnd.IntN(3) > 0 {
				v.Progress[id] = v.Committed
			}
		} else if m.rnd.IntN(4) > 0 {
			delete(v.Active, id) // noticed late, sometimes
		}
	}
}

// lead gives a group a leader among its voters that live, if it has none.
func (m *model) lead(v *GroupView, replicaset string) {
	lives := slices.DeleteFunc(slices.Clone(v.Voters), func(id uint64) bool { return !m.lives(id) })
	if slices.ContainsFunc(lives, func(id uint64) bool { return m.nameIn(id) == v.Leader }) {
		return
	}
	best := slices.MaxFunc(lives, func(a, b uint64) int { return cmp.Compare(v.Progress[a], v.Progress[b]) })
	v.Leader, v.Term = m.nameIn(best), v.Term+1
	m.show("%s leads %q", v.Leader, replicaset)
}

func (m *model) input() Input {
	v := m.catalog.view
	in := Input{Now: m.now, Leading: true, Term: v.Term, Leader: v.Leader, Catalog: m.cat, Instances: map[string]Observed{},
		CatalogGroup: v, DataGroups: map[string]GroupView{}, Previous: m.last}
	for name, i := range m.members {
		o := Observed{Applied: i.applied, State: lifecycle.RolesConfigured, LastHeard: i.heard, Sharding: true}
		if name == v.Leader {
			o.LastHeard = time.Time{}
		}
		in.Instances[name] = o
	}
	for name, g := range m.data {
		if g.view.Leader != "" {
			in.DataGroups[name] = g.view
		}
	}
	return in
}

// carryOut does a step as the real ones do: what is out of date is refused, which is no error.
func (m *model) carryOut(step Step) error {
	switch a := step.Action.(type) {
	case CatalogChange:
		return m.change(m.catalog, "", a.Term, a.Voters, a.Changes)
	case GroupChange:
		g := m.data[a.Replicaset]
		if a.CatalogIndex < g.fence {
			return fmt.Errorf("catalog index went back")
		}
		g.fence = a.CatalogIndex
		return m.change(g, a.Replicaset, a.Term, a.Voters, a.Changes)
	case TransferLeader:
		return m.transfer(a)
	}
	if index, _ := m.cat.Position(); step.Guard.Index != index {
		return nil // refused, though only its ranges count: planned again
	}
	return m.execute(step.Op)
}

func (m *model) transfer(a TransferLeader) error {
	g := m.catalog
	if a.Replicaset != "" {
		g = m.data[a.Replicaset]
	}
	switch {
	case a.Term != g.view.Term || g.view.Leader != a.From || g.view.Joint:
	case m.nameIn(a.ToID) != a.To:
		return errors.New("to somebody else")
	case !slices.Contains(g.view.Voters, a.ToID):
		return errors.New("to one without a vote")
	case m.lives(a.ToID):
		g.view.Leader, g.view.Term = a.To, g.view.Term+1
	}
	return nil
}

func (m *model) change(g *group, replicaset string, term uint64, voters []uint64, changes []raftgroup.Change) error {
	if term != g.view.Term || !slices.Equal(voters, g.view.Voters) {
		return nil
	}
	if g.view.Joint {
		return errors.New("two changes at once")
	}
	after := changed(g.view, changes)
	leader := slices.ContainsFunc(after.Voters, func(id uint64) bool { return m.nameIn(id) == g.view.Leader })
	switch {
	case !leader:
		return errors.New("the leader loses its vote")
	case replicaset == "" && (len(after.Voters) == 4 || len(after.Voters) > 5):
		return fmt.Errorf("%d voters", len(after.Voters))
	case !after.quorate(after.Voters, 0) && g.view.quorate(g.view.Voters, 0):
		return fmt.Errorf("no quorum among %v, active %v", after.Voters, after.Active)
	}
	for _, id := range after.Voters {
		if !slices.Contains(g.view.Voters, id) && !g.view.caughtUp(id) {
			return fmt.Errorf("%d has a vote and is not caught up", id)
		}
	}
	for _, c := range changes {
		if c.Op == raftgroup.AddLearner && !g.view.member(c.ID) {
			delete(g.view.Progress, c.ID)
		}
	}
	g.view.Joint, g.pending = true, changes
	return nil
}

// settled says what is not as it should be when nothing happens any more.
func (m *model) settled() error {
	steps, report := Plan(m.input())
	if len(steps) > 0 {
		return fmt.Errorf("there is still to do: %s", steps[0].Text)
	}
	for _, row := range report.Waiting {
		if row.Kind != kindReady { // there may be too few instances for that
			return errors.New(row.Text)
		}
	}
	eligible, here := 0, []uint64(nil)
	stay := map[string][]uint64{}
	for _, row := range m.cat.Instances() {
		want := lifecycle.Online
		if row.Target.Name == lifecycle.Expelled {
			want = lifecycle.Expelled
		} else {
			here = append(here, row.RaftID)
			stay[row.ReplicasetName] = append(stay[row.ReplicasetName], row.DataRaftID)
			if tier, _ := m.cat.Tier(row.Tier); tier.CanVote {
				eligible++
			}
		}
		if row.Current.Name != want {
			return fmt.Errorf("%s is %s and should be %s", row.Name, row.Current, want)
		}
	}
	v := m.catalog.view
	if n := catalog.VotersOf(eligible); len(v.Voters) != n {
		return fmt.Errorf("%d voters in the catalog, not %d", len(v.Voters), n)
	}
	if got := slices.Sorted(slices.Values(append(slices.Clone(v.Voters), v.Learners...))); !sameSet(got, here) {
		return fmt.Errorf("members of the catalog %v, instances %v", got, here)
	}
	for _, rs := range m.cat.Replicasets() {
		g := m.data[rs.Name]
		switch {
		case len(stay[rs.Name]) == 0 && rs.State != catalog.ReplicasetExpelled:
			return fmt.Errorf("replicaset %s is %s without instances", rs.Name, rs.State)
		case len(stay[rs.Name]) == 0:
		case !sameSet(g.view.Voters, stay[rs.Name]) || len(g.view.Learners) > 0:
			return fmt.Errorf("replicaset %s: voters %v learners %v, instances %v", rs.Name, g.view.Voters, g.view.Learners, stay[rs.Name])
		case rs.CurrentMaster != g.view.Leader || rs.TargetMaster != g.view.Leader:
			return fmt.Errorf("replicaset %s is led by %s, not %s for %s", rs.Name, g.view.Leader, rs.CurrentMaster, rs.TargetMaster)
		}
	}
	return nil
}

func sameSet(a, b []uint64) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
