package instance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	configstore "github.com/lycosadb/lycosa/internal/clusterconfig/store"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

const firstInstance = "22222222-2222-4222-8222-222222222222"

// movedTo is the bootstrapped catalog after its instance has told another address.
func movedTo(t *testing.T, state *catalog.State, address string) *catalog.State {
	t.Helper()
	next := state.Clone()
	op, _, err := catalog.SetAddress(state, "default_1_1", address, "")
	if err != nil {
		t.Fatal(err)
	}
	index, term := state.Position()
	if _, _, err := next.Execute(index+1, term, catalog.Item{Ops: []catalog.Op{op}}); err != nil {
		t.Fatal(err)
	}
	return next
}

// TestConfigCopy: the copy is written anew under the next number when it differs from the catalog, and only then; one of an older
// epoch, left by a recovery that was interrupted, too. A catalog that does not know this instance is not copied.
func TestConfigCopy(t *testing.T) {
	disk := fault.New()
	if err := errors.Join(disk.MkdirAll("/dir", 0o700), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	i := onDataDisk(disk)
	i.identity.Store(&datadir.Identity{InstanceUUID: firstInstance})
	state := bootstrapped(t)
	if err := i.writeConfig(state); err != nil {
		t.Fatal(err)
	}
	check := func(step string, number, epoch uint64, address string) {
		t.Helper()
		loaded, err := configstore.Load(disk, i.configDir())
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		_, own, _ := loaded.Config.ByUUID(firstInstance)
		if loaded.Version.Number != number || loaded.Version.Epoch != epoch || own.Address != address {
			t.Errorf("%s: version %+v, address %s", step, loaded.Version, own.Address)
		}
	}
	renew := func(state *catalog.State) {
		t.Helper()
		if err := i.renewConfig(state); err != nil {
			t.Fatal(err)
		}
	}
	renew(state)
	check("nothing has changed", 1, 1, "127.0.0.1:3301")
	state = movedTo(t, state, "127.0.0.1:3302")
	renew(state)
	renew(state)
	check("moved", 2, 1, "127.0.0.1:3302")
	disk.Reboot(fault.LoseUnsynced)
	check("after a power cut", 2, 1, "127.0.0.1:3302")
	i.identity.Store(&datadir.Identity{InstanceUUID: "66666666-6666-4666-8666-666666666666"})
	renew(bootstrapped(t))
	check("of strangers", 2, 1, "127.0.0.1:3302")
}

// TestConfigLoop: the loop notices what was left behind before it began.
func TestConfigLoop(t *testing.T) {
	disk := fault.New()
	i := onDataDisk(disk)
	i.identity.Store(&datadir.Identity{InstanceUUID: firstInstance})
	state := bootstrapped(t)
	if err := i.writeConfig(state); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.configLoop(ctx, newCore(datadir.Identity{}, movedTo(t, state, "127.0.0.1:3303")))
	}()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if loaded, err := configstore.Load(disk, i.configDir()); err == nil && loaded.Version.Number == 2 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("version %+v, %v", loaded.Version, err)
		}
	}
	cancel()
	<-done
}
