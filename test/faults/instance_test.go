package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// adminPassword is the password of user admin.
const adminPassword = "correct-horse"

// proc is a supervisor with its child, in a network namespace of its own.
type proc struct {
	t   testing.TB
	i   int
	cmd *exec.Cmd
	// dir is the data directory, address that of the binary protocol.
	dir, address, http, outPath string
	// done is closed when the supervisor has ended; code is its exit code then, 128+signal if it was killed.
	done chan struct{}
	code int
}

// launch starts lycosa run as instance i of a network, under the program of wrap if there is one.
func launch(t testing.TB, w *network, i int, dir string, wrap []string, args ...string) *proc {
	t.Helper()
	out, err := os.OpenFile(filepath.Dir(dir)+".out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &proc{t: t, i: i, dir: dir, address: w.address(i), http: w.http(i), outPath: out.Name(), done: make(chan struct{})}
	line := append(slices.Concat(w.inside(i), wrap), binary, "run", "--data-dir", dir, "--listen", p.address, "--http-listen", p.http)
	line = append(line, args...)
	p.cmd = exec.Command(line[0], line[1:]...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LYCOSA_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "LYCOSA_ADMIN_PASSWORD="+adminPassword)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			p.code = 128 + int(s.Signal())
		}
		close(p.done)
	}()
	t.Cleanup(p.cleanup)
	return p
}

// cleanup ends the processes: the child dies with its supervisor, one that is stopped has to be let on for that.
func (p *proc) cleanup() {
	if p.running() {
		p.killBoth()
	}
	if p.t.Failed() {
		text, _ := os.ReadFile(p.outPath)
		// The clients of the tests come often.
		text = bytes.Join(slices.DeleteFunc(bytes.Split(text, []byte("\n")), func(line []byte) bool {
			return bytes.Contains(line, []byte("event=auth_ok"))
		}), []byte("\n"))
		if len(text) > 30_000 {
			text = text[len(text)-30_000:]
		}
		p.t.Logf("output of instance %d:\n%s", p.i+1, text)
	}
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

func (p *proc) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ended waits for the end of the supervisor and returns its exit code.
func (p *proc) ended() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(waitStop):
		p.t.Fatalf("instance %d is still running after %s", p.i+1, waitStop)
		return 0
	}
}

// signal sends a signal to a process, which may have ended.
func (p *proc) signal(pid int, s syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Fatalf("signal %v to %d: %v", s, pid, err)
	}
}

// children are the processes that the supervisor has started.
func (p *proc) children() (found []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.pid()))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// processState is the letter that the kernel shows for a process: R, S, D, T; 0 if there is none, Z counts as none.
func processState(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, ok := strings.Cut(string(stat), ") ")
	if err != nil || !ok || after == "" || after[0] == 'Z' || after[0] == 'X' {
		return 0
	}
	return after[0]
}

// killChild kills what serves and leaves the supervisor.
func (p *proc) killChild() {
	p.t.Helper()
	before := p.children()
	if len(before) == 0 {
		p.t.Fatalf("instance %d has no child to kill", p.i+1)
	}
	for _, pid := range before {
		p.signal(pid, syscall.SIGKILL)
	}
	for _, pid := range before {
		waitFor(p.t, fmt.Sprintf("the end of process %d", pid), waitStop, func() bool { return processState(pid) == 0 })
	}
}

// killBoth kills supervisor and child.
func (p *proc) killBoth() {
	p.t.Helper()
	children := p.children()
	p.signal(p.pid(), syscall.SIGKILL)
	for _, pid := range children {
		p.signal(pid, syscall.SIGKILL)
	}
	p.ended()
	for _, pid := range children {
		waitFor(p.t, fmt.Sprintf("the end of process %d", pid), waitStop, func() bool { return processState(pid) == 0 })
	}
}

// pause stops supervisor and child, and returns when the kernel shows it.
func (p *proc) pause() (goOn func()) {
	p.t.Helper()
	all := append(p.children(), p.pid())
	for _, pid := range all {
		p.signal(pid, syscall.SIGSTOP)
	}
	for _, pid := range all {
		waitFor(p.t, fmt.Sprintf("process %d to stop", pid), waitStop, func() bool { return processState(pid) == 'T' })
	}
	return func() {
		for _, pid := range all {
			p.signal(pid, syscall.SIGCONT)
		}
	}
}

// status is what the tests read of the document of /api/v1/instance.
type status struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Groups []struct {
		Name    string   `json:"name"`
		RaftID  uint64   `json:"raft_id"`
		Role    string   `json:"role"`
		Term    uint64   `json:"term"`
		Applied uint64   `json:"applied"`
		Voters  []uint64 `json:"voters"`
	} `json:"groups"`
	PID int `json:"pid"`
}

// web asks over connections of its own: a kept one would hang at a cut link.
var web = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get returns the answer to a GET, with code 0 if there was none.
func (p *proc) get(path string) (code int, body []byte) {
	r, err := web.Get("http://" + p.http + path)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer r.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(r.Body, 4<<20)); err != nil {
		return 0, []byte(err.Error())
	}
	return r.StatusCode, body
}

// status reads the instance's document; ok is false while nobody answers.
func (p *proc) status() (s status, ok bool) {
	code, body := p.get("/api/v1/instance")
	return s, code == http.StatusOK && json.Unmarshal(body, &s) == nil
}

// group is the instance's view of one of its groups.
func (p *proc) group(name string) (role string, term, applied uint64, voters int) {
	s, _ := p.status()
	for _, g := range s.Groups {
		if g.Name == name {
			return g.Role, g.Term, g.Applied, len(g.Voters)
		}
	}
	return "", 0, 0, 0
}

func (p *proc) ready() bool {
	code, _ := p.get("/health/ready")
	return code == http.StatusOK
}

// issue reports whether the instance speaks of an issue of its own with this code.
func (p *proc) issue(code string) bool {
	var doc struct {
		Issues []struct {
			Code     string `json:"code"`
			Instance string `json:"instance"`
		} `json:"issues"`
	}
	status, body := p.get("/api/v1/cluster")
	if status != http.StatusOK || json.Unmarshal(body, &doc) != nil {
		return false
	}
	for _, i := range doc.Issues {
		if i.Code == code {
			return true
		}
	}
	return false
}
