package wal

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// splitBytes bounds the entries of one record; a larger batch becomes several records, synced together.
const splitBytes = 16 << 20

// Append writes a batch as one record (a batch of more than 16 MiB as several) and, where mode or content ask for it,
// syncs. After ErrDiskFull (in the error's chain) the same batch may be tried again; after any other error the log is
// poisoned.
func (l *Log) Append(b Batch) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	defer l.noteRoom()
	if l.failed != nil {
		return l.failed
	}
	if l.opts.Sync == SyncNone {
		if err := l.noteConfs(b.Entries); err != nil {
			return err
		}
		b.Entries, b.Local = nil, nil
	}
	sync := b.HardState != nil || b.Sync || hasConf(b.Entries) || (l.opts.Sync == SyncFsync && len(b.Entries)+len(b.Local) > 0)
	for n := splitAt(b.Entries); n < len(b.Entries); n = splitAt(b.Entries) {
		part := Batch{HardState: b.HardState, Entries: b.Entries[:n], Commit: b.Commit}
		if err := l.appendPart(&part, false); err != nil {
			return err
		}
		b.HardState, b.Entries = nil, b.Entries[n:]
	}
	return l.appendPart(&b, sync)
}

// splitAt is how many of the entries go into one record.
func splitAt(entries []raftgroup.Entry) int {
	size := 0
	for i := range entries {
		if size += len(entries[i].Data); size > splitBytes && i > 0 {
			return i
		}
	}
	return len(entries)
}

func (l *Log) appendPart(b *Batch, sync bool) error {
	kind, truncate := l.kindOf(b)
	if kind == 0 {
		return nil
	}
	return l.write(kind, b, truncate, sync)
}

// Mark writes the highest committed index, without a sync, if no record says it yet: so that damage to the last entries
// of an idle log is told from a torn write.
func (l *Log) Mark() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	defer l.noteRoom()
	if l.failed != nil || l.commit.Load() <= l.marked || l.size-l.off < recordHeaderBytes {
		return l.failed
	}
	return l.write(kindMark, &Batch{}, 0, false)
}

// kindOf tells what the record of a batch holds, and checks that its entries follow the log.
func (l *Log) kindOf(b *Batch) (kind uint8, truncate uint64) {
	if b.HardState != nil {
		kind |= kindHardState
	}
	if len(b.Local) > 0 {
		kind |= kindLocal
	}
	if len(b.Entries) == 0 {
		return kind, 0
	}
	kind |= kindEntries
	first := b.Entries[0].Index
	invariant.Check(first <= l.ix.last+1 && first > 0, "wal: entry %d appended to a log that ends at %d", first, l.ix.last)
	for i := range b.Entries {
		invariant.Check(b.Entries[i].Index == first+uint64(i), "wal: entries of a batch do not follow each other")
	}
	if first <= l.ix.last {
		return kind | kindTruncate, first - 1
	}
	return kind, 0
}

