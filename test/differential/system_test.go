package differential

import (
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	spaceSchema     = 272
	spaceCollation  = 276
	spaceVCollation = 277
	spaceVSpace     = 281
	spaceVIndex     = 289
)

// schemaKeys are those of the rows of _schema that the test makes.
var schemaKeys = []string{"zz1", "zz2", "zz3"}

// system makes a request on a system space.
func (g *generator) system(s *space) request {
	r := g.rand
	switch r.IntN(12) {
	case 0, 1, 2:
		return g.schemaWrite()
	case 3, 4:
		return g.collationRead()
	case 5: // views take no writes
		view := pick(r, []uint32{spaceVSpace, spaceVIndex, spaceVCollation})
		row := pick(r, [][]byte{packKey(), packKey(600), g.spaceRow(s)})
		if chance(r, 30) {
			return deleteFrom(view, 0, r.IntN(4), packKey(uint64(s.id)))
		}
		return rowRequest(pick(r, []iproto.Type{iproto.TypeInsert, iproto.TypeReplace}), view, 0, row)
	case 6, 7: // by name
		name := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), s.name)
		return g.dictionaryRead(pick(r, []uint32{spaceSpace, spaceVSpace}), 2, iproto.IterEQ, name)
	case 8:
		name := msgpack.AppendStr(packKey(uint64(s.id), 0)[:len(packKey(uint64(s.id), 0))-1], pick(r, []string{"i0", "i1", "renamed", "nope"}))
		return g.dictionaryRead(pick(r, []uint32{spaceIndex, spaceVIndex}), 2, iproto.IterEQ, name)
	}
	return g.dictionaryRead(pick(r, []uint32{spaceSpace, spaceVSpace, spaceIndex, spaceVIndex}), 0, pick(r, []uint32{iproto.IterEQ, iproto.IterREQ, iproto.IterGE, iproto.IterGT}),
		packKey(uint64(firstID+r.IntN(lastID-firstID+1))))
}

// dictionaryRead reads a few rows.
func (g *generator) dictionaryRead(system uint32, index, iterator uint32, key []byte) request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(system))
	m.uint(iproto.KeyIndexID, uint64(index))
	m.uint(iproto.KeyIterator, uint64(iterator))
	m.uint(iproto.KeyLimit, pick(g.rand, []uint64{0, 1, 3, 1<<32 - 1}))
	m.uint(iproto.KeyOffset, pick(g.rand, []uint64{0, 0, 1}))
	m.add(iproto.KeyKey, key)
	return request{kind: iproto.TypeSelect, body: m.bytes()}
}

// collationRead reads rows of _collation or of its view, which are the same on both sides.
func (g *generator) collationRead() request {
	r := g.rand
	system := pick(r, []uint32{spaceCollation, spaceVCollation})
	if chance(r, 50) {
		key := packKey()
		if chance(r, 80) {
			key = packKey(uint64(r.IntN(300)))
		}
		return g.dictionaryRead(system, 0, uint32(r.IntN(7)), key)
	}
	name := pick(r, []string{"unicode", "binary", "none", "unicode_ci", "unicode_de__phonebook_s3", "u", "", "nope"})
	return g.dictionaryRead(system, 1, uint32(r.IntN(7)), msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), name))
}

// schemaWrite writes a row of _schema, which clients may use for their own notes.
func (g *generator) schemaWrite() request {
	r := g.rand
	key := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), pick(r, schemaKeys))
	n := r.IntN(4)
	row := append(msgpack.AppendArrayHeader(nil, n+1), key[1:]...)
	for range n {
		row = g.appendAny(row)
	}
	if chance(r, 5) {
		row = packJSON(pick(r, []string{`[]`, `[1]`, `[null]`, `[true,"x"]`, `[["zz1"]]`}))
	}
	switch r.IntN(6) {
	case 0, 1:
		return rowRequest(iproto.TypeInsert, spaceSchema, 0, row)
	case 2:
		return rowRequest(iproto.TypeReplace, spaceSchema, 0, row)
	case 3:
		return deleteFrom(spaceSchema, 0, 0, key)
	case 4:
		return updateOf(spaceSchema, 0, key, packJSON(pick(r, []string{`[["=",1,5]]`, `[["+",1,1]]`, `[["=",0,"zz2"]]`, `[["!",1,"x"]]`, `[["#",1,1]]`, `[["=","key","zz1"]]`, `[["=","value",7]]`})))
	}
	var m bodyOf
	m.uint(iproto.KeySpaceID, spaceSchema)
	m.add(iproto.KeyTuple, row)
	m.add(iproto.KeyOps, packJSON(pick(r, []string{`[["=",1,5]]`, `[["+",1,1]]`, `[]`, `[["=",0,"zz2"]]`})))
	return request{kind: iproto.TypeUpsert, body: m.bytes()}
}

// dropSchemaRows removes what schemaWrite made.
func dropSchemaRows() []request {
	var batch []request
	for _, key := range schemaKeys {
		batch = append(batch, deleteFrom(spaceSchema, 0, 0, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), key)))
	}
	return batch
}
