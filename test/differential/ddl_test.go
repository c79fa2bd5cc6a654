package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// createSpace makes the requests that create a space with indexes; with a small chance one of them is wrong.
func (g *generator) createSpace(id uint32) []request {
	r := g.rand
	s := &space{id: id, name: pick(r, []string{"alpha", "beta", "gamma", "delta", "epsilon"})}
	s.flags = pick(r, spaceFlags)
	s.fields = g.format(id)
	if chance(r, 15) {
		s.fields = nil
	}
	if chance(r, 20) {
		s.fieldCount = len(s.fields) + r.IntN(3)
	}
	batch := []request{insertInto(spaceSpace, id, g.spaceRow(s))}
	n := 1 + r.IntN(4)
	for i := range n {
		ix := g.indexDef(s, uint32(i))
		batch = append(batch, insertInto(spaceIndex, id, g.indexRow(s, &ix)))
	}
	return batch
}

// spaceFlags are options that spaces have; most have none.
var spaceFlags = []string{"{}", "{}", "{}", "{}", "{}", "{}", `{"temporary":true}`, `{"group_id":1}`, `{"temporary":true,"group_id":1}`, `{"is_sync":true}`, `{"group_id":0}`}

func insertInto(system, about uint32, row []byte) request {
	return rowRequest(iproto.TypeInsert, system, about, row)
}

func rowRequest(kind iproto.Type, system, about uint32, row []byte) request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(system))
	m.add(iproto.KeyTuple, row)
	return request{kind: kind, space: about, body: m.bytes()}
}

func deleteFrom(system, about uint32, index int, key []byte) request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(system))
	m.uint(iproto.KeyIndexID, uint64(index))
	m.add(iproto.KeyKey, key)
	return request{kind: iproto.TypeDelete, space: about, body: m.bytes()}
}

func updateOf(system, about uint32, key, ops []byte) request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(system))
	m.add(iproto.KeyKey, key)
	m.add(iproto.KeyTuple, ops)
	return request{kind: iproto.TypeUpdate, space: about, body: m.bytes()}
}

var fieldKinds = []string{"any", "unsigned", "unsigned", "integer", "number", "double", "string", "string", "boolean", "varbinary", "scalar", "decimal",
	"uuid", "array", "map"}

// format makes a random format.
func (g *generator) format(id uint32) []field {
	r := g.rand
	fields := make([]field, 2+r.IntN(5))
	for i := range fields {
		fields[i] = field{name: fmt.Sprintf("f%d", i+1), kind: pick(r, fieldKinds), nullable: i > 0 && chance(r, 35)}
		if isFar(id) && fields[i].kind == "decimal" {
			fields[i].kind = "double"
		}
		if chance(r, 4) {
			fields[i].name = pick(r, []string{"f1.a", "f2[1]", "é", "f1", "", "a b", "[1]"})
		}
	}
	if chance(r, 70) {
		fields[0].kind = pick(r, []string{"unsigned", "integer", "string", "scalar", "number"})
	}
	return fields
}

