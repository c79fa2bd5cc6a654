package server

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// FuzzConnection sends arbitrary bytes to a live server: it neither fails nor hangs, nobody becomes more than guest,
// and what it answers are whole frames.
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
	backend := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		if u := s.User(); u.ID != 0 {
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
	f.Fuzz(func(t *testing.T, b []byte) {
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
		for replies = replies[iproto.GreetingBytes:]; err == nil && len(replies) > 0; {
			head, body, errFrame := iproto.FrameSize(replies)
			var r iproto.Reply
			if errFrame != nil || head != 5 || len(replies) < head+body || iproto.DecodeReply(replies[5:5+body], &r) != nil {
				t.Fatalf("reply %x", replies)
			}
			replies = replies[5+body:]
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
