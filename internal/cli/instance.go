package cli

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

// instanceCommand is the child process that run and demo start.
func (a *app) instanceCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "instance",
		Short:   "The instance itself; started by run",
		Example: "  lycosa run",
		Hidden:  true,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.instance() },
	}
}

func (a *app) instance() error {
	signal.Ignore(syscall.SIGPIPE)
	ch, err := child.Connect(a.fs)
	if err != nil {
		return usageError(err)
	}
	cfg, err := ch.Config()
	if err != nil {
		_ = ch.Fatal(ipc.ClassRefused, err.Error())
		return usageError(err)
	}
	logger, file, err := a.newLogger(cfg)
	if err != nil {
		_ = ch.Fatal(ipc.ClassRefused, err.Error())
		return usageError(err)
	}
	ch.OnHangup(func() { file.hangup(logger) })
	a.code = a.Instance(cfg, ch, logger)
	if class := ipc.Class(a.code); class != ipc.ClassStop {
		_ = ch.Fatal(class, "the instance ended with exit code class "+class.String())
	}
	return ch.Close()
}
