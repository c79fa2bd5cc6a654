package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// await polls for something that has no event of its own.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAuthMatrix(t *testing.T) {
	var mu sync.Mutex
	var events []AuthEvent
	f := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		return iproto.AppendData(out, req.Sync, 89, append([]byte{0xa0 | byte(len(s.User().Name))}, s.User().Name...)), true
	})
	f.users = map[string]Credential{
		"guest": {Name: "guest"}, "test": password(32, "test", "secret"), "nopw": {ID: 33, Name: "nopw"},
		"emptypw": password(34, "emptypw", ""), "early": password(35, "early", "secret"),
	}
	early := f.users["early"]
	early.NotYet = errcode.New(errcode.Loading, "RecoveringSnapshot")
	f.users["early"] = early
	_, addr := serve(t, Options{Backend: f, OnAuth: func(e AuthEvent) {
		mu.Lock()
		events = append(events, e)
		mu.Unlock()
	}})
	w := dial(t, addr)
	who := func() string {
		r := w.ask(iproto.AppendCall(nil, 9, "who", nil))
		return string(r.Data[6:])
	}
	const wrong, body = "Incorrect password supplied for user '%'", "Invalid MsgPack - authentication request body"
	for i, c := range []struct{ user, how, want, then string }{
		{"test", "wrong", wrong, "guest"}, {"test", "secret", "", "test"}, {"test", "wrong", wrong, "test"},
		{"nobody", "secret", "User 'nobody' is not found", "test"}, {"nopw", "", wrong, "test"},
		{"nopw", "secret", wrong, "test"}, {"nopw", "[]", body, "test"}, {"test", "[]", body, "test"},
		{"emptypw", "", wrong, "test"}, {"guest", "wrong", wrong, "test"}, {"guest", "[]", "", "guest"},
		{"test", "secret", "", "test"}, {"guest", "", "", "guest"}, {"nobody", "[]", "User 'nobody' is not found", "guest"},
		{"early", "secret", "Instance is in state RecoveringSnapshot", "guest"}, {"early", "wrong", "Instance is in state RecoveringSnapshot", "guest"},
	} {
		frame := iproto.AppendAuth(nil, 1, c.user, nil)
		if c.how != "[]" {
			scramble := iproto.Scramble([]byte(c.how), w.salt)
			frame = iproto.AppendAuth(nil, 1, c.user, scramble[:])
		}
		r := w.ask(frame)
		got := ""
		if r.Err != nil {
			got = r.Err.Message
		}
		if want := strings.ReplaceAll(c.want, "%", c.user); got != want {
			t.Errorf("%d: AUTH as %q with %q: %q, want %q", i, c.user, c.how, got, want)
		}
		if now := who(); now != c.then {
			t.Errorf("%d: after AUTH as %q with %q the user is %q", i, c.user, c.how, now)
		}
		mu.Lock()
		e := events[len(events)-1]
		if len(events) != i+1 || e.User != c.user || (e.Err == nil) != (c.want == "") || e.Peer != w.LocalAddr().String() {
			t.Errorf("%d: event %+v", i, e)
		}
		mu.Unlock()
	}
}

func TestMalformedAuth(t *testing.T) {
	f := newFake(echo)
	f.users = map[string]Credential{"test": password(32, "test", "secret")}
	_, addr := serve(t, Options{Backend: f})
	w := dial(t, addr)
	for tuple, want := range map[string]string{
		"\x91\xa9chap-sha1":                                     "Invalid MsgPack - authentication request body",
		"\x92\x01\xa0":                                          "Invalid MsgPack - authentication request body",
		"\x92\xa9chap-sha1\x01":                                 "Invalid MsgPack - authentication scramble",
		"\x92\xa9chap-sha1\xa3abc":                              "Invalid MsgPack - invalid scramble size",
		"\x92\xaapap-sha256\xa6secret":                          "Unknown authentication method 'pap-sha256'",
		"\x92\xd9\xc8" + strings.Repeat("x", 200) + "\xa1x":     "Unknown authentication method '" + strings.Repeat("x", 64) + "'",
		"\x93\xa9chap-sha1\xb4" + strings.Repeat("x", 20) + "1": "Incorrect password supplied for user 'test'",
	} {
		b, mark := iproto.BeginRequest(nil, iproto.TypeAuth, 3)
		b = append(b, "\x82\x23\xa4test\x21"+tuple...)
		if r := w.ask(iproto.EndRequest(b, mark)); r.Err == nil || r.Err.Message != want || r.Sync != 3 {
			t.Errorf("%q: %v, want %q", tuple, r.Err, want)
		}
	}
}

