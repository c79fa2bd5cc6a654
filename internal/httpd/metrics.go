package httpd

import (
	"log/slog"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Sample is what is known of the instance at the moment of a scrape.
type Sample struct {
	Published lifecycle.Published
	// Grade is the current grade, nil while it is not known.
	Grade *lifecycle.Grade
	// Memory is nil while there is no engine.
	Memory *MemorySample
	Groups []GroupSample
	// Requests by type, as the binary protocol names them; the set of types is fixed.
	Requests []RequestSample
	// Connections is the number of open connections of clients.
	Connections uint64
	// SchemaChanges are the statements under way that look at all rows of a space.
	SchemaChanges []SchemaChange
	// Refused counts connections that were not taken; Cut those that were ended, by reason.
	Refused uint64
	Cut     []CutSample
	// InFlight is the number of requests taken and not answered; QueuedBytes the size of answers that wait to be written.
	InFlight, QueuedBytes uint64

	Identity IdentitySample
	// Governor and Peers are nil where there is none yet.
	Governor *GovernorSample
	RPC      []RPCSample
	Peers    *PeersSample
}

// CutSample counts the connections that were ended for one reason since the process started.
type CutSample struct {
	Reason string
	Count  uint64
}

// MemorySample is the quota of rows and indexes.
type MemorySample struct{ QuotaBytes, UsedBytes uint64 }

// GroupSample is one raft group; names are not repeated.
type GroupSample struct {
	Name                     string
	Term, Committed, Applied uint64
	IsLeader                 bool
	// Role is leader, follower, candidate or learner.
	Role      string
	HasLeader bool
	LastIndex uint64
	// Voters and Learners count the members of the group.
	Voters, Learners int
	Commit, Apply    LatencySample
}

// RequestSample counts the requests of one type since the process started.
type RequestSample struct {
	Type          string
	Count, Errors uint64
}

// MetricsSource gives a sample. It is called at every scrape, must not block, and may be called concurrently.
type MetricsSource interface{ Sample() Sample }

// NewRegistry returns a registry with the metrics of the Go runtime, of the process and of the build.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lycosa_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Metrics turns samples and events into metrics. It is a prometheus.Collector and an event.Sink.
type Metrics struct {
	source MetricsSource
	descs  descs
	more   clusterDescs

	counters     []prometheus.Collector
	stateChanges map[lifecycle.State]prometheus.Counter
	logins       map[bool]prometheus.Counter
	checkpoints  map[bool]prometheus.Counter
	tornBytes    prometheus.Counter
	lostEntries  prometheus.Counter
}

type descs struct {
	state, since, stage, grade       *prometheus.Desc
	quota, used, connections         *prometheus.Desc
	term, committed, applied, leader *prometheus.Desc
	requests, errors                 *prometheus.Desc
	refused, cut, inFlight, queued   *prometheus.Desc
	buildRows, buildTotal            *prometheus.Desc
}

// NewMetrics makes the collector and registers it. Every labelled counter is bound here, once.
func NewMetrics(r *prometheus.Registry, source MetricsSource) *Metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lycosa_"+name, help, labels, nil)
	}
	m := &Metrics{source: source, descs: descs{
		state:       desc("instance_state", "1 for the state in which the instance is, 0 for the others.", "state"),
		since:       desc("instance_state_since_seconds", "When the instance came into its state, as a Unix time."),
		stage:       desc("instance_stage", "1 for the stage in which the process is, 0 for the others.", "stage"),
		grade:       desc("instance_grade", "1 for the current grade of the instance, 0 for the others.", "grade"),
		quota:       desc("memory_quota_bytes", "Memory that rows and indexes may use."),
		used:        desc("memory_used_bytes", "Memory that rows and indexes use."),
		connections: desc("connections", "Open connections of clients."),
		term:        desc("raft_term", "Term of the raft group.", "group"),
		committed:   desc("raft_committed_index", "Last committed entry of the raft group, as known here.", "group"),
		applied:     desc("raft_applied_index", "Last entry of the raft group that was applied here.", "group"),
		leader:      desc("raft_is_leader", "1 if this instance leads the raft group.", "group"),
		requests:    desc("requests_total", "Requests of the binary protocol since the process started.", "type"),
		errors:      desc("request_errors_total", "Requests of the binary protocol answered with an error.", "type"),
		refused:     desc("connections_refused_total", "Connections of clients that were not taken."),
		cut:         desc("connections_cut_total", "Connections of clients that were ended, by reason.", "reason"),
		inFlight:    desc("requests_in_flight", "Requests of the binary protocol taken and not answered yet."),
		queued:      desc("replies_queued_bytes", "Replies of the binary protocol that wait to be written."),
		buildRows: desc("index_build_rows", "Rows that the schema change under way has looked at; index is empty where a format is checked.",
			"space", "index"),
		buildTotal: desc("index_build_rows_expected", "Rows that the schema change under way has to look at.", "space", "index"),
	}}
	m.more = newClusterDescs(desc)
	m.bindCounters()
	r.MustRegister(append([]prometheus.Collector{m}, m.counters...)...)
	return m
}

