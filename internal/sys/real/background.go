package real

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// backgroundNice is the niceness of background work: the weakest that the system knows.
const backgroundNice = 19

// Background runs f on a thread of its own, which the system lets run where nobody else wants the processor, and returns
// when f has returned. Goroutines that f starts are as any others. A system that does not let us be nice does not matter.
func Background(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and its niceness with it.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), backgroundNice)
		f()
	}()
	<-done
}
