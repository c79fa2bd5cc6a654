package governor

import (
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// autoOffline is the silence after which an instance counts as gone.
func (in Input) autoOffline() time.Duration {
	return in.Catalog.Seconds(catalog.ConfAutoOfflineTimeout)
}

// planTarget is the sentinel: an instance that should be Online and has been silent for auto_offline_timeout is marked
// Offline. Only the leader's own evidence counts, from the time since it leads; an instance that is missing in it is not judged.
func planTarget(s subject, r *Report) (*Step, string) {
	last := s.obs.LastHeard
	if s.row.Target.Name != lifecycle.Online || s.row.Current.Name == lifecycle.Expelled ||
		last.IsZero() {
		return nil, ""
	}
	timeout := s.in.autoOffline()
	due := last.Add(timeout)
	if s.in.Now.Before(due) {
		r.recheck(due)
		return nil, ""
	}
	reason := fmt.Sprintf("silent for %s", timeout)
	at := s.in.Now.UTC().Format(time.RFC3339Nano)
	op, guard, err := catalog.SetTarget(s.in.Catalog, s.row.Name, lifecycle.Offline, reason, at)
	if err != nil {
		return nil, "cannot be marked Offline: " + err.Error()
	}
	guard.Term = s.in.Term
	return &Step{Text: "mark " + s.row.Name + " Offline, " + reason, Op: op, Guard: guard}, ""
}
