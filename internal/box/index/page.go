package index

import (
	"math/bits"
	"unsafe"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

// header is how every page begins. Level 0 is a leaf. A page whose birth is the version that is being written belongs
// to the writer alone; all others are immutable.
type header struct {
	birth uint64
	n     uint16
	level uint8
	_     [5]byte
}

const (
	leafMax  = 77
	innerMax = 56
	// heightMax bounds every path: with pages a quarter full, ten levels hold more than a Ref can address.
	heightMax = 16
)

// leaf holds entries in key order: the hint of each and its tuple, as 40 bits in two arrays.
type leaf struct {
	header
	hints  [leafMax]uint64
	low    [leafMax]uint32
	high   [leafMax]uint8
	unused [7]byte
}

// inner holds children in key order: for each its page, and hint and tuple of the first entry below it.
type inner struct {
	header
	hints     [innerMax]uint64
	low       [innerMax]uint32
	childLow  [innerMax]uint32
	high      [innerMax]uint8
	childHigh [innerMax]uint8
}

type pageBytes [memory.PageBytes]byte

// Both layouts fill a page and no more.
var (
	_ [memory.PageBytes - unsafe.Sizeof(leaf{})]byte
	_ [memory.PageBytes - unsafe.Sizeof(inner{})]byte
)

func (l *leaf) ref(i int) memory.Ref  { return memory.Ref(l.low[i]) | memory.Ref(l.high[i])<<32 }
func (p *inner) ref(i int) memory.Ref { return memory.Ref(p.low[i]) | memory.Ref(p.high[i])<<32 }

func (p *inner) child(i int) memory.Ref {
	return memory.Ref(p.childLow[i]) | memory.Ref(p.childHigh[i])<<32
}

func (l *leaf) set(i int, hint uint64, ref memory.Ref) {
	l.hints[i], l.low[i], l.high[i] = hint, uint32(ref), uint8(ref>>32)
}

// entry is one entry of an inner page.
type entry struct {
	hint  uint64
	ref   memory.Ref // first tuple below child
	child memory.Ref
}

func (p *inner) set(i int, e entry) {
	p.hints[i], p.low[i], p.high[i] = e.hint, uint32(e.ref), uint8(e.ref>>32)
	p.childLow[i], p.childHigh[i] = uint32(e.child), uint8(e.child>>32)
}

func (p *inner) entry(i int) entry { return entry{p.hints[i], p.ref(i), p.child(i)} }

// move copies n entries of src from position from to position to of l. The pages may be the same.
func (l *leaf) move(to int, src *leaf, from, n int) {
	copy(l.hints[to:to+n], src.hints[from:from+n])
	copy(l.low[to:to+n], src.low[from:from+n])
	copy(l.high[to:to+n], src.high[from:from+n])
}

func (p *inner) move(to int, src *inner, from, n int) {
	copy(p.hints[to:to+n], src.hints[from:from+n])
	copy(p.low[to:to+n], src.low[from:from+n])
	copy(p.childLow[to:to+n], src.childLow[from:from+n])
	copy(p.high[to:to+n], src.high[from:from+n])
	copy(p.childHigh[to:to+n], src.childHigh[from:from+n])
}

func (l *leaf) insert(i int, hint uint64, ref memory.Ref) {
	l.move(i+1, l, i, int(l.n)-i)
	l.set(i, hint, ref)
	l.n++
}

func (p *inner) insert(i int, e entry) {
	p.move(i+1, p, i, int(p.n)-i)
	p.set(i, e)
	p.n++
}

func (l *leaf) remove(i int) {
	l.move(i, l, i+1, int(l.n)-i-1)
	l.n--
}

func (p *inner) remove(i int) {
	p.move(i, p, i+1, int(p.n)-i-1)
	p.n--
}

// move is the method of the same name for pages of either layout.
func move(to unsafe.Pointer, at int, from unsafe.Pointer, start, n int) {
	if (*header)(to).level == 0 {
		(*leaf)(to).move(at, (*leaf)(from), start, n)
		return
	}
	(*inner)(to).move(at, (*inner)(from), start, n)
}

func pageMax(level uint8) int {
	if level == 0 {
		return leafMax
	}
	return innerMax
}

// first returns hint and tuple of the first entry of a page; the child is the page itself.
func first(page unsafe.Pointer, self memory.Ref) entry {
	if (*header)(page).level == 0 {
		l := (*leaf)(page)
		return entry{l.hints[0], l.ref(0), self}
	}
	p := (*inner)(page)
	return entry{p.hints[0], p.ref(0), self}
}

// lowerHint returns how many hints are smaller than h. It looks at the last hint of each cache line first: those loads do
// not depend on each other, so that a page which is not in the processor's cache costs about one wait, where a binary
// search would wait at each step. Borrows are counted instead of branches taken, because nobody could predict them.
func lowerHint(hints []uint64, h uint64) int {
	const line = 8
	var lines, more uint64
	for j := line - 1; j < len(hints); j += line {
		_, smaller := bits.Sub64(hints[j], h, 0)
		lines += smaller
	}
	i := int(lines) * line
	if i+line <= len(hints) {
		for _, x := range (*[line]uint64)(hints[i:]) {
			_, smaller := bits.Sub64(x, h, 0)
			more += smaller
		}
		return i + int(more)
	}
	for _, x := range hints[i:] {
		_, smaller := bits.Sub64(x, h, 0)
		more += smaller
	}
	return i + int(more)
}
