// Package memory keeps the database's rows and index pages outside the Go heap: one reserved address range, cut into
// slabs of equal blocks, with a quota, with versions of what was allocated and dropped (so that the newest versions
// can be taken back and old ones are reused only when no reader can see them), and with the epochs that readers pin.
//
// Pure, with one exemption: it asks the system for anonymous memory (mmap, mprotect, madvise), which is an allocation
// and no I/O. It starts no goroutine, takes no lock and reads no clock. It does not know what the blocks mean: package
// index lays out the pages, package box decides when a version begins, is published, or is void.
//
// One goroutine, the writer, calls the methods that change an Arena. Readers call Tuple, Page, Bytes and Gauges, and
// the methods of Slot; they may only follow references found through roots of a version that their slot pins.
//
// In builds with the race detector the range is one slice of the Go heap, so that the detector and checkptr see it.
package memory

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// Ref is the position of a block in units of 8 bytes; 0 is nothing. A Ref has at most 40 bits (8 TiB).
type Ref uint64

// Kind says what a block holds; the writer must name the kind it allocated when it drops a block.
type Kind uint8

// The kinds of blocks.
const (
	KindTuple Kind = iota
	KindPage
	KindBlock
	kindSweep // internal: an entry of the retirement queue that stands for a whole structure
	kindCount
)

// String returns the name used in statistics.
func (k Kind) String() string { return [kindCount]string{"tuple", "page", "block", "sweep"}[k] }

const (
	// PageBytes is the size and the alignment of an index page.
	PageBytes = 1024
	// BlockBytesMax is the largest block that can be allocated.
	BlockBytesMax = 1 << 30
	// RefBits is the number of bits that a Ref may use.
	RefBits = 40

	unitShift      = 3
	unitBytes      = 1 << unitShift
	tupleHeadBytes = 4
)

// ErrQuota is returned by allocations that would pass the quota, or that the system refuses (its error is in the text).
var ErrQuota = errors.New("memory: quota exceeded")

// ErrTooLarge is returned for a block above BlockBytesMax.
var ErrTooLarge = errors.New("memory: block too large")

// Options of an arena.
type Options struct {
	// QuotaBytes bounds what is allocated, rounding to size classes included.
	QuotaBytes uint64
	// Poison overwrites freed blocks, checks them when they are allocated again, and tracks every live block so that
	// a double or a wrong free stops the process. For tests: several times slower.
	Poison bool
}

// Arena is the memory of one engine.
type Arena struct {
	base    unsafe.Pointer // first byte of the range; a Ref is an offset from it
	region  region
	spans   spans
	slabs   []slab
	idle    []uint32 // ids of slab entries that may be used again
	classes []class
	byUnits []uint8 // size in units, rounded up → class

	quota uint64
	// limit is the quota, or less while there is a ceiling.
	limit   uint64
	used    uint64 // class-rounded bytes of all blocks that are not free, retired ones included
	exceed  bool
	kinds   [kindCount]KindStats
	journal journal
	live    map[Ref]Kind // nil unless poisoning

	gauges [gaugeCount]atomic.Uint64
}

// NewArena reserves the address range. No memory is used before the first allocation.
func NewArena(o Options) (*Arena, error) {
	if o.QuotaBytes == 0 || o.QuotaBytes > 1<<(RefBits+unitShift-1) {
		return nil, fmt.Errorf("memory: quota of %d bytes is outside 1 byte to 4 TiB", o.QuotaBytes)
	}
	a := &Arena{quota: o.QuotaBytes, limit: o.QuotaBytes}
	if err := a.region.reserve(o.QuotaBytes); err != nil {
		return nil, fmt.Errorf("memory: reserve address range for a quota of %d bytes: %w", o.QuotaBytes, err)
	}
	a.base = a.region.base()
	a.spans.init(&a.region)
	a.classes, a.byUnits = makeClasses()
	a.slabs = make([]slab, 1, 1024) // entry 0 means: none
	if o.Poison {
		a.live = make(map[Ref]Kind)
	}
	a.gauges[gaugeQuota].Store(a.quota)
	return a, nil
}

// Close gives the whole range back to the system. Nothing of the arena may be used afterwards, by anyone.
func (a *Arena) Close() error {
	err := a.region.release()
	a.base = nil
	if err != nil {
		return fmt.Errorf("memory: release address range: %w", err)
	}
	return nil
}

