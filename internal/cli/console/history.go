package console

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lycosadb/lycosa/internal/sys"
)

const (
	// historyHead begins the file: what it is, and the version of its format. Then follows a JSON string for each command.
	historyHead       = "lycosa console history 1"
	historyMax        = 1000 // commands that are kept
	historyBytesMax   = 4 << 20
	historyEntryBytes = 16 << 10 // longer commands are not worth keeping
	historyMode       = 0o600
)

// history is what was entered, in this session and in those before. Lines that look like secrets are kept for this
// session alone. It is a history source of the line editor.
type history struct {
	lines []string
	fs    sys.FS
	path  string // empty if nothing is written
	tell  func(format string, args ...any)
}

// openHistory reads the file, which is made if it is missing. If that does not work the user is told, and the history
// lasts for this session.
func openHistory(fsys sys.FS, path string, tell func(format string, args ...any)) *history {
	h := &history{fs: fsys, path: path, tell: tell}
	if path == "" {
		return h
	}
	if err := h.load(); err != nil {
		h.giveUp(err)
	}
	return h
}

func (h *history) giveUp(err error) {
	h.tell("the history is not kept: %v", err)
	h.path = ""
}

var (
	errNoHistory  = errors.New("the file is no history of this version")
	errNotRegular = errors.New("it is not a regular file")
)

func (h *history) load() error {
	if err := h.fs.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	info, err := h.fs.Lstat(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h.rewrite()
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: h.path, Err: errNotRegular}
	}
	data, err := sys.ReadFile(h.fs, h.path, historyBytesMax)
	if err != nil {
		return err
	}
	head, rest, _ := strings.Cut(string(data), "\n")
	if head != historyHead {
		return &fs.PathError{Op: "read", Path: h.path, Err: errNoHistory}
	}
	entries := 0
	for line := range strings.Lines(rest) {
		var text string
		if json.Unmarshal([]byte(line), &text) == nil {
			h.remember(text)
		}
		entries++
	}
	// A file of others' mode, or with much that is too old, is written anew.
	if info.Mode().Perm() != historyMode || entries > 2*historyMax || len(data) > historyBytesMax/2 {
		return h.rewrite()
	}
	return nil
}

// rewrite writes the file anew, without commands that look like secrets.
func (h *history) rewrite() error {
	data := append([]byte(historyHead), '\n')
	for _, line := range h.lines {
		data = appendEntry(data, line)
	}
	return sys.WriteFileAtomic(h.fs, filepath.Dir(h.path), filepath.Base(h.path), data, historyMode)
}

func appendEntry(dst []byte, line string) []byte {
	text, err := json.Marshal(line)
	if err != nil || looksSecret(line) || len(line) > historyEntryBytes {
		return dst
	}
	return append(append(dst, text...), '\n')
}

// remember adds a line unless it is the last one again.
func (h *history) remember(line string) bool {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	if h.lines = append(h.lines, line); len(h.lines) > historyMax {
		h.lines = h.lines[1:]
	}
	return true
}

// Write adds a command and returns how many there are.
func (h *history) Write(line string) (int, error) {
	if !h.remember(line) || h.path == "" {
		return len(h.lines), nil
	}
	entry := appendEntry(nil, line)
	if len(entry) == 0 {
		return len(h.lines), nil
	}
	f, err := h.fs.OpenFile(h.path, os.O_WRONLY|os.O_APPEND, historyMode)
	if err == nil {
		_, err = f.Write(entry)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		h.giveUp(err)
	}
	return len(h.lines), nil
}

// GetLine returns a command by its number from 0, the oldest first.
func (h *history) GetLine(at int) (string, error) {
	if at < 0 || at >= len(h.lines) {
		return "", errors.New("no such command in the history")
	}
	return h.lines[at], nil
}

// Len returns how many commands there are.
func (h *history) Len() int { return len(h.lines) }

// Dump returns all commands.
func (h *history) Dump() any { return h.lines }
