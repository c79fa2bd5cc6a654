package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// constraint is a check or foreign key constraint of the cluster.
type constraint struct {
	// system is the space that has its row, key the primary key of the row.
	system uint32
	key    []byte
	name   string
	// spaces are those that it is about: one, or child and parent.
	spaces []uint32
}

// constraintFields are, in the rows of both kinds, the fields that name spaces; constraintName is that of the name.
var (
	constraintFields = map[uint32][]int{dictionary.SpaceCKConstraint: {0}, dictionary.SpaceFKConstraint: {1, 2}}
	constraintName   = map[uint32]int{dictionary.SpaceCKConstraint: 1, dictionary.SpaceFKConstraint: 0}
)

// constraintOf reads a row of _ck_constraint or _fk_constraint.
func constraintOf(system uint32, row []byte) constraint {
	c := constraint{system: system, name: strAt(row, constraintName[system])}
	for _, field := range constraintFields[system] {
		c.spaces = append(c.spaces, uint32(uintAt(row, field)))
	}
	c.key = msgpack.AppendArrayHeader(nil, len(keyFields[system]))
	for _, field := range keyFields[system] {
		c.key = appendNormal(c.key, fieldAt(row, field))
	}
	return c
}

func (c *constraint) id() string { return fmt.Sprint(c.system, c.key) }

// constraint repeats a change of a constraint, where its spaces are there. It can be made while its space is empty, so this
// is done at its place among the other rows.
func (b *builder) constraint(ctx context.Context, system uint32, before, after []byte) error {
	row := after
	if row == nil {
		row = before
	}
	ids := map[int][]byte{}
	for _, field := range constraintFields[system] {
		if sp := b.spaces[uint32(uintAt(row, field))]; sp != nil && sp.live() && sp.accepted != nil {
			ids[field] = number(sp.report.ID)
		}
	}
	if len(ids) < len(constraintFields[system]) {
		return nil
	}
	moved, err := withFields(row, ids)
	if err != nil {
		return err
	}
	c := constraintOf(system, moved)
	delete(b.refusedConstraints, c.id())
	if after == nil {
		if _, made := b.constraints[c.id()]; !made {
			return nil
		}
		delete(b.constraints, c.id())
		return b.w.remove(ctx, system, c.key)
	}
	_, reason, err := b.offer(ctx, system, []variant{{row: moved}})
	switch {
	case err != nil:
		return err
	case reason != "":
		b.refusedConstraints[c.id()] = c.name + "\x00" + reason
	default:
		b.constraints[c.id()] = c
	}
	return nil
}

// goes tells whether a space of the cluster is going to be removed.
func (b *builder) goes(space uint32) bool {
	for _, id := range b.leftovers {
		if id == space {
			return true
		}
	}
	return slices.ContainsFunc(b.order, func(sp *spacePlan) bool { return sp.old == space })
}

// dropConstraints removes the constraints that a space is part of, so that it can be dropped. Those that another space has
// lost by this are listed.
func (b *builder) dropConstraints(ctx context.Context, space uint32, from map[string]constraint) error {
	for _, id := range slices.Sorted(maps.Keys(from)) {
		c := from[id]
		if !slices.Contains(c.spaces, space) {
			continue
		}
		delete(from, id)
		if c.spaces[0] != space && !b.goes(c.spaces[0]) {
			b.note("constraint", c.name, "removed", "the space number %d that it refers to is removed", space)
		}
		if err := b.w.remove(ctx, c.system, c.key); err != nil {
			return err
		}
	}
	return nil
}
