package raftgroup

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Message goes from one replica of a group to another. Its bytes are the library's; they carry no group, cluster or
// epoch, which the transport adds and checks.
type Message struct{ m *pb.Message }

// From is the sender's raft id.
func (m Message) From() uint64 { return m.m.GetFrom() }

// To is the receiver's raft id.
func (m Message) To() uint64 { return m.m.GetTo() }

// Term is the sender's term, 0 for messages without one.
func (m Message) Term() uint64 { return m.m.GetTerm() }

// Kind names the message for logs and counters, for example "MsgApp".
func (m Message) Kind() string { return m.m.GetType().String() }

// Bulk reports that the message carries entries or announces a snapshot, or would if there were any: it is sent after those
// by which replicas know that others live and lead.
func (m Message) Bulk() bool {
	return m.m.GetType() == pb.MsgApp || m.m.GetType() == pb.MsgSnap
}

// Heartbeat reports that the message is one by which a leader shows that it lives: it is answered at once, without a write.
func (m Message) Heartbeat() bool { return m.m.GetType() == pb.MsgHeartbeat }

// Size is about the number of bytes that Append appends, not less than those of its entries.
func (m Message) Size() int {
	n := messageBytes + len(m.m.GetContext())
	for _, e := range m.m.GetEntries() {
		n += entryBytes + len(e.GetData())
	}
	return n
}

// messageBytes and entryBytes are about what a message and an entry take beside their data.
const messageBytes, entryBytes = 64, 24

// Snapshot is the position of the snapshot that a message brings, if it brings one. Its content travels beside the message.
func (m Message) Snapshot() (p Position, ok bool) {
	meta := m.m.GetSnapshot().GetMetadata()
	if m.m.GetType() != pb.MsgSnap || meta.GetIndex() == 0 {
		return Position{}, false
	}
	return positionOf(meta.GetIndex(), meta.GetTerm(), meta.GetConfState()), true
}

// Append appends the message's bytes to dst.
func (m Message) Append(dst []byte) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(dst, m.m)
}

// DecodeMessage reads the bytes of a message from another replica. It keeps nothing of b.
func DecodeMessage(b []byte) (Message, error) {
	m := new(pb.Message)
	if err := proto.Unmarshal(b, m); err != nil {
		return Message{}, fmt.Errorf("raftgroup: decode message: %w", err)
	}
	if m.GetFrom() == 0 || m.GetTo() == 0 {
		return Message{}, fmt.Errorf("raftgroup: message without sender or receiver")
	}
	return Message{m}, nil
}
