package box

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// foreignKey is a row of _fk_constraint, kept by the referencing space. It protects the referenced index; rows are compared
// by statements of SQL alone, as in Tarantool.
type foreignKey struct {
	name          string
	child, parent uint32
	// index is the unique index of the parent that has the referenced fields.
	index uint32
	links []fieldLink
}

type fieldLink struct{ child, parent uint64 }

// The words that a row of _fk_constraint may have.
var (
	matchWords  = []string{"simple", "partial", "full"}
	actionWords = []string{"no_action", "set_null", "set_default", "cascade", "restrict"}
)

func (s *Space) foreignKey(name string) *foreignKey {
	for _, k := range s.foreignKeys {
		if k.name == name {
			return k
		}
	}
	return nil
}

// prepareForeignKey is prepareDDL for _fk_constraint: [name, child, parent, is_deferred, match, on_delete, on_update,
// child_cols, parent_cols].
func (e *Engine) prepareForeignKey(before, after []byte) (func(), error) {
	if after == nil {
		child, err := e.constrained(firstUint(before, 1))
		if err != nil {
			return nil, err
		}
		n := child.copy()
		n.foreignKeys = without(child.foreignKeys, child.foreignKey(stringAt(before, 0)))
		return func() { e.schema = e.schema.with(n) }, nil
	}
	k, err := parseForeignKey(after)
	if err != nil {
		return nil, err
	}
	child, err := e.constrained(firstUint(after, 1))
	if err != nil {
		return nil, err
	}
	parent, err := e.named(firstUint(after, 2))
	if err != nil {
		return nil, err
	}
	if some, err := e.refusesConstraints(child); some || err != nil {
		return nil, cmp.Or(err, refusedKey(k, "referencing space must be empty"))
	}
	k.child, k.parent = child.ID, parent.ID
	if err := k.bind(child, parent); err != nil {
		return nil, err
	}
	old := child.foreignKey(k.name)
	if err := child.nameIsFree(k.name); old == nil && err != nil {
		return nil, err
	}
	n := child.copy()
	n.foreignKeys = append([]*foreignKey{k}, without(child.foreignKeys, old)...)
	return func() { e.schema = e.schema.with(n) }, nil
}

func refusedKey(k *foreignKey, why string) error {
	return constraintError(errcode.CreateFKConstraint, k.name, why)
}

func parseForeignKey(row []byte) (*foreignKey, error) {
	k := &foreignKey{name: stringAt(row, 0)}
	if len(k.name) > nameBytesMax {
		return nil, constraintError(errcode.CreateFKConstraint, k.name[:shownNameBytes], "constraint name is too long")
	}
	if !tuple.IsIdentifier(k.name) {
		return nil, errcode.New(errcode.Identifier, k.name)
	}
	if err := k.parseLinks(tuple.FieldAt(row, 7), tuple.FieldAt(row, 8)); err != nil {
		return nil, err
	}
	for n, words := range [][]string{matchWords, actionWords, actionWords} {
		word := stringAt(row, 4+n)
		if !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) }) {
			return nil, refusedKey(k, [...]string{"unknown MATCH clause", "unknown ON DELETE action", "unknown ON UPDATE action"}[n])
		}
	}
	return k, nil
}

// parseLinks reads the numbers of the referencing fields and of those that they refer to, in the same order.
func (k *foreignKey) parseLinks(child, parent []byte) error {
	count, parent, err := msgpack.ReadArrayLen(parent)
	if err != nil {
		return err
	}
	if count == 0 {
		return refusedKey(k, "at least one link must be specified")
	}
	n, child, err := msgpack.ReadArrayLen(child)
	if err != nil {
		return err
	}
	if n != count {
		return refusedKey(k, "number of referenced and referencing fields must be the same")
	}
	for n := range count {
		var l fieldLink
		if msgpack.TypeOf(parent[0]) != msgpack.TypeUint || msgpack.TypeOf(child[0]) != msgpack.TypeUint {
			return refusedKey(k, fmt.Sprintf("value of %d link is not unsigned", n))
		}
		l.parent, l.child = msgpack.UintTrusted(parent), msgpack.UintTrusted(child)
		parent, child = msgpack.SkipTrusted(parent), msgpack.SkipTrusted(child)
		k.links = append(k.links, l)
	}
	return nil
}

// bind checks the fields of both spaces and finds the index that the foreign key refers to.
func (k *foreignKey) bind(child, parent *Space) error {
	for _, l := range k.links {
		if l.child >= uint64(len(child.Fields)) || l.parent >= uint64(len(parent.Fields)) {
			return refusedKey(k, "foreign key refers to nonexistent field")
		}
		c, p := child.Fields[l.child], parent.Fields[l.parent]
		if !p.Type.Contains(c.Type) {
			return refusedKey(k, "field type mismatch")
		}
		if p.Collation != c.Collation {
			return refusedKey(k, "field collation mismatch")
		}
	}
	for n, l := range k.links {
		if slices.ContainsFunc(k.links[:n], func(o fieldLink) bool { return o.parent == l.parent }) {
			return refusedKey(k, "referenced fields can not contain duplicates")
		}
	}
	for _, ix := range parent.Indexes {
		if ix.Unique && k.covers(ix.Def.Parts()) {
			k.index = ix.ID
			return nil
		}
	}
	return refusedKey(k, "referenced fields don't compose unique index")
}

// covers tells whether the parts of an index are the referenced fields, in any order.
func (k *foreignKey) covers(parts []tuple.Part) bool {
	if len(parts) != len(k.links) {
		return false
	}
	for _, l := range k.links {
		if !slices.ContainsFunc(parts, func(p tuple.Part) bool { return uint64(p.Field) == l.parent }) {
			return false
		}
	}
	return true
}

// referenced tells whether a foreign key refers to an index.
func (s *Schema) referenced(sp *Space, index uint32) bool {
	for _, child := range s.byID {
		for _, k := range child.foreignKeys {
			if k.parent == sp.ID && k.index == index {
				return true
			}
		}
	}
	return false
}
