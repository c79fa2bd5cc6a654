package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// With more than one replicaset the catalog has the schema, and the leader of each data group makes the dictionary of its
// replicaset follow it (see package catalog, "Changes of the schema"). A change that concerns rows is made here before it is
// committed: then all rows fit, and all that are written from then on; what is aborted is taken back. That is why only such
// changes are made in advance as can be taken back, whatever is written meanwhile.

const (
	// schemaEvery is how often a leader looks at its schema without being woken, schemaAgain how long after a failure.
	schemaEvery = time.Second
	schemaAgain = 100 * time.Millisecond
)

// errAgain says that there may be more to do.
var errAgain = errors.New("look again")

// schemaSeen is what the work of schemaLoop depends on.
type schemaSeen struct {
	leading                bool
	term                   uint64
	tables, next, pending  uint64
	published, replicasets uint64
}

// schemaLoop makes the dictionary follow the catalog while this instance leads its replicaset.
func (i *Instance) schemaLoop(ctx context.Context, c *core) {
	wake := c.catalog.Subscribe()
	defer c.catalog.Unsubscribe(wake)
	timer := time.NewTimer(schemaAgain)
	defer timer.Stop()
	var done schemaSeen
	complained := ""
	for ctx.Err() == nil {
		every := real.Until(schemaEvery)
		view := c.catalog.View()
		if seen := c.schemaSeen(view); seen != done {
			i.observed.schema(seen.pending, i.clock.Wall())
			done = seen
			if seen.leading && view.KeepsSchema() {
				err := i.followSchema(ctx, c, view)
				if err != nil {
					done, every = schemaSeen{}, schemaAgain
				}
				if errors.Is(err, errAgain) {
					continue
				}
				if text := fmt.Sprint(err); err != nil && text != complained && !passing(err) {
					complained = text
					i.log.Warn("the replicaset can not follow the schema of the cluster", "error", err)
				}
			}
		}
		timer.Reset(every)
		select {
		case <-wake:
		case <-c.led:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

func (c *core) schemaSeen(view *catalog.State) schemaSeen {
	s := c.dataLoop.Status()
	seen := schemaSeen{leading: s.Role == raftgroup.RoleLeader, term: s.Term, tables: view.TablesVersion(), next: view.NextSchemaVersion(),
		published: c.engine.PublishedSchema().Version, replicasets: uint64(view.Len(catalog.TableReplicaset))}
	if p, ok := view.PendingSchema(); ok {
		seen.pending = p.Version
	}
	return seen
}

// passing tells whether an error is one that comes and goes by itself.
func passing(err error) bool {
	_, numbered := errors.AsType[*errcode.Error](err)
	for _, code := range []errcode.Code{errcode.NotALeader, errcode.LeaderUnknown, errcode.TransactionConflict, errcode.UnknownOutcome,
		errcode.Shutdown, errcode.ProposalDropped, errcode.DiskFull, errcode.Overloaded, errcode.SchemaPending, errcode.SessionClosed} {
		if errcode.Is(err, code) {
			return true
		}
	}
	return !numbered || planAgain(err)
}

// followSchema does what is to be done now. Errors: errAgain, and those for which it is to be tried again.
func (i *Instance) followSchema(ctx context.Context, c *core, view *catalog.State) error {
	for !c.following.TryLock() { // clients have it for moments, the end of the core for good
		if pause(ctx, time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	defer c.following.Unlock()
	tx := c.engine.BeginSchemaTx()
	closing := tx
	defer func() {
		if closing != nil {
			closing.Close()
		}
	}()
	local, err := c.readLocal(tx)
	if err != nil {
		return err
	}
	i.sayFollowed(c, local.Followed)
	p, pending := view.PendingSchema()
	task, changes, err := catalog.Follow(view, local)
	if err == nil && task == catalog.FollowWrite {
		err = c.writeIn(tx, view, changes)
	}
	if err != nil && pending && view.MustAgree(p.DDL) && !passing(err) {
		i.saySchema(c, p.Version, err) // it would be waited for in vain
	}
	if err != nil {
		return err
	}
	switch task {
	case catalog.FollowWait:
		return errcode.New(errcode.SchemaPending, max(local.Followed, local.Prepared)) // this instance's catalog is behind
	case catalog.FollowWrite:
		closing = nil
		if err := c.write(ctx, replicaset.Write{Tx: tx}); err != nil {
			return err
		}
		i.log.Info("the schema follows the cluster's", "version", view.TablesVersion())
		return errAgain
	case catalog.FollowTell:
		return i.tellTables(ctx, c, view, local)
	case catalog.FollowPrepare:
		return i.prepareSchema(ctx, c, p, local)
	}
	return nil
}

// writeIn makes changes of the dictionary in a transaction, and notes that it follows the catalog.
func (c *core) writeIn(tx *box.Tx, view *catalog.State, changes []catalog.DictionaryChange) error {
	for _, ch := range changes {
		if ch.New == nil {
			if err := c.dropOwn(tx, ch); err != nil {
				return err
			}
		}
		s := c.replacement(ch.Space, ch.New)
		if ch.New == nil {
			s = c.deletion(tx, ch.Space, ch.Old)
		}
		if _, err := tx.Execute(&s); err != nil {
			return err
		}
	}
	tables, sequences := catalog.FollowedIDs(view)
	s := c.replacement(dictionary.SpaceSchema, followedRow(view.TablesVersion(), tables, sequences))
	_, err := tx.Execute(&s)
	return err
}

// deletion is the statement that removes a row.
func (c *core) deletion(tx *box.Tx, space uint32, row []byte) box.Statement {
	pk := tx.Schema().Space(space).Index(0).Def
	key := pk.ExtractKey(msgpack.AppendArrayHeader(nil, pk.PartCount()), row)
	return box.Statement{Kind: box.Delete, SpaceID: space, Key: key, User: c.superuser()}
}

// dropOwn removes what this replicaset keeps of a space or a sequence that goes, and that would keep it from going: that it was
// truncated, and its value.
func (c *core) dropOwn(tx *box.Tx, ch catalog.DictionaryChange) error {
	var space uint32
	switch ch.Space {
	case dictionary.SpaceSpace:
		space = dictionary.SpaceTruncate
	case dictionary.SpaceSequence:
		space = dictionary.SpaceSequenceData
	default:
		return nil
	}
	id, _ := fieldUint(ch.Old, 0)
	s := box.Statement{Kind: box.Delete, SpaceID: space, Key: msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), id), User: c.superuser()}
	_, err := tx.Execute(&s)
	return err
}

// fieldUint reads a field of a row that is a number.
func fieldUint(row []byte, field uint32) (uint64, bool) {
	n, b, err := msgpack.ReadArrayLen(row)
	if err != nil || uint32(n) <= field {
		return 0, false
	}
	for range field {
		b = msgpack.SkipTrusted(b)
	}
	v, _, err := msgpack.ReadUint(b)
	return v, err == nil
}

// tellTables makes a sequence or a table that this replicaset had before there were others one of the cluster's: one at a time.
func (i *Instance) tellTables(ctx context.Context, c *core, view *catalog.State, local *catalog.Dictionary) error {
	type object struct{ space, id uint32 }
	refused := map[object]bool{}
	for {
		d, ok := catalog.PlanTell(view, local, func(space, id uint32) bool { return refused[object{space, id}] })
		if !ok {
			return nil
		}
		what, name, at := "space", d.Table.Name, object{dictionary.SpaceSpace, d.Table.ID}
		if d.Kind == catalog.SetObject {
			what, name, at = "sequence", d.Objects[0].Name, object{dictionary.SpaceSequence, d.Objects[0].Sequence}
		}
		op, guard, _, err := catalog.PlanDDL(view, d)
		if err == nil {
			if err = i.tell(ctx, c, op, guard); err == nil {
				i.log.Info("a "+what+" of this replicaset becomes one of the cluster", what, name)
				return nil
			}
		}
		if passing(err) {
			return err
		}
		refused[at] = true
		i.log.Warn("a "+what+" of this replicaset can not become one of the cluster: it stays as it is", what, name, "error", err)
	}
}

// prepareSchema makes a change that is not committed yet in advance, if it can be taken back, and reports that the rows agree,
// or why they do not.
func (i *Instance) prepareSchema(ctx context.Context, c *core, p catalog.PendingSchema, local *catalog.Dictionary) error {
	if said := c.schemaSaid.Load(); said != nil && said.Version == p.Version {
		return nil
	}
	statement, err := c.preparation(p.DDL, local)
	if err == nil && local.Prepared != p.Version {
		// Who leads after this one, and knows less of the catalog, must not take the change back before he knows more.
		err = c.write(ctx, replicaset.Write{Statement: c.replacement(dictionary.SpaceSchema, preparedRow(p.Version))})
	}
	if err == nil && statement != nil {
		err = c.write(ctx, replicaset.Write{Statement: *statement})
	}
	if err != nil && passing(err) {
		return err
	}
	i.saySchema(c, p.Version, err)
	return nil
}

// preparation is the statement that makes a change in advance, nil if nothing has to be done for it. An error refuses it.
func (c *core) preparation(d catalog.DDL, local *catalog.Dictionary) (*box.Statement, error) {
	schema := c.engine.PublishedSchema()
	if sp := schema.Space(d.TableID()); sp == nil || !local.Follows(sp.ID) {
		return nil, errcode.New(errcode.NoSuchSpace, fmt.Sprintf("#%d", d.TableID()))
	}
	if d.Kind == catalog.SetObject {
		return c.constraintInAdvance(d.Objects[0], local)
	}
	if d.Kind == catalog.AlterTable {
		row := d.Table.SpaceRow()
		admits, admitted, err := schema.Alteration(row)
		s := c.replacement(dictionary.SpaceSpace, row)
		switch {
		case err != nil || admits:
			return nil, err
		case admitted:
			return &s, nil
		}
		return nil, errcode.New(errcode.NotImplemented, "a change of a space that allows rows which were not allowed, and forbids others, in a cluster of several replicasets: make two changes of it; this")
	}
	ix := d.Indexes[0]
	for _, row := range local.Indexes {
		old, err := catalog.IndexOfIndexRow(row)
		if err != nil || old.TableID != ix.TableID || old.ID != ix.ID {
			continue
		}
		same := strings.EqualFold(old.Type, ix.Type) && string(old.Opts) == string(ix.Opts) && string(old.Parts) == string(ix.Parts)
		if same {
			return nil, nil // it is there already, or only gets another name
		}
		return nil, errcode.New(errcode.NotImplemented, "to make an index of a space of several replicasets another one (create a second index and drop the first)")
	}
	s := c.replacement(dictionary.SpaceIndex, ix.IndexRow())
	return &s, nil
}

// sayFollowed puts into the report how far this replicaset, which this instance leads, has followed.
func (i *Instance) sayFollowed(c *core, version uint64) {
	if c.followedTo.Swap(version) != version {
		c.wakeReport()
	}
}

// wakeReport has the report made anew.
func (c *core) wakeReport() {
	select {
	case c.grouped <- struct{}{}:
	default:
	}
}

// saySchema puts into the report what this replicaset says to a change.
func (i *Instance) saySchema(c *core, version uint64, refusal error) {
	said := &wire.SchemaReport{Version: version, Prepared: refusal == nil}
	if refusal != nil {
		e := errcode.Of(refusal)
		said.Code, said.Message = uint32(e.Code), e.Message
		i.log.Info("the rows of this replicaset do not agree to a change of the schema", "version", version, "error", refusal)
	}
	c.schemaSaid.Store(said)
	c.wakeReport()
}

// constraintInAdvance is the preparation of a check constraint or a foreign key.
func (c *core) constraintInAdvance(o catalog.SchemaObject, local *catalog.Dictionary) (*box.Statement, error) {
	s := c.replacement(o.Space, o.Row)
	for _, old := range local.Objects {
		switch {
		case old.Space != o.Space || old.Key() != o.Key():
		case bytes.Equal(old.Row, o.Row):
			return nil, nil
		case catalog.SwitchesCheck(old, o):
			if o.Enabled() {
				return &s, nil
			}
			return nil, nil // it only allows more
		default:
			return nil, errcode.New(errcode.NotImplemented, "to make a constraint of a space of several replicasets another one (drop it and create it anew)")
		}
	}
	return &s, nil
}

// hasFollowed tells whether the published dictionary has come to a version. Also false while it is being worked on.
func (c *core) hasFollowed(version uint64) bool {
	if !c.following.TryLock() {
		return false
	}
	defer c.following.Unlock()
	r := c.engine.NewReader()
	defer r.Close()
	note, err := c.readNote(r, keyFollowed)
	return err == nil && note.version >= version
}

// asCatalog tells whether the published dictionary is what the catalog says, but for changes that are under way. Also
// false while it is being worked on.
func (c *core) asCatalog() bool {
	if !c.following.TryLock() {
		return false
	}
	defer c.following.Unlock()
	r := c.engine.NewReader()
	defer r.Close()
	local, err := c.readLocal(r)
	if err != nil {
		return false
	}
	changes, err := local.Changes(c.catalog.View())
	return err == nil && len(changes) == 0
}

// isSchema tells whether a statement on a space changes definitions of the schema, or truncates. That a space was truncated
// may be forgotten by every replicaset for itself.
func isSchema(space uint32, t iproto.Type) bool {
	switch space {
	case dictionary.SpaceSpace, dictionary.SpaceIndex, dictionary.SpaceSequence, dictionary.SpaceSpaceSequence,
		dictionary.SpaceCKConstraint, dictionary.SpaceFKConstraint:
		return true
	}
	return space == dictionary.SpaceTruncate && t != iproto.TypeDelete
}
