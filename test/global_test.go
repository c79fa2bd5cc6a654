package test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// createGlobal makes a global table with a primary key over an unsigned field.
func createGlobal(t testing.TB, c *client.Client, id uint32, name string, format list) table {
	t.Helper()
	do(t, "create global table "+name)(c.Insert(context.Background(), spaceSpace,
		pack(list{int(id), 1, name, "memtx", 0, dict{"distribution": "global"}, format})))
	createIndex(t, c, id, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	return table{t, c, id}
}

// shows waits until an instance shows rows of a table, as JSON.
func shows(t testing.TB, p *proc, id uint32, want string) {
	t.Helper()
	got := ""
	if !poll(waitStart, func() bool {
		got = selected(p, iproto.SelectArgs{Space: id, Iterator: iproto.IterALL})
		return got == want
	}) {
		t.Fatalf("%s shows %s of table %d, want %s", p.dir, got, id, want)
	}
}

// selected is the answer to a select as JSON, or its error.
func selected(p *proc, args iproto.SelectArgs) string {
	c := p.admin()
	defer c.Close()
	args.Limit = 1000
	if args.Key == nil {
		args.Key = pack(list{})
	}
	rows, err := c.Select(context.Background(), args)
	if err != nil {
		return err.Error()
	}
	return toJSON(p.t, rows)
}

// A global table is a space like others at every instance of two replicasets: it is defined, read and written with an
// ordinary client, whichever instance that talks to, and it outlives restarts.
func TestGlobalTable(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 2)
	c.online()
	i1, i2, i3 := c.instances[0], c.instances[1], c.instances[2]
	g := createGlobal(t, i2.admin(), 700, "rates", list{dict{"name": "id", "type": "unsigned"}, dict{"name": "code", "type": "string"}})
	createIndex(t, i3.admin(), 700, 1, "code", "tree", true, list{list{1, "string"}})
	createIndex(t, i1.admin(), 700, 2, "third", "tree", false, list{list{2, "unsigned"}})
	c.alike(i1)
	for n := range 6 {
		// Written at one instance and read there at once: the answer comes after local apply.
		p := c.instances[n%3]
		table{t, p.admin(), 700}.insert(list{n, fmt.Sprint("c", 9-n), n % 2})
		if got, want := selected(p, iproto.SelectArgs{Space: 700, Key: pack(list{n})}), fmt.Sprintf(`[[%d,"c%d",%d]]`, n, 9-n, n%2); got != want {
			t.Fatalf("just written: %s, want %s", got, want)
		}
	}
	checkGlobalWrites(t, c)
	const rows = `[[0,"c9",0],[1,"c8",1],[2,"c7",0],[3,"new",7],[5,"c4",1]]`
	for _, p := range c.instances {
		shows(t, p, 700, rows)
		checkGlobalReads(t, p)
	}
	checkGlobalRefusals(t, g)
	checkCAS(t, c)
	checkOrder(t, i3)
	checkAbort(t, c)

	// A change of the definition is judged by the rows; a restart of all changes nothing.
	format := list{dict{"name": "id", "type": "unsigned"}, dict{"name": "code", "type": "unsigned"}}
	bad := pack(list{700, 1, "rates", "memtx", 0, dict{"distribution": "global"}, format})
	if _, err := i1.admin().Replace(context.Background(), spaceSpace, bad); err == nil {
		t.Error("a format that the rows do not fit is taken")
	}
	do(t, "checkpoint")(i1.admin().Call(context.Background(), "box.snapshot", pack(list{})))
	for _, p := range c.instances {
		p.kill()
	}
	for n := range c.instances {
		c.instances[n] = c.start(n)
	}
	c.online()
	for _, p := range c.instances {
		shows(t, p, 700, rows)
	}
	dropGlobal(t, c)
}

// checkGlobalWrites changes what TestGlobalTable has inserted by every kind of statement.
func checkGlobalWrites(t *testing.T, c *cluster) {
	t.Helper()
	ctx, i1, i3 := context.Background(), c.instances[0].admin(), c.instances[2].admin()
	do(t, "replace")(i3.Replace(ctx, 700, pack(list{3, "new", 6})))
	got := toJSON(t, do(t, "update")(i1.Update(ctx, iproto.ChangeArgs{Space: 700, Index: 1, Key: pack(list{"new"}), Ops: pack(list{list{"+", 2, 1}})})))
	if got != `[[3,"new",7]]` {
		t.Errorf("an update by a unique secondary index returns %s", got)
	}
	if got := toJSON(t, do(t, "delete")(i3.Delete(ctx, iproto.ChangeArgs{Space: 700, Key: pack(list{4})}))); got != `[[4,"c5",0]]` {
		t.Errorf("a delete returns %s", got)
	}
	if got := toJSON(t, do(t, "delete")(i1.Delete(ctx, iproto.ChangeArgs{Space: 700, Key: pack(list{4})}))); got != `[]` {
		t.Errorf("a second delete returns %s", got)
	}
}

