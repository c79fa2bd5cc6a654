package box

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
)

// shelf is a catalog's table: rows that are sorted when they are asked for.
type shelf struct {
	rows   [][]byte
	absent bool
}

func (s *shelf) Ascend(func([]byte) bool) { panic("rows that are sorted are not looked at one by one") }

func (s *shelf) Sorted(sp *Space, ix *Index) ([][]byte, error) {
	if s.absent {
		return nil, errcode.New(errcode.GlobalTableChanges, sp.Name)
	}
	rows := slices.Clone(s.rows)
	slices.SortFunc(rows, ix.cmp.Compare)
	return rows, nil
}

// newGlobal is an engine with a space 600 and a global table 601 that have the same indexes and rows.
func newGlobal(t *testing.T) (*scripted, *shelf) {
	source := &shelf{}
	e := newTestEngine(t, Options{Global: func(table uint32) Sorted {
		if table != 601 {
			t.Errorf("asked for table %d", table)
		}
		return source
	}})
	r := e.NewReader()
	t.Cleanup(r.Close)
	s := &scripted{t: t, e: e, r: r, version: 1}
	s.run(`insert 280 [600,1,"plain","memtx",0,{},[]]`)
	s.run(`insert 280 [601,1,"global","memtx",0,{"distribution":"global"},[]]`)
	for _, space := range []int{600, 601} {
		for _, line := range []string{`insert 288 [%d,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
			`insert 288 [%d,1,"u","tree",{"unique":true},[[1,"string"],[0,"unsigned"]]]`,
			`insert 288 [%d,2,"s","tree",{"unique":false},[[2,"unsigned"]]]`} {
			s.run(fmt.Sprintf(line, space))
		}
	}
	for n := range 20 {
		row := fmt.Sprintf(`[%d,"t%d",%d]`, n*3%20, n%4, n%5)
		s.run("insert 600 " + row)
		source.rows = append(source.rows, fromJSON(t, row))
	}
	return s, source
}

// A global table is read as a space with the same rows is, by every index, iterator, key and part of the result, in a
// transaction too.
func TestGlobalTablesAreReadAsSpaces(t *testing.T) {
	s, source := newGlobal(t)
	tx := s.e.BeginTx()
	defer tx.Close()
	keys := map[uint32][]string{0: {`[]`, `[0]`, `[7]`, `[19]`, `[20]`}, 1: {`[]`, `["t1"]`, `["t1",7]`, `["t1",8]`, `["a"]`, `["z"]`}, 2: {`[]`, `[0]`, `[4]`, `[9]`}}
	asked := 0
	for index, list := range keys {
		for _, key := range list {
			for iterator := range uint32(iterGT + 1) {
				for _, part := range [][2]uint32{{0, 100}, {0, 1}, {2, 3}, {30, 5}} {
					q := Query{SpaceID: 600, IndexID: index, Iterator: iterator, Key: fromJSON(t, key), Offset: part[0], Limit: part[1]}
					want, n, err := s.r.Select(&q, nil)
					if err != nil {
						t.Fatal(err)
					}
					q.SpaceID = 601
					got, m, err := s.r.Select(&q, nil)
					inTx, k, errTx := tx.Select(&q, nil)
					if err != nil || errTx != nil || n != m || n != k || !bytes.Equal(got, want) || !bytes.Equal(inTx, want) {
						t.Fatalf("index %d key %s iterator %d part %v: %d rows, %d in a transaction, want %d; %v %v", index, key, iterator, part, m, k, n, err, errTx)
					}
					asked++
				}
			}
		}
	}
	if asked == 0 {
		t.Fatal("nothing was asked")
	}
	source.absent = true
	q := Query{SpaceID: 601, Key: fromJSON(t, `[1]`), Limit: 1}
	if _, _, err := s.r.Select(&q, nil); !errcode.Is(err, errcode.GlobalTableChanges) {
		t.Errorf("a table that the catalog does not have so: %v", err)
	}
	if _, _, err := tx.Select(&q, nil); !errcode.Is(err, errcode.GlobalTableChanges) {
		t.Errorf("in a transaction: %v", err)
	}
}

// What the engine refuses of a global table: the catalog has the rows.
func TestGlobalTablesAreWrittenElsewhere(t *testing.T) {
	s, _ := newGlobal(t)
	for line, want := range map[string]string{
		`insert 601 [50,"x",1]`:                                                      "error 12070",
		`delete 601 0 [1]`:                                                           "error 12070",
		`insert 330 [601,1]`:                                                         "error 12071",
		`insert 364 [601,"c",false,"SQL","1 > 0",true]`:                              "error 12071",
		`replace 280 [601,1,"global","memtx",0,{},[]]`:                               "error 12:",
		`replace 280 [600,1,"p","memtx",0,{"distribution":"global"},[]]`:             "error 12:",
		`insert 280 [602,1,"x","memtx",0,{"distribution":"local"},[]]`:               "error 111",
		`insert 280 [602,1,"x","memtx",0,{"distribution":"global","group_id":1},[]]`: "error 9:",
	} {
		if got := s.run(line); !bytes.HasPrefix([]byte(got), []byte(want)) {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if _, err := newTestEngine(t, Options{}).loadSpace(t, `[601,1,"global","memtx",0,{"distribution":"global"},[]]`); !errcode.Is(err, errcode.NotImplemented) {
		t.Errorf("an engine without a catalog: %v", err)
	}
}

func (e *Engine) loadSpace(t *testing.T, row string) (*Space, error) {
	e.Begin(e.published() + 1)
	defer e.Seal()
	if err := e.Load(dictionary.SpaceSpace, fromJSON(t, row)); err != nil {
		return nil, err
	}
	return e.schema.Space(601), nil
}

// In a snapshot the definition of a global table has no option that Tarantool does not know, and comes back as it was.
func TestGlobalTablesInSnapshots(t *testing.T) {
	for row, want := range map[string]string{
		`[601,1,"g","memtx",0,{"distribution":"global"},[]]`:                          `[601,1,"g","memtx",0,{},[],{"distribution":"global"}]`,
		`[601,1,"g","memtx",2,{"distribution":"global"},[{"name":"a","type":"any"}]]`: `[601,1,"g","memtx",2,{},[{"name":"a","type":"any"}],{"distribution":"global"}]`,
		`[601,1,"g","memtx",0,{"temporary":false},[]]`:                                `[601,1,"g","memtx",0,{"temporary":false},[]]`,
	} {
		written := SnapshotRow(dictionary.SpaceSpace, fromJSON(t, row))
		if got := toJSON(t, written); got != want {
			t.Errorf("%s is written as %s, want %s", row, got, want)
		}
		if got := toJSON(t, loadedRow(dictionary.SpaceSpace, written)); got != row {
			t.Errorf("%s comes back as %s", row, got)
		}
		if got := SnapshotRow(600, fromJSON(t, row)); toJSON(t, got) != row {
			t.Errorf("a row of another space is written as %x", got)
		}
	}
	// A field more that somebody else has put there means nothing.
	foreign := `[601,1,"g","memtx",0,{},[],{"distribution":"other"}]`
	if got := toJSON(t, loadedRow(dictionary.SpaceSpace, fromJSON(t, foreign))); got != foreign {
		t.Errorf("%s is loaded as %s", foreign, got)
	}
	e := newTestEngine(t, Options{Global: func(uint32) Sorted { return &shelf{} }})
	sp, err := e.loadSpace(t, `[601,1,"g","memtx",0,{},[],{"distribution":"global"}]`)
	if err != nil || !sp.IsGlobal() || !sp.IsVirtual() {
		t.Errorf("loaded: %+v, %v", sp, err)
	}
}
