package httpd

import (
	"net"
	"sync"
)

// limited lets at most cap(slots) accepted connections be open; the others wait in the kernel's queue.
type limited struct {
	net.Listener
	slots     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
}

func limitListener(l net.Listener, connectionsMax int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, connectionsMax), closed: make(chan struct{})}
}

// Accept waits for a slot and a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close also wakes an Accept that waits for a slot.
func (l *limited) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type slotConn struct {
	net.Conn
	free func()
}

// Close gives the slot back.
func (c *slotConn) Close() error {
	err := c.Conn.Close()
	c.free()
	return err
}
