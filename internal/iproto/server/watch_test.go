package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

func watchFrame(t iproto.Type, sync uint64, key string) []byte {
	return iproto.AppendWatch(nil, t, sync, key)
}

// event reads one frame, which must be the given event.
func (w *wire) event(sync uint64, key, value string) {
	w.t.Helper()
	frame, r := w.receive()
	if r.Code != iproto.TypeEvent || r.Sync != sync || string(r.EventKey) != key || string(r.EventValue) != value {
		w.t.Fatalf("%x instead of event %s=%x for %d", frame, key, value, sync)
	}
}

// quiet checks that nothing comes before the reply to a ping.
func (w *wire) quiet() {
	w.t.Helper()
	if r := w.ask(iproto.AppendPing(nil, 4711)); r.Code != iproto.TypeOK || r.Sync != 4711 {
		w.t.Fatalf("%+v instead of silence", r)
	}
}

func TestWatch(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"k", "other"}})
	w := dial(t, addr)
	w.send(watchFrame(iproto.TypeWatch, 5, "k"))
	w.event(5, "k", "")
	srv.Broadcast("k", []byte{1})
	w.quiet()
	w.send(watchFrame(iproto.TypeWatch, 6, "k"))
	w.event(6, "k", "\x01")
	w.send(watchFrame(iproto.TypeWatch, 7, "k"))
	w.quiet()
	srv.Broadcast("k", []byte{0xc0})
	w.event(7, "k", "\xc0")
	srv.Broadcast("k", []byte{2})
	srv.Broadcast("k", nil)
	srv.Broadcast("other", []byte{9})
	w.send(watchFrame(iproto.TypeWatch, 8, "k"))
	w.event(8, "k", "")
	w.send(watchFrame(iproto.TypeWatch, 9, "k"), watchFrame(iproto.TypeUnwatch, 10, "k"))
	w.quiet()
	srv.Broadcast("k", []byte{3})
	w.quiet()
	if n := srv.Watched("k"); n != 0 {
		t.Errorf("%d watches are left", n)
	}
	if r := w.ask(watchFrame(iproto.TypeWatchOnce, 11, "k")); r.Err != nil || string(r.Data) != "\xdd\x00\x00\x00\x01\x03" {
		t.Errorf("WATCH_ONCE: %+v", r)
	}
	srv.Broadcast("k", nil)
	if r := w.ask(watchFrame(iproto.TypeWatchOnce, 12, "k")); r.Err != nil || string(r.Data) != "\xdd\x00\x00\x00\x00" {
		t.Errorf("WATCH_ONCE of nothing: %+v", r)
	}
	if st := srv.Stats(); st.Events != 4 || st.Requests["WATCH"] != 5 || st.Requests["WATCH_ONCE"] != 2 {
		t.Errorf("stats: %+v", st)
	}
}

// TestWatchFrames compares whole frames with what the protocol's description says.
func TestWatchFrames(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"box.shutdown"}})
	w := dial(t, addr)
	check := func(what, want string) {
		t.Helper()
		frame, _ := w.receive()
		if got := hex.EncodeToString(frame); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	key := hex.EncodeToString([]byte("box.shutdown"))
	// {0: 74, 1: 5} {57: "box.shutdown"}
	request, err := hex.DecodeString("ce00000014" + "82004a0105" + "8157ac" + key)
	if err != nil || !slices.Equal(request, watchFrame(iproto.TypeWatch, 5, "box.shutdown")) {
		t.Fatalf("request %x, %v", watchFrame(iproto.TypeWatch, 5, "box.shutdown"), err)
	}
	w.send(request)
	check("no value", "ce00000014"+"82004c0105"+"8157ac"+key)
	w.send(request)
	w.quiet()
	srv.Broadcast("box.shutdown", []byte{0xc3})
	check("true", "ce00000016"+"82004c0105"+"8257ac"+key+"58c3")
	w.send(watchFrame(iproto.TypeWatchOnce, 1, "box.shutdown"))
	check("once", "ce0000001f"+"8300ce0000000001cf000000000000000105ce00000059"+"8130dd00000001c3")
	w.send(iproto.AppendID(nil, 1, 6, 3, 4))
	check("id", "ce0000002e"+"8300ce0000000001cf000000000000000105ce00000059"+
		"835406"+"559700010203040506"+"5ba9"+hex.EncodeToString([]byte("chap-sha1")))
}

// TestWatchBeforeLogin: who has not logged in sees the open keys only.
func TestWatchBeforeLogin(t *testing.T) {
	f := newFake(echo)
	f.users = map[string]Credential{"test": password(32, "test", "pw")}
	srv, addr := serve(t, Options{Backend: f, OpenKeys: []string{"open"}})
	srv.Broadcast("secret", []byte{7})
	w := dial(t, addr)
	for _, kind := range []iproto.Type{iproto.TypeWatch, iproto.TypeWatchOnce} {
		r := w.ask(watchFrame(kind, 3, "secret"))
		if r.Sync != 3 || r.Err == nil || r.Err.Message != "Watch access to event 'secret' is denied for user 'guest'" {
			t.Errorf("type %d: %+v", kind, r)
		}
	}
	w.send(watchFrame(iproto.TypeUnwatch, 4, "secret"))
	w.quiet()
	if r := w.login("test", "pw"); r.Err != nil {
		t.Fatal(r.Err)
	}
	w.send(watchFrame(iproto.TypeWatch, 5, "secret"))
	w.event(5, "secret", "\x07")
}

