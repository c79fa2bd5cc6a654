package memory

import (
	"unsafe"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// slab is a run of grains cut into blocks of one class, or one large block.
type slab struct {
	start  uint32 // first grain
	grains uint32
	class  int16
	listed bool   // on the class's list of slabs with room
	used   uint32 // blocks that are not free in the slab (those in the class's hot stack count as used)
	fresh  uint32 // blocks from here on were never handed out
	free   Ref    // freed blocks, linked through their first 8 bytes
	prev   uint32 // neighbours on the list of slabs with room
	next   uint32
}

func grainRef(g uint32) Ref { return Ref(g) << (grainShift - unitShift) }
func refGrain(r Ref) uint32 { return uint32(r >> (grainShift - unitShift)) }

// newSlab takes a run of grains and returns the id of its slab entry.
func (a *Arena) newSlab(grains uint32) (uint32, error) {
	start, err := a.spans.take(grains)
	if err != nil {
		return 0, err
	}
	var id uint32
	if n := len(a.idle); n > 0 {
		id, a.idle = a.idle[n-1], a.idle[:n-1]
	} else {
		id = uint32(len(a.slabs))
		a.slabs = append(a.slabs, slab{})
	}
	a.slabs[id] = slab{start: start, grains: grains}
	a.spans.own(start, grains, id)
	return id, nil
}

// addSlab gives a class a fresh slab.
func (a *Arena) addSlab(ci int) error {
	c := &a.classes[ci]
	id, err := a.newSlab(c.grains)
	if err != nil {
		return err
	}
	a.slabs[id].class = int16(ci)
	a.list(c, id)
	c.free += int(c.blocks)
	c.fresh += int(c.blocks)
	c.slabs++
	return nil
}

// dropSlab returns a slab whose blocks are all free.
func (a *Arena) dropSlab(id uint32) {
	s := &a.slabs[id]
	a.spans.own(s.start, s.grains, 0)
	a.spans.give(s.start, s.grains)
	a.idle = append(a.idle, id)
}

// take returns a free block of a class that has one.
func (a *Arena) take(ci int) Ref {
	c := &a.classes[ci]
	c.free--
	if n := len(c.hot); n > 0 {
		r := c.hot[n-1]
		c.hot = c.hot[:n-1]
		if a.live != nil {
			a.checkPoison(r, c.bytes)
		}
		return r
	}
	return a.takeFromSlab(c)
}

func (a *Arena) takeFromSlab(c *class) Ref {
	id := c.room
	invariant.Check(id != 0, "memory: a class without free blocks was asked for one")
	s := &a.slabs[id]
	r := s.free
	if r != 0 {
		s.free = *(*Ref)(a.at(r))
		if a.live != nil {
			a.checkPoison(r, c.bytes)
		}
	} else {
		r = grainRef(s.start) + Ref(s.fresh)*Ref(c.bytes>>unitShift)
		s.fresh++
		c.fresh--
	}
	s.used++
	if s.used == c.blocks {
		a.unlist(c, id)
	}
	return r
}

// give puts a block back. Few free blocks wait in the hot stack for the next allocations; where there are many (most of
// a table was deleted), they go to their slabs, because a block in the stack keeps a whole slab from becoming free.
func (a *Arena) give(ci int, r Ref) {
	c := &a.classes[ci]
	c.free++
	if c.free-c.fresh > hotFreeMax*cap(c.hot) {
		a.spill(c, len(c.hot))
		a.giveToSlab(c, r)
		return
	}
	if len(c.hot) == cap(c.hot) {
		a.spill(c, len(c.hot)/2)
	}
	c.hot = append(c.hot, r)
}

// spill moves the n oldest blocks of the hot stack to their slabs.
func (a *Arena) spill(c *class, n int) {
	for _, r := range c.hot[:n] {
		a.giveToSlab(c, r)
	}
	c.hot = c.hot[:copy(c.hot, c.hot[n:])]
}

// giveToSlab frees a block in its slab; a slab that becomes free goes back to the spans.
func (a *Arena) giveToSlab(c *class, r Ref) {
	id := a.spans.owner[refGrain(r)]
	s := &a.slabs[id]
	*(*Ref)(a.at(r)) = s.free
	s.free = r
	s.used--
	if !s.listed {
		a.list(c, id)
	}
	if s.used == 0 {
		a.unlist(c, id)
		c.free -= int(c.blocks)
		c.fresh -= int(c.blocks - s.fresh)
		c.slabs--
		a.dropSlab(id)
	}
}

func (a *Arena) list(c *class, id uint32) {
	s := &a.slabs[id]
	s.listed, s.prev, s.next = true, 0, c.room
	if c.room != 0 {
		a.slabs[c.room].prev = id
	}
	c.room = id
}

func (a *Arena) unlist(c *class, id uint32) {
	s := &a.slabs[id]
	s.listed = false
	if s.prev != 0 {
		a.slabs[s.prev].next = s.next
	} else {
		c.room = s.next
	}
	if s.next != 0 {
		a.slabs[s.next].prev = s.prev
	}
}

// checkPoison finds writes to a block after it was freed; its first 8 bytes may hold a link.
func (a *Arena) checkPoison(r Ref, bytes uint32) {
	for i, b := range unsafe.Slice((*byte)(a.at(r)), bytes) {
		if i >= 8 && b != poisonByte {
			invariant.Check(false, "memory: free block %d was written at offset %d", r, i)
		}
	}
}
