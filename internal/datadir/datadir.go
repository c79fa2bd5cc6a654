// Package datadir knows the files of an instance's data directory: their names, the formats of the small ones (identity,
// entrypoint, discovery), and what a directory means at start (Look). Pure: package datadir/store does the reading,
// writing and wiping; package supervisor and the instance do what the verdict says.
package datadir

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// The names in a data directory.
const (
	LockFile       = "lock"
	DiscoveryFile  = "discovery"
	EntrypointFile = "entrypoint"
	IdentityFile   = "identity"
	ConfigDir      = "config"
	CatalogDir     = "catalog"
	DataDir        = "data"
	CookieFile     = ".cookie"
	AuditFile      = "audit.log"
	AdminSocket    = "admin.sock"
	// InProgressSuffix marks files that were being written; what they would replace still holds.
	InProgressSuffix = ".inprogress"
	// LogSuffix ends the names of log segments in both groups' directories.
	LogSuffix = ".rlog"
	// LogModeFile says beside a log that is not synced how it is written.
	LogModeFile = "mode"
	// DataSnapshotSuffix ends the names of snapshots in data/: they are in Tarantool's format.
	DataSnapshotSuffix = ".snap"
	// CatalogSnapshotSuffix ends the names of snapshots in catalog/.
	CatalogSnapshotSuffix = ".catalog"
)

// SnapshotSuffix returns the suffix of snapshots in the directory of a group (DataDir or CatalogDir).
func SnapshotSuffix(groupDir string) string {
	if groupDir == DataDir {
		return DataSnapshotSuffix
	}
	return CatalogSnapshotSuffix
}

// Identity says who an instance is. It is written last by Boot and Join; from then on the instance is a member.
type Identity struct {
	ClusterName string `json:"cluster_name"`
	ClusterUUID string `json:"cluster_uuid"`
	// Epoch grows with every forced recovery of the cluster; from 1.
	Epoch          uint64 `json:"epoch"`
	InstanceName   string `json:"instance_name"`
	InstanceUUID   string `json:"instance_uuid"`
	ReplicasetName string `json:"replicaset_name"`
	ReplicasetUUID string `json:"replicaset_uuid"`
	Tier           string `json:"tier"`
	// RaftID is the instance's number in the catalog's group, DataRaftID that in its data group; never 0.
	RaftID     uint64 `json:"raft_id"`
	DataRaftID uint64 `json:"data_raft_id"`
	// CatalogWatermark and DataWatermark are log indexes known to be durable when this file was written: a log that ends
	// below its watermark is damaged, not torn.
	CatalogWatermark uint64 `json:"catalog_watermark"`
	DataWatermark    uint64 `json:"data_watermark"`
	// DataPending: what data/ holds belongs to an older DataRaftID, and is to be made anew before it is opened.
	DataPending bool `json:"data_pending,omitempty"`
}

// Check verifies that an identity is whole.
func (id Identity) Check() error {
	for _, f := range []struct{ name, value string }{{"cluster_uuid", id.ClusterUUID}, {"instance_uuid", id.InstanceUUID},
		{"replicaset_uuid", id.ReplicasetUUID}} {
		if err := checkUUID(f.name, f.value); err != nil {
			return err
		}
	}
	switch {
	case id.ClusterName == "":
		return errors.New("cluster_name is empty")
	case id.InstanceName == "":
		return errors.New("instance_name is empty")
	case id.Tier == "":
		return errors.New("tier is empty")
	case id.RaftID == 0 || id.DataRaftID == 0:
		return errors.New("a raft id is 0")
	}
	return nil
}

// The kinds of entrypoint.
const (
	EntryBoot    = "boot"
	EntryJoin    = "join"
	EntryReplace = "replace"
)

// Entrypoint tells the next child how to begin. It is written before a rebootstrap is asked for.
type Entrypoint struct {
	// Kind is EntryBoot, EntryJoin or EntryReplace.
	Kind string `json:"kind"`
	// InstanceUUID is always known; it is drawn before the first request that shows it.
	InstanceUUID string `json:"instance_uuid"`
	// ClusterUUID and ReplicasetUUID are given for Boot, and as far as known otherwise.
	ClusterUUID    string `json:"cluster_uuid,omitempty"`
	ReplicasetUUID string `json:"replicaset_uuid,omitempty"`
	InstanceName   string `json:"instance_name,omitempty"`
	// Leader and Peers are whom a Join asks.
	Leader string   `json:"leader,omitempty"`
	Peers  []string `json:"peers,omitempty"`
	// RaftID and DataRaftID are the new ids of a Replace.
	RaftID     uint64 `json:"raft_id,omitempty"`
	DataRaftID uint64 `json:"data_raft_id,omitempty"`
	// History is what has happened so far; its last state is the one the next child enters with.
	History []lifecycle.Record `json:"history,omitempty"`
}

// Check verifies that an entrypoint has what its kind needs.
func (e Entrypoint) Check() error {
	if err := checkUUID("instance_uuid", e.InstanceUUID); err != nil {
		return err
	}
	switch e.Kind {
	case EntryBoot:
		if err := checkUUID("cluster_uuid", e.ClusterUUID); err != nil {
			return err
		}
		return checkUUID("replicaset_uuid", e.ReplicasetUUID)
	case EntryJoin:
		if e.Leader == "" && len(e.Peers) == 0 {
			return errors.New("a join without leader and peers")
		}
		return nil
	case EntryReplace:
		if e.RaftID == 0 || e.DataRaftID == 0 {
			return errors.New("a replace without new raft ids")
		}
		return nil
	}
	return fmt.Errorf("kind %q is none of boot, join, replace", e.Kind)
}

// DiscoveryRecord is what an instance without a place must not forget: its id, whom it knows, what it decided. It is
// synced before any message that shows it.
type DiscoveryRecord struct {
	// ID is drawn once per data directory.
	ID string `json:"id"`
	// Peers are the addresses known so far.
	Peers []string `json:"peers"`
	// Decision is empty until one is made; its words belong to package discovery.
	Decision string `json:"decision"`
	// Without are the addresses that an operator has said will never answer.
	Without []string `json:"without,omitempty"`
}

// Check verifies that a discovery record has an id.
func (d DiscoveryRecord) Check() error {
	if d.ID == "" {
		return errors.New("id is empty")
	}
	return nil
}

func checkUUID(name, text string) error {
	if _, err := uuid.Parse(text); err != nil || len(text) != 36 {
		return fmt.Errorf("%s %q is not a uuid", name, text)
	}
	return nil
}
