package lifecycle

import (
	"fmt"
	"strconv"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// Progress is how far the work of a state has come.
type Progress struct {
	// What is counted: "rows", "bytes", "entries".
	What string
	Done uint64
	// Total is 0 while it is not known.
	Total uint64
}

// String returns for example "1,204,331 of 1,500,000 rows".
func (p Progress) String() string {
	if p.Total == 0 {
		return group(p.Done) + " " + p.What
	}
	return group(p.Done) + " of " + group(p.Total) + " " + p.What
}

// Published is what an instance shows of itself: one value, published at once to all who look.
type Published struct {
	Stage Stage
	State State
	// Prev is the state before; Start also if there was none.
	Prev  State
	Since time.Time
	// Cause is set in error states, and where the instance waits for a reason.
	Cause *Cause
	// WaitingFor is a short text, empty if nothing is waited for.
	WaitingFor string
	// Progress is nil in states without countable work.
	Progress *Progress
	// Moved is when the state was entered or its progress last grew.
	Moved time.Time
	// WasConfigured: RolesConfigured has been reached once in this process.
	WasConfigured bool
}

// Overdue reports that the instance has been in a passing state for longer than it should, and for how long nothing has
// moved. Unconfigured, ConfigLoaded, RecoveringSnapshot and ConnectingFullmesh are not overdue while there is progress,
// a named wait or, in ConfigLoaded, the cause for which it waits. RolesConfigured and the error states never are.
func (p Published) Overdue(now time.Time) (still time.Duration, overdue bool) {
	if p.State >= stateCount {
		return 0, false
	}
	still = max(0, now.Sub(p.Moved))
	switch states[p.State].kind {
	case passing:
		still = max(0, now.Sub(p.Since))
	case waiting:
		if p.WaitingFor != "" || p.Cause != nil {
			return still, false
		}
	default:
		return still, false
	}
	return still, still > PassingMax
}

// Refusal is the error that a data request gets in this state, or nil if such requests are served: the stored cause in
// InitError and BootError, error 116 in the states before ConnectingFullmesh.
func (p Published) Refusal() *errcode.Error {
	switch {
	case p.State.ServesData():
		return nil
	case p.State.IsTerminal() && p.Cause != nil && p.Cause.Code != 0:
		return errcode.Newf(errcode.Code(p.Cause.Code), "%s", p.Cause.Message)
	case p.State.IsTerminal() && p.Cause != nil:
		return errcode.Newf(errcode.Loading, "Instance is in state %s: %s", p.State, p.Cause.Message)
	default:
		return errcode.New(errcode.Loading, p.State.String())
	}
}

// Summary says in one sentence where the instance stands, for the process title, systemd's status and the log.
func (p Published) Summary(now time.Time) string {
	text := fmt.Sprintf("%s: %s for %s", p.Stage, p.State, age(now.Sub(p.Since)))
	if p.Progress != nil {
		text += ", " + p.Progress.String()
	}
	if p.WaitingFor != "" {
		text += ", " + p.WaitingFor
	}
	if p.Cause != nil {
		text += ": " + p.Cause.Message
	}
	if p.State.IsTerminal() {
		text += " (left only by a restart)"
	}
	return text
}

// age renders a duration roughly, as a person would say it.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Truncate(time.Millisecond).String()
	case d < time.Minute:
		return d.Truncate(100 * time.Millisecond).String()
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m" + strconv.Itoa(int(d%time.Minute/time.Second)) + "s"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h" + strconv.Itoa(int(d%time.Hour/time.Minute)) + "m"
	default:
		return strconv.Itoa(int(d/(24*time.Hour))) + " days"
	}
}

// group writes a number with commas between thousands.
func group(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
