// Package lifecycle holds the two machines of a process's life and the words of a third: the stage of a process, the
// state of an instance, and the grade that the cluster gives to an instance. Each has one type and one table of
// allowed changes; nothing else in the program decides which change is allowed.
//
// Pure: no I/O, goroutines, locks or clocks; time comes in as an argument, and a Machine belongs to the one goroutine
// that steps it. What is done in a state is decided by package instance, grades by package governor, and whether a
// process is started again by package supervisor.
package lifecycle

//go:generate go run github.com/lycosadb/lycosa/internal/lifecycle/gen -root ../..
