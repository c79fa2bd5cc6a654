package runner

import "time"

// notices is when messages go that tell followers what is committed and wait for an entry: see Config.NoticeDelay.
type notices struct {
	// committed is when entries were last found committed.
	committed time.Duration
	// held: there are some, which go at the time due.
	held  bool
	due   time.Duration
	timer *time.Timer
}

// holdNotices expects that what comes after this proposal comes as soon as it did. It is called before the proposal is sent, which
// makes up for what is held.
func (l *Loop[R]) holdNotices(now time.Duration) {
	if l.cfg.NoticeDelay > 0 {
		l.cfg.Group.HoldNotices(!l.pending.empty() || now-l.notices.committed < l.cfg.NoticeDelay)
	}
}

// keepNotices sees to it that the loop is woken when what is held has to go.
func (l *Loop[R]) keepNotices() {
	n := &l.notices
	held := l.cfg.Group.HoldsNotices()
	if held && !n.held {
		n.due = l.cfg.Clock.Boot() + l.cfg.NoticeDelay
		if n.timer == nil {
			n.timer = time.AfterFunc(l.cfg.NoticeDelay, l.poke)
		} else {
			n.timer.Reset(l.cfg.NoticeDelay)
		}
	}
	n.held = held
}

// sendNotices lets go what was held for as long as may be.
func (l *Loop[R]) sendNotices() {
	if n := &l.notices; n.held && l.cfg.Clock.Boot() >= n.due {
		l.cfg.Group.SendNotices()
	}
}

func (n *notices) stop() {
	if n.timer != nil {
		n.timer.Stop()
	}
}

// poke wakes the loop.
func (l *Loop[R]) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
