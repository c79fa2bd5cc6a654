package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// selectBackend answers every request inline with one small tuple.
type selectBackend struct{ tuple []byte }

func (b *selectBackend) Execute(_ *Session, req *iproto.Request, out []byte) ([]byte, bool) {
	out, mark := iproto.BeginData(out, req.Sync, 89)
	out = append(out, b.tuple...)
	return iproto.EndData(out, mark, 1), true
}
func (b *selectBackend) Flush(*Session)                        {}
func (b *selectBackend) Answer(_ *Session, out []byte) []byte  { return out }
func (b *selectBackend) SchemaVersion() uint64                 { return 89 }
func (b *selectBackend) Credentials(string) (Credential, bool) { return Credential{}, false }
func (b *selectBackend) Closed(*Session)                       {}

// cpu returns user and system time of the process.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pipeline sends b.N copies of a frame over one connection, depth at a time, and reads the replies. The CPU time is
// that of client and server together: they are one process here.
func pipeline(b *testing.B, frame []byte, replyBytes, depth int) {
	pipelineOn(b, &selectBackend{tuple: []byte{0x93, 1, 0xa3, 'o', 'n', 'e', 10}}, frame, replyBytes, depth)
}

func pipelineOn(b *testing.B, backend Backend, frame []byte, replyBytes, depth int) {
	srv := New(Options{Backend: backend})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(l)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	io.ReadFull(conn, make([]byte, iproto.GreetingBytes))
	batch, replies := bytes.Repeat(frame, depth), make([]byte, replyBytes*depth)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	for n := 0; n < b.N; n += depth {
		if _, err := conn.Write(batch); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, replies); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
	srv.Shutdown(context.Background())
}

func BenchmarkPing(b *testing.B) {
	frame := iproto.AppendPing(nil, 7)
	for _, depth := range []int{1, 16, 128, 1024} {
		b.Run("depth="+strconv.Itoa(depth), func(b *testing.B) { pipeline(b, frame, 29, depth) })
	}
}

func BenchmarkSelect(b *testing.B) {
	frame := iproto.AppendSelect(nil, 7, iproto.SelectArgs{Space: 600, Limit: 1, Key: []byte{0x91, 1}})
	for _, depth := range []int{16, 128, 1024} {
		b.Run("depth="+strconv.Itoa(depth), func(b *testing.B) { pipeline(b, frame, 42, depth) })
	}
}

// BenchmarkHandle is the server's own work per request: decoding and answering, without the network.
func BenchmarkHandle(b *testing.B) {
	frames := map[string][]byte{
		"ping":   iproto.AppendPing(nil, 7),
		"select": iproto.AppendSelect(nil, 7, iproto.SelectArgs{Space: 600, Limit: 1, Key: []byte{0x91, 1}}),
	}
	for name, frame := range frames {
		b.Run(name, func(b *testing.B) {
			srv := New(Options{Backend: &selectBackend{tuple: []byte{0x93, 1, 0xa3, 'o', 'n', 'e', 10}}})
			c1, c2 := net.Pipe()
			defer c1.Close()
			defer c2.Close()
			s := srv.newSession(c1, guest, false)
			backend := s.enter()
			out := make([]byte, 0, bufferBytes)
			b.ReportAllocs()
			start := cpu()
			for b.Loop() {
				head, body, err := iproto.FrameSize(frame)
				if err != nil {
					b.Fatal(err)
				}
				out, _ = s.handle(backend, frame[head:head+body], out[:0])
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// laterBackend gathers requests and hands them to one goroutine, as the tx loop takes writes.
type laterBackend struct {
	selectBackend
	jobs chan laterJob
}

type laterJob struct {
	s     *Session
	syncs []uint64
}

func (b *laterBackend) Execute(s *Session, req *iproto.Request, out []byte) ([]byte, bool) {
	gathered, _ := s.Local.(*[]uint64)
	if gathered == nil {
		gathered = new([]uint64)
		s.Local = gathered
	}
	*gathered = append(*gathered, req.Sync)
	return out, false
}

func (b *laterBackend) Answer(_ *Session, out []byte) []byte { return out }

func (b *laterBackend) Flush(s *Session) {
	gathered := s.Local.(*[]uint64)
	b.jobs <- laterJob{s, *gathered}
	*gathered = nil
}

func (b *laterBackend) run() {
	var out []byte
	for j := range b.jobs {
		out = out[:0]
		for _, sync := range j.syncs {
			out = iproto.AppendData(out, sync, 89, b.tuple)
		}
		j.s.Complete(out)
	}
}

func BenchmarkInsertLater(b *testing.B) {
	frame := iproto.AppendInsert(nil, iproto.TypeReplace, 7, 600, []byte{0x93, 1, 0xa3, 'o', 'n', 'e', 10})
	for _, depth := range []int{1, 16, 128, 512} {
		b.Run("depth="+strconv.Itoa(depth), func(b *testing.B) {
			backend := &laterBackend{jobs: make(chan laterJob, 100)}
			backend.tuple = []byte{0x93, 1, 0xa3, 'o', 'n', 'e', 10}
			go backend.run()
			defer close(backend.jobs)
			pipelineOn(b, backend, frame, 42, depth)
		})
	}
}
