package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// oracle is a space of [id, tag, u] in the simplest form; it executes what a transaction did, one after another.
type oracle map[uint64]row

// txOp is one step of a transaction, as data, so that it can be run on a Tx and on the oracle.
type txOp struct {
	kind  int
	row   row
	iter  uint32
	limit uint32
	byTag bool
}

func randomOp(rnd *rand.Rand) txOp {
	return txOp{
		kind:  rnd.IntN(7),
		row:   row{id: rnd.Uint64N(30), tag: fmt.Sprint("t", rnd.IntN(4)), u: rnd.Int64N(40), null: rnd.IntN(4) == 0},
		iter:  []uint32{iterEQ, iterREQ, iterALL, iterLT, iterLE, iterGE, iterGT}[rnd.IntN(7)],
		limit: uint32(rnd.IntN(6) + 1), byTag: rnd.IntN(2) == 0,
	}
}

func tagUpdate(tag string) []byte {
	ops := msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(nil, 1), 3)
	return msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendStr(ops, "="), 1), tag)
}

// run executes the step in a transaction and renders the outcome.
func (o txOp) run(t *Tx) string {
	switch o.kind {
	case 0, 1:
		kind := Insert
		if o.kind == 1 {
			kind = Replace
		}
		tup, err := t.Execute(&Statement{Kind: kind, SpaceID: treeSpace, Tuple: o.row.encode()})
		return outcome(tup, err)
	case 2:
		return outcome(t.Execute(&Statement{Kind: Delete, SpaceID: treeSpace, Key: key(o.row.id)}))
	case 3:
		return outcome(t.Execute(&Statement{Kind: Update, SpaceID: treeSpace, Key: key(o.row.id), Ops: tagUpdate(o.row.tag)}))
	case 4:
		_, err := t.Execute(&Statement{Kind: Upsert, SpaceID: treeSpace, Tuple: o.row.encode(), Ops: tagUpdate(o.row.tag)})
		return outcome(nil, err)
	}
	out, _, err := t.Select(o.query(), nil)
	return outcome(out, err)
}

func (o txOp) query() *Query {
	q := &Query{SpaceID: treeSpace, Iterator: o.iter, Limit: o.limit, Key: key(o.row.id)}
	if o.byTag {
		q.IndexID, q.Key = 1, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), o.row.tag)
	}
	return q
}

func outcome(tup []byte, err error) string {
	if err != nil {
		return fmt.Sprint("error ", errcode.Of(err).Code)
	}
	return fmt.Sprintf("%x", tup)
}

// run executes the step alone. Reads are judged by a plain engine that holds the rows of the oracle.
func (o oracle) run(t *testing.T, op txOp) string {
	taken := func(r row) bool {
		for _, other := range o {
			if other.id != r.id && !r.null && !other.null && other.u == r.u {
				return true
			}
		}
		return false
	}
	old, exists := o[op.row.id]
	switch op.kind {
	case 0, 1:
		if op.kind == 0 && exists || taken(op.row) {
			return fmt.Sprint("error ", errcode.TupleFound)
		}
		o[op.row.id] = op.row
		return outcome(op.row.encode(), nil)
	case 2:
		if !exists {
			return ""
		}
		delete(o, op.row.id)
		return outcome(old.encode(), nil)
	case 3:
		if !exists {
			return ""
		}
		old.tag = op.row.tag
		o[old.id] = old
		return outcome(old.encode(), nil)
	case 4:
		if exists {
			old.tag = op.row.tag
			o[old.id] = old
		} else if taken(op.row) {
			return fmt.Sprint("error ", errcode.TupleFound)
		} else {
			o[op.row.id] = op.row
		}
		return ""
	}
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, version: 1}
	makeModelSpaces(t, s)
	e.Begin(s.version + 1)
	for _, r := range o {
		if _, err := e.Execute(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: r.encode()}); err != nil {
			t.Fatal(err)
		}
	}
	e.Seal()
	e.Publish(s.version + 1)
	r := e.NewReader()
	defer r.Close()
	out, _, err := r.Select(op.query(), nil)
	return outcome(out, err)
}

type openTx struct {
	tx  *Tx
	ops []txOp
	got []string
}

// TestTransactionsAreSerializable interleaves random transactions. Those that commit must have seen what they would have
// seen one after another, in the order of their commits.
func TestTransactionsAreSerializable(t *testing.T) {
	commits, conflicts := 0, 0
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		e := newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, version: 1}
		makeModelSpaces(t, s)
		version, serial := s.version, oracle{}
		var open []*openTx
		for range 400 {
			switch {
			case len(open) < 4 && rnd.IntN(3) == 0:
				open = append(open, &openTx{tx: e.BeginTx()})
			case len(open) == 0:
			case rnd.IntN(4) > 0:
				o := open[rnd.IntN(len(open))]
				op := randomOp(rnd)
				o.ops, o.got = append(o.ops, op), append(o.got, op.run(o.tx))
			default:
				n := rnd.IntN(len(open))
				o := open[n]
				open = append(open[:n], open[n+1:]...)
				version++
				e.Begin(version)
				err := e.CommitTx(o.tx)
				o.tx.Close()
				if e.Seal() != nil {
					e.Publish(version)
				} else {
					version--
				}
				if errcode.Is(err, errcode.TransactionConflict) {
					conflicts++
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				commits++
				// One that wrote nothing is as of its view, the others as of now.
				if !o.wrote() {
					continue
				}
				for i, op := range o.ops {
					if want := serial.run(t, op); o.got[i] != want {
						t.Fatalf("seed %d: step %d %+v of a committed transaction saw %s, alone it would have seen %s", seed, i, op, o.got[i], want)
					}
				}
			}
		}
		for _, o := range open {
			o.tx.Close()
		}
		r := e.NewReader()
		m := &model{space: treeSpace, rows: serial}
		if err := m.compare(r); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r.Close()
	}
	if commits < 100 || conflicts < 20 {
		t.Errorf("%d commits and %d conflicts prove little", commits, conflicts)
	}
}

