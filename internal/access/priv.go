// Package access holds who may do what as an immutable value, built from the rows of _user and _priv (or of the
// catalog's tables), with roles resolved. Pure. It does not know requests, and it does not make error messages: package
// box and the request handlers decide which right an operation needs, whether the user owns the object, and what the
// client is told.
package access

import (
	"fmt"
	"strings"
)

// Priv is a set of privileges; the bits are those of Tarantool's _priv.
type Priv uint32

// The privileges.
const (
	Read Priv = 1 << iota
	Write
	Execute
	Session
	Usage
	Create
	Drop
	Alter
	Reference
	Trigger
	Insert
	Update
	Delete
	Grant

	// All is every privilege, those that later versions may add included.
	All Priv = 1<<32 - 1
)

// privNames are the names as they are written in grants, in the order of the bits.
var privNames = [...]string{
	"read", "write", "execute", "session", "usage", "create", "drop", "alter", "reference", "trigger", "insert",
	"update", "delete", "grant",
}

// String returns the names in the set, in the order of the bits and separated by commas, as box.schema.user.info shows
// them. Bits without a name are left out.
func (p Priv) String() string {
	var names []string
	for i, name := range privNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Title returns the name of the lowest privilege in the set with a capital, as error 42 shows it: "Read", "Write",
// "Execute", ...; "" for the empty set.
func (p Priv) Title() string {
	for i, name := range privNames {
		if p&(1<<i) != 0 {
			return strings.ToUpper(name[:1]) + name[1:]
		}
	}
	return ""
}

// ParsePriv reads a list of names separated by commas, spaces around them ignored: "read, write". "all" is every
// privilege. It fails for a name that is not known and for an empty list.
func ParsePriv(list string) (Priv, error) {
	var set Priv
	for word := range strings.SplitSeq(list, ",") {
		p, ok := privByName(strings.ToLower(strings.TrimSpace(word)))
		if !ok {
			return 0, fmt.Errorf("access: unknown privilege %q", word)
		}
		set |= p
	}
	return set, nil
}

func privByName(name string) (Priv, bool) {
	if name == "all" {
		return All, true
	}
	for i, n := range privNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// ObjectType is a kind of object that privileges are granted on.
type ObjectType uint8

// The object types.
const (
	Universe ObjectType = iota
	Space
	Function
	Sequence
	Role
	User

	objectTypes
)

var objectNames = [objectTypes]string{"universe", "space", "function", "sequence", "role", "user"}

// String returns the name as _priv has it.
func (t ObjectType) String() string {
	if t < objectTypes {
		return objectNames[t]
	}
	return fmt.Sprintf("object type %d", uint8(t))
}

// ParseObjectType reads the name of an object type; ok is false if there is none of that name.
func ParseObjectType(name string) (t ObjectType, ok bool) {
	for i, n := range objectNames {
		if n == name {
			return ObjectType(i), true
		}
	}
	return 0, false
}
