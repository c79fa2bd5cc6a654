package access

import (
	"encoding/base64"
	"fmt"
	"math"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The ids that every database has, as in Tarantool, and the one of the instances' own user.
const (
	GuestID       uint32 = 0
	AdminID       uint32 = 1
	PublicID      uint32 = 2
	ReplicationID uint32 = 3
	ServiceID     uint32 = 30
	SuperID       uint32 = 31
)

// Account is a row of _user: a user or a role.
type Account struct {
	ID, Owner uint32
	Name      string
	IsRole    bool
	// ChapSHA1 is sha1(sha1(password)); HasPassword is false if the row holds none.
	ChapSHA1    [20]byte
	HasPassword bool
}

// GrantRow is a row of _priv.
type GrantRow struct {
	Grantor, Grantee uint32
	Type             ObjectType
	// ID is the object's id; 0 for Universe, ignored if Entity.
	ID uint32
	// Entity means all objects of the type; the row has '' as its object id then.
	Entity bool
	Privs  Priv
}

// ParseAccount reads a tuple of _user: id, owner, name, type and the map of authentication methods.
func ParseAccount(tuple []byte) (a Account, err error) {
	n, b, err := msgpack.ReadArrayLen(tuple)
	if err != nil || n < 4 {
		return a, fmt.Errorf("access: a row of _user has %d fields: %w", n, orShort(err))
	}
	if a.ID, b, err = readID(b); err != nil {
		return a, fmt.Errorf("access: id of a row of _user: %w", err)
	}
	if a.Owner, b, err = readID(b); err != nil {
		return a, fmt.Errorf("access: owner of user %d: %w", a.ID, err)
	}
	name, b, err := msgpack.ReadStr(b)
	if err != nil {
		return a, fmt.Errorf("access: name of user %d: %w", a.ID, err)
	}
	kind, b, err := msgpack.ReadStr(b)
	if err != nil {
		return a, fmt.Errorf("access: type of user %d: %w", a.ID, err)
	}
	a.Name, a.IsRole = string(name), string(kind) == "role"
	if n > 4 {
		a.ChapSHA1, a.HasPassword, err = readAuth(b)
	}
	if err != nil {
		return a, fmt.Errorf("access: authentication data of user %d: %w", a.ID, err)
	}
	return a, nil
}

// readAuth reads the map {"chap-sha1": base64}. Where there are no methods the field may be an empty array or nil too.
func readAuth(b []byte) (hash [20]byte, ok bool, err error) {
	if is, _, err := msgpack.ReadNil(b); err == nil && is {
		return hash, false, nil
	}
	if n, _, err := msgpack.ReadArrayLen(b); err == nil && n == 0 {
		return hash, false, nil
	}
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return hash, false, err
	}
	for ; n > 0; n-- {
		method, rest, err := msgpack.ReadStr(b)
		if err != nil {
			return hash, false, err
		}
		if string(method) != "chap-sha1" {
			if b, err = msgpack.Skip(rest); err != nil {
				return hash, false, err
			}
			continue
		}
		text, rest, err := msgpack.ReadStr(rest)
		if err != nil {
			return hash, false, err
		}
		raw, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil || len(raw) != len(hash) {
			return hash, false, fmt.Errorf("the hash is not base64 of %d bytes", len(hash))
		}
		copy(hash[:], raw)
		ok, b = true, rest
	}
	return hash, ok, nil
}

// ParseGrant reads a tuple of _priv: grantor, grantee, object type, object id, privileges. ok is false, without an
// error, for object types that this version does not know: such a row grants nothing.
func ParseGrant(tuple []byte) (g GrantRow, ok bool, err error) {
	n, b, err := msgpack.ReadArrayLen(tuple)
	if err != nil || n < 5 {
		return g, false, fmt.Errorf("access: a row of _priv has %d fields: %w", n, orShort(err))
	}
	if g.Grantor, b, err = readID(b); err != nil {
		return g, false, fmt.Errorf("access: grantor of a row of _priv: %w", err)
	}
	if g.Grantee, b, err = readID(b); err != nil {
		return g, false, fmt.Errorf("access: grantee of a row of _priv: %w", err)
	}
	name, b, err := msgpack.ReadStr(b)
	if err != nil {
		return g, false, fmt.Errorf("access: object type of a grant to %d: %w", g.Grantee, err)
	}
	g.Type, ok = ParseObjectType(string(name))
	if id, rest, err := msgpack.ReadStr(b); err == nil {
		// A name instead of an id is no object that has ids; only '' means something.
		g.Entity, ok, b = true, ok && len(id) == 0, rest
	} else if g.ID, b, err = readID(b); err != nil {
		return g, false, fmt.Errorf("access: object id of a grant to %d: %w", g.Grantee, err)
	}
	privs, _, err := msgpack.ReadUint(b)
	if err != nil || privs > math.MaxUint32 {
		return g, false, fmt.Errorf("access: privileges of a grant to %d: %w", g.Grantee, orShort(err))
	}
	g.Privs = Priv(privs)
	return g, ok, nil
}

func readID(b []byte) (uint32, []byte, error) {
	v, rest, err := msgpack.ReadUint(b)
	if err == nil && v > math.MaxUint32 {
		err = msgpack.ErrRange
	}
	return uint32(v), rest, err
}

func orShort(err error) error {
	if err == nil {
		return msgpack.ErrRange
	}
	return err
}
