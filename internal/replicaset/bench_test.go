package replicaset

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// BenchmarkIndexBuild builds an index on a number in no order over a million rows of 100 bytes, while each turn writes 16
// rows. It tells how long the turns of the loop are, which is how long a writer may wait. They are measured in processor time of the thread, because on a busy machine the clock measures the others.
func BenchmarkIndexBuild(b *testing.B) {
	const rows = 1_000_000
	rnd := rand.New(rand.NewPCG(1, 2))
	padding := strings.Repeat("x", 80)
	write := func(id uint64) Write {
		t := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 3), id), rnd.Uint64()>>1)
		return Write{Sync: id, Statement: box.Statement{Kind: box.Replace, SpaceID: 600, Tuple: msgpack.AppendStr(t, padding)}}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range b.N {
		m, _ := newMachine(b, box.Options{QuotaBytes: 1 << 30})
		makeSpace(b, m)
		index := uint64(3)
		for id := uint64(0); id < rows; index++ {
			batch := &Batch{Sink: client{}}
			for range 1000 {
				batch.Writes = append(batch.Writes, write(id))
				id++
			}
			m.Run(index, 1, []*Batch{batch})
			m.Commit(index)
		}
		var turns []time.Duration
		batch := &Batch{Sink: client{}, Writes: []Write{buildIndex(1, 1)}}
		for len(turns) == 0 || m.Busy() {
			began := threadTime(b)
			if m.Run(index, 1, []*Batch{batch}) != nil {
				m.Commit(index)
				index++
			}
			turns = append(turns, threadTime(b)-began)
			batch = &Batch{Sink: client{}}
			for range 16 {
				batch.Writes = append(batch.Writes, write(rnd.Uint64N(rows)))
			}
		}
		slices.Sort(turns)
		n := len(turns)
		b.ReportMetric(float64(turns[n-1].Microseconds()), "longest-turn-µs")
		b.ReportMetric(float64(turns[n-n/1000-1].Microseconds()), "p99.9-turn-µs")
		b.ReportMetric(float64(turns[n/2].Microseconds()), "median-turn-µs")
		b.ReportMetric(float64(n), "turns")
	}
}

func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// makeSpace makes space 600 with a primary key on its first field, as version 2.
func makeSpace(tb testing.TB, m *Machine) {
	tb.Helper()
	c := client{}
	row := msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 7), 600), 1), "t")
	row = msgpack.AppendUint(msgpack.AppendStr(row, "memtx"), 0)
	row = msgpack.AppendArrayHeader(msgpack.AppendMapHeader(row, 0), 0)
	m.Run(2, 1, []*Batch{{Sink: c, Writes: []Write{
		{Sync: 1, Statement: box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceSpace, Tuple: row}},
		{Sync: 2, Statement: box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceIndex, Tuple: indexRow(0, 0)}},
	}}})
	m.Commit(2)
	if c[1] != 0 || c[2] != 0 {
		tb.Fatalf("answers %v", c)
	}
}
