package importer

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// dictionaryWriter is what rows of system spaces are given to: the cluster, or in a dry run an engine of our own, which
// refuses what the cluster would refuse.
type dictionaryWriter interface {
	replace(ctx context.Context, space uint32, tuple []byte) error
	remove(ctx context.Context, space uint32, key []byte) error
}

// cluster is a running instance.
type cluster struct {
	c       *client.Client
	timeout time.Duration
}

func (t *cluster) replace(ctx context.Context, space uint32, tuple []byte) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	_, err := t.c.Replace(ctx, space, tuple)
	return err
}

func (t *cluster) remove(ctx context.Context, space uint32, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	_, err := t.c.Delete(ctx, iproto.ChangeArgs{Space: space, Key: key})
	return err
}

// rows returns all rows of a small space.
func (t *cluster) rows(ctx context.Context, space uint32) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	data, err := t.c.Select(ctx, iproto.SelectArgs{Space: space, Iterator: iteratorAll, Limit: 1<<32 - 1})
	if err != nil {
		return nil, err
	}
	return split(data)
}

const iteratorAll = 2

// has tells whether a space has more than n rows.
func (t *cluster) has(ctx context.Context, space uint32, n uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	data, err := t.c.Select(ctx, iproto.SelectArgs{Space: space, Iterator: iteratorAll, Offset: uint32(n), Limit: 1})
	if err != nil {
		return false, err
	}
	rows, err := split(data)
	return len(rows) > 0, err
}

// count returns how many rows a space has, which is likely guess and at most most.
func (t *cluster) count(ctx context.Context, space uint32, guess, most uint64) (uint64, error) {
	return countRows(guess, most, func(n uint64) (bool, error) { return t.has(ctx, space, n) })
}

// countRows finds the number of rows by asking whether there are more than n.
func countRows(guess, most uint64, has func(n uint64) (bool, error)) (uint64, error) {
	const offsetMax = 1<<32 - 1
	low, high := uint64(0), min(most, offsetMax)+1 // it has at least low rows, and fewer than high
	for i := 0; low+1 < high; i++ {
		n := (low + high) / 2
		if i < 2 {
			n = guess + uint64(i)
		}
		n = min(max(n, low+1), high-1)
		more, err := has(n - 1)
		if err != nil {
			return 0, err
		}
		if more {
			low = n
		} else {
			high = n
		}
	}
	return low, nil
}

// split cuts an array into its values.
func split(array []byte) ([][]byte, error) {
	n, b, err := msgpack.ReadArrayLen(array)
	if err != nil {
		return nil, err
	}
	var values [][]byte
	for range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return nil, err
		}
		values, b = append(values, b[:len(b)-len(rest)]), rest
	}
	return values, nil
}

// refusal returns the error of a statement that the cluster refused for what is in it; nil if it failed for another reason,
// which holds for all statements.
func refusal(err error) *errcode.Error {
	var e *errcode.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code {
	case errcode.MemoryIssue, errcode.Readonly, errcode.WALIO, errcode.AccessDenied, errcode.Loading, errcode.Shutdown,
		errcode.NotALeader, errcode.LeaderUnknown, errcode.ProposalDropped, errcode.UnknownOutcome, errcode.DiskFull,
		errcode.Poisoned, errcode.Overloaded, errcode.SessionClosed, errcode.NoSuchSpace:
		return nil
	}
	return e
}

// probe is an engine without rows.
type probe struct {
	e       *box.Engine
	version uint64
}

// probeBytes is the memory for the dictionary of a dry run.
const probeBytes = 256 << 20

func newProbe() (*probe, error) {
	e, err := box.New(box.Options{QuotaBytes: probeBytes})
	if err != nil {
		return nil, err
	}
	return &probe{e: e}, nil
}

func (p *probe) close() { _ = p.e.Close() }

func (p *probe) replace(_ context.Context, space uint32, tuple []byte) error {
	return p.execute(&box.Statement{Kind: box.Replace, SpaceID: space, Tuple: tuple})
}

func (p *probe) remove(_ context.Context, space uint32, key []byte) error {
	return p.execute(&box.Statement{Kind: box.Delete, SpaceID: space, Key: key})
}

