package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/transfer"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// announce makes the message that announces a snapshot.
func announce(t *testing.T, index, term uint64, voters ...uint64) raftgroup.Message {
	t.Helper()
	b, err := proto.Marshal(&pb.Message{Type: pb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(term),
		Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &pb.ConfState{Voters: voters}}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := raftgroup.DecodeMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	installAt   = 12
	installTerm = 4
	dataDir     = "/dir/" + datadir.DataDir
)

func onDataDisk(fsys sys.FS) *Instance {
	log := slog.New(slog.DiscardHandler)
	return &Instance{fs: fsys, dir: store.Dir{FS: fsys, Path: "/dir"}, log: log, clock: real.Clock{}, sink: event.Fanout{},
		cfg: &config.Config{MemoryBytes: 16 << 20}, events: newEvents(), life: newLife(real.Clock{}, lifecycle.Options{Stage: lifecycle.Discover}, log)}
}

// opened is the data of an instance as a start finds it.
type opened struct {
	*core
	group *raftgroup.Group
}

// openDataDisk does what a start does with the data, on a log of small segments.
func openDataDisk(t *testing.T, i *Instance) (o opened, err error) {
	t.Helper()
	id := datadir.Identity{InstanceUUID: "22222222-2222-4222-8222-222222222222", DataRaftID: 2}
	i.identity.Store(&id)
	o.core = newCore(id, bootstrapped(t))
	o.dataGroup.raftID = 2
	log, err := wal.Open(wal.Options{FS: i.fs, Dir: dataDir, Group: dataName, Instance: uuid.MustParse(id.InstanceUUID), SegmentBytes: 4 << 10, ReserveBytes: 4 << 10})
	if err != nil {
		return o, err
	}
	found, err := checkpoint.List(i.fs, dataDir)
	if err != nil {
		return o, err
	}
	loaded, err := i.loadNewest(o.core, dataDir, found, func() (*wal.Log, error) { return log, nil })
	if err != nil {
		return o, err
	}
	t.Cleanup(func() { _ = o.engine.Close() })
	o.dataGroup.log = log
	locals := openLocals(log)
	defer locals.stop()
	if err := i.replayData(&o.dataGroup, loaded, locals); err != nil {
		return o, err
	}
	loaded.Finish(o.dataGroup.applied)
	o.machine = replicaset.New(o.engine, nil)
	o.machine.LoadWith(i.installData(o.core))
	o.group, err = i.newGroup(&o.dataGroup, dataName, time.Second)
	return o, err
}

// content is the rows of the two spaces of the test, and the version.
func (o opened) content() string {
	view := o.engine.OpenView()
	defer view.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "version %d:", view.Version())
	for _, id := range []uint32{testSpace, testSpace + 1} {
		if sp := view.Schema().Space(id); sp != nil {
			view.Ascend(sp, func(tup []byte) bool {
				fmt.Fprintf(&b, " %x", tup)
				return true
			})
		}
	}
	return b.String()
}

// past makes a machine with the spaces of the test, one of them local, and gives the entries that it makes of statements.
func past(t *testing.T, e *box.Engine, term uint64, statements ...box.Statement) (entries []raftgroup.Entry, local [][]byte) {
	t.Helper()
	m := replicaset.New(e, nil)
	for _, s := range statements {
		index := e.Published() + 1
		l := newListener(t)
		entry := m.Run(index, term, []*replicaset.Batch{{Sink: l, Writes: []replicaset.Write{{Sync: 1, Statement: s}}}})
		local = append(local, m.LocalRows()...)
		entries = append(entries, raftgroup.Entry{Index: index, Term: term, Data: bytes.Clone(entry)})
		m.Confirm(m.Unconfirmed())
		m.Commit(index)
		select {
		case reply := <-l.replies:
			if strings.Contains(reply, "error") {
				t.Fatal(s.SpaceID, reply)
			}
		default:
			t.Fatalf("no reply to a statement on space %d", s.SpaceID)
		}
	}
	return entries, local
}

func insertRow(space uint32, key int) box.Statement {
	return box.Statement{Kind: box.Insert, SpaceID: space, Tuple: appendRow(nil, key)}
}

