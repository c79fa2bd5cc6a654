package differential

import (
	"fmt"
	"math/rand/v2"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// generator makes requests. What it makes depends on its seed and on the reference's answers alone.
type generator struct {
	rand   *rand.Rand
	spaces map[uint32]*space
	// wild allows, in the value that is being made, what 2.6 keeps well but cannot order: NaN, and integers in a longer
	// encoding than they need.
	wild bool
	// far allows floats that are not among the decimals, and no decimals: next to a decimal 2.6 takes such a float for zero or
	// for whatever memory held.
	far bool
	// paths are the JSON paths of the operations that are being made.
	paths []target
	// alone tells that the operation that is being made has no others beside it, upsert that it is one of an UPSERT.
	alone, upsert bool
	// taking tells that the statement that is being made asks for the next value of a sequence.
	taking bool
	// ddlPercent is how often a batch changes the dictionary.
	ddlPercent int
}

func newGenerator(seed, epoch uint64) *generator {
	r := rand.New(rand.NewPCG(seed, epoch))
	return &generator{rand: r, spaces: map[uint32]*space{}, ddlPercent: pick(r, []int{1, 4, 25})}
}

// isWild tells whether the values of a space may be wild: such a one has no index over numbers.
func isWild(id uint32) bool { return id == lastID }

// isFar tells whether a space may hold floats of any size, but no decimals.
func isFar(id uint32) bool { return id == lastID-1 }

// about sets what values may be made for a space.
func (g *generator) about(s *space) { g.wild, g.far = isWild(s.id), isFar(s.id) }

// anySpace picks an existing space, mostly one that can hold rows; nil if there is none.
func (g *generator) anySpace() *space {
	var all, usable []*space
	for id := uint32(firstID); id <= lastID; id++ {
		if s := g.spaces[id]; s != nil {
			all = append(all, s)
			if len(s.indexes) > 0 {
				usable = append(usable, s)
			}
		}
	}
	switch {
	case len(all) == 0:
		return nil
	case len(usable) > 0 && chance(g.rand, 97):
		return pick(g.rand, usable)
	}
	return pick(g.rand, all)
}

// bodyOf builds a body map from pairs of a key and an encoded value.
type bodyOf struct {
	n int
	b []byte
}

func (m *bodyOf) add(k iproto.Key, value []byte) {
	m.n++
	m.b = append(append(m.b, byte(k)), value...)
}

func (m *bodyOf) uint(k iproto.Key, v uint64) { m.add(k, msgpack.AppendUint(nil, v)) }

func (m *bodyOf) bytes() []byte { return append(msgpack.AppendMapHeader(nil, m.n), m.b...) }

// write makes a statement on a space.
func (g *generator) write(s *space) request {
	g.about(s)
	r := g.rand
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(g.spaceID(s)))
	req := request{space: s.id}
	switch n := r.IntN(100); {
	case n < 26:
		req.kind = iproto.TypeInsert
		m.add(iproto.KeyTuple, g.tuple(s))
	case n < 44:
		req.kind = iproto.TypeReplace
		m.add(iproto.KeyTuple, g.tuple(s))
	case n < 72:
		req.kind = iproto.TypeUpdate
		g.byKey(s, &m)
		base := g.base(&m)
		m.add(iproto.KeyTuple, g.ops(s, base, false))
	case n < 88:
		req.kind = iproto.TypeUpsert
		base := g.base(&m)
		m.add(iproto.KeyTuple, g.tuple(s))
		m.add(iproto.KeyOps, g.ops(s, base, true))
	default:
		req.kind = iproto.TypeDelete
		g.byKey(s, &m)
	}
	req.body = g.spoil(m.bytes())
	return req
}

func (g *generator) spaceID(s *space) uint32 {
	if chance(g.rand, 1) {
		return uint32(firstID + g.rand.IntN(lastID-firstID+3))
	}
	return s.id
}

// base adds the index base, mostly 0 or 1.
func (g *generator) base(m *bodyOf) int {
	switch n := g.rand.IntN(100); {
	case n < 40:
		return 0
	case n < 60:
		m.uint(iproto.KeyIndexBase, 0)
		return 0
	case n < 99:
		m.uint(iproto.KeyIndexBase, 1)
		return 1
	}
	m.uint(iproto.KeyIndexBase, 3)
	return 3
}

