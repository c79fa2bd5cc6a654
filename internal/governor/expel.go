package governor

import (
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planExpel ends the way of an instance that is to be expelled: it is recorded as Expelled when it leads nothing, has no vote
// in the catalog, and is not in the group of its replicaset any more. The last copy of a replicaset is given up only if that
// was asked for by force.
func planExpel(s subject, _ *Report) (*Step, string) {
	row := s.row
	if row.Target.Name != lifecycle.Expelled || row.Current.Name == lifecycle.Expelled {
		return nil, ""
	}
	rs, _ := s.in.Catalog.Replicaset(row.ReplicasetName)
	view := s.in.DataGroups[rs.Name]
	last := lastCopy(s.in.Catalog, row)
	switch {
	case s.in.Leader == row.Name:
		return nil, "waiting to hand over the catalog before it is expelled"
	case slices.Contains(s.in.CatalogGroup.Voters, row.RaftID):
		return nil, "waiting to lose its vote in the catalog before it is expelled"
	case last && !byForce(row, rs):
		return nil, "holds the last copy of replicaset " + rs.Name + ", which only an expel with --force gives up"
	case last && rs.State != catalog.ReplicasetToBeExpelled:
		return nil, "waiting until replicaset " + rs.Name + " is marked to be expelled with it"
	case last:
	case !view.Known:
		return nil, "waiting for a leader of replicaset " + rs.Name + " before it is expelled"
	case view.Leader == row.Name:
		return nil, "waiting to hand over replicaset " + rs.Name + " before it is expelled"
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

// byForce reports whether the operator has confirmed that the last copy may go: the reason of the target says so, or the
// replicaset is to be expelled already.
func byForce(row catalog.Instance, rs catalog.Replicaset) bool {
	return rs.State == catalog.ReplicasetToBeExpelled || strings.Contains(row.TargetReason, "force")
}
