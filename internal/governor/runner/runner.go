// Package runner is the governor's loop on every instance: it waits to be woken, reads all that the plan depends on, plans,
// records the steps in the catalog, and starts over. It is level-triggered: a wake-up carries nothing and may be lost or
// doubled. Effects: a goroutine for each step while it is recorded, timers. What to do is decided by package governor.
package runner

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/governor"
)

// Options of a Runner. Read and Propose must be given.
type Options struct {
	// Read gathers the input of a plan; Previous is filled in by the runner.
	Read func() governor.Input
	// Propose records an operation with its guard in the catalog.
	Propose func(ctx context.Context, op catalog.Op, guard catalog.Predicate) (catalog.Result, error)
	// Act carries out the action of a step; it must be given where there is more than one instance. It returns when the
	// action is done or refused.
	Act func(ctx context.Context, step governor.Step) error
	// Wakes are channels whose tokens mean "read again", such as catalog/runner.Machine.Subscribe returns. At most two.
	Wakes []<-chan struct{}
	// StepTimeout bounds the recording of a step, 3 s unless given.
	StepTimeout time.Duration
	// Retry is the pause after an error, 250 ms unless given.
	Retry  time.Duration
	Logger *slog.Logger
}

const (
	stepTimeoutDefault = 3 * time.Second
	retryDefault       = 250 * time.Millisecond
	// stepsInFlightMax bounds the steps that are recorded side by side.
	stepsInFlightMax = 16
)

// Runner is a governor's loop.
type Runner struct {
	opts   Options
	wake   chan struct{}
	report atomic.Pointer[governor.Report]
}

// New makes a runner; Run runs it.
func New(opts Options) *Runner {
	if opts.StepTimeout <= 0 {
		opts.StepTimeout = stepTimeoutDefault
	}
	if opts.Retry <= 0 {
		opts.Retry = retryDefault
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{opts: opts, wake: make(chan struct{}, 1)}
	r.report.Store(&governor.Report{})
	return r
}

// Notify makes the loop read again. It never blocks.
func (r *Runner) Notify() {
	select {
	case r.wake <- struct{}{}:
	default: // a token is waiting already
	}
}

// Report returns the last report.
func (r *Runner) Report() governor.Report { return *r.report.Load() }

// Run loops until the context ends.
func (r *Runner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		in := r.opts.Read()
		in.Previous = r.Report()
		steps, report := governor.Plan(in)
		r.report.Store(&report)
		if len(steps) == 0 {
			r.sleep(ctx, r.untilRecheck(in.Now, report.RecheckAt))
			continue
		}
		err := r.record(ctx, steps)
		report.LastError = ""
		if err != nil {
			report.LastError = err.Error()
		}
		r.report.Store(&report)
		if err != nil && ctx.Err() == nil {
			pause(ctx, r.opts.Retry)
		}
	}
}

// untilRecheck returns how long to sleep if nobody wakes the loop; 0 for ever.
func (r *Runner) untilRecheck(now, at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(now), time.Millisecond)
}

// sleep waits for a wake-up, for the time if it is above 0, or for the end.
func (r *Runner) sleep(ctx context.Context, d time.Duration) {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	var wakes [2]<-chan struct{}
	copy(wakes[:], r.opts.Wakes)
	select {
	case <-r.wake:
	case <-wakes[0]:
	case <-wakes[1]:
	case <-timer:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// record carries the steps out side by side and returns the first error in their order. A step that is refused because
// the catalog has changed is planned again from the new one.
func (r *Runner) record(ctx context.Context, steps []governor.Step) error {
	errs := make([]error, len(steps))
	slots := make(chan struct{}, stepsInFlightMax)
	var wg sync.WaitGroup
	for i, step := range steps {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.recordOne(ctx, step)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) recordOne(ctx context.Context, step governor.Step) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.StepTimeout)
	defer cancel()
	log := r.opts.Logger.With("step", step.Kind, "subject", step.Subject)
	err := r.carryOut(ctx, step)
	if err != nil {
		log.Warn("governor: step failed", "text", step.Text, "error", err)
		return err
	}
	log.Info("governor: " + step.Text)
	return nil
}

var errNoAct = errors.New("this instance cannot change groups")

func (r *Runner) carryOut(ctx context.Context, step governor.Step) error {
	switch {
	case step.Action == nil:
		_, err := r.opts.Propose(ctx, step.Op, step.Guard)
		return err
	case r.opts.Act == nil:
		return errNoAct
	}
	return r.opts.Act(ctx, step)
}
