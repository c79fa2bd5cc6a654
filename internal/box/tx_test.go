package box

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// mixedSpace has a HASH beside its TREE: the third field, never nil there, is unique in it.
const mixedSpace = 602

// oracle is the spaces of [id, tag, u] in the simplest form; it executes what a transaction did, one after another.
type oracle struct {
	spaces map[uint32]map[uint64]row
	// plain is an engine without transactions, which reads for the oracle; held are the rows in it.
	plain *scripted
	held  map[uint32]map[uint64]row
}

func newOracle(t *testing.T) *oracle {
	o := &oracle{
		spaces: map[uint32]map[uint64]row{treeSpace: {}, hashSpace: {}, mixedSpace: {}},
		held:   map[uint32]map[uint64]row{treeSpace: {}, hashSpace: {}, mixedSpace: {}},
		plain:  &scripted{t: t, e: newTestEngine(t, Options{}), version: 1},
	}
	makeTxSpaces(t, o.plain)
	return o
}

// txOp is one step of a transaction, as data, so that it can be run on a Tx and on the oracle.
type txOp struct {
	space uint32
	kind  int
	row   row
	iter  uint32
	limit uint32
	// second reads by another index than the primary one.
	second bool
}

func randomOp(rnd *rand.Rand, spaces []uint32) txOp {
	o := txOp{
		space: spaces[rnd.IntN(len(spaces))],
		kind:  rnd.IntN(7),
		row:   row{id: rnd.Uint64N(30), tag: fmt.Sprint("t", rnd.IntN(4)), u: rnd.Int64N(40), null: rnd.IntN(4) == 0},
		iter:  []uint32{iterEQ, iterREQ, iterALL, iterLT, iterLE, iterGE, iterGT}[rnd.IntN(7)],
		limit: uint32(rnd.IntN(6) + 1), second: rnd.IntN(2) == 0,
	}
	o.row.null = o.row.null && o.space != mixedSpace
	if o.space == hashSpace || o.space == mixedSpace && o.second {
		o.iter = []uint32{iterEQ, iterALL, iterGT}[rnd.IntN(3)]
	}
	return o
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
		tup, err := t.Execute(&Statement{Kind: kind, SpaceID: o.space, Tuple: o.row.encode()})
		return outcome(tup, err)
	case 2:
		return outcome(t.Execute(&Statement{Kind: Delete, SpaceID: o.space, Key: key(o.row.id)}))
	case 3:
		return outcome(t.Execute(&Statement{Kind: Update, SpaceID: o.space, Key: key(o.row.id), Ops: tagUpdate(o.row.tag)}))
	case 4:
		_, err := t.Execute(&Statement{Kind: Upsert, SpaceID: o.space, Tuple: o.row.encode(), Ops: tagUpdate(o.row.tag)})
		return outcome(nil, err)
	}
	out, _, err := t.Select(o.query(), nil)
	return outcome(out, err)
}

func (o txOp) query() *Query {
	q := &Query{SpaceID: o.space, Iterator: o.iter, Limit: o.limit, Key: key(o.row.id)}
	if !o.second {
		return q
	}
	q.IndexID = 1
	switch o.space {
	case treeSpace:
		q.Key = msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), o.row.tag)
	case hashSpace:
		q.Key = msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), o.row.tag), o.row.id)
	case mixedSpace:
		q.Key = msgpack.AppendInt(msgpack.AppendArrayHeader(nil, 1), o.row.u)
	}
	return q
}

func outcome(tup []byte, err error) string {
	if err != nil {
		return fmt.Sprint("error ", errcode.Of(err).Code)
	}
	return fmt.Sprintf("%x", tup)
}

// run executes the step alone. Reads are judged by the plain engine.
func (o *oracle) run(t *testing.T, op txOp) string {
	rows := o.spaces[op.space]
	m := model{space: op.space, unique: op.space != hashSpace, rows: rows}
	old, exists := rows[op.row.id]
	switch op.kind {
	case 0, 1:
		if op.kind == 0 && exists || m.taken(op.row) {
			return fmt.Sprint("error ", errcode.TupleFound)
		}
		rows[op.row.id] = op.row
		return outcome(op.row.encode(), nil)
	case 2:
		if !exists {
			return ""
		}
		delete(rows, op.row.id)
		return outcome(old.encode(), nil)
	case 3:
		if !exists {
			return ""
		}
		old.tag = op.row.tag
		rows[old.id] = old
		return outcome(old.encode(), nil)
	case 4:
		if exists {
			old.tag = op.row.tag
			rows[old.id] = old
		} else if m.taken(op.row) {
			return fmt.Sprint("error ", errcode.TupleFound)
		} else {
			rows[op.row.id] = op.row
		}
		return ""
	}
	return o.read(t, op)
}

