package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The system spaces in which a space is made, and their views.
const (
	sysSpace  = 280
	viewSpace = 281
	sysIndex  = 288
	viewIndex = 289
	viewUser  = 305
	// userByName is the index of _vuser by name.
	userByName = 2
)

// indexNames are the names of the indexes; the number of each is that of its field.
var indexNames = [IndexesMax]string{"key", "second", "third"}

// preparer makes, checks and drops the space over a connection of its own.
type preparer struct {
	o *Options
	c *client.Client
}

// prepare brings the space into the state that the operation needs: there, and filled. A space that has other rows than
// asked for is an error, as is one that is not ours.
func prepare(ctx context.Context, o *Options) error {
	p, err := newPreparer(ctx, o)
	if err != nil {
		return err
	}
	defer p.c.Close()
	exists, err := p.exists(ctx)
	if err != nil {
		return err
	}
	if exists && (o.Fresh || o.Operation == Load) {
		if err := p.drop(ctx); err != nil {
			return err
		}
		exists = false
	}
	if exists {
		return p.checkRows(ctx)
	}
	o.note("making space %s with %d indexes", spaceName(o.SpaceID), o.Indexes)
	if err := p.create(ctx); err != nil {
		return err
	}
	if o.Operation == Load {
		return nil
	}
	return p.load(ctx)
}

// drop drops the space.
func drop(ctx context.Context, o *Options) error {
	p, err := newPreparer(ctx, o)
	if err != nil {
		return err
	}
	defer p.c.Close()
	exists, err := p.exists(ctx)
	if err == nil && exists {
		err = p.drop(ctx)
	}
	return err
}

func newPreparer(ctx context.Context, o *Options) (*preparer, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c, err := client.Dial(ctx, o.Address, client.Options{User: o.User, Password: o.Password})
	if err != nil {
		return nil, err
	}
	return &preparer{o: o, c: c}, nil
}

// rows selects rows and returns them one by one.
func (p *preparer) rows(ctx context.Context, a iproto.SelectArgs) (rows [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	data, err := p.c.Select(ctx, a)
	if err != nil {
		return nil, err
	}
	n, b, err := msgpack.ReadArrayLen(data)
	for ; err == nil && n > 0; n-- {
		row := b
		if b, err = msgpack.Skip(b); err == nil {
			rows = append(rows, row[:len(row)-len(b)])
		}
	}
	return rows, err
}

// exists reports whether the space is there. One of another name is not ours to touch.
func (p *preparer) exists(ctx context.Context) (bool, error) {
	rows, err := p.rows(ctx, iproto.SelectArgs{Space: viewSpace, Limit: 1, Key: keyOf(p.o.SpaceID)})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	name, err := field(rows[0], 2)
	if err != nil {
		return false, err
	}
	text, _, err := msgpack.ReadStr(name)
	if err != nil || string(text) != spaceName(p.o.SpaceID) {
		return false, fmt.Errorf("space %d is %q, which this program has not made: choose another --space-id", p.o.SpaceID, text)
	}
	return true, nil
}

// create inserts the rows of the dictionary that make the space and its indexes.
func (p *preparer) create(ctx context.Context) error {
	owner, err := p.owner(ctx)
	if err != nil {
		return err
	}
	if err := p.insert(ctx, sysSpace, spaceRow(p.o.SpaceID, owner)); err != nil {
		return fmt.Errorf("create space: %w", err)
	}
	for i := range p.o.Indexes {
		if err := p.insert(ctx, sysIndex, indexRow(p.o.SpaceID, i)); err != nil {
			return fmt.Errorf("create index %s: %w", indexNames[i], err)
		}
	}
	return nil
}

// owner is the id of the user who is logged in: over an admin socket that is admin.
func (p *preparer) owner(ctx context.Context) (id uint64, err error) {
	name := p.o.User
	if name == "" {
		name = "guest"
	}
	key := msgpack.AppendStr([]byte{0x91}, name)
	rows, err := p.rows(ctx, iproto.SelectArgs{Space: viewUser, Index: userByName, Limit: 1, Key: key})
	if err != nil {
		return 0, err
	}
	if len(rows) == 0 {
		return 1, nil
	}
	b, err := field(rows[0], 0)
	if err != nil {
		return 0, err
	}
	id, _, err = msgpack.ReadUint(b)
	return id, err
}

func (p *preparer) insert(ctx context.Context, space uint32, row []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	_, err := p.c.Insert(ctx, space, row)
	return err
}

// drop deletes the rows of the dictionary, the primary index last.
func (p *preparer) drop(ctx context.Context) error {
	p.o.note("dropping space %s", spaceName(p.o.SpaceID))
	for i := IndexesMax - 1; i >= 0; i-- {
		key := msgpack.AppendUint(msgpack.AppendUint([]byte{0x92}, uint64(p.o.SpaceID)), uint64(i))
		if err := p.delete(ctx, sysIndex, key); err != nil {
			return fmt.Errorf("drop index %s: %w", indexNames[i], err)
		}
	}
	if err := p.delete(ctx, sysSpace, keyOf(p.o.SpaceID)); err != nil {
		return fmt.Errorf("drop space: %w", err)
	}
	return nil
}

func (p *preparer) delete(ctx context.Context, space uint32, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	_, err := p.c.Delete(ctx, iproto.ChangeArgs{Space: space, Key: key})
	return err
}

var errOtherRows = errors.New("--fresh makes it anew")

// checkRows reports whether the space has the rows and indexes that the options ask for, as far as its ends show.
func (p *preparer) checkRows(ctx context.Context) error {
	indexes, err := p.rows(ctx, iproto.SelectArgs{Space: viewIndex, Limit: 1 + IndexesMax, Key: keyOf(p.o.SpaceID)})
	if err != nil {
		return err
	}
	name := spaceName(p.o.SpaceID)
	if len(indexes) != p.o.Indexes {
		return fmt.Errorf("space %s has %d indexes, not %d: %w", name, len(indexes), p.o.Indexes, errOtherRows)
	}
	rows, err := p.rows(ctx, iproto.SelectArgs{Space: p.o.SpaceID, Iterator: iproto.IterLE, Limit: 1})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("space %s is empty: %w", name, errOtherRows)
	}
	b, err := field(rows[0], 0)
	if err != nil {
		return err
	}
	last, _, err := msgpack.ReadUint(b)
	switch {
	case err != nil:
		return err
	case last != FirstKey+p.o.Rows-1:
		return fmt.Errorf("space %s has keys up to %d, not %d: %w", name, last, FirstKey+p.o.Rows-1, errOtherRows)
	case len(rows[0]) != p.o.RowBytes:
		return fmt.Errorf("space %s has rows of %d bytes, not %d: %w", name, len(rows[0]), p.o.RowBytes, errOtherRows)
	}
	return nil
}

