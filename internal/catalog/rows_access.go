package catalog

import (
	"encoding/base64"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Ids of the users and roles that always exist. Numbers from FirstUserID on are given to new ones.
const (
	GuestID       uint32 = 0
	AdminID       uint32 = 1
	PublicID      uint32 = 2
	ReplicationID uint32 = 3
	ServiceID     uint32 = 30
	SuperID       uint32 = 31
	FirstUserID   uint32 = 32

	// UsersMax bounds users and roles together. It is Tarantool 2.6's limit: a snapshot with more could not be opened there.
	UsersMax = 32
	// NameMax bounds names of users and roles, in bytes, as in Tarantool 2.6.
	NameMax = 65000
	// AuthMethod is the only method of authentication that exists so far.
	AuthMethod = "chap-sha1"
	// EmptyPasswordHash is the chap-sha1 hash of the empty password, which user guest has.
	EmptyPasswordHash = "vhvewKp0tNyweZQ+cFKAlsyphfg="
)

// Auth is how a user proves who he is. The zero value: he cannot log in with a password.
type Auth struct {
	Method string // AuthMethod
	Data   string // base64 of sha1(sha1(password)), 28 characters
}

// valid reports whether the hash is one that chap-sha1 can check against.
func (a Auth) valid() bool {
	if a == (Auth{}) {
		return true
	}
	raw, err := base64.StdEncoding.DecodeString(a.Data)
	return a.Method == AuthMethod && err == nil && len(raw) == 20
}

// The types of rows in _pico_user.
const (
	TypeUser = "user"
	TypeRole = "role"
)

// User is a row of _pico_user: a user or a role.
type User struct {
	ID            uint32
	Name          string
	SchemaVersion uint64
	Auth          Auth
	Owner         uint32
	Type          string // TypeUser or TypeRole
}

// Row encodes the user as a tuple of _pico_user.
func (u User) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(b, uint64(u.ID))
	b = msgpack.AppendStr(b, u.Name)
	b = msgpack.AppendUint(b, u.SchemaVersion)
	b = appendAuth(b, u.Auth)
	b = msgpack.AppendUint(b, uint64(u.Owner))
	return msgpack.AppendStr(b, u.Type)
}

func appendAuth(b []byte, a Auth) []byte {
	if a == (Auth{}) {
		return msgpack.AppendNil(b)
	}
	b = msgpack.AppendArrayHeader(b, 2)
	return msgpack.AppendStr(msgpack.AppendStr(b, a.Method), a.Data)
}

func (r *reader) auth() Auth {
	if r.isNil() {
		return Auth{}
	}
	r.arrayOf(2)
	a := Auth{Method: r.str(), Data: r.str()}
	if r.err == nil && (a == (Auth{}) || !a.valid()) {
		r.fail("chap-sha1 hash")
	}
	return a
}

// ParseUser decodes a row of _pico_user.
func ParseUser(row []byte) (User, error) {
	r := reader{b: row}
	r.arrayOf(6)
	u := User{ID: r.uint32(), Name: r.str(), SchemaVersion: r.uint(), Auth: r.auth(), Owner: r.uint32(), Type: r.str()}
	if u.Type != TypeUser && u.Type != TypeRole {
		r.fail("user or role")
	}
	return u, r.end()
}

// IsBuiltin reports whether a user or role was made with the cluster and cannot be dropped.
func IsBuiltin(id uint32) bool {
	switch id {
	case GuestID, AdminID, PublicID, ReplicationID, ServiceID, SuperID:
		return true
	}
	return false
}

// Privilege is a row of _pico_privilege: one right of one grantee on one object.
type Privilege struct {
	Grantor, Grantee uint32
	Privilege        string // a name of PrivilegeNames, or PrivilegeAll
	ObjectType       string // table, routine, user, role, universe, or a Tarantool word that Picodata does not have
	ObjectID         int64  // EntityID: all objects of the type
	SchemaVersion    uint64
}

// EntityID as an object id means all objects of the type.
const EntityID int64 = -1

// Row encodes the privilege as a tuple of _pico_privilege.
func (p Privilege) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(b, uint64(p.Grantor))
	b = msgpack.AppendUint(b, uint64(p.Grantee))
	b = msgpack.AppendStr(b, p.Privilege)
	b = msgpack.AppendStr(b, p.ObjectType)
	b = msgpack.AppendInt(b, p.ObjectID)
	return msgpack.AppendUint(b, p.SchemaVersion)
}

// key is the primary key of the privilege, which names grantee, object and right.
func (p Privilege) key() []byte { return Key(p.Grantee, p.ObjectType, p.ObjectID, p.Privilege) }

// ParsePrivilege decodes a row of _pico_privilege.
func ParsePrivilege(row []byte) (Privilege, error) {
	r := reader{b: row}
	r.arrayOf(6)
	p := Privilege{Grantor: r.uint32(), Grantee: r.uint32(), Privilege: r.str(), ObjectType: r.str(), ObjectID: r.int(),
		SchemaVersion: r.uint()}
	if _, ok := PrivilegeBit(p.Privilege); !ok {
		r.fail("name of a privilege")
	}
	if _, ok := tarantoolObjectType(p.ObjectType); !ok {
		r.fail("type of an object")
	}
	return p, r.end()
}

// PrivilegeAll is the name of all rights together: the 32 bits of Tarantool's users admin and super.
const PrivilegeAll = "all"

// PrivilegeNames returns the names of single rights; the position of a name is the number of its bit in Tarantool's _priv.
func PrivilegeNames() []string {
	return []string{"read", "write", "execute", "login", "usage", "create", "drop", "alter", "reference", "trigger",
		"insert", "update", "delete", "grant"}
}

// PrivilegeBit returns the bits that Tarantool's _priv has for a right.
func PrivilegeBit(name string) (bits uint32, ok bool) {
	if name == PrivilegeAll {
		return 1<<32 - 1, true
	}
	for i, n := range PrivilegeNames() {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// tarantoolObjectType turns an object type of _pico_privilege into that of _priv.
func tarantoolObjectType(t string) (string, bool) {
	switch t {
	case "table":
		return "space", true
	case "routine":
		return "function", true
	case "universe", "user", "role", "sequence", "collation", "lua_eval", "lua_call", "sql":
		return t, true
	}
	return "", false
}

// picoObjectType is the inverse of tarantoolObjectType.
func picoObjectType(t string) (string, bool) {
	switch t {
	case "space":
		return "table", true
	case "function":
		return "routine", true
	case "table", "routine":
		return "", false
	}
	return tarantoolObjectType(t)
}
