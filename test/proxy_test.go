package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// away returns an instance that does not lead the data group.
func (c *cluster) away(leader *proc) *proc {
	for _, p := range c.instances {
		if p != leader && p.running() {
			return p
		}
	}
	c.t.Fatal("no other instance runs")
	return nil
}

func rowOf(t testing.TB, conn *client.Client, space uint32, key int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	rows, err := conn.Select(ctx, iproto.SelectArgs{Space: space, Limit: 1, Key: pack(list{key})})
	if err != nil {
		t.Fatal(err)
	}
	return toJSON(t, rows)
}

// Clients of a replica make a space, write and read their own writes there; errors are the leader's.
func TestWritesAtAReplica(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	at := c.away(leader)
	conn := at.admin()
	space := createSpace(t, conn, 600, "kv")
	for n := range 50 {
		space.insert(list{n, n})
		if got, want := rowOf(t, conn, 600, n), fmt.Sprintf("[[%d,%d]]", n, n); got != want {
			t.Fatalf("read %s after the answer to a write, want %s", got, want)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	if _, err := conn.Insert(ctx, 600, pack(list{7, 1})); codeOf(err) != 3 {
		t.Errorf("a duplicate: %v", err)
	}
}

// With --proxy-writes=false a replica names the leader instead, and still answers reads.
func TestWritesAreNotPassedOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, "--proxy-writes=false")
	c.online()
	leader := c.leader("data", 3)
	createSpace(t, leader.admin(), 600, "kv").insert(list{1, 1})
	at := c.away(leader)
	waitFor(t, "the row on a replica", waitStart, func() bool { return rowsOf(at, 600) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	if _, err := at.admin().Insert(ctx, 600, pack(list{2, 1})); codeOf(err) != 10001 || !strings.Contains(err.Error(), leader.listen) {
		t.Errorf("a write at a replica that passes nothing on: %v", err)
	}
}

// The leader is killed while clients write at a replica: they wait, nothing that was acknowledged is lost, no statement is
// carried out twice, and only those under way have an unknown outcome.
func TestWritesAtAReplicaThroughFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	leader := c.leader("data", 3)
	at := c.away(leader)
	createSpace(t, leader.admin(), 600, "kv")
	const writers = 8
	var wg sync.WaitGroup
	quit := make(chan struct{})
	written := make([][]int, writers)
	unknown := make([]int, writers)
	for w := range writers {
		conn := at.admin()
		wg.Go(func() {
			for key := w * 1_000_000; ; key++ {
				select {
				case <-quit:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), waitStart)
				_, err := conn.Insert(ctx, 600, pack(list{key, w}))
				cancel()
				switch {
				case err == nil:
					written[w] = append(written[w], key)
				case codeOf(err) == 12001:
					unknown[w]++
				default:
					t.Errorf("key %d: %v", key, err)
					return
				}
			}
		})
	}
	waitFor(t, "writes", waitStart, func() bool { return rowsOf(leader, 600) > 50 })
	leader.kill()
	next := c.leader("data", 3)
	reached := rowsThere(next, 600)
	waitFor(t, "writes after the failover", waitStart, func() bool { return rowsOf(next, 600) > reached+50 })
	close(quit)
	wg.Wait()
	total, lost := 0, 0
	for w := range writers {
		total += len(written[w])
		lost += unknown[w]
	}
	if lost > writers {
		t.Errorf("%d unknown outcomes of %d writers", lost, writers)
	}
	if got := rowsThere(next, 600); got < total || got > total+lost {
		t.Errorf("%d rows, %d were acknowledged, %d are unknown", got, total, lost)
	}
}
