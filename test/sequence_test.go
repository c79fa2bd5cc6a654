package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// TestSequence: values go on where they were, after a stop, a snapshot and a crash.
func TestSequence(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	ctx := context.Background()
	c := p.admin()
	for _, s := range []struct {
		space uint32
		name  string
		row   list
	}{
		{600, "plain", list{1, 1, "plain", 1, 1, int64(1<<63 - 1), 1, 0, false}},
		{601, "around", list{2, 1, "around", 2, 0, 5, 3, 0, true}},
	} {
		createSpace(t, c, s.space, s.name)
		do(t, "create sequence")(c.Insert(ctx, spaceSequence, pack(s.row)))
		do(t, "bind sequence")(c.Insert(ctx, spaceSpaceSequence, pack(list{int(s.space), s.row[0], true, 0, ""})))
	}
	next := func(c *client.Client, space uint32, want string) {
		t.Helper()
		if got := toJSON(t, do(t, "replace")(c.Replace(ctx, space, pack(list{nil, "x"})))); got != want {
			t.Errorf("space %d: %s, want %s", space, got, want)
		}
	}
	next(c, 600, `[[1,"x"]]`)
	next(c, 601, `[[3,"x"]]`)
	do(t, "a larger value")(c.Replace(ctx, 600, pack(list{10, "x"})))
	next(c, 601, `[[5,"x"]]`)
	p.stop()
	p = p.again()
	p.online()
	next(p.admin(), 600, `[[11,"x"]]`)
	next(p.admin(), 601, `[[0,"x"]]`)
	do(t, "snapshot")(p.admin().Call(ctx, "box.snapshot", nil))
	next(p.admin(), 600, `[[12,"x"]]`)
	strike(t, p, killBoth)
	p = p.again()
	p.online()
	next(p.admin(), 600, `[[13,"x"]]`)
	next(p.admin(), 601, `[[2,"x"]]`)
	do(t, "set")(p.admin().Replace(ctx, 285, pack(list{1, 1000})))
	do(t, "snapshot")(p.admin().Call(ctx, "box.snapshot", nil))
	p.stop()
	p = p.again()
	p.online()
	next(p.admin(), 600, `[[1001,"x"]]`)
	rows := toJSON(t, do(t, "select")(p.admin().Select(ctx, iproto.SelectArgs{Space: spaceSpaceSequence, Iterator: iproto.IterALL, Limit: 9})))
	if want := `[[600,1,true,0,""],[601,2,true,0,""]]`; rows != want {
		t.Errorf("bindings %s, want %s", rows, want)
	}
	p.stop()
}

// TestTarantoolGoesOn: the real server starts from our snapshot with sequences, collations and keys within fields, reads
// the same in every index, and its sequences give the values that ours would.
func TestTarantoolGoesOn(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	ctx := context.Background()
	ours := p.admin()
	createSpace(t, ours, 600, "auto")
	do(t, "create sequence")(ours.Insert(ctx, spaceSequence, pack(list{1, 1, "s", 3, 1, 1000, 1, 0, false})))
	do(t, "bind sequence")(ours.Insert(ctx, spaceSpaceSequence, pack(list{600, 1, true, 0, ""})))
	createSpaceWith(t, ours, 601, "keys", list{}, 0)
	createIndex(t, ours, 601, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	createIndex(t, ours, 601, 1, "u", "tree", false, list{dict{"field": 1, "type": "string", "collation": 1}})
	createIndex(t, ours, 601, 2, "ci", "tree", false, list{dict{"field": 1, "type": "string", "collation": 2}})
	createIndex(t, ours, 601, 3, "path", "tree", false, list{dict{"field": 2, "type": "string", "path": "a.b[1]"}})
	createIndex(t, ours, 601, 4, "hash", "hash", true, list{dict{"field": 0, "type": "unsigned"}, dict{"field": 1, "type": "string", "collation": 2}})
	for n, word := range []string{"b", "B", "a", "é", "E", "e", "ß", "ss", "я", "Я", "10", "9", "-", "_", "", "日"} {
		do(t, "row")(ours.Insert(ctx, 600, pack(list{nil, word})))
		do(t, "row")(ours.Insert(ctx, 601, pack(list{n, word, dict{"a": dict{"b": list{word}}}})))
	}
	code, out, errs := run(t, "checkpoint", "--peer", p.adminSocket())
	if code != 0 {
		t.Fatalf("checkpoint: exit code %d\n%s%s", code, out, errs)
	}
	path, _, _ := strings.Cut(out, ":")
	dir := t.TempDir()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs := dial(t, startTarantool(t, dir, ""), client.Options{User: "admin", Password: []byte(adminPassword)})
	for _, c := range []*client.Client{ours, theirs} {
		if got := toJSON(t, do(t, "insert")(c.Insert(ctx, 600, pack(list{nil, "next"})))); got != `[[49,"next"]]` {
			t.Errorf("the next row is %s", got)
		}
	}
	for index := range uint32(4) {
		args := iproto.SelectArgs{Space: 601, Index: index, Iterator: iproto.IterALL, Limit: 100}
		got, want := do(t, "select")(theirs.Select(ctx, args)), do(t, "select")(ours.Select(ctx, args))
		if toJSON(t, got) != toJSON(t, want) {
			t.Errorf("index %d: theirs %s\nours %s", index, toJSON(t, got), toJSON(t, want))
		}
	}
}
