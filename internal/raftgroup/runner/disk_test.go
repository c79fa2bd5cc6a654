package runner

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// TestMerge: waiting writes become one batch, except one whose entries replace those before it, and orders without a write.
func TestMerge(t *testing.T) {
	write := func(term, first, n uint64) order {
		w := &raftgroup.Write{HardState: &raftgroup.HardState{Term: term}}
		for i := range n {
			w.Entries = append(w.Entries, raftgroup.Entry{Index: first + i, Term: term})
		}
		return order{write: w}
	}
	for _, c := range []struct {
		waiting []order
		written int
		entries int
		term    uint64
		left    bool
	}{
		{nil, 1, 2, 1, false},
		{[]order{write(1, 7, 1), write(2, 8, 0), write(2, 8, 3)}, 4, 6, 2, false},
		{[]order{write(1, 7, 1), write(2, 6, 2)}, 2, 3, 1, true},
		{[]order{write(1, 7, 1), {mark: true}}, 2, 3, 1, true},
	} {
		d := &disk{orders: make(chan order, 10)}
		for _, o := range c.waiting {
			if o.write != nil {
				o.local = [][]byte{{1}}
			}
			d.orders <- o
		}
		first := write(1, 5, 2).write
		var b Batch
		b.Add(first, nil)
		_, left := d.merge(&b)
		if b.writes != c.written || len(b.entries) != c.entries || b.hard.Term != c.term || left != c.left {
			t.Errorf("%d waiting: %d writes, %d entries, term %d, left %t", len(c.waiting), b.writes, len(b.entries),
				b.hard.Term, left)
		}
		if want := b.writes - 1; len(b.local) != want { // each of the waiting ones has one
			t.Errorf("%d waiting: %d local rows, want %d", len(c.waiting), len(b.local), want)
		}
		if len(first.Entries) != 2 {
			t.Error("the write itself was changed")
		}
	}
}
