package instance

import (
	"cmp"
	"context"
	"encoding/base64"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/replicaset"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// serviceUser is who instances are for each other; his password is the cookie. adminUser is who sits at the admin socket.
const serviceUser = "pico_service"

var adminUser = server.User{ID: catalog.AdminID, Name: "admin"}

// waiting answers clients before the database is there: who the instance is, and why it does not serve yet.
type waiting struct{ i *Instance }

// Execute answers what every state answers, and refuses the rest with the state.
func (w *waiting) Execute(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
	if req.Type == iproto.TypeCall && string(req.Function) == procInstanceInfo {
		return iproto.AppendData(out, req.Sync, 0, w.i.instanceInfo()), true
	}
	if out, done, handled := w.i.servePeer(s, req, 0, out); handled {
		return out, done
	}
	if req.Type == iproto.TypeCall && string(req.Function) == wire.ProcWithout && s.User().ID == catalog.AdminID {
		return w.without(req, out), true
	}
	return iproto.AppendError(out, req.Sync, 0, w.refusal()), true
}

// refusal is what everything gets that needs a database.
func (w *waiting) refusal() *errcode.Error {
	p := w.i.life.published()
	if e := p.Refusal(); e != nil {
		return e
	}
	return errcode.New(errcode.Loading, p.State.String())
}

// without is answered only while an instance looks for its cluster.
func (w *waiting) without(req *iproto.Request, out []byte) []byte {
	message, err := wire.Argument(req.Tuple)
	if err == nil {
		_, err = w.i.goWithout(message)
	}
	if err != nil {
		return iproto.AppendError(out, req.Sync, 0, errcode.Of(err))
	}
	return iproto.AppendData(out, req.Sync, 0, wire.AppendNil(nil))
}

// Answer has nothing to add: nothing is put off.
func (w *waiting) Answer(_ *server.Session, out []byte) []byte { return out }

// Flush has nothing to hand over.
func (w *waiting) Flush(*server.Session) {}

// SchemaVersion is 0 while there is no schema.
func (w *waiting) SchemaVersion() uint64 { return 0 }

// Closed has nothing to give back.
func (w *waiting) Closed(*server.Session) {}

// Credentials knows the users that need no catalog: the service user, and admin with a password that was just given. The
// others have to come again: their passwords are in the catalog, which has not been read.
func (w *waiting) Credentials(user string) (server.Credential, bool) {
	switch user {
	case "guest":
		return server.Credential{ID: catalog.GuestID, Name: user, ChapSHA1: iproto.HashPassword(nil), HasPassword: true}, true
	case serviceUser:
		return w.i.serviceCredential(), true
	case "admin":
		if p := w.i.child.AdminPassword(); !p.Empty() {
			return server.Credential{ID: catalog.AdminID, Name: user, ChapSHA1: iproto.HashPassword(p.Reveal()), HasPassword: true}, true
		}
	}
	return server.Credential{Name: user, NotYet: w.refusal()}, true
}

func (i *Instance) serviceCredential() server.Credential {
	return server.Credential{ID: catalog.ServiceID, Name: serviceUser, ChapSHA1: iproto.HashPassword(i.child.Cookie().Reveal()), HasPassword: true, Internal: true}
}

// backend executes requests on the running database.
type backend struct {
	i     *Instance
	c     *core
	procs map[string]procedure
	// argued are those that take arguments.
	argued map[string]argued
	// submit hands statements to the data group's loop.
	submit func([]*replicaset.Batch) error
	// group tells what this replica may answer.
	group readGroup
	// proxy passes writes on while another replica leads; nil: they are refused.
	proxy *proxy
	// readers are lent to sessions for a drain, so that idle sessions have none. names finds spaces by name.
	readers readers
	names   box.Names
}

func newBackend(i *Instance, c *core) *backend {
	b := &backend{i: i, c: c, submit: c.dataLoop.Submit, group: c.dataLoop}
	b.procs, b.argued = b.procedures(), b.arguedProcedures()
	if i.cfg.ProxyWrites {
		b.proxy = newProxy(b, &network{i, c})
		b.proxy.serving = i.server.Serving()
		c.takeRefused(b.proxy.refused)
	}
	return b
}

// session is what the backend keeps of a connection.
type session struct {
	// reader is nil between drains.
	reader *box.Reader
	user   *box.User
	// gathered are the statements of this drain.
	gathered gathering
	// query is here so that a select needs no memory of its own.
	query   box.Query
	streams streams
	// catalogWrites are the statements whose rows are the catalog's.
	catalogWrites lane
	// schema ends when the newest change of the schema that the connection has asked for has been answered; nil before the first.
	schema <-chan struct{}
	// group has the selects that were put off, nil between drains, and syncs what they are answered with.
	group *group
	// asks are calls of another instance that its groups have to answer. speaker is its address, empty on other connections.
	asks    []func()
	speaker string
}

// group is a Group with the numbers of its requests.
type group struct {
	box.Group
	syncs [box.GroupMax]uint64
}

// selector reads: the newest version, or a transaction's.
type selector interface {
	Select(q *box.Query, out []byte) ([]byte, int, error)
}

func (b *backend) session(s *server.Session) *session {
	ss, ok := s.Local.(*session)
	if !ok {
		ss = &session{user: &box.User{}}
		s.Local = ss
	}
	u, rights := s.User(), b.c.rights.Load()
	if ss.user.Name != u.Name || ss.user.ID != u.ID || ss.user.Rights != rights {
		// A new value: statements on their way keep the one that they came with.
		ss.user = &box.User{ID: u.ID, Name: u.Name, Rights: rights}
	}
	return ss
}

// Execute runs a request of a client.
func (b *backend) Execute(s *server.Session, req *iproto.Request, out []byte) ([]byte, bool) {
	ss := b.session(s)
	if req.Has&named != 0 && req.StreamID == 0 {
		if err := b.resolve(req, b.c.engine.PublishedSchema()); err != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
		}
	}
	if req.StreamID != 0 {
		return b.inStream(s, ss, req, out)
	}
	switch req.Type {
	case iproto.TypeSelect:
		return b.read(ss, req, out), true
	case iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeUpsert, iproto.TypeDelete:
		if isAccess(req.SpaceID) {
			b.changeAccess(s, ss, req)
			return out, false
		}
		if isCatalogTable(req.SpaceID) || b.isGlobal(req.SpaceID) {
			if err := b.changeCatalog(s, ss, req); err != nil {
				return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
			}
			return out, false
		}
		if b.changesSchema(req) {
			b.changeSchema(s, ss, req)
			return out, false
		}
		b.gather(s, ss, req)
		return out, false
	case iproto.TypeCall, iproto.TypeCall16:
		if out, done, handled := b.i.servePeer(s, req, b.SchemaVersion(), out); handled {
			return out, done
		}
		if _, ok := b.i.operators[string(req.Function)]; ok {
			b.callOperator(s, req)
			return out, false
		}
		return b.call(s, ss.user, req, out)
	}
	return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.New(errcode.UnknownRequestType, req.Type)), true
}

