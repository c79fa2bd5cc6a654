package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// applyPlainly is Apply without looking ahead.
func applyPlainly(e *Engine, version uint64, entry []byte, local []LocalRow) error {
	e.Begin(version)
	e.setForce(true)
	err := eachRow(entry, local, func(r Row, isLocal bool) error {
		if isLocal {
			e.localRows++
		}
		return e.applyRow(r, nil)
	})
	e.setForce(false)
	e.Seal()
	return err
}

// TestApplyAhead: random entries of any length, with the same keys several times, removed rows, secondary keys, rows of local
// spaces, and changes of the schema in the middle. A replica that looks ahead becomes what one does that applies row by row.
func TestApplyAhead(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			leader, ahead, plain := newTestEngine(t, Options{}), newTestEngine(t, Options{}), newTestEngine(t, Options{})
			s := &scripted{t: t, e: leader, r: leader.NewReader(), version: 1}
			defer s.r.Close()
			s.log = func(entry []byte) {
				for _, replica := range []*Engine{ahead, plain} {
					if err := replica.Apply(s.version, entry); err != nil {
						t.Fatal(err)
					}
					replica.Publish(s.version)
				}
			}
			makeLoaderSpaces(t, s)
			s.log, s.open = nil, true
			models := []*model{{treeSpace, true, map[uint64]row{}}, {hashSpace, false, map[uint64]row{}}}
			long, mixed := 0, 0
			for version := s.version + 1; version < 100; version++ {
				leader.Begin(version)
				for range 1 + rnd.IntN(5*AheadMax) {
					if line := loaderStep(rnd); rnd.IntN(8) == 0 && (version%2 == 0 || !strings.HasPrefix(line, "replace 606")) {
						s.run(line)
					} else { // after a change of the schema the model does not know what is refused: the leader does
						_ = models[rnd.IntN(2)].step(leader, rnd)
					}
				}
				entry, local := sealed(t, leader, version)
				leader.Publish(version)
				if len(entry) == 0 {
					continue
				}
				if len(local) > 0 {
					mixed++
				} else if leader.rows > AheadMax {
					long++
				}
				if err := ahead.Apply(version, entry, local...); err != nil {
					t.Fatal(err)
				}
				if err := applyPlainly(plain, version, bytes.Clone(entry), local); err != nil {
					t.Fatal(err)
				}
				clear(entry) // nothing of it is kept
				ahead.Publish(version)
				plain.Publish(version)
				if version%40 == 0 {
					if err := sameContent(plain, ahead); err != nil {
						t.Fatal(err)
					}
				}
			}
			if long == 0 || mixed == 0 {
				t.Errorf("%d entries of many rows, %d with local ones", long, mixed)
			}
			if err := sameContent(plain, ahead); err != nil {
				t.Fatal(err)
			}
			if err := sameContent(leader, ahead); err != nil {
				t.Fatal(err)
			}
			if ahead.ahead.n != 0 || len(ahead.ahead.rows[0].Data) != 0 {
				t.Error("rows are still expected")
			}
		})
	}
}

// TestApplyAheadRefuses: what a row has to fit is what holds when it is its turn, whatever was looked at before.
func TestApplyAheadRefuses(t *testing.T) {
	five := `[601,1,"hash","memtx",5,{},[]]` // tuples of exactly five fields
	entryOf := func(rows ...Row) []byte {
		entry := []byte{entryFormat}
		for _, r := range rows {
			kind := rowPut
			if r.Deleted {
				kind = rowDelete
			}
			entry = appendRow(entry, kind, r.SpaceID, r.Data)
		}
		return entry
	}
	put := func(space uint32, text string) Row { return Row{SpaceID: space, Data: fromJSON(t, text)} }
	gone := func(space uint32, text string) Row {
		return Row{SpaceID: space, Deleted: true, Data: fromJSON(t, text)}
	}
	good := put(600, `[1,"x",null]`)
	for what, c := range map[string]struct {
		entry []byte
		fails string
	}{
		"rows that fit":                {entryOf(good, put(601, `[1,"x"]`), gone(600, `[1]`), good, gone(601, `[1]`)), ""},
		"the format changed before it": {entryOf(good, put(280, five), put(601, `[1,"x"]`)), "space 601"},
		"the space is gone":            {entryOf(gone(288, `[601,1]`), gone(288, `[601,0]`), put(601, `[1,"x"]`)), "space 601 is not there"},
		"a tuple that is none":         {entryOf(good, put(601, `["x"]`)), "space 601"},
		"a removed row that is none":   {entryOf(good, gone(600, `[1]`), gone(600, `[1]`)), "removed tuple is not there"},
		"a key of two parts":           {entryOf(good, gone(600, `[1,2]`)), "bad key"},
		"a key of another type":        {entryOf(good, gone(600, `["x"]`)), "bad key"},
		"no such space":                {entryOf(good, put(999, `[1]`)), "space 999 is not there"},
		"a torn row":                   {entryOf(good, good)[:20], "malformed"},
	} {
		e := newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		makeModelSpaces(t, s)
		err := e.Apply(s.version+1, c.entry)
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %v", what, err)
		}
		s.r.Close()
	}
}
