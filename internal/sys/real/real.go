// Package real is the machine itself behind the interfaces of package sys. Effects: files, clocks.
package real

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/sys"
)

var started = time.Now()

// Until returns how long it is until the next of the moments, so far apart, that this process has for what can be done at any time:
// timers that ring together wake it once. It is more than 0 and at most that far.
func Until(apart time.Duration) time.Duration { return apart - time.Since(started)%apart }

// FS is the file system of the operating system.
type FS struct{}

var _ sys.FS = FS{}

// OpenFile opens a file; it is never inherited by child processes.
func (FS) OpenFile(name string, flag int, perm fs.FileMode) (sys.File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, diskFull(err)
	}
	return file{f}, nil
}

// Rename renames a file within a file system.
func (FS) Rename(oldName, newName string) error { return diskFull(os.Rename(oldName, newName)) }

// Remove removes a file or an empty directory.
func (FS) Remove(name string) error { return os.Remove(name) }

// RemoveAll removes a tree.
func (FS) RemoveAll(name string) error { return os.RemoveAll(name) }

// MkdirAll makes a directory and its parents.
func (FS) MkdirAll(name string, perm fs.FileMode) error { return diskFull(os.MkdirAll(name, perm)) }

// ReadDir lists a directory sorted by name.
func (FS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Lstat describes a file without following links.
func (FS) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

// SyncDir makes a directory's entries durable.
func (FS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return diskFull(err)
}

type file struct{ *os.File }

func (f file) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, diskFull(err)
}

func (f file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, diskFull(err)
}

func (f file) Sync() error { return diskFull(f.File.Sync()) }

func (f file) Datasync() error { return diskFull(f.control("fdatasync", unix.Fdatasync)) }

func (f file) Allocate(off, length int64) error {
	return diskFull(f.control("fallocate", func(fd int) error {
		for {
			err := unix.Fallocate(fd, 0, off, length)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EOPNOTSUPP {
				return extend(f.File, off+length)
			}
			return err
		}
	}))
}

// extend is the fallback of file systems without fallocate: the file grows, without a promise of space.
func extend(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() >= size {
		return err
	}
	return f.Truncate(size)
}

func (f file) control(op string, call func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := rc.Control(func(fd uintptr) { callErr = call(int(fd)) }); err != nil {
		return err
	}
	if callErr != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return nil
}

func diskFull(err error) error {
	if err == nil || !(errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return err
	}
	return fmt.Errorf("%w: %w", sys.ErrDiskFull, err)
}

// Clock is the machine's clock.
type Clock struct{}

var _ sys.Clock = Clock{}

// Wall is the time of day.
func (Clock) Wall() time.Time { return time.Now() }

// Boot is the time since the machine started, suspension included.
func (Clock) Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// OpenFilesMax returns how many files the process may have open at once. The Go runtime has raised the soft limit to the
// hard one by then.
func OpenFilesMax() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return l.Cur, nil
}
