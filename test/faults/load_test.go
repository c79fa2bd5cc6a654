package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// The spaces of the load.
const (
	spaceRegisters = 600
	spaceSet       = 601
	spaceCounters  = 602
	spaceAccounts  = 603
	spaceBulk      = 604
	// spaceRaftState shows what an instance knows of its groups.
	spaceRaftState = 419
)

var spaces = []uint32{spaceRegisters, spaceSet, spaceCounters, spaceAccounts, spaceBulk}

const (
	accounts     = 6
	accountStart = 100
	accountTotal = accounts * accountStart
	// registersAtOnce are in use at a time; each gets accessesMax accesses and is replaced by another one, which keeps
	// the search for an order short.
	registersAtOnce = 4
	accessesMax     = 60
	opTimeout       = 2 * time.Second
	anyAddress      = "any"
)

// load is clients that work on all instances until they are stopped.
type load struct {
	c     *cluster
	round uint64
	start time.Time
	acks  atomic.Int64
	stop  context.CancelFunc
	done  sync.WaitGroup
	// accessed counts the accesses of registers, values gives out what is written, each once.
	accessed, values atomic.Int64
	// young is the address of an instance that may not have the spaces yet, until grown on this load's clock; anyAddress is
	// for all that come back from a power cut.
	young atomic.Value
	grown atomic.Int64

	mu     sync.Mutex // guards the rest
	h      *history
	errors map[int]int
}

// newLoad starts four clients for each instance, one of each kind, and one that watches who leads.
func (c *cluster) newLoad(round int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{c: c, round: uint64(round), start: time.Now(), stop: cancel, h: newHistory(), errors: map[int]int{}}
	l.grown.Store(forever)
	kinds := []func(*worker){(*worker).register, (*worker).set, (*worker).counter, (*worker).bank}
	for i := range c.instances {
		for k, step := range kinds {
			w := &worker{l: l, address: c.net.address(i), id: i*len(kinds) + k, chance: rand.New(rand.NewPCG(*seed, uint64(round*1000+i*10+k)))}
			l.done.Go(func() { w.run(ctx, step) })
		}
		p := c.instances[i]
		watched := &proc{t: c.t, i: i, http: p.http}
		l.done.Go(func() { l.watch(ctx, watched) })
	}
	return l
}

// end stops the clients.
func (l *load) end() *history {
	l.stop()
	l.done.Wait()
	return l.h
}

// flows waits for n more acknowledged writes.
func (l *load) flows(t testing.TB, when string, n int64) {
	t.Helper()
	want := l.acks.Load() + n
	if !poll(waitHealed, func() bool { return l.acks.Load() >= want }) {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Fatalf("%s: %d of %d writes were acknowledged in %s; errors by number: %v", when, l.acks.Load()+n-want, n, waitHealed, l.errors)
	}
}

// watch notes who says that it leads.
func (l *load) watch(ctx context.Context, p *proc) {
	for ctx.Err() == nil {
		if s, ok := p.status(); ok {
			l.mu.Lock()
			for _, g := range s.Groups {
				if g.Role == "leader" {
					l.h.leads(g.Name, g.Term, s.Name)
				}
			}
			l.mu.Unlock()
		}
		rest(ctx, 40*time.Millisecond)
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l *load) now() int64 { return int64(time.Since(l.start)) }

// worker is a client on one instance: one connection, one operation at a time.
type worker struct {
	l       *load
	address string
	id      int
	chance  *rand.Rand
	conn    *client.Client
	stream  uint64
	// began is when the present step began.
	began int64
	// bad: the last operation did not end well.
	bad bool
}

// run repeats a step. After a failure it waits a little.
func (w *worker) run(ctx context.Context, step func(*worker)) {
	defer w.drop()
	for ctx.Err() == nil {
		if w.conn == nil && !w.dial(ctx) {
			rest(ctx, 50*time.Millisecond)
			continue
		}
		w.bad, w.began = false, w.l.now()
		step(w)
		if w.bad {
			rest(ctx, 20*time.Millisecond)
		} else {
			rest(ctx, time.Millisecond)
		}
	}
}

func (w *worker) dial(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	w.began = w.l.now()
	conn, err := client.Dial(ctx, w.address, client.Options{User: "admin", Password: []byte(adminPassword)})
	w.conn = conn
	return w.judge(err) == acked
}

func (w *worker) drop() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// refusals are the answers that say that something has not happened and never will, as they come in a cluster under faults.
var refusals = map[errcode.Code]bool{
	errcode.NotALeader: true, errcode.LeaderUnknown: true, errcode.Loading: true, errcode.Uninitialized: true, errcode.Shutdown: true,
	errcode.DiskFull: true, errcode.Overloaded: true, errcode.TransactionConflict: true, errcode.SessionClosed: true,
	errcode.Poisoned: true, errcode.InstanceExpelled: true, errcode.TransactionAtLeader: true,
}

// judge tells what has become of a request. A connection that is of no use any more is dropped.
func (w *worker) judge(err error) outcome {
	if err == nil {
		return acked
	}
	w.bad = true
	var conn *client.ConnError
	code, o := 0, failed
	if errors.As(err, &conn) {
		w.drop()
		if conn.Sent {
			o = unknown
		}
	} else {
		e := errcode.Of(err)
		code = int(e.Code)
		if e.Code == errcode.UnknownOutcome {
			o = unknown
		}
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.errors[code]++
	if code != 0 && o == failed && !refusals[errcode.Code(code)] && !(code == int(errcode.NoSuchSpace) && w.withYoung()) {
		w.l.h.wrong = append(w.l.h.wrong, fmt.Sprintf("a client of %s got %v", w.address, err))
	}
	return o
}

// withYoung reports whether the present step began at an instance that may not have the spaces yet.
func (w *worker) withYoung() bool {
	young := w.l.young.Load()
	return (young == w.address || young == anyAddress) && w.began < w.l.grown.Load()
}

// write does a write and notes it under the lock.
func (w *worker) write(do func(ctx context.Context) error, note func(h *history, o outcome)) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	o := w.judge(do(ctx))
	w.l.mu.Lock()
	note(w.l.h, o)
	w.l.mu.Unlock()
	if o == acked {
		w.l.acks.Add(1)
	}
	return o
}

// read does a read; false means that there was no answer.
func (w *worker) read(space uint32, limit int, iterator uint32, key ...any) (rows [][]any, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	b, err := w.conn.Select(ctx, selectOf(space, limit, iterator, key))
	if w.judge(err) != acked {
		return nil, false
	}
	return decode(b), true
}
