package snap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// These tests run the real server, which the test command installs: what it writes must be readable here, and what is
// written here must be what it finds.

const (
	instanceUUID = "aaaaaaaa-0000-4000-8000-000000000009"
	clusterUUID  = "bbbbbbbb-0000-4000-8000-000000000009"
)

// tarantool runs a Lua script in the real server with dir as its data directory and returns its output.
func tarantool(t *testing.T, dir, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.lua")
	text := "box.cfg{work_dir = arg[1], memtx_memory = 64 * 1024 * 1024, log_level = 2}\n" + script + "\nos.exit(0)\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tarantool", path, dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tarantool: %v\n%s\n%s", err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

const writeScript = `
local t = box.schema.space.create('t', {id = 600})
t:create_index('pk')
local loc = box.schema.space.create('loc', {id = 601, is_local = true})
loc:create_index('pk')
for i = 1, 3000 do t:replace{i, 'row ' .. i, i * 0.5} end
box.begin() for i = 1, 3000 do t:replace{i, 'again ' .. i} end loc:replace{1} box.commit()
t:update(5, {{'=', 2, 'five'}})
t:upsert({4000, 1}, {{'+', 2, 1}})
t:delete(6)
t:insert{5000, string.rep('z', 300000)}
loc:replace{2}
box.snapshot()
for i = 1, 10 do t:replace{i + 6000, require('digest').urandom(3000)} end
print(t:len(), loc:len())`

// TestReadsTarantool reads every file of a database that the real server wrote, and writes each again block for block.
func TestReadsTarantool(t *testing.T) {
	dir := t.TempDir()
	if out := tarantool(t, dir, writeScript); out != "3011\t2\n" {
		t.Fatalf("the server says %q", out)
	}
	names, err := filepath.Glob(filepath.Join(dir, "0*"))
	if err != nil || len(names) < 4 {
		t.Fatalf("files %v, error %v", names, err)
	}
	rows := make(map[string]int)
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		again := reencode(t, file, rows)
		before, after := flatten(t, file), flatten(t, again)
		if !bytes.Equal(before, after) {
			t.Errorf("%s came out differently", filepath.Base(name))
		}
	}
	want := map[string]int{"XLOG 600": 3000 + 3000 + 1 + 1 + 1 + 1 + 10, "XLOG 601": 2, "SNAP 600": 3001, "SNAP 601": 2}
	for key, n := range want {
		if rows[key] != n {
			t.Errorf("%s: %d rows, want %d", key, rows[key], n)
		}
	}
}

