package instance

import (
	"context"
	"slices"
	"sync"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

// The rows of _schema by which a replicaset knows how far it has followed the schema of the catalog. They are in its own log,
// and so is what they speak of: whoever leads it goes on from there.
const (
	// keyFollowed: [key, version, ids of the tables, ids of the sequences]. The dictionary is what the catalog said at that
	// version; of tables and sequences with other ids the catalog has not been told yet.
	keyFollowed = "local_schema_version"
	// keyPrepared: [key, version]. The change with that version may have been made in advance, to be kept or taken back.
	keyPrepared = "prepared_schema_version"
)

// schemaReader reads rows: a reader or a transaction.
type schemaReader interface {
	Select(q *box.Query, out []byte) ([]byte, int, error)
}

const (
	iterateEQ = 0
	iterateGE = 5
	// schemaRowsMax is more than there can be.
	schemaRowsMax = 1 << 31
)

// superuser is as whom the instance itself works on the dictionary.
func (c *core) superuser() *box.User {
	return &box.User{ID: catalog.AdminID, Name: "admin", Rights: c.rights.Load()}
}

func (c *core) rowsOf(r schemaReader, space, iterator uint32, key []byte) ([][]byte, error) {
	b, n, err := r.Select(&box.Query{SpaceID: space, Iterator: iterator, Limit: schemaRowsMax, Key: key, User: c.superuser()}, nil)
	if err != nil {
		return nil, err
	}
	rows := make([][]byte, 0, n)
	for len(b) > 0 {
		rest := msgpack.SkipTrusted(b)
		rows = append(rows, b[:len(b)-len(rest)])
		b = rest
	}
	return rows, nil
}

// readLocal reads how far the dictionary has come, and the dictionary itself.
func (c *core) readLocal(r schemaReader) (*catalog.Dictionary, error) {
	followed, err := c.readNote(r, keyFollowed)
	if err != nil {
		return nil, err
	}
	prepared, err := c.readNote(r, keyPrepared)
	if err != nil {
		return nil, err
	}
	d := &catalog.Dictionary{Followed: followed.version, Prepared: prepared.version, Tables: followed.tables, Sequences: followed.sequences}
	users := append(msgpack.AppendArrayHeader(nil, 1), catalog.Key(catalog.FirstTableID)...)
	if d.Spaces, err = c.rowsOf(r, dictionary.SpaceSpace, iterateGE, users); err != nil {
		return nil, err
	}
	if d.Indexes, err = c.rowsOf(r, dictionary.SpaceIndex, iterateGE, users); err != nil {
		return nil, err
	}
	for _, space := range []uint32{dictionary.SpaceSequence, dictionary.SpaceSpaceSequence, dictionary.SpaceCKConstraint, dictionary.SpaceFKConstraint} {
		rows, err := c.rowsOf(r, space, iterateGE, msgpack.AppendArrayHeader(nil, 0))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			o, err := catalog.ObjectOfRow(space, row)
			if err != nil {
				return nil, err
			}
			d.Objects = append(d.Objects, o)
		}
	}
	return d, nil
}

// schemaNote is what a row of _schema says.
type schemaNote struct {
	version           uint64
	tables, sequences []uint32 // ascending
}

// readNote reads a row of _schema; without it the version is 0. What is not of its form was written by a client: it is
// taken for nothing.
func (c *core) readNote(r schemaReader, key string) (note schemaNote, err error) {
	rows, err := c.rowsOf(r, dictionary.SpaceSchema, iterateEQ, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), key))
	if err != nil || len(rows) == 0 {
		return note, err
	}
	n, b, _ := msgpack.ReadArrayLen(rows[0])
	if n < 2 {
		return note, nil
	}
	b = msgpack.SkipTrusted(b)
	version, b, bad := msgpack.ReadUint(b)
	if bad != nil {
		return note, nil
	}
	note.version = version
	for _, list := range []*[]uint32{&note.tables, &note.sequences}[:min(n-2, 2)] {
		*list, b = readIDs(b)
	}
	return note, nil
}

// readIDs reads a list of ids, and returns what follows it.
func readIDs(b []byte) (ids []uint32, rest []byte) {
	count, b, bad := msgpack.ReadArrayLen(b)
	for ; bad == nil && count > 0; count-- {
		var id uint64
		if id, b, bad = msgpack.ReadUint(b); bad == nil {
			ids = append(ids, uint32(id))
		}
	}
	slices.Sort(ids)
	return ids, b
}

func followedRow(version uint64, tables, sequences []uint32) []byte {
	b := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 4), keyFollowed)
	b = msgpack.AppendUint(b, version)
	for _, list := range [][]uint32{tables, sequences} {
		b = msgpack.AppendArrayHeader(b, len(list))
		for _, id := range list {
			b = msgpack.AppendUint(b, uint64(id))
		}
	}
	return b
}

func preparedRow(version uint64) []byte {
	return msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), keyPrepared), version)
}

// outcome waits for the answers to statements of the instance itself. Nobody passes them on: they are void elsewhere.
type outcome struct {
	mu   sync.Mutex // guards the rest, until done is closed
	left int
	err  error
	done chan struct{}
}

// Complete takes answers.
func (o *outcome) Complete(frames []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(frames) > 0 && o.left > 0 {
		head, body, err := iproto.FrameSize(frames)
		var r iproto.Reply
		if err == nil {
			err = iproto.DecodeReply(frames[head:head+body], &r)
		}
		if err == nil && r.Err != nil {
			err = r.Err
		}
		if o.err == nil {
			o.err = err
		}
		if o.left--; o.left == 0 {
			close(o.done)
			return
		}
		frames = frames[head+body:]
	}
}

// write runs statements or a transaction on the data group, which this instance leads, and returns when they are visible.
// A transaction is closed whatever comes of it. Errors of the statements are numbered; 12001 the outcome is unknown.
func (c *core) write(ctx context.Context, writes ...replicaset.Write) error {
	o := &outcome{left: len(writes), done: make(chan struct{})}
	if err := c.dataLoop.Submit([]*replicaset.Batch{{Sink: o, Writes: writes}}); err != nil {
		for _, w := range writes {
			if w.Tx != nil {
				w.Tx.Close()
			}
		}
		return err
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return errcode.New(errcode.UnknownOutcome, "no answer of the data group in time")
	}
}

// replacement is a statement that writes a row of the dictionary.
func (c *core) replacement(space uint32, row []byte) box.Statement {
	return box.Statement{Kind: box.Replace, SpaceID: space, Tuple: row, User: c.superuser()}
}
