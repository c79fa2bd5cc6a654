package instance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// A cluster that has lost the majority of a raft group for good can not go on: nobody can tell what the others had
// promised. An operator can decide that one of those that are left is the cluster from now on, with what its directory
// holds. The epoch is raised then, by which the members of before are refused for ever, should they come back.
//
// This runs while no instance does, in the order that datadir tells of: the new files of both groups are written beside the old ones, the
// identity decides, and then the new files take the place of the old ones. A crash at any moment leaves the old cluster or the
// new one; the next start, or the command run again, brings the rest to its end.

// RecoverOptions say which directory a cluster is made anew from. All fields must be given.
type RecoverOptions struct {
	// Config has the data directory, which is locked by the caller, the memory, and where the audit log is.
	Config *config.Config
	Logger *slog.Logger
	// Who is on record as the one who did this.
	Who string
	// Confirm shows what is known of the cluster and what may be lost, and returns an error if the operator does not want
	// to go on. Nothing was changed before.
	Confirm func(clusterName, known string) error
}

// Recover makes a cluster of one instance of the directory of a survivor, and returns what the operator is told then. If an
// earlier run was interrupted after it was decided, that one is completed.
func Recover(o RecoverOptions) (told string, err error) {
	return newOffline(o.Config, o.Logger, real.FS{}, real.Clock{}).recoverSurvivor(o)
}

// newOffline makes an instance that only reads and writes its files: it has no parent, no sockets and no life.
func newOffline(cfg *config.Config, log *slog.Logger, fsys sys.FS, clock sys.Clock) *Instance {
	i := &Instance{cfg: cfg, log: log, fs: fsys, clock: clock, dir: store.Dir{FS: fsys, Path: cfg.DataDir},
		sink: event.Fanout{}, events: newEvents(), failed: make(chan failure, 1)}
	i.life = newLife(clock, lifecycle.Options{Stage: lifecycle.Discover, PID: os.Getpid()}, log)
	return i
}

func (i *Instance) recoverSurvivor(o RecoverOptions) (told string, err error) {
	settled, err := i.dir.SettleRecovery()
	if err != nil {
		return "", err
	}
	v, err := i.dir.Look(i.checkConfig)
	switch {
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", o.Config.DataDir, err)
	case v.Cause != nil:
		return "", fmt.Errorf("nothing can be recovered from %s: %s", o.Config.DataDir, v.Cause.Message)
	case v.Begin != datadir.BeginRestart:
		return "", fmt.Errorf("nothing can be recovered from %s: it is not the directory of a member of a cluster", o.Config.DataDir)
	case v.Identity.DataPending:
		return "", fmt.Errorf("nothing can be recovered from %s: this replica had begun anew, and holds no rows yet; take another one", o.Config.DataDir)
	}
	i.identity.Store(v.Identity)
	if err := i.checkConfigFor(*v.Identity); err != nil {
		return "", err
	}
	if settled {
		return i.completeRecovery(o.Who, *v.Identity)
	}
	s, err := i.openSurvivor(*v.Identity)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := o.Confirm(s.id.ClusterName, s.known()); err != nil {
		return "", err
	}
	return i.makeAnew(o.Who, s)
}

// survivor is what the directory of one holds: everything, committed or not.
type survivor struct {
	*core
	// next is the identity in the new epoch.
	next datadir.Identity
	// state is the catalog at the end of its log, recovered that of the new epoch.
	state, recovered *catalog.State
	// schemaFromRows: the rows are ahead of the catalog, and their dictionary becomes its schema.
	schemaFromRows bool
	// ofCatalog and ofData are the two groups.
	ofCatalog, ofData groupEnd
}

// groupEnd is where the log of a group ends, and who its members were there, as far as is known.
type groupEnd struct {
	// index and term are those of the last entry; committed is the last index known to be committed, maxTerm the highest term seen.
	index, term, committed, maxTerm uint64
	voters                          []uint64
	// short is how many entries are missing that were known to be committed.
	short uint64
	// alone: the group can go on with this member.
	alone bool
}

