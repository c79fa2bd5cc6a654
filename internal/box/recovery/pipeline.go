package recovery

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/snap"
)

// A snapshot goes through three stages at once: one goroutine reads (and hashes) the file, some unpack blocks, decode their
// rows and check them against their formats, and the caller's puts the rows into the engine, in the order of the file.
const (
	// unpackersMax bounds the goroutines that unpack: the one that loads can not follow more.
	unpackersMax = 4
	// keepBytes is the size from which on the memory of a block is not used again.
	keepBytes = 1 << 20
)

// piece is a block on its way.
type piece struct {
	block    snap.Block
	unpacker snap.Unpacker
	runs     []box.Run
	rows     int
	err      error         // of reading or of unpacking
	ready    chan struct{} // gets a value when the piece is unpacked
}

type pipeline struct {
	loader *box.Loader
	free   chan *piece // pieces that wait for a block
	read   chan *piece // that wait for an unpacker
	order  chan *piece // all that were read, in the order of the file
	quit   chan struct{}
	wg     sync.WaitGroup
}

// start begins to read blocks.
func start(r *snap.Reader, loader *box.Loader) *pipeline {
	unpackers := min(runtime.GOMAXPROCS(0), unpackersMax)
	pieces := 2*unpackers + 2
	p := &pipeline{loader: loader, quit: make(chan struct{}),
		free: make(chan *piece, pieces), read: make(chan *piece, pieces), order: make(chan *piece, pieces)}
	for range pieces {
		p.free <- &piece{ready: make(chan struct{}, 1)}
	}
	p.wg.Go(func() { p.readBlocks(r) })
	for range unpackers {
		p.wg.Go(func() {
			for b := range p.read {
				b.unpack(p.loader)
				b.ready <- struct{}{}
			}
		})
	}
	return p
}

// stop ends all goroutines, whether the file was read or not.
func (p *pipeline) stop() {
	close(p.quit)
	p.wg.Wait()
}

// readBlocks reads until the end, an error, or stop. Each channel has room for all pieces.
func (p *pipeline) readBlocks(r *snap.Reader) {
	defer close(p.order)
	defer close(p.read)
	for {
		var b *piece
		select {
		case b = <-p.free:
		case <-p.quit:
			return
		}
		if b.err = r.ReadBlock(&b.block); b.err != nil {
			if !errors.Is(b.err, io.EOF) {
				b.ready <- struct{}{}
				p.order <- b
			}
			return
		}
		p.read <- b
		p.order <- b
	}
}

// unpack decodes the rows of a block into runs, which share its memory.
func (b *piece) unpack(loader *box.Loader) {
	b.rows = 0
	runs := b.runs[:0]
	payload, err := b.unpacker.Unpack(&b.block)
	if err == nil {
		err = b.block.Rows(payload, func(row *snap.Row) error {
			if row.Type != snap.TypeInsert {
				return fmt.Errorf("a row has type %d: this is no snapshot of this program", row.Type)
			}
			if n := len(runs); n == 0 || runs[n-1].Space != row.SpaceID {
				if n < cap(runs) {
					runs = runs[:n+1]
				} else {
					runs = append(runs, box.Run{})
				}
				runs[n].Space, runs[n].Tuples = row.SpaceID, runs[n].Tuples[:0]
			}
			run := &runs[len(runs)-1]
			run.Tuples = append(run.Tuples, row.Tuple)
			b.rows++
			return nil
		})
	}
	b.runs, b.err = runs, err
	for i := range runs {
		loader.Check(&runs[i])
	}
}

// next returns the next block's piece, nil at the end. Its rows come before its error.
func (p *pipeline) next() *piece {
	b, ok := <-p.order
	if !ok {
		return nil
	}
	<-b.ready
	return b
}

// done gives a piece back.
func (p *pipeline) done(b *piece) {
	if b.block.Cap() > keepBytes || b.unpacker.Cap() > keepBytes {
		b.block, b.unpacker = snap.Block{}, snap.Unpacker{}
	}
	p.free <- b
}
