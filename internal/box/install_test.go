package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// history is an engine with a random past.
type history struct {
	*scripted
	m, h *model
}

// newHistory makes one in which steps versions with changes of both kinds, of rows and of the dictionary, follow each other.
func newHistory(t *testing.T, rnd *rand.Rand, o Options, steps int) *history {
	e := newTestEngine(t, o)
	s := &history{&scripted{t: t, e: e, r: e.NewReader(), version: 1}, &model{treeSpace, true, map[uint64]row{}},
		&model{hashSpace, false, map[uint64]row{}}}
	makeLoaderSpaces(t, s.scripted)
	for _, line := range []string{`insert 280 [607,1,"passing","memtx",0,{"temporary":true},[]]`,
		`insert 288 [607,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`, `insert 288 [607,1,"u","tree",{"unique":true},[[1,"unsigned"]]]`} {
		if out := s.run(line); strings.HasPrefix(out, "error") {
			t.Fatal(line, out)
		}
	}
	for range steps {
		s.step(rnd)
	}
	return s
}

func (s *history) step(rnd *rand.Rand) {
	s.run(loaderStep(rnd))
	s.version++
	s.e.Begin(s.version)
	for range rnd.IntN(20) + 1 {
		_ = s.m.step(s.e, rnd) // after DDL the model knows no more what is refused
		_ = s.h.step(s.e, rnd)
	}
	s.e.Seal()
	s.e.Publish(s.version)
}

// own puts the rows of the replica's local space in the place of those of the recorded one, as the snapshot that a replica makes
// of another's has them.
func (rec *recorded) own(replica *Engine) {
	rec.runs = slices.DeleteFunc(rec.runs, func(r Run) bool { return r.Space == 606 })
	v := replica.OpenView()
	defer v.Close()
	var rows [][]byte
	v.Ascend(v.Schema().Space(606), func(tup []byte) bool {
		rows = append(rows, bytes.Clone(tup))
		return true
	})
	rec.local = v.LocalRows()
	rec.runs = append(rec.runs, Run{Space: 606, Tuples: rows})
}

