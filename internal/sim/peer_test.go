package sim

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// state is the state machine: a sum of all that was applied.
type state struct{ index, term, chain uint64 }

// snapshot is durable as soon as it is there; how snapshots get to disk is tested elsewhere.
type snapshot struct {
	at    raftgroup.Position
	state state
}

// peer is a replica: the real core on the real log on a simulated disk.
type peer struct {
	w  *world
	id uint64
	fs *fault.FS
	// rate is how fast the clock goes, zero what it showed at bootedAt.
	rate           float64
	bootedAt, zero time.Duration

	// life counts the starts; what belongs to an earlier one is void.
	life  int
	up    bool
	log   *wal.Log
	group *raftgroup.Group
	// pace says when to tick; until wake that is put off.
	pace raftgroup.Pace
	wake time.Duration
	// stalled: nothing of the loop happens until then. paused: nothing of the process.
	stalled, paused time.Duration
	inbox           []func()
	writes          []*raftgroup.Write
	diskBusy        bool
	state           state
	committed       uint64
	// lease is what readers see.
	lease raftgroup.Lease
	// terms of the entries in the log on disk.
	terms     map[uint64]uint64
	snapshots []snapshot
	pending   map[uint64]*write
	reads     map[uint64]*read

	// boots counts the boots of the machine. mute: it may have forgotten something; gone: it was given up for another; instead: it is such
	// another one; entered: it is on its way into the group.
	boots                        int
	mute, gone, instead, entered bool
}

func (w *world) addPeer(first snapshot) *peer {
	p := &peer{w: w, id: w.nextID, fs: fault.New(), rate: 1}
	if w.opt.drift {
		// Two clocks run apart by 10 % at most.
		p.rate = []float64{1 / 1.0488, 1.0488, 1 + 0.0488*(2*w.rng.Float64()-1)}[w.rng.IntN(3)]
	}
	w.nextID++
	w.peers[p.id] = p
	w.ids = append(w.ids, p.id)
	if first.at.Index > 0 {
		p.snapshots = []snapshot{first}
	}
	p.boot()
	p.start()
	return p
}

func (w *world) bootstrap() {
	pos := raftgroup.Position{Index: 1, Term: 1}
	for id := range uint64(w.opt.voters) {
		pos.Voters = append(pos.Voters, id+1)
	}
	for range w.opt.voters {
		w.addPeer(snapshot{at: pos, state: state{index: 1, term: 1, chain: 1}})
	}
}

// boot starts the machine: its boot-time clock begins anew.
func (p *peer) boot() {
	p.boots++
	p.bootedAt, p.zero = p.w.now, p.w.between(time.Second, time.Minute)
}

// clock is the boot-time clock of the machine.
func (p *peer) clock() time.Duration {
	return p.zero + time.Duration(float64(p.w.now-p.bootedAt)*p.rate)
}

// own makes an event of this life of the process; a pause puts it off.
func (p *peer) own(d time.Duration, do func()) {
	life := p.life
	var at func()
	at = func() {
		switch {
		case !p.up || p.life != life:
		case p.paused > p.w.now:
			p.w.after(p.paused-p.w.now, at)
		default:
			do()
		}
	}
	p.w.after(d, at)
}

// loop lets the loop's goroutine do something, and then all that follows from it: now, unless it is held up. What waits is
// done in its order.
func (p *peer) loop(do func()) {
	p.inbox = append(p.inbox, do)
	if len(p.inbox) == 1 {
		p.work()
	}
}

func (p *peer) work() {
	life := p.life
	for p.up && p.life == life && len(p.inbox) > 0 {
		if late := max(p.stalled, p.paused) - p.w.now; late > 0 {
			p.own(late, p.work)
			return
		}
		p.inbox[0]()
		if p.up && p.life == life {
			p.drain()
			p.inbox = p.inbox[1:]
		}
	}
}

