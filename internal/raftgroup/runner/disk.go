package runner

import (
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
)

// order is what the loop asks of the disk: a write, or, with write nil, to look after room and the commit mark.
type order struct {
	write *raftgroup.Write
	// local are the rows that belong beside the write's entries.
	local [][]byte
	// mark asks for the commit mark of an idle log.
	mark bool
}

// outcome is what the disk answers. written is how many writes, in order, are durable now.
type outcome struct {
	written int
	full    bool
	// tended: the order without a write is done.
	tended bool
	err    error
}

// disk owns the log on its own goroutine.
type disk struct {
	log      *wal.Log
	retry    time.Duration
	orders   chan order
	outcomes chan outcome
	quit     chan struct{}
	ended    chan struct{}
}

func startDisk(log *wal.Log, retry time.Duration) *disk {
	d := &disk{
		log:   log,
		retry: retry,
		// One place more than writes can be in flight: for the order without a write.
		orders: make(chan order, ordersMax+1),
		// Each order has at most two outcomes: that the disk is full, and its end.
		outcomes: make(chan outcome, 2*(ordersMax+1)),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
	go d.run()
	return d
}

func (d *disk) run() {
	defer close(d.ended)
	var next order
	for have := false; ; {
		if !have {
			select {
			case next = <-d.orders:
			case <-d.quit:
				return
			}
		}
		o := next
		have = false
		var err error
		if o.write == nil {
			err = d.tend(o)
		} else {
			next, have, err = d.write(o)
		}
		if err != nil {
			return
		}
	}
}

// tend looks after an idle log.
func (d *disk) tend(o order) error {
	err := d.log.EnsureRoom()
	if err == nil && o.mark {
		err = d.log.Mark()
	}
	if errors.Is(err, sys.ErrDiskFull) {
		err = nil
	}
	d.outcomes <- outcome{full: d.log.Full(), tended: true, err: err}
	return err
}

// write puts a write and those that wait behind it on disk as one record. An order that could not be merged is handed
// back.
func (d *disk) write(o order) (next order, have bool, err error) {
	var b Batch
	b.Add(o.write, o.local)
	next, have = d.merge(&b)
	if err = b.Append(d.log); errors.Is(err, sys.ErrDiskFull) {
		err = d.again(&b)
	}
	d.outcomes <- outcome{written: b.writes, full: d.log.Full(), err: err}
	return next, have, err
}

// merge adds the writes that are waiting already to the batch, as long as it takes them.
func (d *disk) merge(b *Batch) (next order, have bool) {
	for {
		select {
		case next = <-d.orders:
		default:
			return order{}, false
		}
		if next.write == nil || !b.Add(next.write, next.local) {
			return next, true
		}
	}
}

// again tries at intervals until there is space or the loop ends. Term and vote need not wait: the log keeps a
// reserve for them.
func (d *disk) again(b *Batch) error {
	d.outcomes <- outcome{full: true}
	if err := b.AppendHardState(d.log); err != nil && !errors.Is(err, sys.ErrDiskFull) {
		return err
	}
	ticker := time.NewTicker(d.retry)
	defer ticker.Stop()
	for {
		select {
		case <-d.quit:
			return wal.ErrClosed
		case <-ticker.C:
		}
		if err := b.Append(d.log); !errors.Is(err, sys.ErrDiskFull) {
			return err
		}
	}
}
