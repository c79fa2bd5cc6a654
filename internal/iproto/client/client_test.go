package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend answers with [type, arguments...] of each request; the function "hold" is never answered, "fail" is an error.
type backend struct{ held chan *server.Session }

func (b *backend) Execute(s *server.Session, r *iproto.Request, out []byte) ([]byte, bool) {
	switch string(r.Function) {
	case "hold":
		b.held <- s
		return out, false
	case "fail":
		return iproto.AppendError(out, r.Sync, 1, errcode.New(errcode.NoSuchProc, "fail")), true
	}
	v := msgpack.AppendUint(nil, uint64(r.Type))
	for _, n := range []uint32{r.SpaceID, r.IndexID, r.IndexBase, r.Iterator, r.Offset, r.Limit} {
		v = msgpack.AppendUint(v, uint64(n))
	}
	for _, a := range [][]byte{r.Key, r.Tuple, r.Ops} {
		if a == nil {
			a = []byte{0xc0}
		}
		v = append(v, a...)
	}
	v = msgpack.AppendStrBytes(v, r.Function)
	out, mark := iproto.BeginData(out, r.Sync, 1)
	return iproto.EndData(append(out, v...), mark, 11), true
}

func (b *backend) Flush(*server.Session)                       {}
func (b *backend) Answer(_ *server.Session, out []byte) []byte { return out }
func (b *backend) SchemaVersion() uint64                       { return 1 }
func (b *backend) Closed(*server.Session)                      {}
func (b *backend) Credentials(user string) (server.Credential, bool) {
	return server.Credential{ID: 32, Name: user, ChapSHA1: iproto.HashPassword([]byte("pw")), HasPassword: true}, user == "test"
}

// start serves the backend on a unix socket.
func start(t *testing.T) (b *backend, addr string) {
	t.Helper()
	addr = filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	b = &backend{held: make(chan *server.Session, 10)}
	srv := server.New(server.Options{Backend: b, InstanceUUID: func() string { return "u-1" }})
	go srv.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
	})
	return b, addr
}

