package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
)

// adoptBlockMax bounds a block of a foreign snapshot, in bytes, as it does where one is loaded.
const adoptBlockMax = 256 << 20

// Adopt makes the snapshot of another replica, which was brought here into the file at path, one of this instance: the rows of local
// spaces that the sender has are left out, those that the view shows take their place, and the file is named by what this
// instance counts. Every byte of the foreign file is checked on the way, and it must stand for the position, whose Local is
// not looked at. It is durable then, as one of Write is, and a start from it finds what an installation of it makes of a running engine.
// The foreign file stays.
func Adopt(view *box.View, path string, pos Position, o Options) (Result, error) {
	f, err := o.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return Result{}, fmt.Errorf("checkpoint: adopt: %w", err)
	}
	defer f.Close()
	r, err := snap.NewReader(f, snap.Limits{BlockBytesMax: adoptBlockMax})
	if err != nil {
		return Result{}, fmt.Errorf("checkpoint: adopt %s: %w", path, err)
	}
	if r.Meta().Kind != snap.KindSnap {
		return Result{}, fmt.Errorf("checkpoint: adopt %s: this is no snapshot", path)
	}
	has, err := PositionOf(r.Meta())
	if err != nil {
		return Result{}, fmt.Errorf("checkpoint: adopt %s: %w", path, err)
	}
	if !has.same(pos) {
		return Result{}, fmt.Errorf("checkpoint: adopt %s: it stands for %+v, not for %+v", path, has, pos)
	}
	pos.Local = view.LocalRows()
	a := adoption{view: view, r: r, o: o}
	res, err := write(pos, o, func(w io.Writer) (uint64, error) {
		if a.w, err = newWriter(pos, o, w); err != nil {
			return 0, err
		}
		return a.rows()
	})
	if err == nil && res.Existed { // an earlier adoption did not come to be installed
		if has, err = ReadPosition(o.FS, o.Dir, pos.Signature()); err == nil && !has.same(pos) {
			err = fmt.Errorf("checkpoint: %s stands for %+v, not for %+v", res.Path, has, pos)
		}
	}
	return res, err
}

// same tells whether two positions are one place with the same members.
func (p Position) same(other Position) bool {
	if p.Index != other.Index || p.Term != other.Term {
		return false
	}
	for _, lists := range [][2][]uint64{{p.Voters, other.Voters}, {p.Learners, other.Learners}, {p.Outgoing, other.Outgoing},
		{p.LearnersNext, other.LearnersNext}} {
		if !slices.Equal(slices.Sorted(slices.Values(lists[0])), slices.Sorted(slices.Values(lists[1]))) {
			return false
		}
	}
	return true
}

// adoption is a snapshot of another replica on its way into one of this instance.
type adoption struct {
	view *box.View
	r    *snap.Reader
	w    *snap.Writer
	o    Options
	// local are the local spaces that both have, in the order of their ids, as long as their rows are not written.
	local []*box.Space
	count uint64
	stamp float64
}

func (a *adoption) rows() (uint64, error) {
	a.stamp = float64(a.o.Now.UnixNano()) / 1e9
	for {
		row, err := a.r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a.count, err
		}
		if row.Type != snap.TypeInsert {
			return a.count, fmt.Errorf("a row has type %d: this is no snapshot of this program", row.Type)
		}
		if row.SpaceID == dictionary.SpaceSpace {
			if err := a.notice(row.Tuple); err != nil {
				return a.count, err
			}
		}
		if row.GroupID == snap.GroupLocal {
			continue
		}
		if err := a.own(row.SpaceID); err != nil {
			return a.count, err
		}
		if err := a.write(row.SpaceID, 0, row.Tuple); err != nil {
			return a.count, err
		}
	}
	if err := a.own(^uint32(0)); err != nil {
		return a.count, err
	}
	return a.count, a.w.Close()
}

// notice looks whether a row of _space is one of a local space that this instance has too.
func (a *adoption) notice(tup []byte) error {
	def, err := box.ParseSpaceRow(tup)
	if err != nil {
		return fmt.Errorf("a row of _space: %w", err)
	}
	if sp := a.view.Schema().Space(def.ID); def.Local && sp != nil && sp.Local && sp.Name == def.Name {
		at, _ := slices.BinarySearchFunc(a.local, sp.ID, func(s *box.Space, id uint32) int { return int(s.ID) - int(id) })
		a.local = slices.Insert(a.local, at, sp)
	}
	return nil
}

// own writes the rows of this instance's local spaces that come before a space.
func (a *adoption) own(before uint32) error {
	for len(a.local) > 0 && a.local[0].ID < before {
		var failed error
		a.view.Ascend(a.local[0], func(tup []byte) bool {
			failed = a.write(a.local[0].ID, snap.GroupLocal, tup)
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		a.local = a.local[1:]
	}
	return nil
}

func (a *adoption) write(space, group uint32, tup []byte) error {
	row := snap.Row{Type: snap.TypeInsert, LSN: a.count, Timestamp: a.stamp, SpaceID: space, GroupID: group, Tuple: tup}
	if a.count++; a.o.Progress != nil && a.count%100_000 == 0 {
		a.o.Progress(a.count)
	}
	return a.w.WriteRow(row)
}
