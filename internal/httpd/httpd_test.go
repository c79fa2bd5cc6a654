package httpd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/issue"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 120000000, time.FixedZone("x", 3600))

// source shows what a test puts into it.
type source struct {
	instance Instance
	history  []lifecycle.Record
	cluster  Cluster
	governor Governor
	known    bool
	health   Health
	sample   Sample
}

func (s *source) Instance() Instance            { return s.instance }
func (s *source) Lifecycle() []lifecycle.Record { return s.history }
func (s *source) Cluster() (Cluster, bool)      { return s.cluster, s.known }
func (s *source) Governor() (Governor, bool)    { return s.governor, s.known }
func (s *source) Health() Health                { return s.health }
func (s *source) Sample() Sample                { return s.sample }

type bench struct {
	source  *source
	metrics *Metrics
	log     *bytes.Buffer
	server  *Server
}

func newBench() bench {
	b := bench{source: &source{}, log: &bytes.Buffer{}}
	b.source.sample.Published.State = lifecycle.Unconfigured
	registry := NewRegistry("0.1.0")
	b.metrics = NewMetrics(registry, b.source)
	b.server = New(Options{Source: b.source, Logger: slog.New(slog.NewTextHandler(b.log, nil)), Metrics: registry})
	return b
}

func (b bench) do(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.server.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func (b bench) expect(t *testing.T, path string, status int, body string) {
	t.Helper()
	w := b.do("GET", path)
	if w.Code != status || strings.TrimSuffix(w.Body.String(), "\n") != body {
		t.Errorf("%s: status %d, want %d; body\n%swant\n%s", path, w.Code, status, w.Body, body)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("%s: content type %q", path, ct)
	}
}

const emptyGrade = `{"name":null,"incarnation":null}`

func TestInstanceUnknown(t *testing.T) {
	b := newBench()
	b.source.instance.SetPublished(lifecycle.Published{Stage: lifecycle.Discover})
	b.expect(t, "/api/v1/instance", 200,
		`{"name":null,"instance_uuid":null,"cluster_name":null,"cluster_uuid":null,"stage":"Discover","state":"(start)",`+
			`"state_prev":null,"state_since":null,"cause":null,"grade":{"current":`+emptyGrade+`,"target":`+emptyGrade+`},`+
			`"replicaset":{"name":null,"uuid":null},"leader":{"name":null,"address":null},"groups":[],`+
			`"memory":{"quota_bytes":null,"used_bytes":null},"version":null,"waiting_for":null,"pid":0,"schema_changes":[]}`)
}

func TestInstanceKnown(t *testing.T) {
	b := newBench()
	quota, used := uint64(1<<30), uint64(0)
	b.source.instance = Instance{
		Name: "i1", InstanceUUID: "u", ClusterName: "demo", ClusterUUID: "c",
		Grade: Grades{
			Current: GradeOf(lifecycle.Grade{Name: lifecycle.Offline}),
			Target:  GradeOf(lifecycle.Grade{Name: lifecycle.Online, Incarnation: 1}),
		},
		Replicaset: Named{"r1", "ru"}, Leader: Leader{"i1", "127.0.0.1:3301"},
		Groups:  []Group{{Name: "data", RaftID: 1, Role: "candidate", Term: 2, Committed: 3, Voters: []uint64{1}}},
		Memory:  Memory{&quota, &used},
		Version: "0.1.0", PID: 77, SchemaChanges: []SchemaChange{{Space: "s", RowsDone: 3, RowsTotal: 9}},
	}
	b.source.instance.SetPublished(lifecycle.Published{
		Stage: lifecycle.Postjoin, State: lifecycle.ConnectingFullmesh, Prev: lifecycle.RecoveringSnapshot, Since: t0,
		Cause: &lifecycle.Cause{Code: 9, Message: "<m>"}, WaitingFor: "waiting to catch up",
		Progress: &lifecycle.Progress{What: "rows", Done: 1, Total: 2},
	})
	b.expect(t, "/api/v1/instance", 200,
		`{"name":"i1","instance_uuid":"u","cluster_name":"demo","cluster_uuid":"c","stage":"Postjoin",`+
			`"state":"ConnectingFullmesh","state_prev":"RecoveringSnapshot","state_since":"2026-03-01T11:00:00.120000000Z",`+
			`"cause":{"code":9,"message":"\u003cm\u003e","field":null},`+
			`"grade":{"current":{"name":"Offline","incarnation":0},"target":{"name":"Online","incarnation":1}},`+
			`"replicaset":{"name":"r1","uuid":"ru"},"leader":{"name":"i1","address":"127.0.0.1:3301"},`+
			`"groups":[{"name":"data","raft_id":1,"role":"candidate","term":2,"committed":3,"applied":0,`+
			`"leader_raft_id":null,"voters":[1],"learners":[]}],"memory":{"quota_bytes":1073741824,"used_bytes":0},`+
			`"version":"0.1.0","waiting_for":"waiting to catch up: 1 of 2 rows","pid":77,"schema_changes":[{"space":"s","index":null,"rows_done":3,"rows_total":9}]}`)
}

func TestLifecycle(t *testing.T) {
	b := newBench()
	b.source.history = []lifecycle.Record{{
		From: lifecycle.Start, To: lifecycle.InitError, At: t0, DurationMs: 4,
		Cause: &lifecycle.Cause{Message: "m", Field: "f"}, Stage: lifecycle.Discover, PID: 5,
	}}
	var doc struct {
		History []json.RawMessage `json:"history"`
		Machine struct {
			States []string   `json:"states"`
			Edges  [][]string `json:"edges"`
		} `json:"machine"`
	}
	w := b.do("GET", "/api/v1/lifecycle")
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 {
		t.Fatal(err, w.Code)
	}
	want := `{"from":"(start)","to":"InitError","at":"2026-03-01T11:00:00.120000000Z","duration_ms":4,` +
		`"cause":{"code":0,"message":"m","field":"f"},"stage":"Discover","pid":5}`
	if len(doc.History) != 1 || string(doc.History[0]) != want {
		t.Errorf("history %s\nwant %s", doc.History, want)
	}
	if len(doc.Machine.States) != 13 || len(doc.Machine.Edges) != len(lifecycle.Edges()) {
		t.Errorf("%d states, %d edges", len(doc.Machine.States), len(doc.Machine.Edges))
	}
	for _, e := range doc.Machine.Edges {
		from, err1 := lifecycle.ParseState(e[0])
		to, err2 := lifecycle.ParseState(e[1])
		if err1 != nil || err2 != nil || !lifecycle.Allowed(from, to) {
			t.Errorf("edge %v", e)
		}
	}
	b.source.history = nil
	if w := b.do("GET", "/api/v1/lifecycle"); !strings.HasPrefix(w.Body.String(), `{"history":[],"machine":`) {
		t.Errorf("no history is %.80s", w.Body)
	}
}

func TestClusterAndGovernor(t *testing.T) {
	b := newBench()
	b.source.instance.SetPublished(lifecycle.Published{
		Stage: lifecycle.Discover, State: lifecycle.Unconfigured, WaitingFor: "waiting for peers: b:1",
	})
	refusal := `{"error":"known from stage Postjoin on; instance is in stage Discover, state Unconfigured",` +
		`"stage":"Discover","state":"Unconfigured","cause":null,"waiting_for":"waiting for peers: b:1"}`
	for _, known := range []bool{false, true} { // the stage decides, whatever the source believes
		b.source.known = known
		b.expect(t, "/api/v1/cluster", 503, refusal)
		b.expect(t, "/api/v1/governor", 503, refusal)
	}
	b.source.instance.Stage = lifecycle.Postjoin
	b.expect(t, "/api/v1/cluster", 200,
		`{"cluster_name":null,"cluster_uuid":null,"instances":[],"replicasets":[],"tiers":[],"issues":[]}`)
	b.expect(t, "/api/v1/governor", 200, `{"leader":null,"term":0,"steps":[],"waiting":[],"last_error":null}`)

	state := lifecycle.RolesConfigured
	online := GradeOf(lifecycle.Grade{Name: lifecycle.Online, Incarnation: 1})
	b.source.cluster = Cluster{
		ClusterName: "demo", ClusterUUID: "c",
		Instances: []ClusterInstance{{Name: "i1", RaftID: 1, State: &state, Grade: Grades{online, online}, IsLeader: true},
			{FailureDomain: Labels{"b": "2", "a": "1"}}},
		Replicasets: []ClusterReplicaset{{Name: "r1", State: "ok"}},
		Tiers:       []Tier{{Name: "default", ReplicationFactor: 1, CanVote: true, WALMode: "fsync", BucketCount: 3000}},
		Issues: IssuesOf([]issue.Issue{
			{Code: "c", Level: issue.Warning, Instance: "i1", Text: "t", Since: t0, Hint: "h"}}),
	}
	on := `{"name":"Online","incarnation":1}`
	b.expect(t, "/api/v1/cluster", 200, `{"cluster_name":"demo","cluster_uuid":"c","instances":[`+
		`{"name":"i1","instance_uuid":null,"raft_id":1,"address":null,"http_address":null,"replicaset":null,"tier":null,`+
		`"failure_domain":{},"state":"RolesConfigured","grade":{"current":`+on+`,"target":`+on+`},"is_leader":true,`+
		`"lag_entries":null,"last_seen":null},`+
		`{"name":null,"instance_uuid":null,"raft_id":null,"address":null,"http_address":null,"replicaset":null,"tier":null,`+
		`"failure_domain":{"a":"1","b":"2"},"state":null,"grade":{"current":`+emptyGrade+`,"target":`+emptyGrade+`},`+
		`"is_leader":false,"lag_entries":null,"last_seen":null}],`+
		`"replicasets":[{"name":"r1","uuid":null,"tier":null,"leader":null,"state":"ok","weight":null}],`+
		`"tiers":[{"name":"default","replication_factor":1,"can_vote":true,"wal_mode":"fsync","bucket_count":3000}],`+
		`"issues":[{"code":"c","level":"warning","instance":"i1","text":"t",`+
		`"since":"2026-03-01T11:00:00.120000000Z","hint":"h"}]}`)
	b.source.governor = Governor{Leader: "i1", Term: 2, Steps: []Report{{"i1", "to Online", Time{t0}}}, LastError: "e"}
	b.expect(t, "/api/v1/governor", 200, `{"leader":"i1","term":2,"steps":[{"subject":"i1","text":"to Online",`+
		`"since":"2026-03-01T11:00:00.120000000Z"}],"waiting":[],"last_error":"e"}`)
}

func TestHealth(t *testing.T) {
	b := newBench()
	b.source.instance.Stage = lifecycle.Postjoin
	b.source.instance.State = lifecycle.RolesConfigured
	body := func(ok bool, text string) string {
		return fmt.Sprintf(`{"ok":%v,"stage":"Postjoin","state":"RolesConfigured","text":%q}`, ok, text)
	}
	b.source.health = Health{Text: "not yet"}
	b.expect(t, "/health/live", 200, body(true, "the process answers"))
	b.expect(t, "/health/startup", 503, body(false, "not yet"))
	b.expect(t, "/health/ready", 503, body(false, "not yet"))
	b.source.health = Health{Startup: true, Text: "Offline"}
	b.expect(t, "/health/startup", 200, body(true, "Offline"))
	b.expect(t, "/health/ready", 503, body(false, "Offline"))
	b.source.health = Health{Startup: true, Ready: true, Text: "ready"}
	b.expect(t, "/health/ready", 200, body(true, "ready"))
}

func TestHealthOfEveryStateAndGrade(t *testing.T) {
	for _, s := range lifecycle.States() {
		for _, g := range lifecycle.Grades() {
			h := HealthOf(lifecycle.Published{State: s, WasConfigured: true}, &lifecycle.Grade{Name: g})
			if h.Ready != (s == lifecycle.RolesConfigured && g == lifecycle.Online) || !h.Startup || h.Text == "" {
				t.Errorf("%s, %s: %+v", s, g, h)
			}
		}
		if h := HealthOf(lifecycle.Published{State: s}, nil); h.Ready || h.Startup || h.Text == "ready" {
			t.Errorf("%s without a grade: %+v", s, h)
		}
	}
}

// Every route in every state: instance, lifecycle, metrics, live and the page are there always.
func TestEveryRouteInEveryState(t *testing.T) {
	b := newBench()
	for _, stage := range lifecycle.Stages() {
		for _, s := range append(lifecycle.States(), lifecycle.Start) {
			b.source.instance.SetPublished(lifecycle.Published{Stage: stage, State: s})
			b.source.known = stage == lifecycle.Postjoin
			for _, path := range paths {
				want := 200
				switch path {
				case "/api/v1/cluster", "/api/v1/governor":
					if stage != lifecycle.Postjoin {
						want = 503
					}
				case "/health/startup", "/health/ready":
					want = 503
				}
				w := b.do("GET", path)
				if w.Code != want {
					t.Errorf("%s in %s/%s: status %d", path, stage, s, w.Code)
				}
				for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options",
					"Referrer-Policy", "Cache-Control", "Cross-Origin-Resource-Policy"} {
					if w.Header().Get(name) == "" {
						t.Errorf("%s lacks %s", path, name)
					}
				}
				if w.Header().Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s allows other origins", path)
				}
			}
		}
	}
	if len(paths) != len(b.server.routes) {
		t.Errorf("%d paths, %d routes", len(paths), len(b.server.routes))
	}
}

