package server

import (
	"bytes"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// promptly answers on a goroutine of its own by CompleteNow, or in turn with Complete.
func promptly(t *testing.T, reply []byte, mixed bool) *fake {
	type job struct {
		s    *Session
		sync uint64
	}
	jobs := make(chan job, 1000)
	t.Cleanup(func() { close(jobs) })
	go func() {
		for j := range jobs {
			frames := iproto.AppendData(nil, j.sync, 89, reply)
			if mixed && j.sync%3 == 0 {
				j.s.Complete(frames)
			} else {
				j.s.CompleteNow(frames)
			}
		}
	}()
	return newFake(func(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
		jobs <- job{s, req.Sync}
		return out, false
	})
}

// TestCompleteNow: replies arrive whole and in order, also when the peer does not read and the network takes no more, which
// is in the middle of a frame.
func TestCompleteNow(t *testing.T) {
	reply := append(msgpack.AppendArrayHeader(nil, 1), msgpack.AppendStr(nil, string(bytes.Repeat([]byte("x"), 3900)))...)
	for _, mixed := range []bool{false, true} {
		srv, addr := serve(t, Options{Backend: promptly(t, reply, mixed)})
		w := dial(t, addr)
		const n = 4000 // 16 MB, more than the buffers of both ends take
		for sync := uint64(1); sync <= n; sync++ {
			w.send(iproto.AppendInsert(nil, iproto.TypeReplace, sync, 1, []byte{0x91, 1}))
			for mixed == (sync%2 == 0) && srv.counters.queued.Load() == 0 && srv.gate.inFlight.Load() > 0 {
				// The peer has one request at a time, as long as the network takes its replies.
			}
		}
		for sync := uint64(1); sync <= n; sync++ {
			if _, r := w.receive(); r.Sync != sync || r.Err != nil || !bytes.Contains(r.Data, reply) {
				t.Fatalf("mixed %v: reply %d: sync %d, %v, %d bytes", mixed, sync, r.Sync, r.Err, len(r.Data))
			}
		}
		// And once more when all is read.
		if r := w.ask(iproto.AppendInsert(nil, iproto.TypeReplace, 7, 1, []byte{0x91, 1})); r.Sync != 7 {
			t.Errorf("sync %d after the queue was read", r.Sync)
		}
	}
}

// TestCompleteNowAfterTheEnd: a peer that is gone costs nothing and harms nobody.
func TestCompleteNowAfterTheEnd(t *testing.T) {
	held := make(chan *Session)
	backend := newFake(func(s *Session, _ *iproto.Request, out []byte) ([]byte, bool) {
		held <- s
		return out, false
	})
	srv, addr := serve(t, Options{Backend: backend})
	w := dial(t, addr)
	w.send(iproto.AppendInsert(nil, iproto.TypeReplace, 1, 1, []byte{0x91, 1}))
	s := <-held
	s.Close()
	<-backend.closed
	s.CompleteNow(iproto.AppendData(nil, 1, 89))
	if left := srv.gate.inFlight.Load(); left != 0 {
		t.Errorf("%d requests are in flight", left)
	}
	w.ended()
}
