package differential

import (
	"flag"
	"fmt"
	"testing"
)

var (
	opsWanted  = flag.Int("ops", 100_000, "operations to compare")
	seedFlag   = flag.Uint64("seed", 1, "seed of the operations")
	epochFlag  = flag.Int("epoch", -1, "run this epoch of the seed only")
	reportsMax = flag.Int("reports", 5, "different differences after which the test gives up")
)

// epochOps is after how many operations everything is dropped and the next sequence begins: short enough to be replayed
// often while a failure is made smaller.
const epochOps = 3000

// TestDifferential sends random operations to both servers. A failure prints what is needed to run it again.
func TestDifferential(t *testing.T) {
	p := startBoth(t).dial(t)
	p.restart = func() *pair { return startBoth(t).dial(t) }
	done, reported := 0, map[string]bool{}
	counts := map[string]int{}
	for epoch := 0; done < *opsWanted; epoch++ {
		if *epochFlag >= 0 {
			epoch = *epochFlag
		}
		r := &run{pair: p, gen: newGenerator(*seedFlag, uint64(epoch)), counts: counts}
		found, err := r.epoch(min(epochOps, *opsWanted-done))
		if err != nil {
			t.Fatalf("seed %d, epoch %d: %v\nlast requests:\n%s", *seedFlag, epoch, err, r.last(10))
		}
		done += r.compared
		if found != nil && !reported[found.signature()] {
			reported[found.signature()] = true
			t.Errorf("seed %d, epoch %d (-seed %d -epoch %d), operation %d:\n%s", *seedFlag, epoch, *seedFlag, epoch, len(r.history), r.explain(found))
			if len(reported) >= *reportsMax {
				break
			}
		}
		if *epochFlag >= 0 {
			break
		}
	}
	t.Logf("%d operations compared: %s", done, summary(counts))
}

func summary(counts map[string]int) string { return fmt.Sprint(counts) }
