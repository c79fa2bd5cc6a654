package box

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Page makes a SELECT one page of many: it says behind what the result begins, and gets where it ended.
//
// A position is the base64 text (URL alphabet, no padding, as Tarantool 2.11 writes it) of a MessagePack array with the
// key of a tuple: the parts of the index, then those of the primary index that are not among them. It stays good when
// the tuple is gone.
type Page struct {
	// After is a position; nil or empty begins where the key says. AfterTuple, used if After is nil, is a whole tuple.
	After      []byte
	AfterTuple []byte
	// Fetch asks for Position.
	Fetch bool
	// Position is that of the last tuple of the result, nil if there was none. It is set by Finish.
	Position []byte
	// plan is that of the query, once it was checked.
	plan plan
}

// positionEncoding is how positions are shown to clients.
var positionEncoding = base64.RawURLEncoding

var errPosition = errcode.New(errcode.IteratorPosition)

// begin makes the plan one of a page, which may begin behind a position. It comes last: of the iterators that mean the
// same one is left. pg may be nil.
func (p *plan) begin(pg *Page) error {
	if pg == nil {
		return nil
	}
	if p.index.Type == typeHash {
		return errcode.New(errcode.UnsupportedIndexFeature, p.index.Name, p.index.Type, p.space.Name, p.space.Engine, "pagination")
	}
	p.positions = p.index.cmp
	if pk := p.space.primary(); pk != nil && pk != p.index && p.index.cmp == p.index.Def {
		p.positions = p.index.Def.Merge(pk.Def) // a unique index orders by its own parts alone
	}
	var at []byte
	var err error
	switch {
	case len(pg.After) > 0:
		at, err = readPosition(pg.After, p.positions)
	case pg.After == nil && pg.AfterTuple != nil:
		at, err = positionOfTuple(pg.AfterTuple, p.positions)
	}
	if err == nil && at != nil {
		err = p.beginBehind(at)
	}
	pg.plan = *p
	return err
}

// beginBehind makes the plan begin behind a position, which the iterator, on its way from the plan's key, must meet.
func (p *plan) beginBehind(at []byte) error {
	if p.parts > 0 {
		// A position is a tuple of the index's parts.
		parts := p.index.Def.Parts()
		for i := range parts {
			parts[i].Field, parts[i].Path = uint32(i), ""
		}
		flat, err := tuple.NewKeyDef(parts)
		if err != nil {
			return err
		}
		if !p.fits(flat.CompareKey(at, p.key, p.parts)) {
			return errPosition
		}
	}
	_, key, err := msgpack.ReadArrayLen(at)
	if err != nil {
		return errPosition
	}
	if p.iterator == iterEQ || p.iterator == iterREQ {
		p.within, p.withinParts = p.key, p.parts
	}
	if p.reverse() {
		p.iterator = iterLT
	} else {
		p.iterator = iterGT
	}
	p.key, p.parts = key, p.index.cmp.PartCount()
	return nil
}

// beyond tells whether a tuple that iterator and key select is not part of the page, nor any that comes after it.
func (p *plan) beyond(tup []byte) bool {
	return p.within != nil && p.index.cmp.CompareKey(tup, p.within, p.withinParts) != 0
}

// Finish completes the page after a Select without error: rows are the n tuples that it gave. It returns those that belong
// to the page and sets Position if it was asked for.
func (pg *Page) Finish(rows []byte, n int) ([]byte, int) {
	var last []byte
	end := 0
	for i := range n {
		tup := rows[end : end+msgpack.SizeTrusted(rows[end:])]
		if pg.plan.beyond(tup) {
			n = i
			break
		}
		last = tup
		end += len(tup)
	}
	if pg.Fetch && last != nil {
		at := appendPosition(nil, last, pg.plan.positions)
		pg.Position = positionEncoding.AppendEncode(make([]byte, 0, positionEncoding.EncodedLen(len(at))), at)
	}
	return rows[:end], n
}

// readPosition returns the array of a position; it must have been made for an index with these parts.
func readPosition(text []byte, def *tuple.KeyDef) ([]byte, error) {
	at := make([]byte, positionEncoding.DecodedLen(len(text)))
	n, err := positionEncoding.Decode(at, text)
	if err != nil || msgpack.Check(at[:n]) != nil {
		return nil, errPosition
	}
	parts, key, err := msgpack.ReadArrayLen(at[:n])
	if err != nil || parts != def.PartCount() || def.ValidateKey(key, parts) != nil {
		return nil, errPosition
	}
	return at[:n], nil
}

// positionOfTuple returns the array of the position of a foreign tuple, which need not be in the space.
func positionOfTuple(tup []byte, def *tuple.KeyDef) ([]byte, error) {
	n := tuple.FieldCount(tup)
	for _, part := range def.Parts() {
		if int(part.Field) >= n && !part.Nullable {
			return nil, errcode.New(errcode.FieldMissing, strconv.Itoa(int(part.Field)+1))
		}
	}
	at := appendPosition(nil, tup, def)
	_, key, err := msgpack.ReadArrayLen(at)
	if err != nil {
		return nil, errPosition
	}
	return at, def.ValidateKey(key, def.PartCount())
}

// fits tells whether an entry that compares with the plan's key as c says belongs to the result.
func (p *plan) fits(c int) bool {
	switch p.iterator {
	case iterEQ, iterREQ:
		return c == 0
	case iterLT:
		return c < 0
	case iterLE:
		return c <= 0
	case iterGT:
		return c > 0
	default:
		return c >= 0
	}
}

// appendPosition appends the array of a tuple's position.
func appendPosition(dst, tup []byte, def *tuple.KeyDef) []byte {
	return def.ExtractKey(msgpack.AppendArrayHeader(dst, def.PartCount()), tup)
}

// Names finds spaces and indexes by name. The zero value is ready; any goroutine may use it.
type Names struct{ table atomic.Pointer[nameTable] }

type nameTable struct {
	schema *Schema
	spaces map[string]*Space
}

// Space returns the id of the space that has the name in the schema; error 36 if there is none.
func (n *Names) Space(s *Schema, name []byte) (uint32, error) {
	t := n.table.Load()
	if t == nil || t.schema != s {
		t = &nameTable{schema: s, spaces: make(map[string]*Space, len(s.byID))}
		for _, sp := range s.byID {
			t.spaces[sp.Name] = sp
		}
		n.table.Store(t)
	}
	if sp := t.spaces[string(name)]; sp != nil {
		return sp.ID, nil
	}
	return 0, errcode.New(errcode.NoSuchSpace, shown(name))
}

// Index returns the id of the index that has the name in a space of the schema: error 36 if there is no such space, 148
// if there is no such index.
func (n *Names) Index(s *Schema, space uint32, name []byte) (uint32, error) {
	sp := s.Space(space)
	if sp == nil {
		return 0, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(space), 10))
	}
	for _, ix := range sp.Indexes {
		if ix.Name == string(name) {
			return ix.ID, nil
		}
	}
	return 0, errcode.New(errcode.NoSuchIndexName, shown(name), sp.Name)
}

// shownBytesMax is how much of a name that nothing has is repeated in errors.
const shownBytesMax = 512

func shown(name []byte) string {
	return string(bytes.ToValidUTF8(name[:min(len(name), shownBytesMax)], []byte("?")))
}
