package fault

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/lycosadb/lycosa/internal/sys"
)

// fileBytesMax bounds a file, so that a wrong offset fails instead of filling the memory.
const fileBytesMax = 4 << 30

// file is an open file.
type file struct {
	fs     *FS
	in     *inode
	name   string
	gen    int
	flag   int
	pos    int64
	closed bool
}

var _ sys.File = (*file)(nil)

// alive is called with the lock held.
func (h *file) alive() error {
	if h.gen != h.fs.gen || h.fs.dead {
		return ErrCrashed
	}
	if h.closed {
		return &fs.PathError{Op: "use", Path: h.name, Err: fs.ErrClosed}
	}
	return nil
}

func (h *file) Name() string { return h.name }

func (h *file) Stat() (fs.FileInfo, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.alive(); err != nil {
		return nil, err
	}
	return infoOf(h.name, h.in), nil
}

func (h *file) Read(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, err := h.readAt(p, h.pos)
	h.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.readAt(p, off)
}

func (h *file) readAt(p []byte, off int64) (int, error) {
	if err := h.alive(); err != nil {
		return 0, err
	}
	if _, err := h.fs.enter(OpRead, h.name); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off < 0 || off >= int64(len(h.in.mem)) {
		return 0, io.EOF
	}
	n := copy(p, h.in.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) Write(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.flag&os.O_APPEND != 0 {
		h.pos = int64(len(h.in.mem))
	}
	n, err := h.writeAt(p, h.pos)
	h.pos += int64(n)
	return n, err
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.writeAt(p, off)
}

func (h *file) writeAt(p []byte, off int64) (int, error) {
	if err := h.writable(); err != nil {
		return 0, err
	}
	if off < 0 || off+int64(len(p)) > fileBytesMax {
		return 0, &fs.PathError{Op: "write", Path: h.name, Err: syscall.EFBIG}
	}
	last, err := h.fs.enter(OpWrite, h.name)
	if err != nil {
		return 0, err
	}
	if more := off + int64(len(p)) - int64(len(h.in.mem)); more > 0 {
		if err := h.fs.grow(OpWrite, h.name, more); err != nil {
			return 0, err
		}
	}
	h.note(change{op: OpWrite, off: off, data: p})
	return len(p), crashedIf(last)
}

func (h *file) writable() error {
	if err := h.alive(); err != nil {
		return err
	}
	if h.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return &fs.PathError{Op: "write", Path: h.name, Err: syscall.EBADF}
	}
	return nil
}

// note applies a change to what programs see and remembers it as unsynced.
func (h *file) note(c change) {
	f := h.fs
	f.seq++
	c.seq = f.seq
	if !f.volatile {
		c.data = append([]byte(nil), c.data...)
		h.in.pending = append(h.in.pending, c)
	}
	h.in.mem = c.apply(h.in.mem)
}

// apply makes the change in b.
func (c *change) apply(b []byte) []byte {
	if c.op != OpWrite {
		return resize(b, c.size)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.resize(OpTruncate, size)
}

// Allocate extends the file with zeros; space already there stays as it is.
func (h *file) Allocate(off, length int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.resize(OpAllocate, max(off+length, int64(len(h.in.mem))))
}

func (h *file) resize(op Op, size int64) error {
	if err := h.writable(); err != nil {
		return err
	}
	if size < 0 || size > fileBytesMax {
		return &fs.PathError{Op: string(op), Path: h.name, Err: syscall.EFBIG}
	}
	last, err := h.fs.enter(op, h.name)
	if err != nil {
		return err
	}
	if err := h.fs.grow(op, h.name, size-int64(len(h.in.mem))); err != nil {
		return err
	}
	h.note(change{op: op, size: size})
	return crashedIf(last)
}

func (h *file) Sync() error { return h.sync() }

func (h *file) Datasync() error { return h.sync() }

// sync puts the file on disk. A failed one leaves the pages marked clean, as Linux does: programs still see them, a later
// sync succeeds without writing them.
func (h *file) sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.alive(); err != nil {
		return err
	}
	last, err := h.fs.enter(OpSync, h.name)
	if err != nil && !errors.Is(err, ErrCrashed) {
		h.in.pending = nil
		return err
	}
	if err != nil || last {
		return ErrCrashed
	}
	for i := range h.in.pending {
		h.in.disk = h.in.pending[i].apply(h.in.disk)
	}
	h.in.pending = nil
	return nil
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed || h.gen != h.fs.gen {
		return nil
	}
	h.closed = true
	_, err := h.fs.enter(OpClose, h.name)
	if errors.Is(err, ErrCrashed) {
		return nil
	}
	return err
}
