package instance

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

// discover is the stage of an instance without a place: a box that is thrown away, and the search for the one that boots.
func (i *Instance) discover(ctx context.Context) error {
	i.life.step(lifecycle.Unconfigured, nil)
	if i.cfg.Assembly == "manual" {
		return failure{ipc.ClassRefused, errors.New("--assembly manual is not available in this version; leave it out")}
	}
	if err := i.initCommon(boxParams{stage: lifecycle.Discover}); err != nil {
		return i.initError(ctx, causeOf(err, "data-dir"))
	}
	record, err := i.discoveryRecord()
	if err != nil {
		return i.initError(ctx, causeOf(err, datadir.DiscoveryFile))
	}
	conclusion, err := i.findPlace(ctx, record)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return i.initError(ctx, causeOf(err, datadir.DiscoveryFile))
	}
	e := i.bootEntrypoint()
	if !conclusion.Boot {
		e = i.joinEntrypoint(conclusion)
	}
	if err := i.dir.WriteEntrypoint(e); err != nil {
		return i.initError(ctx, causeOf(err, datadir.EntrypointFile))
	}
	return errRebootstrap
}

// discoveryRecord reads what an earlier process of this directory has drawn and decided, or draws.
func (i *Instance) discoveryRecord() (discovery.Record, error) {
	d, ok, err := i.dir.ReadDiscovery()
	if err != nil {
		return discovery.Record{}, err
	}
	if !ok {
		d.ID = uuid.NewString()
	}
	return discovery.Record{ID: d.ID, Peers: d.Peers, Decision: d.Decision, Without: d.Without}, nil
}

// seeker is a discovery under way. Its machine is stepped by the answers to its calls, by the requests of others, and by
// time; it stays, and answers, after it has concluded.
type seeker struct {
	i   *Instance
	ctx context.Context

	mu      sync.Mutex // guards machine and failed
	machine discovery.Machine
	// failed is why the record could not be saved: nothing may be said any more.
	failed error

	// wake gets a token after each step.
	wake chan struct{}
}

// findPlace runs the discovery core until it concludes.
func (i *Instance) findPlace(ctx context.Context, record discovery.Record) (discovery.Conclude, error) {
	s := &seeker{i: i, ctx: ctx, wake: make(chan struct{}, 1)}
	if _, err := s.step(discovery.Start{
		Record: record, ClusterName: i.cfg.ClusterName, Own: i.cfg.Advertise, Peers: i.cfg.Peers, CanBoot: i.canBoot(),
	}); err != nil {
		return discovery.Conclude{}, err
	}
	i.seeker.Store(s)
	for {
		c, done, err := s.concluded()
		if err != nil {
			return c, err
		}
		if done {
			i.life.wait("")
			return c, nil
		}
		if err := s.await(ctx); err != nil {
			return c, err
		}
	}
}

