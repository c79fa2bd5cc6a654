// Package raftgroup is one replicated log: a raft state machine (go.etcd.io/raft/v3, RawNode) wrapped so that nobody else
// sees its types, together with the part of the log that is kept in memory. It says what to write, what to send and what
// is committed. Pure: time comes as Tick, messages as Step, both with the clock; finished writes as Persisted; older entries are read through
// a function of the caller. One exemption: the library draws election timeouts from crypto/rand.
//
// What an entry means is not decided here (package replicaset, package catalog), nor how it reaches the disk
// (raftgroup/wal) or when (raftgroup/runner).
package raftgroup

import (
	"errors"
	"strconv"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// EntryType tells what the bytes of an entry are.
type EntryType uint8

const (
	// EntryNormal carries bytes of the state machine above; empty bytes are the no-op that begins a leader's term.
	EntryNormal EntryType = 0
	// EntryConfChange carries a change of the group's membership, see DecodeConfChange.
	EntryConfChange EntryType = 1
)

// Entry is one entry of the log. Data must not be changed.
type Entry struct {
	Index, Term uint64
	Type        EntryType
	Data        []byte
}

// HardState is what a replica must not forget: the newest term it has seen, its vote in that term (0: none), and the
// highest index it knows to be committed. Term and vote are durable before anything is said that depends on them;
// Commit may lag.
type HardState struct {
	Term, Vote, Commit uint64
}

// Position is a place in the log with the membership at that place: what a snapshot of the state machine stands for.
// A group is bootstrapped from a position without any entries before it.
type Position struct {
	Index, Term      uint64
	Voters, Learners []uint64
	// Outgoing are the voters that a joint configuration leaves behind, LearnersNext those of them that become learners;
	// both are empty in an ordinary configuration.
	Outgoing, LearnersNext []uint64
}

// TermRun says that the entries from Index on, up to the next run, have this Term.
type TermRun struct {
	Index, Term uint64
}

// Restored is what a log on disk gives back at start.
type Restored struct {
	HardState HardState
	// FirstIndex and LastIndex bound the entries on disk; FirstIndex > LastIndex means none.
	FirstIndex, LastIndex uint64
	// Terms covers FirstIndex to LastIndex.
	Terms []TermRun
	// ConfChanges are the membership entries among them, in order.
	ConfChanges []Entry
}

// Role is what a replica is in its group.
type Role string

const (
	// RoleFollower takes entries from the leader and votes.
	RoleFollower Role = "follower"
	// RoleCandidate asks for votes, or for the prospect of them.
	RoleCandidate Role = "candidate"
	// RoleLeader proposes.
	RoleLeader Role = "leader"
	// RoleLearner takes entries and does not vote.
	RoleLearner Role = "learner"
)

// Status is a replica's view of its group.
type Status struct {
	ID                 uint64
	Role               Role
	Term               uint64
	Committed, Applied uint64
	LastIndex          uint64
	// LeaderID is 0 while no leader is known.
	LeaderID         uint64
	Voters, Learners []uint64
	// Muted: see Config.Mute.
	Muted bool
	// Joint: a change of members is under way: the voters of before count too, or this replica might forget, if it lost
	// power now, that they do not. Nobody may leave for good before that is over.
	Joint bool
}

// Member is a replica as its leader knows it.
type Member struct {
	ID uint64
	// Match is the highest index that the replica is known to have in its log.
	Match uint64
	// Active: it has answered within the last election timeout.
	Active  bool
	Learner bool
}

// Level grades a line of the library's own log.
type Level uint8

const (
	// LevelDebug is for single messages.
	LevelDebug Level = iota
	// LevelInfo is for elections and the like.
	LevelInfo
	// LevelWarn is for what should not be often.
	LevelWarn
	// LevelError is for what should not be.
	LevelError
)

// Defaults of Config.
const (
	electionTimeoutDefault  = time.Second
	electionTicksMin        = 10
	tickMax                 = 100 * time.Millisecond
	heartbeatsPerElection   = 5
	tailBytesDefault        = 8 << 20
	messageBytesDefault     = 1 << 20
	applyBytesDefault       = 16 << 20
	inflightMessagesMax     = 256
	uncommittedBytesDefault = 256 << 20
)

// Config of a group.
type Config struct {
	// ID of this replica, never 0.
	ID uint64
	// Position the group starts from: of the newest snapshot, or of the bootstrap.
	Position Position
	// Applied is the last index the state machine holds; 0 means Position.Index. Entries above it are given out again.
	Applied uint64
	// Restored is what the log on disk holds.
	Restored Restored
	// Mute: this replica takes no part in its group, because it may have forgotten what it has acknowledged. It neither votes nor
	// takes entries nor says anything, and it does not know its members.
	Mute bool
	// Tail are the last entries of Restored, up to its LastIndex. They are kept in memory from the start; without Older they must be all.
	Tail []Entry
	// Older reads entries [lo, hi) that are no longer in memory, at least one and about bytesMax bytes. ErrCompacted if
	// they are gone. Nil: entries that leave memory are gone (a log that is kept in memory only).
	Older func(lo, hi, bytesMax uint64) ([]Entry, error)
	// ElectionTimeout (1 s) is the same for all replicas of a group: leases rest on it. A follower that has not heard its
	// leader for one to two times as long campaigns; heartbeats are a fifth of it apart, ticks a tenth or 100 ms.
	ElectionTimeout time.Duration
	// Now is the boot-time clock at start. It never goes back as long as the process lives.
	Now time.Duration
	// Incarnation is another one at each start of this replica, so that answers to read requests from before are known.
	Incarnation uint64
	// TailBytes (8 MiB) bounds the written entries that are kept in memory.
	TailBytes uint64
	// UncommittedBytesMax (256 MiB): above it Propose is refused.
	UncommittedBytesMax uint64
	// Log receives the library's log lines. Nil: none.
	Log func(level Level, text string)

	// electionTicks and tick follow from ElectionTimeout.
	electionTicks int
	tick          time.Duration
}

// Write is one thing to put on disk. Writes are made durable in the order in which they were given out, then given back
// with Persisted in the same order.
type Write struct {
	// Snapshot, if not nil, comes first: what the log holds is void and its next entry follows this position. The state
	// machine becomes what the snapshot, durable here since its message came, holds, before Persisted.
	Snapshot *Position
	// HardState, if not nil, is synced in every mode before Persisted.
	HardState *HardState
	// Entries follow each other. If the first one's index is not above the log's last, the log is cut there first.
	Entries []Entry
	// Commit is the highest index known to be committed, as far as the log reaches with this write. It goes to disk with it:
	// a replica must not forget that a change of membership is committed once a later one is in its log.
	Commit uint64

	raw raw
}

// ReadState answers ReadIndex: a read of a state that holds Index is linearizable.
type ReadState struct {
	Index   uint64
	Request uint64
}

// Ready is the work a group has at one moment.
type Ready struct {
	// Write is nil if nothing need be written.
	Write *Write
	// Committed entries are applied in order, then Applied is called, before the next Ready. The slice is reused.
	Committed  []Entry
	ReadStates []ReadState
	// Messages go to other replicas, but only after readers have been shown Lease: it may have ended by what was just
	// received, and what the messages say lets others act on that.
	Messages []Message
	// Changed reports that role, term or leader are others than before.
	Changed bool
}

// ErrCompacted says that entries are no longer in the log.
var ErrCompacted = errors.New("raftgroup: entries are compacted away")

// ErrLogShort says that the log on disk ends before an index that this replica had acknowledged.
var ErrLogShort = errors.New("raftgroup: the log ends before an acknowledged entry")

// NotLeader is the error for work that only the leader does; leader 0 means unknown.
func NotLeader(leader uint64) error {
	if leader == 0 {
		return errcode.New(errcode.NotALeader, "no leader is known")
	}
	return errcode.New(errcode.NotALeader, "the leader has raft id "+strconv.FormatUint(leader, 10))
}
