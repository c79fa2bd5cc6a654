package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// User is who a session acts as.
type User struct {
	ID   uint32
	Name string
}

// guest is who a session is before it logs in.
var guest = &User{ID: 0, Name: "guest"}

// Session is one connection. A reader goroutine decodes, executes and, as long as nothing is handed over to others,
// writes; a writer goroutine is started with the first reply that comes from elsewhere.
type Session struct {
	// Local belongs to the backend: only its calls touch it.
	Local any

	srv  *Server
	id   uint64
	peer string
	conn net.Conn
	user atomic.Pointer[User]
	salt [iproto.ScrambleBytes]byte

	// reader holds what only the reader goroutine touches.
	reader

	// pending is the number of requests taken over and not completed.
	pending atomic.Int64
	// pendingBytes is the size of those of them that are counted by size.
	pendingBytes atomic.Int64
	// gone is set when the peer will send nothing more, or the session is closed.
	gone atomic.Bool

	// mu guards what follows. Whoever sets writing has the connection for writing, and writeDeadline, to itself.
	mu      sync.Mutex
	work    sync.Cond // the writer waits: replies are queued, or the end
	room    sync.Cond // the reader waits: the queue was written, or nothing is pending, or the end
	queue   *buffer
	writing bool
	// writerOn tells that the writer goroutine was started; ending tells it to go, because nothing will be queued any
	// more; closed, that nothing can be written any more.
	writerOn, ending, closed bool
	writeDeadline            time.Time
}

func (s *Server) newSession(conn net.Conn, u *User, trusted bool) *Session {
	ses := &Session{srv: s, id: s.lastID.Add(1), conn: conn, peer: conn.RemoteAddr().String()}
	ses.authed, ses.trusted = trusted, trusted
	ses.since = time.Now()
	ses.user.Store(u)
	ses.work.L, ses.room.L = &ses.mu, &ses.mu
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			ses.raw = raw
			ses.onReadable = ses.readReady
		}
	}
	return ses
}

// ID returns the session's number, unique in the server's life.
func (s *Session) ID() uint64 { return s.id }

// Peer returns the address of the other side.
func (s *Session) Peer() string { return s.peer }

// User returns who the session acts as. Any goroutine may call it.
func (s *Session) User() User { return *s.user.Load() }

// SetUser changes who the session acts as, from the next request on. Any goroutine may call it.
func (s *Session) SetUser(u User) { s.user.Store(&u) }

// Close cuts the connection; requests in flight are still to be completed. Any goroutine may call it.
func (s *Session) Close() {
	s.mu.Lock()
	s.closeLocked()
	s.mu.Unlock()
}

// Gone tells that the peer has ended its side of the connection, or that the session is closed: whoever works long for it
// may stop. Any goroutine may call it.
func (s *Session) Gone() bool { return s.gone.Load() }

// closeLocked marks the session closed and wakes whoever waits. mu is held.
func (s *Session) closeLocked() {
	if s.closed {
		return
	}
	s.closed = true
	s.srv.counters.queued.Add(-int64(s.queuedLocked()))
	s.srv.pool.put(s.queue)
	s.queue = nil
	s.gone.Store(true)
	s.conn.Close()
	s.work.Broadcast()
	s.room.Broadcast()
}

// Complete queues whole reply frames for requests that the backend took over, each ending one of them except chunks,
// and wakes the writer. The bytes are copied. Any goroutine may call it, Execute and Flush too; it never waits for the
// network. On a closed session the frames are dropped.
func (s *Session) Complete(frames []byte) {
	n := iproto.CountReplies(frames)
	s.mu.Lock()
	left := s.pending.Add(-int64(n))
	size := s.answered(int64(n), left)
	if !s.closed {
		s.enqueueLocked(frames)
		s.startWriterLocked()
	}
	if left <= 0 {
		s.room.Signal()
	}
	if !s.writing {
		s.work.Signal()
	}
	s.mu.Unlock()
	s.srv.gate.release(n, size)
}

// answered returns how much of the size of the requests in flight n answers give back, left being still in flight: a share
// by their number, and with the last one the rest.
func (s *Session) answered(n, left int64) int64 {
	size := s.pendingBytes.Load()
	if size == 0 || n == 0 {
		return 0
	}
	if left > 0 {
		size = size / (left + n) * n
	}
	s.pendingBytes.Add(-size)
	return size
}

// enqueueLocked appends to the queue, or cuts a peer that has too much waiting. One reply may be larger than the limit
// if it is alone. mu is held.
func (s *Session) enqueueLocked(frames []byte) {
	waiting := s.queuedLocked()
	if s.tooMuch(waiting, waiting+len(frames)) {
		s.srv.counters.cutSlow.Add(1)
		s.srv.log.Warn("connection cut: too many unread replies", "peer", s.peer, "bytes", waiting)
		s.closeLocked()
		return
	}
	s.srv.counters.queued.Add(int64(len(frames)))
	if s.queue == nil {
		s.queue = s.srv.pool.holding(frames)
	} else {
		s.queue = s.srv.pool.add(s.queue, frames)
	}
}

