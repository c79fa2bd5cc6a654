package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	// snapshotsKept is the number of snapshots of each group that are kept.
	snapshotsKept = 2
	// checkpointPoll is how often the size of the log is looked at.
	checkpointPoll = time.Second
	// checkpointRetry is the pause after a snapshot that failed: on a full disk each try takes, for a while, the room that
	// is left.
	checkpointRetry = 30 * time.Second
)

func (i *Instance) checkpointOptions() checkpoint.Options {
	return checkpoint.Options{FS: i.fs, Dir: i.dir.Path + "/" + datadir.DataDir, InstanceUUID: i.instanceUUIDFor(), Now: i.clock.Wall()}
}

// checkpoint writes a snapshot of the data beside the writers, removes what it makes superfluous, and returns when it is
// durable.
func (i *Instance) checkpoint(c *core) (checkpoint.Result, error) {
	if c.dataGroup.mute {
		return checkpoint.Result{}, errcode.New(errcode.LogUnsure, c.id.InstanceName)
	}
	if !c.checkpointing.TryLock() {
		return checkpoint.Result{}, checkpoint.ErrRunning
	}
	defer c.checkpointing.Unlock()
	started := i.clock.Boot()
	res, pos, err := i.writeSnapshot(c)
	e := event.CheckpointDone{At: i.clock.Wall(), Path: res.Path, Rows: res.Rows, Duration: i.clock.Boot() - started}
	if err != nil {
		e.Failure = err.Error()
		i.sink.Emit(e)
		return res, err
	}
	if !res.Existed {
		i.sink.Emit(e)
	}
	if err := c.dataLoop.Call(context.Background(), func(g *raftgroup.Group) error {
		g.HaveSnapshot(pos)
		c.snapshot.Store(max(pos.Index, c.snapshot.Load())) // one of another instance may have been installed meanwhile
		return nil
	}); err != nil {
		return res, err
	}
	i.writeWatermarks(c)
	return res, i.compactData(c)
}

func (i *Instance) writeSnapshot(c *core) (res checkpoint.Result, pos raftgroup.Position, err error) {
	view, pos, err := c.dataView()
	if err != nil {
		return checkpoint.Result{}, pos, err
	}
	defer view.Close()
	at := checkpoint.Position{Index: pos.Index, Term: pos.Term, Voters: pos.Voters, Learners: pos.Learners,
		Outgoing: pos.Outgoing, LearnersNext: pos.LearnersNext, Local: view.LocalRows()}
	real.Background(func() { res, err = checkpoint.Write(c.engine, view, at, i.checkpointOptions()) })
	if res.Existed {
		res.Rows = c.snapshotRows.Load()
	} else {
		c.snapshotRows.Store(res.Rows)
	}
	return res, pos, err
}

// dataView pins the newest version of the data together with its position and the members of the group there: on the
// loop's goroutine, between two entries, they belong together.
func (c *core) dataView() (view *box.View, pos raftgroup.Position, err error) {
	err = c.dataLoop.Call(context.Background(), func(g *raftgroup.Group) error {
		view, pos = c.engine.OpenView(), g.Position()
		if view.Version() != pos.Index {
			return fmt.Errorf("version %d is published, entry %d is applied", view.Version(), pos.Index)
		}
		return nil
	})
	if err != nil && view != nil {
		view.Close()
	}
	return view, pos, err
}

// writeWatermarks notes in the identity what is known to be durable: a log that ends before it is damaged, not torn. In
// the modes without sync nothing is known.
func (i *Instance) writeWatermarks(c *core) {
	err := i.editIdentity(func(id *datadir.Identity) {
		// What is committed may be on the disks of others alone.
		id.CatalogWatermark = min(c.catalogLoop.Status().Committed, c.catalogGroup.log.LastIndex())
		if c.dataGroup.log.Mode() == wal.SyncFsync && id.DataRaftID == c.id.DataRaftID {
			id.DataWatermark = min(c.dataLoop.Status().Committed, c.dataGroup.log.LastIndex())
		}
	})
	switch {
	case err == nil:
	case errors.Is(err, sys.ErrDiskFull):
		i.log.Warn("the watermarks were not written", "error", err)
	default:
		// What is on disk under the identity's name is not known any more.
		i.sink.Emit(event.Poisoned{At: i.clock.Wall(), What: "the identity", Failure: err.Error()})
		i.fail(ipc.ClassPoisoned, fmt.Errorf("the identity could not be written: %w", err))
	}
}

// compactData keeps the newest snapshots, those that others are fetching, and the log from the oldest of them on.
func (i *Instance) compactData(c *core) error {
	dir := i.dir.Path + "/" + datadir.DataDir
	oldest, err := checkpoint.Retain(i.fs, dir, snapshotsKept, func(signature uint64) bool {
		pos, err := checkpoint.ReadPosition(i.fs, dir, signature)
		return err == nil && c.dataServed.recently(pos.Index, i.clock.Boot())
	})
	if err != nil || oldest == 0 {
		return err
	}
	pos, err := checkpoint.ReadPosition(i.fs, dir, oldest)
	if err != nil { // the log stays whole until a newer snapshot takes the place of this one
		i.log.Warn("the log was not shortened: the older snapshot can not be read", "error", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), loopsTimeout)
	defer cancel()
	return c.dataLoop.Compact(ctx, pos.Index)
}

