package catalog

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Instance is a row of _pico_instance.
type Instance struct {
	Name, UUID                     string
	RaftID                         uint64 // member id in the catalog's raft group
	DataRaftID                     uint64 // member id in the data group of its replicaset
	ReplicasetName, ReplicasetUUID string
	Current, Target                lifecycle.Grade
	FailureDomain                  map[string]string
	Tier, Version                  string
	SyncIncarnation                *uint64
	TargetReason                   string // empty: unknown
	TargetChangeTime               string // RFC 3339 with nanoseconds, empty: unknown
	// Permit lets an instance that lost its files in again, once: empty none, PermitOpen, or the uuid with which the one
	// that uses it asked. It ends when the instance asks for target Online.
	Permit string
}

// PermitOpen is a permit that nobody has used yet.
const PermitOpen = "open"

// Row encodes the instance as a tuple of _pico_instance. Trailing fields that are not set are left out, so that a row is as
// it was before they existed.
func (i Instance) Row() []byte {
	n := instanceFields
	if i.Permit != "" {
		n++
	}
	b := msgpack.AppendArrayHeader(nil, n)
	b = msgpack.AppendStr(b, i.Name)
	b = msgpack.AppendStr(b, i.UUID)
	b = msgpack.AppendUint(b, i.RaftID)
	b = msgpack.AppendStr(b, i.ReplicasetName)
	b = msgpack.AppendStr(b, i.ReplicasetUUID)
	b = AppendGrade(b, i.Current)
	b = AppendGrade(b, i.Target)
	b = appendStrMap(b, i.FailureDomain)
	b = msgpack.AppendStr(b, i.Tier)
	b = msgpack.AppendStr(b, i.Version)
	b = appendOptUint(b, i.SyncIncarnation)
	b = appendOptStr(b, i.TargetReason)
	b = appendOptStr(b, i.TargetChangeTime)
	b = msgpack.AppendUint(b, i.DataRaftID)
	if i.Permit != "" {
		b = msgpack.AppendStr(b, i.Permit)
	}
	return b
}

// instanceFields is the number of fields that every row of _pico_instance has.
const instanceFields = 14

// ParseInstance decodes a row of _pico_instance.
func ParseInstance(row []byte) (Instance, error) {
	r := reader{b: row}
	n := r.array()
	if n != instanceFields && n != instanceFields+1 {
		r.fail(fmt.Sprintf("array of %d or %d", instanceFields, instanceFields+1))
	}
	i := Instance{Name: r.str(), UUID: r.str(), RaftID: r.uint(), ReplicasetName: r.str(), ReplicasetUUID: r.str()}
	i.Current, i.Target = r.grade(), r.grade()
	i.FailureDomain = r.strMap()
	i.Tier, i.Version = r.str(), r.str()
	i.SyncIncarnation, i.TargetReason, i.TargetChangeTime = r.optUint(), r.optStr(), r.optStr()
	i.DataRaftID = r.uint()
	if n > instanceFields {
		i.Permit = r.optStr()
	}
	return i, r.end()
}

// AppendGrade encodes a grade as it stands in a row: [name, incarnation].
func AppendGrade(dst []byte, g lifecycle.Grade) []byte {
	dst = msgpack.AppendArrayHeader(dst, 2)
	dst = msgpack.AppendStr(dst, g.Name.String())
	return msgpack.AppendUint(dst, g.Incarnation)
}

func (r *reader) grade() lifecycle.Grade {
	r.arrayOf(2)
	name, inc := r.str(), r.uint()
	if r.err != nil {
		return lifecycle.Grade{}
	}
	g, err := lifecycle.ParseGradeName(name)
	if err != nil {
		r.fail("name of a grade")
	}
	return lifecycle.Grade{Name: g, Incarnation: inc}
}

func appendStrMap(dst []byte, m map[string]string) []byte {
	dst = msgpack.AppendMapHeader(dst, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, k), m[k])
	}
	return dst
}

// The states of a replicaset.
const (
	ReplicasetNotReady     = "not-ready"
	ReplicasetReady        = "ready"
	ReplicasetToBeExpelled = "to-be-expelled"
	ReplicasetExpelled     = "expelled"
)

// Replicaset is a row of _pico_replicaset. Versions of sharding and the vclock of a promotion are kept for the habit of
// reading them; replicasets are raft groups and do not need them.
type Replicaset struct {
	Name, UUID                  string
	CurrentMaster, TargetMaster string
	Tier                        string
	Weight                      float64
	WeightOrigin                string // auto or user
	State                       string // one of the four constants
	CurrentConfigVersion        uint64
	TargetConfigVersion         uint64
	MasterChangeCounter         *uint64
	CurrentBucketStateVersion   *uint64
	TargetBucketStateVersion    *uint64
	BootstrapRaftID             uint64 // the one data_raft_id that bootstraps the data group
	// LeaderPriority are names of instances, who should rather lead first. Who is not named comes after all of them.
	LeaderPriority []string
}

// replicasetFields is the number of fields that every row of _pico_replicaset has.
const replicasetFields = 15

