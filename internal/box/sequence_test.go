package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// makeSequenceSpaces makes spaces 600 to 602 with a sequence each: one without end, one that begins anew, one that goes
// down.
func makeSequenceSpaces(t testing.TB, run func(string) string) {
	for _, line := range []string{
		`insert 284 [1,1,"plain",1,1,9223372036854775807,1,0,false]`,
		`insert 284 [2,1,"around",3,-4,9,2,0,true]`,
		`insert 284 [3,1,"down",-2,-20,5,5,0,false]`,
		`insert 280 [600,1,"a","memtx",0,{},[]]`, `insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
		`insert 280 [601,1,"b","memtx",0,{},[]]`, `insert 288 [601,0,"pk","hash",{"unique":true},[[0,"integer"]]]`,
		`insert 280 [602,1,"c","memtx",0,{},[]]`,
		`insert 288 [602,0,"pk","tree",{"unique":true},[[1,"string"],[0,"integer"]]]`,
		`insert 340 [600,1,true,0,""]`, `insert 340 [601,2,false,0,""]`, `insert 340 [602,3,false,0,""]`,
	} {
		if out := run(line); strings.HasPrefix(out, "error") {
			t.Fatal(line, out)
		}
	}
}

// sequenceModel is the oracle of one sequence.
type sequenceModel struct {
	step, min, max, start int64
	cycle, started        bool
	last                  int64
}

func (m *sequenceModel) next() (int64, bool) {
	if !m.started {
		return m.start, true
	}
	n := m.last + m.step // no test comes near the ends of int64
	switch {
	case m.step > 0 && m.last < m.min:
		return m.min, true
	case m.step < 0 && m.last > m.max:
		return m.max, true
	case n >= m.min && n <= m.max:
		return n, true
	case !m.cycle:
		return 0, false
	case m.step > 0:
		return m.min, true
	}
	return m.max, true
}

// put is what a stored value does.
func (m *sequenceModel) put(v int64) {
	n, ok := m.next()
	if ok && v == n || m.started && (v-m.last)*m.step > 0 || !m.started && (v-m.start)*m.step > 0 {
		m.last, m.started = v, true
	}
}

// TestSequenceModel runs random statements against a model, while a second engine applies the log and from time to time a
// third one is filled from a snapshot: the values are the same everywhere.
func TestSequenceModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	e, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	s.log = func(entry []byte) {
		if err := replica.Apply(s.version, entry); err != nil {
			t.Fatal(err)
		}
		replica.Publish(s.version)
	}
	makeSequenceSpaces(t, s.run)
	models := []*sequenceModel{
		{step: 1, min: 1, max: 1<<63 - 1, start: 1},
		{step: 3, min: -4, max: 9, start: 2, cycle: true},
		{step: -2, min: -20, max: 5, start: 5},
	}
	for round := range 4000 {
		n := rnd.IntN(len(models))
		m, space := models[n], 600+n
		v := rnd.Int64N(60) - 30
		if space == 600 {
			v = max(v, 0) + rnd.Int64N(int64(round+1))
		}
		before := *m
		line := ""
		switch rnd.IntN(10) {
		case 0:
			line = fmt.Sprintf(`replace 285 [%d,%d]`, n+1, v)
			m.last, m.started = v, true
		case 1:
			line = fmt.Sprintf(`delete 285 0 [%d]`, n+1)
			if out := s.run(fmt.Sprintf(`select 285 0 eq [%d]`, n+1)); out != "(nothing)\n" {
				m.started = false
			}
		case 2:
			line = fmt.Sprintf(`replace %d [%d,"x"]`, space, v)
			m.put(v)
		case 3:
			line = fmt.Sprintf(`upsert %d [%d,"x"] [["=",2,1]]`, space, v)
			m.put(v)
		case 4:
			line = fmt.Sprintf(`insert 330 [%d,1]`, space)
			s.run(fmt.Sprintf(`delete 330 0 [%d]`, space))
		default:
			line = fmt.Sprintf(`replace %d [null,"x"]`, space)
			want := "error 147: Sequence 'down' has overflowed\n"
			if next, ok := m.next(); ok {
				want = fmt.Sprintf("[%d,\"x\"]\n", next)
				m.put(next)
			}
			if out := s.run(line); out != want {
				t.Fatalf("round %d: %s gave %s, want %s", round, line, out, want)
			}
			continue
		}
		if out := s.run(line); strings.HasPrefix(out, "error") {
			*m = before
		}
		if round%500 == 0 {
			compareSequences(t, e, replica, models)
			compareSequences(t, e, reload(t, e), models)
		}
	}
	compareSequences(t, e, replica, models)
}

// compareSequences requires the models' values in both engines.
func compareSequences(t *testing.T, a, b *Engine, models []*sequenceModel) {
	t.Helper()
	var want []byte
	for n, m := range models {
		if m.started {
			want = msgpack.AppendInt(msgpack.AppendUint(msgpack.AppendArrayHeader(want, 2), uint64(n+1)), m.last)
		}
	}
	for _, e := range []*Engine{a, b} {
		if got := dump(e, dictionary.SpaceSequenceData); !bytes.Equal(got, want) {
			t.Fatalf("values %x, want %x", got, want)
		}
	}
	for _, space := range []uint32{600, 601, 602} {
		if !bytes.Equal(dump(a, space), dump(b, space)) {
			t.Fatalf("space %d differs", space)
		}
	}
}

// dump is what a snapshot would have of a space.
func dump(e *Engine, space uint32) (all []byte) {
	v := e.OpenView()
	defer v.Close()
	v.Ascend(v.Schema().Space(space), func(tup []byte) bool {
		all = append(all, tup...)
		return true
	})
	return all
}

// reload makes an engine of what a snapshot of e would hold.
func reload(t *testing.T, e *Engine) *Engine {
	n, err := New(Options{QuotaBytes: 64 << 20, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	v := e.OpenView()
	defer v.Close()
	n.Begin(1)
	for _, sp := range v.Schema().Spaces() {
		if sp.IsView() {
			continue
		}
		v.Ascend(sp, func(tup []byte) bool {
			if err := n.Load(sp.ID, tup); err != nil {
				t.Fatal(err)
			}
			return true
		})
	}
	n.Seal()
	n.Publish(1)
	return n
}

// TestSequenceDroppedElsewhere applies the log of a primary to replicas that have more or fewer rows of _sequence_data:
// after a snapshot they show one for every value.
func TestSequenceDroppedElsewhere(t *testing.T) {
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeSequenceSpaces(t, s.run)
	s.run(`insert 600 [null,"x"]`)
	more := reload(t, e)
	s.version = 100
	var entries [][]byte
	s.log = func(entry []byte) { entries = append(entries, bytes.Clone(entry)) }
	for _, line := range []string{`delete 340 0 [600]`, `delete 284 0 [1]`, `insert 284 [1,1,"again",1,1,9,7,0,false]`,
		`insert 285 [1,8]`, `delete 285 0 [1]`, `insert 340 [600,1,true,0,""]`, `insert 600 [null,"y"]`} {
		if out := s.run(line); strings.HasPrefix(out, "error") {
			t.Fatal(line, out)
		}
	}
	for n, entry := range entries {
		if err := more.Apply(uint64(n+2), entry); err != nil {
			t.Fatal(err)
		}
		more.Publish(uint64(n + 2))
	}
	if a, b := dump(e, 600), dump(more, 600); !bytes.Equal(a, b) || !bytes.HasSuffix(a, []byte("\x92\x07\xa1y")) {
		t.Fatalf("%x, %x", a, b)
	}
	if a, b := dump(e, dictionary.SpaceSequenceData), dump(more, dictionary.SpaceSequenceData); !bytes.Equal(a, b) {
		t.Fatalf("%x, %x", a, b)
	}
}

// TestSequenceInTransaction gives values within a transaction, and refuses one whose value another took.
func TestSequenceInTransaction(t *testing.T) {
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeSequenceSpaces(t, s.run)
	insert := func(tx *Tx, want string) {
		t.Helper()
		tup, err := tx.Execute(&Statement{Kind: Insert, SpaceID: 600, Tuple: fromJSON(t, `[null]`)})
		if err != nil || toJSON(t, tup) != want {
			t.Fatalf("%x, %v, want %s", tup, err, want)
		}
	}
	commit := func(tx *Tx) error {
		s.version++
		e.Begin(s.version)
		err := e.CommitTx(tx)
		e.Seal()
		e.Publish(s.version)
		tx.Close()
		return err
	}
	a, b := e.BeginTx(), e.BeginTx()
	insert(a, "[1]")
	insert(a, "[2]")
	insert(b, "[1]")
	if err := commit(a); err != nil {
		t.Fatal(err)
	}
	if err := commit(b); !errcode.Is(err, errcode.TransactionConflict) {
		t.Fatalf("both transactions took 1: %v", err)
	}
	if out := s.run(`insert 600 [null]`); out != "[3]\n" {
		t.Fatal(out)
	}
}

// TestSequenceOfOwnSpaces: the value goes as far as the rows. Those of a temporary space are not logged, those of a local
// space beside the entry.
func TestSequenceOfOwnSpaces(t *testing.T) {
	for flags, want := range map[string]string{`{"temporary":true}`: "", `{"group_id":1}`: "\x92\x01\x15"} {
		e, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		defer s.r.Close()
		s.log = func(entry []byte) {
			var local []LocalRow
			e.EachLocal(func(row []byte) {
				r, err := DecodeLocal(AppendLocal(nil, s.version, 1, row))
				if err != nil {
					t.Fatal(err)
				}
				local = append(local, r)
			})
			if err := replica.Apply(s.version, entry, local...); err != nil {
				t.Fatal(err)
			}
			replica.Publish(s.version)
		}
		for _, line := range []string{`insert 284 [1,1,"s",1,1,100,1,0,false]`, `insert 280 [600,1,"a","memtx",0,` + flags + `,[]]`,
			`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`, `insert 340 [600,1,true,0,""]`,
			`insert 600 [null]`, `replace 600 [20]`, `insert 600 [null]`} {
			if out := s.run(line); strings.HasPrefix(out, "error") {
				t.Fatal(line, out)
			}
		}
		if got := dump(e, 600); string(got) != "\x91\x01\x91\x14\x91\x15" {
			t.Errorf("%s: %x", flags, got)
		}
		if got := dump(e, dictionary.SpaceSequenceData); string(got) != "\x92\x01\x15" {
			t.Errorf("%s: value %x", flags, got)
		}
		if got := dump(replica, dictionary.SpaceSequenceData); string(got) != want {
			t.Errorf("%s: value %x where the log was applied", flags, got)
		}
		if got := dump(replica, 600); (len(got) > 0) != (want != "") {
			t.Errorf("%s: rows %x where the log was applied", flags, got)
		}
	}
}

// TestSequenceResetElsewhere removes a row of _sequence_data that the replica does not have.
func TestSequenceResetElsewhere(t *testing.T) {
	replica := newTestEngine(t, Options{})
	s := &scripted{t: t, e: replica, r: replica.NewReader(), version: 1}
	defer s.r.Close()
	makeSequenceSpaces(t, s.run)
	s.run(`insert 600 [null,"x"]`)
	next := s.version + 1
	primary := &scripted{t: t, e: reload(t, replica), version: next}
	primary.log = func(entry []byte) {
		if err := replica.Apply(next, entry); err != nil {
			t.Fatal(err)
		}
		replica.Publish(next)
	}
	if out := primary.run(`delete 285 0 [1]`); out != "[1,1]\n" {
		t.Fatal(out)
	}
	if got := dump(replica, dictionary.SpaceSequenceData); len(got) != 0 {
		t.Fatalf("values %x", got)
	}
}
