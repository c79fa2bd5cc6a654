// Package checkpoint writes the engine's content as a Tarantool .snap file and keeps the number of such files small.
// Effects: files. When a checkpoint is due, and what happens to the log behind it, is decided by the caller.
package checkpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Header keys beside Tarantool's own: where the file stands in the replicated log, and who the members are there. The last
// three are there only if they have a value.
const (
	KeyFormat       = "Lycosa-Snapshot"
	KeyIndex        = "Raft-Index"
	KeyTerm         = "Raft-Term"
	KeyVoters       = "Raft-Voters"
	KeyLearners     = "Raft-Learners"
	KeyOutgoing     = "Raft-Outgoing"
	KeyLearnersNext = "Raft-Learners-Next"

	formatVersion = "1"
	// ServerVersion is the program version in the header: what Tarantool's tools expect to parse.
	ServerVersion = "2.11.0-0-lycosa"

	// functionBuiltinMax is the largest id of a function that Tarantool 2.6 brings along.
	functionBuiltinMax = 67

	suffix        = ".snap"
	suffixSum     = ".snap.sha256"
	suffixPartial = ".inprogress"
	suffixDamaged = ".damaged"
)

// ErrRunning means that a checkpoint is being written already.
var ErrRunning = errors.New("snapshot is already in progress")

// Position is the place of a snapshot in the data group's log, with the members of the group there.
type Position struct {
	Index, Term      uint64
	Voters, Learners []uint64
	// Outgoing are the voters that a joint configuration leaves behind, LearnersNext those of them that become learners.
	Outgoing, LearnersNext []uint64
	// Local is the number of rows of local spaces so far.
	Local uint64
}

// Signature is the sum of the vector clock, which names the snapshot.
func (p Position) Signature() uint64 { return p.Index + p.Local }

// vclock is the vector clock: part 0 counts the rows of local spaces, part 1 is the commit number.
func (p Position) vclock() map[uint32]uint64 {
	if p.Local == 0 {
		return map[uint32]uint64{1: p.Index}
	}
	return map[uint32]uint64{0: p.Local, 1: p.Index}
}

// header is what the position adds to the header of the file.
func (p Position) header() map[string]string {
	keys := map[string]string{KeyFormat: formatVersion, KeyIndex: strconv.FormatUint(p.Index, 10),
		KeyTerm: strconv.FormatUint(p.Term, 10), KeyVoters: formatIDs(p.Voters)}
	for key, ids := range map[string][]uint64{KeyLearners: p.Learners, KeyOutgoing: p.Outgoing, KeyLearnersNext: p.LearnersNext} {
		if len(ids) > 0 {
			keys[key] = formatIDs(ids)
		}
	}
	return keys
}

