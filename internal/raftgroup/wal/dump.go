package wal

import (
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// DumpedRecord is one record of a segment file, or its header (Kinds "segment").
type DumpedRecord struct {
	Offset int64
	Bytes  int64
	Kinds  []string
	// Segment, Group and Instance are of the header only.
	Segment  uint64
	Group    string
	Instance uuid.UUID
	// Index is that of the first entry, or of the last one in the log if the record has none.
	Index, Term, Commit uint64
	// HardState is nil if the record has none.
	HardState *raftgroup.HardState
	// TruncateAfter is the last index kept when entries are overwritten; meaningful if Kinds has "truncate".
	TruncateAfter uint64
	// Entries and Local are valid until the function that got them returns.
	Entries   []raftgroup.Entry
	LocalPrev uint64
	Local     [][]byte
}

var kindNames = [...]string{"hard_state", "truncate", "entries", "local", "close", "mark"}

// Dump gives header and records of one segment file in order, also those that were overwritten later. It checks every
// checksum and the chain; a *CorruptError names the first bad place after fn has had what is before it. A torn end is
// reported so too.
func Dump(fsys sys.FS, path string, fn func(DumpedRecord) error) error {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := newWindow(f)
	if err != nil {
		return err
	}
	head, err := readHead(w)
	if err != nil {
		return &CorruptError{File: path, Reason: err.Error()}
	}
	hard := head.hard
	if err := fn(DumpedRecord{
		Bytes: segmentHeaderBytes, Kinds: []string{"segment"}, Segment: head.seq, Group: head.group, Instance: head.instance,
		Index: head.last, Term: head.lastTerm, Commit: hard.Commit, HardState: &hard, LocalPrev: head.localLast,
	}); err != nil {
		return err
	}
	off, chain := int64(segmentHeaderBytes), head.firstChain()
	for {
		h, content, ok, err := readRecord(w, off, head.salt)
		if err != nil {
			return fmt.Errorf("read %s at offset %d: %w", path, off, err)
		}
		if !ok {
			break
		}
		if h.chain != chain {
			return &CorruptError{File: path, Offset: off, Reason: "the record does not follow the one before it"}
		}
		rec, err := dumpRecord(off, &h, content)
		if err != nil {
			return &CorruptError{File: path, Offset: off, Reason: err.Error()}
		}
		if err := fn(rec); err != nil {
			return err
		}
		off += h.recordBytes()
		chain = h.sum
	}
	end, err := w.lastNonZero(off)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if end > off {
		return &CorruptError{File: path, Offset: off, Reason: "no valid record here"}
	}
	return nil
}

func dumpRecord(off int64, h *recordHeader, content []byte) (DumpedRecord, error) {
	b, err := parseBody(h, content)
	if err != nil {
		return DumpedRecord{}, err
	}
	rec := DumpedRecord{
		Offset: off, Bytes: h.recordBytes(), Index: h.index, Term: h.term, Commit: h.commit,
		TruncateAfter: b.truncate, LocalPrev: b.localPrev,
	}
	for i, name := range kindNames {
		if h.kind&(1<<i) != 0 {
			rec.Kinds = append(rec.Kinds, name)
		}
	}
	if h.kind&kindHardState != 0 {
		hard := b.hard
		rec.HardState = &hard
	}
	rest := b.entries
	for i := range uint64(h.entries) {
		var e raftgroup.Entry
		e, rest, _ = nextEntry(rest, h.index+i)
		rec.Entries = append(rec.Entries, e)
	}
	for rest := b.locals; len(rest) > 0; {
		var row []byte
		row, rest, _ = nextLocal(rest)
		rec.Local = append(rec.Local, row)
	}
	return rec, nil
}
