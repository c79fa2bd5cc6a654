package catalog

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// objectsMax bounds the objects that a new table may begin with.
const objectsMax = 1024

// checkObject decides whether a sequence, a binding or a constraint fits the schema as the catalog knows it. What it means is
// for engines to judge.
func (s *State) checkObject(o SchemaObject) error {
	parsed, err := ObjectOfRow(o.Space, o.Row)
	switch {
	case err != nil || parsed.Key() != o.Key():
		return errcode.New(errcode.InvalidMsgPack, "definition of a sequence or a constraint")
	case len(o.Row) > schemaValues || len(o.Name) > schemaTexts:
		return errcode.New(errcode.IllegalParams, "the definition of a sequence or a constraint is too long")
	}
	if o.Table != 0 {
		table, ok := s.SchemaTable(o.Table)
		if !ok {
			return errcode.New(errcode.NoSuchSpace, fmt.Sprintf("#%d", o.Table))
		}
		if table.IsGlobal() {
			return errcode.New(errcode.NotImplemented, "a sequence or a constraint of a global table")
		}
	}
	for _, other := range s.SchemaObjects() {
		if o.Space == SpaceSequence && other.Space == SpaceSequence && other.Name == o.Name && other.Sequence != o.Sequence {
			return errcode.New(errcode.TupleFound, "name", "_sequence")
		}
	}
	return s.checkReferences(o)
}

// checkReferences requires the sequence of a binding and the table that a foreign key refers to.
func (s *State) checkReferences(o SchemaObject) error {
	if o.Space == SpaceSpaceSequence {
		if _, ok := s.SchemaObject(SpaceSequence, fmt.Sprint(o.Sequence)); !ok {
			return errcode.New(errcode.NoSuchSequence, fmt.Sprint(o.Sequence))
		}
	}
	if o.Space == SpaceFKConstraint && o.Parent != o.Table {
		if parent, ok := s.SchemaTable(o.Parent); !ok || parent.IsGlobal() {
			return errcode.New(errcode.NoSuchSpace, fmt.Sprintf("#%d", o.Parent))
		}
	}
	return nil
}

func (s *State) checkDropObject(o SchemaObject) error {
	if _, ok := s.SchemaObject(o.Space, o.Key()); !ok {
		return errcode.New(errcode.IllegalParams, "there is no such sequence or constraint")
	}
	for _, other := range s.SchemaObjects() {
		if o.Space == SpaceSequence && other.Space == SpaceSpaceSequence && other.Sequence == o.Sequence {
			return errcode.New(errcode.DropSequence, shown(o.Name), "the sequence is in use")
		}
	}
	return nil
}

func (t *tx) putObject(o SchemaObject, v, created uint64, operable bool) error {
	o.SchemaVersion, o.CreateVersion, o.Operable = v, created, operable
	return t.put(TableSchemaObject, o.TableRow())
}

func (t *tx) deleteObject(o SchemaObject) error {
	return t.dml(DML{Kind: Delete, Table: TableSchemaObject, Key: Key(o.Space, o.Key())})
}

// prepareObject closes an object for other changes; a new one is there, not operable.
func (t *tx) prepareObject(o SchemaObject, v uint64) error {
	if old, ok := t.s.SchemaObject(o.Space, o.Key()); ok {
		return t.putObject(old, old.SchemaVersion, old.CreateVersion, false)
	}
	return t.putObject(o, v, v, false)
}

func (t *tx) commitObject(d DDL, v uint64) error {
	o := d.Objects[0]
	if d.Kind == SetObject {
		old, _ := t.s.SchemaObject(o.Space, o.Key())
		return t.putObject(o, v, old.CreateVersion, true)
	}
	if err := t.deleteObject(o); err != nil {
		return err
	}
	if o.Space == SpaceSequence {
		return t.removeRights("sequence", o.Sequence)
	}
	return nil
}

// undoObject takes back what prepareObject wrote.
func (t *tx) undoObject(o SchemaObject) error {
	v, _ := t.s.PropertyUint(PropPendingSchemaVersion)
	old, ok := t.s.SchemaObject(o.Space, o.Key())
	if !ok || old.CreateVersion == v {
		return t.deleteObject(o)
	}
	return t.putObject(old, old.SchemaVersion, old.CreateVersion, true)
}

// Changes by which rows go are committed like others, and each replicaset carries them out when it follows. When all have whom it
// could be asked, that is on record too: PropSettledSchemaVersion. Who was told that a table is empty, or new, must not lose a row that he
// writes then to a replicaset that is late.

// destroys reports whether rows go with a change.
func (d DDL) destroys() bool {
	return d.Kind == DropTable || d.Kind == TruncateTable || d.Kind == DropIndex && len(d.Indexes) == 1 && d.Indexes[0].ID == 0
}

// MustSettle reports whether who has made the change waits until no replicaset that could be asked loses rows by it, or by one
// before it, any more.
func (d DDL) MustSettle() bool { return d.destroys() || d.Kind == CreateTable }

// noteDestroyed notes that rows go with a change, unless they are in the catalog itself.
func (t *tx) noteDestroyed(d DDL, v uint64) error {
	if table, ok := t.s.SchemaTable(d.TableID()); !d.destroys() || ok && table.IsGlobal() {
		return nil
	}
	return t.put(TableProperty, UintProperty(PropDestroyedSchemaVersion, v).Row())
}

// Unsettled returns the version of the newest change by which rows go and of which it is not on record that every
// replicaset has carried it out, 0 if there is none.
func (s *State) Unsettled() (version uint64) {
	settled, _ := s.PropertyUint(PropSettledSchemaVersion)
	if version, _ = s.PropertyUint(PropDestroyedSchemaVersion); version <= settled {
		return 0
	}
	return version
}

// Settled reports whether no rows go any more by a change up to this version.
func (s *State) Settled(version uint64) bool {
	settled, _ := s.PropertyUint(PropSettledSchemaVersion)
	destroyed, _ := s.PropertyUint(PropDestroyedSchemaVersion)
	return min(destroyed, version) <= settled
}

// PlanSettle builds the request that puts on record that all changes up to a version are carried out.
func PlanSettle(s *State, version uint64) (Op, Predicate) {
	op := Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropSettledSchemaVersion, version).Row()}}}
	return op, Unchanged(s)
}
