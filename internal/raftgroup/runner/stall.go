package runner

import "time"

// stallTimeouts is how many election timeouts a write may take before the disk counts as standing still.
const stallTimeouts = 5

// stall watches over the disk by ticks, not by the clock: while this process is stopped nobody asks anything of the disk.
type stall struct {
	// ticks since the disk was last seen to have finished something, or to have nothing to do.
	ticks int
	// finished counts the outcomes, seen are those at the last tick.
	finished, seen uint64
	on             bool
}

// watchDisk tells the group whether the disk stands still. A full disk does not: it answers that it is full.
func (l *Loop[R]) watchDisk() {
	s := &l.stall
	if s.ticks++; l.handed == 0 || l.full || s.finished != s.seen {
		s.ticks, s.seen = 0, s.finished
	}
	on := int64(s.ticks)*int64(l.cfg.Tick) > stallTimeouts*int64(l.cfg.Group.ElectionTimeout())
	if on == s.on {
		return
	}
	s.on = on
	l.cfg.Group.Stall(on)
	if on {
		l.cfg.Logger.Error("the disk stands still: this instance does not lead until it goes on", "group", l.cfg.Name)
	} else {
		l.cfg.Logger.Info("the disk goes on", "group", l.cfg.Name)
	}
}

// tick moves the group's time, and looks after room on disk: at each tick, but a full disk, and one that has got nothing since the
// last look, at intervals.
func (l *Loop[R]) tick(now time.Duration) {
	if l.poisoned {
		return
	}
	l.watchDisk()
	l.cfg.Group.Tick(now)
	l.pruneReads()
	l.sinceTend += l.cfg.Tick
	every := l.cfg.RetryInterval
	if !l.full {
		every *= restsFactor
	}
	if !l.full && !l.rests() || l.sinceTend >= every {
		l.tend()
	}
}

// restsFactor is how much less often a log is looked after that has got nothing than a full disk.
const restsFactor = 10

// rests tells whether the log has got nothing since it was last looked after.
func (l *Loop[R]) rests() bool { return l.looked && l.lookedAt == l.cfg.Group.AppliedIndex() }
