package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

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

// JoinRefusalIsFinal reports whether a refusal of a request to join is one that waiting and asking again cannot mend:
// the joiner ends with it (exit 2). Errors that are none of PlanJoin's are not final.
func JoinRefusalIsFinal(err error) bool {
	for _, c := range []errcode.Code{errcode.IllegalParams, errcode.InstanceExpelled, errcode.ReplicasetExpelled,
		errcode.JoinClusterName, errcode.JoinTier, errcode.JoinNameTaken, errcode.JoinAddressTaken,
		errcode.JoinReplicaset, errcode.JoinVersion, errcode.JoinDiffers} {
		if errcode.Is(err, c) {
			return true
		}
	}
	return false
}

// PlanJoin decides what place an instance gets, as an operation and its guard, to be proposed by the leader with
// guard.Term set to its term. After it is applied, AnswerJoin tells the place. A request that was carried out before needs
// nothing more (Nop) or, if the instance comes from another address, only that. newReplicasetUUID is used if a new
// replicaset is needed.
//
// An instance that was Online before and asks to join has lost its files: it gets in again only by a permit of
// PlanReplace, which also lets a newly drawn uuid take the place of the old one.
//
// Errors: 1 malformed request, 10020, 10021, and the refusals 12040 to 12047; see JoinRefusalIsFinal.
func PlanJoin(s *State, r JoinRequest, newReplicasetUUID string) (op Op, guard Predicate, err error) {
	if err := checkJoinRequest(r); err != nil {
		return Op{}, Predicate{}, err
	}
	if name := s.PropertyStr(PropClusterName); r.ClusterName != name {
		return Op{}, Predicate{}, errcode.New(errcode.JoinClusterName, name, r.ClusterName)
	}
	if known, ok := s.joined(r); ok {
		return s.rejoin(known, r)
	}
	if err := s.checkVersion(r.InstanceUUID, r.Version); err != nil {
		return Op{}, Predicate{}, err
	}
	return s.joinNew(r, newReplicasetUUID)
}

// AnswerJoin returns the place of the instance that asked with this uuid, but for the fields Leader and Snapshot.
// Errors: 10016 if there is none, 10020 if it is expelled.
func AnswerJoin(s *State, uuid string) (JoinAnswer, error) {
	i, ok := s.InstanceByUUID(uuid)
	if !ok {
		i, ok = s.permitHolder(uuid)
	}
	if !ok {
		return JoinAnswer{}, noSuchUUID(uuid)
	}
	if isExpelled(i) {
		return JoinAnswer{}, errcode.New(errcode.InstanceExpelled, i.Name)
	}
	rs, _ := s.Replicaset(i.ReplicasetName)
	epoch, _ := s.PropertyUint(PropClusterEpoch)
	return JoinAnswer{InstanceName: i.Name, InstanceUUID: i.UUID, ReplicasetName: i.ReplicasetName,
		ReplicasetUUID: i.ReplicasetUUID, Tier: i.Tier, ClusterUUID: s.PropertyStr(PropClusterUUID),
		ClusterName: s.PropertyStr(PropClusterName), Epoch: epoch, RaftID: i.RaftID, DataRaftID: i.DataRaftID,
		BootstrapRaftID: rs.BootstrapRaftID}, nil
}

// CheckMember refuses a message of an instance that is not, or no longer, the one in the catalog: 10016 unknown uuid, 10020
// Expelled, 12047 other raft id, since it was replaced. One that is only to be expelled is still needed: its votes count
// until its groups have let it go. A higher raft id than the catalog's is of a replacement that this copy has not learned of
// yet: it may lead, and be the only one to learn it from.
func CheckMember(s *State, uuid string, raftID uint64) error {
	i, ok := s.InstanceByUUID(uuid)
	switch {
	case !ok:
		return noSuchUUID(uuid)
	case i.Current.Name == lifecycle.Expelled:
		return errcode.New(errcode.InstanceExpelled, i.Name)
	case raftID < i.RaftID:
		return errcode.Newf(errcode.JoinFilesLost, "Instance %s was replaced: raft id %d is no longer its own", i.Name, raftID)
	}
	return nil
}

func noSuchUUID(uuid string) error {
	return errcode.Newf(errcode.NoSuchInstance, "No instance has uuid %.*s", uuidBytes, uuid)
}

// isExpelled reports whether an instance is expelled or on the way out, which nothing undoes.
func isExpelled(i Instance) bool {
	return i.Current.Name == lifecycle.Expelled || i.Target.Name == lifecycle.Expelled
}

// wasOnline reports whether an instance has ever asked to come Online: since then it has logs and votes to keep.
func wasOnline(i Instance) bool { return i.Target.Incarnation > 0 || i.Current.Incarnation > 0 }

// joined finds the row that a request is about, if it is about one that is there: its own by uuid, one whose permit it
// holds, or one with an open permit that it names.
func (s *State) joined(r JoinRequest) (Instance, bool) {
	if i, ok := s.InstanceByUUID(r.InstanceUUID); ok {
		return i, true
	}
	if i, ok := s.permitHolder(r.InstanceUUID); ok {
		return i, true
	}
	i, ok := s.Instance(r.InstanceName)
	return i, ok && i.Permit == PermitOpen
}

