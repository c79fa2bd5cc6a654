package iproto

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestGreetingRoundTrip(t *testing.T) {
	var salt [SaltBytes]byte
	for i := range salt {
		salt[i] = byte(7 * i)
	}
	uuid := "aaaaaaaa-0000-4000-8000-000000000001"
	b := AppendGreeting(nil, "2.11.0", uuid, salt)
	if want := "Tarantool 2.11.0 (Binary) " + uuid + " \n"; string(b[:64]) != want {
		t.Errorf("line 1 is %q, want %q", b[:64], want)
	}
	g, err := ParseGreeting(b)
	if err != nil || g.Version != "2.11.0" || g.UUID != uuid || !bytes.Equal(g.Salt[:], salt[:ScrambleBytes]) {
		t.Errorf("parsed %+v, %v", g, err)
	}
	for name, bad := range map[string][]byte{
		"short": b[:127], "other product": bytes.Replace(b, []byte("Tarantool"), []byte("Tarantula"), 1),
		"salt": bytes.Replace(b, b[64:70], []byte("!!!!!!"), 1),
	} {
		if _, err := ParseGreeting(bad); err == nil {
			t.Errorf("%s: a broken greeting was read", name)
		}
	}
}

func TestEmptyPassword(t *testing.T) {
	hash := HashPassword(nil)
	if got := base64.StdEncoding.EncodeToString(hash[:]); got != "vhvewKp0tNyweZQ+cFKAlsyphfg=" {
		t.Errorf("hash of the empty password is %s", got)
	}
}

