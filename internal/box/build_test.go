package box

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// buildWorld runs statements, changes of the dictionary, commits and losses at random, in the order in which the loop of a
// leader would, and knows what the space has to hold.
type buildWorld struct {
	t        *testing.T
	rnd      *rand.Rand
	e        *Engine
	replica  *Engine
	builds   []*Build
	rows     [][]byte
	inFlight []sealedVersion
	version  uint64
	finished map[string]int
}

// sealedVersion is an entry that is not committed yet, with the rows before it.
type sealedVersion struct {
	version uint64
	entry   []byte
	before  [][]byte
}

// ddl are changes of the space's definition: each makes sense in some states of it and is refused in others.
var buildDDL = []string{
	`insert 288 [600,1,"tag","tree",{"unique":false},[[1,"string"]]]`,
	`insert 288 [600,2,"n","tree",{"unique":true},[[2,"integer"]]]`,
	`insert 288 [600,3,"h","hash",{"unique":true},[[1,"string"],[0,"unsigned"],[2,"integer"]]]`,
	`insert 288 [600,4,"x","tree",{"unique":true},[{"field":3,"type":"unsigned","is_nullable":true,"exclude_null":true}]]`,
	`delete 288 0 [600,1]`,
	`delete 288 0 [600,2]`,
	`delete 288 0 [600,3]`,
	`delete 288 0 [600,4]`,
	`update 288 0 [600,0] [["=",5,[[0,"unsigned"]]]]`,
	`update 288 0 [600,0] [["=",5,[[2,"integer"],[0,"unsigned"]]]]`,
	`update 288 0 [600,0] [["=",3,"hash"]]`,
	`update 288 0 [600,0] [["=",3,"tree"]]`,
	`update 288 0 [600,1] [["=",5,[[1,"string"],[2,"integer"]]]]`,
	`update 280 0 [600] [["=",6,[{"name":"id","type":"unsigned"},{"name":"tag","type":"string"},{"name":"n","type":"unsigned"}]]]`,
	`update 280 0 [600] [["=",6,[{"name":"id","type":"scalar"},{"name":"tag","type":"any"}]]]`,
	`update 280 0 [600] [["=",6,[{"name":"a","type":"any"},{"name":"b","type":"any"},{"name":"c","type":"any"},{"name":"x","type":"any","is_nullable":true}]]]`,
	`upsert 330 [600,1] [["+",1,1]]`,
	`insert 364 [600,"c",false,"SQL","1 = 1",true]`,
	`update 364 0 [600,"c"] [["=",5,false]]`,
	`delete 364 0 [600,"c"]`,
}

func newBuildWorld(t *testing.T, seed uint64) *buildWorld {
	w := &buildWorld{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), e: newTestEngine(t, Options{}), replica: newTestEngine(t, Options{}),
		finished: map[string]int{}}
	w.e.builds.slice = 6
	for _, e := range []*Engine{w.e, w.replica} {
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		for _, line := range []string{`insert 280 [600,1,"t","memtx",0,{},[]]`, `insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`} {
			if out := s.run(line); out[:5] == "error" {
				t.Fatal(out)
			}
		}
		s.r.Close()
		w.version = s.version + 1
	}
	return w
}

