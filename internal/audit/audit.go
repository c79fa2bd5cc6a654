// Package audit is the security log: one JSON line per record, numbered without gaps and chained by hashes, so that a
// line that was removed or changed is found by Verify. Effects: one file, appended to through sys.FS. What is worth a
// record, and what is refused when the log cannot be written, is decided by those who call it.
//
// The chain does not show that the newest lines were cut off; whoever must know that keeps the last number and hash
// elsewhere.
package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/sys"
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("audit: log is closed")

// Entry is what a caller wants on record. Texts are cut to their limits, never refused. No field may hold a secret.
type Entry struct {
	Event  string // fixed name, like "auth_refused"
	Who    string // user
	Where  string // remote address or socket path
	What   string // operation or object
	Result string // "ok", "refused: …", empty for an intent
	// Detail is anything else, in order.
	Detail []event.Field
	// Privileged records are durable when Write returns.
	Privileged bool
}

// Options are what a Log is opened with.
type Options struct {
	FS    sys.FS
	Clock sys.Clock
	// Path is the file; it is created with mode 0600. Links and everything but regular files are refused.
	Path string
	// Dir is the directory of Path, synced when the file is created.
	Dir string
}

// Log is an open audit log. It is safe for concurrent use.
type Log struct {
	o Options

	mu     sync.Mutex // guards everything below
	file   sys.File
	pos    position
	dirty  bool // the last write failed: the file's end must be looked at again
	lost   uint64
	closed bool
}

// position is the end of the chain.
type position struct {
	seq  uint64
	hash string // of the record with that number, 64 hex digits
}

// Open opens or creates the log and goes on with the numbers and the chain that it finds at its end. A line that a
// crash left half written is cut off, and a record says so; an end that is not ours starts a new chain, and a record
// says that too.
func Open(o Options) (*Log, error) {
	l := &Log{o: o, pos: position{hash: zeroHash}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openLocked(); err != nil {
		return nil, err
	}
	return l, nil
}

// openLocked opens the file at Path, finds the chain's end in it and begins it if it is new. When the log was open
// before, an empty file goes on with the chain of the old one.
func (l *Log) openLocked() error {
	st, err := l.o.FS.Lstat(l.o.Path)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !fresh:
		return fmt.Errorf("audit: look at %s: %w", l.o.Path, err)
	case err == nil && !st.Mode().IsRegular():
		return fmt.Errorf("audit: %s is not a regular file", l.o.Path)
	}
	f, err := l.o.FS.OpenFile(l.o.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit: open %s: %w", l.o.Path, err)
	}
	l.file, l.dirty = f, false
	if err := l.continueLocked(); err != nil {
		l.dirty = true
		l.file = nil
		return errors.Join(err, f.Close())
	}
	if fresh {
		if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
			l.dirty = true
			return fmt.Errorf("audit: sync directory %s: %w", l.o.Dir, err)
		}
	}
	return nil
}

// continueLocked reads the end of the file and writes the records that say how the log goes on.
func (l *Log) continueLocked() error {
	end, err := readEnd(l.file)
	if err != nil {
		return fmt.Errorf("audit: read end of %s: %w", l.o.Path, err)
	}
	if end.tornBytes > 0 {
		if err := l.file.Truncate(end.goodBytes); err != nil {
			return fmt.Errorf("audit: cut torn line of %s: %w", l.o.Path, err)
		}
	}
	if end.found {
		l.pos = end.pos
	}
	if end.unended {
		if _, err := l.file.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("audit: write %s: %w", l.o.Path, err)
		}
	}
	if end.goodBytes == 0 {
		if err := l.appendLocked(Entry{Event: eventBegin, Detail: formatDetail()}); err != nil {
			return err
		}
	}
	if end.goodBytes > 0 && (!end.found || end.foreignLines > 0) {
		// Whatever lies there is kept; from here on there is a chain again, and Verify reports the break.
		if err := l.appendLocked(Entry{Event: eventBroken, What: "the end of the log was not written by us"}); err != nil {
			return err
		}
	}
	if end.tornBytes > 0 {
		bytes := event.Field{Key: "bytes", Value: fmt.Sprint(end.tornBytes)}
		return l.appendLocked(Entry{Event: eventTorn, Detail: []event.Field{bytes}})
	}
	return nil
}

// Write appends a record and, for a privileged one, makes it durable. After an error the record must be taken as not
// written; a caller that is about to change privileges refuses to. The next Write looks at the file anew.
func (l *Log) Write(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if err := l.writeLocked(e); err != nil {
		l.dirty = true
		l.lost++
		return err
	}
	return nil
}

func (l *Log) writeLocked(e Entry) error {
	if l.dirty {
		if err := l.reopenLocked(); err != nil {
			return err
		}
	}
	if l.lost > 0 {
		note := Entry{Event: eventLost, Detail: []event.Field{{Key: "records", Value: fmt.Sprint(l.lost)}}}
		if err := l.appendLocked(note); err != nil {
			return err
		}
		l.lost = 0
	}
	if err := l.appendLocked(e); err != nil {
		return err
	}
	if e.Privileged {
		if err := l.file.Datasync(); err != nil {
			return fmt.Errorf("audit: sync %s: %w", l.o.Path, err)
		}
	}
	return nil
}

// appendLocked writes one line and moves the chain on.
func (l *Log) appendLocked(e Entry) error {
	line, next := encode(l.pos, l.o.Clock.Wall(), e)
	n, err := l.file.Write(line)
	if err == nil && n < len(line) {
		err = errors.New("short write")
	}
	if err != nil {
		return fmt.Errorf("audit: write %s: %w", l.o.Path, err)
	}
	l.pos = next
	return nil
}

// Reopen closes the file and opens Path again, for those who have renamed the old file away. The chain goes on in the
// new file. After an error Write tries again.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if err := l.reopenLocked(); err != nil {
		l.dirty = true
		return err
	}
	return nil
}

func (l *Log) reopenLocked() error {
	if old := l.file; old != nil {
		l.file = nil
		err := errors.Join(old.Datasync(), old.Close())
		if err != nil && !l.dirty {
			return fmt.Errorf("audit: close %s: %w", l.o.Path, err)
		}
	}
	return l.openLocked()
}

// Failure reports whether the last attempt to write failed, and how many records are lost since then.
func (l *Log) Failure() (lost uint64, failing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.dirty
}

// Close syncs and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := errors.Join(f.Datasync(), f.Close()); err != nil {
		return fmt.Errorf("audit: close %s: %w", l.o.Path, err)
	}
	return nil
}
