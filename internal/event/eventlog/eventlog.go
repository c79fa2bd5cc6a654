// Package eventlog writes events to the structured log. Effects: whatever the logger it is given does. It is not the
// audit log, which is package audit.
package eventlog

import (
	"context"
	"log/slog"

	"github.com/lycosadb/lycosa/internal/event"
)

// Sink writes each event as one line: its text as the message, then its name and fields.
type Sink struct{ logger *slog.Logger }

// New returns a sink that writes to the logger.
func New(logger *slog.Logger) Sink { return Sink{logger: logger} }

// Emit writes the event with the event's own time.
func (s Sink) Emit(e event.Event) {
	ctx := context.Background()
	level := levelOf(e.Level())
	if !s.logger.Enabled(ctx, level) {
		return
	}
	list := e.Fields()
	attrs := make([]slog.Attr, 0, len(list)+1)
	attrs = append(attrs, slog.String("event", e.Name()))
	for _, f := range list {
		attrs = append(attrs, slog.String(f.Key, f.Value))
	}
	r := slog.NewRecord(e.When(), level, e.Text(), 0)
	r.AddAttrs(attrs...)
	// A log that cannot be written has nobody left to tell.
	_ = s.logger.Handler().Handle(ctx, r)
}

func levelOf(l event.Level) slog.Level {
	switch l {
	case event.Error:
		return slog.LevelError
	case event.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}
