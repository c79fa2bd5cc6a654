package server

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// reader is the part of a session that its reader goroutine owns.
type reader struct {
	raw        syscall.RawConn
	onReadable func(fd uintptr) bool
	readN      int
	readErr    error

	// in.b[from:] is what has been received and not decoded; in is nil while there is nothing.
	in   *buffer
	from int
	out  *buffer
	// gathered is how many bytes of replies the last drain had at once.
	gathered int
	req      iproto.Request

	// current is the backend of this drain; backend is the one that has had a request of this session.
	current, backend *Backend
	counts           runCount
	// used tells that the backend got a request since its last Flush.
	used bool
	// over tells that the connection was cut while a request waited for its turn: neither this nor a later one is run.
	over bool
	// putOff tells that the backend owes replies of this drain: see Backend.Answer.
	putOff bool
	// watches are those of this session; the hub's mutex guards what is in them. pushed tells that the reader has queued
	// an event since it last wrote.
	watches []*watch
	pushed  bool
	// authed tells that the session once logged in with a password, or came over a trusted listener.
	authed bool
	// trusted sessions do not wait for requests of others, so that an operator gets through at any load.
	trusted bool
	// internal sessions, of other instances, do not wait either.
	internal bool
	// served tells that a whole frame has come, partial that one is incomplete; since is when the connection began, or
	// the incomplete frame.
	served, partial bool
	since, deadline time.Time
}

var (
	errEnd  = errors.New("the server is shutting down")
	errLate = errors.New("the peer did not send in time")
)

// run is the reader goroutine: the whole life of the session.
func (s *Session) run() {
	defer s.srv.ended(s)
	if s.greet() {
		s.serve()
	}
	s.Close()
	s.unwatchAll()
	s.counts.flush(&s.srv.counters)
	if s.backend != nil {
		(*s.backend).Closed(s)
	}
	s.srv.pool.put(s.in)
	s.in = nil
}

// serve reads and answers until the end. A peer that only stopped sending still gets its answers.
func (s *Session) serve() {
	for {
		switch err := s.fill(); {
		case err == io.EOF || err == errEnd:
			s.gone.Store(true)
			if err == errEnd {
				s.refuseMeanwhile()
			}
			if s.drainReplies() && err == errEnd {
				s.late()
			}
			return
		case err != nil:
			return
		}
		if !s.drain() {
			return
		}
	}
}

// greet sends the greeting in one write.
func (s *Session) greet() bool {
	var salt [iproto.SaltBytes]byte
	rand.Read(salt[:])
	copy(s.salt[:], salt[:])
	var b [iproto.GreetingBytes]byte
	return s.write(iproto.AppendGreeting(b[:0], s.srv.opts.Version, s.srv.opts.InstanceUUID(), salt)) == nil
}

// fill waits for bytes and reads them, as many as there are and fit.
func (s *Session) fill() error {
	for {
		s.armDeadline()
		if s.srv.closing.Load() {
			return errEnd
		}
		err := s.read()
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if s.srv.closing.Load() {
			return errEnd
		}
		s.deadline = time.Time{}
		s.conn.SetReadDeadline(time.Time{})
		if at := s.dueAt(); !at.IsZero() && !time.Now().Before(at) {
			s.srv.counters.cutLate.Add(1)
			return errLate
		}
	}
}

// dueAt returns until when the peer must send more; zero if it may take its time.
func (s *Session) dueAt() time.Time {
	if s.authed || (s.served && !s.partial) {
		return time.Time{}
	}
	return s.since.Add(s.srv.opts.Limits.PreAuthTimeout)
}

// armDeadline makes sure that a read returns when the peer is late. A deadline that is no longer needed is left in
// place: when it comes, fill looks again.
func (s *Session) armDeadline() {
	at := s.dueAt()
	if at.IsZero() || (!s.deadline.IsZero() && !s.deadline.After(at)) {
		return
	}
	s.deadline = at
	s.conn.SetReadDeadline(at)
}

// read waits until the connection is readable and only then takes a buffer, so that idle connections hold none.
func (s *Session) read() error {
	s.readN, s.readErr = 0, nil
	if s.raw != nil {
		if err := s.raw.Read(s.onReadable); err != nil {
			return err
		}
	} else {
		s.makeRoom()
		s.readN, s.readErr = s.conn.Read(s.in.b[len(s.in.b):cap(s.in.b)])
	}
	if s.readN <= 0 {
		if s.readErr == nil {
			return io.EOF
		}
		return s.readErr
	}
	s.in.b = s.in.b[:len(s.in.b)+s.readN]
	s.srv.counters.bytesIn.Add(uint64(s.readN))
	return nil
}

// readReady reads once without waiting; false means that there is nothing yet.
func (s *Session) readReady(fd uintptr) bool {
	s.makeRoom()
	for {
		n, err := syscall.Read(int(fd), s.in.b[len(s.in.b):cap(s.in.b)])
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			s.giveBack()
			return false
		}
		s.readN, s.readErr = n, err
		return true
	}
}

