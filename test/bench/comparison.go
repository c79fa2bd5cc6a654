package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// The spaces of the generator: rows with the primary index alone, and with a second one.
const (
	spacePlain     = bench.DefaultSpaceID
	spaceSecondary = bench.DefaultSpaceID + 1
	// viewSpace lists spaces.
	viewSpace = 281
)

// comparison is one run of this program.
type comparison struct {
	*settings
	ctx     context.Context
	work    string // directory of everything
	stderr  io.Writer
	running []*server // all that were started, ended ones too
	dirs    int
	ports   report.Ports
	secret  string // password file
	text    strings.Builder
	rawFile *os.File
}

// begin writes the head of the report and what the generator needs.
func (c *comparison) begin() error {
	c.secret = filepath.Join(c.work, "password")
	if err := os.WriteFile(c.secret, []byte(adminPassword+"\n"), 0o600); err != nil {
		return err
	}
	if c.raw != "" {
		f, err := os.Create(c.raw)
		if err != nil {
			return err
		}
		c.rawFile = f
	}
	oursVersion, err := report.FirstLine(c.ctx, c.lycosa, "version")
	if err != nil {
		return err
	}
	theirsVersion, err := report.FirstLine(c.ctx, c.settings.tarantool, "--version")
	if err != nil {
		return err
	}
	fmt.Fprintf(&c.text, "%s against %s, %s\n\n", oursVersion, theirsVersion, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&c.text, "%d processors (%s), Linux %s, load average before: %s. Both servers run at the same time and are driven in turn; ",
		runtime.NumCPU(), report.CPUModel(), report.Kernel(), report.LoadAverage())
	fmt.Fprintf(&c.text, "medians of %d runs of %s, %d rows of %d bytes, unless something else is said.\n", c.repeats, c.duration, c.rows, c.rowBytes)
	if c.serverCPUs != "" || c.clientCPUs != "" {
		fmt.Fprintf(&c.text, "Servers on processors %s, generator on %s.\n", orAll(c.serverCPUs), orAll(c.clientCPUs))
	}
	return nil
}

func orAll(cpus string) string {
	if cpus == "" {
		return "all"
	}
	return cpus
}

// write gives out the report.
func (c *comparison) write(stdout io.Writer) error {
	fmt.Fprintf(&c.text, "\nLoad average after: %s.\n", report.LoadAverage())
	if _, err := io.WriteString(stdout, c.text.String()); err != nil {
		return err
	}
	if c.out == "" {
		return nil
	}
	return os.WriteFile(c.out, []byte(c.text.String()), 0o644)
}

// close ends everything that still runs and removes all files.
func (c *comparison) close() (err error) {
	for _, s := range c.running {
		select {
		case <-s.done:
		default:
			err = errors.Join(err, c.stop(s))
		}
	}
	if c.rawFile != nil {
		err = errors.Join(err, c.rawFile.Close())
	}
	return errors.Join(err, os.RemoveAll(c.work))
}

func (c *comparison) logf(format string, args ...any) {
	fmt.Fprintf(c.stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// directory names a new directory for a server.
func (c *comparison) directory(k kind) string {
	c.dirs++
	return filepath.Join(c.work, fmt.Sprintf("%s-%d", k.name, c.dirs))
}

// rest lets both servers finish what they do in the background.
func (c *comparison) rest() error {
	select {
	case <-time.After(c.pause):
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// load is one run of the generator.
type load struct {
	op       string
	shape    shape
	space    uint32
	rows     uint64
	rowBytes int
	indexes  int
	duration time.Duration
	warmup   time.Duration
	rate     float64
}

// plain is a run on the space of the grid.
func (c *comparison) plain(op string, s shape) load {
	l := load{op: op, shape: s, space: spacePlain, rows: c.rows, rowBytes: c.rowBytes, indexes: 1, duration: c.duration, warmup: c.warmup}
	if op == "secondary" {
		l.space, l.indexes = spaceSecondary, 2
	}
	if usesOnce(op) {
		l.warmup = 0
	}
	return l
}

// usesOnce tells that the operation uses each key one time, and so has no warm-up.
func usesOnce(op string) bool { return op == "insert" || op == "delete" || op == "load" }

// runLoad runs the generator and keeps its result. A run with errors is no measurement.
func (c *comparison) runLoad(s *server, l load) (*bench.Result, error) {
	ctx, cancel := context.WithTimeout(c.ctx, l.duration+l.warmup+callMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.lycosa, "bench", "--json", "--peer", s.address, "--user", "admin", "--password-file", c.secret,
		"--timeout", "5m", "--op", l.op, "--connections", strconv.Itoa(l.shape.connections), "--depth", strconv.Itoa(l.shape.depth),
		"--space-id", strconv.Itoa(int(l.space)), "--rows", strconv.FormatUint(l.rows, 10), "--row-bytes", strconv.Itoa(l.rowBytes),
		"--indexes", strconv.Itoa(l.indexes), "--duration", l.duration.String(), "--warmup", l.warmup.String(),
		"--rate", strconv.FormatFloat(l.rate, 'f', -1, 64), "--server-pid", strconv.Itoa(s.cmd.Process.Pid))
	pin(cmd, c.clientCPUs)
	cmd.Env = report.CleanEnviron()
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s on %s: %w: %s\n%s", l.op, s.name, err, stderr.String(), s.log())
	}
	r := &bench.Result{}
	if err := json.Unmarshal(stdout.Bytes(), r); err != nil {
		return nil, fmt.Errorf("%s on %s: %w", l.op, s.name, err)
	}
	for code, e := range r.Errors {
		return nil, fmt.Errorf("%s on %s: %d requests failed with error %d: %s", l.op, s.name, e.Count, code, e.Message)
	}
	return r, c.keep(s, l, r)
}

// keep writes a result to the raw file.
func (c *comparison) keep(s *server, l load, r *bench.Result) error {
	if c.rawFile == nil {
		return nil
	}
	line, err := json.Marshal(map[string]any{"server": s.name, "space": l.space, "result": r})
	if err != nil {
		return err
	}
	_, err = c.rawFile.Write(append(line, '\n'))
	return err
}

// loadRows fills the space.
func (c *comparison) loadRows(s *server, rows uint64, rowBytes, indexes int) (*bench.Result, error) {
	return c.runLoad(s, load{op: "load", shape: shape{4, 256}, space: spacePlain, rows: rows, rowBytes: rowBytes, indexes: indexes,
		duration: time.Second})
}

func keyOf(n uint64) []byte { return msgpack.AppendUint([]byte{0x91}, n) }
