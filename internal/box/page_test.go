package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// pages reads a query page by page and returns everything; how tells whether by position or by the last tuple.
func pages(r interface {
	Select(*Query, []byte) ([]byte, int, error)
}, q Query, size uint32, byTuple bool) ([][]byte, error) {
	var all [][]byte
	page := &Page{Fetch: true}
	q.Limit = size
	for range 1000 {
		q.Page = page
		out, n, err := r.Select(&q, nil)
		if err != nil {
			return nil, err
		}
		if out, n = page.Finish(out, n); n == 0 {
			if page.Position != nil {
				return nil, fmt.Errorf("an empty page with position %q", page.Position)
			}
			return all, nil
		}
		got := splitTuples(out)
		all = append(all, got...)
		next := &Page{Fetch: true, After: page.Position}
		if byTuple {
			next.After, next.AfterTuple = nil, got[len(got)-1]
		}
		page = next
	}
	return nil, fmt.Errorf("no end")
}

// page runs a query that is a page.
func (s *scripted) page(q *Query) string {
	out, n, err := s.r.Select(q, nil)
	if err == nil {
		q.Page.Finish(out, n)
	}
	return s.query(q)
}

// TestPagesAreTheWhole: any query read in pages of any size gives what it gives at once.
func TestPagesAreTheWhole(t *testing.T) {
	e := newTestEngine(t, Options{})
	r := e.NewReader()
	defer r.Close()
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	defer func() {
		if len(e.PublishedSchema().Space(treeSpace).Indexes) != 5 {
			t.Error("not all indexes were made")
		}
	}()
	s.run(`insert 288 [600,3,"ut","tree",{"unique":true},[[1,"string"],[0,"unsigned"]]]`)
	s.run(`insert 288 [600,4,"tu","tree",{"unique":false},[{"field":1,"type":"string"},{"field":2,"type":"integer","is_nullable":true}]]`)
	rnd := rand.New(rand.NewPCG(1, 2))
	for id := range uint64(60) {
		row := row{id: id, tag: fmt.Sprint("t", rnd.IntN(8)), u: rnd.Int64N(1 << 40), null: rnd.IntN(3) == 0}
		s.statement(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: row.encode()})
	}
	tx := e.BeginTx()
	defer tx.Close()
	for id := range uint64(12) {
		row := row{id: 5 * id, tag: fmt.Sprint("t", rnd.IntN(8)), u: rnd.Int64N(1 << 40)}
		if _, err := tx.Execute(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: row.encode()}); err != nil {
			t.Fatal(err)
		}
		s.statement(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: row.encode()})
	}
	keys := map[uint32][]string{
		0: {`[]`, `[0]`, `[33]`, `[500]`}, 1: {`[]`, `["t3"]`, `["t3",5]`, `["zz"]`}, 2: {`[]`, `[null]`, `[1000]`},
		3: {`[]`, `["t5"]`, `["t5",33]`}, 4: {`[]`, `["t1"]`, `["t1",null]`},
	}
	for index, list := range keys {
		for _, k := range list {
			for it := range uint32(iterGT + 1) {
				q := Query{SpaceID: treeSpace, IndexID: index, Iterator: it, Key: fromJSON(t, k), Limit: 1 << 20}
				out, _, err := r.Select(&q, nil)
				want := splitTuples(out)
				for _, size := range []uint32{1, 7, 1 << 20} {
					for _, byTuple := range []bool{false, true} {
						got, errPages := pages(r, q, size, byTuple)
						inTx, errTx := pages(tx, q, size, byTuple)
						if !slices.EqualFunc(got, inTx, bytes.Equal) || (errPages == nil) != (errTx == nil) {
							t.Fatalf("index %d iterator %d key %s pages of %d: %d rows in a transaction, %d without; %v, %v",
								index, it, k, size, len(inTx), len(got), errTx, errPages)
						}
						if errcode.Is(err, errcode.KeyPartCount) && errcode.Is(errPages, errcode.KeyPartCount) {
							continue
						}
						if err != nil || errPages != nil || !slices.EqualFunc(got, want, bytes.Equal) {
							t.Fatalf("index %d iterator %d key %s pages of %d (tuple %v): %d rows, want %d; %v, %v",
								index, it, k, size, byTuple, len(got), len(want), errPages, err)
						}
					}
				}
			}
		}
	}
}

