package governor

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts give as what they should give")

// TestScripts runs testdata/*.txt: commands, "----", the expected output, an empty line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
		in, want, scripted := strings.Cut(block+"\n", "----\n")
		got := in
		if scripted {
			got = in + "----\n" + w.run(strings.Split(strings.TrimRight(in, "\n"), "\n"))
			if !*rewrite && got != in+"----\n"+want {
				t.Errorf("%s:\n%s--- want\n%s--- got\n%s", file, in, want, strings.TrimPrefix(got, in+"----\n"))
			}
		}
		out.WriteString(got + "\n")
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// world is a catalog with instances, led by i1 in term 1, at second 0.
type world struct {
	t     *testing.T
	in    Input
	index uint64
	steps []Step
	past  *catalog.History // as if all of it were of term 1
}

func newWorld(t *testing.T) *world {
	entries, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111", InstanceName: "i1", ReplicasetName: "r1",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301",
		Tiers:              []catalog.TierParams{{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync"}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, in: Input{Now: time.Unix(0, 0).UTC(), Leading: true, Term: 1, Leader: "i1", Catalog: catalog.New(),
		Instances: map[string]Observed{}, DataGroups: map[string]GroupView{}}}
	for _, e := range entries {
		w.index++
		if _, _, err := w.in.Catalog.Apply(w.index, 1, e); err != nil {
			t.Fatal(err)
		}
	}
	w.past = catalog.NewHistory(w.index, 1)
	w.group("catalog", []string{"leader=i1", "voters=i1"})
	w.group("r1", []string{"leader=i1", "voters=i1"})
	return w
}

func (w *world) execute(op catalog.Op) error {
	next := w.in.Catalog.Clone()
	_, changes, err := next.Execute(w.index+1, w.in.Term, catalog.Item{Ops: []catalog.Op{op}})
	if err != nil {
		return err
	}
	w.index++
	w.past.Note(w.index, 1, changes)
	w.in.Catalog = next
	return nil
}

func (w *world) run(lines []string) string {
	var out strings.Builder
	for _, line := range lines {
		if line != "" && !strings.HasPrefix(line, "#") {
			out.WriteString(w.command(strings.Fields(line)))
		}
	}
	return out.String()
}

func (w *world) command(args []string) string {
	switch args[0] {
	case "add":
		return w.add(args[1], args[2:])
	case "replicaset":
		return w.replicaset(args[1], args[2:])
	case "reason":
		row, _ := w.in.Catalog.Instance(args[1])
		row.TargetReason = strings.Join(args[2:], " ")
		return w.result(w.replace(catalog.TableInstance, row.Row()))
	case "version":
		row, _ := w.in.Catalog.Instance(args[1])
		row.Version = args[2]
		return w.result(w.replace(catalog.TableInstance, row.Row()))
	case "group":
		return w.group(args[1], args[2:])
	case "ddl":
		return w.ddl(args[1])
	case "autoreturn":
		op, _, err := catalog.SetParam(w.in.Catalog, catalog.ConfGovernorAutoreturn, msgpack.AppendBool(nil, true))
		if err == nil {
			err = w.execute(op)
		}
		return w.result(err)
	case "target":
		g, err := lifecycle.ParseGradeName(args[2])
		if err != nil {
			return w.result(err)
		}
		op, _, err := catalog.SetTarget(w.in.Catalog, args[1], g, "test", "now")
		if err == nil {
			err = w.execute(op)
		}
		return w.result(err)
	case "online":
		for _, name := range args[1:] {
			if err := w.online(name); err != nil {
				return w.result(err)
			}
		}
		return ""
	case "observe":
		return w.observe(args[1], args[2:])
	case "lose":
		w.in.Leading, w.in.Leader = false, strings.Join(args[1:], " ")
		return ""
	case "term":
		term, err := strconv.ParseUint(args[1], 10, 64)
		w.in.Term = term
		return w.result(err)
	case "now":
		seconds, err := strconv.Atoi(args[1])
		w.in.Now = time.Unix(int64(seconds), 0).UTC()
		return w.result(err)
	case "plan":
		return w.plan()
	case "do":
		return w.do()
	}
	return "unknown command " + args[0] + "\n"
}

