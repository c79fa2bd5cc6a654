//go:build !race

package memory

import (
	"syscall"
	"unsafe"
)

// region is a reserved range of addresses of which a growing part may be touched.
type region struct {
	all    []byte
	usable uint64
}

const rangeBytesMax = 1 << (RefBits + unitShift)

// reserve asks for twice the quota and 1 GiB: retired blocks, fragments and recovery may need more than the quota.
// Where addresses are limited it is content with a quarter more than the quota.
func (r *region) reserve(quota uint64) error {
	var err error
	for _, bytes := range []uint64{2*quota + 1<<30, quota + quota/4 + 32<<20} {
		bytes = min(bytes, rangeBytesMax) &^ (grainBytes - 1)
		r.all, err = syscall.Mmap(-1, 0, int(bytes), syscall.PROT_NONE,
			syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
		if err == nil {
			break
		}
	}
	return err
}

func (r *region) base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(r.all)) }
func (r *region) bytes() uint64        { return uint64(len(r.all)) }

// grow makes the first upTo bytes usable.
func (r *region) grow(upTo uint64) error {
	more := r.all[r.usable:upTo]
	if err := syscall.Mprotect(more, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		return err
	}
	// Refused where the kernel has no huge pages: then small ones do.
	_ = syscall.Madvise(more, syscall.MADV_HUGEPAGE)
	r.usable = upTo
	return nil
}

// forget gives memory back to the system; the range stays usable and reads as zeros.
func (r *region) forget(offset, bytes uint64) {
	_ = syscall.Madvise(r.all[offset:offset+bytes], syscall.MADV_DONTNEED)
}

func (r *region) release() error {
	all := r.all
	r.all, r.usable = nil, 0
	return syscall.Munmap(all)
}
