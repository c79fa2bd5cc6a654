package box

import (
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
)

// AheadMax is how many statements can be expected at a time: see GroupMax.
const AheadMax = 32

// ahead has the searches of the statements that are expected.
type ahead struct {
	lookups [AheadMax]index.Lookup
	n       int
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

// Fetch has the processor's caches filled with what the expected statements will look at. It changes nothing else.
func (e *Engine) Fetch() {
	index.Run(e.ahead.lookups[:e.ahead.n])
	e.ahead.n = 0
}
