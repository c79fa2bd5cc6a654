// Package fault holds twins of the interfaces of package sys for tests: a file system in memory that forgets what was not
// synced when it "loses power", tears writes, fails on order and becomes full, and a clock that is moved by hand. Effects:
// none outside its own memory. It decides nothing: the test says what fails and what a crash leaves.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/sys"
)

// ErrCrashed is the error of every call after a crash until Reboot, and for ever of files opened before it.
var ErrCrashed = errors.New("fault: the machine has crashed")

// Op is the kind of a call that can be counted, failed, and lost in a crash.
type Op string

const (
	// OpCreate is the making of a file by OpenFile.
	OpCreate Op = "create"
	// OpWrite is Write and WriteAt.
	OpWrite Op = "write"
	// OpTruncate is Truncate, and OpenFile with O_TRUNC of a file that is not empty.
	OpTruncate Op = "truncate"
	// OpAllocate is Allocate.
	OpAllocate Op = "allocate"
	// OpSync is Sync and Datasync.
	OpSync Op = "sync"
	// OpSyncDir is SyncDir.
	OpSyncDir Op = "syncdir"
	// OpRename is Rename; its name for faults is the new one.
	OpRename Op = "rename"
	// OpRemove is Remove, and each name that RemoveAll removes.
	OpRemove Op = "remove"
	// OpMkdir is the making of one directory by MkdirAll.
	OpMkdir Op = "mkdir"
	// OpRead is Read, ReadAt and ReadDir; it changes nothing and is never where a crash happens.
	OpRead Op = "read"
	// OpClose is Close; as OpRead.
	OpClose Op = "close"
)

// Fault makes calls fail.
type Fault struct {
	Op Op
	// Path is a part of the name; empty matches all.
	Path string
	// Nth is the first matching call that fails, counted from 1 (0 means 1); Times is how many fail from there (0: all).
	Nth, Times int
	// Err is EIO unless given.
	Err error
}

type armed struct {
	Fault
	seen int
}

// FS is a file system in memory. It is safe for use by several goroutines.
type FS struct {
	// mu guards everything below, inodes included.
	mu       sync.Mutex
	root     *inode
	gen      int
	dead     bool
	ops      int
	crashAt  int
	seq      int
	used     int64
	capacity int64
	faults   []*armed
	volatile bool
	counts   map[Op]int
}

var _ sys.FS = (*FS)(nil)

// New makes an empty file system without limit.
func New() *FS { return &FS{root: newDir(), counts: map[Op]int{}} }

// NewVolatile makes one that does not remember what is unsynced: fast, for benchmarks. It cannot Reboot.
func NewVolatile() *FS {
	f := New()
	f.volatile = true
	return f
}

// inode is a file or a directory: as running programs see it, and as it is on disk.
type inode struct {
	dir bool
	// mem is a file's content, disk what a sync has put on disk, pending the changes between them.
	mem, disk []byte
	pending   []change
	// names is a directory's content, durable what is on disk, moves the changes between them.
	names, durable map[string]*inode
	moves          []move
	mode           fs.FileMode
	modified       time.Time
}

// change is one unsynced change of a file: a write, or (data nil) a new size.
type change struct {
	seq  int
	op   Op
	off  int64
	data []byte
	size int64
}

// move is one unsynced change of a directory: names removed, one name set.
type move struct {
	seq    int
	op     Op
	remove string
	set    string
	target *inode
}

func newDir() *inode {
	return &inode{dir: true, names: map[string]*inode{}, durable: map[string]*inode{}, mode: fs.ModeDir | 0o700}
}

// SetCapacity limits the sum of all file sizes; 0 is no limit.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Used is the sum of all file sizes.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// Inject arms a fault.
func (f *FS) Inject(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.Err == nil {
		x.Err = syscall.EIO
	}
	x.Nth = max(x.Nth, 1)
	f.faults = append(f.faults, &armed{Fault: x})
}

// Heal disarms all faults.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Ops is the number of changing calls so far; CrashAt counts on it.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Count is the number of calls of one kind so far.
func (f *FS) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// CrashAt makes the n-th changing call from now the last one: it is in flight when the machine stops. A sync in flight has
// done nothing, any other call is unsynced.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = f.ops + n
}

// Crashed reports that a crash has happened and Reboot has not.
func (f *FS) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// enter begins a call: ErrCrashed after a crash, an injected error, or, with last set, the order to do the call and then
// report ErrCrashed.
func (f *FS) enter(op Op, name string) (last bool, err error) {
	if f.dead {
		return false, ErrCrashed
	}
	f.counts[op]++
	if op != OpRead && op != OpClose {
		f.ops++
	}
	for _, a := range f.faults {
		if a.Op != op || !strings.Contains(name, a.Path) {
			continue
		}
		a.seen++
		if a.seen >= a.Nth && (a.Times == 0 || a.seen < a.Nth+a.Times) {
			return false, wrap(op, name, a.Err)
		}
	}
	if f.crashAt > 0 && f.ops >= f.crashAt && op != OpRead && op != OpClose {
		f.dead = true
		return true, nil
	}
	return false, nil
}

func wrap(op Op, name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: %w", sys.ErrDiskFull, err)
	}
	return &fs.PathError{Op: string(op), Path: name, Err: err}
}

// grow takes n bytes of the capacity.
func (f *FS) grow(op Op, name string, n int64) error {
	if n > 0 && f.capacity > 0 && f.used+n > f.capacity {
		return wrap(op, name, syscall.ENOSPC)
	}
	f.used += n
	return nil
}

