package console

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what should come at once.
const patience = 60 * time.Second

// startBinary builds the program and runs an instance until the test ends; it returns the program and the admin socket.
func startBinary(t *testing.T) (program, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "console") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program = filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", program, "../../../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "run", "--data-dir", filepath.Join(dir, "d"), "--listen", address, "--memory", "64MiB")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	online, done := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "the instance is online") {
				online <- true
			}
		}
		close(online)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
	})
	select {
	case ok := <-online:
		if !ok {
			t.Fatal("the instance ended early")
		}
	case <-time.After(patience):
		t.Fatal("the instance does not come online")
	}
	return program, filepath.Join(dir, "d", "admin.sock")
}

// connect runs the console as a script does and returns its exit code and what it wrote.
func connect(t *testing.T, program, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"connect"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestBinary(t *testing.T) {
	program, socket := startBinary(t)
	t.Run("script", func(t *testing.T) {
		runScript(t, "testdata/session.txt", func(input string) string {
			flags, commands, _ := strings.Cut(input, "\n")
			code, out, errs := connect(t, program, commands, append(strings.Fields(flags)[1:], "--peer", socket)...)
			return fmt.Sprintf("%s%sexit code %d", out, errs, code)
		})
	})
	t.Run("large", func(t *testing.T) { testLarge(t, program, socket) })
	t.Run("codes", func(t *testing.T) {
		for want, args := range map[int][]string{4: {"--peer", socket + "-none"}, 2: {"--format", "xml"}, 1: {"--peer", socket, "--user", "nobody"}} {
			if code, out, errs := connect(t, program, "ping\n", args...); code != want || out != "" || errs == "" {
				t.Errorf("%v: exit code %d, want %d: %s%s", args, code, want, out, errs)
			}
		}
	})
	t.Run("terminal", func(t *testing.T) { testTerminal(t, program, socket) })
}

// testLarge reads an answer of several megabytes, in which each row must be.
func testLarge(t *testing.T, program, socket string) {
	var input strings.Builder
	input.WriteString("create space large id:unsigned text:string\ncreate index large pk id\n")
	const rows = 300
	for n := range rows {
		fmt.Fprintf(&input, "insert large [%d,\"%s\"]\n", n, strings.Repeat("x", 10_000))
	}
	if code, _, errs := connect(t, program, input.String(), "--peer", socket, "--json"); code != 0 {
		t.Fatalf("exit code %d: %.300s", code, errs)
	}
	code, out, errs := connect(t, program, "select large\ndrop space large", "--peer", socket, "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != rows || !strings.HasPrefix(lines[rows-1], fmt.Sprintf("[%d,", rows-1)) {
		t.Errorf("exit code %d, %d rows: %.300s", code, len(lines), errs)
	}
}

// screen is what appears on a terminal.
type screen struct {
	mu   sync.Mutex
	text []byte
	more chan struct{} // closed and made anew when text comes
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

// wait waits for a text after the position and returns the position behind it.
func (s *screen) wait(t *testing.T, from int, want string) int {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		at, more, text := bytes.Index(s.text[from:], []byte(want)), s.more, string(s.text[from:])
		s.mu.Unlock()
		if at >= 0 {
			return from + at + len(want)
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%q does not appear in\n%q", want, text)
		}
	}
}

// openTerminal makes a pseudo terminal.
func openTerminal(t *testing.T) (keyboard, end *os.File, seen *screen) {
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
	if err := unix.IoctlSetWinsize(int(end.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 160}); err != nil {
		t.Fatal(err)
	}
	seen = &screen{more: make(chan struct{})}
	go func() { _, _ = io.Copy(seen, keyboard) }()
	return keyboard, end, seen
}

// testTerminal plays a session: several lines, completion, Ctrl-C, history, an end.
func testTerminal(t *testing.T, program, socket string) {
	keyboard, end, seen := openTerminal(t)
	home := t.TempDir()
	cmd := exec.Command(program, "connect", "--peer", socket)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TERM=xterm"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close()
	const prompt = "admin@admin.sock> "
	at := seen.wait(t, 0, prompt)
	for _, step := range []struct{ keys, shows string }{
		{"create space pets id:unsigned name:string\r", "space pets is made"},
		{"create index pets pk id\r", "index pk is made"},
		{"insert pets [1,\r\"Tom\"]\r", "(1 row)"},
		{"sel\tpe\tge 1\r", " 1 | Tom"},
		{"garbage\x03", "^C"},
		{"call f \"my password\"\r", "error 33 NO_SUCH_PROC"},
		{"\x1b[A\x1b[A\r", " 1 | Tom"}, // two up in the history
		{"\\timing\r", "timing is on"},
		{"ping\r", "time: "},
		{"drop space pets\r", "space pets is dropped"},
	} {
		if _, err := io.WriteString(keyboard, step.keys); err != nil {
			t.Fatal(err)
		}
		at = seen.wait(t, at, step.shows)
		at = seen.wait(t, at, prompt)
	}
	if _, err := io.WriteString(keyboard, "\x04"); err != nil { // Ctrl-D
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the console ended with %v", err)
	}
	data, err := os.ReadFile(filepath.Join(home, ".config", "lycosa", "history"))
	want := historyHead + "\n" + `"create space pets id:unsigned name:string"` + "\n"
	if err != nil || !strings.HasPrefix(string(data), want) || strings.Contains(string(data), "password") || strings.Contains(string(data), "garbage") {
		t.Errorf("the history holds %s, %v", data, err)
	}
	info, err := os.Stat(filepath.Join(home, ".config", "lycosa", "history"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the history file: %v, %v", info, err)
	}
}
