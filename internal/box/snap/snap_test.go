package snap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const testUUID = "aaaaaaaa-0000-4000-8000-000000000002"

func testMeta(kind Kind) Meta {
	return Meta{Kind: kind, Version: "2.6.0-lycosa", Instance: testUUID, VClock: map[uint32]uint64{}}
}

// rawBlock makes a block of any payload with a right checksum.
func rawBlock(magic uint32, payload []byte) []byte {
	block := append(make([]byte, fixHeaderBytes), payload...)
	putFixHeader(block, magic, blockChecksum(crc32.MakeTable(crc32.Castagnoli), payload))
	return block
}

func rawFile(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	meta := testMeta(KindXlog)
	file, err := meta.appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(file, bytes.Join(parts, nil)...)
}

func readError(file []byte, limits Limits) error {
	r, err := NewReader(bytes.NewReader(file), limits)
	for err == nil {
		_, err = r.Next()
	}
	return err
}

func pack(t testing.TB, payload []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(payload, nil)
}

// claimedLength is a block whose header claims 255 MiB.
func claimedLength(block []byte) []byte {
	block = bytes.Clone(block)
	copy(block[4:], []byte{0xce, 0x0f, 0xf0, 0x00, 0x00, 0x00, 0x00, 0xa7, 0, 0, 0, 0, 0, 0, 0})
	return block
}

// lyingFrame is a zstd frame whose header claims 2^40 bytes, with nothing that could hold them.
func lyingFrame() []byte {
	return []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 0x01, 0, 0}
}