func (w *buildWorld) fatal(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

// turn is one call of the loop: the oldest build gets a slice, statements run, an entry may come of it.
func (w *buildWorld) turn() {
	before := append([][]byte(nil), w.rows...)
	w.e.Begin(w.version)
	if len(w.builds) > 0 {
		b := w.builds[0]
		if _, err := w.e.Continue(b); err != error(b) {
			w.builds = w.builds[1:]
			w.count("build", err)
		}
	}
	if w.rnd.IntN(4) == 0 {
		w.change(buildDDL[w.rnd.IntN(len(buildDDL))])
	}
	for range w.rnd.IntN(4) {
		w.write()
	}
	entry := bytes.Clone(w.e.Seal())
	if entry != nil {
		w.inFlight = append(w.inFlight, sealedVersion{w.version, entry, before})
		w.version++
	}
}

func (w *buildWorld) count(what string, err error) {
	if err != nil {
		what = fmt.Sprint(what, " error ", errcode.Of(err).Code)
	}
	w.finished[what]++
}

// change runs a statement on the dictionary. While a build of the space is under way all are refused, but for those that
// are refused anyway.
func (w *buildWorld) change(line string) {
	words := splitWords(line)
	s := &Statement{SpaceID: uint32(firstUint(fromJSON(w.t, "["+words[1]+"]"), 0))}
	switch words[0] {
	case "insert":
		s.Kind, s.Tuple = Insert, fromJSON(w.t, words[2])
	case "delete":
		s.Kind, s.Key = Delete, fromJSON(w.t, words[3])
	case "update":
		s.Kind, s.Key, s.Ops = Update, fromJSON(w.t, words[3]), fromJSON(w.t, words[4])
	case "upsert":
		if w.rnd.IntN(4) != 0 {
			return // truncate seldom, or there is nothing to build
		}
		s.Kind, s.Tuple, s.Ops = Upsert, fromJSON(w.t, words[2]), fromJSON(w.t, words[3])
	}
	schema := w.e.NewestSchema()
	tup, err := w.e.Execute(s)
	var b *Build
	switch {
	case errors.As(err, &b):
		w.builds = append(w.builds, b)
	case len(w.builds) > 0 && w.e.NewestSchema() != schema:
		w.t.Fatalf("%s changed the space while it was being changed", line)
	case err == nil && words[0] == "upsert":
		if len(w.builds) > 0 {
			w.t.Fatal("the space was emptied while it was being changed")
		}
		w.rows = nil
	case err != nil || tup != nil:
		w.count(words[0], err)
	}
}

// write runs a random statement on the space, and does the same to the rows that it should have.
func (w *buildWorld) write() {
	sp := w.e.NewestSchema().Space(600)
	pk := sp.primary().Def
	tup := msgpack.AppendArrayHeader(nil, 4)
	tup = msgpack.AppendUint(tup, w.rnd.Uint64N(60))
	tup = msgpack.AppendStr(tup, fmt.Sprint("t", w.rnd.IntN(5)))
	tup = msgpack.AppendInt(tup, w.rnd.Int64N(2000)-50)
	if w.rnd.IntN(2) == 0 {
		tup = msgpack.AppendUint(tup, w.rnd.Uint64N(100_000))
	} else {
		tup = msgpack.AppendNil(tup)
	}
	if w.rnd.IntN(5) == 0 {
		_, err := w.e.Execute(&Statement{Kind: Delete, SpaceID: 600, Key: pk.ExtractKey(msgpack.AppendArrayHeader(nil, pk.PartCount()), tup)})
		w.fatal(err)
		w.remove(sp, tup)
		return
	}
	_, err := w.e.Execute(&Statement{Kind: Replace, SpaceID: 600, Tuple: tup})
	if err != nil {
		w.count("replace", err)
		return
	}
	w.remove(sp, tup)
	w.rows = append(w.rows, tup)
}

func (w *buildWorld) remove(sp *Space, tup []byte) {
	kept := w.rows[:0:0]
	for _, row := range w.rows {
		if sp.primary().Def.Compare(row, tup) != 0 {
			kept = append(kept, row)
		}
	}
	w.rows = kept
}

// commit publishes the oldest entry, here and on the replica.
func (w *buildWorld) commit() {
	if len(w.inFlight) == 0 {
		return
	}
	v := w.inFlight[0]
	w.inFlight = w.inFlight[1:]
	w.e.Publish(v.version)
	w.fatal(w.replica.Apply(v.version, v.entry))
	w.replica.Publish(v.version)
}

// lose forgets some of the entries that are not committed; the builds go on from where they were then.
func (w *buildWorld) lose() {
	if len(w.inFlight) == 0 {
		return
	}
	v := w.inFlight[w.rnd.IntN(len(w.inFlight))]
	w.rows = v.before
	for w.inFlight[len(w.inFlight)-1].version > v.version {
		w.inFlight = w.inFlight[:len(w.inFlight)-1]
	}
	w.inFlight = w.inFlight[:len(w.inFlight)-1]
	w.e.Rollback(v.version - 1)
	w.version = v.version
}

// check compares every index of an engine with the rows, at the newest published version.
func checkIndexes(e *Engine, space uint32) (int, error) {
	tx := e.BeginTx()
	defer tx.Close()
	sp := tx.schema.Space(space)
	count := -1
	for _, ix := range sp.Indexes {
		rows, n, err := tx.Select(&Query{SpaceID: space, IndexID: ix.ID, Iterator: iterALL, Limit: 1 << 20, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
		if err != nil {
			return 0, err
		}
		excluded := 0
		if count < 0 {
			count = n
		}
		if ix.Def.Nullable() {
			excluded = count - n
		}
		if n+excluded != count {
			return 0, fmt.Errorf("index %s has %d rows, the primary key %d", ix.Name, n, count)
		}
		for _, tup := range splitTuples(rows) {
			if _, found, err := tx.Select(&Query{SpaceID: space, Iterator: iterEQ, Limit: 2,
				Key: sp.primary().Def.ExtractKey(msgpack.AppendArrayHeader(nil, sp.primary().Def.PartCount()), tup)}, nil); err != nil || found != 1 {
				return 0, fmt.Errorf("index %s has a row that the primary key has not: %x, %v", ix.Name, tup, err)
			}
			if err := sp.Format.Validate(tup); err != nil {
				return 0, err
			}
		}
	}
	return count, nil
}

// TestBuildModel: indexes are built and keys and formats changed while rows are written, entries are lost, and readers
// read. At every published version all indexes hold the rows of the primary one, and a replica that applies the entries
// has the same; nothing of what was given up stays in memory.
func TestBuildModel(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(3) {
		w := newBuildWorld(t, seed)
		base := w.e.Memory()
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for seen := uint64(0); !stop.Load(); {
				if w.e.Published() == seen {
					runtime.Gosched()
					continue
				}
				seen = w.e.Published()
				if _, err := checkIndexes(w.e, 600); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for range 800 {
			w.turn()
			switch w.rnd.IntN(8) {
			case 0:
				w.lose()
			case 1:
				if len(w.builds) > 0 && w.rnd.IntN(8) == 0 {
					w.e.Abandon(w.builds[0])
					w.builds = w.builds[1:]
				}
			case 2, 3, 4, 5:
				for range w.rnd.IntN(4) {
					w.commit()
				}
			}
		}
		stop.Store(true)
		wg.Wait()
		w.settle(base.UsedBytes)
		for k, n := range w.finished {
			all[k] += n
		}
	}
	for _, want := range []string{"build", "build error 3", "build error 23", "insert error 12", "insert error 3"} {
		if all[want] == 0 {
			t.Errorf("there was no %q among %v", want, all)
		}
	}
}

// settle ends the world: what is under way is given up, rows are compared, and when all is dropped the memory is free.
func (w *buildWorld) settle(base uint64) {
	w.t.Helper()
	for len(w.inFlight) > 0 {
		w.commit()
	}
	for _, b := range w.builds {
		w.e.Abandon(b)
	}
	for _, e := range []*Engine{w.e, w.replica} {
		n, err := checkIndexes(e, 600)
		if err != nil || n != len(w.rows) {
			w.t.Fatalf("%d rows, want %d: %v", n, len(w.rows), err)
		}
	}
	s := &scripted{t: w.t, e: w.e, r: w.e.NewReader(), version: w.version}
	defer s.r.Close()
	for id := 4; id >= 1; id-- {
		s.run(fmt.Sprintf("delete 288 0 [600,%d]", id))
	}
	s.run("upsert 330 [600,1] [[\"+\",1,1]]")
	s.run("delete 330 0 [600]")
	for range 2 { // what is retired with a version is free after the next one
		s.run(`replace 272 ["x",1]`)
		w.e.Idle()
	}
	s.run(`delete 272 0 ["x"]`)
	w.e.Idle()
	if used := w.e.Memory().UsedBytes; used > base+8<<10 {
		w.t.Errorf("%d bytes are used, %d at the begin", used, base)
	}
}

// TestBuildMeetsRowsAhead: rows that the scan has not reached yet are written: what is in the new index already is no
// duplicate of itself, and one that goes leaves the entry of another row with the same key.
func TestBuildMeetsRowsAhead(t *testing.T) {
	e := newTestEngine(t, Options{})
	e.builds.slice = 4
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	s.run(`insert 280 [600,1,"t","memtx",0,{},[]]`)
	s.run(`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`)
	for id := range 30 {
		s.run(fmt.Sprintf(`insert 600 [%d,"x",%d]`, id, id%29)) // the last has the key of the first
	}
	s.run("begin")
	_, err := e.Execute(&Statement{Kind: Insert, SpaceID: spaceIndex, Tuple: fromJSON(t, `[600,1,"n","tree",{"unique":true},[[2,"unsigned"]]]`)})
	b, ok := err.(*Build)
	if !ok {
		t.Fatal(err)
	}
	s.run(`delete 600 0 [29]`)
	s.run(`replace 600 [25,"y",1000]`)
	s.run(`replace 600 [26,"y",26]`)
	s.run(`insert 600 [40,"z",2000]`)
	for err == error(b) {
		_, err = e.Continue(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.run("seal")
	s.run("publish")
	if n, err := checkIndexes(e, 600); n != 30 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestBuildUnderLongReader: a reader that stays for the whole build does not keep what the build gives up.
func TestBuildUnderLongReader(t *testing.T) {
	e := newTestEngine(t, Options{})
	e.builds.slice = 64
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeModelSpaces(t, s)
	const rows = 3000
	for id := range rows {
		s.run(fmt.Sprintf(`insert 601 [%d,"%d"]`, id, id*7919%rows))
	}
	view := e.OpenView()
	defer view.Close()
	s.version++
	e.Begin(s.version)
	_, err := e.Execute(&Statement{Kind: Insert, SpaceID: spaceIndex, Tuple: fromJSON(t, `[601,5,"built","tree",{"unique":false},[[1,"string"]]]`)})
	b, ok := err.(*Build)
	turns := 0
	for ; ok && err == error(b); turns++ {
		if _, err = e.Execute(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: row{id: 1, tag: "x", null: true}.encode()}); err != nil {
			t.Fatal(err)
		}
		e.Seal()
		e.Publish(s.version)
		s.version++
		e.Begin(s.version)
		_, err = e.Continue(b)
	}
	e.Seal()
	e.Publish(s.version)
	if n, err2 := checkIndexes(e, 601); err != nil || err2 != nil || n != rows || turns < 50 {
		t.Fatalf("%d rows after %d turns: %v, %v", n, turns, err, err2)
	}
	if g := e.Memory(); g.RetiredBytes > 1<<20 {
		t.Errorf("%d bytes are kept for the reader", g.RetiredBytes)
	}
}

// TestBuildQuota: a build that finds no room fails with error 2 and gives back what it took; rows are written on.
func TestBuildQuota(t *testing.T) {
	const quota = 1 << 20
	e := newTestEngine(t, Options{QuotaBytes: quota})
	e.builds.slice = 64
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	s.run(`insert 280 [600,1,"t","memtx",0,{},[]]`)
	s.run(`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`)
	id := 0
	for e.Memory().UsedBytes < quota-128<<10 {
		s.run("begin")
		for range 100 {
			s.run(fmt.Sprintf(`insert 600 [%d,%d]`, id, id*7919%100_000))
			id++
		}
		s.run("seal")
		s.run("publish")
	}
	used := e.Memory().UsedBytes
	s.version++
	e.Begin(s.version)
	_, err := e.Execute(&Statement{Kind: Insert, SpaceID: spaceIndex, Tuple: fromJSON(t, `[600,1,"n","tree",{"unique":true},[[1,"unsigned"]]]`)})
	for b, ok := err.(*Build); ok && err == error(b); {
		_, err = e.Continue(b)
	}
	if !errcode.Is(err, errcode.MemoryIssue) {
		t.Fatal(err)
	}
	e.Seal()
	if out := s.run(fmt.Sprintf(`insert 600 [%d,1]`, id)); out[:5] == "error" {
		t.Error(out)
	}
	e.Idle()
	if now := e.Memory().UsedBytes; now > used+16<<10 {
		t.Errorf("%d bytes are used, %d before the build", now, used)
	}
}
