// Package index keeps the entries of a database index in copy-on-write pages of package memory: the ordered Tree, and
// Hash, the same pages ordered by hash. Pure: it allocates from the arena it is given and has no other effect.
//
// Readers walk immutable pages without locks and without checks. The writer copies a page the first time a version
// touches it and edits its copies in place for the rest of that version, so that a batch of changes pays once for the
// pages that they share. Replaced pages are retired at the version that replaced them. A Root is a plain value: the
// caller says when one becomes visible, and which versions are committed, rolled back or reclaimed (package box).
//
// An index holds references to tuples and neither allocates nor frees them: one tuple is in many indexes. It knows
// nothing of uniqueness beyond its own order: an insertion replaces the entry that compares equal.
package index

import (
	"unsafe"

	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Root is one version of an index. The zero value is an empty index.
type Root struct {
	Page   memory.Ref
	Count  uint64 // entries
	Pages  uint64 // pages, of memory.PageBytes each
	Height uint8  // levels of pages, 0 if empty
}

// Tree is an index in key order. It has no entries of its own: they are in the Roots. One goroutine at a time calls the
// methods that take a version; the others are for any goroutine that pins a version of the root it passes.
type Tree struct {
	a      *memory.Arena
	kd     *tuple.KeyDef
	parts  int
	hashed bool
	hidden bool
	// path and place are the writer's.
	path  *path
	place *place
}

// path leads from a leaf (level 0) to the root: the page of each level, and the position in it that was chosen.
type path [heightMax]struct {
	ref memory.Ref
	pos int
}

// NewTree makes a tree over an arena. For an index that is not unique (or that has nullable parts) kd must end with the
// parts of the primary key, so that no two entries compare equal.
func NewTree(a *memory.Arena, kd *tuple.KeyDef) *Tree {
	return &Tree{a: a, kd: kd, parts: len(kd.Parts()), path: new(path), place: new(place)}
}

// probe is what a search looks for: a tuple, or the first n parts of a key.
type probe struct {
	hint  uint64
	tup   []byte // nil: key
	key   []byte
	n     int
	exact bool // entries with an equal hint are equal
}

func (t *Tree) tupleProbe(tup []byte) probe {
	if t.hashed {
		return probe{hint: t.kd.Hash(tup), tup: tup, n: t.parts}
	}
	h := t.kd.Hint(tup)
	return probe{hint: h, tup: tup, n: t.parts, exact: t.parts == 1 && t.kd.HintExact(h)}
}

func (t *Tree) keyProbe(key []byte, n int) probe {
	if t.hashed {
		return probe{hint: t.kd.HashKey(key, n), key: key, n: n}
	}
	h := t.kd.KeyHint(key, n)
	return probe{hint: h, key: key, n: n, exact: n == 1 && t.kd.HintExact(h)}
}

// compare orders an entry whose hint is that of the probe against the probe.
func (t *Tree) compare(ref memory.Ref, p *probe) int {
	if p.exact {
		return 0
	}
	tup := t.a.Tuple(ref)
	switch {
	case p.tup == nil && t.hashed:
		return t.kd.CompareKey(tup, p.key, p.n)
	case p.tup == nil:
		return t.kd.CompareKeyHinted(tup, p.hint, p.key, p.hint, p.n)
	case t.hashed:
		return t.kd.Compare(tup, p.tup)
	}
	return t.kd.CompareHinted(tup, p.hint, p.tup, p.hint)
}

// leafBefore returns how many entries of a leaf are smaller than the probe, or not greater if through is set.
func (t *Tree) leafBefore(l *leaf, p *probe, through bool) int {
	n := int(l.n)
	i := lowerHint(l.hints[:n], p.hint)
	if i == n || l.hints[i] != p.hint || p.exact && !through {
		return i
	}
	j := i + 1
	for j < n && l.hints[j] == p.hint {
		j++
	}
	if p.exact {
		return j
	}
	for i < j {
		m := int(uint(i+j) >> 1)
		if c := t.compare(l.ref(m), p); c < 0 || c == 0 && through {
			i = m + 1
		} else {
			j = m
		}
	}
	return i
}

// innerBefore is leafBefore for the first entries of the children.
func (t *Tree) innerBefore(in *inner, p *probe, through bool) int {
	n := int(in.n)
	i := lowerHint(in.hints[:n], p.hint)
	if i == n || in.hints[i] != p.hint || p.exact && !through {
		return i
	}
	j := i + 1
	for j < n && in.hints[j] == p.hint {
		j++
	}
	if p.exact {
		return j
	}
	for i < j {
		m := int(uint(i+j) >> 1)
		if c := t.compare(in.ref(m), p); c < 0 || c == 0 && through {
			i = m + 1
		} else {
			j = m
		}
	}
	return i
}

func (t *Tree) leaf(r memory.Ref) *leaf         { return (*leaf)(t.a.Page(r)) }
func (t *Tree) inner(r memory.Ref) *inner       { return (*inner)(t.a.Page(r)) }
func (t *Tree) page(r memory.Ref) *header       { return (*header)(t.a.Page(r)) }
func (t *Tree) raw(r memory.Ref) unsafe.Pointer { return t.a.Page(r) }

// leafOf returns the leaf that holds an entry equal to the probe if there is one; the probe has all parts.
func (t *Tree) leafOf(r Root, p *probe) *leaf {
	ref := r.Page
	for level := r.Height; level > 1; level-- {
		in := t.inner(ref)
		ref = in.child(max(t.innerBefore(in, p, true)-1, 0))
	}
	return t.leaf(ref)
}

func (t *Tree) find(r Root, p *probe) memory.Ref {
	if r.Page == 0 {
		return 0
	}
	l := t.leafOf(r, p)
	i := t.leafBefore(l, p, false)
	if i < int(l.n) && l.hints[i] == p.hint && t.compare(l.ref(i), p) == 0 {
		return l.ref(i)
	}
	return 0
}

// Get returns the first tuple whose first n parts are key (parts without array header), 0 if there is none or n is 0
// and the index is empty.
func (t *Tree) Get(r Root, key []byte, n int) memory.Ref {
	if n >= t.parts {
		p := t.keyProbe(key, t.parts)
		return t.find(r, &p)
	}
	var c Cursor
	t.Seek(&c, r, EQ, key, n)
	ref, _ := c.Next()
	return ref
}

// GetTuple returns the tuple that compares equal to tup, 0 if there is none.
func (t *Tree) GetTuple(r Root, tup []byte) memory.Ref {
	p := t.tupleProbe(tup)
	return t.find(r, &p)
}

// edge says that a place is before or behind all entries of a tree.
type edge uint8

const (
	inside edge = iota
	leftEdge
	rightEdge
)

// descend fills the writer's path to the place of the probe and tells whether an equal entry is there, and whether the
// place is at an edge of the tree.
func (t *Tree) descend(r Root, p *probe) (found bool, at edge) {
	left, right := true, true
	ref := r.Page
	for level := int(r.Height) - 1; level > 0; level-- {
		in := t.inner(ref)
		pos := max(t.innerBefore(in, p, true)-1, 0)
		left = left && pos == 0
		right = right && pos == int(in.n)-1
		t.path[level].ref, t.path[level].pos = ref, pos
		ref = in.child(pos)
	}
	l := t.leaf(ref)
	pos := t.leafBefore(l, p, false)
	t.path[0].ref, t.path[0].pos = ref, pos
	found = pos < int(l.n) && l.hints[pos] == p.hint && t.compare(l.ref(pos), p) == 0
	switch {
	case right && pos == int(l.n):
		return found, rightEdge
	case left && pos == 0:
		return found, leftEdge
	}
	return found, inside
}

// reserve makes room for the pages that one change of the tree may need.
func (t *Tree) reserve(version uint64, pages int, beyondQuota bool) error {
	if version != t.a.Version() {
		invariant.Check(false, "index: version %d is written, but allocations are for %d", version, t.a.Version())
	}
	return t.a.ReservePages(pages, beyondQuota)
}

// newPage makes a page of the version that is being written.
func (t *Tree) newPage(r *Root, version uint64, level uint8) memory.Ref {
	ref := t.a.NewPage()
	*t.page(ref) = header{birth: version, level: level}
	r.Pages++
	return ref
}

// drop gives up a page of the tree.
func (t *Tree) drop(r *Root, version uint64, ref memory.Ref) {
	r.Pages--
	if t.page(ref).birth == version {
		t.a.Free(memory.KindPage, ref)
	} else {
		t.retire(ref, version)
	}
}

// retire gives up a page of an older version.
func (t *Tree) retire(ref memory.Ref, version uint64) {
	if t.hidden {
		t.a.RetireUnseen(memory.KindPage, ref, version)
		return
	}
	t.a.Retire(memory.KindPage, ref, version)
}

// Hide says whether no reader can reach any root of the tree, because it is still being made. Pages that it gives up then
// are free as soon as their version is settled.
func (t *Tree) Hide(on bool) { t.hidden = on }

// own returns a page that the version may write, with the entries of the given one: itself or a copy.
func (t *Tree) own(version uint64, ref memory.Ref) memory.Ref {
	old := t.raw(ref)
	if (*header)(old).birth == version {
		return ref
	}
	copied := t.a.NewPage()
	page := t.raw(copied)
	*(*pageBytes)(page) = *(*pageBytes)(old)
	(*header)(page).birth = version
	t.retire(ref, version)
	return copied
}

// ownInner makes the page of a level of the path writable.
func (t *Tree) ownInner(version uint64, level int) *inner {
	t.path[level].ref = t.own(version, t.path[level].ref)
	return t.inner(t.path[level].ref)
}

// link brings the entry of the page at level, in the page above it, up to date. It reports whether anything changed.
func (t *Tree) link(version uint64, level int) bool {
	e := first(t.raw(t.path[level].ref), t.path[level].ref)
	up, pos := t.inner(t.path[level+1].ref), t.path[level+1].pos
	if up.entry(pos) == e {
		return false
	}
	t.ownInner(version, level+1).set(pos, e)
	return true
}
