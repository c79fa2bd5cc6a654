package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 120000000, time.UTC)

type fixedClock struct{}

func (fixedClock) Wall() time.Time     { return t0 }
func (fixedClock) Boot() time.Duration { return 0 }

// faults makes the next writes or syncs of the real file system fail, and counts syncs.
type faults struct {
	real.FS
	mu         sync.Mutex
	writeBytes int // -1: no fault; otherwise how much of the next write arrives before it fails
	failSync   bool
	syncs      int
}

func (f *faults) OpenFile(name string, flag int, perm fs.FileMode) (sys.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, faults: f}, nil
}

type faultFile struct {
	sys.File
	faults *faults
}

var errFault = errors.New("input/output error")

func (f *faultFile) Write(b []byte) (int, error) {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	if n := f.faults.writeBytes; n >= 0 {
		f.faults.writeBytes = -1
		n, err := f.File.Write(b[:min(n, len(b))])
		return n, errors.Join(errFault, err)
	}
	return f.File.Write(b)
}

func (f *faultFile) Datasync() error {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	f.faults.syncs++
	if f.faults.failSync {
		f.faults.failSync = false
		return errFault
	}
	return f.File.Datasync()
}

type bench struct {
	t    *testing.T
	fs   *faults
	path string
}

func newBench(t *testing.T) bench {
	return bench{t: t, fs: &faults{writeBytes: -1}, path: filepath.Join(t.TempDir(), "audit.log")}
}

