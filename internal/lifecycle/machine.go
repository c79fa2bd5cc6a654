package lifecycle

import (
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// ErrNoCause is returned by Step for an error state without a cause. The state is entered all the same, with a cause
// that says so: an instance must never stay in a passing state because of a mistake in reporting.
var ErrNoCause = errors.New("lifecycle: an error state was entered without a cause")

// Options are what a new Machine starts from.
type Options struct {
	// Stage is the stage in which the process starts: Discover, Boot or Join.
	Stage Stage
	// PID is the process id that records carry.
	PID int
	// History is what the processes before this one have been through.
	History []Record
}

// Machine is the state of one instance in one process. All changes go through one setter; a change that the tables do
// not allow is a programming error and panics. Not safe for concurrent use: what others may read is a copy (Published).
type Machine struct {
	pid     int
	history *History
	now     Published
}

// New returns a machine in state Start. It panics for a stage in which no process starts.
func New(now time.Time, o Options) *Machine {
	invariant.Check(StateInStage(o.Stage, Start), "a process does not start in stage %s", o.Stage)
	m := &Machine{pid: o.PID, history: NewHistory(o.History)}
	m.now = Published{Stage: o.Stage, State: Start, Prev: Start, Since: now, Moved: now}
	return m
}

// Step moves the instance to another state within the present stage and returns the record of it.
// cause is required for error states and allowed for others (why it waits). It panics if the edge, or the state in
// this stage, is not in the tables. The only error is ErrNoCause.
func (m *Machine) Step(now time.Time, to State, cause *Cause) (Record, error) {
	return m.set(now, m.now.Stage, to, cause)
}

// StepStage moves stage and state together, as one change: the way from RecoveringSnapshot in Discover, or
// BootstrappingBox in Boot and Join, to ConnectingFullmesh in Postjoin. Otherwise it is Step.
func (m *Machine) StepStage(now time.Time, stage Stage, to State, cause *Cause) (Record, error) {
	return m.set(now, stage, to, cause)
}

// Resume begins with the state that this process's entrypoint carries, instead of looking: the edge into it was made by
// the process before. If the history ends in that state, the instance is taken to have been in it all the while, and
// nothing is recorded (ok is false). Otherwise, after a crash, a record from Start is made. It panics unless the
// machine is at Start and the table lets the stage resume with that state.
func (m *Machine) Resume(now time.Time, state State) (r Record, ok bool) {
	invariant.Check(m.now.State == Start, "resume with %s in state %s", state, m.now.State)
	invariant.Check(Resumable(m.now.Stage, state), "stage %s does not resume with %s", m.now.Stage, state)
	if last, found := m.history.Last(); found && last.To == state {
		m.enter(state, last.At, now, last.Cause)
		m.now.Prev = last.From
		return Record{}, false
	}
	return m.record(now, state, nil), true
}

// set is the one setter.
func (m *Machine) set(now time.Time, stage Stage, to State, cause *Cause) (Record, error) {
	from := m.now
	invariant.Check(Allowed(from.State, to), "%s -> %s is not an edge of the instance's lifecycle", from.State, to)
	invariant.Check(stage == from.Stage || StageAllowed(from.Stage, stage),
		"%s -> %s is not an edge of the process's stages", from.Stage, stage)
	invariant.Check(StateInStage(stage, to), "state %s may not occur in stage %s", to, stage)
	var err error
	cause = cause.bounded()
	if cause == nil && to.IsError() {
		cause, err = &Cause{Message: "no cause was given"}, ErrNoCause
	}
	m.now.Stage = stage
	return m.record(now, to, cause), err
}

func (m *Machine) record(now time.Time, to State, cause *Cause) Record {
	r := Record{
		From: m.now.State, To: to, At: now, DurationMs: max(0, now.Sub(m.now.Since).Milliseconds()),
		Cause: cause, Stage: m.now.Stage, PID: m.pid,
	}
	m.enter(to, now, now, cause)
	m.history.Add(r)
	return r
}

func (m *Machine) enter(to State, since, now time.Time, cause *Cause) {
	p := m.now
	m.now = Published{
		Stage: p.Stage, State: to, Prev: p.State, Since: since, Moved: now, Cause: cause,
		WasConfigured: p.WasConfigured || to == RolesConfigured,
	}
}

// Wait names what the instance waits for, as a short text like "waiting for peers: 10.0.0.2:3301"; empty ends the wait.
func (m *Machine) Wait(text string) { m.now.WaitingFor = cut(text, causeBytesMax) }

// Progress notes how far the work of the present state has come. Only growth of Done counts as movement.
func (m *Machine) Progress(now time.Time, p Progress) {
	if m.now.Progress == nil || p.Done > m.now.Progress.Done || p.What != m.now.Progress.What {
		m.now.Moved = now
	}
	m.now.Progress = &p
}

// Stage returns the process's stage.
func (m *Machine) Stage() Stage { return m.now.Stage }

// State returns the instance's state.
func (m *Machine) State() State { return m.now.State }

// Published returns the one value that everybody else gets to see. What it points to is never changed afterwards.
func (m *Machine) Published() Published { return m.now }

// History returns a copy of the records, oldest first.
func (m *Machine) History() []Record { return m.history.Records() }
