// Package instance is the child process: it binds its addresses, looks at its data directory, and takes the instance
// through its stages until it serves. It is the only place that wires the other packages together. Effects: all of them.
//
// Read it in the order of an instance's life: instance.go (start and end), listen.go (sockets), discover.go, boot.go, join.go,
// initcommon.go, restart.go, postjoin.go, shutdown.go; then peers.go, peercalls.go and report.go (other instances), requests.go and
// procedures.go (what clients reach), schemachange.go and schemafollow.go (the schema of several
// replicasets), operator.go (what operators want), and show.go (what people see). recover.go runs while no
// instance does. What a state may follow, and in which stage, is decided by package lifecycle.
package instance
