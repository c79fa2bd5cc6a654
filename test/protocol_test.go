package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// next waits for the next value of a watcher and returns it as JSON, empty if there is none.
func next(t testing.TB, w *client.Watcher) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitStart)
	defer cancel()
	value, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if value == nil {
		return ""
	}
	return toJSON(t, value)
}

func watch(t testing.TB, c *client.Client, key string) *client.Watcher {
	t.Helper()
	w, err := c.Watch(key)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func once(t testing.TB, c *client.Client, key string) string {
	t.Helper()
	value, err := c.WatchOnce(context.Background(), key)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return toJSON(t, value)
}

// TestAnnounced: what ID promises is what the other tests of this file use.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := dial(t, p.listen, client.Options{})
	r, err := c.ID(context.Background(), 6, 0, 1, 2, 3, 4, 5, 6)
	if err != nil || r.Version != 6 || string(r.AuthType) != "chap-sha1" {
		t.Fatalf("%+v, %v", r, err)
	}
	features := toJSON(t, r.Features)
	for _, f := range []int{2, 3, 4, 5, 6} {
		if !strings.ContainsAny(features, fmt.Sprint(f)) {
			t.Errorf("feature %d is not in %s", f, features)
		}
	}
	// Feature 2: an error value in a tuple comes back as it went in.
	admin := p.admin()
	tb := createSpace(t, admin, 600, "errors")
	stack := iproto.AppendErrorStack(nil, errcode.Newf(7, "seven"))
	row := msgpack.AppendExt(msgpack.AppendUint([]byte{0x92}, 1), 3, stack)
	do(t, "insert an error")(admin.Insert(context.Background(), 600, row))
	if rows := tb.rows(); len(rows) != 1 || !bytes.Equal(rows[0], row) {
		t.Errorf("%x came back as %x", row, rows)
	}
}

// TestPages reads a space in pages, forward and back, while rows come and go; positions are those of Tarantool 2.11.
func TestPages(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	ctx := context.Background()
	tb := createSpace(t, c, 600, "paged")
	createIndex(t, c, 600, 1, "tag", "tree", false, list{list{1, "string"}})
	createSpaceWith(t, c, 601, "hashed", list{}, 0)
	createIndex(t, c, 601, 0, "pk", "hash", true, list{list{0, "unsigned"}})
	for id := range 10 {
		tb.insert(list{id, fmt.Sprint("t", id%2)})
	}
	read := func(a iproto.SelectArgs) (all, positions []string) {
		t.Helper()
		for range 20 {
			rows, position, err := c.SelectPage(ctx, a)
			if err != nil {
				t.Fatal(err)
			}
			if position == nil {
				if n := len(split(t, rows)); n != 0 {
					t.Fatalf("%d rows without a position", n)
				}
				return all, positions
			}
			for _, row := range split(t, rows) {
				all = append(all, fmt.Sprint(firstUint(t, row)))
			}
			positions, a.After = append(positions, string(position)), position
		}
		t.Fatal("no end")
		return nil, nil
	}
	for _, q := range []struct {
		a               iproto.SelectArgs
		rows, positions string
	}{
		{iproto.SelectArgs{Space: 600, Iterator: iproto.IterALL, Limit: 4}, "0 1 2 3 4 5 6 7 8 9", "kQM kQc kQk"},
		{iproto.SelectArgs{Space: 600, Iterator: iproto.IterLE, Limit: 6, Key: pack(list{7})}, "7 6 5 4 3 2 1 0", "kQI kQA"},
		{iproto.SelectArgs{SpaceName: "paged", IndexName: "tag", Limit: 2, Key: pack(list{"t1"})}, "1 3 5 7 9",
			"kqJ0MQM kqJ0MQc kqJ0MQk"},
		{iproto.SelectArgs{Space: 600, Index: 1, Iterator: iproto.IterREQ, Limit: 9, Key: pack(list{"t0"})}, "8 6 4 2 0", "kqJ0MAA"},
	} {
		rows, positions := read(q.a)
		if got := strings.Join(rows, " "); got != q.rows {
			t.Errorf("%+v: rows %s, want %s", q.a, got, q.rows)
		}
		if got := strings.Join(positions, " "); got != q.positions {
			t.Errorf("%+v: positions %s, want %s", q.a, got, q.positions)
		}
	}
	got, err := c.Select(ctx, iproto.SelectArgs{Space: 600, Iterator: iproto.IterGE, Limit: 2, AfterTuple: pack(list{5, "x"})})
	if text := toJSON(t, do(t, "after a tuple")(got, err)); text != `[[6,"t0"],[7,"t1"]]` {
		t.Errorf("after a tuple: %s", text)
	}
	for _, bad := range []struct {
		a    iproto.SelectArgs
		want string
	}{
		{iproto.SelectArgs{Space: 600, Limit: 1, After: []byte("?")}, "Iterator position is invalid"},
		{iproto.SelectArgs{Space: 600, Limit: 1, Key: pack(list{1}), After: []byte("kQM")}, "Iterator position is invalid"},
		{iproto.SelectArgs{Space: 601, Limit: 1, Iterator: iproto.IterALL},
			"Index 'pk' (HASH) of space 'hashed' (memtx) does not support pagination"},
	} {
		if _, _, err := c.SelectPage(ctx, bad.a); err == nil || err.Error() != bad.want {
			t.Errorf("%+v: %v", bad.a, err)
		}
	}
}