// read puts a select off until its group is full or the drain ends. A page is run at once, after those before it.
func (b *backend) read(ss *session, req *iproto.Request, out []byte) []byte {
	if ss.reader == nil {
		ss.reader, ss.group = b.readers.get(b.c.engine)
	}
	if req.Has&paged != 0 {
		return b.selectNewest(ss.reader, &ss.query, ss.user, req, b.answer(ss, out))
	}
	g := ss.group
	g.syncs[g.Len()] = req.Sync
	*g.Add() = queryOf(req, ss.user)
	if g.Len() == box.GroupMax {
		return b.answer(ss, out)
	}
	return out
}

// queryOf is the query of a request; its bytes are still the request's.
func queryOf(req *iproto.Request, user *box.User) box.Query {
	return box.Query{SpaceID: req.SpaceID, IndexID: req.IndexID, Iterator: req.Iterator, Offset: req.Offset, Limit: req.Limit,
		Key: req.Key, User: user}
}

// Answer runs the selects that were put off.
func (b *backend) Answer(s *server.Session, out []byte) []byte {
	if ss, ok := s.Local.(*session); ok {
		return b.answer(ss, out)
	}
	return out
}

func (b *backend) answer(ss *session, out []byte) []byte {
	g, r := ss.group, ss.reader
	if g == nil || g.Len() == 0 {
		return out
	}
	if !b.group.Covers(r.Pin()) {
		if err := b.pinGroup(g, r); err != nil {
			return b.refuseGroup(g, r, err, out)
		}
	}
	schema := b.SchemaVersion()
	r.Begin(&g.Group)
	for i := range g.Len() {
		before := len(out)
		var mark, n int
		var err error
		out, mark = iproto.BeginData(out, g.syncs[i], schema)
		if out, n, err = r.Take(&g.Group, i, out); err != nil {
			out = iproto.AppendError(out[:before], g.syncs[i], schema, errcode.Of(err))
			continue
		}
		out = iproto.EndData(out, mark, uint32(n))
	}
	r.End(&g.Group)
	return out
}