// load writes all rows.
func (p *preparer) load(ctx context.Context) error {
	p.o.note("loading %d rows of %d bytes", p.o.Rows, p.o.RowBytes)
	started := time.Now()
	o := *p.o
	o.Operation = Load
	o.quick(o.Rows)
	r, err := o.run(ctx, sourceOptions{kind: Sequential, once: true, base: FirstKey, n: o.Rows, seed: o.Seed})
	if err == nil {
		err = r.failure()
	}
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	p.o.note("loaded in %.1f s", time.Since(started).Seconds())
	return nil
}

// keyOf is a key of one number.
func keyOf(n uint32) []byte { return msgpack.AppendUint([]byte{0x91}, uint64(n)) }

// field returns the n-th field of a row.
func field(row []byte, n int) ([]byte, error) {
	count, b, err := msgpack.ReadArrayLen(row)
	if err == nil && n >= count {
		err = fmt.Errorf("row of %d fields has no field %d", count, n+1)
	}
	for ; err == nil && n > 0; n-- {
		b, err = msgpack.Skip(b)
	}
	return b, err
}

// spaceRow is the row of _space: [id, owner, name, engine, field count, flags, format].
func spaceRow(id uint32, owner uint64) []byte {
	b := msgpack.AppendArrayHeader(nil, 7)
	b = msgpack.AppendUint(b, uint64(id))
	b = msgpack.AppendUint(b, owner)
	b = msgpack.AppendStr(b, spaceName(id))
	b = msgpack.AppendStr(b, "memtx")
	b = msgpack.AppendUint(b, 0)
	b = msgpack.AppendMapHeader(b, 0)
	b = msgpack.AppendArrayHeader(b, len(indexNames)+1)
	for _, name := range indexNames {
		b = msgpack.AppendMapHeader(b, 2)
		b = appendPair(b, "name", name)
		b = appendPair(b, "type", "unsigned")
	}
	b = msgpack.AppendMapHeader(b, 3)
	b = appendPair(b, "name", "payload")
	b = appendPair(b, "type", "string")
	return msgpack.AppendBool(msgpack.AppendStr(b, "is_nullable"), true)
}

// indexRow is the row of _index: [space, id, name, type, options, parts]. The index of the key alone is unique.
func indexRow(space uint32, id int) []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(b, uint64(space))
	b = msgpack.AppendUint(b, uint64(id))
	b = msgpack.AppendStr(b, indexNames[id])
	b = msgpack.AppendStr(b, "tree")
	b = msgpack.AppendMapHeader(b, 1)
	b = msgpack.AppendBool(msgpack.AppendStr(b, "unique"), id == 0)
	b = msgpack.AppendArrayHeader(b, 1)
	b = msgpack.AppendArrayHeader(b, 2)
	b = msgpack.AppendUint(b, uint64(id))
	return msgpack.AppendStr(b, "unsigned")
}

func appendPair(b []byte, key, value string) []byte {
	return msgpack.AppendStr(msgpack.AppendStr(b, key), value)
}