func TestFrameSize(t *testing.T) {
	for _, c := range []struct {
		in         string
		head, body int
		bad        bool
	}{
		{"", 0, 0, false}, {"\x05", 1, 5, false}, {"\xcc\xff", 2, 255, false}, {"\xcd\x01", 0, 0, false},
		{"\xcd\x01\x00", 3, 256, false}, {"\xce\x00\x00\x00", 0, 0, false}, {"\xce\x00\x01\x00\x00", 5, 65536, false},
		{"\xcf\x00\x00\x00\x00\x00\x00\x00\x09", 9, 9, false}, {"\xce\x7f\xff\xff\xff", 5, 1<<31 - 1, false},
		{"\xce\x80\x00\x00\x00", 0, 0, true}, {"\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 0, 0, true},
		{"\xa0", 0, 0, true}, {"\xc0", 0, 0, true}, {"\xff", 0, 0, true}, {"\xc1", 0, 0, true}, {"\x92\x01", 0, 0, true},
	} {
		head, body, err := FrameSize([]byte(c.in))
		if head != c.head || body != c.body || (err != nil) != c.bad {
			t.Errorf("%x: %d, %d, %v", c.in, head, body, err)
		}
	}
}

func TestCountReplies(t *testing.T) {
	b := AppendOK(nil, 1, 2, nil)
	b, mark := BeginReply(b, TypeChunk, 3, 2)
	b = EndReply(append(b, 0x80), mark)
	b = AppendError(b, 4, 2, errcode.New(errcode.NoSuchSpace, "x"))
	b = AppendData(b, 5, 2, []byte{1}, []byte{2})
	if n := CountReplies(b); n != 3 {
		t.Errorf("%d replies, want 3", n)
	}
	for i := range b {
		if n := CountReplies(b[:i]); n > 3 {
			t.Errorf("%d replies in the first %d bytes", n, i)
		}
	}
}

func TestRequestFields(t *testing.T) {
	tuple, ops := []byte{0x91, 0x01}, []byte{0x91, 0x93, 0xa1, '=', 0x01, 0x02}
	frame := AppendUpdate(nil, 1<<40, ChangeArgs{Space: 1 << 20, Index: 3, IndexBase: 1, Key: tuple, Ops: ops})
	var r Request
	if err := DecodeRequest(payload(t, frame), &r); err != nil {
		t.Fatal(err)
	}
	if r.Type != TypeUpdate || r.Sync != 1<<40 || r.SpaceID != 1<<20 || r.IndexID != 3 || r.IndexBase != 1 ||
		!bytes.Equal(r.Key, tuple) || !bytes.Equal(r.Ops, ops) || r.Tuple != nil || r.Has.Has(KeyLimit) {
		t.Errorf("decoded %+v", r)
	}
	if err := DecodeRequest(payload(t, AppendPing(nil, 9)), &r); err != nil || r.Key != nil || r.SpaceID != 0 {
		t.Errorf("fields of the request before are left: %+v, %v", r, err)
	}
}

// TestMissingFields takes each field away from each request that needs it.
func TestMissingFields(t *testing.T) {
	words := map[Key]string{}
	for _, f := range fieldWords {
		words[f.key] = f.word
	}
	cases := 0
	for kind, need := range required {
		for missing, word := range words {
			if !need.Has(missing) {
				continue
			}
			cases++
			err := DecodeRequest(payload(t, requestOf(Type(kind), need, missing)), new(Request))
			want := "Missing mandatory field '" + word + "' in request"
			if e := errcode.Of(err); e.Code != errcode.MissingRequestField || e.Message != want {
				t.Errorf("%s without %s: %v", TypeName(Type(kind)), word, err)
			}
		}
		if err := DecodeRequest(payload(t, requestOf(Type(kind), need, 0)), new(Request)); err != nil &&
			Type(kind) != TypeExecute && Type(kind) != TypePrepare {
			t.Errorf("%s with all fields: %v", TypeName(Type(kind)), err)
		}
	}
	if cases != 23 {
		t.Errorf("%d cases", cases)
	}
	head, mark := BeginRequest(nil, TypeSelect, 1)
	err := DecodeRequest(payload(t, EndRequest(head, mark)), new(Request))
	if errcode.Of(err).Message != "Missing mandatory field 'space id' in request" {
		t.Errorf("SELECT without a body: %v", err)
	}
}

// requestOf makes a request with the needed fields except one.
func requestOf(kind Type, need Fields, without Key) []byte {
	b, mark := BeginRequest(nil, kind, 1)
	body, n := []byte(nil), 0
	for _, f := range fieldWords {
		if !need.Has(f.key) || f.key == without {
			continue
		}
		n++
		body = append(body, byte(f.key))
		switch bodyKinds[f.key] {
		case kindUint:
			body = append(body, 1)
		case kindStr:
			body = msgpack.AppendStr(body, "x")
		default:
			body = append(body, 0x90)
		}
	}
	return EndRequest(append(msgpack.AppendMapHeader(b, n), body...), mark)
}

// TestWrongTypes gives every known body key a value of every other type.
func TestWrongTypes(t *testing.T) {
	samples := map[kind][]byte{
		kindUint: {0x01}, kindArray: {0x90}, kindStr: {0xa0}, kindMap: {0x80}, kindBool: {0xc3}, kindFloat: {0xca, 0, 0, 0, 0},
	}
	for key, want := range bodyKinds {
		for have, value := range samples {
			b, mark := BeginRequest(nil, TypePing, 1)
			b = append(append(b, 0x81, byte(key)), value...)
			err := DecodeRequest(payload(t, EndRequest(b, mark)), new(Request))
			fits := want == kindAny || want == have || want == kindFloat && have == kindUint
			if fits && err != nil || !fits && errcode.Of(err).Message != "Invalid MsgPack - packet body" {
				t.Errorf("key %#x with type %d: %v", key, have, err)
			}
		}
	}
}

func TestMalformedRequests(t *testing.T) {
	for name, c := range map[string]struct{ payload, want string }{
		"empty":                {"", "packet header"},
		"array header":         {"\x92\x01\x02", "packet header"},
		"cut header":           {"\x82\x00\x01\x01", "packet header"},
		"string type":          {"\x81\x00\xa1x", "packet header"},
		"float timestamp":      {"\x82\x00\x40\x04\xca\x00\x00\x00\x00", ""},
		"string timestamp":     {"\x82\x00\x40\x04\xa0", "packet header"},
		"unknown header key":   {"\x82\x00\x40\x20\xa1x", ""},
		"string header key":    {"\x82\x00\x40\xa1k\x01", ""},
		"negative sync":        {"\x82\x00\x40\x01\xff", "packet header"},
		"type beyond 32 bits":  {"\x81\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00", "packet header"},
		"body is no map":       {"\x81\x00\x40\x90", "packet body"},
		"bytes after the body": {"\x81\x00\x40\x80\x80", "packet body"},
		"cut body":             {"\x81\x00\x40\x81\x10", "packet body"},
		"map of 4G pairs":      {"\x81\x00\x40\xdf\xff\xff\xff\xff", "packet body"},
		"array of 4G values":   {"\x81\x00\x40\x81\x20\xdd\xff\xff\xff\xff", "packet body"},
		"string body key":      {"\x81\x00\x40\x81\xa1k\x01", ""},
		"wide body key":        {"\x81\x00\x01\x83\xcc\x10\x05\xcd\x00\x12\x01\xce\x00\x00\x00\x20\x90", ""},
		"space beyond 32 bits": {"\x81\x00\x40\x81\x10\xcf\x00\x00\x00\x01\x00\x00\x00\x00", "packet body"},
		"limit beyond 32 bits": {"\x81\x00\x40\x81\x12\xcf\x00\x00\x00\x01\x00\x00\x00\x00", ""},
		"too deep":             {"\x81\x00\x40\x81\x20" + strings.Repeat("\x91", 65) + "\x01", "packet body"},
		"both text and id":     {"\x81\x00\x0b\x82\x40\xa1x\x43\x01", "packet body"},
	} {
		err := DecodeRequest([]byte(c.payload), new(Request))
		want := ""
		if c.want != "" {
			want = "Invalid MsgPack - " + c.want
		}
		if msg(err) != want {
			t.Errorf("%s: got %q, want %q", name, msg(err), want)
		}
	}
}

func TestErrorStack(t *testing.T) {
	root := &errcode.Error{Code: 1001, Message: "root"}
	top := &errcode.Error{Code: 1002, Message: "top", Cause: root}
	denied := errcode.NewAccessDenied("Read", "space", "t1", "nogr")
	denied.Cause = top
	var r Reply
	if err := DecodeReply(payload(t, AppendError(nil, 5, 89, denied)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Err.Class() != "AccessDeniedError" || len(r.Err.Fields) != 3 || r.Err.Fields[1].Value != "t1" {
		t.Errorf("top: %+v", r.Err)
	}
	var below *errcode.Error
	if !errors.As(r.Err.Cause, &below) || below.Code != 1002 || errcode.Of(below.Cause).Message != "root" {
		t.Errorf("cause: %+v", r.Err.Cause)
	}
	circle := &errcode.Error{Code: 1}
	circle.Cause = circle
	if b := AppendError(nil, 1, 1, circle); len(b) > 2000 {
		t.Errorf("a circle of causes makes %d bytes", len(b))
	}
}

// TestBuildersRoundTrip decodes what the builders make from arbitrary arguments.
func TestBuildersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		array := func(label string) []byte {
			b := msgpack.AppendArrayHeader(nil, 2)
			b = msgpack.AppendStr(b, rapid.String().Draw(t, label))
			return msgpack.AppendInt(b, rapid.Int64().Draw(t, label+" number"))
		}
		u32 := rapid.Uint32()
		sync := rapid.Uint64().Draw(t, "sync")
		sel := SelectArgs{Space: u32.Draw(t, "space"), Index: u32.Draw(t, "index"), Iterator: u32.Draw(t, "iterator"),
			Offset: u32.Draw(t, "offset"), Limit: u32.Draw(t, "limit"), Key: array("key")}
		change := ChangeArgs{Space: sel.Space, Index: sel.Index, IndexBase: u32.Draw(t, "base"), Key: sel.Key,
			Tuple: array("tuple"), Ops: array("ops")}
		name := rapid.String().Draw(t, "name")
		var r Request
		decode := func(frame []byte) *Request {
			head, body, err := FrameSize(frame)
			if err != nil || head+body != len(frame) || DecodeRequest(frame[head:], &r) != nil || r.Sync != sync {
				t.Fatalf("frame %x is not read back", frame)
			}
			return &r
		}
		same := func(ok bool, what string) {
			if !ok {
				t.Fatalf("%s: decoded %+v", what, r)
			}
		}
		decode(AppendSelect(nil, sync, sel))
		same(r.SpaceID == sel.Space && r.IndexID == sel.Index && r.Iterator == sel.Iterator && r.Offset == sel.Offset &&
			r.Limit == sel.Limit && bytes.Equal(r.Key, sel.Key), "select")
		decode(AppendUpsert(nil, sync, change))
		same(r.SpaceID == change.Space && r.IndexBase == change.IndexBase && bytes.Equal(r.Tuple, change.Tuple) &&
			bytes.Equal(r.Ops, change.Ops), "upsert")
		decode(AppendDelete(nil, sync, change))
		same(r.IndexID == change.Index && bytes.Equal(r.Key, change.Key), "delete")
		decode(AppendInsert(nil, TypeReplace, sync, change.Space, change.Tuple))
		same(r.Type == TypeReplace && bytes.Equal(r.Tuple, change.Tuple), "replace")
		decode(AppendCall(nil, sync, name, nil))
		same(string(r.Function) == name && bytes.Equal(r.Tuple, []byte{0x90}), "call")
		decode(AppendCallOf(nil, sync, name, change.Tuple))
		same(string(r.Function) == name && bytes.Equal(r.Tuple, append([]byte{0x91}, change.Tuple...)), "call of one")
		decode(AppendEval(nil, sync, name, change.Tuple))
		same(string(r.Expr) == name && bytes.Equal(r.Tuple, change.Tuple), "eval")
		decode(AppendID(nil, sync, 6))
		same(r.Version == 6 && r.Has.Has(KeyFeatures), "id")
		decode(AppendAuth(nil, sync, name, nil))
		same(string(r.User) == name && bytes.Equal(r.Tuple, []byte{0x90}), "auth")
	})
}

