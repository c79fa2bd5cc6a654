package server

import (
	"context"
	"sync"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// eventKeyBytesMax bounds a key of WATCH: it is kept as long as it is watched.
const eventKeyBytesMax = 1 << 10

// watchers is the hub of a server. A session that watches nothing has no part in it.
type watchers struct {
	// mu guards the rest. A session's mutex may be taken while it is held, never the other way round: so all events of a
	// session go into its queue in the order in which they were decided.
	mu  sync.Mutex
	hub hub
	// left, if not nil, is closed when a watch ends.
	left chan struct{}
}

// Broadcast sets the value of a key, encoded already, and tells all sessions that watch it; nil takes the value away. The
// server keeps the slice. Any goroutine may call it; it waits for no peer.
func (s *Server) Broadcast(key string, value []byte) {
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	for _, w := range s.watchers.hub.set(key, value) {
		w.who.push(w, true)
	}
}

// Watched returns the number of sessions that watch a key.
func (s *Server) Watched(key string) int {
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	return s.watchers.hub.watched(key)
}

// AwaitUnwatched returns when no session watches the key any more, or with the context's error.
func (s *Server) AwaitUnwatched(ctx context.Context, key string) error {
	w := &s.watchers
	for {
		w.mu.Lock()
		if w.hub.watched(key) == 0 {
			w.mu.Unlock()
			return nil
		}
		if w.left == nil {
			w.left = make(chan struct{})
		}
		left := w.left
		w.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended wakes those who wait for the end of watches. mu is held.
func (w *watchers) ended() {
	if w.left != nil {
		close(w.left)
		w.left = nil
	}
}

// push queues an event. Unless it comes from the session's own reader, which writes at the end of its drain anyway, the
// writer is woken. The hub's mutex is held.
func (s *Session) push(w *watch, wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	var room [256]byte
	s.enqueueLocked(iproto.AppendEvent(room[:0], w.sync, w.topic.key, w.topic.value))
	s.srv.counters.events.Add(1)
	if wake {
		s.startWriterLocked()
		if !s.writing {
			s.work.Signal()
		}
	}
}

// watch answers WATCH and UNWATCH, which have no reply unless they are refused.
func (s *Session) watch() *errcode.Error {
	key := string(s.req.EventKey)
	if s.req.Type == iproto.TypeWatch {
		if e := s.mayWatch(key); e != nil {
			return e
		}
	}
	h := &s.srv.watchers
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.req.Type == iproto.TypeUnwatch {
		h.hub.unwatch(&s.watches, key)
		h.ended()
		return nil
	}
	if limit := s.srv.opts.Limits.Watches; len(s.watches) >= limit && find(s.watches, key) == nil {
		return errcode.Newf(errcode.Overloaded, "This connection watches %d keys already, which is the limit", limit)
	}
	if w := h.hub.watch(&s.watches, s, key, s.req.Sync); w != nil {
		s.push(w, false)
		s.pushed = true
	}
	return nil
}

// watchOnce answers WATCH_ONCE.
func (s *Session) watchOnce(out []byte, schema uint64) []byte {
	key := string(s.req.EventKey)
	if e := s.mayWatch(key); e != nil {
		return iproto.AppendError(out, s.req.Sync, schema, e)
	}
	h := &s.srv.watchers
	h.mu.Lock()
	value := h.hub.get(key)
	h.mu.Unlock()
	if value == nil {
		return iproto.AppendData(out, s.req.Sync, schema)
	}
	return iproto.AppendData(out, s.req.Sync, schema, value)
}

// mayWatch refuses keys that are too long, and before login those that are not for everybody.
func (s *Session) mayWatch(key string) *errcode.Error {
	if len(key) > eventKeyBytesMax {
		return errcode.New(errcode.TooBig, "An event key", len(key), eventKeyBytesMax)
	}
	if s.authed {
		return nil
	}
	for _, open := range s.srv.opts.OpenKeys {
		if key == open {
			return nil
		}
	}
	return errcode.NewAccessDenied("Watch", "event", shown([]byte(key)), s.User().Name)
}

// unwatchAll ends the watches of a session that has ended.
func (s *Session) unwatchAll() {
	if s.watches == nil {
		return
	}
	h := &s.srv.watchers
	h.mu.Lock()
	h.hub.leave(&s.watches)
	h.ended()
	h.mu.Unlock()
}
