package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

func mustRun(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOperations runs every operation against a server that keeps rows, and looks at what came there.
func TestOperations(t *testing.T) {
	f := newFake()
	o := f.start(t)
	types := map[Operation]iproto.Type{
		Select: iproto.TypeSelect, Replace: iproto.TypeReplace, Update: iproto.TypeUpdate, Upsert: iproto.TypeUpsert,
		Range: iproto.TypeSelect, Insert: iproto.TypeInsert, Delete: iproto.TypeDelete, Load: iproto.TypeReplace,
	}
	for _, op := range []Operation{Load, Select, Replace, Update, Upsert, Range, Insert, Delete, Ping} {
		o.Operation = op
		f.do(func() { f.counts = map[iproto.Type]int{} })
		r := mustRun(t, o)
		want := 1000
		if op == Delete || op == Load {
			want = 500
		}
		if got := int(r.Requests); got != want || len(r.Errors) != 0 {
			t.Errorf("%s: %d requests, want %d, errors %v", op, got, want, r.Errors)
		}
		f.do(func() {
			if op != Ping && f.counts[types[op]] < want {
				t.Errorf("%s: the server got %v", op, f.counts)
			}
		})
		if op == Select && r.RowsPerRequest != 1 {
			t.Errorf("select: %g rows each", r.RowsPerRequest)
		}
		if n := f.rows(600); n != 500 {
			t.Errorf("%s: %d rows are in the space afterwards, want 500", op, n)
		}
		if r.Latency.P50 <= 0 || r.Latency.Max < r.Latency.P99 || r.RequestsPerSecond <= 0 {
			t.Errorf("%s: %+v", op, r)
		}
	}
}

// TestPrepare: the space is made with its indexes, kept for the next run, refused if it has other rows, made anew, and
// dropped.
func TestPrepare(t *testing.T) {
	f := newFake()
	o := f.start(t)
	o.Operation, o.Indexes = Select, 2
	var notes []string
	o.Note = func(text string) { notes = append(notes, text) }
	mustRun(t, o)
	if f.rows(600) != 500 || f.rows(sysIndex) != 2 {
		t.Fatalf("%d rows, %d indexes", f.rows(600), f.rows(sysIndex))
	}
	notes = nil
	if mustRun(t, o); notes != nil {
		t.Errorf("a space that is there was made: %v", notes)
	}
	for name, change := range map[string]func(*Options){
		"other rows":    func(o *Options) { o.Rows = 400 },
		"other size":    func(o *Options) { o.RowBytes = 50 },
		"other indexes": func(o *Options) { o.Indexes = 1 },
	} {
		other := o
		change(&other)
		if _, err := Run(context.Background(), other); err == nil || !strings.Contains(err.Error(), "--fresh") {
			t.Errorf("%s: %v", name, err)
		}
		other.Fresh = true
		mustRun(t, other)
		o.Fresh = true
		mustRun(t, o)
		o.Fresh = false
	}
	o.Drop = true
	mustRun(t, o)
	if f.rows(sysSpace) != 0 || f.rows(sysIndex) != 0 {
		t.Errorf("after the drop: %d spaces, %d indexes", f.rows(sysSpace), f.rows(sysIndex))
	}
}

// TestForeignSpace: a space that the program has not made is not touched.
func TestForeignSpace(t *testing.T) {
	f := newFake()
	o := f.start(t)
	row := bytes.Replace(spaceRow(600, 1), []byte("bench_600"), []byte("money_600"), 1)
	f.spaces[sysSpace][600] = row
	for _, op := range []Operation{Select, Load} {
		o.Operation, o.Fresh, o.Drop = op, true, true
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), `"money_600"`) {
			t.Errorf("%s: %v", op, err)
		}
	}
	f.do(func() {
		if !bytes.Equal(f.spaces[sysSpace][600], row) {
			t.Error("the space has changed")
		}
	})
}

// TestLateReplies: replies in another order are matched by their sync.
func TestLateReplies(t *testing.T) {
	f := newFake()
	o := f.start(t)
	o.Operation, o.Connections, o.Threads, o.Depth, o.Requests = Load, 1, 1, 50, 0
	o.Rows, o.Duration = 510, time.Hour
	f.late = 9 // 510 are 51 times 10: nothing is held back at the end
	r := mustRun(t, o)
	if r.Requests != 510 || f.rows(600) != 510 {
		t.Errorf("%d requests, %d rows", r.Requests, f.rows(600))
	}
}

func TestErrorsAreCounted(t *testing.T) {
	f := newFake()
	o := f.start(t)
	o.Operation = Select
	mustRun(t, o)
	f.do(func() { f.refuse, f.seen = 10, 0 })
	r := mustRun(t, o)
	e := r.Errors[3]
	if e == nil || e.Count < 99 || e.Count > 101 || !strings.Contains(e.Message, "Duplicate key") || r.failure() == nil {
		t.Errorf("errors %+v", r.Errors)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "error 3 ") {
		t.Errorf("%s%v", text.String(), err)
	}
}

// TestRate: at a fixed rate latency counts from when a request was due, though the server lets none be sent in time.
func TestRate(t *testing.T) {
	stall := 200 * time.Millisecond
	first := true
	o := rawServer(t, func(sync uint32) []byte {
		if first {
			first = false
			<-time.After(stall)
		}
		return iproto.AppendOK(nil, uint64(sync), 1, nil)
	})
	o.Rate, o.Requests = 1000, 300
	r := mustRun(t, o)
	// The first waits 200 ms, the next 199 and so on: half of all have waited at least 50 ms, though one alone was slow.
	if r.Requests != 300 || r.Latency.Max < micros(stall) || r.Latency.P50 < 40_000 {
		t.Errorf("%d requests, %+v", r.Requests, r.Latency)
	}
	if r.Seconds < 0.299 {
		t.Errorf("300 requests at 1000 a second took %.3f s", r.Seconds)
	}
}

