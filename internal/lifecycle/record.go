package lifecycle

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// causeBytesMax bounds the message of a cause: it is kept a thousandfold in histories and sent over the pipe.
const causeBytesMax = 2048

// Cause says why an instance is in an error state, or why it waits.
type Cause struct {
	// Code is a number of package errcode; 0 for an error that no client gets.
	Code uint32
	// Message is a sentence a user can act on.
	Message string
	// Field names the parameter, file, role or other thing at fault, or is empty.
	Field string
}

type causeJSON struct {
	Code    uint32  `json:"code"`
	Message string  `json:"message"`
	Field   *string `json:"field"`
}

// MarshalJSON writes {"code","message","field"}; an empty field is null.
func (c Cause) MarshalJSON() ([]byte, error) {
	j := causeJSON{Code: c.Code, Message: c.Message}
	if c.Field != "" {
		j.Field = &c.Field
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Cause) UnmarshalJSON(b []byte) error {
	var j causeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*c = Cause{Code: j.Code, Message: j.Message}
	if j.Field != nil {
		c.Field = *j.Field
	}
	return nil
}

// bounded returns a copy of c whose texts are within their limits.
func (c *Cause) bounded() *Cause {
	if c == nil {
		return nil
	}
	return &Cause{Code: c.Code, Message: cut(c.Message, causeBytesMax), Field: cut(c.Field, causeBytesMax)}
}

// cut shortens text to at most bytesMax bytes without breaking a character.
func cut(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	const mark = "…"
	end := bytesMax - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// Record is one change of state in the history.
type Record struct {
	From State     `json:"from"`
	To   State     `json:"to"`
	At   time.Time `json:"at"`
	// DurationMs is the time spent in From, in milliseconds; never negative.
	DurationMs int64  `json:"duration_ms"`
	Cause      *Cause `json:"cause"`
	// Stage is the stage of the process after the change.
	Stage Stage `json:"stage"`
	// PID is the process that made the change.
	PID int `json:"pid"`
}

// HistoryMax is how many records a history keeps; older ones are dropped.
const HistoryMax = 1000

// History is the bounded list of what has happened to an instance, oldest first. It spans all children of one
// supervisor. The zero value is empty and ready.
type History struct{ records []Record }

// NewHistory returns a history that begins with the newest HistoryMax of the given records.
func NewHistory(records []Record) *History {
	h := &History{}
	if over := len(records) - HistoryMax; over > 0 {
		records = records[over:]
	}
	h.records = append(h.records, records...)
	return h
}

// Add appends a record and drops the oldest one when there are too many.
func (h *History) Add(r Record) {
	if len(h.records) >= HistoryMax {
		n := copy(h.records, h.records[len(h.records)-HistoryMax+1:])
		h.records = h.records[:n]
	}
	h.records = append(h.records, r)
}

// Records returns a copy, oldest first; never nil.
func (h *History) Records() []Record { return append([]Record{}, h.records...) }

// Len returns the number of records kept.
func (h *History) Len() int { return len(h.records) }

// Last returns the newest record.
func (h *History) Last() (Record, bool) {
	if len(h.records) == 0 {
		return Record{}, false
	}
	return h.records[len(h.records)-1], true
}

// CheckHistory verifies records against the tables: every change is an allowed edge in an allowed stage, and every
// record goes on where the one before it ended or begins anew at Start (another process). The first record may go on
// from anywhere, since older ones are dropped. It returns the first fault.
func CheckHistory(records []Record) error {
	for i, r := range records {
		begins := r.From == Start && Resumable(r.Stage, r.To)
		if !Allowed(r.From, r.To) && !begins {
			return fmt.Errorf("lifecycle: record %d: %s -> %s is not an allowed edge", i, r.From, r.To)
		}
		if !StateInStage(r.Stage, r.To) {
			return fmt.Errorf("lifecycle: record %d: %s may not occur in stage %s", i, r.To, r.Stage)
		}
		if i == 0 || r.From == records[i-1].To {
			continue
		}
		if r.From != Start || r.PID == records[i-1].PID {
			return fmt.Errorf("lifecycle: record %d goes on from %s, but the one before ended in %s", i, r.From, records[i-1].To)
		}
	}
	return nil
}
