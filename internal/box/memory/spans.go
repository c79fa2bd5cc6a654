package memory

import (
	"fmt"
	"math/bits"
)

const (
	grainShift = 13
	grainBytes = 1 << grainShift
	growGrains = 16 << 20 >> grainShift // memory is made usable in these steps
	// Free grains beyond this many give their memory back to the system.
	warmGrainsMax = 16 << 20 >> grainShift
	spanBins      = 32
	// Runs in the first bin looked at may be too short; those in later bins never are.
	firstBinTriesMax = 16
)

// spans hands out runs of grains: the free ones, merged with their neighbours, or new ones at the end of the range.
type spans struct {
	region *region
	owner  []uint32 // per grain below end: id of its slab, 0 if free
	// Per grain; meaningful at the first and the last grain of a free run.
	length     []uint32
	next, prev []uint32         // free runs of one bin, by first grain; 0: none
	bins       [spanBins]uint32 // first free run of at least 1<<bin grains
	free       int              // grains in free runs
	end        uint32           // grains handed out so far
	usable     uint32           // grains that the system lets us touch
	limit      uint32           // grains of the range
}

func (s *spans) init(r *region) {
	s.region = r
	s.limit = uint32(r.bytes() >> grainShift)
	s.extend(1) // grain 0 stays unused: no block has reference 0
	s.end = 1
}

func (s *spans) extend(grains uint32) {
	s.owner = append(s.owner, make([]uint32, grains)...)
	s.length = append(s.length, make([]uint32, grains)...)
	s.next = append(s.next, make([]uint32, grains)...)
	s.prev = append(s.prev, make([]uint32, grains)...)
}

// take returns the first of n adjacent grains.
func (s *spans) take(n uint32) (uint32, error) {
	tries := firstBinTriesMax
	for bin := bits.Len32(n) - 1; bin < spanBins; bin++ {
		for run := s.bins[bin]; run != 0 && tries > 0; run = s.next[run] {
			if length := s.length[run]; length >= n {
				s.unlink(run)
				if length > n {
					s.link(run+n, length-n)
				}
				return run, nil
			}
			tries--
		}
		tries = firstBinTriesMax
	}
	return s.takeNew(n)
}

func (s *spans) takeNew(n uint32) (uint32, error) {
	if n > s.limit-s.end {
		return 0, fmt.Errorf("%w: the address range of %d bytes is used up", ErrQuota, uint64(s.limit)<<grainShift)
	}
	if s.end+n > s.usable {
		want := min(max(s.end+n, s.usable+growGrains), s.limit)
		if err := s.region.grow(uint64(want) << grainShift); err != nil {
			return 0, fmt.Errorf("%w: the system refuses memory: %v", ErrQuota, err)
		}
		s.usable = want
	}
	start := s.end
	s.extend(n)
	s.end += n
	return start, nil
}

func (s *spans) own(start, n, id uint32) {
	for g := start; g < start+n; g++ {
		s.owner[g] = id
	}
}

// give frees n grains, which must be marked as free in owner.
func (s *spans) give(start, n uint32) {
	if s.free >= warmGrainsMax {
		s.region.forget(uint64(start)<<grainShift, uint64(n)<<grainShift)
	}
	if after := start + n; after < s.end && s.owner[after] == 0 {
		n += s.length[after]
		s.unlink(after)
	}
	if start > 1 && s.owner[start-1] == 0 {
		before := start - s.length[start-1]
		n += s.length[before]
		s.unlink(before)
		start = before
	}
	s.link(start, n)
}

func (s *spans) link(start, n uint32) {
	bin := bits.Len32(n) - 1
	s.length[start], s.length[start+n-1] = n, n
	s.prev[start], s.next[start] = 0, s.bins[bin]
	if s.bins[bin] != 0 {
		s.prev[s.bins[bin]] = start
	}
	s.bins[bin] = start
	s.free += int(n)
}

func (s *spans) unlink(start uint32) {
	n := s.length[start]
	bin := bits.Len32(n) - 1
	if s.prev[start] != 0 {
		s.next[s.prev[start]] = s.next[start]
	} else {
		s.bins[bin] = s.next[start]
	}
	if s.next[start] != 0 {
		s.prev[s.next[start]] = s.prev[start]
	}
	s.free -= int(n)
}
