package instance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// wired is one connection of a rig, whose requests go into streams.
type wired struct {
	*rig
	*listener
	ss      session
	scratch []byte
	t       *testing.T
}

func (r *rig) connect() *wired { return &wired{rig: r, listener: newListener(r.t), t: r.t} }

// send hands over a request of a stream. Its reply, if it comes at once, goes the way of all others.
func (w *wired) send(stream, sync uint64, build client.Builder) {
	w.t.Helper()
	out, done := w.b.inStream(w.listener, &w.ss, decoded(w.t, &w.scratch, sync, iproto.WithStream(stream, build)), nil)
	if done != (len(out) > 0) {
		w.t.Errorf("request %d: done is %t with %d bytes", sync, done, len(out))
	}
	if done {
		w.Complete(out)
	}
}

// The requests of these tests.
func begin(dst []byte, sync uint64) []byte    { return iproto.AppendBegin(dst, sync, 0) }
func commit(dst []byte, sync uint64) []byte   { return iproto.AppendCommit(dst, sync) }
func rollback(dst []byte, sync uint64) []byte { return iproto.AppendRollback(dst, sync) }

func put(key int) client.Builder {
	return func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, iproto.TypeReplace, sync, testSpace, appendRow(nil, key))
	}
}

func all(dst []byte, sync uint64) []byte {
	return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: testSpace, Iterator: iproto.IterALL, Limit: 100})
}

func call(name string) client.Builder {
	return func(dst []byte, sync uint64) []byte { return iproto.AppendCall(dst, sync, name, nil) }
}

// TestStreamBatchBytes: what a stream hands over says how large it is, so that one entry does not take too many of them.
func TestStreamBatchBytes(t *testing.T) {
	w := newRig(t).connect()
	bytes := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.queue[len(w.queue)-1].Bytes
	}
	w.send(1, 1, put(1))
	if n := bytes(); n < len(appendRow(nil, 1)) {
		t.Errorf("a statement of %d bytes says %d", len(appendRow(nil, 1)), n)
	}
	w.turn()
	<-w.replies
	w.send(1, 2, begin)
	<-w.replies
	for key := range 10 {
		w.send(1, uint64(3+key), put(key))
		<-w.replies
	}
	w.send(1, 20, commit)
	if n := bytes(); n < 10*len(appendRow(nil, 1)) {
		t.Errorf("a transaction of 10 rows says %d bytes", n)
	}
	w.turn()
	<-w.replies
}

// TestStreamOrder: requests of a stream run one after another, those of others meanwhile; each keeps its own bytes while
// it waits.
func TestStreamOrder(t *testing.T) {
	w := newRig(t).connect()
	w.send(1, 1, put(1))
	w.send(1, 2, all)
	w.send(1, 3, put(2))
	w.send(1, 4, all)
	w.send(2, 5, all)
	w.wants("5 ok []")
	w.silent()
	w.turn()
	w.wants("1 ok [[1]]", "2 ok [[1]]")
	w.turn()
	w.wants("3 ok [[2]]", "4 ok [[1],[2]]")
	w.silent()
	w.gone()
}