// spaceRow encodes a row of _space, now and then a wrong one.
func (g *generator) spaceRow(s *space) []byte {
	r := g.rand
	n := 7
	if chance(r, 2) {
		n = r.IntN(9)
	}
	fields := [][]byte{
		msgpack.AppendUint(nil, uint64(s.id)), msgpack.AppendUint(nil, 1), msgpack.AppendStr(nil, s.name), msgpack.AppendStr(nil, "memtx"),
		msgpack.AppendUint(nil, uint64(s.fieldCount)), packJSON(s.flags), g.formatRow(s.fields), msgpack.AppendNil(nil), msgpack.AppendNil(nil),
	}
	if chance(r, 2) {
		fields[2] = msgpack.AppendStr(nil, pick(r, []string{"", "\x01", "\xff", "ok name", "é", "_space", "_vindex", "a\tb", "\u00a0", "\u2028", "\u200b", "\U0001f600", "\u0378"}))
	}
	if chance(r, 1) {
		fields[3] = msgpack.AppendStr(nil, pick(r, []string{"", "MEMTX", "nope", "elevenchars", "sixteencharacter", "sixteencharacters", "service", "é"}))
	}
	if chance(r, 8) {
		fields[5] = packJSON(pick(r, []string{`{"temporary":true}`, `{"temporary":1}`, `{"nope":1}`, `{"temporary":false}`, `{"is_sync":false}`, `{"view":true}`, `{"sql":1}`,
			`{"group_id":0}`, `{"group_id":7}`, `{"group_id":-1}`, `{"view":false}`, `{"sql":1}`, `[]`, `[1]`,
			`{"group_id":1}`, `{}`, `{"group_id":1,"is_sync":true}`, `{"temporary":true,"view":1}`, `{"group_id":7,"view":true}`, `{"checks":1}`}))
	}
	if chance(r, 2) { // ids below 512 are left out: we keep them for spaces of our own
		fields[1+r.IntN(6)] = g.appendAny(nil)
	}
	b := msgpack.AppendArrayHeader(nil, n)
	for _, f := range fields[:n] {
		b = append(b, f...)
	}
	return b
}

func (g *generator) formatRow(fields []field) []byte {
	r := g.rand
	b := msgpack.AppendArrayHeader(nil, len(fields))
	for _, f := range fields {
		if chance(r, 1) {
			b = append(b, packJSON(pick(r, []string{`{}`, `1`, `["f9","unsigned"]`, `{"type":"unsigned"}`, `{"name":1}`, `{"name":"f9","type":"nope"}`, `{"name":"f9","type":1}`,
				`{"name":"f9","is_nullable":1}`, `{"name":"f9","nullable_action":"none"}`, `{"name":"f9","nullable_action":"nope"}`, `{"name":"f9","x":1}`,
				`{"name":"f9","is_nullable":true,"nullable_action":"none"}`, `{"name":"f9","collation":2}`, `{"name":"f9","collation":"x"}`, `{"name":"f9","type":"str"}`,
				`{"name":"f9","type":"*"}`, `{"name":"f9","type":"UNSIGNED"}`, `{"name":"f9","type":"string","collation":3}`, `{"name":"f9","type":"unsigned","collation":3}`,
				`{"name":"f9","type":"any","is_nullable":true,"nullable_action":"abort"}`,
				`{"name":"f9","type":"string","nullable_action":"abort"}`, `{"name":"f9","type":"string","nullable_action":"default"}`,
				`{"name":"\u2028","type":"nope"}`, `{"name":"f9","default":1}`, `{"name":"f9","default":"1"}`, `{"name":"f9","type":"unsigned","collation":999}`,
				`{"name":"f9","type":"nope","is_nullable":true,"nullable_action":"abort"}`}))...)
			continue
		}
		n := 2
		if f.nullable || chance(r, 5) {
			n = 3
		}
		b = msgpack.AppendMapHeader(b, n)
		b = msgpack.AppendStr(msgpack.AppendStr(b, "name"), f.name)
		b = msgpack.AppendStr(msgpack.AppendStr(b, "type"), f.kind)
		if n == 3 {
			b = msgpack.AppendBool(msgpack.AppendStr(b, "is_nullable"), f.nullable)
		}
	}
	return b
}

var partKinds = []string{"unsigned", "unsigned", "integer", "number", "double", "string", "string", "boolean", "varbinary", "scalar", "decimal", "uuid"}

// hashKinds are those that a hash is made of: in 2.6 a hash does not find a decimal by an equal number, nor a key of two
// paths by an equal one.
var hashKinds = []string{"unsigned", "integer", "double", "string", "boolean", "varbinary", "uuid"}

