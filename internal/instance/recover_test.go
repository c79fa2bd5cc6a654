package instance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	configstore "github.com/lycosadb/lycosa/internal/clusterconfig/store"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

const (
	// survivorRows is the number of rows in the log of a survivor's data, of which survivorDoubtful are not known to be committed.
	survivorRows, survivorDoubtful = 5, 2
	survivorUUID                   = "22222222-2222-4222-8222-222222222222"
)

// offlineOn is an instance that only reads and writes its files.
func offlineOn(t *testing.T, fsys sys.FS) *Instance {
	t.Helper()
	cfg, _, err := config.Load([]string{"--data-dir", "/dir", "--memory", "64MiB"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := newOffline(cfg, slog.New(slog.DiscardHandler), fsys, fault.NewClock(time.Unix(1_700_000_000, 0)))
	i.segmentBytes, i.child = 16<<10, &child.Child{}
	return i
}

// survivorDisk is the disk of the first of three instances of a cluster, after a loss of power.
func survivorDisk(t *testing.T) *fault.FS { return survivorDiskWith(t) }

// survivorDiskWith has more statements in the log of its data, in front of its rows.
func survivorDiskWith(t *testing.T, more ...box.Statement) *fault.FS {
	t.Helper()
	fsys := fault.New()
	i := offlineOn(t, fsys)
	must(t, i.dir.Create())
	id := i.newIdentity(&datadir.Entrypoint{ClusterUUID: "11111111-1111-4111-8111-111111111111", InstanceUUID: survivorUUID,
		ReplicasetUUID: "33333333-3333-4333-8333-333333333333"})
	i.identity.Store(&id)
	must(t, i.makeDirectories())
	state := survivorCatalog(t, i, id)
	survivorData(t, i, id, state, more)
	must(t, i.writeConfig(state))
	must(t, i.dir.WriteIdentity(id))
	fsys.Reboot(fault.LoseUnsynced)
	return fsys
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// survivorCatalog writes a catalog of three voters, and two entries behind it of which one is known to be committed.
func survivorCatalog(t *testing.T, i *Instance, id datadir.Identity) *catalog.State {
	t.Helper()
	p := i.bootstrapParams(id)
	p.Version = "0.1.0"
	batches, err := catalog.Bootstrap(p)
	must(t, err)
	s, index := catalog.New(), uint64(1)
	for _, b := range batches {
		index++
		_, _, err := s.Apply(index, 1, b)
		must(t, err)
	}
	for n := range 2 {
		op, _, err := catalog.PlanJoin(s, catalog.JoinRequest{ClusterName: id.ClusterName, Version: "0.1.0", Tier: "default",
			InstanceUUID: fmt.Sprintf("aaaaaaaa-0000-4000-8000-00000000000%d", n), Address: fmt.Sprint("127.0.0.1:400", n)},
			fmt.Sprintf("bbbbbbbb-0000-4000-8000-00000000000%d", n))
		must(t, err)
		index++
		_, _, err = s.Execute(index, 1, catalog.Item{Ops: []catalog.Op{op}})
		must(t, err)
	}
	_, err = i.writeCatalogSnapshot(catalog.Snapshot{State: s, Voters: []uint64{1, 3, 5}})
	must(t, err)
	must(t, i.writeFreshLog(catalogName, id, index, raftgroup.HardState{Term: 1}))
	b := wal.Batch{Commit: index + 1, Sync: true}
	for n := range uint64(2) {
		op := catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableProperty,
			Tuple: catalog.UintProperty(fmt.Sprint("late", n), n).Row()}}}
		data, err := catalog.EncodeEntry(catalog.Entry{Term: 1, Items: []catalog.Item{{Ops: []catalog.Op{op}}}})
		must(t, err)
		b.Entries = append(b.Entries, raftgroup.Entry{Index: index + 1 + n, Term: 1, Data: data})
	}
	log, err := i.openLog(catalogName, id, wal.SyncFsync)
	must(t, err)
	must(t, log.Append(b))
	must(t, log.Close())
	return s
}

// survivorData writes a snapshot of three voters and a log with rows.
func survivorData(t *testing.T, i *Instance, id datadir.Identity, state *catalog.State, more []box.Statement) {
	t.Helper()
	engine, err := box.New(box.Options{QuotaBytes: 64 << 20, Virtuals: i.virtualSpaces(newCore(id, state))})
	must(t, err)
	must(t, loadDictionary(engine, id))
	view := engine.OpenView()
	_, err = checkpoint.Write(engine, view, checkpoint.Position{Index: 1, Term: 1, Voters: []uint64{2, 4, 6}}, i.checkpointOptions())
	view.Close()
	must(t, err)
	must(t, i.writeFreshLog(dataName, id, 1, raftgroup.HardState{Term: 1}))
	m, sink := replicaset.New(engine, nil), newListener(t)
	writes := append(makeTestSpace(), more...)
	for n := range survivorRows {
		writes = append(writes, box.Statement{Kind: box.Insert, SpaceID: testSpace, Tuple: appendRow(nil, n, strings.Repeat("x", 5<<10))})
	}
	log, err := i.openLog(dataName, id, wal.SyncFsync)
	must(t, err)
	for n, w := range writes { // one at a time, so that they fill several segments
		index := uint64(n + 2)
		data := m.Run(index, 1, []*replicaset.Batch{{Sink: sink, Writes: []replicaset.Write{{Sync: 1, Statement: w}}}})
		must(t, log.Append(wal.Batch{Sync: true, Commit: index - survivorDoubtful,
			Entries: []raftgroup.Entry{{Index: index, Term: 1, Data: slices.Clone(data)}}}))
		m.Commit(index)
	}
	must(t, log.Close())
	must(t, engine.Close())
}

