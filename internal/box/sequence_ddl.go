package box

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Sequence returns the sequence with the given id, or nil.
func (s *Schema) Sequence(id uint32) *Sequence { return s.sequences[id] }

func (s *Schema) withSequence(q *Sequence) *Schema {
	n := s.clone()
	n.sequences[q.ID] = q
	return n
}

func (s *Schema) withoutSequence(id uint32) *Schema {
	n := s.clone()
	delete(n.sequences, id)
	return n
}

// users returns the spaces that are bound to a sequence.
func (s *Schema) usersOf(sequence uint32) (users []*Space) {
	for _, sp := range s.byID {
		if sp.auto != nil && sp.auto.sequence == sequence {
			users = append(users, sp)
		}
	}
	return users
}

func isSequenceSpace(id uint32) bool {
	return id == dictionary.SpaceSequence || id == dictionary.SpaceSequenceData || id == dictionary.SpaceSpaceSequence
}

func errNoSequence(id uint64) error {
	return errcode.New(errcode.NoSuchSequence, strconv.FormatUint(id, 10))
}

// prepareSequenceRow is prepareDDL for the three spaces that describe sequences.
func (e *Engine) prepareSequenceRow(sp *Space, before, after []byte) (func(), error) {
	switch sp.ID {
	case dictionary.SpaceSequence:
		if after == nil {
			return e.prepareDropSequence(before)
		}
		return e.prepareSequence(before, after)
	case dictionary.SpaceSequenceData:
		return e.prepareSequenceData(before, after)
	default:
		return e.prepareBinding(before, after)
	}
}

func (e *Engine) prepareSequence(before, after []byte) (func(), error) {
	code := errcode.CreateSequence
	if before != nil {
		code = errcode.AlterSequence
	}
	q, err := parseSequence(after)
	if err != nil {
		return nil, err
	}
	refuse := func(text string) (func(), error) { return nil, errcode.New(code, q.Name, text) }
	switch {
	case len(q.Name) > nameBytesMax:
		return refuse("sequence name is too long")
	case !tuple.IsIdentifier(q.Name):
		return nil, errcode.New(errcode.Identifier, q.Name)
	case q.Step == 0:
		return refuse("step option must be non-zero")
	case q.Min > q.Max:
		return refuse("max must be greater than or equal to min")
	case q.Start < q.Min || q.Start > q.Max:
		return refuse("start must be between min and max")
	}
	return func() { e.schema = e.schema.withSequence(q) }, nil
}

// parseSequence reads a row of _sequence that fits the format: [id, owner, name, step, min, max, start, cache, cycle].
func parseSequence(row []byte) (*Sequence, error) {
	q := &Sequence{ID: uint32(firstUint(row, 0)), Owner: uint32(firstUint(row, 1))}
	if uint64(q.ID) != firstUint(row, 0) {
		return nil, errcode.New(errcode.FieldType, "1", "unsigned")
	}
	name, _, err := msgpack.ReadStr(tuple.FieldAt(row, 2))
	if err != nil {
		return nil, err
	}
	q.Name = string(name)
	for n, to := range []*int64{&q.Step, &q.Min, &q.Max, &q.Start} {
		if *to, _, err = msgpack.ReadInt(tuple.FieldAt(row, 3+n)); err != nil {
			return nil, errcode.New(errcode.FieldType, strconv.Itoa(4+n), "integer")
		}
	}
	q.Cycle, _, err = msgpack.ReadBool(tuple.FieldAt(row, 8))
	return q, err
}

// prepareDropSequence refuses a sequence that is used or has a row of _sequence_data. Where the drop is committed
// already such a row may be there still: a replica that began from a snapshot has more of them.
func (e *Engine) prepareDropSequence(before []byte) (func(), error) {
	q := e.schema.Sequence(uint32(firstUint(before, 0)))
	data := e.schema.Space(dictionary.SpaceSequenceData)
	pk, key := data.primary(), msgpack.AppendUint(nil, uint64(q.ID))
	if e.tx != nil {
		return e.dropSequenceInTx(q, data, key)
	}
	row := pk.state.store.Get(pk.state.cur, key, 1)
	text := ""
	switch {
	case row != 0 && !e.force:
		text = "the sequence has data"
	case len(e.schema.usersOf(q.ID)) > 0:
		text = "the sequence is in use"
	}
	if text != "" {
		return nil, errcode.New(errcode.DropSequence, q.Name, text)
	}
	return func() {
		if row != 0 {
			e.apply(data, row, nil)
		}
		e.setSequence(q.ID, sequenceValue{})
		e.schema = e.schema.withoutSequence(q.ID)
	}, nil
}

