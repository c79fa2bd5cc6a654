package runner

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// NewGroup makes the group that continues a log: cfg.Restored and cfg.Older are filled in from it. A log that ends before
// cfg.Position (a bootstrap, or a snapshot newer than the log) is emptied and goes on after that position.
func NewGroup(log *wal.Log, cfg raftgroup.Config) (*raftgroup.Group, error) {
	if log.LastIndex() < cfg.Position.Index {
		if err := log.ResetTo(cfg.Position.Index, cfg.Position.Term); err != nil {
			return nil, fmt.Errorf("runner: begin the log after index %d: %w", cfg.Position.Index, err)
		}
	}
	cfg.Restored = log.Restored()
	if log.Mode() != wal.SyncNone {
		cfg.Older = log.Entries
	}
	return raftgroup.New(cfg)
}
