package instance

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// peerTimeout bounds what an instance does for another one, joinTimeout the wait of a newcomer for a leader that is not ready.
const (
	peerTimeout = 10 * time.Second
	joinTimeout = 5 * time.Second
)

// peerProcedure answers another instance. prompt ones are run on the connection's goroutine: they never wait. interact is the one
// that may be answered later without a goroutine that waits.
type peerProcedure struct {
	prompt, interact bool
	run              func(ctx context.Context, message []byte) ([]byte, error)
}

func (i *Instance) peerProcedures() map[string]peerProcedure {
	return map[string]peerProcedure{
		wire.ProcDiscover:    {run: i.answerDiscover},
		wire.ProcJoin:        {run: i.answerJoin},
		wire.ProcHello:       {prompt: true, run: i.answerHello},
		wire.ProcInteract:    {interact: true},
		wire.ProcCAS:         {run: i.answerCAS},
		wire.ProcProxy:       {run: i.answerProxy},
		wire.ProcGroupChange: {run: i.answerGroupChange},
		wire.ProcTransfer:    {run: i.answerTransfer},

		wire.ProcSnapshotChunk: {run: i.answerSnapshotChunk},
	}
}

// servePeer runs a procedure for another instance. handled is false if the request is none of that.
func (i *Instance) servePeer(s *server.Session, req *iproto.Request, schema uint64, out []byte) (res []byte, done, handled bool) {
	p, ok := i.peerProcs[string(req.Function)]
	if !ok || req.Type != iproto.TypeCall {
		return out, false, false
	}
	if u := s.User(); u.ID != catalog.ServiceID {
		return iproto.AppendError(out, req.Sync, schema, errcode.NewAccessDenied("Execute", "function", string(req.Function), u.Name)), true, true
	}
	message, err := wire.Argument(req.Tuple)
	if err != nil {
		return iproto.AppendError(out, req.Sync, schema, errcode.Of(err)), true, true
	}
	if p.interact {
		out, done = i.serveInteract(s, req.Sync, schema, message, out)
		return out, done, true
	}
	if p.prompt {
		return answerPeer(p, req.Sync, schema, message, out), true, true
	}
	kept, sync := clone(message), req.Sync
	go func() { s.Complete(answerPeer(p, sync, schema, kept, nil)) }()
	return out, false, true
}

func answerPeer(p peerProcedure, sync, schema uint64, message, out []byte) []byte {
	ctx := context.Background()
	if !p.prompt {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, peerTimeout)
		defer cancel()
	}
	answer, err := p.run(ctx, message)
	return appendAnswer(out, sync, schema, answer, err)
}

func appendAnswer(out []byte, sync, schema uint64, answer []byte, err error) []byte {
	if err != nil {
		return iproto.AppendError(out, sync, schema, errcode.Of(err))
	}
	if answer == nil {
		answer = wire.AppendNil(nil)
	}
	return iproto.AppendData(out, sync, schema, answer)
}

// serving returns the running database, or why there is none.
func (i *Instance) serving() (*core, error) {
	if c := i.core.Load(); c != nil {
		return c, nil
	}
	if refusal := i.life.published().Refusal(); refusal != nil {
		return nil, refusal
	}
	return nil, errcode.New(errcode.Loading, i.life.published().State.String())
}

// admit checks who a message is from, and notes where he is reached.
func (i *Instance) admit(h wire.Header) (*core, error) {
	if err := i.ownTwin(h); err != nil {
		return nil, err
	}
	c, err := i.serving()
	if err != nil {
		return nil, err
	}
	if err := h.Check(c.id.ClusterUUID, c.id.Epoch); err != nil {
		if errcode.Is(err, errcode.EpochOver) { // the newer epoch wins: two must not serve beside each other
			i.outcast(err)
		}
		return nil, err
	}
	// Who is not known may have joined since this instance has last heard of the catalog.
	switch err := c.members.check(c.catalog.View(), h.From, h.RaftID); {
	case err == nil:
		if !c.sayings.note(h, i.clock.Boot()) {
			return nil, errTwin(c.nameOf(h.RaftID), c.book.of(wire.GroupCatalog, h.RaftID))
		}
		c.reports.alive(h.RaftID, i.clock.Wall())
	case !errcode.Is(err, errcode.NoSuchInstance):
		return nil, err
	}
	c.book.tell(h.RaftID, h.Address)
	i.pool.Alive(h.Address)
	return c, nil
}

