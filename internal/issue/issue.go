// Package issue turns what is observed of an instance and its cluster into a list of issues: things that someone should
// look at, each with a sentence and a hint. Pure: a function of its input, time included. Who observes and who shows
// the list is decided elsewhere; nothing here changes anything.
package issue

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Level says how bad it is.
type Level string

// The levels.
const (
	Warning  Level = "warning"
	Critical Level = "critical"
)

// Code names a kind of issue.
type Code string

// The kinds.
const (
	StateOverdue   Code = "state_overdue"
	StateError     Code = "state_error"
	MemoryHigh     Code = "memory_high"
	DiskFull       Code = "disk_full"
	NoLeader       Code = "no_leader"
	GradeBehind    Code = "grade_behind"
	AuditBroken    Code = "audit_broken"
	CheckpointFail Code = "checkpoint_failed"
	UncleanLog     Code = "unclean_log"
	TwoReplicas    Code = "two_replicas_stop_writes"
	SchemaWaits    Code = "schema_change_waits"
	MemoryUneven   Code = "memory_uneven"
)

// Issue is one thing that someone should look at.
type Issue struct {
	Code     Code      `json:"code"`
	Level    Level     `json:"level"`
	Instance string    `json:"instance"`
	Text     string    `json:"text"`
	Since    time.Time `json:"since"`
	Hint     string    `json:"hint"`
}

// Group is what is observed of one raft group.
type Group struct {
	Name string
	// HasLeader, and since when it has been so.
	HasLeader bool
	Since     time.Time
}

// Instance is what is observed of one instance. The zero value of a field means that there is nothing to report of it.
type Instance struct {
	Name      string
	Published lifecycle.Published
	Current   lifecycle.Grade
	Target    lifecycle.Grade
	// GradesSince is when the pair of grades last changed; zero if the grades are not known.
	GradesSince time.Time
	Groups      []Group

	MemoryQuotaBytes, MemoryUsedBytes uint64
	// MemorySince is when the use of memory passed MemoryWarnPercent; zero if that was not noticed, then now is taken.
	MemorySince time.Time
	// DiskFullSince is when writes began to be refused for want of space; zero if they are not.
	DiskFullSince time.Time
	// CheckpointFailure is the last checkpoint's error; empty if it was written.
	CheckpointFailure string
	CheckpointSince   time.Time
	// AuditFailure is the audit log's present error; empty if it can be written.
	AuditFailure string
	AuditSince   time.Time
	// UncleanLog says in a sentence what an unclean stop has cost; empty if nothing.
	UncleanLog string
	UncleanAt  time.Time
	// SchemaChange is the version of the change of the schema that is under way, 0 for none.
	SchemaChange uint64
	SchemaSince  time.Time
}

// Replicaset is what is observed of one replicaset.
type Replicaset struct {
	Name string
	// Smaller are the instances with less memory than their leader.
	Smaller []string
	// Replicas is the number of its instances that are not expelled.
	Replicas int
	// Since is when it came to that number; zero if that was not noticed, then now is taken.
	Since time.Time
}

// Limits after which something becomes an issue.
const (
	// GradeBehindMax is how long current and target grade may differ.
	GradeBehindMax = 30 * time.Second
	// SchemaWaitMax is how long a change of the schema may be under way.
	SchemaWaitMax = 5 * time.Second
	// NoLeaderMax is how long a group may be without a leader.
	NoLeaderMax = 5 * time.Second
	// MemoryWarnPercent and MemoryCriticalPercent are parts of the quota in use.
	MemoryWarnPercent     = 80
	MemoryCriticalPercent = 95
)

// Find returns the issues of the instances and replicasets, the critical ones first, then by instance (none for an issue of
// a replicaset) and code. Never nil.
func Find(now time.Time, instances []Instance, replicasets []Replicaset) []Issue {
	all := []Issue{}
	for _, rs := range replicasets {
		if i, found := twoReplicas(now, rs); found {
			all = append(all, i)
		}
		if i, found := memoryUneven(now, rs); found {
			all = append(all, i)
		}
	}
	for _, in := range instances {
		for _, rule := range rules {
			if i, found := rule(now, in); found {
				i.Instance = in.Name
				all = append(all, i)
			}
		}
		all = append(all, groupIssues(now, in)...)
	}
	slices.SortStableFunc(all, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Code, b.Code))
	})
	return all
}

// rules are looked at for every instance; each reports at most one issue.
var rules = [...]func(now time.Time, in Instance) (Issue, bool){
	stateError, stateOverdue, gradeBehind, memoryHigh, diskFull, checkpointFailed, auditBroken, uncleanLog, schemaWaits,
}

func stateError(_ time.Time, in Instance) (Issue, bool) {
	p := in.Published
	if !p.State.IsError() {
		return Issue{}, false
	}
	text := "instance is in state " + p.State.String()
	if p.Cause != nil {
		text += ": " + p.Cause.Message
	}
	hint := "mend the cause, then restart the instance"
	if !p.State.IsTerminal() {
		hint = "mend the cause; the next change of the cluster-wide config, or applying it again, leads out"
	}
	return Issue{Code: StateError, Level: Critical, Text: text, Since: p.Since, Hint: hint}, true
}

