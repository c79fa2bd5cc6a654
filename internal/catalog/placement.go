package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// placement chooses the replicaset of an instance that joins: the one it asks for; else the one after which its name is
// made, if that has room; else the first of its tier that has room and no member in any of its failure domains; else a new
// one. A new one comes without uuid, master and bootstrap id.
func (s *State) placement(r JoinRequest, tier Tier) (rs Replicaset, isNew bool, err error) {
	if r.Replicaset != "" {
		return s.placeIn(r.Replicaset, tier)
	}
	candidates := s.replicasetsOf(tier.Name)
	if rs, ok := namedAfter(r.InstanceName, candidates); ok && s.hasRoom(rs, tier) {
		return rs, false, nil
	}
	for _, rs := range candidates {
		if s.hasRoom(rs, tier) && !s.sharesDomain(rs, r.FailureDomain) {
			return rs, false, nil
		}
	}
	return newReplicaset(s.freeReplicasetName(tier.Name), tier), true, nil
}

// placeIn is a placement that was asked for. The replication factor does not limit it.
func (s *State) placeIn(name string, tier Tier) (rs Replicaset, isNew bool, err error) {
	rs, ok := s.Replicaset(name)
	switch {
	case !ok:
		return newReplicaset(name, tier), true, nil
	case rs.Tier != tier.Name:
		return rs, false, errcode.New(errcode.JoinReplicaset, name, rs.Tier, tier.Name)
	case isLeaving(rs):
		return rs, false, errcode.New(errcode.ReplicasetExpelled, name)
	}
	return rs, false, nil
}

func newReplicaset(name string, tier Tier) Replicaset {
	return Replicaset{Name: name, Tier: tier.Name, WeightOrigin: "auto", State: ReplicasetNotReady}
}

// isLeaving reports whether a replicaset is expelled or on the way out.
func isLeaving(rs Replicaset) bool {
	return rs.State == ReplicasetToBeExpelled || rs.State == ReplicasetExpelled
}

// replicasetsOf returns the replicasets of a tier that stay, in the order in which they are filled: r_2 before r_10.
func (s *State) replicasetsOf(tier string) []Replicaset {
	var out []Replicaset
	for _, rs := range s.Replicasets() {
		if rs.Tier == tier && !isLeaving(rs) {
			out = append(out, rs)
		}
	}
	slices.SortStableFunc(out, func(a, b Replicaset) int { return len(a.Name) - len(b.Name) })
	return out
}

// namedAfter finds the replicaset whose name with "_" begins the name of an instance; the longest such name.
func namedAfter(instance string, list []Replicaset) (found Replicaset, ok bool) {
	for _, rs := range list {
		if strings.HasPrefix(instance, rs.Name+"_") && len(rs.Name) > len(found.Name) {
			found, ok = rs, true
		}
	}
	return found, ok
}

// members returns the instances of a replicaset that are not expelled, by name.
func (s *State) members(replicaset string) []Instance {
	return slices.DeleteFunc(s.InstancesOf(replicaset), isExpelled)
}

func (s *State) hasRoom(rs Replicaset, tier Tier) bool {
	return uint64(len(s.members(rs.Name))) < tier.ReplicationFactor
}

// sharesDomain reports whether a member of a replicaset is in one of these failure domains.
func (s *State) sharesDomain(rs Replicaset, domain map[string]string) bool {
	for _, i := range s.members(rs.Name) {
		for k, v := range domain {
			if other, ok := i.FailureDomain[k]; ok && other == v {
				return true
			}
		}
	}
	return false
}

// freeReplicasetName returns the first name of the form tier_k that no replicaset has or had.
func (s *State) freeReplicasetName(tier string) string {
	for k := 1; ; k++ {
		name := fmt.Sprintf("%s_%d", tier, k)
		if _, taken := s.Replicaset(name); !taken {
			return name
		}
	}
}