// mapPaths and arrayPaths are what index parts with a path look at.
var (
	mapPaths   = []string{"a", "b", "c.d", "c.e", `["a"]`, "c.f[1]"}
	arrayPaths = []string{"[1]", "[2]", "[3].a", "[4][1]"}
	// nullablePaths are those that always may be nil: 2.6 believes the last of several parts and ends itself.
	nullablePaths = []string{"b", "c.e", "[2]", "[4][1]"}
)

// tameKinds are those that a space which may hold NaN is indexed by.
var tameKinds = []string{"string", "boolean", "varbinary", "uuid"}

// indexDef makes a definition that mostly fits the space.
func (g *generator) indexDef(s *space, id uint32) index {
	r := g.rand
	ix := index{id: id, name: fmt.Sprintf("i%d", id), hash: chance(r, 20), unique: id == 0 || chance(r, 45)}
	if chance(r, 3) {
		ix.name = pick(r, []string{"i0", "i1", "", "é", "\x01", "pk"})
	}
	if ix.hash && !chance(r, 3) {
		ix.unique = true
	}
	n := 1
	if chance(r, 45) {
		n += r.IntN(3)
	}
	for i := range n {
		at := r.IntN(max(s.width(), 3))
		if id == 0 && i == 0 && chance(r, 70) {
			at = 0
		}
		ix.parts = append(ix.parts, g.part(s, &ix, at))
	}
	return ix
}

func (g *generator) part(s *space, ix *index, at int) part {
	r := g.rand
	p := part{field: at}
	kind, nullable := s.kindAt(at)
	p.nullable = nullable && ix.id != 0 && !ix.hash && chance(r, 70)
	if at < len(s.fields) {
		p.nullable = s.fields[at].nullable && ix.id != 0 && !ix.hash
	}
	if chance(r, 2) {
		p.nullable = !p.nullable
	}
	if (kind == "any" || kind == "array" || kind == "map") && !ix.hash && chance(r, 35) {
		p.path = pick(r, mapPaths)
		if kind == "array" || kind == "any" && chance(r, 30) {
			p.path = pick(r, arrayPaths)
		}
		p.nullable = slices.Contains(nullablePaths, p.path)
	}
	p.kind = kind
	if chance(r, 8) {
		p.kind = pick(r, []string{"scalar", "number", "integer"}) // wider than the field, perhaps
	}
	if kind == "any" || kind == "array" || kind == "map" || chance(r, 4) {
		p.kind = pick(r, partKinds)
	}
	if ix.hash && !slices.Contains(hashKinds, p.kind) {
		p.kind = pick(r, hashKinds)
	}
	if isFar(s.id) && p.kind == "decimal" {
		p.kind = "double"
	}
	if p.kind == "double" && strings.Contains(p.path, "[") { // 2.6 computes a float of four bytes there, which does not fit
		p.kind = "number"
	}
	if p.kind == "string" && chance(r, 25) || p.kind == "scalar" && chance(r, 10) || chance(r, 1) {
		p.collation = 1 + r.IntN(3)
	}
	if isWild(s.id) && !slices.Contains(tameKinds, p.kind) {
		p.kind = pick(r, tameKinds)
	}
	return p
}

