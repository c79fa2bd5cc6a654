package instance

import (
	"sync"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

const (
	// A batch of that many bytes or statements is handed over before the drain ends: while it runs, the rest is decoded,
	// and its replies go out while the rest runs.
	batchBytesMax  = 1 << 20
	batchWritesMax = 64
	// batchWritesKept is the number of statements up to which the room of a batch is used again.
	batchWritesKept = 4096
)

// batches are those that were answered. Large ones are left to the garbage collector.
var batches = sync.Pool{New: func() any { return new(replicaset.Batch) }}

func recycle(b *replicaset.Batch) {
	if cap(b.Writes) <= batchWritesKept {
		b.Clear()
		batches.Put(b)
	}
}

// gathering collects the statements of one connection in the order in which they came, until they are taken as a batch.
type gathering struct{ batch *replicaset.Batch }

// add copies a statement, since a request is gone when the next one is read, and tells whether it is time to take the
// batch.
func (g *gathering) add(sink replicaset.Sink, req *iproto.Request, user *box.User) (full bool) {
	if g.batch == nil {
		g.batch = batches.Get().(*replicaset.Batch)
		g.batch.Sink, g.batch.Done = sink, recycle
	}
	statement := statementOf(req, user)
	g.batch.Add(&statement, req.Sync, req.SchemaVersion)
	return g.batch.Bytes >= batchBytesMax || len(g.batch.Writes) >= batchWritesMax
}

// take returns what was gathered, nil if that is nothing, and begins anew.
func (g *gathering) take() *replicaset.Batch {
	batch := g.batch
	g.batch = nil
	return batch
}

// refusals answers each statement of a batch that the data group did not take.
func refusals(batch *replicaset.Batch, schema uint64, err error) (frames []byte) {
	for _, w := range batch.Writes {
		frames = iproto.AppendError(frames, w.Sync, schema, errcode.Of(err))
	}
	return frames
}