// permitHolder finds the instance whose permit was taken by a uuid.
func (s *State) permitHolder(uuid string) (Instance, bool) {
	for _, i := range s.Instances() {
		if i.Permit == uuid {
			return i, true
		}
	}
	return Instance{}, false
}

// rejoin answers a request about a row that is there.
func (s *State) rejoin(i Instance, r JoinRequest) (Op, Predicate, error) {
	switch {
	case isExpelled(i):
		return Op{}, Predicate{}, errcode.New(errcode.InstanceExpelled, i.Name)
	case r.InstanceName != "" && r.InstanceName != i.Name:
		return Op{}, Predicate{}, errcode.New(errcode.JoinDiffers, i.Name, "instance name "+r.InstanceName)
	case r.Replicaset != "" && r.Replicaset != i.ReplicasetName:
		return Op{}, Predicate{}, errcode.New(errcode.JoinDiffers, i.Name, "replicaset "+r.Replicaset)
	case r.Tier != "" && r.Tier != i.Tier:
		return Op{}, Predicate{}, errcode.New(errcode.JoinDiffers, i.Name, "tier "+r.Tier)
	case wasOnline(i) && i.Permit != PermitOpen && i.Permit != r.InstanceUUID:
		return Op{}, Predicate{}, errcode.New(errcode.JoinFilesLost, i.Name, i.Name)
	}
	if err := s.checkVersion(r.InstanceUUID, r.Version); err != nil {
		return Op{}, Predicate{}, err
	}
	next := i
	next.FailureDomain, next.Version = r.FailureDomain, r.Version
	if next.Permit == PermitOpen {
		next.Permit = r.InstanceUUID
	}
	if r.Address != s.PeerAddress(i.RaftID, ConnIproto) {
		if err := s.checkAddressFree(i.Name, r.Address); err != nil {
			return Op{}, Predicate{}, err
		}
	}
	changes := s.addressChanges(i, r.Address, r.HTTPAddress)
	if next.Permit != i.Permit || next.Version != i.Version || !maps.Equal(next.FailureDomain, i.FailureDomain) {
		changes = append(changes, DML{Kind: Replace, Table: TableInstance, Tuple: next.Row()})
	}
	return batch(changes), Unchanged(s, Eq(TableInstance, Key(i.Name)), Range{Table: TablePeerAddress}), nil
}

// batch is an operation with these changes, Nop if there are none.
func batch(changes []DML) Op {
	if len(changes) == 0 {
		return Op{Kind: Nop}
	}
	return Op{Kind: BatchDml, DML: changes}
}

// joinNew gives a place to an instance that is not known.
func (s *State) joinNew(r JoinRequest, newReplicasetUUID string) (Op, Predicate, error) {
	fail := func(err error) (Op, Predicate, error) { return Op{}, Predicate{}, err }
	tier, err := s.joinTier(r.Tier)
	if err != nil {
		return fail(err)
	}
	if err := s.checkNameFree(r.InstanceName); err != nil {
		return fail(err)
	}
	if err := s.checkAddressFree("", r.Address); err != nil {
		return fail(err)
	}
	next, ok := s.PropertyUint(PropNextRaftID)
	if !ok || next == 0 || next > raftIDMax {
		return fail(errcode.New(errcode.IllegalParams, "property next_raft_id is missing or used up"))
	}
	rs, isNew, err := s.placement(r, tier)
	if err != nil {
		return fail(err)
	}
	i := Instance{Name: r.InstanceName, UUID: r.InstanceUUID, RaftID: next, DataRaftID: next + 1, ReplicasetName: rs.Name,
		Tier: tier.Name, FailureDomain: r.FailureDomain, Version: r.Version}
	if i.Name == "" {
		i.Name = s.freeInstanceName(rs.Name)
	}
	if isNew {
		rs.UUID, rs.CurrentMaster, rs.TargetMaster, rs.BootstrapRaftID = newReplicasetUUID, i.Name, i.Name, i.DataRaftID
	}
	i.ReplicasetUUID = rs.UUID
	changes := []DML{{Kind: Insert, Table: TablePeerAddress, Tuple: PeerAddress{i.RaftID, r.Address, ConnIproto}.Row()}}
	if r.HTTPAddress != "" {
		changes = append(changes, DML{Kind: Insert, Table: TablePeerAddress,
			Tuple: PeerAddress{i.RaftID, r.HTTPAddress, ConnHTTP}.Row()})
	}
	changes = append(changes, DML{Kind: Insert, Table: TableInstance, Tuple: i.Row()})
	if isNew {
		changes = append(changes, DML{Kind: Insert, Table: TableReplicaset, Tuple: rs.Row()})
	}
	changes = append(changes, DML{Kind: Replace, Table: TableProperty, Tuple: UintProperty(PropNextRaftID, next+2).Row()})
	// Every join and every replacement raises next_raft_id, so two of them always conflict. Grades of others may change
	// meanwhile: an expulsion only makes room.
	guard := Unchanged(s, Eq(TableTier, Key(tier.Name)), Eq(TableReplicaset, Key(rs.Name)), Range{Table: TablePeerAddress})
	return Op{Kind: BatchDml, DML: changes}, guard, nil
}

