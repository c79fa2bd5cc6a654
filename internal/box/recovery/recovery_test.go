package recovery

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys/real"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	spaceID      = 700
	rowCount     = 3000
	checkpointAt = 10
)

func newEngine(t testing.TB) *box.Engine {
	t.Helper()
	e := openEngine(t, true)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func openEngine(t testing.TB, poison bool) *box.Engine {
	t.Helper()
	e, err := box.New(box.Options{QuotaBytes: 32 << 20, Poison: poison, Virtuals: []box.VirtualSpace{{
		ID: 415, Name: "_built_in", Fields: []tuple.Field{{Name: "name", Type: tuple.String}},
		Indexes: []box.VirtualIndex{{Name: "name", Unique: true, Parts: []tuple.Part{{Type: tuple.String}}}},
		Rows:    box.VirtualFunc(func(yield func([]byte) bool) { yield([]byte{0x91, 0xa1, 'x'}) }),
	}, {ID: dictionary.SpaceUser, Rows: box.VirtualFunc(func(yield func([]byte) bool) {
		dictionary.Rows(func(space uint32, row []byte) bool { return space != dictionary.SpaceUser || yield(row) })
	})}}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// filled returns an engine with the dictionary, a space with two indexes, and rows.
func filled(t *testing.T) *box.Engine {
	e := newEngine(t)
	e.Begin(1)
	for _, row := range dictionary.Fresh("bbbbbbbb-0000-4000-8000-000000000002") {
		loadRow(t, e, dictionary.SpaceSchema, row)
	}
	dictionary.Rows(func(space uint32, row []byte) bool {
		loadRow(t, e, space, row)
		return true
	})
	if err := e.LoadBuiltin(); err != nil {
		t.Fatal(err)
	}
	e.Seal()
	e.Publish(1)
	e.Begin(checkpointAt)
	ddl := []byte{0x97, 0xcd, 0x02, 0xbc, 1, 0xa1, 't', 0xa5, 'm', 'e', 'm', 't', 'x', 0, 0x80, 0x90}
	exec(t, e, dictionary.SpaceSpace, ddl)
	exec(t, e, dictionary.SpaceIndex, indexRow(0, "pk", true, 0, "unsigned"))
	exec(t, e, dictionary.SpaceIndex, indexRow(1, "s", false, 1, "string"))
	for n := range uint64(rowCount) {
		exec(t, e, spaceID, row(n))
	}
	e.Seal()
	e.Publish(checkpointAt)
	return e
}

func loadRow(t *testing.T, e *box.Engine, space uint32, row []byte) {
	t.Helper()
	if err := e.Load(space, row); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, e *box.Engine, space uint32, row []byte) {
	t.Helper()
	if _, err := e.Execute(&box.Statement{Kind: box.Insert, SpaceID: space, Tuple: row}); err != nil {
		t.Fatal(err)
	}
}

func indexRow(id uint64, name string, unique bool, field uint64, kind string) []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(msgpack.AppendUint(b, spaceID), id)
	b = msgpack.AppendStr(msgpack.AppendStr(b, name), "tree")
	b = msgpack.AppendBool(msgpack.AppendStr(msgpack.AppendMapHeader(b, 1), "unique"), unique)
	b = msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(b, 1), 2)
	return msgpack.AppendStr(msgpack.AppendUint(b, field), kind)
}

func row(n uint64) []byte {
	b := msgpack.AppendArrayHeader(nil, 3)
	b = msgpack.AppendUint(b, n)
	b = msgpack.AppendStr(b, fmt.Sprint("tag", n%17))
	return msgpack.AppendBin(b, bytes.Repeat([]byte{byte(n)}, int(n%300)))
}

func write(t testing.TB, e *box.Engine, dir string) checkpoint.Result {
	t.Helper()
	view := e.OpenView()
	defer view.Close()
	res, err := checkpoint.Write(e, view, checkpoint.Position{Index: view.Version(), Term: 3, Voters: []uint64{2, 5}}, checkpoint.Options{
		FS: real.FS{}, Dir: dir, InstanceUUID: "aaaaaaaa-0000-4000-8000-000000000001", Now: time.Unix(1795348234, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// dump renders everything a view shows, so that two engines can be compared.
func dump(e *box.Engine) []string {
	view := e.OpenView()
	defer view.Close()
	var all []string
	for _, sp := range view.Schema().Spaces() {
		view.Ascend(sp, func(tup []byte) bool {
			all = append(all, fmt.Sprintf("%d %x", sp.ID, tup))
			return true
		})
	}
	return all
}

func TestSnapshotRoundTrip(t *testing.T) {
	e, dir := filled(t), t.TempDir()
	res := write(t, e, dir)
	if res.Existed || res.Rows < rowCount {
		t.Fatalf("%+v", res)
	}
	if again := write(t, e, dir); !again.Existed || again.Path != res.Path {
		t.Fatalf("the same position was written again: %+v", again)
	}
	fresh := newEngine(t)
	got, err := Load(fresh, real.FS{}, dir, checkpointAt, nil)
	if err != nil {
		t.Fatal(err)
	}
	got.Finish(got.Index)
	if got.Rows != res.Rows || got.Index != checkpointAt || got.Term != 3 || fmt.Sprint(got.Voters) != "[2 5]" || got.HashMissing {
		t.Fatalf("%+v", got)
	}
	want, have := dump(e), dump(fresh)
	if len(want) != len(have) {
		t.Fatalf("%d rows, want %d", len(have), len(want))
	}
	for i := range want {
		if want[i] != have[i] {
			t.Fatalf("row %d: %s, want %s", i, have[i], want[i])
		}
	}
	r := fresh.NewReader()
	defer r.Close()
	key := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), "tag3")
	if _, n, err := r.Select(&box.Query{SpaceID: spaceID, IndexID: 1, Limit: rowCount, Key: key}, nil); err != nil || n != rowCount/17+1 {
		t.Fatalf("secondary index: %d rows, %v", n, err)
	}
}

// TestMembership: all four lists of members come back, and a file without the three newer ones has voters alone.
func TestMembership(t *testing.T) {
	e := filled(t)
	view := e.OpenView()
	defer view.Close()
	for _, want := range []checkpoint.Position{
		{Index: checkpointAt, Term: 7, Voters: []uint64{2}},
		{Index: checkpointAt, Term: 7, Voters: []uint64{2, 9}, Learners: []uint64{4, 8}, Outgoing: []uint64{2, 5}, LearnersNext: []uint64{5}},
	} {
		dir := t.TempDir()
		o := checkpoint.Options{FS: real.FS{}, Dir: dir, InstanceUUID: "aaaaaaaa-0000-4000-8000-000000000001", Now: time.Unix(1795348234, 0)}
		if _, err := checkpoint.Write(e, view, want, o); err != nil {
			t.Fatal(err)
		}
		got, err := checkpoint.ReadPosition(real.FS{}, dir, checkpointAt)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("position %+v, %v, want %+v", got, err, want)
		}
		loaded, err := Load(newEngine(t), real.FS{}, dir, checkpointAt, nil)
		if err != nil || !reflect.DeepEqual(loaded.Position, want) {
			t.Errorf("loaded %+v, %v, want %+v", loaded.Position, err, want)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	res := write(t, filled(t), dir)
	whole, err := os.ReadFile(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-4] },
		"flipped":     func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"header":      func(b []byte) []byte { b[0] = 'X'; return b },
		"more at end": func(b []byte) []byte { return append(b, 1, 2, 3) },
		"version line": func(b []byte) []byte {
			return bytes.Replace(b, []byte("Version: 2.11.0"), []byte("Version: 2.11.1"), 1)
		},
	} {
		if err := os.WriteFile(res.Path, spoil(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(newEngine(t), real.FS{}, dir, checkpointAt, nil); err == nil {
			t.Errorf("%s: damage was not found", name)
		}
	}
	if err := os.WriteFile(res.Path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(res.Path + ".sha256"); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(newEngine(t), real.FS{}, dir, checkpointAt, nil); err != nil || !got.HashMissing {
		t.Errorf("a missing sidecar is a warning: %+v, %v", got, err)
	}
}

func TestRetain(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []uint64{5, 7, 30, 101} {
		for _, name := range []string{checkpoint.Name(n), checkpoint.Name(n) + ".sha256"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	oldest, err := checkpoint.Retain(real.FS{}, dir, 2, func(signature uint64) bool { return signature == 5 })
	if err != nil || oldest != 5 { // somebody reads it
		t.Fatalf("oldest %d, %v", oldest, err)
	}
	if left, err := checkpoint.List(real.FS{}, dir); err != nil || fmt.Sprint(left) != "[101 30 5]" {
		t.Fatalf("left %v, %v", left, err)
	}
	for range 2 {
		if oldest, err = checkpoint.Retain(real.FS{}, dir, 2, nil); err != nil || oldest != 30 {
			t.Fatalf("oldest %d, %v", oldest, err)
		}
	}
	left, err := checkpoint.List(real.FS{}, dir)
	if err != nil || fmt.Sprint(left) != "[101 30]" {
		t.Fatalf("left %v, %v", left, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Fatalf("%d files left, %v", len(entries), err)
	}
}
