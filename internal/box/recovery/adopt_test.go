package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

const (
	foreignPath = "/foreign"
	senderAt    = 50
	replicaAt   = 20
	localFirst  = 600
)

var senderPosition = checkpoint.Position{Index: senderAt, Term: 7, Voters: []uint64{2, 4}, Learners: []uint64{9}}

// withLocals makes an engine that has some local spaces, with rows that begin with the given number, and a space that all replicas
// have the same of.
func withLocals(t *testing.T, version, from uint64, locals, rows int) *box.Engine {
	t.Helper()
	e := small(t)
	e.Begin(version)
	define := func(id uint64, name string, local bool) {
		b := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 7), id), 1)
		b = msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendStr(b, name), "memtx"), 0)
		if b = msgpack.AppendMapHeader(b, 0); local {
			b = msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendMapHeader(b[:len(b)-1], 1), "group_id"), 1)
		}
		exec(t, e, dictionary.SpaceSpace, msgpack.AppendArrayHeader(b, 0))
		index := msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), id), 0), "pk")
		index = msgpack.AppendStr(msgpack.AppendMapHeader(msgpack.AppendStr(index, "tree"), 1), "unique")
		index = msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(msgpack.AppendBool(index, true), 1), 2)
		exec(t, e, dictionary.SpaceIndex, msgpack.AppendStr(msgpack.AppendUint(index, 0), "unsigned"))
	}
	for n := range uint64(locals) {
		define(localFirst+n, fmt.Sprint("local", n), true)
		for i := range uint64(3) {
			exec(t, e, uint32(localFirst+n), msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), from+i))
		}
	}
	define(spaceID, "t", false)
	for n := range uint64(rows) {
		exec(t, e, spaceID, row(n))
	}
	e.Seal()
	e.Publish(version)
	return e
}

