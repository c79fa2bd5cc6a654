package supervisor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

// TestPolicyScript runs testdata/policy.txt: blocks of exits, "----", and the decision after each.
func TestPolicyScript(t *testing.T) {
	const path = "testdata/policy.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		fmt.Fprintf(&got, "%s\n----\n%s\n", commands, runPolicy(t, commands))
	}
	result := strings.TrimSpace(got.String()) + "\n"
	if *rewrite {
		if err := os.WriteFile(path, []byte(result), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if result != string(text) {
		t.Errorf("got\n%s\nwant\n%s", result, text)
	}
}

func runPolicy(t *testing.T, commands string) string {
	var out strings.Builder
	p := &policy{}
	now := time.Duration(0)
	for line := range strings.SplitSeq(commands, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line == "no-restart" {
			p.noRestart = true
			continue
		}
		e := parseExit(t, line, &now)
		d := p.decide(e)
		what := fmt.Sprintf("end %d", d.ExitCode)
		if d.Restart {
			what = fmt.Sprintf("restart after %s", d.Delay)
		}
		if d.Crash {
			what += ", crashed"
		}
		fmt.Fprintf(&out, "%s (%s)\n", what, d.Why)
	}
	return out.String()
}

// parseExit reads "code=3 signal=9 fatal=2 rebootstrap stopping state=InitError configured=2m after=1s".
func parseExit(t *testing.T, line string, now *time.Duration) exit {
	t.Helper()
	e := exit{}
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "code":
			_, err = fmt.Sscan(value, &e.Code)
		case "signal":
			_, err = fmt.Sscan(value, &e.Signal)
		case "fatal":
			var class int
			_, err = fmt.Sscan(value, &class)
			e.Fatal = new(ipc.Class)
			*e.Fatal = ipc.Class(class)
		case "rebootstrap":
			e.Rebootstrap = true
		case "stopping":
			e.Stopping = true
		case "state":
			e.State, err = lifecycle.ParseState(value)
		case "configured":
			e.Configured, err = time.ParseDuration(value)
		case "after":
			var d time.Duration
			d, err = time.ParseDuration(value)
			*now += d
		default:
			t.Fatalf("unknown word %q", word)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.At = *now
	return e
}

// TestPolicyProperties checks what must hold after any row of exits.
func TestPolicyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &policy{}
		now, poisons, restarted := time.Duration(0), 0, 0
		for range rapid.IntRange(1, 40).Draw(t, "exits") {
			now += time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "gap"))
			e := exit{At: now, Code: rapid.IntRange(0, 5).Draw(t, "code"), Rebootstrap: rapid.Bool().Draw(t, "rebootstrap")}
			if rapid.Bool().Draw(t, "signalled") {
				e.Code, e.Signal = 0, rapid.IntRange(1, 31).Draw(t, "signal")
			}
			d := p.decide(e)
			if d.Delay < 0 || d.Delay > poisonDelay {
				t.Fatalf("delay %s", d.Delay)
			}
			if e.Signal == 0 && e.Code == 3 {
				poisons++
			}
			if !d.Restart {
				return
			}
			if d.Delay == 0 {
				restarted++
			}
			if restarted > rebootstrapsMax {
				t.Fatalf("restarted %d times without any delay", restarted)
			}
		}
		if poisons > 40/10+1 {
			t.Fatalf("went on after %d poisoned ends in at most 40 minutes", poisons)
		}
	})
}
