package real

import (
	"testing"

	"golang.org/x/sys/unix"
)

// niceness of the calling thread. The system call gives 20 less it.
func niceness(t *testing.T) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n
}

// TestBackground: the work has a weak thread of its own, and nobody inherits it.
func TestBackground(t *testing.T) {
	for range 50 {
		before, inside := niceness(t), -100
		Background(func() { inside = niceness(t) })
		if after := niceness(t); inside != backgroundNice || before == backgroundNice || after == backgroundNice {
			t.Fatalf("niceness %d before, %d inside, %d after", before, inside, after)
		}
	}
}
