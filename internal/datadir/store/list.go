package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/lycosadb/lycosa/internal/datadir"
)

// Look lists the directory and judges it. checkConfig, if not nil, is asked whether the copy of the cluster-wide
// configuration is valid; without it, only its presence counts. The error is a directory that cannot be listed.
func (d Dir) Look(checkConfig func() error) (datadir.Verdict, error) {
	l, err := d.List(checkConfig)
	if err != nil {
		return datadir.Verdict{}, err
	}
	return datadir.Look(l), nil
}

// List gathers what Look judges by. A directory that does not exist is an empty one.
func (d Dir) List(checkConfig func() error) (datadir.Listing, error) {
	var l datadir.Listing
	root, err := d.entries("")
	if err != nil {
		return l, err
	}
	for _, e := range root {
		d.note(&l, e)
	}
	l.Identity = found(d.ReadIdentity())
	l.Entrypoint = found(d.ReadEntrypoint())
	l.Discovery = found(d.ReadDiscovery())
	if l.Data, err = d.group(datadir.DataDir); err != nil {
		return l, err
	}
	if l.Catalog, err = d.group(datadir.CatalogDir); err != nil {
		return l, err
	}
	return l, d.config(&l.Config, checkConfig)
}

// note sorts one entry of the root.
func (d Dir) note(l *datadir.Listing, e fs.DirEntry) {
	name := e.Name()
	isDir := name == datadir.DataDir || name == datadir.CatalogDir
	switch {
	case isDir && !e.IsDir():
		l.NotOurs = append(l.NotOurs, name)
	case strings.HasSuffix(name, datadir.InProgressSuffix) && !e.Type().IsRegular():
		l.NotOurs = append(l.NotOurs, name)
	case strings.HasSuffix(name, ".snap") || strings.HasSuffix(name, ".xlog"):
		l.Foreign = append(l.Foreign, name)
	}
}

func found[T any](value T, ok bool, err error) datadir.Found[T] {
	switch {
	case err != nil:
		return datadir.Found[T]{State: datadir.Unreadable, Reason: err.Error()}
	case ok:
		return datadir.Found[T]{State: datadir.Readable, Value: value}
	}
	return datadir.Found[T]{}
}

func (d Dir) entries(name string) ([]fs.DirEntry, error) {
	path := d.Path
	if name != "" {
		path = d.path(name)
	}
	list, err := d.FS.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("datadir: list %s: %w", path, err)
	}
	return list, nil
}

// group looks at the directory of a raft group: any file that is neither a snapshot nor half-written may be its log.
func (d Dir) group(name string) (datadir.Group, error) {
	var g datadir.Group
	info, err := d.FS.Lstat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return g, fmt.Errorf("datadir: look at %s: %w", name, err)
	}
	if !info.IsDir() && info.Mode()&fs.ModeSymlink == 0 {
		return datadir.Group{Entries: 1}, nil
	}
	list, err := d.entries(name)
	if err != nil {
		return g, err
	}
	for _, e := range list {
		g.Entries++
		g.Snapshot = g.Snapshot || strings.HasSuffix(e.Name(), datadir.SnapshotSuffix(name))
		g.Log = g.Log || strings.HasSuffix(e.Name(), datadir.LogSuffix)
	}
	return g, nil
}

// config looks at the copy of the cluster-wide configuration.
func (d Dir) config(c *datadir.Config, check func() error) error {
	list, err := d.entries(datadir.ConfigDir)
	if err != nil {
		return err
	}
	c.Entries = len(list)
	current := false
	for _, e := range list {
		current = current || e.Name() == "CURRENT"
	}
	switch {
	case c.Entries == 0:
	case !current:
		c.State, c.Reason = datadir.Unreadable, "config/CURRENT is missing"
	case check == nil:
		c.State = datadir.Readable
	default:
		c.State = datadir.Readable
		if err := check(); err != nil {
			c.State, c.Reason = datadir.Unreadable, err.Error()
		}
	}
	return nil
}
