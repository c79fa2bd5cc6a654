package memory

// Stats is a picture of an arena. Bytes of blocks are rounded up to their class.
type Stats struct {
	QuotaBytes    uint64
	UsedBytes     uint64 // blocks that are not free, retired ones included
	RetiredBytes  uint64 // of UsedBytes: waiting for readers (structures dropped as a whole are not counted here)
	RetiredBlocks uint64
	SlabBytes     uint64 // memory held by slabs, free blocks in them included
	SystemBytes   uint64 // the part of the range that has been made usable
	Tuples        KindStats
	Pages         KindStats
	Blocks        KindStats
	Classes       []ClassStats
}

// KindStats counts the blocks of one kind.
type KindStats struct{ Count, Bytes uint64 }

// ClassStats is a row of the size-class table.
type ClassStats struct {
	BlockBytes uint64
	Pages      bool // the class of index pages
	SlabBytes  uint64
	Slabs      uint64
	Used, Free uint64 // blocks
}

const (
	gaugeQuota = iota
	gaugeUsed
	gaugeRetired
	gaugeTuples
	gaugePages
	gaugeCount
)

func (a *Arena) storeGauges() {
	a.gauges[gaugeUsed].Store(a.used)
	a.gauges[gaugeRetired].Store(a.journal.retiredBytes)
	a.gauges[gaugeTuples].Store(a.kinds[KindTuple].Bytes)
	a.gauges[gaugePages].Store(a.kinds[KindPage].Bytes)
}

// Used returns the bytes of all blocks that are not free, retired ones included, rounded up to their classes. For the
// writer; others read Gauges.
func (a *Arena) Used() uint64 { return a.used }

// Gauges is what other goroutines may read of an arena at any time. Values are those of the writer's last Settle,
// Reclaim or Rollback.
type Gauges struct{ QuotaBytes, UsedBytes, RetiredBytes, TupleBytes, PageBytes uint64 }

// Gauges returns the gauges. Any goroutine may call it.
func (a *Arena) Gauges() Gauges {
	return Gauges{
		QuotaBytes:   a.gauges[gaugeQuota].Load(),
		UsedBytes:    a.gauges[gaugeUsed].Load(),
		RetiredBytes: a.gauges[gaugeRetired].Load(),
		TupleBytes:   a.gauges[gaugeTuples].Load(),
		PageBytes:    a.gauges[gaugePages].Load(),
	}
}

// Stats returns the whole picture. Only the writer may call it.
func (a *Arena) Stats() Stats {
	s := Stats{
		QuotaBytes:    a.quota,
		UsedBytes:     a.used,
		RetiredBytes:  a.journal.retiredBytes,
		RetiredBlocks: uint64(a.journal.retired.len()),
		SlabBytes:     (uint64(a.spans.end) - 1 - uint64(a.spans.free)) << grainShift,
		SystemBytes:   uint64(a.spans.usable) << grainShift,
		Tuples:        a.kinds[KindTuple],
		Pages:         a.kinds[KindPage],
		Blocks:        a.kinds[KindBlock],
	}
	for i := range a.classes {
		c := &a.classes[i]
		if c.slabs == 0 {
			continue
		}
		s.Classes = append(s.Classes, ClassStats{
			BlockBytes: uint64(c.bytes), Pages: i == pageClass, SlabBytes: uint64(c.grains) << grainShift,
			Slabs: uint64(c.slabs), Used: uint64(c.slabs)*uint64(c.blocks) - uint64(c.free), Free: uint64(c.free),
		})
	}
	return s
}
