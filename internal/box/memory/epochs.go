package memory

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/lycosadb/lycosa/internal/invariant"
)

const (
	slotsInBlock  = 64
	cacheLine     = 64
	slotUsedBytes = 24
)

// Epochs tells the writer which versions readers may be using. All methods are safe for any goroutine; only the writer
// publishes.
type Epochs struct {
	published atomic.Uint64
	copies    atomic.Uint64 // pins that were copied from slot to slot
	_         [2*cacheLine - 16]byte
	first     slotBlock
}

type slotBlock struct {
	taken atomic.Uint64 // bit i: slot i is registered
	next  atomic.Pointer[slotBlock]
	_     [2*cacheLine - 16]byte
	slots [slotsInBlock]Slot
}

// Slot is the place where one reader says which version it uses. One goroutine at a time uses a slot.
type Slot struct {
	pin   atomic.Uint64 // version + 1, 0: idle
	e     *Epochs
	block *slotBlock
	_     [cacheLine - slotUsedBytes]byte
}

// NewEpochs returns epochs with version 0 published and no slots.
func NewEpochs() *Epochs { return new(Epochs) }

// Register returns an idle slot. A connection keeps one for its life; a read view keeps one of its own.
func (e *Epochs) Register() *Slot {
	for b := &e.first; ; {
		taken := b.taken.Load()
		for taken != 1<<slotsInBlock-1 {
			i := bits.TrailingZeros64(^taken)
			if b.taken.CompareAndSwap(taken, taken|1<<i) {
				s := &b.slots[i]
				s.e, s.block = e, b
				return s
			}
			taken = b.taken.Load()
		}
		if b.next.Load() == nil {
			b.next.CompareAndSwap(nil, new(slotBlock))
		}
		b = b.next.Load()
	}
}

// Unregister gives an idle slot back.
func (e *Epochs) Unregister(s *Slot) {
	invariant.Check(s.pin.Load() == 0, "memory: a slot is unregistered while it pins a version")
	i := (uintptr(unsafe.Pointer(s)) - uintptr(unsafe.Pointer(&s.block.slots[0]))) / unsafe.Sizeof(*s)
	was := s.block.taken.And(^(uint64(1) << i))
	invariant.Check(was>>i&1 == 1, "memory: a slot is unregistered twice")
}

// Enter pins the newest published version and returns it. The caller reads the roots after Enter: those of this
// version or of a newer one, both are safe until Leave.
func (s *Slot) Enter() uint64 {
	for {
		v := s.e.published.Load()
		s.pin.Store(v + 1)
		// If the version is still the newest one, the writer's next Min comes after the pin and sees it.
		if s.e.published.Load() == v {
			return v
		}
	}
}

// EnterWith pins the version that another slot of the same Epochs pins now, and will pin until EnterWith returns.
func (s *Slot) EnterWith(other *Slot) uint64 {
	p := other.pin.Load()
	invariant.Check(p != 0, "memory: the other slot pins nothing")
	s.pin.Store(p)
	s.e.copies.Add(1)
	return p - 1
}

// Leave gives the pin up.
func (s *Slot) Leave() { s.pin.Store(0) }

// Pinned returns the pinned version; ok is false for an idle slot.
func (s *Slot) Pinned() (version uint64, ok bool) {
	p := s.pin.Load()
	return p - 1, p != 0
}

// Publish makes a version the newest one. Its roots must be readable before. Versions never decrease.
func (e *Epochs) Publish(version uint64) {
	if was := e.published.Load(); version < was {
		invariant.Check(false, "memory: version %d published after %d", version, was)
	}
	e.published.Store(version)
}

// Published returns the newest published version.
func (e *Epochs) Published() uint64 { return e.published.Load() }

// Min returns the oldest version that a reader may be using: what was retired up to it can be reclaimed. Only the
// writer calls it. It looks at every registered slot (a few nanoseconds each).
func (e *Epochs) Min() uint64 {
	for {
		copies := e.copies.Load()
		oldest := e.scan()
		// A pin that was copied meanwhile may have moved from a slot not yet looked at to one that was.
		if e.copies.Load() == copies {
			return oldest
		}
	}
}

func (e *Epochs) scan() uint64 {
	oldest := e.published.Load()
	for b := &e.first; b != nil; b = b.next.Load() {
		for taken := b.taken.Load(); taken != 0; taken &= taken - 1 {
			if p := b.slots[bits.TrailingZeros64(taken)].pin.Load(); p != 0 && p-1 < oldest {
				oldest = p - 1
			}
		}
	}
	return oldest
}