// gone requires that no stream is remembered.
func (w *wired) gone() {
	w.t.Helper()
	late := time.After(patience)
	for {
		w.ss.streams.mu.Lock()
		n := len(w.ss.streams.list)
		w.ss.streams.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-late:
			w.t.Fatalf("%d streams are remembered", n)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestStreamTransaction: what a transaction does is seen by itself alone, until it is committed.
func TestStreamTransaction(t *testing.T) {
	w := newRig(t).connect()
	w.send(1, 1, begin)
	w.send(1, 2, begin)
	w.send(1, 3, put(1))
	w.send(1, 4, all)
	w.send(2, 5, all)
	w.send(1, 6, commit)
	w.send(1, 7, all)
	w.wants("1 ok []", "2 error 79", "3 ok [[1]]", "4 ok [[1]]", "5 ok []")
	w.silent() // COMMIT waits for the loop, and what follows for it
	w.turn()
	w.wants("6 ok []", "7 ok [[1]]")
	w.send(1, 8, commit)
	w.send(1, 9, rollback)
	w.wants("8 ok []", "9 ok []") // without a transaction
	w.send(1, 10, begin)
	w.send(1, 11, put(2))
	w.send(1, 12, rollback)
	w.send(1, 13, all)
	w.wants("10 ok []", "11 ok [[2]]", "12 ok []", "13 ok [[1]]")
	w.idle()
	w.gone()
}

// TestStreamConflict: of two transactions that read what the other writes one is refused, and has done nothing.
func TestStreamConflict(t *testing.T) {
	w := newRig(t).connect()
	for stream := range uint64(2) {
		w.send(stream+1, 1, begin)
		w.send(stream+1, 2, all)
		w.send(stream+1, 3, put(int(stream)))
		w.wants("1 ok []", "2 ok []", fmt.Sprintf("3 ok [[%d]]", stream))
	}
	w.send(1, 4, commit)
	w.send(2, 5, commit)
	w.turn()
	w.wants("4 ok []", "5 error 97")
	w.send(2, 6, all)
	w.wants("6 ok [[0]]")
	w.gone()
}

// TestStreamExpiry: a transaction whose time is over is told so, until it is ended or a new one begins.
func TestStreamExpiry(t *testing.T) {
	for _, end := range []struct {
		build client.Builder
		says  string
	}{{commit, "4 error 231"}, {rollback, "4 ok []"}, {begin, "4 ok []"}} {
		w := newRig(t).connect()
		w.send(1, 1, begin)
		st := w.ss.streams.list[1]
		old := st.tx
		st.expire(old)
		w.send(1, 2, put(1))
		w.send(1, 3, all)
		w.send(1, 4, end.build)
		w.wants("1 ok []", "2 error 231", "3 error 231", end.says)
		st.expire(old) // the timer of the old one comes late
		w.send(1, 5, all)
		w.wants("5 ok []")
		w.send(1, 6, rollback)
		w.wants("6 ok []")
		w.gone()
	}
}

// TestStreamRefused: what the loop does not take is answered, and a transaction that it does not take is over.
func TestStreamRefused(t *testing.T) {
	w := newRig(t).connect()
	w.send(1, 1, begin)
	w.send(1, 2, put(1))
	w.wants("1 ok []", "2 ok [[1]]")
	w.down = errcode.New(errcode.Shutdown)
	w.send(1, 3, commit)
	w.send(1, 4, put(2))
	w.send(1, 5, all)
	w.wants("3 error 279", "4 error 279", "5 ok []")
	w.gone()
}

// TestStreamProcedure: a slow procedure keeps its stream busy.
func TestStreamProcedure(t *testing.T) {
	w := newRig(t).connect()
	free := make(chan struct{})
	w.b.procs["slow"] = procedure{slow: true, run: func() ([]byte, error) { <-free; return msgpack.AppendUint(nil, 8), nil }}
	w.ss.user = newAdmin()
	w.send(1, 1, call("quick"))
	w.send(1, 2, call("slow"))
	w.send(1, 3, call("quick"))
	w.send(1, 4, call("nothing"))
	w.wants("1 ok [7]")
	w.silent()
	close(free)
	w.wants("2 ok [8]", "3 ok [7]", "4 error 33")
	w.gone()
}

// TestStreamsEnd: when the connection ends, transactions are forgotten and what waits is refused.
func TestStreamsEnd(t *testing.T) {
	w := newRig(t).connect()
	w.send(1, 1, put(1))
	w.send(1, 2, put(2))
	w.send(2, 3, begin)
	w.send(2, 4, put(3))
	w.wants("3 ok []", "4 ok [[3]]")
	w.ss.streams.closeAll()
	w.turn()
	w.wants("1 ok [[1]]", "2 error 86") // the first was on its way
	w.send(3, 5, begin)
	w.wants("5 error 86")
	w.idle()
}

// TestStreamsMax: so many streams may be in use, and any number one after another.
func TestStreamsMax(t *testing.T) {
	w := newRig(t).connect()
	for id := range uint64(100) {
		w.send(id+1, 1, all)
		w.wants("1 ok []")
	}
	w.gone()
	var used []*stream
	for id := range uint64(streamsMax) {
		st, err := w.ss.streams.get(w.b, w.listener, id+1)
		if err != nil {
			t.Fatalf("stream %d: %v", id+1, err)
		}
		used = append(used, st)
	}
	w.send(streamsMax+1, 2, begin)
	w.send(7, 3, all) // one that is there
	w.wants(fmt.Sprintf("2 error %d", errcode.Overloaded), "3 ok []")
	w.ss.streams.release(used[6], 1)
	w.send(streamsMax+1, 4, begin)
	w.wants("4 ok []")
	w.ss.streams.closeAll()
}

// TestNextStep is the table of what requests do in a stream.
func TestNextStep(t *testing.T) {
	const none, open, expired = 0, 1, 2
	for _, c := range []struct {
		typ   iproto.Type
		space uint32
		state int
		step  streamStep
		code  errcode.Code
	}{
		{iproto.TypeBegin, 0, none, stepBegin, 0}, {iproto.TypeBegin, 0, open, stepRefuse, errcode.ActiveTransaction},
		{iproto.TypeBegin, 0, expired, stepBegin, 0},
		{iproto.TypeCommit, 0, none, stepNothing, 0}, {iproto.TypeCommit, 0, open, stepCommit, 0},
		{iproto.TypeCommit, 0, expired, stepAborted, errcode.TransactionTimeout},
		{iproto.TypeRollback, 0, none, stepRollback, 0}, {iproto.TypeRollback, 0, open, stepRollback, 0},
		{iproto.TypeRollback, 0, expired, stepRollback, 0},
		{iproto.TypeSelect, testSpace, none, stepRead, 0}, {iproto.TypeSelect, testSpace, open, stepInTx, 0},
		{iproto.TypeSelect, testSpace, expired, stepRefuse, errcode.TransactionTimeout},
		{iproto.TypeSelect, dictionary.SpaceUser, none, stepRead, 0},
		{iproto.TypeInsert, testSpace, none, stepStatement, 0}, {iproto.TypeDelete, testSpace, open, stepInTx, 0},
		{iproto.TypeUpsert, testSpace, expired, stepRefuse, errcode.TransactionTimeout},
		{iproto.TypeInsert, dictionary.SpaceUser, none, stepRefuse, errcode.NotImplemented},
		{iproto.TypeReplace, dictionary.SpacePriv, open, stepRefuse, errcode.NotImplemented},
		{iproto.TypeCall, 0, none, stepCall, 0}, {iproto.TypeCall16, 0, open, stepCall, 0},
		{iproto.TypeCall, 0, expired, stepRefuse, errcode.TransactionTimeout},
	} {
		step, err := nextStep(&iproto.Request{Type: c.typ, SpaceID: c.space}, c.state == open, c.state == expired)
		if step != c.step || (err != nil) != (c.code != 0) || err != nil && !errcode.Is(err, c.code) {
			t.Errorf("%s of space %d in state %d: step %d, %v", iproto.TypeName(c.typ), c.space, c.state, step, err)
		}
	}
}

// TestBeginOptions: timeouts in seconds up to an hour, and the levels that the protocol knows.
func TestBeginOptions(t *testing.T) {
	option := func(key iproto.Key, value []byte) []byte { return append([]byte{0x81, byte(key)}, value...) }
	for _, c := range []struct {
		body    []byte
		timeout time.Duration
		refusal string
	}{
		{nil, time.Hour, ""}, {[]byte{0x80}, time.Hour, ""},
		{option(iproto.KeyTimeout, msgpack.AppendFloat64(nil, 1.5)), 1500 * time.Millisecond, ""},
		{option(iproto.KeyTimeout, msgpack.AppendUint(nil, 2)), 2 * time.Second, ""},
		{option(iproto.KeyTimeout, msgpack.AppendFloat64(nil, 1e300)), time.Hour, ""},
		{option(iproto.KeyTimeout, msgpack.AppendUint(nil, 0)), 0, "timeout"},
		{option(iproto.KeyTimeout, msgpack.AppendInt(nil, -1)), 0, "timeout"},
		{option(iproto.KeyTimeout, []byte{0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0}), 0, "timeout"}, // not a number
		{option(iproto.KeyTimeout, msgpack.AppendStr(nil, "1")), 0, "timeout"},
		{option(iproto.KeyTxnIsolation, msgpack.AppendUint(nil, iproto.IsolationLinearizable)), time.Hour, ""},
		{option(iproto.KeyTxnIsolation, msgpack.AppendUint(nil, iproto.IsolationLinearizable+1)), 0, "isolation"},
		{option(iproto.KeyTxnIsolation, msgpack.AppendStr(nil, "x")), 0, "isolation"},
		{option(0x7f, msgpack.AppendStr(nil, "of a newer version")), time.Hour, ""},
	} {
		timeout, err := beginOptions(c.body)
		if timeout != c.timeout || (err != nil) != (c.refusal != "") || err != nil && (!errcode.Is(err, errcode.IllegalParams) || !strings.Contains(err.Error(), c.refusal)) {
			t.Errorf("%x: %v, %v", c.body, timeout, err)
		}
	}
}
