package console

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// transact runs commands as a script that goes on after errors, and returns what was shown and told, line by line.
func transact(t *testing.T, o Options, commands ...string) (told string, err error) {
	t.Helper()
	var errs strings.Builder
	o.Stdin, o.Stderr, o.KeepGoing = strings.NewReader(strings.Join(commands, "\n")), &errs, true
	err = Script(context.Background(), o)
	return errs.String(), err
}

func (f *fakeServer) took(t *testing.T, want ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.journal, want) {
		t.Errorf("the server got %q in streams, want %q", f.journal, want)
	}
	f.journal = nil
}

func tells(t *testing.T, told string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told:\n%s", want, told)
		}
	}
}

// TestTransaction: statements go into the stream, what asks about the schema and the instance does not; each transaction
// has a stream of its own.
func TestTransaction(t *testing.T) {
	f, o, out, _ := startFake(t)
	o.Format = FormatTable
	told, err := transact(t, o, "begin timeout 5 isolation best-effort", "insert users [1]", "select users", "call f", "spaces", "ping", "begin",
		"create space s", "truncate users", "commit", "commit", "rollback", "begin", "delete users 1", "rollback", "insert users [2]")
	if !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	f.took(t, "BEGIN@1", "INSERT@1", "SELECT@1", "CALL@1", "COMMIT@1", "BEGIN@2", "DELETE@2", "ROLLBACK@2")
	tells(t, told, "line 7: error: begin: a transaction is open already", "line 8: error: create space: a change of the schema can not be part",
		"line 9: error: truncate: ", "line 11: error: commit: no transaction is open; begin opens one", "line 12: error: rollback: no transaction")
	for _, want := range []string{"the transaction is open\n", "pong\n", "the transaction is committed\n", "the transaction is rolled back\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown: %s", want, out)
		}
	}
	if f.inserts != 2 {
		t.Errorf("%d inserts", f.inserts)
	}
}

// TestTransactionConflict: what the server answers to COMMIT is told with what to do, and the transaction is over.
func TestTransactionConflict(t *testing.T) {
	f, o, _, _ := startFake(t)
	f.refuse[iproto.TypeCommit] = errcode.New(errcode.TransactionConflict)
	told, _ := transact(t, o, "begin", "insert users [1]", "commit", "rollback")
	tells(t, told, "line 3: error 97 TRANSACTION_CONFLICT: Transaction has been aborted by conflict\nhint: ", "run it again",
		"line 4: error: rollback: no transaction is open")
}

// TestTransactionTimeout: after it nothing is sent until the transaction is ended, which the server learns.
func TestTransactionTimeout(t *testing.T) {
	f, o, _, _ := startFake(t)
	f.refuse[iproto.TypeInsert] = errcode.New(errcode.TransactionTimeout)
	told, _ := transact(t, o, "begin", "insert users [1]", "insert users [2]", "commit", "insert users [3]")
	tells(t, told, "line 2: error: the transaction has failed: its timeout is over. Nothing of it is written; rollback ends it",
		"line 3: error: the transaction has failed: its timeout is over", "line 4: error: commit: the transaction is rolled back: its timeout is over")
	f.took(t, "BEGIN@1", "INSERT@1", "ROLLBACK@1")
	if f.inserts != 2 {
		t.Errorf("%d inserts were sent, want the first and the last", f.inserts)
	}
}

// TestTransactionLost: what follows the loss of a connection is never carried out by itself.
func TestTransactionLost(t *testing.T) {
	for _, end := range []string{"commit", "rollback"} {
		f, o, _, _ := startFake(t)
		f.drop = iproto.TypeInsert
		told, err := transact(t, o, "begin", "insert users [1]", "insert users [2]", "spaces", "insert users [3]", end, "insert users [4]")
		if !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
		tells(t, told, "line 2: error: the transaction has failed: the connection was lost: ", "line 3: error: the transaction has failed",
			"connected to fake again", "line 5: error: the transaction has failed: the connection was lost")
		if strings.Contains(told, "12001") {
			t.Errorf("the outcome is known, but told is %s", told)
		}
		if end == "commit" {
			tells(t, told, "line 6: error: commit: the transaction is rolled back: the connection was lost")
		}
		if f.inserts != 2 {
			t.Errorf("%d inserts were sent, want the first and the last", f.inserts)
		}
	}
	// A commit without an answer may have happened.
	f, o, _, _ := startFake(t)
	f.drop = iproto.TypeCommit
	told, _ := transact(t, o, "begin", "insert users [1]", "commit", "rollback")
	tells(t, told, "line 3: error 12001 UNKNOWN_OUTCOME", "line 4: error: rollback: no transaction is open")
	// While nothing is asked for the connection may be lost as well.
	f, o, _, _ = startFake(t)
	f.drop, f.late = iproto.TypeInsert, true
	s := newSession(o)
	defer s.close()
	ctx := context.Background()
	if err := errors.Join(s.run(ctx, "begin"), s.run(ctx, "insert users [1]")); err != nil {
		t.Fatal(err)
	}
	for s.c.Err() == nil { // the reader learns of it
		_ = s.c.Ping(ctx)
	}
	if got := s.prompt("x"); got != "admin@x!> " {
		t.Errorf("prompt %q", got)
	}
	if err := s.run(ctx, "rollback"); err != nil || s.prompt("x") != "admin@x> " {
		t.Errorf("%v, prompt %q", err, s.prompt("x"))
	}
}

