package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"pgregory.net/rapid"
)

func bootstrapped(t interface{ Fatal(...any) }) *State {
	entries, err := Bootstrap(testParams())
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	for i, e := range entries {
		if _, _, err := s.Apply(uint64(i+1), BootstrapTerm, e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func drawOp(t *rapid.T) Op {
	name := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "guest"}).Draw(t, "name") }
	id := func() uint32 { return rapid.SampledFrom([]uint32{0, 1, 2, 32, 33, 34}).Draw(t, "id") }
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 8, 9:
		return drawDDL(t)
	case 0:
		return Op{Kind: CreateUser, User: User{Name: name(), Owner: id()}}
	case 1:
		return Op{Kind: CreateRole, User: User{Name: name(), Owner: 1}}
	case 2:
		return Op{Kind: rapid.SampledFrom([]OpKind{DropUser, DropRole}).Draw(t, "drop"), User: User{ID: id()}}
	case 3:
		return Op{Kind: RenameUser, User: User{ID: id(), Name: name()}}
	case 4:
		p := Privilege{Grantor: id(), Grantee: id(), Privilege: rapid.SampledFrom(PrivilegeNames()).Draw(t, "right"),
			ObjectType: rapid.SampledFrom([]string{"table", "role", "universe"}).Draw(t, "type"), ObjectID: int64(id())}
		return Op{Kind: rapid.SampledFrom([]OpKind{Grant, Revoke}).Draw(t, "grant"), Privileges: []Privilege{p}}
	}
	op := Op{Kind: BatchDml}
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		op.DML = append(op.DML, drawDML(t))
	}
	return op
}

func drawDML(t *rapid.T) DML {
	if rapid.Bool().Draw(t, "global") {
		n := rapid.Uint64Range(0, 5).Draw(t, "id")
		row := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 3), n), n/2)
		return DML{Kind: rapid.SampledFrom([]DMLKind{Insert, Replace, Delete}).Draw(t, "kind"), Table: globalTestTable,
			Tuple: msgpack.AppendUint(row, rapid.Uint64Range(0, 9).Draw(t, "value")), Key: Key(n)}
	}
	key := rapid.SampledFrom([]string{"k1", "k2", "k3", "k4", "cluster_uuid"}).Draw(t, "key")
	kind := rapid.SampledFrom([]DMLKind{Insert, Replace, Delete}).Draw(t, "kind")
	if rapid.Bool().Draw(t, "replicaset") {
		row := Replicaset{Name: key, UUID: rapid.SampledFrom([]string{"u1", "u2", "u3"}).Draw(t, "uuid"), State: ReplicasetReady}
		return DML{Kind: kind, Table: TableReplicaset, Tuple: row.Row(), Key: Key(key)}
	}
	value := rapid.Uint64Range(0, 3).Draw(t, "value")
	return DML{Kind: kind, Table: TableProperty, Tuple: UintProperty(key, value).Row(), Key: Key(key)}
}

// drawItem draws a request whose unused fields are empty, as they are after decoding.
func drawItem(t *rapid.T) Item {
	it := Item{Initiator: AdminID}
	for range rapid.IntRange(1, 3).Draw(t, "ops") {
		op := drawOp(t)
		for i := range op.DML {
			if op.DML[i].Kind == Delete {
				op.DML[i].Tuple = nil
			} else {
				op.DML[i].Key = nil
			}
		}
		it.Ops = append(it.Ops, op)
	}
	if rapid.Bool().Draw(t, "named") {
		it.ID[0] = byte(rapid.IntRange(1, 5).Draw(t, "request"))
	}
	return it
}

