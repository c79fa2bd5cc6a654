package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// freePortsInARow returns the first of n ports in a row.
func freePortsInARow(t testing.TB, n int) int {
	t.Helper()
	for range 1000 {
		first, last := freePort(t), 0
		for last = first; last < first+n-1; last++ {
			if freePort(t) != last+1 {
				break
			}
		}
		if last == first+n-1 {
			return first
		}
	}
	t.Fatal("no free ports in a row")
	return 0
}

// gradesOf asks an instance for the grades of all, by status --json.
func gradesOf(t testing.TB, peer string) map[string]string {
	t.Helper()
	code, out, _ := run(t, "status", "--json", "--peer", peer)
	var doc struct {
		Cluster struct {
			Instances []struct {
				Name  string
				Grade struct{ Current struct{ Name string } }
			}
		}
	}
	if code != 0 || json.Unmarshal([]byte(out), &doc) != nil {
		return nil
	}
	grades := map[string]string{}
	for _, in := range doc.Cluster.Instances {
		grades[in.Name] = in.Grade.Current.Name
	}
	return grades
}

// TestDemoOfThree: without flags but for place it is a cluster of three, which bears the loss of one; Ctrl-C ends all,
// those started from outside too, and the next start goes on with the same cluster.
func TestDemoOfThree(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	port, web := freePortsInARow(t, 3), freePortsInARow(t, 3)
	args := []string{"demo", "--dir", dir, "--base-port", strconv.Itoa(port), "--http-base-port", strconv.Itoa(web)}
	first := "127.0.0.1:" + strconv.Itoa(port)
	expect := func(want string, args ...string) {
		t.Helper()
		if code, out, errs := run(t, args...); code != 0 || !strings.Contains(out, want) {
			t.Fatalf("lycosa %s: exit code %d, want 0 and %q\n%s%s", strings.Join(args, " "), code, want, out, errs)
		}
	}
	const ready = "ready: all 3 instances are Online"
	p := startCommand(t, options{}, args)
	waitFor(t, "three instances that serve", waitStart, func() bool { return contains(p, ready) })
	waitFor(t, "a leader in the table", waitStart, func() bool {
		code, out, _ := run(t, "status", "--peer", first)
		return code == 0 && strings.Contains(out, "default_1   default  i")
	})
	waitFor(t, "three grades", waitStart, func() bool {
		return maps.Equal(gradesOf(t, first), map[string]string{"i1": "Online", "i2": "Online", "i3": "Online"})
	})
	expect("i2: killed (supervisor", "demo", "kill", "i2", "--dir", dir)
	waitFor(t, "the word that i2 is killed", waitStart, func() bool { return contains(p, "i2 was ended by signal 9") })
	waitFor(t, "i2 to be marked Offline", waitStart, func() bool { return gradesOf(t, first)["i2"] == "Offline" })
	expect("i2: started (process", "demo", "start", "i2", "--dir", dir)
	waitFor(t, "i2 to come back", waitStart, func() bool { return gradesOf(t, first)["i2"] == "Online" })
	p.signal(syscall.SIGINT)
	if code := p.ended(2 * waitStop); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	expect("no instance of "+dir+" runs", "demo", "stop", "--dir", dir)

	t.Cleanup(func() { run(t, "demo", "stop", "--dir", dir) })
	expect(ready, append(args, "--detach")...)
	expect("i3: stopped (process", "demo", "stop", "--dir", dir)
}

// TestDemoInATerminal: the table changes in place, and Ctrl-C, which reaches the demo alone, ends everything.
func TestDemoInATerminal(t *testing.T) {
	t.Parallel()
	keyboard, end, screen := terminal(t)
	dir := filepath.Join(t.TempDir(), "demo")
	p := startCommand(t, options{stdin: end, attr: &syscall.SysProcAttr{Setsid: true, Setctty: true}, env: []string{"TERM=xterm"}},
		[]string{"demo", "--instances", "2", "--dir", dir, "--base-port", strconv.Itoa(freePortsInARow(t, 2)), "--http-base-port", strconv.Itoa(freePortsInARow(t, 2))})
	waitFor(t, "the word that all are Online", waitStart, func() bool { return strings.Contains(screen.String(), "ready: all 2 instances are Online") })
	if _, err := keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if code := p.ended(2 * waitStop); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	// What the terminal shows is copied beside the process, perhaps after its end.
	for _, want := range []string{"\x1b[2Kinstance  address", "A\r", "stopping; Ctrl-C kills"} {
		waitFor(t, fmt.Sprintf("%q on the terminal", want), waitStop, func() bool { return strings.Contains(screen.String(), want) })
	}
	if code, out, _ := run(t, "demo", "stop", "--dir", dir); code != 0 || !strings.Contains(out, "no instance of") {
		t.Errorf("something runs on: %s", out)
	}
}
