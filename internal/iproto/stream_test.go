package iproto

import (
	"bytes"
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
