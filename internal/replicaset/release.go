package replicaset

import (
	"github.com/lycosadb/lycosa/internal/errcode"
)

// release answers the batches whose version is published and which are confirmed. An entry that is committed confirms what
// was run before it: this replica led when the entry was acknowledged.
func (m *Machine) release() {
	visible := m.engine.Published()
	n := 0
	for i := range m.held {
		h := &m.held[i]
		if h.version > visible {
			break
		}
		if h.confirm <= m.confirmed {
			n = i + 1
		}
	}
	for i := range m.held[:n] {
		m.confirmed = max(m.confirmed, m.held[i].confirm)
		m.send(m.held[i].batch, m.held[i].frames, len(m.held) == 1)
	}
	rest := copy(m.held, m.held[n:])
	clear(m.held[rest:])
	m.held = m.held[:rest]
}

// Unconfirmed is the number of the newest replies that wrote nothing and wait to be confirmed, 0 if there are none.
func (m *Machine) Unconfirmed() uint64 {
	if m.asked > m.confirmed {
		return m.asked
	}
	return 0
}

// Confirm tells that this replica led, with all that was committed in its newest state, after the replies up to a number
// were made.
func (m *Machine) Confirm(upTo uint64) {
	m.confirmed = max(m.confirmed, upTo)
	m.release()
}

// Deny answers with err those who wait to be confirmed, or were and wait for an entry. Only who has written waits on.
func (m *Machine) Deny(err error) {
	kept := m.held[:0]
	for _, h := range m.held {
		if h.confirm == 0 {
			kept = append(kept, h)
			continue
		}
		m.fail(h.batch, errcode.Of(err), errcode.Of(err))
	}
	clear(m.held[len(kept):])
	m.held = kept
	m.confirmed = m.asked
}

// Abort unlinks everything from version from on. Clients whose statement is in such an entry learn that its outcome is not
// known, unless err says that it will never happen; those whose statement wrote nothing, that it was not answered by a leader.
// Who waits for an entry before those, which is still on its way, goes on waiting.
func (m *Machine) Abort(from uint64, err error) {
	m.engine.Rollback(from - 1)
	m.running = from - 1
	outcome, refusal := outcomeOf(err)
	visible := m.engine.Published()
	kept := m.held[:0]
	for _, h := range m.held {
		switch {
		case h.version >= from:
			m.fail(h.batch, outcome, refusal)
		case h.version > visible:
			kept = append(kept, h)
		case h.confirm > m.confirmed:
			m.fail(h.batch, refusal, refusal)
		default:
			m.send(h.batch, h.frames, false)
		}
	}
	clear(m.held[len(kept):])
	if m.held = kept; len(kept) == 0 {
		m.confirmed = m.asked
	}
}

// outcomeOf tells what clients get of an entry that is void here: those who wrote, and those who did not.
func outcomeOf(err error) (wrote, other *errcode.Error) {
	for _, never := range []errcode.Code{errcode.NotALeader, errcode.ProposalDropped, errcode.TooBig} {
		if errcode.Is(err, never) { // it was not proposed
			return errcode.Of(err), errcode.Of(err)
		}
	}
	other = errcode.New(errcode.NotALeader, "leadership was lost before the answer could be confirmed")
	if errcode.Is(err, errcode.UnknownOutcome) {
		return errcode.Of(err), other
	}
	return errcode.New(errcode.UnknownOutcome, err.Error()), other
}
