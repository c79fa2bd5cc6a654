// Package snap reads and writes Tarantool's .snap and .xlog files on an io.Reader or io.Writer, and reads those of its
// engine vinyl (.vylog, .run, .index). Pure: it opens no file and starts no goroutine. Which rows go into a snapshot, what the files are called and when they become visible is
// decided by box/checkpoint; what the rows mean, by box and box/recovery.
package snap

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Kind is the first line of a file: what sort of file it is.
type Kind string

// The kinds of files that this package reads. It writes the first two.
const (
	KindSnap Kind = "SNAP"
	KindXlog Kind = "XLOG"
	// KindVylog is vinyl's log of what its files are, KindRun a sorted run of statements, KindIndex what describes a run.
	KindVylog Kind = "VYLOG"
	KindRun   Kind = "RUN"
	KindIndex Kind = "INDEX"
)

// kinds are all of them.
var kinds = [...]Kind{KindSnap, KindXlog, KindVylog, KindRun, KindIndex}

// writable tells whether this package writes files of the kind.
func (k Kind) writable() bool { return k == KindSnap || k == KindXlog }

func (k Kind) known() bool { return slices.Contains(kinds[:], k) }

// IsLog tells whether files of this kind grow while the server runs: such a file has no end marker before it is closed.
func (k Kind) IsLog() bool { return k == KindXlog || k == KindVylog }

// hasClock tells whether the header of such a file has a vector clock.
func (k Kind) hasClock() bool { return k != KindRun && k != KindIndex }

// KindOf returns the kind of the file that begins with head, false if it is none of these.
func KindOf(head []byte) (Kind, bool) {
	first, _, whole := bytes.Cut(head, []byte{'\n'})
	k := Kind(first)
	return k, whole && k.known()
}

// Row types as Tarantool numbers them (request types of its binary protocol).
const (
	TypeInsert  uint32 = 2
	TypeReplace uint32 = 3
	TypeUpdate  uint32 = 4
	TypeDelete  uint32 = 5
	TypeUpsert  uint32 = 9
	TypeNop     uint32 = 12
	TypeRaft    uint32 = 30
	// What a quorum decided about synchronous transactions: the body has the replica and its LSN up to which, or from
	// which on, it holds.
	TypePromote  uint32 = 31
	TypeDemote   uint32 = 32
	TypeConfirm  uint32 = 40
	TypeRollback uint32 = 41
	// Rows of vinyl's own files.
	TypeRunInfo  uint32 = 100
	TypePageInfo uint32 = 101
	TypeRowIndex uint32 = 102
)

// FlagCommit is the bit of Row.Flags that marks the last row of a transaction of several rows.
const FlagCommit uint64 = 1

// GroupLocal is the Row.GroupID of rows of local spaces.
const GroupLocal uint32 = 1

var (
	// ErrNoEOF says that the file ended before its end marker: legal for the newest log of an instance that was killed,
	// never for a snapshot. All rows returned before it are whole.
	ErrNoEOF = errors.New("the file has no end marker")
	// ErrCorrupt says that bytes of the file are not what was written.
	ErrCorrupt = errors.New("the file is damaged")
	// ErrLimit says that a part of the file is larger than the reader's limits allow.
	ErrLimit = errors.New("the file exceeds a limit")
)

// Error is a failure to read a file: where and what. Its cause is ErrNoEOF, ErrCorrupt, ErrLimit or an error of the
// underlying reader, so errors.Is works on it.
type Error struct {
	// Offset is the position in the file, in bytes: the start of the header line, block or marker concerned.
	Offset int64
	// What says what was found there.
	What string
	Err  error
}

// Error returns the text with the offset in the file.
func (e *Error) Error() string {
	return fmt.Sprintf("snap: at offset %d: %s: %v", e.Offset, e.What, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

const (
	magicPlain = 0xd5ba0bab
	magicZstd  = 0xd5ba0bba
	magicEOF   = 0xd510aded

	fixHeaderBytes = 19

	// compressBytesMin is the size from which a block is compressed, blockBytesGoal the size that the writer fills
	// blocks up to: both as Tarantool does.
	compressBytesMin = 2 << 10
	blockBytesGoal   = 128 << 10
)

// blockChecksum is the CRC-32C of Tarantool's block headers: start value 0 and no inversion at either end.
func blockChecksum(table *crc32.Table, payload []byte) uint32 {
	return ^crc32.Update(0xffffffff, table, payload)
}
