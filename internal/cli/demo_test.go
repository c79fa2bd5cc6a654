package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/demo"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// demoArgs are the arguments of a demonstration in a directory of its own, on ports that nobody uses.
func demoArgs(t *testing.T, instances int) (dir string, args []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "demo")
	return dir, []string{"demo", "--dir", dir, "--instances", strconv.Itoa(instances),
		"--base-port", strconv.Itoa(freePorts(t, instances)), "--http-base-port", strconv.Itoa(freePorts(t, instances))}
}

// nextPort is where freePorts goes on.
var nextPort = 20_000 + os.Getpid()%10_000

// freePorts returns the first of n ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 1000 {
		first := nextPort
		nextPort += n
		free := true
		for port := first; port < first+n; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if free = free && err == nil; err == nil {
				_ = l.Close()
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// banner is what a demonstration prints before the first change.
func banner(out string) string {
	text, _, _ := strings.Cut(out, "\n\n  ")
	first, rest, _ := strings.Cut(strings.TrimPrefix(out, text), "npm install")
	_ = rest
	return text + first
}

func TestDemoToTheEnd(t *testing.T) {
	dir, args := demoArgs(t, 1)
	code, out, errs := launchAndStop(t, "", "ready: the instance serves clients", args...)
	password, err := os.ReadFile(filepath.Join(dir, "admin-password"))
	if code != 0 || err != nil {
		t.Fatalf("code %d, error %v, says %s", code, err, errs)
	}
	for _, want := range []string{args[6], "http://127.0.0.1:" + args[8], strings.TrimSpace(string(password)), "net.box", "tarantool-driver", "curl ",
		"status --peer 127.0.0.1:" + args[6]} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not print %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"admin-password", "cookie"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: error %v, mode %v", name, err, info.Mode())
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "i1.log"))
	if want := "password=" + strings.TrimSpace(string(password)); err != nil || !strings.Contains(string(log), want) || !strings.Contains(string(log), "cookie_bytes=64") {
		t.Errorf("the instance did not get its secrets: error %v, log\n%s", err, log)
	}
	// The second time it is the same password.
	if _, again, _ := launchAndStop(t, "", "ready:", args...); banner(again) != banner(out) {
		t.Errorf("the second demo prints\n%s, the first\n%s", again, out)
	}
}

func TestDemoOfThree(t *testing.T) {
	dir, args := demoArgs(t, 3)
	code, out, errs := launchAndStop(t, "", "ready: all 3 instances are Online", append(args, "--replication-factor", "2")...)
	if code != 0 || errs != "" {
		t.Fatalf("code %d, says %s\n%s", code, errs, out)
	}
	for _, name := range []string{"i1", "i2", "i3"} {
		if want := name + ": stage Postjoin, state RolesConfigured, grade Online\n"; strings.Count(out, want) != 1 {
			t.Errorf("the line of %s is not printed once:\n%s", name, out)
		}
	}
	plan, err := demo.Load(real.FS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	base, _ := strconv.Atoi(args[6])
	peers := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", base, base+1, base+2)
	got := strings.Join(plan.Instances[1].Args, " ")
	for _, want := range []string{"--peer " + peers, "--instance-name i2", "--replication-factor 2", fmt.Sprintf("--listen 127.0.0.1:%d", base+1),
		"--cookie-file " + dir + "/cookie"} {
		if !strings.Contains(got, want) {
			t.Errorf("the arguments of the second instance are %s, without %s", got, want)
		}
	}
}

func TestDemoEndsWithItsInstances(t *testing.T) {
	_, args := demoArgs(t, 2)
	code, _, errs := command(append(os.Environ(), "FAKE_INSTANCE=refused"), args...)
	if code != 2 || strings.Count(errs, "ended with exit code 2; its log is") != 2 {
		t.Errorf("code %d, says %s", code, errs)
	}
}

func TestErrorStateIsToldAndFails(t *testing.T) {
	_, args := demoArgs(t, 1)
	code, _, errs := launchAndStop(t, "broken", "InitError", args...)
	if code != 1 || !strings.Contains(errs, "the instance cannot serve (InitError): no good") || !strings.Contains(errs, "its log is") {
		t.Errorf("a stop from InitError: code %d, says %s", code, errs)
	}
}

// TestDemoInTheBackground: detach, kill, start and stop, as they follow each other.
func TestDemoInTheBackground(t *testing.T) {
	dir, args := demoArgs(t, 2)
	expect := func(want int, says string, args ...string) {
		t.Helper()
		code, out, errs := command(os.Environ(), args...)
		if code != want || !strings.Contains(out+errs, says) {
			t.Fatalf("%v: code %d, want %d and %q:\n%s%s", args, code, want, says, out, errs)
		}
	}
	t.Cleanup(func() { command(os.Environ(), "demo", "stop", "--dir", dir) })
	expect(0, "go on in the background", append(args, "--detach")...)
	expect(2, "runs already", args...)
	expect(1, "i2 runs already", "demo", "start", "i2", "--dir", dir)
	expect(2, `no instance "i3"; it has i1, i2`, "demo", "kill", "i3", "--dir", dir)
	expect(0, "i2: killed (supervisor", "demo", "kill", "i2", "--dir", dir)
	expect(1, "i2 does not run", "demo", "kill", "i2", "--dir", dir)
	expect(0, "now in state RolesConfigured", "demo", "start", "i2", "--dir", dir)
	expect(0, "i2: stopped", "demo", "stop", "--dir", dir)
	expect(0, "no instance of "+dir+" runs", "demo", "stop", "--dir", dir)
}

// TestDemoGoesOnAfterAKill: an instance that is killed and started again is a part of the demonstration.
func TestDemoGoesOnAfterAKill(t *testing.T) {
	dir, args := demoArgs(t, 2)
	t.Cleanup(func() { command(os.Environ(), "demo", "stop", "--dir", dir) })
	out, errs := &output{wait: "ready: all 2", seen: make(chan struct{})}, &output{wait: "i2 was ended by signal 9", seen: make(chan struct{})}
	killed := errs.seen
	done := make(chan int, 1)
	go func() {
		done <- Main(Options{Args: args, Environ: os.Environ(), Stdout: out, Stderr: errs, Instance: fakeInstance})
	}()
	await := func(what string, ch <-chan struct{}) {
		t.Helper()
		select {
		case <-ch:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s did not come: %s %s", what, out, errs)
		}
	}
	await("ready", out.seen)
	if code, _, says := command(os.Environ(), "demo", "kill", "i2", "--dir", dir); code != 0 {
		t.Fatal(says)
	}
	await("the end of i2", killed)
	if code, _, says := command(os.Environ(), "demo", "start", "i2", "--dir", dir); code != 0 {
		t.Fatal(says)
	}
	if code, says, _ := command(os.Environ(), "demo", "stop", "--dir", dir); code != 0 || strings.Count(says, "stopped") != 2 {
		t.Fatalf("code %d, says %s", code, says)
	}
	select {
	case code := <-done:
		t.Fatalf("the demo ended with %d although one of its instances was killed and may be started again", code)
	case <-time.After(50 * time.Millisecond):
	}
	if code, _, says := command(os.Environ(), "demo", "start", "i1", "--dir", dir); code != 0 {
		t.Fatal(says)
	}
	interrupt(t)
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the demo does not end: %s %s", out, errs)
	}
	if code, says, _ := command(os.Environ(), "demo", "stop", "--dir", dir); code != 0 || !strings.Contains(says, "no instance") {
		t.Errorf("what was started from outside runs on: %s", says)
	}
}
