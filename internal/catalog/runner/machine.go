package runner

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// Run executes requests on the newest state, as leader of term, and returns the entry for index. Requests that wrote
// nothing but whose answer depends on rows are answered together with the entry that they saw last.
func (m *Machine) Run(index, term uint64, requests []*Request) []byte {
	b := batch{index: index, state: m.newest.Clone()}
	entry := catalog.Entry{Term: term}
	room := catalog.EntryBytesMax - entryOverhead
	for _, req := range requests {
		if !req.stage.CompareAndSwap(stageWaiting, stageRunning) {
			continue
		}
		item := catalog.Item{Ops: req.Ops, Initiator: req.Initiator, ID: req.ID}
		size, err := catalog.ItemSize(item)
		if err == nil && size > room {
			err = refuseSize(size, len(entry.Items) == 0)
		}
		a := answer{req: req}
		written := false
		if err == nil {
			a.repeated = b.isRepeated(item)
			a.out.result, written, err = m.execute(&b, term, item, req.Predicate)
		}
		a.out.err, a.written = err, written
		b.answers = append(b.answers, a)
		if written {
			entry.Items, room = append(entry.Items, item), room-size
		}
	}
	if len(entry.Items) == 0 {
		m.answerUnwritten(b.answers)
		return nil
	}
	bytes, err := catalog.EncodeEntry(entry)
	invariant.Check(err == nil, "catalog: encode an entry that was sized: %v", err)
	m.newest = b.state
	m.pending = append(m.pending, b)
	return bytes
}

// entryOverhead is more than an entry takes beside its items.
const entryOverhead = 64

func refuseSize(size int, alone bool) error {
	if alone {
		return errcode.New(errcode.TooBig, "Request to the catalog", size, catalog.EntryBytesMax)
	}
	return errcode.New(errcode.Overloaded, "the catalog's next log entry is full")
}

// isRepeated reports whether a request was executed before, on a state that may not be committed yet.
func (b *batch) isRepeated(item catalog.Item) bool {
	_, ok := b.state.Done(item.ID)
	return ok
}

// execute runs one request on the batch's state. written is false if it changed nothing that must go into the log.
func (m *Machine) execute(b *batch, term uint64, item catalog.Item, p *catalog.Predicate) (
	res catalog.Result, written bool, err error) {
	if res, ok := b.state.Done(item.ID); ok {
		return res, false, nil
	}
	if p != nil {
		err = catalog.CheckCAS(b.state, m.history, term, *p, item.Ops)
	} else {
		err = catalog.CheckTables(item.Ops)
	}
	if err != nil {
		return catalog.Result{}, false, err
	}
	res, changes, err := b.state.Execute(b.index, term, item)
	if err != nil {
		return catalog.Result{}, false, err
	}
	if len(changes) == 0 && item.ID == (catalog.RequestID{}) && !hasNop(item.Ops) {
		return res, false, nil
	}
	m.history.Note(b.index, term, changes)
	b.changes = append(b.changes, changes...)
	return res, true, nil
}

// hasNop reports whether an entry is wanted for its own sake.
func hasNop(ops []catalog.Op) bool {
	for _, op := range ops {
		if op.Kind == catalog.Nop {
			return true
		}
	}
	return false
}

// answerUnwritten answers requests that wrote nothing: with the newest entry that they saw, or, if all of that is committed, once
// it is sure that nobody else led when they were run.
func (m *Machine) answerUnwritten(answers []answer) {
	if len(answers) == 0 {
		return
	}
	if n := len(m.pending); n > 0 {
		m.pending[n-1].answers = append(m.pending[n-1].answers, answers...)
		return
	}
	m.asked++
	for n := range answers {
		answers[n].no = m.asked
	}
	m.unwritten = append(m.unwritten, answers...)
}

// Unconfirmed is the number of the newest answers that wrote nothing and wait to be confirmed, 0 if there are none.
func (m *Machine) Unconfirmed() uint64 {
	if len(m.unwritten) > 0 {
		return m.asked
	}
	return 0
}