// SetQuota changes the quota. A quota below what is used only refuses new allocations.
func (a *Arena) SetQuota(bytes uint64) {
	a.quota, a.limit = bytes, bytes
	a.gauges[gaugeQuota].Store(bytes)
}

// SetCeiling makes allocations end before the quota, until it is called again; 0 or more than the quota: there is none.
func (a *Arena) SetCeiling(bytes uint64) {
	a.limit = a.quota
	if bytes > 0 {
		a.limit = min(a.quota, bytes)
	}
}

// ExceedQuota lets the following allocations pass the quota (on) or not (off, the initial mode). It is on while
// committed entries are applied and while the database is recovered: those must not fail.
func (a *Arena) ExceedQuota(on bool) { a.exceed = on }

// Room reports whether bytes more (rounding to size classes included) may be allocated within the quota, or beyond it
// if ExceedQuota is on. Where memory is short it first frees as much as it needs of what Reclaim may free already.
func (a *Arena) Room(bytes uint64) bool {
	return a.exceed || a.used+bytes <= a.limit || a.reclaimFor(bytes)
}

func (a *Arena) reclaimFor(bytes uint64) bool {
	for more := true; a.used+bytes > a.limit; more = a.Reclaim(a.journal.reclaimed) {
		if !more {
			return false
		}
	}
	return true
}

// Alloc returns a block of at least size bytes (1 to BlockBytesMax), cut to size. Its content is arbitrary.
// Errors: ErrQuota, ErrTooLarge.
func (a *Arena) Alloc(size int) (Ref, []byte, error) {
	r, err := a.alloc(KindBlock, size)
	if err != nil {
		return 0, nil, err
	}
	return r, unsafe.Slice((*byte)(a.at(r)), size), nil
}

// AllocTuple copies data into a block of its own. Errors: ErrQuota, ErrTooLarge.
func (a *Arena) AllocTuple(data []byte) (Ref, error) {
	r, err := a.alloc(KindTuple, len(data)+tupleHeadBytes)
	if err != nil {
		return 0, err
	}
	p := a.at(r)
	*(*uint32)(p) = uint32(len(data))
	copy(unsafe.Slice((*byte)(unsafe.Add(p, tupleHeadBytes)), len(data)), data)
	return r, nil
}

// TupleBytes returns what a tuple of size bytes (at most BlockBytesMax less 4) adds to Used.
func (a *Arena) TupleBytes(size int) uint64 {
	if size += tupleHeadBytes; size > classBytesMax {
		return (uint64(size) + grainBytes - 1) &^ (grainBytes - 1)
	}
	return uint64(a.classes[a.byUnits[(size+unitBytes-1)>>unitShift]].bytes)
}

// AllocPage returns an index page of PageBytes, aligned to its size, with arbitrary content. Error: ErrQuota.
func (a *Arena) AllocPage() (Ref, error) {
	if err := a.ReservePages(1, false); err != nil {
		return 0, err
	}
	return a.NewPage(), nil
}

// ReservePages makes sure that the next n calls of NewPage succeed. With beyondQuota it ignores the quota (deletions
// must work when memory is full: they copy pages before they free any). Error: ErrQuota.
func (a *Arena) ReservePages(n int, beyondQuota bool) error {
	if !beyondQuota && !a.Room(uint64(n)*PageBytes) {
		return ErrQuota
	}
	c := &a.classes[pageClass]
	for c.free < n {
		if err := a.addSlab(pageClass); err != nil {
			return err
		}
	}
	return nil
}

// NewPage takes a page that was reserved with ReservePages.
func (a *Arena) NewPage() Ref {
	r := a.take(pageClass)
	a.born(KindPage, r, PageBytes)
	return r
}

// Page returns the address of an index page.
func (a *Arena) Page(r Ref) unsafe.Pointer { return unsafe.Add(a.base, r<<unitShift) }

// Bytes returns the first size bytes of a block made by Alloc.
func (a *Arena) Bytes(r Ref, size int) []byte { return unsafe.Slice((*byte)(a.at(r)), size) }