// recoverNow runs the command on a disk.
func recoverNow(t *testing.T, fsys sys.FS) error {
	_, err := offlineOn(t, fsys).recoverSurvivor(RecoverOptions{Who: "test", Confirm: func(name, known string) error {
		if name != "demo" || !strings.Contains(known, "raft ids 2 4 6") {
			t.Errorf("asked to confirm %s: %s", name, known)
		}
		return nil
	}})
	return err
}

// whatStarts settles and opens a directory as a start does, and says what would run.
func whatStarts(t *testing.T, fsys sys.FS) (string, error) {
	i := offlineOn(t, fsys)
	if _, err := i.dir.SettleRecovery(); err != nil {
		return "", err
	}
	v, err := i.dir.Look(i.checkConfig)
	if err != nil || v.Begin != datadir.BeginRestart {
		return "", fmt.Errorf("%v %+v: %w", v.Begin, v.Cause, err)
	}
	i.identity.Store(v.Identity)
	c, err := i.openCore(*v.Identity)
	if err != nil {
		return "", err
	}
	defer c.close()
	groups := ""
	for name, g := range map[string]*groupFiles{catalogName: &c.catalogGroup, dataName: &c.dataGroup} {
		group, err := i.newGroup(g, name, time.Second)
		if err != nil {
			return "", err
		}
		if s := group.Status(); s.Term <= 1 && v.Identity.Epoch > 1 {
			return "", fmt.Errorf("group %s begins in term %d", name, s.Term)
		}
		groups = max(groups, fmt.Sprint(group.Status().Voters)) // that of the data
	}
	epoch, _ := c.catalog.View().PropertyUint(catalog.PropClusterEpoch)
	late := 0
	for n := range 2 {
		if _, ok := c.catalog.View().PropertyUint(fmt.Sprint("late", n)); ok {
			late++
		}
	}
	view := c.engine.OpenView()
	defer view.Close()
	rows := 0
	view.Ascend(view.Schema().Space(testSpace), func([]byte) bool {
		rows++
		return true
	})
	return fmt.Sprintf("identity %d, catalog %d with %d late, voters %s, %d rows", v.Identity.Epoch, epoch, late, groups, rows), nil
}

const (
	startsOld = "identity 1, catalog 1 with 1 late, voters [2 4 6], 3 rows"
	startsNew = "identity 2, catalog 2 with 2 late, voters [2], 5 rows"
)

// TestRecoverEveryCrashPoint stops the machine at each call of a recovery and leaves each state of the disk that may result: what
// starts then is the old cluster or the new one, whole, and the command run again ends with the new one.
func TestRecoverEveryCrashPoint(t *testing.T) {
	t.Parallel()
	disk := survivorDisk(t)
	if got, err := whatStarts(t, disk.Clone()); got != startsOld || err != nil {
		t.Fatalf("before: %s %v", got, err)
	}
	states, found := 0, map[string]int{}
	for at := 1; ; at++ {
		fsys := disk.Clone()
		fsys.CrashAt(at)
		if err := recoverNow(t, fsys); err == nil {
			break
		} else if !errors.Is(err, fault.ErrCrashed) {
			t.Fatalf("crash at call %d: %v", at, err)
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			// What a torn write leaves is for the tests of those who write.
			if strings.HasPrefix(name, "tear") || strings.HasPrefix(name, "random") || name == "lose data" {
				continue
			}
			// Before the identity is written everything means nothing: a part of these states will do.
			if states++; found[startsNew] == 0 && states%3 != 0 {
				continue
			}
			again := fsys.Clone()
			again.Reboot(policy)
			got, err := whatStarts(t, again.Clone())
			if err != nil || got != startsOld && got != startsNew {
				t.Fatalf("crash at call %d, disk state %q: %s %v", at, name, got, err)
			}
			if found[got]++; states%4 != 0 {
				continue
			}
			if err := recoverNow(t, again); err != nil && !(got == startsNew && strings.Contains(err.Error(), "nothing to recover from")) {
				t.Fatalf("crash at call %d, disk state %q, run again: %v", at, name, err)
			}
			if got, err = whatStarts(t, again); got != startsNew || err != nil {
				t.Fatalf("crash at call %d, disk state %q, in the end: %s %v", at, name, got, err)
			}
		}
	}
	t.Logf("%d disk states: %v", states, found)
	if found[startsOld] == 0 || found[startsNew] == 0 {
		t.Errorf("not both kinds of states were seen: %v", found)
	}
}

