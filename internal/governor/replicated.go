package governor

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planReplicated waits until the instance is a caught-up voter of its replicaset's group and its box is configured.
func planReplicated(s subject, _ *Report) (*Step, string) {
	if !s.stands(lifecycle.RaftSynced) {
		return nil, ""
	}
	name, data, id := s.row.ReplicasetName, s.obs.Data, s.row.DataRaftID
	view := s.in.DataGroups[name]
	if !caughtUp(data.RowsApplied, data.RowsTotal) {
		return nil, catchingUp(name, data.RowsApplied, data.RowsTotal)
	}
	switch {
	case !view.Known || view.Leader == "":
		return nil, "waiting for a leader of replicaset " + name
	case !view.member(id):
		return nil, "waiting to become a member of the group of replicaset " + name
	case view.Leader != s.row.Name && !view.caughtUp(id):
		return nil, catchingUp(name, view.Progress[id], view.Committed)
	case !slices.Contains(view.Voters, id):
		return nil, "waiting for a vote in the group of replicaset " + name
	case !boxConfigured(s.obs.State):
		return nil, fmt.Sprintf("waiting for state BoxConfigured, now %s", s.obs.State)
	}
	return s.setGrade(lifecycle.Replicated, catalog.Eq(catalog.TableReplicaset, catalog.Key(name))), ""
}

// catchingUp counts what an instance has of its replicaset.
func catchingUp(replicaset string, have, total uint64) string {
	return fmt.Sprintf("waiting to catch up replicaset %s: %s of %s rows", replicaset, grouped(have), grouped(total))
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
