package governor

import (
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// planCatalogMembers keeps every instance in the catalog's group: some as voters (see Voters), the others as learners, which
// everyone is at first. One change at a time carries all that is to be done. An instance that is to be expelled loses its vote,
// learns from the log that it is Expelled, and is removed then.
func planCatalogMembers(in Input, r *Report) *Step {
	view := in.CatalogGroup
	if !view.Known {
		return nil
	}
	wait := func(text string) {
		r.wait(in, Row{Subject: subjectCatalog, Kind: kindCatalogMembers, Text: "catalog: " + text})
	}
	if view.Joint {
		wait("waiting until the change of its members is complete")
		return nil
	}
	rows := in.Catalog.Instances()
	names := catalogNames(rows)
	leader := idOf(names, view.Leader)
	all := candidates(in, rows, leader)
	next, blocked := Voters(all, view.Voters, leader)
	set := newChangeSet(names)
	catalogVotes(in, rows, next, set)
	for _, text := range catalogLearners(in, rows, set) {
		wait(text)
	}
	switch {
	case blocked:
		wait("its voters stay as they are: " + listed(memberNames(names, view.silent(view.Voters, leader))) +
			" would be needed for a quorum, and does not answer")
	case len(set.changes) == 0:
		if text := votersMissing(in, all, next); text != "" {
			wait(text)
		}
	}
	if len(set.changes) == 0 {
		return nil
	}
	return &Step{
		Text:   "catalog: " + set.text(),
		Action: CatalogChange{Term: in.Term, Changes: set.changes, Voters: slices.Clone(view.Voters)},
	}
}

// candidates are the instances that are not Expelled, as Voters sees them.
func candidates(in Input, rows []catalog.Instance, leader uint64) []Candidate {
	view := in.CatalogGroup
	var all []Candidate
	for _, row := range rows {
		if row.Current.Name == lifecycle.Expelled {
			continue
		}
		tier, ok := in.Catalog.Tier(row.Tier)
		c := Candidate{
			ID:       row.RaftID,
			Eligible: ok && tier.CanVote && row.Target.Name != lifecycle.Expelled,
			Online:   row.Target.Name == lifecycle.Online,
			Live:     view.live(row.RaftID, leader),
			Domain:   row.FailureDomain,
		}
		c.Ready = c.Eligible && isOnline(row) && c.Live && view.caughtUp(c.ID) && slices.Contains(view.Learners, c.ID)
		all = append(all, c)
	}
	return all
}

// isOnline reports whether the instance is Online and is to stay so.
func isOnline(row catalog.Instance) bool {
	return row.Current.Name == lifecycle.Online && row.Target.Name == lifecycle.Online
}

// catalogVotes adds the changes that lead from the present voters to the next ones.
func catalogVotes(in Input, rows []catalog.Instance, next []uint64, set *changeSet) {
	for _, id := range in.CatalogGroup.Voters {
		if slices.Contains(next, id) {
			continue
		}
		stays := slices.ContainsFunc(rows, func(row catalog.Instance) bool {
			return row.RaftID == id && row.Current.Name != lifecycle.Expelled
		})
		if stays {
			set.add(wordDemote, raftgroup.AddLearner, id)
		} else {
			set.add(wordRemove, raftgroup.Remove, id)
		}
	}
	for _, id := range next {
		if !slices.Contains(in.CatalogGroup.Voters, id) {
			set.add(wordPromote, raftgroup.AddVoter, id)
		}
	}
}

// catalogLearners adds who is missing in the group, removes who has no place in it, and returns why others are kept.
func catalogLearners(in Input, rows []catalog.Instance, set *changeSet) (waits []string) {
	view := in.CatalogGroup
	byID := map[uint64]catalog.Instance{}
	for _, row := range rows {
		byID[row.RaftID] = row
		if !view.member(row.RaftID) && row.Target.Name != lifecycle.Expelled && row.Current.Name != lifecycle.Expelled {
			set.add(wordLearner, raftgroup.AddLearner, row.RaftID)
		}
	}
	index, _ := in.Catalog.Position()
	for _, id := range view.Learners {
		row, known := byID[id]
		switch {
		case known && row.Current.Name != lifecycle.Expelled:
		case known && view.Active[id] && in.Instances[row.Name].Applied < index:
			waits = append(waits, "waiting until "+row.Name+" has learned that it is Expelled, or is silent")
		default:
			set.add(wordRemove, raftgroup.Remove, id)
		}
	}
	return waits
}

// votersMissing says who is waited for if there are fewer voters than wanted.
func votersMissing(in Input, all []Candidate, voters []uint64) string {
	eligible, names := 0, []string(nil)
	for _, c := range all {
		if !c.Eligible {
			continue
		}
		eligible++
		if !slices.Contains(voters, c.ID) && !c.Ready {
			row, _ := in.Catalog.InstanceByRaftID(c.ID)
			names = append(names, row.Name)
		}
	}
	want := catalog.VotersOf(eligible)
	if len(voters) >= want || len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d voters; waiting for %s to be Online and caught up", len(voters), want, listed(names))
}
