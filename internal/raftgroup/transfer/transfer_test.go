package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// announce makes the message that announces a snapshot.
func announce(t *testing.T, from, index, term uint64) raftgroup.Message {
	t.Helper()
	b, err := proto.Marshal(&pb.Message{Type: pb.MsgSnap.Enum(), From: new(from), To: new(uint64(9)), Term: new(term + 3),
		Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &pb.ConfState{Voters: []uint64{from}}}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := raftgroup.DecodeMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// source is a sender: it has a content, and fails as told.
type source struct {
	content []byte
	piece   int
	asked   []uint64
	// fail returns the failure of a try, by its number.
	fail func(try int) error
	// total, if not 0, is what is told of the whole.
	total uint64
}

func (s *source) chunk(_ context.Context, _ raftgroup.Message, offset uint64) ([]byte, uint64, error) {
	s.asked = append(s.asked, offset)
	if s.fail != nil {
		if err := s.fail(len(s.asked)); err != nil {
			return nil, 0, err
		}
	}
	total := s.total
	if total == 0 {
		total = uint64(len(s.content))
	}
	end := min(int(offset)+s.piece, len(s.content))
	return s.content[min(int(offset), end):end], total, nil
}

// bench is a fetcher with what it does seen.
type bench struct {
	*Fetcher
	fs       *fault.FS
	src      *source
	accepted [][]byte
	refuse   error
	outcomes chan error
}

func newBench(t *testing.T, size, piece int) *bench {
	t.Helper()
	b := &bench{fs: fault.New(), outcomes: make(chan error, 10), src: &source{piece: piece, content: make([]byte, size)}}
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(piece)))
	for i := range b.src.content {
		b.src.content[i] = byte(rnd.Uint32())
	}
	b.Fetcher = New(Options{
		FS: b.fs, Path: "/part", BytesMax: 1 << 20, PauseMin: time.Microsecond, PauseMax: 10 * time.Microsecond, Tries: 4,
		Chunk: func(ctx context.Context, m raftgroup.Message, offset uint64) ([]byte, uint64, error) {
			return b.src.chunk(ctx, m, offset)
		},
		Accept: func(raftgroup.Message) error {
			data, err := sys.ReadFile(b.fs, "/part", 1<<20)
			b.accepted = append(b.accepted, data)
			return errors.Join(err, b.refuse)
		},
		Done: func(_ raftgroup.Message, err error) { b.outcomes <- err },
	})
	t.Cleanup(b.Close)
	return b
}

// run fetches once, and returns when nothing is under way any more.
func (b *bench) run(t *testing.T, m raftgroup.Message) error {
	t.Helper()
	b.Fetch(m)
	err := <-b.outcomes
	b.wg.Wait()
	return err
}

