package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// ErrDivergence is in the chain of an error of Apply: the entry was checked against the leader's catalog before it was
// proposed, so an entry that cannot be applied here means that this catalog is not the leader's. The process must stop.
var ErrDivergence = errors.New("catalog: entry cannot be applied, this copy of the catalog has diverged")

// Result is the outcome of a request.
type Result struct {
	Index  uint64 // of the entry that holds it
	Rows   uint32 // rows changed
	UserID uint32 // of the user or role that was created, 0 if none was
}

// Change is one row that an entry changed. Old is nil for a new row, New for one that was removed. The bytes belong to the
// state and must not be changed.
type Change struct {
	Table    uint32
	Old, New []byte
}

// Apply applies one committed entry. An empty entry only moves the position. The error, if any, is ErrDivergence, and the
// state is as before. The result sums up all requests of the entry.
func (s *State) Apply(index, term uint64, entry []byte) (Result, []Change, error) {
	if index <= s.index || term < s.term {
		return Result{}, nil, fmt.Errorf("%w: index %d term %d comes after index %d term %d", ErrDivergence, index, term,
			s.index, s.term)
	}
	if len(entry) == 0 {
		s.SetPosition(index, term)
		return Result{Index: index}, nil, nil
	}
	e, err := DecodeEntry(entry)
	if err != nil {
		return Result{}, nil, fmt.Errorf("%w: index %d: %w", ErrDivergence, index, err)
	}
	if e.Term != term {
		return Result{}, nil, fmt.Errorf("%w: index %d: computed in term %d, written in term %d", ErrDivergence, index,
			e.Term, term)
	}
	next, sum := s.Clone(), Result{Index: index}
	var changes []Change
	for i, it := range e.Items {
		res, ch, err := next.Execute(index, term, it)
		if err != nil {
			return Result{}, nil, fmt.Errorf("%w: index %d request %d: %w", ErrDivergence, index, i, err)
		}
		sum.Rows, sum.UserID, changes = sum.Rows+res.Rows, max(sum.UserID, res.UserID), append(changes, ch...)
	}
	next.SetPosition(index, term)
	*s = *next
	return sum, changes, nil
}

// Execute runs one request on the state as part of the entry at index. After an error, which is client-visible, the state
// is as before. A request whose id was executed before changes nothing and gives the result of then.
func (s *State) Execute(index, term uint64, it Item) (Result, []Change, error) {
	if res, ok := s.Done(it.ID); ok {
		return res, nil, nil
	}
	t := tx{s: s.Clone(), result: Result{Index: index}}
	for _, op := range it.Ops {
		if err := t.run(op); err != nil {
			return Result{}, nil, err
		}
	}
	t.result.Rows = uint32(len(t.changes))
	if it.ID != (RequestID{}) {
		t.s.remember(it.ID, t.result)
	}
	t.s.SetPosition(index, term)
	*s = *t.s
	return t.result, t.changes, nil
}

// tx is a request at work: a private state, and which of its tables have been copied for it already.
type tx struct {
	s       *State
	owned   map[uint32]bool // by id
	changes []Change
	result  Result
}

func (t *tx) run(op Op) error {
	switch op.Kind {
	case Nop:
		return nil
	case Dml, BatchDml:
		if len(op.DML) == 0 || (op.Kind == Dml && len(op.DML) != 1) {
			return errcode.Newf(errcode.CASInvalidOpKind, "Operation %s with %d changes", op.Kind, len(op.DML))
		}
		for _, d := range op.DML {
			if err := CheckTableOperable(t.s, d.Table); err != nil {
				return err
			}
			if err := t.dml(d); err != nil {
				return err
			}
		}
		return nil
	case DDLPrepare, DDLCommit, DDLAbort:
		return t.ddl(op)
	}
	return t.acl(op)
}

func (t *tx) dml(d DML) error {
	no, ok := t.s.schema.byID[d.Table]
	if !ok {
		return errcode.New(errcode.NoSuchSpace, TableName(d.Table))
	}
	ts := &t.s.schema.tables[no]
	var old, row []byte
	switch d.Kind {
	case Insert, Replace:
		row = slices.Clone(d.Tuple)
		if err := ts.check(row); err != nil {
			return err
		}
		old = t.s.find(d.Table, 0, ts.keys[0].ExtractKey(nil, row))
		if old != nil && d.Kind == Insert {
			return errcode.New(errcode.TupleFound, ts.def.Indexes[0].Name, ts.def.Name)
		}
	case Update, Delete:
		if err := checkKey(ts, d.Key); err != nil {
			return err
		}
		if old = t.s.find(d.Table, 0, d.Key); old == nil {
			return nil
		}
		if d.Kind == Delete {
			break
		}
		var err error
		if row, err = ts.update(old, d.Ops); err != nil {
			return err
		}
	default:
		return errcode.Newf(errcode.CASInvalidOpKind, "Change of kind %d is not known", d.Kind)
	}
	if bytes.Equal(old, row) {
		return nil
	}
	if err := checkTransition(d.Table, old, row); err != nil {
		return err
	}
	if d.Table >= FirstTableID && len(row) > len(old) && t.s.globalBytes+len(row)-len(old) > GlobalBytesMax {
		return errcode.Newf(errcode.TooBig, "The rows of all global tables would be over the limit of %d bytes", GlobalBytesMax)
	}
	return t.write(no, old, row)
}

