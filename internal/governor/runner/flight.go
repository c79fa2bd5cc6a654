package runner

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
)

// flight holds the steps that are under way, and how long each subject pauses. It belongs to the loop.
type flight struct {
	r        *Runner
	subjects map[string]*subject
	outcomes chan outcome
	inFlight int
}

// subject is what the loop remembers of one key of steps, as long as it is planned for or pauses.
type subject struct {
	inFlight bool
	// text is the last step's, err its error; nil: it succeeded, but may be planned again if its effect is not seen yet.
	text string
	err  error
	// pause is the length of the last pause, until its end: no step after an error, not the same one after a success.
	pause   time.Duration
	until   time.Time
	planned bool
	failed  time.Time
}

// outcome is how a step ended.
type outcome struct {
	step governor.Step
	err  error
}

func newFlight(r *Runner) *flight {
	return &flight{r: r, subjects: map[string]*subject{}, outcomes: make(chan outcome, inFlightMax)}
}

// start carries out the steps whose subjects are free, and returns how long the first of the others pauses; 0: none does.
func (f *flight) start(ctx context.Context, steps []governor.Step, now time.Time) (free time.Duration) {
	for _, s := range f.subjects {
		s.planned = false
	}
	for _, step := range steps {
		s := f.subjects[step.Key]
		if s == nil {
			s = &subject{}
			f.subjects[step.Key] = s
		}
		s.planned = true
		switch {
		case s.inFlight || f.inFlight == inFlightMax:
		case now.Before(s.until) && (s.err != nil || s.text == step.Text):
			free = earlier(free, s.until.Sub(now))
		default:
			s.inFlight = true
			f.inFlight++
			go func() { f.outcomes <- outcome{step, f.r.carryOut(ctx, step)} }()
		}
	}
	for key, s := range f.subjects {
		if !s.planned && !s.inFlight {
			s.err = nil // what failed is not wanted any more
			if !now.Before(s.until) {
				delete(f.subjects, key)
			}
		}
	}
	return free
}

// land takes in how a step ended: the subject is free, at once if it went well and another step follows.
func (f *flight) land(o outcome, now time.Time) {
	s := f.subjects[o.step.Key]
	again := o.err != nil && s.err != nil || o.err == nil && s.err == nil && s.text == o.step.Text
	first := f.r.opts.Retry
	if isConflict(o.err) {
		first = min(first, conflictPause)
	}
	if s.pause = min(2*s.pause, f.r.opts.RetryMax); !again || s.pause < first {
		s.pause = first
	}
	s.inFlight, s.text, s.err, s.until = false, o.step.Text, o.err, now.Add(s.pause)
	if s.err != nil {
		s.failed = now
	}
	f.inFlight--
}

// isConflict reports whether all that is needed is to look again: the catalog has changed or is not yet that of the leader's
// term, or a group has another leader, or one that is about to begin.
func isConflict(err error) bool {
	for _, code := range []errcode.Code{errcode.TermMismatch, errcode.RaftLogCompacted, errcode.CASNoSuchRaftIndex,
		errcode.CASConflictFound, errcode.CASEntryTermMismatch, errcode.NotALeader} {
		if errcode.Is(err, code) {
			return true
		}
	}
	return false
}

// lastError is the newest error of a subject that still has the step to do, with what it was; empty if all is well.
func (f *flight) lastError() string {
	var last *subject
	for _, s := range f.subjects {
		if s.err != nil && (last == nil || s.failed.After(last.failed) || s.failed.Equal(last.failed) && s.text < last.text) {
			last = s
		}
	}
	if last == nil {
		return ""
	}
	return last.text + ": " + last.err.Error()
}

// drain waits for the steps under way.
func (f *flight) drain() {
	for ; f.inFlight > 0; f.inFlight-- {
		<-f.outcomes
	}
}

var errNoAct = errors.New("this instance cannot change raft groups")

// carryOut records a step or has its action carried out. One that is refused because the world has changed is planned again
// from the new one.
func (r *Runner) carryOut(ctx context.Context, step governor.Step) error {
	ctx, cancel := context.WithTimeout(ctx, step.Timeout)
	defer cancel()
	log := r.opts.Logger.With("step", step.Kind, "subject", step.Subject)
	var err error
	switch {
	case step.Action == nil:
		_, err = r.opts.Propose(ctx, step.Op, step.Guard)
	case r.opts.Act == nil:
		err = errNoAct
	default:
		err = r.opts.Act(ctx, step)
	}
	if err != nil {
		r.failed.Add(1)
		log.Warn("governor: step failed", "text", step.Text, "error", err)
		return err
	}
	r.done.Add(1)
	log.Info("governor: " + step.Text)
	return nil
}
