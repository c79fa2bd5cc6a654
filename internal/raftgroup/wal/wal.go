// Package wal keeps the log of a raft group on disk: entries, term and vote, and records of local spaces, in one sequence
// of checksummed records. Effects: files, through package sys; the salt of a segment is drawn from crypto/rand. What is
// written and when it counts as committed is decided by package raftgroup and its runner; what entries mean is not known
// here.
//
// One Append is one record, one write and at most one datasync. Segments are preallocated, so that a full disk is noticed
// before anything is written; every other failed write or sync poisons the log for good. A record carries the checksum of
// the one before it, the highest index known to be committed, and the place up to which the file was synced: that tells a
// torn write (cut at start) from damage (Open fails, naming file and offset).
package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// SyncMode tells how entries and local rows reach the disk. Term, vote and changes of membership are synced in every mode.
type SyncMode uint8

const (
	// SyncFsync syncs before Append returns.
	SyncFsync SyncMode = iota
	// SyncWrite writes and does not sync: survives a killed process, not a power cut.
	SyncWrite
	// SyncNone does not log entries and local rows at all, until a clean stop (CloseAt).
	SyncNone
)

// String is the mode's name as in --wal-mode.
func (m SyncMode) String() string {
	switch m {
	case SyncWrite:
		return "write"
	case SyncNone:
		return "none"
	}
	return "fsync"
}

// ParseSyncMode reads "fsync", "write" or "none".
func ParseSyncMode(s string) (SyncMode, error) {
	for _, m := range [...]SyncMode{SyncFsync, SyncWrite, SyncNone} {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("unknown mode %q: fsync, write or none", s)
}

// Options of Open. Dir, Group and FS must be given.
type Options struct {
	FS sys.FS
	// Dir is created if it is missing. Prefix begins the names of all files of this log in it.
	Dir, Prefix string
	// Group (at most 32 bytes) and Instance are in every segment; a log of another group or instance is refused.
	Group    string
	Instance uuid.UUID
	// SegmentBytes is the size of a new segment, 32 MiB unless given, at least 4 KiB.
	SegmentBytes int64
	// ReserveBytes is the size of the reserve file, 256 KiB unless given.
	ReserveBytes int64
	Sync         SyncMode
	// Boot names the machine's boot: in mode write an unclean stop is as good as a clean one as long as it stays the same.
	Boot string
	// AckedIndex is an index known from elsewhere (the identity file) to have been acknowledged; a log that ends before it
	// is not opened. 0: none.
	AckedIndex uint64
	// Logger may be nil.
	Logger *slog.Logger
}

// Batch is what one Append writes.
type Batch struct {
	// HardState, if not nil, is written and synced, whatever the mode. Its Commit means nothing here.
	HardState *raftgroup.HardState
	// Commit is the highest index known to be committed once the batch is in the log. It may speak of its entries: those
	// that they replace never were, which is why it counts only together with them.
	Commit uint64
	// Entries follow each other; the first one follows the log's last entry, or replaces it and what is after its index.
	Entries []raftgroup.Entry
	// Local rows get the numbers after the last local row.
	Local [][]byte
	// Sync asks for a sync even where the mode does not.
	Sync bool
}

// Recovered tells what Open found.
type Recovered struct {
	// Fresh: there was no log.
	Fresh bool
	// HardState as last written; its Commit is the highest index that any record knew to be committed.
	HardState raftgroup.HardState
	// FirstIndex and LastIndex bound the entries; FirstIndex = LastIndex+1 means none.
	FirstIndex, LastIndex uint64
	// LastTerm is the term of entry LastIndex.
	LastTerm uint64
	// LocalLast is the number of the last local row.
	LocalLast uint64
	// CleanStop: the log was closed, or is fresh. Otherwise its last segment has been rewritten.
	CleanStop bool
	// Unsure: acknowledged entries may be gone. The stop was unclean, in mode none, or in mode write in another boot of the machine. It
	// stays so over further starts, whatever is done, until Vouch is called or the log is made anew.
	Unsure bool
	// Members, if not nil, are what was vouched for with an index; they overrule a snapshot up to it.
	Members *raftgroup.Position
	// TornTailBytes were cut from the end of file TornFile at TornOffset: a write that was never acknowledged, or, in mode
	// write, what a power cut took.
	TornTailBytes int64
	TornFile      string
	TornOffset    int64
	// LostEntries were known to be committed and are gone. Only mode write and mode none can lose them.
	LostEntries uint64
	Segments    int
	Bytes       int64
}

// ErrPoisoned is in the chain of every error after the first failed write or sync. Nothing may be acknowledged any more.
var ErrPoisoned = errors.New("the log is poisoned")

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("the log is closed")

// CorruptError says that a log cannot be trusted: damage that is not the torn end of the last write.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

// Error names file and offset.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

const (
	segmentBytesDefault = 32 << 20
	segmentBytesMin     = 4 << 10
	reserveBytesDefault = 256 << 10
	// controlBytes is the size of a segment made from the reserve when the disk is full.
	controlBytes = 16 << 10
	// bufferKeepBytes: a larger buffer is not kept for the next record.
	bufferKeepBytes = 4 << 20
)

// Log is an open log. Append, Mark, EnsureRoom and Close are for one writer at a time (they lock); reading beside the
// writer is safe.
type Log struct {
	opts Options
	rec  Recovered

	// wmu guards the fields of the writer; it is taken before mu.
	wmu    sync.Mutex
	f      sys.File
	head   segmentHeader
	off    int64
	size   int64
	synced int64
	chain  uint32
	hard   raftgroup.HardState
	local  uint64
	spare  bool
	// reserve: the reserve file is there.
	reserve bool
	buf     []byte
	failed  error
	marked  uint64
	// how is what the mode file says; closing: it is to say that the log was closed.
	how     howWritten
	closing bool

	// mu guards what readers see.
	mu sync.Mutex
	ix index

	commit atomic.Uint64
	full   atomic.Bool
	left   atomic.Int64 // see Room
}

// Recovered tells what Open found.
func (l *Log) Recovered() Recovered { return l.rec }

// Full reports that the disk was full when room for more was last asked for. EnsureRoom finds out anew.
func (l *Log) Full() bool { return l.full.Load() }

// NoteCommit remembers the highest committed index, of entries that are in the log; the next records carry it.
func (l *Log) NoteCommit(index uint64) {
	for {
		known := l.commit.Load()
		if index <= known || l.commit.CompareAndSwap(known, index) {
			return
		}
	}
}

// FirstIndex is the first entry held; it is LastIndex+1 if there is none.
func (l *Log) FirstIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ix.first
}

// LastIndex is the last entry held, or the position that the next entry follows.
func (l *Log) LastIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ix.last
}

// Bytes is the size of the log without unused room.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ix.bytes()
}

// SizeSince is about how many bytes of log follow the entry at index (exact to 256 KiB).
func (l *Log) SizeSince(index uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ix.bytesSince(index)
}

// Restored is the log as package raftgroup wants it at start.
func (l *Log) Restored() raftgroup.Restored {
	l.mu.Lock()
	defer l.mu.Unlock()
	return raftgroup.Restored{
		HardState: l.rec.HardState, FirstIndex: l.ix.first, LastIndex: l.ix.last,
		Terms: append([]raftgroup.TermRun(nil), l.ix.terms...), ConfChanges: append([]raftgroup.Entry(nil), l.ix.confs...),
	}
}

// Mode is the mode the log was opened with.
func (l *Log) Mode() SyncMode { return l.opts.Sync }
