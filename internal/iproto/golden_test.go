package iproto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// exchange is one case of a golden file: client frames and server frames in order.
type exchange struct {
	name      string
	sent, got [][]byte
}

// readGolden reads the cases of a golden file. Lines that were shortened when they were recorded are left out.
func readGolden(t testing.TB, path string) (cases []exchange) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cases = append(cases, exchange{name: filepath.Base(path)})
	for line := range strings.SplitSeq(string(text), "\n") {
		last := &cases[len(cases)-1]
		if name, ok := strings.CutPrefix(line, "## "); ok {
			cases = append(cases, exchange{name: name})
			continue
		}
		if len(line) < 3 || line[1] != ' ' || (line[0] != '<' && line[0] != '>') {
			continue
		}
		raw, err := hex.DecodeString(strings.TrimPrefix(line[2:], "greeting "))
		if err != nil {
			continue
		}
		if line[0] == '>' {
			last.sent = append(last.sent, raw)
		} else {
			last.got = append(last.got, raw)
		}
	}
	return cases
}

func goldenFiles(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != 4 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	return files
}

// payload cuts the length off a frame.
func payload(t testing.TB, frame []byte) []byte {
	t.Helper()
	head, body, err := FrameSize(frame)
	if err != nil || head == 0 || head+body != len(frame) {
		t.Fatalf("frame %x: head %d, body %d, %v", frame, head, body, err)
	}
	return frame[head:]
}

// withoutPlace replaces file and line in an error frame by ours and sets the length anew.
func withoutPlace(t testing.TB, frame []byte) []byte {
	t.Helper()
	at := bytes.Index(frame, []byte{byte(KeyError), 0x81, 0x00})
	if at < 0 {
		return frame
	}
	out := append([]byte(nil), frame[:at+3]...)
	n, b, err := msgpack.ReadArrayLen(frame[at+3:])
	out = msgpack.AppendArrayHeader(out, n)
	for ; n > 0; n-- {
		var pairs int
		pairs, b, err = msgpack.ReadMapLen(b)
		out = msgpack.AppendMapHeader(out, pairs)
		for ; pairs > 0 && err == nil; pairs-- {
			key := b[0]
			value := b[1:]
			b, err = msgpack.Skip(value)
			switch out = append(out, key); key {
			case 1:
				out = msgpack.AppendStr(out, "lycosa")
			case 2:
				out = append(out, 0)
			default:
				out = append(out, value[:len(value)-len(b)]...)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return EndRequest(out, 0)
}

// TestGoldenReplies decodes every reply that a real server sent and encodes it again.
func TestGoldenReplies(t *testing.T) {
	seen := 0
	for _, path := range goldenFiles(t) {
		for _, c := range readGolden(t, path) {
			for _, frame := range c.got {
				if len(frame) == GreetingBytes && frame[0] == 'T' {
					continue
				}
				if head, body, err := FrameSize(frame); err != nil || head+body != len(frame) {
					continue // shortened in the recording
				}
				seen++
				var r Reply
				if err := DecodeReply(payload(t, frame), &r); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if got := encodeAgain(t, &r); !bytes.Equal(got, withoutPlace(t, frame)) {
					t.Errorf("%s:\n got %x\nwant %x", c.name, got, withoutPlace(t, frame))
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d replies", seen)
	}
}

func encodeAgain(t testing.TB, r *Reply) []byte {
	switch {
	case r.Code&TypeError != 0:
		return AppendError(nil, r.Sync, r.SchemaVersion, r.Err)
	case r.Data != nil && len(r.Body) == len(r.Data)+2:
		n, b, err := msgpack.ReadArrayLen(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		out, mark := BeginData(nil, r.Sync, r.SchemaVersion)
		out = EndData(append(out, b...), mark, uint32(n))
		var values [][]byte
		for range n {
			rest := msgpack.SkipTrusted(b)
			values = append(values, b[:len(b)-len(rest)])
			b = rest
		}
		if whole := AppendData(nil, r.Sync, r.SchemaVersion, values...); !bytes.Equal(whole, out) {
			t.Errorf("AppendData gives %x, BeginData and EndData %x", whole, out)
		}
		return out
	}
	return AppendOK(nil, r.Sync, r.SchemaVersion, r.Body)
}

// TestGoldenRequests decodes every frame that was sent to a real server: those on which it failed to understand the
// request itself fail here with the same error, all others succeed.
func TestGoldenRequests(t *testing.T) {
	requests := 0
	for _, path := range goldenFiles(t) {
		for _, c := range readGolden(t, path) {
			for i, frame := range c.sent {
				if frame[0] == 0xa0 {
					if _, _, err := FrameSize(frame); errcode.Of(err).Message != "Invalid MsgPack - packet length" {
						t.Errorf("%s: %v", c.name, err)
					}
					continue
				}
				requests++
				var r Request
				err := DecodeRequest(payload(t, frame), &r)
				var want error
				if !strings.Contains(path, "09_") { // there the replies are in another place
					want = decodeError(t, c.got[i])
				}
				if msg(err) != msg(want) {
					t.Errorf("%s: got %v, want %v", c.name, err, want)
				}
			}
		}
	}
	if requests < 80 {
		t.Errorf("only %d requests", requests)
	}
}

// decodeError returns the error of a reply if it is one that the decoder must find.
func decodeError(t testing.TB, frame []byte) error {
	var r Reply
	if len(frame) == GreetingBytes || DecodeReply(payload(t, frame), &r) != nil || r.Err == nil {
		return nil
	}
	code, text := r.Err.Code, r.Err.Message
	if code == errcode.MissingRequestField || code == errcode.InvalidMsgPack && strings.Contains(text, "packet") {
		return r.Err
	}
	return nil
}

func msg(err error) string {
	if err == nil {
		return ""
	}
	var e *errcode.Error
	if !errors.As(err, &e) {
		return "not for clients: " + err.Error()
	}
	return e.Message
}

// TestGoldenLogin checks the arithmetic of chap-sha1 against a recorded login.
func TestGoldenLogin(t *testing.T) {
	cases := readGolden(t, "testdata/01_greeting_ping_id_auth.txt")
	g, err := ParseGreeting(cases[1].got[0])
	if err != nil {
		t.Fatal(err)
	}
	if g.Version != "2.6.0" || g.UUID != "aaaaaaaa-0000-4000-8000-000000000001" {
		t.Errorf("greeting: %+v", g)
	}
	checked := map[bool]int{}
	for _, c := range cases {
		if !strings.HasPrefix(c.name, "auth chap-sha1") && !strings.HasPrefix(c.name, "auth wrong") {
			continue
		}
		var r Request
		if err := DecodeRequest(payload(t, c.sent[0]), &r); err != nil {
			t.Fatal(err)
		}
		a, err := DecodeAuth(r.Tuple)
		if err != nil {
			t.Fatal(err)
		}
		right := strings.Contains(c.name, " ok ")
		if CheckScramble(a.Scramble, g.Salt, HashPassword([]byte("test"))) != right {
			t.Errorf("%s: the check says %t", c.name, !right)
		}
		if own := Scramble([]byte("test"), g.Salt); bytes.Equal(own[:], a.Scramble) != right {
			t.Errorf("%s: our scramble is %x", c.name, own)
		}
		checked[right]++
	}
	if checked[true] != 2 || checked[false] != 1 {
		t.Errorf("checked %v", checked)
	}
}
