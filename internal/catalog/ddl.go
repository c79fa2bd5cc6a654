package catalog

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// DDLKind says how the schema changes.
type DDLKind uint8

// The kinds of changes of the schema. Their numbers are in the log and never change.
const (
	CreateTable   DDLKind = 1 // Table, Indexes: a new table with the indexes that it begins with
	DropTable     DDLKind = 2 // Table.ID: the table, its indexes, and all rights on it
	TruncateTable DDLKind = 3 // Table.ID
	AlterTable    DDLKind = 4 // Table: everything but id and distribution may be another
	CreateIndex   DDLKind = 5 // Indexes, exactly one
	DropIndex     DDLKind = 6 // Indexes, exactly one, of which TableID and ID count
	AlterIndex    DDLKind = 7 // Indexes, exactly one
	SetObject     DDLKind = 8 // Objects, exactly one, of which Space and Row count: it is created, or its row becomes another
	DropObject    DDLKind = 9 // Objects, exactly one, of which Space and what is its key count
)

// DDL is a change of the schema.
type DDL struct {
	Kind    DDLKind
	Table   SchemaTable // SchemaVersion, CreateVersion, TruncateVersion and Operable are not looked at
	Indexes []SchemaIndex
	// Objects may also come with a new table: those that it begins with.
	Objects []SchemaObject
}

// AbortCause says who refused a change of the schema, and why.
type AbortCause struct {
	Code     uint32 // an errcode.Code
	Message  string
	Instance string // name, empty for an operator
}

// MustValidate reports whether rows have to be looked at before the change can be committed: then the leader of every
// replicaset that holds the table has to agree (see State.MustAgree). Otherwise who is away makes the change when he returns.
func (d DDL) MustValidate() bool {
	switch d.Kind {
	case AlterTable, CreateIndex, AlterIndex:
		return true
	case SetObject:
		return len(d.Objects) == 1 && (d.Objects[0].Space == SpaceCKConstraint || d.Objects[0].Space == SpaceFKConstraint)
	}
	return false
}

// TableID returns the id of the table that changes, 0 for one that gets its id when it is created, and for sequences.
func (d DDL) TableID() uint32 {
	if d.Kind >= SetObject && len(d.Objects) > 0 {
		return d.Objects[0].Table
	}
	if d.Kind >= CreateIndex && len(d.Indexes) > 0 {
		return d.Indexes[0].TableID
	}
	return d.Table.ID
}

// appendDDL encodes a change as an array of kind, row of the table, rows of the indexes and, if there are any, of the objects.
func appendDDL(b []byte, d DDL) []byte {
	b = msgpack.AppendUint(msgpack.AppendArrayHeader(b, 3+min(1, len(d.Objects))), uint64(d.Kind))
	b = append(b, d.Table.Row()...)
	b = msgpack.AppendArrayHeader(b, len(d.Indexes))
	for _, i := range d.Indexes {
		b = append(b, i.Row()...)
	}
	if len(d.Objects) > 0 {
		b = msgpack.AppendArrayHeader(b, len(d.Objects))
	}
	for _, o := range d.Objects {
		b = append(b, o.TableRow()...)
	}
	return b
}

func (r *reader) ddl() DDL {
	n := r.array()
	if r.err == nil && n != 3 && n != 4 {
		r.fail("array of 3 or 4")
	}
	d := DDL{Kind: DDLKind(min(r.uint(), 255)), Table: r.schemaTable()}
	for range r.count(indexesMax) {
		if r.err != nil {
			return d
		}
		d.Indexes = append(d.Indexes, r.schemaIndex())
	}
	if n == 4 {
		for range r.count(objectsMax) {
			if r.err != nil {
				return d
			}
			d.Objects = append(d.Objects, r.schemaObject())
		}
	}
	return d
}

// ddl runs the three operations of a change of the schema.
func (t *tx) ddl(op Op) error {
	switch op.Kind {
	case DDLPrepare:
		return t.prepare(op.DDL)
	case DDLCommit:
		p, err := t.pending(op.SchemaVersion)
		if err != nil {
			return err
		}
		if err := t.commit(p); err != nil {
			return err
		}
		// Users and grants may have changed since, each as a version of its own.
		global, _ := t.s.PropertyUint(PropGlobalSchemaVersion)
		if err := t.put(TableProperty, UintProperty(PropGlobalSchemaVersion, max(global, p.Version)).Row()); err != nil {
			return err
		}
		return t.endPending()
	}
	p, err := t.pending(op.SchemaVersion)
	if err != nil {
		return err
	}
	if err := t.rememberAbort(p.Version, op.Cause); err != nil {
		return err
	}
	if err := t.undo(p.DDL); err != nil {
		return err
	}
	return t.endPending()
}