// dropSequenceInTx is prepareDropSequence for a transaction's own schema.
func (e *Engine) dropSequenceInTx(q *Sequence, data *Space, key []byte) (func(), error) {
	row, err := e.tx.find(data, data.primary(), key, 1)
	switch {
	case err != nil:
		return nil, err
	case row != nil:
		return nil, errcode.New(errcode.DropSequence, q.Name, "the sequence has data")
	case len(e.schema.usersOf(q.ID)) > 0:
		return nil, errcode.New(errcode.DropSequence, q.Name, "the sequence is in use")
	}
	return func() { e.schema = e.schema.withoutSequence(q.ID) }, nil
}

func (e *Engine) prepareSequenceData(before, after []byte) (func(), error) {
	row := after
	if row == nil {
		row = before
	}
	id := firstUint(row, 0)
	if e.schema.Sequence(uint32(id)) == nil || id != uint64(uint32(id)) {
		return nil, errNoSequence(id)
	}
	v := sequenceValue{}
	if after != nil {
		last, _, err := msgpack.ReadInt(tuple.FieldAt(after, 1))
		if err != nil {
			return nil, errcode.New(errcode.FieldType, "2", "integer")
		}
		v = sequenceValue{last: last, started: true}
	}
	if e.tx != nil {
		return nil, nil
	}
	return func() { e.setSequence(uint32(id), v) }, nil
}

// resetMissing applies the removal of a row of _sequence_data that is not here: see prepareDropSequence.
func (e *Engine) resetMissing(key []byte) {
	if id, _, err := msgpack.ReadUint(key); err == nil && e.schema.Sequence(uint32(id)) != nil {
		e.setSequence(uint32(id), sequenceValue{})
	}
}

// prepareBinding binds a space to a sequence by a row of _space_sequence: [space, sequence, is_generated, field, path].
func (e *Engine) prepareBinding(before, after []byte) (func(), error) {
	row := after
	if row == nil {
		row = before
	}
	id, sequence := firstUint(row, 0), firstUint(row, 1)
	sp, q := e.schema.Space(uint32(id)), e.schema.Sequence(uint32(sequence))
	switch {
	case sp == nil || id != uint64(sp.ID):
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(id, 10))
	case q == nil || sequence != uint64(q.ID):
		return nil, errNoSequence(sequence)
	case before != nil && after != nil:
		return nil, errcode.New(errcode.Unsupported, `space "_space_sequence"`, "update")
	case e.isSystem(sp.ID):
		return nil, errcode.New(errcode.AlterSpace, sp.Name, "it is a system space")
	}
	if err := e.locked(sp); err != nil {
		return nil, err
	}
	n := sp.copy()
	n.auto = nil
	if after != nil {
		generated, _, err := msgpack.ReadBool(tuple.FieldAt(after, 2))
		if err != nil {
			return nil, err
		}
		n.auto = &autoIncrement{sequence: q.ID, generated: generated, field: uint32(firstUint(after, 3))}
		if err := e.checkBinding(sp, n.auto, after); err != nil {
			return nil, err
		}
	}
	return func() { e.schema = e.schema.with(n) }, nil
}

func (e *Engine) checkBinding(sp *Space, a *autoIncrement, row []byte) error {
	pk := sp.primary()
	if pk == nil {
		return errcode.New(errcode.NoSuchIndexID, 0, sp.Name)
	}
	path, _, err := msgpack.ReadStr(tuple.FieldAt(row, 4))
	if err != nil {
		return err
	}
	if err := a.checkKey(sp, pk.Name, pk.Def.Parts(), string(path)); err != nil {
		return err
	}
	for _, user := range e.schema.usersOf(a.sequence) {
		if user.auto.generated {
			return errcode.New(errcode.AlterSpace, sp.Name, "can not attach generated sequence")
		}
	}
	return nil
}

// checkKey requires that the field is a whole-number part of the primary key.
func (a *autoIncrement) checkKey(sp *Space, name string, parts []tuple.Part, path string) error {
	for _, p := range parts {
		if p.Field != a.field || p.Path != path {
			continue
		}
		if p.Type != tuple.Unsigned && p.Type != tuple.Integer {
			return errcode.New(errcode.ModifyIndex, name, sp.Name, "sequence cannot be used with a non-integer key")
		}
		if p.Path != "" {
			return errcode.New(errcode.NotImplemented, "a sequence for a part of a field")
		}
		return nil
	}
	return errcode.New(errcode.ModifyIndex, name, sp.Name, "sequence field must be a part of the index")
}
