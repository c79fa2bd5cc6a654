package eventlog

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
)

func TestLine(t *testing.T) {
	var out bytes.Buffer
	s := New(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})).With("pid", 7))
	at := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	s.Emit(event.ProcessStarted{At: at, Version: "1"})
	if out.Len() != 0 {
		t.Errorf("a line below the level was written: %s", out.String())
	}
	s.Emit(event.Authenticated{At: at, User: "bob", Where: "w"})
	s.Emit(event.Poisoned{At: at, What: "data log"})
	d := json.NewDecoder(&out)
	for _, want := range []map[string]any{
		{"time": "2026-03-01T12:00:00.000000005Z", "level": "WARN", "msg": "login refused", "event": "auth_refused",
			"user": "bob", "where": "w", "pid": 7.0},
		{"time": "2026-03-01T12:00:00.000000005Z", "level": "ERROR", "event": "poisoned", "what": "data log", "pid": 7.0,
			"msg": "a write to our own log failed: nothing more is acknowledged"},
	} {
		got := map[string]any{}
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s is %v, want %v", k, got[k], v)
			}
		}
	}
}
