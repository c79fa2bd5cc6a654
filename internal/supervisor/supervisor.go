// Package supervisor is the parent process: it holds the lock on the data directory, looks at the directory and wipes it
// where the verdict says so, starts the instance as its only child, and starts it anew when it ends. Effects: processes,
// pipes, signals, the lock; files through sys.FS. What a directory means is decided by package datadir, what the
// instance does by the instance; what follows from its end is decided in policy.go, which is pure.
package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
	"github.com/lycosadb/lycosa/internal/sys"
)

// The numbers of the watch over a child.
const (
	// aliveEvery is the time between a child's Alive messages.
	aliveEvery = time.Second
	// silentMax is how many such times of silence make a child a dead one: 30 s.
	silentMax = 30
	// stopGrace is added to the shutdown timeout before a child that does not end is killed.
	stopGrace = 30 * time.Second
	// interruptGap is the least time between two presses of Ctrl-C.
	interruptGap = 50 * time.Millisecond
)

// Options are everything a supervisor needs. Dir, Lock, Config, Logger, Clock and Signals are required.
type Options struct {
	Dir  store.Dir
	Lock *Lock
	// Config is the exported configuration that every child gets.
	Config []byte
	// Cookie and AdminPassword are handed to every child by pipe.
	Cookie, AdminPassword config.Secret
	// Program is the version that children show.
	Program string
	// NoRestart: end with the child's exit code.
	NoRestart bool
	// ShutdownTimeout is the child's own limit for a clean stop.
	ShutdownTimeout time.Duration
	Logger          *slog.Logger
	Clock           sys.Clock
	// Signals brings SIGTERM, SIGINT and SIGHUP.
	Signals <-chan os.Signal
	// OnHangup is called on SIGHUP, OnReady each time a child becomes ready, OnStatus with each state and text that a
	// child tells. Each may be nil.
	OnHangup, OnReady func()
	OnStatus          func(state lifecycle.State, text string)
	Notifier          Notifier
	// Executable is started with Args (without argv[0]) in the environment Env; by default this executable with the
	// hidden command "instance" and this process's environment.
	Executable string
	Args       []string
	Env        []string
	// AliveEvery is the time between Alive messages, 1 s by default; a child is killed after 30 silent ones. Tests
	// shorten it.
	AliveEvery time.Duration

	// after is time.After, except in tests.
	after func(time.Duration) <-chan time.Time
}

func (o *Options) setDefaults() {
	if o.Executable == "" {
		// The very executable that runs, even if the file was replaced since.
		o.Executable = "/proc/self/exe"
	}
	if o.Args == nil {
		o.Args = []string{"instance"}
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.AliveEvery == 0 {
		o.AliveEvery = aliveEvery
	}
	if o.after == nil {
		o.after = time.After
	}
}

// supervisor is used by the one goroutine of Run.
type supervisor struct {
	Options
	policy  policy
	starter *starter
	history *lifecycle.History
	starts  int
	crashed bool
	// stopping, interrupts: a stop was asked for, and how many SIGINT came, the last one at interruptedAt.
	stopping      bool
	interrupts    int
	interruptedAt time.Duration
}

// Run supervises until the end and returns the exit code of the process. The lock is not released: it goes with the
// process.
func Run(o Options) int {
	o.setDefaults()
	s := &supervisor{Options: o, policy: policy{noRestart: o.NoRestart}, starter: newStarter(), history: &lifecycle.History{}}
	defer s.starter.close()
	title.Set(o.Dir.FS, "super")
	for {
		e := s.runChild(s.prepare())
		if s.interrupts > 1 {
			s.Logger.Warn("interrupted twice, the instance was killed")
			return exitInterrupt
		}
		d := s.policy.decide(e)
		s.Logger.Info("instance ended", "code", e.Code, "signal", e.Signal, "why", d.Why, "restart", d.Restart, "delay", d.Delay)
		if !d.Restart {
			return d.ExitCode
		}
		s.crashed = d.Crash
		if d.Delay > 0 && s.pause(d) {
			return d.ExitCode
		}
	}
}

// pause waits before the next start; true means that a stop came.
func (s *supervisor) pause(d decision) (stop bool) {
	s.Notifier.status(fmt.Sprintf("restarting in %s: %s", d.Delay, d.Why))
	timer := s.after(d.Delay)
	for {
		select {
		case <-timer:
			return false
		case sig := <-s.Signals:
			if sig != syscall.SIGHUP {
				return true
			}
			s.hangup()
		}
	}
}

func (s *supervisor) hangup() {
	if s.OnHangup != nil {
		s.OnHangup()
	}
}

// prepare looks at the directory, does what must be done before a child may start, and writes its handoff. What goes
// wrong is told by the child, which then stays reachable in InitError.
func (s *supervisor) prepare() ipc.Handoff {
	s.starts++
	h := ipc.Handoff{
		Config: s.Config, Cookie: s.Cookie.Reveal(), AdminPassword: s.AdminPassword.Reveal(), History: s.history.Records(),
		AfterCrash: s.crashed, Program: s.Program, Starts: s.starts, AliveMs: int(s.AliveEvery / time.Millisecond),
	}
	if err := s.settle(); err != nil {
		s.Logger.Error("the data directory could not be prepared", "error", err)
		h.Refusal = &lifecycle.Cause{Code: uint32(errcode.Loading), Message: err.Error(), Field: "data-dir"}
	}
	return h
}

func (s *supervisor) settle() error {
	v, err := s.Dir.Look(nil)
	if err != nil {
		return err
	}
	s.Logger.Info("looked at the data directory", "dir", s.Dir.Path, "case", string(rune(v.Case)), "begin", v.Begin.String(), "wipe", v.Wipe)
	if err := s.Dir.Wipe(v); err != nil {
		return err
	}
	if v.Leftovers == nil {
		return nil
	}
	return s.Dir.RemoveLeftovers()
}

// runChild starts a child and watches it to its end.
func (s *supervisor) runChild(h ipc.Handoff) exit {
	p, err := s.spawn(h)
	if err != nil {
		s.Logger.Error("the instance could not be started", "error", err)
		return exit{At: s.Clock.Boot(), Code: exitNotStarted, Stopping: s.stopping}
	}
	s.Logger.Info("instance started", "pid", p.pid, "start", h.Starts)
	w := &watch{supervisor: s, process: p}
	return w.run()
}

// exitNotStarted is the code shells use for a command that cannot be run.
const exitNotStarted = 127

// errSilent is logged when a child is killed because it said nothing.
var errSilent = errors.New("the instance has been silent for too long")
