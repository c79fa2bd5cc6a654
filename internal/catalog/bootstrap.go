package catalog

import (
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// LayoutVersion is the version of the layout of these tables (property system_catalog_version).
const LayoutVersion = "1"

// BootstrapTerm is the term of the entries that Bootstrap makes.
const BootstrapTerm = 1

// TierParams describes a tier as the configuration file gives it.
type TierParams struct {
	Name              string
	ReplicationFactor uint64
	CanVote           bool
	BucketCount       uint64
	WALMode           string // fsync, write or none
	IsDefault         bool
}

// BootstrapParams is what the first instance knows when it makes a cluster. Its raft ids are 1 (catalog) and 2 (data).
type BootstrapParams struct {
	ClusterName, ClusterUUID       string
	InstanceName, InstanceUUID     string // empty name: <tier>_1_1
	ReplicasetName, ReplicasetUUID string // empty name: <tier>_1
	Tier                           string // of the instance; must be among Tiers
	FailureDomain                  map[string]string
	Version                        string // of this program
	Address                        string // as others reach it, HOST:PORT
	HTTPAddress                    string // empty: no HTTP
	Tiers                          []TierParams
	AutoOfflineTimeout             time.Duration
	ElectionTimeout                time.Duration
	// AdminAuth is the password of user admin; zero: he comes in only over the local socket.
	AdminAuth Auth
	// PublicFunctions are the ids of the functions that everybody may call before login (box.schema.user.info,
	// .proc_instance_info, .proc_cluster_info).
	PublicFunctions []uint32
}

// The raft ids of the first instance.
const (
	FirstRaftID     = 1
	FirstDataRaftID = 2
)

// Bootstrap returns the first entries of the catalog's log, in the order in which they are appended from index 1 on, all of
// term BootstrapTerm. The change of membership that adds the first member is not among them.
func Bootstrap(p BootstrapParams) ([][]byte, error) {
	if p.ReplicasetName == "" {
		p.ReplicasetName = p.Tier + "_1"
	}
	if p.InstanceName == "" {
		p.InstanceName = p.ReplicasetName + "_1"
	}
	tiers, err := tierRows(p)
	if err != nil {
		return nil, err
	}
	batches := [][]Op{
		{inserts(instanceRows(p))},
		{inserts(tiers)},
		{inserts(configRows(p))},
		{inserts(accessRows(p.PublicFunctions))},
		{{Kind: ChangeAuth, User: User{ID: GuestID, Auth: Auth{AuthMethod, EmptyPasswordHash}}}},
		{{Kind: Grant, Privileges: []Privilege{
			{Grantor: AdminID, Grantee: PublicID, Privilege: "read", ObjectType: "table", ObjectID: int64(TableInstance)},
			{Grantor: AdminID, Grantee: PublicID, Privilege: "read", ObjectType: "table", ObjectID: int64(TablePeerAddress)},
		}}},
	}
	if p.AdminAuth != (Auth{}) {
		admin := []Op{{Kind: ChangeAuth, User: User{ID: AdminID, Auth: p.AdminAuth}}}
		batches = append(batches[:4], append([][]Op{admin}, batches[4:]...)...)
	}
	return bootstrapEntries(batches)
}

// bootstrapEntries encodes the batches and proves that they apply: a cluster must not be made that cannot be opened.
func bootstrapEntries(batches [][]Op) ([][]byte, error) {
	var out [][]byte
	trial := New()
	for i, ops := range batches {
		entry, err := EncodeEntry(Entry{Term: BootstrapTerm, Items: []Item{{Ops: ops, Initiator: AdminID}}})
		if err != nil {
			return nil, fmt.Errorf("catalog: first entry %d: %w", i+1, err)
		}
		if _, _, err := trial.Apply(uint64(i+1), BootstrapTerm, entry); err != nil {
			return nil, fmt.Errorf("catalog: first entry %d: %w", i+1, err)
		}
		out = append(out, entry)
	}
	return out, nil
}

type tableRow struct {
	table uint32
	row   []byte
}

func inserts(rows []tableRow) Op {
	op := Op{Kind: BatchDml}
	for _, r := range rows {
		op.DML = append(op.DML, DML{Kind: Insert, Table: r.table, Tuple: r.row})
	}
	return op
}

func instanceRows(p BootstrapParams) []tableRow {
	rows := []tableRow{{TablePeerAddress, PeerAddress{RaftID: FirstRaftID, Address: p.Address, Kind: ConnIproto}.Row()}}
	if p.HTTPAddress != "" {
		http := PeerAddress{RaftID: FirstRaftID, Address: p.HTTPAddress, Kind: ConnHTTP}
		rows = append(rows, tableRow{TablePeerAddress, http.Row()})
	}
	offline := lifecycle.Grade{Name: lifecycle.Offline}
	return append(rows,
		tableRow{TableInstance, Instance{Name: p.InstanceName, UUID: p.InstanceUUID, RaftID: FirstRaftID,
			DataRaftID: FirstDataRaftID, ReplicasetName: p.ReplicasetName, ReplicasetUUID: p.ReplicasetUUID,
			Current: offline, Target: offline, FailureDomain: p.FailureDomain, Tier: p.Tier, Version: p.Version}.Row()},
		tableRow{TableReplicaset, Replicaset{Name: p.ReplicasetName, UUID: p.ReplicasetUUID, CurrentMaster: p.InstanceName,
			TargetMaster: p.InstanceName, Tier: p.Tier, WeightOrigin: "auto", State: ReplicasetNotReady,
			BootstrapRaftID: FirstDataRaftID}.Row()},
	)
}

func tierRows(p BootstrapParams) ([]tableRow, error) {
	var rows []tableRow
	votes := false
	for _, t := range p.Tiers {
		if t.Name == p.Tier {
			votes = t.CanVote
		}
		rows = append(rows, tableRow{TableTier, Tier{Name: t.Name, ReplicationFactor: t.ReplicationFactor, CanVote: t.CanVote,
			BucketCount: t.BucketCount, IsDefault: t.IsDefault}.Row()})
	}
	if !votes {
		return nil, fmt.Errorf("catalog: the first instance must be of a tier that can vote, %q is not", p.Tier)
	}
	return rows, nil
}

func configRows(p BootstrapParams) []tableRow {
	var rows []tableRow
	for _, prop := range []Property{
		UintProperty(PropGlobalSchemaVersion, 0), UintProperty(PropNextSchemaVersion, 1),
		StrProperty(PropSystemCatalogVersion, LayoutVersion), StrProperty(PropClusterVersion, p.Version),
		StrProperty(PropClusterName, p.ClusterName), StrProperty(PropClusterUUID, p.ClusterUUID),
		UintProperty(PropClusterEpoch, 1), UintProperty(PropNextRaftID, FirstDataRaftID+1),
	} {
		rows = append(rows, tableRow{TableProperty, prop.Row()})
	}
	seconds := func(key string, d time.Duration) {
		c := DBConfig{Key: key, Value: msgpack.AppendFloat64(nil, d.Seconds())}
		rows = append(rows, tableRow{TableDBConfig, c.Row()})
	}
	seconds(ConfAutoOfflineTimeout, p.AutoOfflineTimeout)
	seconds(ConfElectionTimeout, p.ElectionTimeout)
	for _, t := range p.Tiers {
		c := DBConfig{Key: ConfWALMode, Scope: t.Name, Value: msgpack.AppendStr(nil, t.WALMode)}
		rows = append(rows, tableRow{TableDBConfig, c.Row()})
	}
	return append(rows, defaultRows()...)
}

// accessRows are the users and roles that always exist, and their rights: Tarantool's, and those of the service user.
func accessRows(publicFunctions []uint32) []tableRow {
	var rows []tableRow
	for _, u := range []User{
		{ID: GuestID, Name: "guest", Type: TypeUser}, {ID: AdminID, Name: "admin", Type: TypeUser},
		{ID: PublicID, Name: "public", Type: TypeRole}, {ID: ReplicationID, Name: "replication", Type: TypeRole},
		{ID: ServiceID, Name: "pico_service", Type: TypeUser}, {ID: SuperID, Name: "super", Type: TypeRole},
	} {
		u.Owner = AdminID
		rows = append(rows, tableRow{TableUser, u.Row()})
	}
	right := func(grantee uint32, privilege, objectType string, id int64) {
		p := Privilege{Grantor: AdminID, Grantee: grantee, Privilege: privilege, ObjectType: objectType, ObjectID: id}
		rows = append(rows, tableRow{TablePrivilege, p.Row()})
	}
	right(GuestID, "execute", TypeRole, int64(PublicID))
	right(GuestID, "login", "universe", 0)
	right(GuestID, "usage", "universe", 0)
	right(AdminID, PrivilegeAll, "universe", 0)
	right(ServiceID, "execute", TypeRole, int64(SuperID))
	right(SuperID, PrivilegeAll, "universe", 0)
	for _, id := range publicFunctions {
		right(PublicID, "execute", "routine", int64(id))
	}
	for _, view := range systemViews() {
		right(PublicID, "read", "table", view)
	}
	// Who truncates a space must be allowed to write that space, so everybody may write _truncate, as in Tarantool.
	const spaceCollation, spaceCluster, spaceTruncate = 276, 320, 330
	right(PublicID, "write", "table", spaceCollation)
	right(PublicID, "write", "table", spaceTruncate)
	right(ReplicationID, "read", "universe", 0)
	right(ReplicationID, "write", "table", spaceCluster)
	return rows
}

// systemViews are the ids of _vcollation, _vspace, _vsequence, _vindex, _vfunc, _vuser, _vpriv and _vspace_sequence, which
// everybody may read; each shows only what the reader may see.
func systemViews() []int64 { return []int64{277, 281, 286, 289, 297, 305, 313, 341} }
