package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/datadir/store"
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
