package httpd

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// fullSample has something of everything.
func fullSample() Sample {
	return Sample{
		Published: lifecycle.Published{State: lifecycle.RolesConfigured, Stage: lifecycle.Postjoin, Since: t0},
		Grade:     &lifecycle.Grade{Name: lifecycle.Online}, Memory: &MemorySample{QuotaBytes: 9, UsedBytes: 1},
		Requests: []RequestSample{{Type: "ping", Count: 1}}, Cut: []CutSample{{Reason: "slow"}}, SchemaChanges: []SchemaChange{{Space: "s"}},
		Identity: IdentitySample{Name: "i1", Cluster: "demo", Replicaset: "default_1", Tier: "default"},
		Groups: []GroupSample{{Name: "data", Term: 3, Committed: 12, Applied: 10, LastIndex: 14, Role: "learner", HasLeader: true, Voters: 3, Learners: 1,
			Commit: LatencySample{Count: 3, Sum: 0.5, Buckets: map[float64]uint64{0.1: 1, 1: 3}}}},
		Governor: &GovernorSample{Active: true, Steps: 2, Waiting: 1, Done: 7, Failed: 4, Troubled: true},
		RPC:      []RPCSample{{Procedure: ".proc_cas", Answered: 5, Refused: 2, Lost: 1, Seconds: 0.25}},
		Peers:    &PeersSample{Connected: 2, Failing: 1},
	}
}

func TestMetricsOfTheCluster(t *testing.T) {
	b := newBench()
	b.source.sample = fullSample()
	text := b.do("GET", "/metrics").Body.String()
	for _, line := range []string{
		`lycosa_instance_info{cluster="demo",name="i1",replicaset="default_1",tier="default"} 1`,
		`lycosa_raft_role{group="data",role="learner"} 1`, `lycosa_raft_role{group="data",role="leader"} 0`,
		`lycosa_raft_has_leader{group="data"} 1`, `lycosa_raft_last_index{group="data"} 14`, `lycosa_raft_lag_entries{group="data"} 2`,
		`lycosa_raft_voters{group="data"} 3`, `lycosa_raft_learners{group="data"} 1`,
		`lycosa_raft_commit_seconds_bucket{group="data",le="0.1"} 1`, `lycosa_raft_commit_seconds_bucket{group="data",le="+Inf"} 3`,
		`lycosa_raft_commit_seconds_sum{group="data"} 0.5`, `lycosa_raft_apply_seconds_count{group="data"} 0`,
		`lycosa_governor_active 1`, `lycosa_governor_steps 2`, `lycosa_governor_waiting 1`, `lycosa_governor_step_failing 1`,
		`lycosa_governor_steps_total{result="ok"} 7`, `lycosa_governor_steps_total{result="failed"} 4`,
		`lycosa_rpc_calls_total{procedure=".proc_cas",result="answered"} 5`, `lycosa_rpc_calls_total{procedure=".proc_cas",result="lost"} 1`,
		`lycosa_rpc_call_seconds_total{procedure=".proc_cas"} 0.25`, `lycosa_rpc_peers_connected 2`, `lycosa_rpc_peers_failing 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	// What is not known yet is not there.
	b.source.sample = Sample{}
	text = b.do("GET", "/metrics").Body.String()
	for _, name := range []string{"lycosa_instance_info", "lycosa_governor", "lycosa_rpc"} {
		if strings.Contains(text, "\n"+name) {
			t.Errorf("%s is told of an instance of which nothing is known", name)
		}
	}
}

// TestDashboard: docs/grafana names only metrics that exist, and labels that they have.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../docs/grafana/lycosa.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	b := newBench()
	b.source.sample = fullSample()
	descriptions := make(chan *prometheus.Desc, 1000)
	b.metrics.Describe(descriptions)
	for _, c := range b.metrics.counters {
		c.Describe(descriptions)
	}
	close(descriptions)
	known := map[string]string{"lycosa_build_info": "version, go_version"}
	for d := range descriptions {
		found := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*)\}`).FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("cannot read %s", d)
		}
		known[found[1]] = found[2]
	}
	selector := regexp.MustCompile(`(lycosa_\w+)(?:\{([^}]*)\})?`)
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	named := 0
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, found := range selector.FindAllStringSubmatch(target.Expr, -1) {
				named++
				labels, ok := known[found[1]]
				if !ok {
					labels, ok = known[suffix.ReplaceAllString(found[1], "")]
				}
				if !ok {
					t.Errorf("panel %q names %s, which does not exist", p.Title, found[1])
				}
				for _, match := range regexp.MustCompile(`(\w+)(?:=|!=|=~)"`).FindAllStringSubmatch(found[2], -1) {
					if match[1] != "job" && match[1] != "instance" && !strings.Contains(labels, match[1]) {
						t.Errorf("panel %q asks for label %s of %s, which has %s", p.Title, match[1], found[1], labels)
					}
				}
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d metrics are named", named)
	}
}
