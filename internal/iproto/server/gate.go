package server

import (
	"sync"
	"sync/atomic"
)

// gate counts the requests in flight of all connections and lets readers wait while there are too many.
type gate struct {
	max      int64
	inFlight atomic.Int64
	waiters  atomic.Int32

	// mu orders waiting and waking; open, once set, lets everybody pass (the server is being closed by force).
	mu   sync.Mutex
	cond sync.Cond
	open bool
}

func (g *gate) init(limit int) {
	g.max = int64(limit)
	g.cond.L = &g.mu
}

// take counts one more request and reports whether the limit is reached.
func (g *gate) take() (full bool) { return g.inFlight.Add(1) >= g.max }

// release counts n requests as answered. A waiter announces itself before it looks at the count, so either it sees the
// new count or it is seen here.
func (g *gate) release(n int) {
	if n == 0 {
		return
	}
	if g.inFlight.Add(-int64(n)) < g.max && g.waiters.Load() > 0 {
		g.mu.Lock()
		g.cond.Broadcast()
		g.mu.Unlock()
	}
}

// pass is wait, cheap where there is room.
func (g *gate) pass() {
	if g.inFlight.Load() >= g.max {
		g.wait()
	}
}

// wait returns when fewer requests than the limit are in flight.
func (g *gate) wait() {
	g.mu.Lock()
	g.waiters.Add(1)
	for g.inFlight.Load() >= g.max && !g.open {
		g.cond.Wait()
	}
	g.waiters.Add(-1)
	g.mu.Unlock()
}

// force lets all waiters go.
func (g *gate) force() {
	g.mu.Lock()
	g.open = true
	g.cond.Broadcast()
	g.mu.Unlock()
}