// TestClaimsCostNothing reads short files that claim much, with limits that would allow it.
func TestClaimsCostNothing(t *testing.T) {
	good := rawBlock(magicPlain, appendRow(nil, &Row{Type: TypeNop}, false))
	modest := lyingFrame()
	copy(modest[5:], []byte{0, 0, 0, 0x08, 0, 0, 0, 0}) // 128 MiB
	for i, file := range [][]byte{
		rawFile(t, claimedLength(good)), rawFile(t, rawBlock(magicZstd, lyingFrame())), rawFile(t, rawBlock(magicZstd, modest)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := readError(file, Limits{})
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 || !errors.Is(err, ErrNoEOF) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("file %d: %d bytes were allocated, error %v", i, used, err)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	eof := []byte{0xd5, 0x10, 0xad, 0xed}
	good := rawBlock(magicPlain, appendRow(nil, &Row{Type: TypeNop}, false))
	header := len(rawFile(t))
	afterGood := int64(header + len(good))
	zeros := make([]byte, 4<<20)
	claim, liar := claimedLength(good), lyingFrame()
	cases := []struct {
		name   string
		file   []byte
		limits Limits
		want   error
		offset int64
	}{
		{"good", rawFile(t, good, eof), Limits{}, io.EOF, 0},
		{"no marker", rawFile(t, good), Limits{}, ErrNoEOF, afterGood},
		{"torn block", rawFile(t, good, good[:25]), Limits{}, ErrNoEOF, afterGood},
		{"torn marker", rawFile(t, good, eof[:2]), Limits{}, ErrNoEOF, afterGood},
		{"zeros", rawFile(t, good, zeros[:100_000]), Limits{}, ErrNoEOF, afterGood},
		{"zeros then bytes", rawFile(t, good, zeros[:100_000], eof), Limits{}, ErrCorrupt, afterGood + 100_000},
		{"after the marker", rawFile(t, good, eof, zeros[:1]), Limits{}, ErrCorrupt, afterGood + 4},
		{"no block", rawFile(t, good, []byte("garbage garbage garbage")), Limits{}, ErrCorrupt, afterGood},
		{"empty block", rawFile(t, rawBlock(magicPlain, nil), eof), Limits{}, ErrCorrupt, int64(header)},
		{"half a row", rawFile(t, rawBlock(magicPlain, good[19:22]), eof), Limits{}, ErrCorrupt, int64(header)},
		{"not zstd", rawFile(t, rawBlock(magicZstd, []byte("no frame")), eof), Limits{}, ErrCorrupt, int64(header)},
		{"zstd liar", rawFile(t, rawBlock(magicZstd, liar), eof), Limits{}, ErrCorrupt, int64(header)},
		{"zstd of nothing", rawFile(t, rawBlock(magicZstd, pack(t, nil)), eof), Limits{}, ErrCorrupt, int64(header)},
		{"bomb", rawFile(t, rawBlock(magicZstd, pack(t, zeros)), eof), Limits{BlockBytesMax: 1 << 20}, ErrLimit, int64(header)},
		{"too large", rawFile(t, rawBlock(magicPlain, zeros), eof), Limits{BlockBytesMax: 1 << 20}, ErrLimit, int64(header)},
		{"claimed length", rawFile(t, claim), Limits{}, ErrNoEOF, int64(header)},
		{"long header", []byte("SNAP\n0.13\n" + strings.Repeat("Key: value\n", 10_000) + "\n"), Limits{}, ErrLimit, 0},
		{"empty file", nil, Limits{}, ErrNoEOF, 0},
		{"other file", []byte("\x7fELF and so on"), Limits{}, ErrCorrupt, 0},
		{"other version", []byte("SNAP\n0.14\n\n"), Limits{}, ErrCorrupt, 5},
		{"no uuid", []byte("SNAP\n0.13\nVClock: {}\n\n"), Limits{}, ErrCorrupt, 0},
		{"bad line", []byte("SNAP\n0.13\nVClock\n\n"), Limits{}, ErrCorrupt, 10},
		{"bad clock", []byte("SNAP\n0.13\nVClock: {1: 2, 1: 3}\n\n"), Limits{}, ErrCorrupt, 10},
	}
	for _, c := range cases {
		err := readError(c.file, c.limits)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		var at *Error
		if c.want != io.EOF && (!errors.As(err, &at) || at.Offset != c.offset) {
			t.Errorf("%s: %v, want offset %d", c.name, err, c.offset)
		}
	}
}

// TestOldHeader reads a header of the format before, whose instance key is another.
func TestOldHeader(t *testing.T) {
	file := "SNAP\n0.12\nVersion: 1.6.8\nServer: " + testUUID + "\nVClock: {1: 5}\n\n\xd5\x10\xad\xed"
	r, err := NewReader(strings.NewReader(file), Limits{})
	if err != nil || r.Meta().Instance != testUUID || r.Meta().VClock[1] != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("%v, want io.EOF", err)
	}
}

func TestWriterRefuses(t *testing.T) {
	bad := []Meta{
		{Kind: "VYLOG", Version: "1", Instance: testUUID},
		{Kind: KindSnap, Version: "", Instance: testUUID},
		{Kind: KindSnap, Version: "1\n", Instance: testUUID},
		{Kind: KindSnap, Version: "1", Instance: "me"},
		{Kind: KindSnap, Version: "1", Instance: testUUID, VClock: map[uint32]uint64{32: 1}},
		{Kind: KindSnap, Version: "1", Instance: testUUID, Extra: map[string]string{"VClock": "{}"}},
		{Kind: KindSnap, Version: "1", Instance: testUUID, Extra: map[string]string{"A": "b\nC: d"}},
		{Kind: KindSnap, Version: "1", Instance: testUUID, Extra: map[string]string{"A": strings.Repeat("b", MetaBytesMax)}},
	}
	for _, meta := range bad {
		if _, err := NewWriter(io.Discard, meta); err == nil {
			t.Errorf("header %+v was written", meta)
		}
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, testMeta(KindXlog))
	if err != nil {
		t.Fatal(err)
	}
	rows := []Row{
		{Type: TypeInsert, SpaceID: 1, Tuple: []byte{0x01}},
		{Type: TypeInsert, SpaceID: 1, Tuple: []byte{}},
		{Type: TypeInsert, SpaceID: 1, Tuple: []byte{0x90}, Body: []byte{0x80}},
		{Type: TypeNop, Body: []byte{0x80}},
		{Type: TypeRaft},
		{Type: TypeRaft, Body: []byte{0x90}},
	}
	for _, row := range rows {
		if err := w.WriteRow(row); err == nil {
			t.Errorf("row %+v was written", row)
		}
	}
	if err := w.WriteRow(Row{Type: TypeNop, LSN: 5, HasTSN: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a torn transaction was closed")
	}
	if err := w.WriteRow(Row{Type: TypeNop, LSN: 6, HasTSN: true, TSN: 1, Flags: FlagCommit}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, rows := readAll(t, out.Bytes()); len(rows) != 2 || int64(out.Len()) != w.Bytes() || w.Rows() != 2 {
		t.Errorf("%d rows in %d bytes; the writer says %d and %d", len(rows), out.Len(), w.Rows(), w.Bytes())
	}
	if err := w.WriteRow(Row{Type: TypeNop}); err == nil {
		t.Error("a closed writer took a row")
	}
}

type failingWriter struct{ room int }

func (f *failingWriter) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	if n < len(b) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

// TestWriteErrorStays fails the write at every point: the writer says so, and says it again.
func TestWriteErrorStays(t *testing.T) {
	for room := 0; room < 200; room += 7 {
		w, err := NewWriter(&failingWriter{room: room}, testMeta(KindXlog))
		if err == nil {
			if err = w.WriteRow(Row{Type: TypeInsert, Tuple: append([]byte{0x91, 0xda, 0x01, 0x00}, make([]byte, 256)...)}); err != nil {
				t.Fatal(err)
			}
			err = w.Close()
			if again := w.Close(); !errors.Is(again, io.ErrClosedPipe) {
				t.Errorf("room %d: second close says %v", room, again)
			}
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("room %d: %v", room, err)
		}
	}
}

func drawArray(t *rapid.T, label string) []byte {
	if !rapid.Bool().Draw(t, label+"?") {
		return nil
	}
	b := msgpack.AppendArrayHeader(nil, 2)
	b = msgpack.AppendUint(b, rapid.Uint64().Draw(t, label))
	return msgpack.AppendStr(b, rapid.StringN(0, 5000, 5000).Draw(t, label+" text"))
}

func drawRow(t *rapid.T) Row {
	number := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64())
	small := rapid.OneOf(rapid.Uint32Range(0, 600), rapid.Uint32())
	row := Row{
		Type:      rapid.SampledFrom([]uint32{TypeInsert, TypeReplace, TypeUpdate, TypeDelete, TypeUpsert, TypeNop, TypeRaft}).Draw(t, "type"),
		ReplicaID: small.Draw(t, "replica"), GroupID: small.Draw(t, "group"), LSN: number.Draw(t, "lsn"),
		Timestamp: float64(number.Draw(t, "time")), Flags: number.Draw(t, "flags") | FlagCommit, StreamID: number.Draw(t, "stream"),
	}
	if row.HasTSN = rapid.Bool().Draw(t, "tsn?"); row.HasTSN {
		row.TSN = number.Draw(t, "tsn")
	}
	switch row.Type {
	case TypeNop:
	case TypeRaft:
		row.Body = msgpack.AppendUint([]byte{0x81, 0x00}, number.Draw(t, "body"))
	default:
		row.SpaceID, row.IndexID, row.IndexBase = small.Draw(t, "space"), small.Draw(t, "index"), small.Draw(t, "base")
		row.Key, row.Tuple, row.Ops = drawArray(t, "key"), drawArray(t, "tuple"), drawArray(t, "ops")
		row.OldTuple, row.NewTuple = drawArray(t, "old"), drawArray(t, "new")
	}
	return row
}

// TestRoundTrip writes random rows at each compression and reads the same ones.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(drawRow), 0, 60).Draw(rt, "rows")
		options := WriterOptions{Compression: rapid.SampledFrom([]Compression{CompressionDefault, CompressionFastest, CompressionOff}).Draw(rt, "compression")}
		meta := testMeta(KindXlog)
		meta.PrevVClock = map[uint32]uint64{0: 1, 31: math.MaxInt64}
		meta.Extra = map[string]string{"Raft-Term": "5", "Other": "a: b"}
		var out bytes.Buffer
		w, err := NewWriterOptions(&out, meta, options)
		if err != nil {
			rt.Fatal(err)
		}
		for _, row := range rows {
			if err := w.WriteRow(row); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 9).Draw(rt, "flush") == 0 {
				if err := w.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			rt.Fatal(err)
		}
		gotMeta, got := readAll(t, out.Bytes())
		if !reflect.DeepEqual(gotMeta, meta) {
			rt.Fatalf("header %+v, want %+v", gotMeta, meta)
		}
		if len(got) != len(rows) {
			rt.Fatalf("%d rows, want %d", len(got), len(rows))
		}
		for i := range rows {
			if !reflect.DeepEqual(got[i], rows[i]) {
				rt.Fatalf("row %d: %+v, want %+v", i, got[i], rows[i])
			}
		}
	})
}