// isAccess tells whether the rows of the space are users or grants, which are kept in the catalog.
func isAccess(space uint32) bool {
	return space == dictionary.SpaceUser || space == dictionary.SpacePriv
}

// readers are those that no session uses now, each with a group. A drain borrows one, so there are about as many as
// there are processors.
type readers struct {
	mu   sync.Mutex // guards idle
	idle []reader
}

type reader struct {
	*box.Reader
	group *group
}

func (r *readers) get(e *box.Engine) (*box.Reader, *group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.idle)
	if n == 0 {
		return e.NewReader(), new(group)
	}
	one := r.idle[n-1]
	r.idle = r.idle[:n-1]
	return one.Reader, one.group
}

// put takes the session's reader back, if it has one.
func (r *readers) put(ss *session) {
	if ss.reader == nil {
		return
	}
	r.mu.Lock()
	r.idle = append(r.idle, reader{ss.reader, ss.group})
	r.mu.Unlock()
	ss.reader, ss.group = nil, nil
}

const (
	named = iproto.HasSpaceName | iproto.HasIndexName
	paged = iproto.HasFetchPosition | iproto.HasAfterPosition | iproto.HasAfterTuple
)

// resolve puts ids into a request that names its space or its index, as they are in a schema.
func (b *backend) resolve(req *iproto.Request, schema *box.Schema) (err error) {
	if req.Has.Has(iproto.KeySpaceName) {
		if req.SpaceID, err = b.names.Space(schema, req.SpaceName); err != nil {
			return err
		}
	}
	if req.Has.Has(iproto.KeyIndexName) {
		req.IndexID, err = b.names.Index(schema, req.SpaceID, req.IndexName)
	}
	return err
}

// selectRows runs a select; q is the room for it.
func (b *backend) selectRows(r selector, q *box.Query, user *box.User, req *iproto.Request, out []byte) []byte {
	*q = queryOf(req, user)
	if req.Has&paged != 0 {
		q.Page = &box.Page{After: req.AfterPosition, AfterTuple: req.AfterTuple, Fetch: req.FetchPosition}
	}
	before := len(out)
	schema := b.SchemaVersion()
	out, mark := iproto.BeginData(out, req.Sync, schema)
	out, n, err := r.Select(q, out)
	if err != nil {
		return iproto.AppendError(out[:before], req.Sync, schema, errcode.Of(err))
	}
	if q.Page != nil {
		return endPage(q.Page, out, mark, n)
	}
	return iproto.EndData(out, mark, uint32(n))
}

// endPage ends the reply that begins at mark with a page of n tuples.
func endPage(page *box.Page, out []byte, mark, n int) []byte {
	begin := mark + iproto.DataHeadBytes
	rows, n := page.Finish(out[begin:], n)
	out = out[:begin+len(rows)]
	if page.Position != nil {
		return iproto.EndPage(out, mark, uint32(n), page.Position)
	}
	return iproto.EndData(out, mark, uint32(n))
}

// gather copies a statement into the session's batch.
func (b *backend) gather(s *server.Session, ss *session, req *iproto.Request) {
	if ss.gathered.add(s, req, ss.user) {
		b.Flush(s)
	}
}

