package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	configstore "github.com/lycosadb/lycosa/internal/clusterconfig/store"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

const (
	// joinPause is the first pause after a request for a place that was not answered; it doubles up to joinPauseMax.
	joinPause    = 250 * time.Millisecond
	joinPauseMax = 5 * time.Second
	// redirectsMax bounds how often in a row another one is asked at once: instances that disagree about the leader could go on
	// naming each other.
	redirectsMax = 3
	// joinCall bounds one request. The one who is asked may hold it for joinTimeout.
	joinCall = 2 * joinTimeout
)

// join makes this instance a member of a cluster that is there.
func (i *Instance) join(ctx context.Context, e *datadir.Entrypoint) error {
	if e.Kind == datadir.EntryReplace {
		i.life.resume(lifecycle.ConfigLoaded)
	} else {
		i.life.resume(lifecycle.Unconfigured)
	}
	answer, err := i.askForPlace(ctx, e)
	if err != nil {
		return err
	}
	i.life.step(lifecycle.BootstrappingBox, nil)
	id := identityOf(answer)
	if err := i.initCommon(boxParams{stage: lifecycle.Join, clusterUUID: id.ClusterUUID, instanceUUID: id.InstanceUUID}); err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	if err := i.makeMember(id, answer); err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	c, err := i.openCore(id)
	if err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	return i.postjoin(ctx, c)
}

func (i *Instance) joinRequest(uuid, name string) []byte {
	return wire.AppendJoin(nil, catalog.JoinRequest{
		ClusterName: i.cfg.ClusterName, InstanceUUID: uuid, InstanceName: name, Replicaset: i.cfg.Replicaset,
		Tier: i.cfg.Tier, FailureDomain: i.cfg.FailureDomain, Version: i.version, Address: i.cfg.Advertise, HTTPAddress: i.cfg.HTTPListen,
	})
}

// permitPoll is how often an instance that has lost its files asks whether it may come back.
const permitPoll = time.Second

// awaitPermit waits until an operator has said that this instance, which has lost its files, may come back with new raft ids.
// The entrypoint is written then.
func (i *Instance) awaitPermit(ctx context.Context, id datadir.Identity) error {
	req := i.joinRequest(id.InstanceUUID, id.InstanceName)
	peers := append(slices.Clone(i.cfg.Peers), i.knownPeers()...)
	leader := ""
	for turn := 0; ; turn++ {
		address := leader
		if address == "" {
			address = others(peers, i.cfg.Advertise, turn)
		}
		answer, err := i.askOne(ctx, address, req)
		switch {
		case err == nil && answer.RaftID != 0 && answer.RaftID != id.RaftID:
			err := i.dir.WriteEntrypoint(datadir.Entrypoint{
				Kind: datadir.EntryReplace, ClusterUUID: id.ClusterUUID, ReplicasetUUID: id.ReplicasetUUID, InstanceUUID: id.InstanceUUID,
				InstanceName: id.InstanceName, Leader: address, Peers: peers, RaftID: answer.RaftID, DataRaftID: answer.DataRaftID,
				History: i.life.history(),
			})
			if err != nil {
				return failure{ipc.ClassPoisoned, fmt.Errorf("the entrypoint could not be written: %w", err)}
			}
			return errRebootstrap
		case err == nil && answer.RaftID == 0:
			leader = answer.Leader
		default:
			leader = ""
		}
		i.log.Debug("no permit to come back yet", "asked", address, "error", err)
		pause(ctx, permitPoll)
		if ctx.Err() != nil {
			return errStopped
		}
	}
}

// knownPeers are the addresses in this instance's copy of the configuration.
func (i *Instance) knownPeers() []string {
	loaded, err := configstore.Load(i.fs, i.configDir())
	if err != nil {
		return nil
	}
	var list []string
	for _, member := range loaded.Config.Topology.Instances {
		if member.Address != "" && !slices.Contains(list, member.Address) {
			list = append(list, member.Address)
		}
	}
	return list
}

func identityOf(a catalog.JoinAnswer) datadir.Identity {
	return datadir.Identity{
		ClusterName: a.ClusterName, ClusterUUID: a.ClusterUUID, Epoch: a.Epoch,
		InstanceName: a.InstanceName, InstanceUUID: a.InstanceUUID,
		ReplicasetName: a.ReplicasetName, ReplicasetUUID: a.ReplicasetUUID, Tier: a.Tier,
		RaftID: a.RaftID, DataRaftID: a.DataRaftID,
	}
}

