package index

import (
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// place is where the writer's last Find ended: the path leads there.
type place struct {
	page  memory.Ref // root that was searched
	hint  uint64
	found bool
	at    edge
}

// nowhere is the root of a place that a change has made invalid.
const nowhere = ^memory.Ref(0)

// Insert puts a tuple into the index. An entry that compares equal is replaced and returned (0: none); its tuple still
// belongs to the caller. version is the one that is being written (memory.Arena.Begin), above every published one. Error:
// memory.ErrQuota, before any change.
func (t *Tree) Insert(r *Root, version uint64, tup memory.Ref) (old memory.Ref, err error) {
	t.Find(*r, t.a.Tuple(tup))
	return t.Put(r, version, tup)
}

// Find returns the tuple that compares equal to tup, 0 if there is none, and remembers the place for Put. Of the writer.
func (t *Tree) Find(r Root, tup []byte) memory.Ref {
	p := t.tupleProbe(tup)
	return t.look(r, &p)
}

// FindKey is Find for a key with all parts.
func (t *Tree) FindKey(r Root, key []byte) memory.Ref {
	p := t.keyProbe(key, t.parts)
	return t.look(r, &p)
}

func (t *Tree) look(r Root, p *probe) memory.Ref {
	*t.place = place{page: r.Page, hint: p.hint}
	if r.Page == 0 {
		return 0
	}
	t.place.found, t.place.at = t.descend(r, p)
	if !t.place.found {
		return 0
	}
	return t.leaf(t.path[0].ref).ref(t.path[0].pos)
}

// Put is Insert for a tuple with the key that the last Find looked for, without another search. Nothing may have changed
// the index since.
func (t *Tree) Put(r *Root, version uint64, tup memory.Ref) (old memory.Ref, err error) {
	if t.place.page != r.Page {
		invariant.Check(false, "index: a tuple is put into a root that was not searched, or changed since")
	}
	if err := t.reserve(version, 2*int(r.Height)+2, false); err != nil {
		return 0, err
	}
	hint, at := t.place.hint, t.place.at
	t.place.page = nowhere
	if r.Page == 0 {
		r.Page, r.Height, r.Count = t.newPage(r, version, 0), 1, 1
		t.leaf(r.Page).insert(0, hint, tup)
		return 0, nil
	}
	if t.place.found {
		return t.replace(r, version, hint, tup), nil
	}
	r.Count++
	var split memory.Ref
	if t.leaf(t.path[0].ref).n < leafMax {
		t.path[0].ref = t.own(version, t.path[0].ref)
		t.leaf(t.path[0].ref).insert(t.path[0].pos, hint, tup)
	} else {
		split = t.splitLeaf(r, version, at)
		t.insertSplit(split, hint, tup)
	}
	t.grow(r, version, split, at)
	return 0, nil
}

func (t *Tree) replace(r *Root, version, hint uint64, tup memory.Ref) (old memory.Ref) {
	t.path[0].ref = t.own(version, t.path[0].ref)
	l, pos := t.leaf(t.path[0].ref), t.path[0].pos
	old = l.ref(pos)
	l.set(pos, hint, tup)
	t.grow(r, version, 0, inside)
	return old
}

// splitLeaf splits the full leaf of the path in two, of which the second is returned and the first stays on the path.
// At the edges of the tree the old leaf stays full, untouched, and the other one is empty: keys that arrive in order
// fill their pages.
func (t *Tree) splitLeaf(r *Root, version uint64, at edge) memory.Ref {
	old := t.path[0].ref
	switch at {
	case rightEdge:
		return t.newPage(r, version, 0)
	case leftEdge:
		t.path[0].ref = t.newPage(r, version, 0)
		return old
	}
	return t.halve(r, version, 0, leafMax/2)
}

// halve moves the entries from position at on, of the page at a level of the path, to a new page and returns it.
func (t *Tree) halve(r *Root, version uint64, level, at int) memory.Ref {
	old := t.path[level].ref
	n := int(t.page(old).n)
	right := t.newPage(r, version, uint8(level))
	move(t.raw(right), 0, t.raw(old), at, n-at)
	t.page(right).n = uint16(n - at)
	if t.page(old).birth != version {
		left := t.newPage(r, version, uint8(level))
		move(t.raw(left), 0, t.raw(old), 0, at)
		t.drop(r, version, old)
		t.path[level].ref = left
	}
	t.page(t.path[level].ref).n = uint16(at)
	return right
}

// insertSplit puts the new entry into one of the two halves of a leaf.
func (t *Tree) insertSplit(right memory.Ref, hint uint64, tup memory.Ref) {
	left, pos := t.leaf(t.path[0].ref), t.path[0].pos
	if n := int(left.n); pos > n || pos == n && n == leafMax {
		t.leaf(right).insert(pos-n, hint, tup)
		return
	}
	left.insert(pos, hint, tup)
}

// grow carries a change of the leaf upwards: links, and the second half of a page that was split (0: none).
func (t *Tree) grow(r *Root, version uint64, split memory.Ref, at edge) {
	top := int(r.Height) - 1
	for level := 1; level <= top; level++ {
		changed := t.link(version, level-1)
		if split != 0 {
			split = t.insertChild(r, version, level, split, at)
		} else if !changed {
			return
		}
	}
	r.Page = t.path[top].ref
	if split == 0 {
		return
	}
	invariant.Check(int(r.Height) < heightMax-1, "index: too many levels")
	root := t.newPage(r, version, r.Height)
	in := t.inner(root)
	in.insert(0, first(t.raw(r.Page), r.Page))
	in.insert(1, first(t.raw(split), split))
	r.Page = root
	r.Height++
}

// insertChild puts a child behind the one on the path. A full page is split, and its second half returned.
func (t *Tree) insertChild(r *Root, version uint64, level int, child memory.Ref, at edge) memory.Ref {
	e := first(t.raw(child), child)
	pos := t.path[level].pos + 1
	if t.page(t.path[level].ref).n < innerMax {
		t.ownInner(version, level).insert(pos, e)
		return 0
	}
	if at == rightEdge {
		right := t.newPage(r, version, uint8(level))
		t.inner(right).insert(0, e)
		return right
	}
	half := innerMax / 2
	if at == leftEdge {
		half = 1
	}
	right := t.halve(r, version, level, half)
	if pos <= half {
		t.inner(t.path[level].ref).insert(pos, e)
	} else {
		t.inner(right).insert(pos-half, e)
	}
	return right
}
