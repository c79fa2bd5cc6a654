package box

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// TestTransactionDDLIsReplicated: whoever applies the entries of the script has the same dictionary and the same rows.
func TestTransactionDDLIsReplicated(t *testing.T) {
	data, err := os.ReadFile("testdata/tx_ddl.txt")
	if err != nil {
		t.Fatal(err)
	}
	e, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	s.log = func(entry []byte) {
		if err := replica.Apply(s.version, bytes.Clone(entry)); err != nil {
			t.Fatal(err)
		}
		replica.Publish(s.version)
	}
	for block := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n\n") {
		commands, _, _ := strings.Cut(block+"\n", "----\n")
		for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
			if !strings.HasPrefix(line, "#") {
				s.run(line)
			}
		}
	}
	other := &scripted{t: t, e: replica, r: replica.NewReader(), version: s.version}
	defer other.r.Close()
	for _, sp := range e.PublishedSchema().Spaces() {
		if sp.IsView() || sp.IsVirtual() {
			continue
		}
		for _, ix := range sp.Indexes {
			line := fmt.Sprintf("select %d %d all []", sp.ID, ix.ID)
			if got, want := other.run(line), s.run(line); got != want {
				t.Errorf("%s:\n%swant:\n%s", line, got, want)
			}
		}
	}
}

// TestTransactionDDLMeetsBuild: a space of which an index is being built is not changed by a commit; others are.
func TestTransactionDDLMeetsBuild(t *testing.T) {
	e := newTestEngine(t, Options{})
	e.builds.slice = 4
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeModelSpaces(t, s)
	for id := range 20 {
		s.run(fmt.Sprintf(`insert 601 [%d,"x"]`, id))
	}
	s.version++
	e.Begin(s.version)
	_, err := e.Execute(&Statement{Kind: Insert, SpaceID: spaceIndex, Tuple: fromJSON(t, `[601,5,"built","tree",{"unique":false},[[1,"string"]]]`)})
	b, ok := err.(*Build)
	if !ok {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, want string }{
		{`tx update 280 0 [601] [["=",2,"renamed"]]`, "error 12: Can't modify space 'hash': the space is already being modified\n"},
		{`tx update 280 0 [600] [["=",2,"other"]]`, ""},
	} {
		s.tx = e.BeginTx()
		if out := s.run(c.line); strings.HasPrefix(out, "error") {
			t.Fatal(out)
		}
		err := e.CommitTx(s.tx)
		s.tx.Close()
		if got := ""; err != nil {
			if got = render(err); got != c.want {
				t.Errorf("%s: %s", c.line, got)
			}
		} else if c.want != "" {
			t.Errorf("%s: committed", c.line)
		}
	}
	for err = error(b); err == error(b); {
		_, err = e.Continue(b)
	}
	if err != nil {
		t.Error(err)
	}
	e.Seal()
	e.Publish(s.version)
	if _, err := checkIndexes(e, 601); err != nil {
		t.Error(err)
	}
}

// TestCommitAfterFailedStatement: a statement that looked for its place in the primary index, and then failed, does not
// lead a transaction of the same version to it.
func TestCommitAfterFailedStatement(t *testing.T) {
	f := newTxFixture(t)
	for id := range 50 {
		f.run(fmt.Sprintf(`replace 600 [%d,"t",%d]`, 2*id, 2*id))
	}
	tx := f.e.BeginTx()
	defer tx.Close()
	f.put(tx, `[99,"t",99]`)
	f.version++
	f.e.Begin(f.version)
	_, err := f.e.Execute(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: fromJSON(t, `[41,"t",40]`)})
	if !errcode.Is(err, errcode.TupleFound) {
		t.Fatal(err)
	}
	if err := f.e.CommitTx(tx); err != nil {
		t.Fatal(err)
	}
	f.e.Seal()
	f.e.Publish(f.version)
	if n, err := checkIndexes(f.e, treeSpace); err != nil || n != 52 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestTransactionDDLBesideWriter: transactions change their schemas on goroutines of their own, while the writer writes,
// changes the dictionary and commits some of them.
func TestTransactionDDLBesideWriter(t *testing.T) {
	const makers, each = 3, 60
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeModelSpaces(t, s)
	ready := make(chan *Tx, makers)
	var wg sync.WaitGroup
	for maker := range makers {
		wg.Go(func() {
			for n := range each {
				tx := e.BeginTx()
				id := 1000 + maker*each + n
				for _, st := range []*Statement{
					{Kind: Insert, SpaceID: spaceSpace, Tuple: fromJSON(t, fmt.Sprintf(`[%d,1,"s%d","memtx",0,{},[]]`, id, id))},
					{Kind: Insert, SpaceID: spaceIndex, Tuple: fromJSON(t, fmt.Sprintf(`[%d,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`, id))},
					{Kind: Insert, SpaceID: uint32(id), Tuple: fromJSON(t, `[1]`)},
					{Kind: Delete, SpaceID: 330, Key: fromJSON(t, fmt.Sprintf(`[%d]`, id))},
				} {
					if _, err := tx.Execute(st); err != nil {
						t.Errorf("space %d: %v", id, err)
					}
				}
				ready <- tx
			}
		})
	}
	made := 0
	for n := range makers * each {
		tx := <-ready
		s.version++
		e.Begin(s.version)
		if _, err := e.Execute(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: row{id: uint64(n), tag: "x", null: true}.encode()}); err != nil {
			t.Error(err)
		}
		switch err := e.CommitTx(tx); {
		case err == nil:
			made++
		case !errcode.Is(err, errcode.TransactionConflict):
			t.Error(err)
		}
		tx.Close()
		e.Seal()
		e.Publish(s.version)
	}
	wg.Wait()
	found := 0
	for _, sp := range e.PublishedSchema().Spaces() {
		if sp.ID >= 1000 {
			if n, err := checkIndexes(e, sp.ID); err != nil || n != 1 {
				t.Errorf("space %d: %d rows, %v", sp.ID, n, err)
			}
			found++
		}
	}
	if found != made || made == 0 {
		t.Errorf("%d spaces, %d commits", found, made)
	}
}