// Row encodes the replicaset as a tuple of _pico_replicaset. The trailing field is left out if it is not set, so that a row is
// as it was before it existed.
func (s Replicaset) Row() []byte {
	n := replicasetFields
	if len(s.LeaderPriority) > 0 {
		n++
	}
	b := msgpack.AppendArrayHeader(nil, n)
	for _, v := range []string{s.Name, s.UUID, s.CurrentMaster, s.TargetMaster, s.Tier} {
		b = msgpack.AppendStr(b, v)
	}
	b = msgpack.AppendFloat64(b, s.Weight)
	b = msgpack.AppendStr(b, s.WeightOrigin)
	b = msgpack.AppendStr(b, s.State)
	b = msgpack.AppendUint(b, s.CurrentConfigVersion)
	b = msgpack.AppendUint(b, s.TargetConfigVersion)
	b = msgpack.AppendMapHeader(b, 0)
	b = appendOptUint(b, s.MasterChangeCounter)
	b = appendOptUint(b, s.CurrentBucketStateVersion)
	b = appendOptUint(b, s.TargetBucketStateVersion)
	b = msgpack.AppendUint(b, s.BootstrapRaftID)
	if n > replicasetFields {
		b = msgpack.AppendArrayHeader(b, len(s.LeaderPriority))
		for _, name := range s.LeaderPriority {
			b = msgpack.AppendStr(b, name)
		}
	}
	return b
}

// ParseReplicaset decodes a row of _pico_replicaset.
func ParseReplicaset(row []byte) (Replicaset, error) {
	r := reader{b: row}
	n := r.array()
	if n != replicasetFields && n != replicasetFields+1 {
		r.fail(fmt.Sprintf("array of %d or %d", replicasetFields, replicasetFields+1))
	}
	s := Replicaset{Name: r.str(), UUID: r.str(), CurrentMaster: r.str(), TargetMaster: r.str(), Tier: r.str(),
		Weight: r.float(), WeightOrigin: r.str(), State: r.str()}
	s.CurrentConfigVersion, s.TargetConfigVersion = r.uint(), r.uint()
	r.raw() // promotion_vclock
	s.MasterChangeCounter, s.CurrentBucketStateVersion, s.TargetBucketStateVersion = r.optUint(), r.optUint(), r.optUint()
	s.BootstrapRaftID = r.uint()
	if n > replicasetFields {
		s.LeaderPriority = r.strs()
	}
	switch s.State {
	case ReplicasetNotReady, ReplicasetReady, ReplicasetToBeExpelled, ReplicasetExpelled:
	default:
		r.fail("state of a replicaset")
	}
	return s, r.end()
}

// The kinds of addresses in _pico_peer_address.
const (
	ConnIproto = "iproto"
	ConnHTTP   = "http"
)

// PeerAddress is a row of _pico_peer_address.
type PeerAddress struct {
	RaftID  uint64
	Address string
	Kind    string // ConnIproto, ConnHTTP
}

// Row encodes the address as a tuple of _pico_peer_address.
func (p PeerAddress) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 3)
	b = msgpack.AppendUint(b, p.RaftID)
	b = msgpack.AppendStr(b, p.Address)
	return msgpack.AppendStr(b, p.Kind)
}

// ParsePeerAddress decodes a row of _pico_peer_address.
func ParsePeerAddress(row []byte) (PeerAddress, error) {
	r := reader{b: row}
	r.arrayOf(3)
	p := PeerAddress{RaftID: r.uint(), Address: r.str(), Kind: r.str()}
	return p, r.end()
}

// Tier is a row of _pico_tier.
type Tier struct {
	Name                   string
	ReplicationFactor      uint64
	CanVote                bool
	CurrentShardingVersion uint64
	TargetShardingVersion  uint64
	ShardingBootstrapped   bool
	BucketCount            uint64
	IsDefault              bool
	CurrentBucketVersion   *uint64
	TargetBucketVersion    *uint64
}

// Row encodes the tier as a tuple of _pico_tier.
func (t Tier) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 10)
	b = msgpack.AppendStr(b, t.Name)
	b = msgpack.AppendUint(b, t.ReplicationFactor)
	b = msgpack.AppendBool(b, t.CanVote)
	b = msgpack.AppendUint(b, t.CurrentShardingVersion)
	b = msgpack.AppendUint(b, t.TargetShardingVersion)
	b = msgpack.AppendBool(b, t.ShardingBootstrapped)
	b = msgpack.AppendUint(b, t.BucketCount)
	b = msgpack.AppendBool(b, t.IsDefault)
	b = appendOptUint(b, t.CurrentBucketVersion)
	return appendOptUint(b, t.TargetBucketVersion)
}

// ParseTier decodes a row of _pico_tier.
func ParseTier(row []byte) (Tier, error) {
	r := reader{b: row}
	r.arrayOf(10)
	t := Tier{Name: r.str(), ReplicationFactor: r.uint(), CanVote: r.bool(), CurrentShardingVersion: r.uint(),
		TargetShardingVersion: r.uint(), ShardingBootstrapped: r.bool(), BucketCount: r.uint()}
	if !r.isNil() {
		t.IsDefault = r.bool()
	}
	t.CurrentBucketVersion, t.TargetBucketVersion = r.optUint(), r.optUint()
	return t, r.end()
}

// rowCheck returns the check beyond the format that rows of a table must pass, so that the typed readers never fail.
func rowCheck(table uint32) func(row []byte) error {
	switch table {
	case TableTable:
		return checkBy(ParseSchemaTable)
	case TableIndex:
		return checkBy(ParseSchemaIndex)
	case TableInstance:
		return checkBy(ParseInstance)
	case TableReplicaset:
		return checkBy(ParseReplicaset)
	case TablePeerAddress:
		return checkBy(ParsePeerAddress)
	case TableTier:
		return checkBy(ParseTier)
	case TableProperty:
		return checkProperty
	case TableDBConfig:
		return checkBy(ParseDBConfig)
	case TableUser:
		return checkBy(ParseUser)
	case TablePrivilege:
		return checkBy(ParsePrivilege)
	case TableSchemaObject:
		return checkBy(ParseSchemaObject)
	}
	return func([]byte) error { return fmt.Errorf("%w: no table %d", errBadRow, table) }
}

func checkBy[T any](parse func([]byte) (T, error)) func([]byte) error {
	return func(row []byte) error {
		_, err := parse(row)
		return err
	}
}
