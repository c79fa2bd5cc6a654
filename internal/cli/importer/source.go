package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/sys"
)

const (
	snapSuffix = ".snap"
	logSuffix  = ".xlog"
	// ownLogSuffix is that of the logs in a data directory of Lycosa, whose snapshots are like Tarantool's.
	ownLogSuffix = ".rlog"
)

// Source is the files of a stopped Tarantool. It holds the lock of the directory of the logs, which a running Tarantool
// would hold, until Close.
type Source struct {
	fs    sys.FS
	locks []sys.File
	// snapshots are the paths of all snapshots, newest first. logs are the logs in order.
	snapshots []string
	logs      []string
	ownLogs   bool
	// Snapshot is the path of the snapshot that is used, Logs the paths of the logs that are read after it.
	Snapshot string
	Logs     []string

	instance string
	clock    map[uint32]uint64 // of the snapshot
	// undone are the rows that were written to the logs and undone later.
	undone []undone
}

// undone says that a replica's rows from a number on, which are before a place in the logs, were rolled back.
type undone struct {
	replica uint32
	from    uint64
	before  uint64 // rows of the logs
	// waiting limits it to rows that were waiting for a quorum, as their flags say.
	waiting bool
}

// flagsWaiting are the bits of Row.Flags of rows that wait for a quorum.
const flagsWaiting = 2 | 4

func errFile(path, format string, args ...any) error {
	return errcode.New(errcode.ImportFile, path, fmt.Sprintf(format, args...))
}

// Open lists the files and takes the lock. Errors: 126 if a Tarantool is running there, 93 if there is no snapshot,
// 12020 for what cannot be read.
func Open(fsys sys.FS, snapDir, walDir string) (*Source, error) {
	s := &Source{fs: fsys}
	for _, dir := range slices.Compact([]string{walDir, snapDir}) {
		if err := s.lock(dir); err != nil {
			s.Close()
			return nil, err
		}
	}
	var err error
	if s.snapshots, err = list(fsys, snapDir, snapSuffix); err == nil {
		s.logs, err = list(fsys, walDir, logSuffix)
	}
	if err == nil {
		var own []string
		own, err = list(fsys, walDir, ownLogSuffix)
		s.ownLogs = len(own) > 0
	}
	if err == nil && len(s.snapshots) == 0 {
		err = errcode.New(errcode.MissingSnapshot, snapSuffix, snapDir)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	slices.Reverse(s.snapshots)
	return s, nil
}

// Close gives the lock back.
func (s *Source) Close() {
	for _, f := range s.locks {
		_ = f.Close()
	}
}

func (s *Source) lock(dir string) error {
	f, err := s.fs.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return errFile(dir, "%v", err)
	}
	s.locks = append(s.locks, f)
	described, ok := f.(interface{ Fd() uintptr })
	if !ok {
		return nil
	}
	if err := unix.Flock(int(described.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errcode.New(errcode.AlreadyRunning, dir)
	} else if err != nil {
		return errFile(dir, "lock: %v", err)
	}
	return nil
}

// list returns the paths of the files with a number and a suffix as their name, by number.
func list(fsys sys.FS, dir, suffix string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, errFile(dir, "%v", err)
	}
	numbers := map[uint64]string{}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && e.Type()&fs.ModeDir == 0 {
			numbers[n] = filepath.Join(dir, e.Name())
		}
	}
	var paths []string
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		paths = append(paths, numbers[n])
	}
	return paths, nil
}

// file is one file that is being read.
type file struct {
	path string
	f    sys.File
	*snap.Reader
}

func (s *Source) open(path string, kind snap.Kind) (*file, error) {
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, errFile(path, "%v", err)
	}
	r, err := snap.NewReader(f, snap.Limits{})
	if err != nil {
		_ = f.Close()
		return nil, fileError(path, err)
	}
	if r.Meta().Kind != kind {
		_ = f.Close()
		return nil, errFile(path, "it is a file of the kind %s, and its name says %s", r.Meta().Kind, kind)
	}
	return &file{path: path, f: f, Reader: r}, nil
}

// fileError gives an error of reading its number; what kind of error it is stays in its chain.
func fileError(path string, err error) error {
	e := errcode.New(errcode.ImportFile, path, strings.TrimPrefix(err.Error(), "snap: "))
	e.Cause = err
	return e
}

// place says where a row is.
type place struct {
	// log is false for rows of the snapshot.
	log  bool
	path string
	// offset is that of the row's block, in bytes.
	offset int64
	// row is the number of the row in all logs, from 1.
	row uint64
}

