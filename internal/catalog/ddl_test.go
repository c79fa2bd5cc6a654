package catalog

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"pgregory.net/rapid"
)

var ddlKinds = map[string]DDLKind{"create-table": CreateTable, "drop-table": DropTable, "truncate": TruncateTable,
	"alter-table": AlterTable, "create-index": CreateIndex, "drop-index": DropIndex, "alter-index": AlterIndex}

// schema understands: ddl KIND ROW..., where a row is one of _space or _index as clients write it (of which [ID] is enough
// to drop or truncate a table, and [ID,IID] to drop an index); commit VERSION; abort VERSION TEXT; takeback VERSION; outcome VERSION;
// operable ID.
func (w *world) schema(args []string) string {
	version, _ := strconv.ParseUint(args[1], 10, 64)
	var op Op
	var guard Predicate
	var err error
	switch args[0] {
	case "outcome":
		done, err := w.s.SchemaOutcome(version)
		if err != nil {
			return show(err)
		}
		return fmt.Sprintf("done: %v\n", done)
	case "operable":
		if err := CheckTableOperable(w.s, uint32(version)); err != nil {
			return show(err)
		}
		return "yes\n"
	case "commit":
		op, guard, err = PlanDDLCommit(w.s, version)
	case "takeback":
		op, guard, err = PlanDDLTakeBack(w.s, version, "the script")
	case "abort":
		op, guard, err = PlanDDLAbort(w.s, version, AbortCause{Code: 3, Message: args[2], Instance: "default_1_1"})
	case "ddl":
		d := DDL{Kind: ddlKinds[strings.TrimPrefix(args[1], "global-")]}
		for _, row := range args[2:] {
			if err := d.add(fromJSON(row)); err != nil {
				return err.Error() + "\n"
			}
		}
		if strings.HasPrefix(args[1], "global-") {
			d.Table.Distribution = GlobalDistribution()
		}
		op, guard, version, err = PlanDDL(w.s, d)
	}
	if err != nil {
		return show(err)
	}
	guard.Term = w.term
	return fmt.Sprintf("version %d, ", version) + w.propose(&guard, op)
}

// add takes a row of _space or _index, or a part of one.
func (d *DDL) add(row []byte) error {
	r := reader{b: row}
	switch r.array() {
	case 1:
		d.Table.ID = r.uint32()
		return r.end()
	case 2:
		d.Indexes = append(d.Indexes, SchemaIndex{TableID: r.uint32(), ID: r.uint32()})
		return r.end()
	case 6:
		i, err := IndexOfIndexRow(row)
		d.Indexes = append(d.Indexes, i)
		return err
	}
	var err error
	d.Table, err = TableOfSpaceRow(row)
	return err
}

// What a client writes into _space and _index is what a replicaset gets back from the catalog.
func TestRowsOfTheDictionaryComeBack(t *testing.T) {
	space := fromJSON(`[512,1,"t","memtx",3,{"temporary":false},[{"name":"id","type":"unsigned"}]]`)
	table, err := TableOfSpaceRow(space)
	if err != nil || !bytes.Equal(table.SpaceRow(), space) {
		t.Errorf("space comes back as %x, %v", table.SpaceRow(), err)
	}
	index := fromJSON(`[512,0,"primary","tree",{"unique":true},[[0,"unsigned"]]]`)
	ix, err := IndexOfIndexRow(index)
	if err != nil || !bytes.Equal(ix.IndexRow(), index) {
		t.Errorf("index comes back as %x, %v", ix.IndexRow(), err)
	}
	for _, bad := range []string{`[512,1,"t","memtx",3,[],[]]`, `[512]`, `[512,1,"t","memtx",3,{},{}]`, `[-1,1,"t","memtx",3,{},[]]`} {
		if _, err := TableOfSpaceRow(fromJSON(bad)); err == nil {
			t.Errorf("%s is taken for a row of _space", bad)
		}
	}
}

// globalTestTable is the table that is global in random tests.
const globalTestTable = 514

