package instance

import (
	"context"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
)

const (
	// schemaBeginTimeout bounds how long a client waits until his change of the schema can begin.
	schemaBeginTimeout = 30 * time.Second
	// schemaEndTimeout bounds how long he waits for its end: rows may have to be looked at everywhere.
	schemaEndTimeout = 10 * time.Minute
	// schemaUndoTimeout bounds how long he waits for what he made in vain to be gone here.
	schemaUndoTimeout = 3 * time.Second
	// schemaPoll is how often he looks.
	schemaPoll = 5 * time.Millisecond
)

// changesSchema tells whether a request is a change of the schema of all replicasets, which goes by way of the catalog.
func (b *backend) changesSchema(req *iproto.Request) bool {
	switch req.Type {
	case iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeUpsert, iproto.TypeDelete:
		return isSchema(req.SpaceID, req.Type) && b.i != nil && (b.c.catalog.View().KeepsSchema() || definesGlobal(req))
	}
	return false
}

// definesGlobal tells whether a request makes a global table, by which a lone replicaset gives its schema to the catalog.
func definesGlobal(req *iproto.Request) bool {
	return req.SpaceID == dictionary.SpaceSpace && len(req.Tuple) > 0 && catalog.DeclaresGlobal(req.Tuple)
}

// changeSchema runs a statement that changes the schema, on a goroutine of its own. Those of a connection are run one after the
// other: a client may send the index of a space right behind the space.
func (b *backend) changeSchema(s *server.Session, ss *session, req *iproto.Request) {
	kept, user := copyRequest(req), ss.user
	before, done := ss.schema, make(chan struct{})
	ss.schema = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		row, err := b.runSchema(kept, user)
		s.Complete(b.reply(kept.Sync, row, err))
	}()
}

// runSchema returns the row that the client gets, nil for none, when the change is visible here, and rows that go with it
// are gone in all replicasets that have a leader. Errors: those of the definition, 12050 another change does not end, 12051 with the
// reason if a replicaset's rows do not agree.
func (b *backend) runSchema(req *iproto.Request, user *box.User) ([]byte, error) {
	version, settle, shown, err := b.beginSchema(req, user)
	if err != nil || version == 0 {
		return shown, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), schemaEndTimeout)
	defer cancel()
	wake := b.c.catalog.Subscribe()
	defer b.c.catalog.Unsubscribe(wake)
	for ctx.Err() == nil {
		view := b.c.catalog.View()
		done, err := view.SchemaOutcome(version)
		if done && err != nil {
			b.waitUndone(ctx)
			return nil, err
		}
		done = done && (!settle || view.Settled(version))
		if done && b.c.hasFollowed(version) {
			return shown, nil
		}
		if !done {
			select {
			case <-wake:
			case <-ctx.Done():
			}
			continue
		}
		pause(ctx, schemaPoll)
	}
	return nil, errcode.New(errcode.UnknownOutcome, "the change of the schema has not come to its end here in time")
}

// waitUndone waits until what was made here in advance is taken back, but not for long: it will be.
func (b *backend) waitUndone(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, schemaUndoTimeout)
	defer cancel()
	for ctx.Err() == nil && !b.c.asCatalog() {
		pause(ctx, schemaPoll)
	}
}

// beginSchema records the change that a statement makes, and returns its version, 0 if it changes nothing, and whether it has to
// settle. It is planned anew when the catalog has changed meanwhile.
func (b *backend) beginSchema(req *iproto.Request, user *box.User) (version uint64, settle bool, shown []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), schemaBeginTimeout)
	defer cancel()
	// Another instance may have made the table a moment ago.
	if _, err := b.readIndex(ctx); err != nil {
		return 0, false, nil, err
	}
	for {
		view := b.c.catalog.View()
		var d *catalog.DDL
		var op catalog.Op
		var guard catalog.Predicate
		if p, pending := view.PendingSchema(); pending {
			err = errcode.New(errcode.SchemaPending, p.Version)
		} else if !b.c.hasFollowed(view.TablesVersion()) {
			err = errcode.New(errcode.SchemaPending, view.TablesVersion())
		} else if d, shown, err = b.schemaDDL(view, req, user); err == nil && d == nil {
			return 0, false, nil, nil
		} else if err != nil {
			version = 0
		} else if op, guard, version, err = catalog.PlanDDL(view, *d); err == nil {
			settle = d.MustSettle()
			_, err = b.i.propose(ctx, b.c, op, guard)
		}
		if err == nil || ctx.Err() != nil || !planAgain(err) && !errcode.Is(err, errcode.SchemaPending) {
			return version, settle, shown, err
		}
		pause(ctx, schemaPoll)
	}
}

