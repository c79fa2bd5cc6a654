package datadir

import "testing"

func TestParseRecovered(t *testing.T) {
	for _, c := range []struct {
		name, rest string
		epoch      uint64
		ok         bool
	}{
		{RecoveredPrefix(2) + "reserve", "reserve", 2, true},
		{RecoveredPrefix(1<<63) + "00-1.snap", "00-1.snap", 1 << 63, true},
		{"epoch-2-", "", 0, false},
		{"epoch-02-reserve", "", 0, false},
		{"epoch-x-reserve", "", 0, false},
		{"epoch-2", "", 0, false},
		{"reserve", "", 0, false},
		{"00000000000000000002.snap", "", 0, false},
	} {
		epoch, rest, ok := ParseRecovered(c.name)
		if epoch != c.epoch || rest != c.rest || ok != c.ok {
			t.Errorf("%s: %d %q %v", c.name, epoch, rest, ok)
		}
	}
}
