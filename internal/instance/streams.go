package instance

import (
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

const (
	// txTimeoutDefault ends a transaction that was begun without a timeout: it keeps memory from being used again.
	txTimeoutDefault = time.Hour
	// streamsMax bounds the streams of one connection that are in use.
	streamsMax = 10_000
)

// streams are those of one connection that are in use: they have a transaction, or requests on their way.
type streams struct {
	mu     sync.Mutex // guards the rest
	list   map[uint64]*stream
	closed bool
}

// receiver takes the replies of a connection, and tells that nobody waits for them any more.
type receiver interface {
	replicaset.Sink
	Gone() bool
}

// stream runs the requests with one stream id strictly one after another.
type stream struct {
	b     *backend
	s     receiver
	owner *streams
	id    uint64
	// refs counts who has the stream from the list; owner.mu guards it.
	refs int

	mu sync.Mutex // guards the rest; taken after owner.mu
	tx *box.Tx
	// timer ends the transaction; expired tells that it did.
	timer   *time.Timer
	expired bool
	// busy: a request is on its way, and those that came after it wait.
	busy    bool
	waiting []streamRequest
	closed  bool
}

// streamRequest is a request that waits, with the user as whom it came.
type streamRequest struct {
	req  *iproto.Request
	user *box.User
}

func (l *streams) get(b *backend, s receiver, id uint64) (*stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errSessionClosed()
	}
	if st := l.list[id]; st != nil {
		st.refs++
		return st, nil
	}
	if len(l.list) >= streamsMax {
		return nil, errcode.New(errcode.Overloaded, "this connection has too many streams in use")
	}
	if l.list == nil {
		l.list = map[uint64]*stream{}
	}
	st := &stream{b: b, s: s, owner: l, id: id, refs: 1}
	l.list[id] = st
	return st, nil
}

// closeAll rolls back every transaction of a connection that has ended.
func (l *streams) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, st := range l.list {
		st.mu.Lock()
		st.closed = true
		st.endTx()
		st.mu.Unlock()
	}
}

// release gives back refs of a stream, and drops it when nobody has it and it has nothing to remember, so that a
// connection may use any number of ids one after another. It never waits for a request of the stream.
func (l *streams) release(st *stream, refs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.refs -= refs
	if st.refs > 0 || !st.mu.TryLock() {
		return
	}
	defer st.mu.Unlock()
	if !st.busy && st.tx == nil && !st.expired {
		delete(l.list, st.id)
	}
}

// inStream runs a request of a stream, or lets it wait for those before it.
func (b *backend) inStream(s receiver, ss *session, req *iproto.Request, out []byte) ([]byte, bool) {
	st, err := ss.streams.get(b, s, req.StreamID)
	if err != nil {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
	}
	defer ss.streams.release(st, 1)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed { // since get
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(errSessionClosed())), true
	}
	if st.busy {
		st.waiting = append(st.waiting, streamRequest{copyRequest(req), ss.user})
		return out, false
	}
	return st.run(req, ss.user, out)
}

func errSessionClosed() error { return errcode.New(errcode.SessionClosed) }

func copyRequest(req *iproto.Request) *iproto.Request {
	kept := *req
	for _, p := range []*[]byte{&kept.Key, &kept.Tuple, &kept.Ops, &kept.Function, &kept.Body, &kept.SpaceName, &kept.IndexName,
		&kept.AfterPosition, &kept.AfterTuple} {
		if *p != nil {
			*p = clone(*p)
		}
	}
	return &kept
}

// streamStep is what a request does in a stream.
type streamStep uint8

const (
	stepBegin     streamStep = iota // open a transaction
	stepCommit                      // hand the transaction to the data group
	stepNothing                     // COMMIT without a transaction: only an answer
	stepRollback                    // forget the transaction, or that its time is over
	stepAborted                     // the answer to COMMIT of a transaction whose time is over, which ends it
	stepRefuse                      // an error; the stream stays as it is
	stepCall                        // a procedure, which is no part of a transaction
	stepInTx                        // a statement of the transaction
	stepRead                        // a SELECT by itself
	stepStatement                   // a write by itself
)

