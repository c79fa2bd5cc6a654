package instance

import (
	"slices"
	"testing"
	"time"
)

// TestSilence: an instance counts as silent from when it last spoke, whatever it said, and from when this one began to lead if
// that was later.
func TestSilence(t *testing.T) {
	var r reports
	begun := time.Unix(1000, 0)
	r.alive(7, begun.Add(-time.Minute))
	r.leading(true, begun)
	for _, id := range []uint64{7, 9} {
		if _, at, known := r.of(id); !at.Equal(begun) || known {
			t.Errorf("%d is silent since %v, known %t", id, at, known)
		}
	}
	later := begun.Add(time.Hour)
	r.alive(9, later)
	if _, at, known := r.of(9); !at.Equal(later) || known {
		t.Errorf("one that has spoken and not reported is silent since %v, known %t", at, known)
	}
}

// TestJoinPeers: a newcomer asks all that discovery found and all that its operator names, each once.
func TestJoinPeers(t *testing.T) {
	got := joinPeers([]string{"b:1", "a:1"}, []string{"c:1", "a:1"})
	if !slices.Equal(got, []string{"a:1", "b:1", "c:1"}) {
		t.Errorf("%v", got)
	}
	asked := map[string]bool{}
	for turn := range 3 {
		asked[others(got, "b:1", turn)] = true
	}
	if len(asked) != 2 || asked["b:1"] {
		t.Errorf("asked %v", asked)
	}
}
