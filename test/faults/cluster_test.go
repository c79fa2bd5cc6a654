package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// cluster are instances with a replicaset of all of them, each behind its own link.
type cluster struct {
	t         testing.TB
	net       *network
	root      string
	dirs      []string
	factor    int
	args      []string
	instances []*proc
}

// newCluster starts n instances, each on a small file system of its own, and makes the spaces of the load.
func newCluster(t testing.TB, n int, args ...string) *cluster {
	t.Helper()
	c := prepare(t, n, args...)
	for _, dir := range c.dirs {
		smallDisk(t, filepath.Dir(dir))
	}
	c.startAll()
	return c
}

// newCabledCluster is newCluster with lines between the instances that can be bad.
func newCabledCluster(t testing.TB, n int) *cluster {
	t.Helper()
	w := newNetwork(t)
	w.cabled = true
	c := prepareOn(t, w, n)
	c.startAll()
	return c
}

// prepare makes network and directories for n instances and starts none.
func prepare(t testing.TB, n int, args ...string) *cluster {
	t.Helper()
	return prepareOn(t, newNetwork(t), n, args...)
}

func prepareOn(t testing.TB, w *network, n int, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, net: w, root: t.TempDir(), factor: n, args: args}
	if err := os.WriteFile(c.cookie(), []byte("a-cookie-that-all-of-them-share\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.add(i)
	}
	return c
}

// add makes host and directory of instance i.
func (c *cluster) add(i int) {
	c.t.Helper()
	c.net.host(i)
	disk := filepath.Join(c.root, fmt.Sprintf("disk%d", i+1))
	if err := os.MkdirAll(disk, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.dirs = append(c.dirs, filepath.Join(disk, "data"))
	c.instances = append(c.instances, nil)
}

// smallDisk mounts a file system that can be filled.
func smallDisk(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=384m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

func (c *cluster) cookie() string { return filepath.Join(c.root, "cookie") }

// start starts an instance on its directory.
func (c *cluster) start(i int) *proc {
	c.t.Helper()
	return c.startUnder(i)
}

// startUnder is start under another program.
func (c *cluster) startUnder(i int, wrap ...string) *proc {
	c.t.Helper()
	return c.startWith(i, wrap)
}

// startWith is start under another program, if there is one, with more arguments.
func (c *cluster) startWith(i int, wrap []string, args ...string) *proc {
	c.t.Helper()
	var peers []string
	for n := range c.factor {
		peers = append(peers, c.net.address(n))
	}
	all := slices.Concat([]string{"--peer", strings.Join(peers, ","), "--cookie-file", c.cookie(),
		"--replication-factor", fmt.Sprint(c.factor)}, c.args, args)
	c.instances[i] = launch(c.t, c.net, i, c.dirs[i], wrap, all...)
	return c.instances[i]
}

// startAll starts the cluster for the first time.
func (c *cluster) startAll() {
	c.t.Helper()
	for i := range c.instances {
		c.start(i)
	}
	c.healthy(c.t, waitStart)
	admin := c.connect(c.leader(c.t, "data"))
	defer admin.Close()
	makeSpaces(c.t, admin)
}

// healthy waits until every instance is Online and one of them leads all of them.
func (c *cluster) healthy(t testing.TB, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for _, p := range c.instances {
		if !poll(time.Until(deadline), p.ready) {
			_, body := p.get("/api/v1/instance")
			t.Fatalf("instance %d is not Online %s after the fault: %s", p.i+1, limit, body)
		}
	}
	if !poll(time.Until(deadline), func() bool {
		for _, p := range c.instances {
			if role, _, _, voters := p.group("data"); role == "leader" && voters == c.factor {
				return true
			}
		}
		return false
	}) {
		t.Fatalf("no leader with %d voters %s after the fault", c.factor, limit)
	}
}

// leader waits for an instance that says that it leads a group.
func (c *cluster) leader(t testing.TB, group string) *proc {
	t.Helper()
	return c.leaderAmong(t, group, but(len(c.instances)))
}

// leaderAmong is leader among some: of several that say so, the one with the highest term.
func (c *cluster) leaderAmong(t testing.TB, group string, some []int) (found *proc) {
	t.Helper()
	waitFor(t, "a leader of group "+group, waitHealed, func() bool {
		highest := uint64(0)
		for _, i := range some {
			if role, term, _, _ := c.instances[i].group(group); role == "leader" && term > highest {
				found, highest = c.instances[i], term
			}
		}
		return found != nil
	})
	return found
}

// connect opens a connection as admin.
func (c *cluster) connect(p *proc) *client.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	conn, err := client.Dial(ctx, p.address, client.Options{User: "admin", Password: []byte(adminPassword)})
	if err != nil {
		c.t.Fatalf("connect to instance %d: %v", p.i+1, err)
	}
	return conn
}

// stop stops an instance as an operator does, and requires exit code 0.
func (c *cluster) stop(t testing.TB, i int) {
	t.Helper()
	p := c.instances[i]
	p.signal(p.pid(), syscall.SIGTERM)
	if code := p.ended(); code != 0 {
		t.Fatalf("instance %d ended with %d after SIGTERM", i+1, code)
	}
}

// contents are the rows of a space as instance i shows them, nil if it does not answer.
func (c *cluster) contents(i int, space uint32) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, c.instances[i].address, client.Options{User: "admin", Password: []byte(adminPassword)})
	if err != nil {
		return nil
	}
	defer conn.Close()
	rows, err := conn.Select(ctx, iproto.SelectArgs{Space: space, Iterator: iproto.IterALL, Limit: 1<<32 - 1})
	if err != nil {
		return nil
	}
	return rows
}

// equal waits until all replicas show the same rows in all spaces of the load, and returns these. Nothing may write
// meanwhile.
func (c *cluster) equal(t testing.TB) map[uint32][]byte {
	t.Helper()
	all := map[uint32][]byte{}
	for _, space := range spaces {
		if !poll(waitHealed, func() bool {
			all[space] = c.contents(c.leader(t, "data").i, space)
			for i := range c.instances {
				if rows := c.contents(i, space); rows == nil || !bytes.Equal(rows, all[space]) {
					time.Sleep(100 * time.Millisecond)
					return false
				}
			}
			return true
		}) {
			for i, p := range c.instances {
				s, _ := p.status()
				t.Logf("instance %d has %d bytes of rows in space %d; its groups: %+v", i+1, len(c.contents(i, space)), space, s.Groups)
			}
			t.Fatalf("the replicas differ in space %d %s after the end of the load", space, waitHealed)
		}
	}
	return all
}
