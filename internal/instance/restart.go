package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/clusterconfig"
	configstore "github.com/lycosadb/lycosa/internal/clusterconfig/store"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// restart takes a member of a cluster from its files to Postjoin, in the same process.
func (i *Instance) restart(ctx context.Context, v datadir.Verdict) error {
	id := *v.Identity
	i.life.step(lifecycle.ConfigFound, nil)
	if err := i.checkConfigFor(id); err != nil {
		return i.initError(ctx, causeOf(err, datadir.ConfigDir))
	}
	if v.Begin == datadir.BeginWait {
		i.life.step(lifecycle.ConfigLoaded, v.Cause)
		i.log.Error("waiting to be replaced", "cause", v.Cause.Message)
		i.life.wait("waiting for a permit to come back without the old files: lycosa replace " + id.InstanceName)
		return i.awaitPermit(ctx, id)
	}
	i.life.step(lifecycle.ConfigLoaded, nil)
	if err := i.dir.RemoveLeftovers(); err != nil {
		return i.initError(ctx, causeOf(err, "data-dir"))
	}
	i.life.step(lifecycle.RecoveringSnapshot, nil)
	if err := i.initCommon(boxParams{stage: lifecycle.Discover, clusterUUID: id.ClusterUUID, instanceUUID: id.InstanceUUID}); err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	c, err := i.openCore(id)
	if err != nil {
		return i.bootError(ctx, err, "data-dir")
	}
	if err := i.checkMember(c); err != nil {
		return errors.Join(c.close(), i.bootError(ctx, err, "instance-name"))
	}
	return i.postjoin(ctx, c)
}

// checkMember refuses to serve an instance that the catalog does not know or has expelled.
func (i *Instance) checkMember(c *core) error {
	row, ok := c.catalog.View().InstanceByUUID(c.id.InstanceUUID)
	switch {
	case !ok:
		return errcode.New(errcode.NoSuchInstance, c.id.InstanceName)
	case row.Current.Name == lifecycle.Expelled:
		return errcode.New(errcode.InstanceExpelled, c.id.InstanceName)
	}
	return nil
}

// checkConfig is what Look asks about the copy of the cluster-wide configuration.
func (i *Instance) checkConfig() error {
	_, err := configstore.Load(i.fs, i.configDir())
	if errors.Is(err, configstore.ErrMissing) {
		return nil // Look tells missing from broken by itself
	}
	return err
}

// checkConfigFor validates the copy and finds this instance in it.
func (i *Instance) checkConfigFor(id datadir.Identity) error {
	loaded, err := configstore.Load(i.fs, i.configDir())
	if err != nil {
		return err
	}
	if !loaded.Config.Contains(id.InstanceUUID) {
		return fmt.Errorf("instance %s (%s) is not in the cluster-wide configuration %s/config", id.InstanceName, id.InstanceUUID, i.dir.Path)
	}
	return nil
}

// firstConfig is the number of the configuration that Boot writes.
const firstConfig = 1

func (i *Instance) configDir() string { return i.dir.Path + "/" + datadir.ConfigDir }

// writeConfig writes the catalog's content as version 1 of the configuration.
func (i *Instance) writeConfig(state *catalog.State) error {
	index, _ := state.Position()
	sections, version, err := clusterconfig.Encode(clusterconfig.FromCatalog(state), firstConfig, index)
	if err != nil {
		return err
	}
	return configstore.Write(i.fs, i.configDir(), sections, version)
}
