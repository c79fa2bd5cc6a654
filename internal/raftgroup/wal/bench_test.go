package wal

import (
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// BenchmarkAppend is the cost of a record without that of a disk.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(Options{
		FS: fault.NewVolatile(), Dir: "/d", Group: "data", Instance: uuid.UUID{1}, SegmentBytes: 64 << 20,
	})
	if err != nil {
		b.Fatal(err)
	}
	entries := []raftgroup.Entry{{Term: 1, Data: make([]byte, 128)}}
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		entries[0].Index = i
		if err := l.Append(Batch{Entries: entries}); err != nil {
			b.Fatal(err)
		}
		if i%100_000 == 0 {
			if err := l.CompactTo(i); err != nil {
				b.Fatal(err)
			}
		}
	}
}