// TestTransactionUnanswered: a transaction of which a statement has no answer is never committed, since nobody knows what
// is in it; one that was asked to read goes on.
func TestTransactionUnanswered(t *testing.T) {
	f, o, _, _ := startFake(t)
	s := newSession(o)
	defer s.close()
	ctx := context.Background()
	waitFor := func(op iproto.Type, command string) error {
		f.set(func() { f.hold = op })
		defer f.set(func() { f.hold = 0 })
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			<-f.held
			cancel()
		}()
		return s.run(ctx, command)
	}
	if err := errors.Join(s.run(ctx, "begin"), s.run(ctx, "select users")); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(iproto.TypeSelect, "select users"); err == nil || s.prompt("x") != "admin@x*> " {
		t.Errorf("%v, prompt %q", err, s.prompt("x"))
	}
	if err := waitFor(iproto.TypeInsert, "insert users [1]"); err == nil || !strings.Contains(err.Error(), "INSERT was sent and its answer did not come: interrupted") {
		t.Error(err)
	}
	if got := s.prompt("x"); got != "admin@x!> " {
		t.Errorf("prompt %q", got)
	}
	if err := s.run(ctx, "commit"); err == nil || !strings.Contains(err.Error(), "the transaction is rolled back: INSERT was sent") {
		t.Error(err)
	}
	f.took(t, "BEGIN@1", "SELECT@1", "SELECT@1", "INSERT@1", "ROLLBACK@1")
	if err := waitFor(iproto.TypeBegin, "begin"); err == nil || s.tx == nil {
		t.Errorf("begin without an answer: %v", err)
	}
	if err := s.run(ctx, "rollback"); err != nil {
		t.Error(err)
	}
	f.took(t, "BEGIN@2", "ROLLBACK@2")
}

// TestTransactionLeftOpen: what a script or a user leaves open is told, and makes a script fail.
func TestTransactionLeftOpen(t *testing.T) {
	const told = "the transaction that begins here was not committed: it is rolled back"
	_, o, _, errs := startFake(t)
	for _, script := range []string{"ping\nbegin\ninsert users [1]", "ping\nbegin\n\\quit\nping", "ping\nbegin\ninsert nobody [1]\ncommit"} {
		errs.Reset()
		o.Stdin = strings.NewReader(script)
		if err := Script(context.Background(), o); !errors.Is(err, ErrFailed) || !strings.Contains(errs.String(), "line 2: "+told) {
			t.Errorf("%q: %v, %s", script, err, errs)
		}
	}
	errs.Reset()
	interrupts := make(chan os.Signal, 1)
	o.Interrupts = interrupts
	s := newSession(o)
	defer s.close()
	if err := s.interact(context.Background(), &typed{lines: []string{"begin"}, then: func(string) {}}); err != nil || !strings.Contains(errs.String(), told) {
		t.Errorf("%v, %s", err, errs)
	}
}

// TestWatchEnds: a watch ends when its connection does, and says what comes next.
func TestWatchEnds(t *testing.T) {
	_, o, _, _ := startFake(t)
	s := newSession(o)
	defer s.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := s.connection(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	c := s.c
	go func() { done <- s.run(ctx, "watch box.status") }()
	c.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the next command connects again") && !strings.Contains(err.Error(), "connection is closed") {
		t.Error(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.run(canceled, "ping"); err == nil {
		t.Error("a canceled ping has no error")
	}
}
