package box

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// User is on whose behalf a statement runs.
type User struct {
	ID     uint32
	Name   string
	Rights *access.Rights
}

// Query is a SELECT.
type Query struct {
	SpaceID, IndexID uint32
	Iterator         uint32 // the protocol's numbers: 0 EQ, 1 REQ, 2 ALL, 3 LT, 4 LE, 5 GE, 6 GT
	Offset, Limit    uint32
	Key              []byte // a MessagePack array
	User             *User
	// Page makes the query one page of many; nil for one that stands alone.
	Page *Page
}

// ReplyBytesMax bounds the result of one SELECT, in bytes; a larger one is refused with error 12005.
const ReplyBytesMax = 1 << 30

// The protocol's iterator numbers.
const (
	iterEQ = iota
	iterREQ
	iterALL
	iterLT
	iterLE
	iterGE
	iterGT
	iterMax = 12
)

// Reader reads the newest published version, a call at a time. It belongs to one goroutine.
type Reader struct {
	e    *Engine
	slot *memory.Slot
	cur  index.Cursor
	// plan and sink are here so that a request needs no memory of its own.
	plan plan
	sink sink
	// last is the space of the request before, in lastSchema.
	lastSchema *Schema
	last       *Space
}

// NewReader makes a reader; Close it when its goroutine ends.
func (e *Engine) NewReader() *Reader { return &Reader{e: e, slot: e.epochs.Register()} }

// Close gives the reader's place back.
func (r *Reader) Close() { r.e.epochs.Unregister(r.slot) }

// Pin chooses the newest published version for the next Select or Begin, which would choose one by itself, and returns it.
func (r *Reader) Pin() uint64 { return r.slot.Enter() }

// Unpin gives up a version that Pin has chosen and that was not read from.
func (r *Reader) Unpin() { r.slot.Leave() }

// pinned is the version that Pin has chosen, else the newest one, pinned now.
func (r *Reader) pinned() uint64 {
	if version, ok := r.slot.Pinned(); ok {
		return version
	}
	return r.slot.Enter()
}

// Select appends the tuples that the query finds to out, and returns their number.
func (r *Reader) Select(q *Query, out []byte) ([]byte, int, error) {
	version := r.pinned()
	p := &r.plan
	err := p.make(r.space(r.e.schemaAt(version), q.SpaceID), q)
	var n int
	if err == nil {
		out, n, err = r.run(version, p, q, out)
	}
	r.slot.Leave()
	return out, n, err
}

// space finds the space of a request; most requests are for the same space as the one before.
func (r *Reader) space(schema *Schema, id uint32) *Space {
	if r.lastSchema != schema || r.last == nil || r.last.ID != id {
		r.lastSchema, r.last = schema, schema.Space(id)
	}
	return r.last
}

// plan is a query that was checked against the schema.
type plan struct {
	space    *Space
	index    *Index
	iterator uint32
	key      []byte // parts without the array header
	parts    int
	// within, if not nil, is the key that all tuples of the result have, in withinParts parts: what EQ asked for where the
	// result begins behind a position, and iterator and key are that position's.
	within      []byte
	withinParts int
	// positions has the parts of positions, nil unless the query is a page.
	positions *tuple.KeyDef
}

func (p *plan) reverse() bool {
	return p.iterator == iterREQ || p.iterator == iterLT || p.iterator == iterLE
}

// matches tells whether a tuple of a virtual space, or one that a transaction wrote, belongs to the result.
func (p *plan) matches(tup []byte) bool {
	if p.parts == 0 {
		return true
	}
	return !p.beyond(tup) && p.fits(p.index.orderKey(tup, p.key, p.parts))
}

// sink gathers the result of a query.
type sink struct {
	out          []byte
	skip, limit  uint32
	count        int
	visible      func(tuple []byte) bool
	bytesMax     int
	tooManyBytes bool
}

// add takes a tuple and tells whether more are wanted.
func (s *sink) add(tup []byte) bool {
	if s.visible != nil && !s.visible(tup) {
		return true
	}
	if s.skip > 0 {
		s.skip--
		return true
	}
	if len(s.out)+len(tup) > s.bytesMax {
		s.tooManyBytes = true
		return false
	}
	s.out = append(s.out, tup...)
	s.count++
	s.limit--
	return s.limit > 0
}

