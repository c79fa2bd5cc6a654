package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/screen"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// The procedures that tell where instance and cluster stand.
const (
	procInstanceInfo = ".proc_instance_info"
	procClusterInfo  = ".proc_cluster_info"
)

// statusReport is what was answered. cluster is nil where nothing is known of it; why says so then, or that the leader
// could not be asked.
type statusReport struct {
	instance, cluster json.RawMessage
	why               string
}

// clusterStatus is what status shows of the answer of procClusterInfo; null is empty.
type clusterStatus struct {
	Instances []struct {
		Name       string  `json:"name"`
		Address    string  `json:"address"`
		Replicaset string  `json:"replicaset"`
		Tier       string  `json:"tier"`
		State      string  `json:"state"`
		IsLeader   bool    `json:"is_leader"`
		LagEntries *uint64 `json:"lag_entries"`
		// LastSeen is by the clock of the instance that was asked.
		LastSeen *time.Time `json:"last_seen"`
		Grade    struct {
			Current, Target *statusGrade
		} `json:"grade"`
	} `json:"instances"`
	Replicasets []struct {
		Name   string   `json:"name"`
		Tier   string   `json:"tier"`
		Leader string   `json:"leader"`
		State  string   `json:"state"`
		Weight *float64 `json:"weight"`
	} `json:"replicasets"`
	Tiers []struct {
		Name              string `json:"name"`
		ReplicationFactor uint64 `json:"replication_factor"`
		CanVote           bool   `json:"can_vote"`
		WALMode           string `json:"wal_mode"`
		BucketCount       uint64 `json:"bucket_count"`
	} `json:"tiers"`
	Issues []struct {
		Level    string `json:"level"`
		Instance string `json:"instance"`
		Text     string `json:"text"`
		Hint     string `json:"hint"`
	} `json:"issues"`
	Governor *struct {
		Leader  string `json:"leader"`
		Waiting []struct {
			Text string `json:"text"`
		} `json:"waiting"`
		LastError string `json:"last_error"`
	} `json:"governor"`
}

// askStatus asks the instance, and the leader of its cluster if that is another one.
func (a *app) askStatus(ctx context.Context, f *clientFlags) (statusReport, error) {
	c, err := a.dial(ctx, f)
	if err != nil {
		return statusReport{}, err
	}
	defer c.Close()
	var r statusReport
	if r.instance, err = a.ask(ctx, f, c, procInstanceInfo); err != nil {
		return statusReport{}, reachError(f.peer, err)
	}
	if r.cluster, err = a.ask(ctx, f, c, procClusterInfo); err != nil {
		r.why = "nothing is known of the cluster: " + err.Error()
		return r, nil
	}
	if address := leaderElsewhere(r.instance, r.cluster); address != "" {
		leader, err := a.askLeader(ctx, f, address)
		if err != nil {
			r.why = "the leader of the catalog, " + address + ", does not answer: what is below may be old"
			return r, nil
		}
		r.cluster = leader
	}
	return r, nil
}

// ask calls a procedure without arguments.
func (a *app) ask(ctx context.Context, f *clientFlags, c *client.Client, procedure string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	values, err := c.Call(ctx, procedure, nil)
	if err != nil {
		return nil, err
	}
	return firstValue(values)
}

func (a *app) askLeader(ctx context.Context, f *clientFlags, address string) (json.RawMessage, error) {
	there := *f
	there.peer = address
	return a.call(ctx, &there, procClusterInfo)
}

// leaderElsewhere is the address of the instance that leads the catalog, empty if that is not known or the one that was
// asked.
func leaderElsewhere(instance, cluster json.RawMessage) string {
	var s instanceStatus
	var c clusterStatus
	if json.Unmarshal(instance, &s) != nil || json.Unmarshal(cluster, &c) != nil {
		return ""
	}
	for _, in := range c.Instances {
		if in.IsLeader && in.Name != deref(s.Name) {
			return in.Address
		}
	}
	return ""
}

