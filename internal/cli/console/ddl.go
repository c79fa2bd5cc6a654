package console

import (
	"context"
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// adminID is the owner of spaces whose maker has no row that he may read.
const adminID = 1

// changeSchema executes the commands that make, empty and drop spaces and indexes. They can not be parts of a
// transaction: their effect would stay after a rollback.
func (s *session) changeSchema(ctx context.Context, c *command) error {
	if s.inTransaction() {
		return fmt.Errorf("%s: a change of the schema can not be part of a transaction; commit or rollback first", c.verb)
	}
	switch c.verb {
	case "create space":
		return s.createSpace(ctx, c)
	case "create index":
		return s.createIndex(ctx, c)
	case "drop space":
		return s.dropSpace(ctx, c)
	case "drop index":
		return s.dropIndex(ctx, c)
	}
	return s.truncate(ctx, c)
}

// createSpace takes the next number from _schema, as Tarantool's own function does, and adds the row to _space.
func (s *session) createSpace(ctx context.Context, c *command) error {
	owner, err := s.userID(ctx)
	if err != nil {
		return err
	}
	id, err := s.nextSpaceID(ctx)
	if err != nil {
		return err
	}
	row := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 7), uint64(id))
	row = msgpack.AppendStr(msgpack.AppendUint(row, owner), c.newName)
	row = msgpack.AppendUint(msgpack.AppendStr(row, "memtx"), 0)
	row = tuple.EncodeFormat(msgpack.AppendMapHeader(row, 0), c.format)
	if _, err := s.changeSystem(ctx, iproto.TypeInsert, iproto.ChangeArgs{Space: spaceID, Tuple: row}); err != nil {
		return err
	}
	return s.p.text(fmt.Sprintf("space %s is made, its number is %d", appendPlain(nil, []byte(c.newName)), id))
}

// userID finds the number of the user.
func (s *session) userID(ctx context.Context) (uint64, error) {
	const byName = 2
	key := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), s.o.User)
	reply, err := s.find(ctx, vuserID, byName, key)
	if err != nil {
		return 0, err
	}
	id := uint64(adminID)
	eachRow(reply.Data, func(row []byte) { id = uintAt(row, 0) })
	return id, nil
}

// nextSpaceID counts max_id up. Spaces that were made with a number of their maker's choice are passed over.
func (s *session) nextSpaceID(ctx context.Context) (uint32, error) {
	known, err := s.schema(ctx, true)
	if err != nil {
		return 0, err
	}
	maxID := func(op string, n uint64) ([]byte, error) {
		a := iproto.ChangeArgs{Space: schemaID, Key: msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), "max_id")}
		a.Ops = msgpack.AppendStr(msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(nil, 1), 3), op)
		a.Ops = msgpack.AppendUint(msgpack.AppendUint(a.Ops, 1), n)
		return s.changeSystem(ctx, iproto.TypeUpdate, a)
	}
	rows, err := maxID("+", 1)
	if err != nil {
		return 0, err
	}
	counted := uint64(0)
	eachRow(rows, func(row []byte) { counted = uintAt(row, 1) })
	free := known.freeID(uint32(max(counted, userSpaceMin)))
	switch {
	case counted == 0:
		row := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), "max_id")
		row = msgpack.AppendUint(row, uint64(free))
		_, err = s.changeSystem(ctx, iproto.TypeInsert, iproto.ChangeArgs{Space: schemaID, Tuple: row})
	case uint64(free) != counted:
		_, err = maxID("=", uint64(free))
	}
	return free, err
}

func (s *session) createIndex(ctx context.Context, c *command) error {
	t, err := s.resolve(ctx, c, true)
	if err != nil {
		return err
	}
	parts := make([]tuple.Part, len(c.parts))
	for i, p := range c.parts {
		if parts[i], err = s.part(ctx, t.space, p); err != nil {
			return err
		}
	}
	id := uint32(0)
	for _, ix := range t.space.indexes {
		id = max(id, ix.id+1)
	}
	row := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), uint64(t.space.id))
	row = msgpack.AppendStr(msgpack.AppendUint(row, uint64(id)), c.newName)
	row = msgpack.AppendMapHeader(msgpack.AppendStr(row, c.kind), 1)
	row = msgpack.AppendBool(msgpack.AppendStr(row, "unique"), !c.nonunique)
	row = tuple.EncodeParts(row, parts)
	if _, err := s.changeSystem(ctx, iproto.TypeInsert, iproto.ChangeArgs{Space: indexID, Tuple: row}); err != nil {
		return err
	}
	return s.p.text(fmt.Sprintf("index %s is made, its number is %d", appendPlain(nil, []byte(c.newName)), id))
}

