package snap

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// goldenFiles returns the complete files that a document of captures holds, in order.
func goldenFiles(t testing.TB, path string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	inHex := false
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.Contains(line, "complete file, hex") {
			files, inHex = append(files, nil), true
			continue
		}
		_, digits, ok := strings.Cut(line, " ")
		if !inHex || !ok || strings.HasPrefix(line, "#") {
			inHex = false
			continue
		}
		data, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		files[len(files)-1] = append(files[len(files)-1], data...)
	}
	if len(files) == 0 {
		t.Fatalf("%s holds no files", path)
	}
	return files
}

func allGolden(t testing.TB) [][]byte {
	return append(goldenFiles(t, "testdata/07_xlog.txt"), goldenFiles(t, "testdata/08_snap.txt")...)
}

// readAll reads a whole file; rows are copied so that they outlive the reader.
func readAll(t testing.TB, file []byte) (Meta, []Row) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for {
		row, err := r.Next()
		if err == io.EOF {
			return r.Meta(), rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, cloneRow(row))
	}
}

func cloneRow(row Row) Row {
	for _, b := range []*[]byte{&row.Key, &row.Tuple, &row.Ops, &row.TupleMeta, &row.OldTuple, &row.NewTuple, &row.Body} {
		*b = bytes.Clone(*b)
	}
	return row
}

// blocks cuts a file into header text, blocks and end marker; payloads are decompressed.
func blocks(t testing.TB, file []byte) (header []byte, heads, payloads [][]byte) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	header = file[:r.Offset()]
	var b Block
	var u Unpacker
	for {
		err := r.ReadBlock(&b)
		if err == io.EOF {
			return header, heads, payloads
		}
		if err != nil {
			t.Fatal(err)
		}
		payload, err := u.Unpack(&b)
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, file[b.Offset:b.Offset+fixHeaderBytes])
		payloads = append(payloads, bytes.Clone(payload))
	}
}

// TestGoldenReencode decodes every captured file and writes it again block for block: the header, plain blocks and the
// end marker must come out byte for byte, compressed blocks with the same content (compressors differ).
func TestGoldenReencode(t *testing.T) {
	for i, file := range allGolden(t) {
		r, err := NewReader(bytes.NewReader(file), Limits{})
		if err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, r.Meta())
		if err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		last := int64(-1)
		for {
			row, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("file %d: %v", i, err)
			}
			if last >= 0 && r.BlockOffset() != last {
				if err := w.Flush(); err != nil {
					t.Fatalf("file %d: %v", i, err)
				}
			}
			last = r.BlockOffset()
			if err := w.WriteRow(row); err != nil {
				t.Fatalf("file %d: %v", i, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		compareFiles(t, file, out.Bytes())
	}
}

func compareFiles(t *testing.T, want, got []byte) {
	t.Helper()
	wantHeader, wantHeads, wantPayloads := blocks(t, want)
	gotHeader, gotHeads, gotPayloads := blocks(t, got)
	if !bytes.Equal(wantHeader, gotHeader) {
		t.Errorf("header\n%s\nwant\n%s", gotHeader, wantHeader)
	}
	if len(wantHeads) != len(gotHeads) {
		t.Fatalf("%d blocks, want %d", len(gotHeads), len(wantHeads))
	}
	compressed := false
	for i := range wantHeads {
		if !bytes.Equal(wantPayloads[i], gotPayloads[i]) {
			t.Errorf("block %d:\n%x\nwant\n%x", i, gotPayloads[i], wantPayloads[i])
		}
		if !bytes.Equal(wantHeads[i][:4], gotHeads[i][:4]) {
			t.Errorf("block %d has magic %x, want %x", i, gotHeads[i][:4], wantHeads[i][:4])
		}
		compressed = compressed || bytes.Equal(wantHeads[i][:4], []byte{0xd5, 0xba, 0x0b, 0xba})
	}
	if !compressed && !bytes.Equal(want, got) {
		t.Errorf("a file of plain blocks came out differently:\n%x\nwant\n%x", got, want)
	}
}

func TestGoldenContent(t *testing.T) {
	files := allGolden(t)
	meta, rows := readAll(t, files[0])
	if meta.Kind != KindXlog || meta.Version != "2.6.0-0-g47aa4e01e" || meta.Instance != "aaaaaaaa-0000-4000-8000-000000000002" {
		t.Errorf("header %+v", meta)
	}
	if len(meta.VClock) != 0 || meta.PrevVClock != nil {
		t.Errorf("clocks %v %v, want none", meta.VClock, meta.PrevVClock)
	}
	counts := make(map[[2]uint32]int)
	for i := range rows {
		counts[[2]uint32{rows[i].Type, rows[i].SpaceID}]++
	}
	want := map[[2]uint32]int{{2, 280}: 3, {2, 288}: 3, {2, 600}: 7, {3, 600}: 1, {4, 600}: 1, {9, 600}: 2, {5, 600}: 2, {2, 601}: 3, {12, 0}: 1}
	if !maps.Equal(counts, want) {
		t.Errorf("rows %v, want %v", counts, want)
	}
	local, nop := rows[15], rows[18]
	if local.GroupID != GroupLocal || local.LSN != 2 || local.TSN != 1<<64-13 || local.Transaction() != 15 || local.Commit() {
		t.Errorf("local row %+v", local)
	}
	if nop.Type != TypeNop || nop.LSN != 16 || nop.Transaction() != 15 || !nop.Commit() || nop.Body != nil {
		t.Errorf("NOP row %+v", nop)
	}
	meta, _ = readAll(t, files[2])
	if meta.VClock[0] != 3 || meta.VClock[1] != 21 || meta.PrevVClock[1] != 20 || meta.Signature() != 24 {
		t.Errorf("header of the third log %+v", meta)
	}
	meta, rows = readAll(t, files[3])
	if meta.Kind != KindSnap || meta.Signature() != 23 || len(rows) != 529 || rows[528].LSN != 528 || rows[0].Timestamp != rows[528].Timestamp {
		t.Errorf("snapshot %+v with %d rows", meta, len(rows))
	}
}

// TestEveryPrefix cuts a log at every byte: what is left reads without its tail and says ErrNoEOF, never corruption.
func TestEveryPrefix(t *testing.T) {
	file := goldenFiles(t, "testdata/07_xlog.txt")[0]
	_, all := readAll(t, file)
	for cut := range len(file) {
		r, err := NewReader(bytes.NewReader(file[:cut]), Limits{})
		n := 0
		for err == nil {
			var row Row
			if row, err = r.Next(); err == nil {
				if row.LSN != all[n].LSN || !bytes.Equal(row.Tuple, all[n].Tuple) {
					t.Fatalf("cut at %d: row %d is %+v", cut, n, row)
				}
				n++
			}
		}
		if !errors.Is(err, ErrNoEOF) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v, want ErrNoEOF", cut, err)
		}
	}
}