// find walks to a name.
func (f *FS) find(op, name string) (*inode, error) {
	at := f.root
	for _, part := range split(name) {
		if !at.dir {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		next := at.names[part]
		if next == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
		}
		at = next
	}
	return at, nil
}

func (f *FS) findDir(op, name string) (*inode, error) {
	d, err := f.find(op, name)
	if err == nil && !d.dir {
		err = &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return d, err
}

func split(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// move changes a directory.
func (f *FS) move(d *inode, m move) {
	f.seq++
	m.seq = f.seq
	applyMove(d.names, m)
	if f.volatile {
		return
	}
	d.moves = append(d.moves, m)
}

func applyMove(names map[string]*inode, m move) {
	if m.remove != "" {
		delete(names, m.remove)
	}
	if m.set != "" {
		names[m.set] = m.target
	}
}

// OpenFile knows O_RDONLY, O_WRONLY, O_RDWR, O_CREATE, O_EXCL, O_TRUNC and O_APPEND.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (sys.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrCrashed
	}
	n, err := f.find("open", name)
	switch {
	case err == nil && n.dir && flag&(os.O_WRONLY|os.O_RDWR) != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		if n, err = f.create(name, perm); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	h := &file{fs: f, in: n, name: name, gen: f.gen, flag: flag}
	if flag&os.O_TRUNC != 0 && len(n.mem) > 0 {
		if err := h.resize(OpTruncate, 0); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (f *FS) create(name string, perm fs.FileMode) (*inode, error) {
	d, err := f.findDir("open", path.Dir(path.Clean("/"+name)))
	if err != nil {
		return nil, err
	}
	last, err := f.enter(OpCreate, name)
	if err != nil {
		return nil, err
	}
	n := &inode{mode: perm}
	f.move(d, move{op: OpCreate, set: path.Base(name), target: n})
	if last {
		return nil, ErrCrashed
	}
	return n, nil
}

// Rename replaces newName in one step; both names must lie in one directory or the change is two.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find("rename", oldName)
	if err != nil {
		return err
	}
	to, err := f.findDir("rename", path.Dir(path.Clean("/"+newName)))
	if err != nil {
		return err
	}
	from, _ := f.findDir("rename", path.Dir(path.Clean("/"+oldName)))
	last, err := f.enter(OpRename, newName)
	if err != nil {
		return err
	}
	if old := to.names[path.Base(newName)]; old != nil && old != n {
		f.used -= int64(len(old.mem))
	}
	if from == to {
		f.move(to, move{op: OpRename, remove: path.Base(oldName), set: path.Base(newName), target: n})
	} else {
		f.move(to, move{op: OpRename, set: path.Base(newName), target: n})
		f.move(from, move{op: OpRename, remove: path.Base(oldName)})
	}
	return crashedIf(last)
}

func crashedIf(last bool) error {
	if last {
		return ErrCrashed
	}
	return nil
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remove(name)
}

func (f *FS) remove(name string) error {
	n, err := f.find("remove", name)
	if err != nil {
		return err
	}
	if n.dir && len(n.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	d, _ := f.findDir("remove", path.Dir(path.Clean("/"+name)))
	last, err := f.enter(OpRemove, name)
	if err != nil {
		return err
	}
	f.used -= int64(len(n.mem))
	f.move(d, move{op: OpRemove, remove: path.Base(name)})
	return crashedIf(last)
}

// RemoveAll removes a tree, one name at a time.
func (f *FS) RemoveAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removeAll(name)
}

func (f *FS) removeAll(name string) error {
	n, err := f.find("remove", name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range sortedNames(n.names) {
		if err := f.removeAll(name + "/" + child); err != nil {
			return err
		}
	}
	return f.remove(name)
}

func sortedNames(m map[string]*inode) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// MkdirAll makes a directory and its parents.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.root
	for _, part := range split(name) {
		next := at.names[part]
		if next != nil && !next.dir {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		if next == nil {
			last, err := f.enter(OpMkdir, name)
			if err != nil {
				return err
			}
			next = newDir()
			next.mode = fs.ModeDir | perm
			f.move(at, move{op: OpMkdir, set: part, target: next})
			if last {
				return ErrCrashed
			}
		}
		at = next
	}
	return crashedIf(f.dead)
}

// SyncDir makes a directory's names durable.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.findDir("syncdir", name)
	if err != nil {
		return err
	}
	last, err := f.enter(OpSyncDir, name)
	if err != nil || last {
		return errors.Join(err, crashedIf(last))
	}
	for _, m := range d.moves {
		applyMove(d.durable, m)
	}
	d.moves = nil
	return nil
}

// ReadDir lists a directory sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.findDir("readdir", name)
	if err != nil {
		return nil, err
	}
	if _, err := f.enter(OpRead, name); err != nil {
		return nil, err
	}
	var out []fs.DirEntry
	for _, child := range sortedNames(d.names) {
		out = append(out, fs.FileInfoToDirEntry(infoOf(child, d.names[child])))
	}
	return out, nil
}

// Lstat describes a name.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrCrashed
	}
	n, err := f.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return infoOf(path.Base(name), n), nil
}

type info struct {
	name string
	size int64
	mode fs.FileMode
	when time.Time
}

func infoOf(name string, n *inode) info {
	return info{name: name, size: int64(len(n.mem)), mode: n.mode, when: n.modified}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.when }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
