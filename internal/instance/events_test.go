package instance

import (
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/issue"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// shown is a state of things as the watched keys show it.
func shown(t *testing.T, w watchedState) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, v := range w.values() {
		if v.value == nil {
			all[v.key] = "none"
			continue
		}
		text, err := msgpack.ToJSON(nil, v.value)
		if err != nil {
			t.Fatal(err)
		}
		all[v.key] = string(text)
	}
	return all
}

// TestWatchedValues: what clients see before there is a database, while there is one, and when it went wrong.
func TestWatchedValues(t *testing.T) {
	since := time.Date(2024, 2, 29, 12, 0, 0, 5, time.FixedZone("", 3600))
	id := &datadir.Identity{InstanceUUID: "u-1", ReplicasetUUID: "r-1", DataRaftID: 2}
	for name, c := range map[string]struct {
		w    watchedState
		want map[string]string
	}{
		"begin": {watchedState{published: lifecycle.Published{Stage: lifecycle.Discover, State: lifecycle.Unconfigured, Since: since}}, map[string]string{
			keyState:  `{"stage":"Discover","state":"Unconfigured","prev":"(start)","since":"2024-02-29T11:00:00.000000005Z","cause":null}`,
			keyStatus: `{"is_ro":true,"is_ro_cfg":false,"status":"loading","dd_version":"2.3.1"}`, keyID: "none", keySchema: "none"}},
		"leader": {watchedState{published: lifecycle.Published{Stage: lifecycle.Postjoin, State: lifecycle.RolesConfigured, Prev: lifecycle.ConfiguringRoles, Since: since},
			identity: id, leader: 2, schema: 81}, map[string]string{
			keyState:  `{"stage":"Postjoin","state":"RolesConfigured","prev":"ConfiguringRoles","since":"2024-02-29T11:00:00.000000005Z","cause":null}`,
			keyStatus: `{"is_ro":false,"is_ro_cfg":false,"status":"running","dd_version":"2.3.1"}`,
			keyID:     `{"id":1,"instance_uuid":"u-1","replicaset_uuid":"r-1"}`, keySchema: `{"version":81}`}},
		"no leader, and a failure": {watchedState{published: lifecycle.Published{Stage: lifecycle.Postjoin, State: lifecycle.OperationError, Prev: lifecycle.RolesConfigured,
			Since: since, Cause: &lifecycle.Cause{Code: 5, Message: "no", Field: "f"}}, identity: id, leader: 0, schema: 82}, map[string]string{
			keyState: `{"stage":"Postjoin","state":"OperationError","prev":"RolesConfigured","since":"2024-02-29T11:00:00.000000005Z",` +
				`"cause":{"code":5,"message":"no","field":"f"}}`,
			keyStatus: `{"is_ro":true,"is_ro_cfg":false,"status":"running","dd_version":"2.3.1"}`,
			keyID:     `{"id":1,"instance_uuid":"u-1","replicaset_uuid":"r-1"}`, keySchema: `{"version":82}`}},
	} {
		got := shown(t, c.w)
		for key, want := range c.want {
			if got[key] != want {
				t.Errorf("%s: %s is %s, want %s", name, key, got[key], want)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d keys", name, len(got))
		}
	}
	if got := string(stateValue(lifecycle.Published{Cause: &lifecycle.Cause{Message: "m"}})); got == string(stateValue(lifecycle.Published{})) {
		t.Error("a cause without a field is not shown")
	}
}

// TestDiffering: a value is told when it is not the one that was told last.
func TestDiffering(t *testing.T) {
	last := map[string][]byte{}
	for n, c := range []struct{ values, told []keyed }{
		{[]keyed{{"a", []byte{1}}, {"b", nil}}, []keyed{{"a", []byte{1}}}},
		{[]keyed{{"a", []byte{1}}, {"b", nil}}, nil},
		{[]keyed{{"a", []byte{1}}, {"b", []byte{2}}}, []keyed{{"b", []byte{2}}}},
		{[]keyed{{"a", []byte{3}}, {"b", []byte{4}}}, []keyed{{"a", []byte{3}}, {"b", []byte{4}}}},
		{[]keyed{{"a", nil}, {"b", []byte{4}}}, []keyed{{"a", nil}}},
	} {
		got := differing(last, c.values)
		if !slices.EqualFunc(got, c.told, func(a, b keyed) bool { return a.key == b.key && string(a.value) == string(b.value) }) {
			t.Errorf("step %d tells %v, want %v", n, got, c.told)
		}
	}
}

// TestEventsWake: what may change a value asks for a new look, once however often it happens; what cannot does not.
func TestEventsWake(t *testing.T) {
	e := newEvents()
	woken := func() bool {
		select {
		case <-e.wake:
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		ev     event.Event
		wakes  bool
		leader uint64
	}{
		{event.LeaderChanged{Group: catalogName, Leader: 7}, false, 0}, {event.LeaderChanged{Group: dataName, Leader: 2}, true, 2},
		{event.LeaderChanged{Group: dataName}, true, 0}, {event.StateChanged{}, true, 0}, {event.DiskFull{}, false, 0},
	} {
		e.Emit(c.ev)
		if got := woken(); got != c.wakes || e.leader.Load() != c.leader {
			t.Errorf("%+v: woken %t, leader %d", c.ev, got, e.leader.Load())
		}
	}
	for range 3 {
		e.changed()
	}
	if !woken() || woken() {
		t.Error("three changes are not one look")
	}
}

// TestObserved: what happened is there when issues are looked for, until it is over.
func TestObserved(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	var o observed
	for _, e := range []event.Event{
		event.GradeChanged{At: at(1)}, event.LeaderChanged{At: at(2), Group: "data", Leader: 2}, event.LeaderChanged{At: at(3), Group: "catalog"},
		event.DiskFull{At: at(4), Group: "data", Full: true}, event.DiskFull{At: at(5), Group: "catalog", Full: true},
		event.CheckpointDone{At: at(6), Failure: "no space"}, event.LogDamaged{At: at(7), Group: "data", TornBytes: 5},
	} {
		o.Emit(e)
	}
	var in issue.Instance
	o.fill(&in)
	if !in.GradesSince.Equal(at(1)) || !in.DiskFullSince.Equal(at(4)) || in.CheckpointFailure != "no space" || !in.CheckpointSince.Equal(at(6)) || in.UncleanLog != "" {
		t.Errorf("%+v", in)
	}
	if len(in.Groups) != 2 || in.Groups[0] != (issue.Group{Name: "catalog", Since: at(3)}) || in.Groups[1] != (issue.Group{Name: "data", HasLeader: true, Since: at(2)}) {
		t.Errorf("groups %+v", in.Groups)
	}
	for _, e := range []event.Event{
		event.DiskFull{At: at(8), Group: "data"}, event.CheckpointDone{At: at(9)}, event.LogDamaged{At: at(10), Group: "data", LostEntries: 3},
	} {
		o.Emit(e)
	}
	in = issue.Instance{}
	o.fill(&in)
	if !in.DiskFullSince.Equal(at(5)) || in.CheckpointFailure != "" || in.UncleanLog == "" || !in.UncleanAt.Equal(at(10)) {
		t.Errorf("%+v", in)
	}
	o.Emit(event.DiskFull{At: at(11), Group: "catalog"})
	in = issue.Instance{}
	if o.fill(&in); !in.DiskFullSince.IsZero() {
		t.Errorf("%+v", in)
	}
}
