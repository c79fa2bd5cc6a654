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
