package box

import (
	"github.com/tidwall/btree"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
)

// ddlStep is a row of the dictionary that a transaction changes. The commit does the same in the same order.
type ddlStep struct {
	space         uint32
	before, after []byte
}

// define checks a change of the dictionary, in a transaction, against the transaction's own schema. The function that it
// returns, nil for ordinary rows, makes the change part of that schema. As in Tarantool 2.6 no index is built and no rows
// are checked: the space has to be empty.
func (t *Tx) define(sp *Space, before, after []byte) (func(), error) {
	if !isDictionary(sp.ID) {
		return nil, nil
	}
	if refusal := refusedInTx(sp.ID, after); refusal != "" && !t.whole {
		return nil, errcode.New(errcode.MultistatementTransaction, refusal)
	}
	scratch := t.scratchEngine()
	effect, err := scratch.prepareDDL(sp, before, after)
	if err != nil {
		return nil, err
	}
	return func() {
		if effect != nil {
			effect()
		}
		t.ddl = append(t.ddl, ddlStep{sp.ID, before, after})
		if sp.ID == dictionary.SpaceTruncate && after != nil {
			t.emptied[uint32(firstUint(after, 0))] = true
		}
		t.schema = scratch.schema
		t.adopt()
	}, nil
}

// refusedInTx names a change of the dictionary that a transaction can not make, "" for all others.
func refusedInTx(space uint32, after []byte) string {
	switch {
	case space == dictionary.SpaceTruncate && after != nil:
		return "truncate"
	case space == dictionary.SpaceSequenceData:
		return "a change of a sequence's value"
	case space == dictionary.SpaceSequence && after == nil:
		return "dropping a sequence"
	}
	return ""
}

// scratchEngine is an engine whose schema is the transaction's, to check changes of the dictionary in.
func (t *Tx) scratchEngine() *Engine {
	return &Engine{options: t.e.options, arena: t.e.arena, schema: t.schema, tx: t}
}

// adopt makes what the transaction has done to rows fit its new schema. Rows of a space without a primary key are gone; a
// key that was made anew had no rows.
func (t *Tx) adopt() {
	for id, ts := range t.spaces {
		sp := t.schema.Space(id)
		switch {
		case sp == nil || sp.primary() == nil:
			delete(t.spaces, id)
			continue
		case sp == ts.space:
			continue
		}
		own := make([]*btree.BTreeG[item], 0, len(sp.Indexes))
		for _, ix := range sp.Indexes {
			items := newItems(ix)
			if old := ts.space.Index(ix.ID); old != nil && old.state == ix.state {
				items = ts.own[ts.space.position(old)]
			}
			own = append(own, items)
		}
		if sp.primary().state != ts.space.primary().state {
			ts.gone = newItems(sp.primary())
		}
		ts.space, ts.own = sp, own
	}
}

// hasRows tells whether a space has rows in the newest version, or for a transaction, which remembers that it has asked,
// in its view or of its own.
func (e *Engine) hasRows(sp *Space) (bool, error) {
	pk := sp.primary()
	switch {
	case pk == nil:
		return false, nil
	case e.tx == nil:
		return pk.state.cur.Count > 0, nil
	case e.tx.emptied[sp.ID]:
		return false, nil
	}
	ts := e.tx.spaces[sp.ID]
	some := ts != nil && ts.own[0].Len() > 0 || pk.state.rootAt(e.tx.version).Count > 0
	return some, e.tx.remember(sp, mark{index: pk})
}

// rework is that of the engine, for a transaction.
func (t *Tx) rework(b *Build) (*Build, error) {
	some, err := t.scratchEngine().hasRows(b.before)
	switch {
	case err != nil:
		return nil, err
	case !some:
		b.complete = true
		return b, nil
	case b.index != "":
		return nil, errcode.New(errcode.MultistatementTransaction, "index build")
	}
	return nil, errcode.New(errcode.MultistatementTransaction, "space format check")
}

// checkDDL refuses a transaction that has changed the dictionary if anybody else has since it began, or is about to.
func (e *Engine) checkDDL(t *Tx) error {
	if len(t.ddl) == 0 {
		return nil
	}
	if e.schema != t.base {
		return errcode.New(errcode.TransactionConflict)
	}
	for _, b := range e.builds.list {
		if t.schema.Space(b.before.ID) != b.before {
			return e.locked(b.before)
		}
		if t.emptied[b.before.ID] {
			return e.locked(b.before)
		}
	}
	return nil
}

// commitDDL makes the changes of the dictionary. They were checked against the same schema, and what they rest on has not
// changed: so none can fail.
func (e *Engine) commitDDL(t *Tx) {
	for _, step := range t.ddl {
		sp := e.schema.Space(step.space)
		row := step.before
		if row == nil {
			row = step.after
		}
		pk := sp.primary().state
		old := pk.store.GetTuple(pk.cur, row)
		invariant.Check((old != 0) == (step.before != nil), "a row of space %d is not as the transaction left it", sp.ID)
		_, err := e.change(sp, old, step.after)
		invariant.Check(err == nil, "a change of space %d fails at the commit of the transaction: %v", sp.ID, err)
	}
}
