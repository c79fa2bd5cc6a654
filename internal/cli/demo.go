package cli

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/cli/demo"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

func (a *app) demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a demonstration on this machine",
		Long: "Runs one instance in the foreground with HTTP and a generated admin password, and prints one line to try with each\n" +
			"client. Ctrl-C ends it; the data stays in the directory. Clusters come with a later version.",
		Example: "  lycosa demo\n  lycosa demo --dir /tmp/demo --base-port 4301 --http-base-port 9081",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.demo(o) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Instances, "instances", 1, "number of instances; this version runs one")
	flags.IntVar(&o.ReplicationFactor, "replication-factor", 1, "replicas of each replicaset; this version runs one")
	flags.StringVar(&o.Dir, "dir", "./lycosa-demo", "directory of the demonstration")
	flags.IntVar(&o.BasePort, "base-port", 3301, "port of the binary protocol")
	flags.IntVar(&o.HTTPBasePort, "http-base-port", 8081, "port of HTTP")
	return cmd
}

func (a *app) demo(o demo.Options) error {
	plan, err := demo.Prepare(a.fs, o, rand.Reader)
	if err != nil {
		return usagef("demo: %w", err)
	}
	// The demonstration is the same whatever the environment is set up for.
	cfg, warnings, _, err := a.loadConfig(plan.Args, nil)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	l := &launch{app: a, cfg: cfg, warnings: warnings}
	l.announce = func(datadir.Verdict) { fmt.Fprint(a.Stdout, plan.Text(programName())) }
	l.onReady = func() { fmt.Fprintln(a.Stdout, "\nready: the instance serves clients") }
	l.onStatus = func(state lifecycle.State, text string) {
		if state == lifecycle.InitError || state == lifecycle.BootError {
			fmt.Fprintf(a.Stderr, "lycosa: the instance cannot serve (%s): %s\n", state, text)
		}
	}
	if a.code, err = l.supervise(); a.code != exitDone {
		fmt.Fprintf(a.Stderr, "lycosa: the demo ended with exit code %d; the reason is in %s\n", a.code, cfg.LogFile)
	}
	return err
}

// programName is how this program was called, for lines to copy.
func programName() string {
	if len(os.Args) > 0 && os.Args[0] != "" {
		return os.Args[0]
	}
	return "lycosa"
}