// run appends the result of a query that was checked.
func (r *Reader) run(version uint64, p *plan, q *Query, out []byte) ([]byte, int, error) {
	e, s := r.e, &r.sink
	if q.Limit == 0 {
		return out, 0, nil
	}
	if q.Offset == 0 && p.exact() {
		st := p.index.state
		out, n := r.one(st.store.Get(st.rootAt(version), p.key, p.parts), out)
		return out, n, nil
	}
	*s = newSink(q, out)
	rows, ix := p.space, p.index
	if p.space.IsView() {
		schema := e.schemaAt(version)
		s.visible = visibility(schema, p.space, q.User)
		rows = schema.Space(p.space.viewOf)
		ix = rows.Index(p.index.ID)
	}
	if rows.virtual != nil {
		p.index = ix
		if err := selectVirtual(p, rows, s); err != nil {
			return out, 0, err
		}
	} else {
		st := ix.state
		st.store.Seek(&r.cur, st.rootAt(version), treeIterator(p), p.key, p.parts)
		r.walk(p, &r.cur)
	}
	return r.result(out)
}

func newSink(q *Query, out []byte) sink {
	return sink{out: out, skip: q.Offset, limit: q.Limit, bytesMax: len(out) + ReplyBytesMax}
}

// walk gives the tuples of a cursor to the sink.
func (r *Reader) walk(p *plan, cur *index.Cursor) {
	for ref, ok := cur.Next(); ok; ref, ok = cur.Next() {
		cur.Prefetch()
		tup := r.e.arena.Tuple(ref)
		if p.beyond(tup) || !r.sink.add(tup) {
			break
		}
	}
}

// result is what the sink has gathered behind out.
func (r *Reader) result(out []byte) ([]byte, int, error) {
	s := &r.sink
	if s.tooManyBytes {
		return out, 0, errcode.New(errcode.TooBig, "a result", len(s.out)-len(out), ReplyBytesMax)
	}
	return s.out, s.count, nil
}

// one appends the tuple of a reference, which may be 0 for none.
func (r *Reader) one(ref memory.Ref, out []byte) ([]byte, int) {
	if ref == 0 {
		return out, 0
	}
	return append(out, r.e.arena.Tuple(ref)...), 1
}

// make checks a query in the order in which Tarantool 2.6 does.
func (p *plan) make(sp *Space, q *Query) error {
	if q.Iterator >= iterMax {
		return errcode.New(errcode.IllegalParams, "Invalid iterator type")
	}
	if sp == nil {
		return errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(q.SpaceID), 10))
	}
	if err := q.User.check(access.Read, sp); err != nil {
		return err
	}
	ix := sp.Index(q.IndexID)
	if ix == nil {
		return errcode.New(errcode.NoSuchIndexID, q.IndexID, sp.Name)
	}
	n, key, err := msgpack.ReadArrayLen(q.Key)
	if err != nil {
		return errcode.New(errcode.InvalidMsgPack, "packet body")
	}
	*p = plan{space: sp, index: ix, iterator: q.Iterator, key: key, parts: n}
	if err := p.checkKey(); err != nil {
		return err
	}
	if q.Iterator > iterGT || ix.Type == typeHash && q.Iterator != iterEQ && q.Iterator != iterALL && q.Iterator != iterGT {
		return errcode.New(errcode.UnsupportedIndexFeature, ix.Name, ix.Type, sp.Name, sp.Engine, "requested iterator type")
	}
	p.normalize()
	return p.begin(q.Page)
}

// exact tells whether the query asks for the one tuple with a full key of a unique index that the engine stores.
func (p *plan) exact() bool {
	return p.iterator == iterEQ && p.positions == nil && p.index.cmp == p.index.Def && p.parts == p.index.Def.PartCount() &&
		p.space.virtual == nil && !p.space.IsView()
}

func (p *plan) checkKey() error {
	parts := p.index.Def.PartCount()
	hash := p.index.Type == typeHash
	switch {
	case p.parts == 0 && (!hash || p.iterator == iterALL || p.iterator == iterGT):
		return nil
	case p.parts > parts:
		return errcode.New(errcode.KeyPartCount, parts, p.parts)
	case hash && p.parts < parts:
		return errcode.New(errcode.PartialKey, typeHash, "", parts, p.parts)
	}
	return p.index.Def.ValidateKey(p.key, p.parts)
}

// normalize turns the forms that mean the same into one: no key is a full scan, and ALL starts at its key like GE, in a
// HASH at the beginning.
func (p *plan) normalize() {
	if p.index.Type == typeHash {
		if p.iterator == iterGT && p.parts == 0 {
			p.iterator = iterALL
		}
		if p.iterator == iterALL {
			p.key, p.parts = nil, 0
		}
		return
	}
	if p.parts == 0 {
		if p.reverse() {
			p.iterator = iterLE
		} else {
			p.iterator = iterGE
		}
	} else if p.iterator == iterALL {
		p.iterator = iterGE
	}
}

