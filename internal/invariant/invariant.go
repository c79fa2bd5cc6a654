// Package invariant holds the checks that stop the process: a condition that is false here is a bug in this program,
// never bad input or a failing machine. They stay on in production. Pure.
package invariant

import "fmt"

// Check panics with the formatted text if ok is false.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf("invariant broken: "+format, args...))
	}
}
