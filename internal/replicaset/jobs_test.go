package replicaset

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// absent is a client that has left.
type absent struct {
	client
	gone bool
}

func (a *absent) Gone() bool { return a.gone }

const manyRows = 3000

// fullSpace makes space 600 of manyRows rows [id, id], up to version 3.
func fullSpace(t *testing.T, m *Machine) {
	t.Helper()
	makeSpace(t, m)
	c := client{}
	var writes []Write
	for id := range uint64(manyRows) {
		writes = append(writes, insertPair(3+id, id, id))
	}
	m.Run(3, 1, []*Batch{{Sink: c, Writes: writes}})
	m.Commit(3)
	for sync, code := range c {
		if code != 0 {
			t.Fatalf("statement %d: error %d", sync, code)
		}
	}
}

func indexRow(id, field uint64) []byte {
	b := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), 600), id)
	b = msgpack.AppendStr(msgpack.AppendStr(b, string(rune('a'+id))), "tree")
	b = msgpack.AppendMapHeader(b, 0)
	b = msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(b, 1), 2)
	return msgpack.AppendStr(msgpack.AppendUint(b, field), "unsigned")
}

func insertPair(sync, id, value uint64) Write {
	b := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), id), value)
	return Write{Sync: sync, Statement: box.Statement{Kind: box.Insert, SpaceID: 600, Tuple: b}}
}

func buildIndex(sync, id uint64) Write {
	return Write{Sync: sync, Statement: box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceIndex, Tuple: indexRow(id, 1)}}
}