// ddl begins a change of the schema: a table, or another index of it.
func (w *world) ddl(what string) string {
	d := catalog.DDL{Kind: catalog.CreateTable, Table: catalog.SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: catalog.AdminID}}
	if what == "truncate" {
		d.Kind = catalog.TruncateTable
	}
	if what == "index" {
		n := uint32(len(w.in.Catalog.SchemaIndexes(512)))
		d = catalog.DDL{Kind: catalog.CreateIndex, Indexes: []catalog.SchemaIndex{{TableID: 512, ID: n, Name: fmt.Sprint("i", n), Type: "tree"}}}
	}
	op, _, v, err := catalog.PlanDDL(w.in.Catalog, d)
	if err == nil {
		err = w.execute(op)
	}
	if err != nil {
		return w.result(err)
	}
	return fmt.Sprintf("change %d\n", v)
}

func (w *world) replace(table uint32, row []byte) error {
	return w.execute(catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: table, Tuple: row}}})
}

// add makes an instance, with raft ids 10 times its number and one more: replicaset=NAME tier=NAME KEY:VALUE (failure domain)
func (w *world) add(name string, facts []string) string {
	n := uint64(len(w.in.Catalog.Instances()) + 1)
	row := catalog.Instance{Name: name, UUID: "uuid-" + name, RaftID: 10 * n, DataRaftID: 10*n + 1, ReplicasetName: "r1",
		Tier: "default"}
	for _, fact := range facts {
		if v, ok := strings.CutPrefix(fact, "replicaset="); ok {
			row.ReplicasetName = v
		} else if v, ok := strings.CutPrefix(fact, "tier="); ok {
			row.Tier = v
		} else if k, v, ok := strings.Cut(fact, ":"); ok {
			row.FailureDomain = map[string]string{k: v}
		}
	}
	return w.result(w.replace(catalog.TableInstance, row.Row()))
}

// online takes an instance through all grades.
func (w *world) online(name string) error {
	row, _ := w.in.Catalog.Instance(name)
	row.Target = lifecycle.Grade{Name: lifecycle.Online, Incarnation: row.Target.Incarnation + 1}
	for _, g := range lifecycle.Grades()[1:5] {
		row.Current = lifecycle.Grade{Name: g, Incarnation: row.Target.Incarnation}
		if err := w.replace(catalog.TableInstance, row.Row()); err != nil {
			return err
		}
	}
	return nil
}

// replicaset makes or changes a replicaset: state=S target=INSTANCE current=INSTANCE priority=A,B
func (w *world) replicaset(name string, facts []string) string {
	rs, ok := w.in.Catalog.Replicaset(name)
	if !ok {
		rs = catalog.Replicaset{Name: name, UUID: "uuid-" + name, Tier: "default", WeightOrigin: "auto",
			State: catalog.ReplicasetNotReady}
	}
	for _, fact := range facts {
		key, v, _ := strings.Cut(fact, "=")
		switch key {
		case "state":
			rs.State = v
		case "target":
			rs.TargetMaster = v
		case "current":
			rs.CurrentMaster = v
		case "priority":
			rs.LeaderPriority = strings.Split(v, ",")
		default:
			return "unknown fact " + fact + "\n"
		}
	}
	return w.result(w.replace(catalog.TableReplicaset, rs.Row()))
}

