package issue

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests got into testdata")

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestScripts runs testdata/*.txt. Commands build up what is observed, one word and its arguments on a line; "find
// SECONDS" shows the issues at that many seconds after the start.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("got:\n%s\nrun with -rewrite and look at the difference", got)
			}
		})
	}
}

// runScript answers every block of commands: the lines up to "----" are kept, what follows up to an empty line is
// replaced.
func runScript(t *testing.T, text string) string {
	var out strings.Builder
	var all []Instance
	var sets []Replicaset
	answer, skipping := "", false
	scan := bufio.NewScanner(strings.NewReader(text))
	for scan.Scan() {
		line := scan.Text()
		switch {
		case line == "----":
			out.WriteString("----\n" + answer)
			answer, skipping = "", true
		case line == "":
			out.WriteString("\n")
			skipping = false
		case !skipping:
			out.WriteString(line + "\n")
			answer += command(t, &all, &sets, strings.Fields(line))
		}
	}
	return out.String()
}

func seconds(t *testing.T, s string) time.Time {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return t0.Add(time.Duration(n) * time.Second)
}

func command(t *testing.T, all *[]Instance, sets *[]Replicaset, w []string) string {
	t.Helper()
	if w[0] == "#" {
		return ""
	}
	if w[0] == "find" {
		var b strings.Builder
		for _, i := range Find(seconds(t, w[1]), *all, *sets) {
			fmt.Fprintf(&b, "%s %s %s since %s: %s (%s)\n", i.Level, i.Instance, i.Code, i.Since.Sub(t0), i.Text, i.Hint)
		}
		if b.Len() == 0 {
			return "nothing\n"
		}
		return b.String()
	}
	if w[0] == "replicaset" { // replicaset NAME REPLICAS [SINCE]
		rs := Replicaset{Name: w[1]}
		rs.Replicas, _ = strconv.Atoi(w[2])
		if len(w) > 3 {
			rs.Since = seconds(t, w[3])
		}
		*sets = append(*sets, rs)
		return ""
	}
	if w[0] == "instance" {
		*all = append(*all, Instance{Name: w[1], Published: lifecycle.Published{
			Stage: lifecycle.Postjoin, State: lifecycle.RolesConfigured, Since: t0, Moved: t0}})
		return ""
	}
	observe(t, &(*all)[len(*all)-1], w)
	return ""
}

func observe(t *testing.T, in *Instance, w []string) {
	t.Helper()
	var err error
	number := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
	switch w[0] {
	case "state": // state NAME SINCE [cause]
		in.Published.State, err = lifecycle.ParseState(w[1])
		in.Published.Since = seconds(t, w[2])
		in.Published.Moved, in.Published.Cause = in.Published.Since, nil
		if len(w) > 3 {
			in.Published.Cause = &lifecycle.Cause{Message: strings.Join(w[3:], " ")}
		}
	case "waits":
		in.Published.WaitingFor = strings.Join(w[1:], " ")
	case "moved":
		in.Published.Moved = seconds(t, w[1])
	case "grades": // grades CURRENT TARGET SINCE
		in.Current.Name, err = lifecycle.ParseGradeName(w[1])
		if err == nil {
			in.Target.Name, err = lifecycle.ParseGradeName(w[2])
		}
		in.GradesSince = seconds(t, w[3])
	case "memory": // memory USED QUOTA
		in.MemoryUsedBytes, in.MemoryQuotaBytes = number(w[1]), number(w[2])
	case "schema": // schema VERSION SINCE
		in.SchemaChange, in.SchemaSince = number(w[1]), seconds(t, w[2])
	case "disk-full":
		in.DiskFullSince = seconds(t, w[1])
	case "checkpoint-failed":
		in.CheckpointFailure, in.CheckpointSince = strings.Join(w[2:], " "), seconds(t, w[1])
	case "audit-failed":
		in.AuditFailure, in.AuditSince = strings.Join(w[2:], " "), seconds(t, w[1])
	case "unclean":
		in.UncleanLog, in.UncleanAt = strings.Join(w[2:], " "), seconds(t, w[1])
	case "group": // group NAME leader|none SINCE
		in.Groups = append(in.Groups, Group{Name: w[1], HasLeader: w[2] == "leader", Since: seconds(t, w[3])})
	default:
		t.Fatalf("unknown command %q", w[0])
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNeverNil(t *testing.T) {
	if Find(t0, nil, nil) == nil {
		t.Error("no instances give nil")
	}
}
