package instance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/errcode"
)

// TestCatalogWrites: that nothing was to be done is told when it is true of all that was done before the question.
func TestCatalogWrites(t *testing.T) {
	taken, conflict, lost := errors.New("taken"), errcode.New(errcode.CASConflictFound, 7), errors.New("nobody answers")
	for _, c := range []struct {
		name    string
		applied []uint64 // at each attempt
		outcome []error  // of each attempt; nil in the last one of those that write means written
		writes  bool     // the last attempt writes
		index   uint64   // what a quorum answers
		unsure  error
		asked   int
		want    error
	}{
		{"it writes", []uint64{5}, []error{nil}, true, 5, nil, 0, nil},
		{"nothing is there", []uint64{5, 5}, []error{nil, nil}, false, 5, nil, 1, nil},
		{"it was not there yet", []uint64{5, 6}, []error{nil, nil}, true, 6, nil, 1, nil},
		{"it is there no more", []uint64{5, 6}, []error{taken, nil}, true, 6, nil, 1, nil},
		{"it is there", []uint64{5, 9}, []error{taken, taken}, false, 6, nil, 1, taken},
		{"somebody came between", []uint64{5, 6}, []error{conflict, nil}, true, 9, nil, 0, nil},
		{"somebody came between, then it was there", []uint64{5, 6, 7, 7}, []error{taken, conflict, conflict, taken}, false, 6, nil, 1, taken},
		{"nobody knows", []uint64{5}, []error{nil}, false, 0, lost, 1, lost},
		{"nobody knows better", []uint64{5}, []error{taken}, false, 0, lost, 1, taken},
	} {
		n, asked := 0, 0
		err := untilSure(context.Background(), func() uint64 { return c.applied[n] },
			func(context.Context) (uint64, error) { asked++; return c.index, c.unsure },
			func() (bool, error) {
				err := c.outcome[n]
				n++
				return n == len(c.outcome) && c.writes, err
			})
		if !errors.Is(err, c.want) || n != len(c.outcome) || asked != c.asked {
			t.Errorf("%s: %v after %d attempts and %d questions", c.name, err, n, asked)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := untilSure(ctx, func() uint64 { return 0 }, nil, func() (bool, error) { return false, conflict }); !errors.Is(err, conflict) {
		t.Errorf("at the end of its time: %v", err)
	}
}

// TestLane: what comes by one lane is done in its order, and no more of it waits than may.
func TestLane(t *testing.T) {
	var l lane
	gate, all := make(chan struct{}), make(chan struct{})
	if err := l.add(func() { <-gate }); err != nil {
		t.Fatal(err)
	}
	var got []int // of the lane's goroutine, until all is closed
	added := 0
	for ; added < 2*laneMax; added++ {
		n := added
		if l.add(func() { got = append(got, n) }) != nil {
			break
		}
	}
	if added < laneMax-1 || added > laneMax {
		t.Errorf("%d wait, want about %d", added, laneMax)
	}
	close(gate)
	for l.add(func() { close(all) }) != nil {
		time.Sleep(time.Millisecond)
	}
	<-all
	if len(got) != added || !slices.IsSorted(got) {
		t.Errorf("%d of %d were done, in order: %v", len(got), added, slices.IsSorted(got))
	}
}

// TestGlobalRows: a global table is read by an index as the catalog has it, or not at all.
func TestGlobalRows(t *testing.T) {
	s := bootstrapped(t)
	index, term := s.Position()
	run := func(op catalog.Op) {
		t.Helper()
		index++
		if _, _, err := s.Execute(index, term, catalog.Item{Ops: []catalog.Op{op}, Initiator: catalog.AdminID}); err != nil {
			t.Fatal(err)
		}
	}
	table := func(id uint32) catalog.SchemaTable {
		return catalog.SchemaTable{ID: id, Name: "g", Engine: "memtx", Owner: 1, Distribution: catalog.GlobalDistribution()}
	}
	key := func(id uint32, kind string) catalog.SchemaIndex {
		parts := appendRow(nil, []any{0, kind})
		return catalog.SchemaIndex{TableID: id, Name: "pk", Type: "tree", Opts: appendRow(nil, map[string]any{"unique": true})[1:], Parts: parts}
	}
	op, _, version, err := catalog.PlanDDL(s, catalog.DDL{Kind: catalog.CreateTable, Table: table(700),
		Indexes: []catalog.SchemaIndex{key(700, "unsigned")}})
	if err != nil {
		t.Fatal(err)
	}
	run(op)
	run(catalog.Op{Kind: catalog.DDLCommit, SchemaVersion: version})
	for _, id := range []int{2, 1} {
		run(catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Insert, Table: 700, Tuple: appendRow(nil, id, "x")}}})
	}
	c := &core{catalog: catalogrunner.New(catalogrunner.Options{Start: s})}
	for _, x := range []struct {
		table uint32
		kind  string
		there bool
	}{{700, "unsigned", true}, {700, "integer", false}, {701, "unsigned", false}} {
		e, err := box.New(box.Options{QuotaBytes: 8 << 20, Global: func(id uint32) box.Sorted { return globalRows{c, id} }})
		if err != nil {
			t.Fatal(err)
		}
		e.Begin(1)
		load := func(space uint32, row []byte) bool {
			if err := e.Load(space, row); err != nil {
				t.Fatal(err)
			}
			return true
		}
		dictionary.Rows(load)
		load(dictionary.SpaceSpace, table(x.table).SpaceRow())
		load(dictionary.SpaceIndex, key(x.table, x.kind).IndexRow())
		e.Seal()
		e.Publish(1)
		r := e.NewReader()
		rows, n, err := r.Select(&box.Query{SpaceID: x.table, Iterator: iterateGE, Key: appendRow(nil), Limit: 10}, nil)
		want := append(appendRow(nil, 1, "x"), appendRow(nil, 2, "x")...)
		if x.there && (err != nil || n != 2 || string(rows) != string(want)) || !x.there && !errcode.Is(err, errcode.GlobalTableChanges) {
			t.Errorf("table %d by %s: %d rows, %v", x.table, x.kind, n, err)
		}
		r.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
