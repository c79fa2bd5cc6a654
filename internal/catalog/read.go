package catalog

import (
	"time"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// must stops the process if a stored row does not parse: every row was checked before it was stored.
func must[T any](parse func([]byte) (T, error), row []byte) T {
	v, err := parse(row)
	invariant.Check(err == nil, "catalog: stored row: %v", err)
	return v
}

func one[T any](parse func([]byte) (T, error), row []byte) (T, bool) {
	if row == nil {
		var none T
		return none, false
	}
	return must(parse, row), true
}

func all[T any](s *State, table uint32, parse func([]byte) (T, error)) []T {
	out := make([]T, 0, s.Len(table))
	s.Ascend(table, func(row []byte) bool {
		out = append(out, must(parse, row))
		return true
	})
	return out
}

// Instance returns the instance of that name.
func (s *State) Instance(name string) (Instance, bool) {
	return one(ParseInstance, s.find(TableInstance, 0, Key(name)))
}

// InstanceByUUID returns the instance with that uuid.
func (s *State) InstanceByUUID(uuid string) (Instance, bool) {
	return one(ParseInstance, s.find(TableInstance, 1, Key(uuid)))
}

// InstanceByRaftID returns the instance with that member id in the catalog's group.
func (s *State) InstanceByRaftID(id uint64) (Instance, bool) {
	return one(ParseInstance, s.find(TableInstance, 2, Key(id)))
}

// Instances returns all instances by name, expelled ones included.
func (s *State) Instances() []Instance { return all(s, TableInstance, ParseInstance) }

// InstancesOf returns the instances of a replicaset, by name.
func (s *State) InstancesOf(replicaset string) []Instance {
	var out []Instance
	s.scan(TableInstance, 3, Key(replicaset), func(row []byte) bool {
		out = append(out, must(ParseInstance, row))
		return true
	})
	return out
}

// Replicaset returns the replicaset of that name.
func (s *State) Replicaset(name string) (Replicaset, bool) {
	return one(ParseReplicaset, s.find(TableReplicaset, 0, Key(name)))
}

// Replicasets returns all replicasets by name.
func (s *State) Replicasets() []Replicaset { return all(s, TableReplicaset, ParseReplicaset) }

// Tier returns the tier of that name.
func (s *State) Tier(name string) (Tier, bool) {
	return one(ParseTier, s.find(TableTier, 0, Key(name)))
}

// Tiers returns all tiers by name.
func (s *State) Tiers() []Tier { return all(s, TableTier, ParseTier) }

// PeerAddress returns the address of a member for one kind of connection, empty if unknown.
func (s *State) PeerAddress(raftID uint64, kind string) string {
	p, _ := one(ParsePeerAddress, s.find(TablePeerAddress, 0, Key(raftID, kind)))
	return p.Address
}

// PeerAddresses returns all addresses by raft id and kind.
func (s *State) PeerAddresses() []PeerAddress { return all(s, TablePeerAddress, ParsePeerAddress) }

// PropertyUint returns a property that holds a number.
func (s *State) PropertyUint(key string) (uint64, bool) {
	p, ok := one(ParseProperty, s.find(TableProperty, 0, Key(key)))
	r := reader{b: p.Value}
	v := r.uint()
	return v, ok && r.end() == nil
}

// PropertyStr returns a property that holds a string, empty if there is none.
func (s *State) PropertyStr(key string) string {
	p, _ := one(ParseProperty, s.find(TableProperty, 0, Key(key)))
	r := reader{b: p.Value}
	return r.str()
}

// DBConfigs returns all parameters by key and scope.
func (s *State) DBConfigs() []DBConfig { return all(s, TableDBConfig, ParseDBConfig) }

// Timeout returns a parameter that holds seconds, or the given value if it is not set.
func (s *State) Timeout(key string, otherwise time.Duration) time.Duration {
	if s.find(TableDBConfig, 0, Key(key, "")) == nil {
		return otherwise
	}
	return s.Seconds(key)
}

// User returns the user or role with that id.
func (s *State) User(id uint32) (User, bool) { return one(ParseUser, s.find(TableUser, 0, Key(id))) }

// UserByName returns the user or role of that name.
func (s *State) UserByName(name string) (User, bool) {
	return one(ParseUser, s.find(TableUser, 1, Key(name)))
}

// Users returns all users and roles by id.
func (s *State) Users() []User { return all(s, TableUser, ParseUser) }

// Privileges returns all privileges by grantee and object.
func (s *State) Privileges() []Privilege { return all(s, TablePrivilege, ParsePrivilege) }
