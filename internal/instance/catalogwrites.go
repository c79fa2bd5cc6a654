package instance

import (
	"cmp"
	"context"
	"strconv"
	"sync"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// isCatalogTable tells whether the rows of a space are the catalog's and a client with the right to it may change some of
// them: parameters, tiers, weight and leader of a replicaset. Which ones, package catalog decides.
func isCatalogTable(space uint32) bool {
	switch space {
	case catalog.TableDBConfig, catalog.TableTier, catalog.TableReplicaset:
		return true
	}
	return false
}

// isGlobal tells whether a space is a user's table whose rows are the catalog's.
func (b *backend) isGlobal(space uint32) bool {
	return space >= catalog.FirstTableID && b.i != nil && b.c.catalog.View().IsGlobalTable(space)
}

// changeCatalog runs a statement on a table of the catalog, wherever its leader is, on a goroutine of its own: after those that
// came before it by the same lane. An error refuses it.
func (b *backend) changeCatalog(s *server.Session, ss *session, req *iproto.Request) error {
	kept, user := copyRequest(req), ss.user
	return ss.catalogWrites.add(func() {
		row, err := b.runCatalog(kept, user)
		if isCatalogTable(kept.SpaceID) {
			e := event.Privileged{At: b.i.clock.Wall(), Who: user.Name, Where: s.Peer(), Result: "ok",
				What: iproto.TypeName(kept.Type) + " " + catalog.TableName(kept.SpaceID)}
			if err != nil {
				e.Result = "refused: " + err.Error()
			}
			b.i.sink.Emit(e)
		}
		s.Complete(b.reply(kept.Sync, row, err))
	})
}

// laneMax bounds the statements of one connection that wait for the one before them.
const laneMax = 4096

// lane runs functions one after the other, in the order in which they came. The zero value is ready.
type lane struct {
	mu      sync.Mutex // guards the rest
	waiting []func()
	on      bool
}

// add lets a function run after those before it. Error: 12006 too many wait.
func (l *lane) add(run func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= laneMax {
		return errcode.New(errcode.Overloaded, "too many changes of the catalog wait on this connection")
	}
	l.waiting = append(l.waiting, run)
	if !l.on {
		l.on = true
		go l.drain()
	}
	return nil
}

// drain runs what waits until nothing does.
func (l *lane) drain() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.on, l.waiting = false, nil
			l.mu.Unlock()
			return
		}
		run := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		run()
	}
}

// reply is the answer to one statement: its error, no row, or a row.
func (b *backend) reply(sync uint64, row []byte, err error) []byte {
	switch {
	case err != nil:
		return iproto.AppendError(nil, sync, b.SchemaVersion(), errcode.Of(err))
	case row == nil:
		return iproto.AppendData(nil, sync, b.SchemaVersion())
	}
	return iproto.AppendData(nil, sync, b.SchemaVersion(), row)
}

// runCatalog returns the row that the client gets, nil for none.
func (b *backend) runCatalog(req *iproto.Request, user *box.User) ([]byte, error) {
	_, row, err := b.writeCatalog(req, user, nil)
	return row, err
}

// writeCatalog runs a statement on a table of the catalog. It is planned anew when the catalog has changed meanwhile, unless
// a predicate says at what index its author has read what he rests on: then it is refused.
func (b *backend) writeCatalog(req *iproto.Request, user *box.User, p *catalog.Predicate) (catalog.Result, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), accessTimeout)
	defer cancel()
	sp, err := b.catalogSpace(req, user)
	if err == nil && p != nil {
		if err = b.c.catalog.Wait(ctx, p.Index); err != nil { // he has read it at another instance, or nowhere
			err = errcode.New(errcode.CASNoSuchRaftIndex, p.Index, b.c.catalog.Applied())
		}
	}
	var res catalog.Result
	var row []byte
	if err == nil && p != nil {
		res, row, err = b.writeOnce(ctx, req, sp, p)
	} else if err == nil {
		err = untilSure(ctx, b.c.catalog.Applied, b.readIndex, func() (bool, error) {
			res, row, err = b.writeOnce(ctx, req, sp, nil)
			return res.Index > 0, err
		})
	}
	return res, row, err
}

