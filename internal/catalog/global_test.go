package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"pgregory.net/rapid"
)

func checkGlobalBytes(t *rapid.T, s *State) {
	n := 0
	for _, def := range s.GlobalTables() {
		for _, row := range s.rowsOf(def.ID) {
			n += len(row)
		}
	}
	if n != s.globalBytes {
		t.Fatalf("global tables have %d bytes, counted are %d", n, s.globalBytes)
	}
	for _, table := range s.SchemaTables() {
		p, _ := s.PendingSchema()
		there := slices.ContainsFunc(s.GlobalTables(), func(d TableDef) bool { return d.ID == table.ID && d.Name == table.Name })
		pk, keyed := s.SchemaIndex(table.ID, 0)
		if want := table.IsGlobal() && keyed && (pk.Operable || pk.SchemaVersion != p.Version); there != want || s.IsGlobalTable(table.ID) != want {
			t.Fatalf("global table %d is there: %v, %v", table.ID, there, s.IsGlobalTable(table.ID))
		}
	}
}

// globalState is a catalog with a global table 512 that holds n rows.
func globalState(t interface{ Fatal(...any) }, n int) *State {
	s := bootstrapped(t)
	run := func(d DDL) {
		op, _, v, err := PlanDDL(s, d)
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
		op, _, err = PlanDDLCommit(s, v)
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
	}
	run(DDL{Kind: CreateTable, Table: SchemaTable{ID: 512, Name: "g", Engine: "memtx", Owner: 1, Distribution: GlobalDistribution()},
		Indexes: []SchemaIndex{{TableID: 512, Name: "pk", Type: "tree", Parts: fromJSON(`[[0,"unsigned"]]`)}}})
	for i := range n {
		mustRun(t, s, Op{Kind: Dml, DML: []DML{{Kind: Insert, Table: 512, Tuple: fromJSON(fmt.Sprintf(`[%d,"row"]`, i))}}})
	}
	return s
}

// A state that was published keeps its global tables whatever happens to a clone of it.
func TestClonesDoNotShareGlobalTables(t *testing.T) {
	s := globalState(t, 3)
	before := snapshotBytes(s)
	c := s.Clone()
	op, _, v, err := PlanDDL(c, DDL{Kind: DropTable, Table: SchemaTable{ID: 512}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, c, op)
	op, _, err = PlanDDLCommit(c, v)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, c, op)
	if len(c.GlobalTables()) != 0 || c.globalBytes != 0 || c.Len(512) != 0 {
		t.Error("the table is still there")
	}
	if string(snapshotBytes(s)) != string(before) || s.Len(512) != 3 {
		t.Error("the original has changed")
	}
}

func TestGlobalTablesAreBounded(t *testing.T) {
	s := globalState(t, 0)
	s.globalBytes = GlobalBytesMax - 10 // as if there were other rows
	insert := func(text string) error {
		row := msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(s.Len(512))), text)
		_, _, err := s.Execute(100, BootstrapTerm, Item{Ops: []Op{{Kind: Dml, DML: []DML{{Kind: Insert, Table: 512, Tuple: row}}}}})
		return err
	}
	if err := insert("ok"); err != nil {
		t.Error(err)
	}
	if err := insert("too much"); !errcode.Is(err, errcode.TooBig) {
		t.Errorf("over the limit: %v", err)
	}
}

