package governor

import (
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planRaftSynced begins the way to Online: the instance must have applied the catalog up to the request for this incarnation.
func planRaftSynced(s subject, _ *Report) (*Step, string) {
	if !s.climbing() {
		return nil, ""
	}
	if !s.heard {
		return nil, "waiting for its first answer"
	}
	if s.row.Current.Incarnation == s.row.Target.Incarnation && s.row.Current.Name != lifecycle.Offline {
		return nil, ""
	}
	if index := s.requestIndex(); s.obs.Applied < index {
		return nil, fmt.Sprintf("waiting to apply the catalog up to index %d, now at %d", index, s.obs.Applied)
	}
	return s.setGrade(lifecycle.RaftSynced), ""
}

// requestIndex is an index at which the request for the present incarnation is in the catalog: that of the plan which saw it
// first, so that an instance need not race with what is written meanwhile.
func (s subject) requestIndex() uint64 {
	at := slices.IndexFunc(s.in.Previous.Waiting, func(row Row) bool {
		return row.Subject == s.row.Name && row.Kind == kindRaftSynced && row.incarnation == s.row.Target.Incarnation
	})
	if at >= 0 && s.row.Target.Incarnation > 0 {
		return s.in.Previous.Waiting[at].applied
	}
	index, _ := s.in.Catalog.Position()
	return index
}