// foreign is a disk with a snapshot of the replica, and with one of the sender as it was brought here.
func foreign(t *testing.T, sender, replica *box.Engine) *fault.FS {
	t.Helper()
	fsys := fault.New()
	for _, dir := range []string{crashDir, foreignPath} {
		if err := fsys.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	for dir, e := range map[string]*box.Engine{crashDir: replica, foreignPath: sender} {
		view := e.OpenView()
		pos := checkpoint.Position{Index: replicaAt, Term: 3, Voters: []uint64{2}, Local: view.LocalRows()}
		if e == sender {
			pos = senderPosition
			pos.Local = view.LocalRows()
		}
		_, err := checkpoint.Write(e, view, pos, checkpoint.Options{FS: fsys, Dir: dir, InstanceUUID: "aaaaaaaa-0000-4000-8000-000000000001", Now: time.Unix(1795348234, 0)})
		view.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

func adopt(fsys sys.FS, replica *box.Engine, path string, pos checkpoint.Position) (checkpoint.Result, error) {
	view := replica.OpenView()
	defer view.Close()
	return checkpoint.Adopt(view, path, pos, checkpoint.Options{FS: fsys, Dir: crashDir, InstanceUUID: "aaaaaaaa-0000-4000-8000-000000000002", Now: time.Unix(1795348235, 0)})
}

// brought is where the sender's snapshot lies.
func brought(t *testing.T, fsys sys.FS) string {
	t.Helper()
	found, err := checkpoint.List(fsys, foreignPath)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return foreignPath + "/" + checkpoint.Name(found[0])
}

// merged is what the replica has to hold: everything of the sender but its local rows, and in those local spaces that the
// replica has too its own.
func merged(sender, replica *box.Engine, common int) []string {
	own := func(line string) bool {
		for n := range common {
			if strings.HasPrefix(line, fmt.Sprint(localFirst+n, " ")) {
				return true
			}
		}
		return false
	}
	var all []string
	for _, line := range dump(sender) {
		if !strings.HasPrefix(line, "60") {
			all = append(all, line)
		}
	}
	for _, line := range dump(replica) {
		if own(line) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

// TestAdopt: what another replica has, with the own rows of local spaces, is loaded by a start, and installed in the running engine.
func TestAdopt(t *testing.T) {
	for _, locals := range [][2]int{{0, 0}, {2, 2}, {3, 2}, {2, 3}, {0, 2}, {2, 0}} {
		sender, replica := withLocals(t, senderAt, 1000, locals[0], rowCount), withLocals(t, replicaAt, 2000, locals[1], 40)
		fsys := foreign(t, sender, replica)
		want := merged(sender, replica, min(locals[0], locals[1]))
		res, err := adopt(fsys, replica, brought(t, fsys), senderPosition)
		signature := uint64(senderAt + 3*locals[1])
		if err != nil || res.Existed || res.Path != crashDir+"/"+checkpoint.Name(signature) {
			t.Fatalf("%v: %+v, %v", locals, res, err)
		}
		if again, err := adopt(fsys, replica, brought(t, fsys), senderPosition); err != nil || !again.Existed {
			t.Fatalf("%v: again: %+v, %v", locals, again, err)
		}
		fresh := newEngine(t)
		loaded, err := Load(fresh, fsys, crashDir, signature, nil)
		if err != nil || loaded.HashMissing || loaded.Local != uint64(3*locals[1]) || loaded.Term != 7 || len(loaded.Learners) != 1 {
			t.Fatalf("%v: %+v, %v", locals, loaded, err)
		}
		loaded.Finish(loaded.Index)
		if got := sorted(dump(fresh)); !slices.Equal(got, want) {
			t.Fatalf("%v: a start finds %d rows, want %d", locals, len(got), len(want))
		}
		installed, err := Install(replica, fsys, crashDir, signature, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := replica.Published(); v != replicaAt {
			t.Fatalf("version %d is published before the end", v)
		}
		installed.Finish(installed.Index)
		if got := sorted(dump(replica)); !slices.Equal(got, want) {
			t.Fatalf("%v: %d rows are installed, want %d", locals, len(got), len(want))
		}
		if view := replica.OpenView(); view.LocalRows() != uint64(3*locals[1]) || view.Version() != senderAt {
			t.Errorf("%v: %d local rows at version %d", locals, view.LocalRows(), view.Version())
		} else {
			view.Close()
		}
	}
}

// TestAdoptRefuses: a snapshot of another place, or one with other members, is not taken, and leaves nothing behind.
func TestAdoptRefuses(t *testing.T) {
	sender, replica := withLocals(t, senderAt, 1000, 1, 10), withLocals(t, replicaAt, 2000, 1, 4)
	fsys := foreign(t, sender, replica)
	for name, change := range map[string]func(*checkpoint.Position){
		"index":   func(p *checkpoint.Position) { p.Index++ },
		"term":    func(p *checkpoint.Position) { p.Term-- },
		"members": func(p *checkpoint.Position) { p.Learners = nil },
		"joint":   func(p *checkpoint.Position) { p.Outgoing = []uint64{2} },
	} {
		pos := senderPosition
		change(&pos)
		if res, err := adopt(fsys, replica, brought(t, fsys), pos); err == nil {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if _, err := adopt(fsys, replica, crashDir+"/nothing", senderPosition); err == nil {
		t.Error("a file that is not there was adopted")
	}
	if entries, err := fsys.ReadDir(crashDir); err != nil || len(entries) != 2 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}

// TestAdoptFlippedBits flips bits all over the foreign file: it is refused, or what is adopted is what was sent.
func TestAdoptFlippedBits(t *testing.T) {
	sender, replica := withLocals(t, senderAt, 1000, 1, 10), withLocals(t, replicaAt, 2000, 1, 4)
	want := merged(sender, replica, 1)
	clean := foreign(t, sender, replica)
	path := brought(t, clean)
	st, err := clean.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for off := int64(0); off < st.Size(); off += 1 + off%5 {
		fsys := clean.Clone()
		if err := fsys.Corrupt(path, off, 1<<(off%8)); err != nil {
			t.Fatal(err)
		}
		if _, err := adopt(fsys, replica, path, senderPosition); err != nil {
			refused++
			continue
		}
		fresh := openEngine(t, true)
		loaded, err := Load(fresh, fsys, crashDir, senderAt+3, nil)
		if err != nil {
			t.Fatalf("byte %d: %v", off, err)
		}
		loaded.Finish(loaded.Index)
		if got := sorted(dump(fresh)); !slices.Equal(got, want) {
			t.Fatalf("byte %d: other rows were adopted", off)
		}
		if err := fresh.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused < 100 {
		t.Errorf("only %d flips were noticed", refused)
	}
}

// TestAdoptCrash stops the machine at each call of an adoption, and leaves each state of the disk that may result: the snapshot of
// before is there and whole, the new one is whole if it is there, and there if it was acknowledged, and it can be adopted again.
func TestAdoptCrash(t *testing.T) {
	sender, replica := withLocals(t, senderAt, 1000, 1, 10), withLocals(t, replicaAt, 2000, 1, 4)
	want := merged(sender, replica, 1)
	clean := foreign(t, sender, replica)
	path := brought(t, clean)
	states := 0
	for at := 1; ; at++ {
		fsys := clean.Clone()
		fsys.CrashAt(at)
		_, err := adopt(fsys, replica, path, senderPosition)
		if !fsys.Crashed() {
			if err != nil || at < 9 {
				t.Fatalf("%d calls, %v", at, err)
			}
			break
		}
		for name, policy := range fsys.CrashStates(uint64(at)) {
			states++
			after := fsys.Clone()
			after.Reboot(policy)
			found, lerr := checkpoint.List(after, crashDir)
			if lerr != nil || len(found) == 0 || found[len(found)-1] != replicaAt+3 || err == nil && found[0] != senderAt+3 {
				t.Fatalf("crash at call %d, disk state %q: snapshots %v, %v", at, name, found, lerr)
			}
			if _, err := adopt(after, replica, path, senderPosition); err != nil {
				t.Fatalf("crash at call %d, disk state %q: again: %v", at, name, err)
			}
			after.Reboot(fault.LoseUnsynced)
			for _, signature := range []uint64{replicaAt + 3, senderAt + 3} {
				fresh := openEngine(t, true)
				loaded, err := Load(fresh, after, crashDir, signature, nil)
				if err != nil {
					t.Fatalf("crash at call %d, disk state %q: %v", at, name, err)
				}
				loaded.Finish(loaded.Index)
				if got := sorted(dump(fresh)); signature == senderAt+3 && !slices.Equal(got, want) {
					t.Fatalf("crash at call %d, disk state %q: other rows", at, name)
				}
				if err := fresh.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d crash states", states)
}
