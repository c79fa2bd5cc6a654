package instance

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

// patience is how long a test waits for what another goroutine does at once.
const patience = time.Minute

// rig is a backend on a real engine and a real state machine of the data group; its loop is turned by hand.
type rig struct {
	t       *testing.T
	b       *backend
	machine *replicaset.Machine
	index   uint64
	group   fakeGroup

	mu    sync.Mutex // guards what follows
	queue []*replicaset.Batch
	down  error
	// arrived has a token for each batch that was submitted.
	arrived chan struct{}
}

// testSpace is a space with an unsigned primary key.
const testSpace = 600

// newEngine is an engine with the dictionary as version 1.
func newEngine(t *testing.T) *box.Engine {
	t.Helper()
	e, err := box.New(box.Options{QuotaBytes: 64 << 20, Poison: true})
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
	if err := e.LoadBuiltin(); err != nil {
		t.Fatal(err)
	}
	e.Seal()
	e.Publish(1)
	return e
}

// makeTestSpace are the statements that make the test space.
func makeTestSpace() []box.Statement {
	space := appendRow(nil, testSpace, 1, "test", "memtx", 0, map[string]any{}, []any{})
	index := appendRow(nil, testSpace, 0, "pk", "tree", map[string]any{"unique": true}, []any{[]any{0, "unsigned"}})
	return []box.Statement{{Kind: box.Insert, SpaceID: dictionary.SpaceSpace, Tuple: space}, {Kind: box.Insert, SpaceID: dictionary.SpaceIndex, Tuple: index}}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	e := newEngine(t)
	r := &rig{t: t, machine: replicaset.New(e, nil), index: 1, arrived: make(chan struct{}, 10_000)}
	r.b = &backend{c: &core{engine: e}, submit: r.submit, group: &r.group}
	r.b.procs = map[string]procedure{"quick": {run: func() ([]byte, error) { return msgpack.AppendUint(nil, 7), nil }}}
	s := newListener(t)
	for _, w := range makeTestSpace() {
		if err := r.submit([]*replicaset.Batch{{Sink: s, Writes: []replicaset.Write{{Sync: 1, Statement: w}}}}); err != nil {
			t.Fatal(err)
		}
		r.turn()
		if reply := <-s.replies; strings.Contains(reply, "error") {
			t.Fatal(reply)
		}
	}
	return r
}

func (r *rig) submit(batches []*replicaset.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return r.down
	}
	r.queue = append(r.queue, batches...)
	r.arrived <- struct{}{}
	return nil
}

// turn waits until a batch was submitted, runs what there is, and commits it.
func (r *rig) turn() {
	r.t.Helper()
	select {
	case <-r.arrived:
	case <-time.After(patience):
		r.t.Fatal("nothing was submitted")
	}
	r.mu.Lock()
	batches := r.queue
	r.queue = nil
	for range len(batches) - 1 {
		<-r.arrived
	}
	r.mu.Unlock()
	r.index++
	r.machine.Run(r.index, 1, batches)
	r.machine.Confirm(r.machine.Unconfirmed())
	r.machine.Commit(r.index)
}

// idle requires that nothing waits for the loop.
func (r *rig) idle() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		r.t.Errorf("%d batches wait", len(r.queue))
	}
}

// listener is a connection's end: it collects replies.
type listener struct {
	t       *testing.T
	replies chan string
}

func newListener(t *testing.T) *listener { return &listener{t: t, replies: make(chan string, 10_000)} }

// Complete takes frames and keeps each as its sync and what it says.
func (l *listener) Complete(frames []byte) {
	for len(frames) > 0 {
		head, body, err := iproto.FrameSize(frames)
		var r iproto.Reply
		if err == nil {
			err = iproto.DecodeReply(frames[head:head+body], &r)
		}
		switch {
		case err != nil:
			l.replies <- err.Error()
			return
		case r.Err != nil:
			l.replies <- fmt.Sprintf("%d error %d", r.Sync, r.Err.Code)
		default:
			text, _ := msgpack.ToJSON(nil, append(r.Data, 0xc0))
			if r.Data == nil {
				text = []byte("[]")
			}
			l.replies <- fmt.Sprintf("%d ok %s", r.Sync, text)
		}
		frames = frames[head+body:]
	}
}

// Gone tells that somebody still listens.
func (l *listener) Gone() bool { return false }

// wants requires the next replies, in this order.
func (l *listener) wants(replies ...string) {
	l.t.Helper()
	for _, want := range replies {
		select {
		case got := <-l.replies:
			if got != want {
				l.t.Errorf("reply %q, want %q", got, want)
			}
		case <-time.After(patience):
			l.t.Fatalf("no reply, want %q", want)
		}
	}
}

// silent requires that there is no further reply now.
func (l *listener) silent() {
	l.t.Helper()
	select {
	case got := <-l.replies:
		l.t.Errorf("reply %q, want none", got)
	default:
	}
}

// decoded is a request as the server hands it over. scratch, which it lies in, is overwritten by the next one.
func decoded(t *testing.T, scratch *[]byte, sync uint64, build client.Builder) *iproto.Request {
	t.Helper()
	for i := range *scratch {
		(*scratch)[i] = 0xc1
	}
	*scratch = build((*scratch)[:0], sync)
	head, _, err := iproto.FrameSize(*scratch)
	if err != nil {
		t.Fatal(err)
	}
	var req iproto.Request
	if err := iproto.DecodeRequest((*scratch)[head:], &req); err != nil {
		t.Fatal(err)
	}
	return &req
}

// appendRow appends an array of values.
func appendRow(b []byte, values ...any) []byte {
	b = msgpack.AppendArrayHeader(b, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = msgpack.AppendInt(b, int64(v))
		case string:
			b = msgpack.AppendStr(b, v)
		case []any:
			b = appendRow(b, v...)
		case map[string]any:
			b = msgpack.AppendMapHeader(b, len(v))
			for key, value := range v {
				b = msgpack.AppendStr(b, key)
				if n, ok := value.(int); ok {
					b = msgpack.AppendInt(b, int64(n))
				} else {
					b = msgpack.AppendBool(b, value == true)
				}
			}
		}
	}
	return b
}

// newAdmin is a user who may do everything.
func newAdmin() *box.User {
	everything := access.GrantRow{Grantee: catalog.AdminID, Type: access.Universe, Privs: access.All}
	rights := access.Build([]access.Account{{ID: catalog.AdminID, Name: "admin"}}, []access.GrantRow{everything})
	return &box.User{ID: catalog.AdminID, Name: "admin", Rights: rights}
}