// indexRow encodes a row of _index, now and then a wrong one.
func (g *generator) indexRow(s *space, ix *index) []byte {
	r := g.rand
	n := 6
	if chance(r, 2) {
		n = r.IntN(8)
	}
	kind := pick(r, []string{"tree", "TREE"})
	if ix.hash {
		kind = pick(r, []string{"hash", "HASH"})
	}
	opts := packJSON(fmt.Sprintf(`{"unique":%v}`, ix.unique))
	if ix.unique && chance(r, 5) {
		opts = packJSON("{}")
	}
	fields := [][]byte{
		msgpack.AppendUint(nil, uint64(s.id)), msgpack.AppendUint(nil, uint64(ix.id)), msgpack.AppendStr(nil, ix.name), msgpack.AppendStr(nil, kind), opts,
		g.partsRow(s.id, ix.parts), msgpack.AppendNil(nil), msgpack.AppendNil(nil),
	}
	if chance(r, 1) && !ix.nullable() { // 2.6 reads beyond its list of types for the text about nullable parts
		fields[3] = msgpack.AppendStr(nil, pick(r, []string{"", "nope", "Tree"}))
	}
	if chance(r, 3) {
		fields[4] = packJSON(pick(r, []string{`{"unique":1}`, `{"nope":1}`, `{"unique":"true"}`, `[]`, `{"unique":true,"sql":1}`, `{"dimension":2,"unique":true}`,
			`{"lsn":5,"unique":true}`, `{"distance":"x"}`, `{"bloom_fpr":2}`, `{"page_size":"a"}`, `{"range_size":1,"unique":true}`, `{"run_size_ratio":0.5}`}))
	}
	if at := 2 + r.IntN(3); chance(r, 2) && (at != 3 || !ix.nullable()) { // of no parts at all 2.6 reads one, and of ids 32 bits
		fields[at] = g.appendAny(nil)
	}
	b := msgpack.AppendArrayHeader(nil, n)
	for _, f := range fields[:n] {
		b = append(b, f...)
	}
	return b
}

func (g *generator) partsRow(s uint32, parts []part) []byte {
	r := g.rand
	plain := chance(r, 50)
	for _, p := range parts {
		plain = plain && !p.nullable && p.path == "" && p.collation == 0
	}
	b := msgpack.AppendArrayHeader(nil, len(parts))
	for _, p := range parts {
		switch {
		case chance(r, 1) && !isWild(s):
			b = append(b, packJSON(pick(r, badParts))...)
		case plain:
			b = msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendArrayHeader(b, 2), uint64(p.field)), p.kind)
		default:
			b = p.encode(b)
		}
	}
	return b
}

// encode appends the part as a map.
func (p *part) encode(b []byte) []byte {
	n := 2
	for _, set := range []bool{p.nullable, p.path != "", p.collation != 0} {
		if set {
			n++
		}
	}
	b = msgpack.AppendMapHeader(b, n)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "field"), uint64(p.field))
	b = msgpack.AppendStr(msgpack.AppendStr(b, "type"), p.kind)
	if p.nullable {
		b = msgpack.AppendBool(msgpack.AppendStr(b, "is_nullable"), true)
	}
	if p.path != "" {
		b = msgpack.AppendStr(msgpack.AppendStr(b, "path"), p.path)
	}
	if p.collation != 0 {
		b = msgpack.AppendUint(msgpack.AppendStr(b, "collation"), uint64(p.collation))
	}
	return b
}

var badParts = []string{`[]`, `[0]`, `["0","unsigned"]`, `[0,1]`, `[0,"nope"]`, `[-1,"unsigned"]`, `{}`, `{"field":0}`, `{"field":"0","type":"unsigned"}`, `{"type":"unsigned"}`,
	`{"field":0,"type":"nope"}`, `{"field":0,"type":"unsigned","nope":1}`, `{"field":0,"type":"unsigned","is_nullable":1}`, `{"field":0,"type":"unsigned","collation":2}`,
	`{"field":0,"type":"string","collation":999}`, `{"field":0,"type":"string","collation":"x"}`, `{"field":40000,"type":"unsigned"}`, `[40000,"unsigned"]`, `[0,"uint"]`,
	`[0,"STR"]`, `[0,"array"]`, `[0,"any"]`, `[0,"map"]`, `{"field":1,"type":"string","is_nullable":true,"nullable_action":"none"}`,
	`{"field":1,"type":"string","nullable_action":"abort"}`, `{"field":1,"type":"string","nullable_action":"ignore"}`, `{"field":1,"type":"string","sort_order":"asc"}`,
	`{"field":1,"type":"string","sort_order":"nope"}`, `{"field":1,"type":"string","sort_order":1}`, `{"field":4294967296,"type":"string"}`, `1`, `null`,
	`{"field":0,"type":"string","path":1}`,
	`{"field":1,"type":"string","path":"["}`, `{"field":1,"type":"string","path":""}`, `{"field":1,"type":"string","path":"a..b"}`, `{"field":1,"type":"string","path":"[0]"}`}

