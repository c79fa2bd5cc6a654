package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	stressAccounts = 50
	stressEach     = 1000
	otherSpace     = 810
	spaceTruncate  = 330
)

// raceBinary builds the program with the race detector: rows are on the Go heap then, so that it sees them too.
func raceBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lycosa-race")
	build := exec.Command("go", "build", "-race", "-o", path, "../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// bank is the stress: everything that runs at the same time, until enough money has moved or the instance was killed.
type bank struct {
	t     *testing.T
	p     *proc
	moved atomic.Int64
	reads atomic.Int64
	done  chan struct{}
	// dead is closed before the process is killed: from then on requests may fail.
	dead chan struct{}
	wg   sync.WaitGroup
}

func (b *bank) over() bool {
	select {
	case <-b.done:
		return true
	case <-b.dead:
		return true
	default:
		return false
	}
}

// failed reports an error unless the process has been killed.
func (b *bank) failed(what string, err error) {
	select {
	case <-b.dead:
	default:
		b.t.Errorf("%s: %v", what, err)
	}
}

// loop runs a step on a connection of its own until the end, or until a step fails.
func (b *bank) loop(what string, step func(c *client.Client, n int) error) {
	c := b.p.admin()
	b.wg.Go(func() {
		for n := 0; !b.over(); n++ {
			if err := step(c, n); err != nil {
				b.failed(fmt.Sprintf("%s, step %d", what, n), err)
				return
			}
		}
	})
}

// inStream sends a request of a stream and waits for its reply.
func inStream(c *client.Client, stream uint64, op iproto.Type, build client.Builder) (*iproto.Reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	f, err := c.Send(ctx, op, iproto.WithStream(stream, build))
	if err != nil {
		return nil, err
	}
	return f.Wait(ctx)
}

// transfer moves money in a transaction; a conflict is no failure.
func (b *bank) transfer(c *client.Client, stream uint64, from, to, amount int) error {
	if _, err := inStream(c, stream, iproto.TypeBegin, func(dst []byte, sync uint64) []byte { return iproto.AppendBegin(dst, sync, 0) }); err != nil {
		return err
	}
	for _, side := range []struct{ id, change int }{{from, -amount}, {to, amount}} {
		// The new amount is computed here from what was read: a lost update would change the sum.
		r, err := inStream(c, stream, iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
			return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: accountsSpace, Limit: 1, Key: pack(list{side.id})})
		})
		if err != nil {
			return err
		}
		_, sum, err := sumOf(r.Data)
		if err != nil {
			return err
		}
		if _, err := inStream(c, stream, iproto.TypeReplace, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeReplace, sync, accountsSpace, pack(list{side.id, sum + side.change}))
		}); err != nil {
			return err
		}
	}
	_, err := inStream(c, stream, iproto.TypeCommit, iproto.AppendCommit)
	switch {
	case err == nil:
		b.moved.Add(1)
	case codeOf(err) == int(errcode.TransactionConflict):
		return nil
	}
	return err
}

// sumOf adds the amounts of rows.
func sumOf(rows []byte) (n, sum int, err error) {
	n, rows, err = msgpack.ReadArrayLen(rows)
	for range n {
		if _, rows, err = msgpack.ReadArrayLen(rows); err != nil {
			return n, sum, err
		}
		var amount int64
		if amount, rows, err = msgpack.ReadInt(msgpack.SkipTrusted(rows)); err != nil {
			return n, sum, err
		}
		sum += int(amount)
	}
	return n, sum, err
}

// total reads all accounts in one select by an index, and checks the sum. An index that is not there is no failure.
func (b *bank) total(c *client.Client, index uint32) error {
	rows, err := c.Select(context.Background(), iproto.SelectArgs{Space: accountsSpace, Index: index, Iterator: iproto.IterALL, Limit: 1000})
	if index != 0 && codeOf(err) == int(errcode.NoSuchIndexID) {
		return nil
	}
	if err != nil {
		return err
	}
	n, sum, err := sumOf(rows)
	if err != nil || n != stressAccounts || sum != stressAccounts*stressEach {
		b.t.Errorf("index %d: %d accounts with %d in all, %v", index, n, sum, err)
	}
	b.reads.Add(1)
	return nil
}

