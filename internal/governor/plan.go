// Package governor decides what the leader of the catalog's raft group does next: it takes every instance from its current
// grade towards its target grade, and every raft group to the members and the leader that it should have, a step at a time. Pure: Plan is a function of its input, the present time
// included, and keeps nothing between calls that could not be lost.
//
// Each step is in a file of its own; Plan asks them in order of priority, and for each subject (the catalog's group, the
// schema, an instance, a replicaset) the first that has something to do wins. A step carries the operation to record and the guard that makes it
// void if the catalog has changed, or an action on a raft group and what makes that void: term, catalog index, voters. Where
// nothing can be done yet the report says why, in a sentence.
//
// What it is not: the loop that carries steps out (governor/runner), or the judge of who leads (raftgroup).
package governor

import (
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Input is all that a plan depends on.
type Input struct {
	Now time.Time
	// Leading: this instance leads the catalog's group and has applied the first entry of its term.
	Leading bool
	// Term is the term in which it leads.
	Term uint64
	// Leader is the name of the instance that leads the catalog's group, empty if unknown.
	Leader string
	// Catalog is the newest committed view.
	Catalog *catalog.State
	// Instances holds what is known of the instances, by name. One that is missing has not been heard of.
	Instances map[string]Observed
	// CatalogGroup is the catalog's raft group as this instance, its leader, sees it.
	CatalogGroup GroupView
	// DataGroups holds the raft groups of the replicasets, by name of the replicaset.
	DataGroups map[string]GroupView
	// Previous is the last report: rows that say the same keep their time.
	Previous Report
}

// Observed is what the leader knows of an instance; of itself it knows it at first hand.
type Observed struct {
	// Applied is the catalog index that it has applied.
	Applied uint64
	// State is its lifecycle state.
	State lifecycle.State
	// LastHeard is when it last answered, not before the leader began to lead; zero: it is this instance itself, which is
	// never silent.
	LastHeard time.Time
	// Data is its part in the data group of its replicaset.
	Data DataProgress
	// DataRaftID is its id there. Unsure: it takes no part under that id, because it may have forgotten what it had acknowledged.
	DataRaftID uint64
	Unsure     bool
	// Quota and Used are the memory of its database, in bytes; 0: not known.
	Quota, Used uint64
	// Sharding: it has the sharding configuration of its tier.
	Sharding bool
	// Schema is what it says, as the leader of its replicaset, to a change of the schema.
	Schema SchemaAnswer
}

// SchemaAnswer is what one replicaset says to a change of the schema with a version; with another version it says nothing.
type SchemaAnswer struct {
	Version uint64
	// Prepared: it agrees. If not, Code and Message are why it refuses.
	Prepared bool
	Code     uint32
	Message  string
	// Followed is the version of the schema that the replicaset has come to, as far as this instance knows, whatever Version is.
	Followed uint64
}

// DataProgress is how far an instance has come in the raft group of its replicaset: what it has applied of what is committed.
type DataProgress struct {
	RowsApplied, RowsTotal uint64
}

// Step is one thing to carry out, all choices made: either an operation to record in the catalog with its guard, or an action.
type Step struct {
	// Key names what the step is about, uniquely; steps of different keys run side by side.
	Key     string
	Kind    string // file name of the step that planned it
	Subject string // name of an instance or a replicaset, or "catalog"
	Text    string // what is done, for people; a step planned again for the same purpose has the same text
	Op      catalog.Op
	Guard   catalog.Predicate
	// Action, if not nil, is carried out instead of recording Op.
	Action Action
	// Timeout is how long it may take, before all is planned anew.
	Timeout time.Duration
}

// Row is one line of a report.
type Row struct {
	Subject string
	Text    string
	// Since is when the subject came to this step; a text that only counts on does not change it.
	Since time.Time
	// Kind is the name of the step that wrote the line.
	Kind string

	// applied and incarnation belong to raft_synced: the index to apply for the target of that incarnation.
	applied, incarnation uint64
}

// Report tells what the plan does and what it waits for.
type Report struct {
	Leader  string
	Term    uint64
	Steps   []Row
	Waiting []Row
	// RecheckAt is when time alone changes the plan; zero: only a wake-up does.
	RecheckAt time.Time
	// LastError is the newest error of carrying out a step, filled in by the runner, empty after a success.
	LastError string
}

// subject is an instance under planning.
type subject struct {
	in  Input
	row catalog.Instance
	obs Observed
	// heard: obs is filled.
	heard bool
}

// planner looks at one instance and either returns a step, or a reason to wait, or neither: then the next one is asked.
type planner struct {
	kind string
	plan func(s subject, r *Report) (step *Step, wait string)
}

// planners are the steps of instances in order of priority.
func planners() []planner {
	return []planner{
		{"mark_target", planTarget},
		{"downgrade", planDowngrade},
		{"expel", planExpel},
		{"renew", planRenew},
		{kindRaftSynced, planRaftSynced},
		{"replicated", planReplicated},
		{"sharding_initialized", planSharding},
		{"online", planOnline},
	}
}

// subjectCatalog is the subject of the steps on the catalog's group.
const subjectCatalog = "catalog"

// The kinds of steps that are named more than once.
const (
	kindRaftSynced      = "raft_synced"
	kindCatalogLeader   = "catalog_leader"
	kindCatalogMembers  = "catalog_members"
	kindLeadership      = "leadership"
	kindDataMembers     = "data_members"
	kindExpelReplicaset = "expel_replicaset"
	kindReady           = "replicaset_ready"
	kindSchema          = "schema"
)

// replicasetPlanner looks at one replicaset and writes to the report what it waits for.
type replicasetPlanner struct {
	kind string
	plan func(in Input, rs catalog.Replicaset, r *Report) *Step
}

// replicasetPlanners are the steps of replicasets in order of priority. All of them say what they wait for; the first that
// has something to do wins.
func replicasetPlanners() []replicasetPlanner {
	return []replicasetPlanner{
		{kindLeadership, planLeadership},
		{kindDataMembers, planDataMembers},
		{kindExpelReplicaset, planExpelReplicaset},
		{kindReady, planReady},
	}
}

// Plan returns the steps to carry out now, at most one for each subject: the catalog's group, the schema, the instances in the order of their
// names, the replicasets in that of theirs; and the report.
func Plan(in Input) ([]Step, Report) {
	r := Report{Leader: in.Leader, Term: in.Term, LastError: in.Previous.LastError}
	if !in.Leading {
		text := "waiting for a leader of the catalog"
		if in.Leader != "" {
			text = "instance " + in.Leader + " leads the catalog and governs"
		}
		r.wait(in, Row{Subject: "governor", Kind: text, Text: text})
		return nil, r
	}
	in.DataGroups = heardGroups(in)
	var steps []Step
	add := func(scope, kind, subject string, step *Step) {
		step.Key, step.Kind, step.Subject = scope+"/"+subject, kind, subject
		step.Timeout = in.Catalog.Seconds(catalog.ConfGovernorRaftTimeout)
		if step.Action != nil {
			step.Timeout = in.Catalog.Seconds(catalog.ConfGovernorRPCTimeout)
		}
		steps = append(steps, *step)
		r.Steps = append(r.Steps, since(in, in.Previous.Steps, Row{Subject: subject, Kind: kind, Text: step.Text}))
	}
	if step := planCatalogLeader(in, &r); step != nil {
		add("group", kindCatalogLeader, subjectCatalog, step)
	} else if step := planCatalogMembers(in, &r); step != nil {
		add("group", kindCatalogMembers, subjectCatalog, step)
	}
	if step := planSchema(in, &r); step != nil {
		add("schema", kindSchema, subjectCatalog, step)
	}
	if step := planClusterVersion(in); step != nil {
		add("version", "cluster_version", subjectCatalog, step)
	}
	for _, row := range in.Catalog.Instances() {
		if kind, step := planInstance(in, row, &r); step != nil {
			add("instance", kind, row.Name, step)
		}
	}
	for _, rs := range in.Catalog.Replicasets() {
		for _, p := range replicasetPlanners() {
			if step := p.plan(in, rs, &r); step != nil {
				add("replicaset", p.kind, rs.Name, step)
				break
			}
		}
	}
	return steps, r
}

// heardGroups are the data groups of which the leader has been heard of lately. What a silent one said is over.
func heardGroups(in Input) map[string]GroupView {
	timeout := in.autoOffline()
	out := make(map[string]GroupView, len(in.DataGroups))
	for name, view := range in.DataGroups {
		heard := in.Instances[view.Leader].LastHeard
		if heard.IsZero() || in.Now.Sub(heard) < timeout {
			out[name] = view
		}
	}
	return out
}

// planInstance asks the steps of instances in turn, up to the first that has something to do or to wait for.
func planInstance(in Input, row catalog.Instance, r *Report) (kind string, step *Step) {
	s := subject{in: in, row: row}
	s.obs, s.heard = in.Instances[row.Name]
	for _, p := range planners() {
		step, wait := p.plan(s, r)
		if wait != "" {
			line := Row{Subject: row.Name, Kind: p.kind, Text: row.Name + ": " + wait}
			if p.kind == kindRaftSynced {
				line.applied, line.incarnation = s.requestIndex(), row.Target.Incarnation
			}
			r.wait(in, line)
		}
		if step != nil || wait != "" {
			return p.kind, step
		}
	}
	return "", nil
}

func (r *Report) wait(in Input, row Row) {
	r.Waiting = append(r.Waiting, since(in, in.Previous.Waiting, row))
}

// since gives a row the present time, or that of the row for the same subject and step before.
func since(in Input, before []Row, row Row) Row {
	row.Since = in.Now
	at := slices.IndexFunc(before, func(b Row) bool { return b.Subject == row.Subject && b.Kind == row.Kind })
	if at >= 0 {
		row.Since = before[at].Since
	}
	return row
}

// recheck asks for a new plan at a time.
func (r *Report) recheck(at time.Time) {
	if r.RecheckAt.IsZero() || at.Before(r.RecheckAt) {
		r.RecheckAt = at
	}
}

// climbing reports whether the instance is on its way to Online, with the incarnation it was asked for.
func (s subject) climbing() bool {
	return s.row.Target.Name == lifecycle.Online && s.row.Current.Name != lifecycle.Expelled &&
		s.row.Current != lifecycle.Grade{Name: lifecycle.Online, Incarnation: s.row.Target.Incarnation}
}

// stands reports whether the instance has this grade in the incarnation it was asked for.
func (s subject) stands(g lifecycle.GradeName) bool {
	return s.climbing() && s.row.Current == lifecycle.Grade{Name: g, Incarnation: s.row.Target.Incarnation}
}

// setGrade is the step that records a grade of the target's incarnation. Its guard also covers the rows that were looked
// at to decide it.
func (s subject) setGrade(g lifecycle.GradeName, looked ...catalog.Range) *Step {
	row := s.row
	row.Current = lifecycle.Grade{Name: g, Incarnation: row.Target.Incarnation}
	guard := catalog.Unchanged(s.in.Catalog, append(looked, catalog.Eq(catalog.TableInstance, catalog.Key(row.Name)))...)
	guard.Term = s.in.Term
	return &Step{
		Text: "record grade " + row.Current.String() + " of " + row.Name + ", now " + s.row.Current.String(),
		Op: catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableInstance,
			Tuple: row.Row()}}},
		Guard: guard,
	}
}
