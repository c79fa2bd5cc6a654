package catalog

import (
	"bytes"
	"fmt"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The system spaces of Tarantool whose rows are objects of the schema beside tables and indexes.
const (
	SpaceSequence      uint32 = 284 // _sequence
	SpaceSpaceSequence uint32 = 340 // _space_sequence
	SpaceFKConstraint  uint32 = 356 // _fk_constraint
	SpaceCKConstraint  uint32 = 364 // _ck_constraint
)

// SchemaObject is a row of _pico_schema_object: a sequence, the binding of a table to one, a check constraint or a foreign
// key, as all replicasets shall have it. What there is of it beside its row is read from the row.
type SchemaObject struct {
	Space uint32 // the system space that a replicaset keeps the row in
	Row   []byte // the row of that space
	// SchemaVersion is that of the last change. CreateVersion is that in which it was created: a sequence with the same id
	// and another one is another sequence, which begins anew.
	SchemaVersion, CreateVersion uint64
	Operable                     bool // no change of it is pending

	Table    uint32 // the table that it is about; 0 for a sequence
	Parent   uint32 // the table that a foreign key refers to
	Sequence uint32 // of a sequence its id, of a binding that of its sequence
	Name     string // empty for a binding
}

// ObjectOfRow makes an object of a row of its system space. Other spaces and rows whose key cannot be read are errors.
func ObjectOfRow(space uint32, row []byte) (SchemaObject, error) {
	o := SchemaObject{Space: space, Row: bytes.Clone(row)}
	r := reader{b: row}
	n := r.array()
	want := 0
	switch space {
	case SpaceSequence:
		o.Sequence, want = r.uint32(), 9
		r.uint32()
		o.Name = r.str()
	case SpaceSpaceSequence:
		o.Table, o.Sequence, want = r.uint32(), r.uint32(), 5
	case SpaceCKConstraint:
		o.Table, o.Name, want = r.uint32(), r.str(), 6
	case SpaceFKConstraint:
		o.Name, o.Table, o.Parent, want = r.str(), r.uint32(), r.uint32(), 9
	default:
		return o, fmt.Errorf("%w: space %d has no objects of the schema", errBadRow, space)
	}
	if r.err == nil && n < want {
		r.fail(fmt.Sprintf("array of %d", want))
	}
	for len(r.b) > 0 && r.err == nil {
		r.raw()
	}
	return o, r.end()
}

// Key is what tells objects of one system space apart.
func (o SchemaObject) Key() string {
	switch o.Space {
	case SpaceSequence:
		return fmt.Sprint(o.Sequence)
	case SpaceSpaceSequence:
		return fmt.Sprint(o.Table)
	}
	return fmt.Sprintf("%d/%s", o.Table, o.Name)
}

// Enabled reports whether a check constraint is computed; other objects are always in effect.
func (o SchemaObject) Enabled() bool {
	_, enabled := o.switched()
	return o.Space != SpaceCKConstraint || enabled
}

// switched cuts the field of a row of _ck_constraint off that tells whether it is enabled.
func (o SchemaObject) switched() (rest []byte, enabled bool) {
	r := reader{b: o.Row}
	r.array()
	for range 5 {
		r.raw()
	}
	rest = o.Row[:len(o.Row)-len(r.b)]
	return rest, r.bool()
}

// SwitchesCheck reports whether the second of two rows is the first one, a check constraint, enabled or disabled.
func SwitchesCheck(old, o SchemaObject) bool {
	a, _ := old.switched()
	b, _ := o.switched()
	return old.Space == SpaceCKConstraint && o.Space == SpaceCKConstraint && bytes.Equal(a, b)
}

// TableRow encodes the object as a tuple of _pico_schema_object.
func (o SchemaObject) TableRow() []byte {
	b := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), uint64(o.Space))
	b = append(msgpack.AppendStr(b, o.Key()), o.Row...)
	b = msgpack.AppendUint(msgpack.AppendBool(b, o.Operable), o.SchemaVersion)
	return msgpack.AppendUint(b, o.CreateVersion)
}

// ParseSchemaObject decodes a row of _pico_schema_object. Its byte strings are copies.
func ParseSchemaObject(row []byte) (SchemaObject, error) {
	r := reader{b: row}
	o := r.schemaObject()
	return o, r.end()
}

func (r *reader) schemaObject() SchemaObject {
	r.arrayOf(6)
	space, key, raw := r.uint32(), r.str(), r.raw()
	if r.err != nil {
		return SchemaObject{}
	}
	o, err := ObjectOfRow(space, raw)
	if err != nil || o.Key() != key {
		r.fail("row of a system space, and its key")
		return SchemaObject{}
	}
	o.Operable, o.SchemaVersion, o.CreateVersion = r.bool(), r.uint(), r.uint()
	return o
}

// SchemaObject returns the object of a system space with a key, one that is being created included.
func (s *State) SchemaObject(space uint32, key string) (SchemaObject, bool) {
	return one(ParseSchemaObject, s.find(TableSchemaObject, 0, Key(space, key)))
}

// SchemaObjects returns all objects by system space and key.
func (s *State) SchemaObjects() []SchemaObject { return all(s, TableSchemaObject, ParseSchemaObject) }
