package runner_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// benchMachine makes one entry of 128 bytes per batch and counts.
type benchMachine struct {
	entry [128]byte
	done  chan int
	runs  []int
}

func (m *benchMachine) Run(_, _ uint64, reqs []int) []byte {
	m.runs = append(m.runs, len(reqs))
	return m.entry[:]
}

func (m *benchMachine) Commit(uint64) {
	n := m.runs[0]
	m.runs = m.runs[:copy(m.runs, m.runs[1:])]
	m.done <- n
}
func (m *benchMachine) Apply(uint64, uint64, []byte)        {}
func (m *benchMachine) Abort(uint64, error)                 { panic("abort") }
func (m *benchMachine) Refuse([]int, error)                 { panic("refuse") }
func (m *benchMachine) ConfChanged(status raftgroup.Status) {}

// benchmarkCommit keeps `window` requests under way, each its own batch as far as the loop makes them so.
func benchmarkCommit(b *testing.B, fsys sys.FS, dir string, mode wal.SyncMode, window int) {
	log, err := wal.Open(wal.Options{FS: fsys, Dir: dir, Group: "data", Instance: instance, Sync: mode})
	if err != nil {
		b.Fatal(err)
	}
	group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap})
	if err != nil {
		b.Fatal(err)
	}
	m := &benchMachine{done: make(chan int, 4096)}
	loop := runner.Start(runner.Config[int]{Log: log, Clock: real.Clock{}, Group: group, Machine: m})
	one := make([]int, 1)
	for loop.Status().Applied < 2 {
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	batches, under := 0, 0
	cpu := cpuTime(b)
	b.ResetTimer()
	for left := b.N; left > 0 || under > 0; {
		for under < window && left > 0 {
			if err := loop.Submit(one); err != nil {
				b.Fatal(err)
			}
			under++
			left--
		}
		under -= <-m.done
		batches++
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(batches), "cpu-ns/batch")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(batches), "ns/batch")
	if err := loop.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what the process has used: on a busy machine it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkCommit(b *testing.B) {
	b.Run("memory/one", func(b *testing.B) { benchmarkCommit(b, fault.NewVolatile(), "/d", wal.SyncFsync, 1) })
	b.Run("memory/4", func(b *testing.B) { benchmarkCommit(b, fault.NewVolatile(), "/d", wal.SyncFsync, 4) })
	b.Run("real-write/one", func(b *testing.B) { benchmarkCommit(b, real.FS{}, b.TempDir(), wal.SyncWrite, 1) })
	b.Run("real-write/4", func(b *testing.B) { benchmarkCommit(b, real.FS{}, b.TempDir(), wal.SyncWrite, 4) })
	b.Run("real-write/64", func(b *testing.B) { benchmarkCommit(b, real.FS{}, b.TempDir(), wal.SyncWrite, 64) })
	b.Run("real-fsync/64", func(b *testing.B) { benchmarkCommit(b, real.FS{}, b.TempDir(), wal.SyncFsync, 64) })
}
