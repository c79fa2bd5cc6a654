package test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

const (
	builtSpace = 600
	builtRows  = 300_000
)

// fillBuilt inserts rows [id, id in another order, text] with many requests under way.
func fillBuilt(t *testing.T, c *client.Client) {
	t.Helper()
	ctx := context.Background()
	var under []*client.Future
	for id := range builtRows {
		f, err := c.Send(ctx, iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeInsert, sync, builtSpace, pack(list{id, id * 7919 % builtRows, "some text"}))
		})
		if err != nil {
			t.Fatal(err)
		}
		if under = append(under, f); len(under) == 1000 {
			for _, f := range under {
				if _, err := f.Wait(ctx); err != nil {
					t.Fatal(err)
				}
			}
			under = under[:0]
		}
	}
}

// beginBuild asks for an index and returns when its build is shown.
func beginBuild(t *testing.T, p *proc, c *client.Client) *client.Future {
	t.Helper()
	f, err := c.Send(context.Background(), iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, iproto.TypeInsert, sync, spaceIndex,
			pack(list{builtSpace, 1, "second", "tree", dict{"unique": true}, list{list{1, "unsigned"}}}))
	})
	if err != nil {
		t.Fatal(err)
	}
	watcher := p.admin()
	defer watcher.Close()
	waitFor(t, "the build is shown", waitStart, func() bool { return strings.Contains(instanceInfo(t, watcher), `"index":"second"`) })
	return f
}

func instanceInfo(t *testing.T, c *client.Client) string {
	t.Helper()
	return toJSON(t, do(t, "instance info")(c.Call(context.Background(), ".proc_instance_info", nil)))
}

func countBuilt(t *testing.T, c *client.Client, index uint32) (n int, code int) {
	t.Helper()
	b, err := c.Select(context.Background(), iproto.SelectArgs{Space: builtSpace, Index: index, Iterator: iproto.IterALL, Limit: 1 << 30})
	if err != nil {
		return 0, codeOf(err)
	}
	return len(split(t, b)), 0
}

// TestIndexBuild: while an index is built over many rows writers are answered; a client that leaves, a stop and a crash
// in the middle leave nothing of it; finished, it has every row, also after a restart from the log.
func TestIndexBuild(t *testing.T) {
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	createSpaceWith(t, c, builtSpace, "built", list{}, 0)
	createIndex(t, c, builtSpace, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	fillBuilt(t, c)
	nothing := func(what string) {
		t.Helper()
		c := p.admin()
		defer c.Close()
		waitFor(t, what+": the build ends", waitStart, func() bool { return strings.Contains(instanceInfo(t, c), `"schema_changes":[]`) })
		if _, code := countBuilt(t, c, 1); code != int(errcode.NoSuchIndexID) {
			t.Fatalf("%s: the index is there: %d", what, code)
		}
	}
	leaver := p.admin()
	beginBuild(t, p, leaver)
	leaver.Close()
	nothing("the client left")

	left := beginBuild(t, p, c)
	p.stop()
	if _, err := left.Wait(context.Background()); codeOf(err) != int(errcode.Shutdown) {
		t.Errorf("a stop answers %v", err)
	}
	p = p.again()
	p.online()
	nothing("a stop")

	beginBuild(t, p, p.admin())
	strike(t, p, killBoth)
	p = p.again()
	p.online()
	nothing("a crash")

	done := beginBuild(t, p, p.admin())
	written := writeDuring(t, p, done)
	for range 2 {
		c := p.admin()
		for index := range uint32(2) {
			if n, code := countBuilt(t, c, index); n != builtRows+written || code != 0 {
				t.Errorf("index %d: %d rows, want %d, error %d", index, n, builtRows+written, code)
			}
		}
		c.Close()
		p.stop()
		p = p.again()
		p.online()
	}
}

// writeDuring inserts rows one after another until done is answered, and returns how many. Some must have been answered
// before; another change of the space is refused meanwhile.
func writeDuring(t *testing.T, p *proc, done *client.Future) (written int) {
	t.Helper()
	c := p.admin()
	var ended atomic.Bool
	result := make(chan error, 1)
	go func() {
		_, err := done.Wait(context.Background())
		ended.Store(true)
		result <- err
	}()
	before := 0
	for !ended.Load() {
		if written == 0 {
			_, err := c.Insert(context.Background(), spaceIndex, pack(list{builtSpace, 2, "third", "tree", dict{}, list{list{2, "string"}}}))
			if err == nil { // only after the first one
				_, err = done.Wait(context.Background())
			} else if codeOf(err) == int(errcode.AlterSpace) {
				err = nil
			}
			if err != nil {
				t.Errorf("another change of the space: %v", err)
			}
		}
		id := builtRows + written
		do(t, fmt.Sprint("insert ", id))(c.Insert(context.Background(), builtSpace, pack(list{id, id, "more"})))
		written++
		if !ended.Load() {
			before++
		}
	}
	if err := <-result; err != nil {
		t.Fatalf("the build failed: %v", err)
	}
	if before == 0 {
		t.Error("no write was answered while the index was built")
	}
	t.Logf("%d writes answered during the build", before)
	return written
}

// TestStreamDDL: a space, its indexes and its rows are made in one transaction; rolled back there is nothing of it.
func TestStreamDDL(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	v := conversation{t, c, 1}
	insert := func(space uint32, row list) int {
		_, code := v.do(iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeInsert, sync, space, pack(row))
		})
		return code
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %d, want %d", what, got, want)
		}
	}
	for _, keep := range []bool{false, true} {
		expect("begin", v.begin(0), 0)
		expect("space", insert(spaceSpace, list{builtSpace, 1, "made", "memtx", 0, dict{}, list{}}), 0)
		expect("key", insert(spaceIndex, list{builtSpace, 0, "pk", "tree", dict{}, list{list{0, "unsigned"}}}), 0)
		expect("index", insert(spaceIndex, list{builtSpace, 1, "second", "tree", dict{}, list{list{1, "string"}}}), 0)
		expect("row", insert(builtSpace, list{1, "a"}), 0)
		expect("duplicate", insert(builtSpace, list{2, "a"}), int(errcode.TupleFound))
		expect("index over rows", insert(spaceIndex, list{builtSpace, 2, "late", "tree", dict{}, list{list{1, "string"}}}),
			int(errcode.MultistatementTransaction))
		if _, code := countBuilt(t, c, 0); code != int(errcode.NoSuchSpace) {
			t.Fatalf("another request sees the space: %d", code)
		}
		if keep {
			expect("commit", v.commit(), 0)
		} else {
			expect("rollback", v.rollback(), 0)
			if _, code := countBuilt(t, c, 0); code != int(errcode.NoSuchSpace) {
				t.Fatalf("after the rollback: %d", code)
			}
		}
	}
	p.stop()
	p = p.again()
	p.online()
	for index := range uint32(2) {
		if n, code := countBuilt(t, p.admin(), index); n != 1 || code != 0 {
			t.Errorf("index %d: %d rows, error %d", index, n, code)
		}
	}
}
