package catalog

import (
	"slices"
	"sort"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// State is the whole catalog at one position of its log. Only Apply and the functions that restore it change a State; a
// State that others may read is never applied to: apply to a Clone.
type State struct {
	schema *schema
	index  uint64
	term   uint64
	tables []*table // never changed in place once a State was returned to a caller
	done   []doneRequest
	// globalBytes is the size of the rows of all global tables.
	globalBytes int
}

// table holds the rows of one table, once for each index in that index's order. All slices share the same row bytes.
type table struct {
	rows [][][]byte
}

// RequestID names a request of a client so that it is applied once however often it is sent. Zero: no name.
type RequestID [16]byte

// RequestsKept is how many answered requests are remembered; older ones are forgotten, oldest first.
const RequestsKept = 1024

type doneRequest struct {
	id     RequestID
	result Result
}

// New returns an empty catalog at index 0.
func New() *State {
	s := &State{schema: newSchema()}
	for _, t := range s.schema.tables {
		s.tables = append(s.tables, &table{rows: make([][][]byte, len(t.orders))})
	}
	return s
}

// Clone returns a copy that may be applied to without the original being changed. Its cost does not depend on the rows.
func (s *State) Clone() *State {
	c := *s
	c.tables = slices.Clone(s.tables)
	return &c
}

// Position returns the index and term of the newest entry that the state holds.
func (s *State) Position() (index, term uint64) { return s.index, s.term }

// SetPosition moves the position on over entries that do not concern the catalog (a leader's empty entry, a change of
// membership). It never goes back.
func (s *State) SetPosition(index, term uint64) {
	invariant.Check(index >= s.index && term >= s.term, "catalog: position %d/%d after %d/%d", index, term, s.index, s.term)
	s.index, s.term = index, term
}

// Ascend yields the rows of a table in the order of its primary key until yield returns false. The bytes must not be
// changed. An unknown table has no rows.
func (s *State) Ascend(tableID uint32, yield func(row []byte) bool) {
	no, ok := s.schema.byID[tableID]
	if !ok {
		return
	}
	for _, row := range s.tables[no].rows[0] {
		if !yield(row) {
			return
		}
	}
}

// Len returns the number of rows of a table.
func (s *State) Len(tableID uint32) int {
	no, ok := s.schema.byID[tableID]
	if !ok {
		return 0
	}
	return len(s.tables[no].rows[0])
}

// Get returns the row whose primary key is key (see Key), or nil.
func (s *State) Get(tableID uint32, key []byte) []byte { return s.find(tableID, 0, key) }

// find returns the first row under a full key of an index, or nil.
func (s *State) find(tableID uint32, ix int, key []byte) []byte {
	no, ok := s.schema.byID[tableID]
	if !ok {
		return nil
	}
	ts, rows := &s.schema.tables[no], s.tables[no].rows[ix]
	at := sort.Search(len(rows), func(i int) bool { return ts.orders[ix].CompareKey(rows[i], key, ts.nkeys[ix]) >= 0 })
	if at < len(rows) && ts.orders[ix].CompareKey(rows[at], key, ts.nkeys[ix]) == 0 {
		return rows[at]
	}
	return nil
}

// scan yields all rows under a key of an index.
func (s *State) scan(tableID uint32, ix int, key []byte, yield func(row []byte) bool) {
	no := s.schema.byID[tableID]
	ts, rows := &s.schema.tables[no], s.tables[no].rows[ix]
	at := sort.Search(len(rows), func(i int) bool { return ts.orders[ix].CompareKey(rows[i], key, ts.nkeys[ix]) >= 0 })
	for ; at < len(rows) && ts.orders[ix].CompareKey(rows[at], key, ts.nkeys[ix]) == 0; at++ {
		if !yield(rows[at]) {
			return
		}
	}
}

// Done returns the result of a request that was executed before, as far back as results are remembered.
func (s *State) Done(id RequestID) (Result, bool) {
	if id == (RequestID{}) {
		return Result{}, false
	}
	for i := len(s.done) - 1; i >= 0; i-- {
		if s.done[i].id == id {
			return s.done[i].result, true
		}
	}
	return Result{}, false
}

// remember notes a request as done. The slice is copied: clones may share it.
func (s *State) remember(id RequestID, res Result) {
	from := max(0, len(s.done)+1-RequestsKept)
	done := make([]doneRequest, 0, len(s.done)+1-from)
	done = append(done, s.done[from:]...)
	s.done = append(done, doneRequest{id, res})
}
