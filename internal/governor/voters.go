package governor

import (
	"cmp"
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
)

// Candidate is an instance as far as its vote in the catalog's group is concerned.
type Candidate struct {
	ID uint64 // raft id in the catalog's group, never 0
	// Eligible: its tier may vote, and it is not to be expelled.
	Eligible bool
	// Online: it is to be Online.
	Online bool
	// Ready: it is a learner that can be given a vote now: Online, caught up, and heard of.
	Ready bool
	// Live: it answers the leader.
	Live   bool
	Domain map[string]string
}

// Voters returns whom the catalog's voters should be next, in the order of their ids, given those of now, which instances
// there are, and the leader among them (0 if unknown). It keeps who is Online, replaces who is not by one that is ready,
// and keeps him too if there is none; it never drops the leader, who has to hand over first, and never ends with voters of
// whom no majority answers: then it returns the present ones and blocked. Where there is a choice the failure domains of the
// voters are as far apart as can be. Never four: a fourth voter survives no loss more. Applied to its own result with nothing else changed it comes to rest.
func Voters(all []Candidate, now []uint64, leader uint64) (next []uint64, blocked bool) {
	p := newPool(all, now, leader)
	p.take(p.online)
	p.take(p.ready)
	p.take(p.offline)
	p.avoidFour()
	p.spread()
	if !p.quorate() {
		now = slices.Clone(now)
		slices.Sort(now)
		return now, true
	}
	for _, c := range p.chosen {
		next = append(next, c.ID)
	}
	slices.Sort(next)
	return next, false
}

// pool is a choice of voters in the making.
type pool struct {
	want                   int
	leader                 uint64
	chosen                 []Candidate // the leader first, if it votes
	online, ready, offline []Candidate // who may be chosen, by id: voters that are Online, learners that are ready, voters that are not Online
}

func newPool(all []Candidate, now []uint64, leader uint64) *pool {
	p := &pool{leader: leader}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Candidate) int { return cmp.Compare(a.ID, b.ID) })
	eligible := 0
	for _, c := range all {
		if c.Eligible {
			eligible++
		}
		votes := slices.Contains(now, c.ID)
		switch {
		case votes && c.ID == leader:
			p.chosen = append(p.chosen, c)
		case !c.Eligible:
		case votes && c.Online:
			p.online = append(p.online, c)
		case votes:
			p.offline = append(p.offline, c)
		case c.Ready:
			p.ready = append(p.ready, c)
		}
	}
	p.want = catalog.VotersOf(eligible)
	if len(p.chosen) > 0 && !p.chosen[0].Eligible && eligible > 0 {
		p.want = max(p.want, 2) // the leader goes when it has handed over, and needs one to hand over to
	}
	return p
}

// take chooses from the candidates, the farthest from those chosen already first, until there are enough.
func (p *pool) take(from []Candidate) {
	from = slices.Clone(from)
	for len(p.chosen) < p.want && len(from) > 0 {
		best := 0
		for i := range from {
			if far(from[i], p.chosen) > far(from[best], p.chosen) {
				best = i
			}
		}
		p.chosen = append(p.chosen, from[best])
		from = slices.Delete(from, best, best+1)
	}
}

// avoidFour leaves out the last choice of four voters. Only five were wanted then, and the fifth is missing.
func (p *pool) avoidFour() {
	if len(p.chosen) == 4 {
		p.chosen = p.chosen[:3]
	}
}

// spread exchanges one voter for a ready learner if that takes the failure domains farther apart, when nothing else is to be
// done.
func (p *pool) spread() {
	if len(p.chosen) != p.want || len(p.chosen) != p.leaders()+len(p.online) {
		return
	}
	bestOut, bestIn, gain := -1, -1, 0
	for out, c := range p.chosen {
		if c.ID == p.leader {
			continue
		}
		rest := slices.Delete(slices.Clone(p.chosen), out, out+1)
		for in, r := range p.ready {
			if g := far(r, rest) - far(c, rest); g > gain {
				bestOut, bestIn, gain = out, in, g
			}
		}
	}
	if gain > 0 {
		p.chosen[bestOut] = p.ready[bestIn]
	}
}

// leaders is 1 if the leader votes.
func (p *pool) leaders() int {
	if len(p.chosen) > 0 && p.chosen[0].ID == p.leader {
		return 1
	}
	return 0
}

func (p *pool) quorate() bool {
	live := 0
	for _, c := range p.chosen {
		if c.Live || c.ID == p.leader {
			live++
		}
	}
	return live > len(p.chosen)/2
}

// far is the sum of the distances of a candidate's failure domain from those of others.
func far(c Candidate, others []Candidate) int {
	sum := 0
	for _, o := range others {
		sum += distance(c.Domain, o.Domain)
	}
	return sum
}

// distance is the number of keys whose values differ; one that only one of both has differs.
func distance(a, b map[string]string) int {
	n := 0
	for key, v := range a {
		if w, ok := b[key]; !ok || w != v {
			n++
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			n++
		}
	}
	return n
}
