package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"pgregory.net/rapid"
)

// object makes an object of a row of its system space.
func object(space uint32, row string) SchemaObject {
	o, err := ObjectOfRow(space, fromJSON(row))
	if err != nil {
		panic(err)
	}
	return o
}

func sequenceRow(id, start int, name string) SchemaObject {
	return object(SpaceSequence, fmt.Sprintf(`[%d,1,"%s",1,1,100,%d,0,false]`, id, name, start))
}

func bindingRow(table, sequence int) SchemaObject {
	return object(SpaceSpaceSequence, fmt.Sprintf(`[%d,%d,true,0,""]`, table, sequence))
}

func checkRow(table int, name, code string, enabled bool) SchemaObject {
	return object(SpaceCKConstraint, fmt.Sprintf(`[%d,"%s",false,"SQL","%s",%t]`, table, name, code, enabled))
}

func foreignRow(name string, child, parent int) SchemaObject {
	return object(SpaceFKConstraint, fmt.Sprintf(`["%s",%d,%d,false,"simple","no_action","no_action",[0],[0]]`, name, child, parent))
}

// change makes a change of the schema from its beginning to its end.
func change(t testing.TB, s *State, d DDL) (version uint64) {
	t.Helper()
	op, _, v, err := PlanDDL(s, d)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	if op, _, err = PlanDDLCommit(s, v); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	return v
}

// shownChanges renders changes, a line each.
func shownChanges(list []DictionaryChange) string {
	var b strings.Builder
	for _, c := range list {
		verb, row := "put", c.New
		if row == nil {
			verb, row = "remove", c.Old
		}
		name := fmt.Sprint(c.Space)
		if o, err := ObjectOfRow(c.Space, row); err == nil {
			name += " " + o.Key()
			if o.Name != "" {
				name += " " + o.Name
			}
		} else if t, err := TableOfSpaceRow(row); err == nil {
			name += fmt.Sprint(" ", t.ID)
		} else if i, err := IndexOfIndexRow(row); err == nil {
			name += fmt.Sprint(" ", i.TableID, "/", i.ID)
		}
		fmt.Fprintf(&b, "%s %s\n", verb, name)
	}
	return b.String()
}

// What a replicaset has to do to follow sequences and constraints, in an order in which an engine can do it.
func TestSequencesAndConstraintsAreFollowed(t *testing.T) {
	s := bootstrapped(t)
	table := func(id uint32) DDL {
		return DDL{Kind: CreateTable, Table: SchemaTable{ID: id, Name: fmt.Sprint("t", id), Engine: "memtx", Owner: 1},
			Indexes: []SchemaIndex{{TableID: id, Name: "pk", Type: "tree"}}}
	}
	d := &Dictionary{}
	set := func(o SchemaObject) { change(t, s, DDL{Kind: SetObject, Objects: []SchemaObject{o}}) }
	drop := func(o SchemaObject) { change(t, s, DDL{Kind: DropObject, Objects: []SchemaObject{o}}) }
	follow := func(want string) {
		t.Helper()
		task, changes, err := Follow(s, d)
		if err != nil || task != FollowWrite || shownChanges(changes) != want {
			t.Fatalf("task %d, %v, changes\n%swant\n%s", task, err, shownChanges(changes), want)
		}
		d.take(t, s, changes)
		if task, _, err := Follow(s, d); task != FollowTell || err != nil {
			t.Fatalf("after it: task %d, %v", task, err)
		}
	}
	change(t, s, table(512))
	change(t, s, table(513))
	set(sequenceRow(1, 1, "one"))
	set(bindingRow(512, 1))
	set(checkRow(512, "ck", "a < 1", true))
	set(foreignRow("fk", 513, 512))
	follow("put 280 512\nput 288 512/0\nput 280 513\nput 288 513/0\nput 284 1 one\nput 340 512\nput 364 512/ck ck\nput 356 513/fk fk\n")
	set(checkRow(512, "ck", "a < 1", false))
	set(sequenceRow(1, 5, "one"))
	follow("put 284 1 one\nput 364 512/ck ck\n")
	// Another sequence with the id of the first one, another binding of the same space, and both names exchanged.
	set(sequenceRow(2, 1, "two"))
	drop(bindingRow(512, 1))
	set(bindingRow(512, 2))
	follow("remove 340 512\nput 284 2 two\nput 340 512\n")
	set(sequenceRow(1, 5, "three"))
	set(sequenceRow(2, 1, "one"))
	set(sequenceRow(1, 5, "two"))
	follow("put 284 2 _renaming_2\nput 284 1 _renaming_1\nput 284 1 two\nput 284 2 one\n")
	drop(sequenceRow(1, 5, "two"))
	set(sequenceRow(1, 5, "two"))
	follow("remove 284 1 two\nput 284 1 two\n")
	// All goes, and comes anew under the same ids.
	drop(foreignRow("fk", 513, 512))
	drop(checkRow(512, "ck", "", false))
	drop(bindingRow(512, 2))
	for _, id := range []uint32{512, 513} {
		change(t, s, DDL{Kind: DropTable, Table: SchemaTable{ID: id}})
		change(t, s, table(id))
	}
	set(foreignRow("fk", 513, 512))
	follow("remove 356 513/fk fk\nremove 364 512/ck ck\nremove 340 512\n" +
		"remove 288 512/0\nremove 280 512\nremove 288 513/0\nremove 280 513\n" +
		"put 280 512\nput 288 512/0\nput 280 513\nput 288 513/0\nput 356 513/fk fk\n")
}

