// Package transport carries raft messages of all groups to other instances. Each instance has a bounded queue; what waits
// there goes in one call together, messages by which replicas know that others live and lead before those with entries.
// Effects: goroutines, clock. How a call reaches the other side is package rpc's; the content of snapshots goes another way.
package transport

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// Caller begins calls, see rpc.Pool. Calls begun one after the other arrive in this order. The message is not kept.
type Caller interface {
	Start(ctx context.Context, address, procedure string, message []byte) (wait func(context.Context) ([]byte, error), err error)
}

// Options of a Transport. Caller and Header must be given. The functions are called on goroutines of the transport, which
// wait for them.
type Options struct {
	Caller Caller
	// Header makes the header of a call.
	Header func() wire.Header
	// Report makes what the instance at an address is told about this one, nil for nothing. After something was told it
	// is not asked for ReportInterval (200 ms), unless Tell wants it.
	Report         func(address string) *wire.Report
	ReportInterval time.Duration
	// Unreachable tells that messages to a replica may be lost: no room, no connection, or no answer.
	Unreachable func(group uint8, raftID uint64)
	// SnapshotLost tells that a message that announces a snapshot may be lost; Unreachable is told as well.
	SnapshotLost func(group uint8, raftID uint64)
	// Refused tells that the other side has refused a call or the login, for example because it belongs to another cluster.
	Refused func(address string, err *errcode.Error)
	// Answered gets what an instance has answered to a call, if that is more than nothing: an encoded wire.Interact.
	Answered func(address string, answer []byte)
	Logger   *slog.Logger

	// CallBytes (1 MiB) is the size of messages from which on no more are put into one call.
	CallBytes int
	// Calls (4) bounds the unanswered calls to one instance; one more may carry messages without entries.
	Calls int
	// QueueMessages (8,192 of each kind) and QueueBytes (64 MiB of messages with entries) bound what waits for one
	// instance; what does not fit is lost.
	QueueMessages, QueueBytes int
	// Timeout is how long an answer is waited for (5 s).
	Timeout time.Duration
	// IdleTimeout is how long an instance without messages is remembered (1 min).
	IdleTimeout time.Duration
}

const (
	reportIntervalDefault = 200 * time.Millisecond
	callBytesDefault      = 1 << 20
	callsDefault          = 4
	queueMessagesDefault  = 8192
	queueBytesDefault     = 64 << 20
	timeoutDefault        = 5 * time.Second
	idleDefault           = time.Minute
)

func (o Options) withDefaults() Options {
	if o.Report == nil {
		o.Report = func(string) *wire.Report { return nil }
	}
	if o.Unreachable == nil {
		o.Unreachable = func(uint8, uint64) {}
	}
	if o.SnapshotLost == nil {
		o.SnapshotLost = func(uint8, uint64) {}
	}
	if o.Refused == nil {
		o.Refused = func(string, *errcode.Error) {}
	}
	if o.Answered == nil {
		o.Answered = func(string, []byte) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.ReportInterval, reportIntervalDefault)
	setDefault(&o.CallBytes, callBytesDefault)
	setDefault(&o.Calls, callsDefault)
	setDefault(&o.QueueMessages, queueMessagesDefault)
	setDefault(&o.QueueBytes, queueBytesDefault)
	setDefault(&o.Timeout, timeoutDefault)
	setDefault(&o.IdleTimeout, idleDefault)
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// Transport sends raft messages. All methods may be called from any goroutine, and none of them waits for the network.
type Transport struct {
	opts  Options
	ctx   context.Context
	close context.CancelFunc
	done  sync.WaitGroup

	// mu guards peers. Order: Transport.mu, peer.mu.
	mu    sync.Mutex
	peers map[string]*peer
}

// New makes a transport. Close ends it.
func New(o Options) *Transport {
	t := &Transport{opts: o.withDefaults(), peers: make(map[string]*peer)}
	t.ctx, t.close = context.WithCancel(context.Background())
	return t
}

// Close ends all calls and waits for the transport's goroutines. What waits is lost, silently.
func (t *Transport) Close() {
	t.mu.Lock()
	t.close()
	t.mu.Unlock()
	t.done.Wait()
}

// Send queues a message to a replica of the instance at an address. After Close it does nothing.
func (t *Transport) Send(address string, group uint8, m raftgroup.Message) {
	t.with(address, func(p *peer) { p.addLocked(item{group: group, m: m, size: m.Size()}) })
}

// Tell sends a report to the instance at an address soon, also without messages.
func (t *Transport) Tell(address string) {
	t.with(address, func(p *peer) { p.tell = true })
}

// with does something to a peer and wakes it.
func (t *Transport) with(address string, f func(p *peer)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return
	}
	p := t.peers[address]
	if p == nil {
		p = &peer{t: t, address: address, wake: make(chan struct{}, 1), lost: make(map[target]bool)}
		p.stats.Address = address
		t.peers[address] = p
		t.done.Add(1)
		go p.run()
	}
	p.mu.Lock()
	f(p)
	p.mu.Unlock()
	p.wakeUp()
}

// PeerStats counts what went to the instance at an address since it is remembered.
type PeerStats struct {
	Address string
	// Calls are finished or under way; Failed of them had no good answer.
	Calls, Failed uint64
	// Messages were put into calls; Lost are those that found no room.
	Messages, Lost uint64
	// Queued messages wait, with QueuedBytes in all.
	Queued, QueuedBytes int
}

// Stats returns the counters of all instances, in no order.
func (t *Transport) Stats() []PeerStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]PeerStats, 0, len(t.peers))
	for _, p := range t.peers {
		p.mu.Lock()
		s := p.stats
		s.Queued, s.QueuedBytes = len(p.urgent)+len(p.bulk), p.bytes
		p.mu.Unlock()
		all = append(all, s)
	}
	return all
}
