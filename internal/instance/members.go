package instance

import (
	"sync"

	"github.com/lycosadb/lycosa/internal/catalog"
)

// members remembers who was found to be a member in one state of the catalog: the same few send many messages in each.
type members struct {
	mu   sync.Mutex // guards the rest
	view *catalog.State
	// raftIDs are those that were accepted, by uuid.
	raftIDs map[string]uint64
}

// check is catalog.CheckMember.
func (m *members) check(view *catalog.State, uuid string, raftID uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != view {
		m.view, m.raftIDs = view, map[string]uint64{}
	}
	if accepted, ok := m.raftIDs[uuid]; ok && accepted == raftID {
		return nil
	}
	err := catalog.CheckMember(view, uuid, raftID)
	if err == nil {
		m.raftIDs[uuid] = raftID
	}
	return err
}
