package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [flags]",
		Short: "Run one instance",
		Long: "Runs one instance and restarts it when it fails. Without flags, on an empty directory, this makes a cluster of one\n" +
			"instance in ./lycosa-data; on a used directory the instance goes on from disk.\n\n" +
			"Every flag can be given by environment (LYCOSA_ and the name in upper case, '-' as '_') and in the YAML file of\n" +
			"--config.\n" + config.Help(),
		Example: "  lycosa run\n" +
			"  lycosa run --data-dir /var/lib/lycosa --listen 10.0.0.1:3301 --peer 10.0.0.2:3301 --cookie-file /etc/lycosa/cookie",
		// The flags come from the table of package config, which also knows their other sources.
		DisableFlagParsing: true,
		RunE:               a.run,
	}
}

func (a *app) run(cmd *cobra.Command, args []string) error {
	cfg, warnings, help, err := a.loadConfig(args, a.Environ)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if help {
		return cmd.Help()
	}
	l := &launch{app: a, cfg: cfg, warnings: warnings}
	l.announce = func(v datadir.Verdict) { fmt.Fprintln(a.Stdout, announcement(cfg, v)) }
	a.code, err = l.supervise()
	return err
}

// announcement is the one sentence that run prints at its start.
func announcement(cfg *config.Config, v datadir.Verdict) string {
	http, join := "no HTTP", fmt.Sprintf(joining, cfg.Advertise)
	if cfg.HTTPListen != "" {
		http = "HTTP on " + cfg.HTTPListen
	}
	if v.Identity != nil {
		return fmt.Sprintf("Lycosa %s goes on as instance %s of cluster %s from %s, iproto on %s, %s; %s",
			version, v.Identity.InstanceName, v.Identity.ClusterName, cfg.DataDir, cfg.Listen, http, join)
	}
	return fmt.Sprintf("Lycosa %s starts an instance of cluster %s in %s, iproto on %s, %s; %s", version,
		cfg.ClusterName, cfg.DataDir, cfg.Listen, http, join)
}

// joining says how another instance joins.
const joining = "another instance joins with --peer %s and the same --cookie-file"
