package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/test/bench/report"
)

// contender is a server, or a few, that take writes.
type contender struct {
	name string
	// processes are its own, of ours the leader's first.
	processes []*process
	load      func(shape string, d time.Duration) (measured, error)
	// entries, if not nil, is how many entries the log has.
	entries func() (uint64, error)
}

// measured is one run of a load. cpu is in µs per put, of all processes; first is that of the first. batch is how many puts share
// an entry of the log, 0 if that is not known.
type measured struct{ rate, p50, p99, cpu, first, batch float64 }

// shapes are connections × requests in flight on each: 256 at once in both.
var shapes = []string{"1x256", "16x16"}

// quorum compares writes that are synced by a majority.
func (b *benchmark) quorum() error {
	var all []*contender
	for _, make := range []func() (*contender, error){b.ourThree, b.ourBefore, b.ourOne, b.etcdModule, b.etcdDebian} {
		c, err := make()
		if err != nil {
			return err
		}
		if c != nil {
			all = append(all, c)
		}
	}
	t := report.NewTable(2, "server", "connections × in flight", "puts/s", "p50 ms", "p99 ms", "CPU µs per put, all its processes", "of which leader", "our three: puts/s by this")
	for _, shape := range shapes {
		runs := make([][]measured, len(all))
		for range b.repeats {
			for i, c := range all {
				m, err := b.measure(c, shape)
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				runs[i] = append(runs[i], m)
				b.logf("%s, %s: %s puts/s, p50 %.2f ms, p99 %.2f ms, %.2f µs, of which %.2f of the first process, %.0f in an entry", c.name, shape,
					report.Grouped(m.rate), m.p50, m.p99, m.cpu, m.first, m.batch)
			}
		}
		if err := b.profile(all[0], shape); err != nil {
			return err
		}
		ours := middle(runs[0])
		for i, c := range all {
			m := middle(runs[i])
			leader := "–"
			if strings.HasPrefix(c.name, "lycosa") {
				leader = report.Fixed(m.first, 2)
			}
			t.Row(c.name, strings.Replace(shape, "x", " × ", 1), report.Grouped(m.rate), report.Fixed(m.p50, 2), report.Fixed(m.p99, 2), report.Fixed(m.cpu, 2),
				leader, report.Times(report.Ratio(ours.rate, m.rate)))
		}
	}
	fmt.Fprintf(&b.text, "\n### Quorum writes\n\nValues of %d bytes under %s keys, 256 in flight, synced before they are acknowledged, all servers on this machine at the same time and "+
		"driven in turn; medians of %d runs of %s. Targets: 5 times etcd, 0.5 times our own single instance. Rows of ours have %d bytes with their key.\n\n%s",
		loadRowBytes, report.Grouped(loadRows), b.repeats, b.duration, loadRowBytes, t)
	return nil
}

// middle is made of the medians.
func middle(runs []measured) (m measured) {
	of := func(field func(measured) float64) float64 {
		var values []float64
		for _, r := range runs {
			values = append(values, field(r))
		}
		return report.Median(values)
	}
	return measured{of(func(m measured) float64 { return m.rate }), of(func(m measured) float64 { return m.p50 }),
		of(func(m measured) float64 { return m.p99 }), of(func(m measured) float64 { return m.cpu }), of(func(m measured) float64 { return m.first }),
		of(func(m measured) float64 { return m.batch })}
}

