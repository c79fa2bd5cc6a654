package index

import "github.com/lycosadb/lycosa/internal/box/memory"

// Free drops a whole version of an index (its space was dropped or truncated, or the index itself): no root of version
// or later has its pages. They are freed bit by bit once no reader can see them, and with tuples also all tuples in it
// (for one of the indexes of a space).
func (t *Tree) Free(r Root, version uint64, tuples bool) {
	if r.Page != 0 {
		t.a.RetireWith(t.sweep(r, tuples), version)
	}
}

// Discard drops an index that no reader has ever seen; all its pages must belong to settled versions. They are freed bit
// by bit. The tuples stay.
func (t *Tree) Discard(r Root) {
	if r.Page != 0 {
		t.a.Discard(t.sweep(r, false))
	}
}

func (t *Tree) sweep(r Root, tuples bool) *sweep {
	s := &sweep{t: t, tuples: tuples, depth: 1}
	s.stack[0].ref = r.Page
	return s
}

// sweep walks a dropped tree: children first, then their page.
type sweep struct {
	t      *Tree
	tuples bool
	depth  int
	stack  path
}

// Sweep implements memory.Sweeper.
func (s *sweep) Sweep(budget int, free func(memory.Kind, memory.Ref)) (freed int, done bool) {
	for freed < budget && s.depth > 0 {
		top := &s.stack[s.depth-1]
		h := s.t.page(top.ref)
		if h.level > 0 && top.pos < int(h.n) {
			s.stack[s.depth].ref, s.stack[s.depth].pos = s.t.inner(top.ref).child(top.pos), 0
			s.depth++
			top.pos++
			continue
		}
		if h.level == 0 && s.tuples {
			l := s.t.leaf(top.ref)
			for ; top.pos < int(h.n) && freed < budget; top.pos++ {
				free(memory.KindTuple, l.ref(top.pos))
				freed++
			}
			if top.pos < int(h.n) {
				break
			}
		}
		free(memory.KindPage, top.ref)
		freed++
		s.depth--
	}
	return freed, s.depth == 0
}
