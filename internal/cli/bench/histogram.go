package bench

import (
	"math"
	"math/bits"
	"time"
)

// A histogram has 2^subBits buckets for each power of two, so that a bucket is at most 1/128 wide of what it counts.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	// latencyBits bounds what is told apart: 2^42 ns are 73 minutes, longer latencies count as that.
	latencyBits = 42
	buckets     = (latencyBits - subBits + 1) * subBuckets
)

// Histogram counts latencies in buckets whose width grows with what they count, as HDR histograms do: 0.8% precision
// from 1 ns to 73 minutes in 37 KiB. The zero value is empty. It is not safe for concurrent use.
type Histogram struct {
	counts [buckets]uint64
	total  uint64
	sumNs  float64
	maxNs  int64
}

// bucketOf returns the bucket of a latency.
func bucketOf(ns uint64) int {
	if ns < subBuckets {
		return int(ns)
	}
	shift := bits.Len64(ns) - subBits - 1
	return shift*subBuckets + int(ns>>uint(shift))
}

// bucketTop returns the largest latency of a bucket.
func bucketTop(bucket int) int64 {
	if bucket < 2*subBuckets {
		return int64(bucket)
	}
	shift := bucket/subBuckets - 1
	return (int64(bucket-shift*subBuckets)+1)<<uint(shift) - 1
}

// Record counts one latency; a negative one counts as 0.
func (h *Histogram) Record(latencyNs int64) {
	latencyNs = max(latencyNs, 0)
	h.counts[bucketOf(min(uint64(latencyNs), 1<<latencyBits-1))]++
	h.total++
	h.sumNs += float64(latencyNs)
	h.maxNs = max(h.maxNs, latencyNs)
}

// Merge adds what another histogram has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.sumNs += other.sumNs
	h.maxNs = max(h.maxNs, other.maxNs)
}

// Count returns how many latencies were recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max returns the longest latency, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.maxNs) }

// Mean returns the mean latency, 0 of an empty histogram.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sumNs / float64(h.total))
}

// Quantile returns a latency that a share q (0 to 1) of what was recorded did not exceed: the top of the bucket in which
// it lies, never more than Max. An empty histogram gives 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	seen := uint64(0)
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen >= rank {
			return time.Duration(min(bucketTop(i), h.maxNs))
		}
	}
	return 0
}
