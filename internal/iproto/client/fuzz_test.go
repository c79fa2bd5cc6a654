package client

import (
	"context"
	"net"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/meter"
)

// FuzzServer lets a foreign server answer: the client gets a reply or an error, and takes no memory for what the server
// only claims to send.
func FuzzServer(f *testing.F) {
	greeting := iproto.AppendGreeting(nil, "2.11.0", "00000000-0000-0000-0000-000000000000", [iproto.SaltBytes]byte{})
	ok := iproto.AppendOK(nil, 1, 89, nil)
	f.Add(append(append([]byte{}, greeting...), ok...))
	f.Add(append(append([]byte{}, greeting...), iproto.AppendEvent(nil, 1, "key", []byte{1})...))
	f.Add(append(append([]byte{}, greeting...), 0xce, 0x0f, 0xff, 0xff, 0xff, 0x82))
	f.Add(greeting[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		talk := func() {
			ours, theirs := net.Pipe()
			go func() {
				go func() {
					var sink [512]byte
					for {
						if _, err := theirs.Read(sink[:]); err != nil {
							return
						}
					}
				}()
				_, _ = theirs.Write(b)
				_ = theirs.Close()
			}()
			c, err := New(context.Background(), ours, Options{})
			if err != nil {
				return
			}
			if w, err := c.Watch("key"); err == nil {
				defer w.Close()
			}
			_ = c.Ping(context.Background())
			c.Close()
		}
		meter.CheckBound(t, len(b), uint64(1<<20+64*len(b)), talk)
	})
}
