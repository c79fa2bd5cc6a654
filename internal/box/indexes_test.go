package box

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestManyIndexes: a space has up to 128 indexes, all of which follow its rows, here and where the log is applied.
func TestManyIndexes(t *testing.T) {
	const indexes, rows = 128, 50
	e, replica := newTestEngine(t, Options{}), newTestEngine(t, Options{})
	version := uint64(1)
	run := func(s *Statement) error {
		version++
		e.Begin(version)
		_, err := e.Execute(s)
		entry := bytes.Clone(e.Seal())
		e.Publish(version)
		if err := replica.Apply(version, entry); err != nil {
			t.Fatal(err)
		}
		replica.Publish(version)
		return err
	}
	insert := func(space uint32, text string) error {
		return run(&Statement{Kind: Insert, SpaceID: space, Tuple: fromJSON(t, text)})
	}
	if err := insert(280, `[600,1,"many","memtx",0,{},[]]`); err != nil {
		t.Fatal(err)
	}
	for n := range indexes + 1 {
		err := insert(288, fmt.Sprintf(`[600,%d,"i%d","tree",{"unique":%v},[[%d,"unsigned"]]]`, n, n, n%2 == 0, n%4))
		if refused := n == indexes; refused != errcode.Is(err, errcode.ModifyIndex) || !refused && err != nil {
			t.Fatalf("index %d: %v", n, err)
		}
		if n == indexes/2 { // the rest is built from rows
			for id := range rows {
				if err := insert(600, fmt.Sprintf(`[%d,%d,%d,%d]`, id, rows-id, id*7, 1000-id)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := run(&Statement{Kind: Delete, SpaceID: 600, Key: key(3)}); err != nil {
		t.Fatal(err)
	}
	if err := run(&Statement{Kind: Update, SpaceID: 600, Key: key(4), Ops: fromJSON(t, `[["=",3,5000]]`)}); err != nil {
		t.Fatal(err)
	}
	for _, engine := range []*Engine{e, replica} {
		r := engine.NewReader()
		defer r.Close()
		for n := range indexes {
			q := &Query{SpaceID: 600, IndexID: uint32(n), Iterator: iterALL, Limit: 2 * rows, Key: msgpack.AppendArrayHeader(nil, 0)}
			out, count, err := r.Select(q, nil)
			if err != nil || count != rows-1 {
				t.Fatalf("index %d: %d rows, %v", n, count, err)
			}
			for last, all := uint64(0), splitTuples(out); len(all) > 0; all = all[1:] {
				now := firstUint(all[0], n%4)
				if now < last {
					t.Fatalf("index %d: %d after %d", n, now, last)
				}
				last = now
			}
		}
	}
}
