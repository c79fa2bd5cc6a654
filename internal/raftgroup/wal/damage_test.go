package wal

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// smallLog writes a log of one segment with three entries, marked as committed or not, closed or not.
func smallLog(t *testing.T, mark, close bool) (*fault.FS, *model) {
	t.Helper()
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	m := &model{}
	for _, b := range []Batch{
		{HardState: hard(1, 1, 0), Entries: entries(1, 1, 1, 0)},
		{Entries: entries(2, 1, 1, 60)}, {Entries: entries(3, 1, 1, 41)},
	} {
		m.append(b)
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	if mark {
		l.NoteCommit(3)
		if err := l.Mark(); err != nil {
			t.Fatal(err)
		}
	}
	if close {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	} else {
		fsys.Kill()
	}
	return fsys, m
}

// flipEach flips every bit of the segment up to `end` and hands the outcome of Open to check.
func flipEach(t *testing.T, fsys *fault.FS, check func(off int64, l *Log, err error) error) {
	t.Helper()
	name := "/data/r0000000000000001.rlog"
	st, err := fsys.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	for off := range st.Size() {
		for bit := range 8 {
			if off > 1024 && int64(bit) != off%8 {
				continue // zeros behind the records: one bit of each byte
			}
			clone := fsys.Clone()
			if err := clone.Corrupt(name, off, 1<<bit); err != nil {
				t.Fatal(err)
			}
			l, err := Open(testOptions(clone))
			if err := check(off, l, err); err != nil {
				t.Fatalf("bit %d of byte %d: %v", bit, off, err)
			}
		}
	}
}

func TestEveryBitFlipOfAClosedLog(t *testing.T) {
	fsys, m := smallLog(t, false, true)
	cut := 0
	flipEach(t, fsys, func(_ int64, l *Log, err error) error {
		if err != nil {
			if !isCorrupt(err) {
				return err
			}
			return nil
		}
		cut++
		if r := l.Recovered(); r.TornTailBytes == 0 || r.CleanStop {
			return errors.New("not noticed")
		}
		return m.check(l)
	})
	if cut == 0 {
		t.Error("a flip behind the last record must be a cut")
	}
}

func TestEveryBitFlipOfAMarkedLog(t *testing.T) {
	fsys, m := smallLog(t, true, false)
	flipEach(t, fsys, func(_ int64, l *Log, err error) error {
		if err != nil {
			if !isCorrupt(err) {
				return err
			}
			return nil
		}
		if l.Recovered().TornTailBytes == 0 {
			return errors.New("not noticed")
		}
		return m.check(l)
	})
}

func TestEveryBitFlipOfAnUnmarkedLog(t *testing.T) {
	fsys, m := smallLog(t, false, false)
	shorter := m.clone()
	shorter.entries = shorter.entries[:2]
	flipEach(t, fsys, func(_ int64, l *Log, err error) error {
		if err != nil {
			if !isCorrupt(err) {
				return err
			}
			return nil
		}
		if l.Recovered().TornTailBytes == 0 {
			return errors.New("not noticed")
		}
		if m.check(l) == nil {
			return nil
		}
		// Nothing after the last record tells that it was acknowledged: it looks like a torn write.
		return shorter.check(l)
	})
}

func TestDamageBeforeTheLastSegment(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	for i := uint64(1); i <= 6; i++ {
		if err := l.Append(Batch{Entries: entries(i, 1, 1, 1500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := "/data/r0000000000000002.rlog"
	for off := int64(0); off < segmentBytesMin; off += 13 {
		clone := fsys.Clone()
		if err := clone.Corrupt(name, off, 0x10); err != nil {
			t.Fatal(err)
		}
		_, err := Open(testOptions(clone))
		var c *CorruptError
		if !errors.As(err, &c) || c.File != name {
			t.Fatalf("byte %d: %v", off, err)
		}
	}
	if err := fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testOptions(fsys)); !isCorrupt(err) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing segment: %v", err)
	}
}

func TestForeignAndShortFiles(t *testing.T) {
	fsys, _ := smallLog(t, false, true)
	o := testOptions(fsys)
	o.Instance = uuid.UUID{9}
	if _, err := Open(o); !isCorrupt(err) || !strings.Contains(err.Error(), "instance") {
		t.Errorf("log of another instance: %v", err)
	}
	o = testOptions(fsys)
	o.Group = "catalog"
	if _, err := Open(o); !isCorrupt(err) || !strings.Contains(err.Error(), "group") {
		t.Errorf("log of another group: %v", err)
	}
	o = testOptions(fsys)
	o.AckedIndex = 4
	if _, err := Open(o); !isCorrupt(err) || !strings.Contains(err.Error(), "acknowledged") {
		t.Errorf("log that ends before what was acknowledged: %v", err)
	}
	f, err := fsys.OpenFile("/data/r0000000000000001.rlog", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Cut exactly behind a record: nothing but the size tells.
	if err := f.Truncate(segmentHeaderBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testOptions(fsys)); !isCorrupt(err) || !strings.Contains(err.Error(), "lost its end") {
		t.Errorf("truncated file: %v", err)
	}
}

// TestEmbeddedRecord: a client writes bytes that are a valid record of another log. Torn, they must not look like a record
// that follows.
func TestEmbeddedRecord(t *testing.T) {
	other, _ := smallLog(t, true, false)
	raw, err := sys.ReadFile(other, "/data/r0000000000000001.rlog", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	if err := l.Append(Batch{Entries: entries(1, 1, 1, 8)}); err != nil {
		t.Fatal(err)
	}
	fsys.CrashAt(1)
	payload := append(bytes.Repeat([]byte{7}, 700), raw[segmentHeaderBytes:1500]...)
	_ = l.Append(Batch{Entries: []raftgroup.Entry{{Index: 2, Term: 1, Data: payload}}})
	fsys.Reboot(fault.TearLastTail(1))
	l = mustOpen(t, testOptions(fsys))
	if r := l.Recovered(); r.LastIndex != 1 || r.TornTailBytes == 0 {
		t.Errorf("recovered %+v", r)
	}
}

// TestWriteModeLosesTheTailOpenly: without syncs a power cut may take any page. What was known to be committed and is gone
// is counted.
func TestWriteModeLosesTheTailOpenly(t *testing.T) {
	fsys := fault.New()
	o := testOptions(fsys)
	o.Sync = SyncWrite
	l := mustOpen(t, o)
	for i := uint64(1); i <= 4; i++ {
		if err := l.Append(Batch{Entries: entries(i, 1, 1, 500)}); err != nil {
			t.Fatal(err)
		}
		l.NoteCommit(i)
	}
	unsynced := slices.DeleteFunc(fsys.Unsynced(), func(u fault.Unsynced) bool { return u.Op != fault.OpWrite })
	fsys.Reboot(fault.Drop(unsynced[1].Seq))
	l = mustOpen(t, o)
	if r := l.Recovered(); r.LastIndex != 1 || r.LostEntries != 2 || r.TornTailBytes == 0 || r.CleanStop {
		t.Errorf("recovered %+v", r)
	}
	if err := l.Append(Batch{Entries: entries(2, 2, 1, 500), HardState: hard(2, 1, 1)}); err != nil {
		t.Fatal(err)
	}
	fsys.Reboot(fault.LoseUnsynced)
	if r := mustOpen(t, o).Recovered(); r.LastIndex != 2 || r.HardState.Term != 2 {
		t.Errorf("a hard state is synced in every mode, and what is before it with it: %+v", r)
	}
}

func TestNoneModeKeepsTermAndVote(t *testing.T) {
	fsys := fault.New()
	o := testOptions(fsys)
	o.Sync = SyncNone
	l := mustOpen(t, o)
	if err := l.Append(Batch{HardState: hard(3, 2, 0), Entries: entries(1, 3, 2, 10)}); err != nil {
		t.Fatal(err)
	}
	writes := fsys.Count(fault.OpWrite)
	if err := l.Append(Batch{Entries: entries(3, 3, 2, 10)}); err != nil {
		t.Fatal(err)
	}
	if fsys.Count(fault.OpWrite) != writes {
		t.Error("entries were logged")
	}
	fsys.Reboot(fault.LoseUnsynced)
	if r := mustOpen(t, o).Recovered(); r.HardState.Term != 3 || r.HardState.Vote != 2 || r.LastIndex != 0 {
		t.Errorf("recovered %+v", r)
	}
}

func TestDiskFullRefusesAndGoesOn(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	m := &model{}
	do := func(b Batch) error {
		err := l.Append(b)
		if err == nil {
			m.append(b)
		}
		return err
	}
	if err := do(Batch{HardState: hard(1, 1, 0), Entries: entries(1, 1, 2, 1500)}); err != nil {
		t.Fatal(err)
	}
	fsys.SetCapacity(fsys.Used())
	for range 3 {
		writes := fsys.Count(fault.OpWrite)
		err := do(Batch{Entries: entries(3, 1, 1, 1500)})
		if !errors.Is(err, sys.ErrDiskFull) || errors.Is(err, ErrPoisoned) {
			t.Fatalf("full disk: %v", err)
		}
		if fsys.Count(fault.OpWrite) != writes || !l.Full() {
			t.Error("something was written, or Full does not know")
		}
	}
	for term := uint64(2); term < 30; term++ {
		if err := do(Batch{HardState: hard(term, 1, 0)}); err != nil {
			t.Fatalf("vote of term %d on a full disk: %v", term, err)
		}
	}
	if err := l.EnsureRoom(); !errors.Is(err, sys.ErrDiskFull) || !l.Full() {
		t.Errorf("room on a full disk: %v", err)
	}
	fsys.SetCapacity(0)
	if err := l.EnsureRoom(); err != nil || l.Full() {
		t.Errorf("room after space came back: %v", err)
	}
	if err := do(Batch{Entries: entries(3, 29, 1, 1500)}); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Lstat("/data/rreserve"); err != nil {
		t.Errorf("the reserve was not restored: %v", err)
	}
	fsys.Reboot(fault.LoseUnsynced)
	if err := m.check(mustOpen(t, testOptions(fsys))); err != nil {
		t.Error(err)
	}
}

// TestOpenOnAFullDisk: an unclean stop asks for a copy of the last segment; there is no room but the reserve.
func TestOpenOnAFullDisk(t *testing.T) {
	fsys, m := smallLog(t, false, false)
	fsys.SetCapacity(fsys.Used())
	l := mustOpen(t, testOptions(fsys))
	if err := m.check(l); err != nil {
		t.Error(err)
	}
	if err := l.Append(Batch{HardState: hard(7, 1, 0)}); err != nil {
		t.Errorf("vote on a full disk: %v", err)
	}
}

// TestMisplacedRecord: a disk writes an old record of the same segment over a later one. Every checksum in it is right, only
// the chain tells.
func TestMisplacedRecord(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, testOptions(fsys))
	for term := uint64(2); term <= 3; term++ {
		if err := l.Append(Batch{HardState: hard(term, 1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile("/data/r0000000000000001.rlog", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, recordHeaderBytes+24)
	if _, err := f.ReadAt(record, segmentHeaderBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(record, segmentHeaderBytes+int64(len(record))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testOptions(fsys)); !isCorrupt(err) || !strings.Contains(err.Error(), "does not follow") {
		t.Errorf("misplaced record: %v", err)
	}
}

// TestWriteModeCrashesOnlyInTheLastSegment: a segment is synced before the next one begins, so that a power cut leaves a
// log that can be opened, and nothing older than the last segment is lost.
func TestWriteModeCrashesOnlyInTheLastSegment(t *testing.T) {
	fsys := fault.New()
	o := testOptions(fsys)
	o.Sync = SyncWrite
	l := mustOpen(t, o)
	m := &model{}
	for i := uint64(1); i <= 12; i++ {
		b := Batch{Entries: entries(i, 1, 1, 700)}
		m.append(b)
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
		for name, policy := range fsys.CrashStates(i) {
			clone := fsys.Clone()
			clone.Reboot(policy)
			o.FS = clone
			l, err := Open(o)
			if err != nil {
				t.Fatalf("after entry %d, disk state %q: %v", i, name, err)
			}
			found := m.clone()
			found.entries = found.entries[:min(l.LastIndex(), i)]
			if err := found.check(l); err != nil || l.LastIndex() < (i-1)/5*5 {
				t.Fatalf("after entry %d, disk state %q: log ends at %d, %v", i, name, l.LastIndex(), err)
			}
		}
	}
}
