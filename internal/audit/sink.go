package audit

import (
	"log/slog"

	"github.com/lycosadb/lycosa/internal/event"
)

// Sink records events: those of the lifecycle and of security. It cannot refuse anything; an operation that must not go
// on without its record calls Log.Write itself.
type Sink struct {
	log    *Log
	logger *slog.Logger
}

// NewSink returns a sink that writes to log and tells logger when that fails.
func NewSink(log *Log, logger *slog.Logger) *Sink { return &Sink{log: log, logger: logger} }

// Emit records the event.
func (s *Sink) Emit(e event.Event) {
	if err := s.log.Write(EntryOf(e)); err != nil {
		s.logger.Error("audit record is lost", "event", e.Name(), "error", err)
	}
}

// EntryOf makes the entry of an event: user, where, what and result come to their own places, the rest is detail.
func EntryOf(e event.Event) Entry {
	entry := Entry{Event: e.Name()}
	for _, f := range e.Fields() {
		switch f.Key {
		case "user":
			entry.Who = f.Value
		case "where":
			entry.Where = f.Value
		case "what":
			entry.What = f.Value
		case "result":
			entry.Result = f.Value
		default:
			entry.Detail = append(entry.Detail, f)
		}
	}
	switch e.(type) {
	case event.Authenticated:
		entry.Result = "refused"
		if e.Level() == event.Info {
			entry.Result = "ok"
		}
	case event.Privileged, event.Poisoned:
		entry.Privileged = true
	}
	return entry
}
