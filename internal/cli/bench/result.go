package bench

import (
	"fmt"
	"io"
	"sort"
	"text/tabwriter"
	"time"
)

// Result is what a run has measured, as --json prints it.
type Result struct {
	Operation   string  `json:"operation"`
	Keys        string  `json:"keys"`
	Connections int     `json:"connections"`
	Depth       int     `json:"depth"`
	Threads     int     `json:"threads"`
	Rows        uint64  `json:"rows"`
	RowBytes    int     `json:"row_bytes"`
	Indexes     int     `json:"indexes"`
	Rate        float64 `json:"rate"` // asked for; 0 is a closed loop

	Seconds           float64 `json:"seconds"`
	Requests          uint64  `json:"requests"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	RowsPerRequest    float64 `json:"rows_per_request"`
	// Unsent is how many requests a fixed rate asked for and the replies did not leave time for.
	Unsent uint64 `json:"unsent"`
	// Errors are by number.
	Errors  map[uint32]*ErrorCount `json:"errors"`
	Latency Latency                `json:"latency_us"`
	// The CPU time of the server is null unless it was measured.
	ServerCPU *float64 `json:"server_cpu_us_per_request"`
	ServerRSS *uint64  `json:"server_rss_bytes"`
	ClientCPU float64  `json:"client_cpu_us_per_request"`
	// ClientBusy is the share of its threads' time that the generator used; near 1 it is the limit.
	ClientBusy float64 `json:"client_busy"`

	// keysUsed is how many keys of the order of insert and delete may have been used.
	keysUsed uint64
}

// Latency is in microseconds. At a fixed rate it counts from when a request was due, so that those which a slow server
// kept from being sent are in it; otherwise from when it was sent.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// LatencyOf reads the quantiles of a histogram.
func LatencyOf(h *Histogram) Latency {
	return Latency{Mean: micros(h.Mean()), P50: micros(h.Quantile(0.50)), P90: micros(h.Quantile(0.90)), P99: micros(h.Quantile(0.99)),
		P999: micros(h.Quantile(0.999)), Max: micros(h.Max())}
}

// result adds up what the threads have counted.
func (o *Options) result(p *phase, threads []*thread, w *watch) *Result {
	r := &Result{
		Operation: o.Operation.String(), Keys: o.Keys.String(), Connections: o.Connections, Depth: o.Depth, Threads: len(threads),
		Rows: o.Rows, RowBytes: o.RowBytes, Indexes: o.Indexes, Rate: o.Rate, Errors: map[uint32]*ErrorCount{},
	}
	var all Histogram
	var rows uint64
	lastNs, exhausted := p.fromNs, true
	for _, t := range threads {
		all.Merge(&t.latency)
		r.Requests += t.requests
		rows += t.rows
		r.Unsent += t.unsent
		lastNs = max(lastNs, t.lastNs)
		exhausted = exhausted && t.exhausted
		r.keysUsed = max(r.keysUsed, t.src.next)
		r.addErrors(t.errors)
	}
	r.keysUsed = min(r.keysUsed, o.keyCount())
	if !exhausted {
		lastNs = p.untilNs
	}
	r.Seconds = time.Duration(min(lastNs, p.untilNs) - p.fromNs).Seconds()
	if r.Seconds > 0 {
		r.RequestsPerSecond = float64(r.Requests) / r.Seconds
	}
	if r.Requests > 0 {
		r.RowsPerRequest = float64(rows) / float64(r.Requests)
	}
	r.Latency = LatencyOf(&all)
	r.addCPU(w, len(threads))
	return r
}

func (r *Result) addErrors(errors map[uint32]*ErrorCount) {
	for code, e := range errors {
		if have := r.Errors[code]; have != nil {
			have.Count += e.Count
		} else {
			r.Errors[code] = &ErrorCount{Count: e.Count, Message: e.Message}
		}
	}
}

// addCPU divides what server and generator used between the samples by the replies between them.
func (r *Result) addCPU(w *watch, threads int) {
	replies := float64(w.last.replies - w.first.replies)
	if replies == 0 {
		return
	}
	used := w.last.clientCPU - w.first.clientCPU
	r.ClientCPU = micros(used) / replies
	r.ClientBusy = float64(used) / float64(w.last.nowNs-w.first.nowNs) / float64(threads)
	if w.first.serverWasMeasured && w.last.serverWasMeasured {
		cpu := micros(w.last.server.CPU-w.first.server.CPU) / replies
		r.ServerCPU, r.ServerRSS = &cpu, &w.last.server.RSSBytes
	}
}

// failure is the first error of a run that should have none.
func (r *Result) failure() error {
	for _, code := range r.codes() {
		return fmt.Errorf("%d requests failed with error %d: %s", r.Errors[code].Count, code, r.Errors[code].Message)
	}
	return nil
}

// codes are the error numbers, the most frequent first.
func (r *Result) codes() []uint32 {
	var codes []uint32
	for code := range r.Errors {
		codes = append(codes, code)
	}
	sort.Slice(codes, func(i, j int) bool {
		a, b := r.Errors[codes[i]].Count, r.Errors[codes[j]].Count
		return a > b || a == b && codes[i] < codes[j]
	})
	return codes
}

// WriteText writes the result for people.
func (r *Result) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "operation\t%s, %s keys, %d rows of %d bytes, %d indexes\n", r.Operation, r.Keys, r.Rows, r.RowBytes, r.Indexes)
	fmt.Fprintf(w, "load\t%d connections × %d in flight, %d threads", r.Connections, r.Depth, r.Threads)
	if r.Rate > 0 {
		fmt.Fprintf(w, ", %.0f requests/s asked for", r.Rate)
	}
	fmt.Fprintf(w, "\nrequests\t%d in %.3f s\n", r.Requests, r.Seconds)
	fmt.Fprintf(w, "throughput\t%.0f requests/s, %.2f rows each\n", r.RequestsPerSecond, r.RowsPerRequest)
	l := r.Latency
	fmt.Fprintf(w, "latency, µs\tp50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f, mean %.1f\n", l.P50, l.P90, l.P99, l.P999, l.Max, l.Mean)
	if r.ServerCPU != nil {
		fmt.Fprintf(w, "server\t%.2f µs CPU per request, %.1f MiB resident\n", *r.ServerCPU, float64(*r.ServerRSS)/(1<<20))
	}
	fmt.Fprintf(w, "generator\t%.2f µs CPU per request, %.0f%% busy\n", r.ClientCPU, r.ClientBusy*100)
	if r.Unsent > 0 {
		fmt.Fprintf(w, "unsent\t%d requests were due and found no free place\n", r.Unsent)
	}
	for _, code := range r.codes() {
		fmt.Fprintf(w, "error %d\t%d times: %s\n", code, r.Errors[code].Count, r.Errors[code].Message)
	}
	return w.Flush()
}
