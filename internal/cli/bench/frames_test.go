package bench

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// decode reads the one frame in b as a server does.
func decode(t *testing.T, b []byte) (r iproto.Request) {
	t.Helper()
	head, body, err := iproto.FrameSize(b)
	if err != nil || head+body != len(b) {
		t.Fatalf("frame of %d + %d bytes, there are %d: %v", head, body, len(b), err)
	}
	if err := iproto.DecodeRequest(b[head:], &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func jsonOf(t *testing.T, b []byte) string {
	t.Helper()
	if b == nil {
		return "-"
	}
	text, err := msgpack.ToJSON(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFrames: every operation, decoded as a server decodes it, twice from one template.
func TestFrames(t *testing.T) {
	o := frameOptions{space: 9000, rowBytes: RowBytesMin, rangeRows: 100, seed: 1}
	for _, key := range []uint32{FirstKey, FirstKey + 77, 0xfffffffe} {
		if second(key) < FirstKey || third(key) < FirstKey || third(key) > 1<<31 {
			t.Errorf("key %d has fields %d and %d", key, second(key), third(key))
		}
		row := fmt.Sprintf("[%d,%d,%d]", key, second(key), third(key))
		one := fmt.Sprintf("[%d]", key)
		want := map[Operation]string{
			Ping:      "PING 0 0 0 0 - - -",
			Select:    "SELECT 9000 0 0 1 " + one + " - -",
			Range:     "SELECT 9000 0 5 100 " + one + " - -",
			Secondary: fmt.Sprintf("SELECT 9000 1 0 1 [%d] - -", second(key)),
			Replace:   "REPLACE 9000 0 0 0 - " + row + " -",
			Load:      "REPLACE 9000 0 0 0 - " + row + " -",
			Insert:    "INSERT 9000 0 0 0 - " + row + " -",
			Update:    "UPDATE 9000 0 0 0 " + one + ` - [["+",2,1]]`,
			Upsert:    "UPSERT 9000 0 0 0 - " + row + ` [["+",2,1]]`,
			Delete:    "DELETE 9000 0 0 0 " + one + " - -",
		}
		for op := Ping; op <= Load; op++ {
			tmpl := newTemplate(op, o)
			dst := tmpl.appendFrame([]byte("left"), 1, 1)
			first := len(dst)
			dst = tmpl.appendFrame(dst, 65_535, key)
			r := decode(t, dst[first:])
			got := fmt.Sprintf("%s %d %d %d %d %s %s %s", iproto.TypeName(r.Type), r.SpaceID, r.IndexID, r.Iterator, r.Limit,
				jsonOf(t, r.Key), jsonOf(t, r.Tuple), jsonOf(t, r.Ops))
			if got != want[op] || r.Sync != 65_535 {
				t.Errorf("%s of key %d:\n got %s\nwant %s", op, key, got, want[op])
			}
			if decode(t, dst[4:first]).Sync != 1 {
				t.Errorf("%s: the first frame has changed", op)
			}
		}
	}
}

// TestRowBytes: rows have exactly the size that was asked for, and payloads differ.
func TestRowBytes(t *testing.T) {
	for _, n := range []int{RowBytesMin, 17, 18, 47, 48, 49, 50, 100, 271, 272, 273, 274, 1000, 65_000, 65_553, 65_554, 65_555, RowBytesMax} {
		tmpl := newTemplate(Replace, frameOptions{space: 512, rowBytes: n})
		frame := tmpl.appendFrame(nil, 1, 42)
		r := decode(t, frame)
		if len(r.Tuple) != n {
			t.Errorf("row of %d bytes, want %d", len(r.Tuple), n)
		}
		if n > 50 && n < RowBytesMax && bytes.Equal(r.Tuple[30:], decode(t, tmpl.appendFrame(nil, 1, 43)).Tuple[30:]) {
			t.Errorf("two rows of %d bytes have the same payload", n)
		}
	}
}

// TestFramesDoNotAllocate is what makes the generator cheap.
func TestFramesDoNotAllocate(t *testing.T) {
	tmpl := newTemplate(Replace, frameOptions{space: 512, rowBytes: 100})
	src := newSource(sourceOptions{kind: Zipf, n: 1000, stride: 1})
	dst := make([]byte, 0, 1<<16)
	reply := iproto.AppendData(nil, 3, 89, []byte{0x91, 1})
	if n := testing.AllocsPerRun(100, func() {
		key, _ := src.key()
		dst = tmpl.appendFrame(dst[:0], 3, key)
		if o, err := readReply(reply); err != nil || o.rows != 1 {
			t.Errorf("%+v, %v", o, err)
		}
	}); n != 0 {
		t.Errorf("%g allocations for a request", n)
	}
}

func TestReplies(t *testing.T) {
	long := make([][]byte, 70_000)
	for i := range long {
		long[i] = []byte{0x90}
	}
	compact := []byte{0x0a, 0x82, 0x00, 0x00, 0x01, 0x07, 0x81, 0x30, 0x92, 0x90, 0x90}
	for name, c := range map[string]struct {
		frame []byte
		want  outcome
	}{
		"ok":       {iproto.AppendOK(nil, 5, 89, nil), outcome{sync: 5}},
		"data":     {iproto.AppendData(nil, 1<<40, 89, []byte{0x90}, []byte{0x90}), outcome{sync: 1 << 40, rows: 2}},
		"none":     {iproto.AppendData(nil, 6, 89), outcome{sync: 6}},
		"many":     {iproto.AppendData(nil, 7, 89, long...), outcome{sync: 7, rows: 70_000}},
		"error":    {iproto.AppendError(nil, 8, 89, errcode.New(errcode.NoSuchSpace, "x")), outcome{code: 0x8000 + 36, sync: 8}},
		"compact":  {compact, outcome{sync: 7, rows: 2}},
		"array16":  {reply(9, []byte{0x81, 0x30, 0xdc, 0x01, 0x02}), outcome{sync: 9, rows: 258}},
		"fixarray": {reply(9, []byte{0x81, 0x30, 0x93}), outcome{sync: 9, rows: 3}},
		"id":       {iproto.AppendIDReply(nil, 9, 89, 4, nil), outcome{sync: 9}},
	} {
		c.want.size, c.want.complete = len(c.frame), true
		if o, err := readReply(append(c.frame, 0xce, 0)); err != nil || o != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, o, err, c.want)
		}
		for cut := range min(len(c.frame), 300) {
			o, err := readReply(c.frame[:cut])
			if err != nil || o.complete || o.size != 0 && o.size != len(c.frame) {
				t.Fatalf("%s, cut to %d bytes: %+v, %v", name, cut, o, err)
			}
		}
	}
	if text := errorText(iproto.AppendError(nil, 8, 89, errcode.New(errcode.NoSuchSpace, "x"))); text != "Space 'x' does not exist" {
		t.Errorf("text of an error: %q", text)
	}
	if _, err := readReply([]byte{0xce, 0x7f, 0xff, 0xff, 0xff}); err == nil {
		t.Error("a reply of 2 GiB is taken")
	}
}

// reply is a reply with a body that is not read any further than its count.
func reply(sync uint64, body []byte) []byte {
	b, mark := iproto.BeginReply(nil, 0, sync, 89)
	return iproto.EndReply(append(b, body...), mark)
}

// FuzzReply: what a foreign server sends does not panic, and a complete frame is within the bytes.
func FuzzReply(f *testing.F) {
	f.Add(iproto.AppendData(nil, 1, 89, []byte{0x90}))
	f.Add(iproto.AppendError(nil, 1, 89, errcode.New(errcode.NoSuchSpace, "x")))
	f.Add([]byte{0x0a, 0x82, 0x00, 0x00, 0x01, 0x07, 0x81, 0x30, 0x92, 0x90, 0x90})
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 16, func() {
			if o, err := readReply(b); err == nil && o.complete {
				_ = errorText(b[:o.size])
			}
		})
		o, err := readReply(b)
		if err == nil && o.complete {
			if o.size > len(b) || o.size == 0 {
				t.Fatalf("%+v of %d bytes", o, len(b))
			}
			_ = errorText(b[:o.size])
		}
	})
}
