package instance

import (
	"context"
	"fmt"
	"sync"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// network is the forwarder over the connections between instances.
type network struct {
	i *Instance
	c *core
}

// Forward sends the statements to where the leader is reached.
func (n *network) Forward(ctx context.Context, leader uint64, statements []wire.ProxyStatement) (wire.ProxyAnswer, error) {
	address := n.c.book.of(wire.GroupData, leader)
	if address == "" {
		return wire.ProxyAnswer{}, fmt.Errorf("%w: the address of raft id %d is not known", errElsewhere, leader)
	}
	message := wire.Proxy{Header: n.i.header(n.c), Statements: statements}.Append(nil)
	b, err := n.i.pool.Call(ctx, address, wire.ProcProxy, message)
	if err != nil {
		return wire.ProxyAnswer{}, proxyError(err)
	}
	answer, err := wire.DecodeProxyAnswer(b)
	if err != nil {
		return wire.ProxyAnswer{}, errcode.New(errcode.UnknownOutcome, "the leader's answer can not be read")
	}
	return answer, nil
}

// proxyError tells what has become of statements whose call came to an error.
func proxyError(err error) error {
	answered := rpc.Answered(err)
	switch {
	case rpc.NotSent(err):
		return fmt.Errorf("%w: %w", errElsewhere, err)
	case answered == nil:
		return errcode.New(errcode.UnknownOutcome, "the leader was not heard any more")
	case notCarriedOut(answered.Code):
		return fmt.Errorf("%w: %w", errElsewhere, err)
	}
	return answered
}

// notCarriedOut tells whether an error says that the request was not carried out, and would be by another instance, or later.
func notCarriedOut(code errcode.Code) bool {
	switch code {
	case errcode.NotALeader, errcode.LeaderUnknown, errcode.Loading, errcode.Uninitialized, errcode.Shutdown, errcode.ProposalDropped:
		return true
	}
	return false
}

// answerProxy runs statements that came to another replica of the group, if this one leads. An error means that none of them
// was carried out, unless it is UnknownOutcome.
func (i *Instance) answerProxy(ctx context.Context, message []byte) ([]byte, error) {
	m, err := wire.DecodeProxy(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admit(m.Header)
	if err != nil {
		return nil, err
	}
	if s := c.dataLoop.Status(); s.Role != raftgroup.RoleLeader {
		return nil, raftgroup.NotLeader(s.LeaderID)
	}
	// Who asks may know of a grant that this instance has not heard of, and will not hear of when it stops.
	behind, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(i.server.Serving(), cancel)()
	defer cancel()
	if err := c.catalog.Wait(behind, m.Header.Applied); err != nil {
		return nil, errcode.New(errcode.NotALeader, "the leader's catalog is behind")
	}
	return runProxied(ctx, c, c.dataLoop.Submit, m.Statements)
}

// runProxied runs statements as a batch and gathers what comes of them.
func runProxied(ctx context.Context, c *core, submit func([]*replicaset.Batch) error, statements []wire.ProxyStatement) ([]byte, error) {
	if len(statements) == 0 {
		return wire.ProxyAnswer{}.Append(nil), nil
	}
	batch, err := proxiedBatch(c, statements)
	if err != nil {
		return nil, err
	}
	all := &collector{replies: make([]wire.ProxyReply, len(statements)), left: len(statements), done: make(chan struct{})}
	batch.Sink = all
	if err := submit([]*replicaset.Batch{batch}); err != nil {
		return nil, err
	}
	select {
	case <-all.done:
	case <-ctx.Done():
		return nil, errcode.New(errcode.UnknownOutcome, "the leader has not finished it in time")
	}
	if all.refused == len(statements) { // nothing was carried out
		return nil, errcode.New(errcode.NotALeader, "leadership was lost")
	}
	return wire.ProxyAnswer{Index: c.engine.Published(), Replies: all.replies}.Append(nil), nil
}

func proxiedBatch(c *core, statements []wire.ProxyStatement) (*replicaset.Batch, error) {
	batch := &replicaset.Batch{}
	users := map[uint32]*box.User{}
	view, rights := c.catalog.View(), c.rights.Load()
	for n := range statements {
		p := &statements[n]
		t := iproto.Type(p.Type)
		switch t {
		case iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeUpsert, iproto.TypeDelete:
		default:
			return nil, errcode.New(errcode.IllegalParams, "a request of type "+iproto.TypeName(t)+" is not passed on")
		}
		if isAccess(p.Space) {
			return nil, errcode.New(errcode.IllegalParams, "changes of users and grants are not passed on as rows")
		}
		if isSchema(p.Space, t) && view.KeepsSchema() {
			return nil, errcode.New(errcode.IllegalParams, "changes of the schema of several replicasets are not passed on as rows")
		}
		statement := box.Statement{Kind: kindOf(t), SpaceID: p.Space, IndexID: p.Index, IndexBase: int(p.IndexBase), Key: p.Key,
			Tuple: p.Tuple, Ops: p.Ops}
		if sp := ownSpace(c.engine.PublishedSchema(), &statement); sp != nil { // the other one has not heard yet that it is one
			return nil, errcode.New(errcode.LocalAtLeader, sp.Name, "which is another one than you have asked")
		}
		user := users[p.User]
		if user == nil {
			row, known := view.User(p.User)
			if !known {
				return nil, errcode.New(errcode.NoSuchUser, fmt.Sprint(p.User))
			}
			user = &box.User{ID: p.User, Name: row.Name, Rights: rights}
			users[p.User] = user
		}
		statement.User = user
		batch.Add(&statement, uint64(n), p.Schema)
	}
	return batch, nil
}

// collector gathers the replies to a batch, whose numbers are places.
type collector struct {
	mu      sync.Mutex // guards the rest, until done is closed
	replies []wire.ProxyReply
	// left is how many are missing, refused how many were not carried out because this replica does not lead, or stops.
	left, refused int
	done          chan struct{}
}

// ForReplica has the replica that waits told soon what is committed.
func (l *collector) ForReplica() {}

// Complete takes replies; the bytes are copied.
func (l *collector) Complete(frames []byte) {
	frames = clone(frames)
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(frames) > 0 && l.left > 0 {
		head, body, err := iproto.FrameSize(frames)
		var r iproto.Reply
		if err == nil {
			err = iproto.DecodeReply(frames[head:head+body], &r)
		}
		if err != nil || r.Sync >= uint64(len(l.replies)) {
			return // a bug; who waits gives up
		}
		if r.Err != nil && notCarriedOut(r.Err.Code) {
			l.refused++
		}
		l.replies[r.Sync] = wire.ProxyReply{Code: r.Code, Body: r.Body}
		if l.left--; l.left == 0 {
			close(l.done)
		}
		frames = frames[head+body:]
	}
}