func drawDDL(t *rapid.T) Op {
	id := rapid.Uint32Range(512, 514).Draw(t, "table")
	switch rapid.IntRange(0, 2).Draw(t, "ddl") {
	case 0:
		return Op{Kind: DDLCommit, SchemaVersion: rapid.Uint64Range(1, 12).Draw(t, "version")}
	case 1:
		return Op{Kind: DDLAbort, SchemaVersion: rapid.Uint64Range(1, 12).Draw(t, "version"), Cause: AbortCause{3, "no", "i1"}}
	}
	d := DDL{Kind: DDLKind(rapid.IntRange(0, 8).Draw(t, "kind"))}
	index := SchemaIndex{TableID: id, ID: rapid.Uint32Range(0, 2).Draw(t, "index"), Type: "tree",
		Name: rapid.SampledFrom([]string{"pk", "sk", ""}).Draw(t, "name")}
	if id == globalTestTable {
		index.Parts = fromJSON(fmt.Sprintf(`[[%d,"unsigned"]]`, index.ID))
	}
	switch d.Kind {
	case CreateTable, AlterTable:
		d.Table = SchemaTable{ID: id, Name: rapid.SampledFrom([]string{"t", "u", "v", ""}).Draw(t, "name"), Engine: "memtx", Owner: 1}
		if id == globalTestTable {
			d.Table.Distribution = GlobalDistribution()
		}
		if d.Kind == CreateTable && rapid.Bool().Draw(t, "keyed") {
			d.Indexes = []SchemaIndex{index}
		}
	case DropTable, TruncateTable:
		d.Table.ID = id
	default:
		d.Indexes = []SchemaIndex{index}
	}
	return Op{Kind: DDLPrepare, DDL: d}
}

// Changes of the schema begin and end in any order, users come and go beside them: there is at most one at a time, each ends
// once, an aborted one leaves what was before, versions only rise and are never used twice, and what is not operable is
// exactly what the pending change is about.
func TestSchemaStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bootstrapped(t)
		index, term := s.Position()
		before, global := "", uint64(0)
		last, _ := s.PropertyUint(PropNextSchemaVersion)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			op := drawDDL(t)
			pending, was := s.PendingSchema()
			if was && op.Kind != DDLPrepare && rapid.Bool().Draw(t, "right") {
				op.SchemaVersion = pending.Version
			}
			if rapid.IntRange(0, 9).Draw(t, "user") == 0 {
				op = Op{Kind: CreateUser, User: User{Name: fmt.Sprint("u", s.Len(TableUser)), Owner: 1}}
			}
			ended := op.Kind != DDLPrepare && op.Kind != CreateUser
			schema := schemaText(s)
			_, _, err := s.Execute(index+1, term, Item{Ops: []Op{op}})
			now, is := s.PendingSchema()
			switch {
			case was && op.Kind == DDLPrepare && !errcode.Is(err, errcode.SchemaPending):
				t.Fatalf("a second change begins: %v", err)
			case ended && (!was || pending.Version != op.SchemaVersion) && !errcode.Is(err, errcode.SchemaNotPending):
				t.Fatalf("a change that is not pending ends: %v", err)
			case err != nil:
				if schemaText(s) != schema {
					t.Fatalf("refused, and yet: %v", err)
				}
				continue
			}
			index++
			switch {
			case op.Kind == DDLPrepare:
				before = schema
				if !is || now.Version < last {
					t.Fatalf("version %d after %d", now.Version, last)
				}
			case op.Kind == DDLAbort && schemaText(s) != before:
				t.Fatalf("aborted:\n%sbefore:\n%s", schemaText(s), before)
			}
			if done, err := s.SchemaOutcome(pending.Version); was && ended && (!done || (err != nil) != (op.Kind == DDLAbort)) {
				t.Fatalf("outcome of %d is %v, %v", pending.Version, done, err)
			}
			last, _ = s.PropertyUint(PropNextSchemaVersion)
			older := global
			if global, _ = s.PropertyUint(PropGlobalSchemaVersion); global < older {
				t.Fatalf("the schema goes back from version %d to %d", older, global)
			}
			checkSchema(t, s)
		}
	})
}

