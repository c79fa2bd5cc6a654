package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
)

const benchLong = `Sends requests as fast as the server answers them, or at a fixed rate, and measures throughput and latency. It works
against any server of the binary protocol, Tarantool included.

Operations (--op):
  ping        nothing
  select      read one row by its key
  replace     write a whole row under a key that exists
  insert      write rows with new keys; they are deleted after the run
  update      add 1 to a field of a row
  upsert      the same with UPSERT
  delete      delete each row once; they are written back after the run
  range       read --range-rows rows from a key on
  secondary   read one row by an index that is not unique
  load        make the space anew and write all rows, keys ascending; ends with the last one

The rows are in a space of its own, bench_ID, which is made and filled if it is not there (who logs in must be allowed to)
and stays for the next run unless --drop is given. A space of another name is never touched. A row is [key, second, third,
payload] and has exactly --row-bytes bytes; with --indexes 2 and 3 its second and third field have indexes too.

Each connection keeps --depth requests in flight. Without --rate a request follows when one was answered (closed loop), and
its latency counts from when it was written. With --rate they are due at fixed times, and latency counts from these times:
what a slow server holds up is in the numbers.

--server-pid measures the CPU time of the server (the process and its descendants) for each request. On few processors the
generator takes some of what the server needs: compare only runs on the same machine, and see how busy it says it was.`

// benchFlags are the flags of bench beside those of all clients.
type benchFlags struct {
	op, keys string
	o        bench.Options
}

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a server answers",
		Long:  benchLong,
		Example: "  lycosa bench --op ping\n" +
			"  lycosa bench --user admin --password-file ./lycosa-demo/password --op select --connections 1 --depth 256\n" +
			"  lycosa bench --peer ./lycosa-data/admin.sock --op replace --connections 50 --depth 16 --duration 30s --keys zipf\n" +
			"  lycosa bench --peer ./lycosa-data/admin.sock --op update --rate 50000 --server-pid 4711 --json",
		Args: noArgs,
	}
	f := a.addClientFlags(cmd)
	b := &benchFlags{}
	flags := cmd.Flags()
	flags.StringVar(&b.op, "op", "select", "operation: "+bench.Operations())
	flags.StringVar(&b.keys, "keys", "uniform", "how keys are chosen: uniform, sequential, zipf")
	flags.IntVar(&b.o.Connections, "connections", 1, "number of connections")
	flags.IntVar(&b.o.Depth, "depth", 1, "requests in flight on each connection")
	flags.IntVar(&b.o.Threads, "threads", bench.DefaultThreads(), "threads of the generator")
	flags.DurationVar(&b.o.Duration, "duration", 10*time.Second, "time that is measured")
	flags.DurationVar(&b.o.Warmup, "warmup", 0, "time before it that does not count")
	flags.Uint64Var(&b.o.Requests, "requests", 0, "end after this many requests instead of a time")
	flags.Float64Var(&b.o.Rate, "rate", 0, "requests per second over all connections; 0 sends as fast as there are replies")
	flags.Uint32Var(&b.o.SpaceID, "space-id", bench.DefaultSpaceID, "id of the space")
	flags.Uint64Var(&b.o.Rows, "rows", 100_000, "rows in the space")
	flags.IntVar(&b.o.RowBytes, "row-bytes", 100, "size of a row")
	flags.IntVar(&b.o.Indexes, "indexes", 0, "indexes of the space, 1 to 3; 0 takes as many as the operation needs")
	flags.IntVar(&b.o.RangeRows, "range-rows", 100, "rows that range asks for")
	flags.Uint64Var(&b.o.Seed, "seed", 1, "start of the chance that picks keys")
	flags.IntVar(&b.o.ServerPID, "server-pid", 0, "process whose CPU time is measured, with its descendants")
	flags.BoolVar(&b.o.Fresh, "fresh", false, "drop the space first")
	flags.BoolVar(&b.o.Drop, "drop", false, "drop the space at the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.bench(cmd, f, b) }
	return cmd
}

func (a *app) bench(cmd *cobra.Command, f *clientFlags, b *benchFlags) error {
	o, err := a.benchOptions(f, b)
	if err != nil {
		return usagef("bench: %w", err)
	}
	live := a.isTerminal()
	o.Note = func(text string) { fmt.Fprintln(a.Stderr, text) }
	if live {
		o.Progress = func(p bench.Progress) {
			fmt.Fprintf(a.Stderr, "\r%6.1f s  %9.0f requests/s  %d requests  %d errors ", p.Elapsed.Seconds(), p.RequestsPerSecond, p.Requests, p.Errors)
		}
	}
	result, err := bench.Run(cmd.Context(), o)
	if live {
		fmt.Fprint(a.Stderr, "\r\033[K")
	}
	if err != nil {
		return reachError(f.peer, err)
	}
	if !f.json {
		return result.WriteText(a.Stdout)
	}
	doc, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return a.printJSON(doc)
}

// benchOptions reads the flags.
func (a *app) benchOptions(f *clientFlags, b *benchFlags) (o bench.Options, err error) {
	o = b.o
	if _, _, err := config.SplitAddress(f.peer); err != nil && !strings.Contains(f.peer, "/") {
		return o, fmt.Errorf("--peer: %w; the path of a socket contains a slash", err)
	}
	o.Address, o.Timeout, o.FS = f.peer, f.timeout, a.fs
	// On an admin.sock the user is admin already.
	if f.user != "guest" {
		o.User = f.user
	}
	if f.passwordFile != "" {
		secret, err := store.ReadPassword(a.fs, f.passwordFile)
		if err != nil {
			return o, err
		}
		o.Password = secret.Reveal()
	}
	if o.Operation, err = bench.ParseOperation(b.op); err != nil {
		return o, fmt.Errorf("--op: %w", err)
	}
	if o.Keys, err = bench.ParseKeys(b.keys); err != nil {
		return o, fmt.Errorf("--keys: %w", err)
	}
	if o.Indexes == 0 {
		o.Indexes = 1
		if o.Operation == bench.Secondary {
			o.Indexes = 2
		}
	}
	return o, o.Check()
}

// isTerminal reports whether standard error is one.
func (a *app) isTerminal() bool {
	file, ok := a.Stderr.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
