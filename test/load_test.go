package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto"
)

const loadSpace = 820

// openFiles makes sure that this process may have n files open.
func openFiles(t *testing.T, n uint64) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Cur >= n {
		return
	}
	l.Cur, l.Max = n, max(n, l.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatalf("%d open files are needed (ulimit -n): %v", n, err)
	}
}

// rawConn is a connection without a client behind it.
type rawConn struct {
	*net.TCPConn
	in   *bufio.Reader
	salt [iproto.ScrambleBytes]byte
}

// rawDial connects as guest and reads the greeting. The connection is reset in the end, so that its port is free at once.
func rawDial(address string) (*rawConn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	r := &rawConn{TCPConn: c.(*net.TCPConn)}
	if err := r.SetLinger(0); err != nil {
		return r, err
	}
	var greeting [iproto.GreetingBytes]byte
	if _, err = io.ReadFull(r, greeting[:]); err != nil {
		return r, err
	}
	g, err := iproto.ParseGreeting(greeting[:])
	r.salt, r.in = g.Salt, bufio.NewReaderSize(r, 4<<10)
	return r, err
}

// login becomes admin.
func (r *rawConn) login(t testing.TB) {
	t.Helper()
	scramble := iproto.Scramble([]byte(adminPassword), r.salt)
	if _, err := r.Write(iproto.AppendAuth(nil, 1, "admin", scramble[:])); err != nil {
		t.Fatal(err)
	}
	if code, err := r.skipReply(); err != nil || code != 0 {
		t.Fatalf("login: error %d, %v", code, err)
	}
}

// skipReply reads a reply and returns the number of its error, 0 for none.
func (r *rawConn) skipReply() (code uint32, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return 0, err
	}
	_, body, err := iproto.FrameSize(head[:])
	if err != nil {
		return 0, err
	}
	frame := make([]byte, body)
	if _, err := io.ReadFull(r.in, frame); err != nil {
		return 0, err
	}
	var reply iproto.Reply
	if err := iproto.DecodeReply(frame, &reply); err != nil {
		return 0, err
	}
	if reply.Err != nil {
		return uint32(reply.Err.Code), nil
	}
	return 0, nil
}

// residentBytes is the memory of a process that is in RAM: now, and at most since its start.
func residentBytes(t testing.TB, pid int) (now, peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		switch name {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			peak = kib << 10
		}
	}
	if now == 0 || peak == 0 {
		t.Fatalf("no memory in %s", text)
	}
	return now, peak
}

// metric reads one metric; -1 if it is not there.
func (p *proc) metric(name string) float64 {
	p.t.Helper()
	_, body := p.get("/metrics")
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				p.t.Fatalf("%s: %v", line, err)
			}
			return v
		}
	}
	return -1
}

// openToAll lets guest read and write everything, so that connections need no login, and makes the space of these tests.
func openToAll(t testing.TB, p *proc) table {
	t.Helper()
	c := p.admin()
	do(t, "grant")(c.Replace(context.Background(), spacePriv, pack(list{1, 0, "universe", 0, 31})))
	return createSpace(t, c, loadSpace, "load")
}

func replaceFrame(sync uint64, row list) []byte {
	return iproto.AppendInsert(nil, iproto.TypeReplace, sync, loadSpace, pack(row))
}

