package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys/real"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// allOps are the operations of the grid.
var allOps = []string{"ping", "select", "replace", "insert", "update", "upsert", "delete", "range", "secondary"}

// onlyReads tells that the mode of the write-ahead log does not matter.
func onlyReads(op string) bool {
	return slices.Contains([]string{"ping", "select", "range", "secondary"}, op)
}

// cell gathers the numbers of one server.
type cell struct{ rate, cpu, p50, p99, busy []float64 }

func (c *cell) add(r *bench.Result) {
	c.rate = append(c.rate, r.RequestsPerSecond)
	if r.ServerCPU != nil {
		c.cpu = append(c.cpu, *r.ServerCPU)
	}
	c.p50, c.p99 = append(c.p50, r.Latency.P50), append(c.p99, r.Latency.P99)
	c.busy = append(c.busy, r.ClientBusy*100)
}

// pair starts both servers in new directories.
func (c *comparison) pair(mode string) ([]*server, error) {
	var servers []*server
	for _, k := range both {
		s, err := c.startReady(k, c.directory(k), mode)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

func (c *comparison) stopAll(servers []*server) (err error) {
	for _, s := range servers {
		err = errors.Join(err, c.stop(s), os.RemoveAll(s.dir))
	}
	return err
}

// grid measures every operation in every shape and mode.
func (c *comparison) grid() error {
	t := report.NewTable(3, "mode", "operation", "load", "lycosa req/s", "tarantool req/s", "ratio", "lycosa CPU µs", "tarantool CPU µs", "ratio",
		"lycosa p50 µs", "tarantool p50 µs", "lycosa p99 µs", "tarantool p99 µs", "generator busy %")
	for i, mode := range c.modes {
		if i > 0 && !slices.ContainsFunc(c.ops, func(op string) bool { return !onlyReads(op) }) {
			break
		}
		servers, err := c.pair(mode)
		if err != nil {
			return err
		}
		if err := c.gridMode(t, servers, mode, i == 0); err != nil {
			return err
		}
		if err := c.stopAll(servers); err != nil {
			return err
		}
	}
	fmt.Fprintf(&c.text, "\n### Requests\n\n%s\n", t)
	fmt.Fprintln(&c.text, "Ratios are ours by theirs: above 1 is better for requests, below 1 for CPU. "+
		"Where the generator (lycosa / tarantool) is near 100% busy, it is the limit. Operations that only read are measured in the first mode alone.")
	return nil
}

func (c *comparison) gridMode(t *report.Table, servers []*server, mode string, first bool) error {
	for _, s := range servers {
		r, err := c.loadRows(s, c.rows, c.rowBytes, 1)
		if err != nil {
			return err
		}
		c.logf("%s, %s: %d rows loaded in %.1f s", s.name, mode, r.Requests, r.Seconds)
	}
	for _, op := range c.ops {
		if onlyReads(op) && !first {
			continue
		}
		for _, shape := range c.shapes {
			if err := c.gridCell(t, servers, mode, c.plain(op, shape)); err != nil {
				return err
			}
		}
		if onlyReads(op) {
			continue
		}
		// Without it the logs of hours would fill the disk.
		for _, s := range servers {
			if _, err := c.snapshot(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *comparison) gridCell(t *report.Table, servers []*server, mode string, l load) error {
	cells := make([]cell, len(servers))
	for range c.repeats {
		for i, s := range servers {
			if err := c.rest(); err != nil {
				return err
			}
			r, err := c.runLoad(s, l)
			if err != nil {
				return err
			}
			cells[i].add(r)
		}
	}
	a, b := &cells[0], &cells[1]
	if onlyReads(l.op) {
		mode = "–"
	}
	t.Row(mode, l.op, l.shape.String(), report.Grouped(report.Median(a.rate)), report.Grouped(report.Median(b.rate)), report.Times(report.Ratio(report.Median(a.rate), report.Median(b.rate))),
		report.Fixed(report.Median(a.cpu), 2), report.Fixed(report.Median(b.cpu), 2), report.Times(report.Ratio(report.Median(a.cpu), report.Median(b.cpu))),
		report.Grouped(report.Median(a.p50)), report.Grouped(report.Median(b.p50)), report.Grouped(report.Median(a.p99)), report.Grouped(report.Median(b.p99)),
		report.Fixed(report.Median(a.busy), 0)+" / "+report.Fixed(report.Median(b.busy), 0))
	c.logf("%s %s %s: %s against %s requests/s, %s against %s µs", mode, l.op, l.shape, report.Grouped(report.Median(a.rate)), report.Grouped(report.Median(b.rate)),
		report.Fixed(report.Median(a.cpu), 2), report.Fixed(report.Median(b.cpu), 2))
	return nil
}

// recovery restarts each server from its log, then from a snapshot.
func (c *comparison) recovery() error {
	servers, err := c.pair("write")
	if err != nil {
		return err
	}
	for _, s := range servers {
		if _, err := c.loadRows(s, c.rows, c.rowBytes, 1); err != nil {
			return err
		}
	}
	t := report.NewTable(1, "from", "lycosa s", "tarantool s", "faster by")
	for _, from := range []string{"log", "snapshot"} {
		if from == "snapshot" {
			for _, s := range servers {
				if _, err := c.snapshot(s); err != nil {
					return err
				}
			}
		}
		var took [2][]float64
		for range c.repeats {
			for i, s := range servers {
				seconds, err := c.restart(&servers[i], s)
				if err != nil {
					return err
				}
				took[i] = append(took[i], seconds)
			}
		}
		a, b := report.Median(took[0]), report.Median(took[1])
		t.Row(from, report.Fixed(a, 3), report.Fixed(b, 3), report.Times(report.Ratio(b, a)))
		c.logf("recovery from %s: %.3f against %.3f s", from, a, b)
	}
	fmt.Fprintf(&c.text, "\n### Recovery\n\nFrom the start of the process to the answer that has the last row.\n\n%s", t)
	return c.stopAll(servers)
}

// restart stops a server, starts it again on its directory, and waits for the last row.
func (c *comparison) restart(place **server, s *server) (seconds float64, err error) {
	if err := c.stop(s); err != nil {
		return 0, err
	}
	again, err := c.start(s.kind, s.dir, "write")
	if err != nil {
		return 0, err
	}
	*place = again
	took, err := c.ready(again, c.lastRow)
	return took.Seconds(), err
}

// checkpoint measures checkpoints alone, then reads at a fixed rate without them and while one follows the other.
func (c *comparison) checkpoint() error {
	servers, err := c.pair("write")
	if err != nil {
		return err
	}
	t := report.NewTable(1, "server", "checkpoint s", "under reads s", "p99 without µs", "p99 during µs", "ratio", "p99.9 without µs", "p99.9 during µs")
	alone, under := make([][]float64, 2), make([][]float64, 2)
	without, during := make([]quantiles, 2), make([]quantiles, 2)
	for _, s := range servers {
		if _, err := c.loadRows(s, c.rows, c.rowBytes, 1); err != nil {
			return err
		}
	}
	reads := c.plain("select", shape{10, 100})
	reads.rate = c.readRate
	for range c.repeats {
		for i, s := range servers {
			if err := c.rest(); err != nil {
				return err
			}
			seconds, err := c.freshSnapshot(s)
			if err != nil {
				return err
			}
			alone[i] = append(alone[i], seconds)
			r, err := c.runLoad(s, reads)
			if err != nil {
				return err
			}
			without[i].add(r)
			r, seconds, err = c.readsBesideSnapshots(s, reads)
			if err != nil {
				return err
			}
			during[i].add(r)
			under[i] = append(under[i], seconds)
		}
	}
	for i, s := range servers {
		w, d := report.Median(without[i].p99), report.Median(during[i].p99)
		t.Row(s.name, report.Fixed(report.Median(alone[i]), 3), report.Fixed(report.Median(under[i]), 3), report.Grouped(w), report.Grouped(d), report.Times(report.Ratio(d, w)),
			report.Grouped(report.Median(without[i].p999)), report.Grouped(report.Median(during[i].p999)))
	}
	fmt.Fprintf(&c.text, "\n### Checkpoint\n\n%s select requests/s over 10 connections, latency from when each was due; "+
		"during: one checkpoint after the other, a row changed before each.\n\n%s", report.Grouped(c.readRate), t)
	return c.stopAll(servers)
}

type quantiles struct{ p99, p999 []float64 }

func (q *quantiles) add(r *bench.Result) {
	q.p99, q.p999 = append(q.p99, r.Latency.P99), append(q.p999, r.Latency.P999)
}

// freshSnapshot changes a row, so that there is something to write, and makes a checkpoint.
func (c *comparison) freshSnapshot(s *server) (seconds float64, err error) {
	change := iproto.ChangeArgs{Space: spacePlain, Key: keyOf(bench.FirstKey), Ops: addNothing()}
	err = s.ask(c.ctx, func(ctx context.Context, cl *client.Client) error {
		_, err := cl.Update(ctx, change)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: update: %w", s.name, err)
	}
	took, err := c.snapshot(s)
	return took.Seconds(), err
}

// addNothing adds 0 to the third field.
func addNothing() []byte {
	b := msgpack.AppendStr([]byte{0x91, 0x93}, "+")
	return msgpack.AppendUint(msgpack.AppendUint(b, 2), 0)
}

// readsBesideSnapshots reads while checkpoints are made one after the other.
func (c *comparison) readsBesideSnapshots(s *server, reads load) (r *bench.Result, seconds float64, err error) {
	stop, ended := make(chan struct{}), make(chan struct{})
	var took []float64
	var errSnapshot error
	go func() {
		defer close(ended)
		for errSnapshot == nil {
			select {
			case <-stop:
				return
			default:
			}
			var one float64
			if one, errSnapshot = c.freshSnapshot(s); errSnapshot == nil {
				took = append(took, one)
			}
		}
	}()
	r, err = c.runLoad(s, reads)
	close(stop)
	<-ended
	return r, report.Median(took), errors.Join(err, errSnapshot)
}

// memory measures what a row takes, in the resident memory of the process and in the server's own gauge.
func (c *comparison) memory() error {
	t := report.NewTable(1, "server", "row bytes", "indexes", "resident bytes/row", "own gauge bytes/row")
	for _, rowBytes := range []int{16, 100, 1000} {
		for _, indexes := range []int{1, 3} {
			for _, k := range both {
				resident, gauge, err := c.memoryCell(k, rowBytes, indexes)
				if err != nil {
					return err
				}
				t.Row(k.name, fmt.Sprint(rowBytes), fmt.Sprint(indexes), report.Fixed(resident, 1), report.Fixed(gauge, 1))
				c.logf("%s, rows of %d bytes, %d indexes: %.1f resident, %.1f by its gauge", k.name, rowBytes, indexes, resident, gauge)
			}
		}
	}
	fmt.Fprintf(&c.text, "\n### Memory per row\n\nDifference before and after loading %d rows; the gauge is `arena_used` of `box.slab.info`.\n\n%s", c.rows, t)
	return nil
}

func (c *comparison) memoryCell(k kind, rowBytes, indexes int) (resident, gauge float64, err error) {
	s, err := c.startReady(k, c.directory(k), "write")
	if err != nil {
		return 0, 0, err
	}
	var before, after [2]float64
	if before[0], before[1], err = c.used(s); err != nil {
		return 0, 0, err
	}
	if _, err := c.loadRows(s, c.rows, rowBytes, indexes); err != nil {
		return 0, 0, err
	}
	if after[0], after[1], err = c.used(s); err != nil {
		return 0, 0, err
	}
	rows := float64(c.rows)
	return (after[0] - before[0]) / rows, (after[1] - before[1]) / rows, c.stopAll([]*server{s})
}

// used returns the resident memory of a server and what its gauge says.
func (c *comparison) used(s *server) (resident, gauge float64, err error) {
	if err := c.rest(); err != nil {
		return 0, 0, err
	}
	u, err := bench.ReadProcess(real.FS{}, s.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	data, _, err := c.call(s, "box.slab.info")
	if err != nil {
		return 0, 0, err
	}
	gauge, err = gaugeOf(data, "arena_used")
	return float64(u.RSSBytes), gauge, err
}

// gaugeOf reads a number from the map that is the first value of a reply.
func gaugeOf(values []byte, name string) (float64, error) {
	n, b, err := msgpack.ReadArrayLen(values)
	if err != nil || n == 0 {
		return 0, errors.New("there are no gauges in the answer")
	}
	pairs, b, err := msgpack.ReadMapLen(b)
	for ; err == nil && pairs > 0; pairs-- {
		var key []byte
		if key, b, err = msgpack.ReadStr(b); err != nil {
			break
		}
		if string(key) == name {
			v, _, err := msgpack.ReadFloat(b)
			return v, err
		}
		b, err = msgpack.Skip(b)
	}
	return 0, fmt.Errorf("there is no gauge %s in the answer", name)
}

// boot starts each server in an empty directory.
func (c *comparison) boot() error {
	t := report.NewTable(1, "server", "first answer ms", "ready ms")
	var answer [2][]float64
	var readyMs []float64
	for range c.repeats {
		for i, k := range both {
			a, r, err := c.bootOnce(k)
			if err != nil {
				return err
			}
			answer[i] = append(answer[i], a)
			if k.name == ours.name {
				readyMs = append(readyMs, r)
			}
		}
	}
	t.Row(ours.name, report.Fixed(report.Median(answer[0]), 0), report.Fixed(report.Median(readyMs), 0))
	t.Row(theirs.name, report.Fixed(report.Median(answer[1]), 0), "–")
	fmt.Fprintf(&c.text, "\n### Start of an empty directory\n\nTo the first list of spaces; ready: grade Online, as the service manager is told.\n\n%s", t)
	return nil
}

// bootOnce returns the milliseconds to the first answer, and to the notice to a service manager if one comes.
func (c *comparison) bootOnce(k kind) (answer, ready float64, err error) {
	socket := filepath.Join(c.work, "notify")
	_ = os.Remove(socket)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return 0, 0, err
	}
	defer l.Close()
	var env []string
	if k.name == ours.name {
		env = append(env, "NOTIFY_SOCKET="+socket)
	}
	s, err := c.start(k, c.directory(k), "fsync", env...)
	if err != nil {
		return 0, 0, err
	}
	notified := make(chan time.Time, 1)
	go waitNotice(l, notified)
	took, err := c.ready(s, spaces)
	if err != nil {
		return 0, 0, err
	}
	if k.name == ours.name {
		select {
		case at := <-notified:
			ready = report.Milliseconds(at.Sub(s.started))
		case <-time.After(startMax):
			return 0, 0, fmt.Errorf("%s did not become ready", k.name)
		}
	}
	return report.Milliseconds(took), ready, c.stopAll([]*server{s})
}

// waitNotice tells when READY=1 came; it ends with the socket.
func waitNotice(l *net.UnixConn, notified chan<- time.Time) {
	buf := make([]byte, 4096)
	for {
		n, err := l.Read(buf)
		if err != nil {
			return
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			notified <- time.Now()
			return
		}
	}
}
