package index

import (
	"github.com/lycosadb/lycosa/internal/box/memory"
)

// Iterator says where a cursor starts, which way it goes, and where it stops; numbers as in Tarantool's protocol.
type Iterator uint8

// The iterators of ordered indexes. With a partial key, entries that begin with it are equal to it.
const (
	EQ  Iterator = iota // equal to the key, ascending
	REQ                 // equal to the key, descending
	ALL                 // everything from the key on (without key: everything), ascending
	LT                  // smaller than the key, descending
	LE                  // not greater, descending
	GE                  // not smaller, ascending
	GT                  // greater, ascending
)

func (it Iterator) backward() bool { return it == REQ || it == LT || it == LE }

// Cursor walks one version of an index. It is a plain value that allocates nothing and needs no closing; it is valid
// while the version of its root is pinned (for a root that is being written: until the next change). The zero value
// has nothing to give. The key given to Seek must stay unchanged while the cursor is used.
type Cursor struct {
	t        *Tree
	leaf     *leaf
	pos      int // of the entry that Next will give
	backward bool
	bounded  bool // stop at the first entry that does not equal the probe
	height   int
	probe    probe
	up       [heightMax]step // inner pages of the path, from level 1 on
}

type step struct {
	page *inner
	pos  int
}

// Seek sets a cursor: it will give the entries of r that it selects for the first n parts of key (parts without array
// header). With n = 0 EQ, ALL, GE and GT give everything in order, REQ, LE and LT in reverse.
func (t *Tree) Seek(c *Cursor, r Root, it Iterator, key []byte, n int) {
	c.t, c.leaf, c.height = t, nil, int(r.Height)
	c.backward, c.bounded = it.backward(), false
	if r.Page == 0 {
		return
	}
	n = min(n, t.parts)
	if n == 0 || t.hashed && it == ALL {
		c.edge(r)
		return
	}
	c.probe = t.keyProbe(key, n)
	c.bounded = it == EQ || it == REQ
	// All entries before pos are smaller (or not greater), the rest is not.
	c.place(r, it == GT || it == LE || it == REQ)
	if c.backward {
		c.pos--
	}
}

// edge puts the cursor at the first entry, or at the last one.
func (c *Cursor) edge(r Root) {
	ref := r.Page
	for level := c.height - 1; level > 0; level-- {
		in := c.t.inner(ref)
		pos := 0
		if c.backward {
			pos = int(in.n) - 1
		}
		c.up[level] = step{in, pos}
		ref = in.child(pos)
	}
	c.leaf, c.pos = c.t.leaf(ref), 0
	if c.backward {
		c.pos = int(c.leaf.n) - 1
	}
}

// place puts the cursor behind all entries that are smaller than the probe, or not greater if through is set.
func (c *Cursor) place(r Root, through bool) {
	t := c.t
	// With all parts of the key at most one entry is equal: looking for the last first entry that is not greater finds
	// its leaf at once. With fewer, the first equal one may be in a leaf that begins with a smaller one.
	descendThrough := through || c.probe.n == t.parts
	ref := r.Page
	for level := c.height - 1; level > 0; level-- {
		in := t.inner(ref)
		pos := max(t.innerBefore(in, &c.probe, descendThrough)-1, 0)
		c.up[level] = step{in, pos}
		ref = in.child(pos)
	}
	c.leaf = t.leaf(ref)
	c.pos = t.leafBefore(c.leaf, &c.probe, through)
}

// Next returns the next entry's tuple; ok is false at the end, and from then on.
func (c *Cursor) Next() (ref memory.Ref, ok bool) {
	if c.leaf == nil {
		return 0, false
	}
	if c.pos < 0 || c.pos >= int(c.leaf.n) {
		if !c.turn() {
			c.leaf = nil
			return 0, false
		}
	}
	ref = c.leaf.ref(c.pos)
	if c.bounded && (c.leaf.hints[c.pos] != c.probe.hint || c.t.compare(ref, &c.probe) != 0) {
		c.leaf = nil
		return 0, false
	}
	if c.backward {
		c.pos--
	} else {
		c.pos++
	}
	return ref, true
}

// turn goes to the leaf after or before the current one.
func (c *Cursor) turn() bool {
	move := 1
	if c.backward {
		move = -1
	}
	for level := 1; level < c.height; level++ {
		s := &c.up[level]
		s.pos += move
		if s.pos < 0 || s.pos >= int(s.page.n) {
			continue
		}
		ref := s.page.child(s.pos)
		for level--; level > 0; level-- {
			in := c.t.inner(ref)
			pos := 0
			if c.backward {
				pos = int(in.n) - 1
			}
			c.up[level] = step{in, pos}
			ref = in.child(pos)
		}
		c.leaf, c.pos = c.t.leaf(ref), 0
		if c.backward {
			c.pos = int(c.leaf.n) - 1
		}
		return true
	}
	return false
}
