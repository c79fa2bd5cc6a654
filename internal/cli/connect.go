package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/cli/console"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

func (a *app) connectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Open a console, or run commands of a script",
		Long: "Sends commands to a running instance. In a terminal it is interactive, with history and completion; \\help lists\n" +
			"the commands. Otherwise it reads commands from standard input, without a prompt, and stops at the first that\n" +
			"fails with exit code 1. The longest wait holds for each request of a script; in a terminal Ctrl-C ends a wait.",
		Example: "  lycosa connect --peer ./lycosa-data/admin.sock\n" +
			"  echo 'select users limit 10' | lycosa connect --json\n" +
			"  lycosa connect --user admin --password-file ./password < commands.txt",
		Args: noArgs,
	}
	f := a.addClientFlags(cmd)
	format := cmd.Flags().String("format", "table", "how to show answers: table, json or yaml")
	keepGoing := cmd.Flags().Bool("keep-going", false, "go on after commands of a script that failed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.json {
			*format = string(console.FormatJSON)
		}
		o, err := a.consoleOptions(f, *format)
		if err != nil {
			return err
		}
		o.KeepGoing = *keepGoing
		if !isTerminal(a.Stdin) {
			return a.consoleError(f, console.Script(cmd.Context(), o))
		}
		if !cmd.Flags().Changed("timeout") {
			o.RequestTimeout = 0
		}
		return a.consoleError(f, a.interact(cmd.Context(), o))
	}
	return cmd
}

// consoleError gives what ended the console its exit code; commands that failed have told so themselves.
func (a *app) consoleError(f *clientFlags, err error) error {
	var unreachable *console.UnreachableError
	switch {
	case errors.Is(err, console.ErrFailed):
		a.code = exitFailed
		return nil
	case errors.As(err, &unreachable):
		return &codeError{exitUnreachable, err}
	case err != nil:
		return reachError(f.peer, err)
	}
	return nil
}

// consoleOptions checks the flags and makes the options of a session.
func (a *app) consoleOptions(f *clientFlags, format string) (console.Options, error) {
	if !slices.Contains([]console.Format{console.FormatTable, console.FormatJSON, console.FormatYAML}, console.Format(format)) {
		return console.Options{}, usagef("--format %s: table, json or yaml is wanted", format)
	}
	if f.timeout <= 0 {
		return console.Options{}, usagef("--timeout %s is not a time to wait", f.timeout)
	}
	isPath := strings.Contains(f.peer, "/")
	if _, _, err := config.SplitAddress(f.peer); err != nil && !isPath {
		return console.Options{}, usagef("--peer: %w; the path of a socket contains a slash", err)
	}
	login, user := client.Options{}, f.user
	if f.user != "guest" {
		login.User = f.user
	} else if isPath {
		user = "admin" // that is who comes in over an admin.sock
	}
	if f.passwordFile != "" {
		secret, err := store.ReadPassword(a.fs, f.passwordFile)
		if err != nil {
			return console.Options{}, usageError(err)
		}
		login.Password = secret.Reveal()
	}
	return console.Options{
		Connect: func(ctx context.Context) (*client.Client, error) { return client.Dial(ctx, f.peer, login) },
		Address: f.peer, User: user, ConnectTimeout: f.timeout, RequestTimeout: f.timeout, Format: console.Format(format),
		Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, FS: a.fs,
	}, nil
}

// interact runs the console in a terminal. Line editing takes the terminal of the process for input and output; if the
// output goes elsewhere, or the terminal is a dumb one, lines are read as they are.
func (a *app) interact(ctx context.Context, o console.Options) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT)
	defer signal.Stop(interrupts)
	o.Interrupts = interrupts
	term := a.env("TERM", "dumb")
	o.Dumb = term == "dumb" || !isTerminal(a.Stdout) || a.Stdin != os.Stdin || a.Stdout != os.Stdout
	if dir := a.env("XDG_CONFIG_HOME", a.homeConfig()); dir != "" {
		o.HistoryFile = filepath.Join(dir, "lycosa", "history")
	}
	return console.Interact(ctx, o)
}

// homeConfig is the user's config directory unless the environment names another; empty without a home.
func (a *app) homeConfig() string {
	if home := a.env("HOME", ""); home != "" {
		return filepath.Join(home, ".config")
	}
	return ""
}

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
