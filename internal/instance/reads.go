package instance

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// On the leader of the data group a read is linearizable: by the lease, which costs next to nothing, else by asking a quorum
// for an index. Another replica answers at once with what it has: a consistent prefix.

// readGroup is what a read asks of the loop of the data group.
type readGroup interface {
	// Covers reports that a read of the version, which was chosen before the call, is linearizable.
	Covers(version uint64) bool
	Status() raftgroup.Status
	ReadIndex(ctx context.Context) (index uint64, err error)
	WaitApplied(ctx context.Context, index uint64) error
}

// pinner chooses a version to read.
type pinner interface {
	Pin() (version uint64)
	// Unpin gives it up again.
	Unpin()
}

const (
	// readTimeout bounds how long a read waits for a quorum.
	readTimeout = 3 * time.Second
	// pinTries is how often a version is chosen anew at once: another one may be committed between the choice and the check.
	pinTries = 4
)

// pinAgain goes on where the version that p has pinned is not covered. On error nothing is pinned. It waits for a quorum,
// but not longer than readTimeout.
func (b *backend) pinAgain(p pinner) error {
	for range pinTries {
		if b.group.Status().Role != raftgroup.RoleLeader {
			return nil
		}
		p.Unpin()
		if b.group.Covers(p.Pin()) {
			return nil
		}
	}
	p.Unpin()
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	index, err := b.group.ReadIndex(ctx)
	if err == nil {
		err = b.group.WaitApplied(ctx, index)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errcode.New(errcode.NotALeader, "no quorum has confirmed in "+readTimeout.String()+" that this replica leads")
	case errors.Is(err, wal.ErrClosed):
		return errcode.New(errcode.Shutdown)
	case err != nil:
		return err
	}
	p.Pin()
	return nil
}

// pinGroup is pinAgain for selects that came together. What is made up on the fly, like the state of the groups, needs no
// quorum.
func (b *backend) pinGroup(g *group, r *box.Reader) error {
	schema := b.c.engine.PublishedSchema()
	for i := range g.Len() {
		if sp := schema.Space(g.Query(i).SpaceID); sp == nil || !sp.IsVirtual() {
			return b.pinAgain(r)
		}
	}
	return nil
}

// refuseGroup answers all of a group with an error.
func (b *backend) refuseGroup(g *group, r *box.Reader, err error, out []byte) []byte {
	for i := range g.Len() {
		out = iproto.AppendError(out, g.syncs[i], b.SchemaVersion(), errcode.Of(err))
	}
	r.End(&g.Group)
	return out
}

// selectNewest runs a select on the newest version.
func (b *backend) selectNewest(r *box.Reader, q *box.Query, user *box.User, req *iproto.Request, out []byte) []byte {
	if !b.group.Covers(r.Pin()) {
		if err := b.pinAgain(r); err != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err))
		}
	}
	return b.selectRows(r, q, user, req, out)
}

// txPinner begins a transaction, which chooses a version.
type txPinner struct {
	e  *box.Engine
	tx *box.Tx
	// schema: it is to change the dictionary alone.
	schema bool
}

// Pin begins one.
func (p *txPinner) Pin() uint64 {
	begin := p.e.BeginTx
	if p.schema {
		begin = p.e.BeginSchemaTx
	}
	p.tx = begin()
	return p.tx.Version()
}

// Unpin forgets it.
func (p *txPinner) Unpin() { p.tx.Close() }

// beginTx begins a transaction on the newest version.
func (b *backend) beginTx() (*box.Tx, error) { return b.pinTx(txPinner{e: b.c.engine}) }

func (b *backend) pinTx(p txPinner) (*box.Tx, error) {
	if !b.group.Covers(p.Pin()) {
		if err := b.pinAgain(&p); err != nil {
			return nil, err
		}
	}
	return p.tx, nil
}