// checkGlobalReads looks at the rows of TestGlobalTable with the iterators of all indexes.
func checkGlobalReads(t *testing.T, p *proc) {
	t.Helper()
	for _, q := range []struct {
		args iproto.SelectArgs
		want string
	}{
		{iproto.SelectArgs{Index: 0, Key: pack(list{3})}, `[[3,"new",7]]`},
		{iproto.SelectArgs{Index: 0, Key: pack(list{4})}, `[]`},
		{iproto.SelectArgs{Index: 0, Iterator: iproto.IterGT, Key: pack(list{2})}, `[[3,"new",7],[5,"c4",1]]`},
		{iproto.SelectArgs{Index: 0, Iterator: iproto.IterLE, Key: pack(list{2})}, `[[2,"c7",0],[1,"c8",1],[0,"c9",0]]`},
		{iproto.SelectArgs{Index: 0, Iterator: iproto.IterLT, Key: pack(list{2})}, `[[1,"c8",1],[0,"c9",0]]`},
		{iproto.SelectArgs{Index: 1, Iterator: iproto.IterGE, Key: pack(list{"c9"})}, `[[0,"c9",0],[3,"new",7]]`},
		{iproto.SelectArgs{Index: 1, Iterator: iproto.IterALL, Offset: 4}, `[[3,"new",7]]`},
		{iproto.SelectArgs{Index: 2, Key: pack(list{0})}, `[[0,"c9",0],[2,"c7",0]]`},
		{iproto.SelectArgs{Index: 2, Iterator: iproto.IterREQ, Key: pack(list{1})}, `[[5,"c4",1],[1,"c8",1]]`},
		{iproto.SelectArgs{Index: 2, Iterator: iproto.IterLT}, `[[3,"new",7],[5,"c4",1],[1,"c8",1],[2,"c7",0],[0,"c9",0]]`},
	} {
		q.args.Space = 700
		if got := selected(p, q.args); got != q.want {
			t.Errorf("%s: index %d, iterator %d: %s, want %s", p.dir, q.args.Index, q.args.Iterator, got, q.want)
		}
	}
	view := selected(p, iproto.SelectArgs{Space: 281, Key: pack(list{700})}) // _vspace
	if want := `[[700,1,"rates","memtx",0,{"distribution":"global"},[{"name":"id","type":"unsigned"},{"name":"code","type":"string"}]]]`; view != want {
		t.Errorf("_vspace has %s", view)
	}
}

// checkGlobalRefusals tries what can not be done to a global table.
func checkGlobalRefusals(t *testing.T, g table) {
	t.Helper()
	ctx := context.Background()
	insert := func(row list) func() error {
		return func() error { _, err := g.c.Insert(ctx, 700, pack(row)); return err }
	}
	replace := func(space uint32, row list) func() error {
		return func() error { _, err := g.c.Replace(ctx, space, pack(row)); return err }
	}
	for what, r := range map[string]struct {
		do   func() error
		want errcode.Code
	}{
		"a key twice":               {insert(list{1, "x", 1}), errcode.TupleFound},
		"a secondary key twice":     {insert(list{9, "c9", 1}), errcode.TupleFound},
		"another type":              {insert(list{"9", "x", 1}), errcode.FieldType},
		"a field missing":           {insert(list{9}), errcode.FieldMissing},
		"a row that is too large":   {insert(list{9, string(make([]byte, 2<<20)), 1}), errcode.TooBig},
		"an option of local spaces": {replace(spaceSpace, list{701, 1, "x", "memtx", 0, dict{"distribution": "global", "temporary": true}, list{}}), errcode.CreateSpace},
		"a distribution of no kind": {replace(spaceSpace, list{701, 1, "x", "memtx", 0, dict{"distribution": "sharded"}, list{}}), errcode.WrongSpaceOptions},
		"to be global no more":      {replace(spaceSpace, list{700, 1, "rates", "memtx", 0, dict{}, list{}}), errcode.AlterSpace},
		"a HASH index":              {replace(spaceIndex, list{700, 3, "h", "hash", dict{"unique": true}, list{list{0, "unsigned"}}}), errcode.IndexType},
		"a check constraint":        {replace(364, list{700, "c", false, "SQL", `"id" > 0`, true}), errcode.GlobalTableFeature},
		"to drop the key of an update": {func() error {
			_, err := g.c.Update(ctx, iproto.ChangeArgs{Space: 700, Key: pack(list{1}), Ops: pack(list{list{"=", 0, 11}})})
			return err
		}, errcode.CantUpdatePrimaryKey},
	} {
		if err := r.do(); !errcode.Is(err, r.want) {
			t.Errorf("%s: %v, want error %d", what, err, r.want)
		}
	}
}

