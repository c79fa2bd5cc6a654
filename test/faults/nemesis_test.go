package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// Three instances under one fault after another.
func TestFaults(t *testing.T) { torment(t, newCluster(t, 3), *rounds, faultsOfThree) }

// Five instances, whose majorities can be others than "all but one".
func TestFaultsOfFive(t *testing.T) { torment(t, newCluster(t, 5), *rounds, faultsOfFive) }

// torment lets faults happen to a cluster under load, and judges after each: the cluster is well again in time, all
// replicas are equal, and nothing contradicts what the clients were told.
func torment(t *testing.T, c *cluster, times int, list []fault) {
	t.Logf("seed %d (run again with -faults-seed %d)", *seed, *seed)
	chance := rand.New(rand.NewPCG(*seed, uint64(len(c.instances))))
	kept := map[uint64]bool{}
	round := 0
	for range times {
		for _, f := range list {
			round++
			if !t.Run(fmt.Sprintf("%d %s", round, f.name), func(t *testing.T) { c.suffer(t, f, round, chance, kept) }) {
				return
			}
		}
	}
}

// suffer is one round. kept are the elements of the set that earlier rounds have left behind.
func (c *cluster) suffer(t *testing.T, f fault, round int, chance *rand.Rand, kept map[uint64]bool) {
	c.makeCounter(t, round)
	l := c.newLoad(round)
	defer l.end()
	l.flows(t, "before the fault", 100)
	f.run(&scene{T: t, c: c, l: l, chance: chance})
	c.healthy(t, waitHealed)
	if l.young.Load() == anyAddress {
		l.grown.Store(l.now())
	}
	l.flows(t, "after the fault", 100)
	h := l.end()
	rows := c.equal(t)
	end := c.readEnds(rows, round)
	for _, wrong := range h.check(end, accountTotal) {
		t.Error(wrong)
	}
	for id := range kept {
		if !end.set[id] {
			t.Errorf("element %d of an earlier round is lost", id)
			break
		}
	}
	for id := range end.set {
		kept[id] = true
	}
	t.Logf("%d writes acknowledged, %d accesses of registers, %d increments, %d totals; errors by number: %v",
		l.acks.Load(), len(h.accesses), len(h.returned), len(h.totals), l.errors)
}

// makeCounter makes the counter of a round.
func (c *cluster) makeCounter(t *testing.T, round int) {
	t.Helper()
	p := c.leader(t, "data")
	w := &worker{address: p.address, conn: c.connect(p)}
	defer w.drop()
	ctx, cancel := timeout(waitStart)
	defer cancel()
	// Leadership may change on a busy machine. Nobody counts yet, so it may be made twice.
	for _, err := w.conn.Replace(ctx, spaceCounters, pack(round, 0)); err != nil; _, err = w.conn.Replace(ctx, spaceCounters, pack(round, 0)) {
		if code := errcode.Of(err).Code; !refusals[code] && code != errcode.UnknownOutcome || ctx.Err() != nil {
			t.Fatalf("make the counter of round %d: %v", round, err)
		}
		rest(ctx, pollEvery)
	}
}

// readEnds takes what a history is compared with out of the rows of the spaces.
func (c *cluster) readEnds(rows map[uint32][]byte, round int) ends {
	e := ends{set: map[uint64]bool{}}
	for _, row := range decode(rows[spaceSet]) {
		e.set[number(row[0])] = true
	}
	for _, row := range decode(rows[spaceCounters]) {
		if number(row[0]) == uint64(round) {
			e.counter = number(row[1])
		}
	}
	e.accounts = totalOf(decode(rows[spaceAccounts]))
	return e
}