// TestPagesInTransaction: a transaction reads pages of what it sees.
func TestPagesInTransaction(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	ctx := context.Background()
	tb := createSpace(t, c, 600, "paged")
	for id := range 6 {
		tb.insert(list{2 * id})
	}
	// All at once: the requests after BEGIN may have to wait inside the server.
	send := func(op iproto.Type, build client.Builder) *client.Future {
		t.Helper()
		f, err := c.Send(ctx, op, iproto.WithStream(7, build))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	page := func(after []byte) *client.Future {
		return send(iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
			return iproto.AppendSelect(dst, sync, iproto.SelectArgs{Space: 600, Iterator: iproto.IterALL, Limit: 4, FetchPosition: true, After: after})
		})
	}
	send(iproto.TypeBegin, func(dst []byte, sync uint64) []byte { return iproto.AppendBegin(dst, sync, 0) })
	send(iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, iproto.TypeInsert, sync, 600, pack(list{3}))
	})
	want := []string{"[[0],[2],[3],[4]] kQQ", "[[6],[8],[10]] kQo"}
	for n, f := range []*client.Future{page(nil), page([]byte("kQQ"))} {
		r, err := f.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := toJSON(t, r.Data) + " " + string(r.Position); got != want[n] {
			t.Errorf("page %d: %s, want %s", n, got, want[n])
		}
	}
}

// TestNamesInsteadOfIDs: every request that has a space takes its name, and the name counts where both are given.
func TestNamesInsteadOfIDs(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	ctx := context.Background()
	createSpace(t, c, 600, "named")
	createIndex(t, c, 600, 1, "second", "tree", true, list{list{1, "string"}})
	send := func(op iproto.Type, build client.Builder) string {
		t.Helper()
		f, err := c.Send(ctx, op, build)
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Wait(ctx)
		if err != nil {
			return fmt.Sprint(codeOf(err), " ", err)
		}
		return toJSON(t, r.Data)
	}
	store := func(op iproto.Type, space string, row list) string {
		return send(op, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsertNamed(dst, op, sync, space, pack(row))
		})
	}
	change := func(op iproto.Type, build func([]byte, uint64, iproto.ChangeArgs) []byte, a iproto.ChangeArgs) string {
		return send(op, func(dst []byte, sync uint64) []byte { return build(dst, sync, a) })
	}
	sel := func(a iproto.SelectArgs) string {
		a.Limit = 10
		return send(iproto.TypeSelect, func(dst []byte, sync uint64) []byte { return iproto.AppendSelect(dst, sync, a) })
	}
	add := pack(list{list{"=", 2, "x"}})
	second := iproto.ChangeArgs{SpaceName: "named", IndexName: "second", Key: pack(list{"a"}), Ops: add, Tuple: pack(list{5, "c"})}
	both := func(dst []byte, sync uint64) []byte {
		dst, mark := iproto.BeginRequest(dst, iproto.TypeSelect, sync)
		dst = append(dst, 0x84, byte(iproto.KeySpaceID), 0xcd, 0x03, 0xe7, byte(iproto.KeyLimit), 1, byte(iproto.KeyKey), 0x90)
		return iproto.EndRequest(msgpack.AppendStr(append(dst, byte(iproto.KeySpaceName)), "named"), mark)
	}
	nameless := second
	nameless.SpaceName = "nameless"
	third := second
	third.IndexName = "third"
	for n, c := range [][2]string{
		{store(iproto.TypeInsert, "named", list{1, "a"}), `[[1,"a"]]`},
		{store(iproto.TypeReplace, "named", list{2, "b"}), `[[2,"b"]]`},
		{change(iproto.TypeUpdate, iproto.AppendUpdate, second), `[[1,"a","x"]]`},
		{change(iproto.TypeUpsert, iproto.AppendUpsert, second), `[]`},
		{change(iproto.TypeDelete, iproto.AppendDelete, second), `[[1,"a","x"]]`},
		{sel(iproto.SelectArgs{SpaceName: "named", IndexName: "second", Iterator: iproto.IterREQ}), `[[5,"c"],[2,"b"]]`},
		{sel(iproto.SelectArgs{Space: 600, IndexName: "second", Key: pack(list{"b"})}), `[[2,"b"]]`},
		{send(iproto.TypeSelect, both), `[[2,"b"]]`},
		{store(iproto.TypeInsert, "nameless", list{1}), "36 Space 'nameless' does not exist"},
		{change(iproto.TypeDelete, iproto.AppendDelete, nameless), "36 Space 'nameless' does not exist"},
		{change(iproto.TypeUpdate, iproto.AppendUpdate, third), "148 No index 'third' is defined in space 'named'"},
		{sel(iproto.SelectArgs{Space: 999, IndexName: "pk"}), "36 Space '999' does not exist"},
	} {
		if c[0] != c[1] {
			t.Errorf("case %d: %s, want %s", n, c[0], c[1])
		}
	}
}

