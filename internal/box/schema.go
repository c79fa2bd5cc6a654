package box

import (
	"cmp"
	"sort"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Schema is the dictionary in its compiled form. It is immutable; DDL makes a new one.
type Schema struct {
	// Version grows with every change of the dictionary and is what replies carry.
	Version uint64
	byID    map[uint32]*Space

	sequences map[uint32]*Sequence
}

// Space returns the space with the given id, or nil.
func (s *Schema) Space(id uint32) *Space { return s.byID[id] }

// Spaces returns all spaces in the order of their ids.
func (s *Schema) Spaces() []*Space {
	all := make([]*Space, 0, len(s.byID))
	for _, sp := range s.byID {
		all = append(all, sp)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all
}

// with returns a copy of the schema in which sp stands at its id.
func (s *Schema) with(sp *Space) *Schema {
	n := s.clone()
	n.byID[sp.ID] = sp
	return n
}

func (s *Schema) without(id uint32) *Schema {
	n := s.clone()
	delete(n.byID, id)
	return n
}

func (s *Schema) clone() *Schema {
	n := &Schema{Version: s.Version + 1, byID: make(map[uint32]*Space, len(s.byID)+1),
		sequences: make(map[uint32]*Sequence, len(s.sequences)+1)}
	for id, sp := range s.byID {
		n.byID[id] = sp
	}
	for id, q := range s.sequences {
		n.sequences[id] = q
	}
	return n
}

// Space is the compiled form of a row of _space and its rows of _index. It is immutable.
type Space struct {
	ID         uint32
	Owner      uint32
	Name       string
	Engine     string
	FieldCount uint32
	// Temporary spaces are neither logged nor written to snapshots.
	Temporary bool
	// Local spaces are logged, and written to snapshots, on their own instance only.
	Local bool
	// Fields is the declared format, Format the checks that follow from it and from the indexes.
	Fields []tuple.Field
	Format *tuple.Format
	// Indexes in the order of their ids; the first has id 0 if there is any.
	Indexes []*Index

	// viewOf is the space that a system view shows, 0 for all others.
	viewOf  uint32
	virtual Virtual
	// global: the rows are in the catalog, which virtual shows.
	global bool
	// auto binds the primary key to a sequence, if not nil.
	auto *autoIncrement
	// checks are the check constraints, nil for none, foreignKeys those by which the space refers to others.
	checks      []*check
	foreignKeys []*foreignKey
}

// Index returns the index with the given id, or nil.
func (s *Space) Index(id uint32) *Index {
	if int(id) < len(s.Indexes) && s.Indexes[id].ID == id {
		return s.Indexes[id]
	}
	for _, ix := range s.Indexes {
		if ix.ID == id {
			return ix
		}
	}
	return nil
}

// primary returns the primary index, or nil if the space has none yet.
func (s *Space) primary() *Index {
	if len(s.Indexes) == 0 || s.Indexes[0].ID != 0 {
		return nil
	}
	return s.Indexes[0]
}

// IsView tells whether the space is a read-only view.
func (s *Space) IsView() bool { return s.viewOf != 0 }

// IsVirtual tells whether the rows of the space live outside the engine.
func (s *Space) IsVirtual() bool { return s.virtual != nil }

// IsGlobal tells whether it is a user's table whose rows are in the catalog.
func (s *Space) IsGlobal() bool { return s.global }

func (s *Space) copy() *Space {
	n := *s
	n.Indexes = append([]*Index(nil), s.Indexes...)
	return &n
}

// Index is the compiled form of a row of _index with the tree that holds its entries. All but the tree's versions is
// immutable.
type Index struct {
	ID     uint32
	Name   string
	Type   string // "TREE" or "HASH"
	Unique bool
	// Def has the declared parts, cmp those that order the tree: a non-unique or nullable index appends the primary key.
	Def *tuple.KeyDef
	cmp *tuple.KeyDef

	state *indexState
}

// order tells which of two tuples the index has first: a TREE by key, a HASH by the hashes of the keys, and by key where
// they are equal.
func (ix *Index) order(a, b []byte) int {
	if ix.Type == typeHash {
		if c := cmp.Compare(ix.cmp.Hash(a), ix.cmp.Hash(b)); c != 0 {
			return c
		}
	}
	return ix.cmp.Compare(a, b)
}

// orderKey is order for a tuple and a key, which for a HASH has all parts.
func (ix *Index) orderKey(tup, key []byte, parts int) int {
	c := ix.cmp.CompareKey(tup, key, parts)
	if ix.Type == typeHash && c != 0 {
		if h := cmp.Compare(ix.cmp.Hash(tup), ix.cmp.HashKey(key, parts)); h != 0 {
			return h
		}
	}
	return c
}

// indexState is the part of an index that changes: the writer's root and the chain of sealed roots. It is shared by all
// compiled forms of the same index, so that renaming a space costs nothing.
type indexState struct {
	store store
	// cur is the writer's root. touched is the version that last changed it.
	cur     index.Root
	touched uint64
	// head is the newest sealed root; older ones hang behind it as far as a reader may want them.
	head atomic.Pointer[rootVersion]
}

type rootVersion struct {
	version uint64
	root    index.Root
	prev    atomic.Pointer[rootVersion]
}

// store is what a tree and a hash have in common.
type store interface {
	Insert(r *index.Root, version uint64, tup memory.Ref) (memory.Ref, error)
	Find(r index.Root, tup []byte) memory.Ref
	FindKey(r index.Root, key []byte) memory.Ref
	Put(r *index.Root, version uint64, tup memory.Ref) (memory.Ref, error)
	Delete(r *index.Root, version uint64, tup []byte) (memory.Ref, error)
	Get(r index.Root, key []byte, parts int) memory.Ref
	GetTuple(r index.Root, tup []byte) memory.Ref
	Seek(c *index.Cursor, r index.Root, it index.Iterator, key []byte, parts int)
	Begin(c *index.Cursor, r index.Root, it index.Iterator, key []byte, parts int)
	Start(l *index.Lookup, r index.Root, key []byte)
	StartTuple(l *index.Lookup, r index.Root, tup []byte)
	Free(r index.Root, version uint64, tuples bool)
	Build(version uint64) *index.Builder
	Gather(version uint64, portion int) *index.Gather
	Discard(r index.Root)
	Hide(on bool)
}

// rootAt returns the root that a reader of the given version sees.
func (st *indexState) rootAt(version uint64) index.Root {
	rv := st.head.Load()
	for rv != nil && rv.version > version {
		rv = rv.prev.Load()
	}
	if rv == nil {
		return index.Root{}
	}
	return rv.root
}

// seal makes the writer's root readable at version, and forgets roots that no reader at or above oldest can want.
func (st *indexState) seal(version, oldest uint64) {
	rv, prev := &rootVersion{version: version, root: st.cur}, st.head.Load()
	if prev != nil && prev.version == version { // sealed before, with nothing to publish, and opened again
		prev = prev.prev.Load()
	}
	rv.prev.Store(prev)
	st.head.Store(rv)
	for p := rv; p != nil; p = p.prev.Load() {
		if p.version <= oldest {
			p.prev.Store(nil)
			return
		}
	}
}

// rollback forgets roots sealed above version; the writer goes on from the one that remains.
func (st *indexState) rollback(version uint64) {
	rv := st.head.Load()
	for rv != nil && rv.version > version {
		rv = rv.prev.Load()
	}
	st.head.Store(rv)
	st.cur = index.Root{}
	st.touched = 0
	if rv != nil {
		st.cur = rv.root
		st.touched = rv.version
	}
}

// schemaVersion is one link of the chain of sealed schemas, and of the counts of rows of local spaces.
type schemaVersion struct {
	version   uint64
	schema    *Schema
	localRows uint64
	prev      atomic.Pointer[schemaVersion]
}

func indexList(list []*Index, ix *Index) []*Index {
	n := make([]*Index, 0, len(list)+1)
	for _, old := range list {
		if old.ID != ix.ID {
			n = append(n, old)
		}
	}
	n = append(n, ix)
	sort.Slice(n, func(i, j int) bool { return n[i].ID < n[j].ID })
	return n
}

func indexListWithout(list []*Index, id uint32) []*Index {
	n := make([]*Index, 0, len(list))
	for _, old := range list {
		if old.ID != id {
			n = append(n, old)
		}
	}
	return n
}
