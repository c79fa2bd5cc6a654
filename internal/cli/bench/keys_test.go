package bench

import (
	"testing"
)

func take(s *source, n int) (keys []uint32) {
	for range n {
		k, ok := s.key()
		if !ok {
			break
		}
		keys = append(keys, k)
	}
	return keys
}

// TestOnce: with any number of threads each key is given out once, and then no more.
func TestOnce(t *testing.T) {
	for _, kind := range []Keys{Uniform, Sequential} {
		for _, n := range []uint64{1, 2, 7, 1000} {
			seen := map[uint32]int{}
			for thread := range 3 {
				for _, k := range take(newSource(sourceOptions{kind: kind, once: true, base: 50, n: n, thread: thread, stride: 3}), 2000) {
					seen[k]++
				}
			}
			for i := range n {
				if seen[uint32(50+i)] != 1 {
					t.Fatalf("%s keys of %d: key %d came %d times", kind, n, 50+i, seen[uint32(50+i)])
				}
			}
			if len(seen) != int(n) {
				t.Errorf("%s keys of %d: %d keys", kind, n, len(seen))
			}
		}
	}
}

// TestInsertKeys: the keys of insert stay in 32 bits.
func TestInsertKeys(t *testing.T) {
	s := newSource(sourceOptions{kind: Uniform, once: true, base: FirstKey + RowsMax, n: RowsMax, stride: 1})
	seen := map[uint32]bool{}
	for _, k := range take(s, 10_000) {
		if k < FirstKey+RowsMax || seen[k] {
			t.Fatalf("key %d: too small or a second time", k)
		}
		seen[k] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d keys", len(seen))
	}
}

func TestSequential(t *testing.T) {
	s := newSource(sourceOptions{kind: Sequential, n: 3, stride: 1})
	for i, k := range take(s, 7) {
		if int(k) != i%3 {
			t.Errorf("key %d is %d", i, k)
		}
	}
}

func TestUniform(t *testing.T) {
	const n, draws = 10, 100_000
	var counts [n]int
	for _, k := range take(newSource(sourceOptions{kind: Uniform, n: n, stride: 1, seed: 7}), draws) {
		counts[k]++
	}
	for k, c := range counts {
		if c < draws/n*9/10 || c > draws/n*11/10 {
			t.Errorf("key %d came %d times of %d", k, c, draws)
		}
	}
}

// TestZipf: the first rank comes as often as ln 2 / ln(n+1) says, and half of all draws are of the first √n ranks.
func TestZipf(t *testing.T) {
	const n, draws = 10_000, 100_000
	s := newSource(sourceOptions{kind: Zipf, n: n, stride: 1, seed: 7})
	counts := map[uint32]int{}
	for _, k := range take(s, draws) {
		if k >= n {
			t.Fatalf("key %d of %d", k, n)
		}
		counts[k]++
	}
	first := float64(counts[uint32(s.mix.at(0))]) / draws
	if first < 0.07 || first > 0.08 { // 0.0753
		t.Errorf("the first rank has %.4f of the draws", first)
	}
	head := 0
	for rank := range uint64(100) {
		head += counts[uint32(s.mix.at(rank))]
	}
	if share := float64(head) / draws; share < 0.48 || share > 0.52 {
		t.Errorf("the first 100 ranks have %.3f of the draws", share)
	}
}

func TestMixIsBijective(t *testing.T) {
	// Each step can be taken back: xor with a shifted self, and multiplication by an odd number.
	seen := make(map[uint32]bool, 1<<18)
	for x := range uint32(1 << 18) {
		seen[mix32(x*16411)] = true
	}
	if len(seen) != 1<<18 {
		t.Errorf("%d different values of %d", len(seen), 1<<18)
	}
}

func TestNames(t *testing.T) {
	for _, k := range []Keys{Uniform, Sequential, Zipf} {
		if got, err := ParseKeys(k.String()); err != nil || got != k {
			t.Errorf("%s: %v, %v", k, got, err)
		}
	}
	for o := Ping; o <= Load; o++ {
		if got, err := ParseOperation(o.String()); err != nil || got != o {
			t.Errorf("%s: %v, %v", o, got, err)
		}
	}
	if _, err := ParseKeys("normal"); err == nil {
		t.Error("distribution normal is known")
	}
	if _, err := ParseOperation("scan"); err == nil {
		t.Error("operation scan is known")
	}
}
