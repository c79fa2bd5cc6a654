package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cookie = "a secret between instances"

// instance is a server that knows the service user and answers calls by a function.
type instance struct {
	t       testing.TB
	address string
	srv     *server.Server
	answer  func(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool)
	logins  atomic.Int64
}

func (i *instance) Execute(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
	return i.answer(s, req, out)
}
func (i *instance) Answer(_ *server.Session, out []byte) []byte { return out }
func (i *instance) Flush(*server.Session)                       {}
func (i *instance) SchemaVersion() uint64                       { return 0 }
func (i *instance) Closed(*server.Session)                      {}
func (i *instance) Credentials(user string) (server.Credential, bool) {
	return server.Credential{ID: 30, Name: user, ChapSHA1: iproto.HashPassword([]byte(cookie)), HasPassword: true},
		user == "pico_service"
}

// echo answers with the argument, and with error 10001 if that is nil.
func echo(_ *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
	if string(req.Function) != ".proc_echo" || len(req.Tuple) < 2 {
		return iproto.AppendError(out, req.Sync, 0, errcode.New(errcode.NoSuchProc, string(req.Function))), true
	}
	if req.Tuple[1] == 0xc0 {
		return iproto.AppendError(out, req.Sync, 0, errcode.New(errcode.NotALeader, "ask another")), true
	}
	return iproto.AppendData(out, req.Sync, 0, req.Tuple[1:]), true
}

// start runs an instance at an address, "127.0.0.1:0" for a free one.
func start(t testing.TB, address string, answer func(*server.Session, *iproto.Request, []byte) ([]byte, bool)) *instance {
	t.Helper()
	l, err := net.Listen("tcp", address)
	// The port of one that has stopped may be in use for a moment.
	for end := time.Now().Add(30 * time.Second); err != nil; l, err = net.Listen("tcp", address) {
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	i := &instance{t: t, address: l.Addr().String(), answer: answer}
	i.srv = server.New(server.Options{Backend: i, OnAuth: func(e server.AuthEvent) { i.logins.Add(1) }})
	go func() { _ = i.srv.Serve(l) }()
	t.Cleanup(i.stop)
	return i
}

// stop cuts all connections.
func (i *instance) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	i.srv.Shutdown(ctx)
}

func pool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.User == "" {
		o.User = "pico_service"
	}
	if o.Password == nil {
		o.Password = func() []byte { return []byte(cookie) }
	}
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

func text(s string) []byte { return msgpack.AppendStr(nil, s) }

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	p := pool(t, Options{})
	ctx := deadline(t)
	if got, err := p.Call(ctx, i.address, ".proc_echo", text("hello")); err != nil || !bytes.Equal(got, text("hello")) {
		t.Errorf("% x, %v", got, err)
	}
	_, err := p.Call(ctx, i.address, ".proc_echo", []byte{0xc0})
	if a := Answered(err); a == nil || a.Code != errcode.NotALeader || NotSent(err) || Unknown(err) {
		t.Errorf("an answered error came as %v", err)
	}
	if _, err := p.Call(ctx, i.address, ".proc_other", text("x")); !errcode.Is(err, errcode.NoSuchProc) {
		t.Errorf("error %v", err)
	}
	if n := i.logins.Load(); n != 1 {
		t.Errorf("%d logins for one connection", n)
	}
	if _, err := p.Call(ctx, "127.0.0.1:1", ".proc_echo", text("x")); !NotSent(err) {
		t.Errorf("error %v", err)
	}
	for _, n := range p.Counts() {
		waited := n.Waited
		n.Waited = 0
		want := Counts{Procedure: ".proc_echo", Answered: 1, Refused: 1, Lost: 1}
		if n.Procedure == ".proc_other" {
			want = Counts{Procedure: ".proc_other", Refused: 1}
		}
		if n != want || waited <= 0 {
			t.Errorf("counted %+v in %s, want %+v", n, waited, want)
		}
	}
}

