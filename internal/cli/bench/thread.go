package bench

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readBytes is the size of a thread's read buffer; it grows for a longer reply.
	readBytes = 256 << 10
	// wakeMax bounds how long a thread does not look whether it shall end.
	wakeMax = 100 * time.Millisecond
	// errorKindsMax bounds the error numbers that are told apart.
	errorKindsMax = 64
	timerID       = -1
)

// phase is what all threads of a run share. Only the counters change while it runs.
type phase struct {
	clock    clock
	template *template
	// begunNs is when the first request is due at a fixed rate; fromNs and untilNs are the time in which requests count. Without an end, untilNs is math.MaxInt64.
	begunNs, fromNs, untilNs int64
	drainMax                 time.Duration
	// everyNs is the time between two requests of one connection at a fixed rate, 0 for a closed loop.
	everyNs float64

	stop atomic.Bool
}

// ErrorCount is how often a request was answered with an error number, and the first of its messages.
type ErrorCount struct {
	Count   uint64 `json:"count"`
	Message string `json:"message"`
}

// thread is one OS thread with its connections. The fields from latency on are its result, valid when run has returned.
type thread struct {
	p       *phase
	src     *source
	quota   uint64 // requests that may still be sent
	conns   []*conn
	epoll   int
	timer   int
	buf     []byte
	cursor  int // at a fixed rate: whose turn is next
	turnNs  float64
	ended   bool // no more requests are sent
	endedNs int64
	pending int // requests in flight
	replies uint64
	failed  uint64

	// shown are replies and failed as others may read them while the thread runs.
	shown struct{ replies, failed atomic.Uint64 }

	latency   Histogram
	requests  uint64 // replies within the measured time
	rows      uint64
	lastNs    int64 // time of the last reply
	unsent    uint64
	errors    map[uint32]*ErrorCount
	exhausted bool // ended for want of keys or requests
	err       error
}

// run sends and receives until the time, the keys or the requests are used up and all replies have come.
func (t *thread) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if t.err = t.open(); t.err == nil {
		t.err = t.loop()
	}
	if t.err != nil {
		t.p.stop.Store(true)
	}
	_ = unix.Close(t.epoll)
	_ = unix.Close(t.timer)
}

func (t *thread) open() (err error) {
	t.buf = make([]byte, readBytes)
	t.errors = make(map[uint32]*ErrorCount)
	t.timer = -1
	if t.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if t.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, t.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerID}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for i, c := range t.conns {
		c.number = i
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, c.fd, &e); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	if t.p.everyNs > 0 {
		// Without it the kernel may wake this thread 50 µs late.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	}
	return nil
}

func (t *thread) loop() error {
	events := make([]unix.EpollEvent, 128)
	now := t.p.clock.now()
	if t.p.everyNs == 0 {
		for _, c := range t.conns {
			if err := t.refill(c, now); err != nil {
				return err
			}
		}
	} else {
		t.turnNs = float64(t.p.begunNs)
		for i, c := range t.conns {
			c.dueNs = t.turnNs + t.p.everyNs*float64(i)/float64(len(t.conns))
		}
	}
	for {
		now = t.p.clock.now()
		if now >= t.p.untilNs || t.p.stop.Load() {
			t.noteDue(min(now, t.p.untilNs))
			t.finish(now)
			t.countUnsent()
		}
		if t.ended && t.pending == 0 {
			return nil
		}
		if t.ended && now > max(t.endedNs, t.lastNs)+int64(t.p.drainMax) {
			return fmt.Errorf("%d requests are without a reply after %s", t.pending, t.p.drainMax)
		}
		if t.p.everyNs > 0 && !t.ended {
			if err := t.sendDue(now); err != nil {
				return err
			}
		}
		n, err := unix.EpollWait(t.epoll, events, t.waitMs(now))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if err := t.handle(e); err != nil {
				return err
			}
		}
	}
}

// waitMs is how long to wait for events.
func (t *thread) waitMs(now int64) int {
	wait := int64(wakeMax)
	if !t.ended {
		wait = min(wait, t.p.untilNs-now)
	}
	return max(int((wait+int64(time.Millisecond)-1)/int64(time.Millisecond)), 0)
}

// finish sends no more.
func (t *thread) finish(now int64) {
	if !t.ended {
		t.ended, t.endedNs = true, now
	}
}

// noteDue gives their turn to the connections whose time came while this thread did not run, without sending.
func (t *thread) noteDue(now int64) {
	if t.p.everyNs == 0 || t.ended {
		return
	}
	for t.turnNs < float64(now) {
		t.takeTurn().owed++
	}
}