// makeRoom provides a buffer with room at its end. It grows with what has come, at most twofold, and not beyond the
// frame that is being received.
func (s *Session) makeRoom() {
	if s.in == nil {
		s.in = s.srv.pool.get()
		s.from = 0
	}
	if s.from > 0 {
		s.in.b = s.in.b[:copy(s.in.b, s.in.b[s.from:])]
		s.from = 0
	}
	have := len(s.in.b)
	if have < cap(s.in.b) {
		return
	}
	// The length was found good when the frame's start was decoded.
	head, body, _ := iproto.FrameSize(s.in.b)
	grown := make([]byte, have, max(have+bufferBytes, min(2*have, head+body)))
	copy(grown, s.in.b)
	s.srv.pool.put(s.in)
	s.in = &buffer{b: grown}
}

// giveBack returns the buffer to the pool if it holds nothing. The last request, which points into it, is forgotten, or
// it would keep alive a buffer that the pool drops.
func (s *Session) giveBack() {
	if s.in != nil && s.from == len(s.in.b) {
		s.srv.pool.put(s.in)
		s.in, s.req = nil, iproto.Request{}
	}
}

// drain decodes and executes all complete frames of the buffer, then hands over what was gathered and writes the
// replies. It returns false when the session is to end.
func (s *Session) drain() bool {
	b := s.enter()
	s.out = s.srv.pool.getFor(s.gathered)
	s.gathered = 0
	more, served := true, false
	for more {
		data := s.in.b[s.from:]
		head, body, err := iproto.FrameSize(data)
		if err != nil {
			return s.refuse(b, 0, errcode.Of(err))
		}
		if limit := s.frameBytesMax(); body > limit {
			// The start of the frame may tell whom to answer; if it does not, the sync stays 0.
			_, _ = iproto.DecodeHeader(data[head:], &s.req)
			return s.refuse(b, s.req.Sync, errcode.New(errcode.TooBig, "A request", body, limit))
		}
		if head == 0 || len(data)-head < body {
			break
		}
		s.from += head + body
		served = true
		var full bool
		s.out.b, full = s.handle(b, data[head:head+body], s.out.b)
		if s.over {
			more = false
		} else if full || len(s.out.b) >= flushBytes {
			more = s.pause(b, full)
		}
	}
	if !more {
		s.leave()
		return false
	}
	s.settle(b, served)
	s.flushBackend(b)
	more = s.flushOut()
	s.leave()
	return more
}

// leave ends a drain's use of the output buffer.
func (s *Session) leave() {
	s.srv.pool.put(s.out)
	s.out = nil
}

// enter returns the backend for this drain. A session that meets a new backend leaves the old one.
func (s *Session) enter() Backend {
	b := s.srv.backend.Load()
	if b != s.backend {
		if s.backend != nil {
			(*s.backend).Closed(s)
		}
		s.Local, s.backend = nil, nil
	}
	s.current = b
	return *b
}

// settle ends the use of the requests' bytes after a drain, and notes what is left in the buffer.
func (s *Session) settle(b Backend, served bool) {
	if s.putOff {
		s.out.b = s.answerPutOff(b, s.out.b)
	}
	s.served = s.served || served
	s.counts.flush(&s.srv.counters)
	partial := s.from < len(s.in.b)
	if partial && !s.authed && (served || !s.partial) {
		s.since = time.Now()
	}
	s.partial = partial
	s.giveBack()
}

func (s *Session) frameBytesMax() int {
	if s.authed {
		return s.srv.opts.Limits.FrameBytes
	}
	return s.srv.opts.Limits.FrameBytesPreAuth
}

// pause interrupts a drain: the gathered requests are handed over and the replies written before the connection waits.
func (s *Session) pause(b Backend, full bool) bool {
	s.flushBackend(b)
	if !s.flushOut() {
		return false
	}
	if full && !s.trusted && !s.internal {
		s.srv.gate.wait()
	}
	return true
}

func (s *Session) flushBackend(b Backend) {
	if s.putOff {
		s.out.b = s.answerPutOff(b, s.out.b)
	}
	if s.used {
		s.used = false
		b.Flush(s)
	}
}

// refuse answers bytes that are no acceptable frame and ends the session. Some of what the peer still sends is read
// first, because closing a connection with unread bytes would destroy the answer on its way.
func (s *Session) refuse(b Backend, sync uint64, e *errcode.Error) bool {
	s.srv.counters.cutProtocol.Add(1)
	s.srv.log.Warn("connection cut: not the protocol", "peer", s.peer, "error", e)
	s.settle(b, true)
	s.flushBackend(b)
	s.out.b = iproto.AppendError(s.out.b, sync, b.SchemaVersion(), e)
	if s.flushOut() {
		s.drainReplies()
		s.linger()
	}
	s.leave()
	return false
}

func (s *Session) linger() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if s.srv.closing.Load() {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	io.CopyN(io.Discard, readerOnly{s.conn}, lingerBytes)
}

// readerOnly hides the methods by which a connection would be spliced.
type readerOnly struct{ c net.Conn }

// Read reads from the connection.
func (r readerOnly) Read(b []byte) (int, error) { return r.c.Read(b) }
