// Command cluster measures clusters of our server on one machine: how soon they are there, how soon they write again when
// a leader is killed or hands over, how fast a quorum writes beside etcd, and what they use while nobody asks anything. It
// prints Markdown tables. Effects: processes, files, network, clock. It measures; what the numbers should be is said
// elsewhere.
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

	"github.com/lycosadb/lycosa/test/bench/report"
)

// settings are the flags.
type settings struct {
	lycosa, etcd, debianEtcd string
	// before is another build of our program, profiles where perf's files go; empty: none.
	before, profiles string
	sections         []string
	full             bool
	repeats, rounds  int
	duration, idle   time.Duration
	dir, out         string
	limit            time.Duration
}

// section is a part that can be run alone.
type section struct {
	name, what string
	run        func(*benchmark) error
}

func sections() []section {
	return []section{
		{"assembly", "empty directories to all Online", (*benchmark).assembly},
		{"failover", "kill -9 of a leader to the next acknowledged write", (*benchmark).failover},
		{"switch", "the longest wait of a writer while a leader hands over", (*benchmark).handover},
		{"quorum", "writes of three instances, beside one alone and etcd", (*benchmark).quorum},
		{"idle", "processor time of twelve instances that nobody asks anything", (*benchmark).quiet},
	}
}

func main() {
	// The servers die with this thread: it must be the one that lives as long as the process.
	runtime.LockOSThread()
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench-cluster:", err)
		code := 1
		if errors.Is(err, errUsage) {
			code = 2
		}
		os.Exit(code)
	}
}

var errUsage = errors.New("wrong use")

// benchmark is one run of this program.
type benchmark struct {
	*settings
	ctx     context.Context
	work    string // directory of everything
	stderr  io.Writer
	dirs    int
	ports   report.Ports
	running []*process
	text    strings.Builder
}

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
	b := &benchmark{settings: s, ctx: ctx, work: dir, stderr: stderr}
	defer func() { err = errors.Join(err, b.killAll(), os.RemoveAll(dir)) }()
	if err := b.begin(); err != nil {
		return err
	}
	for _, part := range sections() {
		if !slices.Contains(s.sections, part.name) {
			continue
		}
		b.logf("section %s: %s", part.name, part.what)
		if err := errors.Join(part.run(b), b.killAll()); err != nil {
			return errors.Join(fmt.Errorf("section %s: %w", part.name, err), b.write(stdout))
		}
	}
	return b.write(stdout)
}

// parse reads and checks the flags.
func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	var names []string
	for _, part := range sections() {
		names = append(names, part.name)
	}
	f := flag.NewFlagSet("bench-cluster", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.lycosa, "lycosa", "bin/lycosa", "our `program`; it is the load generator too")
	f.StringVar(&s.etcd, "etcd", "bin/bench-etcd", "`program` of test/bench/cluster/etcd: etcd from its module, and its load generator; left out if empty, Debian's too")
	f.StringVar(&s.debianEtcd, "debian-etcd", "bin/tools/etcd", "Debian's etcd; left out if empty")
	f.StringVar(&s.before, "before", "", "another build of our `program`, whose three instances are driven in turn with those of -lycosa")
	f.StringVar(&s.profiles, "profiles", "", "existing `directory` for a profile of each of our three instances under each load, taken by perf after it was measured")
	parts := f.String("sections", strings.Join(names, ","), "`parts` to run")
	f.BoolVar(&s.full, "full", false, "as for the table in docs/benchmarks.md: -repeats 5 -rounds 30 -duration 5s -idle 10s")
	f.IntVar(&s.repeats, "repeats", 1, "runs of assembly and of each load; the median counts")
	f.IntVar(&s.rounds, "rounds", 3, "leaders that are killed, and that hand over")
	f.DurationVar(&s.duration, "duration", time.Second, "time of a load")
	f.DurationVar(&s.idle, "idle", 3*time.Second, "time of idleness")
	f.StringVar(&s.dir, "dir", "", "where the directories of the servers are made (the system's temporary one)")
	f.StringVar(&s.out, "out", "", "`file` for the tables, beside standard output")
	f.DurationVar(&s.limit, "limit", time.Hour, "longest time for everything")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if s.full {
		given := map[string]bool{}
		f.Visit(func(f *flag.Flag) { given[f.Name] = true })
		s.fill(given)
	}
	s.sections = strings.Split(*parts, ",")
	for _, name := range s.sections {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("-sections: some of %s", strings.Join(names, ","))
		}
	}
	return s, s.check(f.NArg())
}

// check refuses what is out of range, and makes the paths of programs absolute.
func (s *settings) check(arguments int) (err error) {
	if arguments > 0 || s.repeats < 1 || s.repeats > 100 || s.rounds < 1 || s.rounds > 1000 || s.duration <= 0 || s.duration > time.Hour ||
		s.idle <= 0 || s.idle > time.Hour || s.limit <= 0 {
		return errors.New("-repeats are 1 to 100, -rounds 1 to 1,000, -duration and -idle at most an hour; there are no arguments")
	}
	for _, program := range []*string{&s.lycosa, &s.etcd, &s.debianEtcd, &s.before, &s.profiles} {
		if *program == "" {
			continue
		}
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
	}
	return nil
}

// fill sets what -full means where nothing else was asked for.
func (s *settings) fill(given map[string]bool) {
	if !given["repeats"] {
		s.repeats = 5
	}
	if !given["rounds"] {
		s.rounds = 30
	}
	if !given["duration"] {
		s.duration = 5 * time.Second
	}
	if !given["idle"] {
		s.idle = 10 * time.Second
	}
}

// begin writes the head of the report.
func (b *benchmark) begin() error {
	version, err := report.FirstLine(b.ctx, b.lycosa, "version")
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.passwordFile(), []byte(adminPassword+"\n"), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(&b.text, "%s, %s, %d processors (%s), Linux %s, load average before: %s. All on loopback, in one file system, at default timeouts.\n",
		version, time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), report.CPUModel(), report.Kernel(), report.LoadAverage())
	return nil
}

// write gives out the report.
func (b *benchmark) write(stdout io.Writer) error {
	fmt.Fprintf(&b.text, "\nLoad average after: %s.\n", report.LoadAverage())
	if _, err := io.WriteString(stdout, b.text.String()); err != nil || b.out == "" {
		return err
	}
	return os.WriteFile(b.out, []byte(b.text.String()), 0o644)
}

func (b *benchmark) logf(format string, args ...any) {
	fmt.Fprintf(b.stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// directory makes a new directory.
func (b *benchmark) directory() (string, error) {
	b.dirs++
	dir := filepath.Join(b.work, fmt.Sprint(b.dirs))
	return dir, os.Mkdir(dir, 0o700)
}

// rest waits.
func (b *benchmark) rest(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// until polls until a condition holds, for at most waitMax.
func (b *benchmark) until(what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(b.ctx, waitMax)
	defer cancel()
	every := time.NewTicker(pollEach)
	defer every.Stop()
	for !cond() {
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

const (
	// waitMax bounds each wait for a server.
	waitMax  = time.Minute
	pollEach = 2 * time.Millisecond
	// settle is how long servers are left alone before something is measured.
	settle = 2 * time.Second
)
