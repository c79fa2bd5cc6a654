package differential

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	spaceSequence      = 284
	spaceSequenceData  = 285
	spaceSpaceSequence = 340
	// sequencesMax bounds the ids of the sequences that the test makes.
	sequencesMax = 3
)

// sequences makes a change about sequences: one is made, altered, dropped or set, or bound to a space or let loose.
func (g *generator) sequences(s *space) []request {
	r := g.rand
	id := uint64(1 + r.IntN(sequencesMax))
	switch r.IntN(10) {
	case 0, 1:
		return []request{insertInto(spaceSequence, 0, g.sequenceRow(id))}
	case 2:
		return []request{rowRequest(iproto.TypeReplace, spaceSequence, 0, g.sequenceRow(id))}
	case 3:
		if chance(r, 50) {
			return []request{deleteFrom(spaceSequenceData, 0, 0, packKey(id)), deleteFrom(spaceSequence, 0, 0, packKey(id))}
		}
		return []request{deleteFrom(spaceSequence, 0, 0, packKey(id))}
	case 4:
		row := g.appendInteger(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), id))
		return []request{rowRequest(pick(r, []iproto.Type{iproto.TypeReplace, iproto.TypeReplace, iproto.TypeInsert}), spaceSequenceData, 0, row)}
	case 5:
		return []request{deleteFrom(spaceSequenceData, 0, 0, packKey(id))}
	case 6:
		return []request{deleteFrom(spaceSpaceSequence, s.id, 0, packKey(uint64(s.id)))}
	}
	return []request{g.bind(s, id)}
}

// bind binds a sequence to a space, mostly to a field that can take its values.
func (g *generator) bind(s *space, id uint64) request {
	r := g.rand
	field, path := 0, ""
	if pk := s.index(0); pk != nil && pk.parts[0].path == "" {
		field = pk.parts[0].field
	} else if pk != nil {
		return insertInto(spaceSpaceSequence, s.id, packJSON("[9999,1,false,0,\"\"]")) // not into a part of a field, in this version
	}
	if chance(r, 10) {
		field = r.IntN(4)
	}
	if chance(r, 5) {
		path = pick(r, []string{"a", "[1]", "["})
	}
	row := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 5), uint64(s.id)), id)
	row = msgpack.AppendUint(msgpack.AppendBool(row, chance(r, 30)), uint64(field))
	kind := iproto.TypeInsert
	if chance(r, 20) {
		kind = iproto.TypeReplace
	}
	return rowRequest(kind, spaceSpaceSequence, s.id, msgpack.AppendStr(row, path))
}

// sequenceRow encodes a row of _sequence, now and then a wrong one: id, owner, name, step, min, max, start, cache, cycle.
func (g *generator) sequenceRow(id uint64) []byte {
	r := g.rand
	b := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 9), id), 1)
	b = msgpack.AppendStr(b, fmt.Sprintf("s%d", id))
	switch r.IntN(5) {
	case 0:
		b = append(b, packJSON("[1,1,9223372036854775807,1,0]")[1:]...)
	case 1:
		b = append(b, packJSON("[-1,-9,9,5,0]")[1:]...)
	case 2:
		b = append(b, packJSON("[3,0,20,0,0]")[1:]...)
	case 3:
		b = append(b, packJSON("[4611686018427387904,-9223372036854775808,9223372036854775807,0,0]")[1:]...)
	default:
		for range 4 {
			b = msgpack.AppendInt(b, int64(r.IntN(12))-3)
		}
		b = msgpack.AppendUint(b, 0)
	}
	return msgpack.AppendBool(b, chance(r, 30))
}

// movesSequence tells whether a statement may leave a sequence with another value there than here. With us every row that
// is stored moves it and nothing else does, so that a replica knows the value from the rows; in 2.6 statements that fail
// move it too, UPDATE and UPSERT do not. After that setSequences makes both alike again.
func (o *outcome) movesSequence() bool {
	switch o.kind {
	case iproto.TypeInsert, iproto.TypeReplace:
		return o.reference.err != nil
	case iproto.TypeUpdate:
		return len(o.reference.rows()) > 0
	case iproto.TypeUpsert:
		return true
	}
	return false
}

// take makes a statement that asks for the next value of the space's sequence. It is sent alone.
func (g *generator) take(s *space) request {
	g.about(s)
	g.taking = true
	defer func() { g.taking = false }()
	req := rowRequest(pick(g.rand, []iproto.Type{iproto.TypeInsert, iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpsert}), s.id, s.id, g.tuple(s))
	if req.kind == iproto.TypeUpsert {
		var m bodyOf
		m.uint(iproto.KeySpaceID, uint64(s.id))
		m.add(iproto.KeyTuple, g.tuple(s))
		m.add(iproto.KeyOps, packJSON("[]"))
		req.body = m.bytes()
	}
	return req
}

// sequenceValue appends a value of the field that a sequence fills.
func (g *generator) sequenceValue(b []byte) []byte {
	if g.taking {
		return msgpack.AppendNil(b)
	}
	return g.appendInteger(b)
}

// setSequences sets all sequences.
func (g *generator) setSequences() []request {
	var batch []request
	for id := uint64(1); id <= sequencesMax; id++ {
		row := msgpack.AppendInt(packKey(id, 0)[:2], int64(g.rand.IntN(12))-3)
		batch = append(batch, rowRequest(iproto.TypeReplace, spaceSequenceData, 0, row))
	}
	return batch
}

// dropSequences lets go of and drops all sequences.
func dropSequences() []request {
	var batch []request
	for id := uint64(firstID); id <= lastID; id++ {
		batch = append(batch, deleteFrom(spaceSpaceSequence, 0, 0, packKey(id)))
	}
	for id := uint64(1); id <= sequencesMax; id++ {
		batch = append(batch, deleteFrom(spaceSequenceData, 0, 0, packKey(id)), deleteFrom(spaceSequence, 0, 0, packKey(id)))
	}
	return batch
}
