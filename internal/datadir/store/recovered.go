package store

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/lycosadb/lycosa/internal/datadir"
)

// SettleRecovery brings a forced recovery to its end, if one has left something: files of the identity's epoch take the place of
// the old ones (done is true then), those of any other epoch are removed. It is called with the directory's lock, before anybody looks at the
// groups, and may be repeated after a crash. A directory without an identity that can be read is left as it is.
func (d Dir) SettleRecovery() (done bool, err error) {
	id, ok, err := d.ReadIdentity()
	if err != nil || !ok {
		return false, nil // who looks at the directory tells what is wrong with it
	}
	for _, group := range []string{datadir.CatalogDir, datadir.DataDir} {
		list, err := d.entries(group)
		if err != nil {
			return done, err
		}
		took, err := d.settleGroup(group, id.Epoch, list)
		if err != nil {
			return done, fmt.Errorf("datadir: end the recovery: %w", err)
		}
		done = done || took
	}
	return done, nil
}

func (d Dir) settleGroup(group string, epoch uint64, list []fs.DirEntry) (took bool, err error) {
	path := d.path(group) + "/"
	var left, next []string
	old := false
	for _, e := range list {
		of, name, ok := datadir.ParseRecovered(e.Name())
		switch {
		case ok && of == epoch && name == datadir.RecoveredOld:
			old = true
		case ok && of == epoch:
			next = append(next, name)
		case ok:
			left = append(left, e.Name())
		}
	}
	if err := d.removeIn(group, left); err != nil || !old && len(next) == 0 {
		return false, err
	}
	prefix := datadir.RecoveredPrefix(epoch)
	if old { // the last of the old files goes before the first new one gets its name
		if err := d.removeOld(group, prefix, list); err != nil {
			return false, err
		}
	}
	for _, name := range next {
		if err := d.FS.Rename(path+prefix+name, path+name); err != nil {
			return false, err
		}
	}
	return true, d.FS.SyncDir(d.path(group))
}

// removeOld removes the files of the epoch before from the directory of a group, and then what tells that they are there.
func (d Dir) removeOld(group, prefix string, list []fs.DirEntry) error {
	var names []string
	for _, e := range list {
		if _, _, ok := datadir.ParseRecovered(e.Name()); !ok && e.Type().IsRegular() && ofGroup(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if err := d.removeIn(group, names); err != nil {
		return err
	}
	return d.removeIn(group, []string{prefix + datadir.RecoveredOld})
}

// ofGroup tells whether a file in the directory of a group is one that a group has written. Damaged ones, which were set
// aside under other names, stay.
func ofGroup(name string) bool {
	if name == datadir.LogModeFile {
		return true
	}
	for _, suffix := range []string{datadir.DataSnapshotSuffix, datadir.DataSnapshotSuffix + ".sha256", datadir.CatalogSnapshotSuffix,
		datadir.LogSuffix, datadir.InProgressSuffix} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

func (d Dir) removeIn(group string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if err := d.FS.Remove(d.path(group) + "/" + name); err != nil {
			return err
		}
	}
	return d.FS.SyncDir(d.path(group))
}
