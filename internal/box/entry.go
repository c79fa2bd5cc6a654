package box

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/memory"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// An entry holds the after-images of the rows that one version changed: a format byte, then per row a kind byte, the space
// id and the length as varints, and the bytes of the new tuple or of the primary key that is gone.
const (
	entryFormat      = 1
	rowPut      byte = 1
	rowDelete   byte = 2
)

// errEntry is damage in an entry: it passed its checksum, so this is another version's format or a bug.
var errEntry = errors.New("malformed log entry")

// log appends the after-image of a change to the entry of the open version.
func (e *Engine) log(sp *Space, before, tup []byte) {
	where := e.loggedRow(sp, tup)
	if where == loggedNowhere {
		return
	}
	kind, data := rowPut, tup
	if tup == nil {
		e.scratch = sp.keyOf(e.scratch[:0], before)
		kind, data = rowDelete, e.scratch
	}
	if where == loggedLocal {
		e.logLocal(kind, sp.ID, data)
		return
	}
	if len(e.entry) == 0 {
		e.entry = append(e.entry, entryFormat)
	}
	e.rows++
	e.entry = appendRow(e.entry, kind, sp.ID, data)
}

func appendRow(dst []byte, kind byte, space uint32, data []byte) []byte {
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(space))
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	return append(dst, data...)
}

// EntryBytes is the size so far of what the open version writes into the log.
func (e *Engine) EntryBytes() int { return len(e.entry) + len(e.local) }

// Row is one row of a log entry: the new tuple, or the primary key (an array) of a tuple that is gone.
type Row struct {
	SpaceID uint32
	Deleted bool
	Data    []byte
}