// The leader executes requests one by one, a follower applies the entries that were written, a third one is restored from
// a snapshot half way: all have the same bytes at the end. States that were put aside do not change.
func TestEqualEntriesGiveEqualBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, follower := bootstrapped(t), bootstrapped(t)
		index, term := leader.Position()
		steps := rapid.IntRange(1, 25).Draw(t, "entries")
		for range steps {
			index++
			entry := Entry{Term: term}
			before, beforeBytes := leader.Clone(), snapshotBytes(leader)
			for range rapid.IntRange(1, 3).Draw(t, "requests") {
				it := drawItem(t)
				was := snapshotBytes(leader)
				if _, _, err := leader.Execute(index, term, it); err != nil {
					if errcode.Of(err).Code == errcode.Unknown {
						t.Fatalf("an error that no client can understand: %v", err)
					}
					if !bytes.Equal(was, snapshotBytes(leader)) {
						t.Fatalf("a refused request left traces: %v", err)
					}
					continue
				}
				entry.Items = append(entry.Items, it)
			}
			b, err := EncodeEntry(entry)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := follower.Apply(index, term, b); err != nil {
				t.Fatal(err)
			}
			leader.SetPosition(index, term)
			if !bytes.Equal(snapshotBytes(leader), snapshotBytes(follower)) {
				t.Fatalf("leader and follower differ after entry %d", index)
			}
			if !bytes.Equal(snapshotBytes(before), beforeBytes) {
				t.Fatal("a state that was put aside has changed")
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				snap, err := DecodeSnapshot(bytes.NewReader(snapshotBytes(follower)))
				if err != nil {
					t.Fatal(err)
				}
				follower = snap.State
			}
			checkIndexes(t, leader)
			checkGlobalBytes(t, leader)
		}
	})
}

// checkIndexes proves that every index of every table holds the same rows in its order.
func checkIndexes(t *rapid.T, s *State) {
	for no, tab := range s.tables {
		ts := &s.schema.tables[no]
		for ix, rows := range tab.rows {
			if len(rows) != len(tab.rows[0]) {
				t.Fatalf("%s: index %d has %d rows, the primary one %d", ts.def.Name, ix, len(rows), len(tab.rows[0]))
			}
			for i := 1; i < len(rows); i++ {
				if ts.orders[ix].Compare(rows[i-1], rows[i]) >= 0 {
					t.Fatalf("%s: index %d is out of order at %d", ts.def.Name, ix, i)
				}
			}
		}
	}
	for _, p := range s.Privileges() {
		if _, ok := s.User(p.Grantee); !ok {
			t.Fatalf("right %v of nobody", p)
		}
	}
}

// A guarded request is refused exactly if an entry after its position touched what it depends on.
func TestGuardsFindExactlyTheConflicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bootstrapped(t)
		index, term := s.Position()
		h := NewHistory(index, term)
		touched := map[string]uint64{}
		for range rapid.IntRange(1, 20).Draw(t, "entries") {
			keys := []string{"k1", "k2", "k3"}
			write := rapid.SampledFrom(keys).Draw(t, "write")
			look := rapid.SampledFrom(keys).Draw(t, "look")
			at := rapid.Uint64Range(6, index).Draw(t, "position")
			op := Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableProperty, Tuple: UintProperty(write, index).Row()}}}
			p := Predicate{Index: at, Term: term, Ranges: []Range{Eq(TableProperty, Key(look))}}
			err := CheckCAS(s, h, term, p, []Op{op})
			conflict := touched[write] > at || touched[look] > at
			if got := errcode.Is(err, errcode.CASConflictFound); got != conflict || (err != nil && !got) {
				t.Fatalf("position %d write %s look %s: conflict %v, got %v", at, write, look, conflict, err)
			}
			if conflict {
				continue
			}
			_, changes, err := s.Execute(index+1, term, Item{Ops: []Op{op}})
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(t, "abort") == 0 { // the entry is not committed: as if it had never been
				h.Note(index+1, term, changes)
				h.Truncate(index + 1)
				if last, _ := h.Last(); last != index {
					t.Fatalf("history ends at %d after truncation to %d", last, index)
				}
			}
			index++
			h.Note(index, term, changes)
			touched[write] = index
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	s := bootstrapped(t)
	h := NewHistory(6, 1)
	row := UintProperty("k1", 1).Row()
	many := slices.Repeat([]Change{{Table: TableProperty, New: row}}, 1000)
	for i := range uint64(100) {
		h.Note(7+i, 1, many)
	}
	if h.touches > touchesMax {
		t.Fatalf("%d rows are remembered, the limit is %d", h.touches, touchesMax)
	}
	err := CheckCAS(s, h, 1, Predicate{Index: 10, Term: 1}, nil)
	if !errcode.Is(err, errcode.RaftLogCompacted) {
		t.Fatalf("a position that is forgotten gives %v", err)
	}
	if err := CheckCAS(s, h, 1, Predicate{Index: 106, Term: 1}, nil); err != nil {
		t.Fatalf("the newest position gives %v", err)
	}
}

