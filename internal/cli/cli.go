// Package cli is the command line: one file for each command. Effects: processes, files, network, standard streams. What
// an instance does is decided by the function in Options; this package starts it and asks it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// version is set by the linker.
var version = "unknown"

// Exit codes of commands.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 4
)

// Options are what the program gives to its command line. Instance, Recover, Args, Stdout and Stderr are required.
type Options struct {
	// Args are the arguments without the program's name, Environ the environment as os.Environ gives it.
	Args, Environ  []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Instance runs the instance in the child process and returns its exit code. It calls ch.KeepAlive, tells each change
	// of state, and ends when ch.Stop is closed.
	Instance func(cfg *config.Config, ch *child.Child, logger *slog.Logger) int
	// Recover makes a cluster anew of the data directory of a survivor, which this package has locked, and returns what the
	// operator is told then. who is put on record. It calls confirm before it changes anything.
	Recover func(cfg *config.Config, logger *slog.Logger, who string, confirm func(clusterName, known string) error) (string, error)
}

// app is one run of the command line.
type app struct {
	Options
	fs sys.FS
	// code is the exit code of a command that ends without an error.
	code int
}

// codeError is an error with the exit code it leads to.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

func usageError(err error) error { return &codeError{exitUsage, err} }

func usagef(format string, args ...any) error { return usageError(fmt.Errorf(format, args...)) }

// Main runs one command and returns the exit code of the process.
func Main(o Options) int {
	a := &app{Options: o, fs: real.FS{}}
	root := a.root()
	root.SetArgs(append([]string{}, o.Args...)) // nil would mean those of the process
	root.SetIn(o.Stdin)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return a.code
	}
	fmt.Fprintln(o.Stderr, "lycosa:", err)
	var withCode *codeError
	if errors.As(err, &withCode) {
		return withCode.code
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lycosa",
		Short: "Lycosa, a clustered in-memory database and application server",
		Long: "Lycosa is a clustered in-memory database and application server. It speaks the binary protocol of Tarantool.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong use, 4 the cluster could not be reached in time.",
		Example:       "  lycosa demo\n  lycosa run --data-dir ./lycosa-data --http-listen 127.0.0.1:8081\n  lycosa status",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(a.runCommand(), a.demoCommand(), a.statusCommand(), a.checkpointCommand(), a.inspectCommand(), a.benchCommand(), a.importCommand(),
		a.expelCommand(), a.replaceCommand(), a.promoteCommand(), a.priorityCommand(), a.abortDDLCommand(), a.bootstrapCommand(), a.recoverCommand(),
		a.versionCommand(), a.connectCommand(), a.instanceCommand())
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(cmd, args[0])
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetFlagErrorFunc(flagError)
	return root
}

func unknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	if n, ok := config.Nearest(name, names); ok {
		return usagef("unknown command %q; did you mean %s?", name, n)
	}
	return usagef("unknown command %q; lycosa --help lists the commands", name)
}

// flagError turns an error of the flag library into one of use, with the nearest flag if the flag is unknown.
func flagError(cmd *cobra.Command, err error) error {
	const unknown = "unknown flag: --"
	name, found := strings.CutPrefix(err.Error(), unknown)
	if !found {
		return usagef("%s: %w", cmd.Name(), err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if n, ok := config.Nearest(name, names); ok {
		return usagef("%s: unknown flag --%s; did you mean --%s?", cmd.Name(), name, n)
	}
	return usagef("%s: unknown flag --%s; lycosa %s --help lists the flags", cmd.Name(), name, cmd.Name())
}

// noArgs refuses positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s: unexpected argument %q", cmd.Name(), args[0])
	}
	return nil
}
