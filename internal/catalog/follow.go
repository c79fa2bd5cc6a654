package catalog

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// Dictionary is what a replicaset has of the schema, as its leader reads it, all in one version of its rows.
type Dictionary struct {
	// Followed is the version that it has come to. Prepared is that of the newest change that may have been made in advance.
	Followed, Prepared uint64
	// Tables and Sequences are the ids of those that came from the catalog, ascending. Of others the catalog was not told yet.
	Tables, Sequences []uint32
	// Spaces and Indexes are the rows of _space and _index that belong to users' tables, in any order.
	Spaces, Indexes [][]byte
	// Objects have their rows alone.
	Objects []SchemaObject
}

// FollowTask is what the leader of a data group has to do next about the schema.
type FollowTask uint8

// The tasks.
const (
	// FollowNothing: the dictionary is as it is to be.
	FollowNothing FollowTask = iota
	// FollowWait: the catalog here is older than what the group's log notes, and comes to it.
	FollowWait
	// FollowWrite: the changes are to be written, with the note of Followed, as one entry.
	FollowWrite
	// FollowPrepare: the pending change is to be made in advance, and agreed to, or refused.
	FollowPrepare
	// FollowTell: nothing is pending; what the catalog does not know is to be told (PlanTell).
	FollowTell
)

// Follow decides what is to be done, and with which changes. Errors: 10, 142, something that the replicaset made when it was
// alone stands in the way; as long as that is so, it refuses what waits for its agreement.
func Follow(s *State, d *Dictionary) (FollowTask, []DictionaryChange, error) {
	if d.IsAhead(s) {
		return FollowWait, nil, nil
	}
	p, pending := s.PendingSchema()
	if !pending || d.Prepared != p.Version { // else what is made in advance is in the dictionary already
		changes, err := d.Changes(s)
		if err != nil {
			return FollowWait, nil, err
		}
		if len(changes) > 0 || d.Followed < s.TablesVersion() {
			return FollowWrite, changes, nil
		}
	}
	switch {
	case !pending:
		return FollowTell, nil, nil
	case s.MustAgree(p.DDL):
		return FollowPrepare, nil, nil
	}
	return FollowNothing, nil, nil
}

// FollowedIDs returns the ids that a dictionary notes which has followed: all tables and sequences that are not only pending.
func FollowedIDs(s *State) (tables, sequences []uint32) {
	p, _ := s.PendingSchema()
	for _, t := range s.SchemaTables() {
		if t.CreateVersion != p.Version {
			tables = append(tables, t.ID)
		}
	}
	for _, o := range s.SchemaObjects() {
		if o.Space == SpaceSequence && o.CreateVersion != p.Version {
			sequences = append(sequences, o.Sequence)
		}
	}
	slices.Sort(sequences)
	return tables, sequences
}

// Follows reports whether a table came from the catalog.
func (d *Dictionary) Follows(table uint32) bool {
	_, found := slices.BinarySearch(d.Tables, table)
	return found
}

// Changes compares the dictionary with the catalog as DictionaryChanges does, sequences and constraints included. What goes is
// removed before tables change, what comes is made after. The row of _sequence_data of a sequence that goes is the caller's,
// and that of _truncate of a table.
func (d *Dictionary) Changes(s *State) ([]DictionaryChange, error) {
	f := objectsFollow{s: s, d: d, wanted: map[string]SchemaObject{}}
	f.pending, _ = s.PendingSchema()
	for _, o := range s.SchemaObjects() {
		if o.Operable || o.CreateVersion != f.pending.Version {
			f.wanted[f.name(o)] = o
		}
	}
	if err := f.remove(); err != nil {
		return nil, err
	}
	tables, err := DictionaryChanges(s, d.Spaces, d.Indexes, d.Followed, d.Follows)
	if err != nil {
		return nil, err
	}
	f.changes = append(f.changes, tables...)
	f.add()
	return f.changes, nil
}

// objectsFollow is the work of Changes on sequences and constraints.
type objectsFollow struct {
	s       *State
	d       *Dictionary
	pending PendingSchema
	wanted  map[string]SchemaObject
	// stay are the rows that are kept, to become what is wanted.
	stay    []SchemaObject
	changes []DictionaryChange
}

func (f *objectsFollow) name(o SchemaObject) string { return fmt.Sprint(o.Space, "/", o.Key()) }

// objectsOrder is the order in which objects can be made; they are removed in the reverse one.
var objectsOrder = []uint32{SpaceSequence, SpaceSpaceSequence, SpaceCKConstraint, SpaceFKConstraint}

func byOrder(a, b SchemaObject) int {
	return cmp.Or(slices.Index(objectsOrder, a.Space)-slices.Index(objectsOrder, b.Space), cmp.Compare(a.Key(), b.Key()))
}

