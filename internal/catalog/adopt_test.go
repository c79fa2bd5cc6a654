package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"pgregory.net/rapid"
)

// onlyGlobal reports whether changes concern the table that is global in random tests, and no other.
func onlyGlobal(changes []DictionaryChange) bool {
	for _, c := range changes {
		row := c.New
		if row == nil {
			row = c.Old
		}
		r := reader{b: row}
		r.array()
		if id := r.uint32(); (c.Space != SpaceSpace && c.Space != SpaceIndex) || id != globalTestTable {
			return false
		}
	}
	return len(changes) > 0
}

// A survivor whose catalog ends anywhere before what his rows have followed: after the recovery his rows need no change, and
// what is changed then gets versions that were never used.
func TestAdoptedSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bootstrapped(t)
		index, term := s.Position()
		d := &Dictionary{}
		states := []*State{s.Clone()}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			op := drawDDL(t)
			if rapid.IntRange(0, 3).Draw(t, "object") == 0 {
				op = drawObject(t)
			}
			if p, ok := s.PendingSchema(); ok && op.Kind != DDLPrepare {
				op.SchemaVersion = p.Version
			}
			if _, _, err := s.Execute(index+1, term, Item{Ops: []Op{op}}); err != nil {
				continue
			}
			index++
			states = append(states, s.Clone())
			if p, pending := s.PendingSchema(); pending && s.MustAgree(p.DDL) && rapid.Bool().Draw(t, "prepares") {
				d.Prepared = p.Version
			}
			if task, changes, err := Follow(s, d); err == nil && task == FollowWrite {
				d.follow(t, s, changes)
			}
		}
		old := states[rapid.IntRange(0, len(states)-1).Draw(t, "old")]
		ops, err := PlanAdopt(old, d)
		if err != nil && errcode.Is(err, errcode.RecoverSchema) {
			return
		}
		if err != nil || (len(ops) > 0) != d.IsAhead(old) {
			t.Fatalf("%d operations, ahead: %t, %v", len(ops), d.IsAhead(old), err)
		}
		if len(ops) == 0 {
			return
		}
		adopted := old.Clone()
		if _, _, err := adopted.Execute(index+1, term, Item{Ops: ops}); err != nil {
			t.Fatal(err)
		}
		task, changes, err := Follow(adopted, d)
		if err == nil && task == FollowWrite && onlyGlobal(changes) {
			d.follow(t, adopted, changes) // of these the catalog decides, which has their rows
			task, changes, err = Follow(adopted, d)
		}
		if err != nil || len(changes) > 0 || task == FollowWait {
			t.Fatalf("task %d, %v, changes\n%s", task, err, shownChanges(changes))
		}
		if adopted.NextSchemaVersion() <= s.NextSchemaVersion() {
			t.Fatalf("the next version is %d, it was %d", adopted.NextSchemaVersion(), s.NextSchemaVersion())
		}
		for _, row := range d.Spaces {
			space, _ := TableOfSpaceRow(row)
			if _, ok := adopted.SchemaTable(space.ID); !ok || adopted.NextTableID() <= space.ID {
				t.Fatalf("space %d: in the catalog %t, next id %d", space.ID, ok, adopted.NextTableID())
			}
		}
	})
}

// drawObject draws a change of a sequence or a constraint.
func drawObject(t *rapid.T) Op {
	id := rapid.IntRange(512, 513).Draw(t, "table")
	n := rapid.IntRange(1, 2).Draw(t, "n")
	o := []SchemaObject{sequenceRow(n, n, fmt.Sprint("s", rapid.IntRange(1, 2).Draw(t, "name"))), bindingRow(id, n),
		checkRow(id, fmt.Sprint("c", n), "x", rapid.Bool().Draw(t, "enabled")), foreignRow(fmt.Sprint("f", n), id, 1025-id)}[rapid.IntRange(0, 3).Draw(t, "what")]
	kind := SetObject
	if rapid.IntRange(0, 2).Draw(t, "drop") == 0 {
		kind = DropObject
	}
	return Op{Kind: DDLPrepare, DDL: DDL{Kind: kind, Objects: []SchemaObject{o}}}
}

