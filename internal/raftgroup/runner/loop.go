package runner

import (
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
)

// localRows are rows that belong beside an entry.
type localRows struct {
	index, term uint64
	rows        [][]byte
}

// localOf returns the rows beside the entries of a write, and forgets those that no later write can have.
func (l *Loop[R]) localOf(w *raftgroup.Write) (rows [][]byte) {
	for n := len(w.Entries); n > 0 && len(l.locals) > 0 && l.locals[0].index <= w.Entries[n-1].Index; l.locals = l.locals[1:] {
		at := l.locals[0]
		if first := w.Entries[0].Index; at.index >= first && w.Entries[at.index-first].Term == at.term {
			rows = append(rows, at.rows...)
		}
	}
	return rows
}

// keepLocal notes the rows that the last Run made for beside its entry.
func (l *Loop[R]) keepLocal(index, term uint64) {
	if m, ok := l.cfg.Machine.(LocalRows); ok {
		if rows := m.LocalRows(); len(rows) > 0 {
			l.locals = append(l.locals, localRows{index: index, term: term, rows: rows})
		}
	}
}

// run is the loop's goroutine.
func (l *Loop[R]) run() {
	defer l.refuseLetters()
	defer close(l.done)
	defer close(l.disk.quit)
	defer func() { l.endReads(errShutdown()) }()
	defer l.notices.stop()
	l.publish()
	l.drain()
	if l.cfg.Group.Lone() {
		// A refusal to campaign is the library's log line; the next election timeout tries again.
		_ = l.cfg.Group.Campaign()
	}
	l.tend()
	now := l.cfg.Clock.Boot()
	l.pace = raftgroup.NewPace(now+beforeTick(l.cfg.Tick, l.cfg.Phase, now), l.cfg.Tick)
	alarm := time.NewTimer(time.Hour) // sleep sets it
	defer alarm.Stop()
	stop := l.stop
	for {
		l.drive()
		if l.stopping && l.idle() {
			return
		}
		l.sleep(alarm)
		select {
		case <-l.wake:
		case o := <-l.disk.outcomes:
			l.finished(o)
		case <-alarm.C:
			l.alarm = 0
			now := l.makeUp()
			if l.pace.Due(now) {
				l.hear(now)
				l.tick(now)
			}
		case in := <-l.inbox:
			l.receive(l.makeUp(), in)
		case call := <-l.calls:
			l.makeUp()
			call()
		case <-l.turn():
			l.propose(nil)
		case err := <-l.installed:
			l.endInstall(err)
		case <-stop:
			stop = nil
			l.beginStop()
		case <-l.force:
			l.beginStop()
			l.refuse(errShutdown())
			l.abort(errcode.New(errcode.UnknownOutcome, "the instance stopped"))
			l.deny(errShutdown())
			if l.installing { // the machine is not its owner's before
				<-l.installed
			}
			return
		}
	}
}

// beforeTick is how long after now the first tick is: more than 0, at most a tick.
func beforeTick(tick, phase, now time.Duration) time.Duration {
	if phase == 0 {
		return tick
	}
	since := (now - phase) % tick
	if since < 0 {
		since += tick
	}
	return tick - since
}

// sleep sets the alarm for the next tick that cannot be put off. One that rings too early is left as it is: that costs less than
// moving it with every message.
func (l *Loop[R]) sleep(alarm *time.Timer) {
	wake := l.pace.Rest(l.idleTicks())
	if l.alarm != 0 && l.alarm <= wake {
		return
	}
	l.alarm = wake
	alarm.Reset(wake - l.cfg.Clock.Boot())
}

// idleTicks is how many ticks may be put off: none while reads wait, which are looked after with each tick, or the log has to be.
func (l *Loop[R]) idleTicks() int {
	if l.poisoned || l.full || !l.rests() || len(l.reads.waiting) > 0 || l.unconfirmed() != 0 {
		return 0
	}
	return l.cfg.Group.IdleTicks()
}

// makeUp makes the ticks that were put off, before anything else happens. It returns the time.
func (l *Loop[R]) makeUp() (now time.Duration) {
	now = l.cfg.Clock.Boot()
	for range l.pace.MakeUp(now) {
		l.tick(now)
	}
	return now
}

// step gives the group a message. One that it does not take is of a stranger or of the past. One that brings a snapshot is
// put off until the content is there.
func (l *Loop[R]) step(now time.Duration, m raftgroup.Message) {
	if _, ok := m.Snapshot(); ok {
		l.fetch(m)
		return
	}
	l.take(now, m)
}