// rowsOf counts the rows of an index of space 600, -1 if there is no such index.
func rowsOf(t *testing.T, e *box.Engine, ix uint32) int {
	t.Helper()
	r := e.NewReader()
	defer r.Close()
	_, n, err := r.Select(&box.Query{SpaceID: 600, IndexID: ix, Iterator: 2, Limit: 1 << 20, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
	if errcode.Is(err, errcode.NoSuchIndexID) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBuildBetweenWrites: while an index is built in small turns other clients' writes are answered, and another change of
// the space is refused; the client of the statement is answered at the end, when the entry with its row is committed.
func TestBuildBetweenWrites(t *testing.T) {
	m, e := newTestMachine(t)
	fullSpace(t, m)
	var began, ended int
	m.OnJob(func(ev JobEvent) {
		began++
		if ev.Ended {
			ended++
		}
	})
	a, b := client{}, client{}
	if entry := m.Run(4, 1, []*Batch{{Sink: a, Writes: []Write{buildIndex(1, 1)}}}); entry != nil || len(a) != 0 || !m.Busy() {
		t.Fatalf("entry %x, answers %v, busy %v", entry, a, m.Busy())
	}
	index := uint64(4)
	writes := uint64(0)
	for ; m.Busy(); writes++ {
		batch := &Batch{Sink: b, Writes: []Write{insertPair(writes, 10_000+writes, 10_000+writes)}}
		if writes == 0 {
			batch.Writes = append(batch.Writes, buildIndex(1000, 2))
		}
		if entry := m.Run(index, 1, []*Batch{batch}); entry == nil {
			t.Fatal("no entry")
		}
		if m.Busy() { // the last entry has the index too
			m.Commit(index)
			if b[writes] != 0 || b[1000] != errcode.AlterSpace || len(a) != 0 || rowsOf(t, e, 1) >= 0 {
				t.Fatalf("answers %v and %v, %d rows", b, a, rowsOf(t, e, 1))
			}
			index++
		}
	}
	if len(a) != 0 || rowsOf(t, e, 1) >= 0 {
		t.Fatalf("before the commit: answers %v, %d rows", a, rowsOf(t, e, 1))
	}
	m.Commit(index)
	if code, ok := a[1]; !ok || code != 0 || writes < 5 || rowsOf(t, e, 1) != manyRows+int(writes) || rowsOf(t, e, 0) != manyRows+int(writes) {
		t.Fatalf("answers %v after %d writes, %d rows", a, writes, rowsOf(t, e, 1))
	}
	if began < 5 || ended != 1 {
		t.Errorf("%d events, %d ends", began, ended)
	}
}

// TestBuildFails: a write that breaks the index is answered with OK, and the statement that builds the index with the error.
func TestBuildFails(t *testing.T) {
	m, e := newTestMachine(t)
	fullSpace(t, m)
	a, b := client{}, client{}
	m.Run(4, 1, []*Batch{{Sink: a, Writes: []Write{buildIndex(1, 1)}}, {Sink: b, Writes: []Write{insertPair(7, 5000, 1)}}})
	m.Run(5, 1, nil)
	m.Confirm(m.Unconfirmed())
	m.Commit(4)
	if b[7] != 0 || a[1] != errcode.TupleFound || m.Busy() || rowsOf(t, e, 1) >= 0 {
		t.Fatalf("answers %v and %v", a, b)
	}
}

// TestBuildIsGivenUp: when the client has left, when leadership is lost, and when the loop stops, nothing stays.
func TestBuildIsGivenUp(t *testing.T) {
	m, e := newTestMachine(t)
	fullSpace(t, m)
	used := e.Memory().PageBytes
	check := func(a client, want errcode.Code) {
		t.Helper()
		e.Publish(e.Published())
		e.Idle()
		if a[1] != want || m.Busy() || len(e.Builds()) != 0 || rowsOf(t, e, 1) >= 0 {
			t.Errorf("answers %v, busy %v", a, m.Busy())
		}
	}
	gone := &absent{client: client{}}
	m.Run(4, 1, []*Batch{{Sink: gone, Writes: []Write{buildIndex(1, 1)}}})
	m.Run(4, 1, nil)
	if len(e.Builds()) != 1 {
		t.Fatal("no build is shown")
	}
	if done, total := e.Builds()[0].Rows(); done == 0 || done >= total || total != manyRows || e.Builds()[0].Index() != "b" || e.Builds()[0].Space() != "t" {
		t.Errorf("%d of %d rows", done, total)
	}
	gone.gone = true
	m.Run(4, 1, nil)
	m.Confirm(m.Unconfirmed())
	check(gone.client, errcode.SessionClosed)

	a := client{}
	m.Run(4, 1, []*Batch{{Sink: a, Writes: []Write{buildIndex(1, 1)}}})
	m.Run(4, 1, nil)
	m.GiveUp(errcode.New(errcode.NotALeader, "x"))
	check(a, errcode.NotALeader)
	if now := e.Memory().PageBytes; now != used {
		t.Errorf("%d bytes of pages, %d before", now, used)
	}

	// A leader of another term may use the number of a version in which there were only slices, and lower ones.
	a, b := client{}, client{}
	m.Run(4, 1, []*Batch{{Sink: a, Writes: []Write{buildIndex(1, 1)}}})
	entry := append([]byte(nil), m.Run(4, 1, []*Batch{{Sink: b, Writes: []Write{insertPair(7, 5000, 5000)}}})...)
	m.Run(5, 1, nil)
	m.Abort(4, errcode.New(errcode.UnknownOutcome, "x"))
	m.GiveUp(errcode.New(errcode.NotALeader, "x"))
	check(a, errcode.NotALeader)
	m.Apply(4, 2, entry)
	if b[7] != errcode.UnknownOutcome || rowsOf(t, e, 0) != manyRows+1 {
		t.Errorf("answers %v, %d rows", b, rowsOf(t, e, 0))
	}
}

// TestLostEntryOfBuild: an entry with the row of a built index that is not committed leaves nothing, and may come back by
// the log, where it builds the index anew.
func TestLostEntryOfBuild(t *testing.T) {
	m, e := newTestMachine(t)
	fullSpace(t, m)
	a := client{}
	m.Run(4, 1, []*Batch{{Sink: a, Writes: []Write{buildIndex(1, 1)}}})
	var entry []byte
	for entry == nil {
		entry = append(entry, m.Run(4, 1, nil)...)
	}
	m.Abort(4, errcode.New(errcode.UnknownOutcome, "x"))
	if a[1] != errcode.UnknownOutcome || rowsOf(t, e, 1) >= 0 {
		t.Fatalf("answers %v", a)
	}
	m.Apply(4, 2, entry)
	if rowsOf(t, e, 1) != manyRows {
		t.Fatalf("%d rows", rowsOf(t, e, 1))
	}
}
