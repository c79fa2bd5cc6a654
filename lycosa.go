// Package lycosa is the public entry of the program: the command line with the instance wired into it. Effects: whatever
// the command does. Everything else is in the packages below.
package lycosa

import (
	"log/slog"
	"os"

	"github.com/lycosadb/lycosa/internal/cli"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/instance"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
)

// Main runs the command line of this process and exits with its code.
func Main() {
	os.Exit(cli.Main(cli.Options{
		Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Instance: instanceMain, Recover: recoverSurvivor,
	}))
}

// instanceMain is the child process.
func instanceMain(cfg *config.Config, ch *child.Child, logger *slog.Logger) int {
	return instance.Main(cfg, ch, logger, cli.Version())
}

// recoverSurvivor makes a cluster anew, offline.
func recoverSurvivor(cfg *config.Config, logger *slog.Logger, who string, confirm func(clusterName, known string) error) (string, error) {
	return instance.Recover(instance.RecoverOptions{Config: cfg, Logger: logger, Who: who, Confirm: confirm})
}