// update returns the row that update operations make of an old one.
func (ts *tableSchema) update(old, ops []byte) ([]byte, error) {
	if err := msgpack.Check(ops); err != nil {
		return nil, errcode.New(errcode.InvalidMsgPack, err)
	}
	row, err := tuple.Update(nil, old, ops, 0, ts.format)
	if err != nil {
		return nil, err
	}
	if err := ts.check(row); err != nil {
		return nil, err
	}
	if ts.keys[0].Compare(old, row) != 0 {
		return nil, errcode.New(errcode.CantUpdatePrimaryKey, ts.def.Indexes[0].Name, ts.def.Name)
	}
	return row, nil
}

// check validates a row from outside: well-formed, of the format, and meaningful.
func (ts *tableSchema) check(row []byte) error {
	if err := msgpack.Check(row); err != nil {
		return errcode.New(errcode.InvalidMsgPack, err)
	}
	if err := ts.format.Validate(row); err != nil {
		return err
	}
	if err := ts.isValid(row); err != nil {
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("row of %s: %v", ts.def.Name, err))
	}
	return nil
}

// checkKey validates a full primary key from outside.
func checkKey(ts *tableSchema, key []byte) error {
	r, n := reader{b: key}, 0
	for len(r.b) > 0 && r.err == nil && n <= ts.nkeys[0] {
		r.raw()
		n++
	}
	if r.err != nil {
		return errcode.New(errcode.InvalidMsgPack, r.err)
	}
	if n != ts.nkeys[0] {
		return errcode.New(errcode.ExactMatch, ts.nkeys[0], n)
	}
	return ts.keys[0].ValidateKey(key, n)
}

// checkTransition refuses changes between two valid rows that must never happen.
func checkTransition(table uint32, old, row []byte) error {
	switch {
	case table == TableProperty && row == nil:
		if p := must(ParseProperty, old); isUndeletable(p.Key) {
			return errcode.Newf(errcode.CASTableNotAllowed, "Property %s cannot be deleted", p.Key)
		}
	case table == TableDBConfig && row == nil:
		return errcode.Newf(errcode.CASTableNotAllowed, "Parameters cannot be deleted, only set")
	case table == TableInstance && row == nil:
		return errcode.Newf(errcode.CASTableNotAllowed, "Instances are expelled, never deleted: their names and ids are not given again")
	case table == TableInstance && old != nil:
		return checkInstanceTransition(must(ParseInstance, old), must(ParseInstance, row))
	}
	return nil
}

func checkInstanceTransition(old, row Instance) error {
	if old.UUID != row.UUID || old.ReplicasetName != row.ReplicasetName || old.Tier != row.Tier {
		return errcode.New(errcode.IllegalParams, "uuid, replicaset and tier of "+old.Name+" cannot change")
	}
	if old.Current != row.Current && !lifecycle.GradeAllowed(old.Current, row.Current) {
		return badTransition("grade", old.Name, old.Current, row.Current)
	}
	if old.Target != row.Target && !lifecycle.TargetAllowed(old.Target, row.Target) {
		return badTransition("target grade", old.Name, old.Target, row.Target)
	}
	return nil
}

func badTransition(what, instance string, from, to lifecycle.Grade) error {
	return errcode.New(errcode.IllegalParams, fmt.Sprintf("%s of %s cannot go from %s to %s", what, instance, from, to))
}

// write puts row in the place of old in every index; either may be nil. Both passed all checks but uniqueness.
func (t *tx) write(no int, old, row []byte) error {
	ts := &t.s.schema.tables[no]
	if row != nil {
		for ix := 1; ix < len(ts.orders); ix++ {
			if !ts.def.Indexes[ix].Unique {
				continue
			}
			at, found := search(ts.orders[ix], t.s.tables[no].rows[ix], row)
			if found && (old == nil || ts.keys[0].Compare(t.s.tables[no].rows[ix][at], old) != 0) {
				return errcode.New(errcode.TupleFound, ts.def.Indexes[ix].Name, ts.def.Name)
			}
		}
	}
	tab := t.own(no)
	for ix, order := range ts.orders {
		rows := tab.rows[ix]
		if old != nil {
			at, _ := search(order, rows, old)
			rows = slices.Delete(rows, at, at+1)
		}
		if row != nil {
			at, _ := search(order, rows, row)
			rows = slices.Insert(rows, at, row)
		}
		tab.rows[ix] = rows
	}
	if ts.def.ID >= FirstTableID {
		t.s.globalBytes += len(row) - len(old)
	}
	t.changes = append(t.changes, Change{Table: ts.def.ID, Old: old, New: row})
	return nil
}

// own returns a table that this request may change in place: the first time a copy of it.
func (t *tx) own(no int) *table {
	id := t.s.schema.tables[no].def.ID
	if !t.owned[id] {
		c := &table{rows: make([][][]byte, len(t.s.tables[no].rows))}
		for ix, rows := range t.s.tables[no].rows {
			c.rows[ix] = append(make([][]byte, 0, len(rows)+1), rows...)
		}
		t.s.tables[no] = c
		if t.owned == nil {
			t.owned = map[uint32]bool{}
		}
		t.owned[id] = true
	}
	return t.s.tables[no]
}

func search(order *tuple.KeyDef, rows [][]byte, row []byte) (at int, found bool) {
	at = sort.Search(len(rows), func(i int) bool { return order.Compare(rows[i], row) >= 0 })
	return at, at < len(rows) && order.Compare(rows[at], row) == 0
}
