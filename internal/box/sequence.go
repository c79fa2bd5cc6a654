package box

import (
	"math"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Sequence is the compiled form of a row of _sequence. It is immutable.
//
// Its value is a row [id, value] of a tree of its own, so that it belongs to versions like everything else: rows of
// _sequence_data set it, and every row that is put into a space bound to the sequence moves it (see follow). Nothing
// else is logged: a replica that applies the same rows has the same values. As in Tarantool 2.6, SELECT on
// _sequence_data finds only the rows that were written to it, while a snapshot has one row for each value.
type Sequence struct {
	ID, Owner uint32
	Name      string
	Step      int64 // not 0
	Min, Max  int64
	Start     int64
	Cycle     bool
}

// sequenceValue is the last value that a sequence gave or was moved to; it has none before the first.
type sequenceValue struct {
	last    int64
	started bool
}

// next returns the value that follows v; false if the sequence is at its end and does not begin anew.
func (q *Sequence) next(v sequenceValue) (int64, bool) {
	up := q.Step > 0
	switch {
	case !v.started:
		return q.Start, true
	case up && v.last < q.Min:
		return q.Min, true
	case !up && v.last > q.Max:
		return q.Max, true
	}
	n := v.last + q.Step
	overflow := up && n < v.last || !up && n > v.last
	if !overflow && n >= q.Min && n <= q.Max {
		return n, true
	}
	if !q.Cycle {
		return 0, false
	}
	if up {
		return q.Min, true
	}
	return q.Max, true
}

// follow returns where a stored value moves the sequence, which depends on nothing but the two: to the value, if it is
// the one that comes next or lies beyond the last one.
func (q *Sequence) follow(v sequenceValue, stored int64) sequenceValue {
	moved := sequenceValue{last: stored, started: true}
	if n, ok := q.next(v); ok && n == stored {
		return moved
	}
	from := v.last
	if !v.started {
		from = q.Start
	}
	if q.Step > 0 && stored > from || q.Step < 0 && stored < from {
		return moved
	}
	return v
}

// autoIncrement binds a space to a sequence: a nil in the field, which is part of the primary key, is replaced by the
// sequence's next value.
type autoIncrement struct {
	sequence  uint32
	generated bool
	field     uint32
}

// newSequenceValues makes the tree of the values.
func (e *Engine) newSequenceValues() (*Index, error) {
	key, err := tuple.NewKeyDef([]tuple.Part{{Type: tuple.Unsigned}})
	if err != nil {
		return nil, err
	}
	return e.newIndex(IndexDef{Type: typeTree, Unique: true, Key: key}, nil), nil
}

// sequenceAt reads a sequence's value in a version of the tree of values.
func (e *Engine) sequenceAt(root index.Root, id uint32, key []byte) sequenceValue {
	ref := e.sequences.state.store.Get(root, msgpack.AppendUint(key, uint64(id)), 1)
	if ref == 0 {
		return sequenceValue{}
	}
	v, _, _ := msgpack.ReadInt(tuple.FieldAt(e.arena.Tuple(ref), 1))
	return sequenceValue{last: v, started: true}
}

// sequenceNow reads a sequence's newest value.
func (e *Engine) sequenceNow(id uint32) sequenceValue {
	return e.sequenceAt(e.sequences.state.cur, id, e.sequenceKey[:0])
}

// setSequence gives a sequence a value, or none.
func (e *Engine) setSequence(id uint32, v sequenceValue) {
	st := e.sequences.state
	e.touch(st)
	row := msgpack.AppendInt(msgpack.AppendUint(msgpack.AppendArrayHeader(e.sequenceKey[:0], 2), uint64(id)), v.last)
	if !v.started {
		if old := must(st.store.Delete(&st.cur, e.version, row)); old != 0 {
			e.retireTuple(old)
		}
		return
	}
	ref := must(e.arena.AllocTuple(row))
	if old := must(st.store.Insert(&st.cur, e.version, ref)); old != 0 {
		e.retireTuple(old)
	}
}

// followRow moves the sequence of a space to where a row that was put into it says. Rows of a snapshot move nothing: the
// snapshot has the values. As in Tarantool the value goes as far as the rows: those of a temporary space move a sequence
// until the next restart, those of a local space on their own instance.
func (e *Engine) followRow(sp *Space, tup []byte) {
	if e.loading {
		return
	}
	stored, _, err := msgpack.ReadInt(tuple.FieldAt(tup, int(sp.auto.field)))
	if err != nil {
		return // above all that a sequence can have
	}
	q := e.schema.Sequence(sp.auto.sequence)
	v := e.sequenceNow(q.ID)
	n := q.follow(v, stored)
	if n == v {
		return
	}
	e.setSequence(q.ID, n)
}

// fillStatement returns the statement with the value of the space's sequence in the place of a nil.
func (e *Engine) fillStatement(sp *Space, s *Statement) (Statement, error) {
	filled := *s
	filled.fits = nil
	q := e.schema.Sequence(sp.auto.sequence)
	n, ok, err := q.valueFor(sp, s, func() sequenceValue { return e.sequenceNow(q.ID) })
	if ok {
		e.scratch = replaceField(e.scratch[:0], s.Tuple, sp.auto.field, n)
		filled.Tuple = e.scratch
	}
	return filled, err
}

// fillStatement is that of the engine; the value is that of the transaction's version, or where the transaction has
// moved it. What another transaction takes meanwhile shows itself at the commit: it wrote the same primary key.
func (t *Tx) fillStatement(sp *Space, s *Statement) (Statement, error) {
	filled := *s
	filled.fits = nil
	q := t.schema.Sequence(sp.auto.sequence)
	n, ok, err := q.valueFor(sp, s, func() sequenceValue { return t.sequenceValue(q.ID) })
	if ok {
		filled.Tuple = replaceField(nil, s.Tuple, sp.auto.field, n)
	}
	return filled, err
}

func (t *Tx) sequenceValue(id uint32) sequenceValue {
	if v, ok := t.sequences[id]; ok {
		return v
	}
	return t.e.sequenceAt(t.e.sequences.state.rootAt(t.version), id, nil)
}

// followRow moves the sequence of a space for the rest of the transaction.
func (t *Tx) followRow(sp *Space, tup []byte) {
	stored, _, err := msgpack.ReadInt(tuple.FieldAt(tup, int(sp.auto.field)))
	if err != nil {
		return
	}
	if t.sequences == nil {
		t.sequences = map[uint32]sequenceValue{}
	}
	q := t.schema.Sequence(sp.auto.sequence)
	t.sequences[q.ID] = q.follow(t.sequenceValue(q.ID), stored)
}

// valueFor returns the value that a statement gets; ok is false if it does not ask for one.
func (q *Sequence) valueFor(sp *Space, s *Statement, now func() sequenceValue) (n int64, ok bool, err error) {
	if err := s.User.checkSequence(q, sp.auto); err != nil {
		return 0, false, err
	}
	if !wantsValue(s.Tuple, sp.auto.field) {
		return 0, false, nil
	}
	if n, ok = q.next(now()); !ok {
		err = errcode.New(errcode.SequenceOverflow, q.Name)
	}
	return n, ok, err
}

// wantsValue tells whether a field is there and nil. The tuple is not checked yet.
func wantsValue(tup []byte, field uint32) bool {
	n, b, err := msgpack.ReadArrayLen(tup)
	if err != nil || uint32(n) <= field {
		return false
	}
	for range field {
		if b, err = msgpack.Skip(b); err != nil {
			return false
		}
	}
	return len(b) > 0 && msgpack.TypeOf(b[0]) == msgpack.TypeNil
}

// replaceField appends tup with another value in the place of a nil.
func replaceField(dst, tup []byte, field uint32, v int64) []byte {
	_, b, _ := msgpack.ReadArrayLen(tup)
	for range field {
		b = msgpack.SkipTrusted(b)
	}
	dst = append(dst, tup[:len(tup)-len(b)]...)
	dst = msgpack.AppendInt(dst, v)
	return append(dst, b[1:]...)
}

// checkSequence refuses a user who may not use the sequence. One that was made for its space needs no grants of its own.
func (u *User) checkSequence(q *Sequence, a *autoIncrement) error {
	if a.generated || u == nil || u.ID == q.Owner || u.Rights.Check(u.ID, access.Write, access.Sequence, q.ID) {
		return nil
	}
	return errcode.NewAccessDenied(access.Write.Title(), "sequence", q.Name, u.Name)
}

// seesSequence tells whether the user owns the sequence or may do anything with it.
func (u *User) seesSequence(schema *Schema, id uint64) bool {
	if id > math.MaxUint32 {
		return false
	}
	q := schema.Sequence(uint32(id))
	any := access.Read | access.Write | access.Drop | access.Alter | access.Usage
	return q != nil && (q.Owner == u.ID || u.Rights.Has(u.ID, access.Sequence, q.ID)&any != 0)
}

// snapshotIndex is the index that Ascend and Count read: that of the space itself, except that the content of
// _sequence_data is the values of all sequences.
func (v *View) snapshotIndex(sp *Space) *Index {
	if sp.ID == dictionary.SpaceSequenceData {
		return v.e.sequences
	}
	return sp.primary()
}
