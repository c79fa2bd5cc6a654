package box

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	treeSpace = 600
	hashSpace = 601
)

// makeModelSpaces makes two spaces: a TREE with a non-unique and a unique nullable secondary key, and a HASH.
func makeModelSpaces(t *testing.T, s *scripted) {
	for _, line := range []string{
		`insert 280 [600,1,"tree","memtx",0,{},[{"name":"id","type":"unsigned"},{"name":"tag","type":"string"},{"name":"u","type":"integer","is_nullable":true}]]`,
		`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
		`insert 288 [600,1,"tag","tree",{"unique":false},[[1,"string"]]]`,
		`insert 288 [600,2,"u","tree",{"unique":true},[{"field":2,"type":"integer","is_nullable":true}]]`,
		`insert 280 [601,1,"hash","memtx",0,{},[]]`,
		`insert 288 [601,0,"pk","hash",{"unique":true},[[0,"unsigned"]]]`,
		`insert 288 [601,1,"h2","hash",{"unique":true},[[1,"string"],[0,"unsigned"]]]`,
	} {
		if out := s.run(line); out[:5] == "error" {
			t.Fatal(line, out)
		}
	}
}

// row is a tuple of the model: [id, tag, u or nil].
type row struct {
	id   uint64
	tag  string
	u    int64
	null bool
}

func (r row) encode() []byte {
	b := msgpack.AppendArrayHeader(nil, 3)
	b = msgpack.AppendUint(b, r.id)
	b = msgpack.AppendStr(b, r.tag)
	if r.null {
		return msgpack.AppendNil(b)
	}
	return msgpack.AppendInt(b, r.u)
}

// model is the oracle: what a space should hold.
type model struct {
	space  uint32
	unique bool // the third field is unique unless nil
	rows   map[uint64]row
}

func (m *model) clone() *model {
	n := &model{m.space, m.unique, make(map[uint64]row, len(m.rows))}
	for k, v := range m.rows {
		n.rows[k] = v
	}
	return n
}

func (m *model) taken(r row) bool {
	if !m.unique || r.null {
		return false
	}
	for _, other := range m.rows {
		if other.id != r.id && !other.null && other.u == r.u {
			return true
		}
	}
	return false
}

// step runs one random statement on engine and model and compares the outcome.
func (m *model) step(e *Engine, rnd *rand.Rand) error {
	r := row{id: rnd.Uint64N(200), tag: fmt.Sprint("t", rnd.IntN(10)), u: rnd.Int64N(400) - 200, null: rnd.IntN(3) == 0}
	_, exists := m.rows[r.id]
	switch rnd.IntN(4) {
	case 0:
		_, err := e.Execute(&Statement{Kind: Insert, SpaceID: m.space, Tuple: r.encode()})
		if refused := exists || m.taken(r); refused != errcode.Is(err, errcode.TupleFound) || !refused && err != nil {
			return fmt.Errorf("insert %+v: refused should be %v, got %v", r, refused, err)
		} else if !refused {
			m.rows[r.id] = r
		}
	case 1:
		_, err := e.Execute(&Statement{Kind: Replace, SpaceID: m.space, Tuple: r.encode()})
		if refused := m.taken(r); refused != errcode.Is(err, errcode.TupleFound) || !refused && err != nil {
			return fmt.Errorf("replace %+v: refused should be %v, got %v", r, refused, err)
		} else if !refused {
			m.rows[r.id] = r
		}
	case 2:
		tup, err := e.Execute(&Statement{Kind: Delete, SpaceID: m.space, Key: key(r.id)})
		if err != nil || (tup != nil) != exists {
			return fmt.Errorf("delete %d: exists %v, got %x, %v", r.id, exists, tup, err)
		}
		if exists && !bytes.Equal(tup, m.rows[r.id].encode()) {
			return fmt.Errorf("delete %d returned %x", r.id, tup)
		}
		delete(m.rows, r.id)
	default:
		ops := msgpack.AppendArrayHeader(nil, 1)
		ops = msgpack.AppendArrayHeader(ops, 3)
		ops = msgpack.AppendStr(ops, "=")
		ops = msgpack.AppendUint(ops, 1)
		ops = msgpack.AppendStr(ops, r.tag)
		tup, err := e.Execute(&Statement{Kind: Update, SpaceID: m.space, Key: key(r.id), Ops: ops})
		if err != nil || (tup != nil) != exists {
			return fmt.Errorf("update %d: exists %v, got %x, %v", r.id, exists, tup, err)
		}
		if exists {
			n := m.rows[r.id]
			n.tag = r.tag
			m.rows[r.id] = n
		}
	}
	return nil
}

func key(id uint64) []byte { return msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), id) }

// compare reads every index of the space and compares with the model.
func (m *model) compare(r *Reader) error {
	for ix := range uint32(3) {
		out, n, err := r.Select(&Query{SpaceID: m.space, IndexID: ix, Iterator: iterALL, Limit: 1 << 20, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
		if errcode.Is(err, errcode.NoSuchIndexID) {
			continue
		}
		if err != nil || n != len(m.rows) {
			return fmt.Errorf("space %d index %d: %d rows, want %d, %v", m.space, ix, n, len(m.rows), err)
		}
		got := splitTuples(out)
		if ix == 0 && m.space == treeSpace && !sort.SliceIsSorted(got, func(i, j int) bool { return firstUint(got[i], 0) < firstUint(got[j], 0) }) {
			return errors.New("the primary index is not in order")
		}
		for _, tup := range got {
			if want, ok := m.rows[firstUint(tup, 0)]; !ok || !bytes.Equal(tup, want.encode()) {
				return fmt.Errorf("space %d index %d holds %x, want %+v", m.space, ix, tup, want)
			}
		}
	}
	return nil
}

func splitTuples(b []byte) [][]byte {
	var all [][]byte
	for len(b) > 0 {
		rest := msgpack.SkipTrusted(b)
		all = append(all, b[:len(b)-len(rest)])
		b = rest
	}
	return all
}

// TestModel runs random statements in random batches, some of them rolled back, against the oracle; a second engine is
// fed the log entries and must hold the same.
func TestModel(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			e, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
			s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
			defer s.r.Close()
			second := replica.NewReader()
			defer second.Close()
			makeModelSpaces(t, s)
			makeModelSpaces(t, &scripted{t: t, e: replica, r: second, version: 1})
			models := []*model{{treeSpace, true, map[uint64]row{}}, {hashSpace, false, map[uint64]row{}}}
			version := s.version
			for batch := range 300 {
				before := []*model{models[0].clone(), models[1].clone()}
				version++
				e.Begin(version)
				for range rnd.IntN(20) + 1 {
					if err := models[rnd.IntN(2)].step(e, rnd); err != nil {
						t.Fatal(err)
					}
				}
				entry := bytes.Clone(e.Seal())
				if rnd.IntN(5) == 0 {
					e.Rollback(version - 1)
					version--
					models = before
				} else {
					e.Publish(version)
					if err := replica.Apply(version, entry); err != nil {
						t.Fatal(err)
					}
					replica.Publish(version)
				}
				if batch%10 == 0 {
					for _, m := range models {
						if err := errors.Join(m.compare(s.r), m.compare(second)); err != nil {
							t.Fatalf("after batch %d: %v", batch, err)
						}
					}
				}
			}
		})
	}
}

// TestReadersSeeWholeVersions lets readers run beside the writer: every version keeps the sum of the counters at zero and
// holds the same number in all rows, so a torn or stale read shows itself.
func TestReadersSeeWholeVersions(t *testing.T) {
	const accounts, versions, readers = 64, 300, 3
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeModelSpaces(t, s)
	version := s.version
	var stop atomic.Bool
	var wg sync.WaitGroup
	reads := make([]int, readers)
	write := func(generation int64) {
		version++
		e.Begin(version)
		for id := range uint64(accounts) {
			u := generation*1000 + int64(id)
			r := row{id: id, tag: fmt.Sprint(generation % 7), u: u}
			if _, err := e.Execute(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: r.encode()}); err != nil {
				t.Error(err)
			}
		}
		e.Seal()
		e.Publish(version)
	}
	write(1)
	for n := range readers {
		wg.Go(func() {
			r := e.NewReader()
			defer r.Close()
			last := int64(0)
			for !stop.Load() {
				generation, err := checkGeneration(r, uint32(n)%3, accounts)
				if err != nil || generation < last {
					t.Errorf("generation %d after %d: %v", generation, last, err)
					return
				}
				last = generation
				reads[n]++
			}
		})
	}
	for g := int64(2); g < versions; g++ {
		write(g)
	}
	stop.Store(true)
	wg.Wait()
	for n, count := range reads {
		if count == 0 {
			t.Errorf("reader %d never read", n)
		}
	}
	if g := e.Memory(); g.RetiredBytes > 4<<20 {
		t.Errorf("%d bytes are retired and not reclaimed", g.RetiredBytes)
	}
}

// checkGeneration reads all rows and finds them to be of one generation.
func checkGeneration(r *Reader, ix uint32, accounts int) (int64, error) {
	out, n, err := r.Select(&Query{SpaceID: treeSpace, IndexID: ix, Iterator: iterALL, Limit: 1000, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
	if err != nil || n != accounts {
		return 0, fmt.Errorf("%d rows: %v", n, err)
	}
	generation := int64(-1)
	for _, tup := range splitTuples(out) {
		g := int64(firstUint(tup, 2)) / 1000
		if generation >= 0 && g != generation {
			return 0, fmt.Errorf("rows of generations %d and %d in one read", generation, g)
		}
		generation = g
	}
	return generation, nil
}

// TestQuota refuses statements beyond the quota, and works again when there is room.
func TestQuota(t *testing.T) {
	e := newTestEngine(t, Options{QuotaBytes: 4 << 20})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeModelSpaces(t, s)
	version := s.version
	run := func(st *Statement) error {
		version++
		e.Begin(version)
		_, err := e.Execute(st)
		e.Seal()
		e.Publish(version)
		return err
	}
	tag := string(bytes.Repeat([]byte("x"), 10_000))
	stored := uint64(0)
	for ; ; stored++ {
		err := run(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: row{id: stored, tag: tag, null: true}.encode()})
		if errcode.Is(err, errcode.MemoryIssue) {
			break
		}
		if err != nil || stored > 1000 {
			t.Fatalf("row %d: %v", stored, err)
		}
	}
	for id := range stored / 2 {
		if err := run(&Statement{Kind: Delete, SpaceID: treeSpace, Key: key(id)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: row{id: 5000, tag: tag, null: true}.encode()}); err != nil {
		t.Fatalf("after rows were removed: %v", err)
	}
}

// FuzzApply feeds foreign bytes as a log entry: an error is fine, a panic or a wrong row is not.
func FuzzApply(f *testing.F) {
	f.Add([]byte{1, 1, 0xd8, 4, 3, 0x91, 1, 0xc0})
	f.Fuzz(func(t *testing.T, entry []byte) {
		meter.Check(t, len(entry), 16, func() { _ = DecodeEntry(entry, func(Row) error { return nil }) })
		var total int
		err := DecodeEntry(entry, func(r Row) error {
			total += len(r.Data)
			return nil
		})
		if err == nil && total > len(entry) {
			t.Fatalf("%d bytes of rows in an entry of %d", total, len(entry))
		}
	})
}