// askForPlace asks the leader, whoever that is by now, until there is an answer. The request is the same each time, so that
// an answer that was lost does no harm.
func (i *Instance) askForPlace(ctx context.Context, e *datadir.Entrypoint) (catalog.JoinAnswer, error) {
	req := i.joinRequest(e.InstanceUUID, e.InstanceName)
	deadline := i.clock.Boot() + i.cfg.BootTimeout
	leader, retry := e.Leader, joinPause
	peers := joinPeers(e.Peers, i.cfg.Peers)
	for turn, sent := 0, 0; ; turn++ {
		address := leader
		i.noteLeader(leader)
		if address == "" {
			address = others(peers, i.cfg.Advertise, turn)
		}
		i.waitOnce("waiting for a place in cluster " + i.cfg.ClusterName + ", asking " + address)
		answer, err := i.askOne(ctx, address, req)
		switch {
		case ctx.Err() != nil:
			return answer, errStopped
		case err == nil && answer.RaftID != 0:
			i.life.wait("")
			return answer, nil
		case err == nil && answer.Leader != "" && answer.Leader != address && sent < redirectsMax:
			leader, sent = answer.Leader, sent+1 // asked at once
			continue
		case err != nil && catalog.JoinRefusalIsFinal(err):
			return answer, failure{ipc.ClassRefused, fmt.Errorf("%s refuses this instance: %w", address, err)}
		case i.clock.Boot() >= deadline:
			return answer, failure{ipc.ClassBootTimeout, fmt.Errorf("no place in cluster %s within --boot-timeout %s: %s: %v",
				i.cfg.ClusterName, i.cfg.BootTimeout, address, err)}
		}
		i.log.Info("no place in the cluster yet", "asked", address, "error", err)
		leader, sent = "", 0
		if turn%max(1, len(peers)) == 0 { // all have been asked since the last pause
			pause(ctx, retry)
			retry = min(2*retry, joinPauseMax)
		}
	}
}

// noteLeader remembers whom this instance asks for its place, for newcomers who ask it.
func (i *Instance) noteLeader(address string) {
	if address == "" {
		i.joinsAt.Store(nil)
		return
	}
	i.joinsAt.Store(&address)
}

// joinPeers is whom a newcomer asks when it knows no leader: those that discovery found, and those that its operator names now,
// which may have moved since.
func joinPeers(found, named []string) []string {
	list := slices.Concat(found, named)
	slices.Sort(list)
	return slices.Compact(list)
}

// errStopped ends a stage because the process was asked to stop.
var errStopped = errors.New("asked to stop")

func (i *Instance) askOne(ctx context.Context, address string, req []byte) (catalog.JoinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinCall)
	defer cancel()
	b, err := i.pool.Call(ctx, address, wire.ProcJoin, req)
	if err != nil {
		return catalog.JoinAnswer{}, err
	}
	return wire.DecodeJoinAnswer(b)
}

// others are the peers to ask, in turn, this instance itself left out.
func others(peers []string, own string, turn int) string {
	list := slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return p == own })
	if len(list) == 0 {
		return own
	}
	return list[turn%len(list)]
}

// makeMember writes everything that a restart finds: the catalog as it came, the first snapshot of the replicaset's data,
// the configuration, and last the identity.
func (i *Instance) makeMember(id datadir.Identity, answer catalog.JoinAnswer) error {
	snap, err := catalog.DecodeSnapshot(bytes.NewReader(answer.Snapshot))
	if err != nil {
		return fmt.Errorf("the catalog that came with the place: %w", err)
	}
	if row, ok := snap.State.InstanceByUUID(id.InstanceUUID); !ok || row.RaftID != id.RaftID {
		return errcode.New(errcode.NoSuchInstance, id.InstanceName)
	}
	if err := i.makeDirectories(); err != nil {
		return err
	}
	if _, err := i.writeCatalogSnapshot(snap); err != nil {
		return fmt.Errorf("write the catalog: %w", err)
	}
	index, term := snap.State.Position()
	if err := i.writeFreshLog(catalogName, id, index, raftgroup.HardState{Term: term}); err != nil {
		return fmt.Errorf("make the log of the catalog: %w", err)
	}
	if err := i.makeData(id, answer.BootstrapRaftID); err != nil {
		return fmt.Errorf("make the data: %w", err)
	}
	if err := i.writeConfig(snap.State); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := i.dir.WriteIdentity(id); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	i.identity.Store(&id)
	return i.dir.RemoveLeftovers()
}

// writeFreshLog makes a log that begins after a position and holds nothing but term and vote.
func (i *Instance) writeFreshLog(name string, id datadir.Identity, index uint64, hard raftgroup.HardState) error {
	log, err := i.freshLog(name, id, index, hard.Term)
	if err != nil {
		return err
	}
	return errors.Join(log.Append(wal.Batch{HardState: &hard, Sync: true}), log.Close())
}

// catalogNow is the catalog with the members of its group at the same position, as a snapshot.
func (c *core) catalogNow() ([]byte, error) {
	snap, _, err := c.catalogView()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = catalog.EncodeSnapshot(&b, snap)
	return b.Bytes(), err
}