// Tuple returns the bytes of a tuple, without copying: they are valid while the version that the caller pins may see
// the tuple (for the writer: until it drops the tuple), and nobody may change them.
func (a *Arena) Tuple(r Ref) []byte {
	p := unsafe.Add(a.base, r<<unitShift)
	return unsafe.Slice((*byte)(unsafe.Add(p, tupleHeadBytes)), *(*uint32)(p))
}

func (a *Arena) at(r Ref) unsafe.Pointer { return unsafe.Add(a.base, r<<unitShift) }

func (a *Arena) alloc(k Kind, size int) (Ref, error) {
	if size <= 0 || size > BlockBytesMax {
		return 0, ErrTooLarge
	}
	if size > classBytesMax {
		return a.allocLarge(k, size)
	}
	ci := int(a.byUnits[(size+unitBytes-1)>>unitShift])
	c := &a.classes[ci]
	if !a.Room(uint64(c.bytes)) {
		return 0, ErrQuota
	}
	if c.free == 0 {
		if err := a.addSlab(ci); err != nil {
			return 0, err
		}
	}
	r := a.take(ci)
	a.born(k, r, uint64(c.bytes))
	return r, nil
}

func (a *Arena) allocLarge(k Kind, size int) (Ref, error) {
	grains := (size + grainBytes - 1) >> grainShift
	bytes := uint64(grains) << grainShift
	if !a.Room(bytes) {
		return 0, ErrQuota
	}
	id, err := a.newSlab(uint32(grains))
	if err != nil {
		return 0, err
	}
	s := &a.slabs[id]
	s.class, s.used = largeClass, 1
	r := grainRef(s.start)
	a.born(k, r, bytes)
	return r, nil
}

// born does the accounting of a block that has just been taken.
func (a *Arena) born(k Kind, r Ref, bytes uint64) {
	a.used += bytes
	a.kinds[k].Count++
	a.kinds[k].Bytes += bytes
	if a.live != nil {
		a.checkBorn(k, r)
	}
	a.journal.allocated(k, r)
}

// blockBytes returns the class-rounded size of a block.
func (a *Arena) blockBytes(r Ref) uint64 {
	s := &a.slabs[a.spans.owner[refGrain(r)]]
	if s.class == largeClass {
		return uint64(s.grains) << grainShift
	}
	return uint64(a.classes[s.class].bytes)
}

// kindBytes is blockBytes for a block whose kind is known: a tuple's is told by its length, which is likelier to be in the
// processor's cache than the tables.
func (a *Arena) kindBytes(k Kind, r Ref) uint64 {
	switch k {
	case KindPage:
		return PageBytes
	case KindTuple:
		return a.TupleBytes(int(*(*uint32)(a.at(r))))
	}
	return a.blockBytes(r)
}

// release makes a block free at once.
func (a *Arena) release(k Kind, r Ref) {
	if k == KindPage && a.live == nil {
		a.used -= PageBytes
		a.kinds[k].Count--
		a.kinds[k].Bytes -= PageBytes
		a.give(pageClass, r)
		return
	}
	id := a.spans.owner[refGrain(r)]
	s := &a.slabs[id]
	bytes := uint64(s.grains) << grainShift
	if s.class != largeClass {
		bytes = uint64(a.classes[s.class].bytes)
	}
	if a.live != nil {
		a.checkDead(k, r, bytes)
	}
	a.used -= bytes
	a.kinds[k].Count--
	a.kinds[k].Bytes -= bytes
	if s.class == largeClass {
		a.dropSlab(id)
		return
	}
	a.give(int(s.class), r)
}

const poisonByte = 0xDB

func (a *Arena) checkBorn(k Kind, r Ref) {
	_, twice := a.live[r]
	invariant.Check(!twice, "memory: block %d is handed out twice", r)
	a.live[r] = k
}

func (a *Arena) checkDead(k Kind, r Ref, bytes uint64) {
	had, ok := a.live[r]
	invariant.Check(ok, "memory: %v %d is freed twice or was never allocated", k, r)
	invariant.Check(had == k, "memory: block %d was allocated as %v and is freed as %v", r, had, k)
	delete(a.live, r)
	b := unsafe.Slice((*byte)(a.at(r)), bytes)
	for i := range b {
		b[i] = poisonByte
	}
}