// byKey adds an index and a key that mostly is a full key of a unique one.
func (g *generator) byKey(s *space, m *bodyOf) {
	r := g.rand
	var ix *index
	if len(s.indexes) > 0 && !chance(r, 2) {
		ix = &s.indexes[0]
		if chance(r, 35) {
			ix = &s.indexes[r.IntN(len(s.indexes))]
		}
	}
	if ix == nil {
		ix = &index{id: uint32(r.IntN(6)), parts: []part{{kind: "unsigned"}}}
	}
	if ix.id != 0 || chance(r, 50) {
		m.uint(iproto.KeyIndexID, uint64(ix.id))
	}
	n := len(ix.parts)
	if chance(r, 3) {
		n = r.IntN(len(ix.parts) + 2)
	}
	m.add(iproto.KeyKey, g.key(s, ix, n, 85))
}

// key makes a key of n parts, in so many percent of the cases of a tuple that was seen.
func (g *generator) key(s *space, ix *index, n, seenPercent int) []byte {
	r := g.rand
	b := msgpack.AppendArrayHeader(nil, n)
	var from []byte
	if len(s.recent) > 0 && chance(r, seenPercent) {
		from = pick(r, s.recent)
	}
	for i := range n {
		p := part{kind: "unsigned"}
		if i < len(ix.parts) {
			p = ix.parts[i]
		}
		switch {
		case from != nil && p.path == "" && !chance(r, 5):
			v := tuple.FieldAt(from, p.field)
			if v == nil {
				v = []byte{0xc0}
			}
			b = append(b, v...)
		case chance(r, 2):
			b = g.appendAny(b)
		case p.nullable && chance(r, 25) || chance(r, 1):
			b = msgpack.AppendNil(b)
		default:
			b = g.appendOf(b, p.kind)
		}
	}
	return b
}

// tuple makes a tuple that mostly fits the space.
func (g *generator) tuple(s *space) []byte {
	r := g.rand
	n := s.width()
	var from []byte
	if len(s.recent) > 0 && chance(r, 25) {
		from = pick(r, s.recent)
	}
	switch c := r.IntN(100); {
	case s.fieldCount != 0 && c < 96:
		n = min(s.fieldCount, widthMax)
	case c < 65:
	case c < 85:
		n += r.IntN(4)
	case c < 97:
		for n > 0 {
			if _, nullable := s.kindAt(n - 1); !nullable || chance(r, 30) {
				break
			}
			n--
		}
	case c < 99:
		n = r.IntN(n + 1)
	default:
		return msgpack.AppendMapHeader(nil, 0)
	}
	b := msgpack.AppendArrayHeader(nil, n)
	for i := range n {
		if s.sequence && i == s.auto {
			b = g.sequenceValue(b)
			continue
		}
		if v := fieldOf(from, i); v != nil && !chance(r, 30) {
			b = append(b, v...)
			continue
		}
		b = g.fieldValue(b, s, i)
	}
	return b
}

func fieldOf(tup []byte, i int) []byte {
	if tup == nil {
		return nil
	}
	return tuple.FieldAt(tup, i)
}

// fieldValue appends a value for field i.
func (g *generator) fieldValue(b []byte, s *space, i int) []byte {
	kind, nullable := s.kindAt(i)
	if parts := s.within(i); len(parts) > 0 && !chance(g.rand, 8) {
		return g.appendAround(b, kind, parts)
	}
	switch {
	case chance(g.rand, 2):
		return g.appendAny(b)
	case nullable && chance(g.rand, 20), chance(g.rand, 1):
		return msgpack.AppendNil(b)
	}
	return g.appendOf(b, kind)
}