func (l *Loop[R]) take(now time.Duration, m raftgroup.Message) {
	if err := l.cfg.Group.Step(now, m); err != nil {
		l.cfg.Logger.Debug("message not taken", "group", l.cfg.Name, "from", m.From(), "error", err)
	}
}

func (l *Loop[R]) beginStop() {
	l.stopping = true
	l.quiesce()
}

// quiesce refuses what comes from now on.
func (l *Loop[R]) quiesce() {
	l.quiet = true
	l.mu.Lock()
	if !l.poisoned {
		l.refusal = errShutdown()
	}
	l.mu.Unlock()
	l.giveUp(errShutdown())
}

// turn is ready when the machine has work of its own and may do it. It needs no room for another entry: work makes few.
func (l *Loop[R]) turn() <-chan struct{} {
	if l.worker == nil || l.poisoned || l.full || l.quiet || !l.cfg.Group.Leading() || !l.worker.Busy() {
		return nil
	}
	return l.ready
}

func (l *Loop[R]) giveUp(err error) {
	if l.worker != nil && !l.installing {
		l.worker.GiveUp(err)
	}
}

// idle reports that nothing is under way.
func (l *Loop[R]) idle() bool {
	if l.installing {
		return false
	}
	return l.poisoned || (l.pending.empty() && len(l.writes) == 0 && !l.tending && l.unconfirmed() == 0)
}

// drive works until nothing more can be done without news.
func (l *Loop[R]) drive() {
	l.sendNotices()
	for {
		l.drain()
		if !l.runBatch() {
			break
		}
	}
	if !l.poisoned {
		l.refuseQueued()
		l.askReads()
	}
	l.keepNotices()
}

// drain does what the group has to do.
func (l *Loop[R]) drain() {
	g := l.cfg.Group
	worked := false
	for !l.poisoned {
		rd, ok := g.Ready()
		if !ok {
			break
		}
		worked = true
		if rd.Write != nil {
			l.writes = append(l.writes, rd.Write)
			l.feedDisk()
		}
		if l.poisoned {
			return
		}
		if len(rd.Committed) > 0 {
			l.apply(rd.Committed)
		}
		if rd.Changed {
			l.changed()
		}
		l.answerReads(rd.ReadStates)
		l.lease.show(g.Lease())
		for _, m := range rd.Messages {
			l.send(m)
		}
	}
	// The answer to a heartbeat extends the lease without making work.
	l.lease.show(g.Lease())
	if worked {
		l.committed.Store(g.Committed())
		l.applied.Store(g.AppliedIndex())
		l.last.Store(g.LastIndex())
		l.cfg.Log.NoteCommit(g.AppliedIndex())
		l.progress.tell()
		if l.cfg.OnSnapshotWanted != nil && g.SnapshotWanted() {
			l.cfg.OnSnapshotWanted()
		}
	}
	l.confirm()
}

// feedDisk hands waiting writes to the disk as far as it takes them without blocking. A write that needs no sync is done
// here at once: handing it over would cost more.
func (l *Loop[R]) feedDisk() {
	for l.handed < min(len(l.writes)-l.durable, ordersMax) && !l.poisoned {
		l.looked = false
		w := l.writes[l.durable+l.handed]
		local := l.localOf(w)
		if l.handed == 0 && w.HardState == nil && w.Snapshot == nil && l.cfg.Log.Mode() != wal.SyncFsync && !l.full {
			var b Batch
			b.Add(w, local)
			err := b.Append(l.cfg.Log)
			if err == nil {
				l.durable++
				l.settle()
				continue
			}
			if !errors.Is(err, sys.ErrDiskFull) {
				l.poison(err)
				return
			}
		}
		l.disk.orders <- order{write: w, local: local}
		l.handed++
	}
}

// settle tells the group which of its writes are durable, oldest first, up to one whose snapshot has to be installed before.
func (l *Loop[R]) settle() {
	n := 0
	for n < l.durable && !l.installing {
		if w := l.writes[n]; w.Snapshot != nil {
			l.beginInstall(*w.Snapshot)
			break
		}
		l.cfg.Group.Persisted(l.writes[n])
		n++
	}
	l.durable -= n
	rest := copy(l.writes, l.writes[n:])
	clear(l.writes[rest:])
	l.writes = l.writes[:rest]
}

