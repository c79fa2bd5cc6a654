package console

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// session is the connection, what is known of the server's schema, and how answers are shown.
type session struct {
	o Options
	p printer
	c *client.Client
	// known is the schema that names are looked up in, nil if it was not read yet; version is that of the last reply.
	known   *schema
	version uint64
	timing  bool
	// tx is the open transaction, nil if there is none; streams counts those that there were.
	tx      *transaction
	streams uint64
	// where is the place of the command in a script, as a prefix of what is told; empty in a terminal.
	where string
	// broken is set when there was a connection and it could not be made again.
	broken bool
}

func newSession(o Options) *session {
	return &session{o: o, p: printer{out: bufio.NewWriterSize(o.Stdout, 64<<10), format: o.Format}}
}

func (s *session) close() {
	if s.c != nil {
		s.c.Close()
	}
}

// notice tells something that is not an answer.
func (s *session) notice(format string, args ...any) {
	fmt.Fprintf(s.o.Stderr, "%s\n", appendPlain(nil, fmt.Appendf(nil, format, args...)))
}

// UnreachableError is a failure to connect, as opposed to what a server answered.
type UnreachableError struct{ Err error }

// Error tells what failed.
func (e *UnreachableError) Error() string { return "cannot connect: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// unansweredError is a request that was sent, or may have been, and has no answer.
type unansweredError struct {
	// change tells that the request changes something, or may: its outcome is unknown then.
	change bool
	// lost tells that the connection broke, as opposed to the user or the clock ending the wait.
	lost bool
	err  error
}

func (e *unansweredError) Error() string {
	switch {
	case errors.Is(e.err, context.Canceled):
		return "interrupted"
	case errors.Is(e.err, context.DeadlineExceeded):
		return "there was no answer in time"
	}
	return "the connection broke before the answer came: " + e.err.Error()
}

// connection returns the connection, which it makes if there is none or it is broken.
func (s *session) connection(ctx context.Context) (*client.Client, error) {
	again := s.broken
	if s.c != nil {
		err := s.c.Err()
		if err == nil {
			return s.c, nil
		}
		s.inTransaction() // it has failed with the connection
		s.notice("the connection to %s is lost: %v; connecting again", s.o.Address, err)
		s.c.Close()
		s.c, s.known, again = nil, nil, true
	}
	s.broken = again
	dialing, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	defer cancel()
	c, err := s.o.Connect(dialing)
	var failed *client.ConnError
	switch {
	case errors.As(err, &failed):
		return nil, &UnreachableError{fmt.Errorf("%s: %w", s.o.Address, failed.Err)}
	case err != nil:
		return nil, err
	}
	if s.c, s.broken = c, false; again {
		s.notice("connected to %s again", s.o.Address)
	}
	return c, nil
}

// changes tells whether a request of this type may change something.
func changes(op iproto.Type) bool {
	return op != iproto.TypeSelect && op != iproto.TypePing && op != iproto.TypeBegin
}

// send sends a request and waits for its answer. A request that certainly was not sent, since the connection was broken
// already, is sent over a new one; one that may have been sent never is sent again.
func (s *session) send(ctx context.Context, op iproto.Type, build client.Builder) (*iproto.Reply, error) {
	for again := false; ; again = true {
		c, err := s.connection(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := s.once(ctx, c, op, build)
		var failed *client.ConnError
		if !errors.As(err, &failed) {
			return reply, err
		}
		if failed.Sent || again || c.Err() == nil {
			lost := !errors.Is(failed.Err, context.Canceled) && !errors.Is(failed.Err, context.DeadlineExceeded)
			return nil, &unansweredError{change: failed.Sent && changes(op), lost: lost, err: failed.Err}
		}
	}
}

func (s *session) once(ctx context.Context, c *client.Client, op iproto.Type, build client.Builder) (*iproto.Reply, error) {
	if s.o.RequestTimeout > 0 {
		limited, cancel := context.WithTimeout(ctx, s.o.RequestTimeout)
		defer cancel()
		ctx = limited
	}
	f, err := c.Send(ctx, op, build)
	if err != nil {
		return nil, err
	}
	reply, err := f.Wait(ctx)
	if reply != nil && reply.SchemaVersion != 0 {
		s.version = reply.SchemaVersion
	}
	return reply, err
}

// forSchema makes the server refuse a request if its schema is not the one that the names were looked up in: a number
// may belong to another space by now. Version 0 asks for nothing.
func forSchema(version uint64, build client.Builder) client.Builder {
	if version == 0 {
		return build
	}
	return func(dst []byte, sync uint64) []byte {
		mark := len(dst)
		dst = build(dst, sync)
		// The request begins with its length in five bytes, then the header with two entries.
		const header = 5
		entry := binary.BigEndian.AppendUint32([]byte{byte(iproto.KeySchemaVersion), 0xce}, uint32(version))
		dst = slices.Insert(dst, mark+header+1, entry...)
		dst[mark+header]++
		return iproto.EndRequest(dst, mark)
	}
}

// schema returns what is known of the schema; it is read if it never was, if replies tell of another version, or if
// fresh is asked for.
func (s *session) schema(ctx context.Context, fresh bool) (*schema, error) {
	const triesMax = 10
	for try := 0; ; try++ {
		if s.known != nil && s.known.version == s.version && !fresh && s.c != nil && s.c.Err() == nil {
			return s.known, nil
		}
		spaces, err := s.all(ctx, vspaceID)
		if err != nil {
			return nil, err
		}
		indexes, err := s.all(ctx, vindexID)
		if err != nil {
			return nil, err
		}
		if spaces.SchemaVersion == indexes.SchemaVersion || try == triesMax {
			s.known = newSchema(spaces.SchemaVersion, spaces.Data, indexes.Data)
			return s.known, nil
		}
	}
}

// all reads a whole system space.
func (s *session) all(ctx context.Context, id uint32) (*iproto.Reply, error) {
	return s.find(ctx, id, 0, nil)
}

// find reads what has a key in an index of a system space, or all if the key is nil.
func (s *session) find(ctx context.Context, id, index uint32, key []byte) (*iproto.Reply, error) {
	a := iproto.SelectArgs{Space: id, Index: index, Iterator: iproto.IterEQ, Limit: 1<<32 - 1, Key: key}
	if key == nil {
		a.Iterator = iproto.IterALL
	}
	return s.send(ctx, iproto.TypeSelect, func(dst []byte, sync uint64) []byte { return iproto.AppendSelect(dst, sync, a) })
}

// target is a space and an index that a command names.
type target struct {
	space   *space
	index   uint32
	version uint64 // of the schema that was asked, 0 if numbers were given
}

// resolve looks names up; one that is not found is looked up again in a schema read anew.
func (s *session) resolve(ctx context.Context, c *command, fresh bool) (t target, err error) {
	before := s.known
	known, err := s.schema(ctx, fresh)
	numbers := c.space.byID && c.index.byID
	if err != nil {
		var refused *errcode.Error
		if numbers && errors.As(err, &refused) {
			known, err = &schema{}, nil // numbers work for users who may not read the schema
		} else {
			return t, err
		}
	}
	if t.space, err = known.space(c.space); err == nil {
		t.index, err = t.space.index(c.index)
	}
	if err != nil && known == before {
		return s.resolve(ctx, c, true)
	}
	if !numbers {
		t.version = known.version
	}
	return t, err
}

// onTarget sends a request to the space that a command names. If the schema has changed since the names were looked up,
// the server has refused the request, so that it is safe to look them up and to send it again.
func (s *session) onTarget(ctx context.Context, c *command, op iproto.Type, build func(t target) client.Builder) (*iproto.Reply, target, error) {
	const triesMax = 10
	for try := 0; ; try++ {
		if s.inTransaction() && s.tx.why != "" {
			return nil, target{}, &failedError{s.tx.why}
		}
		t, err := s.resolve(ctx, c, try > 0)
		if err != nil {
			return nil, t, err
		}
		reply, err := s.statement(ctx, op, t.version, build(t))
		if t.version == 0 || try == triesMax || !errcode.Is(err, errcode.WrongSchemaVersion) {
			return reply, t, err
		}
	}
}

// names serve completion. They are read if the schema has changed; nil if that fails.
func (s *session) names(ctx context.Context) names {
	if s.c == nil || s.c.Err() != nil {
		return names{}
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	known, err := s.schema(ctx, false)
	if err != nil {
		return names{}
	}
	return known.names()
}
