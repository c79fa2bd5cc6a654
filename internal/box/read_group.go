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
	n       int
	version uint64
}

// member is one query of a group with what its check came to.
type member struct {
	query Query
	plan  plan
	err   error
}

// Add returns the place for one more query, which must not be a page and whose bytes must stay until End; nil if the
// group is full.
func (g *Group) Add() *Query {
	if g.n == GroupMax {
		return nil
	}
	g.n++
	return &g.members[g.n-1].query
}

// Len returns the number of queries.
func (g *Group) Len() int { return g.n }

// Begin pins the newest published version for the queries of a group, checks them, and looks for what they ask for.
func (r *Reader) Begin(g *Group) {
	g.version = r.slot.Enter()
	schema := r.e.schemaAt(g.version)
	for i := range g.n {
		m, l := &g.members[i], &g.lookups[i]
		*l = index.Lookup{}
		if m.err = m.plan.make(r.space(schema, m.query.SpaceID), &m.query); m.err == nil && m.plan.parts > 0 {
			st := m.plan.index.state
			st.store.Start(l, st.rootAt(g.version), m.plan.key, m.plan.parts)
		}
	}
	index.Run(g.lookups[:g.n])
}

// Take appends the tuples that query i of the group finds to out, and returns their number.
func (r *Reader) Take(g *Group, i int, out []byte) ([]byte, int, error) {
	m := &g.members[i]
	if m.err != nil {
		return out, 0, m.err
	}
	if q := &m.query; q.Limit > 0 && q.Offset == 0 && m.plan.exact() {
		out, n := r.one(g.lookups[i].Found(), out)
		return out, n, nil
	}
	return r.run(g.version, &m.plan, &m.query, out)
}

// End gives the version up and leaves the group empty.
func (r *Reader) End(g *Group) {
	r.slot.Leave()
	g.n = 0
}
