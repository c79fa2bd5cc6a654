package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// The two kinds of raft groups.
const (
	groupCatalog uint8 = 1
	groupData    uint8 = 2
)

// groupSnapshot is durable as soon as it is there.
type groupSnapshot struct {
	pos   raftgroup.Position
	at    applied
	bytes []byte
}

// applied is how far a state machine is, and a sum of all that it was given.
type applied struct{ index, term, chain uint64 }

// diskLog is what of a group's log is synced.
type diskLog struct {
	hard    raftgroup.HardState
	base    uint64 // the entries follow this index
	entries []raftgroup.Entry
	// snapshots in their order. All are kept: a message under way may name an old one. start is the index of the one that the
	// log follows; newer ones came from others and were not installed.
	snapshots []groupSnapshot
	start     uint64
}

func (l *diskLog) last() uint64 { return l.base + uint64(len(l.entries)) }

// restored is what a start finds.
func (l *diskLog) restored() raftgroup.Restored {
	r := raftgroup.Restored{HardState: l.hard, FirstIndex: l.base + 1, LastIndex: l.last()}
	for _, e := range l.entries {
		if n := len(r.Terms); n == 0 || r.Terms[n-1].Term != e.Term {
			r.Terms = append(r.Terms, raftgroup.TermRun{Index: e.Index, Term: e.Term})
		}
		if e.Type == raftgroup.EntryConfChange {
			r.ConfChanges = append(r.ConfChanges, e)
		}
	}
	return r
}

// older reads entries that have left memory.
func (l *diskLog) older(lo, hi, bytesMax uint64) ([]raftgroup.Entry, error) {
	if lo <= l.base || lo > l.last() {
		return nil, raftgroup.ErrCompacted
	}
	var out []raftgroup.Entry
	size := uint64(0)
	for at := lo; at < min(hi, l.last()+1) && (len(out) == 0 || size < bytesMax); at++ {
		e := l.entries[at-l.base-1]
		out, size = append(out, e), size+uint64(len(e.Data))
	}
	return out, nil
}

func (l *diskLog) write(w *raftgroup.Write) {
	if w.Snapshot != nil {
		l.base, l.entries, l.start = w.Snapshot.Index, nil, w.Snapshot.Index
	}
	if w.HardState != nil {
		l.hard.Term, l.hard.Vote = w.HardState.Term, w.HardState.Vote
	}
	if len(w.Entries) > 0 {
		l.entries = append(slices.Clip(l.entries[:w.Entries[0].Index-l.base-1]), w.Entries...)
	}
	l.hard.Commit = max(l.hard.Commit, min(w.Commit, l.last()))
}

func (l *diskLog) compact(to uint64) {
	if to > l.base {
		l.entries, l.base = slices.Clone(l.entries[to-l.base:]), to
	}
}

func (l *diskLog) snapshotAt(index uint64) *groupSnapshot {
	at := slices.IndexFunc(l.snapshots, func(s groupSnapshot) bool { return s.pos.Index == index })
	if at < 0 {
		return nil
	}
	return &l.snapshots[at]
}

func (l *diskLog) keep(s groupSnapshot) {
	if l.snapshotAt(s.pos.Index) == nil {
		l.snapshots = append(l.snapshots, s)
		slices.SortFunc(l.snapshots, func(a, b groupSnapshot) int { return int(a.pos.Index) - int(b.pos.Index) })
	}
}

// machine is what a replica does with its entries.
type machine interface {
	// apply takes a committed entry; empty data and changes of membership are no-ops.
	apply(e *raftgroup.Entry)
	// changed: role, term or leader are others, so what was proposed and is not applied has an unknown outcome.
	changed()
	snapshot(pos raftgroup.Position) []byte
	restore(b []byte)
}

// replica is an instance's part in a raft group: the real core on a log that is modelled.
type replica struct {
	i     *instance
	group uint8
	// key names the group: "catalog", or the uuid of the replicaset.
	key      string
	id       uint64
	g        *raftgroup.Group
	log      *diskLog
	m        machine
	writes   []*raftgroup.Write
	diskBusy bool
	at       applied
	// pace says when to tick; until wake that is put off.
	pace raftgroup.Pace
	wake time.Duration
}

