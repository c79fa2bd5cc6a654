package test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const accountsSpace = 800

// conversation is one stream of a connection.
type conversation struct {
	t  *testing.T
	c  *client.Client
	id uint64
}

func (v conversation) send(op iproto.Type, build client.Builder) *client.Future {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	f, err := v.c.Send(ctx, op, iproto.WithStream(v.id, build))
	if err != nil {
		v.t.Error(err)
	}
	return f
}

// do sends a request and returns its reply and the number of its error.
func (v conversation) do(op iproto.Type, build client.Builder) (*iproto.Reply, int) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	r, err := v.send(op, build).Wait(ctx)
	return r, codeOf(err)
}

func (v conversation) begin(timeout float64) int {
	_, code := v.do(iproto.TypeBegin, func(dst []byte, sync uint64) []byte { return iproto.AppendBegin(dst, sync, timeout) })
	return code
}

func (v conversation) commit() int {
	_, code := v.do(iproto.TypeCommit, iproto.AppendCommit)
	return code
}
func (v conversation) rollback() int {
	_, code := v.do(iproto.TypeRollback, iproto.AppendRollback)
	return code
}

func (v conversation) put(id, amount int) int {
	_, code := v.do(iproto.TypeReplace, func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, iproto.TypeReplace, sync, accountsSpace, pack([]any{id, amount}))
	})
	return code
}

// amount reads an account; -1 if there is none or the read failed.
func (v conversation) amount(id int) int {
	r, code := v.do(iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: accountsSpace, Limit: 1, Key: pack([]any{id})})
	})
	if code != 0 {
		return -1
	}
	n, rows, err := msgpack.ReadArrayLen(r.Data)
	if err != nil || n != 1 {
		return -1
	}
	_, fields, err := msgpack.ReadArrayLen(rows)
	if err != nil {
		return -1
	}
	amount, _, err := msgpack.ReadInt(msgpack.SkipTrusted(fields))
	if err != nil {
		return -1
	}
	return int(amount)
}

func makeAccounts(t *testing.T, p *proc, n int) {
	t.Helper()
	c := p.admin()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	if _, err := c.Insert(ctx, 280, pack([]any{accountsSpace, 1, "accounts", "memtx", 0, map[string]any{}, []any{}})); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Insert(ctx, 288, pack([]any{accountsSpace, 0, "pk", "tree", map[string]any{"unique": true}, []any{[]any{0, "unsigned"}}})); err != nil {
		t.Fatal(err)
	}
	for id := range n {
		if _, err := c.Insert(ctx, accountsSpace, pack([]any{id, 100})); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStreams: what a transaction over several requests promises, seen from outside.
func TestStreams(t *testing.T) {
	p := startInstance(t, options{})
	p.online()
	makeAccounts(t, p, 3)
	c := p.admin()
	a, b := conversation{t, c, 1}, conversation{t, c, 2}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	expect("begin", a.begin(0), 0)
	expect("begin again", a.begin(0), int(errcode.ActiveTransaction))
	expect("put", a.put(0, 50), 0)
	expect("own write", a.amount(0), 50)
	expect("seen by another stream", b.amount(0), 100)
	expect("commit", a.commit(), 0)
	expect("after the commit", b.amount(0), 50)

	expect("begin", a.begin(0), 0)
	expect("read", a.amount(1), 100)
	expect("written meanwhile", b.put(1, 90), 0)
	expect("write that rests on the read", a.put(2, 1), 0)
	expect("conflict", a.commit(), int(errcode.TransactionConflict))
	expect("nothing of it happened", b.amount(2), 100)

	expect("begin", a.begin(0), 0)
	expect("put", a.put(2, 7), 0)
	expect("rollback", a.rollback(), 0)
	expect("after the rollback", a.amount(2), 100)
	expect("commit without a transaction", a.commit(), 0)

	expect("begin with a timeout", a.begin(0.05), 0)
	waitFor(t, "the transaction to expire", waitStart, func() bool { return a.put(2, 8) == int(errcode.TransactionTimeout) })
	expect("commit of an expired one", a.commit(), int(errcode.TransactionTimeout))
	expect("after that", a.put(2, 100), 0)

	// Without stream, and with types that may not be in one.
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	f, err := c.Send(ctx, iproto.TypeCommit, iproto.AppendCommit)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Wait(ctx)
	expect("commit out of stream", codeOf(err), int(errcode.UnableToProcessOutOfStream))
	_, code := b.do(iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, iproto.TypeInsert, sync, 304, pack([]any{40, 1, "ann", "user", map[string]any{}}))
	})
	expect("a user in a stream", code, int(errcode.NotImplemented))
	expect("the instance is fine", b.amount(0), 50)
}

// TestStreamOrder: requests of one stream run in the order in which they came, however fast they are sent.
func TestStreamOrder(t *testing.T) {
	p := startInstance(t, options{})
	p.online()
	makeAccounts(t, p, 1)
	v := conversation{t, p.admin(), 9}
	var last *client.Future
	for n := range 300 {
		last = v.send(iproto.TypeReplace, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeReplace, sync, accountsSpace, pack([]any{0, n}))
		})
	}
	if got := v.amount(0); got != 299 {
		t.Errorf("a read behind 300 writes of the stream sees %d", got)
	}
	select {
	case <-last.Done():
	default:
		t.Error("the read overtook the last write of its stream")
	}
}

// TestBank: money moves between accounts in transactions from several connections; no read ever sees another sum.
func TestBank(t *testing.T) {
	const accounts, movers, moves = 8, 4, 60
	p := startInstance(t, options{})
	p.online()
	makeAccounts(t, p, accounts)
	var wg sync.WaitGroup
	for m := range movers {
		c := p.admin()
		wg.Go(func() {
			v := conversation{t, c, uint64(m + 1)}
			for n := range moves {
				from, to := (m+n)%accounts, (m*3+n*5+1)%accounts
				if from == to || !v.move(from, to) {
					continue
				}
			}
		})
	}
	watcher := conversation{t, p.admin(), 77}
	for range 50 {
		if watcher.begin(0) != 0 {
			t.Fatal("begin")
		}
		sum := 0
		for id := range accounts {
			sum += watcher.amount(id)
		}
		if code := watcher.commit(); code != 0 || sum != accounts*100 {
			t.Fatalf("a reader saw %d in all, commit %d", sum, code)
		}
	}
	wg.Wait()
	sum := 0
	for id := range accounts {
		sum += watcher.amount(id)
	}
	if sum != accounts*100 {
		t.Errorf("%d in the end", sum)
	}
}

// move takes 1 from an account and gives it to another; a conflict is no failure.
func (v conversation) move(from, to int) bool {
	if code := v.begin(0); code != 0 {
		v.t.Error("begin:", code)
		return false
	}
	a, b := v.amount(from), v.amount(to)
	if v.put(from, a-1) != 0 || v.put(to, b+1) != 0 {
		v.t.Error("put failed")
	}
	code := v.commit()
	if code != 0 && code != int(errcode.TransactionConflict) {
		v.t.Error(fmt.Sprint("commit: ", code))
	}
	return code == 0
}
