package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// options are the flags of the load.
type options struct {
	endpoint                    string
	connections, inFlight, size int
	keys                        uint64
	warmup, duration, timeout   time.Duration
}

// result is what a load prints.
type result struct {
	Requests          uint64  `json:"requests"`
	Seconds           float64 `json:"seconds"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	P50               float64 `json:"p50_us"`
	P99               float64 `json:"p99_us"`
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&o.endpoint, "endpoint", "127.0.0.1:2379", "address of the member that gets the puts")
	f.IntVar(&o.connections, "connections", 1, "connections")
	f.IntVar(&o.inFlight, "in-flight", 256, "puts on their way at any time, over all connections")
	f.IntVar(&o.size, "size", 100, "bytes of a value")
	f.Uint64Var(&o.keys, "keys", 100_000, "number of keys, of which each put takes one at random")
	f.DurationVar(&o.warmup, "warmup", 0, "time before that does not count")
	f.DurationVar(&o.duration, "duration", time.Second, "time that is measured")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "longest wait for one put")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.connections < 1 || o.connections > 1024 || o.inFlight < o.connections || o.inFlight > 1<<16 || o.size < 0 || o.size > 1<<20 ||
		o.keys < 1 || o.duration <= 0 || o.warmup < 0 || f.NArg() > 0 {
		return o, errors.New("some flag is out of its range")
	}
	return o, nil
}

// load keeps so many puts on their way and writes what came of it. A put that fails ends it.
func load(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var clients []*clientv3.Client
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	for range o.connections {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{o.endpoint}, DialTimeout: o.timeout, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	from := time.Now().Add(o.warmup)
	until := from.Add(o.duration)
	var wait sync.WaitGroup
	failures := make(chan error, o.inFlight)
	took := make([][]time.Duration, o.inFlight)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range o.inFlight {
		wait.Go(func() {
			var err error
			if took[i], err = o.puts(ctx, clients[i%o.connections], from, until); err != nil {
				failures <- err
				cancel()
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failures:
		return fmt.Errorf("put: %w", err)
	default:
	}
	return json.NewEncoder(out).Encode(o.result(slices.Concat(took...)))
}

// puts sends one put after the other, and returns how long those took that were answered in the measured time.
func (o *options) puts(ctx context.Context, c *clientv3.Client, from, until time.Time) (took []time.Duration, err error) {
	value := strings.Repeat("v", o.size)
	for {
		sent := time.Now()
		if sent.After(until) {
			return took, nil
		}
		one, cancel := context.WithTimeout(ctx, o.timeout)
		_, err := c.Put(one, fmt.Sprintf("%08d", rand.Uint64N(o.keys)), value)
		cancel()
		if err != nil {
			return nil, err
		}
		if now := time.Now(); now.After(from) && now.Before(until) {
			took = append(took, now.Sub(sent))
		}
	}
}

func (o *options) result(took []time.Duration) result {
	slices.Sort(took)
	r := result{Requests: uint64(len(took)), Seconds: o.duration.Seconds(), RequestsPerSecond: float64(len(took)) / o.duration.Seconds()}
	if len(took) > 0 {
		at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))]) / float64(time.Microsecond) }
		r.P50, r.P99 = at(0.5), at(0.99)
	}
	return r
}
