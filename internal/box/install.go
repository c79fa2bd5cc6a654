package box

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/index"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// kept is a temporary space whose rows outlive the installation of a snapshot, with its primary tree of before.
type kept struct {
	space *Space
	root  index.Root
}

// NewInstaller opens the version of a snapshot that takes the place of everything the engine holds but the rows of temporary
// spaces: a replica that has been away for too long becomes what another one is. Rows of local spaces come with the others, from a
// snapshot that was made for this instance.
//
// It is a version like any other, made of trees of its own: readers go on with those of before until Finish, and for as long as they
// use them; what they use is given up when nobody does. Transactions that have read anything conflict at their commit, because no
// space is the one that they read. Nothing may be sealed and not published, and no index may be under construction. There is no
// way back: after an error the engine can only be closed.
func (e *Engine) NewInstaller(version uint64) (*Loader, error) {
	invariant.Check(len(e.pending) == 0 && len(e.builds.list) == 0, "version %d is installed while another one is made", version)
	fresh, err := e.systemSchema()
	if err != nil {
		return nil, fmt.Errorf("box: system spaces: %w", err)
	}
	before := e.schema
	fresh.Version = before.Version + 1 // never one that a client has seen with another meaning
	l := e.NewLoader(version)
	for _, sp := range before.byID {
		if sp.Temporary && sp.primary() != nil {
			l.kept = append(l.kept, kept{space: sp, root: sp.primary().state.cur})
		}
		for _, ix := range sp.Indexes {
			e.freeIndex(ix, ix.ID == 0)
		}
	}
	e.freeIndex(e.sequences, true)
	e.schema = fresh
	l.schema.Store(fresh)
	return l, nil
}

// keepTemporary copies the rows of temporary spaces of before into those that are there under the same id and name, as far as
// they fit.
func (l *Loader) keepTemporary() {
	e := l.e
	e.setForce(true)
	defer e.setForce(false)
	for _, k := range l.kept {
		sp := e.schema.Space(k.space.ID)
		if sp == nil || !sp.Temporary || sp.Name != k.space.Name || sp.primary() == nil {
			continue
		}
		var cur index.Cursor
		k.space.primary().state.store.Seek(&cur, k.root, index.ALL, nil, 0)
		for ref, ok := cur.Next(); ok; ref, ok = cur.Next() {
			l.keep(sp, e.arena.Tuple(ref))
		}
	}
	l.kept = nil
}

// keep puts a row into a temporary space, if it fits.
func (l *Loader) keep(sp *Space, tup []byte) {
	e := l.e
	if sp.Format.Validate(tup) != nil || e.find(sp.primary(), tup) != 0 || e.checkUnique(sp, 0, tup) != nil {
		return
	}
	e.placed = nil
	e.loading = true // no transaction has to be told
	e.apply(sp, 0, tup)
	e.loading = false
	if sp.auto != nil {
		e.followRow(sp, tup)
	}
}
