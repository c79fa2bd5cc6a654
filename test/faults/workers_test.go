package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// pack encodes an array, of numbers, strings and arrays.
func pack(values ...any) []byte { return appendArray(nil, values) }

func appendArray(b []byte, values []any) []byte {
	b = msgpack.AppendArrayHeader(b, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = msgpack.AppendInt(b, int64(v))
		case uint64:
			b = msgpack.AppendUint(b, v)
		case string:
			b = msgpack.AppendStr(b, v)
		case bool:
			b = msgpack.AppendBool(b, v)
		case []any:
			b = appendArray(b, v)
		case map[string]bool:
			b = msgpack.AppendMapHeader(b, len(v))
			for k, on := range v {
				b = msgpack.AppendBool(msgpack.AppendStr(b, k), on)
			}
		default:
			panic(fmt.Sprintf("no MessagePack for %T", v))
		}
	}
	return b
}

// decode reads rows of numbers (json.Number) and strings.
func decode(b []byte) (rows [][]any) {
	text, err := msgpack.ToJSON(nil, b)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&rows)
	}
	if err != nil {
		panic(fmt.Sprintf("rows that can not be read: %v in %x", err, b))
	}
	return rows
}

func number(v any) uint64 {
	n, err := v.(json.Number).Int64()
	if err != nil {
		panic(err)
	}
	return uint64(n)
}

func selectOf(space uint32, limit int, iterator uint32, key []any) iproto.SelectArgs {
	return iproto.SelectArgs{Space: space, Limit: uint32(limit), Iterator: iterator, Key: pack(key...)}
}

// makeSpaces makes what the load works on.
func makeSpaces(t testing.TB, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	insert := func(space uint32, row ...any) {
		t.Helper()
		for unknown := false; ; rest(ctx, pollEvery) {
			_, err := c.Insert(ctx, space, pack(row...))
			if err == nil || unknown && (errcode.Is(err, errcode.TupleFound) || errcode.Is(err, errcode.SpaceExists) || errcode.Is(err, errcode.IndexExists)) {
				return
			}
			// Leadership may change on a busy machine.
			code := errcode.Of(err).Code
			if unknown = unknown || code == errcode.UnknownOutcome; !refusals[code] && code != errcode.UnknownOutcome || ctx.Err() != nil {
				t.Fatalf("insert %v into space %d: %v", row, space, err)
			}
		}
	}
	for _, id := range spaces {
		insert(280, int(id), 1, fmt.Sprintf("load%d", id), "memtx", 0, map[string]bool{}, []any{})
		insert(288, int(id), 0, "pk", "tree", map[string]bool{"unique": true}, []any{[]any{0, "unsigned"}})
	}
	for n := range accounts {
		insert(spaceAccounts, n, accountStart)
	}
}

// leads reports the term in which the instance leads its data group, by what it says on this very connection.
func (w *worker) leads() (term uint64, ok bool) {
	rows, ok := w.read(spaceRaftState, 10, iproto.IterEQ, "data")
	values := map[string]uint64{}
	for _, row := range rows {
		values[row[1].(string)] = number(row[2])
	}
	return values["term"], ok && values["leader_id"] != 0 && values["leader_id"] == values["raft_id"]
}

// register reads or writes one of a few registers. A read counts if the instance leads before and after it in one term:
// a leader that has lost a term does not lead in it again, so the read was answered by the leader, and is linearizable.
func (w *worker) register() {
	key := w.l.round<<32 | uint64(w.l.accessed.Add(1)/(accessesMax*registersAtOnce))*registersAtOnce | w.chance.Uint64N(registersAtOnce)
	a := access{client: w.id, key: int(key)}
	if w.chance.IntN(2) == 0 {
		a.write, a.value = true, w.l.round<<32|uint64(w.l.values.Add(1))
		a.begin = w.l.now()
		w.write(func(ctx context.Context) error {
			_, err := w.conn.Replace(ctx, spaceRegisters, pack(key, a.value))
			return err
		}, func(h *history, o outcome) {
			if a.end = w.l.now(); o == unknown {
				a.end = forever
			}
			if o == failed {
				h.neverWritten[a.value] = true
				return
			}
			h.accesses = append(h.accesses, a)
		})
		return
	}
	term, ok := w.leads()
	if !ok {
		w.bad = true // it comes back to a replica less often
		return
	}
	a.begin = w.l.now()
	rows, ok := w.read(spaceRegisters, 1, iproto.IterEQ, key)
	a.end = w.l.now()
	if !ok {
		return
	}
	if len(rows) > 0 {
		a.value = number(rows[0][1])
	}
	if again, ok := w.leads(); !ok || again != term {
		return
	}
	w.l.mu.Lock()
	w.l.h.leads("data, as it tells its clients", term, w.address)
	w.l.h.accesses = append(w.l.h.accesses, a)
	w.l.mu.Unlock()
}

