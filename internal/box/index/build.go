package index

import (
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// Builder makes an index of entries that come in its order, from the leaves up: nothing is searched, copied or split, and
// every page but the last of each level is full. Its pages belong to one version that nobody else writes or reads before
// Root. It needs memory whether the quota allows it or not.
type Builder struct {
	t       *Tree
	version uint64
	root    Root
	right   [heightMax]memory.Ref // the last page of each level
	leaf    *leaf                 // that of level 0
	last    memory.Ref
	hint    uint64
}

// Build begins an index of the version that is being written.
func (t *Tree) Build(version uint64) *Builder { return &Builder{t: t, version: version} }

// Build is as Tree.Build; the order is that of the hash index.
func (h *Hash) Build(version uint64) *Builder { return h.t.Build(version) }

// Append adds a tuple, and tells whether it could: not if it does not come after the one before. Error: the system
// refuses memory.
func (b *Builder) Append(tup memory.Ref) (inOrder bool, err error) {
	t := b.t
	p := t.tupleProbe(t.a.Tuple(tup))
	if b.last != 0 && p.hint <= b.hint && (p.hint < b.hint || t.compare(b.last, &p) >= 0) {
		return false, nil
	}
	return true, b.add(p.hint, tup)
}

// add puts an entry behind all others.
func (b *Builder) add(hint uint64, tup memory.Ref) error {
	if b.leaf == nil || b.leaf.n == leafMax {
		if err := b.newLeaf(hint, tup); err != nil {
			return err
		}
	}
	b.leaf.set(int(b.leaf.n), hint, tup)
	b.leaf.n++
	b.root.Count++
	b.last, b.hint = tup, hint
	return nil
}

// newLeaf begins a leaf whose first entry is given, and links it to the pages above.
func (b *Builder) newLeaf(hint uint64, tup memory.Ref) error {
	t := b.t
	if err := t.reserve(b.version, heightMax, true); err != nil {
		return err
	}
	page := t.newPage(&b.root, b.version, 0)
	e := entry{hint: hint, ref: tup, child: page}
	before := b.right[0]
	b.right[0], b.leaf = page, t.leaf(page)
	for level := 1; before != 0; level++ {
		if up := b.right[level]; up != 0 {
			if in := t.inner(up); in.n < innerMax {
				in.insert(int(in.n), e)
				return nil
			}
		}
		invariant.Check(level < heightMax-1, "index: too many levels")
		above := t.newPage(&b.root, b.version, uint8(level))
		in := t.inner(above)
		if b.right[level] == 0 { // the first page of this level has the one that was alone below it
			in.insert(0, first(t.raw(before), before))
		}
		in.insert(int(in.n), e)
		before, b.right[level] = b.right[level], above
		e.child = above
	}
	return nil
}

// Root returns the finished index. The builder must not be used afterwards.
func (b *Builder) Root() Root {
	for level, page := range b.right {
		if page != 0 {
			b.root.Page, b.root.Height = page, uint8(level+1)
		}
	}
	b.leaf = nil
	return b.root
}