// read makes a SELECT.
func (g *generator) read(s *space) request {
	r := g.rand
	var m bodyOf
	if other := g.spaces[g.spaceID(s)]; other != nil {
		s = other
	}
	req := request{kind: iproto.TypeSelect, space: s.id}
	g.about(s)
	m.uint(iproto.KeySpaceID, uint64(s.id))
	ix := &index{id: uint32(r.IntN(6)), parts: []part{{kind: "unsigned"}}}
	if len(s.indexes) > 0 && !chance(r, 3) {
		ix = &s.indexes[r.IntN(len(s.indexes))]
	}
	if ix.id != 0 || chance(r, 70) {
		m.uint(iproto.KeyIndexID, uint64(ix.id))
	}
	iterator := g.iterator(ix)
	if iterator != 0 || chance(r, 70) {
		m.uint(iproto.KeyIterator, uint64(iterator))
	}
	limit := uint64(1<<32 - 1)
	if chance(r, 40) {
		limit = pick(r, []uint64{0, 1, 2, 3, 5, 10, 100, 1 << 31, 1 << 32, 1<<64 - 1})
	}
	offset := uint64(0)
	if chance(r, 20) {
		offset = pick(r, []uint64{1, 2, 3, 10, 1 << 31, 1<<32 - 1})
	}
	m.uint(iproto.KeyLimit, limit)
	if offset != 0 || chance(r, 50) {
		m.uint(iproto.KeyOffset, offset)
	}
	parts := r.IntN(len(ix.parts) + 1)
	if chance(r, 50) || ix.hash && iterator == iproto.IterEQ && !chance(r, 5) {
		parts = len(ix.parts)
	}
	if chance(r, 2) {
		parts = len(ix.parts) + 1 + r.IntN(2)
	}
	m.add(iproto.KeyKey, g.key(s, ix, parts, 60))
	req.body = g.spoil(m.bytes())
	g.relax(&req)
	if req.countOnly && parts > 0 {
		return g.read(s) // where the walk of a hash goes on behind a key is nobody's business
	}
	return req
}

// relax says what of a result is no part of the contract: the order in which a hash is walked.
func (g *generator) relax(req *request) {
	get := func(k iproto.Key) uint32 {
		v, _, err := msgpack.ReadUint(req.field(k))
		if err != nil {
			return 0
		}
		return uint32(min(v, 1<<32-1))
	}
	s := g.spaces[get(iproto.KeySpaceID)]
	if s == nil || get(iproto.KeyIterator) == iproto.IterEQ {
		return
	}
	if ix := s.index(get(iproto.KeyIndexID)); ix != nil && ix.hash {
		req.unordered = true
		req.countOnly = get(iproto.KeyLimit) < 1<<31 || get(iproto.KeyOffset) != 0 || get(iproto.KeyIterator) == iproto.IterGT
	}
}

func (g *generator) iterator(ix *index) uint32 {
	r := g.rand
	switch {
	case chance(r, 2):
		return pick(r, []uint32{7, 8, 9, 10, 11, 12, 13, 20, 100, 1 << 31})
	case ix.hash && !chance(r, 10):
		return pick(r, []uint32{iproto.IterEQ, iproto.IterEQ, iproto.IterALL, iproto.IterGT})
	}
	return uint32(r.IntN(7))
}

// spoil damages a body now and then: a field is left out, comes twice, has another type, or the bytes are broken.
func (g *generator) spoil(body []byte) []byte {
	r := g.rand
	if !chance(r, 2) {
		return body
	}
	n, b, err := msgpack.ReadMapLen(body)
	if err != nil {
		panic(fmt.Sprintf("own body %x: %v", body, err))
	}
	var pairs [][]byte
	for rest := b; len(rest) > 0; {
		size := 1 + msgpack.SizeTrusted(rest[1:])
		pairs = append(pairs, rest[:size])
		rest = rest[size:]
	}
	i := r.IntN(n)
	switch r.IntN(10) {
	case 0, 1, 2: // missing
		pairs = append(pairs[:i:i], pairs[i+1:]...)
	case 3: // twice
		pairs = append(pairs[:len(pairs):len(pairs)], pairs[i])
	case 4: // another type; of ids with more than 32 bits 2.6 takes the low ones, and we none
		pairs[i] = append([]byte{pairs[i][0]}, packJSON(pick(r, []string{"null", "true", "-1", "1.5", `"a"`, "[]", "[1]", "{}", "99"}))...)
	case 5: // something unknown
		pairs = append(pairs, append([]byte{byte(0x70 + r.IntN(8))}, packJSON(`{"a":[1]}`)...))
	case 6: // bytes missing
		return body[:1+r.IntN(len(body)-1)]
	case 7: // in another order
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	case 8: // no body, or something else
		return pick(r, [][]byte{nil, {0x80}, {0x90}, {0xc0}, {0x01}, append(body, 0xc0), append(body, body...)})
	case 9: // a key that is no number
		pairs = append(pairs, packJSON(`["a",1]`)[1:])
	}
	out := msgpack.AppendMapHeader(nil, len(pairs))
	for _, p := range pairs {
		out = append(out, p...)
	}
	return out
}
