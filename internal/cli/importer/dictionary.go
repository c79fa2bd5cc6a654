package importer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// keyFields are the fields of the primary keys of the system spaces that mean something to an import.
var keyFields = map[uint32][]int{
	dictionary.SpaceSchema: {0}, dictionary.SpaceCollation: {0}, dictionary.SpaceSpace: {0}, dictionary.SpaceSequence: {0},
	dictionary.SpaceSequenceData: {0}, dictionary.SpaceIndex: {0, 1}, dictionary.SpaceFunc: {0}, dictionary.SpaceUser: {0},
	dictionary.SpacePriv: {1, 2, 3}, dictionary.SpaceCluster: {0}, dictionary.SpaceTrigger: {0}, dictionary.SpaceTruncate: {0},
	dictionary.SpaceSpaceSequence: {0}, dictionary.SpaceFKConstraint: {0, 1}, dictionary.SpaceCKConstraint: {0, 1},
	dictionary.SpaceFuncIndex: {0, 1},
}

// errForeignRow says that a row of a system space does not have the fields that it has in every known version.
var errForeignRow = errors.New("the row does not have the fields of this system space")

// state is what the source's system spaces hold at some point of its history.
type state struct {
	rows map[uint32]map[string][]byte
	// births counts how often a space with the number was made: a number may be used again after a drop.
	births map[uint32]int
	// alive are the numbers of spaces that there are.
	alive map[uint32]bool
	// sequences are the last values of the sequences that have one.
	sequences map[uint32]int64
	formats   map[uint32]*tuple.Format
}

func newState() *state {
	return &state{rows: map[uint32]map[string][]byte{}, births: map[uint32]int{}, alive: map[uint32]bool{}, sequences: map[uint32]int64{},
		formats: map[uint32]*tuple.Format{}}
}

// apply changes the system spaces by a row of a file and returns the row concerned before and after, nil where there is
// none. It does nothing with rows of other spaces.
func (s *state) apply(row *snap.Row) (before, after []byte, err error) {
	fields, ok := keyFields[row.SpaceID]
	if !ok {
		return nil, nil, nil
	}
	key, err := s.keyOf(row, fields)
	if err != nil {
		return nil, nil, err
	}
	rows := s.rows[row.SpaceID]
	if rows == nil {
		rows = map[string][]byte{}
		s.rows[row.SpaceID] = rows
	}
	before = rows[key]
	if after, err = s.result(row, before); err != nil {
		return nil, nil, err
	}
	if after == nil {
		delete(rows, key)
	} else {
		rows[key] = after
	}
	return before, after, s.note(row.SpaceID, before, after)
}

// keyOf returns the primary key of the row that a statement is about, in a form in which equal keys are equal bytes.
func (s *state) keyOf(row *snap.Row, fields []int) (string, error) {
	var key []byte
	for i, field := range fields {
		value := fieldAt(row.Tuple, field)
		if row.Type == snap.TypeUpdate || row.Type == snap.TypeDelete {
			value = fieldAt(row.Key, i)
		}
		if value == nil {
			return "", errForeignRow
		}
		key = appendNormal(key, value)
	}
	return string(key), nil
}

// appendNormal appends a number or a string in its shortest form, other values as they are.
func appendNormal(dst, value []byte) []byte {
	if n, _, err := msgpack.ReadUint(value); err == nil {
		return msgpack.AppendUint(dst, n)
	}
	if text, _, err := msgpack.ReadStr(value); err == nil {
		return msgpack.AppendStrBytes(dst, text)
	}
	return append(dst, value...)
}

// result is the row that a statement leaves behind.
func (s *state) result(row *snap.Row, before []byte) ([]byte, error) {
	switch {
	case row.Type == snap.TypeDelete, row.Type == snap.TypeUpdate && before == nil:
		return nil, nil
	case row.Type == snap.TypeUpdate:
		return tuple.Update(nil, before, row.Tuple, int(row.IndexBase), s.format(row.SpaceID))
	case row.Type == snap.TypeUpsert && before != nil:
		return tuple.UpsertOps(nil, before, row.Ops, int(row.IndexBase), s.format(row.SpaceID))
	}
	return bytes.Clone(row.Tuple), nil
}

