package index

import (
	"github.com/lycosadb/lycosa/internal/box/memory"
)

// Lookup is one of several searches that run side by side: what one has to wait for comes from memory while the others go
// on. The zero value finds nothing. It does not outlive the pin of its root's version.
type Lookup struct {
	t     *Tree
	p     probe
	ref   memory.Ref // a page while level > 0, then the tuple
	level uint8      // levels of pages to go
	// read tells that the leaf and the tuple with the probe's hint were fetched and are to be compared.
	read bool
	// bytes is how much of a page is fetched ahead.
	bytes uint16
}

const (
	// tupleAheadBytes is how much of a tuple that was found is fetched ahead, pageAheadBytes of a page: its hints.
	tupleAheadBytes = 120
	pageAheadBytes  = 640
)

// Start sets a lookup for a key with all parts of the tree (without array header), which must stay unchanged until the end.
func (t *Tree) Start(l *Lookup, r Root, key []byte) {
	*l = Lookup{t: t, ref: r.Page, level: r.Height, bytes: pageAheadBytes}
	if r.Page != 0 {
		l.p = t.keyProbe(key, t.parts)
	}
}

// StartTuple is Start for the entry that compares equal to tup: what GetTuple finds.
func (t *Tree) StartTuple(l *Lookup, r Root, tup []byte) {
	*l = Lookup{t: t, ref: r.Page, level: r.Height, bytes: pageAheadBytes}
	if r.Page != 0 {
		l.p = t.tupleProbe(tup)
	}
}

// Pages sets how much of a page is fetched ahead, in bytes; by default what a search looks at.
func (l *Lookup) Pages(n uint16) { l.bytes = n }

// Found returns what a lookup found, 0 for nothing, after Run.
func (l *Lookup) Found() memory.Ref { return l.ref }

// Run brings lookups to their ends, all of them a step at a time.
func Run(all []Lookup) {
	for busy := true; busy; {
		busy = false
		for i := range all {
			if l := &all[i]; l.level > 0 {
				l.step()
				busy = true
			}
		}
	}
}

// step goes down one level and asks for the memory that the next step will look at.
func (l *Lookup) step() {
	t := l.t
	if l.level > 1 {
		l.level--
		in := t.inner(l.ref)
		l.ref = in.child(max(t.innerBefore(in, &l.p, true)-1, 0))
		t.a.PrefetchPage(l.ref, int(l.bytes))
		return
	}
	p := t.leaf(l.ref)
	if !l.p.exact && !l.read {
		if i := lowerHint(p.hints[:p.n], l.p.hint); i < int(p.n) && p.hints[i] == l.p.hint {
			l.read = true
			t.a.PrefetchTuple(p.ref(i), tupleAheadBytes)
			return
		}
		l.level, l.ref = 0, 0
		return
	}
	i := t.leafBefore(p, &l.p, false)
	l.level, l.ref = 0, 0
	if i < int(p.n) && p.hints[i] == l.p.hint && t.compare(p.ref(i), &l.p) == 0 {
		l.ref = p.ref(i)
		t.a.PrefetchTuple(l.ref, tupleAheadBytes)
	}
}

// ahead is how many entries before its turn a cursor asks for a tuple.
const ahead = 8

// Prefetch asks for a tuple that one of the next calls of Next will give, if it is in the same leaf.
func (c *Cursor) Prefetch() {
	if c.backward {
		c.prefetch(c.pos - ahead)
	} else {
		c.prefetch(c.pos + ahead)
	}
}

func (c *Cursor) prefetch(pos int) {
	if c.leaf != nil && pos >= 0 && pos < int(c.leaf.n) {
		c.t.a.PrefetchTuple(c.leaf.ref(pos), tupleAheadBytes)
	}
}
