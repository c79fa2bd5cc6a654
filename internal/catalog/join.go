package catalog

// JoinRequest is what an instance without a place in the cluster asks of the catalog's leader. Empty names are chosen by
// the leader.
type JoinRequest struct {
	ClusterName                    string
	InstanceUUID                   string // drawn and stored by the joiner before its first request
	InstanceName, Replicaset, Tier string
	FailureDomain                  map[string]string
	Version                        string // of its program
	Address                        string // as others reach it, HOST:PORT
	HTTPAddress                    string // empty: no HTTP
}

// JoinAnswer is the place that an instance got. Its instance uuid counts, not the one of the request: they differ when the
// instance takes the place of one that lost its files.
type JoinAnswer struct {
	InstanceName, InstanceUUID     string
	ReplicasetName, ReplicasetUUID string
	Tier                           string
	ClusterUUID, ClusterName       string
	Epoch, RaftID, DataRaftID      uint64
	BootstrapRaftID                uint64 // the data_raft_id that bootstraps the data group; its own: it is the first voter
	Leader                         string // address of the catalog's leader, filled in by who answers
	Snapshot                       []byte // the catalog itself (EncodeSnapshot), filled in by who answers
}