// TestOneConnection: calls of many goroutines to an address that nobody has called before share one connection.
func TestOneConnection(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	p := pool(t, Options{})
	ctx := deadline(t)
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			want := text(fmt.Sprint(n))
			if got, err := p.Call(ctx, i.address, ".proc_echo", want); err != nil || !bytes.Equal(got, want) {
				t.Errorf("% x, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := i.logins.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestOrder: what one goroutine starts arrives in its order, before any of it is waited for.
func TestOrder(t *testing.T) {
	var got []string
	i := start(t, "127.0.0.1:0", func(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
		v, _, _ := msgpack.ReadStr(req.Tuple[1:])
		got = append(got, string(v))
		return echo(s, req, out)
	})
	p := pool(t, Options{})
	ctx := deadline(t)
	var waits []Wait
	for n := range 200 {
		w, err := p.Start(ctx, i.address, ".proc_echo", text(fmt.Sprint(n)))
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, w)
	}
	for _, w := range waits {
		if _, err := w(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for n, v := range got {
		if v != fmt.Sprint(n) {
			t.Fatalf("call %d was %s", n, v)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	p := pool(t, Options{Password: func() []byte { return []byte("guessed") }})
	_, err := p.Call(deadline(t), i.address, ".proc_echo", text("x"))
	if !NotSent(err) || Answered(err) != nil || !errcode.Is(err, errcode.CredsMismatch) {
		t.Errorf("error %v", err)
	}
}

// TestReconnect: while nothing listens, calls fail as not sent, and between two attempts there is a pause; when it listens again,
// calls go through.
func TestReconnect(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	const pause = 10 * time.Millisecond
	var dials atomic.Int64
	var failedAt time.Time // when the last attempt failed; attempts follow each other
	p := pool(t, Options{RetryMin: pause, RetryMax: 4 * pause,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			dials.Add(1)
			if since := time.Since(failedAt); !failedAt.IsZero() && since < pause {
				t.Errorf("an attempt %s after one that failed", since)
			}
			c, err := dialTCP(ctx, address)
			if err != nil {
				failedAt = time.Now()
			}
			return c, err
		}})
	ctx := deadline(t)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
		t.Fatal(err)
	}
	i.stop()
	calls := int64(0)
	for dials.Load() < 4 {
		calls++
		_, err := p.Call(ctx, i.address, ".proc_echo", text("x"))
		if err == nil || Answered(err) != nil && !errcode.Is(err, errcode.Shutdown) {
			t.Fatalf("call %d to an instance that is down: %v", calls, err)
		}
		if dials.Load() > 1 && !NotSent(err) {
			t.Fatalf("call %d was sent to nobody: %v", calls, err)
		}
	}
	start(t, i.address, echo)
	for {
		_, err := p.Call(ctx, i.address, ".proc_echo", text("x"))
		if err == nil {
			break
		}
		if !NotSent(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestPause: the pause grows slowly and has an end.
func TestPause(t *testing.T) {
	o := Options{}.withDefaults()
	for failures, want := range map[int]time.Duration{0: 50 * time.Millisecond, 3: 50 * time.Millisecond,
		4: 100 * time.Millisecond, 12: 400 * time.Millisecond, 16: 800 * time.Millisecond, 20: time.Second,
		1 << 40: time.Second} {
		if got := o.pause(failures); got != want {
			t.Errorf("pause of %v after %d failures, want %v", got, failures, want)
		}
	}
}

// TestAlive: whoever is heard of is called at once, whatever the pause is.
func TestAlive(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	i.stop()
	p := pool(t, Options{RetryMin: time.Hour, RetryMax: time.Hour})
	ctx := deadline(t)
	for range 2 {
		if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); !NotSent(err) {
			t.Fatal(err)
		}
	}
	if s := p.Status(); len(s) != 1 || s[0].Address != i.address || s[0].Connected || s[0].Failures != 1 || s[0].Err == nil {
		t.Errorf("%+v", s)
	}
	p.Alive("127.0.0.1:1")
	p.Alive(i.address)
	start(t, i.address, echo)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); len(s) != 1 || !s[0].Connected || s[0].Failures != 0 || s[0].Err != nil {
		t.Errorf("%+v", s)
	}
}

// TestLost: a call whose connection breaks, and one that is given up, have an unknown outcome; one that waits for a
// connection and is given up was not sent.
func TestLost(t *testing.T) {
	came, release := make(chan struct{}, 10), make(chan struct{})
	i := start(t, "127.0.0.1:0", func(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
		came <- struct{}{}
		sync := req.Sync
		go func() {
			<-release
			s.Complete(iproto.AppendOK(nil, sync, 0, nil))
		}()
		return out, false
	})
	p := pool(t, Options{})
	ctx, cancel := context.WithCancel(deadline(t))
	given := make(chan error)
	go func() {
		_, err := p.Call(ctx, i.address, ".proc_echo", text("x"))
		given <- err
	}()
	<-came
	cancel()
	if err := <-given; !Unknown(err) || NotSent(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("a call given up: %v", err)
	}
	if _, err := p.Call(ctx, "127.0.0.1:1", ".proc_echo", text("x")); !NotSent(err) || Unknown(err) {
		t.Errorf("a call given up before: %v", err)
	}
	go func() {
		_, err := p.Call(deadline(t), i.address, ".proc_echo", text("x"))
		given <- err
	}()
	<-came
	go i.stop()
	if err := <-given; !Unknown(err) {
		t.Errorf("a call whose connection broke: %v", err)
	}
	close(release)
}

// TestLostAtOnce: a connection that ends before it has brought an answer is a failure like one that was not made, so there
// is a pause.
func TestLostAtOnce(t *testing.T) {
	i := start(t, "127.0.0.1:0", func(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
		s.Close()
		return iproto.AppendOK(out, req.Sync, 0, nil), true
	})
	p := pool(t, Options{RetryMin: time.Hour, RetryMax: time.Hour})
	ctx := deadline(t)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); !Unknown(err) {
		t.Fatal(err)
	}
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); !NotSent(err) {
		t.Error(err)
	}
	if n := i.logins.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestSilence: a connection that brings nothing is cut although nobody closed it, and the call on it ends with that.
func TestSilence(t *testing.T) { patiently(t, silent) }

func silent(t *testing.T, silence time.Duration) error {
	i := start(t, "127.0.0.1:0", echo)
	// Once it is stopped, the network loses what the client sends.
	var lossy *mute
	p := pool(t, Options{Silence: silence, Dial: func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dialTCP(ctx, address)
		lossy = &mute{Conn: c}
		return lossy, err
	}})
	ctx := deadline(t)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
		return err
	}
	first := lossy
	first.muted.Store(true)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); !Unknown(err) || ctx.Err() != nil {
		return fmt.Errorf("a call that was lost: %w", err)
	}
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil || lossy == first {
		return fmt.Errorf("a call after that: %w", err)
	}
	return nil
}

type mute struct {
	net.Conn
	muted atomic.Bool
}

func (m *mute) Write(b []byte) (int, error) {
	if m.muted.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// TestNotWritten: a call that waits behind one whose bytes nobody takes was not sent when the connection ends.
func TestNotWritten(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	var stuck *stuck
	p := pool(t, Options{Dial: func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dialTCP(ctx, address)
		stuck = newStuck(c)
		return stuck, err
	}})
	ctx := deadline(t)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
		t.Fatal(err)
	}
	stuck.on.Store(true)
	first, err := p.Start(ctx, i.address, ".proc_echo", text("x"))
	if err != nil {
		t.Fatal(err)
	}
	<-stuck.began
	second, err := p.Start(ctx, i.address, ".proc_echo", text("x"))
	if err != nil {
		t.Fatal(err)
	}
	stuck.Close()
	if _, err := first(ctx); !Unknown(err) {
		t.Errorf("a call that was being written: %v", err)
	}
	if _, err := second(ctx); !NotSent(err) {
		t.Errorf("a call that was not written: %v", err)
	}
}

