package governor

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// readyWeight is the weight that a replicaset gets with its first readiness, unless a user has set one.
const readyWeight = 1

// planReady makes a replicaset ready once as many of its instances are Online as its tier wants replicas. It never goes back
// to not ready.
func planReady(in Input, rs catalog.Replicaset, r *Report) *Step {
	tier, ok := in.Catalog.Tier(rs.Tier)
	if !ok || rs.State != catalog.ReplicasetNotReady {
		return nil
	}
	online := uint64(0)
	for _, row := range in.Catalog.InstancesOf(rs.Name) {
		if row.Current.Name == lifecycle.Online {
			online++
		}
	}
	if online == 0 {
		return nil // its instances say what they wait for
	}
	if online < tier.ReplicationFactor {
		r.wait(in, Row{Subject: rs.Name, Kind: kindReady,
			Text: fmt.Sprintf("replicaset %s: %d of %d replicas are Online", rs.Name, online, tier.ReplicationFactor)})
		return nil
	}
	rs.State = catalog.ReplicasetReady
	if rs.WeightOrigin != "user" {
		rs.Weight = readyWeight
	}
	text := "replicaset " + rs.Name + " is ready, with weight " + fmt.Sprint(rs.Weight)
	if first := firstLeader(in, rs, in.DataGroups[rs.Name]); first != rs.TargetMaster && rs.TargetMaster == rs.CurrentMaster {
		rs.TargetMaster = first
		// The choice looks at the leaders of all: of two replicasets that become ready at once the second chooses anew.
		return recordReplicaset(in, rs, text+", to be led by "+first, catalog.Range{Table: catalog.TableReplicaset})
	}
	return recordReplicaset(in, rs, text)
}