// read makes the plain engine hold the rows of the oracle, and asks it.
func (o *oracle) read(t *testing.T, op txOp) string {
	e, rows, held := o.plain.e, o.spaces[op.space], o.held[op.space]
	run := func(s *Statement) {
		if _, err := e.Execute(s); err != nil {
			t.Fatal(err)
		}
	}
	e.Begin(o.plain.version + 1)
	for id, r := range held {
		if rows[id] != r {
			run(&Statement{Kind: Delete, SpaceID: op.space, Key: key(id)})
			delete(held, id)
		}
	}
	for id, r := range rows {
		if _, ok := held[id]; !ok {
			run(&Statement{Kind: Insert, SpaceID: op.space, Tuple: r.encode()})
			held[id] = r
		}
	}
	if e.Seal() != nil {
		o.plain.version++
		e.Publish(o.plain.version)
	}
	r := e.NewReader()
	defer r.Close()
	out, _, err := r.Select(op.query(), nil)
	return outcome(out, err)
}

func makeTxSpaces(t *testing.T, s *scripted) {
	t.Helper()
	makeModelSpaces(t, s)
	for _, line := range []string{
		`insert 280 [602,1,"mixed","memtx",0,{},[]]`,
		`insert 288 [602,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
		`insert 288 [602,1,"u","hash",{"unique":true},[[2,"integer"]]]`,
	} {
		if out := s.run(line); strings.HasPrefix(out, "error") {
			t.Fatal(line, out)
		}
	}
}

type openTx struct {
	tx  *Tx
	ops []txOp
	got []string
}

// serialRun interleaves random transactions on one engine.
type serialRun struct {
	t                  *testing.T
	e                  *Engine
	version            uint64
	serial             *oracle
	open               []*openTx
	commits, conflicts int
}

// commit ends a transaction. One that commits must have seen what it would have seen alone, after those before it.
func (s *serialRun) commit(o *openTx) {
	s.version++
	s.e.Begin(s.version)
	err := s.e.CommitTx(o.tx)
	o.tx.Close()
	if s.e.Seal() != nil {
		s.e.Publish(s.version)
	} else {
		s.version--
	}
	if errcode.Is(err, errcode.TransactionConflict) {
		s.conflicts++
		return
	} else if err != nil {
		s.t.Fatal(err)
	}
	s.commits++
	// One that wrote nothing is as of its view, the others as of now.
	if !o.wrote() {
		return
	}
	for i, op := range o.ops {
		if want := s.serial.run(s.t, op); o.got[i] != want {
			s.t.Fatalf("step %d %+v of a committed transaction saw %s, alone it would have seen %s", i, op, o.got[i], want)
		}
	}
}

func (s *serialRun) run(rnd *rand.Rand, spaces []uint32) {
	for range 400 {
		switch {
		case len(s.open) < 4 && rnd.IntN(3) == 0:
			s.open = append(s.open, &openTx{tx: s.e.BeginTx()})
		case len(s.open) == 0:
		case rnd.IntN(4) > 0:
			o := s.open[rnd.IntN(len(s.open))]
			op := randomOp(rnd, spaces)
			o.ops, o.got = append(o.ops, op), append(o.got, op.run(o.tx))
		default:
			n := rnd.IntN(len(s.open))
			o := s.open[n]
			s.open = slices.Delete(s.open, n, n+1)
			s.commit(o)
		}
	}
	for _, o := range s.open {
		o.tx.Close()
	}
	r := s.e.NewReader()
	defer r.Close()
	for _, space := range spaces {
		m := &model{space: space, rows: s.serial.spaces[space]}
		if err := m.compare(r); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestTransactionsAreSerializable interleaves random transactions over trees and hashes. Those that commit must have seen
// what they would have seen one after another, in the order of their commits; the others fail with error 97.
func TestTransactionsAreSerializable(t *testing.T) {
	for name, spaces := range map[string][]uint32{
		"tree": {treeSpace}, "hash": {hashSpace}, "both in one": {mixedSpace}, "all": {treeSpace, hashSpace, mixedSpace},
	} {
		t.Run(name, func(t *testing.T) {
			commits, conflicts := 0, 0
			for seed := range uint64(12) {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					e := newTestEngine(t, Options{})
					s := &scripted{t: t, e: e, version: 1}
					makeTxSpaces(t, s)
					run := serialRun{t: t, e: e, version: s.version, serial: newOracle(t)}
					run.run(rand.New(rand.NewPCG(seed, 7)), spaces)
					commits, conflicts = commits+run.commits, conflicts+run.conflicts
				})
			}
			if commits < 100 || conflicts < 20 {
				t.Errorf("%d commits and %d conflicts prove little", commits, conflicts)
			}
		})
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