func TestRequestsAreAppliedOnce(t *testing.T) {
	s := bootstrapped(t)
	it := Item{Ops: []Op{{Kind: CreateUser, User: User{Name: "ann", Owner: 1}}}, ID: RequestID{1}}
	first, _, err := s.Execute(7, 1, it)
	if err != nil {
		t.Fatal(err)
	}
	again, changes, err := s.Execute(8, 1, it)
	if err != nil || again != first || len(changes) != 0 {
		t.Fatalf("repeated: %v %v %v, want %v", again, changes, err, first)
	}
	for i := range RequestsKept {
		id := RequestID{2, byte(i), byte(i >> 8)}
		if _, _, err := s.Execute(uint64(9+i), 1, Item{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.done) != RequestsKept {
		t.Fatalf("%d requests are remembered, the limit is %d", len(s.done), RequestsKept)
	}
	if _, ok := s.Done(it.ID); ok {
		t.Fatal("the oldest request is still remembered")
	}
}

func TestApplyRefusesWhatTheLeaderCannotHaveWritten(t *testing.T) {
	entry := func(term uint64, ops ...Op) []byte {
		b, err := EncodeEntry(Entry{Term: term, Items: []Item{{Ops: ops}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		index, term uint64
		entry       []byte
	}{
		"an index twice":      {6, 1, entry(1)},
		"a term that ended":   {7, 0, entry(0)},
		"another term inside": {7, 2, entry(1)},
		"a refused operation": {7, 1, entry(1, Op{Kind: DropUser, User: User{ID: AdminID}})},
		"damaged bytes":       {7, 1, entry(1)[1:]},
		"bytes too many":      {7, 1, append(entry(1), 0xc0)},
		"another form":        {7, 1, append([]byte{0xde, 0, 3}, entry(1)[1:]...)},
		"a future version":    {7, 1, slices.Concat([]byte{0x83, 0, 2}, entry(1)[3:])},
	} {
		s := bootstrapped(t)
		was := snapshotBytes(s)
		if _, _, err := s.Apply(c.index, c.term, c.entry); !errors.Is(err, ErrDivergence) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(was, snapshotBytes(s)) {
			t.Errorf("%s: the state has changed", name)
		}
	}
}

// The bytes of an entry belong to the log, which uses them again.
func TestStateKeepsNothingOfAnEntry(t *testing.T) {
	s := bootstrapped(t)
	entry, err := EncodeEntry(Entry{Term: 1, Items: []Item{{ID: RequestID{1}, Ops: []Op{
		{Kind: CreateUser, User: User{Name: "ann", Owner: 1, Auth: Auth{AuthMethod, EmptyPasswordHash}}},
		{Kind: Grant, Privileges: []Privilege{{Grantor: 1, Grantee: 32, Privilege: "read", ObjectType: "table", ObjectID: 7}}},
		{Kind: Dml, DML: []DML{{Kind: Insert, Table: TableProperty, Tuple: StrProperty("k", "v").Row()}}},
		{Kind: Dml, DML: []DML{{Kind: Update, Table: TableProperty, Key: Key("k"), Ops: fromJSON(`[["=",1,"w"]]`)}}},
		{Kind: Dml, DML: []DML{{Kind: Update, Table: TableDBConfig, Key: Key(ConfAutoOfflineTimeout, ""), Ops: fromJSON(`[["=",2,9]]`)}}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	_, changes, err := s.Apply(7, 1, entry)
	if err != nil {
		t.Fatal(err)
	}
	want, wantChanges := snapshotBytes(s), fmt.Sprint(changes)
	for i := range entry {
		entry[i] = 0xff
	}
	if !bytes.Equal(want, snapshotBytes(s)) || wantChanges != fmt.Sprint(changes) {
		t.Fatal("the state or its changes use the bytes of the entry")
	}
}

func TestLimitsOfEntries(t *testing.T) {
	long := Op{Kind: Dml, DML: []DML{{Kind: Insert, Table: TableProperty,
		Tuple: StrProperty("k", string(make([]byte, OpBytesMax))).Row()}}}
	many := Op{Kind: BatchDml, DML: make([]DML, OpsMax+1)}
	badAuth := Op{Kind: DropUser, User: User{Auth: Auth{Method: "x", Data: "y"}}}
	badRight := Op{Kind: Revoke, Privileges: []Privilege{{Privilege: "fly", ObjectType: "table"}}}
	for _, c := range []struct {
		op   Op
		code errcode.Code
	}{
		{long, errcode.TooBig}, {many, errcode.TooBig}, {badAuth, errcode.IllegalParams},
		{badRight, errcode.IllegalParams}, {Op{Kind: 99}, errcode.IllegalParams},
	} {
		if _, err := ItemSize(Item{Ops: []Op{c.op}}); !errcode.Is(err, c.code) {
			t.Errorf("%s: %v, want number %d", c.op.Kind, err, c.code)
		}
	}
	if _, err := EncodeEntry(Entry{Items: make([]Item, ItemsMax+1)}); !errcode.Is(err, errcode.TooBig) {
		t.Errorf("too many requests: %v", err)
	}
}

func TestSnapshotRefusesDamage(t *testing.T) {
	good := snapshotBytes(bootstrapped(t))
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			if _, err := DecodeSnapshot(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
		}
	}
	for n := range good {
		if _, err := DecodeSnapshot(bytes.NewReader(good[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := DecodeSnapshot(bytes.NewReader(append(bytes.Clone(good), 0))); !errors.Is(err, ErrSnapshot) {
		t.Fatalf("a byte too many: %v", err)
	}
}

func TestSnapshotKeepsMembersAndRequests(t *testing.T) {
	s := bootstrapped(t)
	it := Item{Ops: []Op{{Kind: CreateUser, User: User{Name: "ann", Owner: 1}}}, ID: RequestID{7}}
	want, _, err := s.Execute(7, 1, it)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := EncodeSnapshot(&b, Snapshot{State: s, Voters: []uint64{1, 3}, Learners: []uint64{4}, Outgoing: []uint64{1, 5},
		LearnersNext: []uint64{5}}); err != nil {
		t.Fatal(err)
	}
	snap, err := DecodeSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(snap.Voters, []uint64{1, 3}) || !slices.Equal(snap.Learners, []uint64{4}) {
		t.Errorf("members %v %v", snap.Voters, snap.Learners)
	}
	if !slices.Equal(snap.Outgoing, []uint64{1, 5}) || !slices.Equal(snap.LearnersNext, []uint64{5}) {
		t.Errorf("joint members %v %v", snap.Outgoing, snap.LearnersNext)
	}
	if got, ok := snap.State.Done(it.ID); !ok || got != want {
		t.Errorf("request %v %v, want %v", got, ok, want)
	}
	if index, term := snap.State.Position(); index != 7 || term != 1 {
		t.Errorf("position %d %d", index, term)
	}
	if _, ok := snap.State.UserByName("ann"); !ok {
		t.Error("a row is lost")
	}
}

// TestSnapshotOfBefore reads a file of format version 1, which knows voters and learners alone, and tables
// that have been there from the beginning.
func TestSnapshotOfBefore(t *testing.T) {
	s := bootstrapped(t)
	old := Snapshot{State: s, Voters: []uint64{1, 3}, Learners: []uint64{4}}
	body := old.appendBody(nil, snapshotVersionPlain, allTables(s)[2:]) // without _pico_table and _pico_index
	head := append([]byte(snapshotMagic), 0, 0, 0, snapshotVersionPlain)
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	head = binary.BigEndian.AppendUint64(head, uint64(len(body)))
	head = append(head, 0, 0, 0, 0)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	snap, err := DecodeSnapshot(bytes.NewReader(append(head, body...)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(snap.Voters, old.Voters) || !slices.Equal(snap.Learners, old.Learners) || snap.Outgoing != nil || snap.LearnersNext != nil {
		t.Errorf("members %v %v %v %v", snap.Voters, snap.Learners, snap.Outgoing, snap.LearnersNext)
	}
	if !bytes.Equal(snapshotBytes(snap.State), snapshotBytes(s)) {
		t.Error("the rows are others")
	}
}

func TestTypedReaders(t *testing.T) {
	s := bootstrapped(t)
	i, ok := s.InstanceByRaftID(FirstRaftID)
	if !ok || i.Name != "default_1_1" || i.DataRaftID != FirstDataRaftID || i.FailureDomain["DC"] != "1" ||
		i.Current != (lifecycle.Grade{Name: lifecycle.Offline}) {
		t.Errorf("instance %+v", i)
	}
	if j, ok := s.InstanceByUUID(i.UUID); !ok || j.Name != i.Name {
		t.Errorf("by uuid %+v", j)
	}
	if list := s.InstancesOf("default_1"); len(list) != 1 || list[0].Name != i.Name {
		t.Errorf("of the replicaset %+v", list)
	}
	if list := s.InstancesOf("default"); len(list) != 0 {
		t.Errorf("of no replicaset %+v", list)
	}
	if got := s.WALMode("default"); got != "fsync" {
		t.Errorf("wal mode %q", got)
	}
	if got := s.Timeout(ConfAutoOfflineTimeout, 0); got.Seconds() != 5 {
		t.Errorf("timeout %s", got)
	}
	if got := s.PeerAddress(FirstRaftID, ConnHTTP); got != "127.0.0.1:8081" {
		t.Errorf("address %q", got)
	}
	if n, ok := s.PropertyUint(PropNextRaftID); !ok || n != 3 {
		t.Errorf("counter %d %v", n, ok)
	}
	if _, ok := s.PropertyUint("none"); ok {
		t.Error("a property that is not there")
	}
}

// Defs must stay as clients know them: dashboards read these ids and field numbers.
func TestDefsAreReadableAsTheyWereBefore(t *testing.T) {
	var got string
	for _, d := range Defs() {
		got += fmt.Sprintf("%d %s", d.ID, d.Name)
		for _, f := range d.Fields {
			got += fmt.Sprintf(" %s:%s", f.Name, f.Type)
		}
		got += "\n"
	}
	want := `412 _pico_table id:unsigned name:string distribution:map format:array schema_version:unsigned operable:boolean engine:string owner:unsigned description:string opts:array
413 _pico_index table_id:unsigned id:unsigned name:string type:string opts:array parts:array operable:boolean schema_version:unsigned
414 _pico_peer_address raft_id:unsigned address:string connection_type:string
415 _pico_instance name:string uuid:string raft_id:unsigned replicaset_name:string replicaset_uuid:string current_grade:array target_grade:array failure_domain:map tier:string picodata_version:string sync_incarnation:unsigned target_grade_reason:string target_grade_change_time:string data_raft_id:unsigned replace_permit:string
416 _pico_property key:string value:any
417 _pico_replicaset name:string uuid:string current_master_name:string target_master_name:string tier:string weight:double weight_origin:string state:string current_config_version:unsigned target_config_version:unsigned promotion_vclock:map master_change_counter:unsigned current_bucket_state_version:unsigned target_bucket_state_version:unsigned bootstrap_raft_id:unsigned leader_priority:array
420 _pico_user id:unsigned name:string schema_version:unsigned auth:array owner:unsigned type:string
421 _pico_privilege grantor_id:unsigned grantee_id:unsigned privilege:string object_type:string object_id:integer schema_version:unsigned
423 _pico_tier name:string replication_factor:unsigned can_vote:boolean current_vshard_config_version:unsigned target_vshard_config_version:unsigned vshard_bootstrapped:boolean bucket_count:unsigned is_default:boolean current_bucket_state_version:unsigned target_bucket_state_version:unsigned
431 _pico_db_config key:string scope:string value:any
435 _pico_schema_object space_id:unsigned key:string row:array operable:boolean schema_version:unsigned create_version:unsigned
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPrivRowsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := PrivRow{Grantor: rapid.Uint32().Draw(t, "grantor"), Grantee: rapid.Uint32().Draw(t, "grantee"),
			ObjectType: rapid.SampledFrom([]string{"space", "function", "universe", "role", "user", "sequence"}).Draw(t, "type"),
			ObjectID:   rapid.Int64Range(EntityID, 1<<32-1).Draw(t, "id"), Bits: rapid.Uint32Range(1, 1<<14-1).Draw(t, "bits")}
		got, err := ParsePrivRow(p.Append(nil))
		if err != nil || got != p {
			t.Fatalf("%+v became %+v, %v", p, got, err)
		}
		var set uint32
		for _, name := range namesOf(p.Bits) {
			bit, ok := PrivilegeBit(name)
			if !ok {
				t.Fatalf("no bit for %s", name)
			}
			set |= bit
		}
		if set != p.Bits {
			t.Fatalf("bits %b became %b", p.Bits, set)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	entries, err := Bootstrap(testParams())
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		f.Add(e)
	}
	f.Add(msgpack.AppendArray32Header([]byte{0x83, 0, 1, 1, 1, 2}, 1<<32-1))
	base := bootstrapped(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 64, func() { _, _ = DecodeEntry(b) })
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		again, err := EncodeEntry(e)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decoded and encoded again it differs: %v", err)
		}
		if _, _, err := base.Clone().Apply(7, e.Term, b); err != nil && !errors.Is(err, ErrDivergence) {
			t.Fatalf("apply: %v", err)
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	s := New() // small, so that the fuzzer does not spend its time on making findings smaller
	op := Op{Kind: Dml, DML: []DML{{Kind: Insert, Table: TableProperty, Tuple: UintProperty("k", 1).Row()}}}
	if _, _, err := s.Execute(1, 1, Item{Ops: []Op{op}, ID: RequestID{1}}); err != nil {
		f.Fatal(err)
	}
	f.Add(Snapshot{State: s, Voters: []uint64{1}}.appendBody(nil, snapshotVersion, allTables(s)))
	f.Add(Snapshot{State: s}.appendBody(nil, snapshotVersion, []int{4}))
	f.Add(snapshotBytes(s))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum is left out, it would stop every mutation.
		meter.Check(t, len(b), 256, func() {
			_, _ = parseSnapshotBody(b, snapshotVersion)
			_, _ = DecodeSnapshot(bytes.NewReader(b))
		})
		snap, err := parseSnapshotBody(b, snapshotVersion)
		if err == nil {
			whole := snap.appendBody(nil, snapshotVersion, allTables(snap.State))
			again, err := parseSnapshotBody(whole, snapshotVersion)
			if err != nil || !bytes.Equal(again.appendBody(nil, snapshotVersion, allTables(again.State)), whole) {
				t.Fatalf("decoded and encoded again it differs: %v", err)
			}
		}
		if _, err := DecodeSnapshot(bytes.NewReader(b)); err != nil && !errors.Is(err, ErrSnapshot) {
			t.Fatalf("not an error about the bytes: %v", err)
		}
	})
}

// parseRows gives a row to the parser of every table.
func parseRows(row []byte) {
	_, _ = ParseInstance(row)
	_, _ = ParseSchemaTable(row)
	_, _ = ParseSchemaIndex(row)
	_, _ = TableOfSpaceRow(row)
	_, _ = IndexOfIndexRow(row)
	_, _ = ParseReplicaset(row)
	_, _ = ParsePeerAddress(row)
	_, _ = ParseTier(row)
	_, _ = ParseUserRow(row)
	_, _ = ParsePrivRow(row)
	_, _ = ParseUser(row)
	_, _ = ParsePrivilege(row)
	_, _ = ParseProperty(row)
	_, _ = ParseDBConfig(row)
}

func FuzzUserRows(f *testing.F) {
	f.Add(fromJSON(`[32,1,"bob","user",{"chap-sha1":"JHDAwG3uQv0WGLuZAFrcouydHhk="}]`))
	f.Add(fromJSON(`[1,32,"space",512,3]`))
	s := bootstrapped(f)
	f.Fuzz(func(t *testing.T, row []byte) {
		meter.Check(t, len(row), 64, func() { parseRows(row) })
		for _, kind := range []RowKind{RowInsert, RowReplace, RowDelete} {
			users, uerr := OpsForUserDML(s, kind, row, false)
			privs, perr := OpsForPrivDML(s, kind, row)
			for _, c := range []struct {
				ops []Op
				err error
			}{{users, uerr}, {privs, perr}} {
				if c.err != nil && errcode.Of(c.err).Code == errcode.Unknown {
					t.Fatalf("an error that no client can understand: %v", c.err)
				}
				if c.err == nil {
					if _, err := ItemSize(Item{Ops: c.ops}); err != nil {
						t.Fatalf("operations that cannot be written: %v", err)
					}
				}
			}
		}
	})
}
