package importer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// count is how many statements the files have on a space as it is at the end.
type count struct {
	// Snapshot is the number of its rows in the snapshot, Logs that of its changes in the logs.
	Snapshot, Logs uint64
}

// content is what Scan has found in the files.
type content struct {
	// version is the version of the program that wrote the snapshot.
	version string
	final   *state
	counts  map[uint32]*count
	notes   []Note
	// rows is how many rows there are to visit.
	rows uint64
}

// scanner gathers the content.
type scanner struct {
	s *Source
	content
	progress func(Progress)
	undone   []undone
	// waiting and confirmed are, of each replica, the last row that waits for a quorum and the last that has had it.
	waiting, confirmed map[uint32]uint64
}

// scan reads and verifies all files, chooses the snapshot and the logs, and returns what they hold.
func (s *Source) scan(ctx context.Context, progress func(Progress)) (*content, error) {
	for {
		sc := &scanner{s: s, progress: progress, waiting: map[uint32]uint64{}, confirmed: map[uint32]uint64{}}
		if err := sc.snapshot(ctx); err != nil {
			return nil, err
		}
		if err := sc.logs(ctx); err != nil {
			return nil, err
		}
		if len(s.undone) > 0 || len(sc.undone) == 0 {
			return &sc.content, nil
		}
		// Rows that were rolled back later have been counted; the second time they are known.
		s.undone = sc.undone
	}
}

// snapshot reads the newest whole snapshot.
func (sc *scanner) snapshot(ctx context.Context) error {
	var notes []Note
	var first error
	for _, path := range sc.s.snapshots {
		sc.content = content{final: newState(), counts: map[uint32]*count{}, notes: notes}
		f, err := sc.s.open(path, snap.KindSnap)
		if err == nil {
			meta := f.Meta()
			_ = f.f.Close()
			sc.s.Snapshot, sc.s.instance, sc.s.clock, sc.version = path, meta.Instance, maps.Clone(meta.VClock), meta.Version
			err = sc.s.walkSnapshot(ctx, path, sc.visit)
		}
		if err == nil {
			return nil
		}
		if !isDamage(err) {
			return err
		}
		if first == nil {
			first = err
		}
		notes = append(notes, Note{Kind: "file", Name: filepath.Base(path), What: "passed over", Reason: errcode.Of(err).Message})
	}
	return first
}

// isDamage tells whether a file is not what was written, as opposed to files that cannot be read now.
func isDamage(err error) bool {
	return errors.Is(err, snap.ErrCorrupt) || errors.Is(err, snap.ErrNoEOF) || errors.Is(err, snap.ErrLimit)
}

// logs reads the logs that reach beyond the snapshot and checks that none is missing between them.
func (sc *scanner) logs(ctx context.Context) error {
	s := sc.s
	s.Logs = nil
	w := &logWalk{s: s, clock: maps.Clone(s.clock), visit: sc.visit}
	files, err := sc.after()
	if err != nil {
		return err
	}
	for i, path := range files {
		f, err := s.open(path, snap.KindXlog)
		if err != nil {
			if i == len(files)-1 && errors.Is(err, snap.ErrNoEOF) {
				sc.note("file", filepath.Base(path), "cut off", errcode.Of(err).Message)
				break
			}
			return err
		}
		meta := f.Meta()
		_ = f.f.Close()
		if meta.Instance != s.instance {
			return errFile(path, "it was written by instance %s, the snapshot by %s", meta.Instance, s.instance)
		}
		if !reaches(w.clock, meta.VClock) {
			have := snap.Meta{VClock: w.clock}
			return errcode.New(errcode.XlogGap, strconv.FormatUint(have.Signature(), 10), snap.ClockText(w.clock),
				strconv.FormatUint(meta.Signature(), 10), snap.ClockText(meta.VClock))
		}
		t, err := w.file(ctx, path)
		if err != nil {
			return err
		}
		s.Logs = append(s.Logs, path)
		sc.ended(path, &t, i == len(files)-1)
	}
	for _, replica := range slices.Sorted(maps.Keys(sc.waiting)) {
		if last := sc.waiting[replica]; last > sc.confirmed[replica] {
			sc.note("rows", fmt.Sprintf("replica %d", replica), "not confirmed",
				fmt.Sprintf("synchronous transactions up to number %d were waiting for a quorum; they are imported", last))
		}
	}
	if s.ownLogs {
		sc.note("file", "*"+ownLogSuffix, stateLeftOut, "logs of Lycosa are not read: only the snapshot is imported, so write a checkpoint first")
	} else if len(s.logs) == 0 {
		sc.note("file", "*.xlog", "missing", "there is no log: only the snapshot is imported")
	}
	return nil
}

