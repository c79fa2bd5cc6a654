package runner

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	group "github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

var (
	_ group.Machine[*Request] = (*Machine)(nil)
	_ Submitter               = (*group.Loop[*Request])(nil)
)

// lone is a group of one voter on a disk in memory.
type lone struct {
	m    *Machine
	loop *group.Loop[*Request]
	log  *wal.Log
}

func startLone(t *testing.T, disk *fault.FS) *lone {
	t.Helper()
	log, err := wal.Open(wal.Options{FS: disk, Dir: "/catalog", Group: "catalog", SegmentBytes: 64 << 10, ReserveBytes: 8 << 10,
		Instance: uuid.MustParse("22222222-2222-4222-8222-222222222222"), Sync: wal.SyncFsync})
	if err != nil {
		t.Fatal(err)
	}
	state := started(t)
	index, term := state.Position()
	g, err := group.NewGroup(log, raftgroup.Config{ID: 1,
		Position: raftgroup.Position{Index: index, Term: term, Voters: []uint64{1}}})
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{m: New(Options{Start: state}), log: log}
	l.loop = group.Start(group.Config[*Request]{Log: log, Group: g, Machine: l.m, Name: "catalog",
		Clock: real.Clock{}, Tick: 5 * time.Millisecond})
	l.m.Bind(l.loop)
	return l
}

func (l *lone) stop(t *testing.T) {
	t.Helper()
	if err := l.loop.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := l.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// Concurrent requests on the real loop: guarded increments lose nothing, and a restart finds the same catalog.
func TestOnTheRealLoop(t *testing.T) {
	disk := fault.New()
	l := startLone(t, disk)
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), l.m, "counter"); err != nil {
					t.Error(err)
				}
				if _, err := l.m.Propose(t.Context(), set(fmt.Sprint("w", w), 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := value(l.m, "counter"); n != writers*each {
		t.Fatalf("counter %d, want %d", n, writers*each)
	}
	before, _ := l.m.View().Position()
	l.stop(t)

	l = startLone(t, disk)
	defer l.stop(t)
	if err := l.m.Wait(t.Context(), before+1); err != nil {
		t.Fatal(err)
	}
	if n := value(l.m, "counter"); n != writers*each {
		t.Fatalf("counter %d after a restart, want %d", n, writers*each)
	}
	if err := increment(t.Context(), l.m, "counter"); err != nil {
		t.Fatal(err)
	}
}

// increment adds one to a property by compare-and-swap, again and again until nobody came between.
func increment(ctx context.Context, m *Machine, key string) error {
	for {
		view := m.View()
		n, _ := view.PropertyUint(key)
		_, err := m.ProposeCAS(ctx, set(key, n+1), catalog.Unchanged(view))
		if err == nil {
			return nil
		}
		switch errcode.Of(err).Code {
		case errcode.CASConflictFound:
		case errcode.TermMismatch, errcode.CASEntryTermMismatch, errcode.NotALeader, errcode.LeaderUnknown:
			// It has just started: the view is moved on by the first entry of its term.
			index, _ := view.Position()
			if err := m.Wait(ctx, index+1); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

var _ group.Installer = (*Machine)(nil)

// TestInstall: the catalog becomes that of a snapshot, whoever waits is woken, and a comparison with what was read before is refused.
func TestInstall(t *testing.T) {
	ahead := newManual(t, Options{})
	for n := range uint64(3) {
		ch := ahead.do(context.Background(), request(set("a", n)))
		ahead.run(1)
		ahead.m.Commit(ahead.index)
		if r := <-ch; r.err != nil {
			t.Fatal(r.err)
		}
	}
	taken := ahead.m.View()
	index, term := taken.Position()
	var told []*catalog.State
	at := raftgroup.Position{Index: index, Term: term}
	state := started(t)
	m := New(Options{Start: state, OnInstall: func(s *catalog.State) { told = append(told, s) },
		Load: func(p raftgroup.Position) (*catalog.State, error) {
			if p.Index > index {
				return nil, fmt.Errorf("no snapshot of index %d", p.Index)
			}
			return taken, nil
		}})
	before := m.View()
	wake := m.Subscribe()
	for _, wrong := range []raftgroup.Position{{Index: index + 1, Term: term}, {Index: index, Term: term + 1}} {
		if err := m.Install(wrong); err == nil || m.View() != before {
			t.Errorf("installed at %+v", wrong)
		}
	}
	if err := m.Install(at); err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	default:
		t.Error("nobody was woken")
	}
	if m.View() != taken || m.Applied() != index || len(told) != 1 || told[0] != taken {
		t.Errorf("applied %d, told %d times", m.Applied(), len(told))
	}
	if before == taken {
		t.Error("the view of before is the same")
	}
	if value(m, "a") != 2 {
		t.Errorf("the value is %d", value(m, "a"))
	}
	// It goes on from there.
	m.Apply(index+1, term, nil)
	if m.Applied() != index+1 {
		t.Errorf("applied %d", m.Applied())
	}
	if err := New(Options{Start: started(t)}).Install(at); err == nil {
		t.Error("installed without anything to read it with")
	}
}
