package box

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// LogRow is a row of a log entry on its way into a Loader.
type LogRow struct {
	Row
	// checked is the format that the tuple is known to fit.
	checked *tuple.Format
	local   bool // one of a LocalRow
}

// Decode appends the rows of a log entry and the local rows beside it, whose bytes they share, in the order in which they
// were made, and checks them against the formats of their spaces. A row in doubt (its space may be one that the log is
// about to make) is left to Replay.
func (l *Loader) Decode(rows []LogRow, entry []byte, local []LocalRow) ([]LogRow, error) {
	schema := l.schema.Load()
	var sp *Space
	err := eachRow(entry, local, func(r Row, isLocal bool) error {
		row := LogRow{Row: r, local: isLocal}
		if sp == nil || sp.ID != r.SpaceID {
			sp = schema.Space(r.SpaceID)
		}
		if sp != nil && !r.Deleted && sp.Format.Validate(r.Data) == nil {
			row.checked = sp.Format
		}
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// Replay puts the rows of the log entry with the given index into the open version. An error is as one of Engine.Apply.
func (l *Loader) Replay(index uint64, rows []LogRow) error {
	e := l.e
	e.setForce(true)
	var sp *Space
	for n := range rows {
		r := &rows[n]
		if sp == nil || sp.ID != r.SpaceID {
			sp = e.schema.Space(r.SpaceID)
		}
		var err error
		switch {
		case sp == nil || sp.ID < firstUserSpace || sp.primary() == nil || sp.IsVirtual():
			l.settleValues()
			err = e.applyRow(r.Row, nil)
			sp = nil // the row may have changed what is known of any space
			l.schema.Store(e.schema)
		case r.Deleted:
			err = l.remove(sp, r.Data)
		default:
			err = l.put(sp, r)
		}
		if err != nil {
			return fmt.Errorf("box: apply entry %d: %w", index, err)
		}
		if r.local {
			e.localRows++
		}
	}
	return nil
}

// put is Engine.apply for a row that takes the place of the one with its key, if there is one.
func (l *Loader) put(sp *Space, r *LogRow) error {
	e := l.e
	if r.checked != sp.Format {
		if err := sp.Format.Validate(r.Data); err != nil {
			return fmt.Errorf("space %d: %w", sp.ID, err)
		}
	}
	ref := must(e.arena.AllocTuple(r.Data))
	pk := sp.Indexes[0].state
	e.touch(pk)
	old := must(pk.store.Insert(&pk.cur, e.version, ref))
	var before []byte
	if old != 0 {
		before = e.arena.Tuple(old)
	}
	for _, ix := range sp.Indexes[1:] {
		st := ix.state
		e.touch(st)
		if old != 0 && ix.cmp.Compare(before, r.Data) != 0 && !ix.Def.Excludes(before) {
			must(st.store.Delete(&st.cur, e.version, before))
		}
		if ix.Def.Excludes(r.Data) {
			continue
		}
		if was := must(st.store.Insert(&st.cur, e.version, ref)); was != 0 && was != old {
			return fmt.Errorf("space %d: index %d has another row with this key", sp.ID, ix.ID)
		}
	}
	if old != 0 {
		e.arena.Free(memory.KindTuple, old)
	}
	if sp.auto != nil {
		l.follow(sp, r.Data)
	}
	return nil
}

// remove is Engine.apply for a row that is gone.
func (l *Loader) remove(sp *Space, key []byte) error {
	e, pk := l.e, sp.Indexes[0]
	n, key, err := msgpack.ReadArrayLen(key)
	if err != nil || n != pk.Def.PartCount() || pk.Def.ValidateKey(key, n) != nil {
		return fmt.Errorf("space %d: bad key", sp.ID)
	}
	old := pk.state.store.Get(pk.state.cur, key, n)
	if old == 0 {
		return fmt.Errorf("space %d: removed tuple is not there", sp.ID)
	}
	before := e.arena.Tuple(old)
	for _, ix := range sp.Indexes {
		e.touch(ix.state)
		if !ix.Def.Excludes(before) {
			must(ix.state.store.Delete(&ix.state.cur, e.version, before))
		}
	}
	e.arena.Free(memory.KindTuple, old)
	return nil
}

// follow is Engine.followRow; the value is kept aside.
func (l *Loader) follow(sp *Space, tup []byte) {
	stored, _, err := msgpack.ReadInt(tuple.FieldAt(tup, int(sp.auto.field)))
	if err != nil {
		return
	}
	q := l.e.schema.Sequence(sp.auto.sequence)
	v, ok := l.values[q.ID]
	if !ok {
		v = l.e.sequenceNow(q.ID)
	}
	l.values[q.ID] = q.follow(v, stored)
}

// settleValues gives the sequences the values that are kept aside.
func (l *Loader) settleValues() {
	for id, v := range l.values {
		if v != l.e.sequenceNow(id) {
			l.e.setSequence(id, v)
		}
	}
	clear(l.values)
}
