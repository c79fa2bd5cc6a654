package memory

// class is one size of blocks. Its free blocks are in hot (the last ones freed, likely still in the processor's cache)
// or in slabs that are on the list of slabs with room.
type class struct {
	bytes  uint32 // size of a block
	blocks uint32 // blocks in a slab
	grains uint32 // grains in a slab
	room   uint32 // first slab with free blocks, 0: none
	free   int    // free blocks, those in hot included
	fresh  int    // of them, those that were never handed out
	slabs  int
	hot    []Ref // stack; its capacity is fixed
}

const (
	pageClass  = 0
	largeClass = -1

	classBytesMin = 16
	classBytesMax = 80 << 10
	slabGrainsMin = 64 << 10 >> grainShift
	hotBytesMax   = 128 << 10
	hotBlocksMax  = 1024
	hotBlocksMin  = 4
	hotPagesMax   = 512 // a batch of writes takes about a page each, and gives as many back
	hotFreeMax    = 4   // times the capacity of the stack: with more freed blocks in the class it is not used
)

// makeClasses returns class 0 for pages and the classes of other blocks: multiples of 8 bytes, each at most 8 bytes
// or a twelfth larger than the one before, and the table that finds the class of a size in units.
func makeClasses() ([]class, []uint8) {
	pages := newClass(PageBytes)
	pages.hot = make([]Ref, 0, hotPagesMax)
	classes := []class{pages}
	byUnits := make([]uint8, classBytesMax>>unitShift+1)
	unit := 0
	for size := classBytesMin; ; {
		for ; unit <= size>>unitShift; unit++ {
			byUnits[unit] = uint8(len(classes))
		}
		classes = append(classes, newClass(uint32(size)))
		if size == classBytesMax {
			return classes, byUnits
		}
		size = min(size+max(unitBytes, size/12&^(unitBytes-1)), classBytesMax)
	}
}

// newClass chooses the smallest slab that holds at least 8 blocks and leaves at most a fiftieth unused.
func newClass(bytes uint32) class {
	grains := uint32(slabGrainsMin)
	for grains<<grainShift < 8*bytes || (grains<<grainShift)%bytes > grains<<grainShift/50 {
		grains++
	}
	hot := min(max(hotBytesMax/int(bytes), hotBlocksMin), hotBlocksMax)
	return class{bytes: bytes, grains: grains, blocks: grains << grainShift / bytes, hot: make([]Ref, 0, hot)}
}
