package sim

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// checks sees everything and compares it with what must be.
type checks struct {
	// leaders: the leader of each term.
	leaders map[uint64]uint64
	// chain[i] sums up all entries up to i as they were applied first, anywhere; terms their terms.
	chain, terms map[uint64]uint64
	top          uint64
	// logged: what was written under an index and a term, with the term before it.
	logged map[place]record
	// floor is the highest index that any client knows of: from an acknowledged write, or from a read.
	floor uint64
}

type place struct{ index, term uint64 }

type record struct{ sum, termBefore uint64 }

func newChecks() checks {
	return checks{
		leaders: map[uint64]uint64{}, chain: map[uint64]uint64{1: 1}, terms: map[uint64]uint64{1: 1}, top: 1,
		logged: map[place]record{},
	}
}

func sumOf(e *raftgroup.Entry, before uint64) uint64 {
	h := fnv.New64a()
	var b [32]byte
	le := binary.LittleEndian
	le.PutUint64(b[:], before)
	le.PutUint64(b[8:], e.Index)
	le.PutUint64(b[16:], e.Term)
	le.PutUint64(b[24:], uint64(e.Type))
	_, _ = h.Write(b[:])
	_, _ = h.Write(e.Data)
	return h.Sum64()
}

// status: a term has one leader, and that one has all that was committed before its term.
func (w *world) checkStatus(p *peer) {
	s := p.group.Status()
	c := &w.checks
	if s.Committed < p.committed {
		w.failf("peer %d: commit index goes from %d back to %d", p.id, p.committed, s.Committed)
	}
	p.committed = s.Committed
	if s.Role != raftgroup.RoleLeader {
		return
	}
	other, known := c.leaders[s.Term]
	if known && other != p.id {
		w.failf("term %d has two leaders, %d and %d", s.Term, other, p.id)
	}
	if known {
		return
	}
	c.leaders[s.Term] = p.id
	w.stats.leaders++
	w.notef("%d leads term %d", p.id, s.Term)
	if c.terms[c.top] < s.Term && s.LastIndex < c.top {
		w.failf("peer %d leads term %d with entries up to %d, %d is committed", p.id, s.Term, s.LastIndex, c.top)
	}
}

// written: the same index and term mean the same entry, and the same entries before it.
func (w *world) checkWritten(p *peer, e *raftgroup.Entry) {
	for i := e.Index + 1; p.terms[i] != 0; i++ {
		delete(p.terms, i)
	}
	p.terms[e.Index] = e.Term
	at := place{e.Index, e.Term}
	r := record{sumOf(e, 0), p.terms[e.Index-1]}
	was, known := w.checks.logged[at]
	if known && was != r {
		w.failf("peer %d: entry %d of term %d, after one of term %d, is not what it was (after one of term %d)", p.id, e.Index,
			e.Term, r.termBefore, was.termBefore)
	}
	w.checks.logged[at] = r
}

// applied: entries come in order, and are the same everywhere and for ever.
func (w *world) checkApplied(p *peer, e *raftgroup.Entry) {
	c := &w.checks
	if e.Index != p.state.index+1 || e.Term < p.state.term {
		w.failf("peer %d applies %d of term %d after %d of term %d", p.id, e.Index, e.Term, p.state.index, p.state.term)
	}
	if e.Type == raftgroup.EntryNormal && len(e.Data) > 0 {
		if named := binary.LittleEndian.Uint64(e.Data); named != e.Term {
			w.failf("entry %d was computed in term %d and written in term %d", e.Index, named, e.Term)
		}
	}
	p.state = state{index: e.Index, term: e.Term, chain: sumOf(e, p.state.chain)}
	w.checkState(p)
	if e.Index > c.top {
		c.top, c.chain[e.Index], c.terms[e.Index] = e.Index, p.state.chain, e.Term
	}
}

func (w *world) checkState(p *peer) {
	s := p.state
	if was, ok := w.checks.chain[s.index]; ok && was != s.chain {
		w.failf("peer %d: the state at index %d (term %d) is not the one applied there first (term %d)", p.id, s.index, s.term,
			w.checks.terms[s.index])
	}
}

// know: a client has seen the state at index, which is why every later read has to see it too.
func (w *world) know(index uint64) { w.checks.floor = max(w.checks.floor, index) }

// checkRead: a linearizable read of the state at index, begun when clients knew of floor.
func (w *world) checkRead(p *peer, how string, index, floor uint64) {
	w.notef("%s read at %d: %d", how, p.id, index)
	if index < floor {
		w.failf("stale %s read: peer %d (term %d) shows index %d, %d was known before the read began", how, p.id,
			p.group.Term(), index, floor)
	}
	w.know(index)
}