// TestPagesOfViews: what is not a stored space is read in pages too.
func TestPagesOfViews(t *testing.T) {
	rows := VirtualFunc(func(yield func([]byte) bool) {
		for id := range uint64(10) {
			if !yield(row{id: id, tag: fmt.Sprint("t", id%3), null: true}.encode()) {
				return
			}
		}
	})
	e := newTestEngine(t, Options{Virtuals: []VirtualSpace{{ID: 500, Name: "v", Rows: rows,
		Fields: []tuple.Field{{Name: "id", Type: tuple.Unsigned}, {Name: "tag", Type: tuple.String}},
		Indexes: []VirtualIndex{{ID: 0, Name: "pk", Unique: true, Parts: []tuple.Part{{Field: 0, Type: tuple.Unsigned}}},
			{ID: 1, Name: "tag", Parts: []tuple.Part{{Field: 1, Type: tuple.String}}}}}}})
	r := e.NewReader()
	defer r.Close()
	for _, q := range []Query{
		{SpaceID: 281, Iterator: iterGE}, {SpaceID: 281, Iterator: iterLE}, {SpaceID: 281, IndexID: 2, Iterator: iterALL},
		{SpaceID: 289, Iterator: iterEQ, Key: key(280)}, {SpaceID: 500, Iterator: iterGT, Key: key(3)},
		{SpaceID: 500, IndexID: 1, Iterator: iterREQ, Key: fromJSON(t, `["t1"]`)}, {SpaceID: 500, IndexID: 1, Iterator: iterLE},
	} {
		if q.Key == nil {
			q.Key = []byte{0x90}
		}
		q.Limit = 1 << 20
		out, n, err := r.Select(&q, nil)
		if err != nil || n < 2 {
			t.Fatalf("%+v: %d rows, %v", q, n, err)
		}
		for _, size := range []uint32{1, 3} {
			if got, err := pages(r, q, size, false); err != nil || !bytes.Equal(bytes.Join(got, nil), out) {
				t.Errorf("%+v in pages of %d: %d rows, want %d, %v", q, size, len(got), n, err)
			}
		}
	}
}

// TestPositionOutlivesItsTuple: rows that come and go between pages move nothing else.
func TestPositionOutlivesItsTuple(t *testing.T) {
	e := newTestEngine(t, Options{})
	r := e.NewReader()
	defer r.Close()
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	for _, line := range []string{`insert 600 [1,"a",null]`, `insert 600 [3,"b",7]`, `insert 600 [5,"c",null]`} {
		s.run(line)
	}
	page := &Page{Fetch: true}
	q := &Query{SpaceID: treeSpace, Iterator: iterALL, Key: []byte{0x90}, Limit: 2, Page: page}
	if got := s.page(q); got != "[1,\"a\",null]\n[3,\"b\",7]\n" || string(page.Position) != "kQM" {
		t.Fatalf("first page %s, position %s", got, page.Position)
	}
	s.run(`delete 600 0 [3]`)
	s.run(`insert 600 [2,"x",null]`)
	s.run(`insert 600 [4,"y",null]`)
	q.Page = &Page{Fetch: true, After: page.Position}
	if got := s.page(q); got != "[4,\"y\",null]\n[5,\"c\",null]\n" || string(q.Page.Position) != "kQU" {
		t.Errorf("second page %s, position %s", got, q.Page.Position)
	}
	q.Page, q.Limit = &Page{Fetch: true, After: []byte("kQU")}, 0
	if got := s.page(q); got != "(nothing)\n" || q.Page.Position != nil {
		t.Errorf("a page of nothing: %s, position %s", got, q.Page.Position)
	}
}