// statementOf is the statement of a request; its bytes are still the request's.
func statementOf(req *iproto.Request, user *box.User) box.Statement {
	return box.Statement{Kind: kindOf(req.Type), SpaceID: req.SpaceID, IndexID: req.IndexID, IndexBase: int(req.IndexBase),
		Key: req.Key, Tuple: req.Tuple, Ops: req.Ops, User: user}
}

func kindOf(t iproto.Type) box.Kind {
	switch t {
	case iproto.TypeInsert:
		return box.Insert
	case iproto.TypeReplace:
		return box.Replace
	case iproto.TypeUpdate:
		return box.Update
	case iproto.TypeUpsert:
		return box.Upsert
	default:
		return box.Delete
	}
}

// Flush hands the gathered statements to the data group.
func (b *backend) Flush(s *server.Session) {
	ss, ok := s.Local.(*session)
	if !ok {
		return
	}
	b.readers.put(ss)
	for _, ask := range ss.asks {
		ask()
	}
	clear(ss.asks)
	ss.asks = ss.asks[:0]
	batch := ss.gathered.take()
	if batch == nil {
		return
	}
	if err := b.hand(batch); err != nil {
		batch.Sink.Complete(refusals(batch, b.SchemaVersion(), err))
	}
}

// SchemaVersion is the version of the schema that readers see.
func (b *backend) SchemaVersion() uint64 { return b.c.engine.PublishedSchema().Version }

// Closed gives back what the session has.
func (b *backend) Closed(s *server.Session) {
	if ss, ok := s.Local.(*session); ok {
		ss.streams.closeAll()
		b.readers.put(ss)
		s.Local = nil
		if ss.speaker != "" {
			b.i.connectionLost(ss.speaker)
		}
	}
}

// Credentials finds a user in the catalog.
func (b *backend) Credentials(name string) (server.Credential, bool) {
	if name == serviceUser {
		return b.i.serviceCredential(), true
	}
	u, ok := b.c.catalog.View().UserByName(name)
	if !ok || u.Type != catalog.TypeUser {
		return server.Credential{}, false
	}
	c := server.Credential{ID: u.ID, Name: u.Name}
	if !b.c.rights.Load().Check(u.ID, access.Session, access.Universe, 0) {
		c.Refusal = errcode.NewAccessDenied("Session", "universe", "", u.Name)
	}
	if hash, err := base64.StdEncoding.DecodeString(u.Auth.Data); err == nil && len(hash) == len(c.ChapSHA1) {
		copy(c.ChapSHA1[:], hash)
		c.HasPassword = true
	}
	return c, true
}

// accessTimeout bounds a change of users or grants.
const accessTimeout = 10 * time.Second

// changeAccess runs a statement on _user or _priv: an operation on the catalog, which takes its own way to disk.
func (b *backend) changeAccess(s *server.Session, ss *session, req *iproto.Request) {
	kept := *req
	kept.Key, kept.Tuple, kept.Ops = clone(req.Key), clone(req.Tuple), clone(req.Ops)
	user := ss.user
	go func() {
		row, err := b.runAccess(&kept, user)
		b.auditAccess(s, user, &kept, err)
		s.Complete(b.reply(kept.Sync, row, err))
	}()
}

func clone(p []byte) []byte { return append([]byte(nil), p...) }

// runAccess returns the row that the client gets, nil for none.
func (b *backend) runAccess(req *iproto.Request, user *box.User) ([]byte, error) {
	sp := b.c.engine.PublishedSchema().Space(req.SpaceID)
	if user.ID != sp.Owner && !user.Rights.Check(user.ID, access.Write, access.Space, sp.ID) {
		return nil, errcode.NewAccessDenied("Write", "space", sp.Name, user.Name)
	}
	view := b.c.catalog.View()
	kind, row, shown, err := b.accessRow(req, sp)
	if err != nil || row == nil {
		return nil, err
	}
	ops, err := b.accessOps(view, kind, req.SpaceID, row)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), accessTimeout)
	defer cancel()
	if len(ops) == 0 {
		return shown, nil
	}
	if err := b.auditIntent(user, req); err != nil {
		return nil, err
	}
	if _, err := b.i.record(ctx, b.c, &catalogrunner.Request{Ops: ops, Initiator: user.ID}); err != nil {
		return nil, err
	}
	return shown, nil
}