// group replaces what is known of a group: leader=NAME term=N voters=A,B learners=C joint committed=N match=A:N,B:N silent=A
// Members are instances or raft ids; they answer and have all that is committed, unless something else is said.
func (w *world) group(name string, facts []string) string {
	view := GroupView{Known: true, Term: 1, Committed: 10, Progress: map[uint64]uint64{}, Active: map[uint64]bool{}}
	all := func(v string) (ids []uint64) {
		for member := range strings.SplitSeq(v, ",") {
			ids = append(ids, w.id(name, member))
		}
		return ids
	}
	for _, fact := range facts {
		key, v, _ := strings.Cut(fact, "=")
		switch key {
		case "unknown":
			view.Known = false
		case "leader":
			view.Leader = v
		case "term":
			view.Term, _ = strconv.ParseUint(v, 10, 64)
		case "committed":
			view.Committed, _ = strconv.ParseUint(v, 10, 64)
		case "voters":
			view.Voters = all(v)
		case "learners":
			view.Learners = all(v)
		case "joint":
			view.Joint = true
		case "silent", "match":
		default:
			return "unknown fact " + fact + "\n"
		}
	}
	for _, id := range append(slices.Clone(view.Voters), view.Learners...) {
		view.Progress[id], view.Active[id] = view.Committed, true
	}
	for _, fact := range facts {
		key, v, _ := strings.Cut(fact, "=")
		for member := range strings.SplitSeq(v, ",") {
			who, match, _ := strings.Cut(member, ":")
			switch key {
			case "silent":
				delete(view.Active, w.id(name, who))
			case "match":
				view.Progress[w.id(name, who)], _ = strconv.ParseUint(match, 10, 64)
			}
		}
	}
	if name == "catalog" {
		w.in.CatalogGroup = view
	} else {
		w.in.DataGroups[name] = view
	}
	return ""
}

// id is the raft id of an instance in a group, or the number that stands there.
func (w *world) id(group, member string) uint64 {
	row, ok := w.in.Catalog.Instance(member)
	switch {
	case !ok:
		id, _ := strconv.ParseUint(member, 10, 64)
		return id
	case group == "catalog":
		return row.RaftID
	}
	return row.DataRaftID
}

// act carries out an action at once: a new learner answers and is caught up.
func (w *world) act(a Action) {
	switch a := a.(type) {
	case CatalogChange:
		w.in.CatalogGroup = changed(w.in.CatalogGroup, a.Changes)
	case GroupChange:
		w.in.DataGroups[a.Replicaset] = changed(w.in.DataGroups[a.Replicaset], a.Changes)
	case TransferLeader:
		if a.Replicaset == "" {
			w.in.Leader, w.in.CatalogGroup.Leader = a.To, a.To
			return
		}
		view := w.in.DataGroups[a.Replicaset]
		view.Leader = a.To
		w.in.DataGroups[a.Replicaset] = view
	}
}

// changed is the view with changes in effect.
func changed(v GroupView, changes []raftgroup.Change) GroupView {
	v.Progress, v.Active = maps.Clone(v.Progress), maps.Clone(v.Active)
	for _, c := range changes {
		gone := func(id uint64) bool { return id == c.ID }
		v.Voters = slices.DeleteFunc(slices.Clone(v.Voters), gone)
		v.Learners = slices.DeleteFunc(slices.Clone(v.Learners), gone)
		switch c.Op {
		case raftgroup.AddVoter:
			v.Voters = append(v.Voters, c.ID)
		case raftgroup.AddLearner:
			v.Learners = append(v.Learners, c.ID)
		case raftgroup.Remove:
			delete(v.Progress, c.ID)
			delete(v.Active, c.ID)
			continue
		}
		v.Progress[c.ID], v.Active[c.ID] = max(v.Progress[c.ID], v.Committed), true
	}
	slices.Sort(v.Voters)
	slices.Sort(v.Learners)
	return v
}

func (w *world) result(err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return ""
}

// observe sets what is known of an instance: applied=N|now state=S rows=A/B sharding heard=SECOND schema=VERSION[:REFUSAL]
// followed=VERSION
func (w *world) observe(name string, facts []string) string {
	o := w.in.Instances[name]
	for _, fact := range facts {
		key, v, _ := strings.Cut(fact, "=")
		var err error
		switch key {
		case "applied":
			o.Applied = w.index
			if v != "now" {
				o.Applied, err = strconv.ParseUint(v, 10, 64)
			}
		case "state":
			o.State, err = lifecycle.ParseState(v)
		case "rows":
			_, err = fmt.Sscanf(v, "%d/%d", &o.Data.RowsApplied, &o.Data.RowsTotal)
		case "sharding":
			o.Sharding = true
		case "memory": // USED/QUOTA
			_, err = fmt.Sscanf(v, "%d/%d", &o.Used, &o.Quota)
		case "unsure": // unsure=ID: under this id in the data group
			o.Unsure = true
			o.DataRaftID, err = strconv.ParseUint(v, 10, 64)
		case "schema": // VERSION prepared, or VERSION:MESSAGE refused
			version, message, refused := strings.Cut(v, ":")
			o.Schema.Version, err = strconv.ParseUint(version, 10, 64)
			o.Schema.Prepared, o.Schema.Message = !refused, message
		case "followed":
			o.Schema.Followed, err = strconv.ParseUint(v, 10, 64)
		case "heard":
			var n int
			n, err = strconv.Atoi(v)
			o.LastHeard = time.Unix(int64(n), 0).UTC()
		default:
			err = fmt.Errorf("unknown fact %s", fact)
		}
		if err != nil {
			return w.result(err)
		}
	}
	w.in.Instances[name] = o
	return ""
}