// TestBlockSizes looks at the blocks of a large snapshot: none is larger than 128 KiB unless it is one row, and rows are
// numbered from 0.
func TestBlockSizes(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, testMeta(KindSnap))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30_000 {
		tuple := msgpack.AppendUint([]byte{0x92}, uint64(i))
		tuple = msgpack.AppendStr(tuple, strings.Repeat("s", i%100))
		if i == 20_000 {
			tuple = msgpack.AppendStr([]byte{0x91}, strings.Repeat("l", 300_000))
		}
		if err := w.WriteRow(Row{Type: TypeInsert, SpaceID: 600, LSN: 99, Tuple: tuple}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, heads, payloads := blocks(t, out.Bytes())
	large := 0
	for i, payload := range payloads {
		if len(payload) > blockBytesGoal {
			large++
		}
		if magic := binary.BigEndian.Uint32(heads[i]); magic != magicZstd {
			t.Errorf("block %d of %d bytes is not compressed", i, len(payload))
		}
	}
	if large != 1 || len(payloads) < 10 {
		t.Errorf("%d blocks, %d of them large", len(payloads), large)
	}
	_, rows := readAll(t, out.Bytes())
	for i, row := range rows {
		if row.LSN != uint64(i) {
			t.Fatalf("row %d has number %d", i, row.LSN)
		}
	}
}

// TestNoAllocationPerRow reads a file of many rows with less than one allocation for a hundred of them.
func TestNoAllocationPerRow(t *testing.T) {
	file := manyRows(t, 20_000, CompressionDefault)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := NewReader(bytes.NewReader(file), Limits{})
	for err == nil {
		_, err = r.Next()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; err != io.EOF || n > 200 {
		t.Errorf("%d allocations, error %v", n, err)
	}
}

func manyRows(t testing.TB, n int, compression Compression) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriterOptions(&out, testMeta(KindSnap), WriterOptions{Compression: compression})
	if err != nil {
		t.Fatal(err)
	}
	tuple := msgpack.AppendStr(msgpack.AppendUint([]byte{0x92}, 1<<40), "a small row")
	for range n {
		if err := w.WriteRow(Row{Type: TypeInsert, SpaceID: 600, Timestamp: 1.5e9, Tuple: tuple}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzReader reads foreign bytes: no panic, memory bounded by the limits and the input, and every row that was read can
// be written and read again as the same row.
func FuzzReader(f *testing.F) {
	for _, file := range append(allGolden(f), goldenFiles(f, "testdata/vinyl.txt")...) {
		f.Add(file)
	}
	f.Add(rawFile(f, rawBlock(magicZstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0})))
	f.Add(rawFile(f, rawBlock(magicPlain, appendRow(nil, &Row{Type: TypeRaft, Body: []byte{0x81, 0, 5}}, false))))
	limits := Limits{MetaBytesMax: 4 << 10, BlockBytesMax: 1 << 20}
	f.Fuzz(func(t *testing.T, file []byte) {
		file = fixChecksums(file)
		var r *Reader
		var err error
		// Buffers of both block forms while growing, and the decompressor's tables and window.
		bound := uint64(8*limits.BlockBytesMax + 16<<20 + 4*len(file))
		meter.CheckBound(t, len(file), bound, func() {
			r, err = NewReader(bytes.NewReader(file), limits)
			for err == nil {
				_, err = r.Next()
			}
		})
		var at *Error
		if err != io.EOF && !errors.As(err, &at) {
			t.Fatalf("error %v has no offset", err)
		}
		r, err = NewReader(bytes.NewReader(file), limits)
		for err == nil {
			var row Row
			if row, err = r.Next(); err == nil {
				checkAgain(t, row, r.Meta().Kind)
			}
		}
	})
}

// fixChecksums gives every block of the file that looks whole its right checksum, so that the fuzzer gets behind it.
func fixChecksums(file []byte) []byte {
	file = bytes.Clone(file)
	at := bytes.Index(file, []byte("\n\n"))
	for at += 2; at >= 2 && len(file)-at > fixHeaderBytes; {
		length, n := readFixUint(file[at+4 : at+fixHeaderBytes])
		end := at + fixHeaderBytes
		if n == 0 || length > uint64(len(file)-end) {
			break
		}
		payload := file[end : end+int(length)]
		var head [fixHeaderBytes + 1]byte
		block := append(head[:fixHeaderBytes], payload...)
		putFixHeader(block, binary.BigEndian.Uint32(file[at:]), blockChecksum(crc32.MakeTable(crc32.Castagnoli), payload))
		copy(file[at:], block[:fixHeaderBytes])
		at = end + int(length)
	}
	return file
}

func checkAgain(t *testing.T, row Row, kind Kind) {
	if err := checkRow(&row); err != nil {
		t.Fatalf("row %+v: %v", row, err)
	}
	encoded := appendRow(nil, &row, false)
	var again Row
	rest, err := decodeRow(encoded, &again, kind)
	if math.IsNaN(row.Timestamp) {
		row.Timestamp, again.Timestamp = 0, 0
	}
	if err != nil || len(rest) != 0 || !reflect.DeepEqual(row, again) {
		t.Fatalf("row %+v\ncame back as %+v, %d bytes left, %v", row, again, len(rest), err)
	}
}

func BenchmarkWrite(b *testing.B) {
	tuple := msgpack.AppendStr(msgpack.AppendUint([]byte{0x92}, 1<<40), "a small row")
	for _, c := range []struct {
		name        string
		compression Compression
	}{{"plain", CompressionOff}, {"zstd", CompressionDefault}} {
		b.Run(c.name, func(b *testing.B) {
			w, err := NewWriterOptions(io.Discard, testMeta(KindSnap), WriterOptions{Compression: c.compression})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WriteRow(Row{Type: TypeInsert, SpaceID: 600, Timestamp: 1.5e9, Tuple: tuple}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	const rows = 100_000
	file := manyRows(b, rows, CompressionDefault)
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(file), Limits{})
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
}