// stuck is a connection whose writes do not end until it is closed.
type stuck struct {
	net.Conn
	on            atomic.Bool
	began, closed chan struct{}
	once          sync.Once
}

func newStuck(c net.Conn) *stuck {
	return &stuck{Conn: c, began: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (s *stuck) Write(b []byte) (int, error) {
	if !s.on.Load() {
		return s.Conn.Write(b)
	}
	s.began <- struct{}{}
	<-s.closed
	return 0, net.ErrClosed
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// TestForgotten: addresses that nobody answers at do not fill the memory.
func TestForgotten(t *testing.T) {
	p := pool(t, Options{})
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := p.peerLocked("busy")
	busy.dialing = make(chan struct{})
	for n := range 3 * addressesMax {
		p.peerLocked(fmt.Sprint(n))
	}
	if len(p.peers) > addressesMax || p.peers["busy"] != busy {
		t.Errorf("%d addresses", len(p.peers))
	}
}

// patiently runs a test with a short silence, and with longer ones as long as it fails: on a busy machine a living connection
// may be silent for as long as a dead one.
func patiently(t *testing.T, run func(t *testing.T, silence time.Duration) error) {
	t.Helper()
	for silence := 5 * time.Millisecond; ; silence *= 10 {
		err := run(t, silence)
		if err == nil {
			return
		}
		if silence > time.Second {
			t.Fatalf("with a silence of %s: %v", silence, err)
		}
	}
}

// TestSlowAnswer: a call whose answer takes long does not make its connection a silent one, because pings are answered.
func TestSlowAnswer(t *testing.T) { patiently(t, slowAnswer) }

// slowAnswer is one call that is answered after three pings.
func slowAnswer(t *testing.T, silence time.Duration) error {
	release := make(chan struct{})
	i := start(t, "127.0.0.1:0", func(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
		sync := req.Sync
		go func() {
			<-release
			s.Complete(iproto.AppendData(nil, sync, 0, text("done")))
		}()
		return out, false
	})
	defer close(release)
	p := pool(t, Options{Silence: silence})
	ctx := deadline(t)
	wait, err := p.Start(ctx, i.address, ".proc_echo", text("x"))
	if err != nil {
		return err
	}
	for end := time.Now().Add(100 * silence); i.srv.Stats().Requests["PING"] < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("no pings are sent any more")
		}
	}
	release <- struct{}{}
	got, err := wait(ctx)
	if err == nil && !bytes.Equal(got, text("done")) {
		t.Fatalf("% x", got)
	}
	return err
}

// TestIdle: a connection without calls is closed, and opened again for the next call.
func TestIdle(t *testing.T) { patiently(t, idle) }

func idle(t *testing.T, silence time.Duration) error {
	i := start(t, "127.0.0.1:0", echo)
	p := pool(t, Options{Silence: silence, IdleTimeout: 4 * silence})
	ctx := deadline(t)
	for n := range int64(2) {
		if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
			return err
		}
		if i.logins.Load() != n+1 {
			return fmt.Errorf("%d logins at call %d", i.logins.Load(), n)
		}
		for i.srv.Stats().Connections != 0 {
			if ctx.Err() != nil {
				t.Fatal("the connection is still open")
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func TestClose(t *testing.T) {
	i := start(t, "127.0.0.1:0", echo)
	p := pool(t, Options{})
	ctx := deadline(t)
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := p.Call(ctx, i.address, ".proc_echo", text("x")); !NotSent(err) || !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	p.Close()
}
