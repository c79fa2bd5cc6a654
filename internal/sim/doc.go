// Package sim runs the real cores in a simulated world, as tests: one goroutine, virtual time, and every choice from one
// seed, so that a seed that fails fails again. It has no code of its own. So far it runs raft groups: package raftgroup
// on the log of package wal on disks that lose what was not synced, clocks that run apart, a network that loses, delays,
// repeats and parts. Everything that a replica does between messages is what package runner does.
package sim
