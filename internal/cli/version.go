package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// protocolVersion is the server version that the binary protocol's greeting names.
const protocolVersion = "2.11.0"

func (a *app) versionCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  lycosa version --json",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.printVersion(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func (a *app) printVersion(asJSON bool) error {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if asJSON {
		return json.NewEncoder(a.Stdout).Encode(map[string]string{
			"version": version, "commit": commit, "go": runtime.Version(), "protocol": protocolVersion,
			"platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(a.Stdout, "Lycosa %s (commit %s, %s, %s/%s), protocol of Tarantool %s\n", version, commit,
		runtime.Version(), runtime.GOOS, runtime.GOARCH, protocolVersion)
	return err
}

// Version is the program's version as the linker set it.
func Version() string { return version }