// TestUnsent: what was due at the end and not sent is counted, with its wait.
func TestUnsent(t *testing.T) {
	o := rawServer(t, func(sync uint32) []byte {
		<-time.After(150 * time.Millisecond)
		return iproto.AppendOK(nil, uint64(sync), 1, nil)
	})
	o.Rate, o.Requests, o.Duration = 1000, 0, 100*time.Millisecond
	r := mustRun(t, o)
	if r.Requests != 0 || r.Unsent < 99 || r.Unsent > 100 || r.Latency.P50 < 40_000 {
		t.Errorf("%d requests, %d unsent, %+v", r.Requests, r.Unsent, r.Latency)
	}
}

func TestDuration(t *testing.T) {
	f := newFake()
	o := f.start(t)
	o.Operation, o.Requests, o.Duration, o.Warmup = Ping, 0, 300*time.Millisecond, 50*time.Millisecond
	o.ServerPID, o.ProgressEvery = os.Getpid(), time.Millisecond
	var progress []Progress
	o.Progress = func(p Progress) { progress = append(progress, p) }
	var r *Result
	// A busy machine may leave a short run no time at all: then a longer one.
	for ; ; o.Duration *= 2 {
		progress = nil
		r = mustRun(t, o)
		if r.Seconds != o.Duration.Seconds() || r.ServerCPU == nil || *r.ServerRSS == 0 {
			t.Fatalf("%+v", r)
		}
		if r.Requests > 0 && r.ClientCPU > 0 && len(progress) > 0 && progress[len(progress)-1].Requests > 0 {
			break
		}
		if o.Duration > 30*time.Second {
			t.Fatalf("%+v, progress %+v", r, progress)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestBrokenServers(t *testing.T) {
	for want, answer := range map[string]func(uint32) []byte{
		"closed the connection": func(uint32) []byte { return nil },
		"not in flight":         func(sync uint32) []byte { return iproto.AppendOK(nil, uint64(sync)+1, 1, nil) },
		"packet length":         func(uint32) []byte { return []byte{0xc0} },
		"without a reply":       func(uint32) []byte { return []byte{0xce, 0, 0} },
	} {
		o := rawServer(t, answer)
		if want == "without a reply" {
			o.Requests, o.Duration, o.Timeout = 0, 10*time.Millisecond, 30*time.Millisecond
		}
		_, err := Run(context.Background(), o)
		// The time to wait for a reply is that for a connection too, which a busy machine may make too short.
		for ; os.IsTimeout(err) && o.Timeout < time.Minute; o.Timeout *= 4 {
			_, err = Run(context.Background(), o)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := rawServer(t, func(sync uint32) []byte {
		cancel()
		return iproto.AppendOK(nil, uint64(sync), 1, nil)
	})
	o.Requests, o.Duration = 0, time.Hour
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	o := small(t.TempDir() + "/none")
	var conn *client.ConnError
	for _, op := range []Operation{Ping, Select} {
		o.Operation = op
		if _, err := Run(context.Background(), o); !errors.As(err, &conn) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	o := newFake().start(t)
	o.Operation, o.Password = Ping, []byte("no")
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "Incorrect password") {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	good := small("x")
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"--connections": func(o *Options) { o.Connections = 0 },
		"--depth":       func(o *Options) { o.Depth = DepthMax + 1 },
		"--threads":     func(o *Options) { o.Threads = 0 },
		"--rows":        func(o *Options) { o.Rows = RowsMax + 1 },
		"--row-bytes":   func(o *Options) { o.RowBytes = RowBytesMin - 1 },
		"--indexes 4":   func(o *Options) { o.Indexes = 4 },
		"--op secondary needs": func(o *Options) {
			o.Operation = Secondary
		},
		"--range-rows": func(o *Options) { o.RangeRows = 0 },
		"--space-id":   func(o *Options) { o.SpaceID = 280 },
		"each key once": func(o *Options) {
			o.Operation, o.Keys = Insert, Zipf
		},
		"--duration": func(o *Options) { o.Requests = 0 },
		"--warmup":   func(o *Options) { o.Warmup = -1 },
		"leave out --warmup": func(o *Options) {
			o.Warmup = 1
		},
		"--rate":       func(o *Options) { o.Rate = math.NaN() },
		"--timeout":    func(o *Options) { o.Timeout = 0 },
		"--server-pid": func(o *Options) { o.ServerPID = -1 },
	} {
		o := good
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	u, err := parseStat([]byte("7 (a) b (c) S 1 7 7 0 -1 0 9 9 9 9 150 50 7 7 20 0 5 0 100 4096 3 18446744073709551615 0\n"))
	if err != nil || u.CPU != 2*time.Second || u.RSSBytes != 3*uint64(os.Getpagesize()) {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 0 9 9 9 9 x 50 7 7 20 0 5 0 100 4096 3 1"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if u, err := ReadProcess(real.FS{}, os.Getpid()); err != nil || u.RSSBytes == 0 || u.Processes < 1 {
		t.Errorf("own process: %+v, %v", u, err)
	}
	if _, err := ReadProcess(real.FS{}, 1<<30); err == nil {
		t.Error("a process that does not exist is read")
	}
}