// take makes the dictionary what changes make of it.
func (d *Dictionary) take(t testing.TB, s *State, changes []DictionaryChange) {
	t.Helper()
	for _, c := range changes {
		switch c.Space {
		case SpaceTruncate:
		case SpaceSpace:
			d.Spaces = replaced(t, d.Spaces, c)
		case SpaceIndex:
			d.Indexes = replaced(t, d.Indexes, c)
		default:
			var rows [][]byte
			for _, o := range d.Objects {
				if o.Space == c.Space {
					rows = append(rows, o.Row)
				}
			}
			d.Objects = slices.DeleteFunc(d.Objects, func(o SchemaObject) bool { return o.Space == c.Space })
			for _, row := range replaced(t, rows, c) {
				o, err := ObjectOfRow(c.Space, row)
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

func replaced(t testing.TB, rows [][]byte, c DictionaryChange) [][]byte {
	if c.Old != nil {
		at := slices.IndexFunc(rows, func(row []byte) bool { return bytes.Equal(row, c.Old) })
		if at < 0 {
			t.Fatalf("a row of space %d is not as it was", c.Space)
		}
		rows = slices.Delete(rows, at, at+1)
	}
	if c.New != nil {
		rows = append(rows, c.New)
	}
	return rows
}

// An object that is pending is not followed; the change of one that is there is not either; what was made in advance is
// removed when the change is taken back.
func TestPendingConstraints(t *testing.T) {
	s := bootstrapped(t)
	d := &Dictionary{}
	change(t, s, DDL{Kind: CreateTable, Table: SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: 1}})
	_, changes, _ := Follow(s, d)
	d.take(t, s, changes)
	ck := checkRow(512, "ck", "a < 1", true)
	op, _, v, err := PlanDDL(s, DDL{Kind: SetObject, Objects: []SchemaObject{ck}})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	if task, _, err := Follow(s, d); task != FollowPrepare || err != nil {
		t.Fatalf("task %d, %v", task, err)
	}
	d.Prepared, d.Objects = v, []SchemaObject{ck}
	if task, _, err := Follow(s, d); task != FollowPrepare || err != nil {
		t.Fatalf("noted and made: task %d, %v", task, err)
	}
	op, _, _ = PlanDDLAbort(s, v, AbortCause{})
	mustRun(t, s, op)
	if task, changes, _ := Follow(s, d); task != FollowWrite || shownChanges(changes) != "remove 364 512/ck ck\n" {
		t.Fatalf("taken back: task %d, %s", task, shownChanges(changes))
	}
	if len(s.SchemaObjects()) != 0 {
		t.Error("an object that was taken back is in the catalog")
	}
	d.Followed++
	if task, _, _ := Follow(s, d); task != FollowWait {
		t.Errorf("the dictionary is newer than the catalog: task %d", task)
	}
	d.Followed, d.Prepared = 0, s.NextSchemaVersion()
	if task, _, _ := Follow(s, d); task != FollowWait {
		t.Errorf("something newer may have been made in advance: task %d", task)
	}
}

// What a lone replicaset has made is told in an order that fits, and is not touched before; what stands in the way of the
// catalog's is an error.
func TestWhatALoneReplicasetTells(t *testing.T) {
	s := bootstrapped(t)
	d := &Dictionary{Objects: []SchemaObject{foreignRow("fk", 512, 513), bindingRow(512, 1), checkRow(513, "ck", "a < 1", true), sequenceRow(1, 1, "one")}}
	for _, id := range []uint32{512, 513} {
		d.Spaces = append(d.Spaces, SchemaTable{ID: id, Name: fmt.Sprint("t", id), Engine: "memtx", Owner: 1}.SpaceRow())
		d.Indexes = append(d.Indexes, SchemaIndex{TableID: id, Name: "pk", Type: "tree"}.IndexRow())
	}
	nothing := func(uint32, uint32) bool { return false }
	var told []string
	for {
		if changes, err := d.Changes(s); err != nil || len(changes) > 0 {
			t.Fatalf("after %v: %v, %s", told, err, shownChanges(changes))
		}
		ddl, ok := PlanTell(s, d, nothing)
		if !ok {
			break
		}
		told = append(told, fmt.Sprint(ddl.Kind, ddl.TableID(), len(ddl.Objects)))
		change(t, s, ddl)
		if task, changes, err := Follow(s, d); err != nil || task != FollowWrite || len(changes) != 0 {
			t.Fatalf("after %v: task %d, %v, %s", told, task, err, shownChanges(changes))
		}
		d.take(t, s, nil)
	}
	if got := fmt.Sprint(told); got != "[8 0 1 1 513 1 1 512 2]" {
		t.Errorf("told %s", got)
	}
	other := &Dictionary{Objects: []SchemaObject{sequenceRow(1, 1, "mine")}}
	if _, _, err := Follow(s, other); !errcode.Is(err, errcode.CreateSequence) {
		t.Errorf("a sequence of another name with the same id: %v", err)
	}
	cycle := &Dictionary{Spaces: d.Spaces, Objects: []SchemaObject{foreignRow("a", 512, 513), foreignRow("b", 513, 512)}}
	if ddl, ok := PlanTell(bootstrapped(t), cycle, nothing); ok {
		t.Errorf("told is %+v", ddl)
	}
	if _, ok := PlanTell(bootstrapped(t), other, func(space, id uint32) bool { return space == SpaceSequence && id == 1 }); ok {
		t.Error("told is what was refused")
	}
}

// A truncation is carried out once, by who had the table; so is the loss of a primary key that came again meanwhile.
func TestTruncatedOnce(t *testing.T) {
	s := bootstrapped(t)
	pk := SchemaIndex{TableID: 512, Name: "pk", Type: "tree"}
	change(t, s, DDL{Kind: CreateTable, Table: SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: 1}, Indexes: []SchemaIndex{pk}})
	old, fresh := &Dictionary{}, &Dictionary{}
	follow := func(d *Dictionary, want string) {
		t.Helper()
		_, changes, err := Follow(s, d)
		if err != nil || shownChanges(changes) != want {
			t.Fatalf("%v, changes\n%swant\n%s", err, shownChanges(changes), want)
		}
		d.take(t, s, changes)
	}
	follow(old, "put 280 512\nput 288 512/0\n")
	truncate := DDL{Kind: TruncateTable, Table: SchemaTable{ID: 512}}
	for range 2 {
		change(t, s, truncate)
	}
	follow(old, "put 330\n")
	follow(old, "")
	change(t, s, DDL{Kind: DropIndex, Indexes: []SchemaIndex{pk}})
	change(t, s, DDL{Kind: CreateIndex, Indexes: []SchemaIndex{pk}})
	follow(old, "put 330\n")
	follow(old, "")
	follow(fresh, "put 280 512\nput 288 512/0\n")
	follow(fresh, "")
}

// Changes by which rows go are settled in the order of their versions: truncations, and the ends of tables and primary keys.
func TestWhatDestroysIsSettled(t *testing.T) {
	s := bootstrapped(t)
	pk := []SchemaIndex{{TableID: 512, Name: "pk", Type: "tree"}}
	create := DDL{Kind: CreateTable, Table: SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: 1}, Indexes: pk}
	created := change(t, s, create)
	if s.Unsettled() != 0 || !s.Settled(created) || !create.MustSettle() {
		t.Error("nothing was destroyed")
	}
	var versions []uint64
	for _, d := range []DDL{{Kind: TruncateTable, Table: SchemaTable{ID: 512}}, {Kind: TruncateTable, Table: SchemaTable{ID: 512}},
		{Kind: DropIndex, Indexes: pk}, {Kind: DropTable, Table: SchemaTable{ID: 512}}} {
		v := change(t, s, d)
		if versions = append(versions, v); s.Unsettled() != v || s.Settled(v) || !d.MustSettle() {
			t.Errorf("change %d: unsettled is %d", v, s.Unsettled())
		}
	}
	again := change(t, s, create)
	if s.Settled(again) {
		t.Error("a table of this id may still be somewhere")
	}
	for n, v := range versions {
		op, _ := PlanSettle(s, v)
		mustRun(t, s, op)
		if last := n == len(versions)-1; !s.Settled(v) || s.Settled(again) != last || (s.Unsettled() == 0) != last {
			t.Errorf("change %d is settled: unsettled is %d", v, s.Unsettled())
		}
	}
}

// Rows of _pico_schema_object come back as they were, whatever bytes they are made of.
func TestSchemaObjectRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.SampledFrom([]SchemaObject{sequenceRow(1, 1, "s"), bindingRow(512, 3), checkRow(600, "c", "x", false), foreignRow("f", 512, 513)}).Draw(t, "object")
		o.SchemaVersion, o.CreateVersion, o.Operable = rapid.Uint64().Draw(t, "v"), rapid.Uint64().Draw(t, "created"), rapid.Bool().Draw(t, "operable")
		row := o.TableRow()
		got, err := ParseSchemaObject(row)
		if err != nil || !bytes.Equal(got.TableRow(), row) || got.Key() != o.Key() {
			t.Fatalf("%+v, %v", got, err)
		}
		at := rapid.IntRange(0, len(row)-1).Draw(t, "at")
		bad := slices.Clone(row)
		bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		if got, err := ParseSchemaObject(bad); err == nil && !bytes.Equal(got.TableRow(), bad) && len(got.TableRow()) > len(bad)+8 {
			t.Fatalf("%x is read as %+v", bad, got)
		}
		_, _ = ObjectOfRow(o.Space, bad[:at])
	})
}
