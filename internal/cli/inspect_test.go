package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// inspected returns the lines of lycosa inspect, each checked to be JSON.
func inspected(t *testing.T, path string) (code int, lines []string, errs string) {
	t.Helper()
	code, out, errs := command(nil, "inspect", path)
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s: not JSON: %s", path, line)
		}
		lines = append(lines, line)
	}
	return code, lines, errs
}

// damaged returns a copy of a file with one byte changed.
func damaged(t *testing.T, path string, offset int) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[offset] ^= 1
	bad := path + ".bad"
	if err := os.WriteFile(bad, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return bad
}

func TestInspectIdentity(t *testing.T) {
	d := store.Dir{FS: real.FS{}, Path: t.TempDir()}
	if err := d.WriteIdentity(testIdentity()); err != nil {
		t.Fatal(err)
	}
	path := d.Path + "/identity"
	if code, lines, errs := inspected(t, path); code != 0 || len(lines) != 1 || !strings.Contains(lines[0], `"cluster_name":"c1"`) {
		t.Errorf("code %d, lines %q, %s", code, lines, errs)
	}
	if code, lines, errs := inspected(t, damaged(t, path, 60)); code != 1 || lines != nil || !strings.Contains(errs, "checksum") {
		t.Errorf("a damaged identity: code %d, lines %q, %s", code, lines, errs)
	}
}

func TestInspectSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.snap")
	var b bytes.Buffer
	w, err := snap.NewWriter(&b, snap.Meta{Kind: snap.KindSnap, Version: "test", Instance: testIdentity().InstanceUUID, VClock: map[uint32]uint64{1: 5}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(3) {
		if err := w.WriteRow(snap.Row{Type: snap.TypeInsert, LSN: uint64(i), SpaceID: 512, Tuple: []byte{0x92, i, 0xa1, 'x'}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, lines, errs := inspected(t, path)
	if code != 0 || len(lines) != 4 || !strings.Contains(lines[3], `"space_id":512,"tuple":[2,"x"]`) {
		t.Errorf("code %d, lines %q, %s", code, lines, errs)
	}
	if code, _, errs := inspected(t, damaged(t, path, b.Len()-10)); code != 1 || !strings.Contains(errs, "offset") {
		t.Errorf("a damaged snapshot: code %d, %s", code, errs)
	}
	sum := fmt.Sprintf("1 sha256 %x\n", sha256.Sum256(b.Bytes()))
	if err := os.WriteFile(path+".sha256", []byte(sum), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, lines, errs := inspected(t, path+".sha256"); code != 0 || len(lines) != 1 || !strings.Contains(lines[0], `"matches":true`) {
		t.Errorf("the checksum: code %d, lines %q, %s", code, lines, errs)
	}
	if err := os.Rename(path+".bad", path); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := inspected(t, path+".sha256"); code != 1 {
		t.Errorf("the checksum of another file: code %d", code)
	}
}

func TestInspectLog(t *testing.T) {
	dir := t.TempDir()
	l, err := wal.Open(wal.Options{FS: real.FS{}, Dir: dir, Group: "data", Instance: uuid.MustParse(testIdentity().InstanceUUID), SegmentBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Append(wal.Batch{HardState: &raftgroup.HardState{Term: 1, Vote: 1}, Entries: []raftgroup.Entry{
		{Index: 1, Term: 1, Data: []byte{0x91, 0x07}}, {Index: 2, Term: 1, Data: []byte{0xc1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(dir + "/*.rlog")
	if err != nil || len(paths) != 1 {
		t.Fatalf("log segments %v, error %v", paths, err)
	}
	code, lines, errs := inspected(t, paths[0])
	all := strings.Join(lines, "")
	for _, want := range []string{`"group":"data"`, `"data":[7]`, `"data":"hex:c1"`, `"vote":1`, `"kinds":["close"]`} {
		if code != 0 || !strings.Contains(all, want) {
			t.Errorf("code %d, %s; the lines lack %s:\n%s", code, errs, want, all)
		}
	}
	if code, _, errs := inspected(t, damaged(t, paths[0], 230)); code != 1 || errs == "" {
		t.Errorf("a damaged log: code %d, %s", code, errs)
	}
}

func TestInspectConfigCopies(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"VERSION", "topology.yml", "CURRENT"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("format: 9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, lines, errs := inspected(t, filepath.Join(dir, name)); code != 1 || lines != nil || !strings.Contains(errs, name) {
			t.Errorf("a %s of an unknown format: code %d, lines %q, %s", name, code, lines, errs)
		}
	}
	alone := filepath.Join(t.TempDir(), "docker-compose.yml")
	if err := os.WriteFile(alone, []byte("a: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := inspected(t, alone); code != 1 || !strings.Contains(errs, "not a copy of the cluster-wide configuration") {
		t.Errorf("any YAML file: code %d, %s", code, errs)
	}
}

// TestInspectSmallFiles: what else lies in a data directory. The cookie's secret is never shown.
func TestInspectSmallFiles(t *testing.T) {
	secret := strings.Repeat("s3cr3t", 4)
	for _, c := range []struct {
		name, content, want string
		code                int
	}{
		{"lock", "4711\n", `{"kind":"lock","pid":4711}`, 0},
		{"lock", "nobody", "number of a process", 1},
		{".cookie", secret + "\n", `{"bytes":25,"kind":"cookie","valid":true}`, 0},
		{".cookie", "short", "16", 1},
		{"reserve", string(make([]byte, 100_000)), `{"bytes":100000,"kind":"room"}`, 0},
		{"reserve", string(make([]byte, 70_000)) + "x", "offset 70000", 1},
		{"0000000000000002.rlog.inprogress", "\x00\x00", `{"bytes":2,"kind":"room"}`, 0},
		{"1.snap", "", "empty", 1},
		{"1.snap.inprogress", "SNAP\n0.13\n", "header", 1},
		{"1.txt", "hello", "not a file that Lycosa or Tarantool writes", 1},
	} {
		path := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		code, lines, errs := inspected(t, path)
		shown := strings.Join(lines, "") + errs
		if code != c.code || !strings.Contains(shown, c.want) || strings.Contains(shown, secret) {
			t.Errorf("%s: code %d, %s", c.name, code, shown)
		}
	}
}

// TestInspectRows: transactions, decisions of a quorum and rows of vinyl, with the names of what they hold.
func TestInspectRows(t *testing.T) {
	for _, c := range []struct {
		kind snap.Kind
		row  snap.Row
		want string
	}{
		{snap.KindXlog, snap.Row{Type: snap.TypeUpsert, LSN: 9, TSN: 1, HasTSN: true, Flags: 1, SpaceID: 512, Tuple: []byte{0x91, 1}, Ops: []byte{0x90}},
			`{"type":9,"name":"UPSERT","replica_id":0,"lsn":9,"timestamp":0,"transaction":8,"commit":true,"flags":1,"space_id":512,"tuple":[1],"ops":[]}`},
		{snap.KindXlog, snap.Row{Type: snap.TypeRollback, Body: []byte{0x82, 2, 1, 3, 7}}, `"name":"ROLLBACK","replica_id":0,"lsn":0,"timestamp":0,"body":{"replica_id":1,"lsn":7}`},
		{snap.KindRun, snap.Row{Type: snap.TypeDelete, Key: []byte{0x91, 2}, TupleMeta: []byte{0x81, 1, 1}}, `"index_id":0,"key":[2],"tuple_meta":{"1":1}`},
		{snap.KindIndex, snap.Row{Type: snap.TypePageInfo, Body: []byte{0x82, 2, 105, 77, 1}}, `"name":"PAGEINFO","replica_id":0,"lsn":0,"timestamp":0,"body":{"size":105,"77":1}`},
		{snap.KindVylog, snap.Row{Type: snap.TypeInsert, Tuple: []byte{0x92, 5, 0x82, 2, 10, 16, 1}}, `"body":{"run_id":10,"dump_count":1},"record":"create_run"`},
		{snap.KindVylog, snap.Row{Type: snap.TypeInsert, Tuple: []byte{0x92, 99, 0x80}}, `"record":"99"`},
	} {
		var out bytes.Buffer
		if err := writeRow(&out, c.kind, c.row); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s, %v; want %s", out.String(), err, c.want)
		}
	}
	for _, bad := range [][]byte{{0x90}, {0x92, 0xa0, 0x80}, {0x92, 1, 2}, {0x92, 1}} {
		if err := writeRow(&bytes.Buffer{}, snap.KindVylog, snap.Row{Tuple: bad}); err == nil {
			t.Errorf("%x is a record of a vylog", bad)
		}
	}
}

// FuzzVylogRecord: what a foreign file says never makes more than a line.
func FuzzVylogRecord(f *testing.F) {
	f.Add([]byte{0x92, 5, 0x82, 2, 10, 16, 1})
	f.Add([]byte{0x92, 5, 0xdf, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, tuple []byte) {
		meter.Check(t, len(tuple), 64, func() { _, _, _ = vylogRecord(tuple) })
		record, body, err := vylogRecord(tuple)
		if err == nil && (record == "" || !json.Valid(body)) {
			t.Errorf("%x: record %q, body %s", tuple, record, body)
		}
	})
}

// TestInspectOpenLog: a log that was not closed is no damage, one that ends inside a block is.
func TestInspectOpenLog(t *testing.T) {
	var b bytes.Buffer
	w, err := snap.NewWriter(&b, snap.Meta{Kind: snap.KindXlog, Version: "test", Instance: testIdentity().InstanceUUID})
	if err == nil {
		err = w.WriteRow(snap.Row{Type: snap.TypeNop, LSN: 1})
	}
	if err == nil {
		err = w.Flush()
	}
	path := filepath.Join(t.TempDir(), "0.xlog")
	for cut, want := range map[int]int{0: 0, 1: 1} {
		if err := errors.Join(err, os.WriteFile(path, b.Bytes()[:b.Len()-cut], 0o600)); err != nil {
			t.Fatal(err)
		}
		code, lines, errs := inspected(t, path)
		if code != want || (code == 0) != strings.Contains(strings.Join(lines, ""), `"marker":false`) {
			t.Errorf("%d bytes cut off: code %d, %v, %s", cut, code, lines, errs)
		}
	}
}