// TestIdleConnections: 10,000 connections that have all been used and wait now cost at most 300 MB, everything included.
func TestIdleConnections(t *testing.T) {
	const n, bound = 10_000, 300_000_000
	openFiles(t, n+1000)
	p := startInstance(t, options{args: []string{"--memory", "64MiB"}})
	child := p.online().PID
	space := openToAll(t, p)
	conns := make([]*rawConn, n)
	for i := range conns {
		c, err := rawDial(p.listen)
		if c != nil {
			defer c.Close()
		}
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns[i] = c
	}
	for _, frame := range []func(i int) []byte{
		func(int) []byte { return iproto.AppendPing(nil, 1) },
		func(i int) []byte { return replaceFrame(2, list{i, "some row"}) },
		func(i int) []byte {
			return iproto.AppendSelect(nil, 3, iproto.SelectArgs{Space: loadSpace, Limit: 1, Key: pack(list{i})})
		},
	} {
		for i, c := range conns {
			if _, err := c.Write(frame(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range conns {
			if code, err := c.skipReply(); code != 0 || err != nil {
				t.Fatalf("connection %d: error %d, %v", i, code, err)
			}
		}
	}
	if open := p.metric("lycosa_connections"); open < n {
		t.Errorf("%v connections are open", open)
	}
	now, peak := residentBytes(t, child)
	t.Logf("%d connections: %d MB, at most %d MB", n, now/1_000_000, peak/1_000_000)
	if peak > bound {
		t.Errorf("%d bytes for %d connections, at most %d bytes before", now, n, peak)
	}
	c, err := rawDial(p.listen)
	if err == nil {
		t.Error("one more connection was taken")
	}
	if c != nil {
		c.Close()
	}
	if refused := p.metric("lycosa_connections_refused_total"); refused != 1 {
		t.Errorf("%v refused connections", refused)
	}
	if rows := space.rows(); len(rows) != n {
		t.Errorf("%d rows", len(rows))
	}
}

// TestFewOpenFiles: where the process may open few files, connections are refused before the log lacks one.
func TestFewOpenFiles(t *testing.T) {
	t.Parallel()
	const files, taken = 1000, 360
	p := startInstance(t, options{wrap: []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", files, files)}})
	child := p.online().PID
	space := openToAll(t, p)
	if !strings.Contains(p.output(), "limit of open files") {
		t.Error("nothing in the log")
	}
	refused := 0
	for range files {
		c, err := rawDial(p.listen)
		if c != nil {
			defer c.Close()
		}
		if err != nil {
			refused++
		}
	}
	if refused != files-taken {
		t.Errorf("%d of %d connections were refused", refused, files)
	}
	for n := range 20 {
		space.insert(list{n})
		do(t, "snapshot")(space.c.Call(context.Background(), "box.snapshot", nil))
	}
	if s, ok := p.status(); !ok || s.PID != child {
		t.Errorf("status %+v", s)
	}
}

// TestSlowReaders: clients that write and do not read are cut when their replies exceed the bound; the log and the metrics
// tell. One that only reads is not read any more. Others do not notice.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const slow = 3
	p := startInstance(t, options{args: []string{"--wal-mode", "write"}})
	child := p.online().PID
	space := openToAll(t, p)
	payload := strings.Repeat("x", 12<<10)
	space.insert(list{1, payload})
	reader, err := rawDial(p.listen)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		// Its end comes with the end of the test.
		frame := iproto.AppendSelect(nil, 1, iproto.SelectArgs{Space: loadSpace, Limit: 1, Key: pack(list{1})})
		for err := error(nil); err == nil; {
			_, err = reader.Write(frame)
		}
	})
	for range slow {
		c, err := rawDial(p.listen)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			// The end of the connection, not its length, ends the loop: the server cuts it.
			frame := replaceFrame(1, list{1, payload})
			var err error
			for err == nil {
				_, err = c.Write(frame)
			}
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("the connection ended with %v", err)
			}
		})
	}
	for n := 2; p.metric(`lycosa_connections_cut_total{reason="slow"}`) < slow && p.running(); n++ {
		space.insert(list{n})
		if err := space.c.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() int { return strings.Count(p.output(), "too many unread replies") }
	if !poll(waitStart, func() bool { return lines() >= slow }) || lines() != slow {
		t.Errorf("%d lines in the log", lines())
	}
	reader.Close()
	wg.Wait()
	if s, ok := p.status(); !ok || s.PID != child || s.State != "RolesConfigured" {
		t.Errorf("status %+v", s)
	}
	_, peak := residentBytes(t, child)
	t.Logf("at most %d MB", peak>>20)
	if peak > 500<<20 {
		t.Errorf("%d bytes of memory", peak)
	}
}

// overload is many connections that send without waiting for single replies.
type overload struct {
	stop     chan struct{}
	wg       sync.WaitGroup
	sent, ok atomic.Int64
	bad      atomic.Pointer[error]
}

// blocksAhead is how many blocks of requests a connection has sent and not yet heard of.
const blocksAhead = 4

// offer starts n connections, each of which sends its block of frames again and again, some blocks ahead of the replies.
func offer(t *testing.T, p *proc, n int, block func(conn int) (frames []byte, count int)) *overload {
	t.Helper()
	o := &overload{stop: make(chan struct{})}
	for conn := range n {
		c, err := rawDial(p.listen)
		if err != nil {
			t.Fatal(err)
		}
		c.login(t)
		frames, count := block(conn)
		ahead := make(chan struct{}, blocksAhead)
		o.wg.Go(func() {
			defer close(ahead)
			for {
				select {
				case <-o.stop:
					return
				case ahead <- struct{}{}:
				}
				if _, err := c.Write(frames); err != nil {
					o.fail(err)
					return
				}
				o.sent.Add(int64(count))
			}
		})
		o.wg.Go(func() {
			defer c.Close()
			for range ahead {
				for range count {
					if code, err := c.skipReply(); err != nil || code != 0 {
						o.fail(fmt.Errorf("error %d, %w", code, err))
						return
					}
				}
				o.ok.Add(int64(count))
			}
		})
	}
	return o
}

