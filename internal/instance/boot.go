package instance

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// bootstrapIndex and bootstrapTerm are the position at which both groups of a new cluster begin: their first member is
// there, and nothing else.
const (
	bootstrapIndex = 1
	bootstrapTerm  = catalog.BootstrapTerm
	firstEpoch     = 1
)

// boot makes a cluster of one instance: the first snapshot and log entries of both groups, the first version of the
// cluster-wide configuration, and last the identity.
func (i *Instance) boot(ctx context.Context, e *datadir.Entrypoint) error {
	i.life.resume(lifecycle.Unconfigured)
	i.life.step(lifecycle.BootstrappingBox, nil)
	id := i.newIdentity(e)
	if err := i.initCommon(boxParams{stage: lifecycle.Boot, clusterUUID: id.ClusterUUID, instanceUUID: id.InstanceUUID}); err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	if err := i.makeCluster(id); err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	c, err := i.openCore(id)
	if err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	return i.postjoin(ctx, c)
}

func (i *Instance) newIdentity(e *datadir.Entrypoint) datadir.Identity {
	replicaset := i.cfg.Replicaset
	if replicaset == "" {
		replicaset = i.cfg.Tier + "_1"
	}
	name := e.InstanceName
	if name == "" {
		name = replicaset + "_1"
	}
	return datadir.Identity{
		ClusterName: i.cfg.ClusterName, ClusterUUID: e.ClusterUUID, Epoch: firstEpoch,
		InstanceName: name, InstanceUUID: e.InstanceUUID,
		ReplicasetName: replicaset, ReplicasetUUID: e.ReplicasetUUID, Tier: i.cfg.Tier,
		RaftID: catalog.FirstRaftID, DataRaftID: catalog.FirstDataRaftID,
	}
}

// makeCluster writes everything that a restart finds. The identity is last: a process that is killed before leaves a
// directory that the next one wipes and makes anew, under the same uuids.
func (i *Instance) makeCluster(id datadir.Identity) error {
	if err := i.makeDirectories(); err != nil {
		return err
	}
	state, err := i.makeCatalog(id)
	if err != nil {
		return fmt.Errorf("make the catalog: %w", err)
	}
	if err := i.makeData(id, id.DataRaftID); err != nil {
		return fmt.Errorf("make the data: %w", err)
	}
	if err := i.writeConfig(state); err != nil {
		return fmt.Errorf("write version 1 of the configuration: %w", err)
	}
	if err := i.dir.WriteIdentity(id); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	i.identity.Store(&id)
	return i.dir.RemoveLeftovers()
}

