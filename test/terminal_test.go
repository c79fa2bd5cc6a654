package test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/iproto/client"
)

func contains(p *proc, text string) bool { return strings.Contains(p.output(), text) }

// terminal makes a pseudo terminal; what appears on it is collected.
func terminal(t *testing.T) (keyboard, end *os.File, screen *lockedBuffer) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	end, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	screen = &lockedBuffer{}
	go func() { _, _ = io.Copy(screen, keyboard) }()
	return keyboard, end, screen
}

// TestControlC: Ctrl-C in a terminal reaches the supervisor alone, which stops the instance cleanly.
func TestControlC(t *testing.T) {
	t.Parallel()
	keyboard, end, screen := terminal(t)
	p := startInstance(t, options{stdin: end, attr: &syscall.SysProcAttr{Setsid: true, Setctty: true}})
	p.online()
	createSpace(t, p.admin(), 600, "t1").insert(list{1})
	if _, err := keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if code := p.ended(waitStop); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	// What the terminal shows is copied beside the process, perhaps after its end.
	waitFor(t, "the line that it is stopping", waitStop, func() bool { return strings.Contains(screen.String(), "stopping") })
	if strings.Contains(screen.String(), "panic") {
		t.Errorf("the terminal shows\n%s", screen.String())
	}
	p = p.again()
	p.online()
	if got := (table{t, p.admin(), 600}).json(); got != "[[1]]" {
		t.Errorf("rows %s", got)
	}
}

// TestDemo: lycosa demo prints what to try, stays in the foreground, and ends with Ctrl-C.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	port, webPort := freePort(t), freePort(t)
	args := []string{"demo", "--instances", "1", "--dir", dir, "--base-port", strconv.Itoa(port), "--http-base-port", strconv.Itoa(webPort)}
	listen, web := "127.0.0.1:"+strconv.Itoa(port), "127.0.0.1:"+strconv.Itoa(webPort)
	first := ""
	for n := range 2 {
		p := startCommand(t, options{}, args)
		p.listen, p.http, p.dir = listen, web, filepath.Join(dir, "i1")
		p.online()
		waitFor(t, "the ready line", waitStart, func() bool { return contains(p, "ready") })
		out := p.output()
		for _, want := range []string{listen, "http://" + web, "tarantool", "tarantool-driver", "curl", "admin.sock"} {
			if !strings.Contains(out, want) {
				t.Errorf("demo does not print %s:\n%s", want, out)
			}
		}
		found := regexp.MustCompile(`admin, (\S+)`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("no password in\n%s", out)
		}
		if first == "" {
			first = found[1]
		}
		if found[1] != first {
			t.Errorf("start %d prints another password", n+1)
		}
		dial(t, listen, client.Options{User: "admin", Password: []byte(found[1])})
		if !p.running() {
			t.Error("demo does not stay")
		}
		p.signal(syscall.SIGINT)
		if code := p.ended(waitStop); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "admin-password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v", info, err)
	}
	code, _, errs := run(t, "demo", "--instances", "16", "--dir", filepath.Join(t.TempDir(), "d"))
	if code != 2 || !strings.Contains(errs, "instances") {
		t.Errorf("sixteen instances: exit code %d: %s", code, errs)
	}
}
