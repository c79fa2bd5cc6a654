package httpd

import (
	"encoding/json"
	"time"

	"github.com/lycosadb/lycosa/internal/issue"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Text is a string of which the empty value means unknown and is null in JSON.
type Text string

// MarshalJSON writes a string or null.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// RaftID is a raft id; 0 means unknown or none and is null in JSON.
type RaftID uint64

// MarshalJSON writes a number or null.
func (id RaftID) MarshalJSON() ([]byte, error) {
	if id == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(uint64(id))
}

// Time is a point in time, written in UTC as RFC 3339 with nine digits after the point; the zero time is null.
type Time struct{ time.Time }

// timeFormat is time.RFC3339Nano without leaving trailing zeros out.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// MarshalJSON writes a string or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(timeFormat) + `"`), nil
}

// List is a list that is [] in JSON when it is empty, never null.
type List[T any] []T

// MarshalJSON writes an array.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Labels is a map that is {} in JSON when it is empty, never null.
type Labels map[string]string

// MarshalJSON writes an object with sorted keys.
func (l Labels) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(l))
}

// State is a state of which nil means unknown; the same for Stage.
type (
	// State is a state of an instance, null if it is not known.
	State = *lifecycle.State
	// Stage is a stage of a process, null if it is not known.
	Stage = *lifecycle.Stage
)

// Grade is one grade; its members are null while it is not known.
type Grade struct {
	Name        *lifecycle.GradeName `json:"name"`
	Incarnation *uint64              `json:"incarnation"`
}

// GradeOf makes a known grade.
func GradeOf(g lifecycle.Grade) Grade { return Grade{Name: &g.Name, Incarnation: &g.Incarnation} }

// Grades are the two grades of an instance.
type Grades struct {
	Current Grade `json:"current"`
	Target  Grade `json:"target"`
}

// Named is a replicaset as an instance sees it.
type Named struct {
	Name Text `json:"name"`
	UUID Text `json:"uuid"`
}

// Leader is the leader of the instance's replicaset.
type Leader struct {
	Name    Text `json:"name"`
	Address Text `json:"address"`
}

// Group is one raft group as this instance sees it.
type Group struct {
	Name         Text         `json:"name"` // "catalog" or "data"
	RaftID       RaftID       `json:"raft_id"`
	Role         Text         `json:"role"` // leader, follower, candidate, learner
	Term         uint64       `json:"term"`
	Committed    uint64       `json:"committed"`
	Applied      uint64       `json:"applied"`
	LeaderRaftID RaftID       `json:"leader_raft_id"`
	Voters       List[uint64] `json:"voters"`
	Learners     List[uint64] `json:"learners"`
}

// Memory is the quota of rows and indexes; null while there is no engine.
type Memory struct {
	QuotaBytes *uint64 `json:"quota_bytes"`
	UsedBytes  *uint64 `json:"used_bytes"`
}

// Instance is the document of /api/v1/instance.
type Instance struct {
	Name         Text             `json:"name"`
	InstanceUUID Text             `json:"instance_uuid"`
	ClusterName  Text             `json:"cluster_name"`
	ClusterUUID  Text             `json:"cluster_uuid"`
	Stage        lifecycle.Stage  `json:"stage"`
	State        lifecycle.State  `json:"state"`
	StatePrev    State            `json:"state_prev"`
	StateSince   Time             `json:"state_since"`
	Cause        *lifecycle.Cause `json:"cause"`
	Grade        Grades           `json:"grade"`
	Replicaset   Named            `json:"replicaset"`
	Leader       Leader           `json:"leader"`
	Groups       List[Group]      `json:"groups"`
	Memory       Memory           `json:"memory"`
	Version      Text             `json:"version"`
	WaitingFor   Text             `json:"waiting_for"`
	PID          int              `json:"pid"`
	// SchemaChanges are the statements under way that look at all rows of a space.
	SchemaChanges List[SchemaChange] `json:"schema_changes"`
}

// SchemaChange is an index that is being built, or with a null index a format that rows are being checked against.
type SchemaChange struct {
	Space     Text   `json:"space"`
	Index     Text   `json:"index"`
	RowsDone  uint64 `json:"rows_done"`
	RowsTotal uint64 `json:"rows_total"`
}

// SetPublished fills in everything that the lifecycle machine publishes. Progress is added to what is waited for.
func (d *Instance) SetPublished(p lifecycle.Published) {
	d.Stage, d.State, d.StateSince, d.Cause = p.Stage, p.State, Time{p.Since}, p.Cause
	d.StatePrev = nil
	if p.State != lifecycle.Start {
		prev := p.Prev
		d.StatePrev = &prev
	}
	waiting := p.WaitingFor
	if p.Progress != nil {
		if waiting != "" {
			waiting += ": "
		}
		waiting += p.Progress.String()
	}
	d.WaitingFor = Text(waiting)
}

// lifecycleDocument is the document of /api/v1/lifecycle.
type lifecycleDocument struct {
	History List[historyRecord] `json:"history"`
	Machine machineDocument     `json:"machine"`
}