// Confirm tells that this replica led when the answers up to a number were made. Newer ones wait for the next call.
func (m *Machine) Confirm(upTo uint64) {
	n := 0
	for n < len(m.unwritten) && m.unwritten[n].no <= upTo {
		n++
	}
	send(m.unwritten[:n])
	m.unwritten = slices.Delete(m.unwritten, 0, n)
}

// Deny tells that this will never be known.
func (m *Machine) Deny(err error) {
	for _, a := range m.unwritten {
		a.req.done <- outcome{err: err}
	}
	m.unwritten = nil
}

func send(answers []answer) {
	for _, a := range answers {
		a.req.done <- a.out
	}
}

// Commit makes the entry at index, which Run made, visible and answers its requests.
func (m *Machine) Commit(index uint64) {
	invariant.Check(len(m.pending) > 0 && m.pending[0].index == index,
		"catalog: commit of index %d, which is not the oldest pending", index)
	b := m.pending[0]
	m.pending = m.pending[1:]
	m.show(index, b.state, b.changes)
	send(b.answers)
}

// Apply applies an entry that was not run here.
func (m *Machine) Apply(index, term uint64, entry []byte) {
	if len(entry) == 0 && len(m.pending) > 0 {
		m.pass(index, term)
		return
	}
	invariant.Check(len(m.pending) == 0, "catalog: entry %d applied with %d entries pending", index, len(m.pending))
	state := m.newest.Clone()
	// The entry's bytes belong to the log, the rows to the catalog: Execute copies what it keeps.
	_, changes, err := state.Apply(index, term, entry)
	invariant.Check(err == nil, "%v", err)
	m.newest = state
	m.history.Note(index, term, changes)
	m.show(index, state, changes)
}

// pass moves the view over an entry without content, a change of the group's members, between entries that were run here. Those
// behind it are past it already.
func (m *Machine) pass(index, term uint64) {
	invariant.Check(m.pending[0].index > index, "catalog: entry %d passed over", m.pending[0].index)
	state := m.View().Clone()
	state.SetPosition(index, term)
	m.publish(state)
}

func (m *Machine) show(index uint64, state *catalog.State, changes []catalog.Change) {
	m.publish(state)
	if m.opts.OnCommit != nil && len(changes) > 0 {
		m.opts.OnCommit(index, changes, state)
	}
}

// Abort undoes what Run has done from an index on and answers with err.
func (m *Machine) Abort(from uint64, err error) {
	keep := 0
	for keep < len(m.pending) && m.pending[keep].index < from {
		keep++
	}
	dropped := m.pending[keep:]
	m.pending = m.pending[:keep:keep]
	m.history.Truncate(from)
	m.newest = m.View()
	if keep > 0 {
		m.newest = m.pending[keep-1].state
	}
	for _, b := range dropped {
		for _, a := range b.answers {
			if !a.written && !a.repeated { // it saw what is undone now, but wrote nothing itself
				a.req.done <- outcome{err: errcode.New(errcode.ProposalDropped)}
				continue
			}
			a.req.done <- outcome{err: err}
		}
	}
}

// Refuse answers requests that were not run.
func (m *Machine) Refuse(requests []*Request, err error) {
	for _, req := range requests {
		if req.stage.CompareAndSwap(stageWaiting, stageRunning) {
			req.done <- outcome{err: err}
		}
	}
}

// ConfChanged passes a change of the group's members on.
func (m *Machine) ConfChanged(status raftgroup.Status) {
	if m.opts.OnConfChanged != nil {
		m.opts.OnConfChanged(status)
	}
}

// Install makes the catalog that of the durable snapshot at a position.
func (m *Machine) Install(position raftgroup.Position) error {
	if m.opts.Load == nil {
		return errors.New("catalog: no snapshots are taken")
	}
	s, err := m.opts.Load(position)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if index, term := s.Position(); index != position.Index || term != position.Term {
		return fmt.Errorf("catalog: the snapshot stands for index %d of term %d, not for %d of %d", index, term, position.Index, position.Term)
	}
	m.Restore(s)
	if m.opts.OnInstall != nil {
		m.opts.OnInstall(s)
	}
	return nil
}
