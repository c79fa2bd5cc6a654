package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
)

// installer is a machine that takes snapshots: content gives the values at a position, or why there are none.
type installer struct {
	*machine
	content func(raftgroup.Position) ([]string, error)
}

func (m installer) Install(p raftgroup.Position) error {
	values, err := m.content(p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.applied = values, p.Index
	m.note("install %d", p.Index)
	return nil
}

// snapshots is what the test of an installation moves between the members.
type snapshots struct {
	fetch     chan fetched
	wanted    chan uint64
	installed chan raftgroup.Position
	poisoned  chan error
	// content is what the installation of any member finds.
	content func(raftgroup.Position) ([]string, error)
}

type fetched struct {
	at uint64
	m  raftgroup.Message
}

// startInstalling starts three members of which follower is cut off, and the log of the leader is gone up to what it has applied.
func startInstalling(t *testing.T, s *snapshots) (net *trio, members map[uint64]*member, leader, follower uint64) {
	s.fetch, s.wanted = make(chan fetched, 10000), make(chan uint64, 1)
	s.installed, s.poisoned = make(chan raftgroup.Position, 1), make(chan error, 1)
	net, members = startTrio(t, func(id uint64, m *machine, cfg *runner.Config[request]) {
		cfg.Machine = installer{m, func(p raftgroup.Position) ([]string, error) { return s.content(p) }}
		cfg.Fetch = func(m raftgroup.Message) { s.fetch <- fetched{id, m} }
		cfg.OnSnapshotWanted = func() {
			select {
			case s.wanted <- id:
			default:
			}
		}
		cfg.OnInstalled = func(p raftgroup.Position) { s.installed <- p }
		cfg.OnPoison = func(err error) { s.poisoned <- err }
	})
	leader, _ = awaitLeader(t, members, []uint64{1, 2, 3}, 0)
	follower = leader%3 + 1
	net.set(follower, true)
	for i := range 20 {
		if err := wait(t, members[leader].submit(fmt.Sprint("v", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := members[leader].loop.Call(context.Background(), func(g *raftgroup.Group) error {
		g.Compact(g.AppliedIndex())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	net.set(follower, false)
	return net, members, leader, follower
}

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("no %s", what)
		panic("")
	}
}

// take tells the leader's group that a snapshot of what it has applied is durable, and returns that.
func (m *member) take(t *testing.T) (pos raftgroup.Position, values []string) {
	t.Helper()
	if err := m.loop.Call(context.Background(), func(g *raftgroup.Group) error {
		pos, values = g.Position(), m.m.values()
		g.HaveSnapshot(pos)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return pos, values
}

// TestInstall: a follower whose entries are gone asks for a snapshot, takes it although the first tries to bring it fail, answers
// while it is installed, and goes on from there.
func TestInstall(t *testing.T) { synctest.Test(t, install) }

func install(t *testing.T) {
	s := &snapshots{}
	_, members, leader, follower := startInstalling(t, s)
	if id := receive(t, "wish for a snapshot", s.wanted); id != leader {
		t.Errorf("%d wants one, the leader is %d", id, leader)
	}
	pos, values := members[leader].take(t)
	entered, release := make(chan struct{}), make(chan struct{})
	s.content = func(p raftgroup.Position) ([]string, error) {
		if p.Index != pos.Index || p.Term != pos.Term || !slices.Equal(p.Voters, pos.Voters) {
			return nil, fmt.Errorf("position %+v, want %+v", p, pos)
		}
		close(entered)
		<-release
		return slices.Clone(values), nil
	}
	for n := 0; n < 3; n++ {
		f := receive(t, "message with a snapshot", s.fetch)
		if p, ok := f.m.Snapshot(); f.at != follower || !ok || p.Index != pos.Index || f.m.From() != leader {
			t.Fatalf("%d is to fetch %+v", f.at, p)
		}
		switch n {
		case 0: // its fetcher is lost: it hears nothing more of it
		case 1:
			members[follower].loop.Fetched(f.m, errors.New("connection lost"))
		case 2:
			members[follower].loop.Fetched(f.m, nil)
		}
	}
	receive(t, "installation", entered)
	for range 50 { // the leader needs the answers of this follower if the other one is gone
		members[follower].turn(t)
		if got := members[follower].loop.Status().Applied; got >= pos.Index {
			t.Fatalf("%d is applied before it is installed", got)
		}
	}
	close(release)
	if p := receive(t, "installed snapshot", s.installed); p.Index != pos.Index {
		t.Errorf("installed %+v", p)
	}
	if err := wait(t, members[leader].submit("after")); err != nil {
		t.Fatal(err)
	}
	want := append(values, "after")
	for f := members[follower]; !slices.Equal(f.m.values(), want); f.turn(t) {
		if n := len(f.m.values()); n > len(want) {
			t.Fatalf("%d values", n)
		}
	}
	f := members[follower]
	if first := f.log.FirstIndex(); first != pos.Index+1 {
		t.Errorf("the log begins at %d behind a snapshot at %d", first, pos.Index)
	}
	trace := strings.Join(f.m.traced(), "; ")
	if !strings.Contains(trace, fmt.Sprintf("install %d; members [1 2 3] []; ", pos.Index)) || strings.Count(trace, "install") != 1 {
		t.Errorf("trace %s", trace)
	}
	for _, m := range members {
		m.stop(t)
	}
}

// TestInstallFails: a replica that could not become what the snapshot holds ends all acknowledging, and applies nothing.
func TestInstallFails(t *testing.T) { synctest.Test(t, installFails) }

func installFails(t *testing.T) {
	s := &snapshots{content: func(raftgroup.Position) ([]string, error) { return nil, errors.New("a row does not fit") }}
	_, members, leader, follower := startInstalling(t, s)
	receive(t, "wish for a snapshot", s.wanted)
	pos, _ := members[leader].take(t)
	before := members[follower].m.values()
	f := receive(t, "message with a snapshot", s.fetch)
	members[follower].loop.Fetched(f.m, nil)
	if err := receive(t, "poison", s.poisoned); !strings.Contains(err.Error(), "a row does not fit") {
		t.Error(err)
	}
	if err := wait(t, members[leader].submit("after")); err != nil {
		t.Fatal(err)
	}
	if got := members[follower].loop.Status(); got.Applied >= pos.Index || !slices.Equal(members[follower].m.values(), before) {
		t.Errorf("%d applied, values %q, before %q", got.Applied, members[follower].m.values(), before)
	}
	for _, m := range members {
		m.stop(t)
	}
}

// TestStopWaitsForInstall: the machine is not its owner's before an installation has ended.
func TestStopWaitsForInstall(t *testing.T) { synctest.Test(t, stopWaitsForInstall) }

func stopWaitsForInstall(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := &snapshots{content: func(raftgroup.Position) ([]string, error) {
		close(entered)
		<-release
		return nil, nil
	}}
	_, members, leader, follower := startInstalling(t, s)
	receive(t, "wish for a snapshot", s.wanted)
	members[leader].take(t)
	f := receive(t, "message with a snapshot", s.fetch)
	members[follower].loop.Fetched(f.m, nil)
	receive(t, "installation", entered)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stopped := make(chan error)
	go func() { stopped <- members[follower].loop.Stop(ctx) }()
	select {
	case <-members[follower].loop.Done():
		t.Error("the loop ended while its machine was being changed")
	case <-time.After(20 * time.Millisecond): // by then everything that does not wait for it has happened
	}
	close(release)
	receive(t, "stop", stopped)
	for id, m := range members {
		if id != follower {
			m.stop(t)
		}
	}
	<-members[follower].loop.Done()
}
