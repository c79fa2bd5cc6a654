package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/sys"
)

// logWriter writes to a file that can be opened anew, or to a stream.
type logWriter struct {
	fs   sys.FS
	path string

	// mu guards out and file.
	mu   sync.Mutex
	out  io.Writer
	file sys.File
}

// newLogger makes the logger that the configuration asks for; stderr is used if it names no file.
func (a *app) newLogger(cfg *config.Config) (*slog.Logger, *logWriter, error) {
	w := &logWriter{fs: a.fs, path: cfg.LogFile, out: a.Stderr}
	if err := w.reopen(); err != nil {
		return nil, nil, fmt.Errorf("log-file: %w", err)
	}
	options := &slog.HandlerOptions{Level: logLevel(cfg.LogLevel)}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), w, nil
	}
	return slog.New(slog.NewTextHandler(w, options)), w, nil
}

func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// reopen opens the file by its name, so that a rotated file is let go of. On failure the old one stays in use.
func (w *logWriter) reopen() error {
	if w.path == "" {
		return nil
	}
	f, err := w.fs.OpenFile(w.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.mu.Lock()
	old := w.file
	w.file, w.out = f, f
	w.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return nil
}

// hangup reopens and tells a failure.
func (w *logWriter) hangup(logger *slog.Logger) {
	if err := w.reopen(); err != nil {
		logger.Error("the log file could not be opened anew", "error", err)
	}
}

// Write appends one line.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}
