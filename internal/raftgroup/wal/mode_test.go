package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

func modeOptions(fsys sys.FS, mode SyncMode, boot string) Options {
	o := testOptions(fsys)
	o.Sync, o.Boot = mode, boot
	return o
}

// change is an entry that changes the membership.
func change(index, term uint64) raftgroup.Entry {
	return raftgroup.Entry{Index: index, Term: term, Type: raftgroup.EntryConfChange, Data: []byte{byte(index)}}
}

// TestUnsure: after which stops acknowledged entries may be gone, in which mode; it stays so until somebody vouches for the log.
func TestUnsure(t *testing.T) {
	for _, c := range []struct {
		mode       SyncMode
		stop, boot string
		unsure     bool
	}{
		{SyncFsync, "kill", "a", false}, {SyncFsync, "power", "b", false}, {SyncFsync, "close", "b", false},
		{SyncWrite, "kill", "a", false}, {SyncWrite, "power", "b", true}, {SyncWrite, "close", "b", false},
		{SyncWrite, "close, power", "b", true}, {SyncNone, "close at, power", "b", true},
		{SyncNone, "kill", "a", true}, {SyncNone, "power", "b", true}, {SyncNone, "close", "a", true}, {SyncNone, "close at", "b", false},
	} {
		t.Run(fmt.Sprintf("%s %s %s", c.mode, c.stop, c.boot), func(t *testing.T) {
			fsys := fault.New()
			l := mustOpen(t, modeOptions(fsys, c.mode, "a"))
			if err := l.Append(Batch{HardState: hard(2, 1, 0), Entries: entries(1, 2, 5, 20), Commit: 4}); err != nil {
				t.Fatal(err)
			}
			switch c.stop {
			case "kill":
				fsys.Kill()
			case "power":
				fsys.Reboot(fault.LoseUnsynced)
			case "close":
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			case "close at":
				if err := l.CloseAt(4, 2, entries(5, 2, 1, 20)); err != nil {
					t.Fatal(err)
				}
				fsys.Reboot(fault.LoseUnsynced)
			default: // what was written since the clean stop is gone, the mark of it is not
				if err := l.CloseAt(4, 2, entries(5, 2, 1, 20)); err != nil {
					t.Fatal(err)
				}
				l = mustOpen(t, modeOptions(fsys, c.mode, "a"))
				if err := l.Append(Batch{Entries: entries(6, 2, 1, 20)}); err != nil {
					t.Fatal(err)
				}
				fsys.Reboot(fault.LoseUnsynced)
			}
			for term := uint64(2); term < 4; term++ { // neither another start nor its end makes it better
				l = mustOpen(t, modeOptions(fsys, c.mode, c.boot))
				if got := l.Recovered(); got.Unsure != c.unsure || got.HardState.Term != term || got.HardState.Vote != 1 {
					t.Fatalf("%+v", got)
				}
				if !c.unsure {
					break
				}
				if err := errors.Join(l.Append(Batch{HardState: hard(term+1, 1, 0)}), l.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if c.unsure {
				return
			}
			if want := uint64(5); l.LastIndex() != want || l.Recovered().LostEntries != 0 {
				t.Errorf("the log ends at %d, %+v", l.LastIndex(), l.Recovered())
			}
		})
	}
}

// TestUnsureUntilVouched: the word of a replica counts for the next start.
func TestUnsureUntilVouched(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, modeOptions(fsys, SyncWrite, "a"))
	if err := l.Append(Batch{Entries: entries(1, 2, 5, 20)}); err != nil {
		t.Fatal(err)
	}
	for _, unsure := range []bool{true, true, false} {
		fsys.Kill()
		l = mustOpen(t, modeOptions(fsys, SyncWrite, "b"))
		if l.Recovered().Unsure != unsure {
			t.Fatalf("unsure: %t", !unsure)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l = mustOpen(t, modeOptions(fsys, SyncWrite, "b")); l.Recovered().Unsure != unsure {
			t.Fatalf("after a clean end unsure: %t", !unsure)
		}
		if len(l.ConfChanges()) == 0 && unsure {
			if err := l.Append(Batch{Entries: []raftgroup.Entry{change(6, 2)}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := l.Vouch(&raftgroup.Position{Index: 6, Voters: []uint64{1}}); err != nil {
			t.Fatal(err)
		}
	}
	if m := l.Recovered().Members; m == nil || m.Index != 6 || len(m.Voters) != 1 {
		t.Errorf("vouched for members %+v", m)
	}
	if err := l.ResetTo(7, 3); err != nil {
		t.Fatal(err)
	}
	fsys.Kill()
	if l = mustOpen(t, modeOptions(fsys, SyncWrite, "b")); l.Recovered().Members != nil {
		t.Errorf("members of before the log began anew: %+v", l.Recovered().Members)
	}
}

// TestMembershipIsSynced: a change of members is durable in every mode before Append returns, and with it, in mode write, all before it.
func TestMembershipIsSynced(t *testing.T) {
	for _, mode := range []SyncMode{SyncFsync, SyncWrite, SyncNone} {
		fsys := fault.New()
		l := mustOpen(t, modeOptions(fsys, mode, "a"))
		for _, b := range []Batch{
			{Entries: entries(1, 2, 2, 20)}, {Entries: []raftgroup.Entry{change(3, 2)}}, {Entries: entries(4, 2, 2, 20)},
			{Entries: []raftgroup.Entry{change(6, 2)}}, {Entries: append(entries(6, 3, 1, 10), change(7, 3))}, {Entries: entries(8, 3, 1, 10)},
		} {
			if err := l.Append(b); err != nil {
				t.Fatal(err)
			}
		}
		fsys.Reboot(fault.LoseUnsynced)
		l = mustOpen(t, modeOptions(fsys, mode, "b"))
		got := l.ConfChanges()
		if len(got) != 2 || got[0].Index != 3 || got[1].Index != 7 || got[1].Term != 3 || got[1].Data[0] != 7 {
			t.Errorf("%s: changes %+v", mode, got)
		}
		if want := map[SyncMode]uint64{SyncFsync: 8, SyncWrite: 7, SyncNone: 0}[mode]; l.LastIndex() != want {
			t.Errorf("%s: the log ends at %d, want %d", mode, l.LastIndex(), want)
		}
	}
}

// TestConfsAfterCleanStop: in mode none a change of members that a clean stop has saved is not forgotten by an unclean one.
func TestConfsAfterCleanStop(t *testing.T) {
	fsys := fault.New()
	l := mustOpen(t, modeOptions(fsys, SyncNone, "a"))
	if err := l.Append(Batch{Entries: append(entries(1, 2, 2, 20), change(3, 2), change(4, 2))}); err != nil {
		t.Fatal(err)
	}
	if err := l.CloseAt(3, 2, []raftgroup.Entry{change(4, 2)}); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, modeOptions(fsys, SyncNone, "a"))
	if err := l.Append(Batch{Entries: []raftgroup.Entry{change(5, 2)}}); err != nil {
		t.Fatal(err)
	}
	fsys.Kill()
	l = mustOpen(t, modeOptions(fsys, SyncNone, "a"))
	if got := l.ConfChanges(); len(got) != 2 || got[0].Index != 4 || got[1].Index != 5 || !l.Recovered().Unsure || l.LastIndex() != 3 {
		t.Errorf("changes %+v, %+v", got, l.Recovered())
	}
	if err := l.ResetTo(4, 2); err != nil { // a snapshot was there, too
		t.Fatal(err)
	}
	fsys.Kill()
	l = mustOpen(t, modeOptions(fsys, SyncNone, "a"))
	if got := l.ConfChanges(); len(got) != 1 || got[0].Index != 5 || !l.Recovered().Unsure {
		t.Errorf("behind a snapshot: changes %+v, %+v", got, l.Recovered())
	}
}

// TestModeFileDamaged: what can not be read is not guessed.
func TestModeFileDamaged(t *testing.T) {
	for _, text := range []string{"", "x", "lycosa-log-mode 1 00000000\n{}", "lycosa-log-mode 2 00000000\n{}"} {
		fsys := fault.New()
		l := mustOpen(t, modeOptions(fsys, SyncWrite, "a"))
		if err := l.Append(Batch{Entries: entries(1, 2, 2, 20)}); err != nil {
			t.Fatal(err)
		}
		fsys.Kill()
		if err := sys.WriteFileAtomic(fsys, "/data", "r"+ModeFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(modeOptions(fsys, SyncWrite, "a")); !errors.As(err, new(*CorruptError)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
