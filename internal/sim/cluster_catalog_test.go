package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// catalogMachine is the catalog of one instance: the real state, with what package catalog/runner does around it.
type catalogMachine struct {
	i            *instance
	view, newest *catalog.State
	history      *catalog.History
	pending      []pendingEntry
	byData       map[uint64]uint64 // raft ids by data raft ids
}

// proposal is a request to the catalog; done is called once, later, unless the process ends before.
type proposal struct {
	ops   []catalog.Op
	guard *catalog.Predicate
	id    catalog.RequestID
	done  func(catalog.Result, error)
}

// pendingEntry was run here and is not committed yet.
type pendingEntry struct {
	index, term uint64
	state       *catalog.State
	changes     []catalog.Change
	answers     []func(err error)
}

func (m *catalogMachine) restore(b []byte) {
	snap, err := catalog.DecodeSnapshot(bytes.NewReader(b))
	if err != nil {
		m.i.c.failf("instance %d: snapshot of the catalog: %v", m.i.no, err)
	}
	m.view, m.newest, m.pending, m.byData = snap.State, snap.State, nil, nil
	m.history = catalog.NewHistory(snap.State.Position())
}

func (m *catalogMachine) snapshot(pos raftgroup.Position) []byte {
	return encodeCatalog(m.i.c, m.view, pos)
}

// propose runs a request on the newest state, as the leader.
func (m *catalogMachine) propose(p proposal) {
	i, g := m.i, m.i.catalog.g
	answer := func(res catalog.Result, err error) { i.own(0, func() { p.done(res, err) }) }
	if !g.Leading() {
		answer(catalog.Result{}, raftgroup.NotLeader(0))
		return
	}
	term, index := g.Term(), g.LastIndex()+1
	work := m.newest.Clone()
	res, changes, repeated, err := m.execute(work, index, term, p)
	written := err == nil && !repeated && (len(changes) > 0 || p.id != catalog.RequestID{} || p.ops[0].Kind == catalog.Nop)
	if !written {
		// What it saw may not be committed yet.
		if n := len(m.pending); n > 0 {
			m.pending[n-1].answers = append(m.pending[n-1].answers, func(lost error) {
				if lost != nil {
					answer(catalog.Result{}, lost)
					return
				}
				answer(res, err)
			})
			return
		}
		answer(res, err)
		return
	}
	entry, err := catalog.EncodeEntry(catalog.Entry{Term: term, Items: []catalog.Item{{Ops: p.ops, Initiator: catalog.AdminID, ID: p.id}}})
	if err != nil {
		i.c.failf("encode an entry: %v", err)
	}
	if _, err := g.Propose(term, entry); err != nil {
		answer(catalog.Result{}, err)
		return
	}
	m.newest = work
	m.history.Note(index, term, changes)
	m.pending = append(m.pending, pendingEntry{index, term, work, changes, []func(error){func(lost error) {
		answer(res, lost)
	}}})
	i.catalog.drain()
}

func (m *catalogMachine) execute(work *catalog.State, index, term uint64, p proposal) (
	res catalog.Result, changes []catalog.Change, repeated bool, err error) {
	if res, ok := work.Done(p.id); ok {
		return res, nil, true, nil
	}
	if p.guard != nil {
		err = catalog.CheckCAS(work, m.history, term, *p.guard, p.ops)
	} else {
		err = catalog.CheckTables(p.ops)
	}
	if err == nil {
		res, changes, err = work.Execute(index, term, catalog.Item{Ops: p.ops, Initiator: catalog.AdminID, ID: p.id})
	}
	return res, changes, false, err
}

func (m *catalogMachine) apply(e *raftgroup.Entry) {
	before := m.view
	m.byData = nil
	if len(m.pending) > 0 && m.pending[0].index == e.Index && m.pending[0].term == e.Term {
		p := m.pending[0]
		m.pending = m.pending[1:]
		m.view = p.state
		m.i.c.checkCatalog(m.i, e, before, p.changes, p.state)
		for _, done := range p.answers {
			done(nil)
		}
		return
	}
	var data []byte
	if e.Type == raftgroup.EntryNormal {
		data = e.Data
	}
	next := m.view.Clone()
	_, changes, err := next.Apply(e.Index, e.Term, data)
	if err != nil {
		m.i.c.failf("instance %d: %v", m.i.no, err)
	}
	m.view = next
	m.i.c.checkCatalog(m.i, e, before, changes, next)
	if len(m.pending) > 0 { // a change of members, proposed here before them
		return
	}
	m.newest = next
	m.history.Note(e.Index, e.Term, changes)
}

func (m *catalogMachine) changed() {
	if len(m.pending) == 0 {
		return
	}
	lost := m.pending
	m.pending, m.newest = nil, m.view
	m.history.Truncate(lost[0].index)
	for _, p := range lost {
		for _, done := range p.answers {
			done(errcode.New(errcode.UnknownOutcome, "leadership was lost"))
		}
	}
}