// PositionOf reads the position from the header of a snapshot.
func PositionOf(m snap.Meta) (Position, error) {
	var p Position
	var err error
	if m.Extra[KeyFormat] == "" {
		return p, errors.New("this snapshot was not written by lycosa; use `lycosa import`")
	}
	if p.Index, err = strconv.ParseUint(m.Extra[KeyIndex], 10, 64); err != nil || p.Index == 0 {
		return p, fmt.Errorf("bad header key %s", KeyIndex)
	}
	if p.Term, err = strconv.ParseUint(m.Extra[KeyTerm], 10, 64); err != nil {
		return p, fmt.Errorf("bad header key %s", KeyTerm)
	}
	p.Local = m.VClock[0]
	if p.Voters, err = parseIDs(KeyVoters, m.Extra[KeyVoters]); err != nil {
		return p, err
	}
	for _, list := range []struct {
		key string
		ids *[]uint64
	}{{KeyLearners, &p.Learners}, {KeyOutgoing, &p.Outgoing}, {KeyLearnersNext, &p.LearnersNext}} {
		if text, ok := m.Extra[list.key]; ok {
			if *list.ids, err = parseIDs(list.key, text); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func parseIDs(key, text string) (ids []uint64, err error) {
	for s := range strings.SplitSeq(text, ",") {
		id, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("bad header key %s", key)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Options say where and in whose name a snapshot is written.
type Options struct {
	FS  sys.FS
	Dir string
	// Prefix begins the names of the files: List does not see them then, before they get their real names.
	Prefix       string
	InstanceUUID string
	Now          time.Time
	// Progress, if not nil, is called every 100,000 rows.
	Progress func(rows uint64)
}

// Result describes a finished snapshot.
type Result struct {
	Path  string
	Rows  uint64
	Bytes int64
	// Existed tells that the snapshot of this position was there already and was not written again.
	Existed bool
}

// Name returns the file name of the snapshot at a signature (the sum of its vector clock).
func Name(signature uint64) string { return fmt.Sprintf("%020d%s", signature, suffix) }

// Write writes the view as a snapshot: a temporary file, synced, renamed, the directory synced. A file of that name that is
// there already holds the same and is returned unwritten. What a crash left of an earlier one is removed first. One call at a
// time, of Write and Adopt.
func Write(engine *box.Engine, view *box.View, pos Position, o Options) (Result, error) {
	return write(pos, o, func(w io.Writer) (uint64, error) { return writeRows(engine, view, pos, o, w) })
}

// write makes the file of a position of what rows writes, unless it is there.
func write(pos Position, o Options, rows func(io.Writer) (uint64, error)) (Result, error) {
	path := o.Dir + "/" + o.Prefix + Name(pos.Signature())
	if _, err := o.FS.Lstat(path); err == nil {
		// Whoever wrote it may have failed to make its name durable.
		if err := o.FS.SyncDir(o.Dir); err != nil {
			return Result{}, fmt.Errorf("checkpoint: %w", err)
		}
		return Result{Path: path, Existed: true}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	if err := removeUnfinished(o.FS, o.Dir); err != nil {
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	res, sum, err := writeFile(o, path+suffixPartial, rows)
	if err != nil {
		_ = o.FS.Remove(path + suffixPartial)
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	if err := o.FS.Rename(path+suffixPartial, path); err != nil {
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	name := o.Prefix + strings.TrimSuffix(Name(pos.Signature()), suffix) + suffixSum
	if err := sys.WriteFileAtomic(o.FS, o.Dir, name, sumFile(sum), 0o600); err != nil {
		return Result{}, fmt.Errorf("checkpoint: %w", err)
	}
	res.Path = path
	return res, nil
}

// removeUnfinished removes snapshots that were not finished, so that they do not take the room of the next one.
func removeUnfinished(fsys sys.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, suffix+suffixPartial) && !strings.HasSuffix(name, suffixSum+suffixPartial) {
			continue
		}
		if err := fsys.Remove(dir + "/" + name); err != nil {
			return err
		}
	}
	return nil
}

// sumFile is the content of the sidecar: a format version and the hash of the whole snapshot.
func sumFile(sum []byte) []byte { return []byte("1 sha256 " + hex.EncodeToString(sum) + "\n") }

func writeFile(o Options, path string, write func(io.Writer) (uint64, error)) (Result, []byte, error) {
	f, err := o.FS.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Result{}, nil, err
	}
	digest := sha256.New()
	file := &fileWriter{f: f, digest: digest}
	buffered := bufio.NewWriterSize(file, fileBufferBytes)
	rows, err := write(&pace{w: buffered, since: time.Now()})
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return Result{Rows: rows, Bytes: file.bytes}, digest.Sum(nil), err
}

// fileBufferBytes is how much is hashed and written at once.
const fileBufferBytes = 256 << 10

// syncBytes is how much is written before a sync: what one sync leaves to the disk does not hold up the log for long.
const syncBytes = 16 << 20

// fileWriter hashes what it writes, and syncs on the way.
type fileWriter struct {
	f        sys.File
	digest   hash.Hash
	bytes    int64
	unsynced int
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.digest.Write(p[:n])
	w.bytes += int64(n)
	if w.unsynced += n; err == nil && w.unsynced >= syncBytes {
		w.unsynced = 0
		err = w.f.Datasync()
	}
	return n, err
}

// workPerRest is how long a checkpoint works, in units of the rest that follows.
const workPerRest = 3

// pace rests after each block, so that a checkpoint takes three quarters of a processor at most, in slices of some tenths
// of a millisecond. The scheduler looks for requests that have come when a goroutine goes to rest; one that only worked
// would keep its processor, and whatever waits for it, for ten milliseconds at a time.
type pace struct {
	w     io.Writer
	since time.Time
}

func (p *pace) Write(block []byte) (int, error) {
	n, err := p.w.Write(block)
	time.Sleep(time.Since(p.since) / workPerRest)
	p.since = time.Now()
	return n, err
}

func newWriter(pos Position, o Options, w io.Writer) (*snap.Writer, error) {
	return snap.NewWriterOptions(w, snap.Meta{
		Kind: snap.KindSnap, Version: ServerVersion, Instance: o.InstanceUUID, VClock: pos.vclock(), Extra: pos.header(),
	}, snap.WriterOptions{Compression: snap.CompressionFastest})
}

func writeRows(engine *box.Engine, view *box.View, pos Position, o Options, w io.Writer) (uint64, error) {
	sw, err := newWriter(pos, o, w)
	if err != nil {
		return 0, err
	}
	stamp := float64(o.Now.UnixNano()) / 1e9
	var rows uint64
	for _, sp := range view.Schema().Spaces() {
		if sp.IsView() || sp.Temporary || sp.IsGlobal() || engine.IsBuiltin(sp.ID) {
			continue
		}
		var failed error
		group := uint32(0)
		if sp.Local {
			group = snap.GroupLocal
		}
		view.Ascend(sp, func(tup []byte) bool {
			if foreign(engine, view.Schema(), sp.ID, tup) {
				return true
			}
			failed = sw.WriteRow(snap.Row{Type: snap.TypeInsert, LSN: rows, Timestamp: stamp, SpaceID: sp.ID, GroupID: group, Tuple: box.SnapshotRow(sp.ID, tup)})
			if rows++; o.Progress != nil && rows%100_000 == 0 {
				o.Progress(rows)
			}
			return failed == nil
		})
		if failed != nil {
			return rows, failed
		}
	}
	return rows, sw.Close()
}

// foreign tells whether a row describes something that only this program knows: Tarantool would not open the file.
func foreign(engine *box.Engine, schema *box.Schema, space uint32, tup []byte) bool {
	_, b, err := msgpack.ReadArrayLen(tup)
	if err != nil {
		return true
	}
	switch space {
	case dictionary.SpaceSpace, dictionary.SpaceIndex:
		id, _, err := msgpack.ReadUint(b)
		return err != nil || engine.IsBuiltin(uint32(id))
	case dictionary.SpaceFunc:
		name := msgpack.SkipTrusted(msgpack.SkipTrusted(b))
		s, _, err := msgpack.ReadStr(name)
		return err != nil || strings.HasPrefix(string(s), ".proc_") || strings.HasPrefix(string(s), "pico.")
	case dictionary.SpacePriv:
		kind := msgpack.SkipTrusted(msgpack.SkipTrusted(b))
		s, object, err := msgpack.ReadStr(kind)
		if err != nil {
			return true
		}
		id, _, err := msgpack.ReadUint(object)
		switch {
		case err != nil:
			return false // '' means all objects of the kind
		case string(s) == "space":
			return engine.IsBuiltin(uint32(id)) || schema.Space(uint32(id)) == nil
		case string(s) == "function":
			return id > functionBuiltinMax
		}
	}
	return false
}

func formatIDs(ids []uint64) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatUint(id, 10)
	}
	return strings.Join(parts, ",")
}

// SetAside takes a damaged snapshot out of the list, so that it is neither read again nor taken for one that can be fallen
// back to: its name gets a suffix. A file that is not there is passed over.
func SetAside(fsys sys.FS, dir string, signature uint64) error {
	name := dir + "/" + strings.TrimSuffix(Name(signature), suffix)
	for _, s := range []string{suffix, suffixSum} {
		if err := fsys.Rename(name+s, name+s+suffixDamaged); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("checkpoint: set a damaged snapshot aside: %w", err)
		}
	}
	return fsys.SyncDir(dir)
}

// List returns the signatures of the finished snapshots in a directory, newest first.
func List(fsys sys.FS, dir string) ([]uint64, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: list snapshots: %w", err)
	}
	var found []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && len(digits) == 20 {
			found = append(found, n)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i] > found[j] })
	return found, nil
}

