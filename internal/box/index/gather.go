package index

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

// Gather builds an index of entries that come in any order: it collects them, sorts them by their hints, and by their
// tuples where hints are equal, and builds the index from the sorted entries. It holds a portion of so many entries at most
// (16 bytes each, twice that while it sorts); what comes beyond is put in portion by portion, each sorted.
type Gather struct {
	t       *Tree
	version uint64
	root    Root
	entries []gathered
	spare   []gathered
	portion int
}

// gathered is an entry that waits.
type gathered struct {
	hint uint64
	ref  memory.Ref
}

// Gather begins an index of the version that is being written. portion is the number of entries that it may hold.
func (t *Tree) Gather(version uint64, portion int) *Gather {
	return &Gather{t: t, version: version, portion: portion}
}

// Gather is as Tree.Gather.
func (h *Hash) Gather(version uint64, portion int) *Gather { return h.t.Gather(version, portion) }

// Add takes a tuple. It returns one that compares equal to another, which stays out of the index, or 0. Error: the system
// refuses memory.
func (g *Gather) Add(ref memory.Ref) (double memory.Ref, err error) {
	g.entries = append(g.entries, gathered{g.t.tupleProbe(g.t.a.Tuple(ref)).hint, ref})
	if len(g.entries) < g.portion {
		return 0, nil
	}
	return g.flush()
}

// Root returns the finished index, or, as Add does, a tuple that has no place in it. The gathering is over then.
func (g *Gather) Root() (r Root, double memory.Ref, err error) {
	double, err = g.flush()
	g.entries, g.spare = nil, nil
	return g.root, double, err
}

// flush puts the collected entries into the index.
func (g *Gather) flush() (double memory.Ref, err error) {
	g.sort()
	entries := g.entries
	g.entries = g.entries[:0]
	if g.root.Page == 0 {
		b := g.t.Build(g.version)
		for i, e := range entries {
			if i > 0 && entries[i-1].hint == e.hint && g.compare(entries[i-1], e) >= 0 {
				return e.ref, nil
			}
			if err := b.add(e.hint, e.ref); err != nil {
				return 0, err
			}
		}
		g.root = b.Root()
		return 0, nil
	}
	for _, e := range entries {
		if old, err := g.t.Insert(&g.root, g.version, e.ref); old != 0 || err != nil {
			return old, err
		}
	}
	return 0, nil
}

// compare orders entries with equal hints.
func (g *Gather) compare(x, y gathered) int {
	p := probe{hint: y.hint, tup: g.t.a.Tuple(y.ref), n: g.t.parts}
	if !g.t.hashed {
		p.exact = g.t.parts == 1 && g.t.kd.HintExact(y.hint)
	}
	return g.t.compare(x.ref, &p)
}

// sort orders the entries by hint, and those of one hint by their tuples, which are in order already where tuples came in
// the order of the parts that follow (those of the primary key, most of the time).
func (g *Gather) sort() {
	g.sortHints()
	entries := g.entries
	for i := 0; i < len(entries); {
		j := i + 1
		for j < len(entries) && entries[j].hint == entries[i].hint {
			j++
		}
		if j-i > 1 {
			slices.SortFunc(entries[i:j], g.compare)
		}
		i = j
	}
}

const (
	radixBits = 8
	radixSize = 1 << radixBits
	// Fewer entries are sorted by comparison.
	radixMin = 4 * radixSize
)

// sortHints sorts by hint, entries of one hint in the order in which they came: byte by byte from the last one on, leaving
// out those that are the same in all hints.
func (g *Gather) sortHints() {
	a := g.entries
	if len(a) < radixMin {
		slices.SortStableFunc(a, func(x, y gathered) int {
			switch {
			case x.hint < y.hint:
				return -1
			case x.hint > y.hint:
				return 1
			}
			return 0
		})
		return
	}
	differ := uint64(0)
	sorted := true
	for i := 1; i < len(a); i++ {
		differ |= a[i].hint ^ a[0].hint
		sorted = sorted && a[i-1].hint <= a[i].hint
	}
	if sorted {
		return
	}
	if cap(g.spare) < len(a) {
		g.spare = make([]gathered, cap(a))
	}
	b := g.spare[:len(a)]
	for shift := 0; shift < 64; shift += radixBits {
		if differ>>shift&(radixSize-1) == 0 {
			continue
		}
		var place [radixSize]int
		for i := range a {
			place[a[i].hint>>shift&(radixSize-1)]++
		}
		at := 0
		for i, n := range place {
			place[i] = at
			at += n
		}
		for _, e := range a {
			d := e.hint >> shift & (radixSize - 1)
			b[place[d]] = e
			place[d]++
		}
		a, b = b, a
	}
	g.entries, g.spare = a, b
}
