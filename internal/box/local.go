package box

import (
	"encoding/binary"
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// logged is where the rows of a space are written.
type logged uint8

const (
	// loggedEntry: into the entry, which goes to every replica.
	loggedEntry logged = iota
	// loggedLocal: beside the entry, into the log of this instance alone.
	loggedLocal
	// loggedNowhere: the rows are gone after a restart.
	loggedNowhere
)

func (s *Space) logged() logged {
	switch {
	case s.Temporary:
		return loggedNowhere
	case s.Local:
		return loggedLocal
	}
	return loggedEntry
}

// loggedRow is where one row is written. That a space was emptied is written where its rows are, as in Tarantool; that
// the mark of it is removed goes to every replica.
func (e *Engine) loggedRow(sp *Space, tup []byte) logged {
	if sp.ID == dictionary.SpaceTruncate && tup != nil {
		if target := e.schema.Space(uint32(firstUint(tup, 0))); target != nil {
			return target.logged()
		}
	}
	return sp.logged()
}

// LocalRow is a row of a local space as the log holds it, beside the entry of its version.
type LocalRow struct {
	// Index and Term are those of the entry.
	Index, Term uint64
	// After is the number of the entry's rows that come before this one.
	After uint64
	Row   Row
}

// logLocal appends a row to those of the open version that stay on this instance.
func (e *Engine) logLocal(kind byte, space uint32, data []byte) {
	e.local = binary.AppendUvarint(e.local, uint64(e.rows))
	e.local = appendRow(e.local, kind, space, data)
	e.localEnds = append(e.localEnds, len(e.local))
	e.localRows++
}

// EachLocal yields the rows of local spaces that the sealed version changed, encoded but for the place of the entry: see
// AppendLocal. They are valid until the next Begin.
func (e *Engine) EachLocal(yield func(row []byte)) {
	from := 0
	for _, end := range e.localEnds {
		yield(e.local[from:end:end])
		from = end
	}
}

// AppendLocal appends a row that EachLocal gave, with index and term of the entry that it belongs to.
func AppendLocal(dst []byte, index, term uint64, row []byte) []byte {
	dst = binary.AppendUvarint(dst, index)
	dst = binary.AppendUvarint(dst, term)
	return append(dst, row...)
}

// DecodeLocal reads what AppendLocal wrote; Data aliases it.
func DecodeLocal(b []byte) (LocalRow, error) {
	var r LocalRow
	for _, v := range []*uint64{&r.Index, &r.Term, &r.After} {
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return r, fmt.Errorf("%w: local row", errEntry)
		}
		*v, b = value, b[n:]
	}
	row, rest, err := decodeRow(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: local row", errEntry)
	}
	r.Row = row
	return r, err
}

// LocalRows is how many rows of local spaces the version has seen since the instance began: the part 0 of its vector clock.
func (v *View) LocalRows() uint64 { return v.e.schemaVersionAt(v.version).localRows }

// LoadLocalRows tells the open version how many rows of local spaces came before the snapshot that is loaded into it.
func (e *Engine) LoadLocalRows(n uint64) { e.localRows = n }

// checkMix refuses a statement on a space whose rows stay on this instance in a transaction that has written others, and
// the other way round: one part could be committed without the other.
func (t *Tx) checkMix(sp *Space) error {
	for _, ts := range t.spaces {
		if (ts.space.logged() == loggedEntry) != (sp.logged() == loggedEntry) {
			return errcode.New(errcode.MixedTransaction, ts.space.Name, sp.Name)
		}
		return nil
	}
	return nil
}

// keyOf appends the primary key of a tuple as an array.
func (s *Space) keyOf(dst, tup []byte) []byte {
	pk := s.primary().Def
	return pk.ExtractKey(msgpack.AppendArrayHeader(dst, pk.PartCount()), tup)
}
