package console

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Options configure a session. All are required unless said otherwise.
type Options struct {
	// Connect makes a connection and logs in; it is called again when the connection is lost.
	Connect func(ctx context.Context) (*client.Client, error)
	// Address and User are shown, and the user owns the spaces that are made.
	Address, User string
	// ConnectTimeout bounds one attempt to connect; RequestTimeout one request, 0 for no bound.
	ConnectTimeout, RequestTimeout time.Duration
	Stdin                          io.Reader
	Stdout, Stderr                 io.Writer
	Format                         Format
	// KeepGoing lets a script go on after commands that failed.
	KeepGoing bool
	// Interrupts tells each Ctrl-C that is pressed while a command runs; only Interact needs it.
	Interrupts <-chan os.Signal
	// FS and HistoryFile are where Interact keeps its history; an empty name keeps none.
	FS          sys.FS
	HistoryFile string
	// Dumb tells Interact that the terminal cannot move its cursor, so that lines are read as they are.
	Dumb bool
}

// lineBytesMax bounds a line of a script; a command may have many.
const lineBytesMax = 64 << 20

// ErrFailed means that commands of a script failed. What failed was told when it happened.
var ErrFailed = errors.New("commands failed")

// Script reads commands from standard input, without a prompt, and stops at the first that fails unless KeepGoing is
// set. A transaction that the script leaves open is rolled back, which counts as a failure. Errors: *UnreachableError when
// there is no connection, ErrFailed, or that of standard input or output.
func Script(ctx context.Context, o Options) error {
	s := newSession(o)
	defer s.close()
	if _, err := s.connection(ctx); err != nil {
		return err
	}
	failed, err := s.script(ctx)
	if s.leave() || failed {
		err = cmp.Or(err, ErrFailed)
	}
	return err
}

// script runs the commands of standard input. It returns whether commands have failed, and what ended the script if
// that was something else.
func (s *session) script(ctx context.Context) (failed bool, err error) {
	lines := bufio.NewScanner(s.o.Stdin)
	lines.Buffer(make([]byte, 64<<10), lineBytesMax)
	var text collector
	for number, begin := 1, 1; ; number++ {
		more := lines.Scan()
		switch {
		case more && !text.add(lines.Text()):
			continue
		case !more && lines.Err() != nil:
			return failed, fmt.Errorf("line %d: %w", number, lines.Err())
		}
		s.where = fmt.Sprintf("line %d: ", begin)
		for _, command := range commands(text.text.String()) {
			err := s.run(ctx, command)
			switch {
			case errors.Is(err, errQuit):
				return failed, nil
			case errors.As(err, new(*UnreachableError)), isWriteError(err):
				return failed, err
			case err != nil:
				s.showError(err)
				if failed = true; !s.o.KeepGoing {
					return failed, nil
				}
			}
		}
		if text, begin = (collector{}), number+1; !more {
			return failed, nil
		}
	}
}

// isWriteError tells a failure of standard output, after which nothing makes sense.
func isWriteError(err error) bool {
	var path *os.PathError
	return errors.As(err, &path) && path.Op == "write"
}

// showError writes an error for people: what the server answered with its number, name and hint.
func (s *session) showError(err error) {
	where := s.where
	var answered *errcode.Error
	var unanswered *unansweredError
	var syntax *syntaxError
	switch {
	case errors.As(err, &answered):
	case errors.As(err, &unanswered) && unanswered.change:
		answered = errcode.New(errcode.UnknownOutcome, unanswered.Error())
	case errors.As(err, &syntax):
		s.notice("%serror: %v", where, syntax)
		return
	default:
		s.notice("%serror: %v", where, err)
		return
	}
	s.notice("%serror %d %s: %s", where, uint32(answered.Code), answered.Code.Name(), answered.Message)
	for cause := answered.Cause; cause != nil; cause = errors.Unwrap(cause) {
		s.notice("caused by: %v", cause)
	}
	if hint := answered.Code.Hint(); hint != "" {
		s.notice("hint: %s", hint)
	}
}

// errInterrupted means that Ctrl-C was pressed at the prompt.
var errInterrupted = errors.New("interrupted")

// editor reads commands from a person.
type editor interface {
	// read shows a prompt and returns a whole command, which may have several lines. Errors are errInterrupted, io.EOF at
	// the end, or a failure of the terminal.
	read(prompt string) (string, error)
}

// Interact reads commands from a terminal until its end or \quit. Errors: *UnreachableError or what a server answered if
// the first connection fails, or a failure of the terminal.
func Interact(ctx context.Context, o Options) error {
	s := newSession(o)
	defer s.close()
	c, err := s.connection(ctx)
	if err != nil {
		return err
	}
	s.notice("connected to %s as %s, protocol of Tarantool %s; \\help lists the commands, \\quit ends", o.Address, o.User, c.Greeting().Version)
	known := func() names { return s.names(ctx) }
	var ed editor
	if o.Dumb {
		ed = &plainEditor{in: bufio.NewReader(o.Stdin), out: o.Stdout}
	} else {
		ed = newLineEditor(openHistory(o.FS, o.HistoryFile, s.notice), known)
	}
	return s.interact(ctx, ed)
}

func (s *session) interact(ctx context.Context, ed editor) error {
	address := s.o.Address[strings.LastIndexByte(s.o.Address, '/')+1:]
	for {
		text, err := ed.read(s.prompt(address))
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, io.EOF):
			s.notice("")
			s.leave()
			return nil
		case err != nil:
			return fmt.Errorf("reading the terminal: %w", err)
		}
		for _, command := range commands(text) {
			err = s.interruptible(ctx, func(ctx context.Context) error { return s.run(ctx, command) })
			switch {
			case errors.Is(err, errQuit):
				s.leave()
				return nil
			case isWriteError(err):
				return err
			case errors.Is(err, context.Canceled) && !errors.As(err, new(*unansweredError)):
				s.notice("interrupted")
			case err != nil:
				s.showError(err)
			}
			if err != nil {
				break // what follows may have relied on it
			}
		}
	}
}

// interruptible runs a command, whose context ends when Ctrl-C is pressed.
func (s *session) interruptible(ctx context.Context, run func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-s.o.Interrupts: // pressed at the prompt
	default:
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.o.Interrupts:
			cancel()
		case <-done:
		}
	}()
	err := run(ctx)
	close(done)
	<-watched
	return err
}

// plainEditor reads lines from a terminal that cannot move its cursor.
type plainEditor struct {
	in  *bufio.Reader
	out io.Writer
}

func (e *plainEditor) read(prompt string) (string, error) {
	var text collector
	for {
		fmt.Fprint(e.out, prompt)
		line, err := e.in.ReadString('\n')
		if err != nil && line == "" {
			return "", err
		}
		if text.add(strings.TrimSuffix(line, "\n")) || err != nil {
			return text.text.String(), nil
		}
		prompt = continuation
	}
}

// continuation is the prompt of further lines of a command.
const continuation = "... "
