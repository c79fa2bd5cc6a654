package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/test/bench/report"
)

// assembly starts all instances of a cluster at once on empty directories.
func (b *benchmark) assembly() error {
	t := report.NewTable(0, "instances", "runs", "median s", "worst s", "target s")
	for _, size := range []struct {
		instances int
		target    string
	}{{3, "1.0"}, {12, "2.5"}} {
		var took []float64
		for range b.repeats {
			c, err := b.newCluster(size.instances, 3)
			if err != nil {
				return err
			}
			d, err := c.assemble()
			if err != nil {
				return err
			}
			took = append(took, d.Seconds())
			b.logf("%d instances: %.3f s", size.instances, d.Seconds())
			if err := c.end(); err != nil {
				return err
			}
		}
		t.Row(fmt.Sprint(size.instances), fmt.Sprint(len(took)), report.Fixed(report.Median(took), 3), report.Fixed(slices.Max(took), 3), size.target)
	}
	fmt.Fprintf(&b.text, "\n### Assembly\n\nFrom the start of the first process, on empty directories, replication factor 3, to the last instance being Online and RolesConfigured.\n\n%s", t)
	return nil
}

// quiet measures the processor time of twelve instances in all.
func (b *benchmark) quiet() error {
	c, err := b.newCluster(12, 3)
	if err != nil {
		return err
	}
	if _, err := c.assemble(); err != nil {
		return err
	}
	if err := b.rest(settle); err != nil {
		return err
	}
	before, err := exactCPU(c.processes())
	if err != nil {
		return err
	}
	started := time.Now()
	if err := b.rest(b.idle); err != nil {
		return err
	}
	after, err := exactCPU(c.processes())
	if err != nil {
		return err
	}
	share := 100 * float64(after-before) / float64(time.Since(started))
	t := report.NewTable(0, "instances", "time s", "% of a processor, in all", "target %")
	t.Row("12", report.Fixed(time.Since(started).Seconds(), 1), report.Fixed(share, 2), "5")
	fmt.Fprintf(&b.text, "\n### Idle\n\nSupervisors and children, four replicasets of three, nobody connected.\n\n%s", t)
	b.logf("idle: %.2f%%", share)
	return c.end()
}