func (b *bench) whole(t *testing.T, n int) {
	t.Helper()
	if len(b.accepted) != n || !bytes.Equal(b.accepted[n-1], b.src.content) {
		t.Fatalf("%d contents were accepted, want %d", len(b.accepted), n)
	}
	if _, err := b.fs.Lstat("/part"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestWhole(t *testing.T) {
	for _, size := range []int{1, 9, 10, 11, 12345} {
		b := newBench(t, size, 10)
		if err := b.run(t, announce(t, 1, 5, 2)); err != nil {
			t.Fatal(err)
		}
		b.whole(t, 1)
		if want := (size + 9) / 10; len(b.src.asked) != want {
			t.Errorf("%d pieces of %d bytes", len(b.src.asked), size)
		}
	}
}

// TestResumes: after failures in the middle it goes on where it was, in the same try and, given up, in the next one; but not with
// what another replica sends, or for another snapshot.
func TestResumes(t *testing.T) {
	b := newBench(t, 1000, 10)
	lost := errors.New("connection lost")
	b.src.fail = func(try int) error {
		if try%3 == 0 || try > 50 {
			return lost
		}
		return nil
	}
	if err := b.run(t, announce(t, 1, 5, 2)); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	reached := b.src.asked[len(b.src.asked)-1]
	if reached < 300 || len(b.accepted) != 0 {
		t.Fatalf("%d bytes after %d tries", reached, len(b.src.asked))
	}
	b.src.fail, b.src.asked = nil, nil
	if err := b.run(t, announce(t, 1, 5, 2)); err != nil {
		t.Fatal(err)
	}
	if b.src.asked[0] != reached {
		t.Errorf("it goes on at byte %d, %d had come", b.src.asked[0], reached)
	}
	b.whole(t, 1)
	for n, other := range []raftgroup.Message{announce(t, 2, 5, 2), announce(t, 2, 6, 2), announce(t, 2, 6, 3)} {
		b.src.asked = nil
		b.src.fail = func(try int) error {
			if try > 7 {
				return ErrRefused
			}
			return nil
		}
		if err := b.run(t, announce(t, 1, 5, 2)); !errors.Is(err, ErrRefused) || len(b.src.asked) != 8 {
			t.Fatal(err, b.src.asked)
		}
		b.src.fail, b.src.asked = nil, nil
		b.src.content[3]++
		if err := b.run(t, other); err != nil || b.src.asked[0] != 0 {
			t.Fatalf("%v, begun at %d", err, b.src.asked[0])
		}
		b.whole(t, 2+n)
	}
}

// TestForeignBytes: what a sender may not say ends it, and the next try begins anew.
func TestForeignBytes(t *testing.T) {
	for name, spoil := range map[string]func(*source){
		"too large":     func(s *source) { s.total = 1<<20 + 1 },
		"far too large": func(s *source) { s.total = 1 << 63 },
		"shorter":       func(s *source) { s.total = 5 },
		"longer":        func(s *source) { s.total = 101 },
		"empty":         func(s *source) { s.content = nil; s.total = 0 },
		"empty piece":   func(s *source) { s.piece, s.total = 0, 100 },
		"other length":  func(s *source) { s.fail = func(try int) error { s.total = uint64(100 + try); return nil } },
	} {
		b := newBench(t, 100, 10)
		clean := *b.src
		spoil(b.src)
		if err := b.run(t, announce(t, 1, 5, 2)); err == nil || len(b.accepted) != 0 {
			t.Errorf("%s: %v, accepted %d", name, err, len(b.accepted))
		}
		*b.src = clean
		if err := b.run(t, announce(t, 1, 5, 2)); err != nil || b.src.asked[0] != 0 {
			t.Errorf("%s: again: %v, begun at %d", name, err, b.src.asked[0])
		}
		b.whole(t, 1)
	}
}

// TestNotAccepted: content that is not what was announced is brought anew.
func TestNotAccepted(t *testing.T) {
	b := newBench(t, 100, 10)
	b.refuse = errors.New("a block is damaged")
	if err := b.run(t, announce(t, 1, 5, 2)); !errors.Is(err, b.refuse) {
		t.Fatal(err)
	}
	b.refuse, b.src.asked = nil, nil
	if err := b.run(t, announce(t, 1, 5, 2)); err != nil || len(b.src.asked) != 10 {
		t.Fatal(err, b.src.asked)
	}
	b.whole(t, 2)
}

// TestDiskFull: it is an outcome like others, and passes.
func TestDiskFull(t *testing.T) {
	b := newBench(t, 64<<10, 4<<10)
	b.fs.SetCapacity(b.fs.Used() + 20<<10)
	if err := b.run(t, announce(t, 1, 5, 2)); !errors.Is(err, sys.ErrDiskFull) {
		t.Fatal(err)
	}
	b.fs.SetCapacity(0)
	if err := b.run(t, announce(t, 1, 5, 2)); err != nil {
		t.Fatal(err)
	}
	b.whole(t, 1)
}

// TestOneAtATime: what is announced while something is brought is dropped, but a newer message for the same is the one that the
// outcome is told with; and Close ends it.
func TestOneAtATime(t *testing.T) {
	entered, release, outcomes := make(chan uint64, 10), make(chan struct{}), make(chan raftgroup.Message, 10)
	f := New(Options{
		FS: fault.New(), Path: "/part", BytesMax: 100,
		Have: func(m raftgroup.Message) bool { return m.From() == 7 },
		Chunk: func(ctx context.Context, m raftgroup.Message, _ uint64) ([]byte, uint64, error) {
			entered <- m.From()
			select {
			case <-release:
				return []byte("x"), 1, nil
			case <-ctx.Done():
				return nil, 0, ctx.Err()
			}
		},
		Accept: func(raftgroup.Message) error { return nil },
		Done: func(m raftgroup.Message, err error) {
			if err == nil {
				outcomes <- m
			}
		},
	})
	f.Fetch(announce(t, 1, 5, 2))
	<-entered
	f.Fetch(announce(t, 2, 6, 2))
	newer := announce(t, 1, 5, 2)
	f.Fetch(newer)
	release <- struct{}{}
	if m := <-outcomes; m != newer {
		t.Error("the outcome was told with an older message")
	}
	f.wg.Wait()
	f.Fetch(announce(t, 7, 8, 2)) // the content that is here already is not asked for
	if m := <-outcomes; m.From() != 7 {
		t.Errorf("the outcome is of %d", m.From())
	}
	f.wg.Wait()
	f.Fetch(announce(t, 3, 9, 2))
	if from := <-entered; from != 3 {
		t.Errorf("%d was asked", from)
	}
	f.Close()
	f.Fetch(announce(t, 4, 10, 2))
	if len(entered) > 0 || len(outcomes) > 0 {
		t.Error(fmt.Sprint("something was begun after Close: ", len(entered), len(outcomes)))
	}
}
