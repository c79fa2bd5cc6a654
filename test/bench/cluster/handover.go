package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// writersMax is how many writers there are at once, each with one write on its way.
const writersMax = 4

// handover measures planned switches: promote, and SIGTERM of the leader.
func (b *benchmark) handover() error {
	c, err := b.trio(b.lycosa)
	if err != nil {
		return err
	}
	t := report.NewTable(1, "switch", "times", "median ms", "worst ms", "target ms", "writes", "redirected", "failed")
	for _, way := range []struct {
		name string
		do   func(c *cluster, leader *instance) error
	}{{"promote", (*cluster).promote}, {"SIGTERM", (*cluster).stopLeader}} {
		var gaps []float64
		var sum outcome
		for i := range b.rounds {
			o, err := b.switchOnce(c, way.do)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", way.name, i+1, err)
			}
			gaps = append(gaps, report.Milliseconds(o.gap))
			sum.add(o)
			b.logf("%s %d: longest gap %s, %d writes, %d redirected, failed: %v", way.name, i+1, o.gap, o.writes, o.redirects, o.failed)
		}
		t.Row(way.name, fmt.Sprint(len(gaps)), report.Fixed(report.Median(gaps), 1), report.Fixed(slices.Max(gaps), 1), "100",
			report.Grouped(float64(sum.writes)), report.Grouped(float64(sum.redirects)), fmt.Sprint(len(sum.failed)))
		for _, failure := range sum.failed[:min(3, len(sum.failed))] {
			b.logf("%s: failed: %s", way.name, failure)
		}
	}
	fmt.Fprintf(&b.text, "\n### Planned switch\n\nThe longest time that one of %d writers, each with one write on its way, was without an acknowledgement. Redirected: refused with error %d or %d, "+
		"nothing was changed, and tried at the next instance; failed: any other error. Writers watch box.shutdown, and go elsewhere when it asks them to.\n\n%s", writersMax, notALeader, leaderUnknown, t)
	return c.end()
}

// outcome is what writers saw.
type outcome struct {
	gap               time.Duration
	writes, redirects uint64
	failed            []string
}

func (o *outcome) add(p outcome) {
	o.gap = max(o.gap, p.gap)
	o.writes += p.writes
	o.redirects += p.redirects
	o.failed = append(o.failed, p.failed...)
}

// switchOnce lets writers write while the leader hands over.
func (b *benchmark) switchOnce(c *cluster, do func(*cluster, *instance) error) (sum outcome, err error) {
	const around = 500 * time.Millisecond
	leader, err := c.leader()
	if err != nil {
		return sum, err
	}
	// A transfer is refused while a promise to followers that have just come back is young.
	if err := b.rest(settle); err != nil {
		return sum, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var wait sync.WaitGroup
	var lock sync.Mutex
	for n := range writersMax {
		wait.Go(func() {
			w := writer{c: c, at: leader.n - 1, key: uint64(n) * 1000}
			o := w.write(ctx)
			lock.Lock()
			defer lock.Unlock()
			sum.add(o)
		})
	}
	err = b.rest(around)
	if err == nil {
		err = do(c, leader)
	}
	if err == nil {
		err = b.rest(around)
	}
	cancel()
	wait.Wait()
	if err == nil && leader.ended() {
		err = leader.again()
	}
	return sum, err
}

// promote makes the next instance the leader and waits until it is.
func (c *cluster) promote(leader *instance) error {
	next := c.instances[leader.n%len(c.instances)]
	d, ok := next.look()
	if !ok {
		return fmt.Errorf("%s does not answer", next.name)
	}
	ctx, cancel := context.WithTimeout(c.b.ctx, waitMax)
	defer cancel()
	cl, err := client.Dial(ctx, next.path("/admin.sock"), client.Options{})
	if err != nil {
		return err
	}
	defer cl.Close()
	// A transfer that did not come to its end in time is begun again.
	for try := 1; ; try++ {
		_, err := cl.Call(ctx, wire.ProcPromote, wire.AppendArguments(nil, wire.Promote{Name: d.Name}.Append(nil)))
		if err == nil {
			break
		}
		if try == 5 {
			return fmt.Errorf("promote %s: %w", d.Name, err)
		}
		c.b.logf("promote %s: %v; again", d.Name, err)
		if err := c.b.rest(settle); err != nil {
			return err
		}
	}
	return c.b.until("the new leader", func() bool {
		d, ok := next.look()
		for _, g := range d.Groups {
			if ok && g.Name == "data" && g.Role == "leader" {
				return true
			}
		}
		return false
	})
}

// stopLeader stops an instance in good order.
func (c *cluster) stopLeader(leader *instance) error {
	if err := leader.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-leader.done:
		return nil
	case <-time.After(waitMax):
		return fmt.Errorf("%s did not stop", leader.name)
	}
}

// writer writes one row after the other to whoever takes them.
type writer struct {
	c     *cluster
	at    int // the instance that it writes to
	key   uint64
	conns [3]*client.Client
	// leave are set when an instance has asked its clients to leave.
	leave [3]atomic.Bool
}

// write goes on until the context ends.
func (w *writer) write(ctx context.Context) (o outcome) {
	defer func() {
		for _, cl := range w.conns {
			if cl != nil {
				cl.Close()
			}
		}
	}()
	last := time.Now()
	for ctx.Err() == nil {
		err := w.once(ctx)
		switch {
		case err == nil:
			now := time.Now()
			if o.writes > 0 {
				o.gap = max(o.gap, now.Sub(last))
			}
			last = now
			o.writes++
			continue
		case ctx.Err() != nil:
			return o
		case redirected(err):
			o.redirects++
		case w.conns[w.at] == nil: // not connected: nothing was sent
		default:
			o.failed = append(o.failed, fmt.Sprintf("instance %d: error %d: %v", w.at+1, errcode.Of(err).Code, err))
			w.conns[w.at].Close()
			w.conns[w.at] = nil
		}
		w.at = (w.at + 1) % len(w.c.instances)
		time.Sleep(tryAgain)
	}
	return o
}

var errLeft = errors.New("the instance has asked its clients to leave")

// connect connects to the present instance and watches, as connectors do, for the event that asks clients to leave.
func (w *writer) connect(ctx context.Context) error {
	cl, err := w.c.instances[w.at].dial(ctx)
	if err != nil {
		return err
	}
	watcher, err := cl.Watch("box.shutdown")
	if err != nil {
		cl.Close()
		return err
	}
	leave := &w.leave[w.at]
	leave.Store(false)
	go func() {
		for {
			value, err := watcher.Next(ctx)
			if err != nil {
				return
			}
			if bytes.Equal(value, msgpack.AppendBool(nil, true)) {
				leave.Store(true)
				return
			}
		}
	}()
	w.conns[w.at] = cl
	return nil
}

// once writes a row. The connection is there afterwards, or nothing was sent.
func (w *writer) once(ctx context.Context) (err error) {
	if w.conns[w.at] != nil && w.leave[w.at].Load() {
		w.conns[w.at].Close()
		w.conns[w.at] = nil
		return errLeft
	}
	if w.conns[w.at] == nil {
		if err := w.connect(ctx); err != nil {
			return err
		}
	}
	w.key++
	_, err = w.conns[w.at].Replace(ctx, bench.DefaultSpaceID, row(w.key%loadRows))
	return err
}
