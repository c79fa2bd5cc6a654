package governor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// voter makes a candidate from letters: e eligible, o to be Online, r ready, l live; the domain is the part after a colon.
func candidate(id uint64, letters string) Candidate {
	c := Candidate{ID: id}
	for i, l := range letters {
		switch l {
		case 'e':
			c.Eligible = true
		case 'o':
			c.Online = true
		case 'r':
			c.Ready = true
		case 'l':
			c.Live = true
		case ':':
			c.Domain = map[string]string{"dc": letters[i+1:]}
			return c
		}
	}
	return c
}

func TestVoters(t *testing.T) {
	for _, test := range []struct {
		name    string
		all     []string // of ids 1, 2, …
		now     []uint64
		leader  uint64
		want    []uint64
		blocked bool
	}{
		{name: "a lone instance", all: []string{"eol"}, now: []uint64{1}, leader: 1, want: []uint64{1}},
		{name: "the second votes when it is ready", all: []string{"eol", "eorl"}, now: []uint64{1}, leader: 1, want: []uint64{1, 2}},
		{name: "not before", all: []string{"eol", "eol"}, now: []uint64{1}, leader: 1, want: []uint64{1}},
		{name: "three of four", all: []string{"eol", "eorl", "eorl", "eorl"}, now: []uint64{1}, leader: 1, want: []uint64{1, 2, 3}},
		{name: "two of three while the third is missing", all: []string{"eol", "eorl", "eo"}, now: []uint64{1}, leader: 1,
			want: []uint64{1, 2}},
		{name: "five of six", all: []string{"eol", "eol", "eol", "eorl", "eorl", "eorl"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3, 4, 5}},
		{name: "never four", all: []string{"eol", "eol", "eol", "eorl", "eo"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3}},
		{name: "four become three", all: []string{"eol", "eol", "eol", "eol", "ol"}, now: []uint64{1, 2, 3, 4, 5}, leader: 1,
			want: []uint64{1, 2, 3}},
		{name: "who is offline is replaced", all: []string{"eol", "e", "eol", "eorl"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 3, 4}},
		{name: "and stays without a replacement", all: []string{"eol", "e", "eol"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3}},
		{name: "one that returned is no voter again", all: []string{"eol", "eorl", "eol", "eol"}, now: []uint64{1, 3, 4},
			leader: 1, want: []uint64{1, 3, 4}},
		{name: "silent for a moment is not offline", all: []string{"eol", "eo", "eol", "eorl"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3}},
		{name: "unknown voters go", all: []string{"eol", "eol"}, now: []uint64{1, 2, 9}, leader: 1, want: []uint64{1, 2}},
		{name: "no quorum without the one that goes", all: []string{"eol", "ol", "eo"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3}, blocked: true},
		{name: "the leader stays until it has handed over", all: []string{"ol", "eorl", "eorl"}, now: []uint64{1}, leader: 1,
			want: []uint64{1, 2}},
		{name: "and goes then", all: []string{"ol", "eol", "eorl"}, now: []uint64{1, 2}, leader: 2, want: []uint64{2, 3}},
		{name: "the leader alone", all: []string{"ol"}, now: []uint64{1}, leader: 1, want: []uint64{1}},
		{name: "nobody may vote", all: []string{"ol"}, now: []uint64{1}, want: []uint64{1}, blocked: true},
		{name: "farthest first", all: []string{"eol:a", "eorl:a", "eorl:b", "eorl:c"}, now: []uint64{1}, leader: 1,
			want: []uint64{1, 3, 4}},
		{name: "an exchange that spreads", all: []string{"eol:a", "eol:a", "eol:b", "eorl:c"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 3, 4}},
		{name: "none that does not", all: []string{"eol:a", "eol:b", "eol:c", "eorl:c"}, now: []uint64{1, 2, 3}, leader: 1,
			want: []uint64{1, 2, 3}},
	} {
		var all []Candidate
		for i, letters := range test.all {
			all = append(all, candidate(uint64(i+1), letters))
		}
		got, blocked := Voters(all, test.now, test.leader)
		if !slices.Equal(got, test.want) || blocked != test.blocked {
			t.Errorf("%s: %v %v, want %v %v", test.name, got, blocked, test.want, test.blocked)
		}
	}
}

// TestVotersAtRandom checks for any instances and voters: a majority of the next voters answers, unless nothing changes; the
// leader stays; nobody gets a vote who is not ready; nobody who is Online loses one without need; four is never made; and
// what it gives comes to rest.
func TestVotersAtRandom(t *testing.T) {
	for seed := range uint64(5000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		all, now, leader := randomVoters(rnd)
		for round := 0; ; round++ {
			next, blocked := Voters(all, now, leader)
			if err := checkVoters(all, now, next, leader, blocked); err != nil {
				t.Fatalf("seed %d round %d: %v: %+v, now %v leader %d next %v", seed, round, err, all, now, leader, next)
			}
			if slices.Equal(next, now) {
				break
			}
			if round > len(all) {
				t.Fatalf("seed %d: no rest: %+v, now %v leader %d", seed, all, now, leader)
			}
			for i, c := range all { // a demoted one that is well is ready again
				all[i].Ready = c.Eligible && c.Online && c.Live && !slices.Contains(next, c.ID)
			}
			now = next
		}
	}
}

func randomVoters(rnd *rand.Rand) (all []Candidate, now []uint64, leader uint64) {
	for id := uint64(1); id <= 1+rnd.Uint64N(12); id++ {
		c := Candidate{ID: id, Eligible: rnd.IntN(6) > 0, Online: rnd.IntN(4) > 0, Live: rnd.IntN(5) > 0,
			Domain: map[string]string{"dc": fmt.Sprint(rnd.IntN(3))}}
		if len(now) < 5 && rnd.IntN(2) == 0 {
			now = append(now, id)
			if leader == 0 && rnd.IntN(2) == 0 {
				leader, c.Live = id, true
			}
		} else {
			c.Ready = c.Eligible && c.Online && c.Live && rnd.IntN(3) > 0
		}
		all = append(all, c)
	}
	return all, now, leader
}

func checkVoters(all []Candidate, now, next []uint64, leader uint64, blocked bool) error {
	if blocked && !slices.Equal(now, next) {
		return fmt.Errorf("blocked and changed")
	}
	live, online := 0, 0
	for _, c := range all {
		was, is := slices.Contains(now, c.ID), slices.Contains(next, c.ID)
		switch {
		case is && c.Live:
			live++
		case was && !is && c.ID == leader:
			return fmt.Errorf("the leader is dropped")
		}
		if is && !was && !c.Ready {
			return fmt.Errorf("%d is not ready", c.ID)
		}
		if is && c.Online {
			online++
		}
	}
	if slices.Equal(now, next) {
		return nil
	}
	if live <= len(next)/2 {
		return fmt.Errorf("%d of %d voters live", live, len(next))
	}
	if len(next) == 4 || len(next) > 5 {
		return fmt.Errorf("%d voters", len(next))
	}
	return nil
}