// start starts the process.
func (p *peer) start() {
	w := p.w
	if p.gone {
		return
	}
	p.life++
	if !p.openLog() {
		p.startLater(500 * time.Millisecond)
		return
	}
	p.up, p.diskBusy, p.stalled, p.paused = true, false, 0, 0
	p.inbox = nil
	p.writes, p.pending, p.reads, p.lease = nil, map[uint64]*write{}, map[uint64]*read{}, raftgroup.Lease{}
	var pos raftgroup.Position
	p.state = state{}
	if n := len(p.snapshots); n > 0 {
		pos, p.state = p.snapshots[n-1].at, p.snapshots[n-1].state
	}
	p.judge(pos)
	group, err := runner.NewGroup(p.log, raftgroup.Config{
		ID: p.id, Position: pos, TailBytes: 4 << 10, ElectionTimeout: electionTimeout, Now: p.clock(),
		Incarnation: uint64(p.life), Mute: p.mute,
	})
	if p.diskFailed(err) {
		return
	}
	if errors.Is(err, sys.ErrDiskFull) {
		p.crash(false)
		return
	}
	if err != nil {
		w.failf("peer %d cannot start: %v", p.id, err)
	}
	p.group = group
	p.pace = raftgroup.NewPace(p.clock()+group.TickLength(), group.TickLength())
	p.committed = group.Committed()
	p.terms = map[uint64]uint64{pos.Index: pos.Term}
	runs := p.log.Restored().Terms
	for i, r := range runs {
		end := p.log.LastIndex()
		if i+1 < len(runs) {
			end = runs[i+1].Index - 1
		}
		for k := r.Index; k <= end; k++ {
			p.terms[k] = r.Term
		}
	}
	w.notef("start %d, log %d to %d, snapshot %d", p.id, p.log.FirstIndex(), p.log.LastIndex(), pos.Index)
	p.drain()
	if group.Lone() {
		p.loop(func() { _ = group.Campaign() })
	}
	p.tickAt(1)
}

// openLog may lose power again and again while it recovers. False: there is no space for it.
func (p *peer) openLog() bool {
	w := p.w
	for {
		if w.chance(w.opt.crashInDisk) {
			p.fs.CrashAt(1 + w.rng.IntN(12))
		}
		log, err := wal.Open(wal.Options{
			FS: p.fs, Dir: "/log", Group: "data", Instance: uuid.UUID{byte(p.id)}, SegmentBytes: 8 << 10, ReserveBytes: 4 << 10,
			Sync: w.opt.mode, Boot: p.bootName(),
		})
		if err == nil {
			p.log = log
			return true
		}
		if errors.Is(err, sys.ErrDiskFull) {
			p.fs.Kill()
			return false
		}
		if !errors.Is(err, fault.ErrCrashed) {
			w.failf("peer %d: open the log: %v", p.id, err)
		}
		p.fs.Reboot(p.policy())
	}
}

func (p *peer) policy() fault.Policy {
	switch p.w.rng.IntN(4) {
	case 0:
		return fault.LoseUnsynced
	case 1:
		return fault.KeepUnsynced
	case 2:
		return fault.TearLast(p.w.rng.IntN(4))
	}
	return fault.Random(p.w.rng, 0.5)
}

// tickAt makes the n-th tick of this life, unless it is put off. A loop that was held up finds one tick waiting, the next comes when it
// would have come anyway.
func (p *peer) tickAt(n int) {
	born, life := p.w.now, p.life
	length := time.Duration(float64(p.group.TickLength()) / p.rate)
	var tick func()
	tick = func() {
		p.loop(func() {
			if p.clock() < p.wake {
				return
			}
			p.makeUp()
			if p.pace.Due(p.clock()) {
				p.group.Tick(p.clock())
			}
			p.tend()
		})
		if p.life == life {
			n = max(n+1, int((p.w.now-born)/length)+1)
			p.own(born+time.Duration(n)*length-p.w.now, tick)
		}
	}
	p.own(time.Duration(n)*length, tick)
}

// makeUp makes the ticks that were put off.
func (p *peer) makeUp() {
	for range p.pace.MakeUp(p.clock()) {
		p.group.Tick(p.clock())
	}
}

