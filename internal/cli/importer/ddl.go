package importer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// builder makes spaces and indexes.
type builder struct {
	*plan
	w dictionaryWriter
	// constraints are those that were made, by space and key; refusedConstraints those that were not: name and reason.
	constraints        map[string]constraint
	refusedConstraints map[string]string
}

func newBuilder(p *plan, w dictionaryWriter) builder {
	return builder{plan: p, w: w, constraints: map[string]constraint{}, refusedConstraints: map[string]string{}}
}

// numbers makes an array of numbers: a key.
func numbers(values ...uint32) []byte {
	key := msgpack.AppendArrayHeader(nil, len(values))
	for _, v := range values {
		key = msgpack.AppendUint(key, uint64(v))
	}
	return key
}

func number(v uint32) []byte { return msgpack.AppendUint(nil, uint64(v)) }

// offer gives the variants of a row to the cluster until it takes one. A refusal of the last one is returned as reason;
// err is for what has nothing to do with the row.
func (b *builder) offer(ctx context.Context, space uint32, variants []variant) (taken variant, reason string, err error) {
	for _, v := range variants {
		if err = b.w.replace(ctx, space, v.row); err == nil {
			return v, "", nil
		}
		e := refusal(err)
		if e == nil {
			return variant{}, "", err
		}
		reason = fmt.Sprintf("%s (error %d)", strings.ReplaceAll(e.Message, unfinishedSuffix, ""), e.Code)
	}
	return variant{}, reason, nil
}

// space makes or alters a space after a row of the source's _space.
func (b *builder) space(ctx context.Context, sp *spacePlan, row []byte) error {
	row, err := withFields(row, map[int][]byte{0: number(sp.report.ID), 1: number(b.owner(row)),
		2: msgpack.AppendStr(nil, sp.report.Name+unfinishedSuffix)})
	if err != nil {
		return b.discard(ctx, sp, err.Error())
	}
	variants, err := spaceVariants(row)
	if err != nil {
		return b.discard(ctx, sp, "its row of _space cannot be read: "+err.Error())
	}
	taken, reason, err := b.offer(ctx, dictionary.SpaceSpace, variants)
	switch {
	case err != nil:
		return err
	case reason != "":
		return b.discard(ctx, sp, reason)
	}
	sp.accepted, sp.changed[""] = taken.row, taken.changes
	sp.report.State = stateUnfinished
	return nil
}

// index makes or alters an index after a row of the source's _index. One that the cluster refuses is left out; without a
// primary index there is no space.
func (b *builder) index(ctx context.Context, sp *spacePlan, row []byte) error {
	id, name := uint32(uintAt(row, 1)), strAt(row, 2)
	row, err := withFields(row, map[int][]byte{0: number(sp.report.ID)})
	if err != nil {
		return b.discard(ctx, sp, err.Error())
	}
	variants, err := indexVariants(row)
	if err != nil {
		variants = []variant{{row: row}}
	}
	taken, reason, err := b.offer(ctx, dictionary.SpaceIndex, variants)
	switch {
	case err != nil:
		return err
	case reason == "":
		delete(sp.refused, id)
		sp.indexes[id], sp.changed[name] = true, taken.changes
		return nil
	case id == 0:
		return b.discard(ctx, sp, "its primary index is refused: "+reason)
	}
	if err := b.dropIndex(ctx, sp, id); err != nil {
		return err
	}
	sp.refused[id] = name + "\x00" + reason
	return nil
}

func (b *builder) dropIndex(ctx context.Context, sp *spacePlan, id uint32) error {
	delete(sp.refused, id)
	if !sp.indexes[id] {
		return nil
	}
	delete(sp.indexes, id)
	return b.w.remove(ctx, dictionary.SpaceIndex, numbers(sp.report.ID, id))
}

// discard leaves a space out for good and removes what is there of it.
func (b *builder) discard(ctx context.Context, sp *spacePlan, reason string) error {
	sp.leaveOut(reason)
	b.report.Notes = append(b.report.Notes, Note{Kind: "space", Name: sp.report.Name, What: stateLeftOut, Reason: reason,
		Rows: sp.rowsKnown(dictionary.EngineMemtx)})
	if sp.accepted == nil {
		return nil
	}
	if err := b.dropConstraints(ctx, sp.report.ID, b.constraints); err != nil {
		return err
	}
	return b.drop(ctx, sp.report.ID, slices.Collect(maps.Keys(sp.indexes)), false)
}

// drop removes a space with its indexes.
func (b *builder) drop(ctx context.Context, id uint32, indexes []uint32, truncated bool) error {
	slices.Sort(indexes)
	slices.Reverse(indexes)
	for _, index := range indexes {
		if err := b.w.remove(ctx, dictionary.SpaceIndex, numbers(id, index)); err != nil {
			return err
		}
	}
	if truncated {
		if err := b.w.remove(ctx, dictionary.SpaceTruncate, numbers(id)); err != nil {
			return err
		}
	}
	return b.w.remove(ctx, dictionary.SpaceSpace, numbers(id))
}