// part completes a part of an index from the format of its space.
func (s *session) part(ctx context.Context, sp *space, p part) (tuple.Part, error) {
	at := int(p.field.number) - 1
	if p.field.name != "" {
		at = slices.IndexFunc(sp.fields, func(f tuple.Field) bool { return f.Name == p.field.name })
		if at < 0 {
			return tuple.Part{}, fmt.Errorf("space %s has no field %s in its format", sp.name, p.field.name)
		}
	}
	out := tuple.Part{Field: uint32(at), Nullable: p.nullable}
	var known bool
	out.Type, known = tuple.ParseFieldType(p.kind)
	if at < len(sp.fields) {
		if f := sp.fields[at]; !known {
			out.Type, known = f.Type, f.Type != tuple.Any
		}
	}
	if !known {
		return out, fmt.Errorf("the format of space %s has no type for field %s: give one, as in [%d,\"unsigned\"]",
			sp.name, sp.fieldName(uint32(at)), at+1)
	}
	if p.collation == "" {
		return out, nil
	}
	const byName = 1
	reply, err := s.find(ctx, vcollationID, byName, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), p.collation))
	if err != nil {
		return out, err
	}
	found := false
	eachRow(reply.Data, func(row []byte) { out.Collation, found = uint32(uintAt(row, 0)), true })
	if !found {
		return out, fmt.Errorf("there is no collation %s; select _vcollation lists them", p.collation)
	}
	return out, nil
}

// dropSpace removes what belongs to a space and then the space. What is gone already is no error, so that the command
// can be repeated after a failure half way.
func (s *session) dropSpace(ctx context.Context, c *command) error {
	t, err := s.resolve(ctx, c, true)
	if err != nil {
		return err
	}
	if s.known.byID(t.space.id) == nil {
		return errcode.New(errcode.NoSuchSpace, t.space.name)
	}
	if t.space.id < userSpaceMin {
		return errcode.New(errcode.DropSpace, t.space.name, "it is a system space")
	}
	id := uint64(t.space.id)
	if err := s.revokeAll(ctx, id); err != nil {
		return err
	}
	one := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), id)
	if reply, err := s.find(ctx, vspaceSequenceID, 0, one); err == nil && rowCount(reply.Data) > 0 {
		if _, err := s.changeSystem(ctx, iproto.TypeDelete, iproto.ChangeArgs{Space: spaceSequenceID, Key: one}); err != nil {
			return err
		}
	}
	for _, ix := range slices.Backward(t.space.indexes) {
		if err := s.deleteIndex(ctx, t.space.id, ix.id); err != nil {
			return err
		}
	}
	for _, from := range []uint32{truncateID, spaceID} {
		if _, err := s.changeSystem(ctx, iproto.TypeDelete, iproto.ChangeArgs{Space: from, Key: one}); err != nil {
			return err
		}
	}
	return s.p.text(fmt.Sprintf("space %s is dropped", appendPlain(nil, []byte(t.space.name))))
}

func rowCount(data []byte) int {
	n, _, _ := msgpack.ReadArrayLen(data)
	return n
}

// revokeAll removes the grants on a space. Users who may not read grants have none to remove.
func (s *session) revokeAll(ctx context.Context, id uint64) error {
	const byObject = 2
	key := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), "space")
	reply, err := s.find(ctx, vprivID, byObject, msgpack.AppendUint(key, id))
	if errcode.Is(err, errcode.AccessDenied) {
		return nil
	}
	if err != nil {
		return err
	}
	eachRow(reply.Data, func(row []byte) {
		key := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 3), uintAt(row, 1))
		key = msgpack.AppendUint(msgpack.AppendStr(key, "space"), id)
		if _, failed := s.changeSystem(ctx, iproto.TypeDelete, iproto.ChangeArgs{Space: privID, Key: key}); failed != nil && err == nil {
			err = failed
		}
	})
	return err
}

func (s *session) deleteIndex(ctx context.Context, spaceNumber, number uint32) error {
	key := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(spaceNumber))
	_, err := s.changeSystem(ctx, iproto.TypeDelete, iproto.ChangeArgs{Space: indexID, Key: msgpack.AppendUint(key, uint64(number))})
	return err
}

func (s *session) dropIndex(ctx context.Context, c *command) error {
	t, err := s.resolve(ctx, c, true)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(t.space.indexes, func(ix index) bool { return ix.id == t.index }) {
		return errcode.New(errcode.NoSuchIndexID, t.index, t.space.name)
	}
	if err := s.deleteIndex(ctx, t.space.id, t.index); err != nil {
		return err
	}
	return s.p.text("the index is dropped")
}

// truncate counts up the row of the space in _truncate, which empties it.
func (s *session) truncate(ctx context.Context, c *command) error {
	t, err := s.resolve(ctx, c, true)
	if err != nil {
		return err
	}
	row := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(t.space.id))
	ops := msgpack.AppendStr(msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(nil, 1), 3), "+")
	a := iproto.ChangeArgs{Space: truncateID, Tuple: msgpack.AppendUint(row, 1), Ops: msgpack.AppendUint(msgpack.AppendUint(ops, 1), 1)}
	if _, err := s.changeSystem(ctx, iproto.TypeUpsert, a); err != nil {
		return err
	}
	return s.p.text(fmt.Sprintf("space %s is empty", appendPlain(nil, []byte(t.space.name))))
}
