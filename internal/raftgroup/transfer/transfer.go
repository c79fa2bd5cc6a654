// Package transfer brings the content of a raft group's snapshot from the replica that announced it, piece by piece, into a file.
// Effects: a file, through package sys; one goroutine while something is brought; pauses between tries. How a piece is asked for,
// what the content means, and what happens when it is there are functions of the caller; when a snapshot is needed is decided by
// package raftgroup, and how it is installed by its runner.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

// ErrRefused is in the chain of an error of Options.Chunk that will not pass: the sender has answered that it does not have the
// snapshot, for example. The content is not asked for again before the snapshot is announced again.
var ErrRefused = errors.New("the sender refuses")

const (
	// PieceBytesMax is the largest piece that is taken.
	PieceBytesMax = 16 << 20

	pauseMinDefault = 50 * time.Millisecond
	pauseMaxDefault = 2 * time.Second
	triesDefault    = 10
)

// Options of New. FS, Path, BytesMax, Chunk, Accept and Done must be given.
type Options struct {
	FS sys.FS
	// Path is the file that takes what comes. What an earlier process left in it is not used. It is gone when nothing is brought.
	Path string
	// BytesMax bounds the content, in bytes.
	BytesMax uint64
	// Have tells whether the content of the snapshot that a message announces is durable here already. Nil: it never is.
	Have func(raftgroup.Message) bool
	// Chunk asks the sender of a message for a piece of the content that begins at offset, in bytes: at least one byte and at most
	// PieceBytesMax, and how long the whole is. Errors pass, and are tried again, unless ErrRefused is in their chain.
	Chunk func(ctx context.Context, m raftgroup.Message, offset uint64) (data []byte, total uint64, err error)
	// Accept checks the whole content, which is in the file at Path and synced, and makes it durable under a name of its own; it
	// may rename the file. An error says that the content is not what was announced.
	Accept func(raftgroup.Message) error
	// Done is told the outcome for each message that was taken, or a newer one that announced the same. It may wait.
	Done func(m raftgroup.Message, err error)
	// Progress, if not nil, is called after each piece: bytes so far, and in all.
	Progress func(done, total uint64)
	// PauseMin (50 ms) is the first pause after a failed try; it doubles up to PauseMax (2 s). Tries (10) is how many may fail in a
	// row before it is given up.
	PauseMin, PauseMax time.Duration
	Tries              int
}

// Fetcher brings one snapshot at a time. Any goroutine may call its methods.
type Fetcher struct {
	o    Options
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu sync.Mutex // guards what follows
	// busy: the content that newest announces is being brought.
	busy   bool
	newest raftgroup.Message

	// part belongs to the goroutine that brings something.
	part part
}

// part is what has been brought of a content so far.
type part struct {
	from, index, term uint64
	offset, total     uint64
}

func partOf(m raftgroup.Message) part {
	p, _ := m.Snapshot()
	return part{from: m.From(), index: p.Index, term: p.Term}
}

func (p part) same(other part) bool {
	return p.from == other.from && p.index == other.index && p.term == other.term
}

// New makes a fetcher. Close ends it.
func New(o Options) *Fetcher {
	if o.PauseMin == 0 {
		o.PauseMin = pauseMinDefault
	}
	if o.PauseMax == 0 {
		o.PauseMax = pauseMaxDefault
	}
	if o.Tries == 0 {
		o.Tries = triesDefault
	}
	f := &Fetcher{o: o}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Close ends what is under way and waits for it.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.busy = true // for ever: nothing begins any more
	f.stop()
	f.mu.Unlock()
	f.wg.Wait()
}

// Fetch begins to bring the content of the snapshot that a message announces, and returns at once. While something is being
// brought already nothing else is begun: the snapshot will be announced again.
func (f *Fetcher) Fetch(m raftgroup.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy {
		if f.ctx.Err() == nil && partOf(m).same(partOf(f.newest)) {
			f.newest = m // of a later term, perhaps
		}
		return
	}
	f.busy, f.newest = true, m
	f.wg.Go(func() {
		err := f.bring(m)
		f.mu.Lock()
		m := f.newest
		f.mu.Unlock()
		f.o.Done(m, err)
		f.mu.Lock()
		f.busy = f.ctx.Err() != nil
		f.mu.Unlock()
	})
}

func (f *Fetcher) bring(m raftgroup.Message) error {
	if f.o.Have != nil && f.o.Have(m) {
		return nil
	}
	if p := partOf(m); !f.part.same(p) {
		f.part = p
	}
	if err := f.download(m); err != nil {
		return err
	}
	err := f.o.Accept(m)
	// Whatever came of it, nothing of this file is asked for again.
	f.part = part{}
	if rerr := f.o.FS.Remove(f.o.Path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && err == nil {
		err = fmt.Errorf("transfer: %w", rerr)
	}
	return err
}

// download brings what is missing of the content into the file, and syncs it.
func (f *Fetcher) download(m raftgroup.Message) error {
	flag := os.O_RDWR | os.O_CREATE
	if f.part.offset == 0 {
		flag |= os.O_TRUNC
	}
	file, err := f.o.FS.OpenFile(f.o.Path, flag, 0o600)
	if err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	err = f.pieces(m, file)
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("transfer: snapshot of index %d, at byte %d of %d: %w", f.part.index, f.part.offset, f.part.total, err)
	}
	return nil
}

// pieces asks for one piece after the other until all are there.
func (f *Fetcher) pieces(m raftgroup.Message, file sys.File) error {
	failed, pause := 0, f.o.PauseMin
	for f.part.total == 0 || f.part.offset < f.part.total {
		data, total, err := f.o.Chunk(f.ctx, m, f.part.offset)
		if err == nil {
			if err = f.take(file, data, total); err != nil {
				return err
			}
			failed, pause = 0, f.o.PauseMin
			continue
		}
		if failed++; errors.Is(err, ErrRefused) || failed >= f.o.Tries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		pause = min(2*pause, f.o.PauseMax)
	}
	return nil
}

// take writes a piece. One that does not follow what is there voids all of it: the sender has another content now.
func (f *Fetcher) take(file sys.File, data []byte, total uint64) error {
	p := &f.part
	n := uint64(len(data))
	switch {
	case total == 0 || total > f.o.BytesMax:
		p.offset, p.total = 0, 0
		return fmt.Errorf("the content has %d bytes, 1 to %d are allowed", total, f.o.BytesMax)
	case n == 0 || n > PieceBytesMax || p.total != 0 && total != p.total || n > total-p.offset:
		err := fmt.Errorf("a piece of %d bytes of %d, expected of %d", n, total, p.total)
		p.offset, p.total = 0, 0
		return err
	}
	if _, err := file.WriteAt(data, int64(p.offset)); err != nil {
		return err
	}
	p.offset, p.total = p.offset+n, total
	if f.o.Progress != nil {
		f.o.Progress(p.offset, total)
	}
	return nil
}