// DecodeEntry yields the rows of a log entry in their order.
func DecodeEntry(entry []byte, yield func(Row) error) error {
	if len(entry) == 0 {
		return nil
	}
	if entry[0] != entryFormat {
		return fmt.Errorf("%w: format %d is not known", errEntry, entry[0])
	}
	for b := entry[1:]; len(b) > 0; {
		r, rest, err := decodeRow(b)
		if err != nil {
			return fmt.Errorf("%w: at byte %d", err, len(entry)-len(b))
		}
		if err := yield(r); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// decodeRow reads what appendRow wrote; Data aliases it.
func decodeRow(b []byte) (r Row, rest []byte, err error) {
	if len(b) == 0 || b[0] != rowPut && b[0] != rowDelete {
		return r, nil, errEntry
	}
	space, n := binary.Uvarint(b[1:])
	if n <= 0 || space > 1<<31 {
		return r, nil, errEntry
	}
	r.SpaceID, r.Deleted = uint32(space), b[0] == rowDelete
	b = b[1+n:]
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return r, nil, errEntry
	}
	end := n + int(length)
	r.Data = b[n:end:end]
	return r, b[end:], nil
}

// Apply makes the version that a committed log entry and the local rows beside it describe, seals it, and leaves it to the
// caller to publish it. An error means that this replica differs from the one that made the entry, or that the entry is
// damaged: nothing can go on from there.
func (e *Engine) Apply(version uint64, entry []byte, local ...LocalRow) error {
	invariant.Check(len(e.builds.list) == 0, "entry %d of another leader is applied while an index is built", version)
	e.Begin(version)
	e.setForce(true)
	err := e.applyRows(entry, local)
	e.setForce(false)
	e.Seal()
	if err != nil {
		return fmt.Errorf("box: apply entry %d: %w", version, err)
	}
	return nil
}

// applyRows applies both kinds of rows in the order in which they were made.
func (e *Engine) applyRows(entry []byte, local []LocalRow) error {
	if len(local) == 0 {
		return e.applyAhead(entry)
	}
	return eachRow(entry, local, func(r Row, isLocal bool) error {
		if err := e.applyRow(r, nil); err != nil {
			return err
		}
		if isLocal {
			e.localRows++
		}
		return nil
	})
}

// applyAhead applies the rows of an entry. Of AheadMax at a time what they will look at is fetched together.
func (e *Engine) applyAhead(entry []byte) error {
	n := 0
	flush := func() error {
		rows := e.ahead.rows[:n]
		n = 0
		if len(rows) > 1 { // one alone would only be looked for twice
			for i := range rows {
				e.expectRow(&rows[i])
			}
			e.Fetch()
		}
		for i := range rows {
			if err := e.applyRow(rows[i].Row, rows[i].fits); err != nil {
				return err
			}
		}
		clear(rows) // nothing holds on to the entry
		return nil
	}
	err := DecodeEntry(entry, func(r Row) error {
		e.ahead.rows[n] = aheadRow{Row: r}
		if n++; n < AheadMax {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// eachRow yields the rows of an entry and the local rows beside it in the order in which they were made.
func eachRow(entry []byte, local []LocalRow, yield func(r Row, isLocal bool) error) error {
	done := uint64(0)
	locals := func() error {
		for len(local) > 0 && local[0].After <= done {
			if err := yield(local[0].Row, true); err != nil {
				return err
			}
			local = local[1:]
		}
		return nil
	}
	err := DecodeEntry(entry, func(r Row) error {
		if err := locals(); err != nil {
			return err
		}
		done++
		return yield(r, false)
	})
	if err != nil {
		return err
	}
	if err := locals(); err != nil {
		return err
	}
	if len(local) > 0 {
		return fmt.Errorf("%w: %d local rows behind its end", errEntry, len(local))
	}
	return nil
}

// applyRow applies one row. fits is the format that its tuple is known to fit; the space may have another one by now.
func (e *Engine) applyRow(r Row, fits *tuple.Format) error {
	sp := e.schema.Space(r.SpaceID)
	if sp == nil || sp.primary() == nil || sp.IsVirtual() {
		return fmt.Errorf("space %d is not there", r.SpaceID)
	}
	pk := sp.primary()
	if r.Deleted {
		n, key, err := msgpack.ReadArrayLen(r.Data)
		if err != nil || n != pk.Def.PartCount() || pk.Def.ValidateKey(key, n) != nil {
			return fmt.Errorf("space %d: bad key", r.SpaceID)
		}
		old := pk.state.store.Get(pk.state.cur, key, n)
		if old == 0 && sp.ID == dictionary.SpaceSequenceData {
			e.resetMissing(key)
			return nil
		}
		if old == 0 && sp.ID == dictionary.SpaceTruncate {
			return nil // the mark of a temporary space, or of another replica's local one
		}
		if old == 0 {
			return fmt.Errorf("space %d: removed tuple is not there", r.SpaceID)
		}
		return e.applyChange(sp, old, nil)
	}
	if fits == nil || fits != sp.Format {
		if err := sp.Format.Validate(r.Data); err != nil {
			return fmt.Errorf("space %d: %w", r.SpaceID, err)
		}
	}
	return e.applyChange(sp, e.find(pk, r.Data), r.Data)
}

func (e *Engine) applyChange(sp *Space, old memory.Ref, tup []byte) error {
	var before []byte
	if old != 0 {
		before = e.arena.Tuple(old)
	}
	effect, err := e.prepareDDL(sp, before, tup)
	if err != nil {
		return err
	}
	e.apply(sp, old, tup)
	if effect != nil {
		effect()
	}
	return nil
}

// Load puts one row of a snapshot into the open version. Rows of spaces that show themselves from elsewhere are passed
// over; those of system spaces must come before the spaces that they describe.
func (e *Engine) Load(space uint32, tup []byte) error {
	invariant.Check(e.version != 0, "load without an open version")
	sp := e.schema.Space(space)
	if sp == nil {
		return fmt.Errorf("box: load: space %d is not described before its rows", space)
	}
	if sp.IsVirtual() {
		return nil
	}
	tup = loadedRow(space, tup)
	if err := sp.Format.Validate(tup); err != nil {
		return fmt.Errorf("box: load: space %d: %w", space, err)
	}
	pk := sp.primary()
	if pk == nil {
		return fmt.Errorf("box: load: space %d has no primary index", space)
	}
	e.setForce(true)
	e.loading = true
	defer func() {
		e.loading = false
		e.setForce(false)
	}()
	return e.applyChange(sp, e.find(pk, tup), tup)
}

// LoadBuiltin puts the rows of _space and _index that describe the virtual spaces into the open version. They are part of
// the program: no log and no snapshot holds them.
func (e *Engine) LoadBuiltin() error {
	for i := range e.options.Virtuals {
		v := &e.options.Virtuals[i]
		if v.Name == "" {
			continue
		}
		if err := e.Load(spaceSpace, v.spaceRow()); err != nil {
			return err
		}
		for _, ix := range v.Indexes {
			if err := e.Load(spaceIndex, v.indexRow(ix)); err != nil {
				return err
			}
		}
	}
	return nil
}

// IsBuiltin tells whether a space is described by the program and belongs into no snapshot.
func (e *Engine) IsBuiltin(space uint32) bool {
	for i := range e.options.Virtuals {
		if v := &e.options.Virtuals[i]; v.ID == space && v.Name != "" {
			return true
		}
	}
	return false
}

// setForce says whether what follows is committed already: then nothing may be refused, not for want of quota either.
func (e *Engine) setForce(on bool) {
	e.force = on
	e.arena.ExceedQuota(on)
}
