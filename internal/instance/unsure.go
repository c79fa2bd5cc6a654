package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// In the modes without sync a replica may have forgotten, after an unclean stop, what it had acknowledged (wal.Recovered.Unsure).
// Under its old id it must not vote, lead or take entries then: others count on what it said. So it starts mute:
//
//   - The only voter of its group, without learners, vouches for what it has and goes on (vouchForRows).
//   - The only voter with learners, who may have more than it has, first gets them new ids (outdateOthers).
//   - All others wait until the governor gives them a new id, which it does once a quorum of the other voters is there (awaitFeeding).
//
// Whoever finds another data raft id in its row of the catalog than its own (checkRenewed) notes it in the identity and starts
// again; then its data is made anew (remakeData), and the group feeds it as a newcomer. ADR 25.

// bootID names this boot of the machine.
func (i *Instance) bootID() string {
	if i.bootName == "" {
		return real.BootID()
	}
	return i.bootName
}

// vouchForRows decides before the group is made what a log counts for that may have lost something.
func (i *Instance) vouchForRows(c *core) error {
	g := &c.dataGroup
	r := g.log.Recovered()
	if !r.Unsure && r.LostEntries == 0 {
		return nil
	}
	sole, single, err := raftgroup.Alone(g.raftID, g.position, g.log.ConfChanges(), r.HardState.Commit)
	if err != nil {
		return err
	}
	e := event.LogUnsure{At: i.clock.Wall(), Group: dataName, Mode: g.log.Mode().String(), LostEntries: r.LostEntries}
	switch {
	case single:
		if e.Outcome = event.UnsureGoesOn; r.Unsure {
			err = g.log.Vouch(c.soleMembers())
		}
	case sole:
		e.Outcome, g.mute, g.sole = event.UnsureOutdates, true, true
	default:
		e.Outcome, g.mute = event.UnsureWaits, true
	}
	i.sink.Emit(e)
	return err
}

// soleMembers are the members of a group whose only voter goes on from its snapshot: changes of membership that came later are not
// in its log. Where they are, it needs none.
func (c *core) soleMembers() *raftgroup.Position {
	g := &c.dataGroup
	if g.log.Mode() != wal.SyncNone {
		return nil
	}
	g.position = raftgroup.Position{Index: g.position.Index, Term: g.position.Term, Voters: []uint64{g.raftID}}
	p := g.position
	return &p
}

// overruleMembers puts what was vouched for in the place of what an older snapshot says.
func (g *groupFiles) overruleMembers() {
	if m := g.log.Recovered().Members; m != nil && m.Index >= g.position.Index {
		g.position = raftgroup.Position{Index: g.position.Index, Term: g.position.Term, Voters: m.Voters, Learners: m.Learners,
			Outgoing: m.Outgoing, LearnersNext: m.LearnersNext}
	}
}

// soleRetry is the pause before the only voter of a group tries again to have the other replicas begin anew.
const soleRetry = 100 * time.Millisecond

// awaitFeeding is how a mute replica connects: it waits for a new id, or gives the others new ones.
func (i *Instance) awaitFeeding(ctx context.Context, c *core) error {
	if !c.dataGroup.sole {
		i.waitOnce("its log was not synced when it stopped: waiting for a quorum of replicaset " + c.id.ReplicasetName +
			" that has kept its rows, to be fed by it; if the others have lost theirs, too: lycosa recover --from-survivor")
	} else {
		i.waitOnce("its log was not synced when it stopped: waiting for the catalog, to have the learners of replicaset " +
			c.id.ReplicasetName + " begin anew from what it has")
	}
	for c.dataGroup.sole {
		err := i.outdateOthers(ctx, c)
		if err == nil {
			if err = c.dataGroup.log.Vouch(c.soleMembers()); err != nil {
				return fmt.Errorf("vouch for the log: %w", err)
			}
			return errRebootstrap
		}
		i.log.Debug("the other replicas have no new ids yet", "error", err)
		pause(ctx, soleRetry)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f := <-i.failed: // checkRenewed
		return f
	}
}

