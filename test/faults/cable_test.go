package faults

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quality is how badly frames are carried from one instance to another. The zero value is a good line.
type quality struct {
	// Each frame arrives after delay and up to jitter more; with overtake, out of order.
	delay, jitter time.Duration
	overtake      bool
	// Of a hundred frames so many are lost, and so many arrive twice.
	lost, twice int
	// bytesPerSecond is what goes through; what would wait longer than lineQueue is lost. 0: no limit.
	bytesPerSecond int
}

// lineQueue is how long a frame may wait before a narrow line, framesWaiting how many may wait in a cable.
const (
	lineQueue     = 300 * time.Millisecond
	framesWaiting = 1 << 14
)

// bitten counts what the cables of a network have done to frames; held are those that waited long for a narrow line.
type bitten struct{ delayed, lost, twice, overtaken, held atomic.Int64 }

// cable connects an instance to the bridge by two network devices of this process. What the instance sends to another one
// is carried as badly as the line to it is; what it sends to the test's clients, and all that comes, is passed on at once.
type cable struct {
	near, far *os.File // the bridge's end, the instance's end
	bitten    *bitten

	mu      sync.Mutex // guards the rest
	chance  *rand.Rand
	lines   map[byte]*line // by the last byte of the address they lead to
	waiting frames
	seq     int
	wake    chan struct{}
}

// line is what a cable knows of one way.
type line struct {
	quality
	free time.Time // when the last byte of what has been sent is through
	last time.Time // when the newest frame is due
}

// frame waits in a cable until it is due.
type frame struct {
	due  time.Time
	seq  int
	data []byte
}

type frames []frame

func (f frames) Len() int { return len(f) }
func (f frames) Less(i, k int) bool {
	return f[i].due.Before(f[k].due) || f[i].due.Equal(f[k].due) && f[i].seq < f[k].seq
}
func (f frames) Swap(i, k int) { f[i], f[k] = f[k], f[i] }
func (f *frames) Push(x any)   { *f = append(*f, x.(frame)) }
func (f *frames) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// openTap makes a network device whose frames this process carries. It ends with the file.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// newCable makes both devices and begins to carry.
func newCable(t testing.TB, near, far string, b *bitten) *cable {
	t.Helper()
	c := &cable{bitten: b, chance: rand.New(rand.NewPCG(*seed, 7)), lines: map[byte]*line{}, wake: make(chan struct{}, 1)}
	var err, err2 error
	c.near, err = openTap(near)
	c.far, err2 = openTap(far)
	if err := errors.Join(err, err2); err != nil {
		t.Fatalf("make a cable: %v", err)
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() { carry(c.near, func(data []byte) { write(c.far, data) }) })
	all.Go(func() { carry(c.far, c.send) })
	all.Go(func() { c.deliver(stop) })
	t.Cleanup(func() {
		close(stop)
		_, _ = c.near.Close(), c.far.Close()
		all.Wait()
	})
	return c
}

// carry reads frames until the device is closed. A device that is down answers with an error until it is up.
func carry(from *os.File, to func(data []byte)) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		switch {
		case err == nil:
			to(buf[:n])
		case errors.Is(err, os.ErrClosed):
			return
		default:
			time.Sleep(time.Millisecond)
		}
	}
}

// write puts a frame on a device; one that is down takes none, as a cable that is out.
func write(to *os.File, data []byte) { _, _ = to.Write(data) }

// destination is the last byte of the address that an IPv4 frame goes to, 0 for other frames.
func destination(data []byte) byte {
	if len(data) < 34 || data[12] != 0x08 || data[13] != 0 {
		return 0
	}
	return data[33]
}

// send carries a frame of the instance.
func (c *cable) send(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[destination(data)]
	if l == nil {
		write(c.near, data)
		return
	}
	now := time.Now()
	if c.chance.IntN(100) < l.lost || len(c.waiting) >= framesWaiting {
		c.bitten.lost.Add(1)
		return
	}
	due := now
	if l.bytesPerSecond > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > lineQueue/10 {
			c.bitten.held.Add(1)
		}
		if l.free.Sub(now) > lineQueue {
			c.bitten.lost.Add(1)
			return
		}
		l.free = l.free.Add(time.Duration(len(data)) * time.Second / time.Duration(l.bytesPerSecond))
		due = l.free
	}
	due = due.Add(l.delay + time.Duration(c.chance.Int64N(int64(l.jitter)+1)))
	if due.Before(l.last) {
		if l.overtake {
			c.bitten.overtaken.Add(1)
		} else {
			due = l.last
		}
	}
	l.last = due
	c.bitten.delayed.Add(1)
	c.put(due, data)
	if c.chance.IntN(100) < l.twice {
		c.bitten.twice.Add(1)
		c.put(due.Add(l.delay/2), data)
	}
}

func (c *cable) put(due time.Time, data []byte) {
	c.seq++
	heap.Push(&c.waiting, frame{due, c.seq, append([]byte(nil), data...)})
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// deliver brings the frames that are due.
func (c *cable) deliver(stop <-chan struct{}) {
	for {
		next := time.Hour
		c.mu.Lock()
		for len(c.waiting) > 0 {
			if next = time.Until(c.waiting[0].due); next > 0 {
				break
			}
			write(c.near, heap.Pop(&c.waiting).(frame).data)
			next = time.Hour
		}
		c.mu.Unlock()
		timer := time.NewTimer(next)
		select {
		case <-stop:
			timer.Stop()
			return
		case <-c.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// set makes the line to an instance as bad as that; the zero quality makes it good.
func (c *cable) set(to int, q quality) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lines, byte(to+1))
	if q != (quality{}) {
		c.lines[byte(to+1)] = &line{quality: q}
	}
}