// change makes and drops an index of the accounts, and fills and truncates another space.
func change(c *client.Client, n int) error {
	ctx := context.Background()
	if _, err := c.Insert(ctx, spaceIndex, pack(list{accountsSpace, 1, "amount", "tree", dict{"unique": false}, list{list{1, "integer"}}})); err != nil {
		return err
	}
	for i := range 20 {
		if _, err := c.Replace(ctx, otherSpace, pack(list{i, n})); err != nil {
			return err
		}
	}
	if _, err := c.Replace(ctx, spaceTruncate, pack(list{otherSpace, n + 1})); err != nil {
		return err
	}
	rows, err := c.Select(ctx, iproto.SelectArgs{Space: otherSpace, Iterator: iproto.IterALL, Limit: 1000})
	if err != nil || len(rows) == 0 || rows[len(rows)-1] != 0 {
		return fmt.Errorf("after truncate: %x, %w", rows, err)
	}
	_, err = c.Delete(ctx, iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{accountsSpace, 1})})
	return err
}

// run lets everything run until so many transfers are done, or, with kill, kills the process then.
func (b *bank) run(transfers int64, killed int) {
	for m := range 6 {
		b.loop("mover", func(c *client.Client, n int) error {
			from, to := (m*7+n)%stressAccounts, (m*11+n*3+1)%stressAccounts
			if from == to {
				return nil
			}
			return b.transfer(c, uint64(m+1), from, to, n%17+1)
		})
	}
	for range 2 {
		b.loop("reader", func(c *client.Client, n int) error { return b.total(c, uint32(n%2)) })
	}
	b.loop("schema", change)
	b.loop("checkpoint", func(c *client.Client, _ int) error {
		_, err := c.Call(context.Background(), "box.snapshot", nil)
		return err
	})
	waitFor(b.t, "the transfers", 4*waitStart, func() bool { return b.moved.Load() >= transfers || b.t.Failed() })
	if killed != 0 {
		close(b.dead)
		kill(b.t, killed, syscall.SIGKILL)
	} else {
		close(b.done)
	}
	b.wg.Wait()
	b.t.Logf("%d transfers, %d sums read", b.moved.Load(), b.reads.Load())
	if b.reads.Load() == 0 {
		b.t.Error("no sum was read")
	}
}

// TestStress: transfers in transactions of several connections, readers of all accounts, checkpoints, changes of the schema
// and truncations at the same time, under the race detector; killed in the middle and gone on. The sum is always the same.
func TestStress(t *testing.T) {
	p := startInstance(t, options{program: raceBinary(t), env: []string{"GORACE=halt_on_error=1"}})
	child := p.online().PID
	admin := p.admin()
	createSpace(t, admin, accountsSpace, "accounts")
	createSpace(t, admin, otherSpace, "other")
	for id := range stressAccounts {
		table{t, admin, accountsSpace}.insert(list{id, stressEach})
	}
	newBank := func() *bank { return &bank{t: t, p: p, done: make(chan struct{}), dead: make(chan struct{})} }
	newBank().run(150, child)
	waitFor(t, "the next process", waitStart, func() bool {
		s, ok := p.status()
		return ok && s.PID != child && s.State == "RolesConfigured"
	})
	p.online()
	b, c := newBank(), p.admin()
	if err := b.total(c, 0); err != nil {
		t.Fatal(err)
	}
	// The kill may have left the index.
	if _, err := c.Delete(context.Background(), iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{accountsSpace, 1})}); err != nil {
		t.Fatal(err)
	}
	b.run(150, 0)
	for range 2 {
		if err := b.total(p.admin(), 0); err != nil {
			t.Fatal(err)
		}
		p.stop()
		p = startInstance(t, options{dir: p.dir, listen: p.listen, http: p.http})
		p.online()
		b.p = p
	}
	if err := b.total(p.admin(), 0); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.output(), "DATA RACE") || strings.Contains(p.output(), "panic") {
		t.Error("a data race or a panic")
	}
}