func TestWatchLimits(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"a", "b", "c"}, Limits: Limits{Watches: 2}})
	w := dial(t, addr)
	w.send(watchFrame(iproto.TypeWatch, 1, "a"), watchFrame(iproto.TypeWatch, 2, "b"))
	w.event(1, "a", "")
	w.event(2, "b", "")
	if r := w.ask(watchFrame(iproto.TypeWatch, 3, "c")); r.Sync != 3 || r.Err == nil || r.Err.Code != errcode.Overloaded {
		t.Errorf("the third key: %+v", r)
	}
	w.send(watchFrame(iproto.TypeWatch, 4, "a"))
	w.quiet()
	w.send(watchFrame(iproto.TypeUnwatch, 5, "a"), watchFrame(iproto.TypeWatch, 6, "c"))
	w.event(6, "c", "")
	long := strings.Repeat("x", eventKeyBytesMax+1)
	if r := w.ask(watchFrame(iproto.TypeWatch, 7, long)); r.Err == nil || r.Err.Code != errcode.TooBig {
		t.Errorf("a long key: %+v", r)
	}
	w.Close()
	if err := srv.AwaitUnwatched(context.Background(), "b"); err != nil {
		t.Error(err)
	}
	if n := srv.Watched("b") + srv.Watched("c"); n != 0 {
		t.Errorf("%d watches of a closed session", n)
	}
}

// TestWatchManyChanges: sessions that come, ask and go while values change see them in order and end with the newest.
func TestWatchManyChanges(t *testing.T) {
	const sessions, changes = 8, 500
	srv, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"k"}})
	var wg sync.WaitGroup
	for range sessions {
		w := dial(t, addr)
		wg.Go(func() {
			last := -1
			for last < changes {
				if _, err := w.Write(slices.Concat(watchFrame(iproto.TypeWatch, 1, "k"), call(2, 10))); err != nil {
					t.Error(err)
					return
				}
				for answered, told := false, false; !told || !answered; {
					r, err := w.next()
					if err != nil {
						t.Error(err)
						return
					}
					if r.Code != iproto.TypeEvent {
						answered = true
						continue
					}
					told = true
					if r.EventValue == nil {
						continue
					}
					value := int(r.EventValue[1])<<8 | int(r.EventValue[2])
					if value <= last {
						t.Errorf("%d after %d", value, last)
						return
					}
					last = value
				}
			}
		})
	}
	for i := 1; i <= changes; i++ {
		srv.Broadcast("k", []byte{0xcd, byte(i >> 8), byte(i)})
	}
	wg.Wait()
}

// next is receive for other goroutines than the test's.
func (w *wire) next() (r iproto.Reply, err error) {
	frame := make([]byte, 5)
	if _, err := io.ReadFull(w, frame); err != nil {
		return r, err
	}
	_, body, err := iproto.FrameSize(frame)
	if err != nil {
		return r, err
	}
	payload := make([]byte, body)
	if _, err := io.ReadFull(w, payload); err != nil {
		return r, err
	}
	return r, iproto.DecodeReply(payload, &r)
}

// TestStreams: which types may be in a stream, and which must.
func TestStreams(t *testing.T) {
	_, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"k"}})
	w := dial(t, addr)
	inStream := func(kind iproto.Type, stream byte) iproto.Reply {
		return w.ask([]byte{0xce, 0, 0, 0, 8, 0x83, 0, byte(kind), 1, 3, 0x0a, stream, 0x80})
	}
	for kind, want := range map[iproto.Type]string{
		iproto.TypePing: "", iproto.TypeNop: "", iproto.TypeID: "Unable to process ID request in stream",
		66: "Unknown request type 66", 127: "Unknown request type 127",
	} {
		got := ""
		if r := inStream(kind, 1); r.Err != nil {
			got = r.Err.Message
		}
		if got != want {
			t.Errorf("type %d in a stream: %q, want %q", kind, got, want)
		}
	}
	for kind, name := range map[iproto.Type]string{14: "BEGIN", 15: "COMMIT", 16: "ROLLBACK"} {
		r := inStream(kind, 0)
		if r.Err == nil || r.Err.Code != 230 || r.Err.Message != fmt.Sprintf("Unable to process %s request out of stream", name) {
			t.Errorf("type %d: %v", kind, r.Err)
		}
	}
	frame := slices.Concat([]byte{0xce, 0, 0, 0, 11, 0x83, 0, 77, 1, 3, 0x0a, 1}, []byte{0x81, 0x57, 0xa1, 'k'})
	if r := w.ask(frame); r.Err == nil || r.Err.Message != "Unable to process WATCH_ONCE request in stream" {
		t.Errorf("WATCH_ONCE: %v", r.Err)
	}
}

// TestStopAccepting: new connections are refused, open ones go on, those of the admin's listener are still taken.
func TestStopAccepting(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo), OpenKeys: []string{"down"}})
	trusted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeAs(trusted, User{ID: 1, Name: "admin"}) }()
	w := dial(t, addr)
	w.send(watchFrame(iproto.TypeWatch, 1, "down"))
	w.event(1, "down", "")
	w.send(watchFrame(iproto.TypeWatch, 1, "down"))
	w.quiet()
	dial(t, trusted.Addr().String()).quiet()
	srv.StopAccepting()
	srv.StopAccepting()
	srv.Broadcast("down", []byte{0xc3})
	w.event(1, "down", "\xc3")
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a new connection was taken")
	}
	late, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(late); err != ErrClosed {
		t.Errorf("serve: %v", err)
	}
	dial(t, trusted.Addr().String()).quiet()
	w.quiet()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.AwaitUnwatched(ended, "down"); !errors.Is(err, context.Canceled) {
		t.Errorf("a session that stays: %v", err)
	}
	w.Close()
	if err := srv.AwaitUnwatched(context.Background(), "down"); err != nil {
		t.Error(err)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
