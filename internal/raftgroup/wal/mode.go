package wal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// ModeFile is the name, after the log's prefix, of the file that says how a log without syncs is written: without it nobody could
// tell after an unclean stop whether acknowledged entries may be gone. A log in mode fsync has none.
const ModeFile = "mode"

const (
	modeVersion = "lycosa-log-mode 1"
	// modeBytesMax bounds the file; changes of membership since the last snapshot are few and small.
	modeBytesMax = 1 << 20
)

// howWritten is the content of the mode file.
type howWritten struct {
	// Mode is the name of the mode, Boot the machine's boot in which the log was last opened.
	Mode string `json:"mode"`
	Boot string `json:"boot"`
	// Open: it has not been closed since. The mark in the log alone does not tell: what came after it may be gone with all else that was
	// not synced.
	Open bool `json:"open"`
	// Members, if not nil, are the group's at an index, whatever a snapshot of an index up to it says: see Vouch.
	Members *raftgroup.Position `json:"members,omitempty"`
	// Confs are the changes of membership that a log in mode none has taken: its entries are nowhere else.
	Confs []raftgroup.Entry `json:"confs,omitempty"`
}

func (l *Log) modeName() string { return l.path(l.opts.Prefix + ModeFile) }

// readMode reads the mode file; false if there is none.
func (l *Log) readMode() (h howWritten, ok bool, err error) {
	b, err := sys.ReadFile(l.opts.FS, l.modeName(), modeBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return h, false, nil
	}
	if err != nil {
		return h, false, fmt.Errorf("wal: %w", err)
	}
	var sum uint32
	n := len(modeVersion)
	if len(b) < n+10 || string(b[:n]) != modeVersion {
		return h, false, &CorruptError{File: l.modeName(), Reason: "not a file of this kind or version"}
	}
	content := b[n+10:]
	if _, err := fmt.Sscanf(string(b[n:n+10]), " %08x\n", &sum); err != nil || crc32.Checksum(content, castagnoli) != sum {
		return h, false, &CorruptError{File: l.modeName(), Reason: "its checksum does not match"}
	}
	if err := json.Unmarshal(content, &h); err != nil {
		return h, false, &CorruptError{File: l.modeName(), Reason: err.Error()}
	}
	if _, err := ParseSyncMode(h.Mode); err != nil {
		return h, false, &CorruptError{File: l.modeName(), Reason: err.Error()}
	}
	return h, true, nil
}

// writeMode makes the file say what l.how holds, durably; in mode fsync there is none.
func (l *Log) writeMode() error {
	l.how.Mode, l.how.Boot, l.how.Open = l.opts.Sync.String(), l.opts.Boot, !l.closing
	if l.opts.Sync == SyncFsync && l.how.Members == nil {
		err := l.opts.FS.Remove(l.modeName())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = l.opts.FS.SyncDir(l.opts.Dir)
		}
		return err
	}
	content, err := json.Marshal(l.how)
	if err != nil {
		return err
	}
	b := fmt.Appendf(nil, "%s %08x\n", modeVersion, crc32.Checksum(content, castagnoli))
	return sys.WriteFileAtomic(l.opts.FS, l.opts.Dir, l.opts.Prefix+ModeFile, append(b, content...), 0o600)
}

// judge decides after the segments were read whether acknowledged entries may be gone.
func (l *Log) judge() error {
	how, known, err := l.readMode()
	if err != nil {
		return err
	}
	mode := l.opts.Sync
	if known {
		mode, _ = ParseSyncMode(how.Mode)
	}
	l.how = how
	l.rec.CleanStop = l.rec.CleanStop && !how.Open
	if l.rec.CleanStop {
		l.how.Confs = nil // they are in the log, or in the snapshot before it
		if l.opts.Sync == SyncNone {
			l.how.Confs = append(l.how.Confs, l.ix.confs...) // what is in the log does not count after an unclean stop
		}
		return nil
	}
	switch mode {
	case SyncNone:
		l.rec.Unsure = true
		l.ix.truncate(l.ix.first - 1) // what an earlier clean stop has left may have been overruled since
		l.rec.LastIndex, l.rec.LastTerm = l.ix.last, l.ix.lastTerm
		if c := l.rec.HardState.Commit; c > l.ix.last {
			l.rec.LostEntries = c - l.ix.last
		}
	case SyncWrite:
		l.rec.Unsure = how.Boot != l.opts.Boot
	}
	return nil
}

