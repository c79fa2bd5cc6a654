package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// adminPassword is the password of user admin, on loopback addresses only.
const adminPassword = "bench-admin-secret"

func (b *benchmark) passwordFile() string { return filepath.Join(b.work, "password") }

// cluster are instances of ours that know each other's addresses.
type cluster struct {
	b         *benchmark
	dir       string
	program   string
	factor    int
	instances []*instance
}

// instance is one of them.
type instance struct {
	c             *cluster
	n             int // 1, 2, …
	address, http string
	*process
	// ready is closed when the supervisor has told that it is Online and RolesConfigured.
	ready  chan struct{}
	notify *net.UnixConn
}

// newCluster chooses directories and addresses, and starts nothing.
func (b *benchmark) newCluster(n, factor int) (*cluster, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	c := &cluster{b: b, dir: dir, program: b.lycosa, factor: factor}
	for i := range n {
		in := &instance{c: c, n: i + 1}
		if in.address, err = b.ports.Free(); err != nil {
			return nil, err
		}
		if in.http, err = b.ports.Free(); err != nil {
			return nil, err
		}
		c.instances = append(c.instances, in)
	}
	return c, os.WriteFile(filepath.Join(dir, "cookie"), []byte("a-cookie-that-all-of-them-share\n"), 0o600)
}

// assemble starts all instances and waits until all are ready. It returns how long that took.
func (c *cluster) assemble() (time.Duration, error) {
	for _, in := range c.instances {
		if err := in.listen(); err != nil {
			return 0, err
		}
	}
	started := time.Now()
	for _, in := range c.instances {
		if err := in.run(); err != nil {
			return 0, err
		}
	}
	for _, in := range c.instances {
		if err := in.wait(); err != nil {
			return 0, err
		}
	}
	return time.Since(started), nil
}

// again starts an instance that has ended and waits until it is ready.
func (in *instance) again() error {
	if err := in.listen(); err != nil {
		return err
	}
	if err := in.run(); err != nil {
		return err
	}
	return in.wait()
}

func (in *instance) path(name string) string {
	return filepath.Join(in.c.dir, fmt.Sprintf("i%d%s", in.n, name))
}

// listen makes the socket on which the supervisor tells that the instance is ready.
func (in *instance) listen() (err error) {
	path := in.path(".notify")
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	in.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	in.ready = make(chan struct{})
	go func(conn *net.UnixConn, ready chan struct{}) {
		var once sync.Once
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "READY=1") {
				once.Do(func() { close(ready) })
			}
		}
	}(in.notify, in.ready)
	return nil
}

// run starts the processes of an instance.
func (in *instance) run() (err error) {
	var peers []string
	for _, other := range in.c.instances {
		peers = append(peers, other.address)
	}
	in.process, err = in.c.b.start(fmt.Sprintf("instance %d", in.n), in.path(".log"),
		[]string{"NOTIFY_SOCKET=" + in.path(".notify"), "LYCOSA_ADMIN_PASSWORD=" + adminPassword}, in.c.program,
		"run", "--data-dir", in.path(""), "--listen", in.address, "--http-listen", in.http, "--peer", strings.Join(peers, ","),
		"--cookie-file", filepath.Join(in.c.dir, "cookie"), "--replication-factor", fmt.Sprint(in.c.factor), "--memory", "1GiB", "--log-format", "json")
	return err
}

// wait waits until the instance is ready.
func (in *instance) wait() error {
	defer in.notify.Close()
	timer := time.NewTimer(waitMax)
	defer timer.Stop()
	select {
	case <-in.ready:
		return nil
	case <-in.done:
		return fmt.Errorf("%s has ended:\n%s", in.name, in.tail())
	case <-timer.C:
		return fmt.Errorf("%s is not online after %s:\n%s", in.name, waitMax, in.tail())
	case <-in.c.b.ctx.Done():
		return in.c.b.ctx.Err()
	}
}

// processes are the supervisors.
func (c *cluster) processes() (all []*process) {
	for _, in := range c.instances {
		all = append(all, in.process)
	}
	return all
}

// end kills all instances and removes their files.
func (c *cluster) end() (err error) {
	for _, p := range c.processes() {
		err = errors.Join(err, p.kill())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// document is what is read of /api/v1/instance.
type document struct {
	Name   string `json:"name"`
	Groups []struct {
		Name    string   `json:"name"`
		RaftID  uint64   `json:"raft_id"`
		Role    string   `json:"role"`
		Applied uint64   `json:"applied"`
		Voters  []uint64 `json:"voters"`
	} `json:"groups"`
}

// web asks over connections of its own: a kept one would hold the port of an instance that was killed.
var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// look asks an instance where it stands.
func (in *instance) look() (d document, ok bool) {
	reply, err := web.Get("http://" + in.http + "/api/v1/instance")
	if err != nil {
		return d, false
	}
	defer reply.Body.Close()
	return d, reply.StatusCode == http.StatusOK && json.NewDecoder(reply.Body).Decode(&d) == nil
}

// leader waits until one instance leads the data group of the cluster's one replicaset, with all as its voters, and all have
// applied as much as it has.
func (c *cluster) leader() (leader *instance, err error) {
	err = c.b.until("a leader with all voters, and the others as far as it", func() bool {
		leader = nil
		applied := map[uint64]bool{}
		for _, in := range c.instances {
			d, ok := in.look()
			if !ok {
				return false
			}
			for _, g := range d.Groups {
				if g.Name != "data" || len(g.Voters) != len(c.instances) {
					continue
				}
				applied[g.Applied] = true
				if g.Role == "leader" {
					leader = in
				}
			}
		}
		return leader != nil && len(applied) == 1
	})
	return leader, err
}

// dial connects as admin.
func (in *instance) dial(ctx context.Context) (*client.Client, error) {
	return client.Dial(ctx, in.address, client.Options{User: "admin", Password: []byte(adminPassword)})
}
