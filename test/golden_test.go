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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// goldenFrame is one frame that Tarantool 2.6 sent, with the frame of the client that it answers, nil for the greeting.
type goldenFrame struct {
	file, name string
	sent, got  []byte
	// size is the length of the whole frame where the recording holds its beginning only, else 0.
	size int
	// closes tells that the connection ended after the reply.
	closes bool
}

func (g goldenFrame) id() string { return g.file + ": " + g.name }

// readGolden reads a recording.
func readGolden(t *testing.T, file string) (frames []goldenFrame) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", file+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	const greeting = "greeting"
	name, unanswered, count := greeting, []goldenFrame(nil), 0
	for line := range strings.SplitSeq(string(text), "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			name, count = strings.TrimSpace(title), 0
			continue
		}
		kind, data, _ := strings.Cut(line, " ")
		switch {
		case kind == ">":
			g := goldenFrame{file: file, name: name, sent: fromHex(t, data)}
			if count++; name == greeting { // a recording without titles
				g.name = fmt.Sprintf("frame %d", count)
			} else if count > 1 {
				g.name = fmt.Sprintf("%s (frame %d)", name, count)
			}
			unanswered = append(unanswered, g)
		case kind == "<" && data == "(connection closed)":
			frames[len(frames)-1].closes = true
		case kind == "<":
			g := goldenFrame{file: file, name: greeting}
			if len(unanswered) > 0 {
				g, unanswered = unanswered[0], unanswered[1:]
			}
			begin, rest, cut := strings.Cut(strings.TrimPrefix(data, "greeting "), "...(")
			if g.got = fromHex(t, begin); cut {
				if _, err := fmt.Sscanf(rest, "%d bytes)", &g.size); err != nil {
					t.Fatal(err)
				}
			}
			frames = append(frames, g)
		}
	}
	if len(unanswered) > 0 {
		t.Fatalf("%s: no reply to %s", file, unanswered[0].name)
	}
	return frames
}

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readDifferences reads the table of replies that differ on purpose: our reply as text, by recording and case.
func readDifferences(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/compat-iproto.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 4 && strings.HasPrefix(cells[0], "0") {
			rows[cells[0]+": "+cells[1]] = strings.Trim(cells[2], "`")
		}
	}
	return rows
}

// The system spaces of sequences.
const (
	spaceSequence      = 284
	spaceSpaceSequence = 340
)

// goldenSchemaVersion is the one of the recorded server.
const goldenSchemaVersion = 89

// goldenPasswords are those of the users of the recordings, as the fixture makes them. The recordings do not tell them,
// so the scrambles are made anew.
var goldenPasswords = map[string]string{"test": "test", "nogr": "nogr", "nobody": "x"}

// TestGolden sends the recorded requests and compares the replies byte for byte, but for the salt and the uuid of the
// greeting and the places in source files that errors name. What differs is in docs/compat-iproto.md, and what is there
// differs.
func TestGolden(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	goldenFixture(t, p.admin())
	known, compared := readDifferences(t), 0
	for _, file := range []string{"09_netbox_connect", "01_greeting_ping_id_auth", "02_dml", "03_errors"} {
		c := goldenConnect(t, p.listen)
		for _, g := range readGolden(t, file) {
			got := c.greeting
			if g.sent != nil {
				got = c.exchange(t, c.withScramble(t, g.sent, g.name))
			}
			compared++
			if listed, ok := known[g.id()]; ok {
				delete(known, g.id())
				goldenDiffers(t, g, got, listed)
			} else {
				goldenEqual(t, g, got)
			}
			if g.closes {
				c.closed(t)
				c = goldenConnect(t, p.listen)
			}
		}
	}
	if compared != 125 {
		t.Errorf("%d replies compared", compared)
	}
	for id := range known {
		t.Errorf("%s is in the table of differences, but not in a recording", id)
	}
}

// goldenEqual requires that a reply is the recorded one.
func goldenEqual(t *testing.T, g goldenFrame, got []byte) {
	t.Helper()
	is, want := stable(t, got), g.got
	if g.size == 0 {
		want = stable(t, g.got)
	} else if len(is) == g.size {
		is = is[:len(want)]
	}
	if !bytes.Equal(is, want) {
		t.Errorf("%s\n  is    %x\n        %s\n  want  %x", g.id(), is, replyText(t, got), want)
	}
}

// goldenDiffers requires that a reply is the one of the table, and not the recorded one. The table has the whole reply, or
// its beginning and three dots, or the first fields of rows that the recorded reply lacks.
func goldenDiffers(t *testing.T, g goldenFrame, got []byte, listed string) {
	t.Helper()
	if ids, ok := strings.CutPrefix(listed, "rows "); ok {
		goldenEqual(t, g, withoutRows(t, g.id(), got, strings.Fields(ids)))
		return
	}
	text := replyText(t, got)
	begin, open := strings.CutSuffix(listed, "...")
	if text != listed && !(open && strings.HasPrefix(text, begin)) {
		t.Errorf("%s\n  is    %s\n  the table of differences says %s", g.id(), text, listed)
	}
	if g.size > 0 || bytes.Equal(stable(t, got), stable(t, g.got)) {
		t.Errorf("%s is the same as in Tarantool 2.6, but in the table of differences", g.id())
	}
}

