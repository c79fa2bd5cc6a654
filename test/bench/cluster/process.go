package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/sys/real"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// process is a server that this program has started.
type process struct {
	name    string
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed when it has ended
}

// start starts a server. What it prints goes to a file that is made anew.
func (b *benchmark) start(name, logPath string, env []string, program string, args ...string) (*process, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	out, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{name: name, cmd: exec.Command(program, args...), logPath: logPath, done: make(chan struct{})}
	p.cmd.Env = append(report.CleanEnviron(), env...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = out, out, filepath.Dir(logPath)
	// A group of its own, so that Ctrl-C in a terminal reaches this program alone, which then ends what it started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	b.running = append(b.running, p)
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends a server and what it has started, without notice.
func (p *process) kill() error {
	if p.ended() {
		return nil
	}
	children := childrenOf(p.pid())
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	for _, child := range children {
		if err := gone(child); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// gone waits until a process is no more. Whoever inherits a zombie need not have waited for it yet.
func gone(pid int) error {
	limit := time.Now().Add(waitMax)
	for time.Now().Before(limit) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		if _, after, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(after, "Z") {
			return nil
		}
		time.Sleep(pollEach)
	}
	return fmt.Errorf("process %d is still there", pid)
}

// killAll ends everything that still runs.
func (b *benchmark) killAll() (err error) {
	for _, p := range b.running {
		err = errors.Join(err, p.kill())
	}
	b.running = nil
	return err
}

// childrenOf lists the processes that a process has started.
func childrenOf(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// cpuOf is what processes and those that they have started have used, in steps of 10 ms for each.
func cpuOf(processes []*process) (used time.Duration, err error) {
	for _, p := range processes {
		u, err := bench.ReadProcess(real.FS{}, p.pid())
		if err != nil {
			return 0, err
		}
		used += u.CPU
	}
	return used, nil
}

// exactCPU is the same to the nanosecond, for processes whose threads do not end meanwhile.
func exactCPU(processes []*process) (used time.Duration, err error) {
	var pids []int
	for _, p := range processes {
		pids = append(append(pids, p.pid()), childrenOf(p.pid())...)
	}
	for _, pid := range pids {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(tasks) == 0 {
			return 0, fmt.Errorf("process %d has no schedstat", pid)
		}
		for _, path := range tasks {
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			first, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
			used += time.Duration(ns)
		}
	}
	return used, nil
}

// tail is the end of what a server has printed.
func (p *process) tail() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(text[max(len(text)-4000, 0):])
}