func TestRefusals(t *testing.T) {
	b := newBench()
	b.expect(t, "/api/v1/nothing", 404, `{"error":"there is nothing at \"/api/v1/nothing\"; / names what there is"}`)
	for _, path := range []string{"/api/v1/instance/", "/health", "//", "/..", "/api/v1/../v1/instance", "/metrics%00"} {
		if w := b.do("GET", path); w.Code != 404 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
			w := b.do(method, path)
			var body failure
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error != path+" can only be read: use GET" {
				t.Errorf("%s %s: %s, %v", method, path, w.Body, err)
			}
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	if w := b.do("GET", "/"+strings.Repeat("x", pathBytesMax)); w.Code != 414 || w.Body.Len() > 200 {
		t.Errorf("a long path: %d %s", w.Code, w.Body)
	}
}

// panicking panics where the test wants it.
type panicking struct{ *source }

func (panicking) Instance() Instance { panic("planted") }

func TestPanicBecomes500AndALogLine(t *testing.T) {
	b := newBench()
	b.server.o.Source = panicking{b.source}
	b.expect(t, "/api/v1/instance", 500, `{"error":"internal error; the log has the details"}`)
	if log := b.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "panic=planted") ||
		!strings.Contains(log, "path=/api/v1/instance") || !strings.Contains(log, "stack=") {
		t.Errorf("log is %q", log)
	}
	b.expect(t, "/api/v1/lifecycle", 200, strings.TrimSuffix(b.do("GET", "/api/v1/lifecycle").Body.String(), "\n"))
}