func TestNoAllocation(t *testing.T) {
	frame := AppendSelect(nil, 7, SelectArgs{Space: 600, Limit: 1, Key: []byte{0x91, 1}})
	var r Request
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if DecodeRequest(frame[5:], &r) != nil {
			t.Error("not decoded")
		}
		var mark int
		out, mark = BeginData(out[:0], r.Sync, 89)
		out = EndData(out, mark, 0)
		out = AppendOK(out, r.Sync, 89, nil)
	}); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, path := range goldenFiles(f) {
		for _, c := range readGolden(f, path) {
			for _, frame := range c.sent {
				f.Add(frame)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 4, func() {
			head, body, err := FrameSize(b)
			if err != nil || head == 0 {
				return
			}
			if head+body > len(b) {
				body = len(b) - head
			}
			var r Request
			if DecodeRequest(b[head:head+body], &r) == nil {
				for _, v := range [][]byte{r.Key, r.Tuple, r.Ops, r.Binds, r.Options, r.Features} {
					if v != nil && msgpack.Check(v) != nil {
						t.Errorf("%x is no MessagePack value", v)
					}
				}
				DecodeAuth(r.Tuple)
			}
		})
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, path := range goldenFiles(f) {
		for _, c := range readGolden(f, path) {
			for _, frame := range c.got {
				f.Add(frame)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 16, func() {
			ParseGreeting(b)
			CountReplies(b)
			if len(b) < 5 {
				return
			}
			var r Reply
			if DecodeReply(b[5:], &r) == nil && r.Err != nil {
				var again Reply
				frame := AppendError(nil, r.Sync, r.SchemaVersion, r.Err)
				if DecodeReply(frame[5:], &again) != nil || again.Err.Message != r.Err.Message {
					t.Errorf("error %+v is not read back", r.Err)
				}
			}
		})
	})
}
