package bench

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// Keys is how keys are chosen.
type Keys uint8

// The ways to choose keys. Operations that use each key once (insert, delete) go through their keys in scattered order
// for Uniform.
const (
	Uniform Keys = iota
	Sequential
	// Zipf takes the key of rank k with a probability in proportion to ln(1 + 1/k), which is near 1/k. Ranks are scattered
	// over the keys, so that the frequent ones are not neighbours.
	Zipf
)

var keysNames = []string{"uniform", "sequential", "zipf"}

// String returns the name as ParseKeys takes it.
func (k Keys) String() string { return keysNames[k] }

// ParseKeys returns the distribution of a name.
func ParseKeys(name string) (Keys, error) {
	for i, n := range keysNames {
		if n == name {
			return Keys(i), nil
		}
	}
	return 0, fmt.Errorf("key distribution %q is unknown: uniform, sequential or zipf", name)
}

// FirstKey is the key of the first row: the smallest number that takes five bytes in its shortest form, as all keys do.
// Tarantool 2.6 compares unsigned numbers by their bytes, so that one in a longer form than needed would not be found.
const FirstKey = 1 << 16

// RowsMax is the largest number of rows: keys have 32 bits, and the upper half of them is for insert.
const RowsMax = 1<<31 - FirstKey

// scatter is a permutation of [0, n): consecutive positions are far apart.
type scatter struct{ n, step uint64 }

func newScatter(n uint64) scatter {
	step := uint64(float64(n)*0.6180339887498949) | 1
	for gcd(step, n) != 1 {
		step += 2
	}
	return scatter{n: n, step: step}
}

func (s scatter) at(position uint64) uint64 { return position % s.n * s.step % s.n }

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// source gives one thread its keys. Threads share positions by taking every stride-th one, so that a key that may be used
// only once is used by one of them.
type source struct {
	kind         Keys
	once         bool // every key once: position over [0, n), then no more
	base         uint64
	n            uint64
	mix          scatter
	next, stride uint64
	chance       *rand.PCG
	logN         float64
}

// sourceOptions say which keys a source gives: [base, base+n), at most end positions if once is set.
type sourceOptions struct {
	kind           Keys
	once           bool
	base, n        uint64
	thread, stride int
	seed           uint64
}

func newSource(o sourceOptions) *source {
	return &source{
		kind: o.kind, once: o.once, base: o.base, n: o.n, mix: newScatter(o.n), next: uint64(o.thread), stride: uint64(o.stride),
		chance: rand.NewPCG(o.seed, uint64(o.thread)), logN: math.Log(float64(o.n) + 1),
	}
}

// key returns the next key; ok is false when each has been used.
func (s *source) key() (key uint32, ok bool) {
	if s.once || s.kind == Sequential {
		position := s.next
		if s.once && position >= s.n {
			return 0, false
		}
		s.next += s.stride
		if s.kind == Sequential {
			return uint32(s.base + position%s.n), true
		}
		return uint32(s.base + s.mix.at(position)), true
	}
	if s.kind == Zipf {
		u := float64(s.chance.Uint64()>>11) / (1 << 53)
		rank := min(uint64(math.Exp(u*s.logN))-1, s.n-1)
		return uint32(s.base + s.mix.at(rank)), true
	}
	high, _ := bits.Mul64(s.chance.Uint64(), s.n)
	return uint32(s.base + high), true
}

// mix32 is a bijection of 32-bit numbers that leaves no pattern: the secondary fields of a row are made of its key by it.
func mix32(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	return x ^ x>>16
}
