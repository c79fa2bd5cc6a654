package index

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

// Check walks a whole version and verifies its structure: levels, births, fill, hints, order, the copies of first
// entries in the pages above, and the counts of the root. For tests.
func (t *Tree) Check(r Root) error {
	if r.Page == 0 {
		if r != (Root{}) {
			return fmt.Errorf("index: empty root with %+v", r)
		}
		return nil
	}
	c := &checker{t: t}
	if err := c.page(r.Page, int(r.Height)-1, t.page(r.Page).birth); err != nil {
		return err
	}
	if c.entries != r.Count || c.pages != r.Pages {
		return fmt.Errorf("index: root says %d entries in %d pages, found %d in %d", r.Count, r.Pages, c.entries, c.pages)
	}
	return nil
}

type checker struct {
	t              *Tree
	entries, pages uint64
	last           memory.Ref
	lastHint       uint64
}

func (c *checker) page(ref memory.Ref, level int, birthMax uint64) error {
	h := c.t.page(ref)
	c.pages++
	if int(h.level) != level || level < 0 || level >= heightMax {
		return fmt.Errorf("index: page %d has level %d where %d is expected", ref, h.level, level)
	}
	if h.n == 0 || int(h.n) > pageMax(h.level) {
		return fmt.Errorf("index: page %d of level %d has %d entries", ref, level, h.n)
	}
	if h.birth > birthMax {
		return fmt.Errorf("index: page %d is born at %d, after the page above it (%d)", ref, h.birth, birthMax)
	}
	if level == 0 {
		return c.leaf(c.t.leaf(ref))
	}
	in := c.t.inner(ref)
	for i := range int(in.n) {
		e := in.entry(i)
		if got := first(c.t.raw(e.child), e.child); got != e {
			return fmt.Errorf("index: page %d says child %d begins with %+v, it does with %+v", ref, i, e, got)
		}
		if err := c.page(e.child, level-1, h.birth); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leaf(l *leaf) error {
	for i := range int(l.n) {
		ref := l.ref(i)
		p := c.t.tupleProbe(c.t.a.Tuple(ref))
		if p.hint != l.hints[i] {
			return fmt.Errorf("index: tuple %d has hint %x, its entry %x", ref, p.hint, l.hints[i])
		}
		if c.last != 0 && (c.lastHint > p.hint || c.lastHint == p.hint && c.t.compare(c.last, &p) >= 0) {
			return fmt.Errorf("index: tuple %d is not after tuple %d", ref, c.last)
		}
		c.last, c.lastHint = ref, p.hint
		c.entries++
	}
	return nil
}