// schemaText renders the two tables.
func schemaText(s *State) string {
	var b bytes.Buffer
	for _, id := range []uint32{TableTable, TableIndex} {
		s.Ascend(id, func(row []byte) bool {
			text, _ := msgpack.ToJSON(nil, row)
			b.Write(append(text, '\n'))
			return true
		})
	}
	return b.String()
}

func checkSchema(t *rapid.T, s *State) {
	p, pending := s.PendingSchema()
	for _, table := range s.SchemaTables() {
		touched := pending && p.DDL.TableID() == table.ID
		if table.Operable == touched && p.DDL.Kind != DropIndex {
			t.Fatalf("table %d is operable: %v", table.ID, table.Operable)
		}
		for _, i := range s.SchemaIndexes(table.ID) {
			if !i.Operable && !touched {
				t.Fatalf("index %d of table %d is not operable", i.ID, table.ID)
			}
		}
		if table.ID >= s.NextTableID() {
			t.Fatalf("id %d will be given again", table.ID)
		}
	}
	for no := range s.schema.tables {
		if s.schema.tables[no].def.ID != TableIndex {
			continue
		}
		for _, row := range s.tables[no].rows[0] {
			if _, ok := s.SchemaTable(must(ParseSchemaIndex, row).TableID); !ok {
				t.Fatal("an index of no table")
			}
		}
	}
	next, _ := s.PropertyUint(PropNextSchemaVersion)
	global, _ := s.PropertyUint(PropGlobalSchemaVersion)
	if global >= next || s.TablesVersion() > global {
		t.Fatalf("versions: tables %d, global %d, next %d", s.TablesVersion(), global, next)
	}
}

// A change of the schema and one of users that were both planned on one state conflict, as do two changes of the schema.
func TestSchemaChangesConflict(t *testing.T) {
	table := func(id uint32, name string) DDL {
		return DDL{Kind: CreateTable, Table: SchemaTable{ID: id, Name: name, Engine: "memtx", Owner: 1}}
	}
	for what, first := range map[string]Op{
		"a change of the schema": {Kind: DDLPrepare, DDL: table(513, "u")},
		"a new user":             {Kind: CreateUser, User: User{Name: "ann", Owner: 1}},
	} {
		s := bootstrapped(t)
		index, term := s.Position()
		h := NewHistory(index, term)
		op, guard, _, err := PlanDDL(s, table(512, "t"))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckCAS(s, h, term, guard, []Op{op}); err != nil {
			t.Fatal(err)
		}
		_, changes, err := s.Execute(index+1, term, Item{Ops: []Op{first}})
		if err != nil {
			t.Fatal(err)
		}
		h.Note(index+1, term, changes)
		for _, p := range []Predicate{guard, {Index: index, Term: term}} { // it is guarded without being told so
			if err := CheckCAS(s, h, term, p, []Op{op}); !errcode.Is(err, errcode.CASConflictFound) {
				t.Errorf("after %s: %v", what, err)
			}
		}
	}
}

// The outcomes of the newest aborted changes are known, of older ones it is said that they are not.
func TestOutcomesAreRememberedForAWhile(t *testing.T) {
	s := bootstrapped(t)
	var versions []uint64
	for range abortsKept + 2 {
		op, _, v, err := PlanDDL(s, DDL{Kind: CreateTable, Table: SchemaTable{Name: "t", Engine: "memtx", Owner: 1}})
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
		end, _, err := PlanDDLAbort(s, v, AbortCause{Message: string(bytes.Repeat([]byte("x"), 5000))})
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, end)
		versions = append(versions, v)
	}
	for n, v := range versions {
		want := errcode.SchemaAborted
		if n < 2 {
			want = errcode.UnknownOutcome
		}
		if done, err := s.SchemaOutcome(v); !done || !errcode.Is(err, want) {
			t.Errorf("change %d: %v, %v", n, done, err)
		}
	}
	if s.Len(TableTable) != 0 {
		t.Error("an aborted table is there")
	}
}
