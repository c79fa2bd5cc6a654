// Package governor decides what the leader of the catalog's raft group does next: it takes every instance from its current
// grade towards its target grade, one recorded step at a time. Pure: Plan is a function of its input, the present time
// included, and keeps nothing between calls that could not be lost.
//
// Each step is in a file of its own; Plan asks them in order of priority, and for each subject the first that has something
// to do wins. A step carries the operation to record and the guard that makes it void if the catalog has changed. Where
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
	// Previous is the last report: rows that say the same keep their time.
	Previous Report
}

// Observed is what the leader knows of an instance; of itself it knows it at first hand.
type Observed struct {
	// Applied is the catalog index that it has applied.
	Applied uint64
	// State is its lifecycle state.
	State lifecycle.State
	// LastHeard is when it last answered; zero: it is this instance itself, which is never silent.
	LastHeard time.Time
	// Data is its part in the data group of its replicaset.
	Data DataProgress
	// Sharding: it has the sharding configuration of its tier.
	Sharding bool
}

// DataProgress is how far an instance has come in the raft group of its replicaset.
type DataProgress struct {
	// Member: it is a voter, or a learner where the plan keeps it one.
	Member bool
	// RowsApplied and RowsTotal tell how far it has caught up; equal when it has.
	RowsApplied, RowsTotal uint64
	// Quorum: the group has a leader.
	Quorum bool
}

// Step is one thing to record in the catalog, all choices made.
type Step struct {
	Kind    string // file name of the step that planned it
	Subject string // name of an instance
	Text    string // what is done, for people
	Op      catalog.Op
	Guard   catalog.Predicate
}

// Row is one line of a report.
type Row struct {
	Subject string
	Text    string
	// Since is when the subject came to this step; a text that only counts on does not change it.
	Since time.Time
	// Kind is the name of the step that wrote the line.
	Kind string
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

// planners are the steps in order of priority.
func planners() []planner {
	return []planner{
		{"mark_target", planTarget},
		{"downgrade", planDowngrade},
		{"raft_synced", planRaftSynced},
		{"replicated", planReplicated},
		{"sharding_initialized", planSharding},
		{"online", planOnline},
	}
}

// Plan returns the steps to carry out now, at most one for each instance, in the order of their names, and the report.
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
	var steps []Step
	for _, row := range in.Catalog.Instances() {
		s := subject{in: in, row: row}
		s.obs, s.heard = in.Instances[row.Name]
		for _, p := range planners() {
			step, wait := p.plan(s, &r)
			if wait != "" {
				r.wait(in, Row{Subject: row.Name, Kind: p.kind, Text: row.Name + ": " + wait})
			}
			if step != nil {
				step.Kind, step.Subject = p.kind, row.Name
				steps = append(steps, *step)
				r.Steps = append(r.Steps, since(in, in.Previous.Steps, Row{Subject: row.Name, Kind: p.kind, Text: step.Text}))
			}
			if step != nil || wait != "" {
				break
			}
		}
	}
	return append(steps, planReplicasets(in, &r)...), r
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
