package instance

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// A replica that does not lead passes writes on to the leader of its group, waits until it has applied them itself, and
// answers as the leader did. What was sent is never sent again, unless it came back as not carried out.

// forwarder carries statements to another replica.
type forwarder interface {
	// Forward has the replica with a raft id run statements, and returns how. An error is one of three: errElsewhere in its
	// chain, nothing was carried out and another replica may do it; UnknownOutcome; any other number, nothing was or will be
	// carried out.
	Forward(ctx context.Context, leader uint64, statements []wire.ProxyStatement) (wire.ProxyAnswer, error)
}

// errElsewhere says that statements were not carried out because the replica does not lead or was not reached.
var errElsewhere = errors.New("another replica may lead")

const (
	// proxyTimeout bounds how long statements wait for a leader, for its answer, and for this replica to follow.
	proxyTimeout = 10 * time.Second
	// proxyRetry is the pause before a leader is looked for again.
	proxyRetry = 10 * time.Millisecond
	// proxyBatchesMax and proxyBytesMax bound what waits or is on its way to the leader.
	proxyBatchesMax = 4096
	proxyBytesMax   = 64 << 20
	// What is sent to the leader at a time.
	proxyStatementsMax   = 1024
	proxyMessageBytesMax = 4 << 20
)

// proxy passes writes on. Those of one connection stay in order: each has a lane, and one message on its way.
type proxy struct {
	b  *backend
	to forwarder
	// serving ends when connections are not read any more, those of other replicas included: this one follows nobody then.
	serving context.Context
	// busy is the number of lanes.
	busy atomic.Int64

	mu    sync.Mutex // guards the rest
	lanes map[replicaset.Sink][]*replicaset.Batch
	// batches and bytes are in lanes or on their way.
	batches, bytes int
}

func newProxy(b *backend, to forwarder) *proxy {
	return &proxy{b: b, to: to, serving: context.Background(), lanes: map[replicaset.Sink][]*replicaset.Batch{}}
}

// hand gives a batch of statements to whoever runs them: this replica if it leads, else by way of the proxy. On error nothing
// was begun.
func (b *backend) hand(batch *replicaset.Batch) error {
	local := runsHere(b.group.Status())
	if local && (b.proxy == nil || b.proxy.busy.Load() == 0) {
		return b.submit([]*replicaset.Batch{batch})
	}
	switch {
	case b.proxy == nil:
		return b.notLeader()
	case local:
		if joined, err := b.proxy.add(batch, true); joined || err != nil {
			return err
		}
		return b.submit([]*replicaset.Batch{batch})
	}
	if err := b.refuseLocal(batch); err != nil || len(batch.Writes) == 0 {
		return err
	}
	_, err := b.proxy.add(batch, false)
	return err
}

// runsHere tells whether statements belong into this replica's own queue: it leads, or is the only one and will.
func runsHere(s raftgroup.Status) bool {
	return s.Role == raftgroup.RoleLeader || len(s.Voters) == 1 && s.Voters[0] == s.ID && !s.Joint
}

// notLeader is the error of what only the leader does, with its address.
func (b *backend) notLeader() error {
	address := b.leaderAddress()
	if address == "" {
		return raftgroup.NotLeader(b.group.Status().LeaderID)
	}
	return errcode.New(errcode.NotALeader, "the leader of the replicaset is at "+address)
}

// refuseLocal answers the statements that write rows of this instance alone, and takes them out of the batch. The leader
// would write them into spaces of its own. A statement that is alone is left to the caller to answer.
func (b *backend) refuseLocal(batch *replicaset.Batch) error {
	schema := b.c.engine.PublishedSchema()
	var frames []byte
	kept := batch.Writes[:0]
	for _, w := range batch.Writes {
		sp := ownSpace(schema, &w.Statement)
		switch {
		case w.Tx != nil || sp == nil:
			kept = append(kept, w)
		case len(batch.Writes) == 1:
			return b.errLocalWrite(sp)
		default:
			frames = iproto.AppendError(frames, w.Sync, schema.Version, b.errLocalWrite(sp))
		}
	}
	clear(batch.Writes[len(kept):])
	batch.Writes = kept
	if len(frames) > 0 {
		batch.Sink.Complete(frames)
	}
	return nil
}

