package bench

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake keeps rows in a map for each space, by their first fields. It does not check more than the tests need.
type fake struct {
	mu     sync.Mutex
	spaces map[uint32]map[uint32][]byte
	counts map[iproto.Type]int
	// refuse makes every n-th request an error; late answers that many requests later than they came.
	refuse, late int
	seen         int
	held         [][]byte
}

func newFake() *fake {
	return &fake{spaces: map[uint32]map[uint32][]byte{sysSpace: {}, sysIndex: {}}, counts: map[iproto.Type]int{}}
}

func number(b []byte, n int) uint32 {
	v, err := field(b, n)
	if err != nil {
		return 0
	}
	u, _, _ := msgpack.ReadUint(v)
	return uint32(u)
}

func rowKey(space uint32, b []byte) uint32 {
	if space == sysIndex {
		return number(b, 0)<<4 | number(b, 1)
	}
	return number(b, 0)
}

// do looks at the fake, or changes it, while it serves.
func (f *fake) do(look func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	look()
}

// rows counts the rows of a space.
func (f *fake) rows(space uint32) (n int) {
	f.do(func() { n = len(f.spaces[space]) })
	return n
}

func (f *fake) Execute(s *server.Session, r *iproto.Request, out []byte) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[r.Type]++
	if r.SpaceID < 512 || f.late == 0 {
		return f.answer(r, out), true
	}
	f.held = append(f.held, f.answer(r, nil))
	if len(f.held) > f.late {
		// The newest first: replies come in another order than requests.
		for i := len(f.held) - 1; i >= 0; i-- {
			s.Complete(f.held[i])
		}
		f.held = nil
	}
	return out, false
}

func (f *fake) answer(r *iproto.Request, out []byte) []byte {
	if f.seen++; f.refuse > 0 && r.SpaceID >= 512 && f.seen%f.refuse == 0 {
		return iproto.AppendError(out, r.Sync, 1, errcode.New(errcode.TupleFound, "key", "bench"))
	}
	switch r.SpaceID {
	case viewSpace:
		return f.reply(out, r.Sync, f.spaces[sysSpace][number(r.Key, 0)])
	case viewUser:
		return f.reply(out, r.Sync, msgpack.AppendUint([]byte{0x91}, 32))
	case viewIndex:
		var found [][]byte
		for i := range uint32(IndexesMax) {
			if row := f.spaces[sysIndex][number(r.Key, 0)<<4|i]; row != nil {
				found = append(found, row)
			}
		}
		return iproto.AppendData(out, r.Sync, 1, found...)
	}
	return f.change(r, out)
}

func (f *fake) change(r *iproto.Request, out []byte) []byte {
	rows := f.spaces[r.SpaceID]
	if rows == nil {
		return iproto.AppendError(out, r.Sync, 1, errcode.New(errcode.NoSuchSpace, "x"))
	}
	switch r.Type {
	case iproto.TypeSelect:
		if r.Iterator == iproto.IterLE {
			last := uint32(0)
			for k := range rows {
				last = max(last, k)
			}
			return f.reply(out, r.Sync, rows[last])
		}
		return f.reply(out, r.Sync, rows[number(r.Key, 0)])
	case iproto.TypeInsert, iproto.TypeReplace:
		k := rowKey(r.SpaceID, r.Tuple)
		if r.Type == iproto.TypeInsert && rows[k] != nil {
			return iproto.AppendError(out, r.Sync, 1, errcode.New(errcode.TupleFound, "key", "bench"))
		}
		rows[k] = append([]byte(nil), r.Tuple...)
		if r.SpaceID == sysSpace {
			f.spaces[k] = map[uint32][]byte{}
		}
		return f.reply(out, r.Sync, rows[k])
	case iproto.TypeDelete:
		k := rowKey(r.SpaceID, r.Key)
		old := rows[k]
		delete(rows, k)
		return f.reply(out, r.Sync, old)
	}
	return f.reply(out, r.Sync, rows[number(r.Key, 0)])
}

func (f *fake) reply(out []byte, sync uint64, row []byte) []byte {
	if row == nil {
		return iproto.AppendData(out, sync, 1)
	}
	return iproto.AppendData(out, sync, 1, row)
}

func (f *fake) Flush(*server.Session)                       {}
func (f *fake) Answer(_ *server.Session, out []byte) []byte { return out }
func (f *fake) SchemaVersion() uint64                       { return 1 }
func (f *fake) Closed(*server.Session)                      {}
func (f *fake) Credentials(user string) (server.Credential, bool) {
	return server.Credential{ID: 32, Name: user, ChapSHA1: iproto.HashPassword([]byte("pw")), HasPassword: true}, user == "test"
}

// start serves the fake on a unix socket and returns options of a small run against it.
func (f *fake) start(t *testing.T) Options {
	t.Helper()
	addr := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Options{Backend: f})
	go srv.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
	})
	return small(addr)
}

// small are the options of a run of 1,000 requests.
func small(addr string) Options {
	return Options{
		Address: addr, User: "test", Password: []byte("pw"), Connections: 3, Depth: 7, Threads: 2, SpaceID: 600, Rows: 500, RowBytes: 100,
		Indexes: 1, RangeRows: 10, Requests: 1000, Timeout: 20 * time.Second, FS: real.FS{},
	}
}

// rawServer answers each ping with what answer makes of its sync; nil closes the connection.
func rawServer(t *testing.T, answer func(sync uint32) []byte) Options {
	t.Helper()
	addr := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() { serveRaw(c, answer) })
		}
	})
	t.Cleanup(func() { l.Close(); done.Wait() })
	o := small(addr)
	o.User, o.Operation, o.Connections, o.Depth, o.Threads = "", Ping, 1, 1, 1
	return o
}

func serveRaw(c net.Conn, answer func(sync uint32) []byte) {
	defer c.Close()
	_, _ = c.Write(iproto.AppendGreeting(nil, "2.11.0", "u", [iproto.SaltBytes]byte{}))
	request := iproto.AppendPing(nil, markSync)
	at := newTemplate(Ping, frameOptions{}).syncAt
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		b := answer(binary.BigEndian.Uint32(request[at:]))
		if b == nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}