// drawGlobal draws what may happen to the global table: changes of rows and of the table, good ones and others.
func drawGlobal(t *rapid.T, s *State) Op {
	p, pending := s.PendingSchema()
	if pending && rapid.IntRange(0, 2).Draw(t, "end") == 0 {
		return Op{Kind: rapid.SampledFrom([]OpKind{DDLCommit, DDLCommit, DDLAbort}).Draw(t, "how"), SchemaVersion: p.Version}
	}
	n := rapid.IntRange(0, 9).Draw(t, "row")
	row := fromJSON(fmt.Sprintf(`[%d,%d,%q]`, n, rapid.IntRange(0, 9).Draw(t, "second"), rapid.SampledFrom([]string{"", "x", "yy"}).Draw(t, "third")))
	index := SchemaIndex{TableID: globalTestTable, ID: 1, Name: "sk", Type: "TREE", Parts: fromJSON(`[[1,"unsigned"]]`)}
	primary := SchemaIndex{TableID: globalTestTable, Name: "pk", Type: "tree", Parts: fromJSON(`[[0,"unsigned"]]`)}
	if rapid.Bool().Draw(t, "many") {
		index.Opts = fromJSON(`{"unique":false}`)
	}
	table := SchemaTable{ID: globalTestTable, Name: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "name"), Engine: "memtx", Owner: 1,
		Distribution: GlobalDistribution()}
	if rapid.IntRange(0, 2).Draw(t, "primary") == 0 {
		index = primary
	}
	if rapid.Bool().Draw(t, "counted") {
		table.FieldCount = 3
	}
	switch rapid.IntRange(0, 12).Draw(t, "what") {
	case 0:
		d := DDL{Kind: CreateTable, Table: table, Indexes: []SchemaIndex{primary}}
		if rapid.Bool().Draw(t, "bare") {
			d.Indexes = nil
		}
		return Op{Kind: DDLPrepare, DDL: d}
	case 1:
		return Op{Kind: DDLPrepare, DDL: DDL{Kind: AlterTable, Table: table}}
	case 2:
		return Op{Kind: DDLPrepare, DDL: DDL{Kind: rapid.SampledFrom([]DDLKind{CreateIndex, AlterIndex}).Draw(t, "index"),
			Indexes: []SchemaIndex{index}}}
	case 3:
		return Op{Kind: DDLPrepare, DDL: DDL{Kind: DropIndex, Indexes: []SchemaIndex{index}}}
	case 4:
		kind := rapid.SampledFrom([]DDLKind{DropTable, TruncateTable, TruncateTable}).Draw(t, "kind")
		return Op{Kind: DDLPrepare, DDL: DDL{Kind: kind, Table: SchemaTable{ID: globalTestTable}}}
	case 5:
		return Op{Kind: Dml, DML: []DML{{Kind: Delete, Table: globalTestTable, Key: Key(uint64(n))}}}
	}
	return Op{Kind: Dml, DML: []DML{{Kind: rapid.SampledFrom([]DMLKind{Insert, Replace}).Draw(t, "write"), Table: globalTestTable, Tuple: row}}}
}

// Rows of a global table change, and so does the table: the leader, a follower that applies the entries, and one that is
// restored from snapshots again and again have the same bytes after each entry, all indexes hold all rows in their order,
// and no committed change fails on rows that were written while it was pending.
func TestGlobalTablesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, follower := bootstrapped(t), bootstrapped(t)
		index, term := leader.Position()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			item := Item{Ops: []Op{drawGlobal(t, leader)}}
			before := snapshotBytes(leader)
			if _, _, err := leader.Execute(index+1, term, item); err != nil {
				if item.Ops[0].Kind == DDLCommit {
					t.Fatalf("a change that was prepared cannot be committed: %v", err)
				}
				if string(before) != string(snapshotBytes(leader)) {
					t.Fatalf("a refused request left traces: %v", err)
				}
				continue
			}
			index++
			entry, err := EncodeEntry(Entry{Term: term, Items: []Item{item}})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := follower.Apply(index, term, entry); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				snap, err := DecodeSnapshot(bytes.NewReader(snapshotBytes(follower)))
				if err != nil {
					t.Fatal(err)
				}
				follower = snap.State
			}
			if string(snapshotBytes(leader)) != string(snapshotBytes(follower)) {
				t.Fatalf("leader and follower differ after entry %d", index)
			}
			for _, s := range []*State{leader, follower} {
				checkIndexes(t, s)
				checkGlobalBytes(t, s)
				checkSchema(t, s)
			}
		}
	})
}

