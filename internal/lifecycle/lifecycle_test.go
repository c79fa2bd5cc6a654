package lifecycle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// The two tables once more, written by hand from the specification, so that a slip in the product's table is seen.
const edgesByHand = `
(start) Unconfigured ConfigFound InitError
Unconfigured BootstrappingBox InitError
ConfigFound ConfigLoaded InitError
ConfigLoaded RecoveringSnapshot BootstrappingBox InitError
BootstrappingBox ConnectingFullmesh BootError
RecoveringSnapshot ConnectingFullmesh BootError
ConnectingFullmesh ConnectingFullmesh BoxConfigured BootError
BoxConfigured ConfiguringRoles
ConfiguringRoles RolesConfigured OperationError
RolesConfigured ConfiguringRoles
OperationError ConfiguringRoles
InitError
BootError`

const stagesByHand = `
(start) Discover Boot Join
Unconfigured Discover Boot Join
ConfigFound Discover
RecoveringSnapshot Discover
ConfigLoaded Discover Join
BootstrappingBox Boot Join
InitError Supervisor Discover Boot Join Postjoin
BootError Supervisor Discover Boot Join Postjoin
ConnectingFullmesh Postjoin
BoxConfigured Postjoin
ConfiguringRoles Postjoin
RolesConfigured Postjoin
OperationError Postjoin`

func byHand(t *testing.T, text string) map[string][]string {
	t.Helper()
	table := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		table[words[0]] = words[1:]
	}
	if len(table) != int(stateCount) {
		t.Fatalf("the table by hand has %d states, want %d", len(table), stateCount)
	}
	return table
}

func allStates() []State { return append([]State{Start}, States()...) }

func TestEdgesAreThoseOfTheSpecification(t *testing.T) {
	table := byHand(t, edgesByHand)
	for _, from := range allStates() {
		for _, to := range allStates() {
			if want := slices.Contains(table[from.String()], to.String()); Allowed(from, to) != want {
				t.Errorf("%s -> %s: allowed is %v, want %v", from, to, !want, want)
			}
		}
	}
}

func TestStagesOfStatesAreThoseOfTheSpecification(t *testing.T) {
	table := byHand(t, stagesByHand)
	for _, state := range allStates() {
		for _, stage := range Stages() {
			if want := slices.Contains(table[state.String()], stage.String()); StateInStage(stage, state) != want {
				t.Errorf("%s in %s: allowed is %v, want %v", state, stage, !want, want)
			}
		}
	}
}

func TestStageEdges(t *testing.T) {
	want := map[[2]Stage]bool{{Discover, Postjoin}: true, {Boot, Postjoin}: true, {Join, Postjoin}: true}
	for _, from := range Stages() {
		for _, to := range Stages() {
			if StageAllowed(from, to) != want[[2]Stage{from, to}] {
				t.Errorf("%s -> %s: allowed is %v", from, to, StageAllowed(from, to))
			}
		}
	}
}

// at returns a machine that is in that stage and state, however it came there.
func at(stage Stage, state State) *Machine {
	return &Machine{pid: 1, history: &History{}, now: Published{Stage: stage, State: state, Since: t0, Moved: t0}}
}

