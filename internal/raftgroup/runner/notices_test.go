package runner_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
)

// prompting is a machine that has somebody elsewhere wait for what is committed next, if prompt is set.
type prompting struct {
	*machine
	prompt atomic.Bool
}

func (m *prompting) Prompt() bool { return m.prompt.Swap(false) }

// bare counts the messages without entries by sender and term.
type bare struct {
	mu sync.Mutex
	n  map[[2]uint64]int
}

func (b *bare) of(id, term uint64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n[[2]uint64{id, term}]
}

// startNoticing starts three voters that hold notices for so long, and counts what they send.
func startNoticing(t *testing.T, delay time.Duration) (map[uint64]*member, map[uint64]*prompting, *bare) {
	count, machines := &bare{n: map[[2]uint64]int{}}, map[uint64]*prompting{}
	_, members := startTrio(t, func(id uint64, m *machine, cfg *runner.Config[request]) {
		machines[id] = &prompting{machine: m}
		cfg.Machine, cfg.NoticeDelay = machines[id], delay
		cfg.Tick = 100 * time.Millisecond // elections are rare, however busy this machine is
		send := cfg.Send
		cfg.Send = func(m raftgroup.Message) {
			if m.Kind() == "MsgApp" && m.Size() == emptyBytes {
				count.mu.Lock()
				count.n[[2]uint64{m.From(), m.Term()}]++
				count.mu.Unlock()
			}
			send(m)
		}
	})
	return members, machines, count
}

// emptyBytes is the size of a message without entries.
const emptyBytes = 64

// TestNoticesWait: while entries follow each other, followers are told of commits by entries alone, and by messages of their own
// when somebody waits for them.
func TestNoticesWait(t *testing.T) { synctest.Test(t, noticesWait) }

func noticesWait(t *testing.T) {
	members, machines, sent := startNoticing(t, time.Hour)
	all := []uint64{1, 2, 3}
	for term := uint64(0); ; {
		var leader uint64
		leader, term = awaitLeader(t, members, all, term)
		// The no-op's commit may be told at once: nothing follows it yet.
		if wait(t, members[leader].submit("first")) != nil {
			continue
		}
		before := sent.of(leader, term)
		lost := false
		for range 20 {
			lost = lost || wait(t, members[leader].submit("x")) != nil
		}
		after := sent.of(leader, term)
		if s := members[leader].loop.Status(); lost || s.Term != term || s.Role != raftgroup.RoleLeader {
			continue // this machine was too busy for its heartbeats
		}
		if after != before {
			t.Errorf("%d messages without entries were sent for 20 commits", after-before)
		}
		machines[leader].prompt.Store(true)
		if wait(t, members[leader].submit("waited for")) != nil {
			continue
		}
		if awaitBare(t, members[leader], sent, leader, term, after) {
			break
		}
	}
	for _, m := range members {
		m.stop(t)
	}
}

// awaitBare waits until a leader has sent more than so many messages without entries; false if it leads no more.
func awaitBare(t *testing.T, m *member, sent *bare, leader, term uint64, before int) bool {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); sent.of(leader, term) <= before; time.Sleep(time.Millisecond) {
		if s := m.loop.Status(); s.Term != term || s.Role != raftgroup.RoleLeader {
			return false
		}
		if time.Now().After(end) {
			t.Fatal("what is held is never sent")
		}
	}
	return true
}

// TestNoticesGoWhenDue: without a further entry followers are told after the delay, and hold what the leader holds in the end.
func TestNoticesGoWhenDue(t *testing.T) { synctest.Test(t, noticesGoWhenDue) }

func noticesGoWhenDue(t *testing.T) {
	members, _, sent := startNoticing(t, 20*time.Millisecond)
	written := 0
	for term := uint64(0); written < 5; {
		var leader uint64
		leader, term = awaitLeader(t, members, []uint64{1, 2, 3}, term)
		for written < 5 {
			before := sent.of(leader, term)
			if wait(t, append(members[leader].submit("a"), members[leader].submit("b")...)) != nil ||
				!awaitBare(t, members[leader], sent, leader, term, before) {
				break
			}
			written++
		}
	}
	var goal uint64
	for _, m := range members {
		goal = max(goal, m.loop.Status().Committed)
	}
	for _, m := range members {
		for end := time.Now().Add(30 * time.Second); m.loop.Status().Applied < goal; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v, %d is committed", m.loop.Status(), goal)
			}
		}
	}
	for _, m := range members {
		m.stop(t)
	}
}