// write makes room, writes one record and notes it.
func (l *Log) write(kind uint8, b *Batch, truncate uint64, sync bool) error {
	if cap(l.buf) > bufferKeepBytes || cap(l.buf) < recordHeaderBytes {
		l.buf = make([]byte, recordHeaderBytes, 64<<10)
	}
	buf := appendBody(l.buf[:recordHeaderBytes], kind, b, truncate, l.local)
	l.buf = buf
	bodyBytes := len(buf) - recordHeaderBytes
	invariant.Check(bodyBytes <= recordBytesMax, "wal: record of %d bytes", bodyBytes)
	for len(buf)%recordAlign != 0 {
		buf = append(buf, 0)
	}
	l.buf = buf
	control := kind&(kindEntries|kindLocal) == 0
	if err := l.room(int64(len(buf)), control); err != nil {
		return err
	}
	if b.HardState != nil {
		l.hard.Term, l.hard.Vote = b.HardState.Term, b.HardState.Vote
	}
	last := l.ix.last
	if n := len(b.Entries); n > 0 {
		last = b.Entries[n-1].Index
	}
	h := recordHeader{
		bodyBytes: uint32(bodyBytes), bodySum: crc32.Checksum(buf[recordHeaderBytes:], castagnoli),
		chain: l.chain, kind: kind, entries: uint32(len(b.Entries)), index: l.ix.last, term: l.hard.Term,
		commit: l.commitUpTo(b.Commit, last), synced: uint64(l.synced),
	}
	if len(b.Entries) > 0 {
		h.index = b.Entries[0].Index
	}
	sum := h.put(buf, l.head.salt)
	if _, err := l.f.WriteAt(buf, l.off); err != nil {
		return l.poison("write", err)
	}
	at := l.off
	l.off += int64(len(buf))
	if sync {
		if err := l.f.Datasync(); err != nil {
			return l.poison("sync", err)
		}
		l.synced = l.off
	}
	l.NoteCommit(h.commit)
	l.chain, l.marked = sum, h.commit
	l.local += uint64(len(b.Local))
	l.note(at, kind, b, truncate)
	return nil
}

// commitUpTo is the highest index that a header may call committed if the log ends with last: a leader may know entries to
// be committed that are not on its own disk yet, and a batch that is split not in its first record. A log that says more
// than it holds counts as one that has lost something; where entries are not logged at all, that is so.
func (l *Log) commitUpTo(commit, last uint64) uint64 {
	commit = max(commit, l.commit.Load())
	if l.opts.Sync == SyncNone {
		return commit
	}
	return min(commit, last)
}

// note makes a written record known to readers.
func (l *Log) note(at int64, kind uint8, b *Batch, truncate uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind&kindTruncate != 0 {
		l.ix.truncate(truncate)
	}
	for i := range b.Entries {
		l.ix.add(at, &b.Entries[i])
	}
	l.ix.segs[len(l.ix.segs)-1].end = l.off
}

// poison remembers the first failure for good.
func (l *Log) poison(doing string, err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("wal: %s %s: %w: %w", doing, l.f.Name(), ErrPoisoned, err)
		if l.opts.Logger != nil {
			l.opts.Logger.Error("log poisoned", "group", l.opts.Group, "error", l.failed)
		}
	}
	return l.failed
}

// room makes sure that n bytes fit into the segment, beginning a new one if they do not.
func (l *Log) room(n int64, control bool) error {
	if l.size-l.off >= n {
		return nil
	}
	if l.synced < l.off {
		if err := l.f.Datasync(); err != nil {
			return l.poison("sync", err)
		}
		l.synced = l.off
	}
	size := max(l.opts.SegmentBytes, alignUp(segmentHeaderBytes+n))
	err := l.rotate(l.nextHeader(), size)
	if err == nil {
		l.full.Store(false)
	}
	if err == nil || !errors.Is(err, sys.ErrDiskFull) || l.failed != nil {
		return err
	}
	l.full.Store(true)
	if !control || !l.reserve {
		return err
	}
	if rerr := l.opts.FS.Remove(l.reserveName()); rerr != nil {
		return l.poison("free the reserve of", rerr)
	}
	l.reserve = false
	return l.rotate(l.nextHeader(), max(controlBytes, alignUp(segmentHeaderBytes+n)))
}

// nextHeader is the header of the segment that follows the current one.
func (l *Log) nextHeader() segmentHeader {
	hard := l.hard
	hard.Commit = l.commitUpTo(0, l.ix.last)
	return segmentHeader{
		seq: l.head.seq + 1, instance: l.opts.Instance, group: l.opts.Group, chain: l.chain,
		last: l.ix.last, lastTerm: l.ix.lastTerm, localLast: l.local, hard: hard,
	}
}

// ResetTo makes the log empty with its next entry following index, which a snapshot or a bootstrap stands for. What the
// log held is gone. Term and vote stay.
func (l *Log) ResetTo(index, term uint64) error { return l.resetTo(index, term, false) }