// openSurvivor reads the directory. It may cut the torn end of a log, as a start does; nothing else is changed.
func (i *Instance) openSurvivor(id datadir.Identity) (*survivor, error) {
	c, err := i.openCore(id)
	if err != nil {
		return nil, err
	}
	s := &survivor{core: c}
	if err := i.readToEnd(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (i *Instance) readToEnd(s *survivor) (err error) {
	if s.ofCatalog, err = i.endOf(&s.catalogGroup, catalogName); err != nil {
		return err
	}
	if s.ofData, err = i.endOf(&s.dataGroup, dataName); err != nil {
		return err
	}
	s.state = s.catalog.View().Clone()
	if err := applyRest(&s.catalogGroup, func(e raftgroup.Entry) error {
		_, _, err := s.state.Apply(e.Index, e.Term, e.Data)
		return err
	}); err != nil {
		return fmt.Errorf("the catalog: %w", err)
	}
	if err := applyRest(&s.dataGroup, func(e raftgroup.Entry) error {
		s.machine.Apply(e.Index, e.Term, e.Data)
		return nil
	}); err != nil {
		return fmt.Errorf("the data: %w", err)
	}
	return i.planAnew(s)
}

// endOf finds the end of a log. An entry that a snapshot of a leader has overruled is not in it any more then.
func (i *Instance) endOf(g *groupFiles, name string) (groupEnd, error) {
	var end groupEnd
	group, err := i.newGroup(g, name, time.Second)
	switch {
	case err == nil:
		st := group.Status()
		end.voters = st.Voters
		end.alone = len(st.Voters) == 1 && st.Voters[0] == g.raftID && !st.Joint
	case errors.Is(err, raftgroup.ErrLogShort):
		end.voters = g.position.Voters
	default:
		return end, fmt.Errorf("group %s: %w", name, err)
	}
	log := g.log.Restored()
	end.index, end.term, end.committed = g.position.Index, g.position.Term, log.HardState.Commit
	if n := len(log.Terms); log.LastIndex > end.index && n > 0 {
		end.index, end.term = log.LastIndex, log.Terms[n-1].Term
	}
	if end.committed > end.index {
		end.short = end.committed - end.index
	}
	end.committed = min(max(end.committed, g.position.Index), end.index)
	end.maxTerm = max(log.HardState.Term, end.term)
	return end, nil
}

// applyRest applies what is not known to be committed.
func applyRest(g *groupFiles, apply func(raftgroup.Entry) error) error {
	return g.log.Replay(g.applied+1, func(e raftgroup.Entry) error {
		if e.Type != raftgroup.EntryNormal {
			e.Data = nil
		}
		if err := apply(e); err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		g.applied = e.Index
		return nil
	})
}

// planAnew decides what the new epoch begins with.
func (i *Instance) planAnew(s *survivor) error {
	if s.ofCatalog.alone && s.ofData.alone {
		return fmt.Errorf("there is nothing to recover from: instance %s is the only voter of its groups and can go on by itself; start it with lycosa run", s.id.InstanceName)
	}
	op, err := catalog.PlanRecover(s.state, s.id.InstanceUUID, i.clock.Wall().UTC().Format(time.RFC3339Nano))
	if err != nil {
		return err
	}
	reader := s.engine.NewReader()
	defer reader.Close()
	dictionary, err := s.readLocal(reader)
	if err != nil {
		return fmt.Errorf("the dictionary: %w", err)
	}
	adopt, err := catalog.PlanAdopt(s.state, dictionary)
	if err != nil {
		return err
	}
	s.schemaFromRows = len(adopt) > 0
	s.recovered = s.state.Clone()
	if _, _, err := s.recovered.Execute(s.ofCatalog.index+1, s.ofCatalog.maxTerm+1, catalog.Item{Ops: append(adopt, op)}); err != nil {
		return err
	}
	s.next = s.id
	s.next.Epoch, _ = s.recovered.PropertyUint(catalog.PropClusterEpoch)
	if s.next.Epoch <= s.id.Epoch {
		return fmt.Errorf("the identity is of epoch %d, the catalog of epoch %d: this directory was put together from two", s.id.Epoch, s.next.Epoch-1)
	}
	s.next.CatalogWatermark = s.ofCatalog.index + 1
	s.next.DataWatermark = 0
	if s.dataGroup.log.Mode() == wal.SyncFsync {
		s.next.DataWatermark = s.ofData.index
	}
	return nil
}

// close lets go of the files as they are: nothing was written.
func (s *survivor) close() error {
	var err error
	for _, g := range []*groupFiles{&s.catalogGroup, &s.dataGroup} {
		if g.log != nil {
			err = errors.Join(err, g.log.Abandon())
		}
	}
	return errors.Join(err, s.engine.Close())
}

// makeAnew makes the new cluster, on record before and after.
func (i *Instance) makeAnew(who string, s *survivor) (string, error) {
	if err := i.auditRecovery(who, s.next, ""); err != nil {
		return "", err
	}
	err := i.prepareRecovery(s)
	if err != nil {
		return "", errors.Join(err, i.auditRecovery(who, s.next, "refused: "+err.Error()))
	}
	if err := i.dir.WriteIdentity(s.next); err != nil {
		return "", err // it may be there all the same
	}
	if err := i.renewConfig(s.recovered); err != nil {
		return "", err
	}
	if _, err := i.dir.SettleRecovery(); err != nil {
		return "", err
	}
	return recovered(s.next), i.auditRecovery(who, s.next, "ok")
}

// completeRecovery ends what an earlier run has left, now that the new files have their names.
func (i *Instance) completeRecovery(who string, id datadir.Identity) (string, error) {
	snap, err := i.loadCatalogSnapshot(&groupFiles{})
	if err != nil {
		return "", err
	}
	if err := i.renewConfig(snap.State); err != nil {
		return "", err
	}
	return recovered(id), i.auditRecovery(who, id, "ok")
}

// prepareRecovery writes the new files of both groups, durably, under names that mean nothing yet.
func (i *Instance) prepareRecovery(s *survivor) error {
	prefix := datadir.RecoveredPrefix(s.next.Epoch)
	for _, dir := range []string{datadir.CatalogDir, datadir.DataDir} {
		if err := sys.WriteFileAtomic(i.fs, i.dir.Path+"/"+dir, prefix+datadir.RecoveredOld, nil, 0o600); err != nil {
			return fmt.Errorf("prepare %s: %w", dir, err)
		}
	}
	if err := i.prepareCatalog(prefix, s); err != nil {
		return fmt.Errorf("prepare the catalog: %w", err)
	}
	if err := i.prepareData(prefix, s); err != nil {
		return fmt.Errorf("prepare the data: %w", err)
	}
	for _, dir := range []string{datadir.CatalogDir, datadir.DataDir} {
		if err := i.fs.SyncDir(i.dir.Path + "/" + dir); err != nil {
			return fmt.Errorf("prepare %s: %w", dir, err)
		}
	}
	return nil
}

func (i *Instance) prepareCatalog(prefix string, s *survivor) error {
	var b bytes.Buffer
	if err := catalog.EncodeSnapshot(&b, catalog.Snapshot{State: s.recovered, Voters: []uint64{s.id.RaftID}}); err != nil {
		return err
	}
	index, term := s.recovered.Position()
	name := fmt.Sprintf("%s%020d%s", prefix, index, datadir.CatalogSnapshotSuffix)
	if err := sys.WriteFileAtomic(i.fs, i.dir.Path+"/"+datadir.CatalogDir, name, b.Bytes(), 0o600); err != nil {
		return err
	}
	return i.prepareLog(prefix, catalogName, index, term, raftgroup.HardState{Term: term, Vote: s.id.RaftID})
}

func (i *Instance) prepareData(prefix string, s *survivor) error {
	view := s.engine.OpenView()
	defer view.Close()
	pos := checkpoint.Position{Index: s.ofData.index, Term: s.ofData.term, Voters: []uint64{s.id.DataRaftID}, Local: view.LocalRows()}
	o := i.checkpointOptions()
	o.Prefix = prefix
	if _, err := checkpoint.Write(s.engine, view, pos, o); err != nil {
		return err
	}
	return i.prepareLog(prefix, dataName, pos.Index, pos.Term, raftgroup.HardState{Term: s.ofData.maxTerm + 1, Vote: s.id.DataRaftID})
}

// prepareLog writes a log that begins after a position, with nothing but term and vote.
func (i *Instance) prepareLog(prefix, name string, index, term uint64, hard raftgroup.HardState) error {
	o, err := i.logOptions(name, *i.identity.Load())
	if err != nil {
		return err
	}
	o.Prefix, o.AckedIndex = prefix, 0
	log, err := wal.Open(o)
	if err != nil {
		return err
	}
	err = log.ResetTo(index, term)
	if err == nil {
		err = log.Append(wal.Batch{HardState: &hard, Sync: true})
	}
	return errors.Join(err, log.Close())
}

// auditRecovery puts a recovery on record; without a result, that it is about to begin.
func (i *Instance) auditRecovery(who string, id datadir.Identity, result string) error {
	log, err := audit.Open(audit.Options{FS: i.fs, Clock: i.clock, Path: i.cfg.AuditPath(), Dir: i.cfg.DataDir})
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	e := audit.Entry{Event: "privileged_intent", Who: who, Where: i.cfg.DataDir, Result: result, Privileged: true,
		What: fmt.Sprintf("recover cluster %s from survivor %s, epoch %d", id.ClusterName, id.InstanceName, id.Epoch)}
	if result != "" {
		e.Event = "privileged_done"
	}
	return errors.Join(log.Write(e), log.Close())
}