// outdateOthers gives all other instances of the replicaset new ids, on a catalog that is sure to be the newest.
func (i *Instance) outdateOthers(ctx context.Context, c *core) error {
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	index, err := c.catalogLoop.ReadIndex(ctx)
	if err == nil {
		err = c.catalog.Wait(ctx, index)
	}
	if err != nil {
		return err
	}
	op, guard, err := catalog.PlanOutdate(c.catalog.View(), c.id.InstanceName)
	if err != nil || op.Kind == catalog.Nop {
		return err
	}
	_, err = i.propose(ctx, c, op, guard)
	return err
}

// checkRenewed begins anew if the catalog has given this instance another data raft id. An older one than its own is of the past.
func (i *Instance) checkRenewed(c *core, view *catalog.State) {
	row, ok := view.InstanceByUUID(c.id.InstanceUUID)
	if !ok || row.RaftID != c.id.RaftID || row.DataRaftID <= c.id.DataRaftID {
		return
	}
	c.renewing.Do(func() { go i.renew(row.DataRaftID) })
}

// renew notes the new id, and ends the process.
func (i *Instance) renew(id uint64) {
	i.log.Warn("this replica begins anew", "data_raft_id", id)
	err := i.editIdentity(func(next *datadir.Identity) {
		next.DataRaftID, next.DataWatermark, next.DataPending = id, 0, true
	})
	if err != nil {
		i.fail(ipc.ClassPoisoned, fmt.Errorf("the identity could not be written: %w", err))
		return
	}
	i.fail(ipc.ClassStop, errRebootstrap)
}

// editIdentity changes the identity, on disk first.
func (i *Instance) editIdentity(edit func(*datadir.Identity)) error {
	i.identityWrite.Lock()
	defer i.identityWrite.Unlock()
	id := *i.identity.Load()
	edit(&id)
	err := i.dir.WriteIdentity(id)
	if err == nil {
		i.identity.Store(&id)
	}
	return err
}

// remakeData makes the data of a replica that begins anew. It may be repeated after a crash.
func (i *Instance) remakeData(c *core) error {
	rs, ok := c.catalog.View().Replicaset(c.id.ReplicasetName)
	if !ok {
		return errcode.New(errcode.NoSuchReplicaset, c.id.ReplicasetName)
	}
	if err := i.dir.WipeData(); err != nil {
		return err
	}
	if err := i.makeDirectories(); err != nil {
		return err
	}
	id := c.id
	id.DataWatermark = 0
	if err := i.makeData(id, rs.BootstrapRaftID); err != nil {
		return fmt.Errorf("make the data anew: %w", err)
	}
	err := i.editIdentity(func(next *datadir.Identity) { next.DataPending, next.DataWatermark = false, 0 })
	if err == nil {
		c.id.DataPending, c.id.DataWatermark = false, 0
	}
	return err
}

// saveRows makes a clean stop of a log that is not written: a snapshot, and the entries behind it. The loop has ended.
func (i *Instance) saveRows(c *core) error {
	g := &c.dataGroup
	if g.group == nil || g.mute || g.log.Mode() != wal.SyncNone {
		return nil
	}
	c.checkpointing.Lock()
	defer c.checkpointing.Unlock()
	view := c.engine.OpenView()
	defer view.Close()
	pos := g.group.Position()
	if view.Version() != pos.Index {
		return fmt.Errorf("version %d is published, entry %d is applied", view.Version(), pos.Index)
	}
	i.log.Info("writing all rows: they are not logged", "index", pos.Index)
	at := checkpoint.Position{Index: pos.Index, Term: pos.Term, Voters: pos.Voters, Learners: pos.Learners,
		Outgoing: pos.Outgoing, LearnersNext: pos.LearnersNext, Local: view.LocalRows()}
	if _, err := checkpoint.Write(c.engine, view, at, i.checkpointOptions()); err != nil {
		return err
	}
	return g.log.CloseAt(pos.Index, pos.Term, g.group.Written(pos.Index))
}

// errLogShort says what to do about a group whose log ends before what was acknowledged.
func errLogShort(name, instance string, err error) error {
	if errors.Is(err, raftgroup.ErrLogShort) {
		return errcode.Newf(errcode.LogShort, "The log of group %s is shorter than what instance %s has acknowledged: %v", name, instance, err)
	}
	return err
}
