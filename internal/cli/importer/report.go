package importer

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Note is something that is not brought over as it was.
type Note struct {
	// Kind is what it is about: file, space, index, user, grant, sequence, function, trigger, collation, constraint, replica,
	// rows, setting.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// What was done: left out, changed, renumbered, exists, refused, cut off, passed over, removed.
	What   string `json:"what"`
	Reason string `json:"reason"`
	// Rows is how many rows it is about, nil if that is not known or means nothing.
	Rows *uint64 `json:"rows,omitempty"`
}

// SpaceReport is what became of a space.
type SpaceReport struct {
	Name     string `json:"name"`
	SourceID uint32 `json:"source_id"`
	ID       uint32 `json:"id"`
	// State is planned (in a dry run), whole, unfinished, or left out.
	State string `json:"state"`
	count
	// Rows is how many rows the space has in the cluster, once it is whole.
	Rows uint64 `json:"rows"`
	// Refused is how many statements the cluster refused.
	Refused uint64 `json:"refused"`
	Indexes int    `json:"indexes"`
}

// Report is the outcome of an import, or what it would be.
type Report struct {
	DryRun   bool   `json:"dry_run"`
	Snapshot string `json:"snapshot"`
	// Version is the version of the program that wrote the snapshot.
	Version string        `json:"version"`
	Logs    []string      `json:"logs"`
	Spaces  []SpaceReport `json:"spaces"`
	Users   []string      `json:"users"`
	Grants  int           `json:"grants"`
	// Constraints is how many checks and foreign keys were brought over.
	Constraints int `json:"constraints"`
	// Sequences are the names of those brought over.
	Sequences []string `json:"sequences"`
	Notes     []Note   `json:"notes"`
	// Begun is true if it got as far as to write, or in a dry run to see what it would write.
	Begun bool `json:"begun"`
	// Whole is true if everything was done that could be, rows included.
	Whole   bool    `json:"whole"`
	Seconds float64 `json:"seconds"`
}

// Refused is how many statements the cluster refused.
func (r *Report) Refused() (n uint64) {
	for _, s := range r.Spaces {
		n += s.Refused
	}
	return n
}

// Print shows the report as tables for people.
func (r *Report) Print(out io.Writer) error {
	if r.Snapshot != "" {
		plural := "s"
		if len(r.Logs) == 1 {
			plural = ""
		}
		fmt.Fprintf(out, "from %s and %d log%s, written by Tarantool %s\n", r.Snapshot, len(r.Logs), plural, orWord(r.Version, "of an unknown version"))
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(r.Spaces) > 0 {
		fmt.Fprintln(w, "\nspace\tid\tstate\tin snapshot\tchanges in logs\trows\tindexes")
	}
	for _, s := range r.Spaces {
		rows := "-"
		if s.State == stateWhole {
			rows = fmt.Sprint(s.Rows)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\t%d\n", s.Name, s.ID, s.State, s.Snapshot, s.Logs, rows, s.Indexes)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nusers and roles: %d, sequences: %d, grants: %d, constraints: %d\n", len(r.Users), len(r.Sequences), r.Grants, r.Constraints)
	if len(r.Notes) > 0 {
		fmt.Fprintln(w, "\nkind\tname\twhat\twhy\trows")
	}
	for _, n := range r.Notes {
		rows := ""
		if n.Rows != nil {
			rows = fmt.Sprint(*n.Rows)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Kind, n.Name, n.What, n.Reason, rows)
	}
	return w.Flush()
}

// States of a space in a report.
const (
	statePlanned    = "planned"
	stateWhole      = "whole"
	stateUnfinished = "unfinished"
	stateLeftOut    = "left out"
)

// Progress is how far an import is.
type Progress struct {
	// Stage is reading (all files are verified) or writing.
	Stage string
	Rows  uint64
	// Done is the part of all rows, 0 to 1; 0 while that is not known.
	Done float64
}
