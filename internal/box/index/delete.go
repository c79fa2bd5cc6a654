package index

import "github.com/lycosadb/lycosa/internal/box/memory"

// Delete takes the entry that compares equal to tup out of the index and returns its tuple (0: there is none), which
// still belongs to the caller. tup may be the bytes of that tuple itself. The quota does not stop it: memory that is
// full must be emptied somehow. Error: memory.ErrQuota if the system has no memory at all, before any change.
func (t *Tree) Delete(r *Root, version uint64, tup []byte) (old memory.Ref, err error) {
	if r.Page == 0 {
		return 0, nil
	}
	if err := t.reserve(version, 2*int(r.Height), true); err != nil {
		return 0, err
	}
	p := t.tupleProbe(tup)
	t.place.page = nowhere
	found, _ := t.descend(*r, &p)
	if !found {
		return 0, nil
	}
	t.path[0].ref = t.own(version, t.path[0].ref)
	l, pos := t.leaf(t.path[0].ref), t.path[0].pos
	old = l.ref(pos)
	l.remove(pos)
	r.Count--
	t.shrink(r, version)
	return old, nil
}

// shrink carries a removal upwards: links, pages that became empty, and pages that are so small that they are joined
// with a neighbour.
func (t *Tree) shrink(r *Root, version uint64) {
	top := int(r.Height) - 1
	for level := 0; level < top; level++ {
		h := t.page(t.path[level].ref)
		switch {
		case h.n == 0:
			t.drop(r, version, t.path[level].ref)
			t.ownInner(version, level+1).remove(t.path[level+1].pos)
		case int(h.n) < pageMax(h.level)/4 && t.page(t.path[level+1].ref).n > 1:
			t.link(version, level)
			t.balance(r, version, level)
		case !t.link(version, level):
			return
		}
	}
	r.Page = t.path[top].ref
	for r.Height > 1 && t.page(r.Page).n == 1 {
		child := t.inner(r.Page).child(0)
		t.drop(r, version, r.Page)
		r.Page = child
		r.Height--
	}
	if t.page(r.Page).n == 0 {
		t.drop(r, version, r.Page)
		*r = Root{}
	}
}

// balance joins the page at a level of the path with a neighbour under the same parent, or evens the two out.
func (t *Tree) balance(r *Root, version uint64, level int) {
	up := t.ownInner(version, level+1)
	at := t.path[level+1].pos
	if at > 0 {
		at--
	}
	leftRef, rightRef := up.child(at), up.child(at+1)
	ln, rn := int(t.page(leftRef).n), int(t.page(rightRef).n)
	leftRef = t.own(version, leftRef)
	left := t.raw(leftRef)
	if ln+rn <= pageMax(uint8(level)) {
		move(left, ln, t.raw(rightRef), 0, rn)
		t.page(leftRef).n = uint16(ln + rn)
		t.drop(r, version, rightRef)
		up.remove(at + 1)
		up.set(at, first(left, leftRef))
		return
	}
	rightRef = t.own(version, rightRef)
	right := t.raw(rightRef)
	half := (ln + rn) / 2
	if ln < half {
		move(left, ln, right, 0, half-ln)
		move(right, 0, right, half-ln, rn-(half-ln))
	} else {
		move(right, ln-half, right, 0, rn)
		move(right, 0, left, half, ln-half)
	}
	t.page(leftRef).n, t.page(rightRef).n = uint16(half), uint16(ln+rn-half)
	up.set(at, first(left, leftRef))
	up.set(at+1, first(right, rightRef))
}
