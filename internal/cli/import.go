package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/cli/importer"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// importFlags are those of import besides the flags of every client.
type importFlags struct {
	*clientFlags
	from, snapDir, walDir         string
	dryRun, replace, skipExisting bool
	spaces                        []string
	answer                        time.Duration
}

// importAnswer is the longest wait for an answer: an index on rows that are there already takes its time.
const importAnswer = time.Minute

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import --from DIR",
		Short: "Bring the data of a stopped Tarantool into the cluster",
		Long: "Reads the newest snapshot and the logs after it in the directory of a stopped Tarantool 2.x (3.x as far as it is like\n" +
			"2.x), and makes spaces, indexes, rows, sequences, users with their passwords, and grants in the cluster. All files are\n" +
			"read and verified before anything is written. What is left out, changed or renumbered is listed.\n\n" +
			"A space has a name that says so while it is unfinished, and gets its own when it is whole; what an interrupted import\n" +
			"has left is removed by the next one, which begins anew. Spaces that exist are never touched unless --replace says so.\n" +
			"This needs the rights of admin. Exit code 1 also if the cluster refused rows: the list says which. An answer is\n" +
			"waited for up to a minute unless --timeout says otherwise.",
		Example: "  lycosa import --from /var/lib/tarantool/app --peer ./lycosa-data/admin.sock --dry-run\n" +
			"  lycosa import --from /var/lib/tarantool/app --user admin --password-file ./password",
		Args: noArgs,
	}
	f := &importFlags{clientFlags: a.addClientFlags(cmd)}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "directory with the *.snap and *.xlog files")
	flags.StringVar(&f.snapDir, "snap-dir", "", "directory of the *.snap files, if it is another (memtx_dir)")
	flags.StringVar(&f.walDir, "wal-dir", "", "directory of the *.xlog files, if it is another (wal_dir)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "write nothing: verify the files and list what would be done")
	flags.BoolVar(&f.replace, "replace", false, "put spaces in the place of those with the same names")
	flags.BoolVar(&f.skipExisting, "skip-existing", false, "leave spaces as they are whose names exist")
	flags.StringArrayVar(&f.spaces, "space", nil, "bring over this space only (repeatable)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f.answer = f.timeout
		if !cmd.Flags().Changed("timeout") {
			f.answer = importAnswer
		}
		return a.runImport(cmd.Context(), f)
	}
	return cmd
}

func (f *importFlags) check() error {
	if f.snapDir == "" {
		f.snapDir = f.from
	}
	if f.walDir == "" {
		f.walDir = f.from
	}
	switch {
	case f.snapDir == "" || f.walDir == "":
		return usagef("import: --from DIR names the directory of the stopped Tarantool")
	case f.replace && f.skipExisting:
		return usagef("import: --replace and --skip-existing exclude each other")
	}
	return nil
}

func (a *app) runImport(ctx context.Context, f *importFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	source, err := importer.Open(a.fs, f.snapDir, f.walDir)
	if err != nil {
		return a.importError(f, err)
	}
	defer source.Close()
	c, err := a.dial(ctx, f.clientFlags)
	if err != nil {
		return err
	}
	defer c.Close()
	show := &progressLine{a: a, terminal: isTerminal(a.Stderr), shown: time.Now()}
	report, err := importer.Run(ctx, importer.Options{Source: source, Client: c, Timeout: f.answer, DryRun: f.dryRun,
		Replace: f.replace, SkipExisting: f.skipExisting, Spaces: f.spaces, Progress: show.update, Clock: real.Clock{}})
	show.clear()
	if perr := a.printReport(report, f.json); perr != nil {
		err = errors.Join(err, perr)
	}
	return a.importError(f, err)
}

func (a *app) printReport(r *importer.Report, asJSON bool) error {
	if asJSON {
		doc, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return a.printJSON(doc)
	}
	if !r.Begun {
		return nil
	}
	if err := r.Print(a.Stdout); err != nil || !r.Whole {
		return err
	}
	_, err := fmt.Fprintf(a.Stdout, "\ndone in %.1f seconds\n", r.Seconds)
	return err
}

// importError gives an error its number, its hint, and its exit code.
func (a *app) importError(f *importFlags, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return &codeError{exitFailed, errors.New("import: interrupted; run it again: what is unfinished is removed and begun anew")}
	}
	var numbered *errcode.Error
	if errors.As(err, &numbered) {
		err = fmt.Errorf("import: %w (error %d)\n%s", err, numbered.Code, numbered.Code.Hint())
	} else {
		err = fmt.Errorf("import: %w", err)
	}
	return reachError(f.peer, err)
}

// progressLine shows how far an import is: in a terminal in one line that changes, elsewhere by a line now and then.
type progressLine struct {
	a        *app
	terminal bool
	shown    time.Time
	written  bool
}

const (
	progressTerminal = 200 * time.Millisecond
	progressLog      = 5 * time.Second
)

func (p *progressLine) update(now importer.Progress) {
	every := progressLog
	if p.terminal {
		every = progressTerminal
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	text := fmt.Sprintf("%s: %d rows", now.Stage, now.Rows)
	if now.Done > 0 {
		text += fmt.Sprintf(", %.0f%%", now.Done*100)
	}
	if p.terminal {
		p.written = true
		fmt.Fprintf(p.a.Stderr, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(p.a.Stderr, text)
}

func (p *progressLine) clear() {
	if p.written {
		fmt.Fprint(p.a.Stderr, "\r\x1b[K")
	}
}
