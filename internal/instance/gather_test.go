package instance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

// TestGathering: statements stay in their order, with bytes of their own, until they are taken.
func TestGathering(t *testing.T) {
	var g gathering
	if g.take() != nil {
		t.Error("there is a batch before a statement")
	}
	s, user := newListener(t), &box.User{Name: "ann"}
	var scratch []byte
	sizes := []int{1, 3000, 5000, 10, 70_000, 0, 4096, 100}
	for n, size := range sizes {
		tup := appendRow(nil, n, string(bytes.Repeat([]byte{byte('a' + n)}, size)))
		req := decoded(t, &scratch, uint64(n), func(dst []byte, sync uint64) []byte {
			return iproto.AppendUpsert(dst, sync, iproto.ChangeArgs{Space: testSpace, Tuple: tup, Ops: appendRow(nil, n)})
		})
		if g.add(s, req, user) {
			t.Errorf("full after statement %d", n)
		}
	}
	decoded(t, &scratch, 99, iproto.AppendPing) // the requests are gone
	batch := g.take()
	if len(batch.Writes) != len(sizes) || batch.Sink != s {
		t.Fatalf("%+v", batch)
	}
	total := 0
	for n, w := range batch.Writes {
		want := appendRow(nil, n, string(bytes.Repeat([]byte{byte('a' + n)}, sizes[n])))
		st := w.Statement
		if w.Sync != uint64(n) || st.Kind != box.Upsert || st.User != user || !bytes.Equal(st.Tuple, want) || !bytes.Equal(st.Ops, appendRow(nil, n)) || st.Key != nil {
			t.Errorf("statement %d is %+v", n, w)
		}
		total += len(want) + len(st.Ops)
		// What is appended to one statement does not reach the next.
		if cap(st.Tuple) != len(st.Tuple) {
			t.Errorf("statement %d has room behind it", n)
		}
	}
	if batch.Bytes != total {
		t.Errorf("%d bytes, want %d", batch.Bytes, total)
	}
	if g.take() != nil {
		t.Error("there is a batch after it was taken")
	}
}

// TestGatheringFull: from 1 MiB or 64 statements on a batch is to be taken.
func TestGatheringFull(t *testing.T) {
	for size, want := range map[int]int{10: batchWritesMax, 20_000: 53, 100_000: 11, batchBytesMax: 1} {
		var g gathering
		var scratch []byte
		s := newListener(t)
		n := 1
		for ; ; n++ {
			tup := appendRow(nil, n, string(make([]byte, size)))
			req := decoded(t, &scratch, 1, func(dst []byte, sync uint64) []byte {
				return iproto.AppendInsert(dst, iproto.TypeInsert, sync, testSpace, tup)
			})
			if g.add(s, req, nil) {
				break
			}
		}
		if n != want {
			t.Errorf("full after %d statements of %d bytes, want %d", n, size, want)
		}
	}
}

// TestRefusals: each statement of a batch that was not taken is answered, in their order.
func TestRefusals(t *testing.T) {
	var g gathering
	var scratch []byte
	s := newListener(t)
	for n := range 3 {
		g.add(s, decoded(t, &scratch, uint64(n+5), func(dst []byte, sync uint64) []byte {
			return iproto.AppendDelete(dst, sync, iproto.ChangeArgs{Space: testSpace, Key: appendRow(nil, n)})
		}), nil)
	}
	s.Complete(refusals(g.take(), 80, errcode.New(errcode.Shutdown)))
	s.wants("5 error 279", "6 error 279", "7 error 279")
	s.silent()
	g.add(s, decoded(t, &scratch, 9, iproto.AppendPing), nil)
	s.Complete(refusals(g.take(), 80, errors.New("something")))
	s.wants("9 error 0")
}

// TestKindOf: the requests that are statements, and what they become.
func TestKindOf(t *testing.T) {
	types := []iproto.Type{iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeUpsert, iproto.TypeDelete}
	var kinds []box.Kind
	for _, typ := range types {
		kinds = append(kinds, kindOf(typ))
	}
	if !slices.Equal(kinds, []box.Kind{box.Insert, box.Replace, box.Update, box.Upsert, box.Delete}) {
		t.Errorf("%v become %v", types, kinds)
	}
}

// TestReadsPutOff: selects that wait for each other are answered in their order, at the latest when so many wait, before a
// page, and when somebody asks; each with its own error.
func TestReadsPutOff(t *testing.T) {
	r := newRig(t)
	s := newListener(t)
	var g gathering
	var scratch []byte
	for n := range 3 {
		g.add(s, decoded(t, &scratch, 1, put(n)), nil)
	}
	if err := r.submit([]*replicaset.Batch{g.take()}); err != nil {
		t.Fatal(err)
	}
	r.turn()
	s.wants("1 ok [[0]]", "1 ok [[1]]", "1 ok [[2]]")
	ss := &session{}
	// The requests of one drain lie side by side in the buffer of their connection.
	ask := func(sync uint64, a iproto.SelectArgs) *iproto.Request {
		return decoded(t, new([]byte), sync, func(dst []byte, sync uint64) []byte { return iproto.AppendSelect(dst, sync, a) })
	}
	one := func(key int) iproto.SelectArgs {
		return iproto.SelectArgs{Space: testSpace, Limit: 10, Key: appendRow(nil, key)}
	}
	var out []byte
	for n, a := range []iproto.SelectArgs{one(2), {Space: 999}, one(0), {Space: testSpace, Index: 3}, one(7)} {
		out = r.b.read(ss, ask(uint64(n+1), a), out)
	}
	if len(out) > 0 {
		t.Errorf("%d bytes before they are asked for", len(out))
	}
	page := iproto.SelectArgs{Space: testSpace, Iterator: iproto.IterALL, Limit: 2, FetchPosition: true}
	s.Complete(r.b.read(ss, ask(6, page), out))
	s.wants("1 ok [[2]]", "2 error 36", "3 ok [[0]]", "4 error 35", "5 ok []", "6 ok [[0],[1]]")
	out = r.b.read(ss, ask(7, one(1)), nil)
	s.Complete(r.b.answer(ss, out))
	s.wants("7 ok [[1]]")
	if out = r.b.answer(ss, nil); len(out) > 0 {
		t.Error("a select is answered twice")
	}
	for n := range box.GroupMax {
		if len(out) > 0 {
			t.Errorf("an answer after %d of %d", n, box.GroupMax)
		}
		out = r.b.read(ss, ask(uint64(n+1), one(n)), out)
	}
	s.Complete(out)
	for n := range box.GroupMax {
		want := fmt.Sprintf("%d ok []", n+1)
		if n < 3 {
			want = fmt.Sprintf("%d ok [[%d]]", n+1, n)
		}
		s.wants(want)
	}
	s.silent()
	r.b.readers.put(ss)
}
