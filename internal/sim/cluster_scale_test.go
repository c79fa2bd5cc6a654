package sim

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var scaleFlag = flag.String("sim.scale", "", "sizes of clusters whose messages are counted, for example 20,50,100,200")

// traffic counts messages by who sends them and, for raft, by group; answers to calls count too.
type traffic struct {
	all  map[uint64]int
	kind map[string]int
}

// calmOptions are those of a cluster without faults.
func calmOptions(instances int) clusterOptions {
	return clusterOptions{
		instances: instances, factor: 3, delay: 2 * time.Millisecond, disk: 2 * time.Millisecond, down: time.Second,
		writeEvery: time.Second, snapshotEvery: 1000,
	}
}

// calm assembles a cluster without faults and counts what it says in ten seconds of rest.
func calm(t *testing.T, instances int) (tr traffic, assembled time.Duration) {
	cryptotest.SetGlobalRandom(t, 1)
	c := newCluster(t, 1)
	c.opt = calmOptions(instances)
	c.healed = true // no faults at all
	for range instances {
		i := c.newInstance()
		i.domain, i.known = nil, []uint64{1}
		c.after(time.Duration(i.no-1)*20*time.Millisecond, i.start)
	}
	rested := func() bool { return c.unrested() == "" }
	look := func() bool { return c.now%(100*time.Millisecond) == 0 && rested() }
	var beat func()
	beat = func() { c.after(100*time.Millisecond-c.now%(100*time.Millisecond), beat) }
	beat()
	if !c.runUntil(5*time.Minute, look) {
		t.Fatalf("%d instances are not at rest: %s", instances, c.unrested())
	}
	assembled = c.now
	c.runUntil(c.now+2*time.Second, nil)
	c.traffic = &traffic{all: map[uint64]int{}, kind: map[string]int{}}
	c.runUntil(c.now+10*time.Second, nil)
	return *c.traffic, assembled
}

// TestScale: what an instance says in a second does not grow with the cluster. The leader of the catalog is the exception: it
// has to reach everybody.
func TestScale(t *testing.T) {
	sizes := []int{10, 30}
	if *scaleFlag != "" {
		sizes = nil
		for n := range splitInts(*scaleFlag) {
			sizes = append(sizes, n)
		}
	}
	var first float64
	for _, n := range sizes {
		tr, assembled := calm(t, n)
		var counts []int
		total := 0
		for no := range uint64(n) {
			counts = append(counts, tr.all[no+1])
			total += tr.all[no+1]
		}
		slices.Sort(counts)
		mean := float64(total) / float64(n) / 10
		line := fmt.Sprintf("%d instances, assembled in %.1f s: %.1f messages per instance and second, median %.1f, most %.1f;",
			n, assembled.Seconds(), mean, float64(counts[n/2])/10, float64(counts[n-1])/10)
		for _, kind := range sortedKeys(tr.kind) {
			line += fmt.Sprintf(" %s %.1f", kind, float64(tr.kind[kind])/float64(n)/10)
		}
		t.Log(line)
		if first == 0 {
			first = mean
		}
		if mean > 1.3*first {
			t.Errorf("%d instances: %.1f messages per instance and second, %.1f with %d", n, mean, first, sizes[0])
		}
	}
}

// splitInts yields the numbers of a comma list.
func splitInts(list string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		n, some := 0, false
		for _, r := range list + "," {
			if r >= '0' && r <= '9' {
				n, some = 10*n+int(r-'0'), true
				continue
			}
			if some && !yield(n) {
				return
			}
			n, some = 0, false
		}
	}
}

// count notes a message.
func (c *cluster) count(from *instance, what any) {
	if c.traffic == nil {
		return
	}
	kind := fmt.Sprintf("%T", what)
	switch what := what.(type) {
	case string:
		kind = what
	case raftgroup.Message:
		kind = what.Kind()
	}
	c.traffic.all[from.no]++
	c.traffic.kind[kind]++
}
