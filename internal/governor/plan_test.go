package governor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
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
		Instances: map[string]Observed{}}}
	for _, e := range entries {
		w.index++
		if _, _, err := w.in.Catalog.Apply(w.index, 1, e); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) execute(op catalog.Op) error {
	next := w.in.Catalog.Clone()
	if _, _, err := next.Execute(w.index+1, w.in.Term, catalog.Item{Ops: []catalog.Op{op}}); err != nil {
		return err
	}
	w.index++
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
		n := uint64(len(w.in.Catalog.Instances()) + 1)
		row := catalog.Instance{Name: args[1], UUID: "uuid-" + args[1], RaftID: 10 * n, DataRaftID: 10*n + 1,
			ReplicasetName: "r1", Tier: "default"}
		return w.result(w.execute(catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Insert,
			Table: catalog.TableInstance, Tuple: row.Row()}}}))
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

func (w *world) result(err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return ""
}

// observe sets what is known of an instance: applied=N|now state=S member quorum rows=A/B sharding heard=SECOND
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
		case "member":
			o.Data.Member = true
		case "quorum":
			o.Data.Quorum = true
		case "rows":
			_, err = fmt.Sscanf(v, "%d/%d", &o.Data.RowsApplied, &o.Data.RowsTotal)
		case "sharding":
			o.Sharding = true
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
		fmt.Fprintf(&out, " at %d/%d\n", steps[i].Guard.Index, steps[i].Guard.Term)
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

// do carries out the planned steps and plans on until nothing more can be done.
func (w *world) do() string {
	var out strings.Builder
	for range 20 {
		out.WriteString(w.plan())
		if len(w.steps) == 0 {
			return out.String()
		}
		for _, s := range w.steps {
			if err := w.execute(s.Op); err != nil {
				return out.String() + w.result(err)
			}
			o := w.in.Instances[s.Subject]
			o.Applied = w.index
			w.in.Instances[s.Subject] = o
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