func (m *Metrics) bindCounters() {
	vec := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lycosa_" + name, Help: help}, []string{label})
		m.counters = append(m.counters, v)
		return v
	}
	steps := vec("state_changes_total", "How often the instance came into a state.", "state")
	m.stateChanges = map[lifecycle.State]prometheus.Counter{}
	for _, s := range lifecycle.States() {
		m.stateChanges[s] = steps.WithLabelValues(s.String())
	}
	logins := vec("logins_total", "Attempts to log in.", "result")
	m.logins = map[bool]prometheus.Counter{
		true: logins.WithLabelValues("ok"), false: logins.WithLabelValues("refused"),
	}
	checkpoints := vec("checkpoints_total", "Snapshots of the data.", "result")
	m.checkpoints = map[bool]prometheus.Counter{
		true: checkpoints.WithLabelValues("ok"), false: checkpoints.WithLabelValues("failed"),
	}
	damage := vec("log_damage_total", "What recovery found missing at the end of a log: torn bytes, lost entries.", "what")
	m.tornBytes, m.lostEntries = damage.WithLabelValues("torn_bytes"), damage.WithLabelValues("lost_entries")
}

// Emit counts the event.
func (m *Metrics) Emit(e event.Event) {
	switch e := e.(type) {
	case event.StateChanged:
		if c, ok := m.stateChanges[e.Record.To]; ok {
			c.Inc()
		}
	case event.Authenticated:
		m.logins[e.OK].Inc()
	case event.CheckpointDone:
		m.checkpoints[e.Failure == ""].Inc()
	case event.LogDamaged:
		m.tornBytes.Add(float64(max(e.TornBytes, 0)))
		m.lostEntries.Add(float64(e.LostEntries))
	}
}

// Describe sends the descriptions of what Collect sends.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	d := m.descs
	for _, x := range []*prometheus.Desc{d.state, d.since, d.stage, d.grade, d.quota, d.used, d.connections,
		d.term, d.committed, d.applied, d.leader, d.requests, d.errors, d.refused, d.cut, d.inFlight, d.queued, d.buildRows, d.buildTotal} {
		ch <- x
	}
	for _, x := range m.more.all() {
		ch <- x
	}
}

// Collect sends the metrics of one sample.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.source.Sample()
	d := m.descs
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- constant(desc, prometheus.GaugeValue, v, labels)
	}
	for _, st := range append([]lifecycle.State{lifecycle.Start}, lifecycle.States()...) {
		gauge(d.state, one(s.Published.State == st), st.String())
	}
	for _, st := range lifecycle.Stages() {
		gauge(d.stage, one(s.Published.Stage == st), st.String())
	}
	for _, g := range lifecycle.Grades() {
		gauge(d.grade, one(s.Grade != nil && s.Grade.Name == g), g.String())
	}
	if !s.Published.Since.IsZero() {
		gauge(d.since, float64(s.Published.Since.UnixNano())/1e9)
	}
	if s.Memory != nil {
		gauge(d.quota, float64(s.Memory.QuotaBytes))
		gauge(d.used, float64(s.Memory.UsedBytes))
	}
	m.collectTraffic(ch, &s)
	m.more.collect(ch, &s)
	for _, g := range s.Groups {
		gauge(d.term, float64(g.Term), g.Name)
		gauge(d.committed, float64(g.Committed), g.Name)
		gauge(d.applied, float64(g.Applied), g.Name)
		gauge(d.leader, one(g.IsLeader), g.Name)
	}
	for _, c := range s.SchemaChanges {
		gauge(d.buildRows, float64(c.RowsDone), string(c.Space), string(c.Index))
		gauge(d.buildTotal, float64(c.RowsTotal), string(c.Space), string(c.Index))
	}
}

// collectTraffic sends the metrics of connections and requests.
func (m *Metrics) collectTraffic(ch chan<- prometheus.Metric, s *Sample) {
	d := m.descs
	ch <- constant(d.connections, prometheus.GaugeValue, float64(s.Connections), nil)
	ch <- constant(d.inFlight, prometheus.GaugeValue, float64(s.InFlight), nil)
	ch <- constant(d.queued, prometheus.GaugeValue, float64(s.QueuedBytes), nil)
	ch <- constant(d.refused, prometheus.CounterValue, float64(s.Refused), nil)
	for _, c := range s.Cut {
		ch <- constant(d.cut, prometheus.CounterValue, float64(c.Count), []string{c.Reason})
	}
	for _, r := range s.Requests {
		ch <- constant(d.requests, prometheus.CounterValue, float64(r.Count), []string{r.Type})
		ch <- constant(d.errors, prometheus.CounterValue, float64(r.Errors), []string{r.Type})
	}
}

// constant makes one metric; one that cannot be made fails only itself.
func constant(desc *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) prometheus.Metric {
	metric, err := prometheus.NewConstMetric(desc, kind, v, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return metric
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// promLog gives the library's complaints to our log.
type promLog struct{ logger *slog.Logger }

// Println is the one method that the library calls.
func (l promLog) Println(v ...any) {
	l.logger.Warn("metrics cannot be collected completely", "error", v)
}