// checkpointCatalog writes the catalog and forgets the log behind the oldest file that is kept.
func (i *Instance) checkpointCatalog(c *core) error {
	snap, pos, err := c.catalogView()
	if err != nil {
		return err
	}
	index, err := i.writeCatalogSnapshot(snap)
	if err != nil {
		return err
	}
	if err := c.catalogLoop.Call(context.Background(), func(g *raftgroup.Group) error {
		g.HaveSnapshot(pos)
		c.catalogSnapshot.Store(max(index, c.catalogSnapshot.Load()))
		return nil
	}); err != nil {
		return err
	}
	found, err := i.catalogSnapshots()
	if err != nil {
		return err
	}
	oldest := found[min(snapshotsKept, len(found))-1]
	for _, old := range found[min(snapshotsKept, len(found)):] {
		if c.catalogServed.recently(old, i.clock.Boot()) {
			oldest = old
			continue
		}
		if err := i.fs.Remove(i.catalogSnapshotPath(old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), loopsTimeout)
	defer cancel()
	return c.catalogLoop.Compact(ctx, oldest)
}

// catalogView is the newest catalog with the members of its group there.
func (c *core) catalogView() (snap catalog.Snapshot, pos raftgroup.Position, err error) {
	err = c.catalogLoop.Call(context.Background(), func(g *raftgroup.Group) error {
		var view *catalog.State
		view, pos = c.catalog.View(), g.Position()
		if index, term := view.Position(); index != pos.Index || term != pos.Term {
			return fmt.Errorf("the catalog is at entry %d of term %d, entry %d of term %d is applied", index, term, pos.Index, pos.Term)
		}
		snap = catalog.Snapshot{State: view, Voters: pos.Voters, Learners: pos.Learners,
			Outgoing: pos.Outgoing, LearnersNext: pos.LearnersNext}
		return nil
	})
	return snap, pos, err
}

// schedule says when a snapshot is written. Times are since the machine's boot.
type schedule struct {
	// interval is the time between two, 0 for none by time.
	interval time.Duration
	// next is when one is due by time, again the earliest moment of a new try after a failure.
	next, again time.Duration
}

// due tells whether one is to be written now; wanted, that there is a reason beside the time.
func (s *schedule) due(now time.Duration, wanted bool) bool {
	return now >= s.again && (wanted || s.interval > 0 && now >= s.next)
}

// done notes that one was tried.
func (s *schedule) done(now time.Duration, err error) {
	s.next, s.again = now+s.interval, 0
	if err != nil && !errors.Is(err, checkpoint.ErrRunning) {
		s.again = now + checkpointRetry
		s.next = s.again
	}
}

// checkpointLoop writes snapshots by time and by the size of the log. The first interval is cut at random, so that
// instances that start together do not all write at once.
func (i *Instance) checkpointLoop(ctx context.Context, c *core) {
	data := schedule{interval: i.cfg.CheckpointInterval}
	data.next = i.clock.Boot() + data.interval
	if data.interval > 0 {
		data.next -= time.Duration(rand.Int64N(int64(data.interval)/2 + 1))
	}
	var ofCatalog schedule
	timer := time.NewTimer(checkpointPoll)
	defer timer.Stop()
	for {
		timer.Reset(real.Until(checkpointPoll))
		// A wish that can not be fulfilled now is made again.
		wanted, catalogWanted := false, false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.dataWish:
			wanted = true
		case <-c.catalogWish:
			catalogWanted = true
		}
		bySize := i.cfg.CheckpointWALSize > 0 && c.dataGroup.log.SizeSince(c.snapshot.Load()) >= int64(i.cfg.CheckpointWALSize)
		if data.due(i.clock.Boot(), bySize || wanted) {
			_, err := i.checkpoint(c)
			if err != nil && !errors.Is(err, checkpoint.ErrRunning) {
				i.log.Error("checkpoint", "error", err)
			}
			data.done(i.clock.Boot(), err)
		}
		tooLong := c.catalog.Applied() >= c.catalogSnapshot.Load()+c.catalog.View().Count(catalog.ConfRaftWALCountMax)
		if ofCatalog.due(i.clock.Boot(), tooLong || catalogWanted) {
			err := i.checkpointCatalog(c)
			if err != nil {
				i.log.Error("checkpoint of the catalog", "error", err)
			}
			ofCatalog.done(i.clock.Boot(), err)
		}
	}
}

// instanceUUIDFor is the uuid that files carry; before the identity is written it is the entrypoint's.
func (i *Instance) instanceUUIDFor() string {
	if id := i.identity.Load(); id != nil {
		return id.InstanceUUID
	}
	if e, ok, err := i.dir.ReadEntrypoint(); err == nil && ok {
		return e.InstanceUUID
	}
	return ""
}