// TestRecover: the whole log counts, others are Offline, the copy of the configuration and the audit log say so, and a second
// time there is nothing to do. Not confirmed, nothing changes.
func TestRecover(t *testing.T) {
	disk := survivorDisk(t)
	declined := errors.New("declined")
	_, err := offlineOn(t, disk).recoverSurvivor(RecoverOptions{Who: "test", Confirm: func(string, string) error { return declined }})
	if !errors.Is(err, declined) {
		t.Fatalf("declined: %v", err)
	}
	if got, err := whatStarts(t, disk.Clone()); got != startsOld || err != nil {
		t.Fatalf("declined: %s %v", got, err)
	}
	must(t, recoverNow(t, disk))
	if got, err := whatStarts(t, disk); got != startsNew || err != nil {
		t.Fatalf("recovered: %s %v", got, err)
	}
	i := offlineOn(t, disk)
	loaded, err := configstore.Load(disk, i.configDir())
	if err != nil || loaded.Version.Epoch != 2 || loaded.Version.Number != 2 {
		t.Errorf("configuration %+v %v", loaded.Version, err)
	}
	text, err := sys.ReadFile(disk, i.cfg.AuditPath(), 1<<20)
	must(t, err)
	if _, err := audit.Verify(bytes.NewReader(text)); err != nil {
		t.Errorf("audit log: %v", err)
	}
	var records []string
	for line := range strings.Lines(string(text)) {
		var r struct{ Event, Who, What, Result string }
		must(t, json.Unmarshal([]byte(line), &r))
		if strings.HasPrefix(r.Event, "privileged_") {
			records = append(records, fmt.Sprint(r.Event, " ", r.Who, " ", r.What, " ", r.Result))
		}
	}
	what := " test recover cluster demo from survivor default_1_1, epoch 2 "
	if want := []string{"privileged_intent" + what, "privileged_done" + what + "ok"}; !slices.Equal(records, want) {
		t.Errorf("audit log: %q, want %q", records, want)
	}
	if err := recoverNow(t, disk); err == nil || !strings.Contains(err.Error(), "nothing to recover from") {
		t.Errorf("a second time: %v", err)
	}
}

// TestRecoverOldCatalog: the rows had followed changes of the schema that the survivor's catalog does not know. Its tables are
// those of the rows then, and no version comes again.
func TestRecoverOldCatalog(t *testing.T) {
	const version = 50
	disk := survivorDiskWith(t, box.Statement{Kind: box.Replace, SpaceID: dictionary.SpaceSchema, Tuple: followedRow(version, []uint32{testSpace}, nil)})
	must(t, recoverNow(t, disk))
	i := offlineOn(t, disk)
	v, err := i.dir.Look(i.checkConfig)
	must(t, err)
	i.identity.Store(v.Identity)
	c, err := i.openCore(*v.Identity)
	must(t, err)
	defer c.close()
	view, r := c.catalog.View(), c.engine.NewReader()
	defer r.Close()
	d, err := c.readLocal(r)
	must(t, err)
	if task, changes, err := catalog.Follow(view, d); task != catalog.FollowTell || len(changes) != 0 || err != nil {
		t.Errorf("what is to be followed: task %d, %v, %v", task, changes, err)
	}
	if table, ok := view.SchemaTable(testSpace); !ok || table.Name == "" || view.TablesVersion() != version || view.NextSchemaVersion() <= version {
		t.Errorf("table %+v, version %d, next %d", table, view.TablesVersion(), view.NextSchemaVersion())
	}
}

// TestRecoverFullDisk: a recovery that finds no room leaves the old cluster, and is done once there is.
func TestRecoverFullDisk(t *testing.T) {
	disk := survivorDisk(t)
	failed := 0
	for room := int64(1); ; room += 4 << 10 {
		fsys := disk.Clone()
		fsys.SetCapacity(fsys.Used() + room)
		err := recoverNow(t, fsys)
		fsys.SetCapacity(0)
		if err == nil {
			break
		}
		failed++
		if got, err := whatStarts(t, fsys.Clone()); err != nil || got != startsOld && got != startsNew {
			t.Fatalf("room for %d bytes: %s %v", room, got, err)
		}
		if err := recoverNow(t, fsys); err != nil && !strings.Contains(err.Error(), "nothing to recover from") {
			t.Fatalf("room for %d bytes, run again: %v", room, err)
		}
		if got, err := whatStarts(t, fsys); got != startsNew || err != nil {
			t.Fatalf("room for %d bytes, in the end: %s %v", room, got, err)
		}
	}
	if failed < 3 {
		t.Errorf("only %d disks were too small", failed)
	}
}