// makeDirectories makes those of both groups.
func (i *Instance) makeDirectories() error {
	for _, dir := range []string{datadir.CatalogDir, datadir.DataDir} {
		if err := i.fs.MkdirAll(i.dir.Path+"/"+dir, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	if err := i.fs.SyncDir(i.dir.Path); err != nil {
		return fmt.Errorf("sync %s: %w", i.dir.Path, err)
	}
	return nil
}

// makeCatalog writes the empty first snapshot and the first entries of the catalog.
func (i *Instance) makeCatalog(id datadir.Identity) (*catalog.State, error) {
	state := catalog.New()
	state.SetPosition(bootstrapIndex, bootstrapTerm)
	if _, err := i.writeCatalogSnapshot(catalog.Snapshot{State: state, Voters: []uint64{id.RaftID}}); err != nil {
		return nil, err
	}
	entries, err := catalog.Bootstrap(i.bootstrapParams(id))
	if err != nil {
		return nil, err
	}
	log, err := i.freshLog(catalogName, id, bootstrapIndex, bootstrapTerm)
	if err != nil {
		return nil, err
	}
	batch := wal.Batch{HardState: &raftgroup.HardState{Term: bootstrapTerm, Vote: id.RaftID}, Sync: true}
	for n, data := range entries {
		e := raftgroup.Entry{Index: uint64(bootstrapIndex + 1 + n), Term: bootstrapTerm, Data: data}
		if _, _, err := state.Apply(e.Index, e.Term, e.Data); err != nil {
			return nil, errors.Join(err, log.Close())
		}
		batch.Entries = append(batch.Entries, e)
	}
	batch.Commit = uint64(bootstrapIndex + len(entries))
	return state, errors.Join(log.Append(batch), log.Close())
}

// freshLog opens a log that is not there yet and sets it to the position after which its entries begin.
func (i *Instance) freshLog(name string, id datadir.Identity, index, term uint64) (*wal.Log, error) {
	log, err := i.openLog(name, id, wal.SyncFsync)
	if err != nil {
		return nil, err
	}
	if err := log.ResetTo(index, term); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

func (i *Instance) bootstrapParams(id datadir.Identity) catalog.BootstrapParams {
	p := catalog.BootstrapParams{
		ClusterName: id.ClusterName, ClusterUUID: id.ClusterUUID, InstanceName: id.InstanceName, InstanceUUID: id.InstanceUUID,
		ReplicasetName: id.ReplicasetName, ReplicasetUUID: id.ReplicasetUUID, Tier: id.Tier,
		FailureDomain: i.cfg.FailureDomain, Version: i.version, Address: i.cfg.Advertise, HTTPAddress: i.cfg.HTTPListen,
		AutoOfflineTimeout: i.cfg.AutoOfflineTimeout, ElectionTimeout: i.cfg.ElectionTimeout,
		PublicFunctions: []uint32{functionUserInfo, procedureID(procInstanceInfo), procedureID(procClusterInfo)},
	}
	for _, t := range i.cfg.TierList() {
		p.Tiers = append(p.Tiers, catalog.TierParams{
			Name: t.Name, ReplicationFactor: uint64(t.ReplicationFactor), CanVote: t.CanVote,
			BucketCount: uint64(t.BucketCount), WALMode: t.WALMode, IsDefault: t.Name == i.cfg.Tier,
		})
	}
	if password := i.child.AdminPassword(); !password.Empty() {
		p.AdminAuth = authOf(password.Reveal())
	}
	return p
}

// authOf is the stored form of a password.
func authOf(password []byte) catalog.Auth {
	hash := iproto.HashPassword(password)
	return catalog.Auth{Method: catalog.AuthMethod, Data: base64.StdEncoding.EncodeToString(hash[:])}
}

// makeData writes the first snapshot of a replicaset's data, which holds the dictionary and nothing else, and an empty log.
// It is the same at each of its replicas: one of them, first, is the first voter, and the others get what follows from it.
func (i *Instance) makeData(id datadir.Identity, first uint64) error {
	state := catalog.New()
	engine, err := box.New(i.engineOptions(newCore(id, state)))
	if err != nil {
		return err
	}
	err = errors.Join(loadDictionary(engine, id), i.firstSnapshot(engine, first), engine.Close())
	if err != nil {
		return err
	}
	hard := raftgroup.HardState{Term: bootstrapTerm}
	if first == id.DataRaftID {
		hard.Vote = first
	}
	return i.writeFreshLog(dataName, id, bootstrapIndex, hard)
}

// loadDictionary fills an engine with the rows of a fresh database.
func loadDictionary(engine *box.Engine, id datadir.Identity) error {
	engine.Begin(bootstrapIndex)
	var failed error
	for _, row := range dictionary.Fresh(id.ReplicasetUUID) {
		failed = errors.Join(failed, engine.Load(dictionary.SpaceSchema, row))
	}
	dictionary.Rows(func(space uint32, row []byte) bool {
		failed = errors.Join(failed, engine.Load(space, row))
		return failed == nil
	})
	engine.Seal()
	engine.Publish(bootstrapIndex)
	return failed
}

func (i *Instance) firstSnapshot(engine *box.Engine, first uint64) error {
	view := engine.OpenView()
	defer view.Close()
	pos := checkpoint.Position{Index: bootstrapIndex, Term: bootstrapTerm, Voters: []uint64{first}}
	_, err := checkpoint.Write(engine, view, pos, i.checkpointOptions())
	return err
}
