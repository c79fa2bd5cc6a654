package clusterconfig

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
)

// Limits of a configuration.
const (
	InstancesMax = 10000
	nameMax      = 65000
	secondsMax   = 365 * 24 * 3600
)

// checker remembers the first thing that is wrong.
type checker struct{ err *FieldError }

func (c *checker) that(ok bool, section, field, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = &FieldError{Section: section, Field: field, Text: fmt.Sprintf(format, args...)}
	}
}

// Validate checks a configuration by itself. The error is a *FieldError; which one is the same at every call.
func (c Config) Validate() error {
	var k checker
	c.Topology.validate(&k)
	c.Parameters.validate(&k, c.Topology.Tiers)
	if k.err != nil {
		return k.err
	}
	return nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (t Topology) validate(k *checker) {
	const s = SectionTopology
	k.that(t.Format == formatVersion, s, "format", "format %d is not known, only %d", t.Format, formatVersion)
	k.that(t.Cluster.Name != "" && len(t.Cluster.Name) <= nameMax, s, "cluster.name", "must be given")
	k.that(isUUID(t.Cluster.UUID), s, "cluster.uuid", "%q is not a uuid", t.Cluster.UUID)
	k.that(t.Cluster.Epoch > 0, s, "cluster.epoch", "must be above 0")
	k.that(len(t.Tiers) > 0, s, "tiers", "there is none")
	k.that(len(t.Instances) > 0, s, "instances", "there is none")
	k.that(len(t.Instances) <= InstancesMax, s, "instances", "%d are over the limit of %d", len(t.Instances), InstancesMax)
	uuids := map[string]string{}
	unique := func(field, uuid string) {
		k.that(isUUID(uuid), s, field+".uuid", "%q is not a uuid", uuid)
		k.that(uuids[uuid] == "", s, field+".uuid", "is that of %s too", uuids[uuid])
		uuids[uuid] = field
	}
	for _, name := range sorted(t.Tiers) {
		k.that(name != "" && t.Tiers[name].ReplicationFactor > 0, s, "tiers."+name+".replication_factor", "must be above 0")
	}
	for _, name := range sorted(t.Replicasets) {
		r, field := t.Replicasets[name], "replicasets."+name
		unique(field, r.UUID)
		_, known := t.Tiers[r.Tier]
		k.that(known, s, field+".tier", "there is no tier %q", r.Tier)
		k.that(r.Weight >= 0 && !math.IsInf(r.Weight, 0), s, field+".weight", "must be a number from 0")
		k.that(isReplicasetState(r.State), s, field+".state", "%q is not a state", r.State)
	}
	t.validateInstances(k, unique)
}

func (t Topology) validateInstances(k *checker, unique func(field, uuid string)) {
	const s = SectionTopology
	raftIDs := map[uint64]string{}
	for _, name := range sorted(t.Instances) {
		i, field := t.Instances[name], "instances."+name
		unique(field, i.UUID)
		r, known := t.Replicasets[i.Replicaset]
		k.that(known, s, field+".replicaset", "there is no replicaset %q", i.Replicaset)
		k.that(i.Tier == r.Tier, s, field+".tier", "%q is not the tier of its replicaset, %q", i.Tier, r.Tier)
		for _, id := range []uint64{i.RaftID, i.DataRaftID} {
			k.that(id > 0, s, field+".raft_id", "raft ids must be above 0")
			k.that(raftIDs[id] == "", s, field+".raft_id", "raft id %d is that of %s too", id, raftIDs[id])
			raftIDs[id] = field
		}
		k.that(i.Expelled || i.Address != "", s, field+".address", "must be given")
	}
}

func isReplicasetState(state string) bool {
	return slices.Contains([]string{catalog.ReplicasetNotReady, catalog.ReplicasetReady, catalog.ReplicasetToBeExpelled,
		catalog.ReplicasetExpelled}, state)
}

func (p Parameters) validate(k *checker, tiers map[string]Tier) {
	const s = SectionParameters
	k.that(p.Format == formatVersion, s, "format", "format %d is not known, only %d", p.Format, formatVersion)
	seconds := func(field string, v float64) {
		k.that(v > 0 && v <= secondsMax, s, field, "must be a number of seconds above 0")
	}
	seconds("auto_offline_timeout", p.AutoOfflineTimeout)
	seconds("election_timeout", p.ElectionTimeout)
	for _, name := range sorted(p.Tiers) {
		_, known := tiers[name]
		k.that(known, s, "tiers."+name, "there is no such tier")
		mode := p.Tiers[name].WALMode
		k.that(mode == "fsync" || mode == "write" || mode == "none", s, "tiers."+name+".wal_mode",
			"%q is not fsync, write or none", mode)
	}
}

// isUUID reports whether s has the usual form of 36 characters in lower case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}
