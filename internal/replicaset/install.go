package replicaset

import (
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// LoadWith gives the machine the function that makes the engine what the durable snapshot at a position holds, as its newest
// published version. To be called before the loop starts; without it no snapshots are taken.
func (m *Machine) LoadWith(load func(raftgroup.Position) error) { m.load = load }

// Install makes the data what the durable snapshot at a position holds. Nobody may wait for an answer. After an error the engine
// can only be closed.
func (m *Machine) Install(position raftgroup.Position) error {
	invariant.Check(len(m.held) == 0 && len(m.jobs) == 0, "a snapshot is installed while %d batches and %d jobs wait", len(m.held), len(m.jobs))
	if m.load == nil {
		return errors.New("no snapshots are taken")
	}
	if err := m.load(position); err != nil {
		return err
	}
	if got := m.engine.Published(); got != position.Index {
		return fmt.Errorf("the snapshot of index %d made version %d", position.Index, got)
	}
	m.running = position.Index
	m.locals = nil // the log was begun anew: what was in it is in the snapshot, or void
	m.noticeSchema()
	return nil
}
