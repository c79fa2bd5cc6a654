package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) checkpointCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Write a snapshot and wait until it is durable",
		Long: "Writes a snapshot of the data and returns when it is durable under its name. If nothing has changed since the last\n" +
			"one, that one is named. Only users who may call box.snapshot can do this: over an admin.sock that is admin.",
		Example: "  lycosa checkpoint --peer ./lycosa-data/admin.sock",
		Args:    noArgs,
	}
	f := a.addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		doc, err := a.call(cmd.Context(), f, "box.snapshot")
		if err != nil {
			return err
		}
		return a.printCheckpoint(doc, f.json)
	}
	return cmd
}

func (a *app) printCheckpoint(doc json.RawMessage, asJSON bool) error {
	if asJSON {
		return a.printJSON(doc)
	}
	var made struct {
		Path    string  `json:"path"`
		Rows    uint64  `json:"rows"`
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(doc, &made); err != nil || made.Path == "" {
		return a.printJSON(doc)
	}
	_, err := fmt.Fprintf(a.Stdout, "%s: %d rows in %.3f seconds\n", made.Path, made.Rows, made.Seconds)
	return err
}
