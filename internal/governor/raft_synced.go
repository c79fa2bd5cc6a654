package governor

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planRaftSynced begins the way to Online: the instance must have applied the catalog up to what the leader plans on, so
// that it has seen the request for this incarnation.
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
	if index, _ := s.in.Catalog.Position(); s.obs.Applied < index {
		return nil, fmt.Sprintf("waiting to apply the catalog up to index %d, now at %d", index, s.obs.Applied)
	}
	return s.setGrade(lifecycle.RaftSynced), ""
}
