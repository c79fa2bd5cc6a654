// Package meter tells tests how much memory a parser takes for foreign bytes. Effects: it reads the counters of the
// runtime. What a parser may take is decided by its test.
//
// A parser that sizes an allocation by a number in its input, before it has seen that many bytes, is found by this and by
// nothing else: the result is right, and the process is gone.
package meter

import (
	"runtime/metrics"
	"testing"
)

// slack is what every parse may take, in bytes: buffers, errors, and what the counters are behind.
const slack = 64 << 10

// tries is how often a parse is measured before it is found too expensive: tables that are made once, and other goroutines
// of the process, count too.
const tries = 3

// Check runs parse and fails the test when it takes more than 64 KiB and perByte for each byte of its input. parse may be
// called several times and must do the same each time.
func Check(t testing.TB, input int, perByte uint64, parse func()) {
	t.Helper()
	CheckBound(t, input, slack+perByte*uint64(input), parse)
}

// CheckBound is Check with a bound of its own, in bytes, for parsers that have large buffers of a fixed size.
func CheckBound(t testing.TB, input int, bound uint64, parse func()) {
	t.Helper()
	used := Allocated(parse)
	for n := 1; n < tries && used > bound; n++ {
		used = min(used, Allocated(parse))
	}
	if used > bound {
		t.Fatalf("%d bytes were allocated for %d bytes of input, at most %d are fair", used, input, bound)
	}
}

// Allocated returns how many bytes the process allocates on the Go heap while f runs, freed again or not. Small objects are
// counted when their span is full, so the result is exact to some ten KiB.
func Allocated(f func()) uint64 {
	before := total()
	f()
	return total() - before
}

func total() uint64 {
	sample := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample[:])
	return sample[0].Value.Uint64()
}
