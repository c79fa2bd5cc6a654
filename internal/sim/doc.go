// Package sim runs the real cores in a simulated world, as tests: one goroutine, virtual time, and every choice from one
// seed, so that a seed that fails fails again. It has no code of its own.
//
// TestSeeds runs one raft group: package raftgroup on the log of package wal on disks that lose what was not synced, clocks
// that run apart, a network that loses, delays, repeats and parts. Everything that a replica does between messages is what
// package runner does.
//
// TestCluster (the files cluster_*) runs whole clusters: discovery, join, catalog, governor and the groups of the
// replicasets, with crashes at every durable step of an instance, and operators that stop, move, expel and replace. There a
// log is modelled by what of it is synced.
//
// TestJoinCrashes takes such a cluster through a join, again and again: at each step of it the joiner, the leader, or both end,
// and come back before or after another one leads. The join ends as one instance each time.
package sim
