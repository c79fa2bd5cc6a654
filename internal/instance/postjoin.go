package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/governor"
	governorrunner "github.com/lycosadb/lycosa/internal/governor/runner"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

func newCore(id datadir.Identity, state *catalog.State) *core {
	c := &core{id: id, catalog: catalogrunner.New(catalogrunner.Options{Start: state})}
	c.rights.Store(rightsOf(state))
	return c
}

// postjoin starts the groups, opens the full protocol, takes the instance to RolesConfigured and grade Online, and serves
// until the context ends or something fails.
func (i *Instance) postjoin(ctx context.Context, c *core) error {
	err := i.checkMoved(ctx, c)
	if err == nil {
		err = i.startGroups(c)
	}
	if err != nil {
		i.stopCore(c)
		return i.bootError(ctx, err, "data-dir")
	}
	i.core.Store(c)
	i.life.stepStage(lifecycle.Postjoin, lifecycle.ConnectingFullmesh, nil)
	i.server.SetBackend(newBackend(i, c))
	governing, stop := context.WithCancel(context.Background())
	defer stop()
	go c.governor.Run(governing) // both go on while the instance is taken Offline
	go i.reportLoop(governing, c)
	go i.introduce(ctx, c)
	go i.checkpointLoop(ctx, c)
	go i.schemaLoop(ctx, c)
	go i.configLoop(ctx, c)
	go i.confirmOnline(ctx, c)
	go i.watchLoops(ctx, c)
	i.checkRenewed(c, c.catalog.View())
	if err := i.connect(ctx, c); err != nil {
		if errcode.Is(err, errcode.InstanceExpelled) {
			return i.bootError(ctx, err, "instance-name")
		}
		return i.stopped(ctx, err)
	}
	i.life.step(lifecycle.BoxConfigured, nil)
	i.life.step(lifecycle.ConfiguringRoles, nil)
	i.life.step(lifecycle.RolesConfigured, nil)
	c.governor.Notify()
	select {
	case <-ctx.Done():
		return i.shutdown(c)
	case f := <-i.failed:
		return f
	}
}

// stopped tells a stop that was asked for from a failure.
func (i *Instance) stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return i.shutdown(i.core.Load())
	}
	return err
}

// startGroups starts the loops of both groups and makes the governor.
func (i *Instance) startGroups(c *core) error {
	if err := i.vouchForRows(c); err != nil {
		return fmt.Errorf("group data: %w", err)
	}
	election := c.catalog.View().Timeout(catalog.ConfElectionTimeout, i.cfg.ElectionTimeout)
	catalogGroup, err := i.newGroup(&c.catalogGroup, catalogName, election)
	if err != nil {
		return fmt.Errorf("group catalog: %w", errLogShort(catalogName, c.id.InstanceName, err))
	}
	dataGroup, err := i.newGroup(&c.dataGroup, dataName, election)
	if err != nil {
		return fmt.Errorf("group data: %w", errLogShort(dataName, c.id.InstanceName, err))
	}
	c.governor = governorrunner.New(governorrunner.Options{
		Read: func() governor.Input { return i.governorInput(c) }, Propose: c.catalog.ProposeCAS,
		Act:   func(ctx context.Context, s governor.Step) error { return i.act(ctx, c, s) },
		Wakes: []<-chan struct{}{c.catalog.Subscribe()}, Logger: i.log,
	})
	started := make(chan struct{})
	defer close(started)
	c.transport = i.newTransport(c, started)
	i.prepareFetching(c)
	phase := i.clock.Boot() + real.Until(catalogGroup.TickLength())
	c.catalogLoop = runner.Start(runner.Config[*catalogrunner.Request]{
		Send: i.sender(c, wire.GroupCatalog), Fetch: c.catalogFetcher.Fetch, OnSnapshotWanted: c.catalogWish.make,
		OnInstalled: func(p raftgroup.Position) { c.catalogSnapshot.Store(p.Index) },
		Log:         c.catalogGroup.log, Group: catalogGroup, Machine: c.catalog, Name: catalogName, Clock: i.clock, Phase: phase, Logger: i.log,
		OnStatus: i.groupStatus(c, catalogName), OnPoison: i.poisoned(catalogName), OnDiskFull: i.diskFull(c, catalogName),
	})
	c.catalog.Bind(c.catalogLoop)
	c.dataLoop = runner.Start(runner.Config[*replicaset.Batch]{
		Send: i.sender(c, wire.GroupData), Fetch: c.dataFetcher.Fetch, OnSnapshotWanted: c.dataWish.make,
		OnInstalled: func(p raftgroup.Position) { c.snapshot.Store(p.Index) },
		Log:         c.dataGroup.log, Group: dataGroup, Machine: c.machine, Name: dataName, Clock: i.clock, Phase: phase, Logger: i.log,
		Bytes:       func(b *replicaset.Batch) int { return b.Bytes },
		NoticeDelay: noticeDelay,
		OnStatus:    i.groupStatus(c, dataName), OnPoison: i.poisoned(dataName), OnDiskFull: i.diskFull(c, dataName),
	})
	return nil
}