// set inserts a new element, or looks at the newest ones.
func (w *worker) set() {
	if w.chance.IntN(4) > 0 {
		id := w.l.round<<32 | uint64(w.l.values.Add(1))
		w.write(func(ctx context.Context) error {
			_, err := w.conn.Insert(ctx, spaceSet, pack(id, w.id))
			return err
		}, func(h *history, o outcome) { h.elements[id] = o })
		return
	}
	rows, _ := w.read(spaceSet, 20, iproto.IterLE)
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	for _, row := range rows {
		w.l.h.seen[number(row[0])] = true
	}
}

// counter adds one to the counter of the round.
func (w *worker) counter() {
	var returned []byte
	w.write(func(ctx context.Context) (err error) {
		returned, err = w.conn.Update(ctx, iproto.ChangeArgs{Space: spaceCounters, Key: pack(w.l.round), Ops: pack([]any{"+", 1, 1})})
		return err
	}, func(h *history, o outcome) {
		h.increments[o]++
		if o != acked {
			return
		}
		rows := decode(returned)
		if len(rows) != 1 {
			h.wrong = append(h.wrong, "an increment was acknowledged, but there was no counter")
			return
		}
		h.returned = append(h.returned, number(rows[0][1]))
	})
}

// bank moves money in a transaction, or reads all accounts, in a transaction or at once.
func (w *worker) bank() {
	switch w.chance.IntN(4) {
	case 0:
		if rows, ok := w.read(spaceAccounts, accounts, iproto.IterALL); ok {
			w.noteTotal(rows)
		}
	case 1:
		w.readInTransaction()
	default:
		w.move()
	}
}

// noteTotal notes a sum, unless it was read of a replica that may not have all accounts yet.
func (w *worker) noteTotal(rows [][]any) {
	if w.withYoung() {
		return
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.h.totals = append(w.l.h.totals, totalOf(rows))
}

// totalOf is the sum of accounts.
func totalOf(rows [][]any) (sum uint64) {
	for _, row := range rows {
		sum += number(row[1])
	}
	return sum
}

// inStream sends a request of the worker's present stream.
func (w *worker) inStream(ctx context.Context, op iproto.Type, build client.Builder) ([]byte, error) {
	f, err := w.conn.Send(ctx, op, iproto.WithStream(w.stream, build))
	if err != nil {
		return nil, err
	}
	r, err := f.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

func (w *worker) begin(ctx context.Context) error {
	w.stream++
	_, err := w.inStream(ctx, iproto.TypeBegin, func(dst []byte, sync uint64) []byte { return iproto.AppendBegin(dst, sync, 5) })
	return err
}

func (w *worker) account(ctx context.Context, n int) (amount uint64, err error) {
	b, err := w.inStream(ctx, iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, selectOf(spaceAccounts, 1, iproto.IterEQ, []any{n}))
	})
	if err != nil {
		return 0, err
	}
	return totalOf(decode(b)), nil
}

// readInTransaction reads the accounts one by one, while others move money.
func (w *worker) readInTransaction() {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	err := w.begin(ctx)
	sum := uint64(0)
	for n := 0; err == nil && n < accounts; n++ {
		var amount uint64
		amount, err = w.account(ctx, n)
		sum += amount
	}
	if err == nil {
		_, err = w.inStream(ctx, iproto.TypeCommit, iproto.AppendCommit)
	}
	if w.judge(err) != acked || w.withYoung() {
		return
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.h.totals = append(w.l.h.totals, sum)
}

// move moves money between two accounts. Whether it happened does not matter to the total.
func (w *worker) move() {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	err := w.transfer(ctx, w.chance.IntN(accounts), w.chance.IntN(accounts))
	if w.judge(err) == acked {
		w.l.acks.Add(1)
		return
	}
	if w.conn != nil { // the stream may still have its transaction
		_, _ = w.inStream(ctx, iproto.TypeRollback, iproto.AppendRollback)
	}
}

func (w *worker) transfer(ctx context.Context, from, to int) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	there, err := w.account(ctx, from)
	if err != nil {
		return err
	}
	amount := min(there, 1+w.chance.Uint64N(10))
	for _, change := range []struct {
		account int
		op      string
	}{{from, "-"}, {to, "+"}} {
		if _, err := w.inStream(ctx, iproto.TypeUpdate, func(dst []byte, sync uint64) []byte {
			return iproto.AppendUpdate(dst, sync, iproto.ChangeArgs{Space: spaceAccounts, Key: pack(change.account),
				Ops: pack([]any{change.op, 1, amount})})
		}); err != nil {
			return err
		}
	}
	_, err = w.inStream(ctx, iproto.TypeCommit, iproto.AppendCommit)
	return err
}
