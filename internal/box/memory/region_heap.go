//go:build race

package memory

import "unsafe"

// region is, in builds with the race detector, a slice of the Go heap.
type region struct{ all []byte }

const rangeBytesMax = 256 << 20

func (r *region) reserve(quota uint64) error {
	bytes := min(quota+quota/2+8<<20, rangeBytesMax)
	r.all = make([]byte, bytes&^(grainBytes-1))
	return nil
}

func (r *region) base() unsafe.Pointer  { return unsafe.Pointer(unsafe.SliceData(r.all)) }
func (r *region) bytes() uint64         { return uint64(len(r.all)) }
func (r *region) grow(uint64) error     { return nil }
func (r *region) forget(uint64, uint64) {}
func (r *region) release() error        { r.all = nil; return nil }
