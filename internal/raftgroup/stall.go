package raftgroup

import (
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

// A leader whose disk stands still acknowledges nothing, or little, but its heartbeats go on, and nobody takes its place. So
// it stops to listen: what its followers answer does not count, it finds that it has no quorum, and gives up as any leader
// does that is cut off. As long as the disk stands still it does not try to lead again: its votes and entries would not be
// written down. It goes on to follow.

// ElectionTimeout is the configured one, rounded up to whole ticks.
func (g *Group) ElectionTimeout() time.Duration {
	return time.Duration(g.cfg.electionTicks) * g.cfg.tick
}

// Stall tells that this replica's disk has not finished what it was asked for in a long time, or that it has now. A lone voter has
// nobody to give its place to, and does not mind.
func (g *Group) Stall(stalled bool) { g.stalled = stalled }

// stands reports whether this replica may not lead because its disk stands still.
func (g *Group) stands() bool { return g.stalled && !g.Lone() }

// deafTo reports whether a replica whose disk stands still does not take a message.
func (g *Group) deafTo(t pb.MessageType) bool {
	switch t {
	case pb.MsgAppResp, pb.MsgHeartbeatResp, pb.MsgVoteResp, pb.MsgPreVoteResp:
		return true
	}
	return false
}
