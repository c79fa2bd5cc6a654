// Command bench compares our server with Tarantool on one machine: it starts both in directories of its own, drives the
// command lycosa bench against them in turn, and prints Markdown tables of medians. Effects: processes, files, network,
// clock. It measures; what the numbers should be is said elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	lycosa, tarantool       string
	sections, ops, modes    []string
	shapes                  []shape
	rows                    uint64
	rowBytes, repeats       int
	duration, warmup, pause time.Duration
	readRate                float64
	memory                  string
	memoryBytes             uint64
	dir, out, raw           string
	serverCPUs, clientCPUs  string
	limit                   time.Duration
}

// shape is connections × requests in flight on each.
type shape struct{ connections, depth int }

func (s shape) String() string { return fmt.Sprintf("%d × %d", s.connections, s.depth) }

// section is a part of the comparison that can be run alone.
type section struct {
	name, what string
	run        func(*comparison) error
}

func sections() []section {
	return []section{
		{"grid", "requests per second, CPU per request and latency of every operation", (*comparison).grid},
		{"recovery", "time from start to the first answer, from log and from snapshot", (*comparison).recovery},
		{"checkpoint", "time of a checkpoint, and p99 of reads during it", (*comparison).checkpoint},
		{"memory", "memory per row", (*comparison).memory},
		{"boot", "empty directory to the first answer", (*comparison).boot},
		{"cores", "reads of our server on one processor and on two", (*comparison).cores},
	}
}

func main() {
	// The servers die with this thread: it must be the one that lives as long as the process.
	runtime.LockOSThread()
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code := 1
		if errors.Is(err, errUsage) {
			code = 2
		}
		os.Exit(code)
	}
}

var errUsage = errors.New("wrong use")

func run(args []string, stdout, stderr io.Writer) (err error) {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	dir, err := os.MkdirTemp(s.dir, "lycosa-bench-")
	if err != nil {
		return err
	}
	c := &comparison{settings: s, ctx: ctx, work: dir, stderr: stderr}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.begin(); err != nil {
		return err
	}
	for _, part := range sections() {
		if !slices.Contains(s.sections, part.name) {
			continue
		}
		c.logf("section %s: %s", part.name, part.what)
		if err := part.run(c); err != nil {
			return errors.Join(fmt.Errorf("section %s: %w", part.name, err), c.write(stdout))
		}
	}
	return c.write(stdout)
}

// parse reads and checks the flags.
func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { usage(f, stderr) }
	f.StringVar(&s.lycosa, "lycosa", "bin/lycosa", "our `program`; it is the load generator too")
	f.StringVar(&s.tarantool, "tarantool", "tarantool", "the other `program`")
	list(f, &s.sections, "sections", "grid,recovery,checkpoint,memory,boot,cores", "parts to run")
	list(f, &s.ops, "ops", strings.Join(allOps, ","), "operations of the grid")
	list(f, &s.modes, "modes", "write,fsync", "modes of the write-ahead log; operations that only read run in the first alone")
	shapes := f.String("shapes", "1x1,1x256,50x16", "`connections x depth` of the grid")
	f.Uint64Var(&s.rows, "rows", 1_000_000, "rows in the space")
	f.IntVar(&s.rowBytes, "row-bytes", 100, "size of a row")
	f.IntVar(&s.repeats, "repeats", 5, "runs of each cell; the median counts")
	f.DurationVar(&s.duration, "duration", 3*time.Second, "time of a run")
	f.DurationVar(&s.warmup, "warmup", 300*time.Millisecond, "time before it that does not count")
	f.DurationVar(&s.pause, "pause", 300*time.Millisecond, "rest between runs")
	f.Float64Var(&s.readRate, "read-rate", 20_000, "reads per second beside checkpoints")
	f.StringVar(&s.memory, "memory", "4GiB", "quota of each server")
	f.StringVar(&s.dir, "dir", "", "where the directories of the servers are made (the system's temporary one)")
	f.StringVar(&s.out, "out", "", "`file` for the tables, beside standard output")
	f.StringVar(&s.raw, "raw", "", "`file` for every single result, a line of JSON each")
	f.StringVar(&s.serverCPUs, "server-cpus", "", "processors for the servers, as taskset takes them")
	f.StringVar(&s.clientCPUs, "client-cpus", "", "processors for the generator")
	f.DurationVar(&s.limit, "limit", 6*time.Hour, "longest time for everything")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var err error
	if s.shapes, err = parseShapes(*shapes); err != nil {
		return nil, err
	}
	return s, s.check()
}

func usage(f *flag.FlagSet, out io.Writer) {
	fmt.Fprintf(out, "Compares our server with Tarantool on this machine: both run at the same time, and are driven in turn.\n\n"+
		"  go run ./test/bench                                     everything (about two hours)\n"+
		"  go run ./test/bench -sections boot                      one section\n"+
		"  go run ./test/bench -sections grid -ops select,replace -modes write -shapes 1x256 -rows 100000 -repeats 3 -duration 1s\n\n"+
		"Sections:\n")
	for _, s := range sections() {
		fmt.Fprintf(out, "  %-11s %s\n", s.name, s.what)
	}
	fmt.Fprintln(out, "\nFlags:")
	f.PrintDefaults()
}

// list is a flag of words with commas between them.
func list(f *flag.FlagSet, to *[]string, name, value, what string) {
	*to = strings.Split(value, ",")
	f.Func(name, fmt.Sprintf("`list` of %s (default %s)", what, value), func(text string) error {
		*to = nil
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				*to = append(*to, word)
			}
		}
		return nil
	})
}

func parseShapes(text string) (shapes []shape, err error) {
	for word := range strings.SplitSeq(text, ",") {
		var s shape
		if n, err := fmt.Sscanf(strings.TrimSpace(word), "%dx%d", &s.connections, &s.depth); n != 2 || err != nil ||
			s.connections < 1 || s.depth < 1 {
			return nil, fmt.Errorf("-shapes: %q is not like 50x16", word)
		}
		shapes = append(shapes, s)
	}
	return shapes, nil
}

func (s *settings) check() (err error) {
	var names []string
	for _, part := range sections() {
		names = append(names, part.name)
	}
	switch {
	case !among(s.sections, names):
		return fmt.Errorf("-sections: some of %s", strings.Join(names, ","))
	case !among(s.ops, allOps):
		return fmt.Errorf("-ops: some of %s", strings.Join(allOps, ","))
	case !among(s.modes, []string{"write", "fsync", "none"}):
		return errors.New("-modes: some of write,fsync,none")
	case s.repeats < 1 || s.repeats > 100:
		return errors.New("-repeats: between 1 and 100")
	case s.duration <= 0 || s.duration > time.Hour || s.warmup < 0 || s.warmup > time.Hour || s.pause < 0 || s.limit <= 0:
		return errors.New("-duration, -warmup, -pause and -limit are times of at most an hour, -limit more")
	case s.rows < 1000 || s.rows > 1<<30:
		return errors.New("-rows: between 1,000 and 2^30")
	case s.readRate < 1:
		return errors.New("-read-rate: at least 1")
	}
	if s.memoryBytes, err = parseSize(s.memory); err != nil {
		return fmt.Errorf("-memory: %w", err)
	}
	s.lycosa, err = filepath.Abs(s.lycosa)
	return err
}

func among(words, known []string) bool {
	for _, w := range words {
		if !slices.Contains(known, w) {
			return false
		}
	}
	return len(words) > 0
}
