package runner

import (
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// mergeBytesMax bounds what several waiting writes become as one record.
const mergeBytesMax = 8 << 20

// Batch collects writes of a group that go to disk together.
type Batch struct {
	snapshot *raftgroup.Position
	hard     *raftgroup.HardState
	entries  []raftgroup.Entry
	local    [][]byte
	commit   uint64
	writes   int
	bytes    int
}

// Add takes the next write, with the rows that belong beside its entries; false: it does not go into one record with those
// before, which have to be written first.
func (b *Batch) Add(w *raftgroup.Write, local [][]byte) bool {
	if b.writes > 0 && (b.bytes >= mergeBytesMax || w.Snapshot != nil || !follows(b.entries, w.Entries)) {
		return false
	}
	if b.writes == 0 {
		b.snapshot = w.Snapshot
		// The write's slice is the group's: it is not appended to.
		b.entries = w.Entries[:len(w.Entries):len(w.Entries)]
	} else {
		b.entries = append(b.entries, w.Entries...)
	}
	if w.HardState != nil {
		b.hard = w.HardState
	}
	b.commit = max(b.commit, w.Commit)
	b.local = append(b.local, local...)
	for i := range w.Entries {
		b.bytes += len(w.Entries[i].Data)
	}
	for _, row := range local {
		b.bytes += len(row)
	}
	b.writes++
	return true
}

func follows(before, after []raftgroup.Entry) bool {
	return len(before) == 0 || len(after) == 0 || after[0].Index == before[len(before)-1].Index+1
}

// Writes is how many writes the batch holds.
func (b *Batch) Writes() int { return b.writes }

// Append puts the batch into the log. After sys.ErrDiskFull, in the error's chain, it may be tried again.
func (b *Batch) Append(log *wal.Log) error {
	if b.snapshot != nil {
		if err := log.ResetTo(b.snapshot.Index, b.snapshot.Term); err != nil {
			return err
		}
		b.snapshot = nil
	}
	return log.Append(wal.Batch{HardState: b.hard, Entries: b.entries, Local: b.local, Commit: b.commit})
}

// AppendHardState puts only term and vote into the log, if there are new ones: for them it keeps a reserve.
func (b *Batch) AppendHardState(log *wal.Log) error {
	if b.hard == nil {
		return nil
	}
	return log.Append(wal.Batch{HardState: b.hard})
}
