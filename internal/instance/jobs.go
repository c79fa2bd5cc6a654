package instance

import (
	"context"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/httpd"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

// jobLogEvery is how often the log tells how far a schema change is.
const jobLogEvery = 5 * time.Second

// jobLogger returns what writes schema changes that take long into the log. It is called on the loop of the data group.
func (i *Instance) jobLogger() func(replicaset.JobEvent) {
	started, logged := map[*box.Build]time.Duration{}, map[*box.Build]time.Duration{}
	return func(ev replicaset.JobEvent) {
		now := i.clock.Boot()
		b := ev.Build
		done, total := b.Rows()
		began, known := started[b]
		args := []any{"space", b.Space(), "index", b.Index(), "rows", done, "of", total, "seconds", (now - began).Seconds()}
		switch {
		case !known:
			started[b], logged[b] = now, now
			i.log.Info("schema change: looking at the rows of a space", args[:len(args)-2]...)
		case ev.Ended:
			delete(started, b)
			delete(logged, b)
			if ev.Err != nil {
				i.log.Warn("schema change given up", append(args, "error", ev.Err)...)
			} else {
				i.log.Info("schema change done", args...)
			}
		case now-logged[b] >= jobLogEvery:
			logged[b] = now
			i.log.Info("schema change under way", args...)
		}
	}
}

// giveUpJobs ends the schema changes under way, so that a stop need not wait for them.
func (i *Instance) giveUpJobs(ctx context.Context) {
	c := i.core.Load()
	if c == nil || c.dataLoop == nil {
		return
	}
	err := c.dataLoop.Call(ctx, func(*raftgroup.Group) error {
		c.machine.GiveUp(errcode.New(errcode.Shutdown))
		return nil
	})
	if err != nil {
		i.log.Debug("schema changes were not ended before the loop", "error", err)
	}
}

// schemaChanges are the changes under way, for documents and metrics.
func (c *core) schemaChanges() []httpd.SchemaChange {
	var all []httpd.SchemaChange
	for _, b := range c.engine.Builds() {
		done, total := b.Rows()
		all = append(all, httpd.SchemaChange{Space: httpd.Text(b.Space()), Index: httpd.Text(b.Index()), RowsDone: done, RowsTotal: total})
	}
	return all
}