// resetTo is ResetTo; clamped: nothing after index counts as committed, for the log has said more than it holds.
func (l *Log) resetTo(index, term uint64, clamped bool) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	defer l.noteRoom()
	if l.failed != nil {
		return l.failed
	}
	if err := l.forgetConfs(index); err != nil {
		return err
	}
	head := l.nextHeader()
	head.base, head.last, head.lastTerm = true, index, term
	if clamped {
		head.hard.Commit = min(l.commit.Load(), index)
	}
	size := l.opts.SegmentBytes
	if err := l.rotate(head, size); err != nil {
		return err
	}
	l.mu.Lock()
	l.ix.reset(index, term)
	n := len(l.ix.segs) - 1
	l.mu.Unlock()
	return l.removeBefore(n)
}

// EnsureRoom prepares the next segment while the current one still has room, and restores the reserve. ErrDiskFull in
// the error's chain: the disk is full, see Full. It is called between appends, where nobody waits for it.
func (l *Log) EnsureRoom() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	defer l.noteRoom()
	if l.failed != nil {
		return l.failed
	}
	if !l.full.Load() && l.reserve && (l.spare || l.size-l.off >= l.opts.SegmentBytes/4) {
		return nil
	}
	err := l.makeReserve()
	if err == nil && !l.spare && l.size-l.off < max(l.opts.SegmentBytes/4, 1) {
		err = l.makeSpare()
	}
	if err != nil && !errors.Is(err, sys.ErrDiskFull) {
		return l.poison("prepare room after", err)
	}
	l.full.Store(err != nil)
	return err
}

// CompactTo removes the segments all of whose entries have an index up to this one. The last segment stays.
func (l *Log) CompactTo(index uint64) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	l.mu.Lock()
	n := 0
	for n < len(l.ix.segs)-1 && l.lastOf(l.ix.segs[n+1]) <= index {
		n++
	}
	l.mu.Unlock()
	return l.removeBefore(n)
}

// lastOf is the highest index that any entry before the segment has.
func (l *Log) lastOf(next *segment) uint64 {
	var last uint64
	for _, r := range l.ix.runs {
		if r.seg.seq >= next.seq {
			break
		}
		last = max(last, r.last)
	}
	return last
}

// removeBefore removes the first n segments, the oldest first and each for good before the next, so that a crash leaves
// no gap.
func (l *Log) removeBefore(n int) error {
	if n == 0 {
		return nil
	}
	l.mu.Lock()
	old := append([]*segment(nil), l.ix.segs[:n]...)
	l.ix.dropBefore(n)
	l.mu.Unlock()
	for _, s := range old {
		if err := l.opts.FS.Remove(l.path(s.name)); err != nil {
			return l.poison("remove "+s.name+" before", err)
		}
		if err := l.opts.FS.SyncDir(l.opts.Dir); err != nil {
			return l.poison("sync the directory of", err)
		}
	}
	return nil
}

// Abandon closes the log as it is, for one who has only read: no mark of a clean stop is written.
func (l *Log) Abandon() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if errors.Is(l.failed, ErrClosed) {
		return nil
	}
	l.failed = ErrClosed
	return l.f.Close()
}

// Close writes the mark of a clean stop and syncs. A poisoned log is closed without, and so is one whose entries may be gone
// (Recovered.Unsure), or were never written (mode none, but see CloseAt).
func (l *Log) Close() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if errors.Is(l.failed, ErrClosed) {
		return nil
	}
	err := l.failed
	if err == nil && !l.rec.Unsure && l.opts.Sync != SyncNone { // else the next start would take it for whole
		if err = l.write(kindClose, &Batch{}, 0, true); err == nil {
			l.closing = true
			err = l.writeMode()
		}
	}
	if err == nil && l.spare {
		err = l.opts.FS.Remove(l.path(segmentName(l.opts.Prefix, l.head.seq+1) + inProgress))
	}
	if cerr := l.f.Close(); err == nil {
		err = cerr
	}
	l.failed = ErrClosed
	return err
}
