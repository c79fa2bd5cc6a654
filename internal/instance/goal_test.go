package instance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

type fakeIndex struct {
	index uint64
	err   error
}

func (f fakeIndex) ReadIndex(context.Context) (uint64, error) { return f.index, f.err }

// The goal is known when quorums of both groups have answered; who has not is named.
func TestGoal(t *testing.T) {
	none, ended := errcode.New(errcode.NotALeader, "nobody"), wal.ErrClosed
	for _, c := range []struct {
		catalog, data fakeIndex
		missing       string
		known         bool
	}{
		{fakeIndex{index: 5}, fakeIndex{index: 9}, "", true},
		{fakeIndex{err: none}, fakeIndex{index: 9}, catalogName, false},
		{fakeIndex{index: 5}, fakeIndex{err: context.DeadlineExceeded}, dataName, false},
		{fakeIndex{index: 5}, fakeIndex{err: ended}, "", false},
	} {
		var g goal
		missing, err := g.ask(context.Background(), c.catalog, c.data)
		if err != nil || missing != c.missing || g.known != c.known || g.known && (g.catalog != 5 || g.data != 9) {
			t.Errorf("%+v: %q, %v, %+v", c, missing, err, g)
		}
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := new(goal).ask(stopped, fakeIndex{err: none}, fakeIndex{}); err == nil {
		t.Error("a stop is no error")
	}
}

// A replica that was away learns from a quorum how far it has to come, which its own log does not tell it.
func TestGoalOfOneThatWasAway(t *testing.T) {
	n := startTrio(t, 500*time.Millisecond)
	leader := n.leader()
	n.makeSpace(leader)
	away := n.follower(leader)
	n.set(away, true)
	for value := range 50 {
		if got := n.do(leader, replace(1, value)); got != fmt.Sprintf("ok [[1,%d]]", value) {
			t.Fatal(got)
		}
	}
	group := n.replicas[leader].c.dataLoop
	committed := group.Status().Committed
	n.set(away, false)
	var g goal
	n.eventually("nobody tells it how far to come", func() bool {
		missing, err := g.ask(context.Background(), fakeIndex{}, n.replicas[away].c.dataLoop)
		return missing == "" && err == nil
	})
	if g.data < committed {
		t.Errorf("it takes %d as enough, %d was committed before", g.data, committed)
	}
}
