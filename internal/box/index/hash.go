package index

import (
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Hash is an index without useful order: it keeps its entries in a tree by the hash of their keys, and by key where
// hashes are equal. So keys that are chosen to collide make it no slower than a Tree, its pages never have to be hashed
// anew, and "after this key" has a meaning that no insertion changes.
type Hash struct{ t Tree }

// NewHash makes a hash index over an arena; all keys must be given with all parts of kd.
func NewHash(a *memory.Arena, kd *tuple.KeyDef) *Hash {
	h := &Hash{t: *NewTree(a, kd)}
	h.t.hashed = true
	return h
}

// Insert is as Tree.Insert.
func (h *Hash) Insert(r *Root, version uint64, tup memory.Ref) (old memory.Ref, err error) {
	return h.t.Insert(r, version, tup)
}

// Delete is as Tree.Delete.
func (h *Hash) Delete(r *Root, version uint64, tup []byte) (old memory.Ref, err error) {
	return h.t.Delete(r, version, tup)
}

// Find is as Tree.Find.
func (h *Hash) Find(r Root, tup []byte) memory.Ref { return h.t.Find(r, tup) }

// FindKey is as Tree.FindKey.
func (h *Hash) FindKey(r Root, key []byte) memory.Ref { return h.t.FindKey(r, key) }

// Put is as Tree.Put.
func (h *Hash) Put(r *Root, version uint64, tup memory.Ref) (old memory.Ref, err error) {
	return h.t.Put(r, version, tup)
}

// Get returns the tuple with this key, which has all n parts (fewer find nothing), 0 if there is none.
func (h *Hash) Get(r Root, key []byte, n int) memory.Ref {
	if n < h.t.parts {
		return 0
	}
	return h.t.Get(r, key, n)
}

// GetTuple returns the tuple that has the key of tup, 0 if there is none.
func (h *Hash) GetTuple(r Root, tup []byte) memory.Ref { return h.t.GetTuple(r, tup) }

// Seek sets a cursor: ALL gives everything, EQ the entry with the key, GT what comes after the key in the order of the
// index (without key: everything). Other iterators and partial keys give nothing.
func (h *Hash) Seek(c *Cursor, r Root, it Iterator, key []byte, n int) {
	h.t.Seek(c, h.visible(r, it, n), it, key, n)
}

// Begin is as Tree.Begin, for what Seek gives.
func (h *Hash) Begin(c *Cursor, r Root, it Iterator, key []byte, n int) {
	h.t.Begin(c, h.visible(r, it, n), it, key, n)
}

// visible is the root, or an empty one for what Seek does not give.
func (h *Hash) visible(r Root, it Iterator, n int) Root {
	if it != ALL && (it != EQ && it != GT || n != 0 && n < h.t.parts) {
		return Root{}
	}
	return r
}

// Free is as Tree.Free.
func (h *Hash) Free(r Root, version uint64, tuples bool) { h.t.Free(r, version, tuples) }

// Hide is as Tree.Hide.
func (h *Hash) Hide(on bool) { h.t.Hide(on) }

// Discard is as Tree.Discard.
func (h *Hash) Discard(r Root) { h.t.Discard(r) }

// Check is as Tree.Check.
func (h *Hash) Check(r Root) error { return h.t.Check(r) }

// Start is as Tree.Start.
func (h *Hash) Start(l *Lookup, r Root, key []byte) { h.t.Start(l, r, key) }

// StartTuple is as Tree.StartTuple.
func (h *Hash) StartTuple(l *Lookup, r Root, tup []byte) { h.t.StartTuple(l, r, tup) }
