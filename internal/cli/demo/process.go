package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/supervisor"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
	"github.com/lycosadb/lycosa/internal/sys"
)

// pollEvery is how often a process is looked at that is to come or to go.
const pollEvery = 10 * time.Millisecond

// endWait bounds the wait for a killed process.
const endWait = 10 * time.Second

// StopWait bounds the wait for processes that were told to stop: above what a supervisor waits for its instance.
const StopWait = 45 * time.Second

// Launcher starts the processes of instances.
type Launcher struct {
	FS sys.FS
	// Environ is the environment of the processes. What the program reads of it is taken out: a demonstration is the same
	// everywhere.
	Environ []string
	// Detached processes live on when this one ends; others are killed with the OS thread that starts them.
	Detached bool
}

// start starts the supervisor of an instance. What it prints goes to the log.
func (l Launcher) start(in Instance) (*exec.Cmd, error) {
	log, err := os.OpenFile(in.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// The very program that runs, even if the file was replaced since.
	cmd := exec.Command("/proc/self/exe", append([]string{"run"}, in.Args...)...)
	cmd.Args[0] = title.Placeholder()
	cmd.Env = withoutOurs(l.Environ)
	cmd.Stdout, cmd.Stderr = log, log
	// A process group of its own: Ctrl-C reaches the demonstration alone, which passes it on once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if l.Detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", in.Name, err)
	}
	return cmd, nil
}

// withoutOurs leaves out the variables that would change what an instance does, or whom it tells.
func withoutOurs(environ []string) []string {
	kept := []string{}
	for _, e := range environ {
		if !strings.HasPrefix(e, "LYCOSA_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") && !strings.HasPrefix(e, "WATCHDOG_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// Running returns the supervisor of an instance. known is false while it is so young that it has not said who it is.
func (l Launcher) Running(in Instance) (pid int, running, known bool) {
	pid, held, err := supervisor.Holder(l.FS, in.Dir)
	if err != nil || !held {
		return 0, false, true
	}
	comm, err := sys.ReadFile(l.FS, fmt.Sprintf("/proc/%d/comm", pid), 64)
	return pid, true, pid > 0 && err == nil && strings.HasPrefix(string(comm), title.Prefix)
}

// find waits until the supervisor of an instance is known; pid is 0 if there is none.
func (l Launcher) find(ctx context.Context, in Instance) (pid int, err error) {
	for {
		pid, running, known := l.Running(in)
		if !running {
			return 0, nil
		}
		if known {
			return pid, nil
		}
		if !pause(ctx, pollEvery) {
			return 0, fmt.Errorf("the process that holds %s is none of Lycosa's", in.Dir)
		}
	}
}

// ended waits until no process holds the directory of an instance.
func (l Launcher) ended(ctx context.Context, in Instance) error {
	for {
		if _, running, _ := l.Running(in); !running {
			return nil
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("%s still runs: %w", in.Name, ctx.Err())
		}
	}
}

// pause waits; false means that the context has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// signal sends a signal to the supervisor of an instance, and returns it; 0 if there is none.
func (l Launcher) signal(ctx context.Context, in Instance, s syscall.Signal) (pid int, err error) {
	pid, err = l.find(ctx, in)
	if err != nil || pid == 0 {
		return 0, err
	}
	if err := unix.Kill(pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("process %d of %s: %w", pid, in.Name, err)
	}
	return pid, nil
}

// Stop ends all instances of a plan that run, cleanly, and tells each with say.
func (l Launcher) Stop(p Plan, say func(string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), StopWait)
	defer cancel()
	told := map[string]int{}
	for _, in := range p.Instances {
		pid, err := l.signal(ctx, in, syscall.SIGTERM)
		if err != nil {
			return err
		}
		if pid != 0 {
			told[in.Name] = pid
		}
	}
	if len(told) == 0 {
		say("no instance of " + p.Dir + " runs")
	}
	for _, in := range p.Instances {
		if told[in.Name] == 0 {
			continue
		}
		if err := l.ended(ctx, in); err != nil {
			return err
		}
		say(fmt.Sprintf("%s: stopped (process %d)", in.Name, told[in.Name]))
	}
	return nil
}

// Kill ends an instance as a crash of its machine would: supervisor and child at once, without a goodbye.
func (l Launcher) Kill(in Instance) (text string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), endWait)
	defer cancel()
	pid, err := l.find(ctx, in)
	if err != nil {
		return "", err
	}
	if pid == 0 {
		return "", fmt.Errorf("%s does not run", in.Name)
	}
	children := childrenOf(l.FS, pid)
	// The supervisor first: it would start another child.
	for _, victim := range append([]int{pid}, children...) {
		if err := unix.Kill(victim, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return "", fmt.Errorf("process %d of %s: %w", victim, in.Name, err)
		}
	}
	if err := l.ended(ctx, in); err != nil {
		return "", err
	}
	text = fmt.Sprintf("%s: killed (supervisor %d", in.Name, pid)
	for _, child := range children {
		text += fmt.Sprintf(", instance %d", child)
	}
	return text + ")", nil
}

// childrenOf lists the processes that a process has started.
func childrenOf(fsys sys.FS, pid int) []int {
	const bytesMax = 4096
	var found []int
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, path := range tasks {
		// A thread that is gone has no children any more.
		text, _ := sys.ReadFile(fsys, path, bytesMax)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// Start starts one instance that does not run, detached, and waits until it answers, whatever it has to wait for itself.
func (l Launcher) Start(ctx context.Context, in Instance) (text string, err error) {
	if pid, running, _ := l.Running(in); running {
		return "", fmt.Errorf("%s runs already (process %d)", in.Name, pid)
	}
	l.Detached = true
	cmd, err := l.start(in)
	if err != nil {
		return "", err
	}
	ended := make(chan End, 1)
	go func() { ended <- wait(cmd) }()
	for {
		if s := look(ctx, in); s.Answers && s.State != "" {
			return fmt.Sprintf("%s: started (process %d), now in state %s", in.Name, cmd.Process.Pid, s.State), nil
		}
		select {
		case e := <-ended:
			return "", fmt.Errorf("%s %s; the reason is in %s", in.Name, e, in.Log)
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return "", fmt.Errorf("%s was started (process %d) and does not answer; the reason may be in %s", in.Name, cmd.Process.Pid, in.Log)
		}
	}
}

// End is how a process ended: with an exit code, or by a signal if that is not 0.
type End struct{ Code, Signal int }

func (e End) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("was ended by signal %d", e.Signal)
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

func wait(cmd *exec.Cmd) End {
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return End{Signal: int(status.Signal())}
	}
	return End{Code: cmd.ProcessState.ExitCode()}
}