func TestDocumentThatCannotBeWritten(t *testing.T) {
	b := newBench()
	b.source.instance.State = 99
	b.expect(t, "/api/v1/instance", 500, `{"error":"internal error; the log has the details"}`)
	if !strings.Contains(b.log.String(), "cannot be written as JSON") {
		t.Errorf("log is %q", b.log)
	}
}

func TestPage(t *testing.T) {
	b := newBench()
	b.source.instance = Instance{Name: "<script>alert(1)</script>"}
	b.source.instance.SetPublished(lifecycle.Published{
		Stage: lifecycle.Discover, State: lifecycle.InitError, Since: t0,
		Cause: &lifecycle.Cause{Message: "port & <b>taken</b>"},
	})
	w := b.do("GET", "/")
	page := w.Body.String()
	for _, want := range []string{
		"Discover", "InitError", "2026-03-01T11:00:00Z", "port &amp; &lt;b&gt;taken", pageStyle,
		"/api/v1/instance", "/api/v1/lifecycle", "/api/v1/cluster", "/api/v1/governor", "/metrics", "/health/ready",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("page with a script, or not HTML: %q", w.Header().Get("Content-Type"))
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
		!strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
}

func TestMetrics(t *testing.T) {
	b := newBench()
	b.source.sample = Sample{
		Published: lifecycle.Published{
			Stage: lifecycle.Postjoin, State: lifecycle.RolesConfigured, Since: time.Unix(100, 0)},
		Grade:    &lifecycle.Grade{Name: lifecycle.Online},
		Memory:   &MemorySample{QuotaBytes: 1000, UsedBytes: 10},
		Groups:   []GroupSample{{Name: "data", Term: 2, Committed: 30, Applied: 29, IsLeader: true}},
		Requests: []RequestSample{{Type: "select", Count: 7, Errors: 1}}, Connections: 3,
		Refused: 4, Cut: []CutSample{{Reason: "slow", Count: 5}}, InFlight: 6, QueuedBytes: 700,
		SchemaChanges: []SchemaChange{{Space: "s", Index: "i", RowsDone: 4, RowsTotal: 9}},
	}
	for range 2 {
		b.metrics.Emit(event.StateChanged{Record: lifecycle.Record{To: lifecycle.RolesConfigured}})
	}
	b.metrics.Emit(event.Authenticated{})
	b.metrics.Emit(event.CheckpointDone{})
	b.metrics.Emit(event.StateChanged{Record: lifecycle.Record{To: 99}})
	w := b.do("GET", "/metrics")
	text := "\n" + w.Body.String()
	for _, want := range []string{
		`lycosa_instance_state{state="RolesConfigured"} 1`, `lycosa_instance_state{state="InitError"} 0`,
		`lycosa_index_build_rows{index="i",space="s"} 4`, `lycosa_index_build_rows_expected{index="i",space="s"} 9`,
		`lycosa_instance_state{state="(start)"} 0`, `lycosa_instance_stage{stage="Postjoin"} 1`,
		`lycosa_instance_grade{grade="Online"} 1`, `lycosa_instance_state_since_seconds 100`,
		`lycosa_memory_quota_bytes 1000`, `lycosa_memory_used_bytes 10`, `lycosa_connections 3`,
		`lycosa_raft_term{group="data"} 2`, `lycosa_raft_committed_index{group="data"} 30`,
		`lycosa_raft_applied_index{group="data"} 29`, `lycosa_raft_is_leader{group="data"} 1`,
		`lycosa_requests_total{type="select"} 7`, `lycosa_request_errors_total{type="select"} 1`,
		`lycosa_state_changes_total{state="RolesConfigured"} 2`, `lycosa_state_changes_total{state="BootError"} 0`,
		`lycosa_logins_total{result="refused"} 1`, `lycosa_logins_total{result="ok"} 0`,
		`lycosa_checkpoints_total{result="ok"} 1`,
		`lycosa_connections_refused_total 4`, `lycosa_connections_cut_total{reason="slow"} 5`,
		`lycosa_requests_in_flight 6`, `lycosa_replies_queued_bytes 700`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for _, want := range []string{"lycosa_build_info{", "go_goroutines", `version="0.1.0"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\nlycosa_instance_state{"); n != 13 {
		t.Errorf("%d states", n)
	}
	if b.log.Len() != 0 {
		t.Errorf("log is %s", b.log)
	}
}

func TestMetricsThatCannotBeMadeFailAlone(t *testing.T) {
	b := newBench()
	b.source.sample.Groups = []GroupSample{{Name: "\xff"}, {Name: "data", Term: 5}}
	w := b.do("GET", "/metrics")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `lycosa_raft_term{group="data"} 5`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(b.log.String(), "metrics cannot be collected completely") {
		t.Errorf("log is %q", b.log)
	}
}

// serve starts the server on a port of its own and returns its address and a function that stops it.
func serve(t *testing.T, b bench) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.server.Serve(l) }()
	return l.Addr().String(), sync.OnceFunc(func() {
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve returned %v", err)
		}
	})
}

func TestOverARealConnection(t *testing.T) {
	b := newBench()
	address, stop := serve(t, b)
	defer stop()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, method := range []string{"GET", "HEAD"} {
		req, _ := http.NewRequest(method, "http://"+address+"/api/v1/instance", nil)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || resp.ContentLength == 0 || (len(body) == 0) != (method == "HEAD") {
			t.Errorf("%s: %d, %d of %d bytes, %v", method, resp.StatusCode, len(body), resp.ContentLength, err)
		}
	}
	req, _ := http.NewRequest("GET", "http://"+address+"/", nil)
	req.Header.Set("X-Long", strings.Repeat("x", 2*headerBytesMax))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long headers: %d", resp.StatusCode)
	}
}

func TestServerHasLimits(t *testing.T) {
	s := newBench().server.http
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 ||
		s.MaxHeaderBytes == 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitListener(inner, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := dial(), dial()
	defer one.Close()
	defer two.Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	select {
	case <-accepted:
		t.Fatal("a second connection was accepted beside the first")
	default:
	}
	_ = first.Close()
	_ = first.Close() // closing twice gives one slot back
	second := <-accepted
	if len(l.(*limited).slots) != 1 {
		t.Errorf("%d slots are taken", len(l.(*limited).slots))
	}
	waiting := make(chan error)
	go func() {
		_, err := l.Accept()
		waiting <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err == nil {
		t.Error("Accept goes on after Close")
	}
	_ = second.Close()
}
