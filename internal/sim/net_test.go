package sim

import (
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// link goes one way.
type link struct{ from, to uint64 }

// network carries the bytes of messages.
type network struct {
	w   *world
	cut map[link]bool
}

// letter is a message under way, with the content of a snapshot if it brings one.
type letter struct {
	raw      []byte
	from, to uint64
	life     int
	snapshot *snapshot
	// taken: the receiver has stepped it.
	taken bool
}

func newNetwork(w *world) network { return network{w: w, cut: map[link]bool{}} }

// send gives a message to the network; what becomes of a snapshot is reported to the sender, as a transport does.
func (n *network) send(p *peer, m raftgroup.Message) {
	w := n.w
	raw, err := m.Append(nil)
	if err != nil {
		w.failf("encode: %v", err)
	}
	l := &letter{raw: raw, from: p.id, to: m.To(), life: p.life}
	if pos, ok := m.Snapshot(); ok {
		if l.snapshot = p.snapshotAt(pos.Index); l.snapshot == nil {
			n.report(l)
			return
		}
	}
	if w.chance(w.opt.loss) || n.cut[link{l.from, l.to}] {
		n.report(l)
		return
	}
	w.after(n.delay(), func() { n.deliver(l) })
	for w.chance(w.opt.duplicates) {
		// Repeated soon, or long after.
		late := w.between(0, w.opt.delay)
		if w.chance(w.opt.replays) {
			late = w.between(0, 10*time.Second)
		}
		w.after(late, func() { n.deliver(l) })
	}
}

func (n *network) delay() time.Duration {
	w := n.w
	d := w.between(time.Millisecond, w.opt.delay)
	if w.chance(w.opt.slow) {
		d += w.between(0, w.opt.slowDelay)
	}
	return d
}

func (n *network) deliver(l *letter) {
	p := n.w.peers[l.to]
	if p == nil || !p.up || n.cut[link{l.from, l.to}] {
		n.report(l)
		return
	}
	p.loop(func() {
		m, err := raftgroup.DecodeMessage(l.raw)
		if err != nil {
			n.w.failf("decode: %v", err)
		}
		if l.snapshot != nil {
			p.keepSnapshot(*l.snapshot)
		}
		p.makeUp()
		if err := p.group.Step(p.clock(), m); err != nil {
			n.w.notef("%d does not take %s from %d", p.id, m.Kind(), l.from)
		}
		l.taken = true
	})
	n.report(l)
}

// report tells the sender, some time later, what has become of its snapshot.
func (n *network) report(l *letter) {
	if l.snapshot == nil {
		return
	}
	n.w.after(n.w.between(time.Millisecond, 500*time.Millisecond), func() {
		if p := n.w.peers[l.from]; p.up && p.life == l.life {
			p.loop(func() { p.group.ReportSnapshot(l.to, l.taken) })
		}
	})
}