// withoutRows is a reply without the rows that begin with one of the given numbers. Each of them must be there.
func withoutRows(t *testing.T, id string, frame []byte, without []string) []byte {
	t.Helper()
	head, _, err := iproto.FrameSize(frame)
	if err != nil {
		t.Fatal(err)
	}
	var r iproto.Reply
	if err := iproto.DecodeReply(frame[head:], &r); err != nil {
		t.Fatal(err)
	}
	n, b, err := msgpack.ReadArrayLen(r.Data)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	var kept [][]byte
	found := map[string]bool{}
	for range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			t.Fatal(err)
		}
		row := b[:len(b)-len(rest)]
		_, fields, _ := msgpack.ReadArrayLen(row)
		if first, _ := valueText(t, fields, nil); slices.Contains(without, first) {
			found[first] = true
		} else {
			kept = append(kept, row)
		}
		b = rest
	}
	if len(found) != len(without) {
		t.Errorf("%s: of the rows %v of the table of differences came %v", id, without, found)
	}
	return iproto.AppendData(nil, r.Sync, r.SchemaVersion, kept...)
}

// stable is a frame without what no two runs have in common: uuid and salt of the greeting; in errors the file and the
// line, and the length in front, which depends on them and is checked here.
func stable(t *testing.T, frame []byte) []byte {
	t.Helper()
	if bytes.HasPrefix(frame, []byte("Tarantool ")) {
		if len(frame) != iproto.GreetingBytes || frame[63] != '\n' || frame[127] != '\n' {
			t.Fatalf("greeting %q", frame)
		}
		at := bytes.IndexByte(frame, ')')
		return frame[:at+1]
	}
	head, body, err := iproto.FrameSize(frame)
	if err != nil || frame[0] != 0xce || head+body != len(frame) {
		t.Fatalf("frame %x does not begin with its length", frame)
	}
	at := bytes.Index(frame, []byte{byte(iproto.KeyError), 0x81, 0x00})
	if at < 0 || frame[head+2] != 0xce || frame[head+5] != 0x80 {
		return frame
	}
	n, b, err := msgpack.ReadArrayLen(frame[at+3:])
	if err != nil {
		t.Fatal(err)
	}
	out := append(make([]byte, head), frame[head:len(frame)-len(b)]...)
	for range n {
		fields, entry, err := msgpack.ReadMapLen(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b[:len(b)-len(entry)]...)
		for range fields {
			rest, err := msgpack.Skip(entry[1:])
			if err != nil {
				t.Fatal(err)
			}
			if out = append(out, entry[0]); entry[0] != 1 && entry[0] != 2 { // file and line
				out = append(out, entry[1:len(entry)-len(rest)]...)
			}
			entry = rest
		}
		b = entry
	}
	return append(out, b...)
}

// goldenFixture makes what the recorded requests expect. Guest may do everything, as in the recordings, and test may read
// and write t1.
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
	do(t, "t1 for test")(c.Insert(ctx, spacePriv, pack(list{1, 40, "space", 600, 3})))
	do(t, "rights of guest")(c.Replace(ctx, spacePriv, pack(list{1, 0, "universe", 0, 31})))
	goldenSchema(t, c)
}

// goldenSchema changes the schema until its version is the one of the recordings.
func goldenSchema(t *testing.T, c *client.Client) {
	t.Helper()
	for made := false; ; made = !made {
		f, err := c.Send(context.Background(), iproto.TypePing, iproto.AppendPing)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := f.Wait(context.Background())
		if err != nil || reply.SchemaVersion > goldenSchemaVersion {
			t.Fatalf("schema version %+v, %v", reply, err)
		}
		switch {
		case reply.SchemaVersion == goldenSchemaVersion:
			return
		case made:
			do(t, "drop filler")(c.Delete(context.Background(), iproto.ChangeArgs{Space: spaceSpace, Key: pack(list{700})}))
		default:
			createSpaceWith(t, c, 700, "filler", list{}, 0)
		}
	}
}

// goldenConn is a connection without any client library.
type goldenConn struct {
	net.Conn
	greeting []byte
	salt     [iproto.ScrambleBytes]byte
}

func goldenConnect(t *testing.T, address string) *goldenConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &goldenConn{Conn: conn, greeting: make([]byte, iproto.GreetingBytes)}
	if _, err := io.ReadFull(conn, c.greeting); err != nil {
		t.Fatal(err)
	}
	salt, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.greeting[64:128])))
	if err != nil || len(salt) != iproto.SaltBytes {
		t.Fatalf("greeting %q: %v", c.greeting, err)
	}
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

// replyText is a reply as the table of differences shows it: the greeting up to its version, or code, sync and body
// without places in source files.
func replyText(t *testing.T, frame []byte) string {
	t.Helper()
	if bytes.HasPrefix(frame, []byte("Tarantool ")) {
		return string(stable(t, frame))
	}
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
	return fmt.Sprintf("code %d sync %d %s", r.Code, r.Sync, text)
}

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