// dropGlobal drops the table of TestGlobalTable; another one of the same id has none of its rows.
func dropGlobal(t *testing.T, c *cluster) {
	t.Helper()
	ctx, conn := context.Background(), c.instances[1].admin()
	for _, index := range []int{2, 1, 0} {
		do(t, "drop index")(conn.Delete(ctx, iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{700, index})}))
	}
	do(t, "drop table")(conn.Delete(ctx, iproto.ChangeArgs{Space: spaceSpace, Key: pack(list{700})}))
	createGlobal(t, conn, 700, "again", list{})
	c.alike(c.instances[1])
	for _, p := range c.instances {
		shows(t, p, 700, `[]`)
	}
}

// called is the answer to a CALL as JSON, or its error.
func called(t testing.TB, c *client.Client, name string, args ...any) string {
	values, err := c.Call(context.Background(), name, pack(list(args)))
	if err != nil {
		return err.Error()
	}
	text := toJSON(t, values)
	return strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
}

// checkCAS writes the table of TestGlobalTable by CALL, and leaves it as it was.
func checkCAS(t *testing.T, c *cluster) {
	t.Helper()
	i1, i3 := c.instances[0].admin(), c.instances[2].admin()
	var at struct{ Index, Term uint64 }
	if text := called(t, i3, "pico.raft_read_index", 5); !decode(text, &at) || at.Index == 0 || at.Term == 0 {
		t.Fatalf("read index: %s", text)
	}
	guard := func(ranges ...any) dict {
		return dict{"index": int(at.Index), "term": int(at.Term), "ranges": list(ranges)}
	}
	ends := func(answer, want string) {
		t.Helper()
		if !strings.HasSuffix(answer, want) {
			t.Errorf("answer %s, want %s", answer, want)
		}
	}
	ends(called(t, i3, "pico.cas", dict{"kind": "insert", "table": "rates", "tuple": list{7, "c7b", 1}}, guard(dict{"table": "rates", "eq": list{7}})), `"row":[7,"c7b",1]}`)
	ends(selected(c.instances[2], iproto.SelectArgs{Space: 700, Key: pack(list{7})}), `[[7,"c7b",1]]`)
	update := dict{"kind": "update", "table": 700, "key": list{7}, "ops": list{list{"=", 3, 2}}}
	if text := called(t, i1, "pico.cas", update, guard()); !strings.Contains(text, "Compare-and-swap conflict") {
		t.Errorf("a row that was written since: %s", text)
	}
	open := dict{"table": "rates", "key_min": dict{"kind": "excluded", "key": list{6}}, "key_max": dict{"kind": "unbounded"}}
	if text := called(t, i1, "pico.cas", dict{"kind": "delete", "table": "rates", "key": list{100}}, guard(open)); !strings.Contains(text, "Compare-and-swap conflict") {
		t.Errorf("a range with a row that was written since: %s", text)
	}
	ends(called(t, i1, "pico.cas", update), `"row":[7,"c7b",2]}`)
	ends(called(t, i3, "pico.cas", dict{"kind": "delete", "table": "rates", "key": list{7}}), `"row":[7,"c7b",2]}`)
	ends(called(t, i3, "pico.cas", dict{"kind": "delete", "table": "rates", "key": list{7}}), `"row":null}`)
	guest := dial(t, c.instances[1].listen, client.Options{})
	for text, answer := range map[string]string{
		"Duplicate key":      called(t, i1, "pico.cas", dict{"kind": "insert", "table": "rates", "tuple": list{1, "x", 1}}),
		"_pico_instance":     called(t, i1, "pico.cas", dict{"kind": "delete", "table": "_pico_instance", "key": list{"default_1_1"}}),
		"kind is":            called(t, i1, "pico.cas", dict{"kind": "truncate", "table": "rates"}),
		"takes a change":     called(t, i1, "pico.cas"),
		"is not one of":      called(t, i1, "pico.cas", dict{"kind": "insert", "tabel": "rates"}),
		"needs the list key": called(t, i1, "pico.cas", dict{"kind": "delete", "table": "rates"}),
		"Write access":       called(t, guest, "pico.cas", dict{"kind": "delete", "table": "rates", "key": list{1}}),
		"Execute access":     called(t, guest, "pico.raft_read_index"),
	} {
		if !strings.Contains(answer, text) {
			t.Errorf("answer %s, want %s", answer, text)
		}
	}
}

