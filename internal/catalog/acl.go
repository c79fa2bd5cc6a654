package catalog

import (
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// acl runs an operation on users, roles and rights. Every one that changes something is a new schema version. Who may
// do it is decided before it is proposed (package access).
func (t *tx) acl(op Op) error {
	before := len(t.changes)
	if err := t.aclRows(op); err != nil || len(t.changes) == before {
		return err
	}
	v := t.nextSchemaVersion()
	if err := t.put(TableProperty, UintProperty(PropGlobalSchemaVersion, v).Row()); err != nil {
		return err
	}
	return t.put(TableProperty, UintProperty(PropNextSchemaVersion, v+1).Row())
}

func (t *tx) nextSchemaVersion() uint64 {
	v, _ := t.s.PropertyUint(PropNextSchemaVersion)
	return v
}

func (t *tx) aclRows(op Op) error {
	switch op.Kind {
	case CreateUser:
		return t.createUser(op.User, TypeUser)
	case CreateRole:
		return t.createUser(op.User, TypeRole)
	case DropUser:
		return t.dropUser(op.User.ID, TypeUser)
	case DropRole:
		return t.dropUser(op.User.ID, TypeRole)
	case ChangeAuth:
		return t.changeAuth(op.User.ID, op.User.Auth)
	case RenameUser:
		return t.renameUser(op.User.ID, op.User.Name)
	case Grant:
		return t.grant(op.Privileges)
	case Revoke:
		return t.revoke(op.Privileges)
	}
	return errcode.New(errcode.CASInvalidOpKind, op.Kind)
}

func (t *tx) put(table uint32, row []byte) error {
	return t.dml(DML{Kind: Replace, Table: table, Tuple: row})
}

func (t *tx) createUser(u User, kind string) error {
	if err := checkUserName(u.Name, kind); err != nil {
		return err
	}
	if old, ok := t.s.UserByName(u.Name); ok {
		return existsError(old)
	}
	if t.s.Len(TableUser) >= UsersMax {
		return errcode.New(errcode.UserMax, UsersMax)
	}
	if u.ID == 0 {
		u.ID = t.s.NextUserID()
	}
	if _, ok := t.s.User(u.ID); ok {
		return errcode.New(errcode.TupleFound, "primary", "_user")
	}
	if _, ok := t.s.User(u.Owner); !ok {
		return noSuchUser(u.Owner)
	}
	if kind == TypeRole && u.Auth != (Auth{}) {
		return createRoleError(u.Name, "authentication data can not be set for a role")
	}
	if !u.Auth.valid() {
		return errcode.New(errcode.CreateUser, u.Name, "invalid user password")
	}
	u.Type, u.SchemaVersion = kind, t.nextSchemaVersion()
	t.result.UserID = u.ID
	return t.put(TableUser, u.Row())
}

// NextUserID returns the id that a new user or role gets: one more than the highest in use.
func (s *State) NextUserID() uint32 {
	next := FirstUserID
	for _, u := range s.Users() {
		next = max(next, u.ID+1)
	}
	return next
}

// checkUserName applies Tarantool's rules for names: printable, not empty, not too long.
func checkUserName(name, kind string) error {
	if len(name) > NameMax {
		if kind == TypeRole {
			return createRoleError(name, "role name is too long")
		}
		return errcode.New(errcode.CreateUser, name, "user name is too long")
	}
	if name == "" || !utf8.ValidString(name) {
		return errcode.New(errcode.Identifier, name)
	}
	for _, c := range name {
		if !unicode.IsPrint(c) {
			return errcode.New(errcode.Identifier, name)
		}
	}
	return nil
}

func existsError(old User) error {
	if old.Type == TypeRole {
		return errcode.New(errcode.RoleExists, old.Name)
	}
	return errcode.New(errcode.UserExists, old.Name)
}

func noSuchUser(id uint32) error {
	return errcode.New(errcode.NoSuchUser, strconv.FormatUint(uint64(id), 10))
}

func createRoleError(name, why string) error {
	return errcode.New(errcode.CreateRole, name, why)
}

func (t *tx) dropUser(id uint32, kind string) error {
	u, ok := t.s.User(id)
	if !ok || u.Type != kind {
		return noSuchUser(id)
	}
	if IsBuiltin(id) {
		return errcode.New(errcode.DropUser, u.Name, "the user or the role is a system")
	}
	if ownsUsers(t.s, id) || ownsTables(t.s, id) {
		return errcode.New(errcode.DropUser, u.Name, "the user has objects")
	}
	for _, p := range t.s.Privileges() {
		if p.Grantee == id || p.Grantor == id || (p.ObjectID == int64(id) && (p.ObjectType == "user" || p.ObjectType == "role")) {
			if err := t.dml(DML{Kind: Delete, Table: TablePrivilege, Key: p.key()}); err != nil {
				return err
			}
		}
	}
	return t.dml(DML{Kind: Delete, Table: TableUser, Key: Key(id)})
}

func ownsUsers(s *State, id uint32) bool {
	owns := false
	s.scan(TableUser, 2, Key(id), func(row []byte) bool {
		owns = must(ParseUser, row).ID != id
		return !owns
	})
	return owns
}

func ownsTables(s *State, id uint32) bool {
	owns := false
	s.scan(TableTable, 2, Key(id), func([]byte) bool {
		owns = true
		return false
	})
	p, pending := s.PendingSchema() // which may make him an owner
	return owns || pending && (p.DDL.Kind == CreateTable || p.DDL.Kind == AlterTable) && p.DDL.Table.Owner == id
}

func (t *tx) changeAuth(id uint32, a Auth) error {
	u, ok := t.s.User(id)
	switch {
	case !ok:
		return noSuchUser(id)
	case u.Type == TypeRole && a != (Auth{}):
		return createRoleError(u.Name, "authentication data can not be set for a role")
	case id == GuestID && a.Data != EmptyPasswordHash:
		return errcode.New(errcode.GuestUserPassword)
	case !a.valid():
		return errcode.New(errcode.CreateUser, u.Name, "invalid user password")
	case u.Auth == a:
		return nil
	}
	u.Auth, u.SchemaVersion = a, t.nextSchemaVersion()
	return t.put(TableUser, u.Row())
}

func (t *tx) renameUser(id uint32, name string) error {
	u, ok := t.s.User(id)
	if !ok {
		return noSuchUser(id)
	}
	if IsBuiltin(id) {
		return errcode.New(errcode.DropUser, u.Name, "the user or the role is a system")
	}
	if err := checkUserName(name, u.Type); err != nil {
		return err
	}
	if other, ok := t.s.UserByName(name); ok && other.ID != id {
		return existsError(other)
	}
	u.Name, u.SchemaVersion = name, t.nextSchemaVersion()
	return t.put(TableUser, u.Row())
}

func (t *tx) grant(list []Privilege) error {
	for _, p := range list {
		if err := checkGrant(t.s, p); err != nil {
			return err
		}
		if t.s.Get(TablePrivilege, p.key()) != nil {
			continue
		}
		p.SchemaVersion = t.nextSchemaVersion()
		if err := t.put(TablePrivilege, p.Row()); err != nil {
			return err
		}
	}
	return nil
}

func checkGrant(s *State, p Privilege) error {
	if _, ok := s.User(p.Grantor); !ok {
		return noSuchUser(p.Grantor)
	}
	grantee, ok := s.User(p.Grantee)
	if !ok {
		return noSuchUser(p.Grantee)
	}
	if p.ObjectType != TypeRole || p.ObjectID == EntityID {
		return nil
	}
	role, ok := s.roleByID(p.ObjectID)
	if !ok {
		return errcode.New(errcode.NoSuchRole, role.Name)
	}
	if p.Privilege == "execute" && grantee.Type == TypeRole && s.reaches(role.ID, grantee.ID) {
		return errcode.New(errcode.RoleLoop, role.Name, grantee.Name)
	}
	return nil
}

// roleByID finds a role; if there is none, Name says what was looked for, as Tarantool's error does.
func (s *State) roleByID(id int64) (User, bool) {
	if id < 0 || id > 1<<32-1 {
		return User{Name: strconv.FormatInt(id, 10)}, false
	}
	u, ok := s.User(uint32(id))
	if !ok {
		u.Name = strconv.FormatInt(id, 10)
	}
	return u, ok && u.Type == TypeRole
}

// reaches reports whether role from is, or was granted directly or through others, role to. There are at most UsersMax
// roles, each is looked at once.
func (s *State) reaches(from, to uint32) bool {
	seen := map[uint32]bool{from: true}
	queue := []uint32{from}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if id == to {
			return true
		}
		for _, p := range s.Privileges() {
			next := uint32(p.ObjectID)
			if p.Grantee == id && p.ObjectType == TypeRole && p.ObjectID >= 0 && p.Privilege == "execute" && !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

func (t *tx) revoke(list []Privilege) error {
	for _, p := range list {
		if (p.Grantee == AdminID || p.Grantee == SuperID) && p.ObjectType == "universe" {
			u, _ := t.s.User(p.Grantee)
			return errcode.New(errcode.Grant, "rights of '"+u.Name+"' cannot be revoked")
		}
		if err := t.dml(DML{Kind: Delete, Table: TablePrivilege, Key: p.key()}); err != nil {
			return err
		}
	}
	return nil
}
