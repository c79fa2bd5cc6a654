package test

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Ids of system spaces, as Tarantool numbers them, and those of the catalog's tables that the tests read.
const (
	spaceCollation = 276
	spaceSpace     = 280
	spaceVSpace    = 281
	spaceIndex     = 288
	spaceFunc      = 296
	spaceUser      = 304
	spacePriv      = 312
	spaceCluster   = 320
	// Newer than Tarantool 2.6; clients of the version that the greeting names read it when they connect.
	spaceVSpaceSequence = 341
	spaceInstances      = 415
)

type list = []any

type dict = map[string]any

// pack encodes a value as MessagePack.
func pack(v any) []byte { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return msgpack.AppendNil(b)
	case bool:
		return msgpack.AppendBool(b, v)
	case int:
		return msgpack.AppendInt(b, int64(v))
	case int64:
		return msgpack.AppendInt(b, v)
	case uint64:
		return msgpack.AppendUint(b, v)
	case float64:
		return msgpack.AppendFloat64(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case []byte:
		return msgpack.AppendBin(b, v)
	case list:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, x := range v {
			b = appendValue(b, x)
		}
		return b
	case dict:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b = msgpack.AppendMapHeader(b, len(v))
		for _, k := range keys {
			b = appendValue(msgpack.AppendStr(b, k), v[k])
		}
		return b
	}
	panic(fmt.Sprintf("no MessagePack for %T", v))
}

// table is a space as a connection sees it.
type table struct {
	t  testing.TB
	c  *client.Client
	id uint32
}

// do checks the outcome of a request that must succeed.
func do(t testing.TB, what string) func([]byte, error) []byte {
	t.Helper()
	return func(v []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

// createSpace makes a space with a primary TREE index over its first, unsigned field.
func createSpace(t testing.TB, c *client.Client, id uint32, name string) table {
	t.Helper()
	createSpaceWith(t, c, id, name, list{dict{"name": "id", "type": "unsigned"}}, 0)
	createIndex(t, c, id, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	return table{t, c, id}
}

func createSpaceWith(t testing.TB, c *client.Client, id uint32, name string, format list, fields int) {
	t.Helper()
	do(t, "create space "+name)(c.Insert(context.Background(), spaceSpace,
		pack(list{int(id), 1, name, "memtx", fields, dict{}, format})))
}

func createIndex(t testing.TB, c *client.Client, space, id uint32, name, kind string, unique bool, parts list) {
	t.Helper()
	do(t, "create index "+name)(c.Insert(context.Background(), spaceIndex,
		pack(list{int(space), int(id), name, kind, dict{"unique": unique}, parts})))
}

func (s table) insert(row list) {
	s.t.Helper()
	do(s.t, fmt.Sprintf("insert %v", row))(s.c.Insert(context.Background(), s.id, pack(row)))
}

// rows returns all rows as raw MessagePack, in the order of the primary index.
func (s table) rows() [][]byte {
	s.t.Helper()
	return split(s.t, do(s.t, "select")(s.c.Select(context.Background(),
		iproto.SelectArgs{Space: s.id, Iterator: iproto.IterALL, Limit: 1<<32 - 1})))
}

// json returns all rows as one JSON array.
func (s table) json() string {
	s.t.Helper()
	return toJSON(s.t, do(s.t, "select")(s.c.Select(context.Background(),
		iproto.SelectArgs{Space: s.id, Iterator: iproto.IterALL, Limit: 1<<32 - 1})))
}

// split cuts an array into its raw elements.
func split(t testing.TB, array []byte) [][]byte {
	t.Helper()
	n, b, err := msgpack.ReadArrayLen(array)
	if err != nil {
		t.Fatalf("not an array: %v", err)
	}
	rows := make([][]byte, 0, n)
	for range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			t.Fatalf("broken array: %v", err)
		}
		rows = append(rows, b[:len(b)-len(rest)])
		b = rest
	}
	return rows
}

func toJSON(t testing.TB, value []byte) string {
	t.Helper()
	text, err := msgpack.ToJSON(nil, value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstUint reads the first field of a row.
func firstUint(t testing.TB, row []byte) uint64 {
	t.Helper()
	_, b, err := msgpack.ReadArrayLen(row)
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := msgpack.ReadUint(b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// decode reads JSON that a command has printed.
func decode(text string, into any) bool { return json.Unmarshal([]byte(text), into) == nil }