// reencode reads a file, counts its rows by kind and space, and writes it again with the same blocks.
func reencode(t *testing.T, file []byte, counts map[string]int) []byte {
	t.Helper()
	r, err := snap.NewReader(bytes.NewReader(file), snap.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := snap.NewWriter(&out, r.Meta())
	if err != nil {
		t.Fatal(err)
	}
	last := r.BlockOffset()
	for {
		row, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		counts[fmt.Sprintf("%s %d", r.Meta().Kind, row.SpaceID)]++
		if r.BlockOffset() != last {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		last = r.BlockOffset()
		if err := w.WriteRow(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// flatten returns the rows of a file as one uncompressed file with one block for each transaction.
func flatten(t *testing.T, file []byte) []byte {
	t.Helper()
	r, err := snap.NewReader(bytes.NewReader(file), snap.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := snap.NewWriterOptions(&out, r.Meta(), snap.WriterOptions{Compression: snap.CompressionOff})
	if err != nil {
		t.Fatal(err)
	}
	for {
		row, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteRow(row); err != nil {
			t.Fatal(err)
		}
		if row.Commit() {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestReadsKilledTarantool reads the log of a server that was killed: all rows, then ErrNoEOF.
func TestReadsKilledTarantool(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "script.lua")
	text := `box.cfg{work_dir = arg[1], memtx_memory = 64 * 1024 * 1024, log_level = 2}
box.schema.space.create('t', {id = 600}):create_index('pk')
for i = 1, 50 do box.space.t:replace{i} end
local ffi = require('ffi')
ffi.cdef'int kill(int, int); int getpid(void);'
ffi.C.kill(ffi.C.getpid(), 9)`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := exec.Command("tarantool", path, dir).Run(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the server was to die by a signal: %v", err)
	}
	file, err := os.ReadFile(filepath.Join(dir, strings.Repeat("0", 20)+".xlog"))
	if err != nil {
		t.Fatal(err)
	}
	// A file system may also leave zeros where space was reserved.
	for _, tail := range []int{0, 3, 4, 100_000} {
		r, err := snap.NewReader(bytes.NewReader(append(bytes.Clone(file), make([]byte, tail)...)), snap.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		if n-1 != 52 || !errors.Is(err, snap.ErrNoEOF) || r.Offset() != int64(len(file)) {
			t.Errorf("tail of %d zeros: %d rows up to offset %d of %d, then %v", tail, n-1, r.Offset(), len(file), err)
		}
	}
}

// database describes a snapshot and a log that are written here for the real server to recover.
type database struct {
	options  snap.WriterOptions
	rows     int
	bigBytes int
	extra    map[string]string
}

func arrayOf(values ...any) []byte {
	b := msgpack.AppendArrayHeader(nil, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = msgpack.AppendInt(b, int64(v))
		case string:
			b = msgpack.AppendStr(b, v)
		case bool:
			b = msgpack.AppendBool(b, v)
		case float64:
			b = msgpack.AppendFloat64(b, v)
		case []byte:
			b = append(b, v...)
		case map[string]any:
			b = msgpack.AppendMapHeader(b, len(v))
			for key, value := range v {
				b = append(msgpack.AppendStr(b, key), arrayOf(value)[1:]...)
			}
		}
	}
	return b
}

// userSpaces are the dictionary rows of the two spaces of the test database, in two system spaces.
func userSpaces() (spaces, indexes [][]byte) {
	for _, id := range []int{600, 601} {
		flags := map[string]any{}
		if id == 601 {
			flags["group_id"] = 1
		}
		spaces = append(spaces, arrayOf(id, 1, fmt.Sprintf("s%d", id), "memtx", 0, flags, arrayOf()))
		parts := arrayOf(arrayOf(0, "unsigned"))
		indexes = append(indexes, arrayOf(id, 0, "pk", "tree", map[string]any{"unique": true}, parts))
	}
	indexes = append(indexes, arrayOf(600, 1, "name", "tree", map[string]any{"unique": false}, arrayOf(arrayOf(1, "string"))))
	return spaces, indexes
}

func (d database) writeSnapshot(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, fmt.Sprintf("%020d.snap", 107))
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	meta := snap.Meta{Kind: snap.KindSnap, Version: "2.6.0-lycosa", Instance: instanceUUID,
		VClock: map[uint32]uint64{0: 7, 1: 100}, Extra: d.extra}
	w, err := snap.NewWriterOptions(file, meta, d.options)
	if err != nil {
		t.Fatal(err)
	}
	put := func(space uint32, group uint32, tuples ...[]byte) {
		for _, tuple := range tuples {
			row := snap.Row{Type: snap.TypeInsert, SpaceID: space, GroupID: group, Timestamp: 1.5e9, Tuple: tuple}
			if err := w.WriteRow(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(dictionary.SpaceSchema, 0, dictionary.Fresh(clusterUUID)...)
	spaces, indexes := userSpaces()
	last := uint32(0)
	more := func(space uint32) {
		if last == dictionary.SpaceSpace && space != last {
			put(last, 0, spaces...)
		}
		if last == dictionary.SpaceIndex && space != last {
			put(last, 0, indexes...)
		}
		last = space
	}
	dictionary.Rows(func(space uint32, tuple []byte) bool {
		more(space)
		put(space, 0, tuple)
		return true
	})
	put(dictionary.SpaceCluster, 0, dictionary.ClusterRow(1, instanceUUID))
	for i := range d.rows {
		put(600, 0, arrayOf(i+1, fmt.Sprintf("name %d", i%1000), float64(i)/4))
	}
	put(600, 0, arrayOf(d.rows+1, "big", strings.Repeat("b", d.bigBytes)))
	put(601, snap.GroupLocal, arrayOf(1, "local"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// writeLog writes the log after the snapshot: a plain row, a transaction over both spaces, a large compressed block.
func (d database) writeLog(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%020d.xlog", 107)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	meta := snap.Meta{Kind: snap.KindXlog, Version: "2.6.0-lycosa", Instance: instanceUUID,
		VClock: map[uint32]uint64{0: 7, 1: 100}, PrevVClock: map[uint32]uint64{}, Extra: d.extra}
	w, err := snap.NewWriterOptions(file, meta, d.options)
	if err != nil {
		t.Fatal(err)
	}
	rows := []snap.Row{
		{Type: snap.TypeReplace, ReplicaID: 1, LSN: 101, Timestamp: 1.6e9, SpaceID: 600, Tuple: arrayOf(1, "replaced", 0.25)},
		{Type: snap.TypeInsert, ReplicaID: 1, LSN: 102, HasTSN: true, Timestamp: 1.6e9, SpaceID: 600, Tuple: arrayOf(700_000, "tx", 1)},
		{Type: snap.TypeInsert, GroupID: 1, LSN: 8, HasTSN: true, TSN: 1<<64 - 94, Timestamp: 1.6e9, SpaceID: 601, Tuple: arrayOf(2)},
		{Type: snap.TypeNop, ReplicaID: 1, LSN: 103, HasTSN: true, TSN: 1, Flags: snap.FlagCommit, Timestamp: 1.6e9},
		{Type: snap.TypeUpdate, ReplicaID: 1, LSN: 104, Timestamp: 1.6e9, SpaceID: 600, IndexBase: 1, Key: arrayOf(2),
			Tuple: arrayOf(arrayOf("=", 2, "updated"))},
		{Type: snap.TypeUpsert, ReplicaID: 1, LSN: 105, Timestamp: 1.6e9, SpaceID: 600, IndexBase: 1,
			Tuple: arrayOf(700_001, "upserted"), Ops: arrayOf(arrayOf("=", 2, "no"))},
		{Type: snap.TypeDelete, ReplicaID: 1, LSN: 106, Timestamp: 1.6e9, SpaceID: 600, Key: arrayOf(3)},
	}
	for i := range 2000 {
		rows = append(rows, snap.Row{Type: snap.TypeInsert, ReplicaID: 1, LSN: uint64(107 + i), Timestamp: 1.6e9, SpaceID: 600,
			Tuple: arrayOf(800_000+i, strings.Repeat("x", i%200))})
	}
	for _, row := range rows {
		if err := w.WriteRow(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

const readScript = `
local s, l = box.space.s600, box.space.s601
print(box.info.uuid, box.info.cluster.uuid, box.info.id)
print(s:len(), l:len(), s.index.name:count('name 7'))
local t = s:get(1) print(t[1], t[2], t[3])
t = s:get(2) print(t[1], t[2], t[3])
print(s:get(3), s:get(700000), s:get(700001)[2], l:get(1)[2], l:get(2)[1])
print(#s.index.name:select('big')[1][3], s:get(801999)[2] == string.rep('x', 199))
print(box.info.lsn, box.info.vclock[1], box.info.vclock[0])
local sum, n = 0, 0
for _, t in s.index.pk:pairs({5}, {iterator = 'GE'}) do
    if t[1] <= 20000 and t[2] ~= 'big' then sum = sum + t[3] n = n + 1 end
end
print(sum, n)
s:insert{900000, 'written by the server'}
box.space._user:count()
box.schema.user.create('somebody', {password = 'secret'})
print(box.space._func:count(), box.space._collation:count())`

// TestTarantoolRecovers lets the real server recover a snapshot and a log that were written here.
func TestTarantoolRecovers(t *testing.T) {
	long := make(map[string]string)
	for i := range 10 {
		long[fmt.Sprintf("Raft-Member-%d", i)] = strings.Repeat("m", 100)
	}
	raft := map[string]string{"Raft-Term": "7", "Raft-Index": "4711", "Raft-Voters": "1,2,3"}
	cases := []database{
		{rows: 0, bigBytes: 10},
		{rows: 20_000, bigBytes: 900_000, extra: raft},
		{rows: 20_000, bigBytes: 900_000, extra: long, options: snap.WriterOptions{Compression: snap.CompressionFastest}},
		{rows: 20_000, bigBytes: 900_000, options: snap.WriterOptions{Compression: snap.CompressionOff}},
	}
	for i, d := range cases[1:] {
		dir := t.TempDir()
		d.writeSnapshot(t, dir)
		d.writeLog(t, dir)
		got := tarantool(t, dir, readScript)
		sum := 0.0
		for n := 4; n < d.rows; n++ {
			sum += float64(n) / 4
		}
		want := strings.Join([]string{
			instanceUUID + "\t" + clusterUUID + "\t1",
			fmt.Sprintf("%d\t2\t20", d.rows+1+1+1-1+2000), "1\treplaced\t0.25", "2\tupdated\t0.25",
			"nil\t[700000, 'tx', 1]\tupserted\tlocal\t2", "900000\ttrue", "2106\t2106\t8",
			strconv.FormatFloat(sum, 'f', -1, 64) + fmt.Sprintf("\t%d", d.rows-4), "67\t277", "",
		}, "\n")
		if got != want {
			t.Errorf("case %d: the server says\n%s\nwant\n%s", i, got, want)
		}
	}
	dir := t.TempDir()
	cases[0].writeSnapshot(t, dir)
	if got := tarantool(t, dir, "print(box.space.s600:len())"); got != "1\n" {
		t.Errorf("small snapshot without a log: %s", got)
	}
}

// TestTarantoolHeaderLimit shows that the longest header that the writer makes is one that the server reads.
func TestTarantoolHeaderLimit(t *testing.T) {
	size := func(n int) error {
		meta := snap.Meta{Kind: snap.KindSnap, Version: "2.6.0-lycosa", Instance: instanceUUID,
			VClock: map[uint32]uint64{0: 7, 1: 100}, Extra: map[string]string{"X": strings.Repeat("m", n)}}
		_, err := snap.NewWriter(io.Discard, meta)
		return err
	}
	longest := 0
	for size(longest+1) == nil {
		longest++
	}
	if longest < 1000 {
		t.Fatalf("only %d bytes are allowed: %v", longest, size(longest))
	}
	dir := t.TempDir()
	database{bigBytes: 1, extra: map[string]string{"X": strings.Repeat("m", longest)}}.writeSnapshot(t, dir)
	if got := tarantool(t, dir, "print(box.space.s601:len())"); got != "1\n" {
		t.Errorf("the server says %q", got)
	}
}