// dropExisting removes a space that was in the cluster before, with its binding to a sequence and the grants on it.
func (b *builder) dropExisting(ctx context.Context, id uint32) error {
	if binding, ok := b.x.bindings[id]; ok {
		if err := b.w.remove(ctx, dictionary.SpaceSpaceSequence, numbers(id)); err != nil {
			return err
		}
		delete(b.x.bindings, id)
		if binding.generated && !b.sequenceStays(binding.sequence) {
			if err := b.w.remove(ctx, dictionary.SpaceSequenceData, numbers(binding.sequence)); err != nil {
				return err
			}
			if err := b.w.remove(ctx, dictionary.SpaceSequence, numbers(binding.sequence)); err != nil {
				return err
			}
		}
	}
	for key, row := range b.x.grants {
		if strAt(row, 2) != "space" || fieldAt(row, 3) == nil || uint32(uintAt(row, 3)) != id || text(fieldAt(row, 3)) != "" {
			continue
		}
		if err := b.w.remove(ctx, dictionary.SpacePriv, append(msgpack.AppendArrayHeader(nil, 3), key...)); err != nil {
			return err
		}
		delete(b.x.grants, key)
	}
	if err := b.dropConstraints(ctx, id, b.x.constraints); err != nil {
		return err
	}
	return b.drop(ctx, id, b.x.indexes[id], b.x.truncated[id])
}

// sequenceStays tells whether a sequence of the cluster is used by somebody, or has become one of those brought over.
func (b *builder) sequenceStays(id uint32) bool {
	for _, binding := range b.x.bindings {
		if binding.sequence == id {
			return true
		}
	}
	for _, to := range b.sequences {
		if to == id {
			return true
		}
	}
	return false
}

// sequence makes a sequence with its value.
func (b *builder) sequence(ctx context.Context, row []byte) error {
	source, name := uint32(uintAt(row, 0)), strAt(row, 2)
	id := b.sequences[source]
	moved, err := withFields(row, map[int][]byte{0: number(id), 1: number(b.owner(row))})
	if err != nil {
		return err
	}
	_, reason, err := b.offer(ctx, dictionary.SpaceSequence, []variant{{row: moved}})
	if err != nil {
		return err
	}
	if reason != "" {
		delete(b.sequences, source)
		b.note("sequence", name, stateLeftOut, "%s", reason)
		return nil
	}
	if value, started := b.final.sequences[source]; started {
		data := msgpack.AppendInt(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(id)), value)
		if err := b.w.replace(ctx, dictionary.SpaceSequenceData, data); err != nil {
			return err
		}
	}
	b.report.Sequences = append(b.report.Sequences, name)
	return nil
}

// bind binds a space to its sequence.
func (b *builder) bind(ctx context.Context, sp *spacePlan) error {
	row := b.final.row(dictionary.SpaceSpaceSequence, uint64(sp.report.SourceID))
	if row == nil || !sp.live() {
		return nil
	}
	id, ok := b.sequences[uint32(uintAt(row, 1))]
	if !ok {
		b.note("sequence", sp.report.Name, stateLeftOut, "the space has lost its sequence: nil in its primary key is refused")
		return nil
	}
	generated := fieldAt(row, 2)
	out := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 5), uint64(sp.report.ID)), uint64(id))
	out = append(out, generated...)
	out = msgpack.AppendUint(out, uint64(b.final.sequenceField(sp.report.SourceID, row)))
	path := text(fieldAt(row, 4))
	out = msgpack.AppendStr(out, path)
	_, reason, err := b.offer(ctx, dictionary.SpaceSpaceSequence, []variant{{row: out}})
	if reason != "" {
		b.note("sequence", sp.report.Name, stateLeftOut, "the space has lost its sequence: %s", reason)
	}
	return err
}

// finishNotes lists what has become of the spaces and their indexes.
func (b *builder) finishNotes() {
	b.report.Constraints = len(b.constraints)
	for _, key := range slices.Sorted(maps.Keys(b.refusedConstraints)) {
		name, reason, _ := strings.Cut(b.refusedConstraints[key], "\x00")
		b.note("constraint", name, stateLeftOut, "%s", reason)
	}
	for _, sp := range b.order {
		sp.report.Indexes = len(sp.indexes)
		if !sp.live() {
			continue
		}
		name := sp.report.Name
		for _, index := range slices.Sorted(maps.Keys(sp.changed)) {
			if changes := sp.changed[index]; len(changes) > 0 && index == "" {
				b.note("space", name, "changed", "%s", strings.Join(changes, "; "))
			} else if len(changes) > 0 {
				b.note("index", name+"."+index, "changed", "%s", strings.Join(changes, "; "))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(sp.refused)) {
			index, reason, _ := strings.Cut(sp.refused[id], "\x00")
			b.note("index", name+"."+index, stateLeftOut, "%s", reason)
		}
		if sp.report.Refused > 0 {
			b.report.Notes = append(b.report.Notes, Note{Kind: "rows", Name: name, What: "refused", Reason: "the first: " + sp.sample, Rows: &sp.report.Refused})
		}
	}
}
