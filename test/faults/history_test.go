package faults

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// outcome is what a client knows about a write.
type outcome uint8

const (
	acked   outcome = iota // it happened
	failed                 // it did not happen and never will
	unknown                // either, now or later
)

// forever is when an operation returns of which nobody knows whether it happened: it may take effect at any later time.
const forever = math.MaxInt64

// access is one operation on a register. Times are nanoseconds since the history began.
type access struct {
	client, key int
	write       bool
	value       uint64 // what was written or read; 0 for nothing
	begin, end  int64
}

// history is what clients of one round of load saw.
type history struct {
	accesses []access
	// neverWritten are values whose writes failed.
	neverWritten map[uint64]bool
	// elements of the set, by outcome of their insert; seen are those that somebody has read, on whatever replica.
	elements map[uint64]outcome
	seen     map[uint64]bool
	// increments by outcome, and the values that the acknowledged ones returned.
	increments [3]int
	returned   []uint64
	// totals are sums of all accounts, each read in one transaction or one request.
	totals []uint64
	// leaders of each group and term, as the instances say.
	leaders map[groupTerm]string
	// wrong is what was seen to be wrong at once.
	wrong []string
}

type groupTerm struct {
	group string
	term  uint64
}

func newHistory() *history {
	return &history{neverWritten: map[uint64]bool{}, elements: map[uint64]outcome{}, seen: map[uint64]bool{}, leaders: map[groupTerm]string{}}
}

// leads notes that an instance says that it leads a group in a term.
func (h *history) leads(group string, term uint64, instance string) {
	before, known := h.leaders[groupTerm{group, term}]
	if known && before != instance {
		h.wrong = append(h.wrong, fmt.Sprintf("term %d of group %s has two leaders: %s and %s", term, group, before, instance))
	}
	h.leaders[groupTerm{group, term}] = instance
}

// ends are the contents of the cluster when nothing is under way any more.
type ends struct {
	set      map[uint64]bool
	counter  uint64
	accounts uint64
}

// check compares a history with what is there at its end, and lists everything that may not be.
func (h *history) check(end ends, total uint64) []string {
	wrong := slices.Clone(h.wrong)
	wrong = append(wrong, h.checkRegisters()...)
	wrong = append(wrong, h.checkSet(end.set)...)
	wrong = append(wrong, h.checkCounter(end.counter)...)
	for _, sum := range append(slices.Clone(h.totals), end.accounts) {
		if sum != total {
			wrong = append(wrong, fmt.Sprintf("the accounts had a total of %d in one read, it is always %d", sum, total))
			break
		}
	}
	return wrong
}

// register is the state machine of one register.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if a := input.(access); a.write {
			return true, a.value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// checkRegisters looks for an order of the accesses of each register that explains every read.
func (h *history) checkRegisters() (wrong []string) {
	byKey := map[int][]porcupine.Operation{}
	read := map[uint64]bool{}
	for _, a := range h.accesses {
		read[a.value] = read[a.value] || !a.write
	}
	for _, a := range h.accesses {
		if a.end == forever && !read[a.value] {
			continue // it may come last, where it contradicts nothing
		}
		if !a.write && h.neverWritten[a.value] {
			wrong = append(wrong, fmt.Sprintf("register %d had value %d, whose write had failed", a.key, a.value))
		}
		byKey[a.key] = append(byKey[a.key], porcupine.Operation{ClientId: a.client, Input: a, Call: a.begin, Output: a.value, Return: a.end})
	}
	for key, ops := range byKey {
		switch porcupine.CheckOperationsTimeout(register, ops, 2*time.Minute) {
		case porcupine.Illegal:
			wrong = append(wrong, fmt.Sprintf("register %d is not linearizable:%s", key, story(ops)))
		case porcupine.Unknown:
			wrong = append(wrong, fmt.Sprintf("register %d: no verdict on %d operations in time", key, len(ops)))
		}
	}
	return wrong
}

// story tells operations in the order of their calls.
func story(ops []porcupine.Operation) (text string) {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range ops {
		a := op.Input.(access)
		verb, end := "read", fmt.Sprintf("%.3f ms", float64(op.Return)/1e6)
		if a.write {
			verb = "write"
		}
		if op.Return == forever {
			end = "?"
		}
		text += fmt.Sprintf("\n  %.3f … %s: client %d %s %d", float64(op.Call)/1e6, end, a.client, verb, a.value)
	}
	return text
}

// checkSet: what was acknowledged or seen is there, what failed is not.
func (h *history) checkSet(there map[uint64]bool) (wrong []string) {
	lost, vanished, risen := 0, 0, 0
	var example uint64
	for id, o := range h.elements {
		switch {
		case o == acked && !there[id]:
			lost, example = lost+1, id
		case o == failed && (there[id] || h.seen[id]):
			risen, example = risen+1, id
		case h.seen[id] && !there[id]:
			vanished, example = vanished+1, id
		}
	}
	for _, n := range []struct {
		count int
		what  string
	}{{lost, "acknowledged elements are lost"}, {vanished, "elements were read and are gone"}, {risen, "elements are there whose insert had failed"}} {
		if n.count > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s, element %d is one of those", n.count, n.what, example))
		}
	}
	return wrong
}

// checkCounter: every acknowledged increment has happened once, an unknown one at most once, and no two returned the same.
func (h *history) checkCounter(end uint64) (wrong []string) {
	least, most := uint64(h.increments[acked]), uint64(h.increments[acked]+h.increments[unknown])
	if end < least || end > most {
		wrong = append(wrong, fmt.Sprintf("the counter is %d after %d acknowledged and %d unknown increments", end, least, most-least))
	}
	sorted := slices.Sorted(slices.Values(h.returned))
	for n, v := range sorted {
		if n > 0 && sorted[n-1] == v {
			return append(wrong, fmt.Sprintf("two increments returned %d", v))
		}
	}
	return wrong
}
