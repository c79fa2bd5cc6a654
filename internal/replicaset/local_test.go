package replicaset

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// localRow is a row of a log beside the entry of index and term.
func localRow(index, term uint64) []byte {
	// After 0 rows: put into space 9 one byte.
	return box.AppendLocal(nil, index, term, []byte{0, 1, 9, 1, byte(index)})
}

// feed gives rows one after the other, in a buffer that is used again, as a log does.
func feed(rows [][]byte) func() ([]byte, bool) {
	var buf []byte
	return func() ([]byte, bool) {
		if len(rows) == 0 {
			return nil, false
		}
		buf = append(buf[:0], rows[0]...)
		rows = rows[1:]
		return buf, true
	}
}

// TestLocals: rows come to the entries that they were written beside; those of entries that a snapshot has, or that were
// replaced, to none. Entries are index.term, and "|" stands for the end of what is replayed at start.
func TestLocals(t *testing.T) {
	for _, c := range []struct{ log, entries, want string }{
		{"", "2.1 3.1 | 4.1", ""},
		{"3.1 3.1 5.1", "2.1 3.1 4.1 5.1 |", "3.1 3.1 5.1"},
		{"3.1 4.1 5.1", "4.1 5.1 |", "4.1 5.1"},                         // a snapshot stands for 3
		{"5.1 6.1 7.1 6.2 7.2", "5.1 6.2 7.2 |", "5.1 6.2 7.2"},         // 6 and 7 were replaced
		{"5.1 6.1 7.1", "5.1 6.2 7.2 | 8.2", "5.1"},                     // by entries without local rows
		{"5.1 6.1 7.1 8.2", "5.1 | 6.1 7.1 8.2", "5.1 6.1 7.1 8.2"},     // not known to be committed at start
		{"5.1 6.1 7.1 6.2", "5.1 | 6.2 7.2", "5.1 6.2"},                 // replaced, and not known to be committed
		{"5.1 7.1", "5.1 6.1 | 7.2", "5.1"},                             // replaced after the start
		{"3.1 5.1", "2.1 | 3.1 4.1 5.1 6.1", "3.1 5.1"},                 // one was read ahead
		{"9.3", "2.1 3.1 4.2 | 5.2 9.3", "9.3"},                         // far ahead
		{"2.1 3.1 4.1 5.1 6.1", "| 2.1 3.1 4.1 5.1", "2.1 3.1 4.1 5.1"}, // the last entry never was committed
	} {
		var rows [][]byte
		for _, at := range strings.Fields(c.log) {
			var index, term uint64
			if _, err := fmt.Sscanf(at, "%d.%d", &index, &term); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, localRow(index, term))
		}
		l := NewLocals(feed(rows))
		var got []string
		for _, at := range strings.Fields(c.entries) {
			if at == "|" {
				l = l.Rest()
				continue
			}
			var index, term uint64
			if _, err := fmt.Sscanf(at, "%d.%d", &index, &term); err != nil {
				t.Fatal(err)
			}
			taken, err := l.Take(index, term)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range taken {
				if r.Row.Data[0] != byte(index) {
					t.Errorf("log %q: entry %s got row %+v", c.log, at, r)
				}
				got = append(got, at)
			}
		}
		if have := strings.Join(got, " "); have != c.want {
			t.Errorf("log %q, entries %q: got %q, want %q", c.log, c.entries, have, c.want)
		}
	}
	if _, err := NewLocals(feed([][]byte{{1}})).Take(1, 1); err == nil {
		t.Error("damage was not noticed")
	}
}

// packed encodes a value of the tests.
func packed(b []byte, v any) []byte {
	switch v := v.(type) {
	case int:
		return msgpack.AppendUint(b, uint64(v))
	case bool:
		return msgpack.AppendBool(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case map[string]any:
		b = msgpack.AppendMapHeader(b, len(v))
		for k, x := range v {
			b = packed(msgpack.AppendStr(b, k), x)
		}
		return b
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, x := range v {
			b = packed(b, x)
		}
		return b
	}
	panic(v)
}

// TestLocalRowsReturn: the rows of local spaces that a run made come back with its entry after a restart.
func TestLocalRowsReturn(t *testing.T) {
	m, e := newTestMachine(t)
	second, same := newTestMachine(t)
	statement := func(space uint32, v ...any) Write {
		return Write{Statement: box.Statement{Kind: box.Insert, SpaceID: space, Tuple: packed(nil, v)}}
	}
	a := client{}
	entry := append([]byte(nil), m.Run(2, 5, []*Batch{{Sink: a, Writes: []Write{
		statement(280, 600, 1, "local", "memtx", 0, map[string]any{"group_id": 1}, []any{}),
		statement(288, 600, 0, "pk", "tree", map[string]any{"unique": true}, []any{[]any{0, "unsigned"}}),
		statement(600, 1), statement(600, 2),
	}}})...)
	rows := m.LocalRows()
	m.Commit(2)
	if len(rows) != 2 || len(a) != 1 || a[0] != 0 {
		t.Fatalf("%d rows, answers %v", len(rows), a)
	}
	if entry := m.Run(3, 5, []*Batch{{Sink: a, Writes: []Write{put(1, "x")}}}); entry == nil || len(m.LocalRows()) != 0 {
		t.Fatalf("rows of the run before: %x", m.LocalRows())
	}
	m.Abort(3, errors.New("leadership lost"))
	second.Resume(NewLocals(feed(rows)).Rest())
	second.Apply(2, 5, entry)
	for _, engine := range []*box.Engine{e, same} {
		r := engine.NewReader()
		_, n, err := r.Select(&box.Query{SpaceID: 600, Iterator: 2, Limit: 100, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
		r.Close()
		if err != nil || n != 2 {
			t.Errorf("%d rows, %v", n, err)
		}
	}
}
