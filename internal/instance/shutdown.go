package instance

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/transfer"
)

// loopsTimeout bounds the wait for the groups' loops, drainTimeout that for requests in flight.
const (
	loopsTimeout = 5 * time.Second
	drainTimeout = 3 * time.Second
	// handOverTimeout bounds the wait for a successor of each group, handOverPoll is how often one is looked for.
	handOverTimeout = 1500 * time.Millisecond
	handOverPoll    = 10 * time.Millisecond
	// quiesceTimeout bounds the wait for entries on their way, which without a quorum never get there.
	quiesceTimeout = time.Second
)

// shutdown is a clean stop: the instance asks for target grade Offline and waits until it has it, then answers what is in
// flight.
func (i *Instance) shutdown(c *core) error {
	i.log.Info("stopping")
	i.sink.Emit(event.ProcessStopping{At: i.clock.Wall(), Reason: "asked to"})
	ctx, cancel := context.WithTimeout(context.Background(), i.cfg.ShutdownTimeout)
	defer cancel()
	i.handOver(ctx, c)
	i.announceStop()
	if err := i.setTarget(ctx, c, lifecycle.Offline, "shutdown"); err != nil {
		i.log.Warn("target grade Offline was not recorded", "error", err)
		return nil
	}
	wake := c.catalog.Subscribe()
	defer c.catalog.Unsubscribe(wake)
	for {
		row, ok := c.catalog.View().Instance(c.id.InstanceName)
		if !ok || row.Current.Name != lifecycle.Online {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			i.log.Warn("stopping without grade Offline", "waited", i.cfg.ShutdownTimeout)
			return nil
		}
	}
}

// handOver gives up the leadership of both groups, the data's first, where another voter can take it: clients find a leader
// without waiting for an election.
func (i *Instance) handOver(ctx context.Context, c *core) {
	i.handGroupOver(ctx, dataName, c.dataLoop.Call)
	i.handGroupOver(ctx, catalogName, c.catalogLoop.Call)
}

// handGroupOver tries until another replica leads. One that has just started declines at first, and then the group goes on here.
func (i *Instance) handGroupOver(ctx context.Context, name string, call func(context.Context, func(*raftgroup.Group) error) error) {
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	var last uint64
	for {
		done := false
		err := call(ctx, func(g *raftgroup.Group) error {
			to := heir(g, last)
			if done = g.Status().Role != raftgroup.RoleLeader || to == 0; done || !g.Leading() {
				return nil // or a transfer is under way
			}
			if to != last {
				i.log.Info("handing the leadership over", "group", name, "to", to)
			}
			last = to
			return g.TransferLeader(to)
		})
		if err != nil || done {
			return
		}
		pause(ctx, handOverPoll)
	}
}

// heir is the voter that is the furthest of those that answer, one that has just been asked in vain only if there is no other; 0
// if this replica does not lead or is the only one.
func heir(g *raftgroup.Group, asked uint64) (to uint64) {
	var match uint64
	for _, m := range g.Members() {
		if m.ID == g.Status().ID || m.Learner || !m.Active {
			continue
		}
		if to == 0 || to == asked || m.Match > match && m.ID != asked {
			to, match = m.ID, m.Match
		}
	}
	return to
}

// quiesce lets both groups decide what was run, while this instance still hears the others, and refuses the rest: no client is left
// with an unknown outcome.
func (i *Instance) quiesce() {
	c := i.core.Load()
	if c == nil || c.dataLoop == nil || c.catalogLoop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), quiesceTimeout)
	defer cancel()
	if err := errors.Join(c.dataLoop.Quiesce(ctx), c.catalogLoop.Quiesce(ctx)); err != nil {
		i.log.Warn("not all writes were decided before the stop", "waited", quiesceTimeout, "error", err)
	}
}

// closeAll gives everything back in reverse order. Nothing that can hang is waited for beyond its timeout.
func (i *Instance) closeAll(clean bool) {
	if i.server != nil {
		i.dismiss()
		i.quiesce()
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	i.giveUpJobs(ctx)
	if i.server != nil {
		if err := i.server.Shutdown(ctx); err != nil {
			i.log.Warn("some connections were cut", "error", err)
		}
	}
	i.closeCore(clean)
	if i.http != nil {
		httpCtx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := i.http.Shutdown(httpCtx); err != nil {
			i.log.Debug("HTTP connections were cut", "error", err)
		}
	}
	if i.pool != nil {
		i.pool.Close()
	}
	i.closeSockets()
	if i.audit != nil {
		if err := i.audit.Close(); err != nil {
			i.log.Warn("the audit log was not closed", "error", err)
		}
	}
}

// closeCore stops the loops and closes the logs, so that the next start knows that this stop was clean.
func (i *Instance) closeCore(clean bool) {
	if c := i.core.Load(); c != nil && clean {
		i.stopCore(c)
	}
}

func (i *Instance) stopCore(c *core) {
	ctx, cancel := context.WithTimeout(context.Background(), loopsTimeout)
	defer cancel()
	if !c.stopFetching(ctx) {
		i.log.Warn("a snapshot on its way here did not end in time: the logs stay as they are")
		return
	}
	for _, stop := range []func(context.Context) error{c.dataStop, c.catalogStop} {
		if err := stop(ctx); err != nil {
			i.log.Warn("a group did not stop in time: its log stays as it is", "error", err)
			return
		}
	}
	if c.transport != nil {
		c.transport.Close()
	}
	if c.dataLoop != nil && c.catalogLoop != nil {
		i.writeWatermarks(c)
	}
	err := i.saveRows(c)
	err = errors.Join(err, c.closeLogs())
	// While a snapshot is written its rows are read, and the dictionary's while the schema is looked at: the end of the process
	// gives the memory back.
	if c.following.TryLock() && c.checkpointing.TryLock() { // for good
		err = errors.Join(err, c.closeEngine())
	}
	if err != nil {
		i.log.Error("the database was not closed", "error", err)
	}
}

// stopFetching ends the transfers of snapshots, false if that takes longer than the context.
func (c *core) stopFetching(ctx context.Context) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, f := range []*transfer.Fetcher{c.dataFetcher, c.catalogFetcher} {
			if f != nil {
				f.Close()
			}
		}
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *core) dataStop(ctx context.Context) error {
	if c.dataLoop == nil {
		return nil
	}
	return c.dataLoop.Stop(ctx)
}

func (c *core) catalogStop(ctx context.Context) error {
	if c.catalogLoop == nil {
		return nil
	}
	return c.catalogLoop.Stop(ctx)
}
