package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/sys"
)

// ErrLocked is in the chain when another process holds the data directory.
var ErrLocked = errors.New("the data directory is in use")

// LockWait is how long a start waits for the lock.
const LockWait = 5 * time.Second

const lockPoll = 25 * time.Millisecond

// Lock is the exclusive lock on a data directory. It is held until this process and every child that inherited it are
// gone.
type Lock struct{ file *os.File }

// AcquireLock takes the lock in dir, waiting up to wait for it; say is called once, when there is something to wait for,
// with a sentence that names the holder. The process's id is written into the file.
func AcquireLock(fsys sys.FS, dir string, wait time.Duration, say func(string)) (*Lock, error) {
	path := dir + "/" + datadir.LockFile
	file, err := openLock(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := flock(file, path, wait, say); err != nil {
		file.Close()
		return nil, err
	}
	if err := writePID(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: write: %w", path, err)
	}
	return &Lock{file}, nil
}

// openLock opens the file by way of fsys and returns it as one that a child can inherit.
func openLock(fsys sys.FS, path string) (*os.File, error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	described, ok := f.(interface{ Fd() uintptr })
	if !ok {
		return nil, errors.New("this file system has no descriptors to lock")
	}
	fd, err := unix.FcntlInt(described.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func flock(file *os.File, path string, wait time.Duration, say func(string)) error {
	deadline := time.Now().Add(wait)
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("%w: %s is held by %s", ErrLocked, path, holder(file))
		}
		if !waiting && say != nil {
			say(fmt.Sprintf("%s is held by %s; waiting up to %s", path, holder(file), wait))
		}
		time.Sleep(lockPoll)
	}
}

// Holder returns the process that holds the lock on a data directory. held is false if nobody does; pid is 0 if the
// holder has not written its id yet. A lock that is being looked at cannot be taken for that instant.
func Holder(fsys sys.FS, dir string) (pid int, held bool, err error) {
	path := dir + "/" + datadir.LockFile
	f, err := fsys.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("lock %s: %w", path, err)
	}
	defer f.Close()
	described, ok := f.(interface{ Fd() uintptr })
	if !ok {
		return 0, false, errors.New("this file system has no descriptors to lock")
	}
	err = unix.Flock(int(described.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return 0, false, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, false, fmt.Errorf("lock %s: %w", path, err)
	}
	return holderPID(f), true, nil
}

// holderPID reads the id in a lock file, 0 if there is none.
func holderPID(file io.ReaderAt) int {
	data := make([]byte, 32)
	n, _ := file.ReadAt(data, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// holder names who wrote the lock file.
func holder(file *os.File) string {
	pid := holderPID(file)
	if pid == 0 {
		return "another process"
	}
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return fmt.Sprintf("a process that process %d (gone by now) has started", pid)
	}
	return fmt.Sprintf("process %d", pid)
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Release gives the lock up, as far as this process holds it.
func (l *Lock) Release() error { return l.file.Close() }
