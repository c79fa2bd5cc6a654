// Package title shows in process lists what a process is. Effects: the name of this process. What it is comes from the
// caller.
package title

import (
	"os"
	"strings"
	"unsafe"

	"github.com/lycosadb/lycosa/internal/sys"
)

// Prefix begins every title.
const Prefix = "lycosa:"

// commBytesMax is what the kernel keeps of a process's name.
const commBytesMax = 15

// argBytes is the room that Placeholder makes.
const argBytes = 32

// Placeholder is the argv[0] of a child: long enough for every title that the child will set.
func Placeholder() string {
	const first = Prefix + "instance"
	return first + strings.Repeat(" ", argBytes-len(first))
}

// Set names the process "lycosa:WHAT" in the kernel's short name and, if argv[0] was made by Placeholder, there too.
// It is cosmetic: a failure has no consequence and is not told. It must not be called by two goroutines at once.
func Set(fsys sys.FS, what string) {
	name := Prefix + strings.ToLower(what)
	if f, err := fsys.OpenFile("/proc/self/comm", os.O_WRONLY, 0); err == nil {
		_, _ = f.Write([]byte(name[:min(len(name), commBytesMax)]))
		_ = f.Close()
	}
	if len(os.Args) == 0 || len(os.Args[0]) != argBytes || !strings.HasPrefix(os.Args[0], Prefix) {
		return
	}
	// The Go runtime does not copy the arguments: os.Args[0] lies in the memory that process lists show, which is
	// writable and belongs to nobody else. Only bytes of that argument are changed.
	arg := unsafe.Slice(unsafe.StringData(os.Args[0]), len(os.Args[0]))
	n := copy(arg[len(Prefix):], name[len(Prefix):])
	for i := len(Prefix) + n; i < len(arg); i++ {
		arg[i] = ' '
	}
}
