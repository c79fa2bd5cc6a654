package sim

import (
	"flag"
	"fmt"
	"testing"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "first seed")
	seedsFlag = flag.Uint64("sim.seeds", 0, "number of seeds; 0: a few")
	traceFlag = flag.Bool("sim.trace", false, "print everything that happens")
)

// seedsDefault is for the unit tests, with the race detector; make sim runs more without.
const seedsDefault = 24

// TestSeeds runs seeds; each fiftieth twice, which must be the same.
func TestSeeds(t *testing.T) {
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = seedsDefault
	}
	var total stats
	for seed := *seedFlag; seed < *seedFlag+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			sum, st, err := simulate(t, seed)
			if err != nil {
				t.Fatalf("%v\nagain: go test ./internal/sim -run TestSeeds -sim.seed %d -sim.seeds 1 -sim.trace -v", err, seed)
			}
			total.add(st)
			if seed%50 != 7 {
				return
			}
			if again, _, err := simulate(t, seed); err != nil || again != sum {
				t.Fatalf("one seed ran in two ways: %x and %x, %v\nagain: go test ./internal/sim -run TestSeeds -sim.seed %d -sim.seeds 1",
					sum, again, err, seed)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds: %+v", seeds, total)
}