// json is the document of the instance with that of the cluster in it.
func (r statusReport) json() json.RawMessage {
	var doc map[string]json.RawMessage
	if json.Unmarshal(r.instance, &doc) != nil || doc == nil {
		return r.instance
	}
	if doc["cluster"] = r.cluster; r.cluster == nil {
		doc["cluster"] = json.RawMessage("null")
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return r.instance
	}
	return text
}

// lines is what a person is shown. An answer that is not as expected is shown as it is.
func (r statusReport) lines() []string {
	var s instanceStatus
	if err := json.Unmarshal(r.instance, &s); err != nil || s.State == "" {
		return []string{screen.Printable(string(r.instance))}
	}
	lines := s.lines()
	if r.why != "" {
		lines = append(lines, "", screen.Printable(r.why))
	}
	var c clusterStatus
	if r.cluster == nil {
		return lines
	}
	if err := json.Unmarshal(r.cluster, &c); err != nil {
		return append(lines, screen.Printable(string(r.cluster)))
	}
	return append(lines, c.lines()...)
}

// lines shows the cluster: tables, issues, and what is waited for.
func (c clusterStatus) lines() []string {
	var instances, replicasets, tiers [][]string
	for i, in := range c.Instances {
		cells := []string{in.Name, in.Address, in.Tier, in.Replicaset, gradeText(in.Grade.Current, in.Grade.Target)}
		if in.Grade.Current == nil || in.Grade.Current.Name != "Expelled" { // what is known of one that is gone is of the past
			lag := ""
			if in.LagEntries != nil {
				lag = strconv.FormatUint(*in.LagEntries, 10)
			}
			cells = append(cells, in.State, c.leads(i), lag, c.silence(i))
		}
		instances = append(instances, cells)
	}
	for _, r := range c.Replicasets {
		weight := ""
		if r.Weight != nil {
			weight = strconv.FormatFloat(*r.Weight, 'g', -1, 64)
		}
		replicasets = append(replicasets, []string{r.Name, r.Tier, r.Leader, r.State, weight})
	}
	for _, t := range c.Tiers {
		vote := "no"
		if t.CanVote {
			vote = "yes"
		}
		tiers = append(tiers, []string{t.Name, strconv.FormatUint(t.ReplicationFactor, 10), vote, t.WALMode, strconv.FormatUint(t.BucketCount, 10)})
	}
	var lines []string
	block := func(more []string) {
		if len(more) > 0 {
			lines = append(append(lines, ""), more...)
		}
	}
	block(screen.Table([]string{"instance", "address", "tier", "replicaset", "grade", "state", "leads", "lag", "last seen"}, instances))
	block(screen.Table([]string{"replicaset", "tier", "leader", "state", "weight"}, replicasets))
	block(screen.Table([]string{"tier", "replication factor", "can vote", "wal mode", "buckets"}, tiers))
	block(c.notes())
	return lines
}

// silence says how long an instance has not been heard of, if that is remarkable.
func (c clusterStatus) silence(i int) string {
	const remarkable = 2 * time.Second
	var now time.Time // the instance that was asked has just heard of itself
	for _, in := range c.Instances {
		if in.LastSeen != nil && in.LastSeen.After(now) {
			now = *in.LastSeen
		}
	}
	if seen := c.Instances[i].LastSeen; seen != nil && now.Sub(*seen) >= remarkable {
		return now.Sub(*seen).Truncate(time.Second).String() + " ago"
	}
	return ""
}

// leads names the groups that an instance leads.
func (c clusterStatus) leads(i int) string {
	in, groups := c.Instances[i], []string{}
	if in.IsLeader {
		groups = append(groups, "catalog")
	}
	for _, r := range c.Replicasets {
		if in.Name != "" && r.Leader == in.Name {
			groups = append(groups, "data")
		}
	}
	return strings.Join(groups, ", ")
}

