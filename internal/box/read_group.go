package box

import "github.com/lycosadb/lycosa/internal/box/index"

// GroupMax is how many queries a Group holds. That many searches side by side keep the memory busy all the time; with
// more, what was fetched ahead would leave the processor's nearest cache before it is looked at.
const GroupMax = 32

// Group is room for queries that came together. All of them see the same version, and their searches run side by side, so
// that they wait for memory together instead of one after the other. It belongs to one goroutine.
type Group struct {
	members [GroupMax]member
	lookups [GroupMax]index.Lookup
	cursors [GroupMax]index.Cursor
	n       int
	version uint64
}

// member is one query of a group with what its check came to.
type member struct {
	query Query
	plan  plan
	err   error
	how   way
	at    int // place among the lookups, or the cursors
}

// way is how a member is answered: without the others, by its whole key, or by a cursor.
type way uint8

const (
	alone way = iota
	byKey
	byCursor
)

// Add returns the place for one more query, which must not be a page and whose bytes must stay until End; nil if the
// group is full.
func (g *Group) Add() *Query {
	if g.n == GroupMax {
		return nil
	}
	g.n++
	return &g.members[g.n-1].query
}

// Query returns the query at a place.
func (g *Group) Query(i int) *Query { return &g.members[i].query }

// Len returns the number of queries.
func (g *Group) Len() int { return g.n }

// Begin pins the newest published version for the queries of a group, unless Pin has chosen one, checks them, and looks
// for what they ask for.
func (r *Reader) Begin(g *Group) {
	g.version = r.pinned()
	schema := r.e.schemaAt(g.version)
	exact, cursors := 0, 0
	for i := range g.n {
		m := &g.members[i]
		m.err = m.plan.make(r.space(schema, m.query.SpaceID), &m.query)
		switch m.how = m.way(); m.how {
		case byKey:
			st := m.plan.index.state
			m.at = exact
			exact++
			st.store.Start(&g.lookups[m.at], st.rootAt(g.version), m.plan.key)
		case byCursor:
			st := m.plan.index.state
			m.at = cursors
			cursors++
			st.store.Begin(&g.cursors[m.at], st.rootAt(g.version), treeIterator(&m.plan), m.plan.key, m.plan.parts)
		}
	}
	index.Run(g.lookups[:exact])
	index.SeekAll(g.cursors[:cursors])
}

// way decides how a member of a group is answered.
func (m *member) way() way {
	p, q := &m.plan, &m.query
	switch {
	case m.err != nil || q.Limit == 0 || p.space.IsView() || p.space.virtual != nil:
		return alone
	case q.Offset == 0 && p.exact():
		return byKey
	}
	return byCursor
}

// Take appends the tuples that query i of the group finds to out, and returns their number.
func (r *Reader) Take(g *Group, i int, out []byte) ([]byte, int, error) {
	m := &g.members[i]
	switch {
	case m.err != nil:
		return out, 0, m.err
	case m.how == byKey:
		out, n := r.one(g.lookups[m.at].Found(), out)
		return out, n, nil
	case m.how == byCursor:
		r.sink = newSink(&m.query, out)
		r.walk(&m.plan, &g.cursors[m.at])
		return r.result(out)
	}
	return r.run(g.version, &m.plan, &m.query, out)
}

// End gives the version up and leaves the group empty.
func (r *Reader) End(g *Group) {
	r.slot.Leave()
	g.n = 0
}