// nextStep decides what a request does in a stream, in which a transaction is open, or whose transaction has expired.
func nextStep(req *iproto.Request, open, expired bool) (streamStep, error) {
	switch req.Type {
	case iproto.TypeBegin:
		if open {
			return stepRefuse, errcode.New(errcode.ActiveTransaction)
		}
		return stepBegin, nil
	case iproto.TypeRollback:
		return stepRollback, nil
	case iproto.TypeCommit:
		switch {
		case expired:
			return stepAborted, errcode.New(errcode.TransactionTimeout)
		case open:
			return stepCommit, nil
		}
		return stepNothing, nil
	}
	switch {
	case expired:
		return stepRefuse, errcode.New(errcode.TransactionTimeout)
	case req.Type == iproto.TypeCall || req.Type == iproto.TypeCall16:
		return stepCall, nil
	case isAccess(req.SpaceID) && req.Type != iproto.TypeSelect:
		return stepRefuse, errcode.New(errcode.NotImplemented, "a change of users and grants in a stream")
	case open:
		return stepInTx, nil
	case req.Type == iproto.TypeSelect:
		return stepRead, nil
	}
	return stepStatement, nil
}

// run executes a request. With done = false the stream is busy until Complete. mu is held.
func (st *stream) run(req *iproto.Request, user *box.User, out []byte) (res []byte, done bool) {
	b := st.b
	if err := st.resolve(req); err != nil {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
	}
	if b.changesSchema(req) {
		err := errcode.New(errcode.NotImplemented, "a change of the schema in a stream, in a cluster of several replicasets,")
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
	}
	step, err := nextStep(req, st.tx != nil, st.expired)
	switch step {
	case stepBegin:
		err = st.begin(req)
	case stepCommit:
		return st.commit(req, out)
	case stepRollback, stepAborted:
		st.endTx()
		st.expired = false
	case stepCall:
		if res, done = b.call(st, user, req, out); !done {
			st.busy = true
		}
		return res, done
	case stepInTx:
		return st.inTx(req, user, out), true
	case stepRead:
		r := b.c.engine.NewReader()
		defer r.Close()
		return b.selectNewest(r, &box.Query{}, user, req, out), true
	case stepStatement:
		if b.isGlobal(req.SpaceID) {
			st.busy = true
			kept := copyRequest(req)
			go func() {
				row, err := b.runCatalog(kept, user)
				st.Complete(b.reply(kept.Sync, row, err))
			}()
			return out, false
		}
		return st.autocommit(req, user, out)
	}
	if err != nil {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
	}
	return iproto.AppendOK(out, req.Sync, b.SchemaVersion(), nil), true
}

// resolve puts ids into a request that names its space or its index, as the transaction sees them if there is one.
func (st *stream) resolve(req *iproto.Request) error {
	switch {
	case req.Has&named == 0:
		return nil
	case st.tx != nil:
		return st.b.resolve(req, st.tx.Schema())
	}
	return st.b.resolve(req, st.b.c.engine.PublishedSchema())
}

// inTx runs a statement of an open transaction.
func (st *stream) inTx(req *iproto.Request, user *box.User, out []byte) []byte {
	b := st.b
	if req.Type == iproto.TypeSelect {
		return b.selectRows(st.tx, &box.Query{}, user, req, out)
	}
	if !runsHere(b.group.Status()) { // its COMMIT could only fail
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.New(errcode.TransactionAtLeader, b.leaderText()))
	}
	stmt := statementOf(req, user)
	tup, err := st.tx.Execute(&stmt)
	switch {
	case err != nil:
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err))
	case tup == nil:
		return iproto.AppendData(out, req.Sync, b.SchemaVersion())
	}
	return iproto.AppendData(out, req.Sync, b.SchemaVersion(), tup)
}

// autocommit hands a statement outside of a transaction to the data group.
func (st *stream) autocommit(req *iproto.Request, user *box.User, out []byte) ([]byte, bool) {
	kept := copyRequest(req)
	w := replicaset.Write{Sync: req.Sync, Schema: req.SchemaVersion, Statement: statementOf(kept, user)}
	return st.submit(w, out)
}