// ddl makes a change of the dictionary about an existing space.
func (g *generator) ddl(s *space) []request {
	r := g.rand
	key := packKey(uint64(s.id))
	switch r.IntN(16) {
	case 0, 1, 2:
		id := uint32(r.IntN(5))
		if ix := s.index(id); ix != nil && chance(r, 70) {
			id = uint32(len(s.indexes))
		}
		if chance(r, 4) {
			id = pick(r, []uint32{63, 126, 127, 128, 129, 1 << 31})
		}
		ix := g.indexDef(s, id)
		return []request{insertInto(spaceIndex, s.id, g.indexRow(s, &ix))}
	case 3, 4, 5, 6:
		return g.changeIndex(s)
	case 7, 8:
		return []request{g.alterSpace(s)}
	case 9:
		ops := pick(r, []string{`[["=",2,"zeta"]]`, `[["=",2,"alpha"]]`, `[["=",4,3]]`, `[["=",4,0]]`, `[["=",6,[]]]`, `[["=",3,"nope"]]`, `[["=",1,1]]`, `[["=",0,600]]`,
			`[["=",5,{"temporary":true}]]`, `[["=",5,{}]]`, `[["=",5,{"group_id":1}]]`, `[["=",5,{"group_id":1,"temporary":true}]]`,
			`[["=",5,{"is_sync":true}],["=",3,"nope"]]`, `[["=",3,"vinyl"],["=",5,{"group_id":1}]]`, `[["=",2,"\u2028"]]`, `[["=",1,77]]`, `[["=","name","zeta"]]`, `[["#",6,1]]`, `[["=","format",[{"name":"f1"}]]]`, `[["=",2,""]]`})
		return []request{updateOf(spaceSpace, s.id, key, packJSON(ops))}
	case 10, 11, 12:
		return g.truncate(s)
	case 13:
		return []request{deleteFrom(spaceSpace, s.id, 0, key)}
	case 14:
		return g.dropSpace(s)
	}
	other := uint32(firstID + r.IntN(lastID-firstID+1))
	return g.createSpace(other)
}

func packKey(parts ...uint64) []byte {
	b := msgpack.AppendArrayHeader(nil, len(parts))
	for _, p := range parts {
		b = msgpack.AppendUint(b, p)
	}
	return b
}

// changeIndex drops or alters an index. With nullable parts in another one it does not: 2.6 keeps comparing by what it
// knew of the length of tuples before, and ends itself.
func (g *generator) changeIndex(s *space) []request {
	for _, ix := range s.indexes {
		if ix.nullable() {
			return g.dropSpace(s)
		}
	}
	if chance(g.rand, 50) {
		return g.dropIndex(s)
	}
	id := uint32(g.rand.IntN(4))
	if old := s.index(id); old != nil && old.hash { // an empty hash goes on with its old parts
		return []request{updateOf(spaceIndex, s.id, packKey(uint64(s.id), uint64(id)), packJSON(`[["=",2,"renamed"]]`))}
	}
	if chance(g.rand, 50) {
		ix := g.indexDef(s, id)
		return []request{rowRequest(iproto.TypeReplace, spaceIndex, s.id, g.indexRow(s, &ix))}
	}
	return g.updateIndex(s, id)
}

func (g *generator) dropIndex(s *space) []request {
	r := g.rand
	id := uint64(r.IntN(5))
	if len(s.indexes) > 0 && chance(r, 80) {
		id = uint64(s.indexes[len(s.indexes)-1].id)
	}
	if chance(r, 20) {
		name := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(s.id))
		return []request{deleteFrom(spaceIndex, s.id, 2, msgpack.AppendStr(name, fmt.Sprintf("i%d", id)))}
	}
	return []request{deleteFrom(spaceIndex, s.id, 0, packKey(uint64(s.id), id))}
}

