// Package runner drives a raft group: one goroutine owns the group and the state machine above it, a second one the disk.
// While one batch is being synced the next one is run and proposed, so that group commit comes free. Effects: goroutines,
// a ticker, and the log through package wal. What a batch means is decided by the Machine; what is committed by package
// raftgroup.
package runner

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Machine is the state machine above the log. All its methods are called on the loop's goroutine and must not block.
type Machine[R any] interface {
	// Run executes requests on the newest state, as leader of term, and returns the entry that will be at index; nil means
	// that there is nothing to write, and the index is used again. The slice of requests is valid during the call only;
	// the entry's bytes are copied before Run is called again.
	Run(index, term uint64, requests []R) (entry []byte)
	// Commit tells that the entry Run made for index is committed: make it visible, answer.
	Commit(index uint64)
	// Apply gives a committed entry that was not Run here or was aborted since. Every index is given exactly once, in order,
	// to Commit or to Apply; entry is empty for the no-op of a new leader and for changes of membership.
	Apply(index, term uint64, entry []byte)
	// Abort tells that all entries made by Run from index `from` on, which are not committed yet, are void here: undo them
	// and answer with err. Their outcome may be unknown (they come back by Apply if another leader commits them).
	Abort(from uint64, err error)
	// Refuse gives back requests that were not run, with the reason.
	Refuse(requests []R, err error)
	// ConfChanged tells that the membership has changed.
	ConfChanged(status raftgroup.Status)
}

// LocalRows is what a machine has too whose requests write rows that are not replicated. They are written beside the entry,
// in the same record of the log, and say themselves which entry that is.
type LocalRows interface {
	// LocalRows returns such rows of the last Run; they belong to the caller.
	LocalRows() [][]byte
}

// Worker is a Machine with work of its own, which takes many turns. Its methods are called on the loop's goroutine too.
type Worker interface {
	// Busy tells that Run has work to do even without requests. The loop then calls it between everything else, as long as
	// this replica leads; Run must do a small part of the work at a time.
	Busy() bool
	// GiveUp ends the work, with the reason for those who wait for it: this replica does not lead any more, the disk is
	// full or failed, or the loop stops. Entries that Run has made already are not touched. It may be called when there is no work.
	GiveUp(err error)
}

// Confirmer is what a machine is too that has answers which wrote nothing but tell what the state is. Such an answer rests on
// the newest state, so it may only go out once it is sure that nobody else led by the time it was made, and if what
// it rests on is committed; the machine looks after the second. Its methods are called on the loop's goroutine.
type Confirmer interface {
	// Unconfirmed is the number of the newest such answer that waits; 0 means none. Numbers grow with each Run that makes some.
	Unconfirmed() uint64
	// Confirm tells that this replica led when the answers up to a number had been made. Numbers of answers that are gone are
	// passed over.
	Confirm(upTo uint64)
	// Deny tells that this will never be known: those who wait get err.
	Deny(err error)
}

// Installer is what a machine has too that can become what a snapshot of another replica holds. A loop whose machine is none
// takes no snapshots.
type Installer interface {
	// Install makes the machine what the durable snapshot at the position holds, in one step; it is applied up to there
	// then. It is called with nothing run and not committed, on a goroutine of its own: until it returns the loop calls no other
	// method but Refuse. After an error nothing of the machine is used any more.
	Install(position raftgroup.Position) error
}

// Prompter is what a machine is too whose requests may come from other replicas, which answer when they have applied what was
// written.
type Prompter interface {
	// Prompt tells, once, that the entries committed last are waited for elsewhere. It is called after Commit.
	Prompt() bool
}

