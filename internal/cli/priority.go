package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// spaceReplicaset is _pico_replicaset, and fieldPriority its field leader_priority, counted from 0.
const (
	spaceReplicaset = 417
	fieldPriority   = 15
)

func (a *app) priorityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "priority REPLICASET NAME...",
		Short: "Say which replicas of a replicaset should rather lead it",
		Long: "Orders the replicas of a replicaset: when its leader fails or stops, the first of them that can takes over; who is not\n" +
			"named comes after all who are. The present leader stays (lycosa promote moves it). Without names, --clear forgets\n" +
			"the order. Ask as admin, over an admin.sock or with a password.",
		Example: "  lycosa priority default_1 default_1_2 default_1_3 --peer ./lycosa-data/admin.sock",
	}
	f := a.addClientFlags(cmd)
	clear := cmd.Flags().Bool("clear", false, "forget the order")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("priority: give a replicaset, as in lycosa %s", cmd.UseLine())
		case *clear != (len(args) == 1):
			return usagef("priority: give the names of its replicas in order, or --clear and none")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.setPriority(cmd.Context(), f, args[0], args[1:])
	}
	return cmd
}

// setPriority writes the order of a replicaset's replicas into the catalog, through any instance.
func (a *app) setPriority(ctx context.Context, f *clientFlags, replicaset string, names []string) error {
	c, err := a.dial(ctx, f)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	ops := msgpack.AppendArrayHeader(nil, 1)
	ops = msgpack.AppendArrayHeader(ops, 3)
	ops = msgpack.AppendStr(ops, "=")
	ops = msgpack.AppendUint(ops, fieldPriority)
	ops = msgpack.AppendArrayHeader(ops, len(names))
	for _, name := range names {
		ops = msgpack.AppendStr(ops, name)
	}
	rows, err := c.Update(ctx, iproto.ChangeArgs{Space: spaceReplicaset,
		Key: msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), replicaset), Ops: ops})
	if err != nil {
		return refusal(f.peer, err)
	}
	n, _, err := msgpack.ReadArrayLen(rows)
	if err != nil {
		return errors.New("the answer is no list of rows")
	}
	if n == 0 {
		return refusal(f.peer, errcode.New(errcode.NoSuchReplicaset, replicaset))
	}
	if f.json {
		row, err := firstValue(rows)
		if err != nil {
			return err
		}
		return a.printJSON(row)
	}
	text := "any replica of " + replicaset + " may lead it"
	if len(names) > 0 {
		text = "replicaset " + replicaset + " is rather led by " + strings.Join(names, ", then ")
	}
	fmt.Fprintln(a.Stdout, text)
	return nil
}
