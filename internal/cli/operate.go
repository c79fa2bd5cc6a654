package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

func (a *app) expelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "expel NAME",
		Short: "Take an instance out of the cluster for good",
		Long: "Takes an instance out of its groups and out of the cluster. It hands over what it leads first, and an expelled instance\n" +
			"never comes back. Refused where the cluster would lose a majority or the last copy of rows: --force does it all the\n" +
			"same, after the name was typed once more. Ask as admin, over an admin.sock or with a password.",
		Example: "  lycosa expel i3 --peer ./lycosa-data/admin.sock",
		Args:    oneName,
	}
	f := a.addClientFlags(cmd)
	force := cmd.Flags().Bool("force", false, "also where a majority or the last copy of rows is lost; asks for the name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *force {
			if err := a.confirm("This may lose rows, or the majority that the cluster needs to go on.", args[0]); err != nil {
				return err
			}
		}
		message := wire.Expel{Name: args[0], Force: *force}.Append(nil)
		return a.operate(cmd.Context(), f, wire.ProcExpel, message, args[0]+" is being expelled; lycosa status shows how far it is")
	}
	return cmd
}

func (a *app) replaceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replace NAME",
		Short: "Let an instance that has lost its files come back empty",
		Long: "Gives an instance that has lost its disk a new place in its groups, under the same name and uuid; the other replicas\n" +
			"feed it anew. Start it with --instance-name NAME on an empty directory, before or after. Refused while the instance\n" +
			"is Online, and where no other voter has its rows: --force does it all the same, after the name was typed once more.\n" +
			"Ask as admin, over an admin.sock or with a password.",
		Example: "  lycosa replace i3 --peer ./lycosa-data/admin.sock",
		Args:    oneName,
	}
	f := a.addClientFlags(cmd)
	force := cmd.Flags().Bool("force", false, "also where nobody else has the rows; asks for the name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *force {
			if err := a.confirm("Rows that only this instance has are lost.", args[0]); err != nil {
				return err
			}
		}
		message := wire.Replace{Name: args[0], Force: *force}.Append(nil)
		return a.operate(cmd.Context(), f, wire.ProcReplace, message,
			args[0]+" may come back: start it on an empty directory with --instance-name "+args[0])
	}
	return cmd
}

func (a *app) promoteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "promote NAME",
		Short: "Make an instance the leader of its replicaset",
		Long: "Hands the leadership of a replicaset over to one of its replicas, without a failed write. Ask as admin, over an\n" +
			"admin.sock or with a password.",
		Example: "  lycosa promote i2 --peer ./lycosa-data/admin.sock",
		Args:    oneName,
	}
	f := a.addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		message := wire.Promote{Name: args[0]}.Append(nil)
		return a.operate(cmd.Context(), f, wire.ProcPromote, message, args[0]+" is the leader of its replicaset, or about to be; lycosa status shows it")
	}
	return cmd
}

func (a *app) abortDDLCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "abort-ddl VERSION",
		Short: "Take back a change of the schema that waits",
		Long: "Takes a change of the schema back that does not come to its end, because a replicaset has no leader or is still looking\n" +
			"at its rows: whoever asked for it is told so, and others can change the schema again. lycosa status shows the version\n" +
			"and what the change waits for. Refused when the change is committed. Ask as admin, over an admin.sock or with a\n" +
			"password.",
		Example: "  lycosa abort-ddl 7 --peer ./lycosa-data/admin.sock",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("abort-ddl: give the version of the change, which lycosa status shows")
			}
			return nil
		},
	}
	f := a.addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		version, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return usagef("abort-ddl: %q is not the version of a change, a number that lycosa status shows", args[0])
		}
		return a.operate(cmd.Context(), f, wire.ProcAbortDDL, wire.AbortDDL{Version: version}.Append(nil),
			fmt.Sprintf("change %d of the schema is taken back", version))
	}
	return cmd
}

func (a *app) bootstrapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bootstrap --without PEER",
		Short: "Let a cluster begin without a peer that never comes",
		Long: "Tells an instance that waits for its peers to make or find its cluster without one of them. Do this for each instance\n" +
			"that waits, and only where the peer will never come: if it has begun a cluster of its own with others, there would\n" +
			"be two. The address has to be typed once more. Ask over the admin.sock of the instance that waits.",
		Example: "  lycosa bootstrap --without 10.0.0.3:3301 --peer ./lycosa-data/admin.sock",
		Args:    noArgs,
	}
	f := a.addClientFlags(cmd)
	without := cmd.Flags().String("without", "", "address of the peer, as it was given to --peer of lycosa run")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *without == "" {
			return usagef("bootstrap: --without HOST:PORT names the peer that never comes")
		}
		if _, _, err := config.SplitAddress(*without); err != nil {
			return usagef("bootstrap: --without: %w", err)
		}
		if err := a.confirm("If "+*without+" has begun a cluster with others, there will be two.", *without); err != nil {
			return err
		}
		return a.operate(cmd.Context(), f, wire.ProcWithout, wire.BootstrapWithout{Peer: *without}.Append(nil),
			"it goes on without "+*without+"; lycosa status shows how far it is")
	}
	return cmd
}

// confirm wants a word to be typed before something that cannot be taken back. It reads standard input, a terminal or
// not.
func (a *app) confirm(warning, word string) error {
	const bytesMax = 1024
	fmt.Fprintf(a.Stderr, "%s\nType %s to go on: ", warning, word)
	line := ""
	if a.Stdin != nil {
		// What was read before the end counts: a last line need not end.
		line, _ = bufio.NewReader(io.LimitReader(a.Stdin, bytesMax)).ReadString('\n')
	}
	if strings.TrimSpace(line) != word {
		fmt.Fprintln(a.Stderr)
		return &codeError{exitFailed, fmt.Errorf("not confirmed: %s was not typed, nothing was done", word)}
	}
	return nil
}

// operate asks an instance for something that changes the cluster, and prints what it answers, or done if it only
// agrees.
func (a *app) operate(ctx context.Context, f *clientFlags, procedure string, message []byte, done string) error {
	c, err := a.dial(ctx, f)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	values, err := c.Call(ctx, procedure, wire.AppendArguments(nil, message))
	if err != nil {
		return refusal(f.peer, err)
	}
	answer, err := firstValue(values)
	if err != nil {
		answer = json.RawMessage("null") // it need not say more than yes
	}
	if f.json {
		return a.printJSON(answer)
	}
	var text string
	if json.Unmarshal(answer, &text) == nil && text != "" {
		done = text
	}
	fmt.Fprintln(a.Stdout, done)
	return nil
}

// refusal adds to an answer of the server what can be done about it.
func refusal(peer string, err error) error {
	var refused *errcode.Error
	if !errors.As(err, &refused) {
		return reachError(peer, err)
	}
	switch {
	case refused.Code == errcode.NoSuchProc:
		return &codeError{exitFailed, fmt.Errorf("the instance at %s cannot do this: %w", peer, err)}
	case refused.Code.Hint() == "":
		return &codeError{exitFailed, err}
	}
	return &codeError{exitFailed, fmt.Errorf("%w\n%s", err, refused.Code.Hint())}
}
