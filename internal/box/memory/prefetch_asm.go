//go:build amd64 || arm64

package memory

import "unsafe"

// prefetch asks the processor to load lines cache lines from p on, at least one. It never faults.
//
//go:noescape
func prefetch(p unsafe.Pointer, lines uint64)
