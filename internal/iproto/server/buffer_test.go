package server

import (
	"bytes"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/meter"
)

// offBackend puts off every request and answers those of a drain together, each with a row of some size.
type offBackend struct {
	selectBackend
	syncs []uint64
}

func (b *offBackend) Execute(_ *Session, req *iproto.Request, out []byte) ([]byte, bool) {
	b.syncs = append(b.syncs, req.Sync)
	return out, true
}

func (b *offBackend) Answer(_ *Session, out []byte) []byte {
	for _, sync := range b.syncs {
		out = iproto.AppendData(out, sync, 89, b.tuple)
	}
	b.syncs = b.syncs[:0]
	return out
}

// TestLongRepliesReuseBuffers: a connection that gathers more than a usual buffer holds in each drain does not make a new
// buffer each time.
func TestLongRepliesReuseBuffers(t *testing.T) {
	row := append([]byte{0x91, 0xda, 0x50, 0x00}, make([]byte, 0x5000)...)
	_, addr := serve(t, Options{Backend: &offBackend{selectBackend: selectBackend{tuple: row}}})
	w := dial(t, addr)
	const requests, rounds = 16, 64
	ask := bytes.Repeat(iproto.AppendSelect(nil, 7, iproto.SelectArgs{Space: 600, Limit: 1, Key: []byte{0x91, 1}}), requests)
	replies := make([]byte, requests*len(iproto.AppendData(nil, 7, 89, row)))
	round := func() {
		w.send(ask)
		readFull(t, w, replies)
	}
	round()
	used := meter.Allocated(func() {
		for range rounds {
			round()
		}
	})
	// The race detector has a pool lose one buffer in four.
	if fair := uint64(len(replies) / 2 * rounds); used > fair {
		t.Errorf("%d bytes were allocated for %d bytes of replies, at most %d are fair", used, rounds*len(replies), fair)
	}
}