func TestServerRequests(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), InstanceUUID: func() string { return "u-1" }})
	w := dial(t, addr)
	r := w.ask(iproto.AppendID(nil, 1, 6))
	if r.Version != protocolVersion || string(r.AuthType) != "chap-sha1" || !bytes.Equal(r.Features, []byte{0x97, 0, 1, 2, 3, 4, 5, 6}) {
		t.Errorf("ID: %+v", r)
	}
	empty := func(kind iproto.Type) iproto.Reply {
		b, mark := iproto.BeginRequest(nil, kind, 2)
		return w.ask(iproto.EndRequest(append(b, 0x80), mark))
	}
	if r := empty(iproto.TypeNop); r.Err != nil || len(r.Body) != 1 {
		t.Errorf("NOP: %+v", r)
	}
	for _, kind := range []iproto.Type{0, 17, 65, 66, 68, 76, 78, 200, 1 << 20} {
		if r := empty(kind); r.Err == nil || r.Err.Code != errcode.UnknownRequestType || r.Sync != 2 {
			t.Errorf("type %d: %+v", kind, r)
		}
	}
	if r := w.ask(iproto.AppendEval(nil, 3, "return 1", nil)); r.Err == nil || r.Err.Code != errcode.NotImplemented ||
		!strings.HasPrefix(r.Err.Message, "EVAL is not available in this version") {
		t.Errorf("EVAL: %+v", r.Err)
	}
	w.ask(iproto.AppendPing(nil, 1))
	st := srv.Stats()
	if st.Requests["ID"] != 1 || st.Requests["PING"] != 1 || st.Requests["UNKNOWN"] != 9 || st.Connections != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// TestFlushPerDrain: one batch of requests is one run of Execute calls, one Flush and one segment of replies.
func TestFlushPerDrain(t *testing.T) {
	f := newFake(echo)
	_, addr := serve(t, Options{Backend: f})
	w := dial(t, addr)
	var batch []byte
	for i := range 50 {
		batch = iproto.AppendCall(batch, uint64(i), "f", nil)
	}
	w.send(batch)
	for i := range 50 {
		if _, r := w.receive(); r.Sync != uint64(i) {
			t.Fatalf("reply %d to sync %d", i, r.Sync)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flushes == 0 || f.flushes > 3 {
		t.Errorf("%d flushes for one batch", f.flushes)
	}
}

func TestFrameLimits(t *testing.T) {
	f := newFake(echo)
	f.users = map[string]Credential{"test": password(32, "test", "secret"), "guest": {Name: "guest"}}
	_, addr := serve(t, Options{Backend: f, Limits: Limits{FrameBytes: 1 << 20}})
	overhead := len(call(1, 0)) - 5
	const preAuth = 16 << 10

	w := dial(t, addr)
	if r := w.ask(call(1, preAuth-overhead)); r.Err != nil || len(r.Data) < preAuth-overhead {
		t.Errorf("largest frame before login: %v", r.Err)
	}
	w.send(call(2, preAuth-overhead+1))
	if _, r := w.receive(); r.Err == nil || r.Err.Code != errcode.TooBig {
		t.Errorf("too large a frame before login: %+v", r)
	}
	w.ended()

	w = dial(t, addr)
	w.ask(iproto.AppendAuth(nil, 1, "guest", nil))
	w.send(call(2, preAuth))
	if _, r := w.receive(); r.Err == nil || r.Err.Code != errcode.TooBig {
		t.Errorf("guest counts as logged in: %+v", r)
	}

	w = dial(t, addr)
	w.login("test", "secret")
	for range 3 {
		if r := w.ask(call(1, 1<<20-overhead)); r.Err != nil || len(r.Data) < 1<<20-overhead {
			t.Errorf("largest frame: %v", r.Err)
		}
	}
	w.send(call(2, 1<<20))
	if _, r := w.receive(); r.Err == nil || r.Err.Code != errcode.TooBig || r.Sync != 2 {
		t.Errorf("too large a frame: %+v", r)
	}
	w.ended()
}

// TestClaimedLength: what a frame only claims to have costs nothing.
func TestClaimedLength(t *testing.T) {
	f := newFake(echo)
	f.users = map[string]Credential{"test": password(32, "test", "secret")}
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{FrameBytes: 1 << 30}})
	w := dial(t, addr)
	w.login("test", "secret")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	in := srv.Stats().BytesIn
	w.send([]byte{0xce, 0x3f, 0xff, 0xff, 0xff, 0x82})
	await(t, "the bytes arrive", func() bool { return srv.Stats().BytesIn == in+6 })
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes allocated for a claim", used)
	}
}