// ended tells how a log ended. One that was not closed and is cut between two blocks is how every log of a killed
// Tarantool ends; bytes after the last whole block were never acknowledged.
func (sc *scanner) ended(path string, t *tail, last bool) {
	name := filepath.Base(path)
	if t.dropped > 0 {
		sc.note("file", name, "left out", fmt.Sprintf("%d rows of a transaction whose end is not in the log", t.dropped))
	}
	size := int64(-1)
	if info, err := sc.s.fs.Lstat(path); err == nil {
		size = info.Size()
	}
	if t.torn != nil && size != t.offset {
		sc.note("file", name, "cut off", fmt.Sprintf("the last %d bytes are no whole block (from offset %d on): they are left out",
			max(size-t.offset, 0), t.offset))
	} else if t.torn != nil && last {
		sc.note("file", name, "not closed", "the server was killed or had an error; all that the log holds is imported")
	}
}

// after returns the logs from the one on that begins at or before the snapshot.
func (sc *scanner) after() ([]string, error) {
	files := sc.s.logs
	for len(files) > 1 {
		f, err := sc.s.open(files[1], snap.KindXlog)
		if err != nil {
			if isDamage(err) {
				break // it is read, and its damage told, in its turn
			}
			return nil, err
		}
		meta := f.Meta()
		_ = f.f.Close()
		if !reaches(sc.s.clock, meta.VClock) {
			break
		}
		files = files[1:]
	}
	return files, nil
}

// visit notes what one row says.
func (sc *scanner) visit(at place, row *snap.Row) error {
	if sc.rows++; sc.rows%rowsBetweenLooks == 0 {
		sc.progress(Progress{Stage: "reading", Rows: sc.rows})
	}
	switch row.Type {
	case snap.TypeInsert, snap.TypeReplace, snap.TypeUpdate, snap.TypeDelete, snap.TypeUpsert:
		if row.Flags&flagsWaiting != 0 {
			sc.waiting[row.ReplicaID] = row.LSN
		}
	case snap.TypeConfirm, snap.TypeRollback, snap.TypePromote, snap.TypeDemote:
		return sc.decision(at, row)
	default:
		return nil
	}
	if row.SpaceID >= dictionary.UserIDMin {
		if !sc.final.alive[row.SpaceID] {
			return errFile(at.path, "block at offset %d has a row of space %d, which there is not", at.offset, row.SpaceID)
		}
		c := sc.counts[row.SpaceID]
		if c == nil {
			c = &count{}
			sc.counts[row.SpaceID] = c
		}
		if at.log {
			c.Logs++
			sc.final.follow(row)
		} else {
			c.Snapshot++
		}
		return nil
	}
	before, after, err := sc.final.apply(row)
	if err != nil {
		return errFile(at.path, "block at offset %d, a row of system space %d: %v", at.offset, row.SpaceID, err)
	}
	if row.SpaceID == dictionary.SpaceSpace && before == nil && after != nil {
		delete(sc.counts, uint32(uintAt(after, 0)))
	}
	return nil
}

// decision notes what a quorum has confirmed, and rows that it has not. The place that it holds for is counted by the walk that reads it.
func (sc *scanner) decision(at place, row *snap.Row) error {
	u := undone{before: at.row}
	n, b, err := msgpack.ReadMapLen(row.Body)
	for range n {
		var key, value uint64
		if key, b, err = msgpack.ReadUint(b); err != nil {
			break
		}
		rest, serr := msgpack.Skip(b)
		if value, _, err = msgpack.ReadUint(b); serr != nil {
			break
		}
		switch {
		case err != nil: // not a number, as newer versions have it
		case key == 2:
			u.replica = uint32(value)
		case key == 3:
			u.from = value
		}
		b, err = rest, nil
	}
	if err != nil {
		return errFile(at.path, "block at offset %d, a row of type %d: %v", at.offset, row.Type, err)
	}
	if row.Type != snap.TypeRollback {
		sc.confirmed[u.replica] = u.from
		u.from, u.waiting = u.from+1, true
	}
	if at.log && row.Type != snap.TypeConfirm {
		sc.undone = append(sc.undone, u)
	}
	return nil
}

func (sc *scanner) note(kind, name, what, reason string) {
	sc.notes = append(sc.notes, Note{Kind: kind, Name: name, What: what, Reason: reason})
}
