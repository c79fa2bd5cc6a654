package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/lycosadb/lycosa/internal/datadir"
)

// ErrWipeRefused is in the chain when a wipe would have touched what it must not; nothing was removed then.
var ErrWipeRefused = errors.New("wipe refused")

// Wipe removes what the database knows as its own: the contents of data/ and catalog/, and *.inprogress files. It refuses
// if one of these names is a link, and where an identity lies, readable or not, unless the verdict allows it (an
// instance that is being replaced). Everything else in the directory stays. It may be repeated after a crash.
func (d Dir) Wipe(v datadir.Verdict) error {
	if !v.Wipe {
		return nil
	}
	_, err := d.FS.Lstat(d.path(datadir.IdentityFile))
	switch {
	case err == nil && !v.WipeDespiteIdentity:
		return fmt.Errorf("datadir: wipe %s: there is an identity: %w", d.Path, ErrWipeRefused)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("datadir: wipe %s: %w", d.Path, err)
	}
	known, err := d.wipeable()
	if err != nil {
		return err
	}
	for _, name := range known {
		if err := d.wipeOne(name); err != nil {
			return err
		}
	}
	return d.sync()
}

// WipeData removes the contents of data/, for a replica that begins anew. The identity must say so already. It may be repeated after a
// crash.
func (d Dir) WipeData() error {
	id, ok, err := d.ReadIdentity()
	if err != nil || !ok || !id.DataPending {
		return fmt.Errorf("datadir: wipe %s: the identity does not ask for it: %w", d.path(datadir.DataDir), errors.Join(ErrWipeRefused, err))
	}
	st, err := d.FS.Lstat(d.path(datadir.DataDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("datadir: wipe: %w", err)
	case !st.IsDir():
		return fmt.Errorf("datadir: wipe %s: it is a link or not a directory: %w", d.path(datadir.DataDir), ErrWipeRefused)
	}
	return d.wipeOne(datadir.DataDir)
}

// wipeable lists the names to be removed, after every one of them was found to be what it should be.
func (d Dir) wipeable() ([]string, error) {
	root, err := d.entries("")
	if err != nil {
		return nil, err
	}
	var known []string
	for _, e := range root {
		isDir := e.Name() == datadir.DataDir || e.Name() == datadir.CatalogDir
		half := strings.HasSuffix(e.Name(), datadir.InProgressSuffix)
		switch {
		case isDir && !e.IsDir(), half && !e.Type().IsRegular():
			return nil, fmt.Errorf("datadir: wipe %s: %s is a link or not of the expected kind: %w", d.Path, e.Name(), ErrWipeRefused)
		case isDir, half:
			known = append(known, e.Name())
		}
	}
	return known, nil
}

// wipeOne removes a half-written file, or empties one of our directories: the directory itself may be a mount point.
func (d Dir) wipeOne(name string) error {
	if strings.HasSuffix(name, datadir.InProgressSuffix) {
		if err := d.FS.Remove(d.path(name)); err != nil {
			return fmt.Errorf("datadir: wipe: %w", err)
		}
		return nil
	}
	list, err := d.entries(name)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := d.FS.RemoveAll(d.path(name) + "/" + e.Name()); err != nil {
			return fmt.Errorf("datadir: wipe: %w", err)
		}
	}
	if err := d.FS.SyncDir(d.path(name)); err != nil {
		return fmt.Errorf("datadir: wipe: sync %s: %w", name, err)
	}
	return nil
}