// checkOrder sends statements on a global table without waiting: those of one connection are carried out in their order.
func checkOrder(t *testing.T, p *proc) {
	t.Helper()
	conn := p.admin()
	ctx := context.Background()
	var futures []*client.Future
	for n := range 21 {
		kind, build := iproto.TypeReplace, func(b []byte, sync uint64) []byte {
			return iproto.AppendInsert(b, iproto.TypeReplace, sync, 700, pack(list{8, "order", n}))
		}
		if n == 20 {
			kind, build = iproto.TypeDelete, func(b []byte, sync uint64) []byte {
				return iproto.AppendDelete(b, sync, iproto.ChangeArgs{Space: 700, Key: pack(list{8})})
			}
		}
		f, err := conn.Send(ctx, kind, build)
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, f)
	}
	for n, f := range futures {
		reply, err := f.Wait(ctx)
		if err != nil || reply.Err != nil {
			t.Fatalf("statement %d: %v", n, err)
		}
		if got, want := toJSON(t, reply.Data), fmt.Sprintf(`[[8,"order",%d]]`, min(n, 19)); got != want {
			t.Errorf("statement %d answers %s, want %s", n, got, want)
		}
	}
}

// checkAbort lets a change of the schema wait for a replicaset that does not answer, and takes it back.
func checkAbort(t *testing.T, c *cluster) {
	t.Helper()
	ctx := context.Background()
	var lone, other *proc
	doc, _ := c.instances[0].cluster()
	sizes, sets := map[string]int{}, map[string]string{}
	for _, row := range doc.Instances {
		sizes[row.Replicaset]++
		sets[row.Name] = row.Replicaset
	}
	for _, p := range c.instances {
		if sizes[sets[nameOf(p)]] == 1 {
			lone = p
		} else {
			other = p
		}
	}
	if lone == nil || other == nil {
		t.Fatalf("replicasets %v", sizes)
	}
	admin := other.admin()
	do(t, "set the parameter")(admin.Replace(ctx, 431, pack(list{"auto_offline_timeout", "", 600.0})))
	createSpace(t, admin, 710, "rows")
	c.alike(other)
	child := lone.childPID()
	kill(t, child, syscall.SIGSTOP)
	defer kill(t, child, syscall.SIGCONT)
	outcome := make(chan error, 1)
	go func() {
		_, err := other.admin().Insert(ctx, spaceIndex, pack(list{710, 1, "u", "tree", dict{"unique": true}, list{list{1, "unsigned"}}}))
		outcome <- err
	}()
	version := ""
	waitFor(t, "the change in status, with its issue", waitStart, func() bool {
		_, said, _ := run(t, "status", "--peer", other.adminSocket(), "--timeout", "20s")
		at := strings.Index(said, "lycosa abort-ddl ")
		if at < 0 || !strings.Contains(said, "agrees to change") && !strings.Contains(said, "agree to change") {
			return false
		}
		version = strings.Fields(said[at:])[2]
		return true
	})
	code, said, errs := run(t, "abort-ddl", version, "--peer", other.adminSocket(), "--timeout", "20s")
	if code != 0 || !strings.Contains(said, "taken back") {
		t.Fatalf("abort-ddl %s: code %d: %s%s", version, code, said, errs)
	}
	if err := <-outcome; !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("who had asked for it is told %v", err)
	}
	kill(t, child, syscall.SIGCONT)
	c.alike(other)
	auditHas(t, other, "abort change "+version)
	n, _ := strconv.Atoi(version)
	code, said, errs = run(t, "abort-ddl", strconv.Itoa(n-1), "--peer", other.adminSocket(), "--timeout", "20s")
	if code != 1 || !strings.Contains(errs, "committed") {
		t.Errorf("to take back what is committed: code %d: %s%s", code, said, errs)
	}
}
