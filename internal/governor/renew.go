package governor

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planRenew gives an instance that may have forgotten what it had acknowledged a new id in the group of its replicaset, once a
// quorum of the other voters is there to feed it. Until then it keeps what it has: it may be all that is left.
func planRenew(s subject, _ *Report) (*Step, string) {
	if !s.heard || !s.obs.Unsure || s.obs.DataRaftID != s.row.DataRaftID || s.row.Target.Name != lifecycle.Online {
		return nil, ""
	}
	name := s.row.ReplicasetName
	view := s.in.DataGroups[name]
	leader := idOf(dataNames(s.in.Catalog.InstancesOf(name)), view.Leader)
	sure := slices.DeleteFunc(slices.Clone(view.Voters), func(id uint64) bool {
		return id == s.row.DataRaftID || !view.live(id, leader)
	})
	if !view.Known || leader == 0 || leader == s.row.DataRaftID || len(sure) <= len(view.Voters)/2 {
		return nil, "its log was not synced when it stopped, so it waits for a quorum of replicaset " + name +
			" that has kept its rows; if the others have lost theirs, too: lycosa recover --from-survivor"
	}
	op, guard, err := catalog.PlanRenew(s.in.Catalog, s.row.Name, s.row.DataRaftID)
	if err != nil || op.Kind == catalog.Nop {
		return nil, ""
	}
	guard.Term = s.in.Term
	return &Step{Text: "give " + s.row.Name + " a new id in replicaset " + name + ": its log was not synced when it stopped", Op: op, Guard: guard}, ""
}