// schemaDDL checks a statement against the schema as it is here, and turns it into a change; nil if it finds nothing.
func (b *backend) schemaDDL(view *catalog.State, req *iproto.Request, user *box.User) (*catalog.DDL, []byte, error) {
	if v := b.SchemaVersion(); req.SchemaVersion != 0 && req.SchemaVersion != v {
		return nil, nil, errcode.New(errcode.WrongSchemaVersion, req.SchemaVersion, v)
	}
	if !b.c.following.TryLock() {
		return nil, nil, errcode.New(errcode.SchemaPending, view.NextSchemaVersion())
	}
	defer b.c.following.Unlock()
	tx, err := b.pinTx(txPinner{e: b.c.engine, schema: true})
	if err != nil {
		return nil, nil, err
	}
	defer tx.Close()
	s := statementOf(req, user)
	if _, err := tx.Execute(&s); err != nil && !errcode.Is(err, errcode.MultistatementTransaction) {
		return nil, nil, err // rows are looked at later, by all replicasets
	}
	kind, row, shown, err := b.accessRow(req, b.c.engine.PublishedSchema().Space(req.SpaceID))
	if err != nil || row == nil {
		return nil, nil, err
	}
	d, err := ddlOf(view, req.SpaceID, kind, row)
	if err == nil && !b.isTold(view, d) {
		err = errcode.New(errcode.SchemaPending, view.NextSchemaVersion())
	}
	return &d, shown, err
}

// isTold tells whether the catalog knows what a change is about; what was made before it kept the schema it is yet to be told.
func (b *backend) isTold(view *catalog.State, d catalog.DDL) bool {
	if d.Kind == catalog.CreateTable {
		return true
	}
	if len(d.Objects) == 1 && d.Objects[0].Space == dictionary.SpaceSequence {
		_, told := view.SchemaObject(dictionary.SpaceSequence, d.Objects[0].Key())
		return told || b.c.engine.PublishedSchema().Sequence(d.Objects[0].Sequence) == nil
	}
	if d.Kind == catalog.DropObject {
		_, told := view.SchemaObject(d.Objects[0].Space, d.Objects[0].Key())
		return told
	}
	_, told := view.SchemaTable(d.TableID())
	return told
}

// ddlOf is the change that makes a row of the dictionary, or removes it.
func ddlOf(view *catalog.State, space uint32, kind catalog.RowKind, row []byte) (catalog.DDL, error) {
	drop := kind == catalog.RowDelete
	switch space {
	case dictionary.SpaceTruncate:
		id, ok := fieldUint(row, 0)
		if !ok {
			return catalog.DDL{}, errcode.New(errcode.InvalidMsgPack, "row of _truncate")
		}
		return catalog.DDL{Kind: catalog.TruncateTable, Table: catalog.SchemaTable{ID: uint32(id)}}, nil
	case dictionary.SpaceSequence, dictionary.SpaceSpaceSequence, dictionary.SpaceCKConstraint, dictionary.SpaceFKConstraint:
		o, err := catalog.ObjectOfRow(space, row)
		d := catalog.DDL{Kind: catalog.SetObject, Objects: []catalog.SchemaObject{o}}
		if drop {
			d.Kind = catalog.DropObject
		}
		if err != nil {
			err = errcode.New(errcode.InvalidMsgPack, "row of the dictionary")
		}
		return d, err
	}
	if space == dictionary.SpaceSpace {
		t, err := catalog.TableOfSpaceRow(row)
		if err != nil {
			return catalog.DDL{}, errcode.New(errcode.InvalidMsgPack, "row of _space")
		}
		d := catalog.DDL{Kind: catalog.CreateTable, Table: t}
		if _, known := view.SchemaTable(t.ID); drop {
			d.Kind = catalog.DropTable
		} else if known {
			d.Kind = catalog.AlterTable
		}
		return d, nil
	}
	ix, err := catalog.IndexOfIndexRow(row)
	if err != nil {
		return catalog.DDL{}, errcode.New(errcode.InvalidMsgPack, "row of _index")
	}
	d := catalog.DDL{Kind: catalog.CreateIndex, Indexes: []catalog.SchemaIndex{ix}}
	if _, known := view.SchemaIndex(ix.TableID, ix.ID); drop {
		d.Kind = catalog.DropIndex
	} else if known {
		d.Kind = catalog.AlterIndex
	}
	return d, nil
}