// replicaDisk is the disk of a replica that has applied a few entries, with a row of a local space, and to which the snapshot of
// another replica, at installAt, has been brought.
func replicaDisk(t *testing.T) *fault.FS {
	t.Helper()
	fsys := fault.New()
	for _, dir := range []string{"/dir", dataDir, "/other"} {
		if err := fsys.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	i := onDataDisk(fsys)
	first := newEngine(t)
	define := append(makeTestSpace(), box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceSpace,
		Tuple: appendRow(nil, testSpace+1, 1, "here", "memtx", 0, map[string]any{"group_id": 1}, []any{})}, box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceIndex,
		Tuple: appendRow(nil, testSpace+1, 0, "pk", "tree", map[string]any{"unique": true}, []any{[]any{0, "unsigned"}})})
	save := func(e *box.Engine, dir string, term uint64) {
		view := e.OpenView()
		defer view.Close()
		o := checkpoint.Options{FS: fsys, Dir: dir, InstanceUUID: "22222222-2222-4222-8222-222222222222", Now: i.clock.Wall()}
		pos := checkpoint.Position{Index: view.Version(), Term: term, Voters: []uint64{1, 2}, Local: view.LocalRows()}
		if _, err := checkpoint.Write(e, view, pos, o); err != nil {
			t.Fatal(err)
		}
	}
	save(first, dataDir, 1)
	entries, local := past(t, first, 1, append(define, insertRow(testSpace, 1), insertRow(testSpace+1, 77))...)
	log, err := wal.Open(wal.Options{FS: fsys, Dir: dataDir, Group: dataName, Instance: uuid.MustParse("22222222-2222-4222-8222-222222222222"), SegmentBytes: 4 << 10, ReserveBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1].Index
	if err := errors.Join(log.ResetTo(1, 1), log.Append(wal.Batch{HardState: &raftgroup.HardState{Term: 1}, Entries: entries, Local: local, Commit: last}), log.Close()); err != nil {
		t.Fatal(err)
	}
	second := newEngine(t)
	past(t, second, installTerm, append(define, insertRow(testSpace, 1), insertRow(testSpace, 2), insertRow(testSpace+1, 5))...)
	for n := 3; second.Published() < installAt; n++ {
		past(t, second, installTerm, insertRow(testSpace, n))
	}
	save(second, "/other", installTerm)
	found, err := checkpoint.List(fsys, "/other")
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	data, err := sys.ReadFile(fsys, "/other/"+checkpoint.Name(found[0]), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.WriteFileAtomic(fsys, dataDir, fetchFile[1:], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fsys.SyncDir("/"), fsys.SyncDir("/dir")); err != nil {
		t.Fatal(err)
	}
	return fsys
}

const (
	contentBefore = "version 7: 9101 914d"
	contentAfter  = "version 12: 9101 9102 9103 9104 9105 9106 914d"
)

// install takes the steps of the installation as the loop takes them. done is how many were finished.
func install(t *testing.T, i *Instance, o opened) (done int, err error) {
	t.Helper()
	m := announce(t, installAt, installTerm, 1, 2)
	if err := i.adoptData(o.core, m); err != nil {
		return 0, err
	}
	p, _ := m.Snapshot()
	var b runner.Batch
	b.Add(&raftgroup.Write{Snapshot: &p, HardState: &raftgroup.HardState{Term: installTerm}, Commit: installAt}, nil)
	if err := b.Append(o.dataGroup.log); err != nil {
		return 1, err
	}
	if err := o.machine.Install(p); err != nil {
		return 2, err
	}
	return 3, nil
}

// TestInstallCrash takes the power at each call to the disk of an installation: in each state of the disk that may result a start
// finds what was there before or what was installed, the row of the local space included, and nothing else; what it finds goes on
// from where it stands, and can be installed upon again.
func TestInstallCrash(t *testing.T) {
	clean := replicaDisk(t)
	states, news := 0, 0
	for at := 1; ; at++ {
		fsys := clean.Clone()
		i := onDataDisk(fsys)
		o, err := openDataDisk(t, i)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.content(); got != contentBefore {
			t.Fatalf("before: %s", got)
		}
		fsys.CrashAt(at)
		done, err := install(t, i, o)
		if !fsys.Crashed() {
			if err != nil || done != 3 || o.content() != contentAfter || at < 15 {
				t.Fatalf("%d calls, %d steps, %v: %s", at, done, err, o.content())
			}
			break
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			states++
			after := fsys.Clone()
			after.Reboot(policy)
			again := onDataDisk(after)
			o, err := openDataDisk(t, again)
			if err != nil {
				t.Fatalf("crash at call %d, disk state %q: %v", at, name, err)
			}
			got := o.content()
			if got == contentAfter {
				news++
			} else if got != contentBefore || done > 0 {
				t.Fatalf("crash at call %d, in step %d, disk state %q: %s", at, done, name, got)
			}
			if s := o.group.Status(); s.Applied != o.engine.Published() || s.LastIndex != s.Applied || len(s.Voters) != 2 {
				t.Fatalf("crash at call %d, disk state %q: group %+v", at, name, s)
			}
			if got == contentBefore {
				if _, err := install(t, again, o); err != nil || o.content() != contentAfter {
					t.Fatalf("crash at call %d, disk state %q: again: %v, %s", at, name, err, o.content())
				}
			}
			if err := o.dataGroup.log.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if news == 0 || news == states {
		t.Errorf("%d of %d states are new", news, states)
	}
	t.Logf("%d crash states", states)
}

// TestAdoptCatalogCrash is that for the catalog, whose content is taken as it is.
func TestAdoptCatalogCrash(t *testing.T) {
	_, clean, state := onDisk(t)
	putProperty(t, state, 3)
	var b bytes.Buffer
	if err := catalog.EncodeSnapshot(&b, catalog.Snapshot{State: state, Voters: []uint64{1}}); err != nil {
		t.Fatal(err)
	}
	dir := "/dir/" + datadir.CatalogDir
	if err := sys.WriteFileAtomic(clean, dir, fetchFile[1:], b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	i := onDataDisk(clean)
	for _, wrong := range []raftgroup.Message{announce(t, 4, 1, 1), announce(t, 3, 2, 1)} {
		if err := i.adoptCatalog(wrong); err == nil {
			t.Fatal("another snapshot was adopted")
		}
	}
	for at := 1; ; at++ {
		fsys := clean.Clone()
		fsys.CrashAt(at)
		err := onDataDisk(fsys).adoptCatalog(announce(t, 3, 1, 1))
		if !fsys.Crashed() {
			p, _ := announce(t, 3, 1, 1).Snapshot()
			s, lerr := onDataDisk(fsys).loadCatalog(p)
			if err != nil || lerr != nil || at < 3 {
				t.Fatalf("%d calls, %v, %v", at, err, lerr)
			}
			if index, _ := s.Position(); index != 3 {
				t.Fatalf("index %d", index)
			}
			return
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			after := fsys.Clone()
			after.Reboot(policy)
			index, damaged, lerr := loaded(onDataDisk(after))
			if lerr != nil || len(damaged) > 0 || index != 3 && (index != 2 || err == nil) {
				t.Fatalf("crash at call %d, disk state %q: index %d, damaged %v, %v", at, name, index, damaged, lerr)
			}
		}
	}
}

// TestSnapshotChunk: the parts that are given away are the file, in any sizes, and it is kept for a while.
func TestSnapshotChunk(t *testing.T) {
	i, fsys, _ := onDisk(t)
	i.clock = real.Clock{}
	c := &core{}
	whole, err := sys.ReadFile(fsys, i.catalogSnapshotPath(2), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{1, 7, 64, uint64(len(whole)), 1 << 20, 1 << 60} {
		var got []byte
		for total := uint64(1); uint64(len(got)) < total; {
			var data []byte
			if data, total, err = i.snapshotChunk(c, wire.GroupCatalog, 2, uint64(len(got)), size); err != nil {
				t.Fatal(err)
			}
			if total != uint64(len(whole)) || uint64(len(data)) > size {
				t.Fatalf("%d bytes of %d", len(data), total)
			}
			got = append(got, data...)
		}
		if !bytes.Equal(got, whole) {
			t.Fatalf("in pieces of %d it is something else", size)
		}
	}
	for _, bad := range [][3]uint64{{3, 0, 10}, {2, uint64(len(whole)), 10}, {2, 1 << 63, 10}, {2, 0, 0}} {
		if _, _, err := i.snapshotChunk(c, wire.GroupCatalog, bad[0], bad[1], bad[2]); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("index %d, byte %d: %v", bad[0], bad[1], err)
		}
	}
	now := i.clock.Boot()
	if !c.catalogServed.recently(2, now) || c.catalogServed.recently(2, now+servedFor) || c.catalogServed.recently(1, now) || c.dataServed.recently(2, now) {
		t.Error("it is not known who is being served")
	}
}

// TestFetchBetween brings a snapshot of the data from one instance to another in pieces, through a connection that breaks, and has it
// adopted.
func TestFetchBetween(t *testing.T) {
	fsys := replicaDisk(t)
	i := onDataDisk(fsys)
	o, err := openDataDisk(t, i)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Remove(dataDir + fetchFile); err != nil {
		t.Fatal(err)
	}
	sender := onDataDisk(fsys)
	sender.dir.Path = "/sender"
	if err := errors.Join(fsys.MkdirAll("/sender", 0o700), fsys.Rename("/other", "/sender/"+datadir.DataDir)); err != nil {
		t.Fatal(err)
	}
	outcome, tries := make(chan error, 1), 0
	f := transfer.New(transfer.Options{
		FS: fsys, Path: dataDir + fetchFile, BytesMax: 1 << 20, PauseMin: time.Microsecond,
		Have: func(m raftgroup.Message) bool { return i.haveSnapshot(o.core, wire.GroupData, m) },
		Chunk: func(_ context.Context, m raftgroup.Message, offset uint64) ([]byte, uint64, error) {
			if tries++; tries%3 == 0 {
				return nil, 0, errors.New("connection lost")
			}
			p, _ := m.Snapshot()
			return sender.snapshotChunk(&core{}, wire.GroupData, p.Index, offset, 100)
		},
		Accept: func(m raftgroup.Message) error { return i.adoptData(o.core, m) },
		Done:   func(_ raftgroup.Message, err error) { outcome <- err },
	})
	defer f.Close()
	m := announce(t, installAt, installTerm, 1, 2)
	if i.haveSnapshot(o.core, wire.GroupData, m) {
		t.Error("it is there before it was brought")
	}
	f.Fetch(m)
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	p, _ := m.Snapshot()
	if err := o.machine.Install(p); err != nil || o.content() != contentAfter {
		t.Errorf("%v: %s", err, o.content())
	}
	if _, err := fsys.Lstat(dataDir + fetchFile); !errors.Is(err, os.ErrNotExist) || tries < 10 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	if err := o.dataGroup.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStopWhileASnapshotIsWritten: a stop does not take the memory from under who writes a snapshot, and does not wait without end
// for one that is on its way here.
func TestStopWhileASnapshotIsWritten(t *testing.T) {
	fsys := replicaDisk(t)
	i := onDataDisk(fsys)
	o, err := openDataDisk(t, i)
	if err != nil {
		t.Fatal(err)
	}
	before := o.content()
	o.checkpointing.Lock()
	i.stopCore(o.core)
	if got := o.content(); got != before {
		t.Errorf("%s, before %s", got, before)
	}

	here, proceed := make(chan struct{}), make(chan struct{})
	o.dataFetcher = transfer.New(transfer.Options{FS: fsys, Path: "/other/fetched", BytesMax: 10,
		Chunk: func(context.Context, raftgroup.Message, uint64) ([]byte, uint64, error) { return []byte("x"), 1, nil },
		Done:  func(raftgroup.Message, error) {},
		Accept: func(raftgroup.Message) error {
			close(here)
			<-proceed
			return nil
		}})
	o.dataFetcher.Fetch(announce(t, installAt, installTerm, 1, 2))
	<-here
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o.stopFetching(ctx) {
		t.Error("it ended although it is under way")
	}
	close(proceed)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !o.stopFetching(ctx) {
		t.Error("it did not end")
	}
}