// tooMuch decides whether a peer is cut whose queue would grow from waiting to grown bytes.
func (s *Session) tooMuch(waiting, grown int) bool {
	l, c := &s.srv.opts.Limits, &s.srv.counters
	if waiting == 0 {
		return false
	}
	return grown > l.QueueBytes ||
		c.queued.Load() > int64(l.OutputBytes) && int64(grown)*max(1, c.connections.Load()) > int64(l.OutputBytes)
}

// startWriterLocked makes sure that somebody writes what is queued. mu is held.
func (s *Session) startWriterLocked() {
	if !s.writerOn && !s.closed {
		s.writerOn = true
		s.srv.wg.Add(1)
		go s.writeLoop()
	}
}

// writeLoop is the writer goroutine.
func (s *Session) writeLoop() {
	defer s.srv.wg.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for (s.writing || s.queue == nil) && !s.closed && !s.ending {
			s.work.Wait()
		}
		if s.closed || s.queue == nil {
			return
		}
		s.writeQueueLocked()
	}
}

// writeQueueLocked writes what is queued, with mu released meanwhile. mu is held, nobody writes.
func (s *Session) writeQueueLocked() {
	out := s.queue
	s.queue, s.writing = nil, true
	s.mu.Unlock()
	err := s.write(out.b)
	s.srv.counters.queued.Add(-int64(len(out.b)))
	s.mu.Lock()
	s.srv.pool.put(out)
	s.wroteLocked(err)
}

// wroteLocked ends a turn of writing. mu is held.
func (s *Session) wroteLocked(err error) {
	s.writing = false
	if err != nil {
		s.closeLocked()
	}
	s.room.Signal()
	if s.queue != nil {
		s.work.Signal()
	}
}

// flushOut writes the replies that the reader gathered: at once if nobody is writing, else behind the queue if both are
// short. Events that the reader has queued go with them. It returns false when the session is closed.
func (s *Session) flushOut() bool {
	if len(s.out.b) == 0 && !s.pushed {
		return true
	}
	s.gathered = max(s.gathered, len(s.out.b))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushed = false
	for !s.closed && s.writing && s.queuedLocked()+len(s.out.b) > 2*flushBytes {
		s.room.Wait()
	}
	switch {
	case s.closed:
	case s.writing:
		s.enqueueLocked(s.out.b)
		s.startWriterLocked()
	case s.queue != nil && s.queuedLocked()+len(s.out.b) <= 2*flushBytes:
		s.srv.counters.queued.Add(int64(len(s.out.b)))
		s.queue = s.srv.pool.add(s.queue, s.out.b)
		s.writeQueueLocked()
	default:
		s.writing = true
		s.mu.Unlock()
		err := s.write(s.out.b)
		s.mu.Lock()
		s.wroteLocked(err)
		if s.queue != nil {
			s.startWriterLocked()
		}
	}
	s.out.b = s.out.b[:0]
	return !s.closed
}

// queuedLocked returns the number of bytes in the queue. mu is held.
func (s *Session) queuedLocked() int {
	if s.queue == nil {
		return 0
	}
	return len(s.queue.b)
}

// write writes everything, in chunks, and gives up when the peer takes no byte for WriteTimeout.
func (s *Session) write(b []byte) error {
	timeout := s.srv.opts.Limits.WriteTimeout
	for len(b) > 0 {
		// Moving the deadline costs more than it helps when it was moved just now.
		if now := time.Now(); s.writeDeadline.Sub(now) < timeout-timeout/8 {
			s.writeDeadline = now.Add(timeout)
			s.conn.SetWriteDeadline(s.writeDeadline)
		}
		n, err := s.conn.Write(b[:min(len(b), writeChunkBytes)])
		s.srv.counters.bytesOut.Add(uint64(n))
		b = b[n:]
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
			s.writeDeadline = time.Time{}
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.srv.counters.cutSlow.Add(1)
			s.srv.log.Warn("connection cut: the peer does not read", "peer", s.peer, "timeout", timeout)
			return err
		default:
			return err
		}
	}
	return nil
}

// drainReplies waits until everything taken over is completed and written, or the session is closed (false), and lets the
// writer goroutine end.
func (s *Session) drainReplies() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && (s.pending.Load() > 0 || s.writing || s.queue != nil) {
		if s.queue != nil && !s.writing {
			s.writeQueueLocked()
			continue
		}
		s.room.Wait()
	}
	s.ending = true
	s.work.Signal()
	return !s.closed
}
