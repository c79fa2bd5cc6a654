package wal

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// TestLogEqualsModel: after any calls, reopened or not, every range reads as the model says.
func TestLogEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := fault.NewVolatile()
		l, err := Open(testOptions(fsys))
		if err != nil {
			t.Fatal(err)
		}
		m, term := &model{}, uint64(1)
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			switch rapid.IntRange(0, 9).Draw(t, "call") {
			case 0:
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = Open(testOptions(fsys)); err != nil {
					t.Fatal(err)
				}
				if err := m.check(l); err != nil {
					t.Fatal(err)
				}
			case 1:
				to := rapid.Uint64Range(0, m.last()).Draw(t, "compact")
				m.compacted = max(m.compacted, to)
				if err := l.CompactTo(to); err != nil {
					t.Fatal(err)
				}
			case 2:
				term++
				fallthrough
			default:
				first := rapid.Uint64Range(max(m.last(), 3, m.compacted+3)-2, m.last()+1).Draw(t, "first")
				if first <= max(m.base, m.compacted) || first > m.last()+1 {
					first = m.last() + 1
				}
				if first <= m.last() {
					term++
				}
				b := Batch{HardState: hard(term, 1, 0), Entries: entries(first, term,
					rapid.IntRange(1, 5).Draw(t, "n"), rapid.IntRange(0, 1500).Draw(t, "bytes"))}
				m.append(b)
				if err := l.Append(b); err != nil {
					t.Fatal(err)
				}
			}
			checkRanges(t, l, m)
		}
	})
}

func checkRanges(t *rapid.T, l *Log, m *model) {
	first := l.FirstIndex()
	if _, err := l.Entries(first-1, first, 1); first > 1 && !errors.Is(err, raftgroup.ErrCompacted) {
		t.Fatalf("entry %d before the first: %v", first-1, err)
	}
	if m.last() < first {
		return
	}
	lo := rapid.Uint64Range(first, m.last()).Draw(t, "lo")
	hi := rapid.Uint64Range(lo+1, m.last()+1).Draw(t, "hi")
	got, err := l.Entries(lo, hi, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if want := m.entries[lo-m.base-1 : hi-m.base-1]; !equalEntries(got, want) {
		t.Fatalf("entries [%d,%d) are %v, want %v", lo, hi, ids(got), ids(want))
	}
	some, err := l.Entries(lo, hi, 1000)
	if err != nil || len(some) == 0 || !equalEntries(some, got[:len(some)]) {
		t.Fatalf("bounded read of [%d,%d): %v, %v", lo, hi, ids(some), err)
	}
	res := l.Restored()
	for _, e := range got {
		if term := termAt(res.Terms, e.Index); term != e.Term {
			t.Fatalf("term of %d is %d, want %d: %v", e.Index, term, e.Term, res.Terms)
		}
	}
}

func termAt(runs []raftgroup.TermRun, index uint64) (term uint64) {
	for _, r := range runs {
		if r.Index <= index {
			term = r.Term
		}
	}
	return term
}

func equalEntries(a, b []raftgroup.Entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Index != b[i].Index || a[i].Term != b[i].Term || string(a[i].Data) != string(b[i].Data) {
			return false
		}
	}
	return true
}

func ids(entries []raftgroup.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%d@%d", e.Index, e.Term))
	}
	return out
}

