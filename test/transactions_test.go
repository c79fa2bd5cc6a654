package test

import (
	"context"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// everyStream sends a request on each of the streams 1 to n and returns how many of them failed, by error number.
func everyStream(t *testing.T, c *client.Client, n int, op iproto.Type, build func(stream int) client.Builder) map[int]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	futures := make([]*client.Future, n)
	for i := range futures {
		futures[i] = conversation{t, c, uint64(i + 1)}.send(op, build(i+1))
	}
	failed := map[int]int{}
	for _, f := range futures {
		if _, err := f.Wait(ctx); err != nil {
			failed[codeOf(err)]++
		}
	}
	return failed
}

// TestThousandsOfTransactions: 5,000 transactions are open at once, each with a row written and a row read, on one
// connection. They cost memory for what they hold, at most 8 KiB each; all of them see their view although their rows are
// changed; and those that do not rest on what was changed commit.
func TestThousandsOfTransactions(t *testing.T) {
	const n, each = 5_000, 8 << 10
	p := startInstance(t, options{args: []string{"--memory", "256MiB"}})
	child := p.online().PID
	makeAccounts(t, p, 1)
	c, other := p.admin(), p.admin()
	none := func(what string, failed map[int]int) {
		t.Helper()
		if len(failed) != 0 {
			t.Fatalf("%s: %v", what, failed)
		}
	}
	put := func(id func(stream int) int, amount int) func(int) client.Builder {
		return func(stream int) client.Builder {
			return func(dst []byte, sync uint64) []byte {
				return iproto.AppendInsert(dst, iproto.TypeReplace, sync, accountsSpace, pack([]any{id(stream), amount}))
			}
		}
	}
	own := func(stream int) int { return 100_000 + stream }
	shared := func(stream int) int { return stream }
	always := func(b client.Builder) func(int) client.Builder { return func(int) client.Builder { return b } }
	none("rows that are read", everyStream(t, c, n, iproto.TypeReplace, put(shared, 1)))

	before, _ := residentBytes(t, child)
	none("begin", everyStream(t, c, n, iproto.TypeBegin, always(func(dst []byte, sync uint64) []byte { return iproto.AppendBegin(dst, sync, 0) })))
	none("write", everyStream(t, c, n, iproto.TypeReplace, put(own, 7)))
	read := func(stream int) client.Builder {
		return func(dst []byte, sync uint64) []byte {
			return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: accountsSpace, Limit: 1, Key: pack([]any{stream})})
		}
	}
	none("read", everyStream(t, c, n, iproto.TypeSelect, read))
	after, _ := residentBytes(t, child)
	t.Logf("%d transactions: %d bytes each", n, (after-before)/n)
	if after-before > n*each {
		t.Errorf("%d transactions take %d bytes", n, after-before)
	}

	// Every second one has read what somebody else changes now.
	for stream := 2; stream <= n; stream += 2 {
		if code := (conversation{t, other, 0}).put(stream, 2); code != 0 {
			t.Fatalf("a write beside the transactions: error %d", code)
		}
	}
	for stream := 1; stream <= 20; stream++ {
		if got := (conversation{t, c, uint64(stream)}).amount(stream); got != 1 {
			t.Errorf("transaction %d sees %d in its view", stream, got)
		}
	}
	failed := everyStream(t, c, n, iproto.TypeCommit, always(iproto.AppendCommit))
	if failed[97] != n/2 || len(failed) != 1 {
		t.Errorf("commits failed so: %v, want %d conflicts", failed, n/2)
	}
	for stream := 1; stream <= 40; stream++ {
		want := 7
		if stream%2 == 0 {
			want = -1
		}
		if got := (conversation{t, other, 0}).amount(own(stream)); got != want {
			t.Errorf("row of transaction %d: %d, want %d", stream, got, want)
		}
	}
}
