package instance

import (
	"context"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// loopsTimeout bounds the wait for the groups' loops, drainTimeout that for requests in flight.
const (
	loopsTimeout = 5 * time.Second
	drainTimeout = 3 * time.Second
)

// shutdown is a clean stop: the instance asks for target grade Offline and waits until it has it, then answers what is in
// flight.
func (i *Instance) shutdown(c *core) error {
	i.log.Info("stopping")
	i.sink.Emit(event.ProcessStopping{At: i.clock.Wall(), Reason: "asked to"})
	i.announceStop()
	ctx, cancel := context.WithTimeout(context.Background(), i.cfg.ShutdownTimeout)
	defer cancel()
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

// closeAll gives everything back in reverse order. Nothing that can hang is waited for beyond its timeout.
func (i *Instance) closeAll(clean bool) {
	if i.server != nil {
		i.dismiss()
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
	for _, stop := range []func(context.Context) error{c.dataStop, c.catalogStop} {
		if err := stop(ctx); err != nil {
			i.log.Warn("a group did not stop in time: its log stays as it is", "error", err)
			return
		}
	}
	if c.dataLoop != nil && c.catalogLoop != nil {
		i.writeWatermarks(c)
	}
	if err := c.close(); err != nil {
		i.log.Error("the database was not closed", "error", err)
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
