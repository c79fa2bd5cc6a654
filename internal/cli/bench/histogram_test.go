package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBuckets: buckets are in order, cover every number, and are at most 1/128 wide of what they count.
func TestBuckets(t *testing.T) {
	previous := -1
	for ns := int64(0); ns < 1<<20; ns++ {
		b := bucketOf(uint64(ns))
		if b != previous && b != previous+1 {
			t.Fatalf("%d ns: bucket %d after %d", ns, b, previous)
		}
		previous = b
		top := bucketTop(b)
		if top < ns || float64(top-ns) > float64(ns)/subBuckets {
			t.Fatalf("%d ns: bucket %d ends at %d", ns, b, top)
		}
	}
	for bits := 20; bits < latencyBits; bits++ {
		for _, ns := range []uint64{1<<bits - 1, 1 << bits, 1<<bits + 1, 1<<bits + 1<<(bits-1)} {
			b := bucketOf(ns)
			if top := uint64(bucketTop(b)); top < ns || bucketOf(top) != b || bucketOf(top+1) != b+1 {
				t.Errorf("%d ns: bucket %d ends at %d", ns, b, top)
			}
		}
	}
	if last := bucketOf(1<<latencyBits - 1); last != buckets-1 {
		t.Errorf("the last bucket is %d of %d", last, buckets)
	}
}

// TestQuantiles compares with sorted values.
func TestQuantiles(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var h, a, b Histogram
	var all []int64
	for i := range 20_000 {
		ns := int64(math.Exp(chance.Float64() * 20))
		all = append(all, ns)
		h.Record(ns)
		if i%3 == 0 {
			a.Record(ns)
		} else {
			b.Record(ns)
		}
	}
	slices.Sort(all)
	a.Merge(&b)
	if a != h {
		t.Error("merged halves differ from the whole")
	}
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		got := int64(h.Quantile(q))
		if got < want || float64(got-want) > float64(want)/subBuckets {
			t.Errorf("quantile %g is %d, want %d", q, got, want)
		}
	}
	if h.Max() != time.Duration(all[len(all)-1]) || h.Count() != uint64(len(all)) {
		t.Errorf("max %v, count %d", h.Max(), h.Count())
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.99) != 0 || h.Mean() != 0 {
		t.Error("an empty histogram has latencies")
	}
	h.Record(-5)
	h.Record(math.MaxInt64)
	if h.Quantile(0.5) != 0 || h.Max() != math.MaxInt64 || h.Count() != 2 {
		t.Errorf("p50 %v, max %v", h.Quantile(0.5), h.Max())
	}
}
