// Package store reads, writes and wipes the small files of a data directory. Effects: files, through sys.FS. What a
// directory means and what may be wiped is decided by package datadir.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Dir is a data directory. It holds no state, so values may be copied and used by several goroutines as far as the
// files allow.
type Dir struct {
	FS   sys.FS
	Path string
}

// dirMode and fileMode keep other users of the machine out.
const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// Create makes the data directory if it is not there, and its name durable: what is synced in a directory that a loss of
// power takes away is lost with it.
func (d Dir) Create() error {
	var changed []string
	for dir := filepath.Dir(d.Path); ; dir = filepath.Dir(dir) {
		changed = append(changed, dir)
		if _, err := d.FS.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	if err := d.FS.MkdirAll(d.Path, dirMode); err != nil {
		return fmt.Errorf("datadir: create %s: %w", d.Path, err)
	}
	for _, dir := range changed {
		// Who may not read the directory above did not make ours.
		if err := d.FS.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("datadir: sync %s: %w", dir, err)
		}
	}
	return nil
}

func (d Dir) path(name string) string { return d.Path + "/" + name }

// ReadIdentity reads the identity; ok is false when there is none.
func (d Dir) ReadIdentity() (id datadir.Identity, ok bool, err error) {
	return read(d, datadir.IdentityFile, datadir.DecodeIdentity)
}

// ReadEntrypoint reads the entrypoint; ok is false when there is none.
func (d Dir) ReadEntrypoint() (e datadir.Entrypoint, ok bool, err error) {
	return read(d, datadir.EntrypointFile, datadir.DecodeEntrypoint)
}

// ReadDiscovery reads the discovery record; ok is false when there is none.
func (d Dir) ReadDiscovery() (r datadir.DiscoveryRecord, ok bool, err error) {
	return read(d, datadir.DiscoveryFile, datadir.DecodeDiscovery)
}

func read[T any](d Dir, name string, decode func([]byte) (T, error)) (value T, ok bool, err error) {
	info, err := d.FS.Lstat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return value, false, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is a link or not a regular file")
	}
	var data []byte
	if err == nil {
		data, err = sys.ReadFile(d.FS, d.path(name), datadir.FileBytesMax)
	}
	if err != nil {
		return value, false, fmt.Errorf("datadir: read %s: %w", name, err)
	}
	value, err = decode(data)
	return value, err == nil, err
}

// WriteIdentity replaces the identity durably.
func (d Dir) WriteIdentity(id datadir.Identity) error {
	data, err := datadir.EncodeIdentity(id)
	return d.write(datadir.IdentityFile, data, err)
}

// WriteEntrypoint replaces the entrypoint durably.
func (d Dir) WriteEntrypoint(e datadir.Entrypoint) error {
	data, err := datadir.EncodeEntrypoint(e)
	return d.write(datadir.EntrypointFile, data, err)
}

// WriteDiscovery replaces the discovery record durably.
func (d Dir) WriteDiscovery(r datadir.DiscoveryRecord) error {
	data, err := datadir.EncodeDiscovery(r)
	return d.write(datadir.DiscoveryFile, data, err)
}

func (d Dir) write(name string, data []byte, err error) error {
	if err != nil {
		return err
	}
	if err := sys.WriteFileAtomic(d.FS, d.Path, name, data, fileMode); err != nil {
		return fmt.Errorf("datadir: write %s: %w", name, err)
	}
	return nil
}

// RemoveLeftovers removes entrypoint and discovery, as far as they are there, and syncs the directory.
func (d Dir) RemoveLeftovers() error {
	return d.remove([]string{datadir.EntrypointFile, datadir.DiscoveryFile})
}

func (d Dir) remove(names []string) error {
	removed := false
	for _, name := range names {
		err := d.FS.Remove(d.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("datadir: remove %s: %w", name, err)
		}
		removed = removed || err == nil
	}
	if !removed {
		return nil
	}
	return d.sync()
}

func (d Dir) sync() error {
	if err := d.FS.SyncDir(d.Path); err != nil {
		return fmt.Errorf("datadir: sync %s: %w", d.Path, err)
	}
	return nil
}
