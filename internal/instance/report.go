package instance

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/transport"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// Instances tell the catalog's leader how they are: with each of their raft messages, and at once when something about it
// has changed. What the leader has heard is all that its governor knows of the others.

const (
	// reportBusy is how often an instance looks at itself while something is changing, reportIdle otherwise.
	reportBusy = 10 * time.Millisecond
	reportIdle = time.Second
	// reportSettled is how long after the last change it looks often.
	reportSettled = time.Second
)

// newTransport makes what carries the messages of this instance's groups to others. Nothing leaves before started is closed: a
// loop sends as soon as it runs, when the core does not have it yet.
func (i *Instance) newTransport(c *core, started <-chan struct{}) *transport.Transport {
	return transport.New(transport.Options{
		Caller: i.pool, Logger: i.log,
		Header: func() wire.Header {
			<-started
			return i.header(c)
		},
		Report: func(address string) *wire.Report {
			if address != i.catalogLeader(c) {
				return nil
			}
			return c.reports.own.Load()
		},
		Unreachable: func(group uint8, raftID uint64) {
			<-started
			tell := func(g *raftgroup.Group) error {
				g.ReportUnreachable(raftID)
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), askedTimeout)
			defer cancel()
			if group == wire.GroupCatalog {
				_ = c.catalogLoop.Call(ctx, tell) // the loop may have ended
				return
			}
			_ = c.dataLoop.Call(ctx, tell)
		},
		Refused: i.refused, Answered: i.takeAnswer,
	})
}

// reports is what an instance says of itself, and what it has heard of others.
type reports struct {
	own atomic.Pointer[wire.Report]
	// answered is when the last report went with an answer, by the boot-time clock.
	answered atomic.Int64

	mu    sync.Mutex // guards heard and since
	heard map[uint64]heard
	// since is when this instance began to lead the catalog: before that it had no reason to listen.
	since time.Time
}

// heard is the newest report of an instance.
type heard struct {
	report wire.Report
	at     time.Time
	known  bool
}

// alive notes that an instance has spoken, whatever it said: one that asks to be Online before its first report has come must
// not be taken for a silent one.
func (r *reports) alive(id uint64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[uint64]heard{}
	}
	h := r.heard[id]
	h.at = now
	r.heard[id] = h
}

// noteReport remembers what another instance says, if it is in the catalog.
func (i *Instance) noteReport(c *core, h wire.Header, r wire.Report) {
	if _, known := c.catalog.View().InstanceByRaftID(h.RaftID); !known {
		return
	}
	c.reports.mu.Lock()
	before := c.reports.heard[h.RaftID]
	if c.reports.heard == nil {
		c.reports.heard = map[uint64]heard{}
	}
	c.reports.heard[h.RaftID] = heard{report: r, at: i.clock.Wall(), known: true}
	c.reports.mu.Unlock()
	if !before.known || differs(&before.report, &r) {
		c.governor.Notify()
	}
}

// differs tells whether a report says something on which a plan may depend. Positions change all the time: only whether a
// replica has caught up counts.
func differs(a, b *wire.Report) bool {
	if a.State != b.State || a.Sharding != b.Sharding || a.Applied != b.Applied || a.Schema != b.Schema {
		return true
	}
	x, y := &a.Data, &b.Data
	if x.Role != y.Role || x.Term != y.Term || x.Leader != y.Leader || x.Joint != y.Joint || x.RaftID != y.RaftID || x.Unsure != y.Unsure ||
		len(x.Voters) != len(y.Voters) || len(x.Learners) != len(y.Learners) || len(x.Progress) != len(y.Progress) {
		return true
	}
	if near(x.Applied, x.Committed) != near(y.Applied, y.Committed) {
		return true
	}
	for n := range x.Progress {
		p, q := x.Progress[n], y.Progress[n]
		if p.RaftID != q.RaftID || p.Active != q.Active || near(p.Match, x.Committed) != near(q.Match, y.Committed) {
			return true
		}
	}
	return false
}

// nearMax is how far a replica may be behind and still count as caught up: what travels in a moment. Under load it is always a little
// behind, and that need not be told.
const nearMax = 1000

func near(index, committed uint64) bool { return index+nearMax >= committed }

