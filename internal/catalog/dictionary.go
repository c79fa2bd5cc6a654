package catalog

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The system spaces of Tarantool that a replicaset's dictionary consists of.
const (
	SpaceSpace    uint32 = 280 // _space
	SpaceIndex    uint32 = 288 // _index
	SpaceTruncate uint32 = 330 // _truncate
)

// DictionaryChange is one row of a replicaset's dictionary that has to change. Old is nil for a new row, New for one that
// goes. In SpaceTruncate New is [id of the table, version], and Old is nil.
type DictionaryChange struct {
	Space    uint32
	Old, New []byte
}

// DictionaryChanges compares the dictionary of a replicaset, which has come to the schema version local, with the tables of
// the catalog, and returns what has to change, in an order in which the rows can be written one after the other. The leader
// of its data group writes all of it, together with TablesVersion as its new version, as one entry. What is pending is not
// among it. Of a global table the dictionary has the definition alone. spaces and indexes are the rows of _space and _index that belong to users' tables, in any order.
//
// Followed tells of which of these tables the replicaset has followed the catalog before; nil: of all. Another one was made
// when the replicaset was the only one. It stays as long as the catalog does not know it, becomes what the catalog says of
// a table with its id and name, rows and all, and is an error (10) if the catalog's table with its id has another name or is global.
func DictionaryChanges(s *State, spaces, indexes [][]byte, local uint64, followed func(id uint32) bool) ([]DictionaryChange, error) {
	d := dictionary{local: local, tables: map[uint32]SchemaTable{}, indexes: map[uint32][]SchemaIndex{}, followed: followed}
	for _, row := range spaces {
		t, err := TableOfSpaceRow(row)
		if err != nil {
			return nil, fmt.Errorf("catalog: row of _space: %w", err)
		}
		d.tables[t.ID] = t
	}
	for _, row := range indexes {
		i, err := IndexOfIndexRow(row)
		if err != nil {
			return nil, fmt.Errorf("catalog: row of _index: %w", err)
		}
		d.indexes[i.TableID] = append(d.indexes[i.TableID], i)
	}
	pending, _ := s.PendingSchema()
	if err := d.drop(s, pending.Version); err != nil {
		return nil, err
	}
	d.freeNames(s, pending.Version)
	for _, t := range s.SchemaTables() {
		if t.CreateVersion != pending.Version {
			d.follow(t, s.SchemaIndexes(t.ID), pending.Version)
		}
	}
	return d.changes, nil
}

// dictionary is a dictionary on its way to what the catalog says.
type dictionary struct {
	local    uint64
	followed func(id uint32) bool
	tables   map[uint32]SchemaTable
	indexes  map[uint32][]SchemaIndex
	changes  []DictionaryChange
}

// emit notes a change unless it is none.
func (d *dictionary) emit(space uint32, old, row []byte) {
	if !bytes.Equal(old, row) {
		d.changes = append(d.changes, DictionaryChange{space, old, row})
	}
}

// drop removes the tables that are gone, and those of which the catalog has another one with the same id.
// Tables that the replicaset made by itself are kept, see DictionaryChanges.
func (d *dictionary) drop(s *State, pending uint64) error {
	for _, id := range sortedKeys(d.tables) {
		t, ok := s.SchemaTable(id)
		own := d.followed != nil && !d.followed(id)
		switch {
		case own && (!ok || t.CreateVersion == pending):
			delete(d.tables, id)
			continue
		case own && (t.Name != d.tables[id].Name || t.IsGlobal()):
			return errcode.New(errcode.SpaceExists, fmt.Sprintf("%s' with the id %d of '%s", d.tables[id].Name, id, t.Name))
		case own, ok && t.CreateVersion <= d.local && t.CreateVersion != pending:
			continue
		}
		d.dropIndexes(id, func(SchemaIndex) bool { return true })
		d.emit(SpaceSpace, d.tables[id].SpaceRow(), nil)
		delete(d.tables, id)
	}
	return nil
}

// dropIndexes removes indexes of a table, the primary key last.
func (d *dictionary) dropIndexes(table uint32, gone func(SchemaIndex) bool) {
	list := d.indexes[table]
	slices.SortFunc(list, func(a, b SchemaIndex) int { return int(b.ID) - int(a.ID) })
	var rest []SchemaIndex
	for _, i := range list {
		if gone(i) {
			d.emit(SpaceIndex, i.IndexRow(), nil)
		} else {
			rest = append(rest, i)
		}
	}
	d.indexes[table] = rest
}

// freeNames gives passing names to tables whose names others are to have.
func (d *dictionary) freeNames(s *State, pending uint64) {
	for _, t := range s.SchemaTables() {
		if t.CreateVersion == pending || d.tables[t.ID].Name == t.Name {
			continue
		}
		for _, id := range sortedKeys(d.tables) {
			if other := d.tables[id]; id != t.ID && other.Name == t.Name {
				passing := other
				passing.Name = fmt.Sprintf("_renaming_%d", id)
				d.emit(SpaceSpace, other.SpaceRow(), passing.SpaceRow())
				d.tables[id] = passing
			}
		}
	}
}

// follow makes one table what the catalog says.
func (d *dictionary) follow(t SchemaTable, indexes []SchemaIndex, pending uint64) {
	was, known := d.tables[t.ID]
	isKey := func(i SchemaIndex) bool { return i.ID == 0 }
	if known && !t.IsGlobal() && t.TruncateVersion > d.local && slices.ContainsFunc(d.indexes[t.ID], isKey) && slices.ContainsFunc(indexes, isKey) {
		// Without its primary key, before or now, a table has no rows.
		row := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(t.ID))
		d.emit(SpaceTruncate, nil, msgpack.AppendUint(row, t.TruncateVersion))
	}
	indexes = slices.DeleteFunc(indexes, func(i SchemaIndex) bool { return !i.Operable && i.SchemaVersion == pending })
	wanted := func(id uint32) int {
		return slices.IndexFunc(indexes, func(i SchemaIndex) bool { return i.ID == id })
	}
	d.dropIndexes(t.ID, func(i SchemaIndex) bool { return wanted(i.ID) < 0 })
	if known {
		d.emit(SpaceSpace, was.SpaceRow(), t.SpaceRow())
	} else {
		d.emit(SpaceSpace, nil, t.SpaceRow())
	}
	have := d.indexes[t.ID]
	for n, i := range have { // names that another index is to have become free first
		taken := slices.ContainsFunc(indexes, func(o SchemaIndex) bool { return o.ID != i.ID && o.Name == i.Name })
		if taken {
			passing := i
			passing.Name = fmt.Sprintf("_renaming_%d", i.ID)
			d.emit(SpaceIndex, i.IndexRow(), passing.IndexRow())
			have[n] = passing
		}
	}
	for _, i := range indexes {
		var old []byte
		if n := slices.IndexFunc(have, func(o SchemaIndex) bool { return o.ID == i.ID }); n >= 0 {
			old = have[n].IndexRow()
		}
		d.emit(SpaceIndex, old, i.IndexRow())
	}
}

func sortedKeys(m map[uint32]SchemaTable) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