// takeTurn is the connection whose turn it is, and goes on to the next.
func (t *thread) takeTurn() *conn {
	c := t.conns[t.cursor]
	t.cursor = (t.cursor + 1) % len(t.conns)
	t.turnNs += t.p.everyNs / float64(len(t.conns))
	return c
}

// countUnsent counts what was due at a fixed rate and was not sent in time, with the time that it has waited.
func (t *thread) countUnsent() {
	for _, c := range t.conns {
		for ; c.owed > 0; c.owed-- {
			t.latency.Record(t.endedNs - int64(c.dueNs))
			c.dueNs += t.p.everyNs
			t.unsent++
		}
	}
}

func (t *thread) handle(e unix.EpollEvent) error {
	if e.Fd == timerID {
		var b [8]byte
		_, _ = unix.Read(t.timer, b[:])
		return nil
	}
	c := t.conns[e.Fd]
	if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		if err := t.receive(c); err != nil {
			return err
		}
	}
	return t.refill(c, t.p.clock.now())
}

// receive reads once and takes the replies.
func (t *thread) receive(c *conn) error {
	have := copy(t.buf, c.partial)
	n, err := unix.Read(c.fd, t.buf[have:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return errClosedByServer
	}
	now := t.p.clock.now()
	b := t.buf[:have+n]
	for {
		o, err := readReply(b)
		if err != nil {
			return err
		}
		if !o.complete {
			if o.size > len(t.buf) {
				t.buf = append(make([]byte, 0, o.size), b...)[:o.size]
			}
			c.partial = append(c.partial[:0], b...)
			t.shown.replies.Store(t.replies)
			t.shown.failed.Store(t.failed)
			return nil
		}
		if err := t.reply(c, o, b[:o.size], now); err != nil {
			return err
		}
		b = b[o.size:]
	}
}

func (t *thread) reply(c *conn, o outcome, frame []byte, now int64) error {
	if o.code != 0 && o.code&0x8000 == 0 {
		return nil // a part of a reply, or an event
	}
	since, err := c.take(o.sync)
	if err != nil {
		return err
	}
	t.pending--
	t.replies++
	t.lastNs = now
	if o.code != 0 {
		t.countError(o.code&0x7fff, frame)
	}
	if since < t.p.fromNs {
		return nil
	}
	t.latency.Record(now - since)
	if now <= t.p.untilNs {
		t.requests++
		t.rows += uint64(o.rows)
	}
	return nil
}

func (t *thread) countError(code uint32, frame []byte) {
	t.failed++
	if e := t.errors[code]; e != nil {
		e.Count++
		return
	}
	if len(t.errors) >= errorKindsMax {
		code = 0
	}
	t.errors[code] = &ErrorCount{Count: 1, Message: errorText(frame)}
}

// refill sends on the free slots of a connection: all of them, or as many as are due.
func (t *thread) refill(c *conn, now int64) error {
	for !t.ended && len(c.free) > 0 {
		since := int64(0)
		if t.p.everyNs > 0 {
			if c.owed == 0 {
				break
			}
			since = int64(c.dueNs)
		}
		key, ok := t.nextKey()
		if !ok {
			break
		}
		if t.p.everyNs > 0 {
			c.owed--
			c.dueNs += t.p.everyNs
		}
		c.put(t.p.template, key, since)
		t.pending++
	}
	left, err := c.flush(now)
	if err != nil || left == c.wanted {
		return err
	}
	c.wanted = left
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.number)}
	if left {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_MOD, c.fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// nextKey takes a key for one more request.
func (t *thread) nextKey() (key uint32, ok bool) {
	if t.quota > 0 {
		key, ok = t.src.key()
	}
	if !ok {
		t.exhausted = true
		t.finish(t.p.clock.now())
		for _, c := range t.conns {
			c.owed = 0
		}
		return 0, false
	}
	t.quota--
	return key, true
}

// sendDue gives their turn to the connections whose time has come, and sets the timer to the next turn.
func (t *thread) sendDue(now int64) error {
	for t.turnNs <= float64(now) && !t.ended {
		c := t.takeTurn()
		c.owed++
		if len(c.free) > 0 {
			if err := t.refill(c, now); err != nil {
				return err
			}
		}
	}
	wait := min(max(int64(math.Ceil(t.turnNs))-t.p.clock.now(), 1), int64(wakeMax))
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait)}
	if err := unix.TimerfdSettime(t.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	return nil
}
