package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/supervisor"
)

func (a *app) recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover --from-survivor --data-dir DIR",
		Short: "Make a cluster anew that has lost its majority for good",
		Long: "Makes the instance of a data directory the whole cluster, with everything that the directory holds, after so many others were\n" +
			"lost for good that the rest can not go on. What only the lost ones had is lost; the text that is shown first says how\n" +
			"far this one had come. The epoch of the cluster is raised: the directories of all other instances are refused for\n" +
			"ever, and they come back empty, by lycosa replace NAME. The instance must not run; the name of the cluster has to be\n" +
			"typed. If several are left, choose the one with the highest entries and terms. Interrupted, it is run again.",
		Example: "  lycosa recover --from-survivor --data-dir ./lycosa-data",
		Args:    noArgs,
	}
	flags := cmd.Flags()
	survivor := flags.Bool("from-survivor", false, "required: the cluster becomes what this directory holds")
	given := map[string]*string{
		"data-dir": flags.String("data-dir", "", "directory of the survivor (default ./lycosa-data)"),
		"memory":   flags.String("memory", "", "memory for its rows, as lycosa run has it"),
		"audit":    flags.String("audit", "", "path of the audit log, as lycosa run has it"),
		"config":   flags.String("config", "", "YAML file of lycosa run"),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !*survivor {
			return usagef("recover: --from-survivor is required: it says that the cluster is to become what one directory holds")
		}
		args := []string{"--log-level", "warn"}
		for name, value := range given {
			if flags.Changed(name) {
				args = append(args, "--"+name, *value)
			}
		}
		cfg, _, _, err := a.loadConfig(args, a.Environ)
		if err != nil {
			return err
		}
		return a.recoverSurvivor(cfg)
	}
	return cmd
}

// recoverSurvivor locks the directory and has the cluster made anew.
func (a *app) recoverSurvivor(cfg *config.Config) error {
	if info, err := a.fs.Lstat(cfg.DataDir); err != nil {
		return usagef("recover: %w", err)
	} else if !info.IsDir() && info.Mode()&os.ModeSymlink == 0 {
		return usagef("recover: %s is not a directory", cfg.DataDir)
	}
	lock, err := supervisor.AcquireLock(a.fs, cfg.DataDir, supervisor.LockWait, func(text string) {
		fmt.Fprintln(a.Stderr, "lycosa:", text)
	})
	if err != nil {
		return &codeError{exitFailed, fmt.Errorf("recover: the survivor must not run: %w", err)}
	}
	defer lock.Release()
	logger, _, err := a.newLogger(cfg)
	if err != nil {
		return usageError(err)
	}
	told, err := a.Recover(cfg, logger, fmt.Sprintf("uid %d", os.Getuid()), func(clusterName, known string) error {
		fmt.Fprintln(a.Stdout, known)
		return a.confirm("What only other instances have is lost, and none of them comes back with its files.", clusterName)
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, told)
	return nil
}
