package access

// Rights answers who may do what. It is immutable: a change of users or grants makes a new one. The zero value and nil
// know no user and refuse everything.
type Rights struct {
	users map[uint32]*effective
	// dense is users for the ids below denseMax, which in practice are all: Check is asked for each request.
	dense [denseMax]*effective
	byID  map[uint32]*Account
	names map[string]*Account
}

const denseMax = 64

// effective is what one user or role has in sum, by itself and by its roles.
type effective struct {
	universe Priv
	entity   [objectTypes]Priv
	objects  [objectTypes]map[uint32]Priv
	roles    []uint32
}

// Build makes the rights from all rows. Rows that name no known account grant nothing. A role is granted to a user or
// to another role by Execute on it; circles of roles are harmless: all in the circle then have the same.
func Build(accounts []Account, grants []GrantRow) *Rights {
	r := &Rights{
		users: make(map[uint32]*effective, len(accounts)),
		byID:  make(map[uint32]*Account, len(accounts)),
		names: make(map[string]*Account, len(accounts)),
	}
	own := make(map[uint32][]GrantRow, len(accounts))
	for _, g := range grants {
		own[g.Grantee] = append(own[g.Grantee], g)
	}
	for i := range accounts {
		a := accounts[i]
		r.byID[a.ID], r.names[a.Name] = &a, &a
	}
	for id := range r.byID {
		r.users[id] = r.resolve(id, own)
		if id < denseMax {
			r.dense[id] = r.users[id]
		}
	}
	return r
}

// resolve sums up what an account has: its own grants and those of every role that it reaches.
func (r *Rights) resolve(id uint32, own map[uint32][]GrantRow) *effective {
	e := &effective{}
	seen := map[uint32]bool{id: true}
	for queue := []uint32{id}; len(queue) > 0; queue = queue[1:] {
		for _, g := range own[queue[0]] {
			e.add(g)
			if g.Type != Role || g.Entity || g.Privs&Execute == 0 || seen[g.ID] {
				continue
			}
			if role := r.byID[g.ID]; role != nil && role.IsRole {
				seen[g.ID] = true
				queue = append(queue, g.ID)
				e.roles = append(e.roles, g.ID)
			}
		}
	}
	return e
}

func (e *effective) add(g GrantRow) {
	switch {
	case g.Type == Universe:
		e.universe |= g.Privs
	case g.Type >= objectTypes:
	case g.Entity:
		e.entity[g.Type] |= g.Privs
	default:
		if e.objects[g.Type] == nil {
			e.objects[g.Type] = make(map[uint32]Priv)
		}
		e.objects[g.Type][g.ID] |= g.Privs
	}
}

// Check reports whether the user has every privilege in want on the object: granted on the object itself, on all
// objects of its type, or on the universe, to the user or to a role of the user's. For Universe the id is ignored. The
// owner's rights are not looked at: whoever knows the object's owner asks Check only for others.
func (r *Rights) Check(user uint32, want Priv, kind ObjectType, id uint32) bool {
	return want&^r.Has(user, kind, id) == 0 && want != 0
}

// Has returns all privileges that the user has on the object.
func (r *Rights) Has(user uint32, kind ObjectType, id uint32) Priv {
	if r == nil || kind >= objectTypes {
		return 0
	}
	e := r.of(user)
	if e == nil {
		return 0
	}
	if kind == Universe || e.universe == All {
		return e.universe
	}
	return e.universe | e.entity[kind] | e.objects[kind][id]
}

// of returns what a user has, nil if there is no such user. r is not nil.
func (r *Rights) of(user uint32) *effective {
	if user < denseMax {
		return r.dense[user]
	}
	return r.users[user]
}

// HasEntity returns the privileges that the user has on all objects of a type.
func (r *Rights) HasEntity(user uint32, kind ObjectType) Priv {
	if r == nil || kind >= objectTypes {
		return 0
	}
	e := r.of(user)
	if e == nil {
		return 0
	}
	return e.universe | e.entity[kind]
}

// Account returns the account with the id, if there is one. The caller does not change it.
func (r *Rights) Account(id uint32) (*Account, bool) {
	if r == nil {
		return nil, false
	}
	a, ok := r.byID[id]
	return a, ok
}

// AccountByName returns the account with the name, a role too, if there is one. The caller does not change it.
func (r *Rights) AccountByName(name string) (*Account, bool) {
	if r == nil {
		return nil, false
	}
	a, ok := r.names[name]
	return a, ok
}

// Roles returns the ids of all roles that the user has, those of its roles included, in the order of discovery: the
// user's own first. The caller does not change it.
func (r *Rights) Roles(user uint32) []uint32 {
	if r == nil || r.of(user) == nil {
		return nil
	}
	return r.of(user).roles
}
