// Package store keeps copies of the cluster-wide configuration in a directory: a folder for each version, and the file
// CURRENT that names the one to be used. Effects: files, through sys.FS. What a configuration means and whether it is valid
// is decided by package clusterconfig.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/clusterconfig"
	"github.com/lycosadb/lycosa/internal/sys"
)

const (
	currentName = "CURRENT"
	versionName = "VERSION"
	inProgress  = ".inprogress"
	dirPerm     = 0o700
	filePerm    = 0o600
	// smallFileMax bounds CURRENT and VERSION, in bytes.
	smallFileMax = 4096
)

// ErrMissing is in the chain of the error of Load when there is no configuration at all.
var ErrMissing = errors.New("there is no copy of the cluster-wide configuration")

// BrokenError means that there is a configuration that cannot be used.
type BrokenError struct {
	Path string // of the file or folder at fault
	Err  error
}

// Error names the file and what is wrong with it.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the copy of the cluster-wide configuration is broken: %s: %v", e.Path, e.Err)
}

// Unwrap returns what is wrong. A *clusterconfig.FieldError in the chain names the field.
func (e *BrokenError) Unwrap() error { return e.Err }

// Loaded is a configuration with the version it was made from.
type Loaded struct {
	Config   clusterconfig.Config
	Version  clusterconfig.Version
	Sections clusterconfig.Sections
}

// Write stores a version in dir and makes it the current one, durably: after a crash at any moment Load finds the version
// before or this one. The version that was current before is kept, older ones are removed. Writing the current version
// again with the same content does nothing.
func Write(fsys sys.FS, dir string, s clusterconfig.Sections, v clusterconfig.Version) error {
	if err := write(fsys, dir, s, v); err != nil {
		return fmt.Errorf("write cluster-wide configuration version %d: %w", v.Number, err)
	}
	return nil
}

func write(fsys sys.FS, dir string, s clusterconfig.Sections, v clusterconfig.Version) error {
	if _, err := clusterconfig.Decode(s, v); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	before, err := readCurrent(fsys, dir)
	if err == nil && before == v.Number {
		if old, err := Load(fsys, dir); err == nil && old.Version == v {
			return nil
		}
		// The folder of the current version is about to be replaced, which is not atomic: better none than a mixture.
		if err := removeSynced(fsys, dir, currentName); err != nil {
			return err
		}
		before = 0
	}
	if err := writeFolder(fsys, dir, s, v); err != nil {
		return err
	}
	current, err := clusterconfig.EncodeCurrent(v.Number)
	if err != nil {
		return err
	}
	if err := sys.WriteFileAtomic(fsys, dir, currentName, current, filePerm); err != nil {
		return err
	}
	return prune(fsys, dir, v.Number, before)
}

func removeSynced(fsys sys.FS, dir, name string) error {
	if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// writeFolder writes the files into a temporary folder, syncs each, and renames the folder.
func writeFolder(fsys sys.FS, dir string, s clusterconfig.Sections, v clusterconfig.Version) error {
	final := filepath.Join(dir, strconv.FormatUint(v.Number, 10))
	tmp := final + inProgress
	if err := fsys.RemoveAll(tmp); err != nil {
		return err
	}
	if err := fsys.MkdirAll(tmp, dirPerm); err != nil {
		return err
	}
	version, err := clusterconfig.EncodeVersion(v)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if err := writeSynced(fsys, filepath.Join(tmp, name), s[name]); err != nil {
			return err
		}
	}
	if err := writeSynced(fsys, filepath.Join(tmp, versionName), version); err != nil {
		return err
	}
	if err := fsys.SyncDir(tmp); err != nil {
		return err
	}
	if err := fsys.RemoveAll(final); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, final); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

func writeSynced(fsys sys.FS, name string, data []byte) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// prune removes the folders of all versions but two, and what a crash left behind.
func prune(fsys sys.FS, dir string, keep ...uint64) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		number, err := strconv.ParseUint(strings.TrimSuffix(name, inProgress), 10, 64)
		if err != nil || !e.IsDir() {
			continue // not ours
		}
		if slices.Contains(keep, number) && !strings.HasSuffix(name, inProgress) {
			continue
		}
		if err := fsys.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

func readCurrent(fsys sys.FS, dir string) (uint64, error) {
	path := filepath.Join(dir, currentName)
	b, err := sys.ReadFile(fsys, path, smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s does not exist", ErrMissing, path)
	}
	if err != nil {
		return 0, &BrokenError{path, err}
	}
	number, err := clusterconfig.DecodeCurrent(b)
	if err != nil {
		return 0, &BrokenError{path, err}
	}
	return number, nil
}

// Load reads the current version. Errors: ErrMissing if there is none (also when dir does not exist), *BrokenError if there
// is one that cannot be read or does not pass its checks.
func Load(fsys sys.FS, dir string) (Loaded, error) {
	number, err := readCurrent(fsys, dir)
	if err != nil {
		return Loaded{}, err
	}
	folder := filepath.Join(dir, strconv.FormatUint(number, 10))
	sections, version, err := readFolder(fsys, folder)
	if err != nil {
		return Loaded{}, err
	}
	if version.Number != number {
		return Loaded{}, &BrokenError{folder, fmt.Errorf("VERSION says %d, CURRENT says %d", version.Number, number)}
	}
	config, err := clusterconfig.Decode(sections, version)
	if err != nil {
		return Loaded{}, &BrokenError{folder, err}
	}
	return Loaded{config, version, sections}, nil
}

func readFolder(fsys sys.FS, folder string) (clusterconfig.Sections, clusterconfig.Version, error) {
	fail := func(name string, err error) (clusterconfig.Sections, clusterconfig.Version, error) {
		return nil, clusterconfig.Version{}, &BrokenError{filepath.Join(folder, name), err}
	}
	b, err := sys.ReadFile(fsys, filepath.Join(folder, versionName), smallFileMax)
	if err != nil {
		return fail(versionName, err)
	}
	version, err := clusterconfig.DecodeVersion(b)
	if err != nil {
		return fail(versionName, err)
	}
	entries, err := fsys.ReadDir(folder)
	if err != nil {
		return fail("", err)
	}
	sections := clusterconfig.Sections{}
	for _, e := range entries {
		name := e.Name()
		if name == versionName || !strings.HasSuffix(name, ".yml") {
			continue
		}
		if len(sections) == clusterconfig.SectionsMax {
			return fail("", fmt.Errorf("more than %d sections", clusterconfig.SectionsMax))
		}
		if sections[name], err = sys.ReadFile(fsys, filepath.Join(folder, name), clusterconfig.SectionBytesMax); err != nil {
			return fail(name, err)
		}
	}
	return sections, version, nil
}
