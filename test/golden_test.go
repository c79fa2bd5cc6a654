package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// goldenCase is one case of a recording of Tarantool 2.6: frames of the client, each with the reply that followed.
type goldenCase struct {
	file, name string
	sent, got  [][]byte
}

// readGolden reads a recording; the greeting is left out.
func readGolden(t *testing.T, name string) (cases []goldenCase) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			cases = append(cases, goldenCase{file: name, name: strings.TrimSpace(title)})
			continue
		}
		if len(line) < 3 || line[1] != ' ' || line[0] != '<' && line[0] != '>' {
			continue
		}
		if strings.HasPrefix(line, "< (") {
			continue // a remark in the place of a frame
		}
		frame, err := hex.DecodeString(line[2:])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		last := &cases[len(cases)-1]
		switch {
		case line[0] == '>':
			last.sent = append(last.sent, frame)
		case last.name != "greeting":
			last.got = append(last.got, frame)
		}
	}
	return cases
}

// difference is a row of differences.md: a case that we answer in another way, on purpose.
type difference struct{ reply, reason string }

func readDifferences(t *testing.T) map[string]difference {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]difference{}
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 4 && strings.HasPrefix(cells[0], "0") {
			rows[cells[0]+": "+cells[1]] = difference{strings.Trim(cells[2], "`"), cells[3]}
		}
	}
	return rows
}

// The system spaces of sequences.
const (
	spaceSequence      = 284
	spaceSpaceSequence = 340
)

// goldenPasswords are those of the users of the recordings, as the fixture makes them. The recordings do not tell them,
// so the scrambles are made anew.
var goldenPasswords = map[string]string{"test": "test", "nogr": "nogr", "nobody": "x"}

// TestGolden sends the recorded requests over one connection and compares code, sync and body of the replies, except
// schema versions and the places in source files that errors name.
func TestGolden(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	goldenFixture(t, p.admin())
	c := goldenConnect(t, p.listen)
	known, used := readDifferences(t), 0
	compared := 0
	for _, file := range []string{"01_greeting_ping_id_auth", "02_dml", "03_errors"} {
		for _, g := range readGolden(t, file) {
			id := g.file + ": " + g.name
			d, different := known[id]
			for n, frame := range g.sent {
				want, got := replyText(t, g.got[n]), replyText(t, c.exchange(t, c.withScramble(t, frame, g.name)))
				compared++
				switch {
				case different && n == 0 && !strings.HasPrefix(got, d.reply):
					t.Errorf("%s\n  is    %s\n  the table of differences says %s", id, got, d.reply)
				case different && got == want:
					t.Errorf("%s is the same as in Tarantool 2.6, but in the table of differences", id)
				case !different && got != want:
					t.Errorf("%s\n  is    %s\n  want  %s", id, got, want)
				}
			}
			if different {
				used++
			}
			if strings.Contains(g.name, "then close") {
				c.closed(t)
				c = goldenConnect(t, p.listen)
			}
		}
	}
	if compared < 100 || used != len(known) {
		t.Errorf("%d replies compared, %d of %d differences used", compared, used, len(known))
	}
}

// goldenFixture makes what the recorded requests expect. Guest may do everything, as in the recordings.
func goldenFixture(t *testing.T, c *client.Client) {
	t.Helper()
	field := func(name, kind string, nullable bool) dict {
		d := dict{"name": name, "type": kind}
		if nullable {
			d["is_nullable"] = true
		}
		return d
	}
	createSpaceWith(t, c, 600, "t1", list{field("id", "unsigned", false), field("name", "string", true), field("n", "integer", true)}, 0)
	createIndex(t, c, 600, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	createIndex(t, c, 600, 1, "name", "tree", false, list{dict{"field": 1, "type": "string", "is_nullable": true}})
	createSpaceWith(t, c, 601, "kv", list{}, 0)
	createIndex(t, c, 601, 0, "pk", "hash", true, list{list{0, "string"}})
	createSpaceWith(t, c, 602, "free", list{}, 0)
	createIndex(t, c, 602, 0, "pk", "tree", true, list{list{0, "scalar"}})
	createSpaceWith(t, c, 603, "multi", list{}, 0)
	createIndex(t, c, 603, 0, "pk", "tree", true, list{list{0, "unsigned"}, list{1, "unsigned"}})
	createSpaceWith(t, c, 604, "seqd", list{}, 0)
	createIndex(t, c, 604, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	ctx := context.Background()
	do(t, "create sequence")(c.Insert(ctx, spaceSequence, pack(list{1, 1, "seqd_seq", 1, 1, int64(1<<63 - 1), 1, 0, false})))
	do(t, "bind sequence")(c.Insert(ctx, spaceSpaceSequence, pack(list{604, 1, true, 0, ""})))
	id := 40
	for _, name := range []string{"test", "nogr"} {
		hash := iproto.HashPassword([]byte(goldenPasswords[name]))
		auth := dict{"chap-sha1": base64.StdEncoding.EncodeToString(hash[:])}
		do(t, "create user "+name)(c.Insert(ctx, spaceUser, pack(list{id, 1, name, "user", auth})))
		do(t, "session of "+name)(c.Insert(ctx, spacePriv, pack(list{1, id, "universe", 0, 24})))
		do(t, "role of "+name)(c.Insert(ctx, spacePriv, pack(list{1, id, "role", 2, 4})))
		id++
	}
	do(t, "rights of guest")(c.Replace(ctx, spacePriv, pack(list{1, 0, "universe", 0, 31})))
}

// goldenConn is a connection without any client library.
type goldenConn struct {
	net.Conn
	salt [iproto.ScrambleBytes]byte
}

func goldenConnect(t *testing.T, address string) *goldenConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var b [iproto.GreetingBytes]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		t.Fatal(err)
	}
	salt, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b[64:128])))
	if err != nil || len(salt) != iproto.SaltBytes || !strings.HasPrefix(string(b[:]), "Tarantool 2.11.0 (Binary) ") {
		t.Fatalf("greeting %q: %v", b[:], err)
	}
	c := &goldenConn{Conn: conn}
	copy(c.salt[:], salt)
	return c
}