// apply gives committed entries to the machine. An entry that was run here and is committed as it was counts as such even
// if leadership is gone by now.
func (l *Loop[R]) apply(entries []raftgroup.Entry) {
	g, m := l.cfg.Group, l.cfg.Machine
	invariant.Check(!l.installing, "runner: entries are committed while a snapshot is installed")
	began := l.cfg.Clock.Boot()
	for i := range entries {
		e := &entries[i]
		if !l.pending.empty() && l.pending.first().index == e.Index {
			if l.pending.first().term == e.Term {
				l.latency.commit.observe(began - l.pending.first().at)
				l.pending.pop()
				m.Commit(e.Index)
				continue
			}
			l.abort(errLeadershipLost())
		}
		invariant.Check(l.pending.empty() || l.pending.first().index > e.Index, "runner: entry %d passed over", e.Index)
		if e.Type == raftgroup.EntryConfChange {
			m.Apply(e.Index, e.Term, nil)
			m.ConfChanged(g.ApplyConfChange(*e))
			l.publish()
			continue
		}
		if len(e.Data) > 0 { // of another leader: the change of roles may come only behind it
			l.giveUp(l.notLeader())
		}
		m.Apply(e.Index, e.Term, e.Data)
	}
	l.latency.apply.observe(l.cfg.Clock.Boot() - began)
	g.Applied()
	if l.notices.committed = began; l.prompter != nil && l.prompter.Prompt() {
		g.SendNotices()
	}
}

func errLeadershipLost() error {
	return errcode.New(errcode.UnknownOutcome, "leadership was lost before the entry was committed")
}

// changed follows a change of role, term or leader.
func (l *Loop[R]) changed() {
	g := l.cfg.Group
	s := g.Status()
	if !l.pending.empty() && (s.Role != raftgroup.RoleLeader || s.Term != l.pending.first().term) {
		l.abort(errLeadershipLost())
	}
	if !g.Leading() {
		l.giveUp(raftgroup.NotLeader(s.LeaderID))
	}
	if s.Role != raftgroup.RoleLeader || s.Term != l.ledTerm {
		l.ledTerm = s.Term
		l.deny(raftgroup.NotLeader(s.LeaderID))
	}
	l.reads.newest = 0 // what was asked for may never be answered
	l.publish()
}

// abort voids everything that was run and is not committed.
func (l *Loop[R]) abort(err error) {
	if l.pending.empty() {
		return
	}
	from := l.pending.first().index
	l.pending.clear()
	l.cfg.Machine.Abort(from, err)
}

// publish makes the status visible and tells OnStatus.
func (l *Loop[R]) publish() {
	s := l.cfg.Group.Status()
	l.committed.Store(s.Committed)
	l.applied.Store(s.Applied)
	l.last.Store(s.LastIndex)
	l.status.Store(&s)
	l.progress.tell()
	if l.cfg.OnStatus != nil {
		l.cfg.OnStatus(s)
	}
}

// runBatch runs and proposes one batch of what is queued; false if there is nothing to run or no leave to run it.
func (l *Loop[R]) runBatch() bool {
	g := l.cfg.Group
	if l.poisoned || l.full || l.quiet || l.installing || len(l.writes) >= writesInFlightMax || l.pending.bytes > pendingBytesMax {
		return false
	}
	if !g.Leading() || !l.takeQueue() {
		return false
	}
	reqs := l.nextBatch()
	if !l.roomFor(reqs) {
		return false
	}
	l.batchAt += len(reqs)
	l.propose(reqs)
	return true
}

// propose runs requests and proposes what they write.
func (l *Loop[R]) propose(reqs []R) {
	g := l.cfg.Group
	index, term := g.LastIndex()+1, g.Term()
	entry := l.cfg.Machine.Run(index, term, reqs)
	clear(reqs)
	if entry == nil {
		l.confirm()
		return
	}
	invariant.Check(len(entry) > 0, "runner: Run made an empty entry for index %d", index)
	var at uint64
	err := error(errcode.New(errcode.TooBig, "A log entry", len(entry), entryBytesMax))
	if len(entry) <= entryBytesMax {
		at, err = g.Propose(term, entry)
	}
	if err != nil {
		l.cfg.Machine.Abort(index, err)
		return
	}
	invariant.Check(at == index, "runner: entry %d got index %d", index, at)
	now := l.cfg.Clock.Boot()
	l.holdNotices(now)
	l.pending.push(pendingEntry{index: index, term: term, bytes: len(entry), at: now})
	l.keepLocal(index, term)
}

