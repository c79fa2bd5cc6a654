package governor

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planCatalogLeader makes the catalog's leader hand over if it is not to be Online itself and another can lead.
func planCatalogLeader(in Input, _ *Report) *Step {
	to, id := catalogHeir(in)
	if to == "" {
		return nil
	}
	row, _ := in.Catalog.Instance(in.Leader)
	return &Step{
		Text:   "catalog: hand over from " + in.Leader + ", which is to be " + row.Target.Name.String() + ", to " + to,
		Action: TransferLeader{From: in.Leader, To: to, ToID: id, Term: in.Term},
	}
}

// catalogHeir is to whom the catalog's leader hands over; empty if it need not, or nobody can lead.
func catalogHeir(in Input) (name string, id uint64) {
	leader, ok := in.Catalog.Instance(in.Leader)
	if !ok || !in.CatalogGroup.Known || leader.Target.Name == lifecycle.Online {
		return "", 0
	}
	return in.CatalogGroup.heir(in.Catalog.Instances(), func(row catalog.Instance) uint64 { return row.RaftID }, in.Leader)
}

// heir is the voter that leads best after the leader: Online, answering, caught up, with the longest log; empty if there is
// none.
func (v GroupView) heir(rows []catalog.Instance, id func(catalog.Instance) uint64, leader string) (string, uint64) {
	var name string
	var best uint64
	for _, row := range rows {
		if row.Name != leader && v.canLead(row, id(row)) && (best == 0 || v.Progress[id(row)] > v.Progress[best]) {
			name, best = row.Name, id(row)
		}
	}
	return name, best
}

func (v GroupView) canLead(row catalog.Instance, id uint64) bool {
	return isOnline(row) && slices.Contains(v.Voters, id) && v.Active[id] && v.caughtUp(id)
}

// planLeadership keeps current_master_name at the leader of the replicaset's group, and moves the lead: away from an instance
// that is not to be Online, and to the one that target_master_name asks for. After a failover the new leader is the target
// too, unless governor_autoreturn is set: then the lead goes back when the target is Online again.
func planLeadership(in Input, rs catalog.Replicaset, r *Report) *Step {
	view := in.DataGroups[rs.Name]
	leader, ok := in.Catalog.Instance(view.Leader)
	if !view.Known || !ok || leaving(rs) {
		return nil
	}
	wait := func(text string) {
		r.wait(in, Row{Subject: rs.Name, Kind: kindLeadership, Text: "replicaset " + rs.Name + ": " + text})
	}
	if leader.Target.Name != lifecycle.Online {
		to, id := view.heir(in.Catalog.InstancesOf(rs.Name), dataID, view.Leader)
		if to != "" {
			return handOver(rs, view, to, id, leader.Name+", which is to be "+leader.Target.Name.String()+",")
		}
		if len(view.Voters) > 1 && leader.Current.Name != lifecycle.Offline {
			wait(leader.Name + " leads and is to be " + leader.Target.Name.String() +
				"; waiting for another voter to be Online and caught up")
		}
	}
	if rs.CurrentMaster != leader.Name || rs.TargetMaster == "" {
		return recordLeader(in, rs, leader.Name)
	}
	if rs.TargetMaster == leader.Name {
		return nil
	}
	target, ok := in.Catalog.Instance(rs.TargetMaster)
	there := ok && target.ReplicasetName == rs.Name && staying(target)
	switch {
	case !there, target.Target.Name != lifecycle.Online && !in.autoreturn():
		return recordTarget(in, rs, leader.Name)
	case view.canLead(target, target.DataRaftID):
		return handOver(rs, view, target.Name, target.DataRaftID, leader.Name)
	}
	wait(target.Name + " is to lead; waiting until it is Online, a voter, and caught up")
	return nil
}

func (in Input) autoreturn() bool { return in.Catalog.Flag(catalog.ConfGovernorAutoreturn) }

func dataID(row catalog.Instance) uint64 { return row.DataRaftID }

func handOver(rs catalog.Replicaset, view GroupView, to string, id uint64, from string) *Step {
	return &Step{
		Text:   "replicaset " + rs.Name + ": hand over from " + from + " to " + to,
		Action: TransferLeader{Replicaset: rs.Name, From: view.Leader, To: to, ToID: id, Term: view.Term},
	}
}

// recordLeader writes who leads. If the replicaset was led by whom it should be, the change was a failover and no promotion.
func recordLeader(in Input, rs catalog.Replicaset, leader string) *Step {
	before := rs.CurrentMaster
	if rs.TargetMaster == "" || rs.TargetMaster == before && !in.autoreturn() {
		rs.TargetMaster = leader
	}
	if before != leader {
		changes := uint64(1)
		if rs.MasterChangeCounter != nil {
			changes += *rs.MasterChangeCounter
		}
		rs.CurrentMaster, rs.MasterChangeCounter = leader, &changes
	}
	text := "replicaset " + rs.Name + " is led by " + leader
	if before != "" {
		text += ", before by " + before
	}
	return recordReplicaset(in, rs, text)
}

// recordTarget gives up a target that cannot lead.
func recordTarget(in Input, rs catalog.Replicaset, leader string) *Step {
	text := "replicaset " + rs.Name + " stays with " + leader + ", for " + rs.TargetMaster + " is not to be Online"
	rs.TargetMaster = leader
	return recordReplicaset(in, rs, text)
}

// recordReplicaset is the step that writes a replicaset's row.
func recordReplicaset(in Input, rs catalog.Replicaset, text string, looked ...catalog.Range) *Step {
	guard := catalog.Unchanged(in.Catalog, append(looked, catalog.Eq(catalog.TableReplicaset, catalog.Key(rs.Name)))...)
	guard.Term = in.Term
	return &Step{
		Text: text,
		Op: catalog.Op{Kind: catalog.Dml, DML: []catalog.DML{{Kind: catalog.Replace, Table: catalog.TableReplicaset,
			Tuple: rs.Row()}}},
		Guard: guard,
	}
}
