package catalog

import (
	"slices"
	"sort"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// A global table is a user's table whose rows are in the catalog itself, so that every instance has all of them. They are
// meant to be few: each change is an entry of the catalog's log, and each batch of changes copies the list of the rows.

// GlobalBytesMax bounds the rows of all global tables together; the catalog with them has to fit into a snapshot.
const GlobalBytesMax = SnapshotBytesMax / 2

// globalTablesMax bounds their number.
const globalTablesMax = 1000

// globalEngine is the engine of a global table: its rows are in memory.
const globalEngine = "memtx"

// GlobalDistribution is the distribution of a global table, {"Global": null}.
func GlobalDistribution() []byte {
	return msgpack.AppendNil(msgpack.AppendStr(msgpack.AppendMapHeader(nil, 1), "Global"))
}

// IsGlobal reports whether the rows of the table are in the catalog.
func (t SchemaTable) IsGlobal() bool { return string(t.Distribution) == string(GlobalDistribution()) }

// IsGlobalTable reports whether the rows of a table are in the catalog and clients may write them: it is a user's global
// table and has a primary key.
func (s *State) IsGlobalTable(id uint32) bool {
	if id < FirstTableID || len(s.tables) == len(builtinTables) {
		return false
	}
	_, ok := s.schema.byID[id]
	return ok
}

// Sorted returns the rows of a table in the order of one of its indexes, by that index's parts and then, unless it is
// unique, by those of the primary key. It is false if the table has no index with this id and these parts. The slice and
// the rows belong to the state and must not be changed.
func (s *State) Sorted(table, index uint32, unique bool, parts []tuple.Part) ([][]byte, bool) {
	no, ok := s.schema.byID[table]
	if !ok {
		return nil, false
	}
	for n, ix := range s.schema.tables[no].def.Indexes {
		if ix.ID == index {
			return s.tables[no].rows[n], ix.Unique == unique && slices.EqualFunc(ix.Parts, parts, samePart)
		}
	}
	return nil, false
}

// samePart reports whether two parts order rows in the same way, which have no nil there.
func samePart(a, b tuple.Part) bool {
	return a.Field == b.Field && a.Type == b.Type && a.Collation == b.Collation && a.Descending == b.Descending && a.Path == b.Path
}

// GlobalTables returns the definitions of the global tables by id: clients see each as a space that Sorted fills and PlanDML
// changes. Those that are being created, or have no primary key yet, are not among them.
func (s *State) GlobalTables() []TableDef {
	var out []TableDef
	for _, ts := range s.schema.tables {
		if ts.def.ID >= FirstTableID {
			out = append(out, ts.def)
		}
	}
	return out
}

// MustAgree reports whether the leaders of replicasets have to look at their rows before a change can be committed. A global
// table was judged when the change began, and a table that is to get its first index, the primary key, has no rows.
func (s *State) MustAgree(d DDL) bool {
	t, ok := s.SchemaTable(d.TableID())
	first := d.Kind == CreateIndex && len(d.Indexes) == 1 && d.Indexes[0].ID == 0
	return d.MustValidate() && !first && !(ok && t.IsGlobal())
}

// afterDDL returns the table and its indexes as a change will leave them.
func (s *State) afterDDL(d DDL) (SchemaTable, []SchemaIndex) {
	if d.Kind == CreateTable {
		return d.Table, d.Indexes
	}
	t, _ := s.SchemaTable(d.TableID())
	if d.Kind == AlterTable {
		distribution := t.Distribution
		t = d.Table
		t.Distribution = distribution
	}
	indexes := s.SchemaIndexes(t.ID)
	if d.Kind == CreateIndex || d.Kind == AlterIndex || d.Kind == DropIndex {
		indexes = slices.DeleteFunc(indexes, func(i SchemaIndex) bool { return i.ID == d.Indexes[0].ID })
	}
	if d.Kind == CreateIndex || d.Kind == AlterIndex {
		indexes = append(indexes, d.Indexes[0])
	}
	return t, indexes
}

// checkGlobal judges a change of a global table: whether there can be such a table, and whether its rows fit.
func (s *State) checkGlobal(d DDL) error {
	if d.Kind >= SetObject {
		return nil
	}
	t, indexes := s.afterDDL(d)
	if !t.IsGlobal() || d.Kind == DropTable || d.Kind == TruncateTable {
		return nil
	}
	if t.Engine != globalEngine || len(t.Flags) > 0 {
		code := errcode.AlterSpace
		if d.Kind == CreateTable {
			code = errcode.CreateSpace
		}
		return errcode.New(code, shown(t.Name), "a global table has engine memtx and no options but its distribution")
	}
	if d.Kind == CreateTable && len(s.GlobalTables()) >= globalTablesMax {
		return errcode.New(errcode.CreateSpace, shown(t.Name), "there are too many global tables")
	}
	ts, err := compileGlobal(t, indexes)
	if err != nil || len(indexes) == 0 {
		return err
	}
	_, err = ts.build(s.rowsOf(t.ID))
	return err
}

func (s *State) rowsOf(table uint32) [][]byte {
	no, ok := s.schema.byID[table]
	if !ok {
		return nil
	}
	return s.tables[no].rows[0]
}

// compileGlobal makes the schema of a global table of its rows in _pico_table and _pico_index. Without a primary key there
// are no rows, and the state has no such table.
func compileGlobal(t SchemaTable, indexes []SchemaIndex) (tableSchema, error) {
	fields, err := tuple.ParseFormat(appendRaw(nil, t.Format, emptyArray))
	if err != nil {
		return tableSchema{}, err
	}
	for n, f := range fields {
		if slices.ContainsFunc(fields[:n], func(o tuple.Field) bool { return o.Name == f.Name }) {
			return tableSchema{}, errcode.New(errcode.SpaceFieldIsDuplicate, shown(f.Name))
		}
	}
	indexes = slices.Clone(indexes)
	slices.SortFunc(indexes, func(a, b SchemaIndex) int { return int(a.ID) - int(b.ID) })
	if len(indexes) > 0 && indexes[0].ID != 0 {
		return tableSchema{}, errcode.New(errcode.AlterSpace, shown(t.Name), "can not add a secondary key before primary")
	}
	ts := tableSchema{def: TableDef{ID: t.ID, Name: t.Name, Fields: fields}, isValid: func([]byte) error { return nil }}
	for _, i := range indexes {
		ix, err := globalIndex(t, i)
		if err != nil {
			return tableSchema{}, err
		}
		key, err := tuple.NewKeyDef(ix.Parts)
		if err != nil {
			return tableSchema{}, errcode.New(errcode.ModifyIndex, shown(i.Name), shown(t.Name), err)
		}
		order := key
		if !ix.Unique {
			order = key.Merge(ts.keys[0])
		}
		ts.def.Indexes = append(ts.def.Indexes, ix)
		ts.keys, ts.orders, ts.nkeys = append(ts.keys, key), append(ts.orders, order), append(ts.nkeys, len(ix.Parts))
	}
	ts.format, err = tuple.NewFormat(fields, t.FieldCount, ts.keys)
	return ts, err
}

// globalIndex reads the definition of an index of a global table: a tree, without parts that may be missing.
func globalIndex(t SchemaTable, i SchemaIndex) (IndexDef, error) {
	refuse := func(text string) (IndexDef, error) {
		return IndexDef{}, errcode.New(errcode.ModifyIndex, shown(i.Name), shown(t.Name), text)
	}
	if !strings.EqualFold(i.Type, "tree") {
		return IndexDef{}, errcode.New(errcode.IndexType, shown(i.Name), shown(t.Name))
	}
	unique, err := isUnique(i)
	if err != nil {
		return refuse("options are not those of an index")
	}
	parts, err := tuple.ParseParts(appendRaw(nil, i.Parts, emptyArray))
	switch {
	case err != nil:
		return IndexDef{}, err
	case len(parts) == 0:
		return refuse("part count must be positive")
	case i.ID == 0 && !unique:
		return refuse("primary key must be unique")
	}
	for n, p := range parts {
		switch {
		case p.Field > tuple.FieldNoMax:
			return refuse("field no is too big")
		case p.Nullable || p.Path != "":
			return refuse("a global table has no indexes over nullable fields or paths")
		case p.Type == tuple.Any || p.Type == tuple.Array || p.Type == tuple.Map:
			return refuse("field type '" + p.Type.String() + "' is not supported")
		case slices.ContainsFunc(parts[:n], func(q tuple.Part) bool { return q.Field == p.Field }):
			return refuse("same key part is indexed twice")
		}
	}
	return IndexDef{ID: i.ID, Name: i.Name, Unique: unique, Parts: parts}, nil
}

// isUnique reads the option that counts; it is true unless it is given.
func isUnique(i SchemaIndex) (bool, error) {
	r := reader{b: appendRaw(nil, i.Opts, emptyMap)}
	unique := true
	for range r.mapLen() {
		if r.err != nil {
			break
		}
		if key := r.str(); key == "unique" {
			unique = r.bool()
		} else {
			r.raw()
		}
	}
	return unique, r.end()
}

// build puts rows into the order of every index, and refuses rows that do not fit: those errors that a client would get who
// inserted them.
func (ts *tableSchema) build(rows [][]byte) (*table, error) {
	for _, row := range rows {
		if err := ts.check(row); err != nil {
			return nil, err
		}
	}
	t := &table{}
	for ix, order := range ts.orders {
		list := slices.Clone(rows)
		sort.Slice(list, func(a, b int) bool { return order.Compare(list[a], list[b]) < 0 })
		for n := 1; n < len(list); n++ {
			if order.Compare(list[n-1], list[n]) == 0 {
				return nil, errcode.New(errcode.TupleFound, ts.def.Indexes[ix].Name, ts.def.Name)
			}
		}
		t.rows = append(t.rows, list)
	}
	return t, nil
}

// setGlobal makes the state's table what _pico_table and _pico_index say, with the rows that it has.
func (t *tx) setGlobal(id uint32) error {
	def, _ := t.s.SchemaTable(id)
	if !def.IsGlobal() {
		return nil
	}
	ts, err := compileGlobal(def, t.s.SchemaIndexes(id))
	if err != nil {
		return err
	}
	if len(ts.def.Indexes) == 0 {
		t.removeGlobal(id)
		return nil
	}
	built, err := ts.build(t.s.rowsOf(id))
	if err != nil {
		return err
	}
	t.removeGlobal(id)
	t.s.insertTable(ts, built)
	return nil
}

// insertTable adds a table at its place by id. The schema is shared with other states and so replaced.
func (s *State) insertTable(ts tableSchema, rows *table) {
	at := sort.Search(len(s.schema.tables), func(n int) bool { return s.schema.tables[n].def.ID >= ts.def.ID })
	s.schema = indexed(slices.Insert(slices.Clone(s.schema.tables), at, ts))
	s.tables = slices.Insert(slices.Clone(s.tables), at, rows)
}

// removeGlobal takes a global table and its rows out of the state, if it is there.
func (t *tx) removeGlobal(id uint32) {
	no, ok := t.s.schema.byID[id]
	if !ok {
		return
	}
	t.s.schema = indexed(slices.Delete(slices.Clone(t.s.schema.tables), no, no+1))
	t.s.tables = slices.Delete(slices.Clone(t.s.tables), no, no+1)
	delete(t.owned, id)
}

// indexed is a schema of these tables.
func indexed(tables []tableSchema) *schema {
	s := &schema{tables: tables, byID: make(map[uint32]int, len(tables))}
	for no := range tables {
		s.byID[tables[no].def.ID] = no
	}
	return s
}

// clearGlobal removes all rows of a global table, each as a change.
func (t *tx) clearGlobal(id uint32) {
	no, ok := t.s.schema.byID[id]
	if !ok {
		return
	}
	for _, row := range t.s.tables[no].rows[0] {
		t.s.globalBytes -= len(row)
		t.changes = append(t.changes, Change{Table: id, Old: row})
	}
	t.s.tables[no] = &table{rows: make([][][]byte, len(t.s.schema.tables[no].orders))}
	delete(t.owned, id)
}

// setGlobals makes the tables that a snapshot's rows of _pico_table and _pico_index describe, as they were when it was made.
func (t *tx) setGlobals() error {
	pending, _ := t.s.PendingSchema()
	for _, def := range t.s.SchemaTables() {
		if _, there := t.s.schema.byID[def.ID]; there || !def.IsGlobal() || def.CreateVersion == pending.Version {
			continue
		}
		indexes := slices.DeleteFunc(t.s.SchemaIndexes(def.ID), func(i SchemaIndex) bool {
			return !i.Operable && i.SchemaVersion == pending.Version
		})
		ts, err := compileGlobal(def, indexes)
		if err != nil {
			return err
		}
		if len(indexes) == 0 {
			continue
		}
		t.s.insertTable(ts, &table{rows: make([][][]byte, len(ts.orders))})
	}
	return nil
}
