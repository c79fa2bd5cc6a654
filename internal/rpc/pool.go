package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// Pool holds a connection for each address. All methods may be called from any goroutine.
type Pool struct {
	opts  Options
	ctx   context.Context
	close context.CancelFunc
	done  sync.WaitGroup

	// mu guards what follows.
	mu    sync.Mutex
	peers map[string]*peer
	// counts by procedure, of which there are as many as wire has.
	counts map[string]*counts
}

// peer is what the pool knows of an address.
type peer struct {
	// conn is nil without a connection. It may have ended.
	conn *conn
	// dialing is closed when the attempt that is under way has ended, nil if none is.
	dialing chan struct{}
	// failures counts the attempts since the last answer; err is how the last one ended. None is made before retryAt.
	failures int
	retryAt  time.Time
	err      error
}

// conn is a connection and what is counted on it.
type conn struct {
	*client.Client
	// calls are started, answers have come; waiting are those that somebody waits for.
	calls, answers, waiting atomic.Int64

	// What follows belongs to tend: what calls and answers were at its last look, unless it has not looked yet, when the connection was
	// last used, and whether a ping is out.
	looked                 bool
	lastCalls, lastAnswers int64
	used                   time.Time
	pinging                atomic.Bool
}

// Wait waits for the answer of a call that Start began. It must be called once.
type Wait = func(ctx context.Context) (answer []byte, err error)

// New makes a pool. Close ends it.
func New(o Options) *Pool {
	p := &Pool{opts: o.withDefaults(), peers: make(map[string]*peer), counts: make(map[string]*counts)}
	p.ctx, p.close = context.WithCancel(context.Background())
	p.done.Add(1)
	go p.tend()
	return p
}

// Close ends all connections and waits for the pool's goroutines. Calls that wait fail.
func (p *Pool) Close() {
	p.close()
	p.mu.Lock()
	var conns []*conn
	for _, peer := range p.peers {
		if peer.conn != nil {
			conns = append(conns, peer.conn)
		}
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	p.done.Wait()
}

// Call calls a procedure with one argument and returns the first of the returned values, nil if there is none. The errors
// are what the other side answered (*errcode.Error), or an *Error. After a failure, calls to the address fail at once
// until the pause is over.
func (p *Pool) Call(ctx context.Context, address, procedure string, message []byte) ([]byte, error) {
	wait, err := p.Start(ctx, address, procedure, message)
	if err != nil {
		return nil, err
	}
	return wait(ctx)
}

// Start begins a call, waiting for no more than a connection and a turn; calls that one goroutine starts to one address
// arrive in their order. Its errors are all of the kind not sent. The message is not kept.
func (p *Pool) Start(ctx context.Context, address, procedure string, message []byte) (Wait, error) {
	n, began := p.countsOf(procedure), time.Now()
	fail := func(err error) (Wait, error) {
		n.lost.Add(1)
		return nil, &Error{Address: address, Procedure: procedure, Err: err}
	}
	c, err := p.connect(ctx, address)
	if err != nil {
		return fail(err)
	}
	c.calls.Add(1)
	c.waiting.Add(1)
	f, err := c.Send(ctx, iproto.TypeCall, func(dst []byte, sync uint64) []byte {
		return iproto.AppendCallOf(dst, sync, procedure, message)
	})
	if err != nil {
		c.waiting.Add(-1)
		return fail(cause(err))
	}
	return func(ctx context.Context) ([]byte, error) {
		defer c.waiting.Add(-1)
		r, err := f.Wait(ctx)
		var lost *client.ConnError
		if errors.As(err, &lost) {
			n.lost.Add(1)
			return nil, &Error{Address: address, Procedure: procedure, Sent: lost.Sent, Err: lost.Err}
		}
		if c.answers.Add(1) == 1 {
			p.answered(address, c)
		}
		n.nanos.Add(int64(time.Since(began)))
		if err != nil {
			n.refused.Add(1)
			return nil, err
		}
		n.answered.Add(1)
		return wire.Answer(r.Data)
	}, nil
}

// cause takes what failed out of an error of the client: a pool's errors tell the rest themselves.
func cause(err error) error {
	var lost *client.ConnError
	if errors.As(err, &lost) {
		return lost.Err
	}
	return err
}

// answered notes the first answer on a connection: from then on a failure is a new one.
func (p *Pool) answered(address string, c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer := p.peers[address]; peer != nil && peer.conn == c {
		peer.failures = 0
	}
}

// connect returns the connection to an address and opens it if there is none.
func (p *Pool) connect(ctx context.Context, address string) (*conn, error) {
	p.mu.Lock()
	for {
		if p.ctx.Err() != nil {
			p.mu.Unlock()
			return nil, ErrClosed
		}
		peer := p.peerLocked(address)
		if c := peer.conn; c != nil {
			if c.Err() == nil {
				p.mu.Unlock()
				return c, nil
			}
			p.lostLocked(address, peer, c.Err())
		}
		if peer.dialing == nil {
			if time.Now().Before(peer.retryAt) {
				p.mu.Unlock()
				return nil, peer.err
			}
			peer.dialing = make(chan struct{})
			p.done.Add(1)
			go p.dial(address, peer)
		}
		dialing := peer.dialing
		p.mu.Unlock()
		select {
		case <-dialing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		p.mu.Lock()
	}
}

// peerLocked returns what is known of an address. mu is held.
func (p *Pool) peerLocked(address string) *peer {
	if known := p.peers[address]; known != nil {
		return known
	}
	if len(p.peers) >= addressesMax {
		for a, other := range p.peers {
			if other.conn == nil && other.dialing == nil {
				delete(p.peers, a)
			}
		}
	}
	made := &peer{}
	p.peers[address] = made
	return made
}

// lostLocked notes the end of a connection. One that never brought an answer counts as an attempt that failed. mu is held.
func (p *Pool) lostLocked(address string, peer *peer, err error) {
	if peer.conn.answers.Load() == 0 {
		p.failedLocked(address, peer, err)
	} else if !errors.Is(err, client.ErrClosed) {
		p.opts.Logger.Info("connection to an instance lost", "address", address, "error", err)
	}
	peer.conn = nil
}

// failedLocked notes an attempt that failed, and when the next one may be made. mu is held.
func (p *Pool) failedLocked(address string, peer *peer, err error) {
	if peer.failures == 0 && p.ctx.Err() == nil {
		p.opts.Logger.Info("instance cannot be reached", "address", address, "error", err)
	}
	peer.err, peer.retryAt = err, time.Now().Add(p.opts.pause(peer.failures))
	peer.failures++
}

// pause is how long nothing is tried after so many failures and one more.
func (o *Options) pause(failures int) time.Duration {
	doubled := failures / 4
	if doubled >= 32 || o.RetryMin<<doubled >= o.RetryMax {
		return o.RetryMax
	}
	return o.RetryMin << doubled
}

// Alive tells that something was heard of the instance at an address: the next call to it tries at once, whatever has
// failed before.
func (p *Pool) Alive(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer := p.peers[address]; peer != nil {
		peer.retryAt = time.Time{}
	}
}

// Status is what the pool knows of an address.
type Status struct {
	Address   string
	Connected bool
	// Failures counts the attempts that have failed since the last answer; Err is how the last one did, nil without any.
	Failures int
	Err      error
}

// Status returns what is known of all addresses that were called, in no order. Those that are not needed are forgotten.
func (p *Pool) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Status, 0, len(p.peers))
	for address, peer := range p.peers {
		s := Status{Address: address, Connected: peer.conn != nil && peer.conn.Err() == nil, Failures: peer.failures}
		if s.Failures > 0 {
			s.Err = peer.err
		}
		all = append(all, s)
	}
	return all
}