// notes are the issues, and what the governor waits for.
func (c clusterStatus) notes() []string {
	var notes []string
	for _, i := range c.Issues {
		note := joinNonEmpty(" ", "issue,", i.Level+":", joinNonEmpty(": ", i.Instance, i.Text))
		notes = append(notes, screen.Printable(joinNonEmpty("; ", note, i.Hint)))
	}
	if c.Governor == nil {
		return notes
	}
	for _, w := range c.Governor.Waiting {
		notes = append(notes, screen.Printable("waiting: "+w.Text))
	}
	if c.Governor.LastError != "" {
		notes = append(notes, screen.Printable("last error of the governor: "+c.Governor.LastError))
	}
	return notes
}

// facts are what a change of is worth a line, without what only counts on.
func (r statusReport) facts() []string {
	var c clusterStatus
	if r.cluster == nil || json.Unmarshal(r.cluster, &c) != nil {
		var s instanceStatus
		if json.Unmarshal(r.instance, &s) != nil {
			return nil
		}
		return []string{screen.Printable(joinNonEmpty(", ", joinNonEmpty(": ", deref(s.Name), "stage "+s.Stage), "state "+s.State, deref(s.WaitingFor)))}
	}
	var facts []string
	for i, in := range c.Instances {
		facts = append(facts, in.Name+": "+screen.Printable(joinNonEmpty(", ", prefixed("state ", in.State),
			prefixed("grade ", gradeText(in.Grade.Current, in.Grade.Target)), prefixed("replicaset ", in.Replicaset), prefixed("leads ", c.leads(i)))))
	}
	for _, set := range c.Replicasets {
		facts = append(facts, screen.Printable("replicaset "+set.Name+": "+joinNonEmpty(", ", prefixed("leader ", set.Leader), prefixed("state ", set.State))))
	}
	return append(facts, c.notes()...)
}

// watchStatus shows the status until Ctrl-C. An instance that cannot be reached is asked again.
func (a *app) watchStatus(ctx context.Context, f *clientFlags, interval time.Duration) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, os.Signal(syscall.SIGHUP))
	defer cancel()
	show := a.statusLines()
	if f.json {
		show = a.statusJSON()
	}
	for {
		r, err := a.askStatus(ctx, f)
		var unable *codeError
		if errors.As(err, &unable) && unable.code == exitUsage {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		show(r, err)
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil
		}
	}
}

// statusJSON prints a line of JSON whenever it is another one.
func (a *app) statusJSON() func(statusReport, error) {
	before := ""
	return func(r statusReport, err error) {
		if err != nil {
			fmt.Fprintln(a.Stderr, "lycosa:", err)
			return
		}
		if text := string(r.json()); text != before {
			before = text
			fmt.Fprintln(a.Stdout, text)
		}
	}
}

// statusLines shows the status in place on a terminal, elsewhere a line for each change.
func (a *app) statusLines() func(statusReport, error) {
	if isTerminal(a.Stdout) && a.env("TERM", "dumb") != "dumb" {
		s := screen.New(a.Stdout, func() (int, int) { return screen.Size(a.Stdout) })
		return func(r statusReport, err error) {
			if err != nil {
				s.Draw([]string{"lycosa: " + err.Error()})
				return
			}
			s.Draw(r.lines())
		}
	}
	var before []string
	return func(r statusReport, err error) {
		facts := r.facts()
		if err != nil {
			facts = []string{"lycosa: " + screen.Printable(err.Error())}
		}
		for _, line := range facts {
			if !slices.Contains(before, line) {
				fmt.Fprintln(a.Stdout, line)
			}
		}
		for _, line := range before {
			passing := strings.HasPrefix(line, "issue,") || strings.HasPrefix(line, "waiting: ")
			if passing && err == nil && !slices.Contains(facts, line) {
				fmt.Fprintln(a.Stdout, "over: "+line)
			}
		}
		before = facts
	}
}
