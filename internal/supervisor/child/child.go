// Package child is the instance's end of the pipe to its supervisor: what the parent handed over, what the parent is told,
// and the signals of this process. Effects: pipes, signals, one goroutine each for Alive messages and signals. What is
// told when is decided by the instance.
package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// The descriptors that the parent hands over.
const (
	lockFD    = 3
	pipeFD    = 4
	handoffFD = 5
)

// writeMax is how long a message waits for a parent that does not read, for example because it is stopped.
const writeMax = 2 * time.Second

// ErrNoParent is returned by Connect in a process that no supervisor has started.
var ErrNoParent = errors.New("this command is started by lycosa run, not by hand")

// Child is the connection to the parent. Its methods may be called by any goroutine.
type Child struct {
	fsys    sys.FS
	lock    *os.File
	handoff ipc.Handoff
	stop    chan struct{}
	closed  chan struct{}
	signals chan os.Signal

	// mu guards the fields below.
	mu        sync.Mutex
	pipe      *os.File
	fatalSent bool
	stage     lifecycle.Stage
	hangups   []func()
	closing   bool
}

// Connect takes over what the parent handed to this process and begins to listen for signals. It is called once, first.
func Connect(fsys sys.FS) (*Child, error) {
	for _, fd := range []int{pipeFD, handoffFD} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, ErrNoParent
		}
	}
	for _, fd := range []int{lockFD, pipeFD, handoffFD} {
		unix.CloseOnExec(fd)
	}
	in := os.NewFile(handoffFD, "handoff")
	data, err := io.ReadAll(io.LimitReader(in, ipc.HandoffBytesMax+1))
	_ = in.Close()
	if err != nil {
		return nil, fmt.Errorf("child: read handoff: %w", err)
	}
	h, err := ipc.DecodeHandoff(data)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(pipeFD, true); err != nil {
		return nil, fmt.Errorf("child: pipe: %w", err)
	}
	c := &Child{
		fsys: fsys, lock: os.NewFile(lockFD, "lock"), handoff: h, pipe: os.NewFile(pipeFD, "supervisor"),
		stop: make(chan struct{}), closed: make(chan struct{}), signals: make(chan os.Signal, 8),
	}
	title.Set(fsys, "instance")
	signal.Notify(c.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go c.listen()
	return c, nil
}

// listen turns signals into a stop and into calls of the hangup functions.
func (c *Child) listen() {
	stopped := false
	for {
		select {
		case <-c.closed:
			return
		case sig := <-c.signals:
			if sig == syscall.SIGHUP {
				c.hangup()
			} else if !stopped {
				stopped = true
				close(c.stop)
			}
		}
	}
}

func (c *Child) hangup() {
	c.mu.Lock()
	calls := append([]func(){}, c.hangups...)
	c.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// Stop is closed when a clean stop is asked for.
func (c *Child) Stop() <-chan struct{} { return c.stop }

// OnHangup adds a function that is called on SIGHUP, for example to reopen a log file.
func (c *Child) OnHangup(call func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangups = append(c.hangups, call)
}

// Config returns the configuration as the parent had it at its start.
func (c *Child) Config() (*config.Config, error) { return config.Import(c.handoff.Config) }

// Cookie is the cluster's secret.
func (c *Child) Cookie() config.Secret { return config.NewSecret(c.handoff.Cookie) }

// AdminPassword is the admin's first password, empty if none was given; only Boot may use it.
func (c *Child) AdminPassword() config.Secret { return config.NewSecret(c.handoff.AdminPassword) }

// History is what the earlier children of this supervisor have told, oldest first.
func (c *Child) History() []lifecycle.Record {
	return append([]lifecycle.Record{}, c.handoff.History...)
}

// Refusal is the reason why the parent could not prepare the data directory, or nil. The instance then does nothing but
// tell it, in InitError.
func (c *Child) Refusal() *lifecycle.Cause { return c.handoff.Refusal }

// AfterCrash tells that the child before this one did not end in an orderly way.
func (c *Child) AfterCrash() bool { return c.handoff.AfterCrash }

// Program is the version of the program, as people read it.
func (c *Child) Program() string { return c.handoff.Program }

// Starts is the number of this child, from 1.
func (c *Child) Starts() int { return c.handoff.Starts }

// LockFD is the descriptor of the data directory's lock.
func (c *Child) LockFD() uintptr { return c.lock.Fd() }

// KeepAlive sends Alive messages at the parent's interval until Close, as long as healthy returns true; nil means
// always. A process whose owner loops hang should not be healthy: the parent kills and restarts it after 30 s.
func (c *Child) KeepAlive(healthy func() bool) {
	every := max(time.Duration(c.handoff.AliveMs)*time.Millisecond, time.Millisecond)
	go func() {
		timer := time.NewTimer(every)
		defer timer.Stop()
		for {
			if healthy == nil || healthy() {
				_ = c.send(ipc.Message{Kind: ipc.Alive})
			}
			timer.Reset(real.Until(every))
			select {
			case <-c.closed:
				return
			case <-timer.C:
			}
		}
	}()
}

// Status tells a change of state; the parent keeps the record. The process title follows the stage.
func (c *Child) Status(r lifecycle.Record) error {
	text := ""
	if r.Cause != nil {
		text = r.Cause.Message
	}
	c.retitle(r.Stage)
	return c.send(ipc.Message{Kind: ipc.Status, Stage: r.Stage, State: r.To, Text: text, Record: &r})
}

// Waiting tells in a sentence what is waited for, or how far it has come, without a change of state.
func (c *Child) Waiting(stage lifecycle.Stage, state lifecycle.State, text string) error {
	c.retitle(stage)
	return c.send(ipc.Message{Kind: ipc.Status, Stage: stage, State: state, Text: text})
}

func (c *Child) retitle(stage lifecycle.Stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage != stage {
		c.stage = stage
		title.Set(c.fsys, stage.String())
	}
}

// Ready tells that RolesConfigured and grade Online are reached.
func (c *Child) Ready() error { return c.send(ipc.Message{Kind: ipc.Ready}) }

// Rebootstrap asks for a new child after this one's exit with code 0. The entrypoint must be durable already.
func (c *Child) Rebootstrap() error { return c.send(ipc.Message{Kind: ipc.Rebootstrap}) }

// Fatal tells why this process is about to exit with the class's number. Without it, exit code 2 counts as a crash,
// because it is also what a panic leaves. Only the first call counts.
func (c *Child) Fatal(class ipc.Class, message string) error {
	c.mu.Lock()
	sent := c.fatalSent
	c.fatalSent = true
	c.mu.Unlock()
	if sent {
		return nil
	}
	return c.send(ipc.Message{Kind: ipc.Fatal, Class: class, Message: message})
}

func (c *Child) send(m ipc.Message) error {
	line, err := ipc.Encode(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return os.ErrClosed
	}
	if err := c.pipe.SetWriteDeadline(time.Now().Add(writeMax)); err != nil {
		return fmt.Errorf("child: tell the supervisor: %w", err)
	}
	if _, err := c.pipe.Write(line); err != nil {
		return fmt.Errorf("child: tell the supervisor: %w", err)
	}
	return nil
}

// Close ends the goroutines and the pipe. The lock stays held until the process is gone.
func (c *Child) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil
	}
	c.closing = true
	signal.Stop(c.signals)
	close(c.closed)
	return c.pipe.Close()
}