func connect(t *testing.T, addr string, o Options) *Client {
	t.Helper()
	c, err := Dial(context.Background(), addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCalls(t *testing.T) {
	_, addr := start(t)
	c := connect(t, addr, Options{User: "test", Password: []byte("pw")})
	ctx := context.Background()
	if g := c.Greeting(); g.Version != "2.11.0" || g.UUID != "u-1" {
		t.Errorf("greeting %+v", g)
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if r, err := c.ID(ctx, 6); err != nil || string(r.AuthType) != iproto.AuthChapSHA1 {
		t.Errorf("ID: %+v, %v", r, err)
	}
	key, tuple, ops := []byte{0x91, 1}, []byte{0x91, 2}, []byte{0x91, 3}
	change := iproto.ChangeArgs{Space: 600, Index: 2, IndexBase: 1, Key: key, Tuple: tuple, Ops: ops}
	for name, f := range map[string]func() ([]byte, error){
		"[1,600,2,0,4,5,6,[1],null,null,\"\"]": func() ([]byte, error) {
			return c.Select(ctx, iproto.SelectArgs{Space: 600, Index: 2, Iterator: 4, Offset: 5, Limit: 6, Key: key})
		},
		"[2,600,0,0,0,0,0,null,[2],null,\"\"]": func() ([]byte, error) { return c.Insert(ctx, 600, tuple) },
		"[3,600,0,0,0,0,0,null,[2],null,\"\"]": func() ([]byte, error) { return c.Replace(ctx, 600, tuple) },
		"[4,600,2,1,0,0,0,[1],null,[3],\"\"]":  func() ([]byte, error) { return c.Update(ctx, change) },
		"[5,600,2,0,0,0,0,[1],null,null,\"\"]": func() ([]byte, error) { return c.Delete(ctx, change) },
		"[10,0,0,0,0,0,0,null,[2],null,\"f\"]": func() ([]byte, error) { return c.Call(ctx, "f", tuple) },
		"[10,0,0,0,0,0,0,null,[],null,\"g\"]":  func() ([]byte, error) { return c.Call(ctx, "g", nil) },
	} {
		data, err := f()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := msgpack.ToJSON(nil, data); err != nil || string(got) != name {
			t.Errorf("got %s, want %s", got, name)
		}
	}
	if err := c.Upsert(ctx, change); err != nil {
		t.Error(err)
	}
	if _, err := c.Call(ctx, "fail", nil); !errcode.Is(err, errcode.NoSuchProc) {
		t.Errorf("error of the server: %v", err)
	}
	if _, err := c.Eval(ctx, "return 1", nil); !errcode.Is(err, errcode.NotImplemented) {
		t.Errorf("eval: %v", err)
	}
}

func TestLogin(t *testing.T) {
	_, addr := start(t)
	for _, o := range []Options{{User: "test", Password: []byte("no")}, {User: "nobody", Password: []byte("pw")}} {
		if _, err := Dial(context.Background(), addr, o); !errcode.Is(err, 47) && !errcode.Is(err, errcode.NoSuchUser) {
			t.Errorf("login as %s: %v", o.User, err)
		}
	}
	var ce *ConnError
	if _, err := Dial(context.Background(), addr+"-none", Options{}); !errors.As(err, &ce) || ce.Sent {
		t.Errorf("dial: %v", err)
	}
}

// TestManyAtOnce: calls of many goroutines share the connection, replies find their callers, also with few slots.
func TestManyAtOnce(t *testing.T) {
	_, addr := start(t)
	c := connect(t, addr, Options{InFlight: 7})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 50 {
				arg := append(msgpack.AppendUint([]byte{0x92}, uint64(g*1000+i)), 0xda, 0x30, 0)
				arg = append(arg, bytes.Repeat([]byte{'x'}, 0x3000)...)
				data, err := c.Call(context.Background(), "f", arg)
				if err != nil || !bytes.Contains(data, arg) {
					t.Errorf("call %d of %d: %v", i, g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestDeadline: a call whose caller stops waiting says that its outcome is unknown, and the connection goes on.
func TestDeadline(t *testing.T) {
	b, addr := start(t)
	c := connect(t, addr, Options{InFlight: 1})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		b.held <- <-b.held
		cancel()
	}()
	var ce *ConnError
	if _, err := c.Call(ctx, "hold", nil); !errors.Is(err, context.Canceled) || !errors.As(err, &ce) || !ce.Sent {
		t.Errorf("call: %v", err)
	}
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) || !errors.As(err, &ce) || ce.Sent {
		t.Errorf("ping without a free slot: %v", err)
	}
	(<-b.held).Complete(iproto.AppendOK(nil, 1, 1, nil))
	if err := c.Ping(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestLostConnection: calls under way when the connection breaks have an unknown outcome, later ones a known one.
func TestLostConnection(t *testing.T) {
	b, addr := start(t)
	c := connect(t, addr, Options{})
	go func() { (<-b.held).Close() }()
	var ce *ConnError
	if _, err := c.Call(context.Background(), "hold", nil); !errors.As(err, &ce) || !ce.Sent || !errors.Is(err, io.EOF) && ce.Err == nil {
		t.Errorf("call: %v", err)
	}
	if err := c.Ping(context.Background()); !errors.As(err, &ce) || ce.Sent {
		t.Errorf("ping: %v", err)
	}
	if c.Err() == nil {
		t.Error("the connection has no error")
	}
	other := connect(t, addr, Options{})
	other.Close()
	if err := other.Ping(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("ping after close: %v", err)
	}
}

// TestForeignServer: what is no reply ends the connection with an error, without a panic and without much memory.
func TestForeignServer(t *testing.T) {
	greeting := iproto.AppendGreeting(nil, "2.11.0", "u-1", [iproto.SaltBytes]byte{})
	for name, bytes := range map[string][]byte{
		"no greeting": make([]byte, 128), "not a length": append(greeting[:128:128], 0xa0),
		"no reply": append(greeting[:128:128], 2, 0x91, 1), "too long": append(greeting[:128:128], 0xce, 0x7f, 0xff, 0xff, 0xff),
		"cut off": append(greeting[:128:128], 0xce, 0, 0, 1),
	} {
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write(bytes)
			io.CopyN(io.Discard, theirs, 3)
			theirs.Close()
		}()
		c, err := New(context.Background(), ours, Options{})
		if err == nil {
			err = c.Ping(context.Background())
			c.Close()
		}
		var ce *ConnError
		if !errors.As(err, &ce) {
			t.Errorf("%s: %v", name, err)
		}
		theirs.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if _, err := New(ctx, ours, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the greeting: %v", err)
	}
}