func (b bench) open() *Log {
	b.t.Helper()
	l, err := Open(Options{FS: b.fs, Clock: fixedClock{}, Path: b.path, Dir: filepath.Dir(b.path)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (b bench) write(l *Log, entries ...Entry) {
	b.t.Helper()
	for _, e := range entries {
		if err := l.Write(e); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b bench) content(path string) []byte {
	b.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func (b bench) events() string {
	b.t.Helper()
	var names []string
	for _, line := range bytes.Split(bytes.TrimSpace(b.content(b.path)), []byte("\n")) {
		var r record
		if err := json.Unmarshal(line, &struct {
			*record
			Detail any `json:"detail"`
		}{record: &r}); err != nil {
			b.t.Fatalf("%s: %v", line, err)
		}
		names = append(names, fmt.Sprintf("%d:%s", r.Seq, r.Event))
	}
	return strings.Join(names, " ")
}

func (b bench) verify() Report {
	b.t.Helper()
	rep, err := Verify(bytes.NewReader(b.content(b.path)))
	if err != nil {
		b.t.Fatal(err)
	}
	return rep
}

func TestLineToTheLetter(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.write(l, Entry{Event: "auth_refused", Who: "bob", Where: "127.0.0.1:5",
		Detail: []event.Field{{Key: "z", Value: "1"}, {Key: "a", Value: "\"<\x01"}}})
	lines := strings.Split(string(b.content(b.path)), "\n")
	prefix := `{"seq":2,"time":"2026-03-01T12:00:00.120000000Z","event":"auth_refused","who":"bob",` +
		`"where":"127.0.0.1:5","what":null,"result":null,"detail":{"z":"1","a":"\"\u003c\u0001"},"prev":"`
	if len(lines) != 3 || !strings.HasPrefix(lines[1], prefix) || !json.Valid([]byte(lines[1])) {
		t.Fatalf("lines are %q", lines)
	}
	if !strings.HasPrefix(lines[0], `{"seq":1,"time":"2026-03-01T12:00:00.120000000Z","event":"audit_begin"`) ||
		!strings.Contains(lines[0], `"format_version":"1"`) || !strings.Contains(lines[0], zeroHash) {
		t.Errorf("the first line is %s", lines[0])
	}
	if st, _ := os.Stat(b.path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
}

func TestContinuesAfterRestartAndReopen(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.write(l, Entry{Event: "a"}, Entry{Event: "b"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Entry{Event: "late"}); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	l = b.open()
	b.write(l, Entry{Event: "c"})
	if got, want := b.events(), "1:audit_begin 2:a 3:b 4:c"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	old := b.verify()

	moved := b.path + ".1"
	if err := os.Rename(b.path, moved); err != nil {
		t.Fatal(err)
	}
	b.write(l, Entry{Event: "still in the old file"})
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	b.write(l, Entry{Event: "d"})
	if got, want := b.events(), "6:audit_begin 7:d"; got != want {
		t.Fatalf("after reopen: got %s, want %s", got, want)
	}
	before, err := Verify(bytes.NewReader(b.content(moved)))
	if err != nil || before.Records != old.Records+1 {
		t.Fatalf("old file: %+v, %v", before, err)
	}
	if now := b.verify(); now.PrevHash != before.LastHash || now.FirstSeq != before.LastSeq+1 {
		t.Errorf("the new file does not go on where the old one ends: %+v, %+v", before, now)
	}
	if err := l.Reopen(); err != nil || b.events() != "6:audit_begin 7:d" {
		t.Errorf("reopening the same file wrote something: %s, %v", b.events(), err)
	}
}

func TestPrivilegedRecordsAreSynced(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.write(l, Entry{Event: "a"})
	if b.fs.syncs != 0 {
		t.Errorf("%d syncs for an ordinary record", b.fs.syncs)
	}
	b.write(l, Entry{Event: "b", Privileged: true})
	if b.fs.syncs != 1 {
		t.Errorf("%d syncs for a privileged record", b.fs.syncs)
	}
	b.fs.failSync = true
	if err := l.Write(Entry{Event: "c", Privileged: true}); !errors.Is(err, errFault) {
		t.Errorf("a failed sync was not reported: %v", err)
	}
	if lost, failing := l.Failure(); lost != 1 || !failing {
		t.Errorf("failure is %d, %v", lost, failing)
	}
}

func TestFailedWriteIsCutOffAndCounted(t *testing.T) {
	for _, arrived := range []int{0, 1, 5, 7, 100, lineBytesMax} {
		b := newBench(t)
		l := b.open()
		b.write(l, Entry{Event: "a"})
		b.fs.writeBytes = arrived
		if err := l.Write(Entry{Event: "b"}); !errors.Is(err, errFault) {
			t.Fatalf("%d bytes: error %v", arrived, err)
		}
		b.write(l, Entry{Event: "c"})
		rep := b.verify()
		if _, failing := l.Failure(); failing || rep.LastSeq != uint64(rep.Records) {
			t.Errorf("%d bytes: failing %v, %+v", arrived, failing, rep)
		}
		got := b.events()
		if !strings.Contains(got, "audit_lost") || !strings.HasSuffix(got, ":c") ||
			strings.Contains(got, "torn") != (arrived > 0 && arrived < lineBytesMax) {
			t.Errorf("%d bytes: %s", arrived, got)
		}
	}
}

// Wherever a crash cuts the file, the next start goes on with a chain that verifies, and loses no whole line.
func TestTornAtEveryByte(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.write(l, Entry{Event: "a"}, Entry{Event: "b", Who: "somebody"})
	_ = l.Close()
	whole := b.content(b.path)
	for size := range whole {
		if err := os.WriteFile(b.path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		l := b.open()
		b.write(l, Entry{Event: "next"})
		_ = l.Close()
		kept := bytes.Count(whole[:size], []byte("\n"))
		rep := b.verify()
		if rep.LastSeq != uint64(rep.Records) || rep.Records < kept+1 {
			t.Fatalf("cut at %d: %+v, %d lines were whole", size, rep, kept)
		}
		torn := size > 0 && whole[size-1] != '\n'
		if strings.Contains(b.events(), "audit_torn_line") != torn {
			t.Fatalf("cut at %d: %s", size, b.events())
		}
	}
}

func TestZerosAfterPowerCut(t *testing.T) {
	b := newBench(t)
	l := b.open()
	_ = l.Close()
	if err := os.WriteFile(b.path, append(b.content(b.path), make([]byte, 300)...), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if got, want := b.events(), "1:audit_begin 2:audit_torn_line"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b.verify()
}

func TestForeignContentIsKept(t *testing.T) {
	for name, text := range map[string]string{
		"line": "somebody's notes\n", "no newline": "somebody's notes", "json": `{"seq":9}` + "\n",
		"long": strings.Repeat("x", 3*tailBytesRead), "many": strings.Repeat("notes\n", tailBytesRead),
	} {
		b := newBench(t)
		if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := b.open()
		b.write(l, Entry{Event: "a"})
		_ = l.Close()
		got := string(b.content(b.path))
		if !strings.HasPrefix(got, text) || strings.Count(got, eventBroken) != 1 {
			t.Errorf("%s: the file is now %.300q", name, got)
		}
		if _, err := Verify(strings.NewReader(got)); err == nil {
			t.Errorf("%s: a log with foreign lines was verified", name)
		}
		l = b.open()
		b.write(l, Entry{Event: "b"})
		after := string(b.content(b.path))
		if strings.Count(after, eventBroken) != 1 || !strings.Contains(after, `{"seq":3,`) {
			t.Errorf("%s: the chain was not continued: %.300q", name, after[len(text):])
		}
	}
}

func TestRefusesWhatIsNoRegularFile(t *testing.T) {
	b := newBench(t)
	target := b.path + ".target"
	if err := os.Symlink(target, b.path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{FS: b.fs, Clock: fixedClock{}, Path: b.path, Dir: filepath.Dir(b.path)}); err == nil {
		t.Error("a link was opened")
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("a file was made behind the link")
	}
}

func TestLongAndForeignTexts(t *testing.T) {
	b := newBench(t)
	l := b.open()
	huge := strings.Repeat("\x00\xff<", 1<<20)
	e := Entry{Event: huge, Who: huge, Where: huge, What: huge, Result: huge}
	for range 1000 {
		e.Detail = append(e.Detail, event.Field{Key: huge, Value: huge})
	}
	b.write(l, e, Entry{Event: "a", What: "line\nbreak"})
	for _, line := range bytes.Split(b.content(b.path), []byte("\n")) {
		if len(line) >= lineBytesMax {
			t.Errorf("a line has %d bytes", len(line))
		}
	}
	if rep := b.verify(); rep.Records != 3 {
		t.Errorf("%+v", rep)
	}
}

func TestConcurrentWriters(t *testing.T) {
	b := newBench(t)
	l := b.open()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_ = l.Write(Entry{Event: "a", Privileged: false})
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			_ = l.Reopen()
		}
	})
	wg.Wait()
	if rep := b.verify(); rep.Records != 401 {
		t.Errorf("%+v", rep)
	}
}

func TestSink(t *testing.T) {
	b := newBench(t)
	l := b.open()
	s := NewSink(l, slog.New(slog.DiscardHandler))
	cause := &lifecycle.Cause{Message: "broken"}
	rec := lifecycle.Record{From: lifecycle.Start, To: lifecycle.InitError, At: t0, Cause: cause}
	for _, e := range []event.Event{
		event.StateChanged{Instance: "i1", Record: rec},
		event.Authenticated{At: t0, User: "bob", Where: "w"},
		event.Authenticated{At: t0, User: "bob", Where: "w", OK: true},
		event.Privileged{At: t0, Who: "admin", Where: "admin.sock", What: "create user bob"},
	} {
		s.Emit(e)
	}
	lines := strings.Split(string(b.content(b.path)), "\n")
	for i, want := range []string{
		`"event":"state_changed","who":null,"where":null,"what":null,"result":null,"detail":{"instance":"i1",`,
		`"event":"auth_refused","who":"bob","where":"w","what":null,"result":"refused"`,
		`"event":"auth_ok","who":"bob","where":"w","what":null,"result":"ok"`,
		`"event":"privileged_intent","who":"admin","where":"admin.sock","what":"create user bob","result":null`,
	} {
		if !strings.Contains(lines[i+1], want) {
			t.Errorf("line %d is %s\nwant %s", i+1, lines[i+1], want)
		}
	}
	if b.fs.syncs != 1 {
		t.Errorf("%d syncs, want one for the privileged record", b.fs.syncs)
	}
	var out bytes.Buffer
	s = NewSink(l, slog.New(slog.NewTextHandler(&out, nil)))
	_ = l.Close()
	s.Emit(event.Poisoned{At: t0})
	if !strings.Contains(out.String(), "audit record is lost") {
		t.Errorf("log is %q", out.String())
	}
}
