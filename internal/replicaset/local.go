package replicaset

import (
	"github.com/lycosadb/lycosa/internal/box"
)

// Locals gives the rows of local spaces, as the log holds them, to the entries that they were written beside. Rows of
// entries that were replaced since belong to nobody: nothing was answered for them.
type Locals struct {
	// next returns the next row of the log, false at its end. It is valid until the next call.
	next func() ([]byte, bool)
	// head is the row that was read last, not taken yet if there is one.
	head  box.LocalRow
	ahead bool
}

// NewLocals reads rows in the order of the log from next, which returns false at the end.
func NewLocals(next func() ([]byte, bool)) *Locals { return &Locals{next: next} }

// Take returns the rows beside an entry. Entries must be asked for in their order.
func (l *Locals) Take(index, term uint64) ([]box.LocalRow, error) {
	if l == nil {
		return nil, nil
	}
	var rows []box.LocalRow
	for {
		if !l.ahead {
			b, ok := l.next()
			if !ok {
				return rows, nil
			}
			var err error
			if l.head, err = box.DecodeLocal(append([]byte(nil), b...)); err != nil {
				return nil, err
			}
			l.ahead = true
		}
		switch at := l.head; {
		case at.Term > term || at.Term == term && at.Index > index:
			return rows, nil
		case at.Index == index && at.Term == term:
			rows = append(rows, at)
		}
		l.ahead = false
	}
}

// Rest reads what is left into memory: next is not called any more. Nil if there is nothing.
func (l *Locals) Rest() *Locals {
	if l == nil {
		return nil
	}
	var left [][]byte
	for b, ok := l.next(); ok; b, ok = l.next() {
		left = append(left, append([]byte(nil), b...))
	}
	if !l.ahead && len(left) == 0 {
		return nil
	}
	return &Locals{head: l.head, ahead: l.ahead, next: func() (row []byte, ok bool) {
		if len(left) == 0 {
			return nil, false
		}
		row, left = left[0], left[1:]
		return row, true
	}}
}

// Resume gives the machine the rows beside entries of the log that are not known to be committed yet.
func (m *Machine) Resume(l *Locals) { m.locals = l }

// LocalRows returns the rows of local spaces that the last Run made, for the log. They belong to the caller.
func (m *Machine) LocalRows() [][]byte { return m.made }

func (m *Machine) keepLocal(index, term uint64) {
	m.made = nil
	m.engine.EachLocal(func(row []byte) {
		m.made = append(m.made, box.AppendLocal(nil, index, term, row))
	})
}
