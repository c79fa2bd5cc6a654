package replicaset

import (
	"errors"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// client gathers the replies of a connection: sync to error number, 0 for OK.
type client map[uint64]errcode.Code

func (c client) Complete(frames []byte) {
	for len(frames) > 0 {
		head, body, err := iproto.FrameSize(frames)
		if err != nil {
			panic(err)
		}
		var r iproto.Reply
		if err := iproto.DecodeReply(frames[head:head+body], &r); err != nil {
			panic(err)
		}
		c[r.Sync] = 0
		if r.Err != nil {
			c[r.Sync] = r.Err.Code
		}
		frames = frames[head+body:]
	}
}

func newTestMachine(t *testing.T) (*Machine, *box.Engine) {
	return newMachine(t, box.Options{QuotaBytes: 16 << 20, Poison: true})
}

func newMachine(t testing.TB, o box.Options) (*Machine, *box.Engine) {
	t.Helper()
	e, err := box.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Begin(1)
	dictionary.Rows(func(space uint32, row []byte) bool {
		if err := e.Load(space, row); err != nil {
			t.Fatal(err)
		}
		return true
	})
	e.Seal()
	e.Publish(1)
	return New(e, nil), e
}

func put(sync uint64, key string) Write {
	b := msgpack.AppendArrayHeader(nil, 2)
	b = msgpack.AppendStr(b, key)
	return Write{Sync: sync, Statement: box.Statement{Kind: box.Insert, SpaceID: dictionary.SpaceSchema, Tuple: msgpack.AppendUint(b, 1)}}
}

func visible(t *testing.T, e *box.Engine) int {
	t.Helper()
	r := e.NewReader()
	defer r.Close()
	_, n, err := r.Select(&box.Query{SpaceID: dictionary.SpaceSchema, Iterator: 2, Limit: 100, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnswersWaitForCommit: nothing is visible or answered before its entry is committed, also what wrote nothing but
// rests on an entry that is not committed yet.
func TestAnswersWaitForCommit(t *testing.T) {
	m, e := newTestMachine(t)
	a, b := client{}, client{}
	entry := m.Run(2, 1, []*Batch{{Sink: a, Writes: []Write{put(1, "x"), put(2, "y")}}})
	if entry == nil || len(a) != 0 || visible(t, e) != 0 {
		t.Fatalf("entry %x, answers %v, %d rows", entry, a, visible(t, e))
	}
	// A duplicate of a row that is not committed yet writes nothing and must not be told so early.
	if dup := m.Run(3, 1, []*Batch{{Sink: b, Writes: []Write{put(7, "x")}}}); dup != nil || len(b) != 0 {
		t.Fatalf("entry %x, answers %v", dup, b)
	}
	m.Confirm(m.Unconfirmed())
	if len(b) != 0 {
		t.Fatalf("confirmed, but not committed: answers %v", b)
	}
	m.Commit(2)
	if a[1] != 0 || a[2] != 0 || len(a) != 2 || b[7] != errcode.TupleFound || visible(t, e) != 2 {
		t.Fatalf("answers %v %v, %d rows", a, b, visible(t, e))
	}
	// With nothing in flight such an answer comes as soon as it is confirmed.
	late := client{}
	m.Run(3, 1, []*Batch{{Sink: late, Writes: []Write{put(8, "x")}}})
	if len(late) != 0 || m.Unconfirmed() == 0 {
		t.Fatalf("answers %v before they are confirmed", late)
	}
	if m.Confirm(m.Unconfirmed()); late[8] != errcode.TupleFound || m.Unconfirmed() != 0 {
		t.Fatalf("answers %v", late)
	}
}

// TestAbort: what is not committed is unlinked, its clients learn that the outcome is unknown, and the same entry may
// still come back from the log.
func TestAbort(t *testing.T) {
	m, e := newTestMachine(t)
	a := client{}
	entry := append([]byte(nil), m.Run(2, 1, []*Batch{{Sink: a, Writes: []Write{put(1, "x")}}})...)
	m.Run(3, 1, []*Batch{{Sink: a, Writes: []Write{put(2, "y")}}})
	m.Abort(2, errors.New("leadership lost"))
	if a[1] != errcode.UnknownOutcome || a[2] != errcode.UnknownOutcome || visible(t, e) != 0 {
		t.Fatalf("answers %v, %d rows", a, visible(t, e))
	}
	m.Apply(2, 2, entry)
	if visible(t, e) != 1 {
		t.Fatalf("%d rows after the entry came back", visible(t, e))
	}
	if entry := m.Run(3, 2, []*Batch{{Sink: a, Writes: []Write{put(3, "y")}}}); entry == nil {
		t.Fatal("no entry after an abort")
	}
	m.Commit(3)
	if a[3] != 0 || visible(t, e) != 2 {
		t.Fatalf("answers %v, %d rows", a, visible(t, e))
	}
}

// TestRefuse answers every statement of every batch.
func TestRefuse(t *testing.T) {
	m, _ := newTestMachine(t)
	a := client{}
	m.Refuse([]*Batch{{Sink: a, Writes: []Write{put(1, "x"), put(2, "y")}}}, errcode.New(errcode.DiskFull, "x"))
	if a[1] != errcode.DiskFull || a[2] != errcode.DiskFull {
		t.Fatalf("answers %v", a)
	}
}

// TestSchemaVersion: a statement that demands another version is refused with 2.6's words, and does not run.
func TestSchemaVersion(t *testing.T) {
	m, e := newTestMachine(t)
	a := client{}
	w := put(1, "x")
	w.Schema = e.NewestSchema().Version + 1
	m.Run(2, 1, []*Batch{{Sink: a, Writes: []Write{w}}})
	m.Confirm(m.Unconfirmed())
	if a[1] != errcode.WrongSchemaVersion || visible(t, e) != 0 {
		t.Fatalf("answers %v, %d rows", a, visible(t, e))
	}
}
