package catalog

import (
	"bytes"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// schemaVersionsLost is how many versions of the schema are skipped by a forced recovery: the lost ones may have gone so far.
const schemaVersionsLost = 1000

// IsAhead reports whether a dictionary has come further than the catalog, or may have. In a cluster that was never recovered by
// force its leader only has to wait for the catalog (FollowWait).
func (d *Dictionary) IsAhead(s *State) bool {
	return d.Followed > s.TablesVersion() || d.Prepared >= s.NextSchemaVersion()
}

// PlanAdopt builds the operations by which a forced recovery makes the schema of a survivor's catalog that of his rows, if these
// are ahead; no operations if they are not. Nobody is left who knows better: without it the tables that the catalog does not know
// would be dropped as soon as the new cluster's versions come to those of the old one. A pending change is taken back: what of
// it was made in advance is kept as a definition like others. Owners that the catalog does not know give way to admin.
// A global table is what the catalog knows of it, if it knows it.
// Errors: 12080 a global table stands in the way of a space.
func PlanAdopt(s *State, d *Dictionary) ([]Op, error) {
	if !d.IsAhead(s) {
		return nil, nil
	}
	var ops []Op
	if p, pending := s.PendingSchema(); pending {
		op, _, err := PlanDDLAbort(s, p.Version, AbortCause{Message: "the cluster was recovered by force"})
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
		s = s.Clone()
		index, term := s.Position()
		if _, _, err := s.Execute(index, term, Item{Ops: ops}); err != nil {
			return nil, err
		}
	}
	a := adoption{s: s, d: d, version: max(d.Followed, d.Prepared, s.TablesVersion()), nextID: s.NextTableID()}
	a.remove()
	if err := a.add(); err != nil {
		return nil, err
	}
	global, _ := s.PropertyUint(PropGlobalSchemaVersion)
	for _, p := range []Property{
		UintProperty(PropTablesSchemaVersion, a.version),
		UintProperty(PropGlobalSchemaVersion, max(global, a.version)),
		UintProperty(PropNextSchemaVersion, max(s.NextSchemaVersion(), a.version+1)+schemaVersionsLost),
		UintProperty(PropNextTableID, uint64(a.nextID)),
	} {
		a.put(TableProperty, p.Row())
	}
	return append(ops, batch(a.changes)), nil
}

// adoption is the work of PlanAdopt.
type adoption struct {
	s       *State
	d       *Dictionary
	version uint64
	nextID  uint32
	changes []DML
}

func (a *adoption) put(table uint32, row []byte) {
	a.changes = append(a.changes, DML{Kind: Replace, Table: table, Tuple: row})
}

func (a *adoption) delete(table uint32, key []byte) {
	a.changes = append(a.changes, DML{Kind: Delete, Table: table, Key: key})
}

// replaced tells whether a table of the catalog is one that the dictionary knows better.
func (a *adoption) replaced(t SchemaTable) bool {
	return !t.IsGlobal() && t.CreateVersion <= a.d.Followed
}

// remove removes what add makes anew, and the rights on what it does not.
func (a *adoption) remove() {
	gone := map[string][]int64{}
	for _, t := range a.s.SchemaTables() {
		if !a.replaced(t) {
			continue
		}
		for _, i := range a.s.SchemaIndexes(t.ID) {
			a.delete(TableIndex, Key(i.TableID, i.ID))
		}
		a.delete(TableTable, Key(t.ID))
		if !a.has(t.ID) {
			gone["table"] = append(gone["table"], int64(t.ID))
		}
	}
	for _, o := range a.s.SchemaObjects() {
		if o.CreateVersion <= a.d.Followed {
			a.delete(TableSchemaObject, Key(o.Space, o.Key()))
			if o.Space == SpaceSequence && !slices.Contains(a.d.Sequences, o.Sequence) {
				gone["sequence"] = append(gone["sequence"], int64(o.Sequence))
			}
		}
	}
	for _, p := range a.s.Privileges() {
		if slices.Contains(gone[p.ObjectType], p.ObjectID) {
			a.delete(TablePrivilege, p.key())
		}
	}
}

// has tells whether the dictionary has a table, and from the catalog.
func (a *adoption) has(id uint32) bool {
	return a.d.Follows(id) && slices.ContainsFunc(a.d.Spaces, func(row []byte) bool {
		t, err := TableOfSpaceRow(row)
		return err == nil && t.ID == id && !t.IsGlobal()
	})
}

// add makes the tables, indexes and objects of the dictionary that came from the catalog of before.
func (a *adoption) add() error {
	for _, row := range a.d.Spaces {
		t, err := TableOfSpaceRow(row)
		if err != nil {
			return err
		}
		if !a.d.Follows(t.ID) {
			continue
		}
		if t.IsGlobal() { // what the catalog has of it, rows and definition, is all that is left
			a.nextID = max(a.nextID, t.ID+1)
			continue
		}
		old, known := a.s.SchemaTable(t.ID)
		if other, ok := a.s.SchemaTableByName(t.Name); ok && other.IsGlobal() || known && old.IsGlobal() {
			return errcode.New(errcode.RecoverSchema, t.Name)
		}
		t.SchemaVersion, t.CreateVersion, t.Operable, t.Owner = a.version, min(a.d.Followed, a.version), true, a.owner(t.Owner)
		if known {
			t.CreateVersion, t.TruncateVersion, t.Distribution, t.Description = old.CreateVersion, old.TruncateVersion, old.Distribution, old.Description
		}
		a.put(TableTable, t.Row())
		a.nextID = max(a.nextID, t.ID+1)
	}
	for _, row := range a.d.Indexes {
		i, err := IndexOfIndexRow(row)
		if err != nil {
			return err
		}
		if i.Operable, i.SchemaVersion = true, a.version; a.has(i.TableID) {
			a.put(TableIndex, i.Row())
		}
	}
	for _, o := range a.d.Objects {
		if o.Space == SpaceSequence && !slices.Contains(a.d.Sequences, o.Sequence) || o.Space != SpaceSequence && !a.d.Follows(o.Table) {
			continue
		}
		if o.Space == SpaceSequence {
			o.Row = a.owned(o.Row)
		}
		o.Operable, o.SchemaVersion, o.CreateVersion = true, a.version, a.d.Followed
		if old, known := a.s.SchemaObject(o.Space, o.Key()); known {
			o.CreateVersion = old.CreateVersion
		}
		a.put(TableSchemaObject, o.TableRow())
	}
	return nil
}

// owner is a user that exists: the id of one who is lost will be another's.
func (a *adoption) owner(id uint32) uint32 {
	if _, ok := a.s.User(id); !ok {
		return AdminID
	}
	return id
}

// owned is a row of _sequence with an owner that exists, which is its second field.
func (a *adoption) owned(row []byte) []byte {
	r := reader{b: row}
	r.array()
	r.raw()
	head := row[:len(row)-len(r.b)]
	id := r.uint32()
	return append(append(bytes.Clone(head), Key(a.owner(id))...), r.b...)
}
