package recovery

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	benchRows     = 1_000_000
	benchRowBytes = 100
)

// BenchmarkSnapshot loads a million rows of 100 bytes from a file in the page cache.
func BenchmarkSnapshot(b *testing.B) {
	for _, indexes := range []int{1, 3} {
		b.Run(fmt.Sprint(indexes), func(b *testing.B) {
			dir := b.TempDir()
			e := openEngine(b, false)
			e.Begin(checkpointAt)
			load := func(space uint32, row []byte) {
				if err := e.Load(space, row); err != nil {
					b.Fatal(err)
				}
			}
			dictionary.Rows(func(space uint32, row []byte) bool { load(space, row); return true })
			benchSpace(load, indexes)
			for n := range uint64(benchRows) {
				load(spaceID, benchRow(n))
			}
			if err := e.LoadBuiltin(); err != nil {
				b.Fatal(err)
			}
			e.Seal()
			e.Publish(checkpointAt)
			write(b, e, dir)
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			cpu := processNanos()
			for range b.N {
				fresh := openEngine(b, false)
				loaded, err := Load(fresh, real.FS{}, dir, checkpointAt, nil)
				if err != nil {
					b.Fatal(err)
				}
				loaded.Finish(checkpointAt)
				if err := fresh.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processNanos()-cpu)/float64(b.N)/benchRows, "cpu-ns/row")
		})
	}
}

func benchSpace(load func(space uint32, row []byte), indexes int) {
	load(dictionary.SpaceSpace, []byte{0x97, 0xcd, 0x02, 0xbc, 1, 0xa1, 't', 0xa5, 'm', 'e', 'm', 't', 'x', 0, 0x80, 0x90})
	for n, kind := range []string{"unsigned", "unsigned", "string"}[:indexes] {
		load(dictionary.SpaceIndex, indexRow(uint64(n), fmt.Sprint("i", n), n == 0, uint64(n), kind))
	}
}

// benchRow has a key, a scattered number, a short string, and bytes that can be compressed a little.
func benchRow(n uint64) []byte {
	b := msgpack.AppendArrayHeader(make([]byte, 0, benchRowBytes), 4)
	b = msgpack.AppendUint(b, n)
	b = msgpack.AppendUint(b, n*0x9e3779b97f4a7c15>>32)
	b = msgpack.AppendStr(b, fmt.Sprintf("g%06d", n*7919%1_000_003))
	payload := make([]byte, benchRowBytes-len(b)-2)
	for i := range payload {
		payload[i] = byte(n*uint64(i+1)>>7) & 0x5f
	}
	return msgpack.AppendBin(b, payload)
}

func processNanos() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
