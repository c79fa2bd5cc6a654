package box

import (
	"github.com/lycosadb/lycosa/internal/errcode"
)

// Select reads as the transaction sees it: its view with its own writes.
func (t *Tx) Select(q *Query, out []byte) ([]byte, int, error) {
	var p plan
	if err := p.make(t.schema.Space(q.SpaceID), q); err != nil {
		return out, 0, err
	}
	if q.Limit == 0 {
		return out, 0, nil
	}
	s := sink{out: out, skip: q.Offset, limit: q.Limit, bytesMax: len(out) + ReplyBytesMax}
	if p.space.IsVirtual() || p.space.IsView() {
		return t.selectView(&p, q, &s)
	}
	if p.exact() {
		tup, err := t.find(p.space, p.index, p.key, p.parts)
		if err != nil || tup == nil {
			return out, 0, err
		}
		s.add(tup)
		return s.out, s.count, nil
	}
	last := t.scan(&p, &s)
	if s.tooManyBytes {
		return out, 0, errcode.New(errcode.TooBig, "a result", len(s.out)-len(out), ReplyBytesMax)
	}
	if err := t.remember(p.space, rangeOf(&p, last)); err != nil {
		return out, 0, err
	}
	return s.out, s.count, nil
}

// selectView reads what a transaction can not change: views and spaces whose rows live elsewhere.
func (t *Tx) selectView(p *plan, q *Query, s *sink) ([]byte, int, error) {
	rows, ix := p.space, p.index
	if p.space.IsView() {
		s.visible = visibility(t.schema, p.space, q.User)
		rows = t.schema.Space(p.space.viewOf)
		ix = rows.Index(p.index.ID)
	}
	p.index = ix
	if rows.virtual != nil {
		err := selectVirtual(p, rows, s)
		return s.out, s.count, err
	}
	p.space = rows
	t.scan(p, s)
	return s.out, s.count, nil
}

// rangeOf is the part of the index that a scan has read; last is the tuple at which it stopped for its limit, nil if it
// went to its end.
func rangeOf(p *plan, last []byte) mark {
	m := mark{index: p.index}
	key := bound{key: p.key, parts: p.parts}
	switch p.iterator {
	case iterEQ, iterREQ:
		m.low, m.top = key, key
	case iterGE:
		m.low = key
	case iterGT:
		m.low, m.low.beyond = key, true
	case iterLE:
		m.top = key
	case iterLT:
		m.top, m.top.beyond = key, true
	}
	if last == nil {
		m.point = p.iterator == iterEQ || p.iterator == iterREQ
		return m
	}
	stop := bound{key: p.index.cmp.ExtractKey(nil, last), parts: p.index.cmp.PartCount()}
	if p.reverse() {
		m.low = stop
	} else {
		m.top = stop
	}
	return m
}

// scan merges the view with the transaction's own tuples, in the order of the iterator, until the sink has enough.
func (t *Tx) scan(p *plan, s *sink) (last []byte) {
	own := t.ownRows(p)
	st := p.index.state
	st.store.Seek(&t.cur, st.rootAt(t.version), treeIterator(p), p.key, p.parts)
	view := t.nextOfView(p.space)
	mine := own()
	for view != nil || mine != nil {
		tup := view
		if view == nil || mine != nil && p.before(mine, view) {
			tup, mine = mine, own()
		} else {
			view = t.nextOfView(p.space)
		}
		if p.beyond(tup) {
			return nil
		}
		if !s.add(tup) {
			return tup
		}
	}
	return nil
}

// before tells which of two tuples the iterator meets first.
func (p *plan) before(a, b []byte) bool {
	c := p.index.order(a, b)
	return c < 0 != p.reverse()
}

// nextOfView returns the next tuple of the cursor that the transaction has not removed.
func (t *Tx) nextOfView(sp *Space) []byte {
	ts := t.spaces[sp.ID]
	for ref, ok := t.cur.Next(); ok; ref, ok = t.cur.Next() {
		if tup := t.e.arena.Tuple(ref); ts == nil || !has(ts.gone, tup) {
			return tup
		}
	}
	return nil
}

// ownRows returns a function that yields the transaction's own tuples that belong to the result, then nil.
func (t *Tx) ownRows(p *plan) func() []byte {
	none := func() []byte { return nil }
	ts := t.spaces[p.space.ID]
	if ts == nil {
		return none
	}
	set := ts.own[p.space.position(p.index)]
	it := set.Iter()
	step, ok := it.Next, false
	switch {
	case p.parts == 0 && p.reverse():
		step, ok = it.Prev, it.Last()
	case p.parts == 0:
		ok = it.First()
	case p.reverse():
		side := int8(1)
		if p.iterator == iterLT {
			side = -1
		}
		step = it.Prev
		if it.Seek(item{key: p.key, parts: p.parts, side: side}) {
			ok = it.Prev()
		} else {
			ok = it.Last()
		}
	default:
		side := int8(-1)
		if p.iterator == iterGT {
			side = 1
		}
		ok = it.Seek(item{key: p.key, parts: p.parts, side: side})
	}
	return func() []byte {
		if !ok {
			return nil
		}
		tup := it.Item().tup
		if !p.matches(tup) {
			ok = false
			return nil
		}
		ok = step()
		return tup
	}
}