// dial opens a connection and logs in.
func (p *Pool) dial(address string, peer *peer) {
	defer p.done.Done()
	c, err := p.open(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(peer.dialing)
	peer.dialing = nil
	switch {
	case err != nil:
		p.failedLocked(address, peer, err)
	case p.ctx.Err() != nil:
		c.Close()
	default:
		peer.conn = c
		p.done.Add(1)
		go p.watch(address, c)
	}
}

func (p *Pool) open(address string) (*conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.DialTimeout)
	defer cancel()
	raw, err := p.opts.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, raw, client.Options{User: p.opts.User, Password: p.opts.Password(), InFlight: p.opts.InFlight})
	if err != nil {
		if refused := (*errcode.Error)(nil); errors.As(err, &refused) {
			return nil, &loginError{refused}
		}
		return nil, cause(err)
	}
	return &conn{Client: c}, nil
}

// loginError is a login that the other side refuses.
type loginError struct{ err *errcode.Error }

func (e *loginError) Error() string { return "login: " + e.err.Error() }

func (e *loginError) Unwrap() error { return e.err }

// watch waits for the end of a connection.
func (p *Pool) watch(address string, c *conn) {
	defer p.done.Done()
	select {
	case <-p.ctx.Done():
		c.Close()
	case <-c.Ended():
		if c.answers.Load() > 0 && p.ctx.Err() == nil {
			p.opts.OnLost(address)
		}
	}
}

// tend closes connections that nobody needs, and cuts those that have fallen silent. TCP alone would find out after minutes, and
// after a long silence of the network it would go on waiting for most of that time again.
func (p *Pool) tend() {
	defer p.done.Done()
	tick := time.NewTicker(p.opts.Silence)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		conns := make(map[string]*conn, len(p.peers))
		for address, peer := range p.peers {
			if peer.conn != nil {
				conns[address] = peer.conn
			}
		}
		p.mu.Unlock()
		for address, c := range conns {
			p.look(address, c)
		}
	}
}

// look looks after a connection.
func (p *Pool) look(address string, c *conn) {
	started, came, waiting := c.calls.Load(), c.answers.Load(), c.waiting.Load()
	fresh, more := !c.looked, started != c.lastCalls
	silent := came == c.lastAnswers && (waiting > 0 || more)
	c.looked, c.lastCalls, c.lastAnswers = true, started, came
	if fresh || waiting > 0 || more {
		c.used = time.Now()
	}
	switch {
	case fresh || c.Err() != nil || c.pinging.Load():
	case time.Since(c.used) >= p.opts.IdleTimeout:
		p.forget(address, c)
		c.Close()
	case silent:
		c.pinging.Store(true)
		p.done.Add(1)
		go func() {
			defer p.done.Done()
			defer c.pinging.Store(false)
			if !p.alive(c) {
				p.opts.Logger.Info("instance does not answer, its connection is cut", "address", address)
				c.Close()
			}
		}()
	}
}

// alive reports whether a ping is answered in time.
func (p *Pool) alive(c *conn) bool {
	ctx, cancel := context.WithTimeout(p.ctx, 2*p.opts.Silence)
	defer cancel()
	return c.Ping(ctx) == nil
}

// forget takes a connection that nobody needs out of the pool.
func (p *Pool) forget(address string, c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer := p.peers[address]; peer != nil && peer.conn == c && peer.dialing == nil {
		delete(p.peers, address)
	}
}