// measure runs a load for a moment, then for its time.
func (b *benchmark) measure(c *contender, shape string) (m measured, err error) {
	const warmup = 300 * time.Millisecond
	if _, err := c.load(shape, warmup); err != nil {
		return m, err
	}
	if err := b.rest(warmup); err != nil {
		return m, err
	}
	first, err := cpuOf(c.processes[:1])
	if err != nil {
		return m, err
	}
	others, err := cpuOf(c.processes[1:])
	if err != nil {
		return m, err
	}
	entries, err := c.logged()
	if err != nil {
		return m, err
	}
	if m, err = c.load(shape, b.duration); err != nil {
		return m, err
	}
	firstAfter, err1 := cpuOf(c.processes[:1])
	othersAfter, err2 := cpuOf(c.processes[1:])
	per := func(used time.Duration) float64 {
		return report.Ratio(float64(used)/float64(time.Microsecond), m.rate*b.duration.Seconds())
	}
	m.first = per(firstAfter - first)
	m.cpu = m.first + per(othersAfter-others)
	entriesAfter, err3 := c.logged()
	m.batch = report.Ratio(m.rate*b.duration.Seconds(), float64(entriesAfter-entries))
	return m, errors.Join(err1, err2, err3)
}

// logged is how many entries the contender's log has, 0 if that is not known.
func (c *contender) logged() (uint64, error) {
	if c.entries == nil {
		return 0, nil
	}
	return c.entries()
}

