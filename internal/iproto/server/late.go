package server

import (
	"errors"
	"os"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// What arrives at a server that stops is not run: it is read and refused, so that whoever sent it knows, as long as something is to
// be answered, and for a short time after that. Other instances are told in one word instead that nothing more will be read,
// which holds for what is still on its way too: see iproto/client.

// refuseMeanwhile refuses what comes as long as what was taken over is not answered.
func (s *Session) refuseMeanwhile() {
	for s.pending.Load() > 0 {
		if !s.readUntil(time.Now().Add(pendingPoll), s.refuseLate) {
			return
		}
	}
}

// late ends a session whose every request was answered: half-closed first, so that no answer is lost in a reset.
func (s *Session) late() {
	if s.internal {
		s.out = s.srv.pool.get()
		s.out.b = iproto.AppendError(s.out.b, 0, s.schemaVersion(), errStopping())
		s.flushOut()
		s.leave()
	} else {
		s.readUntil(time.Now().Add(s.srv.opts.Limits.LateTimeout), s.refuseLate)
	}
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		left := lingerBytes
		s.readUntil(time.Now().Add(s.srv.opts.Limits.LateTimeout), func() bool {
			left -= len(s.in.b) - s.from
			s.from = len(s.in.b)
			s.giveBack()
			return left > 0
		})
	}
}

func errStopping() *errcode.Error { return errcode.New(errcode.Shutdown) }

func (s *Session) schemaVersion() uint64 { return (*s.srv.backend.Load()).SchemaVersion() }

// readUntil gives what the peer sends to take until a moment, the peer's end, or until take has enough; true: the moment has come.
// What was received before counts too.
func (s *Session) readUntil(until time.Time, take func() bool) bool {
	for s.in == nil || take() {
		// Shutdown may have set a deadline of its own just now.
		s.conn.SetReadDeadline(until)
		switch err := s.read(); {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case !time.Now().Before(until):
			return true
		}
	}
	return false
}

// refuseLate refuses the complete requests of the buffer: none of them is run. False: they are no requests, or there is nobody to
// answer.
func (s *Session) refuseLate() bool {
	s.out = s.srv.pool.get()
	defer s.leave()
	good := true
	for {
		data := s.in.b[s.from:]
		head, body, err := iproto.FrameSize(data)
		if good = err == nil && body <= s.frameBytesMax(); !good || head == 0 || len(data)-head < body {
			break
		}
		s.from += head + body
		s.refuseOne(data[head : head+body])
	}
	s.giveBack()
	return s.flushOut() && good
}

func (s *Session) refuseOne(payload []byte) {
	err := s.guarded(iproto.DecodeRequest, payload)
	switch sync, schema := s.req.Sync, s.schemaVersion(); {
	case err != nil:
		s.out.b = iproto.AppendError(s.out.b, sync, schema, errcode.Of(err))
	case s.req.Type == iproto.TypePing || s.req.Type == iproto.TypeNop:
		s.out.b = iproto.AppendOK(s.out.b, sync, schema, nil)
	case s.req.Type == iproto.TypeWatch || s.req.Type == iproto.TypeUnwatch: // they have no replies
	default:
		s.out.b = iproto.AppendError(s.out.b, sync, schema, errStopping())
	}
}
