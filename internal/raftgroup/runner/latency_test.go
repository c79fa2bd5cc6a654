package runner

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	var l latency
	for _, d := range []time.Duration{0, 50 * time.Microsecond, 51 * time.Microsecond, time.Second, time.Hour} {
		l.observe(d)
	}
	r := l.read()
	for bound, want := range map[time.Duration]uint64{50 * time.Microsecond: 2, 100 * time.Microsecond: 3, 500 * time.Millisecond: 3,
		time.Second: 4, 5 * time.Second: 4} {
		if r.Buckets[bound] != want {
			t.Errorf("%d took at most %s, want %d", r.Buckets[bound], bound, want)
		}
	}
	if r.Count != 5 || r.Sum != time.Hour+time.Second+101*time.Microsecond {
		t.Errorf("%d in all, %s", r.Count, r.Sum)
	}
}
