package dictionary

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

var rewrite = flag.Bool("rewrite", false, "write the expected files of this package anew")

type dictRow struct {
	space uint32
	tuple []byte
}

// capturedSnapshot returns the snapshot file of the captures.
func capturedSnapshot(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../snap/testdata/08_snap.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, digits, ok := strings.Cut(string(text), "complete file, hex\n")
	if !ok {
		t.Fatal("no file in the capture")
	}
	var file []byte
	for line := range strings.SplitSeq(strings.TrimSpace(digits), "\n") {
		_, data, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, b...)
	}
	return file
}

func snapshotRows(t *testing.T, file []byte) []dictRow {
	t.Helper()
	r, err := snap.NewReader(bytes.NewReader(file), snap.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var rows []dictRow
	for {
		row, err := r.Next()
		if err == io.EOF {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, dictRow{row.SpaceID, bytes.Clone(row.Tuple)})
	}
}

// isOwn reports whether a row of a snapshot depends on the instance: user spaces, and what names the instance.
func isOwn(row dictRow) bool {
	switch row.space {
	case SpaceSchema, SpaceCluster:
		return true
	case SpaceSpace, SpaceIndex:
		_, b, _ := msgpack.ReadArrayLen(row.tuple)
		id, _, _ := msgpack.ReadUint(b)
		return !IsSystem(uint32(id))
	}
	return !IsSystem(row.space)
}

// TestRowsMatchCapture compares the embedded rows with the captured snapshot, and with -rewrite makes rows.bin from it.
func TestRowsMatchCapture(t *testing.T) {
	all := snapshotRows(t, capturedSnapshot(t))
	var want []dictRow
	for _, row := range all {
		if !isOwn(row) {
			want = append(want, row)
		}
	}
	if *rewrite {
		out := []byte{rowsVersion}
		for _, row := range want {
			out = append(msgpack.AppendUint(out, uint64(row.space)), row.tuple...)
		}
		if err := os.WriteFile("rows.bin", out, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Log("rows.bin is written; run the tests again")
		return
	}
	compareRows(t, collect(), want)
	counts := make(map[uint32]int)
	for _, row := range want {
		counts[row.space]++
	}
	if got := fmt.Sprint(counts); got != "map[276:277 280:25 288:53 296:67 304:5 312:82]" {
		t.Errorf("rows by space: %s", got)
	}
	fresh := Fresh("bbbbbbbb-0000-4000-8000-000000000002")
	for i, tuple := range fresh {
		if all[i].space != SpaceSchema || !bytes.Equal(all[i].tuple, tuple) {
			t.Errorf("_schema row %d: %x, want %x", i, tuple, all[i].tuple)
		}
	}
	for _, row := range all {
		if own := ClusterRow(1, "aaaaaaaa-0000-4000-8000-000000000002"); row.space == SpaceCluster && !bytes.Equal(row.tuple, own) {
			t.Errorf("_cluster row %x, want %x", own, row.tuple)
		}
	}
}

func collect() []dictRow {
	var rows []dictRow
	Rows(func(space uint32, tuple []byte) bool {
		rows = append(rows, dictRow{space, tuple})
		return true
	})
	return rows
}

func compareRows(t *testing.T, got, want []dictRow) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].space != want[i].space || !bytes.Equal(got[i].tuple, want[i].tuple) {
			t.Errorf("row %d: space %d %x, want space %d %x", i, got[i].space, got[i].tuple, want[i].space, want[i].tuple)
		}
	}
}

// TestRowsMatchTarantool lets the real server make a fresh database and compares all that does not depend on the instance.
func TestRowsMatchTarantool(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "fresh.lua")
	text := "box.cfg{work_dir = arg[1], memtx_memory = 32 * 1024 * 1024, log_level = 2}\nos.exit(0)\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tarantool", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("tarantool: %v\n%s", err, out)
	}
	file, err := os.ReadFile(filepath.Join(dir, strings.Repeat("0", 20)+".snap"))
	if err != nil {
		t.Fatal(err)
	}
	var want []dictRow
	for _, row := range snapshotRows(t, file) {
		if !isOwn(row) {
			want = append(want, row)
		}
	}
	compareRows(t, collect(), want)
}

// TestRowsListing shows the rows as text, so that a change of rows.bin can be read in review.
func TestRowsListing(t *testing.T) {
	var got bytes.Buffer
	for _, row := range collect() {
		text, err := msgpack.ToJSON(nil, row.tuple)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%d %s\n", row.space, text)
	}
	path := "testdata/rows.txt"
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	a, b := bufio.NewScanner(&got), bufio.NewScanner(want)
	for line := 1; a.Scan(); line++ {
		if !b.Scan() || a.Text() != b.Text() {
			t.Fatalf("line %d: %s\nwant %s", line, a.Text(), b.Text())
		}
	}
	if b.Scan() {
		t.Errorf("missing: %s", b.Text())
	}
}

func TestRowsStops(t *testing.T) {
	n := 0
	Rows(func(uint32, []byte) bool {
		n++
		return n < 3
	})
	if n != 3 {
		t.Errorf("%d rows after asking for 3", n)
	}
}

// TestConstants holds the ids against the names in the rows of _space, and the views against their engine.
func TestConstants(t *testing.T) {
	names := map[uint32]string{
		SpaceVinylDeferredDelete: "_vinyl_deferred_delete", SpaceSchema: "_schema", SpaceCollation: "_collation",
		SpaceVCollation: "_vcollation", SpaceSpace: "_space", SpaceVSpace: "_vspace", SpaceSequence: "_sequence",
		SpaceSequenceData: "_sequence_data", SpaceVSequence: "_vsequence", SpaceIndex: "_index", SpaceVIndex: "_vindex",
		SpaceFunc: "_func", SpaceVFunc: "_vfunc", SpaceUser: "_user", SpaceVUser: "_vuser", SpacePriv: "_priv",
		SpaceVPriv: "_vpriv", SpaceCluster: "_cluster", SpaceTrigger: "_trigger", SpaceTruncate: "_truncate",
		SpaceSpaceSequence: "_space_sequence", SpaceFKConstraint: "_fk_constraint", SpaceCKConstraint: "_ck_constraint",
		SpaceFuncIndex: "_func_index", SpaceSessionSettings: "_session_settings",
	}
	byID := make(map[uint32]string)
	for _, row := range collect() {
		if row.space != SpaceSpace {
			continue
		}
		_, b, _ := msgpack.ReadArrayLen(row.tuple)
		id, b, _ := msgpack.ReadUint(b)
		_, b, _ = msgpack.ReadUint(b)
		name, b, _ := msgpack.ReadStr(b)
		engine, _, _ := msgpack.ReadStr(b)
		byID[uint32(id)] = string(name)
		if names[uint32(id)] != string(name) {
			t.Errorf("space %d is %s, the constant says %q", id, name, names[uint32(id)])
		}
		source, isView := ViewOf(uint32(id))
		if isView != (string(engine) == EngineSysview) {
			t.Errorf("ViewOf(%d) of engine %s: %v", id, engine, isView)
		}
		if isView && "_v"+strings.TrimPrefix(names[source], "_") != string(name) {
			t.Errorf("view %s shows %s", name, names[source])
		}
	}
	if len(byID) != len(names) {
		t.Errorf("%d spaces, %d constants", len(byID), len(names))
	}
	if IsSystem(255) || !IsSystem(256) || !IsSystem(434) || !IsSystem(511) || IsSystem(512) {
		t.Error("wrong range of system ids")
	}
}