func TestReadBesideTheWriter(t *testing.T) {
	fsys := fault.NewVolatile()
	l := mustOpen(t, testOptions(fsys))
	written := make(chan uint64, 500)
	go func() {
		defer close(written)
		for i := uint64(1); i <= 500; i++ {
			if err := l.Append(Batch{Entries: entries(i, 1, 1, 200)}); err != nil {
				t.Error(err)
				return
			}
			written <- i
			if i%50 == 0 {
				if err := l.CompactTo(i - 40); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for i := range written {
		got, err := l.Entries(i, i+1, 1)
		if errors.Is(err, raftgroup.ErrCompacted) {
			continue
		}
		if err != nil || !equalEntries(got, entries(i, 1, 1, 200)) {
			t.Fatalf("entry %d: %v, %v", i, ids(got), err)
		}
	}
}

func TestSizes(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	for i := uint64(1); i <= 20; i++ {
		if err := l.Append(Batch{Entries: entries(i, 1, 1, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if all := l.Bytes(); all < 20_000 || all > 30_000 {
		t.Errorf("20 entries of 1000 bytes take %d", all)
	}
	if l.SizeSince(0) < 20_000 || l.SizeSince(20) != 0 || l.SizeSince(15) > 9_000 || l.SizeSince(15) < 5_000 {
		t.Errorf("sizes since 0, 15, 20: %d %d %d", l.SizeSince(0), l.SizeSince(15), l.SizeSince(20))
	}
	if err := l.CompactTo(15); err != nil {
		t.Fatal(err)
	}
	if l.FirstIndex() < 13 || l.FirstIndex() > 16 || l.Bytes() > 10_000 {
		t.Errorf("after compaction to 15 the log begins at %d and has %d bytes", l.FirstIndex(), l.Bytes())
	}
}

func TestDump(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	for _, b := range []Batch{
		{HardState: hard(2, 1, 0), Entries: entries(1, 2, 2, 3)},
		{HardState: hard(3, 1, 0), Entries: entries(2, 3, 1, 3), Local: [][]byte{[]byte("row")}},
	} {
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := "/data/r0000000000000001.rlog"
	var got []string
	dump := func() error {
		got = nil
		return Dump(fsys, name, func(r DumpedRecord) error {
			line := fmt.Sprint(r.Kinds, r.Index, r.Term, r.TruncateAfter, ids(r.Entries), len(r.Local))
			got = append(got, line)
			return nil
		})
	}
	if err := dump(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"[segment] 0 0 0 [] 0", "[hard_state entries] 1 2 0 [1@2 2@2] 0",
		"[hard_state truncate entries local] 2 3 1 [2@3] 1", "[close] 2 3 0 [] 0",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("dumped %q, want %q", got, want)
	}
	if err := fsys.Corrupt(name, segmentHeaderBytes+recordHeaderBytes+30, 1); err != nil {
		t.Fatal(err)
	}
	var c *CorruptError
	if err := dump(); !errors.As(err, &c) || c.Offset != segmentHeaderBytes || len(got) != 1 {
		t.Errorf("damaged: %v after %q", err, got)
	}
}

// FuzzRecord: no bytes make the parser panic or give what does not encode to the same bytes.
func FuzzRecord(f *testing.F) {
	b := Batch{HardState: hard(2, 1, 0), Entries: entries(5, 2, 3, 20), Local: [][]byte{[]byte("row"), nil}}
	for _, kind := range []uint8{kindHardState | kindTruncate | kindEntries | kindLocal, kindClose, kindMark} {
		content := Batch{}
		h := recordHeader{kind: kind}
		if kind&kindEntries != 0 {
			content, h.entries, h.index = b, 3, 5
		}
		raw := appendBody(make([]byte, recordHeaderBytes), kind, &content, 4, 7)
		h.bodyBytes = uint32(len(raw) - recordHeaderBytes)
		h.put(raw, 0)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < recordHeaderBytes {
			return
		}
		// The fuzzer cannot guess checksums: the header's is put right.
		kind := raw[16] & kindsKnown
		if kind == 0 {
			return
		}
		h, ok := parseRecordHeader(raw, 0, int64(len(raw))+recordAlign)
		if !ok {
			h = recordHeader{kind: kind, entries: uint32(raw[20]), bodyBytes: uint32(len(raw) - recordHeaderBytes)}
		}
		content := raw[recordHeaderBytes:]
		if int(h.bodyBytes) < len(content) {
			content = content[:h.bodyBytes]
		}
		meter.Check(t, len(content), 16, func() { _, _ = parseBody(&h, content) })
		out, err := parseBody(&h, content)
		if err != nil {
			return
		}
		again := Batch{HardState: &out.hard}
		rest := out.entries
		for i := range uint64(h.entries) {
			var e raftgroup.Entry
			if e, rest, err = nextEntry(rest, h.index+i); err != nil {
				t.Fatal("entries were checked")
			}
			again.Entries = append(again.Entries, e)
		}
		for rest := out.locals; len(rest) > 0; {
			var row []byte
			if row, rest, err = nextLocal(rest); err != nil {
				t.Fatal("local rows were checked")
			}
			again.Local = append(again.Local, row)
		}
		if got := appendBody(nil, h.kind, &again, out.truncate, out.localPrev); string(got) != string(content) {
			t.Fatalf("%x encodes to %x", content, got)
		}
	})
}

// FuzzOpen: whatever lies in the directory, Open ends with a log or an error.
func FuzzOpen(f *testing.F) {
	fsys := fault.New()
	l, err := Open(testOptions(fsys))
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Append(Batch{HardState: hard(1, 1, 0), Entries: entries(1, 1, 2, 20)}); err != nil {
		f.Fatal(err)
	}
	head := segmentHeader{seq: 1, instance: testInstance, group: "data", size: segmentBytesMin}
	f.Add(head.encode(), uint16(300), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, mask byte) {
		clone := fsys.Clone()
		file, err := clone.OpenFile("/data/r0000000000000001.rlog", 0x2, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > segmentBytesMin {
			data = data[:segmentBytesMin]
		}
		if _, err := file.WriteAt(data, int64(at)%segmentBytesMin); err != nil {
			t.Fatal(err)
		}
		meter.CheckBound(t, segmentBytesMin, 4*segmentBytesMin+(4<<20), func() { _, _ = Open(testOptions(clone.Clone())) })
		l, err := Open(testOptions(clone))
		if err != nil {
			return
		}
		if err := l.Append(Batch{Entries: entries(l.LastIndex()+1, 9, 1, 5)}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLargeBatchIsSplit: what a follower gets at once may be more than a record holds.
func TestLargeBatchIsSplit(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	m := &model{}
	b := Batch{HardState: hard(1, 1, 0), Entries: entries(1, 1, 5, 7<<20)}
	m.append(b)
	syncs := fsys.Count(fault.OpSync)
	if err := l.Append(b); err != nil {
		t.Fatal(err)
	}
	if n := fsys.Count(fault.OpSync) - syncs; n > 6 {
		t.Errorf("%d syncs", n)
	}
	fsys.Reboot(fault.LoseUnsynced)
	if err := m.check(mustOpen(t, testOptions(fsys))); err != nil {
		t.Error(err)
	}
}