// byDataID leads from ids in data groups to ids in the catalog's.
func (m *catalogMachine) byDataID() map[uint64]uint64 {
	if m.byData == nil {
		m.byData = map[uint64]uint64{}
		for _, row := range m.view.Instances() {
			m.byData[row.DataRaftID] = row.RaftID
		}
	}
	return m.byData
}

// record makes a request of whoever leads the catalog, again and again until there is an answer that counts.
func (i *instance) record(p proposal, deadline time.Duration) {
	if p.id == (catalog.RequestID{}) {
		p.id = i.c.newRequestID()
	}
	until := i.c.now + deadline
	var try func()
	again := func(res catalog.Result, err error) {
		if err == nil || !elsewhere(err) || i.c.now >= until {
			p.done(res, err)
			return
		}
		i.own(50*time.Millisecond, try)
	}
	try = func() {
		if i.catalog.g.Leading() {
			once := p
			once.done = again
			i.cat.propose(once)
			return
		}
		address := i.leaderAddress()
		if address == "" || address == i.address {
			again(catalog.Result{}, errcode.New(errcode.LeaderUnknown))
			return
		}
		i.call(address, casRequest{i.header(), p.ops, p.guard, p.id}, time.Second, func(answer any, err error) {
			res, _ := answer.(catalog.Result)
			again(res, err)
		})
	}
	try()
}

// elsewhere tells whether a request may find a leader at the next try.
func elsewhere(err error) bool {
	for _, code := range []errcode.Code{errcode.NotALeader, errcode.LeaderUnknown, errcode.ProposalDropped, errcode.Loading,
		errcode.UnknownOutcome} {
		if errcode.Is(err, code) {
			return true
		}
	}
	return err == errTimeout
}

func (c *cluster) newRequestID() (id catalog.RequestID) {
	for n := range id {
		id[n] = byte(c.rng.Uint32())
	}
	return id
}

// comeOnline asks for target Online once in each life of the process, and again when it finds itself marked Offline.
func (i *instance) comeOnline() {
	retry := func() { i.own(i.c.between(100*time.Millisecond, 400*time.Millisecond), i.comeOnline) }
	row, ok := i.cat.view.InstanceByUUID(i.disk.identity.InstanceUUID)
	if !ok || i.stopping || i.asked && row.Target.Name != lifecycle.Offline {
		retry()
		return
	}
	if a := i.cat.view.PeerAddress(row.RaftID, catalog.ConnIproto); a != i.address {
		i.tellAddress(row, retry)
		return
	}
	op, guard, err := catalog.SetTarget(i.cat.view, row.Name, lifecycle.Online, "", "")
	if err != nil {
		retry()
		return
	}
	guard.Term = i.catalog.g.Term()
	i.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(_ catalog.Result, err error) {
		if err == nil {
			i.asked = true
		}
		retry()
	}}, 3*time.Second)
}

// tellAddress moves this instance in the catalog.
func (i *instance) tellAddress(row catalog.Instance, then func()) {
	op, guard, err := catalog.SetAddress(i.cat.view, row.Name, i.address, "")
	if err != nil {
		then()
		return
	}
	guard.Term = i.catalog.g.Term()
	i.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(catalog.Result, error) { then() }}, 3*time.Second)
}

const (
	reportEvery = 200 * time.Millisecond
	governEvery = 100 * time.Millisecond
	stepTime    = 2 * time.Second
)

// governing is what an instance needs to govern.
type governing struct {
	heard map[uint64]heardReport
	since time.Duration // leading since then
	last  governor.Report
	busy  map[string]time.Duration // steps under way, by key, until their deadline
}

type heardReport struct {
	report report
	at     time.Duration
	// known: it has reported, and not only spoken.
	known bool
}

// ownReport is what this instance says of itself.
func (i *instance) ownReport() report {
	return report{i.header(), i.catalog.at.index, i.state, i.data.g.Status(), i.data.g.Members(), i.work.said, i.work.followed}
}

func (i *instance) report() {
	address := i.leaderAddress()
	if address == "" || address == i.address {
		return
	}
	i.call(address, i.ownReport(), time.Second, func(_ any, err error) { i.heed(err) })
}

func (i *instance) noteReport(r report) {
	if was := i.gov.heard[r.header.raftID]; was.report.applied <= r.applied {
		i.gov.heard[r.header.raftID] = heardReport{r, i.c.now, true}
	}
}

func (i *instance) wall() time.Time { return time.Unix(1000, 0).Add(i.c.now).UTC() }

// govern plans and begins what is planned.
func (i *instance) govern() {
	g := i.catalog.g
	if !g.Leading() {
		i.gov = governing{heard: i.gov.heard}
		return
	}
	if i.gov.since == 0 {
		i.gov.since, i.gov.busy = i.c.now, map[string]time.Duration{}
	}
	in := i.governorInput()
	steps, last := governor.Plan(in)
	i.gov.last = last
	for _, s := range steps {
		if i.gov.busy[s.Key] > i.c.now {
			continue
		}
		i.gov.busy[s.Key] = i.c.now + stepTime
		i.carryOut(s, func() { delete(i.gov.busy, s.Key) })
	}
}

