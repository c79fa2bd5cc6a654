package importer

import (
	"context"
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// grants gives users and roles the rights that they had, besides those that they have.
func (b *builder) grants(ctx context.Context) error {
	fresh := map[string]uint64{}
	dictionary.Rows(func(space uint32, row []byte) bool {
		if space == dictionary.SpacePriv {
			fresh[grantKey(row)] = uintAt(row, 4)
		}
		return true
	})
	for _, row := range b.final.all(dictionary.SpacePriv) {
		if fieldAt(row, 4) == nil || fresh[grantKey(row)] == uintAt(row, 4) {
			continue
		}
		if builtInGrant(row) {
			b.note("grant", b.grantName(row), stateLeftOut, "what built-in users and roles may do with built-in things stays as it is here")
			continue
		}
		if err := b.grant(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// builtInGrant tells whether a grant is what a version of Tarantool gives to its own users and roles.
func builtInGrant(row []byte) bool {
	grantee, kind, object := uintAt(row, 1), strAt(row, 2), uintAt(row, 3)
	switch {
	case grantee >= firstUser:
		return false
	case grantee == uint64(dictionary.UserGuest):
		return false
	case kind == "space":
		return object < uint64(dictionary.UserIDMin) && text(fieldAt(row, 3)) == ""
	case kind == "universe":
		return grantee != uint64(dictionary.RolePublic)
	}
	return kind == "function"
}

func (b *builder) grant(ctx context.Context, row []byte) error {
	grantee, known := b.users[uint32(uintAt(row, 1))]
	if !known {
		return nil // the user is left out, which is listed
	}
	name := b.grantName(row)
	object, reason := b.object(row)
	if reason != "" {
		b.note("grant", name, stateLeftOut, "%s", reason)
		return nil
	}
	if object == nil {
		return nil // not of the spaces that were asked for
	}
	grantor, known := b.users[uint32(uintAt(row, 0))]
	if !known {
		grantor = dictionary.UserAdmin
	}
	moved, err := withFields(row, map[int][]byte{0: number(grantor), 1: number(grantee), 3: object})
	if err != nil {
		return err
	}
	bits := uintAt(row, 4)
	if old, ok := b.x.grants[grantKey(moved)]; ok {
		if bits |= uintAt(old, 4); bits == uintAt(old, 4) {
			return nil
		}
	}
	if moved, err = withFields(moved, map[int][]byte{4: msgpack.AppendUint(nil, bits)}); err != nil {
		return err
	}
	_, reason, err = b.offer(ctx, dictionary.SpacePriv, []variant{{row: moved}})
	if err != nil {
		return err
	}
	if reason != "" {
		b.note("grant", name, stateLeftOut, "%s", reason)
		return nil
	}
	b.report.Grants++
	if grantee < firstUser {
		b.note("grant", name, "brought over", "a right of a built-in user, for everybody who comes in as it")
	}
	return nil
}

// object is the number of what a grant is about, in the cluster; a reason if there is no such thing; neither if it was not
// asked for.
func (b *builder) object(row []byte) (object []byte, reason string) {
	kind, value := strAt(row, 2), fieldAt(row, 3)
	id := uint32(uintAt(row, 3))
	if _, _, err := msgpack.ReadUint(value); err != nil {
		return value, "" // all of a kind
	}
	find := func(ids idMap) ([]byte, string) {
		if to, ok := ids[id]; ok {
			return number(to), ""
		}
		return nil, fmt.Sprintf("the %s is left out", kind)
	}
	switch kind {
	case "space":
		if id < dictionary.UserIDMin {
			return value, ""
		}
		if sp := b.spaces[id]; sp != nil && !sp.live() {
			return nil, "the space is left out"
		}
		if len(b.o.Spaces) > 0 && b.spaces[id] == nil {
			return nil, ""
		}
		return find(b.spaceIDs)
	case "sequence":
		if len(b.o.Spaces) > 0 && b.sequences[id] == 0 {
			return nil, ""
		}
		return find(b.sequences)
	case "user", "role":
		return find(b.users)
	case "function":
		return nil, "functions are not available"
	}
	return value, ""
}

// grantName says who may do something with what.
func (b *builder) grantName(row []byte) string {
	return fmt.Sprintf("%s on %s %s", strAt(b.final.row(dictionary.SpaceUser, uintAt(row, 1)), 2), strAt(row, 2), b.objectName(row))
}

// objectName is the name of what a grant is about.
func (b *builder) objectName(row []byte) string {
	space, ok := map[string]uint32{"space": dictionary.SpaceSpace, "sequence": dictionary.SpaceSequence, "function": dictionary.SpaceFunc,
		"user": dictionary.SpaceUser, "role": dictionary.SpaceUser}[strAt(row, 2)]
	if !ok {
		return "(all)"
	}
	if _, _, err := msgpack.ReadUint(fieldAt(row, 3)); err != nil {
		return "(all)"
	}
	if name := strAt(b.final.row(space, uintAt(row, 3)), 2); name != "" {
		return name
	}
	return fmt.Sprint(uintAt(row, 3))
}
