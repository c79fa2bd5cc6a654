package runner

import (
	"fmt"
	"slices"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// A snapshot of the leader takes these steps. The message that announces it is put off (fetch) until its content is durable here
// (Fetched); then the group takes it and gives out a write, with which the log is begun anew. When that is durable the machine is
// made what the content holds (beginInstall), beside the loop, which goes on answering its leader; and only when it is, does the
// group learn that the write is done, so that nothing is applied before. The process may end anywhere in between: with the content
// durable, a start takes the snapshot for the newest and begins the log behind it.

// fetch has the content of a snapshot brought here.
func (l *Loop[R]) fetch(m raftgroup.Message) {
	p, _ := m.Snapshot()
	if _, ok := l.cfg.Machine.(Installer); !ok || l.cfg.Fetch == nil {
		l.cfg.Logger.Error("a snapshot sent by a leader can not be installed here", "group", l.cfg.Name, "index", p.Index)
		return
	}
	switch g := l.cfg.Group; {
	case l.poisoned || l.stopping || l.installing:
	case p.Index <= g.Committed() || m.Term() < g.Term():
		l.take(l.cfg.Clock.Boot(), m) // nothing is installed; the answer says so
	default:
		l.cfg.Fetch(m)
	}
}

// Fetched tells that the content of the snapshot that a message brings is durable here, or, with an error, that it could not be
// brought: then nothing happens, and the leader announces it again. It returns when the loop has taken the message.
func (l *Loop[R]) Fetched(m raftgroup.Message, err error) {
	p, _ := m.Snapshot()
	if err != nil {
		l.cfg.Logger.Warn("a snapshot could not be fetched", "group", l.cfg.Name, "index", p.Index, "from", m.From(), "error", err)
		return
	}
	taken := make(chan struct{})
	call := func() {
		defer close(taken)
		if !l.poisoned && !l.stopping && !l.installing {
			l.take(l.cfg.Clock.Boot(), m)
		}
	}
	select {
	case l.calls <- call:
	case <-l.done:
		return
	}
	select {
	case <-taken:
	case <-l.done:
	}
}

// beginInstall makes the machine what the snapshot of the oldest write holds.
func (l *Loop[R]) beginInstall(p raftgroup.Position) {
	l.abort(errLeadershipLost())
	l.giveUp(raftgroup.NotLeader(l.status.Load().LeaderID))
	l.deny(raftgroup.NotLeader(l.status.Load().LeaderID))
	l.installing = true
	l.cfg.Logger.Info("installing a snapshot", "group", l.cfg.Name, "index", p.Index, "term", p.Term)
	m, ok := l.cfg.Machine.(Installer)
	go func() {
		if !ok {
			l.installed <- fmt.Errorf("the machine takes no snapshots")
			return
		}
		l.installed <- m.Install(p)
	}()
}

// endInstall goes on from the installed snapshot. If there is none the machine is neither what it was nor what it was to be.
func (l *Loop[R]) endInstall(err error) {
	l.installing = false
	if l.poisoned {
		return
	}
	w := l.writes[0]
	if err != nil {
		l.poison(fmt.Errorf("install the snapshot of index %d: %w", w.Snapshot.Index, err))
		return
	}
	p := *w.Snapshot
	l.cfg.Group.Persisted(w)
	l.writes = slices.Delete(l.writes, 0, 1)
	l.durable--
	l.cfg.Machine.ConfChanged(l.cfg.Group.Status())
	l.publish()
	if l.cfg.OnInstalled != nil {
		l.cfg.OnInstalled(p)
	}
	l.cfg.Logger.Info("snapshot installed", "group", l.cfg.Name, "index", p.Index)
	l.settle()
	l.feedDisk()
}
