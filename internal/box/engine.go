package box

import (
	"fmt"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Options are the parameters of an engine.
type Options struct {
	// QuotaBytes bounds tuples and indexes together; statements beyond it get error 2, recovery and apply may exceed it.
	QuotaBytes uint64
	// TupleBytesMax bounds one tuple; 0 means 1 MiB, as in Tarantool.
	TupleBytesMax int
	// Poison overwrites freed memory, so that a stale reference shows itself. For tests.
	Poison bool
	// Virtuals are spaces whose rows live elsewhere. A virtual space with the id of a system space takes its place.
	Virtuals []VirtualSpace
	// Global has the rows of the table with an id whose definition says that it is global; nil: there are no such tables.
	Global func(table uint32) Sorted
}

// TupleBytesMaxDefault is the largest tuple unless Options say otherwise, in bytes.
const TupleBytesMaxDefault = 1 << 20

// Engine holds the spaces. The methods of the writer (Begin, Execute, Seal, Apply, Publish, Rollback, Load…) belong to
// one goroutine at a time; NewReader, OpenView and what they return are for any goroutine.
type Engine struct {
	options Options
	arena   *memory.Arena
	epochs  *memory.Epochs

	// What follows belongs to the writer.
	schema  *Schema
	version uint64 // the version being written, 0 between Seal and Begin
	sealed  uint64
	oldest  uint64 // no reader used a version below this when Publish last looked
	force   bool   // rows that are committed already: no refusals, and memory may exceed the quota
	loading bool   // rows come from a snapshot: they move no sequence and conflict with nothing
	touched []*indexState
	pending []pendingVersion
	entry   []byte
	rows    int
	// local has the rows of local spaces that the version changed, localEnds where each ends. localRows counts those of all
	// versions.
	local     []byte
	localEnds []int
	localRows uint64
	scratch   []byte
	updater   tuple.Updater
	// sequences is the tree of the sequences' values, sequenceKey the writer's room to encode its rows.
	sequences   *Index
	sequenceKey []byte
	changes     changes
	// placed is the primary index in which find has just looked for the tuple that apply is to put.
	placed *indexState
	ahead  ahead
	builds builds
	// tx, if not nil, makes this the engine of a transaction's own schema, in which changes of the dictionary are checked
	// and nothing is stored: see Tx.define.
	tx *Tx

	schemas atomic.Pointer[schemaVersion]
}

// pendingVersion is a version that is sealed and not yet published.
type pendingVersion struct {
	version uint64
	touched []*indexState
}

// New makes an engine whose schema has the system spaces, all of them empty.
func New(o Options) (*Engine, error) {
	if o.TupleBytesMax == 0 {
		o.TupleBytesMax = TupleBytesMaxDefault
	}
	arena, err := memory.NewArena(memory.Options{QuotaBytes: o.QuotaBytes, Poison: o.Poison})
	if err != nil {
		return nil, fmt.Errorf("box: reserve memory: %w", err)
	}
	e := &Engine{options: o, arena: arena, epochs: new(memory.Epochs)}
	e.builds.slice = sliceWork
	e.schema, err = e.systemSchema()
	if err != nil {
		return nil, fmt.Errorf("box: system spaces: %w", err)
	}
	if e.sequences, err = e.newSequenceValues(); err != nil {
		return nil, fmt.Errorf("box: sequences: %w", err)
	}
	e.schemas.Store(&schemaVersion{schema: e.schema})
	return e, nil
}

// Close gives the memory back. No reader may be active.
func (e *Engine) Close() error { return e.arena.Close() }

// Begin opens a version for writing. Version numbers only grow; a sealed version that changed nothing may be opened again.
func (e *Engine) Begin(version uint64) {
	invariant.Check(e.version == 0, "version %d opened while %d is being written", version, e.version)
	invariant.Check(version > e.published(), "version %d opened after %d was published", version, e.published())
	e.version = version
	e.arena.Begin(version)
	e.entry, e.local, e.localEnds = e.entry[:0], e.local[:0], e.localEnds[:0]
	e.rows = 0
	e.placed = nil
}

// Seal closes the open version and returns its after-images for the log, nil if nothing changed. The bytes are valid until
// the next Begin.
func (e *Engine) Seal() []byte {
	invariant.Check(e.version != 0, "seal without an open version")
	version := e.version
	e.version = 0
	if newest := e.schemas.Load(); e.schema != newest.schema || e.localRows != newest.localRows {
		e.sealSchema(version)
	}
	changed := e.rows > 0 || len(e.touched) > 0
	e.builds.seal(version, e.published())
	if len(e.touched) > 0 {
		for _, st := range e.touched {
			st.seal(version, e.oldest)
		}
		e.pending = append(e.pending, pendingVersion{version, e.touched})
		e.touched = nil
	}
	e.sealed = version
	if !changed {
		e.forgetSlices()
		return nil
	}
	if len(e.entry) == 0 {
		e.entry = append(e.entry, entryFormat) // only temporary or local spaces changed: an empty entry carries the version
	}
	return e.entry
}

func (e *Engine) sealSchema(version uint64) {
	sv := &schemaVersion{version: version, schema: e.schema, localRows: e.localRows}
	sv.prev.Store(e.schemas.Load())
	e.schemas.Store(sv)
	for p := sv; p != nil; p = p.prev.Load() {
		if p.version <= e.oldest {
			p.prev.Store(nil)
			return
		}
	}
}

// Publish makes all versions up to the given one visible to readers and frees what no reader can see any more.
func (e *Engine) Publish(version uint64) {
	e.epochs.Publish(version)
	n := 0
	for n < len(e.pending) && e.pending[n].version <= version {
		n++
	}
	if n > 0 {
		e.pending = e.pending[:copy(e.pending, e.pending[n:])]
	}
	e.arena.Settle(version)
	e.builds.publish(version)
	e.oldest = e.epochs.Min()
	e.changes.forget(e.oldest)
	e.arena.Reclaim(e.oldest)
}

// idleRounds bounds the work of one call of Idle.
const idleRounds = 64

// Idle goes on freeing what no reader can see, where the last Publish left some: a dropped space, for example. To be
// called now and then while nothing is written.
func (e *Engine) Idle() {
	e.oldest = e.epochs.Min()
	e.changes.forget(e.oldest)
	for n := 0; n < idleRounds && e.version == 0; n++ {
		if !e.arena.Reclaim(e.oldest) {
			return
		}
	}
}

// Rollback unlinks every sealed version above the given one: they will never be committed here.
func (e *Engine) Rollback(version uint64) {
	invariant.Check(e.version == 0, "rollback while version %d is being written", e.version)
	for i := len(e.pending) - 1; i >= 0 && e.pending[i].version > version; i-- {
		for _, st := range e.pending[i].touched {
			st.rollback(version)
		}
		e.pending = e.pending[:i]
	}
	sv := e.schemas.Load()
	for sv.version > version {
		sv = sv.prev.Load()
	}
	e.schemas.Store(sv)
	e.schema, e.localRows = sv.schema, sv.localRows
	e.changes.rollback(version)
	e.builds.rollback(version, e.schema)
	e.arena.Rollback(version)
	e.sealed = version
	e.builds.publish(e.published())
}

func (e *Engine) published() uint64 { return e.epochs.Published() }

// Published returns the newest version that readers see.
func (e *Engine) Published() uint64 { return e.published() }

// Memory returns the gauges of the engine's memory. For any goroutine.
func (e *Engine) Memory() memory.Gauges { return e.arena.Gauges() }

// SetCeiling makes statements that need memory be refused before the quota is reached: another replica has less. 0: no more. For the
// writer.
func (e *Engine) SetCeiling(bytes uint64) { e.arena.SetCeiling(bytes) }

// MemoryStats returns the whole picture, size classes included. For the writer.
func (e *Engine) MemoryStats() memory.Stats { return e.arena.Stats() }

// PublishedSchema returns the newest schema that readers see. For any goroutine.
func (e *Engine) PublishedSchema() *Schema { return e.schemaAt(e.epochs.Published()) }

func (e *Engine) schemaAt(version uint64) *Schema { return e.schemaVersionAt(version).schema }

func (e *Engine) schemaVersionAt(version uint64) *schemaVersion {
	sv := e.schemas.Load()
	for sv.version > version {
		prev := sv.prev.Load()
		if prev == nil {
			break
		}
		sv = prev
	}
	return sv
}

// touch records that the open version changes the index.
func (e *Engine) touch(st *indexState) {
	if st.touched != e.version {
		st.touched = e.version
		e.touched = append(e.touched, st)
	}
}

func (e *Engine) newIndex(def IndexDef, pk *tuple.KeyDef) *Index {
	ix := &Index{ID: def.ID, Name: def.Name, Type: def.Type, Unique: def.Unique, Def: def.Key, cmp: def.Key}
	if pk != nil && (!def.Unique || hasNullable(def.Key)) {
		ix.cmp = def.Key.Merge(pk)
	}
	ix.state = &indexState{}
	if def.Type == typeHash {
		ix.state.store = index.NewHash(e.arena, ix.cmp)
	} else {
		ix.state.store = index.NewTree(e.arena, ix.cmp)
	}
	return ix
}

func hasNullable(k *tuple.KeyDef) bool {
	for _, p := range k.Parts() {
		if p.Nullable {
			return true
		}
	}
	return false
}

// systemSchema compiles the dictionary's own description of the system spaces.
func (e *Engine) systemSchema() (*Schema, error) {
	s := &Schema{Version: 1, byID: map[uint32]*Space{}, sequences: map[uint32]*Sequence{}}
	var failed error
	dictionary.Rows(func(space uint32, row []byte) bool {
		switch space {
		case dictionary.SpaceSpace:
			failed = e.addSystemSpace(s, row)
		case dictionary.SpaceIndex:
			failed = e.addSystemIndex(s, row)
		}
		return failed == nil
	})
	if failed != nil {
		return nil, failed
	}
	for i := range e.options.Virtuals {
		if err := e.addVirtual(s, &e.options.Virtuals[i]); err != nil {
			return nil, err
		}
	}
	for _, sp := range s.byID {
		if err := sp.compile(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (e *Engine) addSystemSpace(s *Schema, row []byte) error {
	def, err := ParseSpaceRow(row)
	if err != nil {
		return err
	}
	sp := def.space()
	sp.viewOf, _ = dictionary.ViewOf(def.ID)
	s.byID[sp.ID] = sp
	return nil
}

func (e *Engine) addSystemIndex(s *Schema, row []byte) error {
	def, err := ParseIndexRow(row)
	if err != nil {
		return err
	}
	sp := s.byID[def.SpaceID]
	if sp == nil {
		return fmt.Errorf("index %q of unknown space %d", def.Name, def.SpaceID)
	}
	if err := def.check(sp); err != nil {
		return err
	}
	e.addIndexTo(sp, def)
	return nil
}

func (e *Engine) addIndexTo(sp *Space, def IndexDef) {
	var pk *tuple.KeyDef
	if p := sp.primary(); p != nil {
		pk = p.Def
	}
	sp.Indexes = indexList(sp.Indexes, e.newIndex(def, pk))
}

func (e *Engine) addVirtual(s *Schema, v *VirtualSpace) error {
	if sp := s.byID[v.ID]; sp != nil {
		sp.virtual = v.Rows
		return nil
	}
	def, err := ParseSpaceRow(v.spaceRow())
	if err != nil {
		return err
	}
	sp := def.space()
	sp.virtual, sp.viewOf = v.Rows, v.ViewOf
	for _, ix := range v.Indexes {
		parsed, err := ParseIndexRow(v.indexRow(ix))
		if err != nil {
			return err
		}
		if err := parsed.check(sp); err != nil {
			return err
		}
		e.addIndexTo(sp, parsed)
	}
	s.byID[sp.ID] = sp
	return nil
}

// compile builds the format check from fields and key parts.
func (s *Space) compile() error { return s.compileWith(0) }

// compileChanged is compile for a change of one index of old. As in Tarantool the primary index comes first and the
// changed one last, which decides what an error names; but all keep their order if an old index is altered such that
// tuples need another number of fields.
func (s *Space) compileChanged(old *Space, changed uint32) error {
	if old.Index(changed) != nil && s.fieldsNeeded() != old.fieldsNeeded() {
		changed = 0
	}
	return s.compileWith(changed)
}

// fieldsNeeded is how many fields a tuple has at least.
func (s *Space) fieldsNeeded() uint32 {
	n := uint32(0)
	for i, f := range s.Fields {
		if !f.Nullable {
			n = uint32(i) + 1
		}
	}
	for _, ix := range s.Indexes {
		for _, p := range ix.Def.Parts() {
			if !p.Nullable {
				n = max(n, p.Field+1)
			}
		}
	}
	return n
}

// compileWith is compile with one index after all others, unless that is the primary one.
func (s *Space) compileWith(changed uint32) error {
	keys := make([]*tuple.KeyDef, 0, len(s.Indexes))
	for _, ix := range s.Indexes {
		if changed == 0 || ix.ID != changed {
			keys = append(keys, ix.Def)
		}
	}
	if changed != 0 {
		keys = append(keys, s.Index(changed).Def)
	}
	f, err := tuple.NewFormat(s.Fields, s.FieldCount, keys)
	if err != nil {
		return err
	}
	s.Format = f
	return nil
}

// NewestSchema returns the schema of the writer: what the next statement will see.
func (e *Engine) NewestSchema() *Schema { return e.schema }