// Config of a loop. Log, Group, Machine and Clock must be given.
type Config[R any] struct {
	Log     *wal.Log
	Group   *raftgroup.Group
	Machine Machine[R]
	// Clock's boot-time is the group's time; Now of the group's configuration was read from it.
	Clock sys.Clock
	// Send hands a message to the transport, on the loop's goroutine; it must not block. Nil: messages are dropped (a group
	// of one voter has none).
	Send func(raftgroup.Message)
	// Fetch is told of a message that brings a snapshot, on the loop's goroutine; it must not block. It has the content
	// brought from the sender of the message, and calls Fetched when that is durable here. The leader sends such a message again and
	// again until it is installed. Nil: no snapshots are taken.
	Fetch func(raftgroup.Message)
	// OnSnapshotWanted is called on the loop's goroutine, often, while a replica needs a snapshot newer than the one that
	// Group.HaveSnapshot was last told of. It must not block.
	OnSnapshotWanted func()
	// OnInstalled is called on the loop's goroutine after the snapshot at a position has become the state of the machine.
	OnInstalled func(raftgroup.Position)
	// Name of the group, for errors and logs.
	Name string
	// Tick is how far apart ticks are, the group's TickLength unless given. The loop sleeps through those that do no more than count,
	// and makes up for them.
	Tick time.Duration
	// Phase, unless it is 0, is a time of the clock at which there is a tick: groups with the same one tick together, which wakes the
	// process less often, and lets what they send go together.
	Phase time.Duration
	// NoticeDelay is how long followers may not be told that an entry is committed if the next entry, which tells them too, is
	// expected before: one comes as soon after the last commit as the one before did. 0: they are told at once.
	NoticeDelay time.Duration
	// RetryInterval is how often a full disk is asked again, 1 s unless given.
	RetryInterval time.Duration
	// Bytes is about what a request adds to an entry; nil: they are taken as small. A Run gets requests for 4 MiB at most,
	// and one request in any case.
	Bytes func(R) int
	// QueueMax bounds the requests that wait, 65,536 unless given.
	QueueMax int
	Logger   *slog.Logger
	// OnStatus is called on the loop's goroutine when role, term, leader or membership changed.
	OnStatus func(raftgroup.Status)
	// OnPoison is called once, on the loop's goroutine, when the log could not be written. Nothing is acknowledged
	// afterwards.
	OnPoison func(error)
	// OnDiskFull is called on the loop's goroutine when the disk becomes full and when there is space again.
	OnDiskFull func(full bool)
}

const (
	queueMaxDefault = 65536
	// batchRequestsMax bounds the requests given to one Run.
	batchRequestsMax = 4096
	// batchBytesMax bounds them by what they say of their size.
	batchBytesMax = 4 << 20
	// writesInFlightMax bounds the writes that a leader makes before the oldest is durable: what waits meanwhile becomes one entry.
	writesInFlightMax = 4
	// ordersMax bounds the writes given to the disk and not yet finished. A follower gets as many as its leader sends before it
	// answers, and what waits when a sync ends goes with the next one, all of it: a slow disk would not keep up otherwise.
	ordersMax = 256
	// entryBytesMax bounds an entry; a machine keeps its transactions well below.
	entryBytesMax = 32 << 20
	// pendingBytesMax bounds the entries that were run and are not committed.
	pendingBytesMax      = 64 << 20
	retryIntervalDefault = time.Second
	// inboxMax bounds the messages of other replicas and the calls that wait.
	inboxMax = 1024
	// quiescePoll is how often Quiesce looks.
	quiescePoll = 2 * time.Millisecond
)

// Loop is a running group.
type Loop[R any] struct {
	cfg Config[R]

	// mu guards queue and refusal.
	mu sync.Mutex
	// queue holds submitted requests.
	queue []R
	// refusal, if not nil, is the answer to Submit.
	refusal error

	wake  chan struct{}
	inbox chan letter
	calls chan func()
	stop  chan struct{}
	force chan struct{}
	done  chan struct{}
	// stopOnce and forceOnce guard the closing of stop and force.
	stopOnce, forceOnce sync.Once

	status    atomic.Pointer[raftgroup.Status]
	committed atomic.Uint64
	applied   atomic.Uint64
	last      atomic.Uint64
	lease     shownLease
	progress  progress
	reads     reads

	// latency is written by the loop's goroutine and read by any.
	latency struct{ commit, apply latency }

	// the rest belongs to the loop's goroutine

	disk *disk
	// pace says when to tick, alarm when the loop is woken for it, 0 for never.
	pace  raftgroup.Pace
	stall stall
	alarm time.Duration
	// asker is the replica whose message is being answered, 0 if none is, and answers what the group has to say to it.
	asker   uint64
	answers []raftgroup.Message
	// worker is the machine, if it is one; ready is closed.
	worker Worker
	ready  chan struct{}
	// notices has what the messages that wait for an entry need, prompter is the machine, if it is one.
	notices  notices
	prompter Prompter
	// confirmer is the machine, if it is one; confirming: a read request is out on its behalf.
	confirmer  Confirmer
	confirming bool
	// ledTerm is the term that Deny has not been called for, if this replica leads.
	ledTerm uint64
	// elsewhere is the error that names a leader.
	elsewhere error
	leader    uint64
	// batch[batchAt:] has been taken from the queue and waits to be run.
	batch   []R
	batchAt int
	pending pending
	// writes are given out by the group and not finished yet; the first `durable` of them wait for an installation, the next
	// `handed` are with the disk.
	writes          []*raftgroup.Write
	durable, handed int
	// installing: the machine is being made what the first write's snapshot holds; installed gets the outcome.
	installing bool
	installed  chan error
	// locals are the rows beside entries that are not with the disk yet.
	locals    []localRows
	tending   bool
	sinceTend time.Duration
	// looked: nothing was written since room and mark were last looked after, with lookedAt applied.
	looked   bool
	lookedAt uint64
	full     bool
	poisoned bool
	stopping bool
	// quiet: nothing is run any more, see Quiesce.
	quiet bool
}

