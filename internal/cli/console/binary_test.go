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
	t.Run("round trip", func(t *testing.T) { roundTrip(t, program, socket) })
	t.Run("terminal", func(t *testing.T) { testTerminal(t, program, socket) })
	t.Run("transactions", func(t *testing.T) { testTransactions(t, program, socket) })
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

// roundTrip: what JSON shows can be put in again, and is the same then.
func roundTrip(t *testing.T, program, socket string) {
	values := `{"$decimal":"-0.012"},{"$uuid":"f6423bdf-b49e-4913-b361-0740c9702e4b"},{"$datetime":"2024-02-29T12:00:00.5+03:00"},` +
		`{"$bin":"AP8="},{"$map":[[1,"a"]]},{"$interval":{"year":1,"second":-30}},{"$float":"NaN"},18446744073709551615,1.0,"a\u0000\n\"b"`
	rows := ""
	for n := range 3 {
		make := "create space again id:unsigned\ncreate index again pk id\n"
		code, out, errs := connect(t, program, make+"insert again [1,"+values+"]\nselect again\ndrop space again", "--peer", socket, "--json")
		if code != 0 {
			t.Fatalf("round %d: exit code %d: %s", n, code, errs)
		}
		_, row, _ := strings.Cut(out, "\n")
		if rows == "" {
			rows = row
		}
		if row != rows || !strings.Contains(row, "$interval") {
			t.Errorf("round %d: %s, before %s", n, row, rows)
		}
		values = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "[1,"), "]")
	}
}

// proxy passes bytes between the console and the instance until it is cut.
type proxy struct {
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

// startProxy listens on a socket, whose path it returns.
func startProxy(t *testing.T, to string) (p *proxy, socket string) {
	t.Helper()
	socket = filepath.Join(filepath.Dir(to), "proxy.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		p.cut()
		all.Wait()
	})
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		to.Close()
	}
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", to)
			if err != nil {
				near.Close()
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			all.Go(func() { pipe(near, far) })
			all.Go(func() { pipe(far, near) })
		}
	})
	return p, socket
}

// cut ends all connections; new ones can be made.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
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

// console is one that runs in a terminal.
type console struct {
	t        *testing.T
	keyboard *os.File
	seen     *screen
	at       int
	home     string
	cmd      *exec.Cmd
}

func startConsole(t *testing.T, program, socket string) *console {
	t.Helper()
	keyboard, end, seen := openTerminal(t)
	c := &console{t: t, keyboard: keyboard, seen: seen, home: t.TempDir(), cmd: exec.Command(program, "connect", "--peer", socket)}
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.home, "TERM=xterm"}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = end, end, end
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close()
	return c
}

// play presses keys and waits for what they show, each text after the one before.
func (c *console) play(keys string, shows ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.keyboard, keys); err != nil {
		c.t.Fatal(err)
	}
	for _, text := range shows {
		c.at = c.seen.wait(c.t, c.at, text)
	}
}

// testTerminal plays a session: several lines, completion, Ctrl-C, history, an end.
func testTerminal(t *testing.T, program, socket string) {
	const prompt = "admin@admin.sock> "
	c := startConsole(t, program, socket)
	c.play("", prompt)
	c.play("create space pets id:unsigned name:string\r", "space pets is made", prompt)
	c.play("create index pets pk id\r", "index pk is made", prompt)
	c.play("insert pets [1,\r\"Tom\"]\r", "(1 row)", prompt)
	c.play("sel\tpe\tge 1\r", " 1 | Tom", prompt)
	c.play("garbage\x03", "^C", prompt)
	c.play("call f \"my password\"\r", "error 33 NO_SUCH_PROC", prompt)
	c.play("\x1b[A\x1b[A\r", " 1 | Tom", prompt) // two up in the history
	c.play("\\timing\r", "timing is on", prompt)
	c.play("ping; slect ; drop space pets\r", "pong", "time: ", "unknown command slect", prompt)
	c.play("watch lycosa.state\r", "RolesConfigured")
	c.play("\x03", prompt)
	c.play("drop space pets\r", "space pets is dropped", prompt)
	c.play("\x04") // Ctrl-D
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the console ended with %v", err)
	}
	path := filepath.Join(c.home, ".config", "lycosa", "history")
	data, err := os.ReadFile(path)
	want := historyHead + "\n" + `"create space pets id:unsigned name:string"` + "\n"
	if err != nil || !strings.HasPrefix(string(data), want) || strings.Contains(string(data), "password") || strings.Contains(string(data), "garbage") {
		t.Errorf("the history holds %s, %v", data, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the history file: %v, %v", info, err)
	}
}

// testTransactions plays transactions: one that is committed, one that meets another, one whose connection is cut.
func testTransactions(t *testing.T, program, socket string) {
	const quiet, open, failed = "admin@proxy.sock> ", "admin@proxy.sock*> ", "admin@proxy.sock!> "
	proxy, through := startProxy(t, socket)
	c := startConsole(t, program, through)
	c.play("", quiet)
	c.play("create space sums id:unsigned sum:unsigned\r", "is made", quiet)
	c.play("create index sums pk id\r", "is made", quiet)
	c.play("begin timeout 60\r", "the transaction is open", open)
	c.play("insert sums [1,10]\r", "(1 row)", open)
	c.play("commit\r", "the transaction is committed", quiet)
	c.play("begin\r", open)
	c.play("get sums 1\r", "(1 row)", open)
	if code, _, errs := connect(t, program, `update sums 1 ["+",2,1]`, "--peer", socket); code != 0 {
		t.Fatal(errs)
	}
	c.play("insert sums [2,10]\r", "(1 row)", open)
	c.play("commit\r", "error 97 TRANSACTION_CONFLICT", "run it again from the beginning", quiet)
	c.play("begin\r", open)
	c.play("insert sums [3,10]\r", "(1 row)", open)
	proxy.cut()
	c.play("insert sums [4,10]\r", "the transaction has failed: the connection was lost", "rollback ends it", failed)
	c.play("insert sums [5,10]\r", "the transaction has failed", failed)
	c.play("rollback\r", "the transaction is rolled back", quiet)
	c.play("select sums\r", "connected to", "again", " 1 |  11", "(1 row)", quiet)
	proxy.cut()
	c.play("ping\r", quiet) // it may be on its way before the end of the connection is noticed, and fail
	c.play("count sums\r", " 1", "(1 row)", quiet)
	c.play("drop space sums\r", "is dropped", quiet)
	c.play("\\quit\r")
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the console ended with %v", err)
	}
}