// nextBatch is what the next Run gets of the requests that were taken: by number and by size.
func (l *Loop[R]) nextBatch() []R {
	reqs := l.batch[l.batchAt:min(len(l.batch), l.batchAt+batchRequestsMax)]
	if l.cfg.Bytes == nil {
		return reqs
	}
	size := 0
	for n, r := range reqs {
		if size += l.cfg.Bytes(r); size > batchBytesMax && n > 0 {
			return reqs[:n]
		}
	}
	return reqs
}

// takeQueue makes l.batch[l.batchAt:] the oldest requests that wait; false if there are none.
func (l *Loop[R]) takeQueue() bool {
	if l.batchAt < len(l.batch) {
		return true
	}
	l.batch, l.batchAt = l.batch[:0], 0
	l.mu.Lock()
	l.batch, l.queue = l.queue, l.batch
	l.mu.Unlock()
	return len(l.batch) > 0
}

// refuseQueued gives back what waits in vain: this replica does not lead, or the disk is full. A lone voter that has not
// elected itself yet, and a leader whose no-op is not applied yet, keep it waiting.
func (l *Loop[R]) refuseQueued() {
	g := l.cfg.Group
	switch {
	case l.full:
		l.refuse(l.diskFullError())
	case l.quiet:
		l.refuse(errShutdown())
	case g.Lone() || l.status.Load().Role == raftgroup.RoleLeader:
	default:
		l.refuse(l.notLeader())
	}
}

// notLeader is the error for those who asked this replica although it does not lead. It is asked for with every entry.
func (l *Loop[R]) notLeader() error {
	if leader := l.status.Load().LeaderID; l.elsewhere == nil || l.leader != leader {
		l.elsewhere, l.leader = raftgroup.NotLeader(leader), leader
	}
	return l.elsewhere
}

func (l *Loop[R]) refuse(err error) {
	for l.takeQueue() {
		reqs := l.batch[l.batchAt:]
		l.batchAt = len(l.batch)
		l.cfg.Machine.Refuse(reqs, err)
		clear(reqs)
	}
}

func (l *Loop[R]) diskFullError() error { return errcode.New(errcode.DiskFull, l.cfg.Name) }

func errShutdown() error { return errcode.New(errcode.Shutdown) }

// finished takes what the disk has done.
func (l *Loop[R]) finished(o outcome) {
	if l.poisoned {
		return
	}
	if o.err != nil {
		l.poison(o.err)
		return
	}
	l.stall.finished++
	l.handed -= o.written
	l.durable += o.written
	l.settle()
	if o.tended {
		l.tending = false
	}
	l.setFull(o.full)
	l.feedDisk()
}

func (l *Loop[R]) setFull(full bool) {
	if full == l.full {
		return
	}
	l.full = full
	l.mu.Lock()
	if l.refusal = nil; full {
		l.refusal = l.diskFullError()
	}
	if l.quiet {
		l.refusal = errShutdown()
	}
	l.mu.Unlock()
	if full {
		l.giveUp(l.diskFullError())
		l.cfg.Logger.Error("disk full: writes are refused", "group", l.cfg.Name)
	} else {
		l.cfg.Logger.Info("disk has space again: writes go on", "group", l.cfg.Name)
	}
	if l.cfg.OnDiskFull != nil {
		l.cfg.OnDiskFull(full)
	}
}

// poison ends all acknowledging.
func (l *Loop[R]) poison(err error) {
	l.poisoned = true
	reason := errcode.New(errcode.Poisoned, err.Error())
	l.mu.Lock()
	l.refusal = reason
	l.mu.Unlock()
	unknown := errcode.New(errcode.UnknownOutcome, "the log could not be written")
	unknown.Cause = reason
	l.abort(unknown)
	l.deny(reason)
	l.endReads(reason)
	l.giveUp(reason)
	l.refuse(reason)
	l.cfg.Logger.Error("log poisoned: nothing is acknowledged any more", "group", l.cfg.Name, "error", err)
	if l.cfg.OnPoison != nil && !errors.Is(err, wal.ErrClosed) {
		l.cfg.OnPoison(err)
	}
}

// tend has the disk prepare room and, if nothing is under way, write the commit mark.
func (l *Loop[R]) tend() {
	if l.tending || l.poisoned || l.stopping {
		return
	}
	l.tending, l.sinceTend = true, 0
	l.looked, l.lookedAt = len(l.writes) == 0 && l.pending.empty(), l.cfg.Group.AppliedIndex()
	l.disk.orders <- order{mark: l.looked}
}
