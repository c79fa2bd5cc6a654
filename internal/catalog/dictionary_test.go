package catalog

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"pgregory.net/rapid"
)

// replica is the dictionary of a replicaset that writes row after row, as an engine does, and refuses what an engine would.
type replica struct {
	spaces, indexes map[string][]byte
	truncated       map[uint32]uint64
	born            map[uint32]uint64 // version at which the space was made: its rows are not older
	version         uint64
	target          uint64
}

func newReplica() *replica {
	return &replica{map[string][]byte{}, map[string][]byte{}, map[uint32]uint64{}, map[uint32]uint64{}, 0, 0}
}

func rows(m map[string][]byte) (out [][]byte) {
	for _, row := range m {
		out = append(out, row)
	}
	return out
}

func (r *replica) follow(t *rapid.T, s *State) {
	changes, err := DictionaryChanges(s, rows(r.spaces), rows(r.indexes), r.version, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.target = s.TablesVersion()
	for _, c := range changes {
		if err := r.write(c); err != nil {
			t.Fatalf("%v, of %d changes", err, len(changes))
		}
	}
	r.version = s.TablesVersion()
}

func (r *replica) write(c DictionaryChange) error {
	switch c.Space {
	case SpaceTruncate:
		read := reader{b: c.New}
		read.arrayOf(2)
		id, version := read.uint32(), read.uint()
		r.truncated[id] = version
		return read.end()
	case SpaceSpace:
		return r.writeSpace(c)
	}
	row := c.New
	if row == nil {
		row = c.Old
	}
	i, err := IndexOfIndexRow(row)
	if err != nil {
		return err
	}
	key := fmt.Sprint(i.TableID, "/", i.ID)
	if !bytes.Equal(r.indexes[key], c.Old) {
		return fmt.Errorf("index %s is not as it was", key)
	}
	if _, ok := r.spaces[fmt.Sprint(i.TableID)]; !ok {
		return fmt.Errorf("index %s of no space", key)
	}
	delete(r.indexes, key)
	for _, row := range r.indexes {
		if o, _ := IndexOfIndexRow(row); o.TableID == i.TableID && (o.Name == i.Name && c.New != nil || i.ID == 0 && c.New == nil) {
			return fmt.Errorf("index %s beside %q", key, o.Name)
		}
	}
	if c.New != nil {
		r.indexes[key] = c.New
	}
	return nil
}

func (r *replica) writeSpace(c DictionaryChange) error {
	row := c.New
	if row == nil {
		row = c.Old
	}
	t, err := TableOfSpaceRow(row)
	if err != nil {
		return err
	}
	key := fmt.Sprint(t.ID)
	if !bytes.Equal(r.spaces[key], c.Old) {
		return fmt.Errorf("space %s is not as it was", key)
	}
	delete(r.spaces, key)
	for _, row := range r.spaces {
		if o, _ := TableOfSpaceRow(row); c.New != nil && o.Name == t.Name {
			return fmt.Errorf("name %q is there twice", t.Name)
		}
	}
	for _, row := range r.indexes {
		if o, _ := IndexOfIndexRow(row); c.New == nil && o.TableID == t.ID {
			return fmt.Errorf("space %s is dropped with indexes", key)
		}
	}
	if c.New != nil {
		r.spaces[key] = c.New
	}
	if c.Old == nil {
		r.born[t.ID] = r.target
	}
	return nil
}

// Replicasets follow the schema at their own pace, one always at once, one only now and then: both come to the same
// dictionary, the catalog's, by changes that can be written one by one. Every truncation reaches those that had the table.
func TestReplicasetsFollowTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bootstrapped(t)
		index, term := s.Position()
		quick, slow := newReplica(), newReplica()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			op := drawDDL(t)
			if p, ok := s.PendingSchema(); ok && op.Kind != DDLPrepare {
				op.SchemaVersion = p.Version
			}
			if _, _, err := s.Execute(index+1, term, Item{Ops: []Op{op}}); err != nil {
				continue
			}
			index++
			quick.follow(t, s)
			checkReplica(t, s, quick)
			if rapid.IntRange(0, 7).Draw(t, "wakes") == 0 {
				slow.follow(t, s)
				checkReplica(t, s, slow)
			}
		}
		slow.follow(t, s)
		checkReplica(t, s, slow)
	})
}

func checkReplica(t *rapid.T, s *State, r *replica) {
	p, _ := s.PendingSchema()
	tables, indexes := 0, 0
	for _, table := range s.SchemaTables() {
		if table.CreateVersion == p.Version {
			continue
		}
		tables++
		if !bytes.Equal(r.spaces[fmt.Sprint(table.ID)], table.SpaceRow()) {
			t.Fatalf("space %d differs", table.ID)
		}
		if r.born[table.ID] < table.CreateVersion {
			t.Fatalf("space %d keeps the rows of another of this id", table.ID)
		}
		if v := table.TruncateVersion; v > 0 && !table.IsGlobal() && r.truncated[table.ID] != v && r.truncated[table.ID] > table.CreateVersion {
			t.Fatalf("space %d was truncated at %d, last at %d", table.ID, r.truncated[table.ID], v)
		}
		for _, i := range s.SchemaIndexes(table.ID) {
			if !i.Operable && i.SchemaVersion == p.Version {
				continue
			}
			indexes++
			if !bytes.Equal(r.indexes[fmt.Sprint(i.TableID, "/", i.ID)], i.IndexRow()) {
				t.Fatalf("index %d of space %d differs", i.ID, i.TableID)
			}
		}
	}
	if tables != len(r.spaces) || indexes != len(r.indexes) {
		t.Fatalf("%d spaces and %d indexes, want %d and %d", len(r.spaces), len(r.indexes), tables, indexes)
	}
}