func (b *backend) accessOps(view *catalog.State, kind catalog.RowKind, space uint32, row []byte) ([]catalog.Op, error) {
	if space == dictionary.SpacePriv {
		return catalog.OpsForPrivDML(view, kind, row)
	}
	id, err := rowID(row)
	if err != nil {
		return nil, err
	}
	return catalog.OpsForUserDML(view, kind, row, b.ownsSpaces(id))
}

func rowID(row []byte) (uint64, error) {
	_, rest, err := msgpack.ReadArrayLen(row)
	if err != nil {
		return 0, errcode.New(errcode.InvalidMsgPack, "packet body")
	}
	id, _, err := msgpack.ReadUint(rest)
	if err != nil {
		return 0, errcode.New(errcode.FieldType, "1", "unsigned")
	}
	return id, nil
}

func (b *backend) ownsSpaces(user uint64) bool {
	for _, sp := range b.c.engine.PublishedSchema().Spaces() {
		if uint64(sp.Owner) == user && sp.ID >= dictionary.UserIDMin {
			return true
		}
	}
	return false
}

// accessRow turns a statement into the row that it makes or removes. A nil row is a statement that finds nothing.
func (b *backend) accessRow(req *iproto.Request, sp *box.Space) (kind catalog.RowKind, row, shown []byte, err error) {
	switch req.Type {
	case iproto.TypeInsert:
		return catalog.RowInsert, req.Tuple, req.Tuple, sp.Format.Validate(req.Tuple)
	case iproto.TypeReplace:
		return catalog.RowReplace, req.Tuple, req.Tuple, sp.Format.Validate(req.Tuple)
	case iproto.TypeUpsert:
		if err := sp.Format.Validate(req.Tuple); err != nil {
			return 0, nil, nil, err
		}
		key := sp.Index(0).Def.ExtractKey(msgpack.AppendArrayHeader(nil, sp.Index(0).Def.PartCount()), req.Tuple)
		old, err := b.findRow(sp, 0, key)
		if err != nil || old == nil {
			return catalog.RowInsert, req.Tuple, nil, cmp.Or(err, tuple.CheckOps(req.Ops, int(req.IndexBase), sp.Format))
		}
		row, err = tuple.UpsertOps(nil, old, req.Ops, int(req.IndexBase), sp.Format)
		if err == nil && sp.Index(0).Def.Compare(old, row) != 0 {
			return 0, nil, nil, nil // a change of the primary key is ignored, as in Tarantool
		}
		return catalog.RowReplace, row, nil, err
	}
	old, err := b.findRow(sp, req.IndexID, req.Key)
	if err != nil || old == nil {
		return 0, nil, nil, err
	}
	if req.Type == iproto.TypeDelete {
		return catalog.RowDelete, old, old, nil
	}
	row, err = tuple.Update(nil, old, req.Ops, int(req.IndexBase), sp.Format)
	if err == nil && sp.Index(0).Def.Compare(old, row) != 0 {
		return 0, nil, nil, errcode.New(errcode.CantUpdatePrimaryKey, sp.Index(0).Name, sp.Name)
	}
	return catalog.RowReplace, row, row, err
}

// findRow finds a row of _user or _priv by a full key of a unique index.
func (b *backend) findRow(sp *box.Space, index uint32, key []byte) ([]byte, error) {
	ix := sp.Index(index)
	if ix == nil {
		return nil, errcode.New(errcode.NoSuchIndexID, index, sp.Name)
	}
	if !ix.Unique {
		return nil, errcode.New(errcode.MoreThanOneTuple)
	}
	if n, _, err := msgpack.ReadArrayLen(key); err != nil || n != ix.Def.PartCount() {
		return nil, errcode.New(errcode.ExactMatch, ix.Def.PartCount(), n)
	}
	r := b.c.engine.NewReader()
	defer r.Close()
	row, n, err := r.Select(&box.Query{SpaceID: sp.ID, IndexID: index, Limit: 1, Key: key}, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	return row, nil
}