// open starts a replica from disk.
func (i *instance) open(group uint8, key string, id uint64, m machine) *replica {
	c := i.c
	r := &replica{i: i, group: group, key: key, id: id, log: i.disk.logs[group], m: m}
	newest := r.log.snapshotAt(r.log.start)
	m.restore(newest.bytes)
	r.at = newest.at
	g, err := raftgroup.New(raftgroup.Config{
		ID: id, Position: newest.pos, Restored: r.log.restored(), Older: r.log.older, TailBytes: 4 << 10,
		ElectionTimeout: electionTimeout, Now: i.clock(), Incarnation: uint64(i.life),
	})
	if err != nil {
		c.failf("instance %d, group %d: %v", i.no, group, err)
	}
	r.g = g
	r.pace = raftgroup.NewPace(i.clock()+g.TickLength(), g.TickLength())
	return r
}

// tick moves the group's time, unless that is put off.
func (r *replica) tick() {
	now := r.i.clock()
	if now < r.wake {
		return
	}
	r.makeUp()
	if r.pace.Due(now) {
		r.g.Tick(now)
	}
	r.drain()
}

// makeUp makes the ticks that were put off.
func (r *replica) makeUp() {
	for range r.pace.MakeUp(r.i.clock()) {
		r.g.Tick(r.i.clock())
	}
}

// run begins to work.
func (r *replica) run() {
	r.drain()
	if r.g.Lone() {
		_ = r.g.Campaign()
		r.drain()
	}
}

// drain does all the work that the group has, but the disk's.
func (r *replica) drain() {
	i := r.i
	for i.up {
		rd, ok := r.g.Ready()
		i.c.checkLeader(r)
		if !ok {
			break
		}
		if rd.Changed {
			r.m.changed()
		}
		if rd.Write != nil {
			r.writes = append(r.writes, rd.Write)
		}
		for k := range rd.Committed {
			r.apply(&rd.Committed[k])
		}
		if len(rd.Committed) > 0 {
			r.g.Applied()
		}
		for _, m := range rd.Messages {
			i.sendRaft(r, m)
		}
	}
	r.feedDisk()
	r.snapshotIfDue()
	r.wake = r.pace.Rest(r.g.IdleTicks())
}

func (r *replica) apply(e *raftgroup.Entry) {
	c := r.i.c
	if e.Index != r.at.index+1 || e.Term < r.at.term {
		c.failf("instance %d, %s: applies %d of term %d after %d of term %d", r.i.no, r.key, e.Index, e.Term, r.at.index, r.at.term)
	}
	r.at = applied{e.Index, e.Term, sumOf(e, r.at.chain)}
	c.checkChain(r)
	r.m.apply(e)
	if e.Type == raftgroup.EntryConfChange {
		s := r.g.ApplyConfChange(*e)
		if s.Joint {
			c.stats.joint++
		}
		c.checkMembers(r, s)
	}
}

// feedDisk begins the next disk write if the disk is free.
func (r *replica) feedDisk() {
	i := r.i
	if r.diskBusy || len(r.writes) == 0 || !i.up {
		return
	}
	c := i.c
	r.diskBusy = true
	d := c.between(100_000, c.opt.disk)
	if !c.healed && c.chance(c.opt.slow/4) {
		d += c.between(0, c.opt.slowDelay/2)
	}
	i.own(d, r.writeOut)
}

// writeOut is the end of a disk write.
func (r *replica) writeOut() {
	done := r.writes
	r.writes, r.diskBusy = nil, false
	for _, w := range done {
		r.log.write(w)
		if !r.i.c.point(r.i, "writes "+r.kind(w)) {
			return
		}
		r.install(w)
		r.g.Persisted(w)
	}
	r.drain()
}

// kind says what a write is about.
func (r *replica) kind(w *raftgroup.Write) string {
	group := "the catalog"
	if r.group == groupData {
		group = "the data"
	}
	return fmt.Sprintf("%d entries of %s, hard state: %t", len(w.Entries), group, w.HardState != nil)
}

