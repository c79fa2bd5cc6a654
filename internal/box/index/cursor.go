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

	// On the way down: the next page, its level plus one (0: there), and how to place the cursor among equal entries.
	next                   memory.Ref
	level                  int
	through, innersThrough bool
}

type step struct {
	page *inner
	pos  int
}

// Seek sets a cursor: it will give the entries of r that it selects for the first n parts of key (parts without array
// header). With n = 0 EQ, ALL, GE and GT give everything in order, REQ, LE and LT in reverse.
func (t *Tree) Seek(c *Cursor, r Root, it Iterator, key []byte, n int) {
	t.Begin(c, r, it, key, n)
	for c.level > 0 {
		c.down()
	}
}

// Begin is the start of Seek, to be followed by SeekAll.
func (t *Tree) Begin(c *Cursor, r Root, it Iterator, key []byte, n int) {
	c.t, c.leaf, c.height, c.level = t, nil, int(r.Height), 0
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
	// All entries before the place are smaller (or not greater), the rest is not.
	c.through = it == GT || it == LE || it == REQ
	// With all parts of the key at most one entry is equal: looking for the last first entry that is not greater finds
	// its leaf at once. With fewer, the first equal one may be in a leaf that begins with a smaller one.
	c.innersThrough = c.through || n == t.parts
	c.next, c.level = r.Page, c.height
}

// SeekAll brings cursors to their places, a level of all of them at a time, so that they wait for memory together.
func SeekAll(all []Cursor) {
	for busy := true; busy; {
		busy = false
		for i := range all {
			if c := &all[i]; c.level > 0 {
				c.down()
				busy = true
			}
		}
	}
}

// down goes one level down and asks for the memory that the next step will look at.
func (c *Cursor) down() {
	t := c.t
	c.level--
	if c.level > 0 {
		in := t.inner(c.next)
		pos := max(t.innerBefore(in, &c.probe, c.innersThrough)-1, 0)
		c.up[c.level] = step{in, pos}
		c.next = in.child(pos)
		t.a.PrefetchPage(c.next, pageAheadBytes)
		return
	}
	c.leaf = t.leaf(c.next)
	c.pos = t.leafBefore(c.leaf, &c.probe, c.through)
	if c.backward {
		c.pos--
	}
	c.prefetch(c.pos)
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
