package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

func treeOf(ix benchIndex) *Tree {
	if h, ok := ix.(*Hash); ok {
		return &h.t
	}
	return ix.(*Tree)
}

// alloc puts tuple i into memory and into the model.
func (f *fixture) alloc(t *testing.T, i int) memory.Ref {
	r := f.row(i)
	ref, err := f.a.AllocTuple(r.tup)
	must(t, err)
	f.now.model.Set(r)
	return ref
}

// goOn changes a built index and checks it against the model, then gives everything back.
func (f *fixture) goOn(t *testing.T, n int) {
	must(t, f.verify(f.now))
	f.seal()
	f.publish(1)
	for i := range n / 2 {
		must(t, f.delete(i*2))
		must(t, f.insert(n+i))
	}
	must(t, f.verify(f.now))
	f.seal()
	f.publish(1)
	must(t, f.noLeaks())
	must(t, f.a.Close())
}

// An index built of entries in order is what insertions would have made of them, with full pages.
func TestBuild(t *testing.T) {
	for _, s := range shapes() {
		for _, n := range []int{0, 1, 2, leafMax, leafMax + 1, leafMax*innerMax + 1} {
			t.Run(fmt.Sprint(s.name, n), func(t *testing.T) {
				f := newFixture(t, s)
				tree := treeOf(f.ix)
				refs := make([]memory.Ref, n)
				for i := range refs {
					refs[i] = f.alloc(t, i)
				}
				order := func(x, y memory.Ref) int {
					p := tree.tupleProbe(f.a.Tuple(y))
					if h := tree.tupleProbe(f.a.Tuple(x)).hint; h != p.hint {
						if h < p.hint {
							return -1
						}
						return 1
					}
					return tree.compare(x, &p)
				}
				slices.SortFunc(refs, order)
				b := tree.Build(f.now.number)
				for i, ref := range refs {
					if ok, err := b.Append(ref); !ok || err != nil {
						t.Fatalf("entry %d: %v, %v", i, ok, err)
					}
					for _, wrong := range refs[max(i-1, 0) : i+1] {
						if ok, err := b.Append(wrong); ok || err != nil {
							t.Fatalf("entry %d out of order: %v, %v", i, ok, err)
						}
					}
				}
				f.now.root = b.Root()
				if full := uint64(n/leafMax + n/leafMax/innerMax*2 + 4); f.now.root.Pages > full {
					t.Errorf("%d pages, want at most %d", f.now.root.Pages, full)
				}
				f.goOn(t, n)
			})
		}
	}
}

// A gathered index has all entries whatever their order, in one portion or in many.
func TestGather(t *testing.T) {
	const n = 1500
	for _, s := range shapes() {
		for _, portion := range []int{1 << 20, 400} {
			for _, shuffled := range []bool{false, true} {
				t.Run(fmt.Sprint(s.name, portion, shuffled), func(t *testing.T) {
					f := newFixture(t, s)
					g := treeOf(f.ix).Gather(f.now.number, portion)
					order := make([]int, n)
					for i := range order {
						order[i] = i
					}
					if shuffled {
						rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
					}
					for _, i := range order {
						if double, err := g.Add(f.alloc(t, i)); double != 0 || err != nil {
							t.Fatalf("tuple %d: %d, %v", i, double, err)
						}
					}
					root, double, err := g.Root()
					must(t, err)
					if double != 0 {
						t.Fatalf("tuple %d is there twice", double)
					}
					f.now.root = root
					f.goOn(t, n)
				})
			}
		}
	}
}

// Equal entries are told, in one portion and across portions.
func TestGatherDoubles(t *testing.T) {
	for _, s := range shapes() {
		for _, portion := range []int{1 << 20, 50} {
			f := newFixture(t, s)
			g := treeOf(f.ix).Gather(f.now.number, portion)
			var found memory.Ref
			for i := range 200 {
				double, err := g.Add(f.alloc(t, i%199))
				must(t, err)
				found = max(found, double)
			}
			_, double, err := g.Root()
			must(t, err)
			if max(found, double) == 0 {
				t.Errorf("%s, portions of %d: the tuple that is there twice was not told", s.name, portion)
			}
			must(t, f.a.Close())
		}
	}
}
