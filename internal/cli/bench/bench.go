package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/sys"
)

// The limits of a run.
const (
	ConnectionsMax = 20_000
	DepthMax       = 65_536
	ThreadsMax     = 64
	RangeRowsMax   = 1_000_000
	DurationMax    = 24 * time.Hour
	// IndexesMax is the number of indexes of the space: of key, second and third field.
	IndexesMax = 3
)

// Options say what is run against which server. The fields without a remark must be set.
type Options struct {
	// Address is HOST:PORT or the path of a socket. With an empty User nobody logs in.
	Address  string
	User     string
	Password []byte

	Operation   Operation
	Connections int
	Depth       int // requests in flight on each connection
	Threads     int
	Keys        Keys

	// The space: its id, how many rows of which size it has, and its number of indexes.
	SpaceID  uint32
	Rows     uint64
	RowBytes int
	Indexes  int
	// RangeRows is how many rows Range asks for.
	RangeRows int
	// Fresh drops the space first; Drop drops it at the end.
	Fresh, Drop bool

	// Requests ends the run if it is not 0; otherwise Duration does. Warmup is a time before it that does not count.
	Requests         uint64
	Duration, Warmup time.Duration
	// Rate is in requests per second over all connections; 0 sends as soon as there is a reply.
	Rate float64
	Seed uint64
	// Timeout bounds connecting, each step of preparing the space, and the wait for the last replies.
	Timeout time.Duration

	// ServerPID is the process whose CPU time, with that of its children, is measured; 0 for none. FS reads /proc.
	ServerPID int
	FS        sys.FS
	// Progress is called each ProgressEvery (half a second), if it is set, and Note with what is done before and after the
	// run.
	Progress      func(Progress)
	ProgressEvery time.Duration
	Note          func(string)
}

// Progress is where a run stands.
type Progress struct {
	Elapsed time.Duration
	// Requests and Errors are totals, RequestsPerSecond is the rate since the last progress.
	Requests, Errors  uint64
	RequestsPerSecond float64
}

// Check returns what is wrong with the options, in words of the command's flags.
func (o *Options) Check() error {
	switch {
	case o.Connections < 1 || o.Connections > ConnectionsMax:
		return fmt.Errorf("--connections %d: between 1 and %d", o.Connections, ConnectionsMax)
	case o.Depth < 1 || o.Depth > DepthMax:
		return fmt.Errorf("--depth %d: between 1 and %d", o.Depth, DepthMax)
	case o.Threads < 1 || o.Threads > ThreadsMax:
		return fmt.Errorf("--threads %d: between 1 and %d", o.Threads, ThreadsMax)
	case o.Rows < 1 || o.Rows > RowsMax:
		return fmt.Errorf("--rows %d: between 1 and %d", o.Rows, RowsMax)
	case o.RowBytes < RowBytesMin || o.RowBytes > RowBytesMax:
		return fmt.Errorf("--row-bytes %d: between %d and %d", o.RowBytes, RowBytesMin, RowBytesMax)
	case o.Indexes < 1 || o.Indexes > IndexesMax:
		return fmt.Errorf("--indexes %d: between 1 and %d", o.Indexes, IndexesMax)
	case o.Operation == Secondary && o.Indexes < 2:
		return errors.New("--op secondary needs --indexes 2 or more")
	case o.RangeRows < 1 || o.RangeRows > RangeRowsMax:
		return fmt.Errorf("--range-rows %d: between 1 and %d", o.RangeRows, RangeRowsMax)
	case o.SpaceID < 512 || o.SpaceID > math.MaxInt32:
		return fmt.Errorf("--space-id %d: between 512 and %d", o.SpaceID, math.MaxInt32)
	case o.Operation.once() && o.Keys == Zipf:
		return fmt.Errorf("--op %s uses each key once: --keys uniform or sequential", o.Operation)
	}
	return o.checkTime()
}

func (o *Options) checkTime() error {
	switch {
	case o.Requests == 0 && (o.Duration <= 0 || o.Duration > DurationMax):
		return fmt.Errorf("--duration %s: more than 0 and at most %s", o.Duration, DurationMax)
	case o.Warmup < 0 || o.Warmup > DurationMax:
		return fmt.Errorf("--warmup %s: between 0 and %s", o.Warmup, DurationMax)
	case o.Requests > 0 && o.Warmup > 0:
		return errors.New("--requests counts from the first one on: leave out --warmup")
	case o.Operation.once() && o.Warmup > 0:
		return fmt.Errorf("--op %s uses each key once: leave out --warmup", o.Operation)
	case o.Rate < 0 || o.Rate > 1e9 || math.IsNaN(o.Rate):
		return fmt.Errorf("--rate %g: between 0 and 1e9 requests per second", o.Rate)
	case o.Timeout <= 0:
		return fmt.Errorf("--timeout %s is not a time to wait", o.Timeout)
	case o.ServerPID < 0:
		return fmt.Errorf("--server-pid %d is not a process", o.ServerPID)
	}
	return nil
}

