package server

import (
	"errors"
	"os"
	"syscall"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// promptBytesMax is the size of replies up to which they are written by whoever completes them.
const promptBytesMax = 4 << 10

// CompleteNow is Complete for a caller who has nothing else to do: if these are the only replies that the peer waits for,
// they are written before it returns, as far as the network takes them at once. That spares a peer with one request at a
// time the way over another goroutine. It never waits either.
func (s *Session) CompleteNow(frames []byte) {
	n := int64(iproto.CountReplies(frames))
	s.mu.Lock()
	if s.closed || s.ending || s.writing || s.queue != nil || s.raw == nil || s.pending.Load() != n || len(frames) > promptBytesMax {
		s.mu.Unlock()
		s.Complete(frames)
		return
	}
	left := s.pending.Add(-n)
	size := s.answered(n, left)
	s.writing = true
	s.mu.Unlock()
	sent, err := s.writeReady(frames)
	s.mu.Lock()
	if rest := frames[sent:]; len(rest) > 0 && err == nil {
		s.queueFirstLocked(rest)
	}
	s.wroteLocked(err)
	if s.queue != nil {
		s.startWriterLocked()
	}
	s.mu.Unlock()
	s.srv.gate.release(int(n), size)
}

// writeReady writes what the network takes at once. It belongs to whoever has set writing.
func (s *Session) writeReady(b []byte) (n int, err error) {
	errFD := s.raw.Write(func(fd uintptr) bool {
		for {
			if n, err = syscall.Write(int(fd), b); err != syscall.EINTR {
				return true
			}
		}
	})
	if err == nil {
		err = errFD
	}
	// An old deadline has passed: the writer goroutine sets a new one.
	if n = max(n, 0); err == syscall.EAGAIN || errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	s.srv.counters.bytesOut.Add(uint64(n))
	return n, err
}

// queueFirstLocked puts the rest of what was being written before what has been queued meanwhile. mu is held.
func (s *Session) queueFirstLocked(rest []byte) {
	if s.closed {
		return
	}
	s.srv.counters.queued.Add(int64(len(rest)))
	behind := s.queue
	s.queue = s.srv.pool.holding(rest)
	if behind != nil {
		s.queue = s.srv.pool.add(s.queue, behind.b)
		s.srv.pool.put(behind)
	}
}
