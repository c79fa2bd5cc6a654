package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// errClosedByServer ends a run: a server under test does not hang up.
var errClosedByServer = errors.New("the server closed the connection")

// conn is one connection of a thread. Each request in flight has a slot, whose number is its sync.
type conn struct {
	fd      int
	number  int
	slots   []slot
	free    []uint32
	fresh   []uint32 // slots of the requests in out that have no time yet
	out     []byte   // requests that are not written yet, from written on
	written int
	partial []byte // start of a reply that has not come whole
	wanted  bool   // told when the socket takes more
	// due and owed are for a fixed rate: when the next request is to be sent, and how many are late already.
	dueNs float64
	owed  uint64
}

// slot is the time since which a request's latency counts; 0 in a slot that is free.
type slot struct{ sinceNs int64 }

// dial connects and logs in, and takes the socket out of the runtime's hands.
func dial(ctx context.Context, o *Options, number int) (*conn, error) {
	fail := func(err error) (*conn, error) {
		return nil, &client.ConnError{Op: fmt.Sprintf("connection %d", number+1), Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	network := "tcp"
	if strings.Contains(o.Address, "/") {
		network = "unix"
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, o.Address)
	if err != nil {
		return fail(err)
	}
	defer nc.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(deadline); err != nil {
			return fail(err)
		}
	}
	if err := greet(nc, o); err != nil {
		return fail(err)
	}
	fd, err := takeSocket(nc)
	if err != nil {
		return fail(err)
	}
	c := &conn{fd: fd, number: number, slots: make([]slot, o.Depth), free: make([]uint32, o.Depth), fresh: make([]uint32, 0, o.Depth)}
	for i := range c.free {
		c.free[i] = uint32(o.Depth - 1 - i)
	}
	return c, nil
}

// greet reads the greeting and logs in.
func greet(nc net.Conn, o *Options) error {
	var b [iproto.GreetingBytes]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	g, err := iproto.ParseGreeting(b[:])
	if err != nil || o.User == "" {
		return err
	}
	scramble := iproto.Scramble(o.Password, g.Salt)
	if _, err := nc.Write(iproto.AppendAuth(nil, 1, o.User, scramble[:])); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	var reply []byte
	for {
		var chunk [512]byte
		n, err := nc.Read(chunk[:])
		if err != nil {
			return fmt.Errorf("login: %w", err)
		}
		reply = append(reply, chunk[:n]...)
		out, err := readReply(reply)
		switch {
		case err != nil:
			return fmt.Errorf("login: %w", err)
		case out.complete && out.code != 0:
			return fmt.Errorf("login: %s", errorText(reply))
		case out.complete:
			return nil
		}
	}
}

// takeSocket returns a descriptor of the connection's socket that the caller owns; it does not block.
func takeSocket(nc net.Conn) (fd int, err error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("connection of type %T has no socket", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var errDup error
	err = raw.Control(func(s uintptr) { fd, errDup = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, errDup); err != nil {
		return -1, fmt.Errorf("take over socket: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("take over socket: %w", err)
	}
	return fd, nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// put builds a request into a free slot. sinceNs 0 means that the request's time is when it is written.
func (c *conn) put(t *template, key uint32, sinceNs int64) {
	last := len(c.free) - 1
	number := c.free[last]
	c.free = c.free[:last]
	c.out = t.appendFrame(c.out, number, key)
	c.slots[number].sinceNs = sinceNs
	if sinceNs == 0 {
		c.fresh = append(c.fresh, number)
	}
}

// flush writes as much as the socket takes. left tells that there is more.
func (c *conn) flush(nowNs int64) (left bool, err error) {
	for _, number := range c.fresh {
		c.slots[number].sinceNs = nowNs
	}
	c.fresh = c.fresh[:0]
	for c.written < len(c.out) {
		n, err := unix.Write(c.fd, c.out[c.written:])
		if n > 0 {
			c.written += n
		}
		switch {
		case err == unix.EAGAIN:
			return true, nil
		case err == unix.EINTR:
		case err != nil:
			return false, fmt.Errorf("write: %w", err)
		}
	}
	c.out, c.written = c.out[:0], 0
	return false, nil
}

// take frees the slot of a reply and returns since when it was in flight.
func (c *conn) take(sync uint64) (sinceNs int64, err error) {
	if sync >= uint64(len(c.slots)) || c.slots[sync].sinceNs == 0 {
		return 0, fmt.Errorf("reply to request %d, which is not in flight", sync)
	}
	s := &c.slots[sync]
	sinceNs, s.sinceNs = s.sinceNs, 0
	c.free = append(c.free, uint32(sync))
	return sinceNs, nil
}

// clock counts nanoseconds from a moment before the run, so that no time of the run is 0.
type clock struct{ base time.Time }

func newClock() clock { return clock{base: time.Now().Add(-time.Second)} }

func (c clock) now() int64 { return int64(time.Since(c.base)) }