// look makes a report. It asks the loop of the data group, so it may wait.
func (i *Instance) look(ctx context.Context, c *core) (*wire.Report, error) {
	r := &wire.Report{Applied: c.catalog.Applied(), State: i.life.published().State, Sharding: true}
	if said := c.schemaSaid.Load(); said != nil {
		r.Schema = *said
	}
	r.Schema.Followed = c.followedTo.Load()
	err := c.dataLoop.Call(ctx, func(g *raftgroup.Group) error {
		c.boundMemory(g)
		s := g.Status()
		r.Data = wire.GroupReport{RaftID: s.ID, Role: s.Role, Term: s.Term, Leader: s.LeaderID, Committed: s.Committed,
			Applied: s.Applied, Last: s.LastIndex, Voters: s.Voters, Learners: s.Learners, Joint: s.Joint,
			Unsure: s.Muted}
		for _, m := range g.Members() {
			r.Data.Progress = append(r.Data.Progress, wire.MemberProgress{RaftID: m.ID, Match: m.Match, Active: m.Active})
		}
		return nil
	})
	return r, err
}

// reportLoop keeps the report fresh and tells the catalog's leader at once what has changed.
func (i *Instance) reportLoop(ctx context.Context, c *core) {
	wake := c.catalog.Subscribe()
	defer c.catalog.Unsubscribe(wake)
	var told wire.Report
	var toldTo uint64
	changedAt := i.clock.Boot()
	for ctx.Err() == nil {
		changed := i.life.changes()
		r, err := i.look(ctx, c)
		if err != nil {
			return
		}
		c.reports.own.Store(r)
		leader := c.catalogLoop.Status().LeaderID
		if leader != toldTo || differs(&told, r) {
			changedAt = i.clock.Boot()
			if i.tellLeader(c, leader) {
				told, toldTo = *r, leader
			}
		}
		if leader == c.id.RaftID {
			c.governor.Notify() // what it waits for may have come without a word
		}
		every := real.Until(reportIdle)
		if i.clock.Boot()-changedAt < reportSettled {
			every = reportBusy
		}
		t := time.NewTimer(every)
		select {
		case <-t.C:
		case <-wake:
		case <-changed:
		case <-c.grouped:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// tellLeader hands the report to the governor, here or elsewhere.
func (i *Instance) tellLeader(c *core, leader uint64) bool {
	switch leader {
	case 0:
		return false
	case c.id.RaftID:
		c.governor.Notify()
		return true
	}
	address := c.book.of(wire.GroupCatalog, leader)
	if address == "" {
		return false
	}
	c.transport.Tell(address)
	return true
}

// governorInput gathers what the governor's plan depends on.
func (i *Instance) governorInput(c *core) governor.Input {
	cat := c.catalogLoop.Status()
	in := governor.Input{
		Now: i.clock.Wall(), Leading: i.governs(c), Term: cat.Term, Catalog: c.catalog.View(),
		Instances: map[string]governor.Observed{}, DataGroups: map[string]governor.GroupView{},
	}
	if row, ok := in.Catalog.InstanceByRaftID(cat.LeaderID); ok {
		in.Leader = row.Name
	}
	c.reports.leading(in.Leading, in.Now)
	if !in.Leading {
		return in
	}
	ctx, cancel := context.WithTimeout(context.Background(), askedTimeout)
	defer cancel()
	in.CatalogGroup = i.catalogGroupView(ctx, c, in.Leader)
	for _, row := range in.Catalog.Instances() {
		i.observe(ctx, c, &in, row)
	}
	return in
}

// governs tells whether this instance leads the catalog and has applied all that came before.
func (i *Instance) governs(c *core) bool {
	leads := false
	ctx, cancel := context.WithTimeout(context.Background(), askedTimeout)
	defer cancel()
	err := c.catalogLoop.Call(ctx, func(g *raftgroup.Group) error {
		leads = g.Leading()
		return nil
	})
	return err == nil && leads // a call that was given up may still be made: what it writes is not looked at
}

// leading notes when this instance has begun to lead. Reports of before are forgotten: they may be old.
func (r *reports) leading(leads bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !leads:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = now
		for id, h := range r.heard {
			if now.Sub(h.at) > time.Second {
				delete(r.heard, id)
			}
		}
	}
}

// of returns what was heard of an instance, and when; one that has been silent since this one leads counts from then.
func (r *reports) of(id uint64) (wire.Report, time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.heard[id]
	if h.at.Before(r.since) {
		return h.report, r.since, h.known
	}
	return h.report, h.at, h.known
}

// observe adds what is known of one instance.
func (i *Instance) observe(ctx context.Context, c *core, in *governor.Input, row catalog.Instance) {
	if row.Current.Name == lifecycle.Expelled {
		return
	}
	var r wire.Report
	var at time.Time
	known := true
	if row.RaftID == c.id.RaftID {
		if own, err := i.look(ctx, c); err == nil {
			r = *own
		}
	} else if r, at, known = c.reports.of(row.RaftID); !known && at.IsZero() {
		return
	}
	d := r.Data
	in.Instances[row.Name] = governor.Observed{Applied: r.Applied, State: r.State, LastHeard: at, Sharding: r.Sharding,
		Data:   governor.DataProgress{RowsApplied: d.Applied, RowsTotal: d.Committed},
		Schema: governor.SchemaAnswer(r.Schema), DataRaftID: d.RaftID, Unsure: d.Unsure}
	i.observeMemory(c, in, row)
	if d.Role != raftgroup.RoleLeader || d.Term < in.DataGroups[row.ReplicasetName].Term {
		return
	}
	v := governor.GroupView{Known: true, Leader: row.Name, Term: d.Term, Voters: d.Voters, Learners: d.Learners, Joint: d.Joint,
		Committed: d.Committed, Progress: map[uint64]uint64{}, Active: map[uint64]bool{}}
	for _, p := range d.Progress {
		v.Progress[p.RaftID], v.Active[p.RaftID] = p.Match, p.Active
	}
	in.DataGroups[row.ReplicasetName] = v
}

// catalogGroupView is the catalog's group as this instance, its leader, sees it.
func (i *Instance) catalogGroupView(ctx context.Context, c *core, leader string) governor.GroupView {
	v := governor.GroupView{Leader: leader, Progress: map[uint64]uint64{}, Active: map[uint64]bool{}}
	err := c.catalogLoop.Call(ctx, func(g *raftgroup.Group) error {
		s := g.Status()
		v.Known, v.Term, v.Voters, v.Learners, v.Joint, v.Committed = true, s.Term, s.Voters, s.Learners, s.Joint, s.Committed
		for _, m := range g.Members() {
			v.Progress[m.ID], v.Active[m.ID] = m.Match, m.Active
		}
		return nil
	})
	if err != nil {
		return governor.GroupView{}
	}
	return v
}

// act carries out a step of the governor that is not a record in the catalog.
func (i *Instance) act(ctx context.Context, c *core, step governor.Step) error {
	switch a := step.Action.(type) {
	case governor.CatalogChange:
		return changeMembers(ctx, c.catalogLoop.Call, a.Changes, func(g *raftgroup.Group) error {
			if g.Term() != a.Term || !slices.Equal(g.Status().Voters, a.Voters) {
				return errStale
			}
			return nil
		})
	case governor.GroupChange:
		m := wire.GroupChange{Header: i.header(c), Changes: a.Changes, CatalogIndex: a.CatalogIndex, Term: a.Term, Voters: a.Voters}
		if a.Leader == c.id.InstanceName {
			return i.changeDataGroup(ctx, c, m)
		}
		return i.ask(ctx, c, a.Leader, wire.ProcGroupChange, m.Append(nil))
	case governor.TransferLeader:
		return i.transfer(ctx, c, a)
	}
	return nil
}

// ask calls a procedure of an instance by its name.
func (i *Instance) ask(ctx context.Context, c *core, name, procedure string, message []byte) error {
	row, ok := c.catalog.View().Instance(name)
	if !ok {
		return errNoAddress(name)
	}
	address := c.book.of(wire.GroupCatalog, row.RaftID)
	if address == "" {
		return errNoAddress(name)
	}
	_, err := i.pool.Call(ctx, address, procedure, message)
	return err
}

func (i *Instance) transfer(ctx context.Context, c *core, a governor.TransferLeader) error {
	to, ok := c.catalog.View().Instance(a.To)
	if !ok {
		return errNoAddress(a.To)
	}
	m := wire.Transfer{Header: i.header(c), Group: wire.GroupData, To: to.DataRaftID, Term: a.Term}
	call := c.dataLoop.Call
	if a.Replicaset == "" {
		m.Group, m.To, call = wire.GroupCatalog, to.RaftID, c.catalogLoop.Call
	}
	if a.From == c.id.InstanceName {
		return transferLeader(ctx, call, m)
	}
	return i.ask(ctx, c, a.From, wire.ProcTransfer, m.Append(nil))
}

func errNoAddress(name string) error {
	return errcode.New(errcode.NoSuchInstance, name)
}
