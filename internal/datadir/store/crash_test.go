package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// content is what the small files of a directory say, by name; a file that is not there is nil.
type content map[string]any

func (d Dir) content() (content, error) {
	c := content{}
	id, ok, err := d.ReadIdentity()
	if ok {
		c[datadir.IdentityFile] = id
	}
	e, ok, err2 := d.ReadEntrypoint()
	if ok {
		c[datadir.EntrypointFile] = e
	}
	r, ok, err3 := d.ReadDiscovery()
	if ok {
		c[datadir.DiscoveryFile] = r
	}
	return c, errors.Join(err, err2, err3)
}

// life is what is written from an empty directory to a member that has stopped, in order. The identity takes several
// sectors of the disk.
func life(d Dir) []func() error {
	record := datadir.DiscoveryRecord{ID: "a"}
	known := datadir.DiscoveryRecord{ID: "a", Peers: []string{strings.Repeat("h", 700) + ":1"}, Decision: "boot"}
	id := testIdentity()
	id.ClusterName = strings.Repeat("n", 1300)
	later := id
	later.CatalogWatermark, later.DataWatermark = 10, 20
	return []func() error{
		d.Create,
		func() error { return d.WriteDiscovery(record) },
		func() error { return d.WriteDiscovery(known) },
		func() error { return d.WriteEntrypoint(bootEntrypoint()) },
		func() error { return d.WriteIdentity(id) },
		d.RemoveLeftovers,
		func() error { return d.WriteIdentity(later) },
	}
}

// TestEveryCrashPoint stops the machine at each call of the life of a directory and leaves each state of the disk that may
// result: every file is as before or as after the step that was under way, none is damaged, and the rest of the life can be
// written.
func TestEveryCrashPoint(t *testing.T) {
	states := 0
	for at := 1; ; at++ {
		fsys := fault.New()
		d := Dir{FS: fsys, Path: "/dir"}
		steps := life(d)
		fsys.CrashAt(at)
		step := 0
		for step < len(steps) && steps[step]() == nil {
			step++
		}
		if step == len(steps) {
			if at < 30 {
				t.Fatalf("the life has only %d calls", at)
			}
			break
		}
		before, after := contentAfter(t, step), contentAfter(t, step+1)
		for name, policy := range fsys.CrashStates(uint64(at)) {
			states++
			if err := liveOn(fsys.Clone(), policy, step, before, after); err != nil {
				t.Fatalf("crash at call %d, in step %d, disk state %q: %v", at, step, name, err)
			}
		}
	}
	t.Logf("%d crash states", states)
}

// contentAfter is what the files say after so many steps.
func contentAfter(t *testing.T, n int) content {
	t.Helper()
	d := Dir{FS: fault.New(), Path: "/dir"}
	for _, step := range life(d)[:n] {
		must(t, step())
	}
	c, err := d.content()
	must(t, err)
	return c
}

// liveOn starts the machine again, compares, and goes on with the step that was under way.
func liveOn(fsys *fault.FS, policy fault.Policy, step int, before, after content) error {
	fsys.Reboot(policy)
	d := Dir{FS: fsys, Path: "/dir"}
	found, err := d.content()
	if err != nil {
		return err
	}
	for _, name := range []string{datadir.IdentityFile, datadir.EntrypointFile, datadir.DiscoveryFile} {
		if !reflect.DeepEqual(found[name], before[name]) && !reflect.DeepEqual(found[name], after[name]) {
			return fmt.Errorf("%s is %+v", name, found[name])
		}
	}
	if _, err := d.Look(nil); err != nil {
		return err
	}
	steps := life(d)
	for _, again := range steps[step:] {
		if err := again(); err != nil {
			return fmt.Errorf("the rest of the life: %w", err)
		}
	}
	fsys.Reboot(fault.LoseUnsynced)
	if found, err = d.content(); err != nil || len(found) != 1 || found[datadir.IdentityFile].(datadir.Identity).DataWatermark != 20 {
		return fmt.Errorf("in the end: %+v %w", found, err)
	}
	return nil
}

// TestFullDisk: a small file that finds no room leaves what was there, and nothing else, and is written once there is.
func TestFullDisk(t *testing.T) {
	fsys := fault.New()
	d := Dir{FS: fsys, Path: "/dir"}
	for n, step := range life(d) {
		before, err := d.content()
		must(t, err)
		for room := int64(1); room < 4096; room += 511 {
			fsys.SetCapacity(fsys.Used() + room)
			names, err := fsys.ReadDir("/")
			must(t, err)
			err = step()
			if err == nil {
				break
			}
			if !errors.Is(err, sys.ErrDiskFull) {
				t.Fatalf("step %d: %v", n, err)
			}
			now, err := d.content()
			if err != nil || !reflect.DeepEqual(now, before) {
				t.Fatalf("step %d: %+v %v", n, now, err)
			}
			for _, e := range names {
				if strings.HasSuffix(e.Name(), datadir.InProgressSuffix) {
					t.Fatalf("step %d: %s is left", n, e.Name())
				}
			}
		}
		fsys.SetCapacity(0)
		must(t, step())
	}
}