func panics(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

// Every pair of (stage, state) and every (stage, state) after it: exactly what both tables allow is done, everything
// else stops the process and changes nothing.
func TestSetterOverAllPairs(t *testing.T) {
	cause := &Cause{Code: 59, Message: "port is taken", Field: "listen"}
	for _, fromStage := range Stages() {
		for _, from := range allStates() {
			for _, toStage := range Stages() {
				for _, to := range allStates() {
					m := at(fromStage, from)
					before := m.Published()
					text := panics(func() { _, _ = m.StepStage(t0.Add(time.Second), toStage, to, cause) })
					want := Allowed(from, to) && StateInStage(toStage, to) &&
						(fromStage == toStage || StageAllowed(fromStage, toStage))
					if want != (text == "") {
						t.Fatalf("%s/%s -> %s/%s: panic %q, allowed %v", fromStage, from, toStage, to, text, want)
					}
					if text == "" {
						continue
					}
					if m.Published() != before || len(m.History()) != 0 {
						t.Fatalf("%s/%s -> %s/%s was refused but changed the machine", fromStage, from, toStage, to)
					}
					if !strings.Contains(text, "invariant broken") {
						t.Fatalf("panic is not an invariant's: %q", text)
					}
				}
			}
		}
	}
}

func TestEveryStateIsReachedAndLeft(t *testing.T) {
	reached := map[State]bool{Start: true}
	for range states {
		for _, e := range Edges() {
			if reached[e.From] {
				reached[e.To] = true
			}
		}
	}
	for _, s := range States() {
		if !reached[s] {
			t.Errorf("%s cannot be reached", s)
		}
		if s.IsTerminal() == (len(states[s].next) > 0) {
			t.Errorf("%s: terminal is %v with %d ways out", s, s.IsTerminal(), len(states[s].next))
		}
		failure := slices.ContainsFunc(states[s].next, State.IsError)
		if s < ConnectingFullmesh && !failure {
			t.Errorf("boot state %s has no way to an error state", s)
		}
	}
	if len(States()) != 12 {
		t.Errorf("%d states, want 12", len(States()))
	}
}

// walk makes the steps and fails the test if one is refused.
func walk(t *testing.T, m *Machine, now time.Time, states ...State) {
	t.Helper()
	for _, s := range states {
		stage := m.Stage()
		if !StateInStage(stage, s) {
			stage = Postjoin
		}
		if _, err := m.StepStage(now, stage, s, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLifeAcrossProcesses(t *testing.T) {
	discover := New(t0, Options{Stage: Discover, PID: 100})
	r, err := discover.Step(t0.Add(5*time.Millisecond), Unconfigured, nil)
	if err != nil || r.From != Start || r.To != Unconfigured || r.DurationMs != 5 || r.PID != 100 || r.Stage != Discover {
		t.Fatalf("record %+v, error %v", r, err)
	}

	boot := New(t0.Add(time.Second), Options{Stage: Boot, PID: 101, History: discover.History()})
	if _, recorded := boot.Resume(t0.Add(time.Second), Unconfigured); recorded {
		t.Error("going on in the state in which the history ends made a record")
	}
	if p := boot.Published(); p.State != Unconfigured || !p.Since.Equal(r.At) || p.Prev != Start {
		t.Errorf("published %+v", p)
	}
	r, _ = boot.Step(t0.Add(2005*time.Millisecond), BootstrappingBox, nil)
	if r.DurationMs != 2000 || r.PID != 101 {
		t.Errorf("time in Unconfigured over both processes: %+v", r)
	}
	walk(t, boot, t0.Add(3*time.Second), ConnectingFullmesh, ConnectingFullmesh, BoxConfigured, ConfiguringRoles)
	if boot.Published().WasConfigured {
		t.Error("startup is reported too early")
	}
	walk(t, boot, t0.Add(3*time.Second), RolesConfigured, ConfiguringRoles)
	if p := boot.Published(); !p.WasConfigured || p.Stage != Postjoin || p.Prev != RolesConfigured {
		t.Errorf("published %+v", p)
	}
	if err := CheckHistory(boot.History()); err != nil {
		t.Error(err)
	}

	restart := New(t0.Add(time.Minute), Options{Stage: Discover, PID: 102, History: boot.History()})
	walk(t, restart, t0.Add(time.Minute), ConfigFound, ConfigLoaded, RecoveringSnapshot, ConnectingFullmesh)
	if err := CheckHistory(restart.History()); err != nil {
		t.Error(err)
	}
	if n := len(restart.History()); n != 12 {
		t.Errorf("%d records, want 12", n)
	}
}

func TestResume(t *testing.T) {
	for _, stage := range []Stage{Discover, Boot, Join} {
		for _, state := range allStates() {
			m := New(t0, Options{Stage: stage, PID: 2})
			text := panics(func() { m.Resume(t0, state) })
			want := stage == Boot && state == Unconfigured ||
				stage == Join && (state == Unconfigured || state == ConfigLoaded)
			if want != (text == "") {
				t.Errorf("resume of %s in %s: panic %q, allowed %v", state, stage, text, want)
			}
			if want && CheckHistory(m.History()) != nil {
				t.Errorf("resume of %s in %s makes a history that is refused", state, stage)
			}
		}
	}
	crashed := []Record{{From: Unconfigured, To: BootstrappingBox, Stage: Join, PID: 6}}
	m := New(t0, Options{Stage: Join, PID: 7, History: crashed})
	if r, recorded := m.Resume(t0, Unconfigured); !recorded || r.From != Start || r.PID != 7 {
		t.Errorf("after a crash: %+v, %v", r, recorded)
	}
	if text := panics(func() { m.Resume(t0, Unconfigured) }); text == "" {
		t.Error("a machine that has begun was resumed")
	}
	for _, stage := range []Stage{Supervisor, Postjoin} {
		if text := panics(func() { New(t0, Options{Stage: stage}) }); text == "" {
			t.Errorf("a machine began in stage %s", stage)
		}
	}
}

func TestErrorStatesAlwaysCarryACause(t *testing.T) {
	m := New(t0, Options{Stage: Discover, PID: 1})
	r, err := m.Step(t0, InitError, nil)
	if err != ErrNoCause || r.Cause == nil || m.Published().Cause == nil || m.State() != InitError {
		t.Errorf("record %+v, error %v, published %+v", r, err, m.Published())
	}
	m = New(t0, Options{Stage: Discover, PID: 1})
	given := &Cause{Code: 1, Message: strings.Repeat("я", causeBytesMax), Field: "listen"}
	if _, err := m.Step(t0, InitError, given); err != nil {
		t.Fatal(err)
	}
	got := m.Published().Cause
	if got == given || len(got.Message) > causeBytesMax || !strings.HasSuffix(got.Message, "я…") {
		t.Errorf("a long cause was kept as %d bytes", len(got.Message))
	}
	given.Field = "changed"
	if got.Field != "listen" {
		t.Error("the published cause changed with the caller's")
	}
}

func TestClockThatJumpsBack(t *testing.T) {
	m := New(t0, Options{Stage: Discover, PID: 1})
	if r, _ := m.Step(t0.Add(-time.Hour), ConfigFound, nil); r.DurationMs != 0 {
		t.Errorf("duration %d", r.DurationMs)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var many []Record
	for i := range HistoryMax + 5 {
		many = append(many, Record{From: RolesConfigured, To: ConfiguringRoles, PID: i})
	}
	h := NewHistory(many)
	if first := h.Records()[0].PID; h.Len() != HistoryMax || first != 5 {
		t.Fatalf("%d records from %d", h.Len(), first)
	}
	for i := range 3 * HistoryMax {
		h.Add(Record{PID: 5000 + i})
		if last, _ := h.Last(); h.Len() != HistoryMax || last.PID != 5000+i {
			t.Fatalf("after %d: %d records, last %d", i, h.Len(), last.PID)
		}
	}
	if first := h.Records()[0].PID; first != 5000+2*HistoryMax {
		t.Errorf("the oldest is %d", first)
	}
	if cap(h.records) > 3*HistoryMax {
		t.Errorf("the history holds memory for %d records", cap(h.records))
	}
	var none History
	if _, found := none.Last(); found || none.Records() == nil {
		t.Error("an empty history is not empty, or nil")
	}
}

func TestCheckHistoryFindsFaults(t *testing.T) {
	good := []Record{
		{From: Start, To: ConfigFound, Stage: Discover, PID: 1},
		{From: ConfigFound, To: ConfigLoaded, Stage: Discover, PID: 1},
		{From: Start, To: ConfigFound, Stage: Discover, PID: 2},
	}
	if err := CheckHistory(good); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]Record{
		"edge":     {{From: ConfigFound, To: RolesConfigured, Stage: Postjoin}},
		"stage":    {{From: Start, To: ConfigFound, Stage: Postjoin}},
		"gap":      {good[0], {From: Unconfigured, To: BootstrappingBox, Stage: Boot, PID: 1}},
		"same pid": {good[0], {From: Start, To: ConfigFound, Stage: Discover, PID: 1}},
		"resume":   {{From: Start, To: ConfigLoaded, Stage: Discover, PID: 1}},
	} {
		if CheckHistory(bad) == nil {
			t.Errorf("%s: no fault found", name)
		}
	}
}

// Any walk along the table, over any number of processes, gives a history that the check accepts, with durations that
// add up.
func TestRandomWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		var history []Record
		for pid := range rapid.IntRange(1, 5).Draw(t, "processes") {
			m := New(now, Options{Stage: Discover, PID: pid + 1, History: history})
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
				var open []Edge
				for _, e := range Edges() {
					if e.From == m.State() && (StateInStage(m.Stage(), e.To) || StateInStage(Postjoin, e.To)) {
						open = append(open, e)
					}
				}
				if len(open) == 0 {
					break
				}
				to := rapid.SampledFrom(open).Draw(t, "edge").To
				stage := m.Stage()
				if !StateInStage(stage, to) {
					stage = Postjoin
				}
				since := m.Published().Since
				r, err := m.StepStage(now, stage, to, &Cause{Message: "c"})
				if err != nil || r.DurationMs != now.Sub(since).Milliseconds() || m.Published().Since != now {
					t.Fatalf("record %+v, error %v", r, err)
				}
			}
			history = m.History()
		}
		if err := CheckHistory(history); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNamesRoundTrip(t *testing.T) {
	for _, s := range allStates() {
		if got, err := ParseState(s.String()); err != nil || got != s {
			t.Errorf("%s became %s, %v", s, got, err)
		}
	}
	for _, s := range Stages() {
		if got, err := ParseStage(s.String()); err != nil || got != s {
			t.Errorf("%s became %s, %v", s, got, err)
		}
	}
	for _, g := range Grades() {
		if got, err := ParseGradeName(g.String()); err != nil || got != g {
			t.Errorf("%s became %s, %v", g, got, err)
		}
	}
	var (
		st State
		sg Stage
		g  GradeName
	)
	for _, err := range []error{
		json.Unmarshal([]byte(`"Working"`), &st), json.Unmarshal([]byte(`""`), &sg), json.Unmarshal([]byte(`"online"`), &g),
	} {
		if err == nil {
			t.Error("an unknown name was read")
		}
	}
	for _, v := range []any{State(99), Stage(99), GradeName(99)} {
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("%v was written as %s", v, b)
		}
	}
	if State(99).String() != "State(99)" || Allowed(99, Start) || StateInStage(9, 99) || State(99).IsError() {
		t.Error("a state that does not exist is taken for one")
	}
}