// ownSpace is the local or temporary space whose rows a statement changes, nil if it changes others. To empty a space is a statement
// on _truncate.
func ownSpace(schema *box.Schema, s *box.Statement) *box.Space {
	id := s.SpaceID
	if id == dictionary.SpaceTruncate {
		row := s.Tuple
		if row == nil {
			row = s.Key
		}
		if first, err := rowID(row); err == nil && first <= math.MaxUint32 {
			id = uint32(first)
		}
	}
	if sp := schema.Space(id); sp != nil && (sp.Local || sp.Temporary) {
		return sp
	}
	return nil
}

func (b *backend) errLocalWrite(sp *box.Space) *errcode.Error {
	return errcode.New(errcode.LocalAtLeader, sp.Name, b.leaderText())
}

// leaderText says where the leader of the replicaset is, to end a sentence.
func (b *backend) leaderText() string {
	if address := b.leaderAddress(); address != "" {
		return "which is at " + address
	}
	return "whose address is not known now"
}

// leaderAddress is where the leader of the replicaset is reached, empty if that is not known or it is this instance.
func (b *backend) leaderAddress() string {
	s := b.group.Status()
	if b.i == nil || s.LeaderID == 0 || s.LeaderID == s.ID {
		return ""
	}
	return b.c.book.of(wire.GroupData, s.LeaderID)
}

// add puts a batch into its connection's lane. With behind it only does so if there is one, that is, if earlier statements of
// the connection have not been answered.
func (p *proxy) add(batch *replicaset.Batch, behind bool) (added bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting, on := p.lanes[batch.Sink]
	switch {
	case behind && !on:
		return false, nil
	case p.batches >= proxyBatchesMax || p.batches > 0 && p.bytes+batch.Bytes > proxyBytesMax:
		return false, errcode.New(errcode.Overloaded, "too many writes are on their way to the leader")
	}
	p.batches++
	p.bytes += batch.Bytes
	p.lanes[batch.Sink] = append(waiting, batch)
	if !on {
		p.busy.Add(1)
		go p.run(batch.Sink)
	}
	return true, nil
}

// refused takes a batch that this replica's loop has given back because it does not lead: nothing of it was run. It must not
// block. Transactions are not passed on: they rest on what they have read here.
func (p *proxy) refused(batch *replicaset.Batch, err error) bool {
	switch batch.Sink.(type) {
	case *collector, *outcome:
		return false
	}
	if !errcode.Is(err, errcode.NotALeader) {
		return false
	}
	for i := range batch.Writes {
		if batch.Writes[i].Tx != nil {
			return false
		}
	}
	added, err := p.add(batch, false)
	return added && err == nil
}

// run carries the batches of a lane, some at a time, until there are none.
func (p *proxy) run(sink replicaset.Sink) {
	for batches := p.next(sink); len(batches) > 0; batches = p.next(sink) {
		bytes := 0
		for _, b := range batches {
			bytes += b.Bytes
		}
		p.carry(batches)
		p.mu.Lock()
		p.batches -= len(batches)
		p.bytes -= bytes
		p.mu.Unlock()
	}
}

// next takes what may go together from the front of a lane; an empty lane ends.
func (p *proxy) next(sink replicaset.Sink) []*replicaset.Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.lanes[sink]
	if len(waiting) == 0 {
		delete(p.lanes, sink)
		p.busy.Add(-1)
		return nil
	}
	n, statements, bytes := 0, 0, 0
	for n < len(waiting) {
		statements += len(waiting[n].Writes)
		bytes += waiting[n].Bytes
		if n > 0 && (statements > proxyStatementsMax || bytes > proxyMessageBytesMax) {
			break
		}
		n++
	}
	p.lanes[sink] = waiting[n:]
	return waiting[:n:n]
}

