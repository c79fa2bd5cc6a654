package raftgroup_test

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// BenchmarkLoneCommit is what the core costs per entry: propose, write, commit, apply, in one goroutine.
func BenchmarkLoneCommit(b *testing.B) {
	g, err := raftgroup.New(raftgroup.Config{ID: 1, Position: raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{1}}})
	if err != nil {
		b.Fatal(err)
	}
	drain := func() {
		for {
			rd, ok := g.Ready()
			if !ok {
				return
			}
			if rd.Write != nil {
				g.Persisted(rd.Write)
			}
			if len(rd.Committed) > 0 {
				g.Applied()
			}
		}
	}
	if err := g.Campaign(); err != nil {
		b.Fatal(err)
	}
	drain()
	data := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Propose(2, data); err != nil {
			b.Fatal(err)
		}
		drain()
	}
}
