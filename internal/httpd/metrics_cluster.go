package httpd

import "github.com/prometheus/client_golang/prometheus"

// IdentitySample says who the instance is; empty names are not known yet.
type IdentitySample struct{ Name, Cluster, Replicaset, Tier string }

// LatencySample is a distribution of times in seconds. The zero value: nothing was measured.
type LatencySample struct {
	Count uint64
	Sum   float64
	// Buckets holds, by upper bound, how many took at most that long.
	Buckets map[float64]uint64
}

// GovernorSample is what the governor of this instance does; it works where the catalog is led.
type GovernorSample struct {
	Active bool
	// Steps and Waiting count the rows of the last report.
	Steps, Waiting int
	// Done and Failed count the steps that were carried out since the process started.
	Done, Failed uint64
	// Troubled: the last step of some subject has failed.
	Troubled bool
}

// RPCSample counts the calls of one procedure to other instances since the process started.
type RPCSample struct {
	Procedure string
	// Answered, Refused and Lost are how they ended: with a value, with a numbered error, or without an answer.
	Answered, Refused, Lost uint64
	// Seconds is how long those with an answer took in all.
	Seconds float64
}

// PeersSample counts the other instances that are called: those connected to, and those that could not be reached last.
type PeersSample struct{ Connected, Failing int }

// rolesOfGroups are what a replica can be in its group.
var rolesOfGroups = [...]string{"leader", "follower", "candidate", "learner"}

// clusterDescs are the metrics of groups, governor and calls to other instances.
type clusterDescs struct {
	info                               *prometheus.Desc
	role, hasLeader, last, lag         *prometheus.Desc
	voters, learners                   *prometheus.Desc
	commit, apply                      *prometheus.Desc
	active, steps, waiting, troubled   *prometheus.Desc
	stepsDone                          *prometheus.Desc
	calls, callSeconds, peersUp, peers *prometheus.Desc
}

func newClusterDescs(desc func(name, help string, labels ...string) *prometheus.Desc) clusterDescs {
	return clusterDescs{
		info:      desc("instance_info", "Always 1; the labels say who the instance is.", "name", "cluster", "replicaset", "tier"),
		role:      desc("raft_role", "1 for what this instance is in the raft group, 0 for the rest.", "group", "role"),
		hasLeader: desc("raft_has_leader", "1 if this instance knows a leader of the raft group.", "group"),
		last:      desc("raft_last_index", "Last entry in the log of the raft group here.", "group"),
		lag:       desc("raft_lag_entries", "Entries of the raft group that are known here to be committed and are not applied yet.", "group"),
		voters:    desc("raft_voters", "Voters of the raft group.", "group"),
		learners:  desc("raft_learners", "Learners of the raft group.", "group"),
		commit:    desc("raft_commit_seconds", "From running a batch of requests here, as leader, to the commit of its entry.", "group"),
		apply:     desc("raft_apply_seconds", "Applying the entries that were found committed at one time.", "group"),
		active:    desc("governor_active", "1 if the governor works on this instance."),
		steps:     desc("governor_steps", "Steps of the governor's last plan."),
		waiting:   desc("governor_waiting", "What the governor's last plan waits for."),
		troubled:  desc("governor_step_failing", "1 if the last step of some subject has failed."),
		stepsDone: desc("governor_steps_total", "Steps that the governor has carried out here.", "result"),
		calls:     desc("rpc_calls_total", "Calls to other instances, by how they ended: answered, refused, lost.", "procedure", "result"),
		callSeconds: desc("rpc_call_seconds_total", "Time that calls to other instances took that were answered or refused.",
			"procedure"),
		peersUp: desc("rpc_peers_connected", "Other instances that this one has a connection to."),
		peers:   desc("rpc_peers_failing", "Other instances that this one could not reach at the last attempt."),
	}
}

func (d clusterDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.info, d.role, d.hasLeader, d.last, d.lag, d.voters, d.learners, d.commit, d.apply, d.active, d.steps,
		d.waiting, d.troubled, d.stepsDone, d.calls, d.callSeconds, d.peersUp, d.peers}
}

// collectCluster sends the metrics of groups, governor and calls to other instances.
func (d clusterDescs) collect(ch chan<- prometheus.Metric, s *Sample) {
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- constant(desc, prometheus.GaugeValue, v, labels)
	}
	count := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- constant(desc, prometheus.CounterValue, v, labels)
	}
	if id := s.Identity; id.Name != "" {
		gauge(d.info, 1, id.Name, id.Cluster, id.Replicaset, id.Tier)
	}
	for _, g := range s.Groups {
		for _, role := range rolesOfGroups {
			gauge(d.role, one(g.Role == role), g.Name, role)
		}
		gauge(d.hasLeader, one(g.HasLeader), g.Name)
		gauge(d.last, float64(g.LastIndex), g.Name)
		gauge(d.lag, float64(g.Committed-min(g.Applied, g.Committed)), g.Name)
		gauge(d.voters, float64(g.Voters), g.Name)
		gauge(d.learners, float64(g.Learners), g.Name)
		ch <- histogram(d.commit, g.Commit, g.Name)
		ch <- histogram(d.apply, g.Apply, g.Name)
	}
	if g := s.Governor; g != nil {
		gauge(d.active, one(g.Active))
		gauge(d.steps, float64(g.Steps))
		gauge(d.waiting, float64(g.Waiting))
		gauge(d.troubled, one(g.Troubled))
		count(d.stepsDone, float64(g.Done), "ok")
		count(d.stepsDone, float64(g.Failed), "failed")
	}
	for _, r := range s.RPC {
		count(d.calls, float64(r.Answered), r.Procedure, "answered")
		count(d.calls, float64(r.Refused), r.Procedure, "refused")
		count(d.calls, float64(r.Lost), r.Procedure, "lost")
		count(d.callSeconds, r.Seconds, r.Procedure)
	}
	if p := s.Peers; p != nil {
		gauge(d.peersUp, float64(p.Connected))
		gauge(d.peers, float64(p.Failing))
	}
}

// histogram makes one histogram; one that cannot be made fails only itself.
func histogram(desc *prometheus.Desc, l LatencySample, labels ...string) prometheus.Metric {
	metric, err := prometheus.NewConstHistogram(desc, l.Count, l.Sum, l.Buckets, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return metric
}
