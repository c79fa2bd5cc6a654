package supervisor

import (
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

// watch is one child under the eyes of its parent.
type watch struct {
	*supervisor
	*process

	silent          int
	fatal           *ipc.Class
	rebootstrap     bool
	state           lifecycle.State
	configuredSince time.Duration
	stopLimit       <-chan time.Time
}

// run handles what the child says, signals and silence, until the child has ended and its last message was read.
func (w *watch) run() exit {
	// Silence is counted in ticks, of which none gather while this process is stopped or the machine sleeps: waking up
	// is no reason to kill.
	ticker := time.NewTicker(w.AliveEvery)
	defer ticker.Stop()
	messages := w.messages
	for {
		select {
		case m, open := <-messages:
			if !open {
				messages = nil
				continue
			}
			w.handle(m)
		case <-ticker.C:
			w.tick()
		case sig := <-w.Signals:
			w.signal(sig)
		case <-w.stopLimit:
			w.Logger.Error("the instance did not stop in time and is killed", "pid", w.pid)
			w.kill()
		case <-w.ended:
			for m := range w.messages {
				w.handle(m)
			}
			return w.exit()
		}
	}
}

func (w *watch) tick() {
	w.silent++
	if w.silent >= silentMax && len(w.messages) == 0 {
		w.Logger.Error(errSilent.Error()+" and is killed", "pid", w.pid, "silence", silentMax*w.AliveEvery)
		w.silent = 0
		w.kill()
	}
}

func (w *watch) kill() { _ = w.cmd.Process.Kill() }

func (w *watch) handle(m ipc.Message) {
	w.silent = 0
	switch m.Kind {
	case ipc.Alive:
		w.Notifier.alive()
	case ipc.Status:
		w.status(m)
	case ipc.Ready:
		w.Notifier.ready()
		if w.OnReady != nil {
			w.OnReady()
		}
	case ipc.Rebootstrap:
		w.rebootstrap = true
	case ipc.Fatal:
		w.fatal = &m.Class
		w.Logger.Error("the instance cannot go on", "class", m.Class.String(), "error", m.Message)
	}
}

func (w *watch) status(m ipc.Message) {
	if m.Record != nil {
		w.history.Add(*m.Record)
	}
	if m.State != w.state {
		w.configuredSince = w.Clock.Boot()
	}
	w.state = m.State
	if w.OnStatus != nil {
		w.OnStatus(m.State, m.Text)
	}
	text, where := m.Text, m.Stage.String()+": "+m.State.String()
	switch {
	case text == "":
		text = where
	case !strings.HasPrefix(text, where):
		text = where + ", " + text
	}
	w.Notifier.status(text)
}

// signal handles one signal of this process. A clean stop goes to the child; the second Ctrl-C kills it.
func (w *watch) signal(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		w.hangup()
		_ = w.cmd.Process.Signal(syscall.SIGHUP)
		return
	case syscall.SIGINT:
		w.interrupt()
	}
	if w.interrupts > 1 {
		w.kill()
		return
	}
	if w.stopping {
		return
	}
	w.stopping = true
	w.Logger.Info("stopping", "signal", sig.String())
	w.Notifier.stopping()
	w.stopLimit = w.after(w.ShutdownTimeout + stopGrace)
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
}

// interrupt counts presses of Ctrl-C. A terminal, a shell and a tool such as timeout may each pass one press on: what
// comes at the same instant is one.
func (w *watch) interrupt() {
	now := w.Clock.Boot()
	if w.interrupts == 0 || now-w.interruptedAt >= interruptGap {
		w.interrupts++
		w.interruptedAt = now
	}
}

func (w *watch) exit() exit {
	now := w.Clock.Boot()
	e := exit{At: now, Fatal: w.fatal, Rebootstrap: w.rebootstrap, Stopping: w.stopping, State: w.state}
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		e.Signal = int(status.Signal())
	} else {
		e.Code = status.ExitStatus()
	}
	if w.state == lifecycle.RolesConfigured {
		e.Configured = max(now-w.configuredSince, 1)
	}
	return e
}