func (i *Instance) answerHello(_ context.Context, message []byte) ([]byte, error) {
	h, err := wire.DecodeHeader(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admit(h)
	if err != nil {
		return nil, err
	}
	return wire.HelloAnswer{Header: i.header(c), Known: c.book.known()}.Append(nil), nil
}

// answerCAS records a request that another instance makes of the catalog's leader.
func (i *Instance) answerCAS(ctx context.Context, message []byte) ([]byte, error) {
	m, err := wire.DecodeCAS(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admit(m.Header)
	if err != nil {
		return nil, err
	}
	res, err := c.catalog.Do(ctx, &catalogrunner.Request{Ops: m.Ops, Predicate: m.Predicate, Initiator: m.Initiator, ID: m.ID})
	if err != nil {
		return nil, err
	}
	return wire.AppendResult(nil, res), nil
}

// joinRetry is the pause before a join is planned again on a catalog that has changed.
const joinRetry = 10 * time.Millisecond

// answerJoin gives a newcomer his place. A request that comes before this instance has a database waits for it: that is
// how all the instances of a new cluster find their place while the first one makes it.
func (i *Instance) answerJoin(ctx context.Context, message []byte) ([]byte, error) {
	req, err := wire.DecodeJoin(message)
	if err != nil {
		return nil, err
	}
	if leader := i.joinsAt.Load(); leader != nil && i.core.Load() == nil && *leader != req.Address {
		return wire.AppendJoinAnswer(nil, catalog.JoinAnswer{Leader: *leader}), nil // who is there already need not wait for this one
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	c, err := i.awaitCore(ctx)
	if err != nil {
		return nil, err
	}
	for sure := false; ; {
		answer, err := i.planJoin(ctx, c, req)
		switch {
		case err == nil:
			return wire.AppendJoinAnswer(nil, answer), nil
		case planAgain(err) && ctx.Err() == nil:
			pause(ctx, joinRetry)
		case catalog.JoinRefusalIsFinal(err) && !sure:
			// The newcomer ends with this answer: it must not come from a leader that was overthrown.
			index, unsure := c.catalogLoop.ReadIndex(ctx)
			if unsure == nil {
				unsure = c.catalog.Wait(ctx, index)
			}
			if unsure != nil {
				return nil, errcode.New(errcode.LeaderUnknown)
			}
			sure = true
		default:
			return nil, err
		}
	}
}

// awaitCore waits until this instance has a database and its catalog has a leader.
func (i *Instance) awaitCore(ctx context.Context) (*core, error) {
	for {
		c, err := i.serving()
		if err == nil && c.catalogLoop.Status().LeaderID != 0 {
			return c, nil
		}
		if err == nil {
			err = errcode.New(errcode.LeaderUnknown)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		pause(ctx, connectPoll)
	}
}

func (i *Instance) planJoin(ctx context.Context, c *core, req catalog.JoinRequest) (catalog.JoinAnswer, error) {
	s := c.catalogLoop.Status()
	if s.LeaderID != c.id.RaftID {
		address := i.catalogLeader(c)
		if address == "" {
			return catalog.JoinAnswer{}, errcode.New(errcode.LeaderUnknown)
		}
		return catalog.JoinAnswer{Leader: address}, nil
	}
	c.joining.Lock() // two joins at a time would only get into each other's way
	defer c.joining.Unlock()
	op, guard, err := catalog.PlanJoin(c.catalog.View(), req, uuid.NewString())
	if err != nil {
		return catalog.JoinAnswer{}, err
	}
	guard.Term = s.Term
	if op.Kind != catalog.Nop {
		if _, err := c.catalog.ProposeCAS(ctx, op, guard); err != nil {
			return catalog.JoinAnswer{}, err
		}
	}
	answer, err := catalog.AnswerJoin(c.catalog.View(), req.InstanceUUID)
	if err != nil {
		return catalog.JoinAnswer{}, err
	}
	answer.Leader = i.cfg.Advertise
	answer.Snapshot, err = c.catalogNow()
	return answer, err
}

// answerGroupChange changes the members of this instance's data group, which it leads.
func (i *Instance) answerGroupChange(ctx context.Context, message []byte) ([]byte, error) {
	m, err := wire.DecodeGroupChange(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admitGovernor(m.Header)
	if err != nil {
		return nil, err
	}
	return nil, i.changeDataGroup(ctx, c, m)
}

// answerTransfer hands the leadership of a group over.
func (i *Instance) answerTransfer(ctx context.Context, message []byte) ([]byte, error) {
	m, err := wire.DecodeTransfer(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admitGovernor(m.Header)
	if err != nil {
		return nil, err
	}
	if m.Group == wire.GroupCatalog {
		return nil, transferLeader(ctx, c.catalogLoop.Call, m)
	}
	return nil, transferLeader(ctx, c.dataLoop.Call, m)
}

// transferLeader hands the leadership of a group over and returns when it was taken. One that has just been started does not take
// it; then the group goes on with the old leader. A request of another term of the group is refused: who leads now may have been
// made leader since.
func transferLeader(ctx context.Context, call func(context.Context, func(*raftgroup.Group) error) error, m wire.Transfer) error {
	err := call(ctx, func(g *raftgroup.Group) error {
		if now := g.Term(); now != m.Term {
			return errcode.New(errcode.TermMismatch, m.Term, now)
		}
		return g.TransferLeader(m.To)
	})
	for err == nil {
		pause(ctx, connectPoll)
		done := false
		err = call(ctx, func(g *raftgroup.Group) error {
			done = g.Term() > m.Term
			if !done && g.Leading() {
				return errcode.New(errcode.TransferFailed, m.To)
			}
			return nil
		})
		if done {
			return nil
		}
	}
	return err
}

// admitGovernor refuses a governor whose term is over.
func (i *Instance) admitGovernor(h wire.Header) (*core, error) {
	c, err := i.admit(h)
	if err != nil {
		return nil, err
	}
	if now := c.catalogLoop.Status().Term; h.Term < now {
		return nil, errcode.New(errcode.TermMismatch, h.Term, now)
	}
	return c, nil
}

// errStale refuses a change of membership that was planned on an older catalog than the last one.
var errStale = errcode.New(errcode.StaleChange)

func (i *Instance) changeDataGroup(ctx context.Context, c *core, m wire.GroupChange) error {
	return changeMembers(ctx, c.dataLoop.Call, m.Changes, func(g *raftgroup.Group) error {
		if m.CatalogIndex < c.membersOf || g.Term() != m.Term || !slices.Equal(g.Status().Voters, m.Voters) {
			return errStale
		}
		c.membersOf = m.CatalogIndex
		return nil
	})
}

// changeMembers changes the members of a group that this instance leads, and returns when that is in effect. check is asked
// first, on the group's loop. A change that is in effect already is none.
func changeMembers(ctx context.Context, call func(context.Context, func(*raftgroup.Group) error) error, changes []raftgroup.Change,
	check func(*raftgroup.Group) error) error {
	done := false
	err := call(ctx, func(g *raftgroup.Group) error {
		if err := check(g); err != nil {
			return err
		}
		if done = inEffect(g.Status(), changes); done {
			return nil
		}
		return g.ProposeConfChange(changes, nil)
	})
	for err == nil && !done {
		pause(ctx, connectPoll)
		err = call(ctx, func(g *raftgroup.Group) error {
			done = inEffect(g.Status(), changes)
			if !done && g.Status().Role != raftgroup.RoleLeader {
				return raftgroup.NotLeader(g.Status().LeaderID)
			}
			return nil
		})
	}
	return err
}

// inEffect tells whether a group's members are what changes make of them.
func inEffect(s raftgroup.Status, changes []raftgroup.Change) bool {
	if s.Joint {
		return false
	}
	for _, ch := range changes {
		voter, learner := slices.Contains(s.Voters, ch.ID), slices.Contains(s.Learners, ch.ID)
		if voter != (ch.Op == raftgroup.AddVoter) || learner != (ch.Op == raftgroup.AddLearner) {
			return false
		}
	}
	return true
}