// TestLatePeer: before login a frame must become whole in time, and a first one must come; who has been served may wait.
func TestLatePeer(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), Limits: Limits{PreAuthTimeout: 3 * time.Second}})
	served := dial(t, addr)
	served.ask(iproto.AppendPing(nil, 1))
	silent := dial(t, addr)
	partial := dial(t, addr)
	partial.ask(iproto.AppendPing(nil, 1))
	partial.send(iproto.AppendPing(nil, 2)[:4])
	partial.ended()
	silent.ended()
	if n := srv.Stats().CutLate; n != 2 {
		t.Errorf("%d connections cut", n)
	}
	if r := served.ask(iproto.AppendPing(nil, 3)); r.Sync != 3 {
		t.Errorf("reply %+v", r)
	}
	served.send(iproto.AppendPing(nil, 4)[:4])
	served.send(iproto.AppendPing(nil, 4)[4:])
	if _, r := served.receive(); r.Sync != 4 {
		t.Errorf("a frame after a long pause: %+v", r)
	}
}

func TestSlowReaderIsCut(t *testing.T) {
	big := make([]byte, 1<<20)
	f := newFake(func(_ *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		return iproto.AppendData(out, req.Sync, 89, big), true
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{WriteTimeout: 100 * time.Millisecond}})
	w := dial(t, addr)
	go func() {
		for sync := uint64(0); ; sync++ {
			if _, err := w.Write(iproto.AppendCall(nil, sync, "f", nil)); err != nil {
				return
			}
		}
	}()
	<-f.closed
	if n := srv.Stats().CutSlow; n != 1 {
		t.Errorf("%d connections cut", n)
	}
}

// TestFullQueueIsCut: finished replies that nobody reads are bounded, and completing them never blocks.
func TestFullQueueIsCut(t *testing.T) {
	sessions := make(chan *Session, 1)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		sessions <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{QueueBytes: 1 << 20}})
	w := dial(t, addr)
	w.send(iproto.AppendCall(nil, 1, "f", nil))
	s := <-sessions
	chunk, mark := iproto.BeginReply(nil, iproto.TypeChunk, 1, 89)
	chunk = iproto.EndReply(append(chunk, make([]byte, 64<<10)...), mark)
	for sent := 0; srv.Stats().CutSlow == 0; sent += len(chunk) {
		if sent > 1<<30 {
			t.Fatal("1 GiB was queued")
		}
		s.Complete(chunk)
	}
	<-f.closed
	s.Complete(iproto.AppendOK(nil, 1, 89, nil))
	if n := srv.Stats().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// TestInFlightLimit: with the limit reached nothing more is executed until something is completed. What can not become
// more of it is answered meanwhile, and the admin socket is served.
func TestInFlightLimit(t *testing.T) {
	const limit = 4
	type request struct {
		from *Session
		sync uint64
	}
	taken := make(chan request, 100)
	f := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		if req.Type == iproto.TypeSelect {
			return iproto.AppendData(out, req.Sync, 89), true
		}
		taken <- request{s, req.Sync}
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{InFlight: limit}})
	w := dial(t, addr)
	var batch []byte
	for sync := range uint64(10) {
		batch = iproto.AppendCall(batch, sync, "f", nil)
	}
	w.send(batch)
	await(t, "the connection waits", func() bool { return srv.gate.waiters.Load() == 1 })
	if n := srv.Stats().InFlight; n != limit || len(taken) != limit {
		t.Fatalf("%d in flight, %d taken", n, len(taken))
	}
	other := dial(t, addr)
	for sync := range uint64(100) {
		other.ask(iproto.AppendPing(nil, sync))
		other.ask(iproto.AppendSelect(nil, sync, iproto.SelectArgs{Space: 1}))
	}
	other.send(iproto.AppendPing(nil, 100), iproto.AppendCall(nil, 101, "f", nil), iproto.AppendPing(nil, 102))
	if _, r := other.receive(); r.Sync != 100 {
		t.Errorf("reply to %d, want 100", r.Sync)
	}
	await(t, "the other connection waits too", func() bool { return srv.gate.waiters.Load() == 2 })
	adminPing(t, srv)
	for want, n := uint64(0), 0; n < 11; n++ {
		got := <-taken
		got.from.Complete(iproto.AppendOK(nil, got.sync, 89, nil))
		if got.sync == 101 {
			continue
		}
		if _, r := w.receive(); got.sync != want || r.Sync != want {
			t.Fatalf("request %d was taken, answer to %d, want %d", got.sync, r.Sync, want)
		}
		want++
	}
	seen := map[uint64]bool{}
	for range 2 {
		_, r := other.receive()
		seen[r.Sync] = true
	}
	if !seen[101] || !seen[102] || srv.Stats().InFlight != 0 {
		t.Errorf("answers to %v, %+v", seen, srv.Stats())
	}
}