// profile has perf watch each process of a contender's under a load, if profiles are asked for: SHAPE-N.perf, for perf report.
// What is measured meanwhile is not counted: perf takes its time too.
func (b *benchmark) profile(c *contender, shape string) error {
	if b.profiles == "" {
		return nil
	}
	var watching []*process
	for i, p := range c.processes {
		file := filepath.Join(b.profiles, fmt.Sprintf("%s-%d", shape, i+1))
		pids := []string{fmt.Sprint(p.pid())}
		for _, child := range childrenOf(p.pid()) {
			pids = append(pids, fmt.Sprint(child))
		}
		w, err := b.start("perf", file+".log", nil, "perf", "record", "-q", "-g", "-F", "4000", "-o", file+".perf", "-p", strings.Join(pids, ","),
			"sleep", fmt.Sprint(b.duration.Seconds()))
		if err != nil {
			return err
		}
		watching = append(watching, w)
	}
	m, err := c.load(shape, b.duration+time.Second)
	if err != nil {
		return err
	}
	b.logf("%s, %s, watched by perf: %s puts/s", c.name, shape, report.Grouped(m.rate))
	for _, w := range watching {
		select {
		case <-w.done:
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
		if !w.cmd.ProcessState.Success() {
			return fmt.Errorf("perf: %s\n%s", w.cmd.ProcessState, w.tail())
		}
	}
	return nil
}

// ourThree, ourBefore and ourOne are our own.
func (b *benchmark) ourThree() (*contender, error) { return b.threeOf("lycosa, 3 instances", b.lycosa) }

// ourBefore are three of another build, nil without one.
func (b *benchmark) ourBefore() (*contender, error) {
	if b.before == "" {
		return nil, nil
	}
	return b.threeOf("lycosa before, 3 instances", b.before)
}

func (b *benchmark) threeOf(name, program string) (*contender, error) {
	c, err := b.trio(program)
	if err != nil {
		return nil, err
	}
	return b.ours(name, c)
}

func (b *benchmark) ourOne() (*contender, error) {
	c, err := b.newCluster(1, 1)
	if err != nil {
		return nil, err
	}
	if _, err := c.assemble(); err != nil {
		return nil, err
	}
	if _, err := b.lycosaLoad(c.instances[0].address, "load", "1x256", time.Second); err != nil {
		return nil, err
	}
	return b.ours("lycosa, 1 instance", c)
}

func (b *benchmark) ours(name string, c *cluster) (*contender, error) {
	leader, err := c.leader()
	if err != nil {
		return nil, err
	}
	processes := []*process{leader.process}
	for _, in := range c.instances {
		if in != leader {
			processes = append(processes, in.process)
		}
	}
	entries := func() (uint64, error) {
		d, ok := leader.look()
		for _, g := range d.Groups {
			if ok && g.Name == "data" {
				return g.Applied, nil
			}
		}
		return 0, fmt.Errorf("%s does not tell how far its log is", leader.name)
	}
	return &contender{name: name, processes: processes, entries: entries, load: func(shape string, d time.Duration) (measured, error) {
		r, err := b.lycosaLoad(leader.address, "replace", shape, d)
		if err != nil {
			return measured{}, err
		}
		return measured{rate: r.RequestsPerSecond, p50: r.Latency.P50 / 1000, p99: r.Latency.P99 / 1000}, nil
	}}, nil
}

// etcdModule is etcd as its module builds it, etcdDebian Debian's.
func (b *benchmark) etcdModule() (*contender, error) {
	if b.etcd == "" {
		return nil, nil
	}
	version, err := report.FirstLine(b.ctx, b.etcd, "server", "--version")
	if err != nil {
		return nil, err
	}
	return b.etcdThree(version, b.etcd, "server")
}

func (b *benchmark) etcdDebian() (*contender, error) {
	if b.debianEtcd == "" || b.etcd == "" { // the load generator is in the module

		return nil, nil
	}
	version, err := report.FirstLine(b.ctx, b.debianEtcd, "--version")
	if err != nil {
		return nil, err
	}
	return b.etcdThree(version, b.debianEtcd)
}

// etcdThree starts three members with plain flags. The load goes to their leader, which is best for them.
func (b *benchmark) etcdThree(version, program string, args ...string) (*contender, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	const members = 3
	var clients, peers, names []string
	for i := range members {
		client, err1 := b.ports.Free()
		peer, err2 := b.ports.Free()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		clients, peers = append(clients, "http://"+client), append(peers, "http://"+peer)
		names = append(names, fmt.Sprintf("m%d=http://%s", i, peer))
	}
	c := &contender{name: "etcd, 3 members (" + strings.TrimPrefix(version, "etcd Version: ") + ")"}
	for i := range members {
		name := fmt.Sprintf("m%d", i)
		p, err := b.start("etcd "+name, filepath.Join(dir, name+".log"), nil, program, append(append([]string{}, args...), "--name", name,
			"--data-dir", filepath.Join(dir, name), "--listen-client-urls", clients[i], "--advertise-client-urls", clients[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i], "--initial-cluster", strings.Join(names, ","),
			"--initial-cluster-state", "new")...)
		if err != nil {
			return nil, err
		}
		c.processes = append(c.processes, p)
	}
	leader := ""
	err = b.until(c.name+" to have a leader", func() bool {
		leader = ""
		for _, url := range clients {
			if leads(url) {
				leader = url
			}
		}
		return leader != ""
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.processes[0].tail())
	}
	c.load = func(shape string, d time.Duration) (measured, error) {
		return b.etcdLoad(strings.TrimPrefix(leader, "http://"), shape, d)
	}
	return c, nil
}

// leads asks a member whether it is the leader.
func leads(url string) bool {
	reply, err := web.Post(url+"/v3/maintenance/status", "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	var status struct {
		Header struct {
			Member string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"`
	}
	return json.NewDecoder(reply.Body).Decode(&status) == nil && status.Leader != "" && status.Leader == status.Header.Member
}

// etcdLoad runs their generator.
func (b *benchmark) etcdLoad(address, shape string, d time.Duration) (m measured, err error) {
	var connections, depth int
	if _, err := fmt.Sscanf(shape, "%dx%d", &connections, &depth); err != nil {
		return m, err
	}
	var r struct {
		Rate float64 `json:"requests_per_second"`
		P50  float64 `json:"p50_us"`
		P99  float64 `json:"p99_us"`
	}
	err = b.generate(&r, b.etcd, "load", "-endpoint", address, "-connections", fmt.Sprint(connections), "-in-flight", fmt.Sprint(connections*depth),
		"-size", fmt.Sprint(loadRowBytes), "-keys", fmt.Sprint(loadRows), "-duration", d.String())
	return measured{rate: r.Rate, p50: r.P50 / 1000, p99: r.P99 / 1000}, err
}
