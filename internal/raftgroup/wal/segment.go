package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/sys"
)

const (
	segmentSuffix = ".rlog"
	inProgress    = ".inprogress"
)

// ReserveFile is the name of the file that is given up when the disk is full, after the log's prefix.
const ReserveFile = "reserve"

// IsRoom tells whether a file of this name holds no data, but zeros that keep disk space for the log: the reserve, or the
// segment that comes next.
func IsRoom(name string) bool {
	return strings.HasSuffix(name, ReserveFile) || strings.HasSuffix(name, segmentSuffix+inProgress)
}

func segmentName(prefix string, seq uint64) string {
	return fmt.Sprintf("%s%016d%s", prefix, seq, segmentSuffix)
}

// parseSegmentName reads the number of a segment; false for files that are not ours.
func parseSegmentName(prefix, name string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, segmentSuffix); !ok || len(digits) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}

func (l *Log) path(name string) string { return l.opts.Dir + "/" + name }

func (l *Log) reserveName() string { return l.path(l.opts.Prefix + ReserveFile) }

// rotate begins the next segment with the header; on success it is the current one. ErrDiskFull: nothing has changed.
func (l *Log) rotate(head segmentHeader, size int64) error {
	name := segmentName(l.opts.Prefix, head.seq)
	head.size = size
	f, err := l.createSegment(name, &head)
	if err != nil {
		if errors.Is(err, sys.ErrDiskFull) && l.failed == nil {
			l.full.Store(true)
			return fmt.Errorf("wal: begin segment %s: %w", name, err)
		}
		return l.poisonFile(name, err)
	}
	if l.f != nil {
		if err := l.f.Close(); err != nil {
			_ = f.Close()
			return l.poison("close", err)
		}
	}
	l.f, l.head, l.size = f, head, size
	l.off, l.synced = segmentHeaderBytes, segmentHeaderBytes
	l.chain, l.marked = head.firstChain(), head.hard.Commit
	l.mu.Lock()
	l.ix.segs = append(l.ix.segs, &segment{
		seq: head.seq, name: name, salt: head.salt, end: l.off, localPrev: head.localLast,
	})
	l.mu.Unlock()
	return nil
}

func (l *Log) poisonFile(name string, err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("wal: begin segment %s: %w: %w", name, ErrPoisoned, err)
	}
	return l.failed
}

// createSegment makes a segment file under a temporary name (or takes the spare one), writes its header, syncs, renames
// and syncs the directory. A full disk before the rename leaves nothing behind.
func (l *Log) createSegment(name string, head *segmentHeader) (sys.File, error) {
	fsys, tmp := l.opts.FS, l.path(name+inProgress)
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	head.salt = binary.LittleEndian.Uint32(salt[:])
	flag := os.O_RDWR | os.O_CREATE
	if !l.spare {
		flag |= os.O_TRUNC
	}
	f, err := fsys.OpenFile(tmp, flag, 0o600)
	if err != nil {
		return nil, err
	}
	l.spare = false
	if err = f.Allocate(0, head.size); err == nil {
		if _, err = f.WriteAt(head.encode(), 0); err == nil {
			err = f.Sync()
		}
	}
	if err == nil {
		err = fsys.Rename(tmp, l.path(name))
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, sys.ErrDiskFull) {
			return nil, errors.Join(err, fsys.Remove(tmp))
		}
		return nil, err
	}
	if err := fsys.SyncDir(l.opts.Dir); err != nil {
		_ = f.Close()
		// The name is there already: this is no longer a full disk that passes.
		return nil, l.poisonFile(name, err)
	}
	return f, nil
}

// makeSpare allocates the file of the next segment.
func (l *Log) makeSpare() error {
	tmp := l.path(segmentName(l.opts.Prefix, l.head.seq+1) + inProgress)
	if err := l.allocateFile(tmp, l.opts.SegmentBytes); err != nil {
		return err
	}
	l.spare = true
	return nil
}

// makeReserve allocates the file whose removal makes room for control records when the disk is full.
func (l *Log) makeReserve() error {
	if l.reserve {
		return nil
	}
	if err := l.allocateFile(l.reserveName(), l.opts.ReserveBytes); err != nil {
		return err
	}
	l.reserve = true
	return nil
}

func (l *Log) allocateFile(path string, size int64) error {
	f, err := l.opts.FS.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.Allocate(0, size)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(err, l.opts.FS.Remove(path))
	}
	return nil
}
