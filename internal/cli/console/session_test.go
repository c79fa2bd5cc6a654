package console

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// fakeServer answers selects of a schema with one space, whose number is its schema version plus 600, and of that space.
type fakeServer struct {
	mu      sync.Mutex
	version uint64
	inserts int
	// journal holds the requests that came in a stream, or begin and end one; refuse are their next errors by type.
	journal []string
	refuse  map[iproto.Type]error
	// drop closes the connection in place of the next answer to a request of this type, or after it if late.
	drop iproto.Type
	late bool
	// hold keeps requests of this type without an answer; held tells of them.
	hold iproto.Type
	held chan struct{}
}

func startFake(t *testing.T) (*fakeServer, Options, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{version: 1, refuse: map[iproto.Type]error{}, held: make(chan struct{}, 10)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	var out, errs bytes.Buffer
	return f, Options{
		Connect: func(ctx context.Context) (*client.Client, error) {
			return client.Dial(ctx, l.Addr().String(), client.Options{})
		},
		Address: "fake", User: "admin", ConnectTimeout: time.Minute, Stdout: &out, Stderr: &errs, Format: FormatJSON,
	}, &out, &errs
}

func (f *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := conn.Write(iproto.AppendGreeting(nil, "2.11.0", "u", [iproto.SaltBytes]byte{})); err != nil {
		return
	}
	in := bufio.NewReader(conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		_, size, err := iproto.FrameSize(head[:])
		if err != nil {
			return
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		out, more := f.answer(payload)
		if _, err := conn.Write(out); err != nil || !more {
			return
		}
	}
}

func (f *fakeServer) answer(payload []byte) (out []byte, more bool) {
	var r iproto.Request
	if err := iproto.DecodeRequest(payload, &r); err != nil {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Type == iproto.TypeInsert {
		f.inserts++
	}
	if r.StreamID != 0 {
		f.journal = append(f.journal, fmt.Sprintf("%s@%d", iproto.TypeName(r.Type), r.StreamID))
	}
	more = true
	switch {
	case r.Type == f.drop && (r.SpaceID >= 600 || r.StreamID != 0):
		f.drop, more = 0, false
		if !f.late {
			return nil, false
		}
	case r.Type == f.hold:
		f.held <- struct{}{}
		return nil, true
	}
	id := 600 + f.version
	row := msgpack.AppendArrayHeader(nil, 1)
	if err := f.refuse[r.Type]; err != nil {
		delete(f.refuse, r.Type)
		return iproto.AppendError(nil, r.Sync, f.version, errcode.Of(err)), true
	}
	switch {
	case r.Type == iproto.TypePing, r.Type == iproto.TypeBegin, r.Type == iproto.TypeCommit, r.Type == iproto.TypeRollback:
		return iproto.AppendOK(nil, r.Sync, f.version, nil), more
	case r.SchemaVersion != 0 && r.SchemaVersion != f.version:
		return iproto.AppendError(nil, r.Sync, f.version, errcode.New(errcode.WrongSchemaVersion, r.SchemaVersion, f.version)), true
	case r.SpaceID == vspaceID:
		row = msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 7), id), 1)
		row = msgpack.AppendStr(msgpack.AppendStr(row, "users"), "memtx")
		row = append(msgpack.AppendUint(row, 0), 0x80, 0x90)
	case r.SpaceID == vindexID:
		row = msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), id), 0)
		row = append(msgpack.AppendStr(msgpack.AppendStr(row, "pk"), "tree"), 0x80, 0x91, 0x92, 0, 0xa8)
		row = append(row, "unsigned"...)
	case r.SpaceID == uint32(id):
		row = msgpack.AppendUint(row, id)
	default:
		return iproto.AppendError(nil, r.Sync, f.version, errcode.New(errcode.NoSuchSpace, "gone")), true
	}
	return iproto.AppendData(nil, r.Sync, f.version, row), more
}

func (f *fakeServer) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// TestSchemaChange: a name is never sent as the number that it had before.
func TestSchemaChange(t *testing.T) {
	f, o, out, errs := startFake(t)
	s := newSession(o)
	defer s.close()
	ctx := context.Background()
	for version, want := range map[uint64]string{1: "[601]\n", 2: "[602]\n", 7: "[607]\n"} {
		f.set(func() { f.version = version })
		out.Reset()
		if err := s.run(ctx, "select users pk eq 1"); err != nil || out.String() != want {
			t.Errorf("version %d: %s, %v", version, out, err)
		}
	}
	if err := s.run(ctx, "insert users [1]"); err != nil || f.inserts != 1 {
		t.Errorf("%d inserts, %v", f.inserts, err)
	}
	f.set(func() { f.version = 9 })
	if err := s.run(ctx, "select nobody"); !errcode.Is(err, errcode.NoSuchSpace) {
		t.Error(err)
	}
	if err := s.run(ctx, "select users other"); !errcode.Is(err, errcode.NoSuchIndexName) {
		t.Error(err)
	}
	if n := s.names(ctx); len(n.spaces) != 1 || n.indexes["users"][0] != "pk" {
		t.Errorf("names %v", n)
	}
	if errs.Len() > 0 {
		t.Error(errs)
	}
}

