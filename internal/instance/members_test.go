package instance

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// TestMembers: who was accepted once is looked at again with another raft id, and with another state of the catalog.
func TestMembers(t *testing.T) {
	const uuid, stranger = "44444444-4444-4444-8444-444444444444", "66666666-6666-4666-8666-666666666666"
	with := func(grade lifecycle.GradeName, raftID uint64) *catalog.State {
		s := bootstrapped(t)
		row, _ := s.Instance("default_1_1")
		row.Name, row.UUID, row.RaftID, row.DataRaftID, row.Current.Name, row.Target.Name = "i4", uuid, raftID, raftID+1, grade, grade
		joined(t, s, row)
		return s
	}
	online, replaced, expelled := with(lifecycle.Online, 15), with(lifecycle.Online, 17), with(lifecycle.Expelled, 15)
	var m members
	for n, e := range []struct {
		view *catalog.State
		uuid string
		id   uint64
		want errcode.Code
	}{
		{online, uuid, 15, 0}, {online, uuid, 15, 0}, {online, uuid, 13, errcode.JoinFilesLost}, {online, uuid, 15, 0},
		{online, stranger, 15, errcode.NoSuchInstance}, {online, stranger, 0, errcode.NoSuchInstance},
		{replaced, uuid, 15, errcode.JoinFilesLost}, {replaced, uuid, 17, 0}, {replaced, uuid, 17, 0}, {online, uuid, 15, 0},
		{expelled, uuid, 15, errcode.InstanceExpelled}, {expelled, uuid, 15, errcode.InstanceExpelled},
	} {
		if err := m.check(e.view, e.uuid, e.id); e.want == 0 && err != nil || e.want != 0 && !errcode.Is(err, e.want) {
			t.Errorf("%d: raft id %d of %s: %v", n, e.id, e.uuid, err)
		}
	}
}