// install puts what was recorded into a replica that is in use.
func (rec *recorded) install(t *testing.T, e *Engine, version uint64) {
	t.Helper()
	l, err := e.NewInstaller(version)
	if err != nil {
		t.Fatal(err)
	}
	e.LoadLocalRows(rec.local)
	for i := range rec.runs {
		l.Check(&rec.runs[i])
		if err := l.Add(&rec.runs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.EndSnapshot(); err != nil {
		t.Fatal(err)
	}
	l.Finish(version)
}

// whole is everything that a view shows.
func whole(v *View) string {
	var b strings.Builder
	for _, sp := range v.Schema().Spaces() {
		fmt.Fprintf(&b, "%d %d:", sp.ID, len(sp.Indexes))
		if !sp.IsView() {
			v.Ascend(sp, func(tup []byte) bool {
				b.Write(tup)
				return true
			})
		}
	}
	return b.String()
}

// watcher reads everything, again and again, while a snapshot is installed: it is always all of the old or all of the new.
func watcher(e *Engine, installed uint64, before string, after *atomic.Pointer[string], stop *atomic.Bool) error {
	for !stop.Load() {
		v := e.OpenView()
		got := whole(v)
		version := v.Version()
		v.Close()
		switch want := after.Load(); {
		case version < installed && got != before:
			return fmt.Errorf("version %d is not what it was", version)
		case version == installed && want != nil && got != *want:
			return fmt.Errorf("version %d is not what was installed", version)
		case version == installed && got == before:
			return fmt.Errorf("version %d is that of before", version)
		}
	}
	return nil
}

// TestInstaller puts the content of one engine, at some place of a random history, into another one with a past of its own, which
// is read meanwhile. It is then like an engine that was recovered from the same rows, goes on like it, and keeps nothing of before
// but its local and temporary rows.
func TestInstaller(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 17))
			primary := newHistory(t, rnd, Options{}, 60)
			defer primary.r.Close()
			replica := newHistory(t, rnd, Options{}, rnd.IntN(40))
			defer replica.r.Close()
			for _, line := range []string{`replace 607 [1,10]`, `replace 607 [2,20]`, `replace 606 [77,"mine"]`} {
				if out := replica.run(line); strings.HasPrefix(out, "error") {
					t.Fatal(line, out)
				}
			}
			rec := &recorded{}
			rec.take(primary.e, rnd, seed%3 == 2)
			rec.own(replica.e)
			rec.taken = max(rec.taken, replica.version+1)
			installWatched(t, rec, replica)
			fresh := rec.recover(t, rnd)
			if err := sameContent(fresh, replica.e, 607); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(replica.run(`select 607 1 all []`)); got != "[1,10]\n[2,20]" {
				t.Errorf("rows of the temporary space: %q", got)
			}
			if got := strings.TrimSpace(replica.run(`select 606 0 eq [77]`)); got != `[77,"mine"]` {
				t.Errorf("rows of the local space: %q", got)
			}
			noLeftovers(t, replica.e, fresh)
			second := &scripted{t: t, e: fresh, r: fresh.NewReader(), version: rec.taken}
			defer second.r.Close()
			for range 200 {
				line := loaderStep(rnd)
				if a, b := second.run(line), replica.run(line); a != b && !strings.Contains(line, " 285 ") {
					t.Fatalf("%s: %s, want %s", line, b, a)
				}
			}
			if err := sameContent(fresh, replica.e, 607); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// installWatched installs with readers, a long view, and a transaction beside it.
func installWatched(t *testing.T, rec *recorded, replica *history) {
	t.Helper()
	e := replica.e
	long, tx := e.OpenView(), e.BeginTx()
	defer tx.Close()
	if _, err := tx.Execute(&Statement{Kind: Replace, SpaceID: 603, Tuple: fromJSON(t, `[1,null]`)}); err != nil {
		t.Fatal(err)
	}
	schema := e.PublishedSchema().Version
	before := whole(long)
	var after atomic.Pointer[string]
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := watcher(e, rec.taken, before, &after, &stop); err != nil {
				t.Error(err)
			}
		})
	}
	rec.install(t, e, rec.taken)
	replica.version = rec.taken
	v := e.OpenView()
	text := whole(v)
	v.Close()
	after.Store(&text)
	for range 200 { // some of what is given up is used again while the readers go on
		e.Idle()
	}
	if got := whole(long); got != before {
		t.Error("a view of before has changed")
	}
	long.Close()
	if got := e.PublishedSchema().Version; got <= schema {
		t.Errorf("schema version %d after %d", got, schema)
	}
	replica.version++
	e.Begin(replica.version)
	if err := e.CommitTx(tx); !errcode.Is(err, errcode.TransactionConflict) {
		t.Errorf("commit of a transaction of before: %v", err)
	}
	e.Seal()
	tx.Close()
	for range 200 {
		e.Idle()
	}
	stop.Store(true)
	wg.Wait()
}

// noLeftovers compares what two engines with the same content hold: the first has two temporary rows, in two trees, more.
func noLeftovers(t *testing.T, e, fresh *Engine) {
	t.Helper()
	for range 10_000 {
		e.Idle()
		fresh.Idle()
	}
	got, want := e.MemoryStats(), fresh.MemoryStats()
	if got.Tuples.Count != want.Tuples.Count+2 || got.Pages.Count != want.Pages.Count+2 || got.RetiredBlocks != want.RetiredBlocks {
		t.Errorf("%d tuples, %d pages, %d retired, want %d, %d, %d", got.Tuples.Count, got.Pages.Count, got.RetiredBlocks,
			want.Tuples.Count+2, want.Pages.Count+2, want.RetiredBlocks)
	}
}