// follow is take for rapid tests.
func (d *Dictionary) follow(t *rapid.T, s *State, changes []DictionaryChange) {
	for _, c := range changes {
		list := map[uint32]*[][]byte{SpaceSpace: &d.Spaces, SpaceIndex: &d.Indexes}[c.Space]
		switch {
		case list != nil && c.Old != nil:
			*list = slices.DeleteFunc(*list, func(row []byte) bool { return bytes.Equal(row, c.Old) })
			fallthrough
		case list != nil:
			if c.New != nil {
				*list = append(*list, c.New)
			}
		case c.Space != SpaceTruncate:
			before := len(d.Objects)
			d.Objects = slices.DeleteFunc(d.Objects, func(o SchemaObject) bool { return o.Space == c.Space && bytes.Equal(o.Row, c.Old) })
			if (c.Old != nil) != (len(d.Objects) < before) {
				t.Fatalf("a row of space %d is not as it was", c.Space)
			}
			if c.New != nil {
				o, err := ObjectOfRow(c.Space, c.New)
				if err != nil {
					t.Fatal(err)
				}
				d.Objects = append(d.Objects, o)
			}
		}
	}
	d.Followed = s.TablesVersion()
	d.Tables, d.Sequences = FollowedIDs(s)
}

// A pending change that the catalog knew is taken back, lost owners give way to admin, and rights on tables that are gone go.
func TestAdoptedDetails(t *testing.T) {
	s := bootstrapped(t)
	change(t, s, DDL{Kind: CreateTable, Table: SchemaTable{ID: 512, Name: "gone", Engine: "memtx", Owner: 1}})
	mustRun(t, s, Op{Kind: Grant, Privileges: []Privilege{{Grantor: AdminID, Grantee: PublicID, Privilege: "read", ObjectType: "table", ObjectID: 512}}})
	change(t, s, DDL{Kind: SetObject, Objects: []SchemaObject{sequenceRow(1, 1, "lost")}})
	mustRun(t, s, Op{Kind: Grant, Privileges: []Privilege{{Grantor: AdminID, Grantee: PublicID, Privilege: "write", ObjectType: "sequence", ObjectID: 1}}})
	op, _, _, err := PlanDDL(s, DDL{Kind: CreateTable, Table: SchemaTable{ID: 513, Name: "pending", Engine: "memtx", Owner: 1}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	d := &Dictionary{Followed: 99, Tables: []uint32{514}, Sequences: []uint32{3},
		Spaces:  [][]byte{SchemaTable{ID: 514, Name: "kept", Engine: "memtx", Owner: 77}.SpaceRow(), SchemaTable{ID: 600, Name: "own", Engine: "memtx", Owner: 1}.SpaceRow()},
		Objects: []SchemaObject{object(SpaceSequence, `[3,77,"s",1,1,100,1,0,false]`), checkRow(600, "own", "x", true)}}
	ops, err := PlanAdopt(s, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		mustRun(t, s, op)
	}
	tables := s.SchemaTables()
	if len(tables) != 1 || tables[0].ID != 514 || tables[0].Owner != AdminID || !tables[0].Operable {
		t.Errorf("tables %+v", tables)
	}
	objects := s.SchemaObjects()
	if len(objects) != 1 || !bytes.Equal(objects[0].Row, object(SpaceSequence, `[3,1,"s",1,1,100,1,0,false]`).Row) {
		t.Errorf("objects %+v", objects)
	}
	if _, pending := s.PendingSchema(); pending {
		t.Error("a change is still pending")
	}
	for _, p := range s.Privileges() {
		if p.ObjectType == "table" && p.ObjectID == 512 || p.ObjectType == "sequence" {
			t.Errorf("a right that is left: %+v", p)
		}
	}
	global := bootstrapped(t)
	change(t, global, DDL{Kind: CreateTable, Table: SchemaTable{ID: 700, Name: "kept", Engine: "memtx", Owner: 1, Distribution: GlobalDistribution()},
		Indexes: []SchemaIndex{{TableID: 700, Name: "pk", Type: "tree", Parts: fromJSON(`[[0,"unsigned"]]`)}}})
	if _, err := PlanAdopt(global, d); !errcode.Is(err, errcode.RecoverSchema) {
		t.Errorf("a global table of the same name: %v", err)
	}
}
