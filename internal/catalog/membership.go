package catalog

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// PlanExpel asks for target grade Expelled of an instance: the governor then drains it and takes it out of its groups.
// changedAt is RFC 3339. If it is the last member of its replicaset, that goes with it. Repeated, it does nothing.
//
// Never allowed: the last instance, or the last one of a tier that votes. Allowed with force alone: what takes away the last
// copy of a replicaset's data, or leaves the catalog or the replicaset without a quorum of instances that are up.
// Errors: 10016 unknown, 10025.
func PlanExpel(s *State, name string, force bool, changedAt string) (Op, Predicate, error) {
	i, ok := s.Instance(name)
	if !ok {
		return Op{}, Predicate{}, errcode.New(errcode.NoSuchInstance, name)
	}
	guard := Unchanged(s, Range{Table: TableInstance})
	if isExpelled(i) {
		return Op{Kind: Nop}, guard, nil
	}
	voting := s.votingWithout(i)
	if len(voting) == 0 {
		return Op{}, Predicate{}, errcode.New(errcode.ExpelNotAllowed, name, "no instance that votes would be left in the cluster")
	}
	rest := s.membersWithout(i)
	if why := expelCost(i, rest, voting); why != "" && !force {
		return Op{}, Predicate{}, errcode.New(errcode.ExpelNotAllowed, name, why)
	}
	i.Target.Name, i.TargetReason, i.TargetChangeTime, i.Permit = lifecycle.Expelled, "expel", changedAt, ""
	if force {
		i.TargetReason = "expel --force"
	}
	changes := []DML{{Kind: Replace, Table: TableInstance, Tuple: i.Row()}}
	if rs, ok := s.Replicaset(i.ReplicasetName); ok && len(rest) == 0 && !isLeaving(rs) {
		rs.State, rs.Weight = ReplicasetToBeExpelled, 0
		changes = append(changes, DML{Kind: Replace, Table: TableReplicaset, Tuple: rs.Row()})
	}
	return batch(changes), guard, nil
}

// expelCost says what is lost if an instance is expelled and these others stay; empty: nothing.
func expelCost(i Instance, rest, voting []Instance) string {
	up := countUp(rest)
	switch {
	case !wasOnline(i): // it has neither rows nor votes
		return ""
	case len(rest) == 0:
		return "it is the last member of replicaset " + i.ReplicasetName + ", whose rows would be lost"
	case up == 0:
		return "no other member of replicaset " + i.ReplicasetName + " is up, so its rows might be lost"
	case !isUp(i): // without it no quorum is smaller than with it
		return ""
	case up <= len(rest)/2:
		return fmt.Sprintf("only %d of the %d other members of replicaset %s are up, no quorum", up, len(rest), i.ReplicasetName)
	}
	if need := VotersOf(len(voting)); countUp(voting) <= need/2 {
		return fmt.Sprintf("only %d of the %d other instances that vote are up, no quorum of the catalog", countUp(voting), len(voting))
	}
	return ""
}

// VotersOf returns how many voters the catalog's group has in a cluster with n instances that can vote: an odd number
// that the loss of a minority does not stop, or 2 where there are no more.
func VotersOf(n int) int {
	switch {
	case n >= 5:
		return 5
	case n >= 3:
		return 3
	}
	return n
}

// isUp reports whether an instance has caught up with its replicaset and nobody says that it has gone.
func isUp(i Instance) bool {
	return i.Target.Name == lifecycle.Online && i.Current.Name >= lifecycle.Replicated && i.Current.Name <= lifecycle.Online
}

func countUp(list []Instance) int {
	n := 0
	for _, i := range list {
		if isUp(i) {
			n++
		}
	}
	return n
}

// membersWithout returns the other non-expelled members of an instance's replicaset.
func (s *State) membersWithout(i Instance) []Instance {
	return slices.DeleteFunc(s.members(i.ReplicasetName), func(o Instance) bool { return o.Name == i.Name })
}

// votingWithout returns the other non-expelled instances of tiers that vote.
func (s *State) votingWithout(i Instance) []Instance {
	return slices.DeleteFunc(s.Instances(), func(o Instance) bool {
		tier, _ := s.Tier(o.Tier)
		return o.Name == i.Name || isExpelled(o) || !tier.CanVote
	})
}