// remove removes what the catalog does not have, or has anew.
func (f *objectsFollow) remove() error {
	list := slices.SortedFunc(slices.Values(f.d.Objects), func(a, b SchemaObject) int { return byOrder(b, a) })
	for _, o := range list {
		want, ok := f.wanted[f.name(o)]
		own := f.isOwn(o)
		switch {
		case own && !ok:
		case own && o.Space == SpaceSequence && want.Name != o.Name:
			return errcode.New(errcode.CreateSequence, want.Name, fmt.Sprintf("the replicaset has a sequence '%s' with the id %d", o.Name, o.Sequence))
		case !ok, f.isGone(o.Table), o.Space == SpaceFKConstraint && f.isGone(o.Parent),
			o.Space == SpaceSequence && !own && want.CreateVersion > f.d.Followed,
			o.Space == SpaceSpaceSequence && !bytes.Equal(want.Row, o.Row):
			f.changes = append(f.changes, DictionaryChange{Space: o.Space, Old: o.Row})
		default:
			f.stay = append(f.stay, o)
		}
	}
	return nil
}

// isOwn tells whether the catalog was never told of a sequence, or of the table of a constraint.
func (f *objectsFollow) isOwn(o SchemaObject) bool {
	if o.Space == SpaceSequence {
		_, found := slices.BinarySearch(f.d.Sequences, o.Sequence)
		return !found
	}
	t, known := f.s.SchemaTable(o.Table)
	return !f.d.Follows(o.Table) && (!known || t.CreateVersion == f.pending.Version)
}

// isGone tells whether a table goes, or another one of its id comes.
func (f *objectsFollow) isGone(table uint32) bool {
	if table == 0 || !f.d.Follows(table) {
		return false
	}
	t, ok := f.s.SchemaTable(table)
	return !ok || t.CreateVersion > f.d.Followed || t.CreateVersion == f.pending.Version
}

// add makes the rest what the catalog says.
func (f *objectsFollow) add() {
	for n, o := range f.stay { // names that another sequence is to have become free first
		want := f.wanted[f.name(o)]
		if o.Space != SpaceSequence || want.Name == o.Name {
			continue
		}
		passing := o
		passing.Row = renamed(o.Row, fmt.Sprintf("_renaming_%d", o.Sequence))
		f.changes = append(f.changes, DictionaryChange{Space: o.Space, Old: o.Row, New: passing.Row})
		f.stay[n] = passing
	}
	have := map[string][]byte{}
	for _, o := range f.stay {
		have[f.name(o)] = o.Row
	}
	var list []SchemaObject
	for _, o := range f.wanted {
		list = append(list, o)
	}
	slices.SortFunc(list, byOrder)
	for _, o := range list {
		if old := have[f.name(o)]; !bytes.Equal(old, o.Row) {
			f.changes = append(f.changes, DictionaryChange{Space: o.Space, Old: old, New: o.Row})
		}
	}
}

// renamed is a row of _sequence with another name, which is its third field.
func renamed(row []byte, name string) []byte {
	r := reader{b: row}
	r.array()
	r.raw()
	r.raw()
	head := row[:len(row)-len(r.b)]
	r.raw()
	return append(append(bytes.Clone(head), Key(name)...), r.b...)
}

// PlanTell returns the next change by which a replicaset tells the catalog what it has made while it was alone: sequences, then
// tables with all that belongs to them, a foreign key's parent first. A table that cannot be told, because its foreign keys
// refer to one that cannot, is left out; so is what skip holds by space and id.
func PlanTell(s *State, d *Dictionary, skip func(space, id uint32) bool) (DDL, bool) {
	for _, o := range d.Objects {
		_, known := s.SchemaObject(o.Space, o.Key())
		if _, followed := slices.BinarySearch(d.Sequences, o.Sequence); o.Space == SpaceSequence && !known && !followed && !skip(o.Space, o.Sequence) {
			return DDL{Kind: SetObject, Objects: []SchemaObject{o}}, true
		}
	}
	for _, row := range d.Spaces {
		t, err := TableOfSpaceRow(row)
		if _, known := s.SchemaTable(t.ID); err != nil || known || d.Follows(t.ID) || skip(SpaceSpace, t.ID) {
			continue
		}
		ddl := DDL{Kind: CreateTable, Table: t}
		for _, row := range d.Indexes {
			if ix, err := IndexOfIndexRow(row); err == nil && ix.TableID == t.ID {
				ddl.Indexes = append(ddl.Indexes, ix)
			}
		}
		whole := true
		for _, o := range d.Objects {
			if o.Table == t.ID && o.Space != SpaceSequence {
				ddl.Objects = append(ddl.Objects, o)
				whole = whole && s.checkReferences(o) == nil
			}
		}
		if whole {
			return ddl, true
		}
	}
	return DDL{}, false
}
