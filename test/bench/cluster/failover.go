package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// Numbers of errors that send a writer elsewhere: nothing was changed.
const (
	notALeader    = 10001
	leaderUnknown = 10018
)

// tryAgain is the rest of a writer between two tries.
const tryAgain = 500 * time.Microsecond

// redirected reports that a write was refused because somebody else leads, or nobody yet.
func redirected(err error) bool {
	var conn *client.ConnError
	if err == nil || errors.As(err, &conn) {
		return false
	}
	code := errcode.Of(err).Code
	return code == notALeader || code == leaderUnknown
}

// trio is a cluster of three with a space to write to.
func (b *benchmark) trio(program string) (*cluster, error) {
	c, err := b.newCluster(3, 3)
	if err != nil {
		return nil, err
	}
	c.program = program
	if _, err := c.assemble(); err != nil {
		return nil, err
	}
	// On a busy machine the leader may lose its leadership under the load.
	for try := 1; ; try++ {
		leader, err := c.leader()
		if err != nil {
			return nil, err
		}
		if _, err = b.lycosaLoad(leader.address, "load", "1x256", time.Second); err == nil || try == 5 {
			return c, err
		}
		b.logf("load: %v; again", err)
	}
}

// row is a row of the generator's space.
func row(key uint64) []byte {
	b := msgpack.AppendArrayHeader(nil, 4)
	b = msgpack.AppendUint(b, bench.FirstKey+key)
	b = msgpack.AppendUint(msgpack.AppendUint(b, 1), 2)
	return msgpack.AppendStr(b, "payload")
}

// parts are the times of one failover since the kill.
type parts struct {
	// noticed is when the first of the others began an election, elected when the first knew the new leader, both as logged, and
	// written when the first write was acknowledged.
	noticed, elected, written time.Duration
}

// failover kills leaders with both processes.
func (b *benchmark) failover() error {
	c, err := b.trio(b.lycosa)
	if err != nil {
		return err
	}
	var all []parts
	for i := range b.rounds {
		p, err := b.killLeader(c)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		all = append(all, p)
		b.logf("failover %d: %s, of which %s until an election began and %s for it", i+1, p.written, p.noticed, p.elected-p.noticed)
	}
	t := report.NewTable(1, "ms", "median", "best", "worst", "target")
	line := func(name, target string, of func(parts) time.Duration) {
		var ms []float64
		for _, p := range all {
			ms = append(ms, report.Milliseconds(of(p)))
		}
		t.Row(name, report.Grouped(report.Median(ms)), report.Fixed(slices.Min(ms), 1), report.Fixed(slices.Max(ms), 1), target)
	}
	line("kill to the next acknowledged write", "1,200, worst 3,000", func(p parts) time.Duration { return p.written })
	line("– until an election begins", "", func(p parts) time.Duration { return p.noticed })
	line("– until a leader is known", "", func(p parts) time.Duration { return p.elected - p.noticed })
	line("– until its first write", "", func(p parts) time.Duration { return p.written - p.elected })
	fmt.Fprintf(&b.text, "\n### Failover\n\n%d times kill -9 of supervisor and child of the data group's leader, at a random moment, to the first write that another one acknowledges. "+
		"Followers have promised the leader not to elect for the election timeout, 1 s, from its last heartbeat on; heartbeats come each 200 ms: an election can begin 800 to 1,000 ms after the kill at the soonest.\n\n%s", len(all), t)
	return c.end()
}

// killLeader is one round.
func (b *benchmark) killLeader(c *cluster) (p parts, err error) {
	old, err := c.leader()
	if err != nil {
		return p, err
	}
	if err := b.rest(500*time.Millisecond + rand.N(time.Second)); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, waitMax)
	defer cancel()
	written := make(chan error, len(c.instances))
	type try struct {
		in *instance
		cl *client.Client
	}
	var tries []try
	for _, in := range c.instances {
		if in == old {
			continue
		}
		cl, err := in.dial(ctx)
		if err != nil {
			return p, err
		}
		defer cl.Close()
		tries = append(tries, try{in, cl})
	}
	killed := time.Now()
	if err := old.kill(); err != nil {
		return p, err
	}
	for _, t := range tries {
		go func() { written <- writeOnce(ctx, t.cl) }()
	}
	// The other one may wait for long for a leader of its own: it is ended with the context.
	if err := <-written; err != nil {
		return p, err
	}
	p.written = time.Since(killed)
	// What was logged may come after what was answered.
	var failed error
	err = b.until("the logs to tell of an election", func() bool {
		p.noticed, p.elected, failed = elections(killed, c, old)
		return failed != nil || p.elected != 0
	})
	if err = errors.Join(err, failed); err != nil {
		return p, err
	}
	return p, old.again()
}

// writeOnce tries to write until a write is acknowledged. What was passed on to the leader that is killed may end as unknown.
func writeOnce(ctx context.Context, cl *client.Client) error {
	for key := uint64(0); ; key++ {
		_, err := cl.Replace(ctx, bench.DefaultSpaceID, row(key%loadRows))
		if !redirected(err) && !errcode.Is(err, errcode.UnknownOutcome) {
			return err
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// elections reads from the logs of the others when the first of them had no leader any more, and when the first knew a new one;
// both are 0 as long as no log tells. Where nobody was seen without a leader, both are the same.
func elections(killed time.Time, c *cluster, old *instance) (noticed, elected time.Duration, err error) {
	for _, in := range c.instances {
		if in == old {
			continue
		}
		text, err := os.ReadFile(in.logPath)
		if err != nil {
			return 0, 0, err
		}
		scan := bufio.NewScanner(bytes.NewReader(text))
		for scan.Scan() {
			var line struct {
				Time         time.Time
				Event, Group string
				Leader       string `json:"leader_raft_id"`
			}
			if json.Unmarshal(scan.Bytes(), &line) != nil || line.Event != "leader_changed" || line.Group != "data" || line.Time.Before(killed) {
				continue
			}
			at := &elected
			if line.Leader == "0" {
				at = &noticed
			}
			if since := line.Time.Sub(killed); *at == 0 || since < *at {
				*at = since
			}
		}
	}
	if elected == 0 {
		return 0, 0, nil
	}
	if noticed == 0 {
		noticed = elected
	}
	return noticed, elected, nil
}

// The rows of the generator's space.
const (
	loadRows     = 100_000
	loadRowBytes = 100
)

// lycosaLoad runs our generator against an instance of ours. A run with errors is no measurement.
func (b *benchmark) lycosaLoad(address, op, shape string, duration time.Duration) (*bench.Result, error) {
	var connections, depth int
	if _, err := fmt.Sscanf(shape, "%dx%d", &connections, &depth); err != nil {
		return nil, err
	}
	r := &bench.Result{}
	err := b.generate(r, b.lycosa, "bench", "--json", "--peer", address, "--user", "admin", "--password-file", b.passwordFile(), "--op", op,
		"--connections", fmt.Sprint(connections), "--depth", fmt.Sprint(depth), "--rows", fmt.Sprint(loadRows), "--row-bytes", fmt.Sprint(loadRowBytes),
		"--duration", duration.String())
	if err != nil {
		return nil, err
	}
	for code, e := range r.Errors {
		return nil, fmt.Errorf("%s: %d requests failed with error %d: %s", op, e.Count, code, e.Message)
	}
	return r, nil
}

// generate runs a generator and reads the JSON that it prints.
func (b *benchmark) generate(result any, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(b.ctx, b.duration+2*waitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = report.CleanEnviron()
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, args[0], err, stderr.String())
	}
	return json.Unmarshal(stdout.Bytes(), result)
}
