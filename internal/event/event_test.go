package event

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests got into testdata")

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// every returns one or more events of each type.
func every() []Event {
	online := lifecycle.Grade{Name: lifecycle.Online, Incarnation: 2}
	offline := lifecycle.Grade{Name: lifecycle.Offline, Incarnation: 2}
	return []Event{
		StateChanged{Instance: "i1", Record: lifecycle.Record{From: lifecycle.Start, To: lifecycle.InitError, At: t0,
			DurationMs: 7, Stage: lifecycle.Discover, Cause: &lifecycle.Cause{Code: 59, Message: "broken", Field: "config"}}},
		StateChanged{Record: lifecycle.Record{From: lifecycle.ConfiguringRoles, To: lifecycle.RolesConfigured, At: t0,
			Stage: lifecycle.Postjoin}},
		GradeChanged{At: t0, Instance: "i1", From: offline, To: online},
		GradeChanged{At: t0, Instance: "i1", From: online, To: offline, Target: true, Reason: "silent for 5s"},
		ProcessStarted{At: t0, Version: "0.1.0", Stage: "Boot", PID: 12, DataDir: "/d"},
		ProcessStopping{At: t0, Reason: "SIGTERM"},
		ProcessStopping{At: t0, Reason: "poisoned", Unclean: true},
		Authenticated{At: t0, User: "admin", Where: "127.0.0.1:9", OK: true},
		Authenticated{At: t0, User: "bob", Where: "127.0.0.1:9", Reason: "no such user"},
		Privileged{At: t0, Who: "admin", Where: "admin.sock", What: "create user bob"},
		Privileged{At: t0, Who: "admin", Where: "admin.sock", What: "create user bob", Result: "ok"},
		Privileged{At: t0, Who: "bob", Where: "admin.sock", What: "expel i1", Result: "refused: no right"},
		LeaderChanged{At: t0, Group: "data", Term: 3, Leader: 1},
		LeaderChanged{At: t0, Group: "data", Term: 3},
		CheckpointDone{At: t0, Path: "data/1.snap", Rows: 5, Duration: time.Second},
		CheckpointDone{At: t0, Failure: "no space left"},
		Poisoned{At: t0, What: "data log", Failure: "input/output error"},
	}
}

// What readers of logs see is kept in a file, so that a change of it is reviewed.
func TestEventsToTheLetter(t *testing.T) {
	levels := [...]string{"info", "warn", "error"}
	var b strings.Builder
	for _, e := range every() {
		if !e.When().Equal(t0) {
			t.Errorf("%T does not carry its time", e)
		}
		fmt.Fprintf(&b, "%T\n----\n%s %s: %s\n", e, levels[e.Level()], e.Name(), e.Text())
		for _, f := range e.Fields() {
			if f.Value == "" {
				t.Errorf("%T has the empty field %s", e, f.Key)
			}
			fmt.Fprintf(&b, "  %s=%s\n", f.Key, f.Value)
		}
		b.WriteString("\n")
	}
	const path = "testdata/events.txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("run with -rewrite and look at the difference; got:\n%s", b.String())
	}
}

func TestFanoutGivesEveryEventToEverySinkInOrder(t *testing.T) {
	var got []string
	sink := func(name string) Sink { return SinkFunc(func(e Event) { got = append(got, name+e.Name()) }) }
	f := Fanout{sink("a:"), Fanout{sink("b:")}, sink("c:")}
	f.Emit(ProcessStarted{})
	f.Emit(Poisoned{})
	want := "[a:process_started b:process_started c:process_started a:poisoned b:poisoned c:poisoned]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
	Fanout(nil).Emit(Poisoned{})
}