func treeIterator(p *plan) index.Iterator {
	return [...]index.Iterator{index.EQ, index.REQ, index.ALL, index.LT, index.LE, index.GE, index.GT}[p.iterator]
}

// check refuses access that the user was not granted; the owner of a space may do everything with it.
func (u *User) check(want access.Priv, sp *Space) error {
	if u == nil || u.ID == sp.Owner || u.Rights.Check(u.ID, want, access.Space, sp.ID) {
		return nil
	}
	return errcode.NewAccessDenied(want.Title(), "space", sp.Name, u.Name)
}

// visibility returns the filter of a system view: which rows its reader may see.
func visibility(schema *Schema, view *Space, u *User) func([]byte) bool {
	if u == nil {
		return nil
	}
	base := schema.Space(view.viewOf)
	if base == nil || u.check(access.Read, base) == nil {
		return nil
	}
	switch view.viewOf {
	case dictionary.SpaceSpace, dictionary.SpaceIndex, dictionary.SpaceTruncate, dictionary.SpaceSpaceSequence:
		return func(tup []byte) bool { return u.seesSpace(schema, firstUint(tup, 0)) }
	case dictionary.SpaceSequence:
		return func(tup []byte) bool { return u.seesSequence(schema, firstUint(tup, 0)) }
	case dictionary.SpaceUser:
		return func(tup []byte) bool {
			return firstUint(tup, 0) == uint64(u.ID) || firstUint(tup, 1) == uint64(u.ID)
		}
	case dictionary.SpacePriv:
		return func(tup []byte) bool {
			return firstUint(tup, 0) == uint64(u.ID) || firstUint(tup, 1) == uint64(u.ID)
		}
	case dictionary.SpaceFunc:
		return func(tup []byte) bool {
			return firstUint(tup, 1) == uint64(u.ID) || u.Rights.Check(u.ID, access.Execute, access.Function, uint32(firstUint(tup, 0)))
		}
	case dictionary.SpaceCollation:
		return nil
	}
	return func([]byte) bool { return false }
}

// seesSpace tells whether the user owns the space or may do anything with it.
func (u *User) seesSpace(schema *Schema, id uint64) bool {
	sp := schema.Space(uint32(id))
	if sp == nil {
		return false
	}
	any := access.Read | access.Write | access.Drop | access.Alter
	return sp.Owner == u.ID || u.Rights.Has(u.ID, access.Space, uint32(id))&any != 0
}

// firstUint reads the unsigned integer in the given field of a dictionary row, or 0.
func firstUint(tup []byte, field int) uint64 {
	_, b, err := msgpack.ReadArrayLen(tup)
	if err != nil {
		return 0
	}
	for range field {
		b = msgpack.SkipTrusted(b)
	}
	v, _, err := msgpack.ReadUint(b)
	if err != nil {
		return 0
	}
	return v
}

// View is a consistent picture of everything at one version, for as long as it is open. Memory that the writer gives up
// meanwhile stays until Close.
type View struct {
	e       *Engine
	slot    *memory.Slot
	version uint64
	schema  *Schema
}

// OpenView pins the newest published version.
func (e *Engine) OpenView() *View {
	slot := e.epochs.Register()
	version := slot.Enter()
	return &View{e: e, slot: slot, version: version, schema: e.schemaAt(version)}
}

// Version returns the pinned version: a commit number.
func (v *View) Version() uint64 { return v.version }

// Schema returns the schema at the pinned version.
func (v *View) Schema() *Schema { return v.schema }

// Ascend yields the tuples of a space in the order of its primary index. They stay valid until the view is closed.
func (v *View) Ascend(sp *Space, yield func(tuple []byte) bool) {
	if sp.virtual != nil {
		sp.virtual.Ascend(yield)
		return
	}
	pk := v.snapshotIndex(sp)
	if pk == nil {
		return
	}
	var cur index.Cursor
	pk.state.store.Seek(&cur, pk.state.rootAt(v.version), index.ALL, nil, 0)
	for ref, ok := cur.Next(); ok; ref, ok = cur.Next() {
		if !yield(v.e.arena.Tuple(ref)) {
			return
		}
	}
}

// Count returns the number of tuples of a space, 0 for virtual ones.
func (v *View) Count(sp *Space) uint64 {
	if pk := v.snapshotIndex(sp); pk != nil && sp.virtual == nil {
		return pk.state.rootAt(v.version).Count
	}
	return 0
}

// Close unpins the version.
func (v *View) Close() {
	v.slot.Leave()
	v.e.epochs.Unregister(v.slot)
}
