package server

import (
	"sync"
	"sync/atomic"
)

// gate counts the requests in flight of all connections, and their bytes, and lets readers wait while there are too many.
type gate struct {
	max, bytesMax   int64
	inFlight, bytes atomic.Int64
	waiters         atomic.Int32

	// mu orders waiting and waking; open, once set, lets everybody pass (the server is being closed by force).
	mu   sync.Mutex
	cond sync.Cond
	open bool
}

func (g *gate) init(requests, bytes int) {
	g.max, g.bytesMax = int64(requests), int64(bytes)
	g.cond.L = &g.mu
}

// take counts one more request, of so many bytes, and reports whether a limit is reached.
func (g *gate) take(bytes int) (full bool) {
	if bytes != 0 {
		g.bytes.Add(int64(bytes))
	}
	g.inFlight.Add(1)
	return g.full()
}

// full reports whether a limit is reached.
func (g *gate) full() bool { return g.inFlight.Load() >= g.max || g.bytes.Load() >= g.bytesMax }

// release counts n requests, of so many bytes together, as answered. A waiter announces itself before it looks at the
// counts, so either it sees the new ones or it is seen here.
func (g *gate) release(n int, bytes int64) {
	if bytes != 0 {
		g.bytes.Add(-bytes)
	}
	if n != 0 {
		g.inFlight.Add(-int64(n))
	}
	if g.waiters.Load() > 0 && !g.full() {
		g.mu.Lock()
		g.cond.Broadcast()
		g.mu.Unlock()
	}
}

// wait returns when what is in flight is below both limits.
func (g *gate) wait() {
	g.mu.Lock()
	g.waiters.Add(1)
	for g.full() && !g.open {
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