// Names that two tables, or two indexes of one, have exchanged while nobody looked.
func TestExchangedNames(t *testing.T) {
	s := bootstrapped(t)
	table := func(id uint32, name string) SchemaTable {
		return SchemaTable{ID: id, Name: name, Engine: "memtx", Owner: 1}
	}
	ix := func(id uint32, name string) SchemaIndex {
		return SchemaIndex{TableID: 512, ID: id, Name: name, Type: "tree"}
	}
	change := func(d DDL) {
		t.Helper()
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
	change(DDL{Kind: CreateTable, Table: table(512, "a"), Indexes: []SchemaIndex{ix(0, "x"), ix(1, "y")}})
	change(DDL{Kind: CreateTable, Table: table(513, "b"), Indexes: []SchemaIndex{{TableID: 513, Name: "pk", Type: "tree"}}})
	r := newReplica()
	follow := func() {
		t.Helper()
		changes, err := DictionaryChanges(s, rows(r.spaces), rows(r.indexes), r.version, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if err := r.write(c); err != nil {
				t.Fatal(err)
			}
		}
		r.version = s.TablesVersion()
	}
	follow()
	for _, d := range []DDL{
		{Kind: AlterTable, Table: table(512, "c")}, {Kind: AlterTable, Table: table(513, "a")},
		{Kind: AlterTable, Table: table(512, "b")}, {Kind: AlterIndex, Indexes: []SchemaIndex{ix(0, "z")}},
		{Kind: AlterIndex, Indexes: []SchemaIndex{ix(1, "x")}}, {Kind: AlterIndex, Indexes: []SchemaIndex{ix(0, "y")}},
		{Kind: TruncateTable, Table: SchemaTable{ID: 513}},
	} {
		change(d)
	}
	follow()
	a, _ := s.SchemaTableByName("a")
	b, _ := s.SchemaTableByName("b")
	if a.ID != 513 || b.ID != 512 || !bytes.Equal(r.spaces["512"], b.SpaceRow()) || !bytes.Equal(r.spaces["513"], a.SpaceRow()) {
		t.Error("the tables have not exchanged their names")
	}
	y, _ := s.SchemaIndex(512, 0)
	if y.Name != "y" || !bytes.Equal(r.indexes["512/0"], y.IndexRow()) {
		t.Error("the indexes have not exchanged their names")
	}
	if r.truncated[513] != s.TablesVersion() {
		t.Error("the truncation did not come")
	}
}

// A table that was dropped and made again with the same id, name and format while nobody looked is another table.
func TestTableOfTheSameID(t *testing.T) {
	s := bootstrapped(t)
	change := func(kind DDLKind) {
		t.Helper()
		op, _, v, err := PlanDDL(s, DDL{Kind: kind, Table: SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: 1}})
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
		if op, _, err = PlanDDLCommit(s, v); err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
	}
	change(CreateTable)
	first, local := s.SchemaTables()[0].SpaceRow(), s.TablesVersion()
	if changes, err := DictionaryChanges(s, [][]byte{first}, nil, local, nil); err != nil || len(changes) != 0 {
		t.Fatalf("nothing has happened: %v %v", changes, err)
	}
	change(DropTable)
	change(CreateTable)
	changes, err := DictionaryChanges(s, [][]byte{first}, nil, local, nil)
	if err != nil || len(changes) != 2 || changes[0].New != nil || changes[1].Old != nil {
		t.Fatalf("changes %v, %v", changes, err)
	}
}

// A table that a replicaset made before it had to follow stays until the catalog has it, and then keeps its rows; one of
// another name in its place is an error.
func TestTablesMadeBefore(t *testing.T) {
	s := bootstrapped(t)
	own := SchemaTable{ID: 512, Name: "own", Engine: "memtx", Owner: 1}
	never := func(uint32) bool { return false }
	rows := [][]byte{own.SpaceRow()}
	if changes, err := DictionaryChanges(s, rows, nil, 0, never); err != nil || len(changes) != 0 {
		t.Fatalf("not known to the catalog: %v, %v", changes, err)
	}
	op, _, v, err := PlanDDL(s, DDL{Kind: CreateTable, Table: own})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	if changes, err := DictionaryChanges(s, rows, nil, 0, never); err != nil || len(changes) != 0 {
		t.Fatalf("pending: %v, %v", changes, err)
	}
	if op, _, err = PlanDDLCommit(s, v); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, op)
	if changes, err := DictionaryChanges(s, rows, nil, 0, never); err != nil || len(changes) != 0 {
		t.Errorf("committed: %v, %v", changes, err)
	}
	if changes, err := DictionaryChanges(s, rows, nil, 0, nil); err != nil || len(changes) != 2 {
		t.Errorf("a table of before with the same id is to be replaced: %v, %v", changes, err)
	}
	own.Name = "other"
	if _, err := DictionaryChanges(s, [][]byte{own.SpaceRow()}, nil, 0, never); !errcode.Is(err, errcode.SpaceExists) {
		t.Errorf("another name: %v", err)
	}
}