func (g *generator) updateIndex(s *space, id uint32) []request {
	r := g.rand
	ops := pick(r, []string{`[["=",2,"renamed"]]`, `[["=",2,"i0"]]`, `[["=",4,{"unique":true}]]`, `[["=",4,{"unique":false}]]`, `[["=",3,"tree"]]`, `[["=",1,3]]`,
		`[["=",5,[[0,"unsigned"]]]]`, `[["=",5,[[1,"string"]]]]`, `[["=",5,[[0,"scalar"]]]]`, `[["=",0,513]]`, `[["#",5,1]]`,
		`[["=",5,[{"field":1,"type":"string","is_nullable":true}]]]`})
	if isWild(s.id) {
		ops = `[["=",2,"renamed"]]`
	}
	return []request{updateOf(spaceIndex, s.id, packKey(uint64(s.id), uint64(id)), packJSON(ops))}
}

// alterSpace replaces the row of a space: another name, format or field count.
func (g *generator) alterSpace(s *space) request {
	r := g.rand
	n := *s
	n.fields = append([]field(nil), s.fields...)
	switch r.IntN(6) {
	case 0:
		n.name = pick(r, []string{"alpha", "beta", "renamed"})
	case 1:
		n.fields = g.format(s.id)
	case 2:
		n.fieldCount = r.IntN(8)
	case 3:
		if len(n.fields) > 0 {
			i := r.IntN(len(n.fields))
			n.fields[i].nullable = !n.fields[i].nullable
		}
	case 4:
		if len(n.fields) > 0 {
			n.fields[r.IntN(len(n.fields))].kind = pick(r, fieldKinds)
		}
	case 5:
		n.fields = append(n.fields, field{name: fmt.Sprintf("f%d", len(n.fields)+1), kind: pick(r, fieldKinds), nullable: chance(r, 70)})
	}
	return rowRequest(iproto.TypeReplace, spaceSpace, s.id, g.spaceRow(&n))
}

// truncate makes what clients send to empty a space, or something near it. An INSERT into _truncate is not made: in 2.6 it
// does nothing to the space, while our log has only rows and no requests, so that it truncates like any other change.
func (g *generator) truncate(s *space) []request {
	r := g.rand
	row := packKey(uint64(s.id), 1)
	switch r.IntN(8) {
	case 1:
		return []request{deleteFrom(spaceTruncate, s.id, 0, packKey(uint64(s.id)))}
	case 2:
		return []request{rowRequest(iproto.TypeReplace, spaceTruncate, s.id, row)}
	}
	var m bodyOf
	m.uint(iproto.KeySpaceID, spaceTruncate)
	m.add(iproto.KeyTuple, row)
	m.add(iproto.KeyOps, packJSON(`[["+",1,1]]`))
	return []request{{kind: iproto.TypeUpsert, space: s.id, body: m.bytes()}}
}

// dropSpace removes a space with all that belongs to it, the way clients do.
func (g *generator) dropSpace(s *space) []request {
	ids := make([]uint32, 0, len(s.indexes))
	for _, ix := range s.indexes {
		ids = append(ids, ix.id)
	}
	return dropAll(s.id, ids)
}

func dropAll(id uint32, indexes []uint32) []request {
	var batch []request
	for i := len(indexes) - 1; i >= 0; i-- {
		batch = append(batch, deleteFrom(spaceIndex, id, 0, packKey(uint64(id), uint64(indexes[i]))))
	}
	batch = append([]request{deleteFrom(spaceSpaceSequence, id, 0, packKey(uint64(id)))}, batch...)
	return append(batch, deleteFrom(spaceTruncate, id, 0, packKey(uint64(id))), deleteFrom(spaceSpace, id, 0, packKey(uint64(id))))
}
