package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestExpectChangesNothing: statements that were announced do what they do without it, bad ones and those whose space
// changes between announcement and execution included.
func TestExpectChangesNothing(t *testing.T) {
	newEngine := func() *Engine {
		e := newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		makeModelSpaces(t, s)
		s.r.Close()
		return e
	}
	plain, told := newEngine(), newEngine()
	rnd := rand.New(rand.NewPCG(5, 6))
	failed := 0
	for version := plain.Published() + 1; version < 600; version++ {
		list := randomStatements(t, rnd)
		plain.Begin(version)
		told.Begin(version)
		for i := range list {
			if i%AheadMax == 0 {
				for j := range list[i:min(i+AheadMax, len(list))] {
					told.Expect(&list[i+j])
				}
				told.Fetch()
			}
			bare := list[i]
			bare.fits = nil
			want, errWant := plain.Execute(&bare)
			got, errGot := told.Execute(&list[i])
			if !bytes.Equal(want, got) || fmt.Sprint(errWant) != fmt.Sprint(errGot) {
				t.Fatalf("version %d, %+v: %x, %v; announced %x, %v", version, list[i], want, errWant, got, errGot)
			}
			if errWant != nil {
				failed++
			}
		}
		if a, b := slices.Clone(plain.Seal()), told.Seal(); !bytes.Equal(a, b) {
			t.Fatalf("version %d: entry %x, announced %x", version, a, b)
		}
		plain.Publish(version)
		told.Publish(version)
	}
	if failed == 0 {
		t.Error("no statement failed")
	}
}

// randomStatements makes a batch; now and then the format of a space changes in the middle of it.
func randomStatements(t *testing.T, rnd *rand.Rand) []Statement {
	ops := []string{`[["+",0,1]]`, `[["=",1,"x"]]`, `[["=",1,5]]`, `[["#",2,1]]`, `[]`, `[["+",2,7]]`}
	bad := []string{`[]`, `["x"]`, `[1]`, `[1,2,3]`, `{}`, `[7,"t",null,4,5]`}
	var list []Statement
	for range 1 + rnd.IntN(2*AheadMax) {
		id := uint64(rnd.IntN(300))
		s := Statement{Kind: Kind(1 + rnd.IntN(5)), SpaceID: []uint32{treeSpace, hashSpace, treeSpace, 555}[rnd.IntN(4)],
			Key: key(id), Ops: fromJSON(t, ops[rnd.IntN(len(ops))]),
			Tuple: row{id: id, tag: fmt.Sprint("t", rnd.IntN(9)), u: rnd.Int64N(1 << 40), null: rnd.IntN(3) == 0}.encode()}
		if rnd.IntN(4) == 0 { // by another key, of fewer parts than its tree has
			s.IndexID, s.Key = 2, key(uint64(rnd.IntN(40)))
			s.Tuple = row{id: id, tag: "x", u: rnd.Int64N(40)}.encode()
		}
		if rnd.IntN(20) == 0 {
			s.Tuple, s.Key = fromJSON(t, bad[rnd.IntN(len(bad))]), fromJSON(t, bad[rnd.IntN(len(bad))])
		}
		if rnd.IntN(60) == 0 {
			count := rnd.IntN(2) * 5 // tuples of exactly 5 fields, or of any number
			s = Statement{Kind: Update, SpaceID: 280, Key: key(uint64(hashSpace)), Ops: fromJSON(t, fmt.Sprintf(`[["=",4,%d]]`, count))}
		}
		list = append(list, s)
	}
	return list
}