// TestInFlightBytes: few large requests stop the reading as many small ones do, and each answer gives room.
func TestInFlightBytes(t *testing.T) {
	taken := make(chan *Session, 100)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		taken <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{InFlightBytes: 30 << 10, FrameBytesPreAuth: 64 << 10}})
	w := dial(t, addr)
	go func() {
		for sync := range uint64(9) {
			if _, err := w.Write(call(sync, 10<<10)); err != nil {
				return
			}
		}
	}()
	for n := range 7 {
		await(t, "the connection waits", func() bool { return len(taken) == 3 && srv.gate.waiters.Load() == 1 })
		(<-taken).Complete(iproto.AppendOK(nil, uint64(n), 89, nil))
	}
	for n := range 2 {
		(<-taken).Complete(iproto.AppendOK(nil, uint64(7+n), 89, nil))
	}
	await(t, "everything is given back", func() bool { return srv.Stats().InFlight == 0 && srv.gate.bytes.Load() == 0 })
	if n := srv.gate.bytes.Load(); n != 0 {
		t.Errorf("%d bytes in flight", n)
	}
}

// TestOutputOfAllIsBounded: when the replies that wait are too many together, those are cut who have most of them.
func TestOutputOfAllIsBounded(t *testing.T) {
	sessions := make(chan *Session, 10)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		sessions <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{OutputBytes: 8 << 20}})
	var slow []*Session
	for range 4 {
		w := dial(t, addr)
		w.send(iproto.AppendCall(nil, 1, "f", nil))
		slow = append(slow, <-sessions)
	}
	good := dial(t, addr)
	chunk, mark := iproto.BeginReply(nil, iproto.TypeChunk, 1, 89)
	chunk = iproto.EndReply(append(chunk, make([]byte, 64<<10)...), mark)
	for sent := 0; srv.Stats().CutSlow == 0; sent += len(chunk) {
		if sent > 1<<30 {
			t.Fatal("1 GiB was queued")
		}
		for _, s := range slow {
			s.Complete(chunk)
		}
		if n := srv.Stats().Queued; n > 16<<20 {
			t.Fatalf("%d bytes are queued", n)
		}
	}
	good.send(iproto.AppendCall(nil, 7, "f", nil))
	(<-sessions).Complete(iproto.AppendOK(nil, 7, 89, nil))
	if _, r := good.receive(); r.Sync != 7 {
		t.Errorf("reply %+v", r)
	}
	for _, s := range slow {
		s.Close()
		s.Complete(iproto.AppendOK(nil, 1, 89, nil))
	}
	for range 4 {
		<-f.closed
	}
	await(t, "nothing is queued", func() bool { return srv.Stats().Queued == 0 })
	if st := srv.Stats(); st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
}

// adminPing opens a unix socket beside the server's other listeners and pings over it.
func adminPing(t *testing.T, srv *Server) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go srv.ServeAs(l, User{ID: 1, Name: "admin"})
	w := dial(t, path)
	if r := w.ask(iproto.AppendPing(nil, 8)); r.Sync != 8 {
		t.Errorf("ping: %+v", r)
	}
}

func TestAdminSocket(t *testing.T) {
	users := make(chan User, 1)
	f := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		users <- s.User()
		return iproto.AppendOK(out, req.Sync, 89, nil), true
	})
	srv := New(Options{Backend: f})
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeAs(l, User{ID: 1, Name: "admin"}) }()
	w := dial(t, path)
	w.ask(call(1, 100_000))
	if u := <-users; u.ID != 1 || u.Name != "admin" {
		t.Errorf("user %+v", u)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := srv.ServeAs(l, User{}); !errors.Is(err, ErrClosed) {
		t.Errorf("serving after shutdown: %v", err)
	}
}

// TestShutdownAnswers: what is in flight when the server is told to stop is still answered.
func TestShutdownAnswers(t *testing.T) {
	sessions := make(chan *Session, 1)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		sessions <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f})
	w, idle := dial(t, addr), dial(t, addr)
	w.send(iproto.AppendCall(nil, 1, "f", nil))
	s := <-sessions
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	idle.ended()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a new connection was accepted")
	}
	s.Complete(iproto.AppendOK(nil, 1, 89, nil))
	if _, r := w.receive(); r.Sync != 1 {
		t.Errorf("reply %+v", r)
	}
	w.ended()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if id := <-f.closed; id != s.ID() {
		t.Errorf("session %d was closed", id)
	}
}

