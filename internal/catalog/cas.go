package catalog

import (
	"fmt"
	"slices"
	"sort"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Predicate guards a request by compare-and-swap: it is refused if any entry after Index touched a row that the request
// depends on. The rows it writes, and for schema changes the schema version, are depended on without being named.
type Predicate struct {
	Index  uint64 // the position at which the requester read the catalog
	Term   uint64 // the term in which he wants the request to be computed
	Ranges []Range
}

// Range is a set of rows of one table, by primary key. A zero Bound is open.
type Range struct {
	Table    uint32
	Min, Max Bound
}

// Bound is an end of a range. Key holds one or more leading parts of the primary key (see func Key).
type Bound struct {
	Key      []byte
	Excluded bool // rows that match Key are outside
}

// Eq is the range of the rows under a full or partial primary key.
func Eq(table uint32, key []byte) Range {
	return Range{Table: table, Min: Bound{Key: key}, Max: Bound{Key: key}}
}

// Unchanged is the predicate that nothing in the ranges has changed since the state was read.
func Unchanged(s *State, ranges ...Range) Predicate {
	index, term := s.Position()
	return Predicate{Index: index, Term: term, Ranges: ranges}
}

// rangesMax bounds the ranges of one predicate.
const rangesMax = 1024

// touchesMax bounds the rows that a History remembers; the oldest entries are forgotten first.
const touchesMax = 1 << 16

// History remembers which rows the newest entries touched, for the checks of compare-and-swap. It has one owner, the
// leader's loop, and needs no copy on disk: what it does not reach back to is answered with 10005, and the requester
// reads again.
type History struct {
	base, baseTerm uint64 // entries up to base are not known in detail
	entries        []historyEntry
	touches        int
}

type historyEntry struct {
	index, term uint64
	changes     []Change
}

// NewHistory starts a history at a position whose past is not known.
func NewHistory(index, term uint64) *History { return &History{base: index, baseTerm: term} }

// Note adds the changes of an entry. Calls for one index add up; indexes must not go back.
func (h *History) Note(index, term uint64, changes []Change) {
	if n := len(h.entries); n > 0 && h.entries[n-1].index == index {
		h.entries[n-1].changes = append(h.entries[n-1].changes, changes...)
	} else {
		h.entries = append(h.entries, historyEntry{index, term, slices.Clone(changes)})
	}
	h.touches += len(changes) + 1
	drop := 0
	for ; h.touches > touchesMax && drop < len(h.entries)-1; drop++ {
		h.touches -= len(h.entries[drop].changes) + 1
		h.base, h.baseTerm = h.entries[drop].index, h.entries[drop].term
	}
	if drop > 0 {
		h.entries = slices.Clone(h.entries[drop:])
	}
}

// Truncate forgets the entries from index on: they were never committed.
func (h *History) Truncate(from uint64) {
	at := h.after(from - 1)
	for _, e := range h.entries[at:] {
		h.touches -= len(e.changes) + 1
	}
	h.entries = h.entries[:at:at]
}

// after returns the position of the first entry with a higher index.
func (h *History) after(index uint64) int {
	return sort.Search(len(h.entries), func(i int) bool { return h.entries[i].index > index })
}

// Last returns the newest position.
func (h *History) Last() (index, term uint64) {
	if n := len(h.entries); n > 0 {
		return h.entries[n-1].index, h.entries[n-1].term
	}
	return h.base, h.baseTerm
}

func (h *History) termAt(index uint64) uint64 {
	at := h.after(index)
	if at == 0 {
		return h.baseTerm
	}
	return h.entries[at-1].term
}

// CheckCAS decides, on the leader in the given term, whether a guarded request may be run on the newest state s, whose
// history is h. All refusals but 10009 tell the requester to read again and repeat: 10003 other term, 10006 index not in
// this log, 10005 history does not reach back, 10008 index of an older term, 10007 conflict.
func CheckCAS(s *State, h *History, term uint64, p Predicate, ops []Op) error {
	if err := checkPosition(h, term, p); err != nil {
		return err
	}
	if len(p.Ranges) > rangesMax {
		return errcode.Newf(errcode.TooBig, "%d ranges in a predicate are over the limit of %d", len(p.Ranges), rangesMax)
	}
	if err := CheckTables(ops); err != nil {
		return err
	}
	guards, err := s.guards(p, ops)
	if err != nil {
		return err
	}
	for _, e := range h.entries[h.after(p.Index):] {
		for _, c := range e.changes {
			if slices.ContainsFunc(guards, func(g guard) bool { return g.hit(c) }) {
				return errcode.New(errcode.CASConflictFound, e.index)
			}
		}
	}
	return nil
}

func checkPosition(h *History, term uint64, p Predicate) error {
	last, _ := h.Last()
	switch {
	case p.Term != term:
		return errcode.New(errcode.TermMismatch, p.Term, term)
	case p.Index > last:
		return errcode.New(errcode.CASNoSuchRaftIndex, p.Index, last)
	case p.Index < h.base:
		return errcode.New(errcode.RaftLogCompacted, h.base)
	case h.termAt(p.Index) != term:
		return errcode.New(errcode.CASEntryTermMismatch, p.Index)
	}
	return nil
}

// CheckTables refuses (10009) changes that may not be made row by row by a request: users, rights and the schema have
// operations of their own, and some parameters are fixed when the cluster is made. Values of parameters are checked here too (1), and
// not by Apply: what one version allows another one has to take.
func CheckTables(ops []Op) error {
	for _, op := range ops {
		for _, d := range op.DML {
			switch d.Table {
			case TableUser, TablePrivilege, TableTable, TableIndex, TableSchemaObject:
				return errcode.New(errcode.CASTableNotAllowed, TableName(d.Table))
			case TableDBConfig:
				if err := checkParam(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// guard is one thing that must not have been touched.
type guard struct {
	table  uint32
	key    *tuple.KeyDef
	lo, hi bound
	row    []byte          // instead of bounds: a row that is written
	unique []*tuple.KeyDef // the unique orders by which it may collide
}

type bound struct {
	key      []byte
	n        int
	excluded bool
}

func (g guard) hit(c Change) bool {
	return c.Table == g.table && (c.Old != nil && g.covers(c.Old) || c.New != nil && g.covers(c.New))
}

func (g guard) covers(row []byte) bool {
	if g.row != nil {
		return slices.ContainsFunc(g.unique, func(k *tuple.KeyDef) bool { return k.Compare(g.row, row) == 0 })
	}
	if g.lo.n > 0 {
		if c := g.key.CompareKey(row, g.lo.key, g.lo.n); c < 0 || c == 0 && g.lo.excluded {
			return false
		}
	}
	if g.hi.n > 0 {
		if c := g.key.CompareKey(row, g.hi.key, g.hi.n); c > 0 || c == 0 && g.hi.excluded {
			return false
		}
	}
	return true
}

func (s *State) guards(p Predicate, ops []Op) ([]guard, error) {
	var out []guard
	for _, r := range p.Ranges {
		g, err := s.rangeGuard(r)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	for _, op := range ops {
		if op.Kind != Nop && len(op.DML) == 0 {
			g, err := s.rangeGuard(Eq(TableProperty, Key(PropGlobalSchemaVersion)))
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
		if op.Kind >= DDLPrepare {
			g, err := s.rangeGuard(Eq(TableProperty, Key(PropPendingSchemaChange)))
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
		for _, d := range op.DML {
			g, err := s.dmlGuard(d)
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
	}
	return out, nil
}

func (s *State) rangeGuard(r Range) (guard, error) {
	no, ok := s.schema.byID[r.Table]
	if !ok {
		return guard{}, errcode.New(errcode.NoSuchSpace, TableName(r.Table))
	}
	ts := &s.schema.tables[no]
	lo, err := ts.bound(r.Min)
	if err != nil {
		return guard{}, err
	}
	hi, err := ts.bound(r.Max)
	return guard{table: r.Table, key: ts.keys[0], lo: lo, hi: hi}, err
}

func (ts *tableSchema) bound(b Bound) (bound, error) {
	r, n := reader{b: b.Key}, 0
	for ; len(r.b) > 0 && r.err == nil && n < ts.nkeys[0]; n++ {
		r.raw()
	}
	if err := r.end(); err != nil {
		return bound{}, errcode.New(errcode.IllegalParams, fmt.Sprintf("bound of a range of %s: %v", ts.def.Name, err))
	}
	if err := ts.keys[0].ValidateKey(b.Key, n); err != nil {
		return bound{}, err
	}
	return bound{key: b.Key, n: n, excluded: b.Excluded}, nil
}

// dmlGuard guards the primary key of a change, and for a whole row its unique keys.
func (s *State) dmlGuard(d DML) (guard, error) {
	if d.Kind == Update || d.Kind == Delete {
		return s.rangeGuard(Eq(d.Table, d.Key))
	}
	no, ok := s.schema.byID[d.Table]
	if !ok {
		return guard{}, errcode.New(errcode.NoSuchSpace, TableName(d.Table))
	}
	ts := &s.schema.tables[no]
	if err := ts.check(d.Tuple); err != nil {
		return guard{}, err
	}
	g := guard{table: d.Table, row: d.Tuple}
	for ix, def := range ts.def.Indexes {
		if def.Unique {
			g.unique = append(g.unique, ts.orders[ix])
		}
	}
	return g, nil
}

// SetTarget builds the request by which an instance's target grade is changed: the operation and its guard. A target of
// Online is a new incarnation each time, and ends the permit by which a replaced instance came in: an instance with its old
// raft ids must not get this far (CheckMember). changedAt is RFC 3339. Errors: 10016 unknown instance, 10020 expelled.
func SetTarget(s *State, name string, target lifecycle.GradeName, reason, changedAt string) (Op, Predicate, error) {
	row, ok := s.Instance(name)
	if !ok {
		return Op{}, Predicate{}, errcode.New(errcode.NoSuchInstance, name)
	}
	next := lifecycle.Grade{Name: target, Incarnation: row.Target.Incarnation}
	if target == lifecycle.Online {
		next.Incarnation++
	}
	guard := Unchanged(s, Eq(TableInstance, Key(name)))
	if row.Target.Name == target && target != lifecycle.Online {
		return Op{Kind: Nop}, guard, nil
	}
	if !lifecycle.TargetAllowed(row.Target, next) {
		return Op{}, Predicate{}, errcode.New(errcode.InstanceExpelled, name)
	}
	row.Target, row.TargetReason, row.TargetChangeTime = next, reason, changedAt
	if target == lifecycle.Online {
		row.Permit = ""
	}
	return Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableInstance, Tuple: row.Row()}}}, guard, nil
}