// visitor is given each row that counts, in order. The row is valid until it returns.
type visitor func(at place, row *snap.Row) error

// walk reads the snapshot and the logs that Scan has chosen.
func (s *Source) walk(ctx context.Context, visit visitor) error {
	if err := s.walkSnapshot(ctx, s.Snapshot, visit); err != nil {
		return err
	}
	w := &logWalk{s: s, clock: maps.Clone(s.clock), visit: visit}
	for _, path := range s.Logs {
		if _, err := w.file(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// walkSnapshot reads a whole snapshot.
func (s *Source) walkSnapshot(ctx context.Context, path string, visit visitor) error {
	f, err := s.open(path, snap.KindSnap)
	if err != nil {
		return err
	}
	defer f.f.Close()
	for n := 0; ; n++ {
		row, err := f.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fileError(path, err)
		}
		if n%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := visit(place{path: path, offset: f.BlockOffset()}, &row); err != nil {
			return err
		}
	}
}

// rowsBetweenLooks is how often reading looks whether it should end.
const rowsBetweenLooks = 1024

// logWalk reads logs one after the other.
type logWalk struct {
	s     *Source
	clock map[uint32]uint64
	visit visitor
	rows  uint64 // of all logs so far
	// single is where a transaction of one row lies.
	single [1]snap.Row
}

// tail is how a log ended.
type tail struct {
	meta snap.Meta
	// torn says why the end is missing, nil if the log was closed.
	torn   error
	offset int64
	// dropped are rows of a transaction whose end is missing.
	dropped int
}

// file reads one log. Rows that the snapshot has are passed over, those that were undone, and those of a transaction that
// does not end.
func (w *logWalk) file(ctx context.Context, path string) (tail, error) {
	f, err := w.s.open(path, snap.KindXlog)
	if err != nil {
		return tail{}, err
	}
	defer f.f.Close()
	t := tail{meta: f.Meta()}
	var open []snap.Row
	for n := 0; ; n++ {
		row, err := f.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, snap.ErrNoEOF) {
			if t.dropped, t.offset = len(open), f.Offset(); !errors.Is(err, io.EOF) {
				t.torn = err
			}
			return t, nil
		}
		if err != nil {
			return t, fileError(path, err)
		}
		if n%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return t, ctx.Err()
		}
		at := place{log: true, path: path, offset: f.BlockOffset()}
		// The last row of a transaction need not say that it is one: its number is that of the transaction then.
		switch {
		case len(open) > 0 && open[0].Transaction() != row.Transaction():
			err = errFile(path, "at offset %d a transaction begins inside another one", at.offset)
		case len(open) > 0 || !row.Commit():
			open = append(open, cloneRow(&row))
			if row.Commit() {
				err, open = w.deliver(at, open), open[:0]
			}
		default:
			w.single[0] = row
			err = w.deliver(at, w.single[:])
		}
		if err != nil {
			return t, err
		}
	}
}

// deliver hands over the rows of a whole transaction.
func (w *logWalk) deliver(at place, rows []snap.Row) error {
	for i := range rows {
		row := &rows[i]
		w.rows++
		at.row = w.rows
		if w.seen(row) || w.s.isUndone(row, w.rows) {
			continue
		}
		if err := w.visit(at, row); err != nil {
			return err
		}
	}
	return nil
}

// cloneRow copies what belongs to the reader's buffer.
func cloneRow(row *snap.Row) snap.Row {
	c := *row
	for _, b := range []*[]byte{&c.Key, &c.Tuple, &c.Ops, &c.Body} {
		*b = bytes.Clone(*b)
	}
	c.TupleMeta, c.OldTuple, c.NewTuple = nil, nil, nil
	return c
}

// seen tells whether the row is in the snapshot or was read before, and moves the clock if not.
func (w *logWalk) seen(row *snap.Row) bool {
	component := row.ReplicaID
	if row.GroupID == snap.GroupLocal {
		component = 0
	}
	if row.LSN == 0 || row.LSN <= w.clock[component] {
		return true
	}
	w.clock[component] = row.LSN
	return false
}

func (s *Source) isUndone(row *snap.Row, n uint64) bool {
	if row.GroupID == snap.GroupLocal {
		return false
	}
	return slices.ContainsFunc(s.undone, func(u undone) bool {
		return row.ReplicaID == u.replica && row.LSN >= u.from && n < u.before && (!u.waiting || row.Flags&flagsWaiting != 0)
	})
}

// reaches tells whether every component of a is at least that of b.
func reaches(a, b map[uint32]uint64) bool {
	for id, n := range b {
		if a[id] < n {
			return false
		}
	}
	return true
}