func schemaWaits(now time.Time, in Instance) (Issue, bool) {
	if in.SchemaChange == 0 || now.Sub(in.SchemaSince) <= SchemaWaitMax {
		return Issue{}, false
	}
	return Issue{Code: SchemaWaits, Level: Warning, Since: in.SchemaSince,
		Text: fmt.Sprintf("change %d of the schema does not come to its end: no other change can begin", in.SchemaChange),
		Hint: fmt.Sprintf("lycosa status says which replicaset it waits for; lycosa abort-ddl %d takes it back", in.SchemaChange)}, true
}

func stateOverdue(now time.Time, in Instance) (Issue, bool) {
	p := in.Published
	still, overdue := p.Overdue(now)
	if !overdue {
		return Issue{}, false
	}
	return Issue{
		Code: StateOverdue, Level: Warning, Since: p.Since,
		Text: fmt.Sprintf("instance has been in state %s without progress for %s", p.State, still.Truncate(time.Second)),
		Hint: "look at its log; /api/v1/lifecycle shows how it came there",
	}, true
}

func gradeBehind(now time.Time, in Instance) (Issue, bool) {
	if in.GradesSince.IsZero() || in.Current == in.Target || now.Sub(in.GradesSince) <= GradeBehindMax {
		return Issue{}, false
	}
	return Issue{
		Code: GradeBehind, Level: Warning, Since: in.GradesSince,
		Text: fmt.Sprintf("current grade %s, target grade %s", in.Current, in.Target),
		Hint: "/api/v1/governor says what is being waited for",
	}, true
}

func memoryHigh(now time.Time, in Instance) (Issue, bool) {
	if in.MemoryQuotaBytes == 0 {
		return Issue{}, false
	}
	percent := float64(in.MemoryUsedBytes) * 100 / float64(in.MemoryQuotaBytes)
	if percent < MemoryWarnPercent {
		return Issue{}, false
	}
	level := Warning
	if percent >= MemoryCriticalPercent {
		level = Critical
	}
	since := in.MemorySince
	if since.IsZero() {
		since = now
	}
	return Issue{
		Code: MemoryHigh, Level: level, Since: since,
		Text: fmt.Sprintf("%.0f%% of the memory quota is in use (%d of %d bytes)",
			percent, in.MemoryUsedBytes, in.MemoryQuotaBytes),
		Hint: "delete rows, or restart with a larger --memory",
	}, true
}

func diskFull(_ time.Time, in Instance) (Issue, bool) {
	if in.DiskFullSince.IsZero() {
		return Issue{}, false
	}
	return Issue{
		Code: DiskFull, Level: Critical, Since: in.DiskFullSince,
		Text: "no space left on the disk of the data directory; writes are refused",
		Hint: "free some space; writing goes on by itself",
	}, true
}

func checkpointFailed(_ time.Time, in Instance) (Issue, bool) {
	if in.CheckpointFailure == "" {
		return Issue{}, false
	}
	return Issue{
		Code: CheckpointFail, Level: Warning, Since: in.CheckpointSince,
		Text: "the last checkpoint failed: " + in.CheckpointFailure,
		Hint: "the log grows until a checkpoint succeeds; try `lycosa checkpoint`",
	}, true
}

func auditBroken(_ time.Time, in Instance) (Issue, bool) {
	if in.AuditFailure == "" {
		return Issue{}, false
	}
	return Issue{
		Code: AuditBroken, Level: Critical, Since: in.AuditSince,
		Text: "the audit log cannot be written: " + in.AuditFailure,
		Hint: "privileged operations are refused until it can",
	}, true
}

func uncleanLog(_ time.Time, in Instance) (Issue, bool) {
	if in.UncleanLog == "" {
		return Issue{}, false
	}
	return Issue{
		Code: UncleanLog, Level: Warning, Since: in.UncleanAt, Text: in.UncleanLog,
		Hint: "--wal-mode fsync keeps what was acknowledged",
	}, true
}

func twoReplicas(now time.Time, rs Replicaset) (Issue, bool) {
	if rs.Replicas != 2 {
		return Issue{}, false
	}
	since := rs.Since
	if since.IsZero() {
		since = now
	}
	return Issue{
		Code: TwoReplicas, Level: Warning, Since: since,
		Text: "replicaset " + rs.Name + " has 2 replicas: the loss of one stops writes",
		Hint: "start a third instance with --replicaset " + rs.Name + "; no acknowledged row is lost meanwhile",
	}, true
}

func memoryUneven(now time.Time, rs Replicaset) (Issue, bool) {
	if len(rs.Smaller) == 0 {
		return Issue{}, false
	}
	return Issue{
		Code: MemoryUneven, Level: Warning, Since: now,
		Text: "replicaset " + rs.Name + ": " + strings.Join(rs.Smaller, ", ") + " has less memory than the leader: writes end where the smallest voter is full",
		Hint: "start the instances of a replicaset with the same --memory",
	}, true
}

func groupIssues(now time.Time, in Instance) []Issue {
	var all []Issue
	for _, g := range in.Groups {
		if g.HasLeader || now.Sub(g.Since) <= NoLeaderMax {
			continue
		}
		all = append(all, Issue{
			Code: NoLeader, Level: Critical, Instance: in.Name, Since: g.Since,
			Text: fmt.Sprintf("raft group %s has no leader", g.Name),
			Hint: "a majority of its voters must be running and reach each other",
		})
	}
	return all
}