// Who has to agree to a change: the replicasets where rows are looked at, nobody for tables that the catalog holds.
func TestWhoMustAgree(t *testing.T) {
	s := globalState(t, 0)
	op, _, v, err := PlanDDL(s, DDL{Kind: CreateTable, Table: SchemaTable{ID: 513, Name: "t", Engine: "memtx", Owner: 1}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	if op, _, err = PlanDDLCommit(s, v); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	for kind, looks := range map[DDLKind]bool{CreateTable: false, DropTable: false, TruncateTable: false, AlterTable: true,
		CreateIndex: true, DropIndex: false, AlterIndex: true} {
		for _, id := range []uint32{512, 513} {
			d := DDL{Kind: kind, Table: SchemaTable{ID: id}, Indexes: []SchemaIndex{{TableID: id, ID: 1}}}
			if got := s.MustAgree(d); got != (looks && id == 513) {
				t.Errorf("change %d of table %d: must agree is %v", kind, id, got)
			}
			d.Indexes[0].ID = 0
			if got := s.MustAgree(d); got != (looks && id == 513 && kind != CreateIndex) {
				t.Errorf("change %d of the primary key of table %d: must agree is %v", kind, id, got)
			}
		}
	}
}

// Tables stand in a snapshot once and in order, whatever they hold: it has one form.
func TestSnapshotsHaveTheirTablesInOrder(t *testing.T) {
	snap := Snapshot{State: globalState(t, 2)}
	all := allTables(snap.State)
	if _, err := parseSnapshotBody(snap.appendBody(nil, snapshotVersion, all), snapshotVersion); err != nil {
		t.Fatal(err)
	}
	swapped := slices.Clone(all)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	for what, list := range map[string][]int{"twice": {5, 5}, "in another order": swapped} {
		if _, err := parseSnapshotBody(snap.appendBody(nil, snapshotVersion, list), snapshotVersion); err == nil {
			t.Errorf("tables that are there %s are read", what)
		}
	}
}

// The definition of a global table belongs to what a replicaset has followed: when it is there, nothing is left to do.
func TestReplicasetsFollowGlobalTables(t *testing.T) {
	s := globalState(t, 2)
	var d Dictionary
	for range 3 {
		task, changes, err := Follow(s, &d)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) == 0 {
			if len(d.Spaces) != 1 || len(d.Indexes) != 1 || task != FollowTell {
				t.Fatalf("it has %d spaces and %d indexes; then task %d", len(d.Spaces), len(d.Indexes), task)
			}
			if _, more := PlanTell(s, &d, func(uint32, uint32) bool { return false }); more {
				t.Error("the catalog is told of its own table")
			}
			return
		}
		for _, c := range changes {
			if c.Space == SpaceSpace {
				d.Spaces = append(d.Spaces, c.New)
			} else {
				d.Indexes = append(d.Indexes, c.New)
			}
		}
		d.Tables, d.Sequences = FollowedIDs(s)
		d.Followed = s.TablesVersion()
	}
	t.Error("there is always more to do")
}

// A forced recovery whose rows are ahead of its catalog: of global tables it keeps what the catalog has, and no id is given again.
func TestRecoveryKeepsGlobalTables(t *testing.T) {
	s := globalState(t, 2)
	lost := SchemaTable{ID: 520, Name: "lost", Engine: "memtx", Owner: 1, Distribution: GlobalDistribution()}
	known, _ := s.SchemaTable(512)
	d := &Dictionary{Followed: 99, Tables: []uint32{512, 520}, Spaces: [][]byte{known.SpaceRow(), lost.SpaceRow()}}
	for _, id := range []uint32{512, 520} {
		d.Indexes = append(d.Indexes, SchemaIndex{TableID: id, Name: "pk", Type: "tree", Parts: fromJSON(`[[0,"unsigned"]]`)}.IndexRow())
	}
	ops, err := PlanAdopt(s, d)
	if err != nil || len(ops) == 0 {
		t.Fatal(ops, err)
	}
	for _, op := range ops {
		mustRun(t, s, op)
	}
	if tables := s.SchemaTables(); len(tables) != 1 || tables[0].ID != 512 || len(s.SchemaIndexes(520)) != 0 || !s.IsGlobalTable(512) || s.Len(512) != 2 {
		t.Errorf("tables %+v, %d rows", tables, s.Len(512))
	}
	if s.NextTableID() <= 520 {
		t.Errorf("the next table gets the id %d", s.NextTableID())
	}
	if _, err := DecodeSnapshot(bytes.NewReader(snapshotBytes(s))); err != nil {
		t.Error(err)
	}
}