func (i *instance) governorInput() governor.Input {
	s := i.catalog.g.Status()
	own, _ := i.cat.view.InstanceByRaftID(i.catalog.id)
	in := governor.Input{
		Now: i.wall(), Leading: true, Term: s.Term, Leader: own.Name, Catalog: i.cat.view, Previous: i.gov.last,
		Instances: map[string]governor.Observed{}, DataGroups: map[string]governor.GroupView{},
		CatalogGroup: groupView(own.Name, s, i.catalog.g.Members()),
	}
	for _, row := range in.Catalog.Instances() {
		h := i.gov.heard[row.RaftID]
		at := max(h.at, i.gov.since)
		o := governor.Observed{LastHeard: time.Unix(1000, 0).Add(at).UTC()}
		if row.RaftID == i.catalog.id {
			h.report, h.known = i.ownReport(), true
			o.LastHeard = time.Time{}
		}
		if row.Current.Name == lifecycle.Expelled {
			continue
		}
		if h.known {
			d := h.report.status
			o.Applied, o.State, o.Sharding = h.report.applied, h.report.state, true
			o.Schema = governor.SchemaAnswer{Version: h.report.schema.version, Prepared: h.report.schema.refusal == "",
				Message: h.report.schema.refusal, Followed: h.report.followed}
			o.Data = governor.DataProgress{RowsApplied: d.Applied, RowsTotal: d.Committed}
			if d.Role == raftgroup.RoleLeader && d.Term >= in.DataGroups[row.ReplicasetName].Term {
				in.DataGroups[row.ReplicasetName] = groupView(row.Name, d, h.report.members)
			}
		}
		in.Instances[row.Name] = o
	}
	return in
}

func groupView(leader string, s raftgroup.Status, members []raftgroup.Member) governor.GroupView {
	v := governor.GroupView{Known: true, Leader: leader, Term: s.Term, Voters: s.Voters, Learners: s.Learners, Joint: s.Joint,
		Committed: s.Committed, Progress: map[uint64]uint64{}, Active: map[uint64]bool{}}
	for _, m := range members {
		v.Progress[m.ID], v.Active[m.ID] = m.Match, m.Active
	}
	return v
}

// carryOut begins a step of the governor.
func (i *instance) carryOut(s governor.Step, done func()) {
	c := i.c
	c.stats.steps++
	c.notef("%d governs: %s", i.no, s.Text)
	if s.Action == nil {
		guard := s.Guard
		c.checks.planned(i.cat.view, s.Op)
		c.checkSettles(i, s.Op)
		i.cat.propose(proposal{ops: []catalog.Op{s.Op}, guard: &guard, done: func(_ catalog.Result, err error) {
			if err != nil {
				c.stats.conflicts++
			}
			done()
		}})
		return
	}
	finish := func(answer any, err error) {
		if err != nil {
			c.notef("%d: %s: %v", i.no, s.Text, err)
		}
		done()
	}
	switch a := s.Action.(type) {
	case governor.CatalogChange:
		finish(nil, i.changeCatalog(a))
	case governor.GroupChange:
		i.ask(a.Leader, func() error { return i.changeData(a) }, groupChange{i.header(), a}, finish)
	case governor.TransferLeader:
		group := groupData
		if a.Replicaset == "" {
			group = groupCatalog
		}
		i.ask(a.From, func() error { return i.transfer(group, a.ToID) }, transferRequest{i.header(), group, a.ToID}, finish)
	default:
		c.failf("unknown action %+v", s.Action)
	}
}

// ask does something here, or calls another instance by its name.
func (i *instance) ask(name string, here func() error, req any, done func(any, error)) {
	row, ok := i.cat.view.Instance(name)
	switch {
	case !ok:
		done(nil, fmt.Errorf("no instance %s", name))
	case row.RaftID == i.catalog.id:
		done(nil, here())
	default:
		i.call(i.addressOf(groupCatalog, row.RaftID), req, stepTime, done)
	}
}

var errStale = errors.New("it was planned on other members, or on an older catalog")

func (i *instance) changeCatalog(a governor.CatalogChange) error {
	if g := i.catalog.g; g.Term() != a.Term || !slices.Equal(g.Status().Voters, a.Voters) {
		return errStale
	}
	return i.change(i.catalog, a.Changes)
}

func (i *instance) changeData(a governor.GroupChange) error {
	if g := i.data.g; a.CatalogIndex < i.membersOf || g.Term() != a.Term || !slices.Equal(g.Status().Voters, a.Voters) {
		return errStale
	}
	i.membersOf = a.CatalogIndex
	return i.change(i.data, a.Changes)
}

func (i *instance) change(r *replica, changes []raftgroup.Change) error {
	i.c.checkChange(r, changes)
	if err := r.g.ProposeConfChange(changes, nil); err != nil {
		return err
	}
	i.c.stats.changes++
	r.drain()
	return nil
}

func (i *instance) transfer(group uint8, to uint64) error {
	r := i.catalog
	if group == groupData {
		r = i.data
	}
	if err := r.g.TransferLeader(to); err != nil {
		return err
	}
	i.c.stats.transfers++
	r.drain()
	return nil
}
