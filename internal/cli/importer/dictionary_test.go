package importer

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func asJSON(t testing.TB, b []byte) string {
	t.Helper()
	if b == nil {
		return "-"
	}
	out, err := msgpack.ToJSON(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestState replays statements on system spaces as a log has them.
func TestState(t *testing.T) {
	d := directory{t: t}
	s := newState()
	apply := func(kind, space uint32, key, tuple, ops string) (before, after string) {
		t.Helper()
		row := snap.Row{Type: kind, SpaceID: space}
		for to, text := range map[*[]byte]string{&row.Key: key, &row.Tuple: tuple, &row.Ops: ops} {
			if text != "" {
				*to = pack(d.t, text)
			}
		}
		b, a, err := s.apply(&row)
		if err != nil {
			t.Fatal(err)
		}
		return asJSON(t, b), asJSON(t, a)
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	apply(snap.TypeInsert, 280, "", `[280, 1, "_space", "memtx", 0, {}, [{"name": "id", "type": "unsigned"}, {"name": "owner", "type": "unsigned"}, {"name": "name", "type": "string"}]]`, "")
	apply(snap.TypeInsert, 280, "", `[512, 1, "a", "memtx", 0, {}, []]`, "")
	_, after := apply(snap.TypeUpdate, 280, `[512]`, `[["=", "name", "b"], ["=", 1, 33]]`, "")
	want("update by name and number", after, `[512,33,"b","memtx",0,{},[]]`)
	if _, after = apply(snap.TypeUpdate, 280, `[513]`, `[["=", 1, 33]]`, ""); after != "-" {
		t.Errorf("an update of nothing gave %s", after)
	}
	before, after := apply(snap.TypeDelete, 280, `[512]`, "", "")
	want("delete", before+after, `[512,33,"b","memtx",0,{},[]]-`)
	apply(snap.TypeReplace, 280, "", `[512, 1, "again", "memtx", 0, {}, []]`, "")
	want("births", fmt.Sprint(s.births[512], s.births[280]), "2 1")
	apply(snap.TypeUpsert, 330, "", `[512, 1]`, `[["+", 1, 1]]`)
	_, after = apply(snap.TypeUpsert, 330, "", `[512, 1]`, `[["+", 1, 1]]`)
	want("upsert", after, "[512,2]")
	apply(snap.TypeInsert, 312, "", `[1, 32, "space", 512, 1]`, "")
	_, after = apply(snap.TypeReplace, 312, "", `[1, 32, "space", 512, 3]`, "")
	want("grant", after+fmt.Sprint(len(s.rows[312])), `[1,32,"space",512,3]1`)
	for _, bad := range []snap.Row{{Type: snap.TypeInsert, SpaceID: 280, Tuple: []byte{0x90}}, {Type: snap.TypeDelete, SpaceID: 288, Key: []byte{0x91, 1}},
		{Type: snap.TypeUpdate, SpaceID: 280, Key: []byte{0x91, 1}}, {Type: snap.TypeReplace, SpaceID: 285, Tuple: []byte{0x92, 1, 0xc0}}} {
		if _, _, err := s.apply(&bad); err == nil && bad.Type != snap.TypeUpdate {
			t.Errorf("row %+v was taken", bad)
		}
	}
}

// TestSequences follows the values of sequences as a recovering Tarantool does.
func TestSequences(t *testing.T) {
	d := directory{t: t}
	s := newState()
	for _, row := range []snap.Row{d.insert(284, `[1, 1, "up", 1, 1, 100, 1, 0, false]`), d.insert(284, `[2, 1, "down", -1, -100, 0, -1, 0, false]`),
		d.insert(340, `[512, 1, true, 1, ""]`), d.insert(340, `[513, 2, true]`),
		d.insert(288, `[513, 0, "pk", "tree", {}, [{"field": 2, "type": "integer"}]]`), d.insert(285, `[1, 7]`)} {
		if _, _, err := s.apply(&row); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		row  snap.Row
		want string
	}{
		{d.insert(512, `["x", 5]`), "map[1:7]"},
		{d.insert(512, `["x", 8]`), "map[1:8]"},
		{d.logged(1, 1, snap.TypeReplace, 512, `["x", 20]`), "map[1:20]"},
		{d.logged(1, 1, snap.TypeUpsert, 512, `["x", 30]`), "map[1:20]"},
		{d.insert(512, `["x"]`), "map[1:20]"},
		{d.insert(513, `[0, 0, -5]`), "map[1:20 2:-5]"},
		{d.insert(513, `[0, 0, -4]`), "map[1:20 2:-5]"},
		{d.insert(514, `[0, 0, -9]`), "map[1:20 2:-5]"},
	} {
		if s.follow(&step.row); fmt.Sprint(s.sequences) != step.want {
			t.Errorf("%s: %v, want %s", asJSON(t, step.row.Tuple), s.sequences, step.want)
		}
	}
	for _, row := range []snap.Row{{Type: snap.TypeDelete, SpaceID: 285, Key: []byte{0x91, 1}}, {Type: snap.TypeDelete, SpaceID: 284, Key: []byte{0x91, 2}}} {
		if _, _, err := s.apply(&row); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.sequences) != 0 {
		t.Errorf("after reset and drop: %v", s.sequences)
	}
}

// TestVariants: what is offered to the cluster for rows of other versions, in order, with what was changed.
func TestVariants(t *testing.T) {
	show := func(list []variant, err error) string {
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, v := range list {
			out = append(out, asJSON(t, v.row)+" "+strings.Join(v.changes, "; "))
		}
		return strings.Join(out, "\n")
	}
	const noFormat = "\n" + `[1,1,"s","memtx",0,{},[]] the format is left out`
	for _, c := range []struct{ row, want string }{
		{`[1,1,"s","memtx",0,{},[]]`, `[1,1,"s","memtx",0,{},[]] ` + noFormat},
		{`[1,1,"s","memtx",0,{"type":"data-temporary","group_id":1,"constraint":{"c":1}},[]]`,
			`[1,1,"s","memtx",0,{"type":"data-temporary","group_id":1,"constraint":{"c":1}},[]] ` + "\n" +
				`[1,1,"s","memtx",0,{"group_id":1,"temporary":true},[]] option type is written as in 2.6; option constraint is left out` + "\n" +
				`[1,1,"s","memtx",0,{"temporary":true},[]] option type is written as in 2.6; option constraint is left out; the space was local to its instance and is an ordinary one now` + "\n" +
				`[1,1,"s","memtx",0,{"temporary":true},[]] option type is written as in 2.6; option constraint is left out; the space was local to its instance and is an ordinary one now; the format is left out`},
		{`[1,1,"s","memtx",0,{},[{"name":"a","type":"int8","default":5,"constraint":{"c":1}},{"name":"b","type":"string","collation":9}]]`,
			`[1,1,"s","memtx",0,{},[{"name":"a","type":"int8","default":5,"constraint":{"c":1}},{"name":"b","type":"string","collation":9}]] constraint of a field of the format is not acted on; default of a field of the format is not acted on` + "\n" +
				`[1,1,"s","memtx",0,{},[{"name":"a","type":"integer"},{"name":"b","type":"string","collation":9}]] constraint of a field of the format is left out; default of a field of the format is left out; type int8 is integer now` + "\n" +
				`[1,1,"s","memtx",0,{},[{"name":"a","type":"integer"},{"name":"b","type":"string"}]] constraint of a field of the format is left out; default of a field of the format is left out; type int8 is integer now; collations of the format are left out` + "\n" +
				`[1,1,"s","memtx",0,{},[]] constraint of a field of the format is left out; default of a field of the format is left out; type int8 is integer now; collations of the format are left out; the format is left out`},
	} {
		if got := show(spaceVariants(pack(t, c.row))); got != c.want {
			t.Errorf("space %s:\n%s\nwant\n%s", c.row, got, c.want)
		}
	}
	for _, c := range []struct{ row, want string }{
		{`[1,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`, `[1,0,"pk","tree",{"unique":true},[[0,"unsigned"]]] `},
		{`[1,0,"pk","tree",{"unique":true,"hint":true},[{"field":0,"type":"uint8","sort_order":"asc"}]]`,
			`[1,0,"pk","tree",{"unique":true,"hint":true},[{"field":0,"type":"uint8","sort_order":"asc"}]] ` + "\n" +
				`[1,0,"pk","tree",{"unique":true},[{"field":0,"type":"unsigned"}]] sort_order asc of a part is left out; type uint8 is unsigned now; option hint is left out`},
		{`[1,0,"pk","tree",{},[{"field":0,"type":"unsigned","sort_order":"desc"}]]`,
			`[1,0,"pk","tree",{},[{"field":0,"type":"unsigned","sort_order":"desc"}]] `},
	} {
		if got := show(indexVariants(pack(t, c.row))); got != c.want {
			t.Errorf("index %s:\n%s\nwant\n%s", c.row, got, c.want)
		}
	}
}

// TestProbe: the engine of a dry run refuses what the cluster does.
func TestProbe(t *testing.T) {
	w, err := newProbe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	made := newBuilder(&plan{content: &content{final: newState()}, report: &Report{}, users: idMap{}}, w)
	b := &made
	sp := &spacePlan{report: &SpaceReport{Name: "s", ID: 600}, indexes: map[uint32]bool{}, refused: map[uint32]string{}, changed: map[string][]string{}}
	steps := []error{b.space(t.Context(), sp, pack(t, `[512, 1, "s", "memtx", 0, {}, []]`)),
		b.index(t.Context(), sp, pack(t, `[512, 0, "pk", "tree", {"unique": true}, [[0, "unsigned"]]]`)),
		b.index(t.Context(), sp, pack(t, `[512, 1, "geo", "rtree", {"unique": false}, [[1, "array"]]]`))}
	b.order = []*spacePlan{sp}
	b.finishNotes()
	if fmt.Sprint(steps) != "[<nil> <nil> <nil>]" || len(b.report.Notes) != 1 || !strings.Contains(b.report.Notes[0].Reason, "error 13") ||
		sp.report.Indexes != 1 {
		t.Errorf("%v, %+v, %+v", steps, b.report.Notes, sp.report)
	}
	if err := b.index(t.Context(), sp, pack(t, `[512, 0, "pk", "bitset", {"unique": true}, [[0, "unsigned"]]]`)); err != nil || sp.live() {
		t.Errorf("a space whose primary index is refused: %v, %+v", err, sp.report)
	}
	if w.e.PublishedSchema().Space(600) != nil {
		t.Error("a space that was left out is still there")
	}
}

func TestFree(t *testing.T) {
	n := named{taken: map[uint32]bool{512: true, 600: true}}
	if got := fmt.Sprint(n.free(513, 600), n.free(512, 600), n.free(512, 600)); got != "513 601 602" {
		t.Error(got)
	}
}

// FuzzDictionary: rows of system spaces from anywhere make no more than an error, and a plan is made of whatever is left.
func FuzzDictionary(f *testing.F) {
	row := func(space uint32, kind uint8, text string) { f.Add(space, kind, []byte{}, pack(f, text), []byte{}) }
	row(280, 2, `[512, 1, "s", "memtx", 0, {"type": "normal"}, [{"name": "a", "type": "int8"}]]`)
	row(288, 2, `[512, 0, "pk", "tree", {"unique": true}, [{"field": 0, "type": "uint8", "sort_order": "asc"}]]`)
	row(340, 2, `[512, 1, true, 4000000000, ""]`)
	row(304, 2, `[40, 1, "u", "user", {"pap-sha256": "x"}]`)
	row(312, 2, `[1, 40, "space", 512, 3]`)
	f.Add(uint32(330), uint8(9), []byte{}, pack(f, `[512, 1]`), pack(f, `[["+", 1, 1]]`))
	kinds := []uint32{snap.TypeInsert, snap.TypeReplace, snap.TypeUpdate, snap.TypeDelete, snap.TypeUpsert}
	f.Fuzz(func(t *testing.T, space uint32, kind uint8, key, tuple, ops []byte) {
		r := snap.Row{Type: kinds[int(kind)%len(kinds)], SpaceID: space}
		for to, raw := range map[*[]byte][]byte{&r.Key: key, &r.Tuple: tuple, &r.Ops: ops} {
			if _, rest, err := msgpack.ReadArrayLen(raw); err == nil && len(rest) < len(raw) && msgpack.Check(raw) == nil {
				*to = raw
			}
		}
		s := newState()
		for _, first := range []snap.Row{{Type: snap.TypeInsert, SpaceID: 284, Tuple: pack(t, `[1, 1, "q", 1, 1, 9, 1, 0, false]`)},
			{Type: snap.TypeInsert, SpaceID: 280, Tuple: pack(t, `[512, 1, "s", "memtx", 0, {}, []]`)}} {
			if _, _, err := s.apply(&first); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, _, err := s.apply(&r); err != nil {
				return
			}
		}
		at := snap.Row{Type: snap.TypeInsert, SpaceID: 512, Tuple: pack(t, `[1, 2, 3]`)}
		s.follow(&at)
		empty := func() named { return named{byName: map[string]uint32{}, taken: map[uint32]bool{}} }
		x := &existing{spaces: empty(), users: empty(), sequences: empty(), bindings: map[uint32]binding{}, indexes: map[uint32][]uint32{},
			grants: map[string][]byte{}, once: map[string]bool{}, truncated: map[uint32]bool{}}
		p := newPlan(&content{final: s, counts: map[uint32]*count{}}, x, Options{}, &Report{})
		if err := p.make(); err != nil {
			return
		}
		for _, user := range p.newUsers {
			if msgpack.Check(p.userRow(user)) != nil {
				t.Fatal("a row of _user that is none")
			}
		}
		for _, dictionaryRow := range [][]byte{s.row(dictionary.SpaceSpace, 512), s.row(dictionary.SpaceIndex, 512, 0)} {
			spaces, _ := spaceVariants(dictionaryRow)
			indexes, _ := indexVariants(dictionaryRow)
			for _, v := range append(spaces, indexes...) {
				if v.row != nil && msgpack.Check(v.row) != nil {
					t.Fatalf("%x is no tuple", v.row)
				}
			}
		}
	})
}

// TestCountRows finds every number with few questions: two if the guess is right.
func TestCountRows(t *testing.T) {
	for most := range uint64(40) {
		for rows := range most + 1 {
			for guess := range most + 1 {
				asked := 0
				got, err := countRows(guess, most, func(n uint64) (bool, error) { asked++; return rows > n, nil })
				if err != nil || got != rows || guess == rows && asked > 2 || asked > 8 {
					t.Fatalf("%d of at most %d, guess %d: %d after %d questions, %v", rows, most, guess, got, asked, err)
				}
			}
		}
	}
}

func TestRefusal(t *testing.T) {
	for err, row := range map[error]bool{errcode.New(errcode.TupleFound, "a", "b"): true, errcode.New(errcode.NotImplemented, "x"): true,
		errcode.New(errcode.MemoryIssue, 1, "a", "b"): false, errcode.New(errcode.DiskFull, "x"): false, io.EOF: false} {
		if got := refusal(err); (got != nil) != row {
			t.Errorf("%v is about one row: %t", err, got != nil)
		}
	}
}
