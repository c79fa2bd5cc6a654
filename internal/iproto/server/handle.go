package server

import (
	"bytes"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// known reports whether a type of request is served, or refused with a reason of its own.
func known(t iproto.Type) bool {
	switch t {
	case iproto.TypeSelect, iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeDelete,
		iproto.TypeCall16, iproto.TypeAuth, iproto.TypeEval, iproto.TypeUpsert, iproto.TypeCall, iproto.TypeExecute,
		iproto.TypeNop, iproto.TypePrepare, iproto.TypePing, iproto.TypeID, iproto.TypeWatch, iproto.TypeUnwatch,
		iproto.TypeWatchOnce, iproto.TypeBegin, iproto.TypeCommit, iproto.TypeRollback:
		return true
	}
	return false
}

// handle decodes one frame and answers it or passes it to the backend. full tells that as many requests are in flight
// as are allowed.
func (s *Session) handle(b Backend, payload, out []byte) (res []byte, full bool) {
	req := &s.req
	err := s.guarded(iproto.DecodeRequest, payload)
	if s.putOff && (err != nil || req.Type != iproto.TypeSelect || req.StreamID != 0 || req.SchemaVersion != 0) {
		out = s.answerPutOff(b, out)
	}
	if err != nil {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), false
	}
	s.counts.add(&s.srv.counters, req.Type)
	if req.StreamID != 0 || outOfStream(req.Type) {
		if e := checkStream(req); e != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), e), false
		}
	}
	if req.SchemaVersion != 0 {
		if e := checkSchema(req, b.SchemaVersion()); e != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), e), false
		}
	}
	switch req.Type {
	case iproto.TypePing, iproto.TypeNop:
		return iproto.AppendOK(out, req.Sync, b.SchemaVersion(), nil), false
	case iproto.TypeSelect, iproto.TypeInsert, iproto.TypeReplace, iproto.TypeUpdate, iproto.TypeDelete,
		iproto.TypeUpsert, iproto.TypeCall, iproto.TypeCall16, iproto.TypeBegin, iproto.TypeCommit, iproto.TypeRollback:
		return s.execute(b, out, len(payload))
	case iproto.TypeID:
		return iproto.AppendIDReply(out, req.Sync, b.SchemaVersion(), protocolVersion, features), false
	case iproto.TypeWatch, iproto.TypeUnwatch:
		if e := s.watch(); e != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), e), false
		}
		return out, false
	case iproto.TypeWatchOnce:
		return s.watchOnce(out, b.SchemaVersion()), false
	case iproto.TypeAuth:
		if e := s.login(b); e != nil {
			return iproto.AppendError(out, req.Sync, b.SchemaVersion(), e), false
		}
		return iproto.AppendOK(out, req.Sync, b.SchemaVersion(), nil), false
	}
	return iproto.AppendError(out, req.Sync, b.SchemaVersion(), notServed(req.Type)), false
}

// guarded decodes a frame into s.req. The decoder is the only code here whose panic does not end the process: its input
// is foreign and it changes nothing.
func (s *Session) guarded(decode func([]byte, *iproto.Request) error, payload []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.srv.counters.decodePanics.Add(1)
			s.srv.log.Error("decoding a request panicked", "peer", s.peer, "panic", p)
			err = errcode.New(errcode.InvalidMsgPack, "packet body")
		}
	}()
	return decode(payload, &s.req)
}

// outOfStream reports whether requests of a type make no sense without a stream.
func outOfStream(t iproto.Type) bool {
	return t == iproto.TypeBegin || t == iproto.TypeCommit || t == iproto.TypeRollback
}

// checkStream refuses requests that may not be in a stream, and those that must be in one. Types that nobody knows get
// the answer that they get without a stream.
func checkStream(req *iproto.Request) *errcode.Error {
	switch {
	case req.StreamID == 0 && outOfStream(req.Type):
		return errcode.New(errcode.UnableToProcessOutOfStream, iproto.TypeName(req.Type))
	case req.StreamID != 0 && known(req.Type) && !iproto.InStream(req.Type):
		return errcode.New(errcode.UnableToProcessInStream, iproto.TypeName(req.Type))
	}
	return nil
}