func TestShutdownByForce(t *testing.T) {
	taken := make(chan *Session, 1)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		taken <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{InFlight: 1}})
	w := dial(t, addr)
	w.send(iproto.AppendCall(iproto.AppendCall(nil, 1, "f", nil), 2, "f", nil))
	s := <-taken
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	w.ended()
	s.Complete(iproto.AppendOK(nil, 1, 89, nil))
}

// TestHalfClosed: a peer that only stops sending gets its answers.
func TestHalfClosed(t *testing.T) {
	sessions := make(chan *Session, 1)
	f := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		sessions <- s
		return out, false
	})
	_, addr := serve(t, Options{Backend: f})
	w := dial(t, addr)
	w.send(iproto.AppendCall(nil, 1, "f", nil))
	w.Conn.(*net.TCPConn).CloseWrite()
	s := <-sessions
	s.Complete(iproto.AppendOK(nil, 1, 89, nil))
	if _, r := w.receive(); r.Sync != 1 {
		t.Errorf("reply %+v", r)
	}
	w.ended()
}

func TestSetBackend(t *testing.T) {
	numbered := func(n byte) *fake {
		return newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
			if s.Local != nil && s.Local != n {
				t.Errorf("backend %d sees the session data of %v", n, s.Local)
			}
			s.Local = n
			return iproto.AppendData(out, req.Sync, 89, []byte{n}), true
		})
	}
	a, b := numbered(1), numbered(2)
	srv, addr := serve(t, Options{Backend: a})
	w := dial(t, addr)
	for _, want := range []byte{1, 1, 2, 2} {
		if want == 2 {
			srv.SetBackend(b)
		}
		if r := w.ask(iproto.AppendCall(nil, 1, "f", nil)); r.Data[len(r.Data)-1] != want {
			t.Errorf("answer %x, want %d", r.Data, want)
		}
	}
	<-a.closed
	w.Close()
	await(t, "the session ends", func() bool { return srv.Stats().Connections == 0 })
	if len(a.closed) != 0 || len(b.closed) > 2 {
		t.Errorf("closed %d and %d times more", len(a.closed), len(b.closed))
	}
}

func TestConnectionLimit(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), Limits: Limits{Connections: 1}})
	w := dial(t, addr)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(&wire{t: t, Conn: conn}).ended()
	if st := srv.Stats(); st.Refused != 1 || st.Accepted != 1 {
		t.Errorf("stats %+v", st)
	}
	w.Close()
	await(t, "the first has gone", func() bool { return srv.Stats().Connections == 0 })
	dial(t, addr).ask(iproto.AppendPing(nil, 1))
}

// TestIdleConnectionsAreCheap: a connection that waits holds no buffers.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const n = 300
	_, addr := serve(t, Options{Backend: newFake(echo)})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range n {
		w := dial(t, addr)
		w.ask(call(1, 2000))
	}
	after := heap()
	if each := (after - min(before, after)) / n; each > 8<<10 {
		t.Errorf("%d bytes of heap for an idle connection", each)
	}
}

// TestLargeReplies: replies larger than every buffer come whole, from both ways of answering, with a busy writer.
func TestLargeReplies(t *testing.T) {
	body := make([]byte, 3<<20)
	f := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		size := len(body) >> (req.Sync % 12)
		if req.Sync%2 == 0 {
			return iproto.AppendData(out, req.Sync, 89, body[:size]), true
		}
		go s.Complete(iproto.AppendData(nil, req.Sync, 89, body[:size]))
		return out, false
	})
	_, addr := serve(t, Options{Backend: f, Limits: Limits{QueueBytes: 1 << 30}})
	w := dial(t, addr)
	const n = 120
	go func() {
		for sync := range uint64(n) {
			w.Write(iproto.AppendCall(nil, sync, "f", nil))
		}
	}()
	seen := map[uint64]bool{}
	for range n {
		frame := make([]byte, 5)
		readFull(t, w, frame)
		_, size, _ := iproto.FrameSize(frame)
		frame = append(frame, make([]byte, size)...)
		readFull(t, w, frame[5:])
		sync := uint64(frame[21])
		if want := len(body)>>(sync%12) + 35; len(frame) != want || seen[sync] {
			t.Fatalf("reply to %d has %d bytes, want %d, seen %t", sync, len(frame), want, seen[sync])
		}
		seen[sync] = true
	}
}
