package replicaset

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// remove deletes a row of the space that put writes to.
func remove(sync uint64, key string) Write {
	b := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), key)
	return Write{Sync: sync, Statement: box.Statement{Kind: box.Delete, SpaceID: dictionary.SpaceSchema, Key: b}}
}

func one(c client, w ...Write) []*Batch { return []*Batch{{Sink: c, Writes: w}} }

// TestConfirmation: what wrote nothing is not answered before it is sure that nobody else led. The commit of an entry that
// was run before shows nothing, that of one that was run in the same turn, or later, does.
func TestConfirmation(t *testing.T) {
	m, _ := newTestMachine(t)
	a, b, c, d := client{}, client{}, client{}, client{}
	m.Run(2, 1, one(a, put(1, "x")))
	m.Run(3, 1, one(b, put(2, "x")))
	m.Commit(2)
	if a[1] != 0 || len(a) != 1 || len(b) != 0 {
		t.Fatalf("answers %v and %v", a, b)
	}
	m.Run(3, 1, append(one(c, put(3, "y")), one(d, put(4, "x"))...))
	if first := m.Unconfirmed(); first != 1 {
		t.Errorf("unconfirmed is %d", first)
	}
	m.Commit(3)
	if b[2] != errcode.TupleFound || c[3] != 0 || d[4] != errcode.TupleFound || m.Unconfirmed() != 0 {
		t.Fatalf("answers %v, %v and %v", b, c, d)
	}
	// An old confirmation says nothing about newer answers.
	m.Run(4, 1, one(a, remove(5, "nothing")))
	m.Confirm(1)
	if _, ok := a[5]; ok {
		t.Error("answered by the confirmation of another")
	}
	m.Confirm(m.Unconfirmed())
	if code, ok := a[5]; !ok || code != 0 {
		t.Errorf("answers %v", a)
	}
}

// TestDeny: leadership is lost while answers wait. Those that wrote nothing are refused, what was committed is not touched.
func TestDeny(t *testing.T) {
	m, _ := newTestMachine(t)
	a := client{}
	m.Run(2, 1, one(a, put(1, "x")))
	m.Run(3, 1, one(a, put(2, "x")))
	m.Deny(errcode.New(errcode.NotALeader, "x"))
	if len(a) != 1 || a[2] != errcode.NotALeader || m.Unconfirmed() != 0 {
		t.Fatalf("answers %v", a)
	}
	if m.Commit(2); a[1] != 0 || len(a) != 2 {
		t.Errorf("answers %v", a)
	}
	m.Run(3, 1, one(a, put(3, "x")))
	if _, ok := a[3]; ok {
		t.Error("answered by what was denied before")
	}
	// One that was confirmed, and rests on an entry that is not committed, would wait for a version of another leader.
	b := client{}
	m.Run(3, 1, one(a, put(4, "y")))
	m.Run(4, 1, one(b, put(5, "y")))
	m.Confirm(m.Unconfirmed())
	if m.Deny(errcode.New(errcode.NotALeader, "x")); b[5] != errcode.NotALeader {
		t.Errorf("answers %v", b)
	}
}

// TestAbortedAnswers: of a void entry only those statements have an unknown outcome that wrote; of one that was never
// proposed none has.
func TestAbortedAnswers(t *testing.T) {
	m, _ := newTestMachine(t)
	a, b, c := client{}, client{}, client{}
	m.Run(2, 1, one(a, put(1, "x"), put(2, "x"), remove(3, "nothing")))
	m.Run(3, 1, one(b, put(4, "x")))
	m.Run(3, 1, one(c, put(5, "y")))
	m.Commit(2)
	m.Abort(3, errcode.New(errcode.UnknownOutcome, "lost"))
	if a[1] != 0 || a[2] != errcode.TupleFound || a[3] != 0 || b[4] != errcode.NotALeader || c[5] != errcode.UnknownOutcome {
		t.Errorf("answers %v, %v and %v", a, b, c)
	}
	m.Run(3, 1, one(a, put(6, "z"), put(7, "x"), remove(8, "nothing")))
	m.Abort(3, errcode.New(errcode.UnknownOutcome, "lost"))
	if a[6] != errcode.UnknownOutcome || a[7] != errcode.NotALeader || a[8] != errcode.NotALeader {
		t.Errorf("answers %v", a)
	}
	m.Run(3, 1, one(a, put(9, "z"), put(10, "x")))
	m.Abort(3, errcode.New(errcode.ProposalDropped))
	if a[9] != errcode.ProposalDropped || a[10] != errcode.ProposalDropped {
		t.Errorf("answers %v", a)
	}
}

// TestAbortBehindAnEntry: an entry that could not be proposed takes nothing along that was proposed before it and is not
// committed yet: its clients are answered when it is, not earlier.
func TestAbortBehindAnEntry(t *testing.T) {
	m, e := newTestMachine(t)
	a, b, c := client{}, client{}, client{}
	m.Run(2, 1, one(a, put(1, "x")))
	m.Run(3, 1, one(b, put(2, "x"))) // makes no entry, and rests on the one before
	m.Run(3, 1, one(c, put(3, "y")))
	m.Abort(3, errcode.New(errcode.TooBig, "A log entry", 2, 1))
	if len(a) != 0 || len(b) != 0 || c[3] != errcode.TooBig {
		t.Fatalf("answers %v, %v and %v before anything is committed", a, b, c)
	}
	m.Commit(2)
	if code, ok := a[1]; !ok || code != 0 || visible(t, e) != 1 {
		t.Fatalf("answers %v, %d rows", a, visible(t, e))
	}
	if m.Confirm(m.Unconfirmed()); b[2] != errcode.TupleFound {
		t.Errorf("answers %v", b)
	}
	m.Run(3, 1, one(a, put(4, "y")))
	m.Run(4, 1, one(b, put(5, "z")))
	m.Abort(4, errcode.New(errcode.ProposalDropped))
	m.Abort(3, errcode.New(errcode.UnknownOutcome, "lost")) // and then leadership is lost
	if a[4] != errcode.UnknownOutcome || b[5] != errcode.ProposalDropped || m.Unconfirmed() != 0 {
		t.Errorf("answers %v and %v", a, b)
	}
}

// elsewhere is a client at another replica.
type elsewhere struct{ client }

func (elsewhere) ForReplica() {}

// TestPrompt: who waits at another replica is told once with each commit that answers him.
func TestPrompt(t *testing.T) {
	m, _ := newTestMachine(t)
	here, there := client{}, elsewhere{client{}}
	m.Run(2, 1, []*Batch{{Sink: here, Writes: []Write{put(1, "a")}}})
	m.Run(3, 1, []*Batch{{Sink: there, Writes: []Write{put(1, "b")}}, {Sink: here, Writes: []Write{put(2, "c")}}})
	if m.Commit(2); m.Prompt() {
		t.Error("nobody waits elsewhere for this entry")
	}
	if m.Commit(3); !m.Prompt() || m.Prompt() {
		t.Error("who waits elsewhere is not told once")
	}
	if len(there.client) != 1 || len(here) != 2 {
		t.Errorf("answers %v, %v", here, there)
	}
}
