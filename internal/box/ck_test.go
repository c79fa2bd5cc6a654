package box

import (
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// constrainedSpace makes space 600 with a check constraint "big": A > 1.
const constrainedSpace = `insert 280 [600,1,"t","memtx",0,{},[{"name":"ID","type":"unsigned"},{"name":"A","type":"integer","is_nullable":true}]]
insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]
insert 364 [600,"big",false,"SQL","A > 1",true]`

func newConstrained(t *testing.T) *scripted {
	t.Helper()
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	t.Cleanup(s.r.Close)
	for line := range strings.SplitSeq(constrainedSpace, "\n") {
		s.run(line)
	}
	return s
}

// TestChecksInTransaction checks each statement of a transaction, and a constraint that is made meanwhile is a conflict.
func TestChecksInTransaction(t *testing.T) {
	s := newConstrained(t)
	tx := s.e.BeginTx()
	put := func(kind Kind, text string) error {
		_, err := tx.Execute(&Statement{Kind: kind, SpaceID: 600, Tuple: fromJSON(t, text), Ops: fromJSON(t, `[["-",1,3]]`)})
		return err
	}
	for _, c := range []struct {
		kind Kind
		row  string
		code errcode.Code
	}{
		{Insert, `[1,1]`, errcode.CKConstraintFailed}, {Insert, `[1,2]`, 0}, {Insert, `[1,1]`, errcode.TupleFound},
		{Replace, `[1,0]`, errcode.CKConstraintFailed}, {Upsert, `[1,9]`, errcode.CKConstraintFailed}, {Replace, `[1,null]`, 0},
	} {
		if err := put(c.kind, c.row); c.code == 0 && err != nil || c.code != 0 && !errcode.Is(err, c.code) {
			t.Errorf("%d %s: %v, want %d", c.kind, c.row, err, c.code)
		}
	}
	s.run(`insert 364 [600,"more",false,"SQL","A > 5",true]`)
	s.version++
	s.e.Begin(s.version)
	err := s.e.CommitTx(tx)
	s.e.Seal()
	s.e.Publish(s.version)
	tx.Close()
	if !errcode.Is(err, errcode.TransactionConflict) {
		t.Errorf("a constraint was added meanwhile: %v", err)
	}
}

// TestChecksRollBack takes a constraint back together with the version that made it.
func TestChecksRollBack(t *testing.T) {
	s := newConstrained(t)
	s.version++
	s.e.Begin(s.version)
	row := fromJSON(t, `[600,"more",false,"SQL","A > 5",true]`)
	if _, err := s.e.Execute(&Statement{Kind: Insert, SpaceID: 364, Tuple: row}); err != nil {
		t.Fatal(err)
	}
	s.e.Seal()
	s.e.Rollback(s.version - 1)
	s.version--
	if out := s.run(`insert 600 [1,2]`); out != "[1,2]\n" {
		t.Error(out)
	}
}

// TestChecksOnReplica has the constraints of the rows that were applied or loaded, and applies rows without asking them.
func TestChecksOnReplica(t *testing.T) {
	leader, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
	version := uint64(1)
	do := func(id uint32, kind Kind, text string) {
		t.Helper()
		version++
		leader.Begin(version)
		_, err := leader.Execute(&Statement{Kind: kind, SpaceID: id, Tuple: fromJSON(t, text)})
		entry := leader.Seal()
		leader.Publish(version)
		if err != nil {
			t.Fatal(err)
		}
		if err := replica.Apply(version, entry); err != nil {
			t.Fatal(err)
		}
		replica.Publish(version)
	}
	do(280, Insert, `[600,1,"t","memtx",0,{},[{"name":"ID","type":"unsigned"},{"name":"A","type":"integer"}]]`)
	do(288, Insert, `[600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`)
	do(364, Insert, `[600,"c",false,"SQL","A > 1",false]`)
	do(600, Insert, `[1,0]`)
	do(364, Replace, `[600,"c",false,"SQL","A > 1",true]`)
	if l, r := leader.NewestSchema().Version, replica.NewestSchema().Version; l != r {
		t.Errorf("schema versions %d and %d", l, r)
	}
	version++
	replica.Begin(version)
	_, err := replica.Execute(&Statement{Kind: Replace, SpaceID: 600, Tuple: fromJSON(t, `[1,0]`)})
	replica.Seal()
	replica.Publish(version)
	if !errcode.Is(err, errcode.CKConstraintFailed) {
		t.Error(err)
	}
}

// TestSwitchKeepsVersion: clients need not read the schema again because a constraint was switched.
func TestSwitchKeepsVersion(t *testing.T) {
	s := newConstrained(t)
	before := s.e.NewestSchema().Version
	s.run(`replace 364 [600,"big",false,"SQL","A > 1",false]`)
	if after := s.e.NewestSchema().Version; after != before {
		t.Errorf("version %d, then %d", before, after)
	}
	s.run(`delete 364 0 [600,"big"]`)
	if after := s.e.NewestSchema().Version; after == before {
		t.Error("a constraint is dropped, and the version is the same")
	}
}

// TestChecksMadeInTransaction makes and drops constraints together with their space and its rows.
func TestChecksMadeInTransaction(t *testing.T) {
	s := newConstrained(t)
	tx := s.e.BeginTx()
	defer tx.Close()
	put := func(id uint32, text string, want errcode.Code) {
		t.Helper()
		_, err := tx.Execute(&Statement{Kind: Insert, SpaceID: id, Tuple: fromJSON(t, text)})
		if want == 0 && err != nil || want != 0 && !errcode.Is(err, want) {
			t.Fatalf("%s: %v, want %d", text, err, want)
		}
	}
	put(280, `[601,1,"n","memtx",0,{},[{"name":"ID","type":"unsigned"},{"name":"A","type":"integer"}]]`, 0)
	put(288, `[601,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`, 0)
	put(364, `[601,"few",false,"SQL","A < 10",true]`, 0)
	put(356, `["fk",601,600,false,"simple","cascade","cascade",[0],[0]]`, 0)
	put(601, `[1,10]`, errcode.CKConstraintFailed)
	put(601, `[1,9]`, 0)
	put(364, `[601,"many",false,"SQL","A > 0",true]`, errcode.CreateCKConstraint)
	put(356, `["fk2",601,600,false,"simple","cascade","cascade",[0],[0]]`, errcode.CreateFKConstraint)
	s.version++
	s.e.Begin(s.version)
	err := s.e.CommitTx(tx)
	s.e.Seal()
	s.e.Publish(s.version)
	if err != nil {
		t.Fatal(err)
	}
	if out := s.run(`replace 601 [1,10]`); out != "error 196: Check constraint failed 'few': A < 10\n" {
		t.Error(out)
	}
	if out := s.run(`delete 288 0 [600,0]`); out != "error 12: Can't modify space 't': can not drop a referenced index\n" {
		t.Error(out)
	}
}