func (o *openTx) wrote() bool { return len(o.tx.spaces) > 0 }

// txFixture is an engine with two rows, driven by text.
type txFixture struct {
	*scripted
	t *testing.T
}

func newTxFixture(t *testing.T) *txFixture {
	t.Helper()
	e := newTestEngine(t, Options{})
	f := &txFixture{&scripted{t: t, e: e, r: e.NewReader(), version: 1}, t}
	t.Cleanup(f.r.Close)
	makeModelSpaces(t, f.scripted)
	f.run(`insert 600 [1,"a",1]`)
	f.run(`insert 600 [2,"b",2]`)
	return f
}

func (f *txFixture) commit(tx *Tx) error {
	f.version++
	f.e.Begin(f.version)
	err := f.e.CommitTx(tx)
	f.e.Seal()
	f.e.Publish(f.version)
	tx.Close()
	return err
}

func (f *txFixture) put(tx *Tx, text string) string {
	return outcome(tx.Execute(&Statement{Kind: Replace, SpaceID: treeSpace, Tuple: fromJSON(f.t, text)}))
}

func (f *txFixture) read(tx *Tx, q *Query) string {
	out, _, err := tx.Select(q, nil)
	if err != nil {
		return render(err)
	}
	var all []string
	for _, tup := range splitTuples(out) {
		all = append(all, toJSON(f.t, tup))
	}
	return strings.Join(all, " ")
}

// TestUniqueKeysChangeHands within a transaction; nobody else sees it before the commit.
func TestUniqueKeysChangeHands(t *testing.T) {
	f := newTxFixture(t)
	tx := f.e.BeginTx()
	for _, row := range []string{`[1,"a",null]`, `[2,"b",1]`, `[1,"a",2]`, `[3,"c",3]`} {
		if out := f.put(tx, row); strings.HasPrefix(out, "error") {
			t.Fatal(row, out)
		}
	}
	all := &Query{SpaceID: treeSpace, Iterator: iterALL, Limit: 100, Key: msgpack.AppendArrayHeader(nil, 0)}
	if got := f.read(tx, all); got != `[1,"a",2] [2,"b",1] [3,"c",3]` {
		t.Fatal("own writes:", got)
	}
	if out := f.put(tx, `[4,"d",3]`); out != "error 3" {
		t.Fatal("a duplicate of an own row:", out)
	}
	if got := f.run("select 600 0 all []"); got != "[1,\"a\",1]\n[2,\"b\",2]\n" {
		t.Fatal("others see:", got)
	}
	if err := f.commit(tx); err != nil {
		t.Fatal(err)
	}
	if got := f.run("select 600 2 all []"); got != "[2,\"b\",1]\n[1,\"a\",2]\n[3,\"c\",3]\n" {
		t.Fatal("after the commit:", got)
	}
}

// TestGaps: a gap that was read and is filled by another is a conflict; what a limit cut off was not read.
func TestGaps(t *testing.T) {
	f := newTxFixture(t)
	tx := f.e.BeginTx()
	if got := f.read(tx, &Query{SpaceID: treeSpace, Iterator: iterGE, Limit: 100, Key: key(5)}); got != "" {
		t.Fatal(got)
	}
	f.put(tx, `[100,"z",100]`)
	f.run(`insert 600 [50,"x",50]`)
	if err := f.commit(tx); !errcode.Is(err, errcode.TransactionConflict) {
		t.Fatal("a phantom:", err)
	}
	tx = f.e.BeginTx()
	f.read(tx, &Query{SpaceID: treeSpace, Iterator: iterGE, Limit: 1, Key: key(1)})
	f.put(tx, `[101,"z",101]`)
	f.run(`insert 600 [51,"x",51]`)
	if err := f.commit(tx); err != nil {
		t.Fatal("nothing that was read has changed:", err)
	}
}

// TestTruncatedSpace: a space that was emptied meanwhile is a conflict.
func TestTruncatedSpace(t *testing.T) {
	f := newTxFixture(t)
	tx := f.e.BeginTx()
	f.put(tx, `[102,"z",102]`)
	f.run(`upsert 330 [600,1] [["+",1,1]]`)
	if err := f.commit(tx); !errcode.Is(err, errcode.TransactionConflict) {
		t.Fatal("a truncated space:", err)
	}
}

// TestTransactionSize is bounded.
func TestTransactionSize(t *testing.T) {
	f := newTxFixture(t)
	tx := f.e.BeginTx()
	defer tx.Close()
	big := row{tag: string(bytes.Repeat([]byte("x"), 1<<19)), null: true}
	for id := range uint64(100) {
		big.id = id
		if _, err := tx.Execute(&Statement{Kind: Insert, SpaceID: treeSpace, Tuple: big.encode()}); errcode.Is(err, errcode.TooBig) {
			return
		}
	}
	t.Error("a transaction of 50 MiB was accepted")
}
