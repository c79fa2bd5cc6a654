// Package client is a small client of the binary protocol for the command line, for tests and for calls between
// instances: one connection, any number of calls at a time, deadlines by context. Effects: network, goroutines. It does
// not reconnect and never sends a request twice: whether a call may be repeated is decided by its caller, who is told
// whether it can have been executed.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// Options configure a connection.
type Options struct {
	// User logs in with Password right after the greeting; empty stays guest.
	User     string
	Password []byte
	// ReplyBytes bounds a reply frame (256 MiB).
	ReplyBytes int
	// InFlight bounds the calls that wait for their reply; more wait for their turn (65,536).
	InFlight int
}

const (
	defaultReplyBytes = 256 << 20
	defaultInFlight   = 65_536
	readBufferBytes   = 64 << 10
)

// ErrClosed is in the chain of the errors of calls on a connection that Close was called on.
var ErrClosed = errors.New("connection is closed")

// ConnError is a failure of the connection, or of waiting, as opposed to an error that the server answered.
type ConnError struct {
	Op string
	// Sent tells that the request was, or may have been, given to the network: what it asked for may have happened. It is
	// false too if the server's last word was that it stops: then it has answered everything that it has read.
	Sent bool
	Err  error
}

// Error tells what was done, what failed, and whether the outcome is known.
func (e *ConnError) Error() string {
	if e.Sent {
		return fmt.Sprintf("iproto/client: %s: %v (the outcome is unknown)", e.Op, e.Err)
	}
	return fmt.Sprintf("iproto/client: %s: %v", e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// Client is one connection. All methods may be called from any goroutine.
type Client struct {
	conn     net.Conn
	greeting iproto.Greeting
	opts     Options
	slots    chan struct{}
	done     sync.WaitGroup
	// ended is closed when the connection cannot be used any more.
	ended chan struct{}

	// mu guards what follows.
	mu      sync.Mutex
	work    sync.Cond
	nextID  uint64
	sentID  uint64 // the sync of the last request that was given to the network
	waiting map[uint64]*Future
	// watchers by key.
	watchers map[string]*Watcher
	out      []byte
	failed   error
}

// Dial connects to host:port, or to a unix socket if addr contains a slash, reads the greeting, and logs in if a user
// is given.
func Dial(ctx context.Context, addr string, o Options) (*Client, error) {
	var conn net.Conn
	var err error
	if strings.Contains(addr, "/") {
		conn, err = real.DialUnix(ctx, addr)
	} else {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, &ConnError{Op: "dial " + addr, Err: err}
	}
	return New(ctx, conn, o)
}

// New speaks the protocol on a connection, which it owns from now on, errors included.
func New(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	if o.ReplyBytes == 0 {
		o.ReplyBytes = defaultReplyBytes
	}
	if o.InFlight == 0 {
		o.InFlight = defaultInFlight
	}
	c := &Client{conn: conn, opts: o, slots: make(chan struct{}, o.InFlight), waiting: make(map[uint64]*Future),
		ended: make(chan struct{})}
	c.work.L = &c.mu
	if err := c.readGreeting(ctx); err != nil {
		conn.Close()
		return nil, &ConnError{Op: "greeting of " + conn.RemoteAddr().String(), Err: err}
	}
	c.done.Add(2)
	go c.writeLoop()
	go c.readLoop()
	if o.User != "" {
		if err := c.Auth(ctx, o.User, o.Password); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *Client) readGreeting(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [iproto.GreetingBytes]byte
	if _, err := io.ReadFull(c.conn, b[:]); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if !stop() {
		return ctx.Err()
	}
	g, err := iproto.ParseGreeting(b[:])
	c.greeting = g
	return err
}

// Greeting returns what the server said first.
func (c *Client) Greeting() iproto.Greeting { return c.greeting }

// Close ends the connection and waits for its goroutines. Calls that wait fail with ErrClosed.
func (c *Client) Close() {
	c.fail(ErrClosed)
	c.done.Wait()
}

// Err returns why the connection cannot be used any more, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Ended is closed when the connection cannot be used any more.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Future is a request on its way.
type Future struct {
	c    *Client
	op   iproto.Type
	sync uint64
	done chan struct{}
	// reply and err are written before done is closed.
	reply iproto.Reply
	err   error
}

// Builder appends a whole request frame with the given sync to dst. It must not block.
type Builder = func(dst []byte, sync uint64) []byte

// Send starts a request. It waits only while too many requests are in flight.
func (c *Client) Send(ctx context.Context, op iproto.Type, build Builder) (*Future, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, &ConnError{Op: iproto.TypeName(op), Err: ctx.Err()}
	}
	f := &Future{c: c, op: op, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		<-c.slots
		return nil, &ConnError{Op: iproto.TypeName(op), Err: c.failed}
	}
	c.nextID++
	f.sync = c.nextID
	c.waiting[f.sync] = f
	c.out = build(c.out, f.sync)
	c.work.Signal()
	return f, nil
}

// Wait returns the reply. Errors are the server's (*errcode.Error), with which the reply comes too, or *ConnError; a
// context that ends gives the latter with the context's error, and the request goes on: it counts as in flight until its
// reply comes.
func (f *Future) Wait(ctx context.Context) (*iproto.Reply, error) {
	select {
	case <-f.done:
	default:
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &ConnError{Op: iproto.TypeName(f.op), Sent: true, Err: ctx.Err()}
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	if f.reply.Err != nil {
		return &f.reply, f.reply.Err
	}
	return &f.reply, nil
}

// Done is closed when Wait would return at once.
func (f *Future) Done() <-chan struct{} { return f.done }

// finish completes a future that is out of the waiting map already. mu is held.
func (f *Future) finish() {
	close(f.done)
	<-f.c.slots
}

// fail ends the connection for err, the first time.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	c.failed = err
	unread := errcode.Is(err, errcode.Shutdown)
	close(c.ended)
	c.conn.Close()
	for id, f := range c.waiting {
		delete(c.waiting, id)
		f.err = &ConnError{Op: iproto.TypeName(f.op), Sent: id <= c.sentID && !unread, Err: err}
		f.finish()
	}
	c.work.Broadcast()
}

// writeLoop writes what calls have queued, as much as there is at a time.
func (c *Client) writeLoop() {
	defer c.done.Done()
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && c.failed == nil {
			c.work.Wait()
		}
		if c.failed != nil {
			c.mu.Unlock()
			return
		}
		out := c.out
		c.out, c.sentID = spare[:0], c.nextID
		c.mu.Unlock()
		if _, err := c.conn.Write(out); err != nil {
			c.fail(err)
			return
		}
		if spare = out; cap(spare) > 1<<20 {
			spare = nil
		}
	}
}

// readLoop reads reply frames and hands them to who waits for them.
func (c *Client) readLoop() {
	defer c.done.Done()
	buf, have := make([]byte, readBufferBytes), 0
	for {
		n, err := c.conn.Read(buf[have:])
		have += n
		used, errFrame := c.deliver(buf[:have])
		if errFrame != nil {
			err = errFrame
		}
		have = copy(buf, buf[used:have])
		if err == nil && have == len(buf) {
			have, err = 0, c.readLarge(buf)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// readLarge reads the rest of a frame that is larger than the buffer, which it fills, into bytes of its own: a large reply
// is held once.
func (c *Client) readLarge(buf []byte) error {
	// deliver has read this head, and has compared the size with the limit.
	head, body, err := iproto.FrameSize(buf)
	if err != nil {
		return err
	}
	payload := make([]byte, body)
	have := copy(payload, buf[head:])
	if _, err := io.ReadFull(c.conn, payload[have:]); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(payload)
}

// deliver handles all whole frames in b and returns how many bytes they took.
func (c *Client) deliver(b []byte) (used int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		head, body, err := iproto.FrameSize(b[used:])
		switch {
		case err != nil:
			return used, err
		case body > c.opts.ReplyBytes:
			return used, errcode.New(errcode.TooBig, "A reply", body, c.opts.ReplyBytes)
		case head == 0 || len(b)-used-head < body:
			return used, nil
		}
		// The future keeps the reply, so it gets bytes of its own.
		payload := append([]byte(nil), b[used+head:used+head+body]...)
		used += head + body
		if err := c.take(payload); err != nil {
			return used, err
		}
	}
}

// take gives one reply to its future. A reply to sync 0 is the server's last word about the connection; replies that
// nobody waits for are dropped. The payload belongs to the reply from now on. mu is held.
func (c *Client) take(payload []byte) error {
	var r iproto.Reply
	if err := iproto.DecodeReply(payload, &r); err != nil {
		return err
	}
	switch r.Code {
	case iproto.TypeChunk:
		return nil
	case iproto.TypeEvent:
		c.event(&r)
		return nil
	}
	f := c.waiting[r.Sync]
	if f == nil {
		if r.Sync == 0 && r.Err != nil {
			return r.Err
		}
		return nil
	}
	delete(c.waiting, r.Sync)
	f.reply = r
	f.finish()
	return nil
}
