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

// put takes a buffer back; one that has grown is left to the garbage collector. nil is allowed.
func (p *pool) put(b *buffer) {
	if b == nil || cap(b.b) > 2*flushBytes {
		return
	}
	b.b = b.b[:0]
	p.p.Put(b)
}
