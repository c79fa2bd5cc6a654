package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Open opens the log in a directory or begins one. Everything in it is read and checked. A torn end of the last segment
// is cut (see Recovered); damage anywhere else is a *CorruptError. After an unclean stop the last segment is rewritten
// and synced before Open returns, because what the page cache shows may never have reached the disk.
func Open(o Options) (*Log, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytesDefault
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = reserveBytesDefault
	}
	if len(o.Group) > groupBytesMax || o.SegmentBytes < segmentBytesMin || o.SegmentBytes > segmentBytesMax {
		return nil, fmt.Errorf("wal: bad options: group %q, segments of %d bytes", o.Group, o.SegmentBytes)
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	l := &Log{opts: o}
	seqs, err := l.list()
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if len(seqs) == 0 {
		err = l.begin()
	} else {
		err = l.recover(seqs)
	}
	if err != nil {
		return nil, err
	}
	if !l.rec.Unsure { // else the file goes on to say how it came to that
		if err := l.writeMode(); err != nil {
			_ = l.f.Close()
			return nil, fmt.Errorf("wal: %w", err)
		}
	}
	l.rec.Members = l.how.Members
	if err := l.makeReserve(); err != nil {
		if !errors.Is(err, sys.ErrDiskFull) {
			_ = l.f.Close()
			return nil, fmt.Errorf("wal: reserve: %w", err)
		}
		l.full.Store(true)
	}
	l.noteRoom()
	return l, nil
}