// raftIDMax keeps the counter far from its end.
const raftIDMax = 1 << 62

// joinTier finds the tier of a request; without one it is the default tier, or the only one.
func (s *State) joinTier(name string) (Tier, error) {
	tiers := s.Tiers()
	var names []string
	for _, t := range tiers {
		if t.Name == name || name == "" && (t.IsDefault || len(tiers) == 1) {
			return t, nil
		}
		names = append(names, t.Name)
	}
	if name == "" {
		name = "(default)"
	}
	return Tier{}, errcode.New(errcode.JoinTier, name, strings.Join(names, ", "))
}

// checkNameFree refuses a name that was ever given: what refers to an instance by name must never mean another one.
func (s *State) checkNameFree(name string) error {
	i, ok := s.Instance(name)
	switch {
	case name == "" || !ok:
		return nil
	case isExpelled(i):
		return errcode.New(errcode.JoinNameTaken, name, "an instance that was expelled")
	}
	return errcode.New(errcode.JoinNameTaken, name, "the instance at "+s.PeerAddress(i.RaftID, ConnIproto))
}

// checkAddressFree refuses an address that a non-expelled instance other than the one named own holds.
func (s *State) checkAddressFree(own, address string) error {
	for _, p := range s.PeerAddresses() {
		if p.Kind != ConnIproto || p.Address != address {
			continue
		}
		if i, ok := s.InstanceByRaftID(p.RaftID); ok && i.Name != own && !isExpelled(i) {
			return errcode.New(errcode.JoinAddressTaken, address, i.Name, i.Name)
		}
	}
	return nil
}

// freeInstanceName returns the first name of the form replicaset_n that no instance has or had.
func (s *State) freeInstanceName(replicaset string) string {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s_%d", replicaset, n)
		if _, taken := s.Instance(name); !taken {
			return name
		}
	}
}

// addressChanges are the changes that move an instance to other addresses; an empty HTTP address removes the row.
func (s *State) addressChanges(i Instance, address, httpAddress string) []DML {
	var changes []DML
	for _, want := range []PeerAddress{{i.RaftID, address, ConnIproto}, {i.RaftID, httpAddress, ConnHTTP}} {
		switch old := s.PeerAddress(i.RaftID, want.Kind); {
		case want.Address == old:
		case want.Address == "":
			changes = append(changes, DML{Kind: Delete, Table: TablePeerAddress, Key: Key(i.RaftID, want.Kind)})
		default:
			changes = append(changes, DML{Kind: Replace, Table: TablePeerAddress, Tuple: want.Row()})
		}
	}
	return changes
}

// Limits of what a joiner may say of itself.
const (
	nameBytesMax     = 63
	generatedMax     = nameBytesMax + 24 // a name made of a tier's name and numbers
	addressBytesMax  = 255
	domainKeysMax    = 32
	domainBytesMax   = 255
	versionBytesMax  = 127
	uuidBytes        = 36
	malformedRequest = "request to join: "
)

func checkJoinRequest(r JoinRequest) error {
	bad := func(what string) error { return errcode.New(errcode.IllegalParams, malformedRequest+what) }
	if !isUUID(r.InstanceUUID) {
		return bad("the instance uuid is not one")
	}
	for _, name := range []string{r.InstanceName, r.Replicaset, r.Tier} {
		if name != "" && !isName(name) {
			return bad(fmt.Sprintf("%.*q is not a name", nameBytesMax, name))
		}
	}
	if !isAddress(r.Address) || r.HTTPAddress != "" && !isAddress(r.HTTPAddress) {
		return bad("an address is not HOST:PORT")
	}
	if len(r.Version) > versionBytesMax {
		return bad("the version is too long")
	}
	return checkFailureDomain(r.FailureDomain)
}

func checkFailureDomain(domain map[string]string) error {
	bad := len(domain) > domainKeysMax
	for k, v := range domain {
		bad = bad || k == "" || len(k) > domainBytesMax || len(v) > domainBytesMax
	}
	if bad {
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("failure domain: at most %d keys, none empty, each and its value at most %d bytes",
			domainKeysMax, domainBytesMax))
	}
	return nil
}

// isName reports whether a name from outside has the form that config demands of names.
func isName(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || strings.IndexByte("_-.", c) >= 0)) {
			return false
		}
	}
	return name != "" && len(name) <= generatedMax
}

func isAddress(address string) bool {
	at := strings.LastIndexByte(address, ':')
	if at < 0 || at == len(address)-1 || len(address) > addressBytesMax {
		return false
	}
	return !slices.ContainsFunc([]byte(address), func(c byte) bool { return c <= ' ' || c > '~' })
}

func isUUID(text string) bool {
	if len(text) != uuidBytes {
		return false
	}
	for i, c := range []byte(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return true
}
