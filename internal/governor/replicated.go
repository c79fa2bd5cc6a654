package governor

import (
	"fmt"
	"strconv"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planReplicated waits until the instance is a caught-up member of its replicaset's group and its box is configured.
func planReplicated(s subject, _ *Report) (*Step, string) {
	if !s.stands(lifecycle.RaftSynced) {
		return nil, ""
	}
	name, data := s.row.ReplicasetName, s.obs.Data
	switch {
	case !data.Member:
		return nil, "waiting to become a member of the group of replicaset " + name
	case !data.Quorum:
		return nil, "waiting for a leader of replicaset " + name
	case data.RowsApplied < data.RowsTotal:
		return nil, fmt.Sprintf("waiting to catch up replicaset %s: %s of %s rows", name, grouped(data.RowsApplied),
			grouped(data.RowsTotal))
	case !boxConfigured(s.obs.State):
		return nil, fmt.Sprintf("waiting for state BoxConfigured, now %s", s.obs.State)
	}
	return s.setGrade(lifecycle.Replicated, catalog.Eq(catalog.TableReplicaset, catalog.Key(name))), ""
}

// boxConfigured reports whether a state is BoxConfigured or later.
func boxConfigured(state lifecycle.State) bool {
	switch state {
	case lifecycle.BoxConfigured, lifecycle.ConfiguringRoles, lifecycle.RolesConfigured, lifecycle.OperationError:
		return true
	}
	return false
}

// grouped writes a number with commas between thousands.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