// tend looks after the log as the runner does.
func (p *peer) tend() {
	if p.diskBusy {
		return
	}
	err := p.log.EnsureRoom()
	if err == nil && len(p.writes) == 0 && len(p.pending) == 0 {
		err = p.log.Mark()
	}
	p.mustWork(err)
}

// mustWork ends the process after a failure of its disk; any other error is one of the simulation.
func (p *peer) mustWork(err error) (alive bool) {
	switch {
	case err == nil || errors.Is(err, sys.ErrDiskFull):
		return true
	case !p.diskFailed(err):
		p.w.failf("peer %d: %v", p.id, err)
	}
	return false
}

// diskFailed tells whether the process is gone. Without space it lives on, after every other error it does not.
func (p *peer) diskFailed(err error) bool {
	if err == nil || errors.Is(err, sys.ErrDiskFull) {
		return false
	}
	if !p.fs.Crashed() && !errors.Is(err, wal.ErrPoisoned) {
		return false
	}
	p.crash(p.fs.Crashed())
	return true
}

// holdNotices has followers told late of what is committed, as the runner does while much is written. Half of the peers do so.
func (p *peer) holdNotices() {
	if p.id%2 == 0 {
		p.group.HoldNotices(true)
		// What is held goes within that time, also what a heartbeat's answer brings about.
		p.own(5*time.Millisecond, func() {
			p.loop(func() {
				p.group.HoldNotices(false)
				p.group.SendNotices()
			})
		})
	}
}

// drain does all the work that the group has, but the disk's.
func (p *peer) drain() {
	for p.up {
		rd, ok := p.group.Ready()
		p.w.checkStatus(p)
		if !ok {
			break
		}
		if rd.Changed {
			clear(p.pending)
		}
		if rd.Write != nil {
			p.writes = append(p.writes, rd.Write)
		}
		for i := range rd.Committed {
			p.apply(&rd.Committed[i])
		}
		if len(rd.Committed) > 0 {
			p.group.Applied()
		}
		for _, r := range rd.ReadStates {
			p.answered(r)
		}
		p.lease = p.group.Lease()
		for _, m := range rd.Messages {
			p.w.net.send(p, m)
		}
	}
	p.log.NoteCommit(p.group.AppliedIndex())
	p.feedDisk()
	p.finishReads()
	p.snapshotIfDue()
	p.wake = p.pace.Rest(p.group.IdleTicks())
}

func (p *peer) apply(e *raftgroup.Entry) {
	p.w.checkApplied(p, e)
	if e.Type == raftgroup.EntryConfChange {
		s := p.group.ApplyConfChange(*e)
		p.w.notef("%d: voters %v learners %v joint %t", p.id, s.Voters, s.Learners, s.Joint)
		if s.Joint {
			p.w.stats.joint++
		}
	}
	if op := p.pending[e.Index]; op != nil {
		delete(p.pending, e.Index)
		if op.term == e.Term {
			p.w.know(e.Index)
			p.w.stats.acked++
			p.w.client.acked(p.w, op)
		}
	}
}

// feedDisk begins the next disk write if the disk is free.
func (p *peer) feedDisk() {
	if p.diskBusy || len(p.writes) == 0 {
		return
	}
	w := p.w
	p.diskBusy = true
	d := w.between(200*time.Microsecond, w.opt.disk)
	if w.chance(w.opt.slow) {
		d += w.between(0, w.opt.slowDelay)
	}
	p.own(d, p.writeOut)
}

