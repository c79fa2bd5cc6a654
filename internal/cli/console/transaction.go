package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// transaction is one over several requests. The server keeps it in a stream of the connection.
type transaction struct {
	stream uint64
	// where is the place of its begin in a script, as a prefix of what is told.
	where string
	// why tells why nothing of the transaction can be written any more, empty while it can. It stays until the user ends
	// it: what he gives after a loss must not be carried out by itself.
	why string
}

// fail makes sure that the transaction is never committed. The first reason stays.
func (t *transaction) fail(why string) {
	if t.why == "" {
		t.why = why
	}
}

// failedError refuses a command because the transaction that it belongs to can not be committed.
type failedError struct{ why string }

// Error tells why, and what to do.
func (e *failedError) Error() string {
	return "the transaction has failed: " + e.why + ". Nothing of it is written; rollback ends it, then it can be done again from begin on"
}

// isolations are the levels that begin takes, in the order of their numbers.
var isolations = []string{"default", "read-committed", "read-confirmed", "best-effort", "linearizable"}

// inTransaction tells whether one was begun and not ended yet, be it lost meanwhile.
func (s *session) inTransaction() bool {
	if s.tx != nil && s.c != nil {
		if err := s.c.Err(); err != nil {
			s.tx.fail("the connection was lost: " + err.Error())
		}
	}
	return s.tx != nil
}

// begin opens a transaction on the server.
func (s *session) begin(ctx context.Context, c *command) error {
	switch {
	case s.inTransaction() && s.tx.why != "":
		return &failedError{s.tx.why}
	case s.tx != nil:
		return errors.New("begin: a transaction is open already; commit or rollback ends it")
	}
	if _, err := s.connection(ctx); err != nil {
		return err
	}
	s.streams++
	s.tx = &transaction{stream: s.streams, where: s.where}
	_, err := s.statement(ctx, iproto.TypeBegin, 0, func(dst []byte, sync uint64) []byte {
		return iproto.AppendBeginAt(dst, sync, c.timeout, c.isolation)
	})
	var failed *failedError
	if err != nil && !errors.As(err, &failed) {
		s.tx = nil
	}
	if err != nil {
		return err
	}
	return s.p.text("the transaction is open")
}

// statement sends a request, inside the transaction if there is one. It is never sent outside of one that was lost. A
// version other than 0 is that of the schema that the request relies on.
func (s *session) statement(ctx context.Context, op iproto.Type, version uint64, build client.Builder) (*iproto.Reply, error) {
	if !s.inTransaction() {
		return s.send(ctx, op, forSchema(version, build))
	}
	if s.tx.why != "" {
		return nil, &failedError{s.tx.why}
	}
	reply, err := s.once(ctx, s.c, op, forSchema(version, iproto.WithStream(s.tx.stream, build)))
	var failed *client.ConnError
	switch {
	case errcode.Is(err, errcode.TransactionTimeout):
		s.tx.fail("its timeout is over")
	case !errors.As(err, &failed):
		return reply, err
	case s.c.Err() != nil:
		s.tx.fail("the connection was lost: " + failed.Err.Error())
	case op == iproto.TypeSelect:
		return nil, &unansweredError{err: failed.Err} // nobody waits for it, and it changes nothing
	default:
		// Whether the statement is a part of the transaction is not known.
		unanswered := &unansweredError{err: failed.Err}
		s.tx.fail(iproto.TypeName(op) + " was sent and its answer did not come: " + unanswered.Error())
	}
	return nil, &failedError{s.tx.why}
}

// commit ends the transaction. One that has failed is rolled back, which is an error of the command.
func (s *session) commit(ctx context.Context) error {
	if !s.inTransaction() {
		return errors.New("commit: no transaction is open; begin opens one")
	}
	if why := s.tx.why; why != "" {
		_ = s.abandon(ctx) // it has failed already
		return fmt.Errorf("commit: the transaction is rolled back: %s. Nothing of it is written; it can be done again from begin on", why)
	}
	build := iproto.WithStream(s.tx.stream, iproto.AppendCommit)
	s.tx = nil
	_, err := s.once(ctx, s.c, iproto.TypeCommit, build)
	var failed *client.ConnError
	switch {
	case errors.As(err, &failed) && failed.Sent:
		return &unansweredError{change: true, lost: s.c.Err() != nil, err: failed.Err}
	case errors.As(err, &failed):
		return fmt.Errorf("commit: the transaction is rolled back: %w. Nothing of it is written; it can be done again from begin on", failed.Err)
	case err != nil:
		return err
	}
	return s.p.text("the transaction is committed")
}

// rollback ends the transaction and tells so, whatever became of the connection: without it there is none on the server.
func (s *session) rollback(ctx context.Context) error {
	if !s.inTransaction() {
		return errors.New("rollback: no transaction is open; begin opens one")
	}
	if err := s.abandon(ctx); err != nil {
		return err
	}
	return s.p.text("the transaction is rolled back")
}

// abandon rolls the transaction back. Errors are those that the server answers: what is left without an answer is done
// by the server all the same, in its turn or when it sees the end of the connection.
func (s *session) abandon(ctx context.Context) error {
	build := iproto.WithStream(s.tx.stream, iproto.AppendRollback)
	s.tx = nil
	if s.c == nil {
		return nil
	}
	_, err := s.once(ctx, s.c, iproto.TypeRollback, build)
	if errors.As(err, new(*client.ConnError)) {
		return nil
	}
	return err
}

// leave tells of a transaction that the end of the session rolls back, and whether there was one.
func (s *session) leave() (open bool) {
	if open = s.inTransaction(); open {
		s.notice("%sthe transaction that begins here was not committed: it is rolled back, nothing of it is written", s.tx.where)
	}
	s.tx = nil
	return open
}

// prompt shows who is where, a star while a transaction is open, and an exclamation mark when it has failed.
func (s *session) prompt(address string) string {
	mark := ""
	switch {
	case s.inTransaction() && s.tx.why != "":
		mark = "!"
	case s.tx != nil:
		mark = "*"
	}
	return s.o.User + "@" + address + mark + "> "
}
