package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// ErrClosed is returned by Serve after Shutdown has been called before it.
var ErrClosed = errors.New("iproto/server: the server is shut down")

// Server serves the binary protocol on any number of listeners.
type Server struct {
	opts    Options
	log     *slog.Logger
	backend atomic.Pointer[Backend]
	lastID  atomic.Uint64
	// dummyHash stands for the password of users who do not exist, so that they cost the same work.
	dummyHash [iproto.ScrambleBytes]byte

	watchers watchers
	gate     gate
	pool     pool
	counters counters

	// refusing: connections that need a login are not accepted any more; closing: the end.
	refusing, closing atomic.Bool
	done              chan struct{}
	// serving ends when done is closed.
	serving context.Context
	quit    context.CancelFunc
	wg      sync.WaitGroup
	// mu guards listeners and sessions. It is never held while a session's mutex is taken.
	mu        sync.Mutex
	listeners map[net.Listener]bool // whether its connections are trusted
	sessions  map[*Session]struct{}
}

// New makes a server. It serves nothing until Serve is called.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		opts: o, log: o.Logger, done: make(chan struct{}),
		listeners: make(map[net.Listener]bool), sessions: make(map[*Session]struct{}),
	}
	s.serving, s.quit = context.WithCancel(context.Background())
	rand.Read(s.dummyHash[:])
	s.watchers.hub = newHub()
	s.gate.init(o.Limits.InFlight, o.Limits.InFlightBytes)
	s.SetBackend(o.Backend)
	return s
}

// Serving ends when Shutdown begins: from then on nothing is run any more that is read.
func (s *Server) Serving() context.Context { return s.serving }

// SetBackend replaces the backend for all connections: each goes over at the end of the drain it is in. A session keeps
// its user; its Local is cleared.
func (s *Server) SetBackend(b Backend) {
	invariant.Check(b != nil, "iproto/server: no backend")
	s.backend.Store(&b)
}

// Serve accepts connections until the listener fails or Shutdown is called; then it returns nil. Sessions start as
// guest. It owns the listener.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, guest, false) }

// ServeAs is Serve for a listener whose connections need no login: sessions start as the given user. On a unix socket
// only processes of our own user and of root are let in.
func (s *Server) ServeAs(l net.Listener, u User) error { return s.serve(l, &u, true) }

func (s *Server) serve(l net.Listener, u *User, trusted bool) error {
	s.mu.Lock()
	if s.refuses(trusted) {
		s.mu.Unlock()
		l.Close()
		return ErrClosed
	}
	s.listeners[l] = trusted
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer s.forget(l)

	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(conn, u, trusted)
			continue
		}
		if s.refuses(trusted) {
			return nil
		}
		if !passing(err) {
			return fmt.Errorf("iproto/server: accept on %s: %w", l.Addr(), err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
		s.log.Warn("accept failed, trying again", "address", l.Addr().String(), "error", err, "pause", pause)
		if !s.sleep(pause) {
			return nil
		}
	}
}

// refuses reports whether new connections are not wanted any more.
func (s *Server) refuses(trusted bool) bool { return s.closing.Load() || s.refusing.Load() && !trusted }

// passing reports whether an accept may work again later: too many open files, or a connection that went away.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sleep waits; false means that the server is being shut down.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *Server) forget(l net.Listener) {
	l.Close()
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

// start begins a session on an accepted connection, or refuses it.
func (s *Server) start(conn net.Conn, u *User, trusted bool) {
	if trusted && !ownPeer(conn) {
		s.counters.refused.Add(1)
		s.log.Warn("connection of another user to the admin socket refused")
		conn.Close()
		return
	}
	full := !trusted && s.counters.connections.Load()-s.counters.trusted.Load() >= int64(s.opts.Limits.Connections)
	s.mu.Lock()
	if full || s.refuses(trusted) {
		s.mu.Unlock()
		s.counters.refused.Add(1)
		conn.Close()
		return
	}
	ses := s.newSession(conn, u, trusted)
	s.sessions[ses] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	if trusted {
		s.counters.trusted.Add(1)
	}
	s.counters.connections.Add(1)
	s.counters.accepted.Add(1)
	go ses.run()
}

// ownPeer reports whether the process behind a unix socket belongs to our user or to root; connections of other kinds
// carry no such knowledge and pass.
func ownPeer(conn net.Conn) bool {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return true
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return false
	}
	var cred *syscall.Ucred
	errControl := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return errControl == nil && err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// ended takes a session out of the books.
func (s *Server) ended(ses *Session) {
	s.mu.Lock()
	delete(s.sessions, ses)
	s.mu.Unlock()
	s.counters.connections.Add(-1)
	if ses.trusted {
		s.counters.trusted.Add(-1)
	}
	s.wg.Done()
}

// Sessions calls yield for each open session until it returns false. Sessions may begin and end meanwhile.
func (s *Server) Sessions(yield func(*Session) bool) {
	for _, ses := range s.list() {
		if !yield(ses) {
			return
		}
	}
}

func (s *Server) list() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Session, 0, len(s.sessions))
	for ses := range s.sessions {
		all = append(all, ses)
	}
	return all
}

// StopAccepting closes the listeners but those of ServeAs; open connections go on. It may be called more than once.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing.Store(true)
	for l, trusted := range s.listeners {
		if !trusted {
			l.Close()
		}
	}
}

// Shutdown closes the listeners, runs nothing more, answers what is in flight, refuses for a short time what still comes
// (error 279), and closes the connections. When ctx ends first, the rest is cut and ctx's error returned. It may be called more
// than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing.Swap(true)
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	if first {
		close(s.done)
		s.quit()
	}
	for _, ses := range s.list() {
		ses.conn.SetReadDeadline(time.Unix(1, 0))
	}
	finished := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	s.gate.force()
	for _, ses := range s.list() {
		ses.Close()
	}
	<-finished
	return ctx.Err()
}
