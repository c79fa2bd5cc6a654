package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/lycosadb/lycosa/test/bench/report"
)

// cores measures how reads scale: our server on one processor and on two, the generator on the last one of the machine,
// which it has for itself if there are three or more.
func (c *comparison) cores() error {
	last := runtime.NumCPU() - 1
	if last < 1 {
		return errors.New("the machine has one processor")
	}
	defer func(server, client string) { c.serverCPUs, c.clientCPUs = server, client }(c.serverCPUs, c.clientCPUs)
	sets := []string{"0", "0,1"}
	var servers []*server
	for _, cpus := range sets {
		c.serverCPUs = cpus
		s, err := c.startReady(ours, c.directory(ours), "write")
		if err != nil {
			return err
		}
		servers = append(servers, s)
		if _, err := c.loadRows(s, c.rows, c.rowBytes, 1); err != nil {
			return err
		}
	}
	c.clientCPUs = fmt.Sprint(last)
	t := report.NewTable(2, "operation", "load", "1 processor req/s", "2 processors req/s", "ratio", "1 processor CPU µs", "2 processors CPU µs", "generator busy %")
	for _, op := range []string{"select", "range"} {
		cells := make([]cell, len(servers))
		l := c.plain(op, shape{50, 16})
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
		t.Row(op, l.shape.String(), report.Grouped(report.Median(a.rate)), report.Grouped(report.Median(b.rate)), report.Times(report.Ratio(report.Median(b.rate), report.Median(a.rate))),
			report.Fixed(report.Median(a.cpu), 2), report.Fixed(report.Median(b.cpu), 2), report.Fixed(report.Median(a.busy), 0)+" / "+report.Fixed(report.Median(b.busy), 0))
		c.logf("%s: %s on one processor, %s on two", op, report.Grouped(report.Median(a.rate)), report.Grouped(report.Median(b.rate)))
	}
	fmt.Fprintf(&c.text, "\n### Reads on one processor and on two\n\nOur server on processor 0, or on 0 and 1; the generator on processor %d", last)
	if last == 1 {
		fmt.Fprint(&c.text, ", of which it takes its share from the server on two")
	}
	fmt.Fprintf(&c.text, ".\n\n%s", t)
	return c.stopAll(servers)
}