// exchange sends a frame and reads the one that comes back.
func (c *goldenConn) exchange(t *testing.T, frame []byte) []byte {
	t.Helper()
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(waitStart)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatalf("no reply to %x: %v", frame, err)
	}
	n, _, err := msgpack.ReadUint(head)
	if err != nil || n > 1<<20 {
		t.Fatalf("reply to %x begins with %x", frame, head)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatalf("reply to %x: %v", frame, err)
	}
	return append(head, body...)
}

// closed requires that the server has ended the connection.
func (c *goldenConn) closed(t *testing.T) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || n != 0 {
		t.Errorf("the connection is still open: %d bytes, %v", n, err)
	}
}

// withScramble puts the answer to this connection's salt into a recorded AUTH frame.
func (c *goldenConn) withScramble(t *testing.T, frame []byte, name string) []byte {
	t.Helper()
	at := bytes.Index(frame, []byte("\xa9chap-sha1"))
	if at < 0 || bytes.Contains(frame, []byte("\xa3abc")) {
		return frame
	}
	user, _, err := msgpack.ReadStr(frame[bytes.IndexByte(frame, byte(iproto.KeyUser))+1:])
	if err != nil {
		t.Fatalf("user of %x: %v", frame, err)
	}
	password := goldenPasswords[string(user)]
	if strings.Contains(name, "wrong password") {
		password += "?"
	}
	scramble := iproto.Scramble([]byte(password), c.salt)
	out := append([]byte(nil), frame...)
	copy(out[len(out)-iproto.ScrambleBytes:], scramble[:])
	return out
}

// replyText is a reply in a form that can be compared: code, sync, and the body without places in source files.
func replyText(t *testing.T, frame []byte) string {
	t.Helper()
	_, payload, err := msgpack.ReadUint(frame)
	if err != nil {
		t.Fatalf("frame %x: %v", frame, err)
	}
	var r iproto.Reply
	if err := iproto.DecodeReply(payload, &r); err != nil {
		t.Fatalf("frame %x: %v", frame, err)
	}
	text, rest := valueText(t, r.Body, nil)
	if len(rest) != 0 {
		t.Fatalf("frame %x: bytes after the body", frame)
	}
	return fmt.Sprintf("code %d sync %d %s", r.Code, r.Sync, schemaVersion.ReplaceAllString(text, "in request: #"))
}

// schemaVersion is where an error's text names the version of the schema.
var schemaVersion = regexp.MustCompile(`in request: [0-9]+`)

// valueText renders one value exactly: types, numbers and order as they are. path are the map keys above the value.
func valueText(t *testing.T, b []byte, path []uint64) (text string, rest []byte) {
	t.Helper()
	if len(b) == 0 {
		return "no body", nil
	}
	rest, err := msgpack.Skip(b)
	if err != nil {
		t.Fatal(err)
	}
	own := b[:len(b)-len(rest)]
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeArray:
		n, inner, _ := msgpack.ReadArrayLen(own)
		var parts []string
		for range n {
			text, inner = valueText(t, inner, path)
			parts = append(parts, text)
		}
		return "[" + strings.Join(parts, ", ") + "]", rest
	case msgpack.TypeMap:
		return mapText(t, own, path), rest
	case msgpack.TypeStr:
		s, _, _ := msgpack.ReadStr(own)
		return fmt.Sprintf("%q", s), rest
	case msgpack.TypeUint:
		v, _, _ := msgpack.ReadUint(own)
		return fmt.Sprint(v), rest
	}
	return fmt.Sprintf("%x", own), rest
}

func mapText(t *testing.T, b []byte, path []uint64) string {
	t.Helper()
	n, b, _ := msgpack.ReadMapLen(b)
	var parts []string
	for range n {
		number := uint64(1 << 32)
		if v, _, err := msgpack.ReadUint(b); err == nil {
			number = v
		}
		var key, value string
		key, b = valueText(t, b, path)
		below := append(append([]uint64{}, path...), number)
		value, b = valueText(t, b, below)
		// File and line of an error of the stack.
		if len(below) == 3 && below[0] == uint64(iproto.KeyError) && below[1] == 0 && (number == 1 || number == 2) {
			continue
		}
		parts = append(parts, key+": "+value)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
