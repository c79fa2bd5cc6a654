package instance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/recovery"
	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/event"
	governorrunner "github.com/lycosadb/lycosa/internal/governor/runner"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/transfer"
	"github.com/lycosadb/lycosa/internal/raftgroup/transport"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys"
)

// core is the database of an instance: both raft groups with their logs, and the engine.
type core struct {
	id      datadir.Identity
	engine  *box.Engine
	machine *replicaset.Machine
	catalog *catalogrunner.Machine
	rights  atomic.Pointer[access.Rights]

	catalogGroup, dataGroup groupFiles

	// The loops are nil until Postjoin has started them.
	catalogLoop *runner.Loop[*catalogrunner.Request]
	dataLoop    *runner.Loop[*replicaset.Batch]
	governor    *governorrunner.Runner

	// book and transport reach the other instances; reports is how they are, members who they are.
	book      addressBook
	transport *transport.Transport
	reports   reports
	members   members
	sayings   sayings
	// grouped and led get a token when something about a group has changed. membersOf is the catalog's index on which the members of the data
	// group were last decided; it belongs to that group's loop.
	grouped   chan struct{}
	led       chan struct{}
	membersOf uint64

	// schemaSaid is what this instance, as the leader of its replicaset, said last to a change of the schema.
	schemaSaid atomic.Pointer[wire.SchemaReport]
	// followedTo is the version of the schema that the replicaset had followed when this instance led it and looked last.
	followedTo atomic.Uint64
	// following is held while the schema is looked at, and from the end of the core on.
	following sync.Mutex

	// renewing is done once the catalog has given this instance another data raft id.
	renewing sync.Once

	// joining is held while a newcomer gets its place.
	joining sync.Mutex

	// fetchers bring snapshots of other instances here; the wishes are for new ones of this instance, served is who gets which.
	catalogFetcher, dataFetcher *transfer.Fetcher
	catalogWish, dataWish       wish
	catalogServed, dataServed   served

	// checkpointing is held while a snapshot of the data is written.
	checkpointing sync.Mutex
	// snapshot is the index of the newest snapshot of the data, catalogSnapshot that of the catalog.
	snapshot, catalogSnapshot atomic.Uint64
	// snapshotRows is the number of rows in the newest snapshot of the data.
	snapshotRows atomic.Uint64
}

// groupFiles is one group as it was found on disk.
type groupFiles struct {
	log      *wal.Log
	position raftgroup.Position
	// applied is the index up to which recovery has applied the log.
	applied uint64
	raftID  uint64
	// damaged are the snapshots, by number, that were passed over.
	damaged []uint64
	// group is made of it in Postjoin. mute: it takes no part, see unsure.go; sole: and this replica is the only voter.
	group      *raftgroup.Group
	mute, sole bool
}

const (
	catalogName = "catalog"
	dataName    = "data"
	// catalogSegmentBytes and dataSegmentBytes are the sizes of log segments.
	catalogSegmentBytes = 1 << 20
	dataSegmentBytes    = 32 << 20
)

// logOptions says where the log of a group is, and what is known of it.
func (i *Instance) logOptions(name string, id datadir.Identity) (wal.Options, error) {
	instance, err := uuid.Parse(id.InstanceUUID)
	if err != nil {
		return wal.Options{}, fmt.Errorf("instance uuid: %w", err)
	}
	o := wal.Options{FS: i.fs, Group: name, Instance: instance, Logger: i.log, Boot: i.bootID()}
	if name == catalogName {
		o.Dir, o.SegmentBytes, o.AckedIndex = i.dir.Path+"/"+datadir.CatalogDir, catalogSegmentBytes, id.CatalogWatermark
	} else {
		o.Dir, o.SegmentBytes, o.AckedIndex = i.dir.Path+"/"+datadir.DataDir, dataSegmentBytes, id.DataWatermark
	}
	if i.segmentBytes > 0 {
		o.SegmentBytes, o.ReserveBytes = i.segmentBytes, i.segmentBytes
	}
	return o, nil
}

