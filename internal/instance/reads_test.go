package instance

import (
	"context"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// fakeGroup is a leader with a lease, unless told otherwise.
type fakeGroup struct {
	mu      sync.Mutex // guards the rest
	noLease bool
	role    raftgroup.Role
	leader  uint64
	asked   int
	refusal error
	waited  []uint64
	// behind: it never applies what is waited for.
	behind bool
}

func (f *fakeGroup) Covers(uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.noLease
}

func (f *fakeGroup) Status() raftgroup.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := raftgroup.Status{ID: 1, Role: f.role, LeaderID: f.leader, Voters: []uint64{1, 2, 3}}
	if s.Role == "" {
		s.Role, s.LeaderID = raftgroup.RoleLeader, 1
	}
	return s
}

func (f *fakeGroup) ReadIndex(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return 17, f.refusal
}

func (f *fakeGroup) WaitApplied(ctx context.Context, index uint64) error {
	f.mu.Lock()
	f.waited = append(f.waited, index)
	behind := f.behind
	f.mu.Unlock()
	if behind {
		<-ctx.Done()
	}
	return ctx.Err()
}

// waits is how often somebody has waited.
func (f *fakeGroup) waits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waited)
}

// selects is how a select of one row that came by itself is answered, by way of a group, of a page and of a stream.
func (r *rig) selects() (replies []string) {
	r.t.Helper()
	s := newListener(r.t)
	ss := &session{user: newAdmin()}
	var scratch []byte
	key := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), 1)
	req := decoded(r.t, &scratch, 5, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: testSpace, Limit: 10, Key: key})
	})
	out := r.b.answer(ss, r.b.read(ss, req, nil))
	r.b.readers.put(ss)
	reader := r.b.c.engine.NewReader()
	out = r.b.selectNewest(reader, &box.Query{}, ss.user, req, out)
	reader.Close()
	s.Complete(out)
	for range 2 {
		replies = append(replies, <-s.replies)
	}
	tx, err := r.b.beginTx()
	if err == nil {
		tx.Close()
		return append(replies, "begun")
	}
	return append(replies, err.Error())
}

func (r *rig) wantSelects(what string, group, single, begin string) {
	r.t.Helper()
	if got := r.selects(); got[0] != group || got[1] != single || got[2] != begin {
		r.t.Errorf("%s: %q", what, got)
	}
}

// TestReadsAskWhatTheyMust: a leader reads by its lease; without one it asks a quorum, waits until it has the index, and
// refuses if there is none; another replica answers with what it has.
func TestReadsAskWhatTheyMust(t *testing.T) {
	r := newRig(t)
	const nothing = "5 ok []"
	r.wantSelects("with a lease", nothing, nothing, "begun")
	if r.group.asked != 0 {
		t.Errorf("asked %d times", r.group.asked)
	}
	r.group.noLease = true
	r.wantSelects("without a lease", nothing, nothing, "begun")
	if r.group.asked != 3 || len(r.group.waited) != 3 || r.group.waited[0] != 17 {
		t.Errorf("asked %d times, waited for %d", r.group.asked, r.group.waited)
	}
	r.group.refusal = raftgroup.NotLeader(2)
	r.wantSelects("without a quorum", "5 error 10001", "5 error 10001", r.group.refusal.Error())
	r.group.refusal = context.DeadlineExceeded
	if _, err := r.b.beginTx(); !errcode.Is(err, errcode.NotALeader) {
		t.Errorf("in vain: %v", err)
	}
	r.group.role = raftgroup.RoleFollower
	asked := r.group.asked
	r.wantSelects("on a follower", nothing, nothing, "begun")
	r.group.role = raftgroup.RoleLearner
	r.wantSelects("on a learner", nothing, nothing, "begun")
	if r.group.asked != asked {
		t.Error("a replica that does not lead asked for an index")
	}
	for _, idle := range r.b.readers.idle { // whatever came of it, nothing stays pinned, which Close insists on
		idle.Close()
	}
}
