package supervisor

import (
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
)

// The numbers of the restart policy.
const (
	backoffMin        = 100 * time.Millisecond
	backoffMax        = 10 * time.Second
	backoffResetAfter = time.Minute
	poisonDelay       = time.Minute
	poisonWindow      = 10 * time.Minute
	// rebootstrapsMax is how often in a row children may ask to be started anew before that counts as crashing.
	rebootstrapsMax = 5
	// signalExitBase is added to the number of the signal that ended a process, as shells do.
	signalExitBase = 128
	exitInterrupt  = signalExitBase + 2
	signalTerm     = 15
)

// exit is all that is known of a child that has ended.
type exit struct {
	// At is the boot clock's time.
	At time.Duration
	// Code is the exit code; Signal is not 0 if a signal ended the child, and Code means nothing then.
	Code, Signal int
	// Fatal is the class of the Fatal message, if one came.
	Fatal *ipc.Class
	// Rebootstrap: the child asked for it.
	Rebootstrap bool
	// Stopping: a stop was asked for before the child ended.
	Stopping bool
	// State is the last state that the child told.
	State lifecycle.State
	// Configured is how long the child had been in RolesConfigured, 0 if it was not at the end.
	Configured time.Duration
}

// decision is what the parent does next.
type decision struct {
	// Restart: start the next child after Delay. Otherwise the parent ends.
	Restart bool
	Delay   time.Duration
	// ExitCode is the parent's, now or if a stop comes during Delay.
	ExitCode int
	// Crash: the child did not end in an orderly way.
	Crash bool
	// Why is for the log.
	Why string
}

// policy decides after every end of a child. It is a function of the exits it was told; its fields are what it must
// remember of them.
type policy struct {
	noRestart bool

	crashes      int
	rebootstraps int
	poisoned     bool
	poisonedAt   time.Duration
}

// decide judges one exit.
func (p *policy) decide(e exit) decision {
	if e.Stopping {
		return p.stopped(e)
	}
	if e.Configured > 0 {
		p.rebootstraps = 0
	}
	class := classOf(e)
	if class == ipc.ClassPoisoned && p.poisoned && e.At-p.poisonedAt < poisonWindow {
		return decision{ExitCode: int(ipc.ClassPoisoned), Why: "poisoned again within " + poisonWindow.String()}
	}
	switch {
	case class == ipc.ClassBootTimeout || class == ipc.ClassRefused:
		return decision{ExitCode: int(class), Why: class.String()}
	case class != ipc.ClassPoisoned && e.Rebootstrap && p.rebootstraps < rebootstrapsMax:
		p.rebootstraps++
		return decision{Restart: true, Why: "rebootstrap"}
	case class == ipc.ClassStop && !e.Rebootstrap:
		return decision{ExitCode: stopCode(e), Why: "the instance stopped by itself"}
	case p.noRestart:
		return decision{ExitCode: exitCode(e), Why: class.String() + ", and --no-restart was given"}
	case class == ipc.ClassPoisoned:
		p.poisoned, p.poisonedAt = true, e.At
		return decision{Restart: true, Delay: poisonDelay, ExitCode: int(class), Crash: true, Why: "poisoned"}
	}
	return p.crashed(e)
}

func (p *policy) crashed(e exit) decision {
	if e.Configured >= backoffResetAfter {
		p.crashes = 0
	}
	delay := backoffMax
	// Beyond seven doublings the delay is at its ceiling.
	if p.crashes < 7 {
		delay = min(backoffMin<<p.crashes, backoffMax)
		p.crashes++
	}
	why := fmt.Sprintf("crash with exit code %d", e.Code)
	switch {
	case e.Signal != 0:
		why = fmt.Sprintf("crash by signal %d", e.Signal)
	case e.Rebootstrap:
		why = "too many rebootstraps in a row"
	}
	return decision{Restart: true, Delay: delay, Crash: true, Why: why}
}

// stopped judges the end of a child that was told to stop.
func (p *policy) stopped(e exit) decision {
	// A child that was so young that it did not catch SIGTERM yet has nothing to clean up.
	if e.Signal == signalTerm {
		return decision{ExitCode: stopCode(e), Why: "stopped"}
	}
	if e.Signal != 0 {
		return decision{ExitCode: signalExitBase + e.Signal, Why: "the instance died while stopping"}
	}
	if e.Code != 0 {
		return decision{ExitCode: e.Code, Why: "the stop was not clean"}
	}
	return decision{ExitCode: stopCode(e), Why: "stopped"}
}

// stopCode is the exit code after a clean end: one of an instance that never came to serve is a failure.
func stopCode(e exit) int {
	if e.State == lifecycle.InitError || e.State == lifecycle.BootError {
		return 1
	}
	return 0
}

// classOf finds the exit class: the exit code tells it, or the Fatal message of a child that was killed after it. Code 2
// is also that of every Go program that panics, so it is a refusal only if the child said so before.
func classOf(e exit) ipc.Class {
	if e.Signal != 0 {
		if e.Fatal != nil && *e.Fatal != ipc.ClassStop {
			return *e.Fatal
		}
		return ipc.ClassCrash
	}
	switch c := ipc.Class(e.Code); c {
	case ipc.ClassStop, ipc.ClassBootTimeout, ipc.ClassPoisoned:
		return c
	case ipc.ClassRefused:
		if e.Fatal != nil && *e.Fatal == ipc.ClassRefused {
			return c
		}
	}
	return ipc.ClassCrash
}

func exitCode(e exit) int {
	if e.Signal != 0 {
		return signalExitBase + e.Signal
	}
	return e.Code
}
