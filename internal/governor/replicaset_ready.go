package governor

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// readyWeight is the weight that a replicaset gets with its first readiness, unless a user has set one.
const readyWeight = 1

const kindReady = "replicaset_ready"

// planReplicasets makes a replicaset ready once as many of its instances are Online as its tier wants replicas. It never
// goes back to not ready.
func planReplicasets(in Input, r *Report) []Step {
	var steps []Step
	for _, rs := range in.Catalog.Replicasets() {
		tier, ok := in.Catalog.Tier(rs.Tier)
		if !ok || rs.State != catalog.ReplicasetNotReady {
			continue
		}
		online := uint64(0)
		for _, row := range in.Catalog.InstancesOf(rs.Name) {
			if row.Current.Name == lifecycle.Online {
				online++
			}
		}
		if online == 0 {
			continue // its instances say what they wait for
		}
		if online < tier.ReplicationFactor {
			r.wait(in, Row{Subject: rs.Name, Kind: kindReady,
				Text: fmt.Sprintf("replicaset %s: %d of %d replicas are Online", rs.Name, online, tier.ReplicationFactor)})
			continue
		}
		step := readyStep(in, rs)
		r.Steps = append(r.Steps, since(in, in.Previous.Steps, Row{Subject: rs.Name, Kind: kindReady, Text: step.Text}))
		steps = append(steps, step)
	}
	return steps
}

func readyStep(in Input, rs catalog.Replicaset) Step {
	guard := catalog.Unchanged(in.Catalog, catalog.Eq(catalog.TableReplicaset, catalog.Key(rs.Name)))
	guard.Term = in.Term
	rs.State = catalog.ReplicasetReady
	if rs.WeightOrigin != "user" {
		rs.Weight = readyWeight
	}
	return Step{
		Kind: kindReady, Subject: rs.Name, Text: "replicaset " + rs.Name + " is ready, with weight " + fmt.Sprint(rs.Weight),
		Op:    catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableReplicaset, Tuple: rs.Row()}}},
		Guard: guard,
	}
}
