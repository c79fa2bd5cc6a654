package raftgroup

import pb "go.etcd.io/raft/v3/raftpb"

// When an entry is committed, the library tells each follower so in a message of its own, which the follower answers. If the next
// entry is not far, this message may wait for it: the one that brings the entry tells the same. A message of this kind may be
// lost at any time, so one that is left out, because a newer one went, is nothing that the protocol does not bear.

// HoldNotices says whether messages without entries are held back from now on, which tell followers what is committed. A held one is
// dropped when a newer message of its kind goes to the same replica. Who holds them sees to it that SendNotices is called soon.
func (g *Group) HoldNotices(on bool) { g.holding = on }

// HoldsNotices reports that messages are held back.
func (g *Group) HoldsNotices() bool { return len(g.held) > 0 }

// SendNotices has the held messages given out by the next Ready.
func (g *Group) SendNotices() {
	for _, m := range g.held {
		g.out = append(g.out, Message{m})
		g.dirty = true
	}
	g.dropNotices()
}

func (g *Group) dropNotices() {
	clear(g.held)
	g.held = g.held[:0]
}

// hold keeps a message that only tells what is committed, and drops those that it, or a message with entries, is newer than. It
// returns false if the message is to be sent.
func (g *Group) hold(m *pb.Message) bool {
	kept := g.held[:0]
	for _, older := range g.held {
		if older.GetTo() != m.GetTo() {
			kept = append(kept, older)
		}
	}
	clear(g.held[len(kept):])
	g.held = kept
	if !g.holding || len(m.GetEntries()) > 0 {
		return false
	}
	g.held = append(g.held, m)
	return true
}
