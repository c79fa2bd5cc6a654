package iproto

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestWithStream(t *testing.T) {
	prefix := []byte("before")
	for _, id := range []uint64{1, 200, 1 << 40} {
		plain := func(dst []byte, sync uint64) []byte { return AppendCall(dst, sync, "f", nil) }
		frame := WithStream(id, plain)(bytes.Clone(prefix), 77)
		if !bytes.HasPrefix(frame, prefix) {
			t.Fatalf("%x", frame)
		}
		frame = frame[len(prefix):]
		head, body, err := FrameSize(frame)
		if err != nil || head+body != len(frame) {
			t.Fatalf("%x: %d+%d, %v", frame, head, body, err)
		}
		var req Request
		if err := DecodeRequest(frame[head:], &req); err != nil || req.StreamID != id || req.Sync != 77 || string(req.Function) != "f" {
			t.Fatalf("%+v, %v", req, err)
		}
	}
}

// TestBegin: options that are the server's own are left out.
func TestBegin(t *testing.T) {
	for want, frame := range map[string][]byte{
		"80":                         AppendBegin(nil, 1, 0),
		"8156cb4004000000000000":     AppendBegin(nil, 1, 2.5),
		"815903":                     AppendBeginAt(nil, 1, 0, IsolationBestEffort),
		"8256cb40040000000000005904": AppendBeginAt(nil, 1, 2.5, IsolationLinearizable),
	} {
		if got := hex.EncodeToString(frame[10:]); got != want || frame[7] != byte(TypeBegin) {
			t.Errorf("%x: options %s, want %s", frame, got, want)
		}
	}
}
