package governor

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// planDataMembers keeps the voters of a replicaset's group equal to its instances that are not expelled. One that is missing
// enters as a learner, and gets a vote when it is Online, answers, and is caught up. Who is to be expelled is removed, unless
// it leads (it has to hand over first) or no majority of the others answers.
func planDataMembers(in Input, rs catalog.Replicaset, r *Report) *Step {
	rows := in.Catalog.InstancesOf(rs.Name)
	if leaving(rs) || !slices.ContainsFunc(rows, notExpelled) {
		return nil
	}
	wait := func(text string) {
		r.wait(in, Row{Subject: rs.Name, Kind: kindDataMembers, Text: "replicaset " + rs.Name + ": " + text})
	}
	view := in.DataGroups[rs.Name]
	names := dataNames(rows)
	leader := idOf(names, view.Leader)
	switch {
	case !view.Known || leader == 0:
		wait("waiting for a leader")
		return nil
	case view.Joint:
		wait("waiting until the change of its members is complete")
		return nil
	}
	view.Small = in.small(view, rows)
	for _, row := range rows {
		if view.Small[row.DataRaftID] && slices.Contains(view.Learners, row.DataRaftID) {
			wait(row.Name + " gets no vote: its --memory is less than the rows take; start it with more")
		}
	}
	set, short := dataChanges(view, rows, names, leader, true)
	if short != nil {
		wait("nobody is removed: " + listed(memberNames(names, short)) + " would be needed for a quorum, and does not answer")
		set, _ = dataChanges(view, rows, names, leader, false)
	}
	if len(set.changes) == 0 {
		return nil
	}
	index, _ := in.Catalog.Position()
	return &Step{
		Text: "replicaset " + rs.Name + ": " + set.text(),
		Action: GroupChange{Replicaset: rs.Name, Leader: view.Leader, Term: view.Term, CatalogIndex: index,
			Changes: set.changes, Voters: slices.Clone(view.Voters)},
	}
}

// smallShare is the part of a quota that a replica must have left when it gets a vote.
const smallShare = 20

// small are the ids of the replicas whose quota does not hold what the leader uses, or barely: as voters they would stop all writes.
func (in Input) small(view GroupView, rows []catalog.Instance) map[uint64]bool {
	out := map[uint64]bool{}
	used := in.Instances[view.Leader].Used
	for _, row := range rows {
		if quota := in.Instances[row.Name].Quota; quota > 0 && row.Name != view.Leader && used > quota-quota/smallShare {
			out[row.DataRaftID] = true
		}
	}
	return out
}

// leaving reports whether a replicaset is expelled or going to be, with all its rows.
func leaving(rs catalog.Replicaset) bool {
	return rs.State == catalog.ReplicasetToBeExpelled || rs.State == catalog.ReplicasetExpelled
}

func notExpelled(row catalog.Instance) bool { return row.Current.Name != lifecycle.Expelled }

// staying reports whether an instance is to be a member of its replicaset's group.
func staying(row catalog.Instance) bool {
	return row.Target.Name != lifecycle.Expelled && row.Current.Name != lifecycle.Expelled
}

// dataChanges are the changes to carry out now. If no majority of the voters to be would answer they are void, and short are
// those that do not.
func dataChanges(view GroupView, rows []catalog.Instance, names map[uint64]string, leader uint64, remove bool) (
	set *changeSet, short []uint64) {
	set = newChangeSet(names)
	var next []uint64
	byID := map[uint64]catalog.Instance{}
	for _, row := range rows {
		byID[row.DataRaftID] = row
		if staying(row) && !view.member(row.DataRaftID) {
			set.add(wordLearner, raftgroup.AddLearner, row.DataRaftID)
		}
	}
	drops := func(id uint64) bool {
		row, known := byID[id]
		return remove && id != leader && (!known || !staying(row))
	}
	for _, id := range view.Learners {
		row := byID[id]
		switch {
		case drops(id):
			set.add(wordRemove, raftgroup.Remove, id)
		case staying(row) && row.Target.Name == lifecycle.Online && view.Active[id] && view.caughtUp(id) && !view.Small[id]:
			set.add(wordPromote, raftgroup.AddVoter, id)
			next = append(next, id)
		}
	}
	removed := false
	for _, id := range view.Voters {
		if drops(id) {
			set.add(wordRemove, raftgroup.Remove, id)
			removed = true
			continue
		}
		next = append(next, id)
	}
	if removed && !view.quorate(next, leader) {
		return set, view.silent(next, leader)
	}
	return set, nil
}
