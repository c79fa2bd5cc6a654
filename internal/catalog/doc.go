// Package catalog is the cluster's own state machine: the small tables that every instance keeps in full, the operations
// that change them, and the checks that an operation must pass before the leader proposes it. Pure.
//
// A State is a value that only its owner changes, by Apply: equal operations in equal order give equal bytes on every
// instance. A Clone costs nothing and shares the rows, so a published State can be read by any number of goroutines while
// its owner goes on with another. Rows are raw MessagePack tuples; table names and columns follow Picodata, so that
// dashboards and habits carry over, with the ids moved down by 100.
//
// What it is not: the log that carries the entries (raftgroup), the loop that feeds it (catalog/runner), the decision what
// an instance's grade should become (governor), or the engine that shows the tables to clients (box).
package catalog
