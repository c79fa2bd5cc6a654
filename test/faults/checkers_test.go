package faults

import (
	"strings"
	"testing"
)

// Each checker finds what it is there for, and nothing in a history that is right.
func TestCheckersFindWhatIsPlanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(h *history, end *ends)
		want  string
	}{
		"nothing wrong": {func(*history, *ends) {}, ""},
		"stale read": {func(h *history, _ *ends) {
			h.accesses = append(h.accesses, access{client: 3, key: 1, value: 11, begin: 41, end: 45})
		}, "register 1 is not linearizable"},
		"value from nowhere": {func(h *history, _ *ends) {
			h.accesses = append(h.accesses, access{client: 3, key: 1, value: 99, begin: 41, end: 45})
		}, "register 1 is not linearizable"},
		"value of a failed write": {func(h *history, _ *ends) {
			h.neverWritten[98] = true
			h.accesses = append(h.accesses, access{client: 3, key: 2, value: 98, begin: 41, end: 45})
		}, "whose write had failed"},
		"an unknown write may be seen": {func(h *history, _ *ends) {
			h.accesses = append(h.accesses, access{client: 3, key: 1, value: 13, begin: 50, end: 55})
		}, ""},
		"an unknown write may not be undone": {func(h *history, _ *ends) {
			h.accesses = append(h.accesses, access{client: 3, key: 1, value: 13, begin: 50, end: 55},
				access{client: 3, key: 1, value: 12, begin: 60, end: 65})
		}, "register 1 is not linearizable"},
		"lost element":           {func(_ *history, e *ends) { delete(e.set, 1) }, "acknowledged elements are lost"},
		"seen and gone":          {func(h *history, _ *ends) { h.seen[3] = true }, "were read and are gone"},
		"failed and there":       {func(_ *history, e *ends) { e.set[2] = true }, "whose insert had failed"},
		"failed and seen":        {func(h *history, _ *ends) { h.seen[2] = true }, "whose insert had failed"},
		"unknown and there":      {func(_ *history, e *ends) { e.set[3] = true }, ""},
		"an increment is lost":   {func(_ *history, e *ends) { e.counter = 1 }, "the counter is 1"},
		"one happened too often": {func(_ *history, e *ends) { e.counter = 4 }, "the counter is 4"},
		"the unknown one, too":   {func(_ *history, e *ends) { e.counter = 3 }, ""},
		"twice the same value":   {func(h *history, _ *ends) { h.returned = append(h.returned, 2) }, "two increments returned 2"},
		"torn read":              {func(h *history, _ *ends) { h.totals = append(h.totals, 599) }, "a total of 599"},
		"money made":             {func(_ *history, e *ends) { e.accounts = 601 }, "a total of 601"},
		"two leaders":            {func(h *history, _ *ends) { h.leads("data", 4, "b") }, "has two leaders: a and b"},
		"a leader of another term": {func(h *history, _ *ends) {
			h.leads("data", 5, "b")
			h.leads("catalog", 4, "c")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, end := soundHistory()
			c.plant(h, &end)
			wrong := strings.Join(h.check(end, 600), "\n")
			if (c.want == "") != (wrong == "") || !strings.Contains(wrong, c.want) {
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

// soundHistory is a history in which nothing is wrong, with an unknown write of register 1, and its end.
func soundHistory() (*history, ends) {
	h := newHistory()
	h.accesses = []access{
		{client: 1, key: 1, write: true, value: 11, begin: 0, end: 10},
		{client: 2, key: 1, value: 11, begin: 11, end: 15},
		{client: 1, key: 1, write: true, value: 12, begin: 20, end: 30},
		{client: 2, key: 1, value: 11, begin: 21, end: 25},
		{client: 2, key: 1, value: 12, begin: 31, end: 35},
		{client: 1, key: 1, write: true, value: 13, begin: 38, end: forever},
		{client: 2, key: 2, value: 0, begin: 31, end: 35},
	}
	h.elements = map[uint64]outcome{1: acked, 2: failed, 3: unknown}
	h.seen[1] = true
	h.increments, h.returned, h.totals = [3]int{acked: 2, failed: 5, unknown: 1}, []uint64{2, 1}, []uint64{600, 600}
	h.leads("data", 4, "a")
	h.leads("data", 4, "a")
	return h, ends{set: map[uint64]bool{1: true}, counter: 2, accounts: 600}
}