// await returns after the next step, or makes one when the machine's time has come.
func (s *seeker) await(ctx context.Context) error {
	s.mu.Lock()
	at, timed := s.machine.WakeAt()
	s.mu.Unlock()
	tick, stop := s.i.alarm(at, timed)
	defer stop()
	select {
	case <-s.wake:
		return nil
	case <-tick:
		_, err := s.step(discovery.Tick{})
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *seeker) concluded() (discovery.Conclude, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.machine.Concluded()
	return c, ok, s.failed
}

// step takes an event and does what follows from it. The answer is that to an event Receive.
func (s *seeker) step(event discovery.Event) (discovery.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return discovery.Answer{}, s.failed
	}
	var answer discovery.Answer
	for _, effect := range s.machine.Step(s.i.clock.Boot(), event) {
		switch e := effect.(type) {
		case discovery.Save:
			r := datadir.DiscoveryRecord{ID: e.Record.ID, Peers: e.Record.Peers, Decision: e.Record.Decision, Without: e.Record.Without}
			if err := s.i.dir.WriteDiscovery(r); err != nil {
				s.failed = err
				return answer, err
			}
		case discovery.Call:
			go s.call(e)
		case discovery.Reply:
			answer = e.Answer
		case discovery.Wait:
			s.i.life.wait(e.Text)
			s.i.log.Log(s.ctx, waitLevel(e.Failure), e.Text)
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return answer, nil
}

// call asks one address. What goes wrong with its answer is the machine's to judge.
func (s *seeker) call(c discovery.Call) {
	ctx, cancel := context.WithTimeout(s.ctx, c.Deadline-s.i.clock.Boot())
	defer cancel()
	var event discovery.Event
	answer, err := s.i.pool.Call(ctx, c.Address, wire.ProcDiscover, wire.AppendDiscover(nil, c.Request))
	if err == nil {
		var a discovery.Answer
		if a, err = wire.DecodeDiscoverAnswer(answer); err == nil {
			event = discovery.Response{Address: c.Address, Round: c.Request.Round, Answer: a}
		}
	}
	if err != nil {
		event = discovery.CallFailed{Address: c.Address, Round: c.Request.Round, Text: err.Error()}
	}
	if _, err := s.step(event); err != nil {
		s.i.log.Debug("discovery ends", "error", err)
	}
}

// answerDiscover answers an instance that looks for its place.
func (i *Instance) answerDiscover(_ context.Context, message []byte) ([]byte, error) {
	req, err := wire.DecodeDiscover(message)
	if err != nil {
		return nil, err
	}
	if s := i.seeker.Load(); s != nil {
		answer, err := s.step(discovery.Receive{Request: req})
		if err != nil {
			return nil, errcode.New(errcode.Loading, i.life.published().State.String())
		}
		return wire.AppendDiscoverAnswer(nil, answer), nil
	}
	if i.seeking {
		return nil, errcode.New(errcode.Loading, i.life.published().State.String())
	}
	leader, cluster := i.leaderToJoin()
	return wire.AppendDiscoverAnswer(nil, discovery.AnswerAsMember(i.cfg.ClusterName, leader, cluster, req)), nil
}

// leaderToJoin is where a newcomer is sent, empty if no leader is known, and the uuid of the cluster as far as it is known.
func (i *Instance) leaderToJoin() (address, cluster string) {
	if c := i.core.Load(); c != nil {
		return i.catalogLeader(c), c.id.ClusterUUID
	}
	if id := i.identity.Load(); id != nil {
		return "", id.ClusterUUID
	}
	switch e := i.entry; {
	case e == nil:
		return "", ""
	case e.Kind == datadir.EntryBoot:
		return i.cfg.Advertise, e.ClusterUUID
	default:
		return e.Leader, e.ClusterUUID
	}
}

// goWithout makes the discovery of this instance wait no longer for a peer.
func (i *Instance) goWithout(message []byte) ([]byte, error) {
	m, err := wire.DecodeBootstrapWithout(message)
	if err != nil {
		return nil, err
	}
	s := i.seeker.Load()
	if s == nil {
		return nil, errcode.New(errcode.IllegalParams, "this instance does not look for its cluster: its state is "+i.life.published().State.String())
	}
	s.mu.Lock()
	known := slices.Contains(s.machine.Record().Peers, m.Peer) && m.Peer != i.cfg.Advertise
	s.mu.Unlock()
	if !known {
		return nil, errcode.New(errcode.IllegalParams, m.Peer+" is none of the peers that this instance waits for")
	}
	what := "bootstrap --without " + m.Peer
	if err := i.audit.Write(audit.Entry{Event: "privileged_intent", Who: adminUser.Name, What: what, Privileged: true}); err != nil {
		return nil, errcode.Newf(errcode.WALIO, "the audit log can not be written: %v", err)
	}
	_, err = s.step(discovery.GoWithout{Address: m.Peer})
	e := event.Privileged{At: i.clock.Wall(), Who: adminUser.Name, Where: i.cfg.AdminSocketPath(), What: what, Result: "ok"}
	if err != nil {
		e.Result = "failed: " + err.Error()
	}
	i.sink.Emit(e)
	return nil, err
}

// canBoot tells whether this instance's tier may vote.
func (i *Instance) canBoot() bool {
	tiers := i.cfg.TierList()
	at := slices.IndexFunc(tiers, func(t config.NamedTier) bool { return t.Name == i.cfg.Tier })
	return at >= 0 && tiers[at].CanVote
}

// bootEntrypoint draws the uuids of the cluster, the replicaset and the instance.
func (i *Instance) bootEntrypoint() datadir.Entrypoint {
	return datadir.Entrypoint{
		Kind: datadir.EntryBoot, ClusterUUID: uuid.NewString(), ReplicasetUUID: uuid.NewString(),
		InstanceUUID: uuid.NewString(), InstanceName: i.cfg.InstanceName, History: i.life.history(),
	}
}

// joinEntrypoint draws the uuid under which this instance asks for its place, however often it has to ask.
func (i *Instance) joinEntrypoint(c discovery.Conclude) datadir.Entrypoint {
	s := i.seeker.Load()
	s.mu.Lock()
	peers := s.machine.Record().Peers
	s.mu.Unlock()
	return datadir.Entrypoint{
		Kind: datadir.EntryJoin, ClusterUUID: c.ClusterUUID, InstanceUUID: uuid.NewString(), InstanceName: i.cfg.InstanceName,
		Leader: c.Leader, Peers: peers, History: i.life.history(),
	}
}
