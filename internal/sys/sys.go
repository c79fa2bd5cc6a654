// Package sys holds the interfaces through which the program touches its machine: files and clocks. Pure: the real
// ones are in sys/real, the ones that inject faults in sys/fault. No other package calls os for files.
package sys

import (
	"errors"
	"io"
	"io/fs"
	"time"
)

// FS is a file system. Names are ordinary slash paths, absolute or relative to the process.
type FS interface {
	// OpenFile opens with os.O_* flags and permission bits.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Lstat does not follow a link.
	Lstat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, renames and removals in the directory durable.
	SyncDir(name string) error
}

// File is an open file.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	// Sync makes data and metadata durable (fsync).
	Sync() error
	// Datasync makes data durable, and metadata as far as reading the data needs it (fdatasync).
	Datasync() error
	// Allocate reserves disk space for [off, off+length), extending the file with zeros; ENOSPC is ErrDiskFull.
	Allocate(off, length int64) error
}

// ErrDiskFull is in the chain of every error that means "no space left" (ENOSPC, EDQUOT). It is a state that passes;
// every other error of a write or sync poisons the log.
var ErrDiskFull = errors.New("no space left on device")

// Clock tells time. Wall is for people and file headers, Boot decides: it is CLOCK_BOOTTIME, which counts suspended time
// and never jumps.
type Clock interface {
	Wall() time.Time
	Boot() time.Duration
}

// ReadFile reads at most limit bytes of a file and fails if it is longer.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("file is longer than its limit")}
	}
	return data, nil
}

// WriteFileAtomic replaces dir/name durably: a temporary file in the same directory is written, synced and renamed, then
// the directory is synced. After an error the old content is still there, or the new one; never a mixture.
func WriteFileAtomic(fsys FS, dir, name string, data []byte, perm fs.FileMode) error {
	tmp := dir + "/" + name + ".inprogress"
	f, err := fsys.OpenFile(tmp, openTruncate, perm)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	if err := fsys.Rename(tmp, dir+"/"+name); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// openTruncate is O_WRONLY|O_CREAT|O_TRUNC of Linux; package os is not imported by pure packages.
const openTruncate = 0x1 | 0x40 | 0x200
