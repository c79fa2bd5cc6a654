package iproto

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

func unhex(t testing.TB, words ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(words, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPageFrames compares requests and replies of pagination with the protocol's description, byte by byte.
func TestPageFrames(t *testing.T) {
	for _, c := range []struct {
		what string
		got  []byte
		want []byte
	}{
		{"first page", AppendSelect(nil, 7, SelectArgs{Space: 512, Limit: 2, Iterator: IterALL, FetchPosition: true}),
			unhex(t, "ce00000016 8200010107 87 10cd0200 1100 1402 1fc3 1300 1202 2090")},
		{"next page", AppendSelect(nil, 7, SelectArgs{Space: 512, Limit: 2, FetchPosition: true, After: []byte("kQM")}),
			unhex(t, "ce0000001b 8200010107 88 10cd0200 1100 1400 1fc3 2ea36b514d 1300 1202 2090")},
		{"after a tuple", AppendSelect(nil, 7, SelectArgs{Space: 512, Limit: 2, AfterTuple: []byte{0x91, 3}}),
			unhex(t, "ce00000017 8200010107 87 10cd0200 1100 1400 2f9103 1300 1202 2090")},
		{"names", AppendSelect(nil, 7, SelectArgs{SpaceName: "s", IndexName: "pk", Limit: 2}),
			unhex(t, "ce00000015 8200010107 86 5ea173 5fa2706b 1400 1300 1202 2090")},
		{"insert by name", AppendInsertNamed(nil, TypeInsert, 7, "s", []byte{0x91, 3}),
			unhex(t, "ce0000000c 8200020107 82 5ea173 219103")},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %x, want %x", c.what, c.got, c.want)
		}
	}
	out, mark := BeginData(nil, 7, 89)
	if len(out) != DataHeadBytes {
		t.Errorf("%d bytes before the data, not %d", len(out), DataHeadBytes)
	}
	out = EndPage(append(out, 0x91, 3), mark, 1, []byte("kQM"))
	want := unhex(t, "ce00000025 8300ce0000000001cf0000000000000007 05ce00000059 82 30dd00000001 9103 35a36b514d")
	if !bytes.Equal(out, want) {
		t.Errorf("reply %x, want %x", out, want)
	}
	var r Reply
	if err := DecodeReply(out[5:], &r); err != nil || string(r.Position) != "kQM" || !bytes.Equal(r.Data, out[len(out)-12:len(out)-5]) {
		t.Errorf("reply %+v, %v", r, err)
	}
}

func TestNewerFields(t *testing.T) {
	var r Request
	decode := func(frame []byte) error { return DecodeRequest(payload(t, frame), &r) }
	if err := decode(AppendSelect(nil, 1, SelectArgs{SpaceName: "space", IndexName: "index", Limit: 1, FetchPosition: true,
		After: []byte{}, AfterTuple: []byte{0x91, 3}})); err != nil {
		t.Fatal(err)
	}
	if !r.FetchPosition || r.AfterPosition == nil || len(r.AfterPosition) != 0 || !bytes.Equal(r.AfterTuple, []byte{0x91, 3}) ||
		string(r.SpaceName) != "space" || string(r.IndexName) != "index" ||
		r.Has&(HasFetchPosition|HasAfterPosition|HasAfterTuple|HasSpaceName|HasIndexName) !=
			HasFetchPosition|HasAfterPosition|HasAfterTuple|HasSpaceName|HasIndexName {
		t.Errorf("%+v", r)
	}
	change := ChangeArgs{SpaceName: "space", IndexName: "index", Key: []byte{0x91, 1}, Tuple: []byte{0x91, 1}, Ops: []byte{0x90}}
	for what, frame := range map[string][]byte{
		"update": AppendUpdate(nil, 1, change), "delete": AppendDelete(nil, 1, change), "upsert": AppendUpsert(nil, 1, change),
	} {
		if err := decode(frame); err != nil || string(r.SpaceName) != "space" || what != "upsert" && string(r.IndexName) != "index" {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	for _, kind := range []Type{TypeWatch, TypeUnwatch, TypeWatchOnce} {
		if err := decode(AppendWatch(nil, kind, 9, "box.id")); err != nil || string(r.EventKey) != "box.id" || r.Sync != 9 {
			t.Errorf("type %d: %+v, %v", kind, r, err)
		}
	}
	for _, wrong := range []string{"811f01", "812e01", "812f80", "815701", "815e01"} {
		head, mark := BeginRequest(nil, TypePing, 1)
		if err := decode(EndRequest(append(head, unhex(t, wrong)...), mark)); errcode.Of(err).Code != errcode.InvalidMsgPack {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestEvents(t *testing.T) {
	var r Reply
	frame := AppendEvent(nil, 300, "k", []byte{0x92, 1, 2})
	if want := unhex(t, "ce0000000f 82004c01cd012c 82 57a16b 58920102"); !bytes.Equal(frame, want) {
		t.Errorf("%x, want %x", frame, want)
	}
	if err := DecodeReply(frame[5:], &r); err != nil || r.Code != TypeEvent || r.Sync != 300 || string(r.EventKey) != "k" ||
		!bytes.Equal(r.EventValue, []byte{0x92, 1, 2}) {
		t.Errorf("%+v, %v", r, err)
	}
	frame = AppendEvent(nil, 0, "k", nil)
	if want := unhex(t, "ce00000009 82004c0100 81 57a16b"); !bytes.Equal(frame, want) {
		t.Errorf("%x, want %x", frame, want)
	}
	if err := DecodeReply(frame[5:], &r); err != nil || r.EventValue != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestInStream(t *testing.T) {
	for kind := range Type(80) {
		want := kind <= 18 && kind != TypeAuth || kind == TypePing
		if InStream(kind) != want {
			t.Errorf("type %d: %v", kind, !want)
		}
	}
}