// carry has batches run, wherever the leader is, and answers them.
func (p *proxy) carry(batches []*replicaset.Batch) {
	ctx, cancel := context.WithTimeout(context.Background(), proxyTimeout)
	defer cancel()
	var statements []wire.ProxyStatement
	for {
		s := p.b.group.Status()
		err := p.b.notLeader()
		switch {
		case runsHere(s):
			if err := p.b.submit(batches); err != nil {
				p.fail(batches, err)
			}
			return
		case s.LeaderID != 0:
			if statements == nil {
				if batches = p.withoutOwn(batches); len(batches) == 0 {
					return
				}
				statements = statementsOf(batches)
			}
			var answer wire.ProxyAnswer
			if answer, err = p.to.Forward(ctx, s.LeaderID, statements); err == nil && len(answer.Replies) == len(statements) {
				p.deliver(ctx, batches, answer)
				return
			}
			if err == nil {
				err = errcode.New(errcode.UnknownOutcome, "the leader's answer can not be read")
			}
			if !errors.Is(err, errElsewhere) {
				p.fail(batches, err)
				return
			}
			err = p.b.notLeader()
		}
		if pause(ctx, proxyRetry); ctx.Err() != nil {
			p.fail(batches, err)
			return
		}
	}
}

// withoutOwn answers the statements that write rows of this instance alone, and returns the batches that have others. Such statements
// come here when leadership is lost before they are run.
func (p *proxy) withoutOwn(batches []*replicaset.Batch) []*replicaset.Batch {
	kept := batches[:0:0]
	for _, b := range batches {
		if err := p.b.refuseLocal(b); err != nil || len(b.Writes) == 0 {
			finish(b, refusals(b, p.b.SchemaVersion(), err))
			continue
		}
		kept = append(kept, b)
	}
	return kept
}

func statementsOf(batches []*replicaset.Batch) (list []wire.ProxyStatement) {
	for _, b := range batches {
		for i := range b.Writes {
			w := &b.Writes[i]
			s := &w.Statement
			list = append(list, wire.ProxyStatement{User: s.User.ID, Type: uint8(typeOf(s.Kind)), Space: s.SpaceID, Index: s.IndexID,
				IndexBase: uint32(s.IndexBase), Schema: w.Schema, Key: s.Key, Tuple: s.Tuple, Ops: s.Ops})
		}
	}
	return list
}

// typeOf is the inverse of kindOf.
func typeOf(k box.Kind) iproto.Type {
	switch k {
	case box.Insert:
		return iproto.TypeInsert
	case box.Replace:
		return iproto.TypeReplace
	case box.Update:
		return iproto.TypeUpdate
	case box.Upsert:
		return iproto.TypeUpsert
	default:
		return iproto.TypeDelete
	}
}

// deliver answers batches with the leader's replies, once this replica shows what they speak of, or shows nothing any more
// because it is about to end.
func (p *proxy) deliver(ctx context.Context, batches []*replicaset.Batch, answer wire.ProxyAnswer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.serving, cancel)()
	late := p.b.group.WaitApplied(ctx, answer.Index) != nil && p.serving.Err() == nil
	schema, n := p.b.SchemaVersion(), 0
	for _, b := range batches {
		var frames []byte
		for i := range b.Writes {
			r := &answer.Replies[n]
			n++
			if late && r.Code == iproto.TypeOK {
				frames = iproto.AppendError(frames, b.Writes[i].Sync, schema,
					errcode.New(errcode.UnknownOutcome, "the leader has carried it out, but this replica does not follow"))
				continue
			}
			var mark int
			frames, mark = iproto.BeginReply(frames, r.Code, b.Writes[i].Sync, schema)
			frames = iproto.EndReply(append(frames, r.Body...), mark)
		}
		finish(b, frames)
	}
}

func (p *proxy) fail(batches []*replicaset.Batch, err error) {
	for _, b := range batches {
		finish(b, refusals(b, p.b.SchemaVersion(), err))
	}
}

// finish answers a batch and gives it back.
func finish(b *replicaset.Batch, frames []byte) {
	b.Sink.Complete(frames)
	if b.Done != nil {
		b.Done(b)
	}
}

// takeRefused gives batches that the loop refuses to fn.
func (c *core) takeRefused(fn func(*replicaset.Batch, error) bool) {
	// A loop that has ended refuses nothing any more.
	_ = c.dataLoop.Call(context.Background(), func(*raftgroup.Group) error {
		c.machine.OnRefused(fn)
		return nil
	})
}
