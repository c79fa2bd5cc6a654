package governor

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planExpelReplicaset records a replicaset that is to be expelled as expelled when all its instances are.
func planExpelReplicaset(in Input, rs catalog.Replicaset, r *Report) *Step {
	if rs.State != catalog.ReplicasetToBeExpelled {
		return nil
	}
	rows := in.Catalog.InstancesOf(rs.Name)
	left := slices.DeleteFunc(slices.Clone(rows), func(row catalog.Instance) bool { return row.Current.Name == lifecycle.Expelled })
	if len(left) > 0 {
		r.wait(in, Row{Subject: rs.Name, Kind: kindExpelReplicaset,
			Text: "replicaset " + rs.Name + ": waiting until " + left[0].Name + " is expelled"})
		return nil
	}
	var looked []catalog.Range
	for _, row := range rows {
		looked = append(looked, catalog.Eq(catalog.TableInstance, catalog.Key(row.Name)))
	}
	rs.State, rs.Weight = catalog.ReplicasetExpelled, 0
	return recordReplicaset(in, rs, "replicaset "+rs.Name+" is expelled", looked...)
}
