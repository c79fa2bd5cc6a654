package server

import "sync"

// buffer is a byte slice that can be pooled without allocating.
type buffer struct{ b []byte }

// pool keeps buffers of the usual size; connections hold one only while they have bytes.
type pool struct{ p sync.Pool }

func (p *pool) get() *buffer {
	if b, ok := p.p.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, bufferBytes)}
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

// put takes a buffer back; a small one and one that has grown are left to the garbage collector. nil is allowed.
func (p *pool) put(b *buffer) {
	if b == nil || cap(b.b) < bufferBytes || cap(b.b) > 2*flushBytes {
		return
	}
	b.b = b.b[:0]
	p.p.Put(b)
}