type historyRecord struct {
	From       lifecycle.State  `json:"from"`
	To         lifecycle.State  `json:"to"`
	At         Time             `json:"at"`
	DurationMs int64            `json:"duration_ms"`
	Cause      *lifecycle.Cause `json:"cause"`
	Stage      lifecycle.Stage  `json:"stage"`
	PID        int              `json:"pid"`
}

type machineDocument struct {
	States []lifecycle.State    `json:"states"`
	Edges  [][2]lifecycle.State `json:"edges"`
}

func lifecycleOf(records []lifecycle.Record) lifecycleDocument {
	var doc lifecycleDocument
	for _, r := range records {
		doc.History = append(doc.History, historyRecord{
			From: r.From, To: r.To, At: Time{r.At}, DurationMs: r.DurationMs, Cause: r.Cause, Stage: r.Stage, PID: r.PID,
		})
	}
	doc.Machine.States = append([]lifecycle.State{lifecycle.Start}, lifecycle.States()...)
	for _, e := range lifecycle.Edges() {
		doc.Machine.Edges = append(doc.Machine.Edges, [2]lifecycle.State{e.From, e.To})
	}
	return doc
}

// Cluster is the document of /api/v1/cluster.
type Cluster struct {
	ClusterName Text                    `json:"cluster_name"`
	ClusterUUID Text                    `json:"cluster_uuid"`
	Instances   List[ClusterInstance]   `json:"instances"`
	Replicasets List[ClusterReplicaset] `json:"replicasets"`
	Tiers       List[Tier]              `json:"tiers"`
	Issues      List[Issue]             `json:"issues"`
}

// ClusterInstance is an instance as the catalog and the others know it.
type ClusterInstance struct {
	Name          Text    `json:"name"`
	InstanceUUID  Text    `json:"instance_uuid"`
	RaftID        RaftID  `json:"raft_id"`
	Address       Text    `json:"address"`
	HTTPAddress   Text    `json:"http_address"`
	Replicaset    Text    `json:"replicaset"`
	Tier          Text    `json:"tier"`
	FailureDomain Labels  `json:"failure_domain"`
	State         State   `json:"state"`
	Grade         Grades  `json:"grade"`
	IsLeader      bool    `json:"is_leader"`
	LagEntries    *uint64 `json:"lag_entries"`
	LastSeen      Time    `json:"last_seen"`
}

// ClusterReplicaset is a replicaset of the cluster.
type ClusterReplicaset struct {
	Name   Text     `json:"name"`
	UUID   Text     `json:"uuid"`
	Tier   Text     `json:"tier"`
	Leader Text     `json:"leader"`
	State  Text     `json:"state"`
	Weight *float64 `json:"weight"`
}

// Tier is a class of instances.
type Tier struct {
	Name              Text   `json:"name"`
	ReplicationFactor uint64 `json:"replication_factor"`
	CanVote           bool   `json:"can_vote"`
	WALMode           Text   `json:"wal_mode"`
	BucketCount       uint64 `json:"bucket_count"`
}

// Issue is one thing that someone should look at.
type Issue struct {
	Code     Text `json:"code"`
	Level    Text `json:"level"`
	Instance Text `json:"instance"`
	Text     Text `json:"text"`
	Since    Time `json:"since"`
	Hint     Text `json:"hint"`
}

// IssuesOf turns issues into their documents.
func IssuesOf(issues []issue.Issue) []Issue {
	all := make([]Issue, 0, len(issues))
	for _, i := range issues {
		all = append(all, Issue{
			Code: Text(i.Code), Level: Text(i.Level), Instance: Text(i.Instance),
			Text: Text(i.Text), Since: Time{i.Since}, Hint: Text(i.Hint),
		})
	}
	return all
}

// Governor is the document of /api/v1/governor: the last report of the leader's governor.
type Governor struct {
	Leader    Text         `json:"leader"`
	Term      uint64       `json:"term"`
	Steps     List[Report] `json:"steps"`
	Waiting   List[Report] `json:"waiting"`
	LastError Text         `json:"last_error"`
}

// Report is one row of a governor's report: what is done, or waited for, about which subject.
type Report struct {
	Subject Text `json:"subject"`
	Text    Text `json:"text"`
	Since   Time `json:"since"`
}

// Health is what the health endpoints answer from.
type Health struct {
	// Startup: RolesConfigured has been reached once by this process.
	Startup bool
	// Ready: in RolesConfigured now, and Online.
	Ready bool
	// Text says in a sentence what is missing.
	Text string
}

// HealthOf decides health; current is nil while the grade is not known.
func HealthOf(p lifecycle.Published, current *lifecycle.Grade) Health {
	h := Health{Startup: p.WasConfigured, Text: "ready"}
	switch {
	case p.State != lifecycle.RolesConfigured:
		h.Text = "instance is in state " + p.State.String()
	case current == nil:
		h.Text = "the grade of the instance is not known yet"
	case current.Name != lifecycle.Online:
		h.Text = "the grade of the instance is " + current.Name.String()
	default:
		h.Ready = true
	}
	return h
}
