package catalog

import (
	"cmp"
	"encoding/base64"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Clients manage users and rights by changing rows of the spaces _user and _priv. This file turns those rows into the
// catalog's and back: _pico_privilege has a row for each right, _priv a row with a bit for each right on one object.

// RowKind says what a client's statement does to a row of _user or _priv.
type RowKind uint8

// The kinds of statements.
const (
	RowInsert  RowKind = 1 // the new row; its key must be free
	RowReplace RowKind = 2 // the new row, also as the outcome of an update or upsert
	RowDelete  RowKind = 3 // the old row
)

// AppendUserRow appends the row that space _user shows for a user: [id, owner, name, type, auth].
func AppendUserRow(dst []byte, u User) []byte {
	dst = msgpack.AppendArrayHeader(dst, 5)
	dst = msgpack.AppendUint(dst, uint64(u.ID))
	dst = msgpack.AppendUint(dst, uint64(u.Owner))
	dst = msgpack.AppendStr(dst, u.Name)
	dst = msgpack.AppendStr(dst, u.Type)
	if u.Auth == (Auth{}) {
		return msgpack.AppendMapHeader(dst, 0)
	}
	dst = msgpack.AppendMapHeader(dst, 1)
	return msgpack.AppendStr(msgpack.AppendStr(dst, u.Auth.Method), u.Auth.Data)
}

// ParseUserRow decodes a row of _user, with 5 fields or the 7 of newer versions. Errors are client-visible: 43 and 84 with
// Tarantool 2.6's texts.
func ParseUserRow(row []byte) (User, error) {
	r := reader{b: row}
	n := r.array()
	if n < 4 || n > 7 {
		r.fail("row of 5 fields")
	}
	u := User{ID: r.uint32(), Owner: r.uint32(), Name: r.str(), Type: r.str()}
	if r.err != nil {
		return User{}, errcode.New(errcode.IllegalParams, "row of _user: "+r.err.Error())
	}
	if u.Type != TypeUser && u.Type != TypeRole {
		return User{}, errcode.New(errcode.CreateUser, u.Name, "unknown user type")
	}
	if err := checkUserName(u.Name, u.Type); err != nil {
		return User{}, err
	}
	if n == 4 {
		return u, nil
	}
	return r.authMap(u)
}

// authMap takes the field auth of a row of _user. Methods other than chap-sha1 are not kept, as in Tarantool 2.6.
func (r *reader) authMap(u User) (User, error) {
	if len(r.b) > 0 && msgpack.TypeOf(r.b[0]) == msgpack.TypeArray {
		return u, nil // an empty Lua table arrives as an array
	}
	n := r.mapLen()
	if r.err != nil {
		return User{}, errcode.New(errcode.CreateUser, u.Name,
			"invalid password format, use box.schema.user.password() to reset the password")
	}
	if n > 0 && u.Type == TypeRole {
		return User{}, createRoleError(u.Name, "authentication data can not be set for a role")
	}
	for range n {
		method, data := r.str(), r.str()
		if r.err != nil {
			return User{}, errcode.New(errcode.CreateUser, u.Name, "invalid user password")
		}
		if method == AuthMethod {
			u.Auth = Auth{Method: method, Data: data}
		}
	}
	raw, err := base64.StdEncoding.DecodeString(u.Auth.Data)
	if u.Auth != (Auth{}) && (err != nil || len(raw) != 20) {
		return User{}, errcode.New(errcode.CreateUser, u.Name, "invalid user password")
	}
	return u, nil
}

// OpsForUserDML turns a client's statement on _user into operations on the catalog. row is the new row, for RowDelete the
// old one or just [id]. hasObjects tells whether the user owns spaces or functions, which the engine knows. Errors are
// client-visible, with Tarantool 2.6's numbers and texts: 3, 43, 44, 45, 46, 56, 84.
func OpsForUserDML(s *State, kind RowKind, row []byte, hasObjects bool) ([]Op, error) {
	if kind == RowDelete {
		return dropUserOps(s, row, hasObjects)
	}
	u, err := ParseUserRow(row)
	if err != nil {
		return nil, err
	}
	old, exists := s.User(u.ID)
	if other, taken := s.UserByName(u.Name); taken && other.ID != u.ID {
		return nil, errcode.New(errcode.TupleFound, "name", "_user")
	}
	if exists && kind == RowInsert {
		return nil, errcode.New(errcode.TupleFound, "primary", "_user")
	}
	if exists {
		return alterUserOps(old, u)
	}
	if s.Len(TableUser) >= UsersMax {
		return nil, errcode.New(errcode.UserMax, UsersMax)
	}
	if u.ID < FirstUserID {
		return nil, errcode.New(errcode.CreateUser, u.Name,
			"ids below "+strconv.Itoa(int(FirstUserID))+" are kept for built-in users")
	}
	if _, ok := s.User(u.Owner); !ok {
		return nil, noSuchUser(u.Owner)
	}
	op := Op{Kind: CreateUser, User: User{ID: u.ID, Name: u.Name, Auth: u.Auth, Owner: u.Owner}}
	if u.Type == TypeRole {
		op.Kind = CreateRole
	}
	return []Op{op}, nil
}

func dropUserOps(s *State, row []byte, hasObjects bool) ([]Op, error) {
	r := reader{b: row}
	if r.array() < 1 {
		r.fail("row of _user")
	}
	id := r.uint32()
	if r.err != nil {
		return nil, errcode.New(errcode.IllegalParams, r.err.Error())
	}
	u, ok := s.User(id)
	if !ok {
		return nil, nil
	}
	if IsBuiltin(id) {
		return nil, errcode.New(errcode.DropUser, u.Name, "the user or the role is a system")
	}
	for _, p := range s.Privileges() {
		hasObjects = hasObjects || p.Grantee == id || p.Grantor == id
	}
	if hasObjects || ownsUsers(s, id) {
		return nil, errcode.New(errcode.DropUser, u.Name, "the user has objects")
	}
	op := Op{Kind: DropUser, User: User{ID: id}}
	if u.Type == TypeRole {
		op.Kind = DropRole
	}
	return []Op{op}, nil
}

func alterUserOps(old, u User) ([]Op, error) {
	var ops []Op
	if old.Type != u.Type || old.Owner != u.Owner {
		return nil, errcode.New(errcode.CreateUser, u.Name, "type and owner of a user cannot be changed")
	}
	if old.Name != u.Name {
		if IsBuiltin(u.ID) {
			return nil, errcode.New(errcode.CreateUser, u.Name, "built-in users cannot be renamed")
		}
		ops = append(ops, Op{Kind: RenameUser, User: User{ID: u.ID, Name: u.Name}})
	}
	if old.Auth != u.Auth {
		if u.ID == GuestID {
			return nil, errcode.New(errcode.GuestUserPassword)
		}
		ops = append(ops, Op{Kind: ChangeAuth, User: User{ID: u.ID, Auth: u.Auth}})
	}
	return ops, nil
}

// PrivRow is a row of space _priv.
type PrivRow struct {
	Grantor, Grantee uint32
	ObjectType       string // space, function, universe ..., as Tarantool says
	ObjectID         int64  // EntityID: all objects of the type, "" in the row
	Bits             uint32
}

// Append appends the row as space _priv shows it: [grantor, grantee, object_type, object_id, privilege].
func (p PrivRow) Append(dst []byte) []byte {
	dst = msgpack.AppendArrayHeader(dst, 5)
	dst = msgpack.AppendUint(dst, uint64(p.Grantor))
	dst = msgpack.AppendUint(dst, uint64(p.Grantee))
	dst = msgpack.AppendStr(dst, p.ObjectType)
	if p.ObjectID == EntityID {
		dst = msgpack.AppendStr(dst, "")
	} else {
		dst = msgpack.AppendInt(dst, p.ObjectID)
	}
	return msgpack.AppendUint(dst, uint64(p.Bits))
}

// ParsePrivRow decodes a row of _priv. Errors are client-visible: 49 for an unknown type of object, 88 for no rights.
func ParsePrivRow(row []byte) (PrivRow, error) {
	p, err := parsePrivKey(row, 5)
	if err != nil {
		return PrivRow{}, err
	}
	r := reader{b: row}
	r.array()
	for range 4 {
		r.raw()
	}
	p.Bits = r.uint32()
	if r.err != nil {
		return PrivRow{}, errcode.New(errcode.IllegalParams, "row of _priv: "+r.err.Error())
	}
	if p.Bits == 0 {
		return PrivRow{}, errcode.New(errcode.Grant, "the grant tuple has no privileges")
	}
	if known := uint32(1)<<len(PrivilegeNames()) - 1; p.Bits != math.MaxUint32 && p.Bits&^known != 0 {
		return PrivRow{}, errcode.New(errcode.Grant, "the grant tuple has privileges that do not exist")
	}
	return p, nil
}

// parsePrivKey takes the fields of a row of _priv up to the object.
func parsePrivKey(row []byte, atLeast int) (PrivRow, error) {
	r := reader{b: row}
	if n := r.array(); n < atLeast {
		r.fail("row of 5 fields")
	}
	p := PrivRow{Grantor: r.uint32(), Grantee: r.uint32(), ObjectType: r.str(), ObjectID: EntityID}
	if len(r.b) > 0 && msgpack.TypeOf(r.b[0]) == msgpack.TypeStr {
		if r.str() != "" {
			r.fail("id of an object")
		}
	} else {
		p.ObjectID = int64(r.uint32())
	}
	if r.err != nil {
		return PrivRow{}, errcode.New(errcode.IllegalParams, "row of _priv: "+r.err.Error())
	}
	if _, ok := picoObjectType(p.ObjectType); !ok {
		return PrivRow{}, errcode.New(errcode.UnknownSchemaObject, p.ObjectType)
	}
	return p, nil
}

// PrivRows yields the rows of space _priv in the order of its primary key: grantee, object type, object id.
func (s *State) PrivRows(yield func(PrivRow) bool) {
	var rows []PrivRow
	for _, p := range s.Privileges() {
		kind, _ := tarantoolObjectType(p.ObjectType)
		bit, _ := PrivilegeBit(p.Privilege)
		if n := len(rows); n > 0 && rows[n-1].sameObject(p.Grantee, kind, p.ObjectID) {
			rows[n-1].Bits |= bit
			continue
		}
		rows = append(rows, PrivRow{Grantor: p.Grantor, Grantee: p.Grantee, ObjectType: kind, ObjectID: p.ObjectID,
			Bits: bit})
	}
	slices.SortFunc(rows, PrivRow.compare)
	for _, row := range rows {
		if !yield(row) {
			return
		}
	}
}

func (p PrivRow) sameObject(grantee uint32, kind string, id int64) bool {
	return p.Grantee == grantee && p.ObjectType == kind && p.ObjectID == id
}

// compare orders as the index does; the empty string that stands for all objects comes after every number there.
func (p PrivRow) compare(q PrivRow) int {
	return cmp.Or(cmp.Compare(p.Grantee, q.Grantee), cmp.Compare(p.ObjectType, q.ObjectType),
		cmp.Compare(uint64(p.ObjectID), uint64(q.ObjectID)))
}

// UserRows yields the users as rows of space _user, by id.
func (s *State) UserRows(yield func(row []byte) bool) {
	for _, u := range s.Users() {
		if !yield(AppendUserRow(nil, u)) {
			return
		}
	}
}

// rights returns the rights that a grantee has on an object.
func (s *State) rights(grantee uint32, objectType string, objectID int64) []Privilege {
	var out []Privilege
	s.scan(TablePrivilege, 1, Key(objectType, objectID), func(row []byte) bool {
		if p := must(ParsePrivilege, row); p.Grantee == grantee {
			out = append(out, p)
		}
		return true
	})
	return out
}

// OpsForPrivDML turns a client's statement on _priv into operations on the catalog: the rights that the row has and the
// catalog has not are granted, the others on the same object revoked. row is the new row, for RowDelete the old one.
// Errors are client-visible, with Tarantool 2.6's numbers and texts: 3, 45, 49, 82, 87, 88.
func OpsForPrivDML(s *State, kind RowKind, row []byte) ([]Op, error) {
	want, err := parsePrivKey(row, 4)
	if err == nil && kind != RowDelete {
		want, err = ParsePrivRow(row)
	}
	if err != nil {
		return nil, err
	}
	objectType, _ := picoObjectType(want.ObjectType)
	have := s.rights(want.Grantee, objectType, want.ObjectID)
	if kind == RowInsert && len(have) > 0 {
		return nil, errcode.New(errcode.TupleFound, "primary", "_priv")
	}
	names := map[string]bool{}
	if kind != RowDelete {
		for _, name := range namesOf(want.Bits) {
			names[name] = true
		}
	}
	revoke := Op{Kind: Revoke}
	for _, p := range have {
		if !names[p.Privilege] {
			revoke.Privileges = append(revoke.Privileges, p)
		}
		delete(names, p.Privilege)
	}
	grant := Op{Kind: Grant}
	for _, name := range namesOf(want.Bits) {
		p := Privilege{Grantor: want.Grantor, Grantee: want.Grantee, Privilege: name, ObjectType: objectType,
			ObjectID: want.ObjectID}
		if !names[name] {
			continue
		}
		if err := checkGrant(s, p); err != nil {
			return nil, err
		}
		grant.Privileges = append(grant.Privileges, p)
	}
	return nonEmpty(revoke, grant), nil
}

func nonEmpty(ops ...Op) []Op {
	var out []Op
	for _, op := range ops {
		if len(op.Privileges) > 0 {
			out = append(out, op)
		}
	}
	return out
}

// namesOf returns the rights of a set of bits.
func namesOf(set uint32) []string {
	if set == math.MaxUint32 {
		return []string{PrivilegeAll}
	}
	var out []string
	names := PrivilegeNames()
	for ; set != 0; set &= set - 1 {
		if i := bits.TrailingZeros32(set); i < len(names) {
			out = append(out, names[i])
		}
	}
	return out
}