// PlanReplace gives an instance that lost its files new raft ids and a permit to come in again once: it keeps name and
// uuid, and its groups will see a new member (PlanJoin takes the permit, SetTarget ends it). The old ids are in no row any
// more, so the governor removes them from the groups. While nobody has taken the permit, it does nothing.
//
// Refused while the instance is not Offline. With force alone: where no other member of its replicaset is up. If no other
// one ever was, the rows are lost, and unless another is there to do it the new raft id bootstraps the data group, empty.
// Errors: 1, 10016 unknown, 10020 expelled, 12048.
func PlanReplace(s *State, name string, force bool) (Op, Predicate, error) {
	fail := func(err error) (Op, Predicate, error) { return Op{}, Predicate{}, err }
	i, ok := s.Instance(name)
	switch {
	case !ok:
		return fail(errcode.New(errcode.NoSuchInstance, name))
	case isExpelled(i):
		return fail(errcode.New(errcode.InstanceExpelled, name))
	case i.Target.Name != lifecycle.Offline || i.Current.Name != lifecycle.Offline:
		return fail(errcode.New(errcode.ReplaceNotAllowed, name, "it is not Offline: its grade is "+i.Current.String()+
			", its target "+i.Target.String()))
	}
	guard := Unchanged(s, Range{Table: TableInstance})
	if i.Permit == PermitOpen {
		return Op{Kind: Nop}, guard, nil
	}
	rest := s.membersWithout(i)
	restHadRows := slices.ContainsFunc(rest, wasOnline)
	if (wasOnline(i) || restHadRows) && countUp(rest) == 0 && !force {
		return fail(errcode.New(errcode.ReplaceNotAllowed, name, "no other member of replicaset "+i.ReplicasetName+
			" is up, so its rows would be lost"))
	}
	next, ok := s.PropertyUint(PropNextRaftID)
	rs, known := s.Replicaset(i.ReplicasetName)
	if !ok || next == 0 || next > raftIDMax || !known {
		return fail(errcode.New(errcode.IllegalParams, "property next_raft_id or the replicaset is missing"))
	}
	changes := s.moveAddresses(i.RaftID, next)
	i.RaftID, i.DataRaftID, i.Permit, i.SyncIncarnation = next, next+1, PermitOpen, nil
	changes = append(changes, DML{Kind: Replace, Table: TableInstance, Tuple: i.Row()},
		DML{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropNextRaftID, next+2).Row()})
	stays := slices.ContainsFunc(rest, func(o Instance) bool { return o.DataRaftID == rs.BootstrapRaftID })
	if !restHadRows && !stays {
		rs.BootstrapRaftID = i.DataRaftID
		changes = append(changes, DML{Kind: Replace, Table: TableReplicaset, Tuple: rs.Row()})
	}
	return batch(changes), guard, nil
}

// PlanRenew gives an instance a new data raft id: it comes back into the group of its replicaset as one that has nothing, and is
// fed by the others. from is the id that it has given up; with another one in the catalog nothing is done. The old id is in no row
// any more, so the governor removes it from the group. Errors: 1, 10016 unknown, 10020 expelled.
func PlanRenew(s *State, name string, from uint64) (Op, Predicate, error) {
	i, err := s.live(name)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	if i.DataRaftID != from {
		return Op{Kind: Nop}, Unchanged(s, Eq(TableInstance, Key(name))), nil
	}
	return s.renew([]Instance{i})
}

// PlanOutdate gives all other instances of a replicaset new data raft ids, because the only voter, which is named, goes on from
// what it has: they may have rows that it has lost. Errors: 1, 10016 unknown, 10020 expelled.
func PlanOutdate(s *State, voter string) (Op, Predicate, error) {
	i, err := s.live(voter)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	return s.renew(s.membersWithout(i))
}

// renew gives instances new data raft ids.
func (s *State) renew(list []Instance) (Op, Predicate, error) {
	next, ok := s.PropertyUint(PropNextRaftID)
	if !ok || next == 0 || next > raftIDMax {
		return Op{}, Predicate{}, errcode.New(errcode.IllegalParams, "property next_raft_id is missing or used up")
	}
	guard := Unchanged(s, Range{Table: TableInstance})
	if len(list) == 0 {
		return Op{Kind: Nop}, guard, nil
	}
	var changes []DML
	for _, i := range list {
		i.DataRaftID = next
		next++
		changes = append(changes, DML{Kind: Replace, Table: TableInstance, Tuple: i.Row()})
	}
	changes = append(changes, DML{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropNextRaftID, next).Row()})
	return batch(changes), guard, nil
}

// moveAddresses are the changes that give the addresses of one raft id to another.
func (s *State) moveAddresses(from, to uint64) []DML {
	var changes []DML
	for _, kind := range []string{ConnIproto, ConnHTTP} {
		if address := s.PeerAddress(from, kind); address != "" {
			changes = append(changes, DML{Kind: Delete, Table: TablePeerAddress, Key: Key(from, kind)},
				DML{Kind: Insert, Table: TablePeerAddress, Tuple: PeerAddress{to, address, kind}.Row()})
		}
	}
	return changes
}

// raftIDsLost is how many raft ids a cluster may have given out after the newest entry that its survivor knows of.
const raftIDsLost = 1 << 20

