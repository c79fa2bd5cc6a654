package instance

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

const (
	// yieldRetry is the first pause between two attempts to give a leadership up; it doubles up to yieldRetryMax, since the
	// others' disks may be full too, and then the leadership only goes round.
	yieldRetry    = 500 * time.Millisecond
	yieldRetryMax = 30 * time.Second
)

// diskFull puts on record that the disk of a group's log is full, or not any more. As long as it is, this replica leads only
// if no other voter can: a leader without a log refuses the writes of all. What it returns is called on the loop's goroutine.
func (i *Instance) diskFull(c *core, name string) func(full bool) {
	end := func() {}
	return func(full bool) {
		i.sink.Emit(event.DiskFull{At: i.clock.Wall(), Group: name, Full: full})
		end()
		if full {
			var ctx context.Context
			ctx, end = context.WithCancel(context.Background())
			go i.yieldGroup(ctx, c, name)
		}
	}
}

// yieldGroup is yield for one of this instance's groups, which are there once the core is published.
func (i *Instance) yieldGroup(ctx context.Context, c *core, name string) {
	for i.core.Load() != c && ctx.Err() == nil {
		pause(ctx, connectPoll)
	}
	call := c.catalogLoop.Call
	if name == dataName {
		call = c.dataLoop.Call
	}
	yield(ctx, call, func(to uint64) {
		i.log.Info("giving the leadership up while the disk is full", "group", name, "to", to)
	})
}

// yield hands the leadership to another voter whenever this replica has it, until the context or the loop ends.
func yield(ctx context.Context, call func(context.Context, func(*raftgroup.Group) error) error, tell func(to uint64)) {
	for wait := yieldRetry; ctx.Err() == nil; wait = min(2*wait, yieldRetryMax) {
		var to uint64
		err := call(ctx, func(g *raftgroup.Group) error {
			if to = heir(g, 0); to == 0 {
				return nil
			}
			return g.TransferLeader(to)
		})
		switch {
		case errors.Is(err, wal.ErrClosed):
			return
		case to == 0:
			wait = yieldRetry
		case err == nil:
			tell(to)
		}
		pause(ctx, wait)
	}
}
