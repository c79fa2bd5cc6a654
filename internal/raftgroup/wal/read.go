package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// windowBytes is how much a reader takes from a file at once.
const windowBytes = 256 << 10

// window reads a file in pieces.
type window struct {
	f    sys.File
	size int64
	buf  []byte
	at   int64
}

func newWindow(f sys.File) (*window, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &window{f: f, size: st.Size()}, nil
}

// bytes returns n bytes at off, which must lie in the file; they are valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off >= w.at && off+int64(n) <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at:][:n:n], nil
	}
	want := int(min(max(int64(n), windowBytes), w.size-off))
	if want < n {
		return nil, io.ErrUnexpectedEOF
	}
	if cap(w.buf) < want || (cap(w.buf) > bufferKeepBytes && want <= windowBytes) {
		w.buf = make([]byte, want)
	}
	w.buf, w.at = w.buf[:want], off
	if _, err := w.f.ReadAt(w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n:n], nil
}

// zeros is a window without content.
var zeros [windowBytes]byte

// lastNonZero is the offset after the last byte from off on that is not zero, or off.
func (w *window) lastNonZero(off int64) (int64, error) {
	end := off
	for at := off; at < w.size; {
		n := int(min(windowBytes, w.size-at))
		b, err := w.bytes(at, n)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(b, zeros[:n]) {
			for b[n-1] == 0 {
				n--
			}
			end = at + int64(n)
		}
		at += int64(len(b))
	}
	return end, nil
}

// Replay gives the entries from index `from` on, in order and only as they are now: what was overwritten is not shown.
// An entry's data is valid until fn returns. raftgroup.ErrCompacted if they begin later. An error of fn ends it.
func (l *Log) Replay(from uint64, fn func(raftgroup.Entry) error) error {
	l.mu.Lock()
	last := l.ix.last
	l.mu.Unlock()
	return l.replay(from, last+1, fn)
}

// errStop ends a replay early.
var errStop = errors.New("stop")

// Entries reads entries [lo, hi), at least one and at most about bytesMax bytes of them, or raftgroup.ErrCompacted.
func (l *Log) Entries(lo, hi, bytesMax uint64) ([]raftgroup.Entry, error) {
	var out []raftgroup.Entry
	var size uint64
	err := l.replay(lo, hi, func(e raftgroup.Entry) error {
		size += uint64(len(e.Data))
		if len(out) > 0 && size > bytesMax {
			return errStop
		}
		e.Data = append([]byte(nil), e.Data...)
		out = append(out, e)
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return out, nil
}

func (l *Log) replay(lo, hi uint64, fn func(raftgroup.Entry) error) error {
	l.mu.Lock()
	first, runs := l.ix.first, l.ix.find(lo, hi)
	l.mu.Unlock()
	if lo < first {
		return raftgroup.ErrCompacted
	}
	var f sys.File
	var w *window
	var err error
	defer func() {
		if f != nil {
			_ = f.Close()
		}
	}()
	for i, r := range runs {
		if i == 0 || runs[i-1].seg != r.seg {
			if f != nil {
				_ = f.Close()
			}
			if f, w, err = l.openRead(r.seg); err != nil {
				return err
			}
		}
		if err := l.replayRun(w, &r, lo, hi, fn); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) openRead(seg *segment) (sys.File, *window, error) {
	f, err := l.opts.FS.OpenFile(l.path(seg.name), os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, raftgroup.ErrCompacted
	}
	if err != nil {
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	w, err := newWindow(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	return f, w, nil
}

// replayRun gives the entries of one run that lie in [lo, hi).
func (l *Log) replayRun(w *window, r *run, lo, hi uint64, fn func(raftgroup.Entry) error) error {
	for off, next := r.off, r.first; next <= r.last && next < hi; {
		h, content, ok, err := readRecord(w, off, r.seg.salt)
		if err != nil {
			return fmt.Errorf("wal: read %s at offset %d: %w", r.seg.name, off, err)
		}
		if !ok {
			return &CorruptError{File: l.path(r.seg.name), Offset: off, Reason: "a record is damaged"}
		}
		b, err := parseBody(&h, content)
		if err != nil {
			return &CorruptError{File: l.path(r.seg.name), Offset: off, Reason: err.Error()}
		}
		rest := b.entries
		for i := range uint64(h.entries) {
			var e raftgroup.Entry
			e, rest, _ = nextEntry(rest, h.index+i)
			if e.Index != next || next > r.last || next >= hi {
				continue
			}
			next++
			if e.Index < lo {
				continue
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		off += h.recordBytes()
	}
	return nil
}

// ReplayLocal gives the local rows after number `after` that are still in the log, in order. A row is valid until fn
// returns.
func (l *Log) ReplayLocal(after uint64, fn func(number uint64, row []byte) error) error {
	l.mu.Lock()
	segs := make([]segment, 0, len(l.ix.segs))
	for _, s := range l.ix.segs {
		segs = append(segs, *s)
	}
	l.mu.Unlock()
	for i := range segs {
		if i+1 < len(segs) && segs[i+1].localPrev <= after {
			continue
		}
		if err := l.replayLocalSegment(&segs[i], after, fn); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) replayLocalSegment(seg *segment, after uint64, fn func(number uint64, row []byte) error) error {
	f, w, err := l.openRead(seg)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(segmentHeaderBytes); off < seg.end; {
		h, content, ok, err := readRecord(w, off, seg.salt)
		if err != nil {
			return fmt.Errorf("wal: read %s at offset %d: %w", seg.name, off, err)
		}
		b, berr := parseBody(&h, content)
		if !ok || berr != nil {
			return &CorruptError{File: l.path(seg.name), Offset: off, Reason: "a record is damaged"}
		}
		number := b.localPrev
		for rest := b.locals; len(rest) > 0; {
			var row []byte
			row, rest, _ = nextLocal(rest)
			if number++; number > after {
				if err := fn(number, row); err != nil {
					return err
				}
			}
		}
		off += h.recordBytes()
	}
	return nil
}
