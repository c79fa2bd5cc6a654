package server

import "sync"

// buffer is a byte slice that can be pooled without allocating.
type buffer struct{ b []byte }

// pool keeps buffers; connections hold one only while they have bytes.
type pool struct {
	usual sync.Pool // of bufferBytes to 2*flushBytes
	large sync.Pool // of more, to largeBytesMax
}

func (p *pool) get() *buffer {
	if b, ok := p.usual.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, bufferBytes)}
}

// getFor returns a buffer for about n bytes: who gathers as much each time does not let one grow each time.
func (p *pool) getFor(n int) *buffer {
	if n <= 2*flushBytes {
		return p.get()
	}
	if b, ok := p.large.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, min(n, largeBytesMax))}
}

// holding returns a buffer with a copy of some bytes. Few bytes get few: many connections may each have a short reply
// waiting.
func (p *pool) holding(data []byte) *buffer {
	if len(data) <= smallBytes {
		return &buffer{b: append(make([]byte, 0, smallBytes), data...)}
	}
	b := p.get()
	b.b = append(b.b, data...)
	return b
}

// add appends to a buffer that holding returned, and returns the one to go on with.
func (p *pool) add(b *buffer, data []byte) *buffer {
	if cap(b.b) < bufferBytes && len(b.b)+len(data) > cap(b.b) {
		large := p.get()
		large.b = append(large.b, b.b...)
		b = large
	}
	b.b = append(b.b, data...)
	return b
}

// put takes a buffer back; a small one and one that has grown beyond measure are left to the garbage collector. nil is
// allowed.
func (p *pool) put(b *buffer) {
	if b == nil || cap(b.b) < bufferBytes || cap(b.b) > largeBytesMax {
		return
	}
	b.b = b.b[:0]
	if cap(b.b) > 2*flushBytes {
		p.large.Put(b)
		return
	}
	p.usual.Put(b)
}
