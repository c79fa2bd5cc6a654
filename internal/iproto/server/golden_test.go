package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrClosed)
}

// turn is one recorded request with its reply.
type turn struct {
	name      string
	sent, got []byte
}

// recorded reads the cases of a golden file that are one request with one reply each.
func recorded(t testing.TB, name string) (turns []turn) {
	text, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var last turn
	for line := range strings.SplitSeq(string(text), "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			last = turn{name: title}
			continue
		}
		if len(line) < 3 || line[1] != ' ' {
			continue
		}
		raw, err := hex.DecodeString(line[2:])
		switch {
		case err != nil:
		case line[0] == '>':
			last.sent = raw
		case line[0] == '<' && last.sent != nil && last.sent[0] != 0xa0:
			last.got = raw
			turns = append(turns, last)
			last.sent = nil
		}
	}
	return turns
}

// expectation is what our server must answer to a recorded request: what was recorded, but for what it does not serve.
func expectation(t testing.TB, c turn) iproto.Reply {
	var req iproto.Request
	var want iproto.Reply
	if err := iproto.DecodeReply(c.got[5:], &want); err != nil {
		t.Fatal(err)
	}
	if iproto.DecodeRequest(c.sent[5:], &req) != nil {
		return want
	}
	switch req.Type {
	case iproto.TypeEval, iproto.TypeExecute:
		e := notServed(req.Type)
		want = iproto.Reply{Code: iproto.TypeError | uint32(e.Code), Sync: want.Sync, SchemaVersion: 89, Err: e}
	case iproto.TypeID:
		_ = iproto.DecodeReply(iproto.AppendIDReply(nil, req.Sync, 89, protocolVersion, features)[5:], &want)
	}
	return want
}

// relogin makes the scrambles of successful logins fit the salt of this connection.
func relogin(c turn, w *wire) []byte {
	var req iproto.Request
	if iproto.DecodeRequest(c.sent[5:], &req) != nil || req.Type != iproto.TypeAuth || c.got[10] != 0 ||
		len(req.Tuple) < iproto.ScrambleBytes {
		return c.sent
	}
	scramble := iproto.Scramble([]byte("pw of "+string(req.User)), w.salt)
	sent := bytes.Clone(c.sent)
	copy(sent[len(sent)-iproto.ScrambleBytes:], scramble[:])
	return sent
}

// goldenBackend answers what is for a backend with what was recorded, inline or later and in the wrong order.
func goldenBackend(turns []turn, later bool) *fake {
	answers := make(map[uint64][]byte)
	for _, c := range turns {
		var r iproto.Reply
		if iproto.DecodeReply(c.got[5:], &r) == nil {
			answers[r.Sync] = c.got
		}
	}
	var mu sync.Mutex
	var held []byte
	f := newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		answer := answers[req.Sync]
		if !later {
			return append(out, answer...), true
		}
		mu.Lock()
		defer mu.Unlock()
		if held == nil && len(answers) > 10 && req.Sync%3 == 0 {
			held = answer
			return out, false
		}
		answer = append(bytes.Clone(answer), held...)
		held = nil
		go s.Complete(answer)
		return out, false
	})
	f.users = map[string]Credential{
		"guest": {ID: 0, Name: "guest"}, "test": password(32, "test", "pw of test"), "nogr": password(33, "nogr", "pw of nogr"),
	}
	return f
}

// TestGolden replays recorded connections against the server: one request at a time, all in one write, and byte by
// byte; with a backend that answers at once and with one that answers later and out of order.
func TestGolden(t *testing.T) {
	for _, file := range []string{"01_greeting_ping_id_auth.txt", "02_dml.txt", "03_errors.txt"} {
		turns := recorded(t, file)
		for _, later := range []bool{false, true} {
			for _, mode := range []string{"one by one", "at once", "byte by byte"} {
				if later && mode == "one by one" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/later=%t", file[:2], mode, later), func(t *testing.T) {
					replay(t, turns, mode, later)
				})
			}
		}
	}
}

func replay(t *testing.T, turns []turn, mode string, later bool) {
	_, addr := serve(t, Options{Backend: goldenBackend(turns, later)})
	w := dial(t, addr)
	want, names := make(map[uint64]iproto.Reply), make(map[uint64]string)
	var all []byte
	for _, c := range turns {
		r := expectation(t, c)
		want[r.Sync], names[r.Sync] = r, c.name
		all = append(all, relogin(c, w)...)
	}
	// One more request lets go the answer that the backend may hold back. No recording has its sync, so that it has no
	// answer of its own, which could overtake the others.
	const unrecorded = 1 << 40
	last := iproto.AppendSelect(nil, unrecorded, iproto.SelectArgs{})
	if later {
		all = append(all, last...)
	}
	if mode == "one by one" {
		for _, c := range turns {
			w.send(relogin(c, w))
			frame, r := w.receive()
			compare(t, c.name, frame, r, expectation(t, c))
		}
		return
	}
	go func() {
		step := len(all)
		if mode == "byte by byte" {
			step = 1
		}
		for ; len(all) > 0; all = all[step:] {
			w.Write(all[:step])
		}
	}()
	for range want {
		frame, r := w.receive()
		if _, ok := want[r.Sync]; !ok {
			t.Fatalf("reply to sync %d came twice or from nowhere", r.Sync)
		}
		compare(t, names[r.Sync], frame, r, want[r.Sync])
		delete(want, r.Sync)
	}
}

// compare compares a reply with what is expected, places of errors aside, and checks that its bytes are in the form
// that the recorded server used.
func compare(t *testing.T, name string, frame []byte, got, want iproto.Reply) {
	t.Helper()
	if got.Code != want.Code || got.Sync != want.Sync || got.SchemaVersion != want.SchemaVersion {
		t.Errorf("%s: header %d %d %d, want %d %d %d", name, got.Code, got.Sync, got.SchemaVersion,
			want.Code, want.Sync, want.SchemaVersion)
		return
	}
	if want.Err == nil {
		if !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%s: body %x, want %x", name, got.Body, want.Body)
		}
		return
	}
	if got.Err.Message != want.Err.Message || got.Err.Class() != want.Err.Class() || got.Err.Code != want.Err.Code {
		t.Errorf("%s: %q, want %q", name, got.Err, want.Err)
	}
	if again := iproto.AppendError(nil, want.Sync, want.SchemaVersion, want.Err); !bytes.Contains(frame, []byte("./src/box")) &&
		!bytes.Equal(frame, again) {
		t.Errorf("%s: %x, want %x", name, frame, again)
	}
}

// TestNotAFrame: bytes that are no length get error 20 with sync 0, and then the end; the replies before are there.
func TestNotAFrame(t *testing.T) {
	srv, addr := serve(t, Options{Backend: newFake(echo)})
	w := dial(t, addr)
	w.send(iproto.AppendPing(nil, 5), []byte{0xa0, 0xc0, 0xc0, 0xc0, 0xc0})
	if _, r := w.receive(); r.Sync != 5 || r.Err != nil {
		t.Errorf("ping: %+v", r)
	}
	_, r := w.receive()
	if r.Sync != 0 || r.Err == nil || r.Err.Message != "Invalid MsgPack - packet length" || r.Err.Code != errcode.InvalidMsgPack {
		t.Errorf("reply: %+v", r)
	}
	w.ended()
	if n := srv.Stats().CutProtocol; n != 1 {
		t.Errorf("%d connections cut", n)
	}
}