func (o *Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Run prepares the space if the operation needs one, measures, and puts back what insert and delete changed. The errors
// of Options.Check come first; a failure of a connection is a *client.ConnError.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.ProgressEvery <= 0 {
		o.ProgressEvery = progressEvery
	}
	if o.Operation == Load {
		o.Keys, o.Requests = Sequential, o.Rows
	}
	if o.ServerPID != 0 {
		if _, err := ReadProcess(o.FS, o.ServerPID); err != nil {
			return nil, fmt.Errorf("--server-pid: %w", err)
		}
	}
	if o.Operation != Ping {
		if err := prepare(ctx, &o); err != nil {
			return nil, err
		}
	}
	result, err := o.measure(ctx)
	if err == nil {
		err = o.restore(ctx, result.keysUsed)
	}
	if o.Drop && o.Operation != Ping {
		err = errors.Join(err, drop(ctx, &o))
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// measure runs the operation itself.
func (o *Options) measure(ctx context.Context) (*Result, error) {
	return o.run(ctx, sourceOptions{kind: o.Keys, once: o.Operation.once(), base: o.keyBase(), n: o.keyCount(), seed: o.Seed})
}

// keyBase and keyCount are the keys that the operation uses.
func (o *Options) keyBase() uint64 {
	if o.Operation == Insert {
		return FirstKey + o.Rows
	}
	return FirstKey
}

func (o *Options) keyCount() uint64 {
	if o.Operation == Insert {
		return RowsMax
	}
	return o.Rows
}

// restore takes back what insert and delete did to the first used keys of their order.
func (o *Options) restore(ctx context.Context, used uint64) error {
	undo := *o
	switch o.Operation {
	case Insert:
		undo.Operation = Delete
	case Delete:
		undo.Operation = Replace
	default:
		return nil
	}
	if used == 0 || (o.Operation == Insert && o.Drop) {
		return nil
	}
	o.note("putting the rows back as they were")
	src := sourceOptions{kind: o.Keys, once: true, base: o.keyBase(), n: o.keyCount(), seed: o.Seed}
	undo.quick(used)
	r, err := undo.run(ctx, src)
	if err == nil {
		err = r.failure()
	}
	if err != nil {
		return fmt.Errorf("put the rows back: %w", err)
	}
	return nil
}

// quick makes the options those of a run that is not measured: a number of requests as fast as the server takes them.
func (o *Options) quick(requests uint64) {
	o.Connections, o.Depth, o.Threads = 4, 256, 1
	o.Requests, o.Warmup, o.Rate = requests, 0, 0
	o.ServerPID, o.Progress = 0, nil
}

// run connects, starts the threads and gathers what they have counted.
func (o *Options) run(ctx context.Context, src sourceOptions) (*Result, error) {
	threads, err := o.connect(ctx, src)
	defer func() {
		for _, t := range threads {
			for _, c := range t.conns {
				c.close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	p := &phase{clock: newClock(), drainMax: o.Timeout, untilNs: math.MaxInt64, template: newTemplate(o.Operation,
		frameOptions{space: o.SpaceID, rowBytes: o.RowBytes, rangeRows: uint32(o.RangeRows), seed: o.Seed})}
	if o.Rate > 0 {
		p.everyNs = 1e9 * float64(o.Connections) / o.Rate
	}
	stop := context.AfterFunc(ctx, func() { p.stop.Store(true) })
	defer stop()
	watch := &watch{o: o, p: p, threads: threads}
	var done sync.WaitGroup
	p.begunNs = p.clock.now()
	p.fromNs = p.begunNs + int64(o.Warmup)
	if o.Requests == 0 {
		p.untilNs = p.fromNs + int64(o.Duration)
	}
	for _, t := range threads {
		t.p = p
		done.Go(t.run)
	}
	ended := make(chan struct{})
	go func() { done.Wait(); close(ended) }()
	watch.run(ended)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, t := range threads {
		if t.err != nil {
			return nil, t.err
		}
	}
	return o.result(p, threads, watch), nil
}

// connect makes the threads with their connections and shares.
func (o *Options) connect(ctx context.Context, src sourceOptions) ([]*thread, error) {
	var threads []*thread
	count := min(o.Threads, o.Connections)
	for i := range count {
		src.thread, src.stride = i, count
		t := &thread{src: newSource(src), quota: math.MaxUint64}
		if o.Requests > 0 {
			t.quota = (o.Requests + uint64(count-1-i)) / uint64(count)
		}
		threads = append(threads, t)
	}
	for i := range o.Connections {
		c, err := dial(ctx, o, i)
		if err != nil {
			return threads, err
		}
		t := threads[i%count]
		t.conns = append(t.conns, c)
	}
	return threads, nil
}

const progressEvery = 500 * time.Millisecond

// DefaultThreads is the number of threads that leaves the server a processor: half of them, at most four.
func DefaultThreads() int { return min(max(runtime.GOMAXPROCS(0)/2, 1), 4) }

// DefaultSpaceID is the space of the command unless another one is named.
const DefaultSpaceID = 9000

// spaceName is the name by which a space is known to be one of ours.
func spaceName(id uint32) string { return fmt.Sprintf("%s%d", spaceNamePrefix, id) }

const spaceNamePrefix = "bench_"

// Operations lists the names of all operations.
func Operations() string { return strings.Join(operationNames, ", ") }