// untilSure makes attempts to write, until one has written, or has not for a reason that is true: it looked at all that was
// done before it was asked for. That something is not there, or there already, may be so in an older catalog alone. Applied
// tells how far the catalog here has come, ask how far it must have come, and waits for it.
func untilSure(ctx context.Context, applied func() uint64, ask func(context.Context) (uint64, error), attempt func() (wrote bool, err error)) error {
	for sure := uint64(0); ; {
		seen := applied()
		wrote, err := attempt()
		switch {
		case wrote || ctx.Err() != nil, sure > 0 && seen >= sure && !planAgain(err):
			return err
		case planAgain(err):
			pause(ctx, joinRetry)
			continue
		}
		var unsure error
		if sure, unsure = ask(ctx); unsure != nil {
			return cmp.Or(err, unsure)
		}
	}
}

// readIndex asks a quorum how far the catalog has come, and returns when that is visible here. Errors: 10018 nobody has
// answered.
func (b *backend) readIndex(ctx context.Context) (uint64, error) {
	for {
		index, err := b.c.catalogLoop.ReadIndex(ctx)
		if err == nil {
			err = b.c.catalog.Wait(ctx, index)
		}
		switch {
		case err == nil:
			return index, nil
		case ctx.Err() != nil:
			return 0, errcode.New(errcode.LeaderUnknown)
		case !errcode.Is(err, errcode.NotALeader) && !errcode.Is(err, errcode.LeaderUnknown) && !errcode.Is(err, errcode.ProposalDropped):
			return 0, err
		}
		pause(ctx, proposeRetry) // another one is being elected
	}
}

// catalogSpace finds the space of a statement, if the user may write it.
func (b *backend) catalogSpace(req *iproto.Request, user *box.User) (*box.Space, error) {
	schema := b.c.engine.PublishedSchema()
	sp := schema.Space(req.SpaceID)
	switch {
	case req.SchemaVersion != 0 && req.SchemaVersion != schema.Version:
		return nil, errcode.New(errcode.WrongSchemaVersion, req.SchemaVersion, schema.Version)
	case sp == nil: // this replicaset has not heard of it, or not that it is gone
		return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(uint64(req.SpaceID), 10))
	case user.ID != sp.Owner && !user.Rights.Check(user.ID, access.Write, access.Space, sp.ID):
		return nil, errcode.NewAccessDenied("Write", "space", sp.Name, user.Name)
	case !sp.IsVirtual() || sp.Index(0) == nil:
		return nil, errcode.New(errcode.GlobalTableChanges, sp.Name)
	}
	return sp, nil
}

// writeOnce plans a statement on the newest view and records it. Without an index nothing was recorded.
func (b *backend) writeOnce(ctx context.Context, req *iproto.Request, sp *box.Space, p *catalog.Predicate) (
	res catalog.Result, shown []byte, err error) {
	view := b.c.catalog.View() // before the row is read: what changes after it is a conflict
	kind, row, shown, err := b.accessRow(req, sp)
	if err != nil || row == nil && p == nil {
		return res, nil, err
	}
	op, guard := catalog.Op{Kind: catalog.Nop}, catalog.Unchanged(view)
	if row == nil { // that there is none is what it rests on: with a predicate the key is that of the primary index
		_, key, err := msgpack.ReadArrayLen(req.Key)
		if err != nil {
			return res, nil, errcode.New(errcode.InvalidMsgPack, "packet body")
		}
		guard = catalog.Unchanged(view, catalog.Eq(req.SpaceID, key))
	} else {
		d := catalog.DML{Kind: catalog.Replace, Table: req.SpaceID, Tuple: row}
		switch kind {
		case catalog.RowInsert:
			d.Kind = catalog.Insert
		case catalog.RowDelete:
			d = catalog.DML{Kind: catalog.Delete, Table: req.SpaceID, Key: sp.Index(0).Def.ExtractKey(nil, row)}
		}
		var made []byte
		if op, guard, made, err = catalog.PlanDML(view, d); err != nil {
			return res, nil, err
		}
		if shown != nil {
			shown = made
		}
	}
	if p != nil {
		guard.Index, guard.Term = p.Index, p.Term
		guard.Ranges = append(guard.Ranges, p.Ranges...)
	}
	if op.Kind != catalog.Nop || p != nil {
		res, err = b.i.propose(ctx, b.c, op, guard)
	}
	return res, shown, err
}