// tear leaves some of what was being written when the power went.
func (r *replica) tear() {
	c := r.i.c
	for _, w := range r.writes {
		if !r.diskBusy || c.chance(0.5) {
			return
		}
		r.log.write(w)
	}
}

// install puts a snapshot in the place of the state machine.
func (r *replica) install(w *raftgroup.Write) {
	if w.Snapshot == nil {
		return
	}
	c := r.i.c
	s := r.log.snapshotAt(w.Snapshot.Index)
	if s == nil || s.pos.Term != w.Snapshot.Term || s.at.index <= r.at.index {
		c.failf("instance %d, %s, at index %d, is to install a snapshot of index %d: %+v", r.i.no, r.key, r.at.index, w.Snapshot.Index, s)
	}
	r.m.restore(s.bytes)
	r.at = s.at
	c.checkChain(r)
	c.stats.installs++
	c.notef("%d installs snapshot %d of %s", r.i.no, s.at.index, r.key)
}

// snapshotIfDue takes a snapshot and forgets some of the log before it.
func (r *replica) snapshotIfDue() {
	if !r.i.up {
		return
	}
	c := r.i.c
	last := r.log.start
	if r.at.index <= last || r.at.index <= last+c.opt.snapshotEvery && !r.g.SnapshotWanted() {
		return
	}
	pos := r.g.Position()
	r.log.keep(groupSnapshot{pos, r.at, r.m.snapshot(pos)})
	r.log.start = pos.Index
	r.g.HaveSnapshot(pos)
	c.stats.snapshots++
	if keep := uint64(c.rng.IntN(10)); pos.Index > keep {
		r.g.Compact(pos.Index - keep)
		r.log.compact(min(pos.Index-keep, r.log.last()))
	}
}

// dataMachine holds rows.
type dataMachine struct {
	r       *replica
	rows    map[string]string
	spaces  *spaces
	pending map[uint64]dataWrite
}

type dataWrite struct {
	term uint64
	done func(ok bool)
}

func (m *dataMachine) apply(e *raftgroup.Entry) {
	if e.Type == raftgroup.EntryNormal && len(e.Data) > 0 {
		if term := binary.LittleEndian.Uint64(e.Data); term != e.Term {
			m.r.i.c.failf("entry %d was computed in term %d and written in term %d", e.Index, term, e.Term)
		}
		key, value := string(e.Data[8:16]), string(e.Data[16:])
		if key == schemaKey {
			m.applySpaces(value, e.Index)
		} else {
			m.rows[key] = value
		}
	}
	if w, ok := m.pending[e.Index]; ok {
		delete(m.pending, e.Index)
		w.done(w.term == e.Term)
	}
}

func (m *dataMachine) changed() { clear(m.pending) }

// dataContent is what a snapshot of the data holds.
type dataContent struct {
	Rows   map[string]string
	Spaces *spaces
}

func (m *dataMachine) snapshot(raftgroup.Position) []byte {
	return m.encode(dataContent{m.rows, m.spaces})
}

// snapshotSpaces are the spaces as bytes; equal ones give equal bytes.
func (m *dataMachine) snapshotSpaces() []byte {
	s := m.spaces.copy()
	s.Refused = ""
	return m.encode(dataContent{Spaces: s})
}

func (m *dataMachine) encode(d dataContent) []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return b
}

func (m *dataMachine) restore(b []byte) {
	d := dataContent{Rows: map[string]string{}, Spaces: &spaces{}}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &d); err != nil {
			panic(err)
		}
	}
	m.rows, m.spaces = d.Rows, d.Spaces.copy()
}

// write proposes a row; key has eight bytes.
func (m *dataMachine) write(key, value string, done func(ok bool)) bool {
	if !m.r.g.Leading() {
		return false
	}
	term := m.r.g.Term()
	data := append(append(binary.LittleEndian.AppendUint64(nil, term), key...), value...)
	index, err := m.r.g.Propose(term, data)
	if err != nil {
		return false
	}
	m.pending[index] = dataWrite{term, done}
	m.r.drain()
	return true
}
