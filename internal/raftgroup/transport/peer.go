package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// item is a message that waits.
type item struct {
	group uint8
	m     raftgroup.Message
	size  int
}

func (i item) target() target { return target{i.group, i.m.To()} }

// target is a replica.
type target struct {
	group  uint8
	raftID uint64
}

// peer is the queue to the instance at one address. One goroutine begins its calls, so that they are in order.
type peer struct {
	t       *Transport
	address string
	wake    chan struct{}

	// mu guards what follows.
	mu           sync.Mutex
	urgent, bulk []item
	bytes        int // of bulk
	// tell: a report is to be sent soon. untold: one was lost, the next call has another.
	tell, untold bool
	inFlight     int
	// lost are the replicas whose messages found no room, true if a snapshot was among them.
	lost    map[target]bool
	failing bool
	stats   PeerStats

	// told is when the last report was made. It and the buffers belong to run.
	told          time.Time
	encoded, call []byte
}

// batch is what goes in one call.
type batch struct {
	items []item
	tell  bool
}

func (p *peer) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// addLocked queues a message, or loses it if there is no room. mu is held.
func (p *peer) addLocked(i item) {
	o := &p.t.opts
	switch bulk := i.m.Bulk(); {
	case !bulk && len(p.urgent) < o.QueueMessages:
		p.urgent = append(p.urgent, i)
	case bulk && len(p.bulk) < o.QueueMessages && (p.bytes == 0 || p.bytes+i.size <= o.QueueBytes):
		p.bulk = append(p.bulk, i)
		p.bytes += i.size
	default:
		_, snapshot := i.m.Snapshot()
		p.lost[i.target()] = p.lost[i.target()] || snapshot
		p.stats.Lost++
	}
}

// run begins calls as long as there is something to send, and ends when there has been nothing for a while.
func (p *peer) run() {
	defer p.t.done.Done()
	idle := time.NewTimer(p.t.opts.IdleTimeout)
	defer idle.Stop()
	for {
		select {
		case <-p.t.ctx.Done():
			return
		case <-idle.C:
			if p.forget() {
				return
			}
			idle.Reset(p.t.opts.IdleTimeout)
			continue
		case <-p.wake:
		}
		idle.Reset(p.t.opts.IdleTimeout)
		p.tellLost()
		for p.t.ctx.Err() == nil {
			b, ok := p.take()
			if !ok {
				break
			}
			p.start(b)
		}
	}
}

// forget takes the peer out of the transport if nothing waits.
func (p *peer) forget() bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.urgent)+len(p.bulk)+p.inFlight+len(p.lost) > 0 || p.tell {
		return false
	}
	delete(p.t.peers, p.address)
	return true
}

// tellLost tells of messages that found no room.
func (p *peer) tellLost() {
	p.mu.Lock()
	lost := p.lost
	if len(lost) > 0 {
		p.lost = make(map[target]bool)
	}
	p.mu.Unlock()
	p.t.tellLost(lost)
}

func (t *Transport) tellLost(lost map[target]bool) {
	for to, snapshot := range lost {
		t.opts.Unreachable(to.group, to.raftID)
		if snapshot {
			t.opts.SnapshotLost(to.group, to.raftID)
		}
	}
}

// take chooses what goes in the next call: all urgent messages, then others as long as the call is not too large. While
// as many calls are unanswered as may be, one more may carry urgent ones.
func (p *peer) take() (b batch, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &p.t.opts
	switch {
	case p.inFlight > o.Calls || p.inFlight == o.Calls && len(p.urgent) == 0:
		return batch{}, false
	case len(p.urgent)+len(p.bulk) == 0 && !p.tell:
		return batch{}, false
	}
	var size, bulkSize int
	p.urgent, size = b.fill(p.urgent, o.CallBytes)
	if p.inFlight < o.Calls {
		p.bulk, bulkSize = b.fill(p.bulk, o.CallBytes-size)
		p.bytes -= bulkSize
	}
	b.tell = p.tell || p.untold
	p.tell, p.untold = false, false
	p.inFlight++
	p.stats.Calls++
	p.stats.Messages += uint64(len(b.items))
	return b, true
}

// fill moves messages from a queue to the batch until they have enough bytes. It returns the rest, and how many these are.
func (b *batch) fill(queue []item, enough int) (rest []item, size int) {
	n := 0
	for ; n < len(queue) && len(b.items)+n < wire.MessagesMax && size < enough; n++ {
		size += queue[n].size
	}
	b.items = append(b.items, queue[:n]...)
	rest = append(queue[:0], queue[n:]...)
	clear(queue[len(rest):])
	return rest, size
}

// start begins a call.
func (p *peer) start(b batch) {
	message, err := p.encode(b)
	if err != nil {
		p.finish(b, err)
		return
	}
	ctx, cancel := context.WithTimeout(p.t.ctx, p.t.opts.Timeout)
	wait, err := p.t.opts.Caller.Start(ctx, p.address, wire.ProcInteract, message)
	if err != nil {
		cancel()
		p.finish(b, err)
		return
	}
	p.t.done.Add(1)
	go func() {
		defer p.t.done.Done()
		defer cancel()
		answer, err := wait(ctx)
		if err == nil && len(answer) > 0 && !wire.IsNil(answer) {
			p.t.opts.Answered(p.address, answer)
		}
		p.finish(b, err)
	}()
}

// bufferBytesMax bounds the buffers that are kept for the next call.
const bufferBytesMax = 4 << 20

// encode makes the message of a call, which is valid until the next one is made.
func (p *peer) encode(b batch) ([]byte, error) {
	m := wire.Interact{Header: p.t.opts.Header(), Messages: make([]wire.GroupMessage, 0, len(b.items))}
	if now := time.Now(); b.tell || now.Sub(p.told) >= p.t.opts.ReportInterval {
		if m.Report = p.t.opts.Report(p.address); m.Report != nil {
			p.told = now
		}
	}
	if cap(p.encoded) > bufferBytesMax {
		p.encoded, p.call = nil, nil
	}
	p.encoded = p.encoded[:0]
	for _, i := range b.items {
		from := len(p.encoded)
		var err error
		if p.encoded, err = i.m.Append(p.encoded); err != nil {
			return nil, err
		}
		m.Messages = append(m.Messages, wire.GroupMessage{Group: i.group, Data: p.encoded[from:]})
	}
	p.call = m.Append(p.call[:0])
	return p.call, nil
}

// finish notes the end of a call.
func (p *peer) finish(b batch, err error) {
	if p.t.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	p.inFlight--
	turned := p.failing != (err != nil)
	p.failing = err != nil
	if err != nil {
		p.stats.Failed++
		p.untold = true
	}
	p.mu.Unlock()
	log := p.t.opts.Logger
	switch {
	case turned && err != nil:
		log.Warn("raft messages do not reach an instance", "address", p.address, "error", err)
	case turned:
		log.Info("raft messages reach an instance again", "address", p.address)
	}
	if err != nil {
		p.tellFailed(b, err)
	}
	p.wakeUp()
}

// tellFailed tells that what was in a call may be lost.
func (p *peer) tellFailed(b batch, err error) {
	lost := make(map[target]bool)
	for _, i := range b.items {
		_, snapshot := i.m.Snapshot()
		lost[i.target()] = lost[i.target()] || snapshot
	}
	p.t.tellLost(lost)
	if refusal := (*errcode.Error)(nil); errors.As(err, &refusal) {
		p.t.opts.Refused(p.address, refusal)
	}
}
