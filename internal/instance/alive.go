package instance

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	// pulseEvery is how often the groups' loops are asked whether they turn.
	pulseEvery = time.Second
	// pulseMax is how long a loop may stay silent before the process counts as hanging. The parent waits 30 s more.
	pulseMax = 20 * time.Second
)

// pulse knows when the loops of both groups last turned.
type pulse struct{ last atomic.Int64 }

// healthy tells whether the process should go on: before the loops are there it always should.
func (i *Instance) healthy() bool {
	last := i.pulse.last.Load()
	return last == 0 || i.clock.Boot()-time.Duration(last) < pulseMax
}

// watchLoops notes each time both loops have answered. When one hangs the notes stop, and with them the Alive messages.
func (i *Instance) watchLoops(ctx context.Context, c *core) {
	nothing := func(*raftgroup.Group) error { return nil }
	idle := func(*raftgroup.Group) error {
		c.engine.Idle() // on the goroutine of the writer
		return nil
	}
	timer := time.NewTimer(pulseEvery)
	defer timer.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, pulseMax)
		turning := c.catalogLoop.Call(ask, nothing) == nil && c.dataLoop.Call(ask, idle) == nil
		cancel()
		if turning {
			i.pulse.last.Store(int64(i.clock.Boot()))
		}
		timer.Reset(real.Until(pulseEvery))
		select {
		case <-timer.C:
		case <-ctx.Done():
			i.pulse.last.Store(0) // a stop has limits of its own
			return
		}
	}
}
