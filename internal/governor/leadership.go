package governor

import (
	"cmp"
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
	return in.CatalogGroup.heir(in.Catalog.Instances(), in.Leader)
}

// heir is the voter that leads the catalog best after the leader: Online, answering, caught up, with the longest log; empty if
// there is none.
func (v GroupView) heir(rows []catalog.Instance, leader string) (name string, id uint64) {
	for _, row := range rows {
		if row.Name != leader && v.canLead(row, row.RaftID) && (id == 0 || v.Progress[row.RaftID] > v.Progress[id]) {
			name, id = row.Name, row.RaftID
		}
	}
	return name, id
}

func (v GroupView) canLead(row catalog.Instance, id uint64) bool {
	return isOnline(row) && slices.Contains(v.Voters, id) && v.Active[id] && v.caughtUp(id)
}

// place is how well an instance would lead a replicaset: the lower the better, the first numbers first.
type place struct {
	// rank is its place in leader_priority; who is not named there comes after all who are.
	rank int
	// crowd is how many keys of its failure domain it shares with the leaders of other replicasets, counted for each of them.
	crowd int
	// behind is how many entries it has not got.
	behind uint64
}

func (p place) less(q place) bool {
	return cmp.Or(cmp.Compare(p.rank, q.rank), cmp.Compare(p.crowd, q.crowd), cmp.Compare(p.behind, q.behind)) < 0
}

func rank(rs catalog.Replicaset, name string) int {
	if at := slices.Index(rs.LeaderPriority, name); at >= 0 {
		return at
	}
	return len(rs.LeaderPriority)
}

// crowd counts with how many leaders of other replicasets, as they are to be, an instance shares its failure domain.
func (in Input) crowd(row catalog.Instance) int {
	n := 0
	for _, rs := range in.Catalog.Replicasets() {
		other, ok := in.Catalog.Instance(rs.TargetMaster)
		if !ok || rs.Name == row.ReplicasetName || leaving(rs) {
			continue
		}
		for key, v := range row.FailureDomain {
			if w, ok := other.FailureDomain[key]; ok && v == w {
				n++
			}
		}
	}
	return n
}

// dataHeir is the replica that leads best after the leader of a replicaset, by priority, failure domain and length of its log;
// empty if none can lead.
func dataHeir(in Input, rs catalog.Replicaset, view GroupView) (name string, id uint64) {
	var best place
	for _, row := range in.Catalog.InstancesOf(rs.Name) {
		if row.Name == view.Leader || !view.canLead(row, row.DataRaftID) {
			continue
		}
		p := place{rank(rs, row.Name), in.crowd(row), view.Committed - min(view.Committed, view.Progress[row.DataRaftID])}
		if name == "" || p.less(best) {
			name, id, best = row.Name, row.DataRaftID, p
		}
	}
	return name, id
}

// preferred is who is to lead a replicaset that has another leader than before: the leader, unless leader_priority has one
// before it that can lead.
func preferred(in Input, rs catalog.Replicaset, view GroupView) string {
	if name, _ := dataHeir(in, rs, view); name != "" && rank(rs, name) < rank(rs, view.Leader) {
		return name
	}
	return view.Leader
}

// firstLeader is who is to lead a replicaset when it becomes ready: the best by priority and failure domain, so that the
// leaders of many replicasets are not all in one domain. The present leader stays where another is not better.
func firstLeader(in Input, rs catalog.Replicaset, view GroupView) string {
	leader, ok := in.Catalog.Instance(view.Leader)
	if !view.Known || !ok {
		return rs.TargetMaster
	}
	name, _ := dataHeir(in, rs, view)
	if name == "" {
		return leader.Name
	}
	heir, _ := in.Catalog.Instance(name)
	now := place{rank(rs, leader.Name), in.crowd(leader), 0}
	if better := (place{rank(rs, name), in.crowd(heir), 0}); better.less(now) {
		return name
	}
	return leader.Name
}

// planLeadership keeps current_master_name at the leader of the replicaset's group, and moves the lead: away from an instance
// that is not to be Online, and to the one that target_master_name asks for. After a failover the new leader is the target
// too, or one before it in leader_priority; with governor_autoreturn the target stays, and the lead goes back when it is Online
// again. A change of leader_priority alone moves nothing.
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
		to, id := dataHeir(in, rs, view)
		if to != "" {
			return handOver(rs, view, to, id, leader.Name+", which is to be "+leader.Target.Name.String()+",")
		}
		if len(view.Voters) > 1 && leader.Current.Name != lifecycle.Offline {
			wait(leader.Name + " leads and is to be " + leader.Target.Name.String() +
				"; waiting for another voter to be Online and caught up")
		}
	}
	if rs.CurrentMaster != leader.Name || rs.TargetMaster == "" {
		return recordLeader(in, rs, view)
	}
	if rs.TargetMaster == leader.Name {
		return nil
	}
	target, ok := in.Catalog.Instance(rs.TargetMaster)
	there := ok && target.ReplicasetName == rs.Name && staying(target)
	switch {
	case !there, target.Target.Name != lifecycle.Online && !in.autoreturn():
		return recordTarget(in, rs, view)
	case view.canLead(target, target.DataRaftID):
		return handOver(rs, view, target.Name, target.DataRaftID, leader.Name)
	}
	wait(target.Name + " is to lead; waiting until it is Online, a voter, and caught up")
	return nil
}

func (in Input) autoreturn() bool { return in.Catalog.Flag(catalog.ConfGovernorAutoreturn) }

func handOver(rs catalog.Replicaset, view GroupView, to string, id uint64, from string) *Step {
	return &Step{
		Text:   "replicaset " + rs.Name + ": hand over from " + from + " to " + to,
		Action: TransferLeader{Replicaset: rs.Name, From: view.Leader, To: to, ToID: id, Term: view.Term},
	}
}

// recordLeader writes who leads. If the replicaset was led by whom it should be, the change was a failover and no promotion.
func recordLeader(in Input, rs catalog.Replicaset, view GroupView) *Step {
	leader, before := view.Leader, rs.CurrentMaster
	if rs.TargetMaster == "" || rs.TargetMaster == before && !in.autoreturn() {
		rs.TargetMaster = preferred(in, rs, view)
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
func recordTarget(in Input, rs catalog.Replicaset, view GroupView) *Step {
	to := preferred(in, rs, view)
	word := " stays with "
	if to != view.Leader {
		word = " is to be led by "
	}
	text := "replicaset " + rs.Name + word + to + ", for " + rs.TargetMaster + " is not to be Online"
	rs.TargetMaster = to
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
