// Package clusterconfig is the cluster-wide configuration as an instance keeps it on disk: sections of YAML that are made
// from the catalog, a version that says which cluster and which catalog they were made from, and the checks that a copy
// must pass before it is used. Pure.
//
// The copy lets an instance start, and say what is wrong, while no other can be asked. It is not the truth, which is the
// catalog's; it does not hold what this process was started with (config); and its files are written by
// clusterconfig/store.
package clusterconfig

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Config is the cluster-wide configuration.
type Config struct {
	Topology   Topology
	Parameters Parameters
}

// Topology is the section topology.yml: what the cluster consists of. Maps are by name.
type Topology struct {
	Format      int                   `yaml:"format"`
	Cluster     Cluster               `yaml:"cluster"`
	Tiers       map[string]Tier       `yaml:"tiers"`
	Replicasets map[string]Replicaset `yaml:"replicasets"`
	Instances   map[string]Instance   `yaml:"instances"`
}

// Cluster identifies the cluster. Epoch is raised by a forced recovery.
type Cluster struct {
	Name  string `yaml:"name"`
	UUID  string `yaml:"uuid"`
	Epoch uint64 `yaml:"epoch"`
}

// Tier is a group of replicasets with common properties.
type Tier struct {
	ReplicationFactor uint64 `yaml:"replication_factor"`
	CanVote           bool   `yaml:"can_vote"`
	BucketCount       uint64 `yaml:"bucket_count"`
	Default           bool   `yaml:"default,omitempty"`
}

// Replicaset is a set of instances that hold the same rows.
type Replicaset struct {
	UUID            string  `yaml:"uuid"`
	Tier            string  `yaml:"tier"`
	Weight          float64 `yaml:"weight"`
	State           string  `yaml:"state"`
	BootstrapRaftID uint64  `yaml:"bootstrap_raft_id"`
}

// Instance is a member of the cluster, or was one.
type Instance struct {
	UUID          string            `yaml:"uuid"`
	Replicaset    string            `yaml:"replicaset"`
	Tier          string            `yaml:"tier"`
	RaftID        uint64            `yaml:"raft_id"`
	DataRaftID    uint64            `yaml:"data_raft_id"`
	Address       string            `yaml:"address"`
	HTTPAddress   string            `yaml:"http_address,omitempty"`
	FailureDomain map[string]string `yaml:"failure_domain,omitempty"`
	Expelled      bool              `yaml:"expelled,omitempty"`
}

// Parameters is the section parameters.yml: parameters that hold for the whole cluster, times in seconds.
type Parameters struct {
	Format             int                       `yaml:"format"`
	AutoOfflineTimeout float64                   `yaml:"auto_offline_timeout"`
	ElectionTimeout    float64                   `yaml:"election_timeout"`
	Tiers              map[string]TierParameters `yaml:"tiers"`
}

// TierParameters are the parameters of one tier.
type TierParameters struct {
	WALMode string `yaml:"wal_mode"` // fsync, write or none
}

// formatVersion is the format of all files of a configuration.
const formatVersion = 1

// FromCatalog makes the configuration that the catalog describes.
func FromCatalog(s *catalog.State) Config {
	epoch, _ := s.PropertyUint(catalog.PropClusterEpoch)
	c := Config{
		Topology: Topology{
			Format: formatVersion,
			Cluster: Cluster{Name: s.PropertyStr(catalog.PropClusterName), UUID: s.PropertyStr(catalog.PropClusterUUID),
				Epoch: epoch},
			Tiers: map[string]Tier{}, Replicasets: map[string]Replicaset{}, Instances: map[string]Instance{},
		},
		Parameters: Parameters{
			Format:             formatVersion,
			AutoOfflineTimeout: s.Timeout(catalog.ConfAutoOfflineTimeout, 0).Seconds(),
			ElectionTimeout:    s.Timeout(catalog.ConfElectionTimeout, 0).Seconds(),
			Tiers:              map[string]TierParameters{},
		},
	}
	for _, t := range s.Tiers() {
		c.Topology.Tiers[t.Name] = Tier{ReplicationFactor: t.ReplicationFactor, CanVote: t.CanVote,
			BucketCount: t.BucketCount, Default: t.IsDefault}
		c.Parameters.Tiers[t.Name] = TierParameters{WALMode: s.WALMode(t.Name)}
	}
	for _, r := range s.Replicasets() {
		c.Topology.Replicasets[r.Name] = Replicaset{UUID: r.UUID, Tier: r.Tier, Weight: r.Weight, State: r.State,
			BootstrapRaftID: r.BootstrapRaftID}
	}
	for _, i := range s.Instances() {
		c.Topology.Instances[i.Name] = Instance{UUID: i.UUID, Replicaset: i.ReplicasetName, Tier: i.Tier,
			RaftID: i.RaftID, DataRaftID: i.DataRaftID, Address: s.PeerAddress(i.RaftID, catalog.ConnIproto),
			HTTPAddress: s.PeerAddress(i.RaftID, catalog.ConnHTTP), FailureDomain: i.FailureDomain,
			Expelled: i.Current.Name == lifecycle.Expelled}
	}
	return c
}

// Contains reports whether an instance is, or was, part of the cluster.
func (c Config) Contains(instanceUUID string) bool {
	_, _, ok := c.ByUUID(instanceUUID)
	return ok
}

// ByUUID returns the instance with that uuid and its name.
func (c Config) ByUUID(instanceUUID string) (name string, i Instance, ok bool) {
	for name, i := range c.Topology.Instances {
		if i.UUID == instanceUUID {
			return name, i, true
		}
	}
	return "", Instance{}, false
}

// FieldError tells which field of which section is wrong.
type FieldError struct {
	Section string // file name, such as topology.yml
	Field   string // path of the field, such as instances.i1.uuid; empty: the whole section
	Text    string
}

// Error returns one sentence.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s: %s", e.Section, e.Text)
	}
	return fmt.Sprintf("%s: %s: %s", e.Section, e.Field, e.Text)
}
