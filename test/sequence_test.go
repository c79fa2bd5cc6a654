package test

import (
	"context"
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