// checkSchema refuses a request made for another schema. Tarantool 2.6 names the two versions the wrong way round, and
// so does the table's text.
func checkSchema(req *iproto.Request, current uint64) *errcode.Error {
	if shown := uint64(uint32(current)); req.SchemaVersion != shown {
		return errcode.New(errcode.WrongSchemaVersion, req.SchemaVersion, shown)
	}
	return nil
}

// notServed is the answer to types of requests without a handler.
func notServed(t iproto.Type) *errcode.Error {
	switch t {
	case iproto.TypeEval:
		return errcode.Newf(errcode.NotImplemented, "EVAL is not available in this version: there is no Lua yet")
	case iproto.TypeExecute, iproto.TypePrepare:
		return errcode.Newf(errcode.NotImplemented, "%s is not available in this version: there is no SQL yet",
			iproto.TypeName(t))
	}
	return errcode.New(errcode.UnknownRequestType, t)
}

// execute passes a request of so many bytes to the backend. While too much is in flight, requests that may become more of
// it wait; a plain SELECT is answered at once, as is what does not come here at all.
func (s *Session) execute(b Backend, out []byte, size int) (res []byte, full bool) {
	if !s.trusted && !s.internal && s.srv.gate.full() && (s.req.Type != iproto.TypeSelect || s.req.StreamID != 0) {
		s.out.b = out // finished replies, all of them
		if !s.pause(b, true) {
			s.over = true
			return s.out.b, false
		}
		out = s.out.b
	}
	s.backend, s.used = s.current, true
	before := len(out)
	res, done := b.Execute(s, &s.req, out)
	if done {
		s.putOff = len(res) == before
		return res, false
	}
	if size < countedBytesMin {
		size = 0
	} else {
		s.pendingBytes.Add(int64(size))
	}
	s.pending.Add(1)
	return res, s.srv.gate.take(size)
}

// answerPutOff appends the replies of requests that the backend put off.
func (s *Session) answerPutOff(b Backend, out []byte) []byte {
	s.putOff = false
	return b.Answer(s, out)
}

// login checks an AUTH request and changes the session's user.
func (s *Session) login(b Backend) *errcode.Error {
	name := string(s.req.User)
	cred, ok := b.Credentials(name)
	e := s.verify(cred, ok)
	event := AuthEvent{Session: s.id, Peer: s.peer, User: shown(s.req.User)}
	if e != nil {
		event.Err = e
	} else {
		s.SetUser(User{ID: cred.ID, Name: cred.Name})
		if cred.ID != guest.ID {
			s.authed = true
		}
		s.internal = cred.Internal
	}
	s.srv.opts.OnAuth(event)
	return e
}

// verify decides about an AUTH request. The proof is computed for users who do not exist and for those without a
// password too, so that all cost the same. Guest may come back with an empty tuple, or with the empty password, as long
// as no password was set for it; nobody else gets in without a password.
func (s *Session) verify(cred Credential, exists bool) *errcode.Error {
	auth, errTuple := iproto.DecodeAuth(s.req.Tuple)
	empty := iproto.HashPassword(nil)
	open := exists && cred.ID == guest.ID && (!cred.HasPassword || cred.ChapSHA1 == empty)
	stored, usable := s.srv.dummyHash, false
	switch {
	case open:
		stored, usable = empty, true
	case exists && cred.HasPassword && cred.ChapSHA1 != empty:
		stored, usable = cred.ChapSHA1, true
	}
	proved := iproto.CheckScramble(auth.Scramble, s.salt, stored)
	switch {
	case exists && cred.NotYet != nil:
		return cred.NotYet
	case !exists:
		return errcode.New(errcode.NoSuchUser, shown(s.req.User))
	case errTuple != nil:
		return errcode.Of(errTuple)
	case auth.Empty && open:
		return nil
	case auth.Empty:
		return errcode.New(errcode.InvalidMsgPack, "authentication request body")
	case !proved || !usable:
		return errcode.New(errcode.CredsMismatch, shown(s.req.User))
	}
	return cred.Refusal
}

// shown makes a foreign name fit for messages.
func shown(name []byte) string {
	return string(bytes.ToValidUTF8(name[:min(len(name), userTextBytesMax)], []byte("?")))
}
