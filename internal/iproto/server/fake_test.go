package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/iproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a backend whose answers are made by a function.
type fake struct {
	answer func(s *Session, req *iproto.Request, out []byte) ([]byte, bool)
	users  map[string]Credential

	mu      sync.Mutex
	flushes int
	closed  chan uint64
}

func newFake(answer func(s *Session, req *iproto.Request, out []byte) ([]byte, bool)) *fake {
	return &fake{answer: answer, closed: make(chan uint64, 1000)}
}

func (f *fake) Execute(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
	return f.answer(s, req, out)
}

func (f *fake) Answer(_ *Session, out []byte) []byte { return out }

func (f *fake) Flush(*Session) {
	f.mu.Lock()
	f.flushes++
	f.mu.Unlock()
}

func (f *fake) SchemaVersion() uint64 { return 89 }

func (f *fake) Credentials(user string) (Credential, bool) {
	c, ok := f.users[user]
	return c, ok
}

func (f *fake) Closed(s *Session) { f.closed <- s.ID() }

// password makes the credential of a user with a password.
func password(id uint32, name, pw string) Credential {
	return Credential{ID: id, Name: name, ChapSHA1: iproto.HashPassword([]byte(pw)), HasPassword: true}
}

// serve starts a server on a loopback port and stops it at the end of the test.
func serve(t testing.TB, o Options) (srv *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv = New(o)
	go func() {
		if err := srv.Serve(l); err != nil && err != ErrClosed {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
	})
	return srv, l.Addr().String()
}

// wire is a client that sees frames.
type wire struct {
	t testing.TB
	net.Conn
	salt [iproto.ScrambleBytes]byte
}

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	network := "tcp"
	if filepath.IsAbs(addr) {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := &wire{t: t, Conn: conn}
	b := make([]byte, iproto.GreetingBytes)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("greeting: %v", err)
	}
	g, err := iproto.ParseGreeting(b)
	if err != nil {
		t.Fatal(err)
	}
	w.salt = g.Salt
	return w
}

func (w *wire) send(frames ...[]byte) {
	w.t.Helper()
	if _, err := w.Write(bytes.Join(frames, nil)); err != nil {
		w.t.Fatal(err)
	}
}

// receive reads one frame and returns it whole with its decoded reply.
func (w *wire) receive() (frame []byte, r iproto.Reply) {
	w.t.Helper()
	frame = make([]byte, 5)
	if _, err := io.ReadFull(w, frame); err != nil {
		w.t.Fatalf("reply: %v", err)
	}
	head, body, err := iproto.FrameSize(frame)
	if err != nil || head != 5 {
		w.t.Fatalf("length %x: %v", frame, err)
	}
	frame = append(frame, make([]byte, body)...)
	if _, err := io.ReadFull(w, frame[5:]); err != nil {
		w.t.Fatalf("reply: %v", err)
	}
	if err := iproto.DecodeReply(frame[5:], &r); err != nil {
		w.t.Fatal(err)
	}
	return frame, r
}

// ask sends one frame and returns its reply.
func (w *wire) ask(frame []byte) iproto.Reply {
	w.t.Helper()
	w.send(frame)
	_, r := w.receive()
	return r
}

// ended checks that the server has closed the connection and sent nothing more.
func (w *wire) ended() {
	w.t.Helper()
	if n, err := io.Copy(io.Discard, w.Conn); n != 0 || err != nil && !isReset(err) {
		w.t.Errorf("%d bytes and %v instead of the end", n, err)
	}
}

// login sends AUTH with a password and returns the reply.
func (w *wire) login(user, pw string) iproto.Reply {
	w.t.Helper()
	scramble := iproto.Scramble([]byte(pw), w.salt)
	return w.ask(iproto.AppendAuth(nil, 1, user, scramble[:]))
}

func echo(_ *Session, req *iproto.Request, out []byte) ([]byte, bool) {
	if req.Tuple == nil {
		return iproto.AppendData(out, req.Sync, 89), true
	}
	return iproto.AppendData(out, req.Sync, 89, req.Tuple), true
}

// call makes a CALL frame whose argument is a string of n bytes.
func call(sync uint64, n int) []byte {
	arg := append([]byte{0x91, 0xdb, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, n)...)
	return iproto.AppendCall(nil, sync, "f", arg)
}

func readFull(t testing.TB, r io.Reader, b []byte) {
	t.Helper()
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
}