// PlanRecover makes the cluster anew from one survivor after the loss of a majority. It runs on the survivor's copy of the
// catalog, with nobody to agree: the epoch is raised, so that messages of the old one are refused for ever; all others are
// Offline and come back by PlanReplace alone; raft ids that the lost ones may have given out are skipped. Making the
// survivor the only voter of its groups is not a matter of the catalog. changedAt is RFC 3339.
// Errors: 10016 unknown uuid, 10020 expelled.
func PlanRecover(s *State, uuid, changedAt string) (Op, error) {
	survivor, ok := s.InstanceByUUID(uuid)
	if !ok {
		return Op{}, noSuchUUID(uuid)
	}
	if isExpelled(survivor) {
		return Op{}, errcode.New(errcode.InstanceExpelled, survivor.Name)
	}
	epoch, _ := s.PropertyUint(PropClusterEpoch)
	next, _ := s.PropertyUint(PropNextRaftID)
	changes := []DML{
		{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropClusterEpoch, epoch+1).Row()},
		{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropNextRaftID, next+raftIDsLost).Row()},
	}
	for _, i := range s.Instances() {
		if i.Name == survivor.Name || isExpelled(i) {
			continue
		}
		if i.Target.Name != lifecycle.Offline {
			i.Target.Name, i.TargetReason, i.TargetChangeTime = lifecycle.Offline, "recovered from "+survivor.Name, changedAt
		}
		i.Current.Name = lifecycle.Offline
		changes = append(changes, DML{Kind: Replace, Table: TableInstance, Tuple: i.Row()})
	}
	return batch(changes), nil
}

// SetAddress records where an instance is reached after a restart; an empty HTTP address means none. Another row may
// have the same address: after a restart of all with other addresses it is that other row which is out of date, and its
// instance corrects it when it speaks. Errors: 1, 10016, 10020.
func SetAddress(s *State, name, address, httpAddress string) (Op, Predicate, error) {
	i, err := s.live(name)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	if !isAddress(address) || httpAddress != "" && !isAddress(httpAddress) {
		return Op{}, Predicate{}, errcode.New(errcode.IllegalParams, "an address is not HOST:PORT")
	}
	return batch(s.addressChanges(i, address, httpAddress)), Unchanged(s, Eq(TableInstance, Key(name))), nil
}

// SetFailureDomain records the failure domains of an instance. Nothing moves because of it, but what is placed or chosen
// later follows it. Errors: 1, 10016, 10020.
func SetFailureDomain(s *State, name string, domain map[string]string) (Op, Predicate, error) {
	i, err := s.live(name)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	if err := checkFailureDomain(domain); err != nil {
		return Op{}, Predicate{}, err
	}
	if maps.Equal(i.FailureDomain, domain) {
		return Op{Kind: Nop}, Unchanged(s, Eq(TableInstance, Key(name))), nil
	}
	i.FailureDomain = domain
	return Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableInstance, Tuple: i.Row()}}},
		Unchanged(s, Eq(TableInstance, Key(name))), nil
}

// SetVersion records the version of an instance's program after a restart. Errors: 10016, 10020, 12045 if that version
// may not share the cluster with the others.
func SetVersion(s *State, name, version string) (Op, Predicate, error) {
	i, err := s.live(name)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	guard := Unchanged(s, Eq(TableInstance, Key(name)))
	if i.Version == version {
		return Op{Kind: Nop}, guard, nil
	}
	if len(version) > versionBytesMax {
		return Op{}, Predicate{}, errcode.New(errcode.IllegalParams, "the version is too long")
	}
	if err := s.checkVersion(i.UUID, version); err != nil {
		return Op{}, Predicate{}, err
	}
	i.Version = version
	return Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableInstance, Tuple: i.Row()}}}, guard, nil
}

// live returns an instance that is not expelled.
func (s *State) live(name string) (Instance, error) {
	i, ok := s.Instance(name)
	switch {
	case !ok:
		return Instance{}, errcode.New(errcode.NoSuchInstance, name)
	case isExpelled(i):
		return Instance{}, errcode.New(errcode.InstanceExpelled, name)
	}
	return i, nil
}

// PlanPromote asks that an instance leads its replicaset: the governor hands over to it when it is Online and has caught up,
// and lets it lead again whenever it comes back. Errors: 10016 unknown, 10020 expelled, 10021 its replicaset is.
func PlanPromote(s *State, name string) (Op, Predicate, error) {
	i, err := s.live(name)
	if err != nil {
		return Op{}, Predicate{}, err
	}
	guard := Unchanged(s, Eq(TableInstance, Key(name)), Eq(TableReplicaset, Key(i.ReplicasetName)))
	rs, ok := s.Replicaset(i.ReplicasetName)
	switch {
	case !ok || isLeaving(rs):
		return Op{}, Predicate{}, errcode.New(errcode.ReplicasetExpelled, i.ReplicasetName)
	case rs.TargetMaster == name:
		return Op{Kind: Nop}, guard, nil
	}
	rs.TargetMaster = name
	return Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableReplicaset, Tuple: rs.Row()}}}, guard, nil
}
