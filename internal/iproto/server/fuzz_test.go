package server

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/meter"
)

// exchange sends bytes over a connection of its own and returns the frames that come back.
func exchange(t *testing.T, addr string, b []byte) []byte {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		conn.Write(b)
		conn.(*net.TCPConn).CloseWrite()
	}()
	replies, err := io.ReadAll(conn)
	if err != nil && !isReset(err) || len(replies) < iproto.GreetingBytes {
		t.Fatalf("%d bytes, %v", len(replies), err)
	}
	if replies = replies[iproto.GreetingBytes:]; err != nil {
		return nil // the last frame may have been cut
	}
	return replies
}

// FuzzConnection sends arbitrary bytes to a live server, as guest and as somebody whom it trusts with long frames: it
// neither fails nor hangs, no guest becomes more than that, what it answers are whole frames, and it takes no memory for
// what is only announced.
func FuzzConnection(f *testing.F) {
	for _, file := range []string{"01_greeting_ping_id_auth.txt", "02_dml.txt", "03_errors.txt"} {
		var all []byte
		for _, c := range recorded(f, file) {
			f.Add(c.sent)
			all = append(all, c.sent...)
		}
		f.Add(all)
	}
	f.Add([]byte{0xa0, 0xc0})
	f.Add([]byte{0xce, 0x7f, 0xff, 0xff, 0xff, 0x82})
	f.Add(append([]byte{0xce, 0x03, 0xff, 0xff, 0xff, 0x82}, make([]byte, bufferBytes)...)) // as long as a frame may be, begun
	backend := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		if u := s.User(); u.ID != 0 && !s.trusted {
			f.Errorf("request of %+v", u)
		}
		if req.Sync%2 == 1 {
			go s.Complete(iproto.AppendOK(nil, req.Sync, 89, nil))
			return out, false
		}
		return echo(s, req, out)
	})
	backend.users = map[string]Credential{"guest": {Name: "guest"}, "test": password(32, "test", "secret")}
	srv, addr := serve(f, Options{Backend: backend})
	trusted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	go srv.ServeAs(trusted, User{ID: 1, Name: "admin"})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, addr := range []string{addr, trusted.Addr().String()} {
			var replies []byte
			meter.CheckBound(t, len(b), uint64(1<<20+256*len(b)), func() { replies = exchange(t, addr, b) })
			for len(replies) > 0 {
				head, body, err := iproto.FrameSize(replies)
				var r iproto.Reply
				if err != nil || head != 5 || len(replies) < head+body || iproto.DecodeReply(replies[5:5+body], &r) != nil {
					t.Fatalf("reply %x", replies)
				}
				replies = replies[5+body:]
			}
		}
		if srv.Stats().DecodePanics != 0 {
			t.Error("the decoder panicked")
		}
		for len(backend.closed) > 0 {
			<-backend.closed
		}
	})
}

// TestDecoderPanicIsAnError: should the decoder ever fail on foreign bytes, the client gets an error and the process goes
// on.
func TestDecoderPanicIsAnError(t *testing.T) {
	srv := New(Options{Backend: newFake(echo)})
	s := &Session{srv: srv, peer: "test"}
	decodeRequest := func([]byte, *iproto.Request) error { panic("broken") }
	if err := s.guarded(decodeRequest, nil); err == nil || err.Error() != "Invalid MsgPack - packet body" {
		t.Errorf("error: %v", err)
	}
	if n := srv.Stats().DecodePanics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
	if b := bytes.Repeat([]byte{1}, 3); s.guarded(iproto.DecodeRequest, b) == nil {
		t.Error("no error")
	}
}
