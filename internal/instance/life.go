package instance

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/sys"
)

// life owns the lifecycle machine. Every change goes through its one setter, which tells everybody who shows the state.
type life struct {
	clock sys.Clock
	log   *slog.Logger
	// tell is what the parent process gets: a record, or nil when only the text changed.
	tell func(p lifecycle.Published, r *lifecycle.Record)
	sink event.Sink

	mu      sync.Mutex // guards machine, changed, and the order of what is told
	machine *lifecycle.Machine
	changed chan struct{}
	current atomic.Pointer[lifecycle.Published]
}

func newLife(clock sys.Clock, o lifecycle.Options, log *slog.Logger) *life {
	l := &life{clock: clock, log: log, machine: lifecycle.New(clock.Wall(), o), changed: make(chan struct{})}
	l.tell = func(lifecycle.Published, *lifecycle.Record) {}
	l.sink = event.Fanout{}
	p := l.machine.Published()
	l.current.Store(&p)
	return l
}

// published returns what the instance shows of itself. For any goroutine.
func (l *life) published() lifecycle.Published { return *l.current.Load() }

// history returns the records, oldest first. For any goroutine.
func (l *life) history() []lifecycle.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.History()
}

// step moves the instance to another state of the same stage.
func (l *life) step(to lifecycle.State, cause *lifecycle.Cause) {
	l.change(func(now time.Time) (lifecycle.Record, bool) {
		r, err := l.machine.Step(now, to, cause)
		invariant.Check(err == nil, "%v", err)
		return r, true
	})
}

// stepStage moves stage and state together.
func (l *life) stepStage(stage lifecycle.Stage, to lifecycle.State, cause *lifecycle.Cause) {
	l.change(func(now time.Time) (lifecycle.Record, bool) {
		r, err := l.machine.StepStage(now, stage, to, cause)
		invariant.Check(err == nil, "%v", err)
		return r, true
	})
}

// resume enters with the state that an entrypoint carries.
func (l *life) resume(state lifecycle.State) {
	l.change(func(now time.Time) (lifecycle.Record, bool) { return l.machine.Resume(now, state) })
}

// wait names what the instance waits for; empty ends the wait.
func (l *life) wait(text string) {
	l.change(func(time.Time) (lifecycle.Record, bool) {
		l.machine.Wait(text)
		return lifecycle.Record{}, false
	})
}

// progress notes how far the work of the state has come.
func (l *life) progress(p lifecycle.Progress) {
	l.change(func(now time.Time) (lifecycle.Record, bool) {
		l.machine.Progress(now, p)
		return lifecycle.Record{}, false
	})
}

func (l *life) change(by func(now time.Time) (lifecycle.Record, bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, recorded := by(l.clock.Wall())
	p := l.machine.Published()
	l.current.Store(&p)
	if recorded {
		l.tell(p, &r)
		l.sink.Emit(event.StateChanged{Record: r})
	} else {
		l.tell(p, nil)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// changes returns a channel that is closed at the next change of anything published.
func (l *life) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// causeOf makes the cause of an error state from an error.
func causeOf(err error, field string) *lifecycle.Cause {
	e := errcode.Of(err)
	return &lifecycle.Cause{Code: uint32(e.Code), Message: err.Error(), Field: field}
}
