package recovery

import (
	"errors"
	"fmt"
	"sync"

	"github.com/lycosadb/lycosa/internal/box"
)

const (
	// chunkBytes is the size from which on a chunk of the log is handed over, chunks the number of them.
	chunkBytes = 256 << 10
	chunks     = 4
)

// chunk is a part of the log on its way: entries that were read, decoded and checked.
type chunk struct {
	data    []byte
	rows    []box.LogRow
	entries []chunkEntry
}

// chunkEntry is the end of an entry's rows in its chunk.
type chunkEntry struct {
	index uint64
	end   int
}

// Take takes an entry of the log with the local rows beside it. It copies the bytes of the entry, not those of the rows.
type Take func(index uint64, entry []byte, local []box.LocalRow) error

// Replay puts the entries of the log that follow the snapshot into the engine. each gives them in their order to its
// argument, on a goroutine of its own: it reads and checks ahead of what is put in. A failure of each, of decoding, or of
// the engine ends it; the engine can then only be closed.
func (l *Loaded) Replay(each func(Take) error) error {
	r := &replay{loader: l.loader, free: make(chan *chunk, chunks), full: make(chan *chunk, chunks), quit: make(chan struct{})}
	for range chunks {
		r.free <- &chunk{}
	}
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		defer close(r.full)
		if failed = each(r.take); failed == nil && r.current != nil {
			r.full <- r.current
		}
	})
	err := r.apply()
	close(r.quit)
	wg.Wait()
	if err != nil {
		return err
	}
	return failed
}

type replay struct {
	loader  *box.Loader
	free    chan *chunk
	full    chan *chunk // has room for all chunks
	quit    chan struct{}
	current *chunk
}

// errStopped ends the reading of a log whose entries could not be applied.
var errStopped = errors.New("stopped")

// take adds an entry to the current chunk.
func (r *replay) take(index uint64, entry []byte, local []box.LocalRow) error {
	c := r.current
	if c == nil {
		select {
		case c = <-r.free:
		case <-r.quit:
			return errStopped
		}
		c.data, c.rows, c.entries = c.data[:0], c.rows[:0], c.entries[:0]
		r.current = c
	}
	// Rows of before keep the memory that they share when this grows.
	at := len(c.data)
	c.data = append(c.data, entry...)
	rows, err := r.loader.Decode(c.rows, c.data[at:], local)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	c.rows = rows
	c.entries = append(c.entries, chunkEntry{index, len(rows)})
	if len(c.data) >= chunkBytes {
		r.full <- c
		r.current = nil
	}
	return nil
}

// apply puts chunks into the engine until there are no more.
func (r *replay) apply() error {
	for c := range r.full {
		from := 0
		for _, e := range c.entries {
			if err := r.loader.Replay(e.index, c.rows[from:e.end]); err != nil {
				return err
			}
			from = e.end
		}
		if cap(c.data) > keepBytes {
			*c = chunk{}
		}
		r.free <- c
	}
	return nil
}
