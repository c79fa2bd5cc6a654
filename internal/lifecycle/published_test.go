package lifecycle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
)

func TestJSONOfRecord(t *testing.T) {
	r := Record{From: Start, To: InitError, At: t0, DurationMs: 12, Stage: Discover, PID: 7,
		Cause: &Cause{Code: 59, Message: "config is broken"}}
	want := `{"from":"(start)","to":"InitError","at":"2026-03-01T12:00:00.123456789Z","duration_ms":12,` +
		`"cause":{"code":59,"message":"config is broken","field":null},"stage":"Discover","pid":7}`
	b, err := json.Marshal(r)
	if err != nil || string(b) != want {
		t.Fatalf("got %s, %v\nwant %s", b, err, want)
	}
	var back Record
	if err := json.Unmarshal(b, &back); err != nil || *back.Cause != *r.Cause || !back.At.Equal(r.At) {
		t.Errorf("came back as %+v, %v", back, err)
	}
	r.Cause.Field = "listen"
	b, _ = json.Marshal(r)
	if err := json.Unmarshal(b, &back); err != nil || back.Cause.Field != "listen" {
		t.Errorf("came back as %+v, %v", back, err)
	}
	b, _ = json.Marshal(Grade{Name: Online, Incarnation: 3})
	if string(b) != `{"name":"Online","incarnation":3}` {
		t.Errorf("grade is %s", b)
	}
}

func TestOverdue(t *testing.T) {
	limits := map[State]bool{ // overdue without progress or a named wait
		Start: true, Unconfigured: true, ConfigFound: true, ConfigLoaded: true, BootstrappingBox: true,
		RecoveringSnapshot: true, ConnectingFullmesh: true, BoxConfigured: true, ConfiguringRoles: true,
	}
	waits := map[State]bool{Unconfigured: true, ConfigLoaded: true, RecoveringSnapshot: true, ConnectingFullmesh: true}
	for _, s := range allStates() {
		p := Published{State: s, Since: t0, Moved: t0}
		for _, c := range []struct {
			after time.Duration
			want  bool
		}{{PassingMax, false}, {PassingMax + 1, limits[s]}, {-time.Hour, false}} {
			if _, got := p.Overdue(t0.Add(c.after)); got != c.want {
				t.Errorf("%s after %s: overdue is %v", s, c.after, got)
			}
		}
		p.WaitingFor = "waiting for peers: a:1"
		if _, got := p.Overdue(t0.Add(time.Hour)); got != (limits[s] && !waits[s]) {
			t.Errorf("%s with a named wait: overdue is %v", s, got)
		}
		p.WaitingFor, p.Moved = "", t0.Add(time.Hour)
		if _, got := p.Overdue(t0.Add(time.Hour + PassingMax)); got != (limits[s] && !waits[s]) {
			t.Errorf("%s with progress: overdue is %v", s, got)
		}
	}
}

func TestProgressAndWait(t *testing.T) {
	m := New(t0, Options{Stage: Discover, PID: 1})
	walk(t, m, t0, ConfigFound, ConfigLoaded, RecoveringSnapshot)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	m.Progress(at(20), Progress{What: "rows", Done: 10, Total: 20})
	if _, late := m.Published().Overdue(at(45)); late {
		t.Error("overdue in spite of progress")
	}
	m.Progress(at(45), Progress{What: "rows", Done: 10, Total: 20})
	if still, late := m.Published().Overdue(at(51)); !late || still != 31*time.Second {
		t.Errorf("repeating the same number counts as progress: %s", still)
	}
	before := m.Published()
	m.Progress(at(52), Progress{What: "rows", Done: 11, Total: 20})
	if before.Progress.Done != 10 {
		t.Error("a published value changed afterwards")
	}
	m.Wait("waiting for quorum")
	if got, want := m.Published().Summary(at(60)),
		"Discover: RecoveringSnapshot for 1m0s, 11 of 20 rows, waiting for quorum"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	walk(t, m, at(60), ConnectingFullmesh)
	if p := m.Published(); p.WaitingFor != "" || p.Progress != nil || p.Moved != at(60) {
		t.Errorf("the next state keeps wait or progress: %+v", p)
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		p    Published
		age  time.Duration
		want string
	}{
		{Published{Stage: Postjoin, State: RolesConfigured}, 1234 * time.Millisecond, "Postjoin: RolesConfigured for 1.2s"},
		{Published{Stage: Boot, State: BootstrappingBox}, 12 * time.Millisecond, "Boot: BootstrappingBox for 12ms"},
		{Published{Stage: Postjoin, State: RolesConfigured}, 26*time.Hour + 3*time.Minute,
			"Postjoin: RolesConfigured for 26h3m"},
		{Published{Stage: Postjoin, State: RolesConfigured}, 72 * time.Hour, "Postjoin: RolesConfigured for 3 days"},
		{Published{Stage: Postjoin, State: RolesConfigured}, -time.Hour, "Postjoin: RolesConfigured for 0s"},
		{Published{Stage: Discover, State: RecoveringSnapshot, Progress: &Progress{What: "rows", Done: 1204331}},
			time.Second, "Discover: RecoveringSnapshot for 1s, 1,204,331 rows"},
		{Published{Stage: Discover, State: InitError, Cause: &Cause{Message: "port 3301 is taken"}}, 90 * time.Second,
			"Discover: InitError for 1m30s: port 3301 is taken (left only by a restart)"},
	} {
		c.p.Since = t0
		if got := c.p.Summary(t0.Add(c.age)); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, s := range allStates() {
		got := Published{State: s}.Refusal()
		served := s == ConnectingFullmesh || s == BoxConfigured || s == ConfiguringRoles || s == RolesConfigured ||
			s == OperationError
		if served != (got == nil) {
			t.Errorf("%s: refusal %v", s, got)
		}
		if got != nil && (got.Code != errcode.Loading || got.Message != "Instance is in state "+s.String()) {
			t.Errorf("%s: refusal %d %q", s, got.Code, got.Message)
		}
	}
	got := Published{State: BootError, Cause: &Cause{Code: 59, Message: "100% wrong"}}.Refusal()
	if got.Code != 59 || got.Message != "100% wrong" {
		t.Errorf("refusal %d %q", got.Code, got.Message)
	}
	got = Published{State: InitError, Cause: &Cause{Message: "broken"}}.Refusal()
	if got.Code != errcode.Loading || got.Message != "Instance is in state InitError: broken" {
		t.Errorf("refusal %d %q", got.Code, got.Message)
	}
}