// openLog opens the log of a group.
func (i *Instance) openLog(name string, id datadir.Identity, mode wal.SyncMode) (*wal.Log, error) {
	o, err := i.logOptions(name, id)
	if err != nil {
		return nil, err
	}
	o.Sync = mode
	l, err := wal.Open(o)
	if err != nil {
		return nil, fmt.Errorf("the log of group %s: %w", name, err)
	}
	if r := l.Recovered(); r.TornTailBytes > 0 || r.LostEntries > 0 {
		i.sink.Emit(event.LogDamaged{At: i.clock.Wall(), Group: name, TornBytes: r.TornTailBytes, LostEntries: r.LostEntries})
		i.log.Info("where the log was cut", "group", name, "file", r.TornFile, "offset", r.TornOffset)
	}
	return l, nil
}

// openCore recovers both groups from disk: snapshot, then the log as far as it is known to be committed.
func (i *Instance) openCore(id datadir.Identity) (*core, error) {
	c := &core{id: id, grouped: make(chan struct{}, 1), led: make(chan struct{}, 1)}
	if err := i.openCatalog(c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if id.DataPending {
		if err := i.remakeData(c); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if err := i.openData(c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (i *Instance) openCatalog(c *core) error {
	g := &c.catalogGroup
	snap, err := i.loadCatalogSnapshot(g)
	if err != nil {
		return err
	}
	index, term := snap.State.Position()
	g.position = raftgroup.Position{Index: index, Term: term, Voters: snap.Voters, Learners: snap.Learners,
		Outgoing: snap.Outgoing, LearnersNext: snap.LearnersNext}
	g.raftID, g.applied = c.id.RaftID, index
	if g.log, err = i.openLog(catalogName, c.id, wal.SyncFsync); err != nil {
		return err
	}
	if err := replay(g, func(e raftgroup.Entry) error {
		_, _, err := snap.State.Apply(e.Index, e.Term, e.Data)
		return err
	}); err != nil {
		return fmt.Errorf("the catalog: %w", err)
	}
	for _, damaged := range g.damaged {
		path := i.catalogSnapshotPath(damaged)
		i.aside(path, i.fs.Rename(path, path+".damaged"))
	}
	c.catalogSnapshot.Store(index)
	c.catalog = catalogrunner.New(catalogrunner.Options{Start: snap.State, OnCommit: i.catalogChanged(c),
		Load: i.loadCatalog, OnInstall: i.catalogInstalled(c)})
	c.rights.Store(rightsOf(c.catalog.View()))
	c.book.refresh(c.catalog.View())
	return nil
}

// replay applies the entries after the position that the log knows to be committed. Those that are not the state machine's
// have no data.
func replay(g *groupFiles, apply func(raftgroup.Entry) error) error {
	committed := g.log.Recovered().HardState.Commit
	if first := g.log.FirstIndex(); first > g.applied+1 {
		return fmt.Errorf("the log begins at entry %d, which does not follow the snapshot at %d: restore the missing files", first, g.applied)
	}
	return g.log.Replay(g.applied+1, func(e raftgroup.Entry) error {
		if e.Index > committed {
			return nil
		}
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

// aside tells that a damaged snapshot was renamed. It was not needed: an older one and the log held everything.
func (i *Instance) aside(path string, err error) {
	if err != nil {
		i.log.Warn("a damaged snapshot can not be set aside", "file", path, "error", err)
		return
	}
	i.log.Warn("a damaged snapshot was set aside; an older one and the log held everything", "file", path+".damaged")
}

// loadCatalogSnapshot reads the newest snapshot of the catalog that is whole.
func (i *Instance) loadCatalogSnapshot(g *groupFiles) (catalog.Snapshot, error) {
	found, err := i.catalogSnapshots()
	if err != nil {
		return catalog.Snapshot{}, err
	}
	var failures error
	for _, index := range found {
		path := i.catalogSnapshotPath(index)
		s, err := i.decodeCatalogSnapshot(path)
		if err == nil {
			return s, nil
		}
		i.log.Error("a snapshot of the catalog can not be used", "file", path, "error", err)
		g.damaged = append(g.damaged, index)
		failures = errors.Join(failures, fmt.Errorf("%s: %w", path, err))
	}
	if failures == nil {
		failures = fmt.Errorf("no snapshot in %s/%s", i.dir.Path, datadir.CatalogDir)
	}
	return catalog.Snapshot{}, failures
}

func (i *Instance) catalogSnapshotPath(index uint64) string {
	return fmt.Sprintf("%s/%s/%020d%s", i.dir.Path, datadir.CatalogDir, index, datadir.CatalogSnapshotSuffix)
}

// catalogSnapshots lists the positions of the catalog's snapshots, newest first.
func (i *Instance) catalogSnapshots() ([]uint64, error) {
	entries, err := i.fs.ReadDir(i.dir.Path + "/" + datadir.CatalogDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots of the catalog: %w", err)
	}
	var found []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), datadir.CatalogSnapshotSuffix)
		if index, err := strconv.ParseUint(digits, 10, 64); ok && err == nil {
			found = append(found, index)
		}
	}
	sort.Slice(found, func(a, b int) bool { return found[a] > found[b] })
	return found, nil
}

// writeCatalogSnapshot writes the catalog as it is, with the members of its group.
func (i *Instance) writeCatalogSnapshot(s catalog.Snapshot) (index uint64, err error) {
	var b bytes.Buffer
	if err := catalog.EncodeSnapshot(&b, s); err != nil {
		return 0, err
	}
	index, _ = s.State.Position()
	name := fmt.Sprintf("%020d%s", index, datadir.CatalogSnapshotSuffix)
	return index, sys.WriteFileAtomic(i.fs, i.dir.Path+"/"+datadir.CatalogDir, name, b.Bytes(), 0o600)
}

func (i *Instance) openData(c *core) error {
	dir := i.dir.Path + "/" + datadir.DataDir
	found, err := checkpoint.List(i.fs, dir)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", dir, recovery.ErrNoSnapshot)
	}
	g := &c.dataGroup
	g.raftID = c.id.DataRaftID
	// The log is read and checked while the snapshot is loaded: neither needs the other.
	log := beside(func() (*wal.Log, error) { return i.openLog(dataName, c.id, i.walMode(c)) })
	loaded, err := i.loadNewest(c, dir, found, log)
	if g.log, _ = log(); err != nil {
		return err
	}
	g.overruleMembers()
	started := i.clock.Boot()
	locals := openLocals(g.log)
	defer locals.stop()
	if err := i.replayData(g, loaded, locals); err != nil {
		return fmt.Errorf("the data: %w", err)
	}
	loaded.Finish(g.applied)
	i.log.Info("log replayed", "from", loaded.Index, "to", g.applied, "seconds", (i.clock.Boot() - started).Seconds())
	for _, damaged := range g.damaged {
		i.aside(dir+"/"+checkpoint.Name(damaged), checkpoint.SetAside(i.fs, dir, damaged))
	}
	go debug.FreeOSMemory() // what recovery took is not needed again
	c.machine = replicaset.New(c.engine, i.events.changed)
	c.machine.OnJob(i.jobLogger())
	c.machine.LoadWith(i.installData(c))
	c.machine.Resume(locals.Rest())
	if locals.err != nil {
		return fmt.Errorf("rows of local spaces: %w", locals.err)
	}
	return nil
}

// beside runs f on a goroutine of its own. What it returns waits for the result.
func beside[T any](f func() (T, error)) func() (T, error) {
	var value T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = f()
	}()
	return func() (T, error) {
		<-done
		return value, err
	}
}

// replayData puts the entries that follow the snapshot into the engine.
func (i *Instance) replayData(g *groupFiles, loaded recovery.Loaded, locals *logLocals) error {
	last := g.log.Recovered().HardState.Commit
	return loaded.Replay(func(take recovery.Take) error {
		return replay(g, func(e raftgroup.Entry) error {
			if e.Index%progressEvery == 0 {
				i.life.progress(lifecycle.Progress{What: "log entries", Done: e.Index, Total: last})
			}
			if len(e.Data) == 0 {
				return nil
			}
			beside, err := locals.Take(e.Index, e.Term)
			if err != nil {
				return err
			}
			return take(e.Index, e.Data, beside)
		})
	})
}

// logLocals reads the rows of local spaces beside the entries of a log.
type logLocals struct {
	*replicaset.Locals
	stop func()
	// err is why the log could not be read to its end.
	err error
}

// openLocals begins to read them; a log that has none is not read at all.
func openLocals(log *wal.Log) *logLocals {
	l := &logLocals{stop: func() {}}
	if log.Recovered().LocalLast == 0 {
		return l
	}
	var next func() ([]byte, bool)
	next, l.stop = iter.Pull(func(yield func([]byte) bool) {
		err := log.ReplayLocal(0, func(_ uint64, row []byte) error {
			if !yield(row) {
				return io.EOF
			}
			return nil
		})
		if !errors.Is(err, io.EOF) {
			l.err = err
		}
	})
	l.Locals = replicaset.NewLocals(next)
	return l
}

// progressEvery is the number of log entries between two messages about the progress of a replay.
const progressEvery = 4096

// loadNewest fills an engine from the newest snapshot; a damaged one is passed over if an older one, and the log that
// follows it, are there. Without a log there is nothing to choose.
func (i *Instance) loadNewest(c *core, dir string, found []uint64, log func() (*wal.Log, error)) (recovery.Loaded, error) {
	var failures error
	for _, signature := range found {
		loaded, err := i.loadSnapshot(c, dir, signature, log)
		if err == nil {
			return loaded, nil
		}
		if _, err := log(); err != nil {
			return recovery.Loaded{}, err
		}
		i.log.Error("a snapshot of the data can not be used", "error", err)
		c.dataGroup.damaged = append(c.dataGroup.damaged, signature)
		failures = errors.Join(failures, err)
	}
	return recovery.Loaded{}, failures
}

func (i *Instance) loadSnapshot(c *core, dir string, signature uint64, log func() (*wal.Log, error)) (recovery.Loaded, error) {
	engine, err := box.New(i.engineOptions(c))
	if err != nil {
		return recovery.Loaded{}, err
	}
	started := i.clock.Boot()
	res, err := recovery.Load(engine, i.fs, dir, signature, func(rows uint64, done, total int64) {
		i.life.progress(lifecycle.Progress{What: "snapshot bytes", Done: uint64(done), Total: uint64(total)})
	})
	opened, lerr := log()
	switch {
	case err != nil:
	case lerr != nil:
		err = lerr
	case opened.FirstIndex() > res.Index+1:
		err = fmt.Errorf("%s: the log does not reach back to this snapshot", res.Path)
	}
	if err != nil {
		return recovery.Loaded{}, errors.Join(err, engine.Close())
	}
	if res.HashMissing {
		i.log.Warn("the snapshot has no file with its hash beside it: its blocks were checked, the whole was not", "file", res.Path)
	}
	i.log.Info("snapshot loaded", "file", res.Path, "rows", res.Rows, "seconds", (i.clock.Boot() - started).Seconds())
	c.engine = engine
	c.dataGroup.position = raftgroup.Position{Index: res.Index, Term: res.Term, Voters: res.Voters, Learners: res.Learners,
		Outgoing: res.Outgoing, LearnersNext: res.LearnersNext}
	c.dataGroup.applied = res.Index
	c.snapshot.Store(res.Index)
	c.snapshotRows.Store(res.Rows)
	return res, nil
}

// walMode is how the rows of this instance's tier are logged.
func (i *Instance) walMode(c *core) wal.SyncMode {
	mode, err := wal.ParseSyncMode(c.catalog.View().WALMode(c.id.Tier))
	if err != nil {
		i.log.Warn("the tier's log mode is not known: using fsync", "tier", c.id.Tier)
	}
	return mode
}

// tailBytes is how much of its log each group keeps in memory, for replicas that follow closely; the rest is read from disk.
const tailBytes = 1 << 20

// newGroup makes the raft group of the files.
func (i *Instance) newGroup(g *groupFiles, name string, election time.Duration) (*raftgroup.Group, error) {
	log := i.log
	group, err := runner.NewGroup(g.log, raftgroup.Config{
		ID: g.raftID, Position: g.position, Applied: g.applied, Mute: g.mute, TailBytes: tailBytes,
		ElectionTimeout: election, Now: i.clock.Boot(), Incarnation: rand.Uint64(),
		Log: func(level raftgroup.Level, text string) {
			if level >= raftgroup.LevelWarn {
				log.Warn(text, "group", name)
			} else {
				log.Debug(text, "group", name)
			}
		},
	})
	g.group = group
	return group, err
}

// close closes what was opened so far; the loops must have ended, and nobody may read.
func (c *core) close() error { return errors.Join(c.closeLogs(), c.closeEngine()) }

func (c *core) closeLogs() (err error) {
	for _, g := range []*groupFiles{&c.catalogGroup, &c.dataGroup} {
		if g.log != nil {
			err = errors.Join(err, g.log.Close())
		}
	}
	return err
}

func (c *core) closeEngine() error {
	if c.engine == nil {
		return nil
	}
	return c.engine.Close()
}