// TestWatchedKeys: the keys of the server have values, and change with what they tell.
func TestWatchedKeys(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	s := p.online()
	guest := dial(t, p.listen, client.Options{})
	admin := dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	if got := once(t, guest, "box.shutdown"); got != "false" {
		t.Errorf("box.shutdown: %s", got)
	}
	if got := once(t, guest, "box.id"); !strings.HasPrefix(got, `{"id":1,"instance_uuid":"`+s.InstanceUUID+`","replicaset_uuid":"`) {
		t.Errorf("box.id: %s", got)
	}
	status := watch(t, guest, "box.status")
	for got := next(t, status); got != `{"is_ro":false,"is_ro_cfg":false,"status":"running","dd_version":"2.3.1"}`; got = next(t, status) {
		t.Logf("box.status: %s", got)
	}
	if _, err := guest.WatchOnce(context.Background(), "lycosa.state"); codeOf(err) != 42 {
		t.Errorf("a guest looks at lycosa.state: %v", err)
	}
	state := watch(t, admin, "lycosa.state")
	for got := ""; !strings.HasPrefix(got, `{"stage":"Postjoin","state":"RolesConfigured","prev":"ConfiguringRoles","since":"`) ||
		!strings.HasSuffix(got, `","cause":null}`); got = next(t, state) {
		t.Logf("lycosa.state: %s", got)
	}
	version := func(text string) (v struct{ Version uint64 }) {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("box.schema: %s", text)
		}
		return v
	}
	schema := watch(t, guest, "box.schema")
	before := version(next(t, schema))
	createSpace(t, admin, 600, "new")
	for after := before; after.Version < before.Version+2; {
		after = version(next(t, schema))
	}
	if got := next(t, watch(t, admin, "nobody.sets.this")); got != "" {
		t.Errorf("a key without a value: %s", got)
	}
}

// TestGracefulStop: clients are told, finish and go; new ones are refused; the exit code is 0.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	// A long timeout: the stop must be as fast as the client, not as the timeout.
	p := startInstance(t, options{args: []string{"--shutdown-timeout", "10m"}})
	p.online()
	admin := p.admin()
	createSpace(t, admin, 600, "s")
	c := dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	idle := dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	stop := watch(t, c, "box.shutdown")
	if got := next(t, stop); got != "false" {
		t.Fatalf("box.shutdown is %s", got)
	}
	admin.Close()
	// Requests go on while the instance is stopping, and each of them is answered.
	var wg sync.WaitGroup
	quit := make(chan struct{})
	accepted := 0
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := c.Insert(context.Background(), 600, pack(list{accepted})); err != nil {
				t.Errorf("insert while stopping: %v", err)
				return
			}
			accepted++
		}
	})
	p.signal(syscall.SIGTERM)
	if got := next(t, stop); got != "true" {
		t.Errorf("box.shutdown became %s", got)
	}
	if conn, err := net.Dial("tcp", p.listen); err == nil {
		conn.Close()
		t.Error("a new connection was taken after box.shutdown")
	}
	if err := c.Ping(context.Background()); err != nil || !p.running() {
		t.Errorf("the client may stay: %v", err)
	}
	close(quit)
	wg.Wait()
	if err := idle.Ping(context.Background()); err != nil {
		t.Errorf("a client that watches nothing: %v", err)
	}
	c.Close()
	if code := p.ended(waitStop); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p = p.again()
	p.online()
	if rows := (table{t, p.admin(), 600}).rows(); len(rows) != accepted {
		t.Errorf("%d rows, %d were acknowledged", len(rows), accepted)
	}
}

// TestStubbornClient: who is told and stays is cut when the shutdown timeout is over.
func TestStubbornClient(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--shutdown-timeout", "500ms"}})
	p.online()
	c := dial(t, p.listen, client.Options{})
	stop := watch(t, c, "box.shutdown")
	next(t, stop)
	p.stop()
	if got := next(t, stop); got != "true" {
		t.Errorf("box.shutdown became %s", got)
	}
	if !strings.Contains(p.output(), "clients that were asked to leave are still there") {
		t.Error("no word about the client that stayed")
	}
}
