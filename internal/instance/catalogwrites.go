package instance

import (
	"context"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
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

// changeCatalog runs a statement on a table of the catalog, wherever its leader is, on a goroutine of its own.
func (b *backend) changeCatalog(s *server.Session, ss *session, req *iproto.Request) {
	kept := *req
	kept.Key, kept.Tuple, kept.Ops = clone(req.Key), clone(req.Tuple), clone(req.Ops)
	user := ss.user
	go func() {
		row, err := b.runCatalog(&kept, user)
		e := event.Privileged{At: b.i.clock.Wall(), Who: user.Name, Where: s.Peer(), Result: "ok",
			What: iproto.TypeName(kept.Type) + " " + catalog.TableName(kept.SpaceID)}
		if err != nil {
			e.Result = "refused: " + err.Error()
		}
		b.i.sink.Emit(e)
		s.Complete(b.reply(kept.Sync, row, err))
	}()
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

// runCatalog returns the row that the client gets, nil for none. It is planned anew when the catalog has changed meanwhile.
func (b *backend) runCatalog(req *iproto.Request, user *box.User) ([]byte, error) {
	sp := b.c.engine.PublishedSchema().Space(req.SpaceID)
	if user.ID != sp.Owner && !user.Rights.Check(user.ID, access.Write, access.Space, sp.ID) {
		return nil, errcode.NewAccessDenied("Write", "space", sp.Name, user.Name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), accessTimeout)
	defer cancel()
	for {
		view := b.c.catalog.View() // before the row is read: what changes after it is a conflict
		kind, row, shown, err := b.accessRow(req, sp)
		if err != nil || row == nil {
			return nil, err
		}
		d := catalog.DML{Kind: catalog.Replace, Table: req.SpaceID, Tuple: row}
		switch kind {
		case catalog.RowInsert:
			d.Kind = catalog.Insert
		case catalog.RowDelete:
			d = catalog.DML{Kind: catalog.Delete, Table: req.SpaceID, Key: sp.Index(0).Def.ExtractKey(nil, row)}
		}
		op, guard, made, err := catalog.PlanDML(view, d)
		if err != nil {
			return nil, err
		}
		if op.Kind != catalog.Nop {
			_, err = b.i.propose(ctx, b.c, op, guard)
		}
		if err == nil && shown != nil {
			return made, nil
		}
		if err == nil {
			return nil, nil
		}
		if !planAgain(err) || ctx.Err() != nil {
			return nil, err
		}
		pause(ctx, joinRetry)
	}
}
