package governor

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planExpel ends the way of an instance that is to be expelled: it is recorded as Expelled when it leads nothing, has no vote
// in the catalog, and is not in the group of its replicaset any more. The last copy of a replicaset is given up only with the
// replicaset, which catalog.PlanExpel has marked for it.
func planExpel(s subject, _ *Report) (*Step, string) {
	row := s.row
	if row.Target.Name != lifecycle.Expelled || row.Current.Name == lifecycle.Expelled {
		return nil, ""
	}
	rs, _ := s.in.Catalog.Replicaset(row.ReplicasetName)
	view := s.in.DataGroups[rs.Name]
	switch {
	case s.in.Leader == row.Name:
		return nil, "waiting to hand over the catalog before it is expelled"
	case s.in.CatalogGroup.Joint, slices.Contains(s.in.CatalogGroup.Voters, row.RaftID):
		return nil, "waiting to lose its vote in the catalog before it is expelled"
	case rs.State == catalog.ReplicasetToBeExpelled: // its rows go with it
	case lastCopy(s.in.Catalog, row):
		return nil, "holds the last copy of replicaset " + rs.Name + ", which only an expel with --force gives up"
	case !view.Known || view.Leader == "":
		return nil, "waiting for a leader of replicaset " + rs.Name + " before it is expelled"
	case view.Leader == row.Name:
		return nil, "waiting to hand over replicaset " + rs.Name + " before it is expelled"
	case view.Joint:
		return nil, "waiting until the change of the members of replicaset " + rs.Name + " is complete before it is expelled"
	case view.member(row.DataRaftID):
		return nil, "waiting to leave the group of replicaset " + rs.Name + " before it is expelled"
	}
	return s.setGrade(lifecycle.Expelled, catalog.Eq(catalog.TableReplicaset, catalog.Key(rs.Name))), ""
}

// lastCopy reports whether all other instances of the replicaset are Expelled.
func lastCopy(cat *catalog.State, row catalog.Instance) bool {
	return !slices.ContainsFunc(cat.InstancesOf(row.ReplicasetName), func(other catalog.Instance) bool {
		return other.Name != row.Name && other.Current.Name != lifecycle.Expelled
	})
}