// ReadPosition reads the position of a snapshot from its header.
func ReadPosition(fsys sys.FS, dir string, signature uint64) (Position, error) {
	f, err := fsys.OpenFile(dir+"/"+Name(signature), os.O_RDONLY, 0)
	if err != nil {
		return Position{}, fmt.Errorf("checkpoint: %w", err)
	}
	defer f.Close()
	r, err := snap.NewReader(f, snap.Limits{})
	if err != nil {
		return Position{}, fmt.Errorf("checkpoint: %s: %w", Name(signature), err)
	}
	pos, err := PositionOf(r.Meta())
	if err != nil {
		return Position{}, fmt.Errorf("checkpoint: %s: %w", Name(signature), err)
	}
	return pos, nil
}

// Retain removes all but the newest keep snapshots and those that are in use, which may be nil for none. It returns the signature
// of the oldest that is left, 0 if there are none: the log is needed from there on.
func Retain(fsys sys.FS, dir string, keep int, inUse func(signature uint64) bool) (oldest uint64, err error) {
	found, err := List(fsys, dir)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	oldest = found[min(keep, len(found))-1]
	removed := false
	for _, signature := range found[min(keep, len(found)):] {
		if inUse != nil && inUse(signature) {
			oldest = signature
			continue
		}
		name := dir + "/" + strings.TrimSuffix(Name(signature), suffix)
		for _, s := range []string{suffix, suffixSum} {
			if err := fsys.Remove(name + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("checkpoint: remove old snapshot: %w", err)
			}
		}
		removed = true
	}
	if removed {
		err = fsys.SyncDir(dir)
	}
	return oldest, err
}
