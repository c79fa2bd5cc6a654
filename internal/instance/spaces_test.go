package instance

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// bootstrapped is a catalog as the first instance of a cluster makes it.
func bootstrapped(t *testing.T) *catalog.State {
	t.Helper()
	batches, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301",
		Tiers:              []catalog.TierParams{{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync", IsDefault: true}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second, PublicFunctions: []uint32{functionUserInfo, firstProcedure},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := catalog.New()
	for n, b := range batches {
		if _, _, err := s.Apply(uint64(n+1), 1, b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestVirtualSpaces: every row of every virtual space fits its format, and they come in the order of the primary key.
func TestVirtualSpaces(t *testing.T) {
	c := &core{id: datadir.Identity{InstanceUUID: "22222222-2222-4222-8222-222222222222"}, catalog: catalogrunner.New(catalogrunner.Options{Start: bootstrapped(t)})}
	seen := map[uint32]bool{}
	for _, v := range (&Instance{}).virtualSpaces(c) {
		if seen[v.ID] {
			t.Errorf("space %d is there twice", v.ID)
		}
		seen[v.ID] = true
		if v.Rows == nil && v.ViewOf == 0 {
			t.Errorf("space %d has no rows and is no view", v.ID)
		}
		if v.Fields == nil || v.Rows == nil || v.ID == spaceRaftLog {
			continue // a space of the dictionary, a view, and one over logs, which is tested below
		}
		rows := checkVirtual(t, v)
		if v.ID == catalog.TableInstance && rows != 1 || v.ID == catalog.TableUser && rows != 6 {
			t.Errorf("space %s has %d rows", v.Name, rows)
		}
	}
	// The engine takes them all.
	e, err := box.New(box.Options{QuotaBytes: 8 << 20, Virtuals: (&Instance{}).virtualSpaces(c)})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func checkVirtual(t *testing.T, v box.VirtualSpace) (rows int) {
	t.Helper()
	var keys []*tuple.KeyDef
	for _, ix := range v.Indexes {
		def, err := tuple.NewKeyDef(ix.Parts)
		if err != nil {
			t.Fatalf("%s.%s: %v", v.Name, ix.Name, err)
		}
		keys = append(keys, def)
	}
	format, err := tuple.NewFormat(v.Fields, 0, keys)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	var all [][]byte
	v.Rows.Ascend(func(row []byte) bool {
		if err := format.Validate(row); err != nil {
			t.Errorf("%s: %x: %v", v.Name, row, err)
		}
		all = append(all, slices.Clone(row))
		return true
	})
	for n := 1; n < len(all); n++ {
		if keys[0].Compare(all[n-1], all[n]) >= 0 {
			t.Errorf("%s: after %x comes %x", v.Name, all[n-1], all[n])
		}
	}
	stopped := 0
	v.Rows.Ascend(func([]byte) bool { stopped++; return false })
	if stopped > 1 || stopped == 0 && len(all) > 0 {
		t.Errorf("%s: %d rows were given to who wanted one", v.Name, stopped)
	}
	return len(all)
}

// TestFunctionRows: the functions of Tarantool 2.6, then ours; the numbers are those by which rights are given.
func TestFunctionRows(t *testing.T) {
	ids := map[string]uint64{}
	functionRows(func(row []byte) bool {
		id, _, _ := msgpack.ReadUint(tuple.FieldAt(row, 0))
		name, _, _ := msgpack.ReadStr(tuple.FieldAt(row, 2))
		if n, _, err := msgpack.ReadArrayLen(row); err != nil || n != 19 {
			t.Errorf("%s has %d fields, %v", name, n, err)
		}
		ids[string(name)] = id
		return true
	})
	for _, name := range storedProcedures {
		if id := procedureID(name); id == 0 || ids[name] != uint64(id) {
			t.Errorf("%s has number %d in _func, %d for rights", name, ids[name], id)
		}
	}
	if ids["box.schema.user.info"] != functionUserInfo || procedureID("box.schema.user.info") != 0 {
		t.Errorf("box.schema.user.info has number %d", ids["box.schema.user.info"])
	}
}

// fakeLog is a log of entries from first to last, with a change of membership at each tenth.
type fakeLog struct{ first, last uint64 }

func (l fakeLog) FirstIndex() uint64 { return l.first }
func (l fakeLog) LastIndex() uint64  { return l.last }
func (l fakeLog) Replay(from uint64, visit func(raftgroup.Entry) error) error {
	if from < l.first {
		return raftgroup.ErrCompacted
	}
	for index := from; index <= l.last+5; index++ { // entries come while it is read
		e := raftgroup.Entry{Index: index, Term: 2, Data: []byte{byte(index)}}
		if index%10 == 0 {
			e.Type = raftgroup.EntryConfChange
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// TestLogRows: the newest entries up to the bound, none that came after the read began, and no more than are wanted.
func TestLogRows(t *testing.T) {
	for _, c := range []struct {
		log         fakeLog
		want        int // how many rows are taken, 0 for all
		rows        int
		first, last uint64
		more        bool
	}{
		{fakeLog{1, 0}, 0, 0, 0, 0, true}, {fakeLog{2, 12}, 0, 11, 2, 12, true}, {fakeLog{2, 12}, 3, 3, 2, 4, false},
		{fakeLog{2, raftLogRowsMax}, 0, raftLogRowsMax - 1, 2, raftLogRowsMax, true},
		{fakeLog{2, 3 * raftLogRowsMax}, 0, raftLogRowsMax, 2*raftLogRowsMax + 1, 3 * raftLogRowsMax, true},
		{fakeLog{3*raftLogRowsMax - 1, 3 * raftLogRowsMax}, 0, 2, 3*raftLogRowsMax - 1, 3 * raftLogRowsMax, true},
	} {
		rows, first, last := 0, uint64(0), uint64(0)
		more := logRows("data", c.log, func(row []byte) bool {
			index, _, _ := msgpack.ReadUint(tuple.FieldAt(row, 1))
			if rows++; rows == 1 {
				first = index
			}
			last = index
			kind, _, _ := msgpack.ReadStr(tuple.FieldAt(row, 3))
			if want := map[bool]string{true: "conf_change", false: "normal"}[index%10 == 0]; string(kind) != want {
				t.Errorf("entry %d is of type %s", index, kind)
			}
			return rows != c.want
		})
		if rows != c.rows || first != c.first || last != c.last || more != c.more {
			t.Errorf("%+v: %d rows from %d to %d, more %t", c, rows, first, last, more)
		}
	}
}

func TestStateRows(t *testing.T) {
	groups := []namedStatus{{"catalog", raftgroup.Status{ID: 1, Term: 2, Committed: 9, Applied: 8, LeaderID: 1}}, {"data", raftgroup.Status{ID: 2}}}
	var got []string
	stateRows(groups, func(row []byte) bool {
		text, err := msgpack.ToJSON(nil, row)
		got = append(got, string(text))
		return err == nil && len(got) < 7
	})
	want := []string{`["catalog","applied",8]`, `["catalog","commit",9]`, `["catalog","leader_id",1]`, `["catalog","raft_id",1]`,
		`["catalog","term",2]`, `["data","applied",0]`, `["data","commit",0]`}
	if !slices.Equal(got, want) {
		t.Errorf("rows %v", got)
	}
}

// TestRightsOf: what the users that always exist may do in a new cluster.
func TestRightsOf(t *testing.T) {
	rights := rightsOf(bootstrapped(t))
	const vspace, truncate, user = 281, 330, 304
	for _, c := range []struct {
		user uint32
		want access.Priv
		typ  access.ObjectType
		id   uint32
		ok   bool
	}{
		{catalog.GuestID, access.Session, access.Universe, 0, true}, {catalog.GuestID, access.Read, access.Space, vspace, true},
		{catalog.GuestID, access.Read, access.Space, user, false}, {catalog.GuestID, access.Write, access.Space, truncate, true},
		{catalog.GuestID, access.Execute, access.Function, firstProcedure, true},
		{catalog.GuestID, access.Execute, access.Function, firstProcedure + 1, false},
		{catalog.GuestID, access.Read, access.Space, catalog.TableInstance, true},
		{catalog.GuestID, access.Write, access.Space, catalog.TableInstance, false},
		{catalog.GuestID, access.Execute, access.Universe, 0, false},
		{catalog.AdminID, access.Write, access.Space, user, true}, {catalog.ServiceID, access.Execute, access.Universe, 0, true},
		{99, access.Session, access.Universe, 0, false},
	} {
		if got := rights.Check(c.user, c.want, c.typ, c.id); got != c.ok {
			t.Errorf("user %d, %s on %v %d: %t", c.user, c.want.Title(), c.typ, c.id, got)
		}
	}
}

func TestOperationOf(t *testing.T) {
	for _, c := range []struct {
		typ   iproto.Type
		space uint32
		want  string
	}{{iproto.TypeInsert, 304, "INSERT user"}, {iproto.TypeDelete, 312, "DELETE grant"}} {
		if got := operationOf(&iproto.Request{Type: c.typ, SpaceID: c.space}); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// TestInitSteps: the directory comes first, since everything else is in it; a step that fails is named, and none follows.
func TestInitSteps(t *testing.T) {
	i := &Instance{}
	steps := i.initSteps()
	if steps[0].name != "create the data directory" || steps[1].name != "box.cfg" {
		t.Errorf("first steps %s, %s", steps[0].name, steps[1].name)
	}
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
		if s.do == nil || slices.Index(names, s.name) != len(names)-1 {
			t.Errorf("step %s", s.name)
		}
	}
	ran := 0
	broken := errors.New("broken")
	err := runSteps([]initStep{{"a", func(boxParams) error { ran++; return nil }}, {"b", func(boxParams) error { ran++; return broken }},
		{"c", func(boxParams) error { ran++; return nil }}}, boxParams{})
	if !errors.Is(err, broken) || err.Error() != fmt.Sprintf("b: %v", broken) || ran != 2 {
		t.Errorf("%v after %d steps", err, ran)
	}
}
