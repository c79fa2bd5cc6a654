package console

import (
	"errors"
	"io"

	"github.com/reeflective/readline"
	"github.com/reeflective/readline/inputrc"
)

// lineEditor reads commands with editing, history and completion. It reads and writes the process's own terminal.
type lineEditor struct {
	shell  *readline.Shell
	prompt string
	// known tells the names that complete, now are those for the command that is being written.
	known func() names
	now   names
}

// newLineEditor makes an editor. The names for completion are asked for before each command.
func newLineEditor(past *history, known func() names) editor {
	shell := readline.NewShell(inputrc.WithApp("lycosa"))
	e := &lineEditor{shell: shell, known: known}
	// Asking the terminal where its cursor is takes an answer that not all terminals give. All that is written here ends
	// with a line end, so that the prompt begins at the left edge.
	_ = shell.Config.Set("cursor-position-probe", false)
	_ = shell.Config.Set("history-size", 0) // the file has its own limit
	shell.Prompt.Primary(func() string { return e.prompt })
	shell.Prompt.Secondary(func() string { return continuation })
	shell.AcceptMultiline = func(line []rune) bool { return !incomplete(string(line)) }
	shell.Completer = e.complete
	shell.History.Delete()
	shell.History.Add("commands", past)
	return e
}

func (e *lineEditor) read(prompt string) (string, error) {
	e.prompt, e.now = prompt, e.known()
	line, err := e.shell.Readline()
	if errors.Is(err, readline.ErrInterrupt) {
		return "", errInterrupted
	}
	if errors.Is(err, io.EOF) {
		return "", io.EOF
	}
	return line, err
}

func (e *lineEditor) complete(line []rune, cursor int) readline.Completions {
	prefix, found := complete(string(line[:cursor]), e.now)
	values := make([]readline.Completion, 0, len(found))
	for _, c := range found {
		values = append(values, readline.Completion{Value: c.word + " ", Display: c.word, Description: c.about})
	}
	done := readline.CompleteRaw(values)
	done.PREFIX = prefix
	return done
}
