package box

import (
	"sort"

	"github.com/lycosadb/lycosa/internal/box/memory"
)

// change is what happened to one row: the tuple before and after, 0 for none. Both 0: the space was emptied.
type change struct {
	version  uint64
	space    uint32
	old, new memory.Ref
}

// changes is the recent past, oldest first: everything above the version that the oldest reader pins. The tuples it names
// can not be reclaimed before it forgets them.
type changes struct {
	list []change
	head int
}

func (c *changes) len() int         { return len(c.list) }
func (c *changes) at(n int) *change { return &c.list[n] }

func (c *changes) add(ch change) { c.list = append(c.list, ch) }

// record notes a change for the transactions that are open, of which there are none while a snapshot is loaded, and for
// the indexes that are being built.
func (e *Engine) record(sp *Space, before, after memory.Ref) {
	if len(e.builds.list) > 0 {
		e.follow(sp, before, after)
	}
	if !e.loading {
		e.changes.add(change{e.version, sp.ID, before, after})
	}
}

// after returns the place of the first change above a version.
func (c *changes) after(version uint64) int {
	return c.head + sort.Search(len(c.list)-c.head, func(n int) bool { return c.list[c.head+n].version > version })
}

// forget drops what happened up to a version. The room is used again when most of it is free.
func (c *changes) forget(version uint64) {
	for c.head < len(c.list) && c.list[c.head].version <= version {
		c.head++
	}
	if c.head == len(c.list) {
		c.list, c.head = c.list[:0], 0
	} else if c.head > len(c.list)/2 {
		c.list, c.head = c.list[:copy(c.list, c.list[c.head:])], 0
	}
}

// rollback drops what happened above a version.
func (c *changes) rollback(version uint64) { c.list = c.list[:c.after(version)] }
