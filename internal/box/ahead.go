package box

import (
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// AheadMax is how many statements can be expected at a time: see GroupMax.
const AheadMax = 32

// ahead has the searches of the statements that are expected.
type ahead struct {
	lookups [AheadMax]index.Lookup
	n       int
	// rows are those of an entry that are applied next.
	rows [AheadMax]aheadRow
}

// aheadRow is a row of an entry. fits is the format that its tuple is known to fit, nil if none is known.
type aheadRow struct {
	Row
	fits *tuple.Format
}

// Expect announces a statement that Execute gets soon, so that Fetch can have its rows fetched; of more than AheadMax the
// rest is passed over. It checks nothing that Execute would not check, or remembers it in the statement.
func (e *Engine) Expect(s *Statement) {
	sp := e.schema.Space(s.SpaceID)
	if e.ahead.n == AheadMax || sp == nil || sp.IsVirtual() || sp.primary() == nil {
		return
	}
	l := &e.ahead.lookups[e.ahead.n]
	switch s.Kind {
	case Insert, Replace, Upsert:
		if sp.auto != nil || sp.Format.Validate(s.Tuple) != nil {
			return
		}
		s.fits = sp.Format
		st := sp.primary().state
		st.store.StartTuple(l, st.cur, s.Tuple)
	default:
		ix, key, err := exactKey(sp, s)
		if err != nil || ix.cmp != ix.Def { // the tree of a nullable key has more parts than the key
			return
		}
		ix.state.store.Start(l, ix.state.cur, key)
	}
	l.Pages(memory.PageBytes) // which are going to be copied
	e.ahead.n++
}

// expectRow announces a row that is going to be applied. What is wrong with one is told then.
func (e *Engine) expectRow(r *aheadRow) {
	sp := e.schema.Space(r.SpaceID)
	if sp == nil || sp.IsVirtual() || sp.primary() == nil {
		return
	}
	l, st := &e.ahead.lookups[e.ahead.n], sp.primary().state
	if r.Deleted {
		def := sp.primary().Def
		n, key, err := msgpack.ReadArrayLen(r.Data)
		if err != nil || n != def.PartCount() || def.ValidateKey(key, n) != nil {
			return
		}
		st.store.Start(l, st.cur, key)
	} else {
		if sp.Format.Validate(r.Data) != nil {
			return
		}
		r.fits = sp.Format
		st.store.StartTuple(l, st.cur, r.Data)
	}
	l.Pages(memory.PageBytes) // which are going to be copied
	e.ahead.n++
}

// Fetch has the processor's caches filled with what the expected statements will look at. It changes nothing else.
func (e *Engine) Fetch() {
	index.Run(e.ahead.lookups[:e.ahead.n])
	e.ahead.n = 0
}
