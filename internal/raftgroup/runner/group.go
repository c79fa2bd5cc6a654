package runner

import (
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// NewGroup makes the group that continues a log: cfg.Restored and cfg.Older are filled in from it. A log that does not
// reach cfg.Position (a bootstrap, or a snapshot that came from a leader and was not installed yet) is emptied and goes on
// after that position.
func NewGroup(log *wal.Log, cfg raftgroup.Config) (*raftgroup.Group, error) {
	if !reaches(log.Restored(), cfg.Position) {
		if err := log.ResetTo(cfg.Position.Index, cfg.Position.Term); err != nil {
			return nil, fmt.Errorf("runner: begin the log after index %d: %w", cfg.Position.Index, err)
		}
	}
	cfg.Restored = log.Restored()
	if log.Mode() != wal.SyncNone {
		cfg.Older = log.Entries
		return raftgroup.New(cfg)
	}
	// What a clean stop has saved is all in memory from now on, as what follows will be.
	if err := log.Replay(cfg.Restored.FirstIndex, func(e raftgroup.Entry) error {
		e.Data = slices.Clone(e.Data)
		cfg.Tail = append(cfg.Tail, e)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("runner: read what the log holds: %w", err)
	}
	return raftgroup.New(cfg)
}

// reaches tells whether the log has, or had, the entry that the snapshot ends with. Another entry at its index that was
// not known to be committed is one of a leader that was overthrown.
func reaches(res raftgroup.Restored, pos raftgroup.Position) bool {
	if res.LastIndex < pos.Index {
		return false
	}
	if res.HardState.Commit >= pos.Index {
		return true
	}
	term := pos.Term
	for _, run := range res.Terms {
		if run.Index > pos.Index {
			break
		}
		term = run.Term
	}
	return term == pos.Term
}