// prepare writes what is to come as not operable, and notes the change as the pending one.
func (t *tx) prepare(d DDL) error {
	if p, ok := t.s.PendingSchema(); ok {
		return errcode.New(errcode.SchemaPending, p.Version)
	}
	v := t.nextSchemaVersion()
	if d.Kind == CreateTable && d.Table.ID == 0 {
		d.Table.ID = t.s.NextTableID()
		for n := range d.Indexes {
			d.Indexes = slices.Clone(d.Indexes)
			d.Indexes[n].TableID = d.Table.ID
		}
	}
	if err := t.s.checkDDL(d); err != nil {
		return err
	}
	if err := t.s.checkGlobal(d); err != nil {
		return err
	}
	if err := t.prepareRows(d, v); err != nil {
		return err
	}
	for _, p := range []Property{{PropPendingSchemaChange, appendDDL(nil, d)}, UintProperty(PropPendingSchemaVersion, v),
		UintProperty(PropNextSchemaVersion, v+1)} {
		if err := t.put(TableProperty, p.Row()); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) prepareRows(d DDL, v uint64) error {
	switch d.Kind {
	case CreateTable:
		table := d.Table
		table.SchemaVersion, table.CreateVersion, table.TruncateVersion, table.Operable = v, v, 0, false
		if err := t.put(TableTable, table.Row()); err != nil {
			return err
		}
		for _, i := range d.Indexes {
			if err := t.putIndex(i, v, false); err != nil {
				return err
			}
		}
		for _, o := range d.Objects {
			if err := t.putObject(o, v, v, false); err != nil {
				return err
			}
		}
		next := max(t.s.NextTableID(), d.Table.ID+1)
		return t.put(TableProperty, UintProperty(PropNextTableID, uint64(next)).Row())
	case CreateIndex:
		if err := t.putIndex(d.Indexes[0], v, false); err != nil {
			return err
		}
	case DropIndex:
		i, _ := t.s.SchemaIndex(d.Indexes[0].TableID, d.Indexes[0].ID)
		return t.putIndex(i, i.SchemaVersion, false)
	case SetObject, DropObject:
		return t.prepareObject(d.Objects[0], v)
	}
	return t.setOperable(d.TableID(), false)
}

func (t *tx) putIndex(i SchemaIndex, v uint64, operable bool) error {
	i.SchemaVersion, i.Operable = v, operable
	return t.put(TableIndex, i.Row())
}

func (t *tx) setOperable(id uint32, operable bool) error {
	table, _ := t.s.SchemaTable(id)
	table.Operable = operable
	return t.put(TableTable, table.Row())
}

// pending returns the pending change if it has this version.
func (t *tx) pending(v uint64) (PendingSchema, error) {
	p, ok := t.s.PendingSchema()
	if !ok || p.Version != v {
		return p, errcode.New(errcode.SchemaNotPending, v)
	}
	return p, nil
}

// commit makes the schema what the pending change says.
func (t *tx) commit(p PendingSchema) error {
	d, v := p.DDL, p.Version
	if err := t.noteDestroyed(d, v); err != nil {
		return err
	}
	if d.Kind == SetObject || d.Kind == DropObject {
		if err := t.commitObject(d, v); err != nil {
			return err
		}
		return t.put(TableProperty, UintProperty(PropTablesSchemaVersion, v).Row())
	}
	table, _ := t.s.SchemaTable(d.TableID())
	table.Operable = true
	switch d.Kind {
	case DropTable:
		return t.dropTable(d.Table.ID, v)
	case AlterTable:
		next := d.Table
		next.CreateVersion, next.TruncateVersion, next.Distribution = table.CreateVersion, table.TruncateVersion, table.Distribution
		next.Operable = true
		table = next
	case TruncateTable:
		table.TruncateVersion = v
		t.clearGlobal(table.ID)
	case CreateIndex, AlterIndex:
		if err := t.putIndex(d.Indexes[0], v, true); err != nil {
			return err
		}
	case DropIndex:
		if d.Indexes[0].ID == 0 { // the rows go with the primary key, wherever it is gone by then
			t.clearGlobal(table.ID)
			table.TruncateVersion = v
		}
		if err := t.deleteIndex(d.Indexes[0]); err != nil {
			return err
		}
	case CreateTable:
		for _, i := range d.Indexes {
			if err := t.putIndex(i, v, true); err != nil {
				return err
			}
		}
		for _, o := range d.Objects {
			if err := t.putObject(o, v, v, true); err != nil {
				return err
			}
		}
	}
	table.SchemaVersion = v
	if err := t.put(TableTable, table.Row()); err != nil {
		return err
	}
	if err := t.setGlobal(table.ID); err != nil {
		return err
	}
	return t.put(TableProperty, UintProperty(PropTablesSchemaVersion, v).Row())
}

func (t *tx) deleteIndex(i SchemaIndex) error {
	return t.dml(DML{Kind: Delete, Table: TableIndex, Key: Key(i.TableID, i.ID)})
}

// dropTable removes a table, its indexes, and the rights on it, which must not pass to a later table of the same id.
func (t *tx) dropTable(id uint32, v uint64) error {
	t.clearGlobal(id)
	t.removeGlobal(id)
	if err := t.removeTable(id); err != nil {
		return err
	}
	if err := t.removeRights("table", id); err != nil {
		return err
	}
	return t.put(TableProperty, UintProperty(PropTablesSchemaVersion, v).Row())
}

// removeRights removes the rights on an object that is gone.
func (t *tx) removeRights(objectType string, id uint32) error {
	for _, p := range t.s.Privileges() {
		if p.ObjectType == objectType && p.ObjectID == int64(id) {
			if err := t.dml(DML{Kind: Delete, Table: TablePrivilege, Key: p.key()}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) removeTable(id uint32) error {
	for _, o := range t.s.SchemaObjects() {
		if o.Table == id {
			if err := t.deleteObject(o); err != nil {
				return err
			}
		}
	}
	for _, i := range t.s.SchemaIndexes(id) {
		if err := t.deleteIndex(i); err != nil {
			return err
		}
	}
	return t.dml(DML{Kind: Delete, Table: TableTable, Key: Key(id)})
}

// undo takes back what prepare wrote.
func (t *tx) undo(d DDL) error {
	switch d.Kind {
	case CreateTable:
		return t.removeTable(d.Table.ID)
	case CreateIndex:
		if err := t.deleteIndex(d.Indexes[0]); err != nil {
			return err
		}
	case DropIndex:
		i, _ := t.s.SchemaIndex(d.Indexes[0].TableID, d.Indexes[0].ID)
		return t.putIndex(i, i.SchemaVersion, true)
	case SetObject, DropObject:
		return t.undoObject(d.Objects[0])
	}
	return t.setOperable(d.TableID(), true)
}

// endPending forgets the pending change, committed or not. An aborted one has used up its version too.
func (t *tx) endPending() error {
	for _, key := range []string{PropPendingSchemaChange, PropPendingSchemaVersion} {
		if err := t.dml(DML{Kind: Delete, Table: TableProperty, Key: Key(key)}); err != nil {
			return err
		}
	}
	return nil
}

// abortsKept is how many aborted changes are remembered, for those who wait for their outcome.
const abortsKept = 16

// abortTextMax bounds the text of a cause in bytes.
const abortTextMax = 1024

func (t *tx) rememberAbort(v uint64, c AbortCause) error {
	if len(c.Message) > abortTextMax || len(c.Instance) > generatedMax {
		return errcode.New(errcode.IllegalParams, "the cause of an abort is too long")
	}
	list := t.s.aborts()
	list = append(list[max(0, len(list)+1-abortsKept):], abortedSchema{v, c})
	b := msgpack.AppendArrayHeader(nil, len(list))
	for _, a := range list {
		b = msgpack.AppendUint(msgpack.AppendArrayHeader(b, 4), a.version)
		b = msgpack.AppendUint(b, uint64(a.cause.Code))
		b = msgpack.AppendStr(msgpack.AppendStr(b, a.cause.Message), a.cause.Instance)
	}
	return t.put(TableProperty, Property{PropAbortedSchemaChanges, b}.Row())
}

type abortedSchema struct {
	version uint64
	cause   AbortCause
}

func (r *reader) aborts() []abortedSchema {
	var out []abortedSchema
	for range r.count(abortsKept) {
		if r.err != nil {
			return nil
		}
		r.arrayOf(4)
		out = append(out, abortedSchema{r.uint(), AbortCause{Code: r.uint32(), Message: r.str(), Instance: r.str()}})
	}
	return out
}

func (s *State) aborts() []abortedSchema {
	p, ok := one(ParseProperty, s.find(TableProperty, 0, Key(PropAbortedSchemaChanges)))
	if !ok {
		return nil
	}
	r := reader{b: p.Value}
	return r.aborts()
}
