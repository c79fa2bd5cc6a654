package instance

import (
	"bytes"
	"context"
	"maps"
	"reflect"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/clusterconfig"
	configstore "github.com/lycosadb/lycosa/internal/clusterconfig/store"
)

const (
	// configPause is how long changes of the catalog are gathered before the copy of the configuration is written anew.
	configPause = time.Second
	// configRetry is the pause after a copy that could not be written.
	configRetry = 30 * time.Second
)

// configLoop keeps the copy of the configuration in step with the catalog: who starts from it finds the others where they are now. It
// also mends one that a recovery has left behind when it was interrupted.
func (i *Instance) configLoop(ctx context.Context, c *core) {
	wake := c.catalog.Subscribe()
	defer c.catalog.Unsubscribe(wake)
	var written clusterconfig.Config
	for {
		if pause(ctx, configPause); ctx.Err() != nil {
			return
		}
		view := c.catalog.View()
		if want := clusterconfig.FromCatalog(view); !reflect.DeepEqual(want, written) {
			if err := i.renewConfig(view); err != nil {
				i.log.Warn("the copy of the configuration was not written, and stays as it is", "error", err, "again in", configRetry)
				pause(ctx, configRetry)
				continue
			}
			written = want
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// renewConfig writes the copy of the configuration as a catalog has it, under the next number, unless it is that already or this
// instance is not in it. It is only a copy: an older one, left by a crash, does no harm.
func (i *Instance) renewConfig(state *catalog.State) error {
	want := clusterconfig.FromCatalog(state)
	if !want.Contains(i.instanceUUID()) {
		return nil
	}
	loaded, err := configstore.Load(i.fs, i.configDir())
	if err != nil {
		return err
	}
	index, _ := state.Position()
	sections, version, err := clusterconfig.Encode(want, loaded.Version.Number+1, index)
	if err != nil || maps.EqualFunc(sections, loaded.Sections, bytes.Equal) {
		return err
	}
	return configstore.Write(i.fs, i.configDir(), sections, version)
}