func (p *probe) execute(s *box.Statement) error {
	switch s.SpaceID {
	case dictionary.SpaceUser, dictionary.SpacePriv:
		return nil // rows of the catalog, which refuses little
	}
	p.version++
	p.e.Begin(p.version)
	_, err := p.e.Execute(s)
	p.e.Seal()
	p.e.Publish(p.version)
	return err
}

// existing is what the cluster has already.
type existing struct {
	spaces, users, sequences named
	// bindings says which space uses which sequence.
	bindings map[uint32]binding
	indexes  map[uint32][]uint32
	grants   map[string][]byte
	maxID    uint32
	// once are the keys of _schema.
	once        map[string]bool
	constraints map[string]constraint
	// truncated are spaces with a row of _truncate.
	truncated map[uint32]bool
}

// binding is the sequence of a space.
type binding struct {
	sequence  uint32
	generated bool
}

// named are things with a number and a name.
type named struct {
	byName map[string]uint32
	taken  map[uint32]bool
}

// free returns the wanted number, or the lowest free one from a number on, and takes it.
func (n *named) free(wanted, from uint32) uint32 {
	for id := wanted; ; id = from {
		if !n.taken[id] {
			n.taken[id] = true
			return id
		}
		for n.taken[from] {
			from++
		}
	}
}

func (t *cluster) look(ctx context.Context) (*existing, error) {
	x := &existing{bindings: map[uint32]binding{}, indexes: map[uint32][]uint32{}, grants: map[string][]byte{}, once: map[string]bool{},
		truncated: map[uint32]bool{}, constraints: map[string]constraint{}}
	for space, to := range map[uint32]*named{dictionary.SpaceSpace: &x.spaces, dictionary.SpaceUser: &x.users, dictionary.SpaceSequence: &x.sequences} {
		rows, err := t.rows(ctx, space)
		if err != nil {
			return nil, err
		}
		*to = named{byName: map[string]uint32{}, taken: map[uint32]bool{}}
		for _, row := range rows {
			id := uint32(uintAt(row, 0))
			to.byName[strAt(row, 2)], to.taken[id] = id, true
		}
	}
	return x, errors.Join(
		t.each(ctx, dictionary.SpaceSpaceSequence, func(row []byte) {
			generated, _, err := msgpack.ReadBool(tuple.FieldAt(row, 2))
			x.bindings[uint32(uintAt(row, 0))] = binding{uint32(uintAt(row, 1)), generated && err == nil}
		}),
		t.each(ctx, dictionary.SpaceIndex, func(row []byte) {
			id := uint32(uintAt(row, 0))
			x.indexes[id] = append(x.indexes[id], uint32(uintAt(row, 1)))
		}),
		t.each(ctx, dictionary.SpacePriv, func(row []byte) { x.grants[grantKey(row)] = row }),
		t.each(ctx, dictionary.SpaceCKConstraint, func(row []byte) { x.addConstraint(dictionary.SpaceCKConstraint, row) }),
		t.each(ctx, dictionary.SpaceFKConstraint, func(row []byte) { x.addConstraint(dictionary.SpaceFKConstraint, row) }),
		t.each(ctx, dictionary.SpaceTruncate, func(row []byte) { x.truncated[uint32(uintAt(row, 0))] = true }),
		t.each(ctx, dictionary.SpaceSchema, func(row []byte) {
			x.once[strAt(row, 0)] = true
			if strAt(row, 0) == "max_id" {
				x.maxID = uint32(uintAt(row, 1))
			}
		}))
}

func (x *existing) addConstraint(system uint32, row []byte) {
	c := constraintOf(system, row)
	x.constraints[c.id()] = c
}

func (t *cluster) each(ctx context.Context, space uint32, visit func(row []byte)) error {
	rows, err := t.rows(ctx, space)
	for _, row := range rows {
		visit(row)
	}
	return err
}

// grantKey is the primary key of a row of _priv.
func grantKey(row []byte) string {
	var key []byte
	for _, field := range keyFields[dictionary.SpacePriv] {
		key = appendNormal(key, tuple.FieldAt(row, field))
	}
	return string(key)
}