// noticeDelay is how long another replica may see rows later so that fewer messages are sent while many are written: see ADR 19.
const noticeDelay = 2 * time.Millisecond

// groupStatus wakes whoever waits for a leader, and puts the change on record.
func (i *Instance) groupStatus(c *core, name string) func(raftgroup.Status) {
	var leader, term uint64
	return func(s raftgroup.Status) {
		if s.LeaderID != leader || s.LeaderID != 0 && s.Term != term {
			leader, term = s.LeaderID, s.Term
			i.sink.Emit(event.LeaderChanged{At: i.clock.Wall(), Group: name, Term: s.Term, Leader: s.LeaderID})
		}
		c.governor.Notify()
		for _, wake := range []chan struct{}{c.grouped, c.led} {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}

// leave ends an expelled instance once its vote in the catalog's group is taken: until then that group may need it.
func (i *Instance) leave(name string) {
	c := i.core.Load()
	until := i.clock.Boot() + leaveTimeout
	for c != nil && i.clock.Boot() < until {
		s := c.catalogLoop.Status()
		if !slices.Contains(s.Voters, s.ID) && !s.Joint {
			break
		}
		pause(context.Background(), leavePoll)
	}
	i.outcast(errcode.New(errcode.InstanceExpelled, name))
}

// outcast ends what an instance does that is not a member any more: one that serves stops, one that has just been started says so.
func (i *Instance) outcast(err error) {
	i.fail(ipc.ClassRefused, err)
}

// poisoned ends the process: nothing may be acknowledged after a failed write or sync.
func (i *Instance) poisoned(name string) func(error) {
	return func(err error) {
		i.sink.Emit(event.Poisoned{At: i.clock.Wall(), What: "the log of group " + name, Failure: err.Error()})
		i.fail(ipc.ClassPoisoned, fmt.Errorf("the log of group %s could not be written: %w", name, err))
	}
}

// connectPoll bounds how long a change of a group's progress may go unnoticed while the instance waits for it.
const connectPoll = 2 * time.Millisecond

// connect waits until both groups have a leader and this replica has what was committed when it asked a quorum of each.
func (i *Instance) connect(ctx context.Context, c *core) error {
	if c.dataGroup.mute {
		return i.awaitFeeding(ctx, c)
	}
	var to goal
	ticker := time.NewTicker(connectPoll)
	defer ticker.Stop()
	for {
		data, cat := c.dataLoop.Status(), c.catalogLoop.Status()
		switch {
		case cat.LeaderID == 0:
			i.waitOnce("waiting for a leader of group catalog")
		case data.LeaderID == 0:
			i.waitOnce("waiting for a leader of group data")
		case !to.known:
			missing, err := to.ask(ctx, c.catalogLoop, c.dataLoop)
			switch {
			case err != nil:
				return err
			case missing != "":
				i.waitOnce("waiting for a quorum of group " + missing)
			}
			if to.known {
				continue
			}
		case c.engine.Published() < to.data || data.Applied < to.data || cat.Applied < to.catalog:
			i.waitOnce("catching up")
			i.life.progress(lifecycle.Progress{What: "log entries", Done: data.Applied, Total: to.data})
		default:
			i.life.wait("")
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		case f := <-i.failed:
			return f
		}
	}
}

// waitOnce names a wait if it is not the one that is named already.
func (i *Instance) waitOnce(text string) {
	if i.life.published().WaitingFor != text {
		i.life.wait(text)
	}
}

const (
	// onlineRetry is the first pause after a refused request for target grade Online; it doubles up to onlineRetryMax.
	onlineRetry    = 5 * time.Millisecond
	onlineRetryMax = 5 * time.Second
	askedTimeout   = 3 * time.Second
	// leaveTimeout bounds the wait of an expelled instance for the end of its vote, looked at each leavePoll.
	leaveTimeout = 10 * time.Second
	leavePoll    = 20 * time.Millisecond
)

// confirmOnline asks for target grade Online, again whenever the catalog says otherwise, and tells the supervisor once both
// RolesConfigured and Online are reached.
func (i *Instance) confirmOnline(ctx context.Context, c *core) {
	wake := c.catalog.Subscribe()
	defer c.catalog.Unsubscribe(wake)
	asked, ready, retry := false, false, onlineRetry
	for ctx.Err() == nil {
		changed := i.life.changes()
		row, ok := c.catalog.View().Instance(c.id.InstanceName)
		switch {
		case !ok || c.catalogLoop.Status().LeaderID == 0:
			pause(ctx, connectPoll)
			continue
		case !asked || row.Target.Name == lifecycle.Offline:
			err := i.tellChanges(ctx, c)
			if err == nil {
				err = i.setTarget(ctx, c, lifecycle.Online, "start")
			}
			if err != nil {
				i.log.Debug("target grade Online was not recorded", "error", err)
				pause(ctx, retry)
				retry = min(2*retry, onlineRetryMax)
				continue
			}
			asked, retry = true, onlineRetry
		case !ready && row.Current.Name == lifecycle.Online && row.Current.Incarnation == row.Target.Incarnation &&
			i.life.published().State == lifecycle.RolesConfigured:
			ready = true
			i.confirmed.Store(true)
			i.log.Info("the instance is online", "name", c.id.InstanceName, "address", i.cfg.Advertise)
			if err := i.child.Ready(); err != nil {
				i.log.Warn("the supervisor can not be told", "error", err)
			}
		}
		select {
		case <-wake:
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// tellChanges records what is other than the catalog has it since this instance was started: its addresses, the version of its
// program, and its failure domain if one was given.
func (i *Instance) tellChanges(ctx context.Context, c *core) error {
	name := c.id.InstanceName
	for _, plan := range []func(*catalog.State) (catalog.Op, catalog.Predicate, error){
		func(s *catalog.State) (catalog.Op, catalog.Predicate, error) {
			return catalog.SetAddress(s, name, i.cfg.Advertise, i.cfg.HTTPListen)
		},
		func(s *catalog.State) (catalog.Op, catalog.Predicate, error) {
			return catalog.SetVersion(s, name, i.version)
		},
		func(s *catalog.State) (catalog.Op, catalog.Predicate, error) {
			if len(i.cfg.FailureDomain) == 0 {
				return catalog.Op{Kind: catalog.Nop}, catalog.Predicate{}, nil
			}
			return catalog.SetFailureDomain(s, name, i.cfg.FailureDomain)
		},
	} {
		op, guard, err := plan(c.catalog.View())
		if err == nil && op.Kind != catalog.Nop {
			err = i.tell(ctx, c, op, guard)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tell records something about this instance.
func (i *Instance) tell(ctx context.Context, c *core, op catalog.Op, guard catalog.Predicate) error {
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	_, err := i.propose(ctx, c, op, guard)
	return err
}

// setTarget records a target grade of this instance.
func (i *Instance) setTarget(ctx context.Context, c *core, target lifecycle.GradeName, reason string) error {
	op, guard, err := catalog.SetTarget(c.catalog.View(), c.id.InstanceName, target, reason, i.clock.Wall().UTC().Format(time.RFC3339Nano))
	if err != nil {
		return err
	}
	return i.tell(ctx, c, op, guard)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// catalogChanged keeps the grants in step with the catalog and puts changes of grade on record.
func (i *Instance) catalogChanged(c *core) func(uint64, []catalog.Change, *catalog.State) {
	return func(_ uint64, changes []catalog.Change, view *catalog.State) {
		members := false
		for _, ch := range changes {
			switch ch.Table {
			case catalog.TableUser, catalog.TablePrivilege:
				c.rights.Store(rightsOf(view))
			case catalog.TableInstance:
				members = true
				i.gradeChanged(ch)
			case catalog.TablePeerAddress:
				members = true
			}
		}
		if members {
			c.book.refresh(view)
			i.checkRenewed(c, view)
		}
	}
}

func (i *Instance) gradeChanged(ch catalog.Change) {
	if ch.Old == nil || ch.New == nil {
		return
	}
	old, err1 := catalog.ParseInstance(ch.Old)
	row, err2 := catalog.ParseInstance(ch.New)
	if errors.Join(err1, err2) != nil {
		return
	}
	now := i.clock.Wall()
	if row.Current.Name == lifecycle.Expelled && row.UUID == i.instanceUUID() {
		go i.leave(row.Name)
	}
	if old.Current != row.Current {
		i.sink.Emit(event.GradeChanged{At: now, Instance: row.Name, From: old.Current, To: row.Current})
	}
	if old.Target != row.Target {
		i.sink.Emit(event.GradeChanged{At: now, Instance: row.Name, From: old.Target, To: row.Target, Target: true})
	}
}