// TestEveryBit flips each bit of a log's blocks: none goes unnoticed.
func TestEveryBit(t *testing.T) {
	file := goldenFiles(t, "testdata/07_xlog.txt")[1]
	r, err := NewReader(bytes.NewReader(file), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for bit := int(r.Offset()) * 8; bit < len(file)*8; bit++ {
		damaged := bytes.Clone(file)
		damaged[bit/8] ^= 1 << (bit % 8)
		d, err := NewReader(bytes.NewReader(damaged), Limits{})
		for err == nil {
			_, err = d.Next()
		}
		if err == io.EOF {
			t.Errorf("bit %d of byte %d: nothing noticed", bit%8, bit/8)
		}
	}
}

// TestVinylFiles reads what Tarantool's engine vinyl wrote: headers without a clock, rows without a space.
func TestVinylFiles(t *testing.T) {
	want := []struct {
		kind  Kind
		types []uint32
	}{
		{KindVylog, slices.Repeat([]uint32{2}, 25)},
		{KindRun, []uint32{3, 5, 3, TypeRowIndex}},
		{KindIndex, []uint32{TypeRunInfo, TypePageInfo}},
		{KindRun, []uint32{3, 2, 2, 2, 2, 2, TypeRowIndex}},
		{KindIndex, []uint32{TypeRunInfo, TypePageInfo}},
	}
	files := goldenFiles(t, "testdata/vinyl.txt")
	if len(files) != len(want) {
		t.Fatalf("%d files, want %d", len(files), len(want))
	}
	for i, file := range files {
		meta, rows := readAll(t, file)
		var types []uint32
		for _, row := range rows {
			types = append(types, row.Type)
			if isChange(row.Type) == (row.Tuple == nil && row.Key == nil) {
				t.Errorf("file %d: row %+v", i, row)
			}
		}
		if meta.Kind != want[i].kind || !slices.Equal(types, want[i].types) {
			t.Errorf("file %d is %s with rows %v", i, meta.Kind, types)
		}
		if kind, ok := KindOf(file); !ok || kind != want[i].kind {
			t.Errorf("file %d begins like %q", i, kind)
		}
		if (meta.VClock != nil) != (meta.Kind == KindVylog) {
			t.Errorf("file %d has the clock %v", i, meta.VClock)
		}
		if _, err := NewWriter(io.Discard, meta); err == nil {
			t.Errorf("file %d: a writer for %s", i, meta.Kind)
		}
	}
}
