package runner

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// notes is a machine that notes what it is told.
type notes []string

func (n *notes) Run(uint64, uint64, []int) []byte { return nil }
func (n *notes) Commit(index uint64)              { *n = append(*n, fmt.Sprint("commit ", index)) }
func (n *notes) Apply(index, term uint64, _ []byte) {
	*n = append(*n, fmt.Sprint("apply ", index, "@", term))
}
func (n *notes) Refuse([]int, error)          {}
func (n *notes) ConfChanged(raftgroup.Status) {}
func (n *notes) Abort(from uint64, err error) {
	*n = append(*n, fmt.Sprint("abort ", from, " ", uint32(errcode.Of(err).Code)))
}

// TestAnEntryIsKnownByItsTerm: an entry at the index of one that was run here, but of another term, is another entry: what
// was run is void, and the committed one is applied.
func TestAnEntryIsKnownByItsTerm(t *testing.T) {
	for ran, want := range map[uint64][]string{2: {"commit 2"}, 1: {"abort 2 12001", "apply 2@2"}} {
		g, err := raftgroup.New(raftgroup.Config{ID: 1, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Campaign(); err != nil {
			t.Fatal(err)
		}
		m := &notes{}
		l := &Loop[int]{cfg: Config[int]{Group: g, Machine: m, Clock: real.Clock{}}}
		l.pending.push(pendingEntry{index: 2, term: ran})
		for rd, ok := g.Ready(); ok; rd, ok = g.Ready() {
			if rd.Write != nil {
				g.Persisted(rd.Write)
			}
			if len(rd.Committed) > 0 {
				l.apply(rd.Committed)
			}
		}
		if !slices.Equal(*m, want) {
			t.Errorf("run in term %d: %q, want %q", ran, *m, want)
		}
	}
}

// TestAnIndexServesThoseWhoCameBeforeItWasAskedFor: whoever came later waits for the next request, also where requests
// overtake each other.
func TestAnIndexServesThoseWhoCameBeforeItWasAskedFor(t *testing.T) {
	l := &Loop[int]{}
	served := map[uint64]uint64{}
	for _, first := range []uint64{1, 2, 3, 0} {
		l.reads.waiting = append(l.reads.waiting, &readWaiter{first: first, done: func(index uint64, _ error) { served[first] = index }})
	}
	l.reads.newest = 3
	l.answerReads([]raftgroup.ReadState{{Request: 2, Index: 20}})
	if len(served) != 2 || served[1] != 20 || served[2] != 20 || l.reads.newest != 3 {
		t.Errorf("served %v, request %d is out", served, l.reads.newest)
	}
	l.answerReads([]raftgroup.ReadState{{Request: 1, Index: 10}, {Request: 3, Index: 30}})
	if len(served) != 3 || served[3] != 30 || l.reads.newest != 0 || len(l.reads.waiting) != 1 {
		t.Errorf("served %v, request %d is out", served, l.reads.newest)
	}
}

// TestTicksOfGroupsTogether: the first tick is at the phase or a multiple of ticks from it, and never at once.
func TestTicksOfGroupsTogether(t *testing.T) {
	for _, c := range []struct{ phase, now, want time.Duration }{
		{0, 123, 100}, {7, 7, 100}, {7, 8, 99}, {7, 106, 1}, {7, 107, 100}, {1007, 1000, 7}, {1007, 907, 100},
	} {
		if got := beforeTick(100, c.phase, c.now); got != c.want {
			t.Errorf("phase %d at %d: %d, want %d", c.phase, c.now, got, c.want)
		}
	}
}