// Vouch tells that the log counts as it is, whatever may be missing at its end: nobody else can know better. members, if not nil,
// are the members of the group at its index, whatever a snapshot of that index or an earlier one says.
func (l *Log) Vouch(members *raftgroup.Position) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	l.how.Members, l.how.Confs = members, nil
	if err := l.writeMode(); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	l.rec.Unsure, l.rec.Members = false, members
	return nil
}

// noteConfs takes the changes of membership of a batch into the mode file, durably, before the batch counts: in mode none they are
// written nowhere else. What the batch overwrites is forgotten.
func (l *Log) noteConfs(entries []raftgroup.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var kept []raftgroup.Entry
	for _, e := range l.how.Confs {
		if e.Index < entries[0].Index {
			kept = append(kept, e)
		}
	}
	changed := len(kept) < len(l.how.Confs)
	for i := range entries {
		if e := entries[i]; e.Type == raftgroup.EntryConfChange {
			e.Data = append([]byte(nil), e.Data...)
			kept, changed = append(kept, e), true
		}
	}
	if !changed {
		return nil
	}
	was := l.how.Confs
	l.how.Confs = kept
	err := l.writeMode()
	if errors.Is(err, sys.ErrDiskFull) {
		l.how.Confs = was
		l.full.Store(true)
		return fmt.Errorf("wal: note the change of membership: %w", err)
	}
	if err != nil {
		return l.poison("note the change of membership beside", err)
	}
	return nil
}

// ConfChanges are the changes of membership that the log has taken, as far as it knows of them, whether or not they are committed.
func (l *Log) ConfChanges() []raftgroup.Entry {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.opts.Sync == SyncNone && len(l.how.Confs) > 0 {
		return append([]raftgroup.Entry(nil), l.how.Confs...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]raftgroup.Entry(nil), l.ix.confs...)
}

// forgetConfs drops what the mode file says of members up to index, after which the log begins anew. What it says of later ones may
// still be so: in mode none a log begins anew whenever a snapshot is newer than what the last clean stop has left.
func (l *Log) forgetConfs(index uint64) error {
	m := l.how.Members
	if m != nil && m.Index < index {
		m = nil
	}
	var kept []raftgroup.Entry
	for _, e := range l.how.Confs {
		if e.Index > index {
			kept = append(kept, e)
		}
	}
	if len(l.how.Confs) == len(kept) && m == l.how.Members {
		return nil
	}
	l.how.Confs, l.how.Members = kept, m
	if err := l.writeMode(); err != nil && !errors.Is(err, sys.ErrDiskFull) {
		return l.poison("note the members beside", err)
	}
	return nil // what is left of before speaks of indexes that the snapshot stands for
}

func hasConf(entries []raftgroup.Entry) bool {
	for i := range entries {
		if entries[i].Type == raftgroup.EntryConfChange {
			return true
		}
	}
	return false
}

// CloseAt ends a log in mode none cleanly: it begins anew after a snapshot, which is durable, and gets the entries that follow it,
// synced, and the mark of a clean stop.
func (l *Log) CloseAt(index, term uint64, entries []raftgroup.Entry) error {
	l.wmu.Lock()
	mode := l.opts.Sync
	l.opts.Sync = SyncFsync // from here on the log holds what it says
	l.wmu.Unlock()
	err := l.resetTo(index, term, mode == SyncNone)
	if err == nil {
		err = l.Append(Batch{Entries: entries, Sync: true})
	}
	if err != nil {
		return errors.Join(err, l.Abandon())
	}
	return l.Close()
}