// Start starts the loop: entries above the group's applied index that are known to be committed are applied, a lone voter
// elects itself at once.
func Start[R any](cfg Config[R]) *Loop[R] {
	if cfg.Tick <= 0 {
		cfg.Tick = cfg.Group.TickLength()
	}
	if cfg.RetryInterval <= 0 {
		cfg.RetryInterval = retryIntervalDefault
	}
	if cfg.QueueMax <= 0 {
		cfg.QueueMax = queueMaxDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Loop[R]{
		cfg:   cfg,
		wake:  make(chan struct{}, 1),
		inbox: make(chan letter, inboxMax),
		calls: make(chan func(), inboxMax),
		stop:  make(chan struct{}),
		force: make(chan struct{}),
		done:  make(chan struct{}),
		disk:  startDisk(cfg.Log, cfg.RetryInterval),
		ready: make(chan struct{}),
		// One installation at a time.
		installed: make(chan error, 1),
	}
	close(l.ready)
	l.worker, _ = cfg.Machine.(Worker)
	l.confirmer, _ = cfg.Machine.(Confirmer)
	l.prompter, _ = cfg.Machine.(Prompter)
	l.reads.overdue = 2 * cfg.Tick
	l.progress.changed = make(chan struct{})
	first := cfg.Group.Status()
	l.status.Store(&first)
	go l.run()
	return l
}

// Submit queues requests. Errors, with nothing queued: Overloaded when the queue is full, DiskFull, Poisoned, Shutdown.
// Requests that cannot be run come back through Machine.Refuse.
func (l *Loop[R]) Submit(reqs []R) error {
	l.mu.Lock()
	if l.refusal != nil {
		err := l.refusal
		l.mu.Unlock()
		return err
	}
	if len(l.queue)+len(reqs) > l.cfg.QueueMax {
		l.mu.Unlock()
		return errcode.New(errcode.Overloaded, "too many requests are waiting to be written")
	}
	l.queue = append(l.queue, reqs...)
	l.mu.Unlock()
	l.poke()
	return nil
}

// Call runs fn on the loop's goroutine, for changes of membership, transfer of leadership and the like.
func (l *Loop[R]) Call(ctx context.Context, fn func(*raftgroup.Group) error) error {
	result := make(chan error, 1)
	call := func() { result <- fn(l.cfg.Group) }
	select {
	case l.calls <- call:
	case <-l.done:
		return wal.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-result:
		return err
	case <-l.done:
		return wal.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Compact forgets the log up to index, of which a snapshot is durable: whole segments are removed from disk.
func (l *Loop[R]) Compact(ctx context.Context, index uint64) error {
	err := l.Call(ctx, func(g *raftgroup.Group) error {
		g.Compact(min(index, g.AppliedIndex()))
		return nil
	})
	if err != nil {
		return err
	}
	return l.cfg.Log.CompactTo(index)
}

// Status is the group as the loop last saw it; any goroutine may ask. Its indexes may lag behind an answer that the machine
// has just given; Call sees them exactly.
func (l *Loop[R]) Status() raftgroup.Status {
	s := *l.status.Load()
	s.Committed, s.Applied, s.LastIndex = l.committed.Load(), l.applied.Load(), l.last.Load()
	return s
}

// Stop refuses what is still queued, waits until what was run is committed, and ends the goroutines. When ctx ends first,
// what is left is aborted; a disk call that hangs is left behind. The log stays open: its owner closes it.
func (l *Loop[R]) Stop(ctx context.Context) error {
	l.stopOnce.Do(func() { close(l.stop) })
	select {
	case <-l.done:
	case <-ctx.Done():
		l.forceOnce.Do(func() { close(l.force) })
		<-l.done
	}
	select {
	case <-l.disk.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Quiesce refuses requests from now on as Stop does, and returns when what was run is decided: committed and answered, or void
// because another replica leads. The loop goes on voting and following. Error: of the context, or ErrClosed of package wal.
func (l *Loop[R]) Quiesce(ctx context.Context) error {
	ticker := time.NewTicker(quiescePoll)
	defer ticker.Stop()
	for {
		decided := false
		err := l.Call(ctx, func(*raftgroup.Group) error {
			if !l.quiet {
				l.quiesce()
			}
			decided = l.poisoned || l.pending.empty() && l.unconfirmed() == 0
			return nil
		})
		if err != nil || decided {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Done is closed when the loop has ended.
func (l *Loop[R]) Done() <-chan struct{} { return l.done }