// list removes unfinished files and returns the numbers of the segments in order.
func (l *Log) list() (seqs []uint64, err error) {
	entries, err := l.opts.FS.ReadDir(l.opts.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if base, ok := strings.CutSuffix(name, inProgress); ok {
			if _, ours := parseSegmentName(l.opts.Prefix, base); ours {
				if err := l.opts.FS.Remove(l.path(name)); err != nil {
					return nil, err
				}
			}
			continue
		}
		if seq, ok := parseSegmentName(l.opts.Prefix, name); ok {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// begin makes the first segment of a new log.
func (l *Log) begin() error {
	if err := l.opts.FS.SyncDir(path.Dir(l.opts.Dir)); err != nil {
		return fmt.Errorf("wal: sync the directory above %s: %w", l.opts.Dir, err)
	}
	head := segmentHeader{seq: 1, instance: l.opts.Instance, group: l.opts.Group}
	if err := l.rotate(head, l.opts.SegmentBytes); err != nil {
		return err
	}
	l.ix.reset(0, 0)
	l.rec = Recovered{Fresh: true, CleanStop: true, FirstIndex: 1, Segments: 1, Bytes: l.off}
	return nil
}

// recover reads all segments and opens the last one for writing.
func (l *Log) recover(seqs []uint64) error {
	var s scan
	for i, seq := range seqs {
		name := segmentName(l.opts.Prefix, seq)
		if i > 0 && seq != seqs[i-1]+1 {
			return &CorruptError{File: l.path(name), Reason: fmt.Sprintf("the segment after %d is missing", seqs[i-1])}
		}
		if err := l.scanSegment(&s, name, i == 0, i == len(seqs)-1); err != nil {
			return err
		}
	}
	l.NoteCommit(min(s.commit, l.ix.last))
	l.marked, l.chain, l.off, l.synced = l.commit.Load(), s.chain, s.off, s.off
	l.rec = Recovered{
		HardState: l.hard, FirstIndex: l.ix.first, LastIndex: l.ix.last, LastTerm: l.ix.lastTerm, LocalLast: l.local,
		CleanStop: s.closed && s.torn == 0, Segments: len(seqs), Bytes: l.ix.bytes(), TornTailBytes: s.torn,
	}
	l.rec.HardState.Commit = s.commit
	if s.torn > 0 {
		l.rec.TornFile, l.rec.TornOffset = l.path(segmentName(l.opts.Prefix, l.head.seq)), s.off
	}
	if s.commit > l.ix.last {
		l.rec.LostEntries = s.commit - l.ix.last
	}
	if err := l.judge(); err != nil {
		return err
	}
	if l.opts.AckedIndex > l.ix.last && l.opts.Sync == SyncFsync && !l.rec.Unsure {
		return &CorruptError{File: l.path(segmentName(l.opts.Prefix, l.head.seq)), Offset: s.off, Reason: fmt.Sprintf(
			"the log ends at index %d, but index %d was acknowledged", l.ix.last, l.opts.AckedIndex)}
	}
	return l.reopen()
}

// reopen opens the last segment for writing, rewritten if the stop was not clean.
func (l *Log) reopen() error {
	name := segmentName(l.opts.Prefix, l.head.seq)
	if l.rec.CleanStop {
		f, err := l.opts.FS.OpenFile(l.path(name), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		l.f, l.size = f, l.head.size
		return nil
	}
	head := l.head
	head.size = max(head.size, alignUp(l.off))
	err := l.rewrite(name, head)
	if errors.Is(err, sys.ErrDiskFull) {
		// Room for the copy alone: the reserve is given up for it, and the segment ends soon.
		if rerr := l.opts.FS.Remove(l.reserveName()); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			return fmt.Errorf("wal: %w", rerr)
		}
		head.size = alignUp(l.off) + controlBytes
		err = l.rewrite(name, head)
	}
	if err != nil {
		return fmt.Errorf("wal: rewrite %s after an unclean stop: %w", name, err)
	}
	return nil
}

// rewrite copies what is valid of the last segment to a new file, syncs it and puts it in the old one's place.
func (l *Log) rewrite(name string, head segmentHeader) error {
	fsys, tmp := l.opts.FS, l.path(name+inProgress)
	old, err := fsys.OpenFile(l.path(name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = f.Allocate(0, head.size); err == nil {
		err = copyRecords(f, old, l.off)
	}
	if err == nil {
		_, err = f.WriteAt(head.encode(), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.Rename(tmp, l.path(name))
	}
	if err == nil {
		err = fsys.SyncDir(l.opts.Dir)
	}
	if err != nil {
		return errors.Join(err, f.Close(), removeIfThere(fsys, tmp))
	}
	l.f, l.head, l.size = f, head, head.size
	return nil
}

func removeIfThere(fsys sys.FS, name string) error {
	if err := fsys.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func copyRecords(to, from sys.File, end int64) error {
	buf := make([]byte, min(end, 1<<20))
	for off := int64(segmentHeaderBytes); off < end; {
		n := min(int64(len(buf)), end-off)
		if _, err := from.ReadAt(buf[:n], off); err != nil {
			return err
		}
		if _, err := to.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// scan is what reading the segments has found so far.
type scan struct {
	off    int64
	chain  uint32
	commit uint64
	closed bool
	torn   int64
}

// scanSegment reads one segment into the index.
func (l *Log) scanSegment(s *scan, name string, first, last bool) error {
	f, err := l.opts.FS.OpenFile(l.path(name), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	w, err := newWindow(f)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	corrupt := func(off int64, reason string) error {
		return &CorruptError{File: l.path(name), Offset: off, Reason: reason}
	}
	head, err := readHead(w)
	if err != nil {
		return corrupt(0, err.Error())
	}
	if err := l.checkHead(s, &head, name, first); err != nil {
		return corrupt(0, err.Error())
	}
	if w.size < head.size {
		return corrupt(w.size, fmt.Sprintf("the file has lost its end: it was made with %d bytes", head.size))
	}
	l.enterSegment(s, &head, name, first)
	for {
		h, content, ok, err := readRecord(w, s.off, head.salt)
		if err != nil {
			return fmt.Errorf("wal: read %s: %w", name, err)
		}
		if !ok {
			break
		}
		if h.chain != s.chain {
			return corrupt(s.off, "the record does not follow the one before it")
		}
		if err := l.replayRecord(s, &h, content); err != nil {
			return corrupt(s.off, err.Error())
		}
		s.off += h.recordBytes()
		s.chain = h.sum
		l.ix.segs[len(l.ix.segs)-1].end = s.off
	}
	return l.checkTail(s, w, name, last)
}

func readHead(w *window) (segmentHeader, error) {
	if w.size < segmentHeaderBytes || w.size > segmentBytesMax {
		return segmentHeader{}, fmt.Errorf("a segment cannot have %d bytes", w.size)
	}
	b, err := w.bytes(0, segmentHeaderBytes)
	if err != nil {
		return segmentHeader{}, err
	}
	return decodeSegmentHeader(b)
}

func (l *Log) checkHead(s *scan, head *segmentHeader, name string, first bool) error {
	switch {
	case segmentName(l.opts.Prefix, head.seq) != name:
		return fmt.Errorf("this is segment %d", head.seq)
	case head.instance != l.opts.Instance:
		return fmt.Errorf("this is the log of instance %s, not of %s", head.instance, l.opts.Instance)
	case head.group != l.opts.Group:
		return fmt.Errorf("this is the log of group %q, not of %q", head.group, l.opts.Group)
	case first:
		return nil
	case head.chain != s.chain:
		return errors.New("the segment does not follow the end of the one before it")
	case !head.base && head.last != l.ix.last:
		return fmt.Errorf("the segment follows index %d, the one before it ends at %d", head.last, l.ix.last)
	}
	return nil
}

func (l *Log) enterSegment(s *scan, head *segmentHeader, name string, first bool) {
	if first || head.base {
		l.ix.reset(head.last, head.lastTerm)
	}
	if first {
		l.local = head.localLast
	}
	l.head, l.hard = *head, head.hard
	s.off, s.chain, s.closed = segmentHeaderBytes, head.firstChain(), false
	s.commit = max(s.commit, head.hard.Commit)
	l.ix.segs = append(l.ix.segs, &segment{
		seq: head.seq, name: name, salt: head.salt, end: s.off, localPrev: head.localLast,
	})
}

// replayRecord takes a valid record into the index.
func (l *Log) replayRecord(s *scan, h *recordHeader, content []byte) error {
	b, err := parseBody(h, content)
	if err != nil {
		return err
	}
	if h.kind&kindHardState != 0 {
		if b.hard.Term < l.hard.Term {
			return fmt.Errorf("term %d after term %d", b.hard.Term, l.hard.Term)
		}
		l.hard = b.hard
	}
	if h.kind&kindTruncate != 0 {
		if b.truncate >= l.ix.last {
			return fmt.Errorf("cut after index %d of a log that ends at %d", b.truncate, l.ix.last)
		}
		l.ix.truncate(b.truncate)
	}
	if h.entries > 0 && h.index != l.ix.last+1 {
		return fmt.Errorf("entry %d follows entry %d", h.index, l.ix.last)
	}
	rest := b.entries
	for i := range uint64(h.entries) {
		var e raftgroup.Entry
		e, rest, _ = nextEntry(rest, h.index+i)
		if e.Term < l.ix.lastTerm && h.kind&kindTruncate == 0 {
			return fmt.Errorf("entry %d has term %d, the one before it %d", e.Index, e.Term, l.ix.lastTerm)
		}
		l.ix.add(s.off, &e)
	}
	if h.kind&kindLocal != 0 {
		if b.localPrev != l.local {
			return fmt.Errorf("local rows follow number %d, not %d", b.localPrev, l.local)
		}
		for rest := b.locals; len(rest) > 0; l.local++ {
			_, rest, _ = nextLocal(rest)
		}
	}
	s.closed = h.kind&kindClose != 0
	s.commit = max(s.commit, h.commit)
	return nil
}

// checkTail looks at what follows the last good record of a segment. Zeros: nothing was there. In the last segment other
// bytes are a torn write, unless a valid record after them shows that this place had been synced.
func (l *Log) checkTail(s *scan, w *window, name string, last bool) error {
	end, err := w.lastNonZero(s.off)
	if err != nil {
		return fmt.Errorf("wal: read %s: %w", name, err)
	}
	if end <= s.off {
		return nil
	}
	bad := &CorruptError{File: l.path(name), Offset: s.off, Reason: "a record is damaged"}
	if !last {
		return bad
	}
	for off := s.off + recordAlign; off+recordHeaderBytes <= w.size && off < end; off += recordAlign {
		h, _, ok, err := readRecord(w, off, l.head.salt)
		if err != nil {
			return fmt.Errorf("wal: read %s: %w", name, err)
		}
		if !ok {
			continue
		}
		if int64(min(h.synced, math.MaxInt64)) > s.off {
			bad.Reason = fmt.Sprintf("a record is damaged, a valid one follows at offset %d", off)
			return bad
		}
		// Where every entry was synced before it counted, what this record says of lost ones it says of its own, or of such
		// as were written with it: committed by others perhaps, but not by this replica's word.
		if l.opts.Sync == SyncFsync {
			h.commit = min(h.commit, l.ix.last)
		}
		s.commit = max(s.commit, h.commit)
	}
	s.torn = end - s.off
	return nil
}

// readRecord reads the record at off; false if there is no valid one.
func readRecord(w *window, off int64, salt uint32) (h recordHeader, content []byte, ok bool, err error) {
	if off+recordHeaderBytes > w.size {
		return h, nil, false, nil
	}
	b, err := w.bytes(off, recordHeaderBytes)
	if err != nil {
		return h, nil, false, err
	}
	h, ok = parseRecordHeader(b, salt, w.size-off-recordHeaderBytes)
	if !ok || h.bodyBytes == 0 {
		return h, nil, ok && h.bodySum == 0, nil
	}
	content, err = w.bytes(off+recordHeaderBytes, int(alignUp(int64(h.bodyBytes))))
	if err != nil || crc32.Checksum(content, castagnoli) != h.bodySum {
		return h, nil, false, err
	}
	return h, content[:h.bodyBytes:h.bodyBytes], true, nil
}
