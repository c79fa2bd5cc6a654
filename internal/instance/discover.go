package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

// discover is the stage of an instance without a place: a box that is thrown away, and the search for the one that boots.
func (i *Instance) discover(ctx context.Context) error {
	i.life.step(lifecycle.Unconfigured, nil)
	if err := i.checkAlone(); err != nil {
		return failure{ipc.ClassRefused, err}
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
	if !conclusion.Boot {
		return failure{ipc.ClassRefused, fmt.Errorf("the cluster is led by %s, and this version can not join it yet", conclusion.Leader)}
	}
	if err := i.dir.WriteEntrypoint(i.bootEntrypoint()); err != nil {
		return i.initError(ctx, causeOf(err, datadir.EntrypointFile))
	}
	return errRebootstrap
}

// checkAlone refuses peers other than this instance: a cluster of several comes with a later version.
func (i *Instance) checkAlone() error {
	for _, p := range i.cfg.Peers {
		if p != i.cfg.Listen && p != i.cfg.Advertise {
			return fmt.Errorf("--peer %s: this version runs clusters of one instance; leave --peer out or name only %s",
				p, i.cfg.Advertise)
		}
	}
	if i.cfg.Assembly == "manual" {
		return errors.New("--assembly manual is not available in this version; leave it out")
	}
	if i.cfg.ReplicationFactor > 1 {
		return fmt.Errorf("--replication-factor %d: this version runs clusters of one instance; leave it out", i.cfg.ReplicationFactor)
	}
	return nil
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
	return discovery.Record{ID: d.ID, Peers: d.Peers, Decision: d.Decision}, nil
}

// findPlace runs the discovery core until it concludes. Calls to this instance's own addresses are answered at once, by
// the same core.
func (i *Instance) findPlace(ctx context.Context, record discovery.Record) (discovery.Conclude, error) {
	var m discovery.Machine
	var asked string // the address under which this instance is asking itself
	queue := []discovery.Event{discovery.Start{
		Record: record, ClusterName: i.cfg.ClusterName, Own: i.cfg.Advertise, Peers: i.cfg.Peers, CanBoot: i.canBoot(),
	}}
	for {
		for len(queue) > 0 {
			event := queue[0]
			queue = queue[1:]
			for _, effect := range m.Step(i.clock.Boot(), event) {
				more, err := i.carryOut(effect, event, &asked)
				if err != nil {
					return discovery.Conclude{}, err
				}
				queue = append(queue, more...)
			}
		}
		if c, ok := m.Concluded(); ok {
			i.life.wait("")
			return c, nil
		}
		at, _ := m.WakeAt()
		timer := time.NewTimer(max(at-i.clock.Boot(), time.Millisecond))
		select {
		case <-timer.C:
			queue = append(queue, discovery.Tick{})
		case <-ctx.Done():
			timer.Stop()
			return discovery.Conclude{}, ctx.Err()
		}
	}
}

// carryOut does what the core wants and returns the events that follow.
func (i *Instance) carryOut(effect discovery.Effect, event discovery.Event, asked *string) ([]discovery.Event, error) {
	switch e := effect.(type) {
	case discovery.Save:
		return nil, i.dir.WriteDiscovery(datadir.DiscoveryRecord{ID: e.Record.ID, Peers: e.Record.Peers, Decision: e.Record.Decision})
	case discovery.Call:
		*asked = e.Address
		return []discovery.Event{discovery.Receive{Request: e.Request}}, nil
	case discovery.Reply:
		if r, ok := event.(discovery.Receive); ok {
			return []discovery.Event{discovery.Response{Address: *asked, Round: r.Request.Round, Answer: e.Answer}}, nil
		}
	case discovery.Wait:
		i.life.wait(e.Text)
		i.log.Info(e.Text)
	}
	return nil, nil
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