// note keeps what follows from a changed row.
func (s *state) note(space uint32, before, after []byte) error {
	row := after
	if row == nil {
		row = before
	}
	if row == nil {
		return nil
	}
	id, _, err := msgpack.ReadUint(fieldAt(row, 0))
	if err != nil {
		return nil // a name, as in _trigger
	}
	switch space {
	case dictionary.SpaceSpace:
		if before == nil {
			s.births[uint32(id)]++
		}
		s.alive[uint32(id)] = after != nil
		delete(s.formats, uint32(id))
	case dictionary.SpaceSequenceData, dictionary.SpaceSequence:
		if after == nil {
			delete(s.sequences, uint32(id))
		}
		if after == nil || space == dictionary.SpaceSequence {
			return nil
		}
		value, _, err := msgpack.ReadInt(fieldAt(after, 1))
		if err != nil {
			return errForeignRow
		}
		s.sequences[uint32(id)] = value
	}
	return nil
}

// format makes names of fields in update operations known.
func (s *state) format(space uint32) *tuple.Format {
	if f, ok := s.formats[space]; ok {
		return f
	}
	var f *tuple.Format
	if row := s.row(dictionary.SpaceSpace, uint64(space)); row != nil {
		if fields, err := tuple.ParseFormat(fieldAt(row, 6)); err == nil {
			f, _ = tuple.NewFormat(fields, 0, nil)
		}
	}
	s.formats[space] = f
	return f
}

// follow moves the sequence of a space by a row of a log that was put into it, as Tarantool does when it recovers.
func (s *state) follow(row *snap.Row) {
	if row.Type != snap.TypeInsert && row.Type != snap.TypeReplace {
		return
	}
	binding := s.row(dictionary.SpaceSpaceSequence, uint64(row.SpaceID))
	if binding == nil {
		return
	}
	id, field := uint32(uintAt(binding, 1)), s.sequenceField(row.SpaceID, binding)
	value, _, err := msgpack.ReadInt(fieldAt(row.Tuple, field))
	if err != nil {
		return
	}
	step, _, err := msgpack.ReadInt(fieldAt(s.row(dictionary.SpaceSequence, uint64(id)), 3))
	if err != nil {
		return
	}
	last, started := s.sequences[id]
	if !started || step > 0 && value > last || step < 0 && value < last {
		s.sequences[id] = value
	}
}

// sequenceField is the field that a sequence fills: before 2.2 always the first of the primary key.
func (s *state) sequenceField(space uint32, binding []byte) int {
	if value := fieldAt(binding, 3); value != nil {
		return int(uintAt(binding, 3))
	}
	parts, err := tuple.ParseParts(fieldAt(s.row(dictionary.SpaceIndex, uint64(space), 0), 5))
	if err != nil || len(parts) == 0 {
		return 0
	}
	return int(parts[0].Field)
}

// row returns the row with a key of numbers, nil if there is none.
func (s *state) row(space uint32, key ...uint64) []byte {
	var b []byte
	for _, k := range key {
		b = msgpack.AppendUint(b, k)
	}
	return s.rows[space][string(b)]
}

// all returns the rows of a system space in the order of their keys.
func (s *state) all(space uint32) [][]byte {
	keys := make([]string, 0, len(s.rows[space]))
	for k := range s.rows[space] {
		keys = append(keys, k)
	}
	slices.Sort(keys) // the shortest forms of numbers sort as the numbers do
	rows := make([][]byte, len(keys))
	for i, k := range keys {
		rows[i] = s.rows[space][k]
	}
	return rows
}

// fieldAt returns a field of a row, nil if there is no such row or field.
func fieldAt(row []byte, field int) []byte {
	if row == nil {
		return nil
	}
	return tuple.FieldAt(row, field)
}

// uintAt reads a number of a row of the dictionary; 0 if it is none.
func uintAt(row []byte, field int) uint64 {
	v, _, err := msgpack.ReadUint(fieldAt(row, field))
	if err != nil {
		return 0
	}
	return v
}

// strAt reads a string of a row of the dictionary; empty if it is none.
func strAt(row []byte, field int) string {
	v, _, err := msgpack.ReadStr(fieldAt(row, field))
	if err != nil {
		return ""
	}
	return string(v)
}

// withFields returns a row with other values in some of its fields; the row must have them.
func withFields(row []byte, values map[int][]byte) ([]byte, error) {
	n, b, err := msgpack.ReadArrayLen(row)
	if err != nil {
		return nil, fmt.Errorf("row: %w", err)
	}
	out := msgpack.AppendArrayHeader(nil, n)
	for i := range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return nil, err
		}
		value, replaced := values[i]
		if !replaced {
			value = b[:len(b)-len(rest)]
		}
		out, b = append(out, value...), rest
	}
	return out, nil
}
