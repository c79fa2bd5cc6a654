package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/cli/screen"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where an instance and its cluster stand",
		Long: "Asks a running instance for its stage, state and grade and what it is waiting for, and for what it knows of the\n" +
			"cluster: instances, replicasets, tiers, issues, and what the governor waits for. If another instance leads the\n" +
			"cluster, that one is asked too, because it knows more.",
		Example: "  lycosa status\n  lycosa status --watch\n  lycosa status --peer ./lycosa-data/admin.sock --json",
		Args:    noArgs,
	}
	f := a.addClientFlags(cmd)
	watch := cmd.Flags().Bool("watch", false, "go on showing it until Ctrl-C: in place on a terminal, elsewhere a line for each change")
	interval := cmd.Flags().Duration("interval", time.Second, "time between two looks of --watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *interval <= 0 {
			return usagef("--interval %s is not a time to wait", *interval)
		}
		if *watch {
			return a.watchStatus(cmd.Context(), f, *interval)
		}
		r, err := a.askStatus(cmd.Context(), f)
		if err != nil {
			return err
		}
		if f.json {
			return a.printJSON(r.json())
		}
		for _, line := range r.lines() {
			fmt.Fprintln(a.Stdout, line)
		}
		return nil
	}
	return cmd
}

// instanceStatus is what status shows of the document of /api/v1/instance.
type instanceStatus struct {
	Name         *string      `json:"name"`
	InstanceUUID *string      `json:"instance_uuid"`
	ClusterName  *string      `json:"cluster_name"`
	Stage        string       `json:"stage"`
	State        string       `json:"state"`
	StateSince   string       `json:"state_since"`
	Cause        *statusCause `json:"cause"`
	Grade        *struct {
		Current, Target *statusGrade
	} `json:"grade"`
	Replicaset *struct {
		Name *string `json:"name"`
	} `json:"replicaset"`
	Leader *struct {
		Name, Address *string
	} `json:"leader"`
	Groups []struct {
		Name               string
		Role               string
		Term               uint64
		Committed, Applied uint64
	} `json:"groups"`
	Memory *struct {
		QuotaBytes uint64 `json:"quota_bytes"`
		UsedBytes  uint64 `json:"used_bytes"`
	} `json:"memory"`
	Version    *string `json:"version"`
	WaitingFor *string `json:"waiting_for"`
	PID        int     `json:"pid"`

	SchemaChanges []schemaChange `json:"schema_changes"`
}

// schemaChange is an index that is being built, or a format that rows are checked against.
type schemaChange struct {
	Space     string  `json:"space"`
	Index     *string `json:"index"`
	RowsDone  uint64  `json:"rows_done"`
	RowsTotal uint64  `json:"rows_total"`
}

func (c schemaChange) String() string {
	what := "checking rows of space " + c.Space
	if c.Index != nil {
		what = "building index " + *c.Index + " of space " + c.Space
	}
	return fmt.Sprintf("%s: %d of %d rows", what, c.RowsDone, c.RowsTotal)
}

type statusCause struct {
	Code    uint32  `json:"code"`
	Message string  `json:"message"`
	Field   *string `json:"field"`
}

type statusGrade struct {
	Name        string `json:"name"`
	Incarnation uint64 `json:"incarnation"`
}

// lines is a table of two columns.
func (s instanceStatus) lines() []string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, screen.Printable(value))
		}
	}
	row("instance", joinNonEmpty(" ", deref(s.Name), paren(deref(s.InstanceUUID))))
	row("cluster", deref(s.ClusterName))
	if s.Replicaset != nil {
		row("replicaset", deref(s.Replicaset.Name))
	}
	row("stage", s.Stage)
	row("state", joinNonEmpty(" ", s.State, prefixed("since ", s.StateSince)))
	if s.Cause != nil {
		row("cause", s.Cause.Message)
	}
	row("waiting for", deref(s.WaitingFor))
	for _, c := range s.SchemaChanges {
		row("schema change", c.String())
	}
	if s.Grade != nil {
		row("grade", gradeText(s.Grade.Current, s.Grade.Target))
	}
	if s.Leader != nil {
		row("leader", joinNonEmpty(" ", deref(s.Leader.Name), paren(deref(s.Leader.Address))))
	}
	s.writeNumbers(w)
	row("version", deref(s.Version))
	// Writing into memory does not fail.
	_ = w.Flush()
	return strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
}

func (s instanceStatus) writeNumbers(w io.Writer) {
	for _, g := range s.Groups {
		fmt.Fprintf(w, "group %s\t%s, term %d, committed %d, applied %d\n", g.Name, g.Role, g.Term, g.Committed, g.Applied)
	}
	if m := s.Memory; m != nil && m.QuotaBytes > 0 {
		fmt.Fprintf(w, "memory\t%.1f of %.1f MiB\n", float64(m.UsedBytes)/(1<<20), float64(m.QuotaBytes)/(1<<20))
	}
	if s.PID != 0 {
		fmt.Fprintf(w, "pid\t%d\n", s.PID)
	}
}

func gradeText(current, target *statusGrade) string {
	text := ""
	if current != nil {
		text = current.Name
	}
	if target != nil && target.Name != "" && (current == nil || *target != *current) {
		text += " (target " + target.Name + ")"
	}
	return text
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func paren(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func joinNonEmpty(separator string, parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, separator)
}