func (o *overload) fail(err error) { o.bad.CompareAndSwap(nil, &err) }

// end stops the sending and waits for all replies.
func (o *overload) end(t *testing.T) {
	t.Helper()
	close(o.stop)
	o.wg.Wait()
	if err := o.bad.Load(); err != nil {
		t.Error(*err)
	}
	if o.sent.Load() != o.ok.Load() {
		t.Errorf("%d requests, %d answers", o.sent.Load(), o.ok.Load())
	}
}

// TestOverload: far more is offered than can be done, for as long as it takes to hear from the instance in every other way
// many times. It answers, stays within its memory, keeps leader and process, and does everything in the end.
func TestOverload(t *testing.T) {
	for _, c := range []struct {
		name          string
		conns, frames int
		payload       int
		rounds        int
		// flight is how many requests are in flight at the least while it lasts: of large ones fewer are let in.
		flight float64
		// bound is what the process may have beside the rows: see docs/guide/operations.md.
		bound int
	}{
		{"many small requests", 1000, 64, 50, 100, 100, 400 << 20},
		{"large requests", 100, 2, 1_000_000, 10, 30, 800 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			openFiles(t, 4000)
			p := startInstance(t, options{args: []string{"--memory", "512MiB"}})
			before := p.online()
			openToAll(t, p)
			payload := strings.Repeat("x", c.payload)
			o := offer(t, p, c.conns, func(conn int) ([]byte, int) {
				var b bytes.Buffer
				for i := range c.frames {
					b.Write(replaceFrame(uint64(i), list{conn%16*c.frames + i, payload}))
				}
				return b.Bytes(), c.frames
			})
			during(t, p, o, c.rounds, c.flight)
			o.end(t)
			used := 0
			after, ok := p.status()
			if !ok || after.PID != before.PID || after.State != before.State || after.Memory.Used == nil {
				t.Fatalf("status %+v", after)
			}
			used = int(*after.Memory.Used)
			now, peak := residentBytes(t, after.PID)
			t.Logf("%d requests; %d MB at most, %d MB now, %d MB of them rows", o.sent.Load(), peak>>20, now>>20, used>>20)
			if peak-used > c.bound {
				t.Errorf("%d MB beside %d MB of rows", (peak-used)>>20, used>>20)
			}
			for i, g := range before.Groups {
				if now := after.Groups[i]; now.Term != g.Term || now.Role != g.Role {
					t.Errorf("group %s: term %d, %s; before: term %d, %s", g.Name, now.Term, now.Role, g.Term, g.Role)
				}
			}
			for _, name := range []string{"lycosa_requests_in_flight", "lycosa_replies_queued_bytes"} {
				if v := p.metric(name); v != 0 {
					t.Errorf("%s %v", name, v)
				}
			}
		})
	}
}

// during waits until so many requests are in flight and asks in every way that must work at any load, so many times each.
func during(t *testing.T, p *proc, o *overload, rounds int, flight float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*waitStart)
	defer cancel()
	c, err := rawDial(p.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.login(t)
	waitFor(t, "the overload", waitStart, func() bool { return p.metric("lycosa_requests_in_flight") > flight || o.bad.Load() != nil })
	admin := p.admin()
	ask := func(frame []byte) {
		t.Helper()
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		if code, err := c.skipReply(); err != nil || code != 0 {
			t.Fatalf("error %d, %v", code, err)
		}
	}
	for n := range rounds {
		sync := uint64(n)
		ask(iproto.AppendPing(nil, sync))
		ask(iproto.AppendSelect(nil, sync, iproto.SelectArgs{Space: spaceSpace, Limit: 1, Key: pack(list{loadSpace})}))
		ask(iproto.AppendWatch(nil, iproto.TypeWatchOnce, sync, "lycosa.state"))
		if n%20 == 0 {
			ask(replaceFrame(sync, list{5000 + n}))
		}
		if err := admin.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/health/live", "/health/ready", "/api/v1/governor"} {
			if code, body := p.get(path); code != http.StatusOK {
				t.Fatalf("round %d: %s: %d %s", n, path, code, body)
			}
		}
	}
	t.Logf("%d requests were done meanwhile", o.ok.Load())
}