func TestPagesRefused(t *testing.T) {
	e := newTestEngine(t, Options{})
	r := e.NewReader()
	defer r.Close()
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	s.run(`insert 600 [1,"a",7]`)
	at := func(text string) []byte { return positionEncoding.AppendEncode(nil, fromJSON(t, text)) }
	const invalid = "error 247: Iterator position is invalid\n"
	for _, c := range []struct {
		index    uint32
		iterator uint32
		key      string
		page     Page
		want     string
	}{
		{0, iterALL, `[]`, Page{After: []byte("*")}, invalid},
		{0, iterALL, `[]`, Page{After: []byte("kQE=")}, invalid},
		{0, iterALL, `[]`, Page{After: positionEncoding.AppendEncode(nil, []byte{0x91})}, invalid},
		{0, iterALL, `[]`, Page{After: at(`7`)}, invalid},
		{0, iterALL, `[]`, Page{After: at(`["x"]`)}, invalid},
		{0, iterALL, `[]`, Page{After: at(`[1,2]`)}, invalid},
		{1, iterALL, `[]`, Page{After: at(`["a"]`)}, invalid},
		{0, iterEQ, `[1]`, Page{After: at(`[2]`)}, invalid},
		{1, iterREQ, `["a"]`, Page{After: at(`["b",1]`)}, invalid},
		{0, iterGE, `[5]`, Page{After: at(`[4]`)}, invalid},
		{0, iterGT, `[5]`, Page{After: at(`[5]`)}, invalid},
		{0, iterLE, `[5]`, Page{After: at(`[6]`)}, invalid},
		{0, iterLT, `[5]`, Page{After: at(`[5]`)}, invalid},
		{0, iterLT, `[5]`, Page{AfterTuple: fromJSON(t, `[5]`)}, invalid},
		{0, iterALL, `[]`, Page{AfterTuple: fromJSON(t, `["x"]`)},
			"error 18: Supplied key type of part 0 does not match index part type: expected unsigned\n"},
		{1, iterALL, `[]`, Page{AfterTuple: fromJSON(t, `[1]`)}, "error 39: Tuple field 2 required by space format is missing\n"},
		{2, iterALL, `[]`, Page{AfterTuple: fromJSON(t, `[0]`)}, "[1,\"a\",7]\n"}, // a missing nullable field is nil
		{0, iterGE, `[1]`, Page{After: []byte{}}, "[1,\"a\",7]\n"},
		{0, iterGE, `[1]`, Page{After: []byte{}, AfterTuple: fromJSON(t, `[9]`)}, "[1,\"a\",7]\n"},
	} {
		q := &Query{SpaceID: treeSpace, IndexID: c.index, Iterator: c.iterator, Key: fromJSON(t, c.key), Limit: 10, Page: &c.page}
		if got := s.query(q); got != c.want {
			t.Errorf("index %d iterator %d key %s page %+v: %s", c.index, c.iterator, c.key, c.page, got)
		}
	}
	q := &Query{SpaceID: hashSpace, Iterator: iterALL, Key: []byte{0x90}, Limit: 10, Page: &Page{Fetch: true}}
	if got := s.query(q); got != "error 112: Index 'pk' (HASH) of space 'hash' (memtx) does not support pagination\n" {
		t.Errorf("HASH: %s", got)
	}
}

func TestNames(t *testing.T) {
	e := newTestEngine(t, Options{})
	r := e.NewReader()
	defer r.Close()
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	var names Names
	space := func(name string) string {
		id, err := names.Space(e.PublishedSchema(), []byte(name))
		if err != nil {
			return render(err)
		}
		return fmt.Sprint(id)
	}
	index := func(id uint32, name string) string {
		ix, err := names.Index(e.PublishedSchema(), id, []byte(name))
		if err != nil {
			return render(err)
		}
		return fmt.Sprint(ix)
	}
	for _, c := range [][2]string{
		{space("tree"), "600"}, {space("_space"), "280"}, {space("600"), "error 36: Space '600' does not exist\n"},
		{index(600, "u"), "2"}, {index(600, "0"), "error 148: No index '0' is defined in space 'tree'\n"},
		{index(999, "pk"), "error 36: Space '999' does not exist\n"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
	s.run(`update 280 0 [600] [["=",2,"wood"]]`)
	if got := space("wood"); got != "600" {
		t.Errorf("the new name: %s", got)
	}
	if got := space("tree"); got != "error 36: Space 'tree' does not exist\n" {
		t.Errorf("the old name: %s", got)
	}
	if got := space(string(bytes.Repeat([]byte{0xff}, 1000))); len(got) > 600 {
		t.Errorf("an error of %d bytes", len(got))
	}
}

// FuzzPage gives foreign positions and tuples to every index.
func FuzzPage(f *testing.F) {
	e := newTestEngine(f, Options{})
	r := e.NewReader()
	t := &testing.T{}
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	s.run(`insert 600 [1,"a",7]`)
	f.Cleanup(r.Close)
	f.Add([]byte("kQM"), []byte{0x91, 3}, uint8(0), uint8(2))
	f.Add([]byte("kqJ0MQc"), []byte{0x92, 0xa1, 'a', 1}, uint8(1), uint8(0))
	check := func(t *testing.T, q *Query) {
		out, n, err := r.Select(q, nil)
		if err != nil {
			return
		}
		if _, n = q.Page.Finish(out, n); n > 1 || (n == 1) != (q.Page.Position != nil) {
			t.Errorf("%d rows, position %q", n, q.Page.Position)
		}
	}
	f.Fuzz(func(t *testing.T, after, tup []byte, index, iterator uint8) {
		q := &Query{SpaceID: treeSpace, IndexID: uint32(index % 3), Iterator: uint32(iterator % 7), Key: []byte{0x90}, Limit: 10}
		q.Page = &Page{Fetch: true, After: after}
		check(t, q)
		meter.Check(t, len(after), 64, func() {
			q.Page = &Page{After: after}
			_, _, _ = r.Select(q, nil)
		})
		if msgpack.Check(tup) == nil && msgpack.TypeOf(tup[0]) == msgpack.TypeArray {
			q.Page = &Page{Fetch: true, AfterTuple: tup}
			check(t, q)
		}
	})
}