// writeOut is the end of a disk write, or of the machine.
func (p *peer) writeOut() {
	w := p.w
	var b runner.Batch
	for _, x := range p.writes {
		if !b.Add(x, nil) {
			break
		}
	}
	if !w.healed && w.chance(w.opt.crashInDisk/10) {
		p.fs.CrashAt(1 + w.rng.IntN(3))
	}
	if !w.healed && w.chance(w.opt.diskErrors) {
		p.fs.Inject(fault.Fault{Op: []fault.Op{fault.OpSync, fault.OpWrite, fault.OpSyncDir}[w.rng.IntN(3)], Times: 1})
	}
	err := b.Append(p.log)
	if errors.Is(err, sys.ErrDiskFull) {
		w.stats.full++
		err = b.AppendHardState(p.log)
		if p.mustWork(err) {
			p.own(w.between(10*time.Millisecond, time.Second), p.writeOut)
		}
		return
	}
	if !p.mustWork(err) {
		return
	}
	done := p.writes[:b.Writes()]
	p.writes = append([]*raftgroup.Write(nil), p.writes[b.Writes():]...)
	for _, x := range done {
		p.noteWritten(x)
	}
	p.diskBusy = false
	p.loop(func() {
		for _, x := range done {
			p.install(x)
			p.group.Persisted(x)
		}
	})
	p.feedDisk()
}

func (p *peer) noteWritten(x *raftgroup.Write) {
	if x.Snapshot != nil {
		p.terms = map[uint64]uint64{x.Snapshot.Index: x.Snapshot.Term}
	}
	for i := range x.Entries {
		p.w.checkWritten(p, &x.Entries[i])
	}
}

// install puts the snapshot in the place of the state machine.
func (p *peer) install(x *raftgroup.Write) {
	if x.Snapshot == nil {
		return
	}
	s := p.snapshotAt(x.Snapshot.Index)
	if s == nil || s.at.Term != x.Snapshot.Term || s.at.Index <= p.state.index {
		p.w.failf("peer %d, at index %d, is to install a snapshot of index %d: %+v", p.id, p.state.index, x.Snapshot.Index, s)
	}
	p.state = s.state
	p.w.checkState(p)
	p.w.stats.installs++
	p.w.notef("%d installs snapshot %d", p.id, s.at.Index)
}

func (p *peer) snapshotAt(index uint64) *snapshot {
	for i := range p.snapshots {
		if p.snapshots[i].at.Index == index {
			return &p.snapshots[i]
		}
	}
	return nil
}

// keepSnapshot keeps a snapshot in its place. All are kept: a message under way, or a write that waits for the disk, may
// name an old one.
func (p *peer) keepSnapshot(s snapshot) {
	at, known := slices.BinarySearchFunc(p.snapshots, s.at.Index, func(have snapshot, index uint64) int {
		return cmp.Compare(have.at.Index, index)
	})
	if !known {
		p.snapshots = slices.Insert(p.snapshots, at, s)
	}
}

// snapshotIfDue takes a snapshot and forgets some of the log before it.
func (p *peer) snapshotIfDue() {
	if p.mute {
		return
	}
	n := len(p.snapshots)
	due := n > 0 && p.state.index > p.snapshots[n-1].at.Index+p.w.opt.snapshotEvery
	if !p.up || n == 0 || !due && (!p.group.SnapshotWanted() || p.state.index == p.snapshots[n-1].at.Index) {
		return
	}
	pos := p.group.Position()
	p.keepSnapshot(snapshot{at: pos, state: p.state})
	p.group.HaveSnapshot(pos)
	p.w.stats.snapshots++
	p.w.notef("%d takes snapshot %d", p.id, pos.Index)
	keep := uint64(p.w.rng.IntN(20))
	if pos.Index <= keep {
		return
	}
	p.group.Compact(pos.Index - keep)
	p.mustWork(p.log.CompactTo(pos.Index - keep))
}

// crash ends the process, with power lost or not, and starts it again some time later.
func (p *peer) crash(power bool) {
	w := p.w
	p.up = false
	p.life++
	p.lease = raftgroup.Lease{}
	if power {
		w.stats.crashes++
		p.fs.Reboot(p.policy())
		p.boot()
	} else {
		w.stats.kills++
		p.fs.Kill()
	}
	w.notef("end %d, power lost: %t", p.id, power)
	down := w.between(10*time.Millisecond, w.opt.down)
	if w.healed {
		down = 10 * time.Millisecond
	}
	p.startLater(down)
}

func (p *peer) startLater(d time.Duration) {
	life := p.life
	p.w.after(d, func() {
		if p.life == life {
			p.start()
		}
	})
}
