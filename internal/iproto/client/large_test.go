package client

import (
	"bytes"
	"context"
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestLargeReply: replies around and above the size of the read buffer come whole, with small ones between them.
func TestLargeReply(t *testing.T) {
	_, addr := start(t)
	c := connect(t, addr, Options{User: "test", Password: []byte("pw")})
	ctx := context.Background()
	for _, size := range []int{readBufferBytes - 200, readBufferBytes - 50, readBufferBytes, readBufferBytes + 1, 3<<20 + 7} {
		arg := msgpack.AppendStrBytes([]byte{0x91}, bytes.Repeat([]byte{'x'}, size))
		for range 3 {
			if data, err := c.Call(ctx, "f", arg); err != nil || !bytes.Contains(data, arg) {
				t.Fatalf("call with %d bytes: %d bytes came back, %v", size, len(data), err)
			}
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}
