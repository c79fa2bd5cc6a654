package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/cli/demo"
	"github.com/lycosadb/lycosa/internal/cli/screen"
)

// demoFlags are the flags of demo and its subcommands.
type demoFlags struct {
	demo.Options
	detach bool
}

func (a *app) demoCommand() *cobra.Command {
	f := &demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster on this machine",
		Long: "Runs a cluster on this machine, each instance with HTTP and a directory of its own, makes a password for admin,\n" +
			"prints one line to try with each client, and shows where the instances stand. Ctrl-C ends all, a second one kills;\n" +
			"the data stays in the directory, and the next demo goes on with it. Instance N has the port --base-port + N - 1.",
		Example: "  lycosa demo\n  lycosa demo --instances 5 --dir /tmp/demo --base-port 4301 --http-base-port 9081\n" +
			"  lycosa demo --detach && lycosa status && lycosa demo stop",
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.IntVar(&f.Instances, "instances", demoInstances, fmt.Sprintf("number of instances, 1 to %d", demo.InstancesMax))
	flags.IntVar(&f.ReplicationFactor, "replication-factor", demoInstances, "replicas of each replicaset; at most the number of instances")
	cmd.PersistentFlags().StringVar(&f.Dir, "dir", "./lycosa-demo", "directory of the demonstration")
	flags.IntVar(&f.BasePort, "base-port", 3301, "port of the binary protocol of the first instance")
	flags.IntVar(&f.HTTPBasePort, "http-base-port", 8081, "port of HTTP of the first instance")
	flags.BoolVar(&f.detach, "detach", false, "return when all instances are Online, and leave them running")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("replication-factor") {
			f.ReplicationFactor = min(f.ReplicationFactor, max(f.Instances, 1))
		}
		return a.demo(f)
	}
	cmd.AddCommand(a.demoStopCommand(f), a.demoKillCommand(f), a.demoStartCommand(f))
	return cmd
}

// demoInstances is the default of --instances and --replication-factor.
const demoInstances = 3

func (a *app) demoStopCommand(f *demoFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "stop",
		Short:   "Stop the instances of a demonstration",
		Long:    "Stops all instances of a demonstration cleanly, whether it runs in the foreground or was detached. The data stays.",
		Example: "  lycosa demo stop\n  lycosa demo stop --dir /tmp/demo",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			plan, err := demo.Load(a.fs, f.Dir)
			if err != nil {
				return usagef("demo: %w", err)
			}
			return a.launcher().Stop(plan, func(text string) { fmt.Fprintln(a.Stdout, text) })
		},
	}
}

func (a *app) demoKillCommand(f *demoFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "kill NAME",
		Short:   "Kill an instance of a demonstration",
		Long:    "Ends supervisor and child of one instance at once, without a goodbye, as the crash of a machine would.",
		Example: "  lycosa demo kill i2\n  lycosa demo kill i2 --dir /tmp/demo",
		Args:    oneName,
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := a.demoInstance(f, args[0])
			if err != nil {
				return err
			}
			return a.told(a.launcher().Kill(in))
		},
	}
}

func (a *app) demoStartCommand(f *demoFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "start NAME",
		Short:   "Start an instance of a demonstration again",
		Long:    "Starts an instance that was killed or has ended, in the background, and returns when it answers.",
		Example: "  lycosa demo start i2\n  lycosa demo start i2 --dir /tmp/demo",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.demoInstance(f, args[0])
			if err != nil {
				return err
			}
			const answerWait = 30 * time.Second
			ctx, cancel := context.WithTimeout(cmd.Context(), answerWait)
			defer cancel()
			return a.told(a.launcher().Start(ctx, in))
		},
	}
}

// oneName wants one positional argument.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("%s: give one name, as in lycosa %s", cmd.Name(), cmd.UseLine())
	}
	return nil
}

func (a *app) demoInstance(f *demoFlags, name string) (demo.Instance, error) {
	plan, err := demo.Load(a.fs, f.Dir)
	if err != nil {
		return demo.Instance{}, usagef("demo: %w", err)
	}
	in, err := plan.Find(name)
	if err != nil {
		return in, usagef("demo: %w", err)
	}
	return in, nil
}

// told prints what was done.
func (a *app) told(text string, err error) error {
	if err == nil {
		fmt.Fprintln(a.Stdout, text)
	}
	return err
}

func (a *app) launcher() demo.Launcher { return demo.Launcher{FS: a.fs, Environ: a.Environ} }

func (a *app) demo(f *demoFlags) error {
	unix.Umask(0o077)
	signal.Ignore(syscall.SIGPIPE)
	plan, err := demo.Prepare(a.fs, f.Options, rand.Reader)
	if err != nil {
		return usagef("demo: %w", err)
	}
	launcher := a.launcher()
	for _, in := range plan.Instances {
		if pid, running, _ := launcher.Running(in); running {
			return usagef("demo: %s of %s runs already (process %d); lycosa demo stop --dir %s ends it", in.Name, plan.Dir, pid, plan.Dir)
		}
	}
	launcher.Detached = f.detach
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	fmt.Fprint(a.Stdout, plan.Text(programName()))
	run := &demo.Run{Launcher: launcher, Plan: plan, Stdout: a.Stdout, Stderr: a.Stderr, Signals: signals}
	if isTerminal(a.Stdout) && a.env("TERM", "dumb") != "dumb" {
		run.Screen = screen.New(a.Stdout, func() (int, int) { return screen.Size(a.Stdout) })
	} else {
		fmt.Fprintln(a.Stdout)
	}
	a.code = run.Main()
	switch {
	case a.code != exitDone:
		fmt.Fprintf(a.Stderr, "lycosa: the demo ended with exit code %d\n", a.code)
	case f.detach:
		fmt.Fprintf(a.Stdout, "\nThe instances go on in the background; %s demo stop --dir %s ends them.\n", programName(), plan.Dir)
	}
	return nil
}

// programName is how this program was called, for lines to copy.
func programName() string {
	if len(os.Args) > 0 && os.Args[0] != "" {
		return os.Args[0]
	}
	return "lycosa"
}