// TestLost: a request that was sent is never sent again, and its unknown outcome is told; the session goes on.
func TestLost(t *testing.T) {
	f, o, out, errs := startFake(t)
	f.drop = iproto.TypeInsert
	o.Stdin = strings.NewReader("insert users [1]\nselect users\n")
	o.KeepGoing = true
	if err := Script(context.Background(), o); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	if f.inserts != 1 {
		t.Errorf("%d inserts were sent", f.inserts)
	}
	for _, want := range []string{"line 1: error 12001 UNKNOWN_OUTCOME: The outcome of the write is unknown: the connection broke", "hint: ",
		"the connection to fake is lost", "connected to fake again"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not told: %s", want, errs)
		}
	}
	if out.String() != "[601]\n" {
		t.Errorf("the session does not go on: %s", out)
	}
	// A read has no outcome.
	errs.Reset()
	f.set(func() { f.drop = iproto.TypeSelect })
	o.Stdin, o.KeepGoing = strings.NewReader("select users\nselect users\n"), false
	if err := Script(context.Background(), o); !errors.Is(err, ErrFailed) || strings.Contains(errs.String(), "12001") ||
		!strings.Contains(errs.String(), "line 1: error: the connection broke before the answer came") {
		t.Errorf("%v: %s", err, errs)
	}
}

// TestIdleLoss: a request on a connection that broke before is sent over a new one.
func TestIdleLoss(t *testing.T) {
	f, o, out, errs := startFake(t)
	s := newSession(o)
	defer s.close()
	ctx := context.Background()
	f.set(func() { f.drop, f.late = iproto.TypeInsert, true })
	if err := s.run(ctx, "insert 601 [1]"); err != nil && f.inserts == 0 {
		t.Fatal(err)
	}
	for s.c != nil && s.c.Err() == nil { // the reader learns of it
		_ = s.c.Ping(ctx)
	}
	out.Reset()
	if err := s.run(ctx, "insert users [2]"); err != nil || out.String() != "[601]\n" {
		t.Errorf("%v: %s%s", err, out, errs)
	}
	if !strings.Contains(errs.String(), "connected to fake again") {
		t.Errorf("told: %s", errs)
	}
}

// typed is an editor that plays what is typed.
type typed struct {
	lines []string
	then  func(line string)
}

func (e *typed) read(string) (string, error) {
	if len(e.lines) == 0 {
		return "", io.EOF
	}
	line := e.lines[0]
	if e.lines = e.lines[1:]; line == "^C" {
		return "", errInterrupted
	}
	e.then(line)
	return line, nil
}

// TestInterrupt: Ctrl-C ends the wait for an answer, and the session goes on over the same connection.
func TestInterrupt(t *testing.T) {
	f, o, out, errs := startFake(t)
	interrupts := make(chan os.Signal, 1)
	o.Interrupts = interrupts
	s := newSession(o)
	defer s.close()
	f.hold = iproto.TypeInsert
	stop := make(chan struct{})
	var pressing sync.WaitGroup
	pressing.Go(func() {
		for {
			select {
			case <-f.held:
				interrupts <- os.Interrupt
			case <-stop:
				return
			}
		}
	})
	ed := &typed{lines: []string{"^C", "insert users [1]", "select users", "ping x", "sql select 1", `\quit`, "select users"}, then: func(string) {}}
	if err := s.interact(context.Background(), ed); err != nil {
		t.Error(err)
	}
	if len(ed.lines) != 1 {
		t.Errorf("left after \\quit: %q", ed.lines)
	}
	if out.String() != "[601]\n" || strings.Contains(errs.String(), "again") {
		t.Errorf("shown: %s%s", out, errs)
	}
	for _, want := range []string{"error 12001 UNKNOWN_OUTCOME: The outcome of the write is unknown: interrupted", "error: ping: x is too much", "SQL is not in this version, it comes later"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not told: %s", want, errs)
		}
	}
	errs.Reset()
	f.set(func() { f.hold = iproto.TypeSelect })
	if err := s.interact(context.Background(), &typed{lines: []string{"select 601"}, then: func(string) {}}); err != nil || !strings.Contains(errs.String(), "error: interrupted") {
		t.Errorf("an interrupted read: %v, %s", err, errs)
	}
	close(stop)
	pressing.Wait()
	s.o.RequestTimeout = time.Millisecond
	if err := s.run(context.Background(), "select 601"); err == nil || err.Error() != "there was no answer in time" {
		t.Error(err)
	}
}

// TestPlainEditor: on a dumb terminal lines are joined as in a script.
func TestPlainEditor(t *testing.T) {
	var out bytes.Buffer
	e := &plainEditor{in: bufio.NewReader(strings.NewReader("ping\ninsert t [1,\n2]\nlast")), out: &out}
	for _, want := range []string{"ping", "insert t [1,\n2]", "last"} {
		if got, err := e.read("> "); err != nil || got != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	if _, err := e.read("> "); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if out.String() != "> > ... > > " {
		t.Errorf("prompts %q", out.String())
	}
}

// failing is a writer whose reader has gone.
type failing struct{}

func (failing) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: os.ErrClosed}
}

func TestOutputCloses(t *testing.T) {
	_, o, _, errs := startFake(t)
	o.Stdin, o.Stdout, o.KeepGoing = strings.NewReader("select users\nselect users\n"), failing{}, true
	if err := Script(context.Background(), o); !isWriteError(err) || errs.Len() > 0 {
		t.Errorf("%v: %s", err, errs)
	}
}

func TestUnreachable(t *testing.T) {
	_, o, _, _ := startFake(t)
	o.Stdin = strings.NewReader("ping")
	address := filepath.Join(t.TempDir(), "none")
	o.Connect = func(ctx context.Context) (*client.Client, error) { return client.Dial(ctx, address, client.Options{}) }
	var unreachable *UnreachableError
	if err := Script(context.Background(), o); !errors.As(err, &unreachable) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := Interact(context.Background(), o); !errors.As(err, &unreachable) {
		t.Error(err)
	}
}
