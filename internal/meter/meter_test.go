package meter

import (
	"encoding/binary"
	"fmt"
	"testing"
)

var kept []byte

// recorder is a test that notes its failure.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Fatalf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

func TestAllocated(t *testing.T) {
	for _, size := range []int{256 << 10, 1 << 20, 100 << 20} {
		used := Allocated(func() { kept = make([]byte, size) })
		if used < uint64(size) || used > uint64(size)+slack {
			t.Errorf("%d bytes were measured for %d", used, size)
		}
	}
	used := Allocated(func() {
		for range 10_000 {
			kept = make([]byte, 100)
		}
	})
	if used < 900_000 || used > 1_300_000 {
		t.Errorf("%d bytes were measured for 10,000 of 112", used)
	}
}

// TestClaimsAreFound: a parser that believes a length is found, one that does not passes.
func TestClaimsAreFound(t *testing.T) {
	input := binary.BigEndian.AppendUint32(nil, 1<<20)
	believes := func() { kept = make([]byte, binary.BigEndian.Uint32(input)) }
	doubts := func() { kept = make([]byte, min(int(binary.BigEndian.Uint32(input)), len(input))) }
	r := &recorder{TB: t}
	if Check(r, len(input), 4, doubts); r.failure != "" {
		t.Error(r.failure)
	}
	if Check(r, len(input), 4, believes); r.failure == "" {
		t.Error("an allocation by a claim was not found")
	}
	first := true
	r = &recorder{TB: t}
	Check(r, len(input), 4, func() {
		if first {
			believes()
		}
		first = false
	})
	if r.failure != "" {
		t.Error("what is made once counts: " + r.failure)
	}
}
