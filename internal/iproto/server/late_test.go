package server

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// ran is a backend that notes which requests it was given, and takes them over.
func ran() (f *fake, sessions chan *Session, syncs chan uint64) {
	sessions, syncs = make(chan *Session, 100), make(chan uint64, 100)
	return newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		sessions <- s
		syncs <- req.Sync
		return out, false
	}), sessions, syncs
}

// TestLateRequests: what arrives when the server stops is refused and not run, however it is cut into pieces; what was taken over
// before is answered, and the connection ends without a reset.
func TestLateRequests(t *testing.T) {
	f, sessions, syncs := ran()
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{LateTimeout: time.Minute}})
	w, idle := dial(t, addr), dial(t, addr)
	w.send(iproto.AppendCall(nil, 1, "f", nil))
	s := <-sessions
	half := iproto.AppendCall(nil, 2, "f", nil)
	w.send(half[:7]) // the rest comes too late
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	srv.Sessions(func(one *Session) bool {
		for !one.Gone() { // until then it reads as ever
			time.Sleep(time.Millisecond)
		}
		return true
	})
	if r := idle.ask(iproto.AppendCall(nil, 6, "f", nil)); r.Sync != 6 || !errcode.Is(r.Err, errcode.Shutdown) {
		t.Fatalf("reply to who owed and was owed nothing %+v", r)
	}
	idle.Close()
	w.send(half[7:], iproto.AppendCall(nil, 3, "f", nil))
	for _, sync := range []uint64{2, 3} {
		if _, r := w.receive(); r.Sync != sync || !errcode.Is(r.Err, errcode.Shutdown) {
			t.Fatalf("reply to a late request %+v", r)
		}
	}
	s.Complete(iproto.AppendOK(nil, 1, 89, nil))
	if _, r := w.receive(); r.Sync != 1 || r.Err != nil {
		t.Fatalf("reply %+v", r)
	}
	if r := w.ask(iproto.AppendPing(nil, 4)); r.Sync != 4 || r.Err != nil {
		t.Fatalf("reply to a ping %+v", r)
	}
	if r := w.ask(iproto.AppendCall(nil, 5, "f", nil)); r.Sync != 5 || !errcode.Is(r.Err, errcode.Shutdown) {
		t.Fatalf("reply %+v", r)
	}
	w.Conn.(*net.TCPConn).CloseWrite()
	if n, err := io.Copy(io.Discard, w.Conn); n != 0 || err != nil {
		t.Errorf("%d bytes and %v instead of the end", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(syncs); n != 1 {
		t.Errorf("%d requests were run", n)
	}
}

// TestLateEnd: a peer that neither sends nor leaves does not keep the server.
func TestLateEnd(t *testing.T) {
	f, _, _ := ran()
	srv, addr := serve(t, Options{Backend: f, Limits: Limits{LateTimeout: time.Millisecond}})
	w := dial(t, addr)
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	w.ended()
}

// TestLastWord: an instance that calls one which stops knows of each of its calls whether it was run: the others are refused, and
// those that are not answered when the connection ends count as not sent.
func TestLastWord(t *testing.T) {
	for range 20 {
		f, sessions, syncs := ran()
		f.users = map[string]Credential{"other": password(32, "other", "secret")}
		c := f.users["other"]
		c.Internal = true
		f.users["other"] = c
		srv, addr := serve(t, Options{Backend: f, Limits: Limits{LateTimeout: time.Minute}})
		ctx := context.Background()
		peer, err := client.Dial(ctx, addr, client.Options{User: "other", Password: []byte("secret")})
		if err != nil {
			t.Fatal(err)
		}
		send := func() *client.Future {
			future, err := peer.Send(ctx, iproto.TypeCall, func(dst []byte, sync uint64) []byte { return iproto.AppendCall(dst, sync, "f", nil) })
			if err != nil {
				return nil
			}
			return future
		}
		first := send()
		s := <-sessions
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(ctx) }()
		sent := []*client.Future{first}
		for range 20 {
			if future := send(); future != nil {
				sent = append(sent, future)
			}
		}
		answered := make(chan struct{})
		go func() { // the first has sync 2, behind the login
			defer close(answered)
			for sync := uint64(2); sync < uint64(2+len(sent)); sync++ {
				select {
				case n := <-syncs:
					s.Complete(iproto.AppendOK(nil, n, 89, nil))
				case <-peer.Ended():
					return
				}
			}
		}()
		run := 0
		for n, future := range sent {
			switch _, err := future.Wait(ctx); {
			case err == nil:
				run++
			case n == 0:
				t.Fatalf("what was taken over is not answered: %v", err)
			default:
				if lost := (*client.ConnError)(nil); errors.As(err, &lost) && lost.Sent || !errcode.Is(err, errcode.Shutdown) {
					t.Fatalf("call %d: %v", n, err)
				}
			}
		}
		<-answered
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left := len(syncs); left != 0 {
			t.Fatalf("%d calls were run and not answered, %d were", left, run)
		}
		peer.Close()
	}
}