// commit hands the transaction to the data group, where it is compared with what has changed since.
func (st *stream) commit(req *iproto.Request, out []byte) ([]byte, bool) {
	tx := st.tx
	st.tx = nil
	st.stopTimer()
	if !runsHere(st.b.group.Status()) {
		defer tx.Close()
		if tx.Writes() {
			return iproto.AppendError(out, req.Sync, st.b.SchemaVersion(), errcode.Of(st.b.notLeader())), true
		}
		return iproto.AppendOK(out, req.Sync, st.b.SchemaVersion(), nil), true // it saw a consistent prefix, as all reads here
	}
	res, done := st.submit(replicaset.Write{Sync: req.Sync, Tx: tx}, out)
	if done {
		tx.Close()
	}
	return res, done
}

func (st *stream) submit(w replicaset.Write, out []byte) ([]byte, bool) {
	bytes := len(w.Statement.Key) + len(w.Statement.Tuple) + len(w.Statement.Ops)
	if w.Tx != nil {
		bytes = w.Tx.Bytes()
	}
	err := st.b.hand(&replicaset.Batch{Sink: st, Writes: []replicaset.Write{w}, Bytes: bytes})
	if err != nil {
		return iproto.AppendError(out, w.Sync, st.b.SchemaVersion(), errcode.Of(err)), true
	}
	st.busy = true
	return out, false
}

// begin opens a transaction with the timeout and isolation that the request names.
func (st *stream) begin(req *iproto.Request) error {
	timeout, err := beginOptions(req.Body)
	if err != nil {
		return err
	}
	tx, err := st.b.beginTx()
	if err != nil {
		return err
	}
	st.tx, st.expired = tx, false
	st.timer = time.AfterFunc(timeout, func() { st.expire(tx) })
	return nil
}

// beginOptions reads TIMEOUT (0x56, seconds) and TXN_ISOLATION (0x59) from the body of BEGIN, which was checked to be a
// map of well-formed values.
func beginOptions(body []byte) (time.Duration, error) {
	timeout := txTimeoutDefault
	n, b, err := msgpack.ReadMapLen(body)
	for ; err == nil && n > 0; n-- {
		var key uint64
		if key, b, err = msgpack.ReadUint(b); err != nil {
			break
		}
		value := b
		b = msgpack.SkipTrusted(b)
		switch iproto.Key(key) {
		case iproto.KeyTimeout:
			seconds, _, err := msgpack.ReadFloat(value)
			if err != nil || !(seconds > 0) {
				return 0, errcode.New(errcode.IllegalParams, "timeout must be a number greater than 0")
			}
			timeout = min(timeout, time.Duration(min(seconds, txTimeoutDefault.Seconds())*float64(time.Second)))
		case iproto.KeyTxnIsolation:
			if level, _, err := msgpack.ReadUint(value); err != nil || level > iproto.IsolationLinearizable {
				return 0, errcode.New(errcode.IllegalParams, "unknown isolation level") // all that are known mean serializable here
			}
		}
	}
	return timeout, nil
}

// expire rolls back a transaction whose time is over; the next request learns it.
func (st *stream) expire(tx *box.Tx) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.tx == tx {
		st.endTx()
		st.expired = true
	}
}

// endTx forgets the transaction, if there is one. mu is held.
func (st *stream) endTx() {
	if st.tx != nil {
		st.tx.Close()
		st.tx = nil
	}
	st.stopTimer()
}

func (st *stream) stopTimer() {
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
}

// Complete passes a reply on and lets the next request of the stream run. It is called on the goroutine of the data
// group's loop, where nothing may be waited for.
func (st *stream) Complete(frames []byte) {
	st.s.Complete(frames)
	st.mu.Lock()
	st.busy = len(st.waiting) > 0
	more := st.busy
	st.mu.Unlock()
	if more {
		go st.drain()
	} else {
		st.owner.release(st, 0)
	}
}

// Gone tells that the connection has ended.
func (st *stream) Gone() bool { return st.s.Gone() }

// drain runs waiting requests until one has to wait for the data group, or none is left.
func (st *stream) drain() {
	for {
		st.mu.Lock()
		if len(st.waiting) == 0 {
			st.busy = false
			st.mu.Unlock()
			st.owner.release(st, 0)
			return
		}
		next := st.waiting[0]
		st.waiting = st.waiting[1:]
		var out []byte
		done := true
		if st.closed {
			out = iproto.AppendError(nil, next.req.Sync, st.b.SchemaVersion(), errcode.Of(errSessionClosed()))
		} else {
			out, done = st.run(next.req, next.user, nil)
		}
		st.mu.Unlock()
		if !done {
			return
		}
		st.s.Complete(out)
	}
}
