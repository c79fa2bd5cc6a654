// Package replicaset is the data group's state machine on the engine: it runs the writes of clients as batches, makes one
// log entry of each, shows the result when the entry is committed, and answers. Pure: the loop that calls it, the log and
// the connections are the caller's.
//
// It does not decide who leads, and it knows nothing of the catalog.
package replicaset

import (
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// Sink takes finished replies of a connection: whole frames, in one piece.
//
// If it has a method Gone, which tells that nobody waits for replies any more, statements that take long are given up then.
// If it has a method CompleteNow, replies that stand alone go there: it may take the time of a system call.
// If it has a method ForReplica, its replies go to another replica, which waits until it has applied what was written.
type Sink interface {
	Complete(frames []byte)
}

// prompt is a Sink that can send at once.
type prompt interface{ CompleteNow(frames []byte) }

// goner is a Sink that knows whether anybody waits.
type goner interface{ Gone() bool }

// replicas is a Sink whose replies go to another replica.
type replicas interface{ ForReplica() }

// Write is one statement, or the commit of a transaction, and what its reply needs.
type Write struct {
	Statement box.Statement
	// Tx, if not nil, is committed, and closed whatever comes of it; Statement is not looked at then.
	Tx   *box.Tx
	Sync uint64
	// Schema is the schema version that the client demands, 0 for any.
	Schema uint64

	// wrote: it was run, and its outcome depends on its entry.
	wrote bool
}

// Batch is what one connection gathered in one drain. Its statements run in their order, each atomic by itself.
type Batch struct {
	Sink   Sink
	Writes []Write
	// Bytes is the size of the statements together.
	Bytes int
	// Done, if not nil, is called when the batch was answered and nobody looks at it or at what it keeps any more.
	Done func(*Batch)

	room []byte
}

const (
	roomBytesMin = 4 << 10
	roomBytesMax = 64 << 10
)

// Add appends a statement with its reply's sync and the schema that it demands. The bytes of the statement are copied.
func (b *Batch) Add(s *box.Statement, sync, schema uint64) {
	w := append(b.Writes, Write{Sync: sync, Schema: schema, Statement: *s})
	kept := &w[len(w)-1].Statement
	kept.Key, kept.Tuple, kept.Ops = b.keep(s.Key), b.keep(s.Tuple), b.keep(s.Ops)
	b.Writes = w
}

// keep copies bytes to where they live as long as the batch.
func (b *Batch) keep(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	if len(b.room)+len(p) > cap(b.room) {
		b.room = make([]byte, 0, max(len(p), min(2*cap(b.room), roomBytesMax), roomBytesMin))
	}
	at := len(b.room)
	b.room = append(b.room, p...)
	b.Bytes += len(p)
	return b.room[at:len(b.room):len(b.room)]
}

// Clear empties a batch for its next use and keeps its room.
func (b *Batch) Clear() {
	clear(b.Writes)
	*b = Batch{Writes: b.Writes[:0], room: b.room[:0]}
}

func (b *Batch) done() {
	if b.Done != nil {
		b.Done(b)
	}
}

// entryBytesMax is the size of an entry from which on further statements of the same batch are refused: small statements
// can write large tuples.
const entryBytesMax = 16 << 20

// held is a batch's replies, which wait for a version to be committed.
type held struct {
	version uint64
	// confirm, if not 0, is the number under which they wait for a confirmation too: their Run made no entry.
	confirm uint64
	batch   *Batch
	frames  []byte
}

// Machine runs a data group on an engine. It implements the interface of package raftgroup/runner and belongs, like the
// writer's side of the engine, to that loop's goroutine.
type Machine struct {
	engine *box.Engine
	// held replies in the order of their versions.
	held []held
	// running is the newest version with an entry that is not committed yet.
	running uint64
	// asked is the number of the newest replies that needed a confirmation, confirmed that of the newest that have it.
	asked, confirmed uint64
	// prompt: replies went to another replica since the last call of Prompt.
	prompt bool
	// spare are the rooms of frames that were sent.
	spare [][]byte
	// jobs are statements that take many turns, in the order in which they began. The first gets on with each Run.
	jobs  []job
	onJob func(JobEvent)
	// load fills the engine from the snapshot at a position.
	load func(raftgroup.Position) error
	// onRefused may take refused batches over.
	onRefused func(*Batch, error) bool
	// onSchema is called after the published schema changed.
	onSchema func()
	schema   uint64
	// locals are the rows beside entries that were not known to be committed at start, made those of the last Run.
	locals *Locals
	made   [][]byte
}

// New makes the machine of an engine. onSchema, which may be nil, is called when a new schema became visible.
func New(engine *box.Engine, onSchema func()) *Machine {
	return &Machine{engine: engine, onSchema: onSchema, schema: engine.PublishedSchema().Version}
}

// Run executes the batches as version index and returns the entry for the log, nil if they changed nothing.
func (m *Machine) Run(index, term uint64, batches []*Batch) []byte {
	first := len(m.held)
	m.engine.Begin(index)
	m.work()
	for _, b := range batches {
		frames := m.execute(b)
		if len(frames) == 0 { // all of it goes on
			b.done()
			continue
		}
		m.held = append(m.held, held{batch: b, frames: frames})
	}
	entry := m.engine.Seal()
	if entry != nil {
		m.running = index
	}
	m.keepLocal(index, term)
	// A reply that wrote nothing waits as well: what it says may rest on entries that are not committed yet. If this Run
	// makes an entry, its commit shows that nobody else led; else that has to be found out.
	if entry == nil && len(m.held) > first {
		m.asked++
	}
	for i := first; i < len(m.held); i++ {
		m.held[i].version = m.running
		if entry == nil {
			m.held[i].confirm = m.asked
		}
	}
	return entry
}

func (m *Machine) execute(b *Batch) []byte {
	frames := m.room()
	for i := range b.Writes {
		if i%box.AheadMax == 0 {
			m.lookAhead(b.Writes[i:])
		}
		w := &b.Writes[i]
		version := m.engine.NewestSchema().Version
		if w.Schema != 0 && w.Schema != version {
			e := errcode.New(errcode.WrongSchemaVersion, w.Schema, version)
			frames = iproto.AppendError(frames, w.Sync, version, e)
			continue
		}
		if w.Tx != nil {
			frames = m.commitTx(w, frames)
			continue
		}
		var tup []byte
		var err error
		if m.engine.EntryBytes() < entryBytesMax {
			tup, err = m.engine.Execute(&w.Statement)
		} else {
			err = errcode.New(errcode.Overloaded, "the statements sent together write more than 16 MiB; send fewer at a time")
		}
		if build, ok := err.(*box.Build); ok {
			m.begin(build, b.Sink, w.Sync)
			continue
		}
		w.wrote = err == nil && (tup != nil || w.Statement.Kind == box.Upsert)
		frames = m.reply(frames, w.Sync, tup, err)
	}
	return frames
}

const (
	// What is kept of rooms for frames: many small replies together, but not the room of a large one.
	spareMax      = 16
	spareBytesMax = 256 << 10
)

// room returns an empty slice for frames.
func (m *Machine) room() []byte {
	n := len(m.spare)
	if n == 0 {
		return nil
	}
	b := m.spare[n-1]
	m.spare = m.spare[:n-1]
	return b[:0]
}

// send hands the frames of a batch over, which are copied, and ends both. alone tells that no other batch waits.
func (m *Machine) send(b *Batch, frames []byte, alone bool) {
	if _, ok := b.Sink.(replicas); ok {
		m.prompt = true
	}
	if p, ok := b.Sink.(prompt); ok && alone {
		p.CompleteNow(frames)
	} else {
		b.Sink.Complete(frames)
	}
	b.done()
	if len(m.spare) < spareMax && cap(frames) <= spareBytesMax {
		m.spare = append(m.spare, frames)
	}
}

// lookAhead has the rows of the next statements fetched, all at a time. One alone would only be looked for twice.
func (m *Machine) lookAhead(next []Write) {
	if len(next) < 2 {
		return
	}
	for i := range next[:min(len(next), box.AheadMax)] {
		if next[i].Tx == nil {
			m.engine.Expect(&next[i].Statement)
		}
	}
	m.engine.Fetch()
}

// reply appends the answer to a statement.
func (m *Machine) reply(frames []byte, sync uint64, tup []byte, err error) []byte {
	version := m.engine.NewestSchema().Version
	switch {
	case err != nil:
		return iproto.AppendError(frames, sync, version, errcode.Of(err))
	case tup == nil:
		return iproto.AppendData(frames, sync, version)
	}
	return iproto.AppendData(frames, sync, version, tup)
}

func (m *Machine) commitTx(w *Write, frames []byte) []byte {
	err := m.engine.CommitTx(w.Tx)
	w.Tx.Close()
	w.wrote = err == nil && w.Tx.Writes()
	version := m.engine.NewestSchema().Version
	if err != nil {
		return iproto.AppendError(frames, w.Sync, version, errcode.Of(err))
	}
	return iproto.AppendOK(frames, w.Sync, version, nil)
}

// Commit shows the version to readers and answers everything that waited for it.
func (m *Machine) Commit(index uint64) {
	m.engine.Publish(index)
	m.noticeSchema()
	m.release()
}

// Prompt tells, once, that replies were given to another replica, which waits for the entries committed last.
func (m *Machine) Prompt() bool {
	was := m.prompt
	m.prompt = false
	return was
}

// Apply makes a committed entry of another leader, or of the time before a restart, visible.
func (m *Machine) Apply(index, term uint64, entry []byte) {
	if len(entry) > 0 {
		local, err := m.locals.Take(index, term)
		if err == nil {
			err = m.engine.Apply(index, entry, local...)
		}
		invariant.Check(err == nil, "this replica can not apply a committed entry: %v", err)
	}
	m.engine.Publish(index)
	m.noticeSchema()
}

func (m *Machine) noticeSchema() {
	if v := m.engine.PublishedSchema().Version; v != m.schema {
		m.schema = v
		if m.onSchema != nil {
			m.onSchema()
		}
	}
}

// Refuse answers batches that were not run.
func (m *Machine) Refuse(batches []*Batch, err error) {
	for _, b := range batches {
		if m.onRefused == nil || !m.onRefused(b, err) {
			m.fail(b, errcode.Of(err), errcode.Of(err))
		}
	}
}

// OnRefused has fn called with each batch that was not run, and why. If it returns true it has taken the batch over, else its
// client is refused. To be called on the loop's goroutine, or before the loop starts; fn must not block.
func (m *Machine) OnRefused(fn func(*Batch, error) bool) { m.onRefused = fn }

// fail answers each statement of a batch: with the first error those that wrote, with the second those that did not.
func (m *Machine) fail(b *Batch, wrote, other *errcode.Error) {
	version := m.engine.PublishedSchema().Version
	frames := m.room()
	for i := range b.Writes {
		w := &b.Writes[i]
		if w.Tx != nil {
			w.Tx.Close()
		}
		e := other
		if w.wrote {
			e = wrote
		}
		frames = iproto.AppendError(frames, w.Sync, version, e)
	}
	m.send(b, frames, false)
}

// ConfChanged is told of a membership change; data does not depend on it.
func (m *Machine) ConfChanged(raftgroup.Status) {}
