package governor

import (
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planExpelReplicaset follows the last instance of a replicaset: before that is Expelled the replicaset is marked to be
// expelled and loses its weight, after it the replicaset is expelled.
func planExpelReplicaset(in Input, rs catalog.Replicaset, _ *Report) *Step {
	rows := in.Catalog.InstancesOf(rs.Name)
	if rs.State == catalog.ReplicasetExpelled || len(rows) == 0 {
		return nil
	}
	var left []catalog.Instance
	looked := []catalog.Range{}
	for _, row := range rows {
		if row.Current.Name != lifecycle.Expelled {
			left = append(left, row)
		}
		looked = append(looked, catalog.Eq(catalog.TableInstance, catalog.Key(row.Name)))
	}
	switch {
	case len(left) == 0:
		rs.State, rs.Weight = catalog.ReplicasetExpelled, 0
		return recordReplicaset(in, rs, "replicaset "+rs.Name+" is expelled", looked...)
	case len(left) == 1 && left[0].Target.Name == lifecycle.Expelled && rs.State != catalog.ReplicasetToBeExpelled &&
		byForce(left[0], rs):
		rs.State, rs.Weight = catalog.ReplicasetToBeExpelled, 0
		return recordReplicaset(in, rs, "replicaset "+rs.Name+" is to be expelled with its last instance "+left[0].Name,
			looked...)
	}
	return nil
}
