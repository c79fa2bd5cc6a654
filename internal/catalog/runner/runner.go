// Package runner keeps the catalog of one instance: it runs requests on the newest state while this instance leads the
// catalog's raft group, applies what is committed, and publishes an immutable view after each entry. It implements the
// Machine of raftgroup/runner, whose loop calls it. Effects: channels to wake readers and to answer requests; no files and
// no network. What an operation does is decided by package catalog, who leads by raftgroup.
package runner

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// Request is one request on its way to the catalog's log. Make a new one for every attempt.
type Request struct {
	Ops []catalog.Op
	// Predicate guards the request by compare-and-swap; nil: unguarded.
	Predicate *catalog.Predicate
	// Initiator is the id of the user on whose behalf it runs.
	Initiator uint32
	// ID makes a repeated request be applied once; zero: none.
	ID catalog.RequestID

	stage atomic.Int32 // one of the stage constants
	done  chan outcome // of capacity 1, answered exactly once
}

const (
	stageWaiting   int32 = iota
	stageRunning         // Run has it: the outcome is open
	stageCancelled       // the requester gave up before it ran: it will never run
)

type outcome struct {
	result catalog.Result
	err    error
}

// Submitter is the loop of the catalog's raft group: raftgroup/runner.Loop[*Request].
type Submitter interface {
	Submit(reqs []*Request) error
}

// Options of a Machine.
type Options struct {
	// Start is the catalog to begin with, as restored from a snapshot; nil: empty at index 0.
	Start *catalog.State
	// OnCommit, if set, is called on the loop's goroutine after each entry that changed rows has become visible. It must
	// not block.
	OnCommit func(index uint64, changes []catalog.Change, view *catalog.State)
	// Load reads the durable snapshot at a position, for Install. Nil: no snapshots are taken.
	Load func(raftgroup.Position) (*catalog.State, error)
	// OnInstall, if set, is called after the catalog has become that of a snapshot: any row may be another one. It is not
	// called on the loop's goroutine, but at no other callback's time, and must not block.
	OnInstall func(view *catalog.State)
	// OnConfChanged, if set, is called on the loop's goroutine when the members of the group have changed.
	OnConfChanged func(raftgroup.Status)
}

// Machine is the catalog of this instance. Run, Commit, Apply, Abort, Refuse and ConfChanged belong to the loop's
// goroutine; everything else may be called from any.
type Machine struct {
	opts Options
	view atomic.Pointer[catalog.State]
	loop atomic.Pointer[Submitter]

	// mu guards wakes and closed.
	mu    sync.Mutex
	wakes map[<-chan struct{}]chan struct{}

	// the rest belongs to the loop's goroutine
	newest  *catalog.State // with the entries that are run and not committed
	history *catalog.History
	pending []batch // oldest first
	// unwritten are answers that wait to be confirmed, asked the number of the newest.
	unwritten []answer
	asked     uint64
}

// batch is an entry that was run here and is not committed yet.
type batch struct {
	index   uint64
	state   *catalog.State
	changes []catalog.Change
	answers []answer
}

type answer struct {
	req      *Request
	out      outcome
	written  bool   // it is in the entry
	repeated bool   // it was in an earlier entry
	no       uint64 // when it waits to be confirmed
}

// New makes a machine. Bind must be called before the first Propose.
func New(opts Options) *Machine {
	m := &Machine{opts: opts, wakes: map[<-chan struct{}]chan struct{}{}}
	start := opts.Start
	if start == nil {
		start = catalog.New()
	}
	m.Restore(start)
	return m
}

// Restore replaces the whole catalog by that of a snapshot. Only before the loop is started, or on its goroutine with
// nothing pending.
func (m *Machine) Restore(s *catalog.State) {
	invariant.Check(len(m.pending) == 0, "catalog: restored with %d entries pending", len(m.pending))
	m.newest = s
	m.history = catalog.NewHistory(s.Position())
	m.publish(s)
}

// Bind gives the machine the loop to which it submits requests.
func (m *Machine) Bind(loop Submitter) { m.loop.Store(&loop) }

// View returns the newest committed catalog. It never changes; nothing waits for it to be released.
func (m *Machine) View() *catalog.State { return m.view.Load() }

// Applied returns the index up to which View holds the log.
func (m *Machine) Applied() uint64 {
	index, _ := m.View().Position()
	return index
}

// Subscribe returns a channel that gets a token after the view has changed. Tokens carry nothing and are not counted:
// whoever gets one reads the view afresh. Unsubscribe ends it.
func (m *Machine) Subscribe() <-chan struct{} {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakes[ch] = ch
	return ch
}

// Unsubscribe forgets a channel that Subscribe returned. The channel is not closed.
func (m *Machine) Unsubscribe(ch <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.wakes, ch)
}

// Wait returns when the view holds the entry at index, or with the context's error.
func (m *Machine) Wait(ctx context.Context, index uint64) error {
	if m.Applied() >= index {
		return nil
	}
	wake := m.Subscribe()
	defer m.Unsubscribe(wake)
	for m.Applied() < index {
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Propose runs an unguarded operation and returns when it is committed and visible here. See Do for errors.
func (m *Machine) Propose(ctx context.Context, op catalog.Op) (catalog.Result, error) {
	return m.Do(ctx, &Request{Ops: []catalog.Op{op}, Initiator: catalog.AdminID})
}

// ProposeCAS runs a guarded operation. See Do for errors, and catalog.CheckCAS for those of the guard.
func (m *Machine) ProposeCAS(ctx context.Context, op catalog.Op, p catalog.Predicate) (catalog.Result, error) {
	return m.Do(ctx, &Request{Ops: []catalog.Op{op}, Predicate: &p, Initiator: catalog.AdminID})
}

// Do runs a request and returns when it is committed and visible here. An error means that it has not happened and never
// will, except 12001: the outcome is unknown. When the context ends before the request was run it is withdrawn.
func (m *Machine) Do(ctx context.Context, req *Request) (catalog.Result, error) {
	if err := ctx.Err(); err != nil {
		return catalog.Result{}, err
	}
	loop := m.loop.Load()
	if loop == nil {
		return catalog.Result{}, errcode.New(errcode.LeaderUnknown)
	}
	req.done = make(chan outcome, 1)
	if err := (*loop).Submit([]*Request{req}); err != nil {
		return catalog.Result{}, err
	}
	select {
	case out := <-req.done:
		return out.result, out.err
	case <-ctx.Done():
	}
	if req.stage.CompareAndSwap(stageWaiting, stageCancelled) {
		return catalog.Result{}, ctx.Err()
	}
	select {
	case out := <-req.done: // it was answered at the same moment
		return out.result, out.err
	default:
		return catalog.Result{}, errors.Join(errcode.New(errcode.UnknownOutcome, "no answer in time"), ctx.Err())
	}
}

func (m *Machine) publish(s *catalog.State) {
	m.view.Store(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ch := range m.wakes {
		select {
		case ch <- struct{}{}:
		default: // a token is waiting already
		}
	}
}
