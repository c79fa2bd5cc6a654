// Package runner is the governor's loop on every instance: it waits to be woken, reads all that the plan depends on, plans,
// starts the steps whose subjects are free, and starts over. It is level-triggered: a wake-up carries nothing and may be lost
// or doubled. Effects: a goroutine for each step while it is carried out, timers. What to do is decided by package governor.
package runner

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/governor"
)

// Options of a Runner. Read and Propose must be given.
type Options struct {
	// Read gathers the input of a plan; Previous is filled in by the runner.
	Read func() governor.Input
	// Propose records an operation with its guard in the catalog, and returns when Read would show it.
	Propose func(ctx context.Context, op catalog.Op, guard catalog.Predicate) (catalog.Result, error)
	// Act carries out the action of a step; it must be given where there is more than one instance. It returns when the
	// action is done or refused, or the context ends; if the same is planned again then, that is tried after a pause.
	Act func(ctx context.Context, step governor.Step) error
	// Wakes are channels whose tokens mean "read again", such as catalog/runner.Machine.Subscribe returns. At most two.
	Wakes []<-chan struct{}
	// Retry is the pause of a subject after an error, 250 ms unless given. It doubles up to RetryMax, 5 s unless given.
	Retry, RetryMax time.Duration
	Logger          *slog.Logger
}

const (
	retryDefault    = 250 * time.Millisecond
	retryMaxDefault = 5 * time.Second
	// conflictPause is the first pause after a step was refused since the world has changed: to look again is all that is
	// needed.
	conflictPause = 10 * time.Millisecond
	// lookAgain is how long the loop of the leader sleeps at most while anything waits.
	lookAgain = time.Second
	// inFlightMax bounds the steps that are carried out side by side.
	inFlightMax = 256
)

// Runner is a governor's loop.
type Runner struct {
	opts   Options
	wake   chan struct{}
	report atomic.Pointer[governor.Report]
	// done and failed count the steps that were carried out.
	done, failed atomic.Uint64
}

// New makes a runner; Run runs it.
func New(opts Options) *Runner {
	if opts.Retry <= 0 {
		opts.Retry = retryDefault
	}
	if opts.RetryMax <= 0 {
		opts.RetryMax = max(retryMaxDefault, opts.Retry)
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

// Steps returns how many steps were carried out since the start, and how many of them failed.
func (r *Runner) Steps() (done, failed uint64) { return r.done.Load(), r.failed.Load() }

// Run loops until the context ends and the steps under way have returned.
func (r *Runner) Run(ctx context.Context) {
	f := newFlight(r)
	for ctx.Err() == nil {
		in := r.opts.Read()
		in.Previous = r.Report()
		steps, report := governor.Plan(in)
		free := f.start(ctx, steps, time.Now())
		report.LastError = f.lastError()
		r.report.Store(&report)
		d := earlier(free, untilRecheck(in.Now, report.RecheckAt))
		if in.Leading && len(report.Waiting) > 0 {
			d = earlier(d, lookAgain)
		}
		r.sleep(ctx, f, d)
	}
	f.drain()
}

// untilRecheck returns how long to sleep if nobody wakes the loop; 0 for ever.
func untilRecheck(now, at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(at.Sub(now), time.Millisecond)
}

// earlier returns the shorter of two times of which 0 means for ever.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// sleep waits for a wake-up, for the end of a step, for the time if it is above 0, or for the end.
func (r *Runner) sleep(ctx context.Context, f *flight, d time.Duration) {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	var wakes [2]<-chan struct{}
	copy(wakes[:], r.opts.Wakes)
	select {
	case o := <-f.outcomes:
		f.land(o, time.Now())
	case <-r.wake:
	case <-wakes[0]:
	case <-wakes[1]:
	case <-timer:
	case <-ctx.Done():
	}
}
