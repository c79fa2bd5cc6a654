package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestGroupIsTheQueries: queries in a group get what they get one by one, errors included, in their order.
func TestGroupIsTheQueries(t *testing.T) {
	e := newTestEngine(t, Options{})
	r := e.NewReader()
	defer r.Close()
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	rnd := rand.New(rand.NewPCG(3, 4))
	for id := range uint64(500) {
		row := row{id: id, tag: fmt.Sprint("t", rnd.IntN(90)), u: rnd.Int64N(1 << 40), null: rnd.IntN(3) == 0}
		for _, space := range []uint32{treeSpace, hashSpace} {
			s.statement(&Statement{Kind: Insert, SpaceID: space, Tuple: row.encode()})
		}
	}
	keys := []string{`[]`, `[17]`, `[499]`, `[500]`, `["t3"]`, `["t3",5]`, `["t3",5,6]`, `[null]`, `["zz"]`, `[281]`, `{}`}
	var g Group
	found, failed := 0, 0
	for round := range 400 {
		var queries []Query
		for n := 1 + rnd.IntN(GroupMax); len(queries) < n; {
			q := Query{SpaceID: []uint32{treeSpace, hashSpace, 281, 512}[rnd.IntN(4)], IndexID: uint32(rnd.IntN(3)),
				Iterator: uint32(rnd.IntN(iterGT + 1)), Offset: uint32(rnd.IntN(2)), Limit: uint32(rnd.IntN(20)),
				Key: fromJSON(t, keys[rnd.IntN(len(keys))])}
			queries = append(queries, q)
			*g.Add() = q
		}
		if g.Len() == GroupMax && g.Add() != nil {
			t.Fatal("a full group takes one more")
		}
		r.Begin(&g)
		var got [][]byte
		var errs []string
		for i := range queries {
			out, n, err := r.Take(&g, i, []byte("before"))
			got, errs = append(got, out), append(errs, fmt.Sprint(n, err))
		}
		r.End(&g)
		for i := range queries {
			out, n, err := r.Select(&queries[i], []byte("before"))
			if !bytes.Equal(out, got[i]) || errs[i] != fmt.Sprint(n, err) {
				t.Fatalf("round %d, %+v: alone %x, %d, %v; in a group %x, %s", round, queries[i], out, n, err, got[i], errs[i])
			}
			if found += n; err != nil {
				failed++
			}
		}
	}
	if g.Len() != 0 || found == 0 || failed == 0 {
		t.Errorf("%d left, %d found, %d failed", g.Len(), found, failed)
	}
}