func (w *world) plan() string {
	steps, r := Plan(w.in)
	w.steps, w.in.Previous = steps, r
	var out strings.Builder
	for i, row := range r.Steps {
		fmt.Fprintf(&out, "step %s: %s (since %d)", steps[i].Kind, row.Text, row.Since.Unix())
		for _, g := range steps[i].Guard.Ranges {
			fmt.Fprintf(&out, " guard %s", catalog.TableName(g.Table))
		}
		out.WriteString(fence(steps[i]) + "\n")
	}
	for _, row := range r.Waiting {
		fmt.Fprintf(&out, "waiting: %s (since %d)\n", row.Text, row.Since.Unix())
	}
	if !r.RecheckAt.IsZero() {
		fmt.Fprintf(&out, "look again at %d\n", r.RecheckAt.Unix())
	}
	if out.Len() == 0 {
		return "nothing to do\n"
	}
	return out.String()
}

// fence says what makes a step void.
func fence(s Step) string {
	switch a := s.Action.(type) {
	case CatalogChange:
		return fmt.Sprintf(" in term %d of voters %v", a.Term, a.Voters)
	case GroupChange:
		return fmt.Sprintf(" by %s in term %d of voters %v at %d", a.Leader, a.Term, a.Voters, a.CatalogIndex)
	case TransferLeader:
		return fmt.Sprintf(" to %d in term %d", a.ToID, a.Term)
	}
	return fmt.Sprintf(" at %d/%d", s.Guard.Index, s.Guard.Term)
}

// do carries out the planned steps and plans on until nothing more can be done.
func (w *world) do() string {
	var out strings.Builder
	for range 20 {
		out.WriteString(w.plan())
		if len(w.steps) == 0 {
			return out.String()
		}
		for _, s := range w.steps {
			if s.Action != nil {
				w.act(s.Action)
				continue
			}
			guard := s.Guard
			guard.Term = 1
			if err := catalog.CheckCAS(w.in.Catalog, w.past, 1, guard, []catalog.Op{s.Op}); err != nil {
				fmt.Fprintf(&out, "void: %s of %s\n", s.Kind, s.Subject)
				continue
			}
			if err := w.execute(s.Op); err != nil {
				return out.String() + w.result(err)
			}
		}
		for name, o := range w.in.Instances { // all apply what was recorded
			o.Applied = w.index
			w.in.Instances[name] = o
		}
	}
	return out.String() + "it does not come to an end\n"
}

// Plan depends on nothing but its input.
func TestPlanIsAFunction(t *testing.T) {
	w := newWorld(t)
	w.run([]string{"add i2", "add i3", "target i1 Online", "target i2 Online", "target i3 Online", "observe i1 applied=now",
		"observe i2 applied=3", "observe i3 heard=1"})
	_, first := Plan(w.in)
	for range 20 {
		if _, again := Plan(w.in); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Fatalf("%v\n%v", first, again)
		}
	}
}

func TestEveryStateIsBeforeOrAfterBoxConfigured(t *testing.T) {
	var got []string
	for _, s := range lifecycle.States() {
		if boxConfigured(s) {
			got = append(got, s.String())
		}
	}
	if fmt.Sprint(got) != "[BoxConfigured ConfiguringRoles RolesConfigured OperationError]" {
		t.Fatalf("%v", got)
	}
}
