// Package event holds what happens to an instance as typed values, and the smallest possible way to tell several
// readers of it: logs, metrics, the audit log and tests are sinks of the same events, never of each other's texts.
//
// Pure: no I/O, goroutines or clocks; an event carries its time. A sink may have effects of its own; it is called on
// the goroutine on which the event happened and must neither block for long nor fail. What a sink makes of an event is
// decided by the sink.
package event

import (
	"strconv"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Level says how much an event matters to someone who reads the log.
type Level uint8

// The levels.
const (
	Info Level = iota
	Warn
	Error
)

// Field is one named value of an event, already text.
type Field struct{ Key, Value string }

// Event is something that has happened. The types of this package are all there are.
type Event interface {
	// Name is the fixed name, as it stands in the audit log: "state_changed".
	Name() string
	// Level depends on what happened.
	Level() Level
	// Text is one sentence without the fields' values.
	Text() string
	// When is the time of the event.
	When() time.Time
	// Fields are the details, in a fixed order, empty ones left out. They never hold secrets.
	Fields() []Field
}

// Sink takes events. Emit may be called from several goroutines at once.
type Sink interface{ Emit(Event) }

// SinkFunc makes a sink of a function.
type SinkFunc func(Event)

// Emit calls the function.
func (f SinkFunc) Emit(e Event) { f(e) }

// Fanout gives every event to each of its sinks in order. It is put together once, at the start, and not changed.
type Fanout []Sink

// Emit gives the event to all sinks.
func (f Fanout) Emit(e Event) {
	for _, s := range f {
		s.Emit(e)
	}
}

// fields collects key and value pairs whose value is not empty.
func fields(pairs ...string) []Field {
	all := make([]Field, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, Field{pairs[i], pairs[i+1]})
		}
	}
	return all
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// StateChanged: the instance's machine has made a step.
type StateChanged struct {
	Instance  string
	Record    lifecycle.Record
	Published lifecycle.Published
}

// Name is "state_changed".
func (StateChanged) Name() string { return "state_changed" }

// Level is Error for the error states.
func (e StateChanged) Level() Level {
	if e.Record.To.IsError() {
		return Error
	}
	return Info
}

// Text names the new state.
func (e StateChanged) Text() string { return "instance is in state " + e.Record.To.String() }

// When is the time of the step.
func (e StateChanged) When() time.Time { return e.Record.At }

// Fields are instance, stage, from, to, duration and cause.
func (e StateChanged) Fields() []Field {
	code, message, field := "", "", ""
	if c := e.Record.Cause; c != nil {
		message, field = c.Message, c.Field
		if c.Code != 0 {
			code = number(uint64(c.Code))
		}
	}
	return fields("instance", e.Instance, "stage", e.Record.Stage.String(), "from", e.Record.From.String(),
		"to", e.Record.To.String(), "duration_ms", strconv.FormatInt(e.Record.DurationMs, 10),
		"cause", message, "cause_code", code, "cause_field", field)
}

// GradeChanged: the catalog's row about an instance has another current or target grade.
type GradeChanged struct {
	At       time.Time
	Instance string
	// Target: the target grade changed, otherwise the current one.
	Target   bool
	From, To lifecycle.Grade
	Reason   string
}

// Name is "grade_changed" or "target_grade_changed".
func (e GradeChanged) Name() string {
	if e.Target {
		return "target_grade_changed"
	}
	return "grade_changed"
}

// Level is Warn on the way to Offline and Expelled.
func (e GradeChanged) Level() Level {
	if e.To.Name == lifecycle.Offline || e.To.Name == lifecycle.Expelled {
		return Warn
	}
	return Info
}

// Text names the new grade.
func (e GradeChanged) Text() string {
	if e.Target {
		return "target grade is " + e.To.String()
	}
	return "current grade is " + e.To.String()
}

// When is the time of the change.
func (e GradeChanged) When() time.Time { return e.At }

// Fields are instance, from, to and reason.
func (e GradeChanged) Fields() []Field {
	return fields("instance", e.Instance, "from", e.From.String(), "to", e.To.String(), "reason", e.Reason)
}
